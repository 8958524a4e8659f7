//! Sends the calls of one session, in the order they were submitted.
//!
//! One call is under way at a time: the order is then certain, and an answer belongs to its call.
//! Should the round trip become the limit, this is the place to pipeline, since Mesos answers the
//! requests of a connection in order: nothing outside knows how many calls are under way.
//!
//! Once a call may have gone out, it is never sent again: whether Mesos acted on it is unknown, so
//! the session counts as broken, and reconciliation settles what became of it.
//!
//! When the session ends, nothing further is sent, but the call under way may still get its
//! answer: the stream's end and the answer to a TEARDOWN come at the same moment.

use crate::event::CallRejected;
use crate::handle::{CallError, Shared};
use crate::http::Task;
use crate::transport::{Answer, Calls, Transport, TransportError};
use peloton_mesos_wire::calls::{Verdict, framework_id_of, judge, kind};
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

/// The calls of one session.
#[derive(Debug)]
pub(crate) struct Sender {
    pub(crate) epoch: u64,
    pub(crate) framework_id: String,
    pub(crate) calls: Box<dyn Calls>,
    pub(crate) call_timeout_ms: u64,
    pub(crate) shared: Arc<Shared>,
    pub(crate) queue: mpsc::Receiver<QueuedCall>,
    pub(crate) reports: mpsc::Sender<Report>,
    ended: Arc<AtomicBool>,
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.queue.close();
        let left = u64::try_from(self.queue.len()).unwrap_or(u64::MAX);
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
        let (master, stream_id) = (subscription.master.clone(), subscription.stream_id.clone());
        let sender = Self {
            epoch: subscription.epoch,
            framework_id: subscription.framework_id.clone(),
            calls: surroundings.transport.calls(master, stream_id),
            call_timeout_ms: surroundings.call_timeout_ms,
            shared: surroundings.shared,
            queue,
            reports: surroundings.reports,
            ended: ended.clone(),
        };
        Sending { ended, _task: Task::spawn(sender.run()) }
    }

    async fn run(mut self) {
        while let Some(queued) = self.queue.recv().await {
            if self.ended.load(Relaxed) {
                self.shared.counters.calls_dropped.fetch_add(1, Relaxed);
                return;
            }
            let QueuedCall { mut call, reply } = queued;
            call.framework_id = Some(framework_id_of(&self.framework_id));
            let name = kind(&call).as_str_name();
            let Answer { status, body } = match self.exchange(&call).await {
                Ok(answer) => answer,
                Err(error) => return self.broken(format!("{name} failed: {error}")).await,
            };
            match judge(status, &body) {
                Verdict::Accepted => {
                    self.shared.counters.called(kind(&call));
                    if let Some(reply) = reply {
                        let _ = reply.send(Ok(()));
                    }
                }
                Verdict::Rejected => self.rejected(call, reply, status, body).await,
                Verdict::SessionLost => {
                    let error = format!("{name} was answered with HTTP status {status}: {body}");
                    return self.broken(error).await;
                }
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

    /// Sends a call and waits for its answer.
    async fn exchange(&mut self, call: &Call) -> Result<Answer, TransportError> {
        let limit_ms = self.call_timeout_ms;
        match timeout(Duration::from_millis(limit_ms), self.calls.call(call)).await {
            Ok(result) => result,
            Err(_) => Err(TransportError::new(format_args!("no answer within {limit_ms} ms"))),
        }
    }
}
