//! The main task of a client: it feeds the session's state machine and performs what it says.

use crate::CALL_QUEUE_CAPACITY;
use crate::event::{MesosEvent, Subscribed};
use crate::handle::{CallQueue, Control, Shared};
use crate::http::Task;
use crate::masters::Found;
use crate::options::Options;
use crate::sender::{REPORTS_CAPACITY, Report, Sender, Sending, Surroundings};
use crate::status::{ClientState, Connection};
use crate::stream::{Attempt, PIECES_CAPACITY};
use crate::transport::{Piece, Transport};
use crate::zookeeper::Detected;
use peloton_mesos_wire::MasterAddress;
use peloton_mesos_wire::calls;
use peloton_mesos_wire::session::{Failure, Input, Output, Reason, Session, State, Subscription};
use peloton_mesos_wire::zookeeper::Leading;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

/// The main task's state.
pub(crate) struct Driver {
    options: Options,
    session: Session,
    started: Instant,
    wake_at: Instant,
    events: mpsc::Sender<MesosEvent>,
    shared: Arc<Shared>,
    stop: watch::Receiver<bool>,
    transport: Arc<dyn Transport>,
    surroundings: Surroundings,
    /// What ZooKeeper says, where the leading master is found through it.
    detected: Option<watch::Receiver<Detected>>,
    /// Which leader the session was told of last, by its node.
    told: Option<Leading>,
    /// The master that pointed to the one being tried.
    redirected_by: Option<MasterAddress>,
    /// Given to every attempt; what comes out carries the attempt's epoch.
    pieces_sender: mpsc::Sender<(u64, Piece)>,
    pieces: mpsc::Receiver<(u64, Piece)>,
    reports: mpsc::Receiver<Report>,
    /// The streaming connection under way.
    stream: Option<Task>,
    /// The sender of the session that stands.
    sender: Option<Sending>,
    /// The sender of the last session, whose last call may still be answered.
    last_sender: Option<Sending>,
    /// Dropped at the very end, for those who wait for it.
    _running: watch::Sender<()>,
}

/// What the main task woke up for.
enum Woken {
    Stop,
    Timer,
    Leader,
    Piece(u64, Piece),
    Report(Report),
}

/// Whether the client goes on.
enum Flow {
    On,
    End(ClientState),
}

impl Driver {
    pub(crate) fn new(
        transport: Arc<dyn Transport>,
        options: Options,
        masters: Vec<MasterAddress>,
        framework_id: Option<String>,
        events: mpsc::Sender<MesosEvent>,
        control: Control,
    ) -> Self {
        let mut detected = control.detected;
        if let Some(detected) = &mut detected {
            // What was found for another client is news to this one.
            detected.mark_changed();
        }
        let started = Instant::now();
        let (reports_sender, reports) = mpsc::channel(REPORTS_CAPACITY);
        let (pieces_sender, pieces) = mpsc::channel(PIECES_CAPACITY);
        let surroundings = Surroundings {
            transport: transport.clone(),
            call_timeout_ms: options.timeouts.call_timeout_ms,
            shared: control.shared.clone(),
            reports: reports_sender,
        };
        Self {
            session: Session::new(options.session(masters, framework_id)),
            options,
            started,
            wake_at: started,
            events,
            shared: control.shared,
            stop: control.stop,
            transport,
            surroundings,
            detected,
            told: None,
            redirected_by: None,
            pieces_sender,
            pieces,
            reports,
            stream: None,
            sender: None,
            last_sender: None,
            _running: control.running,
        }
    }

    /// Runs until the client ends.
    pub(crate) async fn run(mut self) {
        let state = loop {
            let outputs = match self.woken().await {
                Woken::Stop => break ClientState::Stopped,
                Woken::Timer => self.step(Input::Timer),
                Woken::Leader => self.leader_detected(),
                Woken::Piece(epoch, Piece::Head(head)) => {
                    self.step(Input::Response { epoch, head })
                }
                Woken::Piece(epoch, Piece::Body(bytes)) => {
                    self.shared.counters.heard_at(self.transport.unix_ms());
                    self.step(Input::Body { epoch, bytes: &bytes })
                }
                Woken::Piece(epoch, Piece::Closed(error)) => {
                    self.step(Input::Closed { epoch, error })
                }
                Woken::Report(Report::Broken { epoch, error }) => {
                    self.step(Input::CallBroke { epoch, error })
                }
                // The owner has already counted it as lost with its session.
                Woken::Report(Report::Rejected(rejected))
                    if Some(rejected.epoch) != self.epoch() =>
                {
                    continue;
                }
                Woken::Report(Report::Rejected(rejected)) => {
                    match self.deliver(MesosEvent::CallRejected(rejected)).await {
                        Flow::On => continue,
                        Flow::End(state) => break state,
                    }
                }
            };
            if let Flow::End(state) = self.perform_all(outputs).await {
                break state;
            }
        };
        self.end_session();
        self.stream = None;
        self.publish(|connection| connection.state = state);
        tracing::info!(framework_id = self.session.framework_id(), "Mesos client has ended");
    }

    /// Waits for something to do. The order matters in one place: what has arrived goes before the
    /// timer, so that a master is not taken for dead because its bytes waited for a slow owner.
    async fn woken(&mut self) -> Woken {
        tokio::select! {
            biased;
            // An error means that all handles are gone: nobody is left to use the client.
            _ = self.stop.wait_for(|stop| *stop) => Woken::Stop,
            () = self.events.closed() => Woken::Stop,
            () = changed(&mut self.detected) => Woken::Leader,
            Some(report) = self.reports.recv() => Woken::Report(report),
            Some((epoch, piece)) = self.pieces.recv() => Woken::Piece(epoch, piece),
            () = sleep_until(self.wake_at) => Woken::Timer,
        }
    }

    fn step(&mut self, input: Input<'_>) -> Vec<Output> {
        let now_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let outputs = self.session.step(now_ms, self.transport.random(), input);
        self.shared.counters.events_skipped.store(self.session.skipped_events(), Relaxed);
        outputs
    }

    /// Looks at what ZooKeeper says.
    fn leader_detected(&mut self) -> Vec<Output> {
        let Some(detected) = &mut self.detected else { return Vec::new() };
        let now = detected.borrow_and_update().clone();
        if self.epoch().is_none()
            && let Some(problem) = now.problem()
        {
            self.publish(|connection| connection.last_problem = Some(problem));
        }
        if now.leader == self.told {
            return Vec::new();
        }
        self.told.clone_from(&now.leader);
        self.step(Input::Leader { address: now.leader.map(|leader| leader.address) })
    }

    /// How the master was found that is subscribed with now.
    fn found(&self, master: &MasterAddress) -> Found {
        match (&self.redirected_by, &self.told) {
            (Some(from), _) => Found::Redirect { from: from.to_string() },
            (None, Some(leader)) if leader.address == *master => {
                Found::ZooKeeper { node: leader.node.clone() }
            }
            (None, _) => Found::List,
        }
    }

    /// The session that stands.
    fn epoch(&self) -> Option<u64> {
        self.shared.connection.borrow().epoch
    }

    async fn perform_all(&mut self, outputs: Vec<Output>) -> Flow {
        for output in outputs {
            if let Flow::End(state) = self.perform(output).await {
                return Flow::End(state);
            }
        }
        Flow::On
    }

    async fn perform(&mut self, output: Output) -> Flow {
        match output {
            Output::Connect { epoch, master } => self.connect(epoch, master),
            Output::Close { .. } => self.stream = None,
            Output::WakeAt { at_ms } => self.wake_at = self.started + Duration::from_millis(at_ms),
            Output::Subscribed(subscription) => return self.subscribed(*subscription).await,
            Output::Event { epoch, event } => {
                self.shared.counters.events.fetch_add(1, Relaxed);
                return self.deliver(MesosEvent::Event { epoch, event }).await;
            }
            Output::Lost { epoch, reason } => return self.lost(epoch, reason).await,
            Output::AttemptFailed { master, reason, .. } => self.attempt_failed(&master, &reason),
            Output::Failed(failure) => return self.failed(failure).await,
        }
        Flow::On
    }

    fn connect(&mut self, epoch: u64, master: MasterAddress) {
        let framework = &self.options.framework;
        let info = framework.to_info(self.session.framework_id());
        let suppressed = self.shared.suppressed.load(Relaxed);
        let roles = if suppressed { vec![framework.role.clone()] } else { Vec::new() };
        let attempt = Attempt {
            epoch,
            master,
            call: calls::subscribe(info, roles),
            transport: self.transport.clone(),
        };
        self.stream = Some(attempt.start(self.pieces_sender.clone()));
        self.publish_state();
    }

    async fn subscribed(&mut self, subscription: Subscription) -> Flow {
        let epoch = subscription.epoch;
        let leader = subscription.master.to_string();
        let found = self.found(&subscription.master);
        let (calls, queue) = mpsc::channel(CALL_QUEUE_CAPACITY);
        self.sender = Some(Sender::start(self.surroundings.clone(), &subscription, queue));
        self.shared.set_queue(Some(CallQueue { epoch, calls }));
        self.shared.counters.subscriptions.fetch_add(1, Relaxed);
        let framework_id = subscription.framework_id;
        tracing::info!(framework_id, leader, %found, epoch, "subscribed with Mesos");
        self.publish(|connection| {
            *connection = Connection {
                state: ClientState::Subscribed,
                epoch: Some(epoch),
                leader: Some(leader.clone()),
                found: Some(found.clone()),
                framework_id: Some(framework_id.clone()),
                last_problem: None,
            };
        });
        let subscribed = Subscribed {
            epoch,
            framework_id,
            leader,
            master_info: subscription.master_info,
            heartbeat_interval_ms: subscription.heartbeat_interval_ms,
        };
        self.deliver(MesosEvent::Subscribed(Box::new(subscribed))).await
    }

    async fn lost(&mut self, epoch: u64, reason: Reason) -> Flow {
        self.end_session();
        self.redirected_by = None;
        self.shared.counters.disconnects.fetch_add(1, Relaxed);
        let framework_id = self.session.framework_id();
        tracing::warn!(framework_id, epoch, %reason, "lost the Mesos session");
        self.publish(|connection| connection.last_problem = Some(reason.to_string()));
        self.publish_state();
        self.deliver(MesosEvent::Disconnected { epoch, reason }).await
    }

    fn attempt_failed(&mut self, master: &MasterAddress, reason: &Reason) {
        let framework_id = self.session.framework_id();
        self.redirected_by = None;
        match reason {
            Reason::Redirected { leader } => {
                tracing::info!(framework_id, %master, %leader, "redirected by a Mesos master");
                self.redirected_by = Some(master.clone());
                return;
            }
            Reason::LeaderChanged { leader } => {
                tracing::info!(framework_id, %master, %leader, "another Mesos master leads");
                return;
            }
            _ => {}
        }
        self.shared.counters.failed_attempts.fetch_add(1, Relaxed);
        tracing::warn!(framework_id, %master, %reason, "could not subscribe with Mesos");
        self.publish(|connection| connection.last_problem = Some(format!("{master}: {reason}")));
        self.publish_state();
    }

    async fn failed(&mut self, failure: Failure) -> Flow {
        self.end_session();
        let framework_id = self.session.framework_id();
        tracing::error!(framework_id, %failure, "the Mesos client cannot go on");
        self.publish(|connection| connection.last_problem = Some(failure.to_string()));
        self.publish_state();
        let state = ClientState::Failed(failure.clone());
        match self.deliver(MesosEvent::Failed(failure)).await {
            Flow::On => Flow::End(state),
            end @ Flow::End(_) => end,
        }
    }

    /// Hands an event to the owner, however long it takes; gives up only to stop.
    async fn deliver(&mut self, event: MesosEvent) -> Flow {
        tokio::select! {
            biased;
            sent = self.events.send(event) => match sent {
                Ok(()) => Flow::On,
                Err(_) => Flow::End(ClientState::Stopped),
            },
            _ = self.stop.wait_for(|stop| *stop) => Flow::End(ClientState::Stopped),
        }
    }

    /// From now on no call of the session is sent.
    fn end_session(&mut self) {
        self.shared.set_queue(None);
        if let Some(sender) = self.sender.take() {
            sender.end();
            self.last_sender = Some(sender);
        }
        self.publish(|connection| {
            (connection.epoch, connection.leader, connection.found) = (None, None, None);
        });
    }

    fn publish_state(&self) {
        let state = match self.session.state() {
            State::Disconnected { attempt } => ClientState::Disconnected { attempt },
            State::Connecting { attempt, master } => {
                ClientState::Connecting { attempt, master: master.to_string() }
            }
            State::Subscribed { .. } => ClientState::Subscribed,
            State::Failed(failure) => ClientState::Failed(failure),
        };
        self.publish(|connection| connection.state = state);
    }

    fn publish(&self, change: impl FnOnce(&mut Connection)) {
        self.shared.connection.send_modify(change);
    }
}

/// Ready when there is news of ZooKeeper's; never where there is none, or no more.
async fn changed(detected: &mut Option<watch::Receiver<Detected>>) {
    if let Some(detected) = detected
        && detected.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}
