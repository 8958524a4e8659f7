//! The one task that owns the model: applies requests in order, carries out what comes of them.
//!
//! Whatever waits is taken at once, the time is told once, and every connection gets what came of
//! all of it in one piece: so the work for a request is the model's own and little more, and a
//! thousand schedulers or agents need no locks.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use peloton_mesos_sim::{AgentIndex, ConnectionId, Framework, Mesos, Output, Refusal};
use peloton_proto::mesos::v1;
use peloton_proto::mesos::v1::scheduler::Call;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::stream::{EventStream, Format, Gone, Outlet};
use crate::task::{Tasks, Told};

/// How many requests are taken at once: enough to share what is done once for all of them, few
/// enough that answers do not wait.
const MAX_BATCH: usize = 256;

/// With nothing due in the model, the driver looks up so often.
const IDLE: Duration = Duration::from_secs(3_600);

/// An answer to a call: accepted, or Mesos's refusal.
pub(crate) type Accepted = Result<(), Refusal>;

/// What the driver owns.
pub(crate) struct State {
    /// The model.
    pub(crate) mesos: Mesos,
    /// The processes.
    pub(crate) tasks: Tasks,
}

/// What the driver is asked.
pub(crate) enum Request {
    /// A scheduler's call other than SUBSCRIBE.
    Call {
        /// Of the `Mesos-Stream-Id` header.
        stream_id: Option<String>,
        /// The call.
        call: Box<Call>,
        /// Gets the answer.
        answer: oneshot::Sender<Accepted>,
    },
    /// A SUBSCRIBE.
    Subscribe {
        /// The call.
        call: Box<Call>,
        /// How the events are written.
        format: Format,
        /// Gets the stream's id and the stream.
        answer: oneshot::Sender<Result<(String, EventStream), Refusal>>,
    },
    /// A scheduler's connection has ended.
    Disconnected(ConnectionId),
    /// A process tells something.
    Told(Told),
    /// Anything else.
    With(Box<dyn FnOnce(&mut State) + Send>),
    /// The end.
    Stop(oneshot::Sender<()>),
}

/// How to reach the driver.
#[derive(Clone)]
pub(crate) struct Handle(UnboundedSender<Request>);

impl Handle {
    /// Of the driver that reads the other end.
    pub(crate) fn new(sender: UnboundedSender<Request>) -> Self {
        Self(sender)
    }

    /// Asks; nobody hears when the driver has ended.
    pub(crate) fn send(&self, request: Request) {
        let _ = self.0.send(request);
    }

    /// Does something with the state, in order with all requests. `None` when the driver has ended.
    pub(crate) async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut State) -> T + Send + 'static,
    ) -> Option<T> {
        let (sender, receiver) = oneshot::channel();
        self.send(Request::With(Box::new(move |state| drop(sender.send(work(state))))));
        receiver.await.ok()
    }
}

/// The driver.
pub(crate) struct Driver {
    state: State,
    requests: UnboundedReceiver<Request>,
    connections: BTreeMap<ConnectionId, Outlet>,
    /// The connections with something to flush.
    dirty: Vec<ConnectionId>,
    next_connection: u64,
    gone: Gone,
    start: Instant,
    start_unix_ms: u64,
}

impl Driver {
    /// With its state, and what is asked of it. `handle` is for those that tell it something later.
    pub(crate) fn new(state: State, requests: UnboundedReceiver<Request>, handle: &Handle) -> Self {
        let handle = handle.clone();
        Self {
            state,
            requests,
            connections: BTreeMap::new(),
            dirty: Vec::new(),
            next_connection: 0,
            gone: Arc::new(move |id| handle.send(Request::Disconnected(id))),
            start: Instant::now(),
            start_unix_ms: unix_ms(),
        }
    }

    /// Until it is told to stop.
    pub(crate) async fn run(mut self) {
        let mut batch = Vec::with_capacity(MAX_BATCH);
        self.state.mesos.advance(self.now_ms());
        self.flush();
        loop {
            let wake = self.wake_at();
            tokio::select! {
                biased;
                count = self.requests.recv_many(&mut batch, MAX_BATCH) => {
                    if count == 0 {
                        return;
                    }
                }
                () = tokio::time::sleep_until(wake) => {}
            }
            self.state.mesos.advance(self.now_ms());
            for request in batch.drain(..) {
                if let Request::Stop(stopped) = request {
                    self.state.tasks.kill_all();
                    let _ = stopped.send(());
                    return;
                }
                self.apply(request);
            }
            self.flush();
        }
    }

    /// The model's time: Unix's when the driver started, from then on tokio's clock.
    fn now_ms(&self) -> u64 {
        let elapsed = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.start_unix_ms.saturating_add(elapsed)
    }

    fn wake_at(&self) -> Instant {
        let now = Instant::now();
        match self.state.mesos.wake_at_ms() {
            Some(at) => {
                let since_start = at.saturating_sub(self.start_unix_ms);
                (self.start + Duration::from_millis(since_start)).min(now + IDLE)
            }
            None => now + IDLE,
        }
    }

    fn apply(&mut self, request: Request) {
        match request {
            Request::Call { stream_id, call, answer } => {
                let accepted = self.state.mesos.call(stream_id.as_deref(), *call);
                // The connection may be gone; the call counts all the same.
                let _ = answer.send(accepted);
            }
            Request::Subscribe { call, format, answer } => self.subscribe(*call, format, answer),
            Request::Disconnected(id) => {
                if self.connections.remove(&id).is_some() {
                    self.state.mesos.disconnected(id);
                }
            }
            Request::Told(told) => {
                let Some((agent, framework, task, report)) = self.state.tasks.hear(told) else {
                    return;
                };
                let mesos = &mut self.state.mesos;
                let killing = report.state == v1::TaskState::TaskKilling;
                if !killing || hears_killing(mesos, &framework.value) {
                    mesos.report(agent, &framework, &task, report);
                }
            }
            Request::With(work) => work(&mut self.state),
            Request::Stop(_) => {}
        }
    }

    fn subscribe(
        &mut self,
        call: Call,
        format: Format,
        answer: oneshot::Sender<Result<(String, EventStream), Refusal>>,
    ) {
        let id = ConnectionId(self.next_connection);
        self.next_connection += 1;
        let subscribed = self.state.mesos.subscribe(id, call).map(|stream_id| {
            let (outlet, stream) = Outlet::new(format, id, Arc::clone(&self.gone));
            self.connections.insert(id, outlet);
            (stream_id, stream)
        });
        // Without a receiver the stream is dropped, and that is told as any other end.
        let _ = answer.send(subscribed);
    }

    fn flush(&mut self) {
        for output in self.state.mesos.drain() {
            self.carry_out(output);
        }
        for id in std::mem::take(&mut self.dirty) {
            let Some(outlet) = self.connections.get_mut(&id) else { continue };
            if !outlet.flush() {
                self.connections.remove(&id);
                self.state.mesos.disconnected(id);
            }
        }
    }

    fn carry_out(&mut self, output: Output) {
        let tasks = &mut self.state.tasks;
        match output {
            Output::Event(id, event) => {
                let Some(outlet) = self.connections.get_mut(&id) else { return };
                if outlet.is_empty() {
                    self.dirty.push(id);
                }
                outlet.push(&event);
            }
            Output::Close(id) => {
                if let Some(mut outlet) = self.connections.remove(&id) {
                    outlet.flush();
                }
            }
            Output::Launch { agent, framework, tasks: infos } => {
                for task in infos {
                    tasks.launch(agent, &framework.value, task);
                }
            }
            Output::Kill { agent, framework, task, grace_ms } => {
                let grace = Duration::from_millis(grace_ms);
                tasks.kill(agent, &framework.value, &task.value, grace);
            }
            Output::DestroyVolume { agent, role, id } => {
                let work = tasks.work_dir(agent);
                remove(work.map(|work| work.volume(&role, &id)));
            }
        }
    }
}

/// Whether a framework wants to hear TASK_KILLING.
fn hears_killing(mesos: &Mesos, framework: &str) -> bool {
    let wanted = v1::framework_info::capability::Type::TaskKillingState;
    let info = mesos.framework(framework).map(Framework::info);
    info.is_some_and(|info| info.capabilities.iter().any(|one| one.r#type() == wanted))
}

/// Removes a directory beside the driver, as it may be large. It is renamed first, so that a volume
/// of the same id that is made at once begins empty.
fn remove(directory: Option<PathBuf>) {
    let Some(directory) = directory else { return };
    let stamp = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let aside = directory.with_extension(format!("destroyed-{}", stamp.as_nanos()));
    if std::fs::rename(&directory, &aside).is_ok() {
        tokio::task::spawn_blocking(move || drop(std::fs::remove_dir_all(aside)));
    }
}

/// Milliseconds since 1970.
pub(crate) fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// The agent with this index, as the model counts.
pub(crate) fn agent_index(index: usize) -> AgentIndex {
    AgentIndex(u32::try_from(index).unwrap_or(u32::MAX))
}
