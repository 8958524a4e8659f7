//! Sends the calls of one session.
//!
//! One call is under way at a time: the order is then certain, and an answer belongs to its call. The
//! exception are acknowledgements, of which several go side by side, each over a connection of its own
//! ([`ACKNOWLEDGEMENTS_AT_ONCE`]): they are most of all calls, two for each launch, and no order between
//! one and anything else means anything to Mesos, which sends the next update of a task only after it.
//! They do not overtake a call that was submitted before them and waits for its turn.
//!
//! Once a call may have gone out, it is never sent again: whether Mesos acted on it is unknown, so
//! the session counts as broken, and reconciliation settles what became of it.
//!
//! When the session ends, nothing further is sent, but the calls under way may still get their
//! answers: the stream's end and the answer to a TEARDOWN come at the same moment.

use crate::event::CallRejected;
use crate::handle::{CallError, Shared};
use crate::http::Task;
use crate::transport::{Answer, BoxFuture, Calls, Transport, TransportError};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use peloton_mesos_wire::calls::{CallKind, Verdict, framework_id_of, judge, kind};
use peloton_mesos_wire::session::Subscription;
use peloton_proto::mesos::v1::scheduler::Call;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// How many reports may wait for the main task: it takes them at once unless the owner is behind,
/// and then calls may wait, too.
pub(crate) const REPORTS_CAPACITY: usize = 64;

/// How many acknowledgements may be under way: enough to hide a round trip on a busy machine, where it
/// is a millisecond rather than the tenth of one that Mesos takes.
const ACKNOWLEDGEMENTS_AT_ONCE: usize = 6;

/// A call on its way.
#[derive(Debug)]
pub(crate) struct QueuedCall {
    pub(crate) call: Call,
    /// Where to answer, if somebody waits.
    pub(crate) reply: Option<oneshot::Sender<Result<(), CallError>>>,
}

/// What the sender tells the main task.
#[derive(Debug)]
pub(crate) enum Report {
    Rejected(Box<CallRejected>),
    Broken { epoch: u64, error: String },
}

/// A connection's turn: what was sent, and the answer.
struct Done {
    way: Way,
    queued: QueuedCall,
    result: Result<Answer, TransportError>,
}

/// A connection for calls.
#[derive(Debug)]
enum Way {
    /// For what has to keep its order: there is one.
    Ordered(Box<dyn Calls>),
    Acknowledgements(Box<dyn Calls>),
}

/// The calls of one session.
#[derive(Debug)]
pub(crate) struct Sender {
    epoch: u64,
    framework_id: String,
    /// The connections that nothing is under way on.
    ordered: Option<Box<dyn Calls>>,
    acknowledgements: Vec<Box<dyn Calls>>,
    call_timeout_ms: u64,
    shared: Arc<Shared>,
    queue: mpsc::Receiver<QueuedCall>,
    /// The first of the queue, while its connection is taken.
    waiting: Option<QueuedCall>,
    reports: mpsc::Sender<Report>,
    ended: Arc<AtomicBool>,
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.queue.close();
        let left = self.queue.len() + usize::from(self.waiting.is_some());
        let left = u64::try_from(left).unwrap_or(u64::MAX);
        self.shared.counters.calls_dropped.fetch_add(left, Relaxed);
    }
}

/// A running sender. Dropping it ends it at once.
#[derive(Debug)]
pub(crate) struct Sending {
    ended: Arc<AtomicBool>,
    _task: Task,
}

impl Sending {
    /// From now on nothing is sent. The call under way may still be answered.
    pub(crate) fn end(&self) {
        self.ended.store(true, Relaxed);
    }
}

/// The parts of a client that outlive its sessions.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) call_timeout_ms: u64,
    pub(crate) shared: Arc<Shared>,
    pub(crate) reports: mpsc::Sender<Report>,
}

impl Sender {
    /// Starts sending what comes out of the queue.
    pub(crate) fn start(
        surroundings: Surroundings,
        subscription: &Subscription,
        queue: mpsc::Receiver<QueuedCall>,
    ) -> Sending {
        let ended = Arc::new(AtomicBool::new(false));
        let way = || {
            surroundings
                .transport
                .calls(subscription.master.clone(), subscription.stream_id.clone())
        };
        let sender = Self {
            epoch: subscription.epoch,
            framework_id: subscription.framework_id.clone(),
            ordered: Some(way()),
            acknowledgements: (0..ACKNOWLEDGEMENTS_AT_ONCE).map(|_| way()).collect(),
            call_timeout_ms: surroundings.call_timeout_ms,
            shared: surroundings.shared,
            queue,
            waiting: None,
            reports: surroundings.reports,
            ended: ended.clone(),
        };
        let task = surroundings.transport.wrap(Box::pin(sender.run()));
        Sending { ended, _task: Task::spawn(task) }
    }

    async fn run(mut self) {
        let mut under_way = FuturesUnordered::new();
        loop {
            if let Some(queued) = self.waiting.take() {
                if self.ended.load(Relaxed) {
                    self.shared.counters.calls_dropped.fetch_add(1, Relaxed);
                } else if let Some(way) = self.free_way(&queued.call) {
                    under_way.push(self.send(way, queued));
                } else {
                    self.waiting = Some(queued);
                }
            }
            tokio::select! {
                biased;
                Some(done) = under_way.next() => {
                    if let Err(error) = self.answered(done).await {
                        return self.broken(error).await;
                    }
                }
                next = self.queue.recv(), if self.waiting.is_none() => match next {
                    Some(queued) => self.waiting = Some(queued),
                    None => break,
                },
            }
        }
        // What is under way may still be answered.
        while let Some(done) = under_way.next().await {
            if let Err(error) = self.answered(done).await {
                return self.broken(error).await;
            }
        }
    }

    /// A connection that the call may take now.
    fn free_way(&mut self, call: &Call) -> Option<Way> {
        match kind(call) {
            CallKind::Acknowledge | CallKind::AcknowledgeOperationStatus => {
                self.acknowledgements.pop().map(Way::Acknowledgements)
            }
            _ => self.ordered.take().map(Way::Ordered),
        }
    }

    /// Sends a call; the future waits for its answer.
    fn send(&self, mut way: Way, mut queued: QueuedCall) -> BoxFuture<Done> {
        queued.call.framework_id = Some(framework_id_of(&self.framework_id));
        let (Way::Ordered(calls) | Way::Acknowledgements(calls)) = &mut way;
        let exchange = calls.call(&queued.call);
        let limit_ms = self.call_timeout_ms;
        Box::pin(async move {
            let result = match timeout(Duration::from_millis(limit_ms), exchange).await {
                Ok(result) => result,
                Err(_) => Err(TransportError::new(format_args!("no answer within {limit_ms} ms"))),
            };
            Done { way, queued, result }
        })
    }

    /// Looks at an answer; an error says why the session is broken.
    async fn answered(&mut self, done: Done) -> Result<(), String> {
        match done.way {
            Way::Ordered(calls) => self.ordered = Some(calls),
            Way::Acknowledgements(calls) => self.acknowledgements.push(calls),
        }
        let QueuedCall { call, reply } = done.queued;
        let name = kind(&call).as_str_name();
        let Answer { status, body } =
            done.result.map_err(|error| format!("{name} failed: {error}"))?;
        match judge(status, &body) {
            Verdict::Accepted => {
                self.shared.counters.called(kind(&call));
                if let Some(reply) = reply {
                    let _ = reply.send(Ok(()));
                }
                Ok(())
            }
            Verdict::Rejected => {
                self.rejected(call, reply, status, body).await;
                Ok(())
            }
            Verdict::SessionLost => {
                Err(format!("{name} was answered with HTTP status {status}: {body}"))
            }
        }
    }

    async fn rejected(
        &self,
        call: Call,
        reply: Option<oneshot::Sender<Result<(), CallError>>>,
        status: u16,
        body: String,
    ) {
        self.shared.counters.calls_rejected.fetch_add(1, Relaxed);
        tracing::warn!(
            call = kind(&call).as_str_name(),
            status,
            body,
            framework_id = self.framework_id,
            "Mesos refused a call"
        );
        if let Some(reply) = reply {
            let _ = reply.send(Err(CallError::Rejected { status, body }));
            return;
        }
        let rejected = Box::new(CallRejected { epoch: self.epoch, call, status, body });
        let _ = self.reports.send(Report::Rejected(rejected)).await;
    }

    async fn broken(&mut self, error: String) {
        self.queue.close();
        let _ = self.reports.send(Report::Broken { epoch: self.epoch, error }).await;
    }
}
