//! The owner's end of a client: making calls, asking how it is, stopping it.

use crate::CALL_QUEUE_CAPACITY;
use crate::sender::QueuedCall;
use crate::status::{self, ClientState, ClientStatus, Connection, Counters};
use crate::zookeeper::Detected;
use peloton_mesos_wire::calls;
use peloton_mesos_wire::session::Failure;
use peloton_proto::mesos::v1::scheduler::Call;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{mpsc, oneshot, watch};

/// What the handles and the client's tasks share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) connection: watch::Sender<Connection>,
    pub(crate) counters: Counters,
    zookeeper: Option<watch::Receiver<Detected>>,
    /// Whether the next subscription asks for no offers.
    pub(crate) suppressed: AtomicBool,
    /// The queue of the session that stands. A new session has a new queue, so nothing queued for
    /// an old one can get into it.
    queue: Mutex<Option<CallQueue>>,
}

/// The queue of one session.
#[derive(Debug, Clone)]
pub(crate) struct CallQueue {
    pub(crate) epoch: u64,
    pub(crate) calls: mpsc::Sender<QueuedCall>,
}

impl Shared {
    pub(crate) fn set_queue(&self, queue: Option<CallQueue>) {
        *self.lock() = queue;
    }

    fn lock(&self) -> MutexGuard<'_, Option<CallQueue>> {
        // The lock guards a plain value that is replaced as a whole: never half-changed.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the client's main task needs of its handle.
#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) shared: Arc<Shared>,
    /// What ZooKeeper says, where the leading master is found through it.
    pub(crate) detected: Option<watch::Receiver<Detected>>,
    /// Becomes true, or closes, when the client is to stop.
    pub(crate) stop: watch::Receiver<bool>,
    /// Dropped when the client has ended.
    pub(crate) running: watch::Sender<()>,
}

/// The owner's end of a client. Cheap to clone; the client stops when the last one is dropped.
#[derive(Debug, Clone)]
pub struct Handle {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    running: watch::Receiver<()>,
}

impl Handle {
    pub(crate) fn new(zookeeper: Option<watch::Receiver<Detected>>) -> (Self, Control) {
        let shared = Arc::new(Shared {
            connection: status::initial(),
            counters: Counters::default(),
            zookeeper: zookeeper.clone(),
            suppressed: AtomicBool::new(false),
            queue: Mutex::new(None),
        });
        let (stop, stop_receiver) = watch::channel(false);
        let (running_sender, running) = watch::channel(());
        let control = Control {
            shared: shared.clone(),
            detected: zookeeper,
            stop: stop_receiver,
            running: running_sender,
        };
        (Self { shared, stop, running }, control)
    }

    /// Queues a call for the session `epoch`, to be sent after all those queued before. Its
    /// `framework_id` is filled in. Never waits, so it may be called while handling an event.
    ///
    /// Success says only that the call was queued; see [`crate::MesosEvent`] for what is known of
    /// its fate.
    ///
    /// # Errors
    /// The call was not queued and will not be sent; it comes back with the reason.
    pub fn submit(&self, epoch: u64, call: Call) -> Result<(), SubmitError> {
        self.queue(epoch, QueuedCall { call, reply: None })
    }

    /// Whether the next call would not be refused for a full queue.
    pub fn has_room(&self) -> bool {
        self.shared.lock().as_ref().is_none_or(|queue| queue.calls.capacity() > 0)
    }

    /// Makes a call and waits for Mesos's answer to it.
    ///
    /// # Errors
    /// The call was not queued, was refused (there is no [`crate::MesosEvent::CallRejected`]
    /// then), or its fate is unknown because the session ended.
    pub async fn call(&self, epoch: u64, call: Call) -> Result<(), CallError> {
        let (reply, answer) = oneshot::channel();
        self.queue(epoch, QueuedCall { call, reply: Some(reply) })?;
        answer.await.unwrap_or(Err(CallError::SessionLost))
    }

    /// Ends the framework for good: Mesos kills all its tasks and forgets its id. Stops the client
    /// when that was accepted. Mesos ends the stream at the same moment, so the owner may see
    /// `Disconnected` or even `Failed` with `FrameworkRemoved` before.
    ///
    /// # Errors
    /// As [`Handle::call`]; the client then goes on.
    pub async fn teardown(&self, epoch: u64) -> Result<(), CallError> {
        match self.call(epoch, calls::teardown()).await {
            // Mesos ends the stream as it answers; the next subscription may be told first.
            Err(CallError::SessionLost) if self.is_removed() => Ok(()),
            Err(error) => Err(error),
            Ok(()) => {
                self.stop().await;
                Ok(())
            }
        }
    }

    fn is_removed(&self) -> bool {
        let state = &self.shared.connection.borrow().state;
        matches!(state, ClientState::Failed(Failure::FrameworkRemoved { .. }))
    }

    /// Says whether the framework wants no offers right after its next subscriptions. It does not
    /// suppress or revive the present session: that is done with calls.
    pub fn set_suppressed(&self, suppressed: bool) {
        self.shared.suppressed.store(suppressed, Relaxed);
    }

    /// How the client is.
    pub fn status(&self) -> ClientStatus {
        let connection = self.shared.connection.borrow().clone();
        let zookeeper = self.shared.zookeeper.as_ref().map(|detected| detected.borrow().clone());
        self.shared.counters.snapshot(connection, zookeeper)
    }

    /// The connection, to be waited on for changes.
    pub fn connection(&self) -> watch::Receiver<Connection> {
        self.shared.connection.subscribe()
    }

    /// Closes the stream, without a teardown, and waits until the client has ended. Queued calls
    /// are dropped. Stopping twice, or a client that has failed, does nothing.
    pub async fn stop(&self) {
        self.stop.send_replace(true);
        let mut running = self.running.clone();
        while running.changed().await.is_ok() {}
    }

    fn queue(&self, epoch: u64, queued: QueuedCall) -> Result<(), SubmitError> {
        let queue = self.shared.lock().clone();
        let (queued, reason) = match queue {
            None => (queued, NotSent::NotSubscribed),
            Some(queue) if queue.epoch != epoch => {
                (queued, NotSent::OtherSession { epoch, current: queue.epoch })
            }
            Some(queue) => match queue.calls.try_send(queued) {
                Ok(()) => return Ok(()),
                Err(mpsc::error::TrySendError::Full(queued)) => (queued, NotSent::QueueFull),
                Err(mpsc::error::TrySendError::Closed(queued)) => (queued, NotSent::NotSubscribed),
            },
        };
        self.shared.counters.calls_dropped.fetch_add(1, Relaxed);
        Err(SubmitError { reason, call: Box::new(queued.call) })
    }
}

/// A call that was not queued.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{} not sent: {reason}", calls::kind(call).as_str_name())]
pub struct SubmitError {
    /// Why.
    pub reason: NotSent,
    /// The call.
    pub call: Box<Call>,
}

/// Why a call was not queued.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    /// No session stands.
    #[error("not subscribed")]
    NotSubscribed,
    /// The call was made for another session than the present one.
    #[error("made for session {epoch}, but now there is session {current}")]
    OtherSession {
        /// The session the call was made for.
        epoch: u64,
        /// The session that stands.
        current: u64,
    },
    /// The master does not keep up: try again when some calls have been answered.
    #[error("{CALL_QUEUE_CAPACITY} calls are already queued")]
    QueueFull,
}

/// Why a call had no success.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CallError {
    /// It was not sent.
    #[error(transparent)]
    NotSent(#[from] SubmitError),
    /// Mesos refused it.
    #[error("refused with HTTP status {status}: {body}")]
    Rejected {
        /// The HTTP status.
        status: u16,
        /// Mesos's words.
        body: String,
    },
    /// The session ended before an answer came. The call may have had its effect or not.
    #[error("the session ended before an answer came")]
    SessionLost,
}
