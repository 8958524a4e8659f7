//! What lies below a client: how its calls get to a master, and what comes back.
//!
//! The session above decides everything; a transport only carries. [`crate::MesosClient::spawn`] uses
//! HTTP over TCP, and [`crate::MesosClient::spawn_with`] takes any other, as a simulated network.

use bytes::Bytes;
use peloton_mesos_wire::MasterAddress;
use peloton_mesos_wire::session::ResponseHead;
use peloton_proto::mesos::v1::scheduler::Call;
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::pin::Pin;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;

/// A future of a transport. Dropping it gives up what it is about.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Why something could not be carried, in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TransportError(String);

impl TransportError {
    /// An error in these words.
    pub fn new(why: impl fmt::Display) -> Self {
        Self(why.to_string())
    }
}

/// The way to the masters.
pub trait Transport: fmt::Debug + Send + Sync + 'static {
    /// Sends a SUBSCRIBE to a master and hands over what comes back: the head of the answer, then
    /// its body piece by piece. Ready when the master ended the stream; dropping the future closes
    /// the connection.
    ///
    /// # Errors
    /// There was no connection, or it broke.
    fn subscribe(
        &self,
        master: MasterAddress,
        call: Call,
        pieces: Pieces,
    ) -> BoxFuture<Result<(), TransportError>>;

    /// The way for the calls of the session `stream_id`. Connects with the first call.
    fn calls(&self, master: MasterAddress, stream_id: String) -> Box<dyn Calls>;

    /// Put around each task of a client. The default leaves it as it is; a simulation holds a process up in
    /// this way.
    fn wrap(&self, task: BoxFuture<()>) -> BoxFuture<()> {
        task
    }

    /// A random number, for jitter. The default takes it from the system.
    fn random(&self) -> u64 {
        // The standard library seeds its hashers from the system: good enough for jitter.
        RandomState::new().build_hasher().finish()
    }

    /// The time of day in Unix milliseconds, for people to read. The default is the system's.
    fn unix_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

/// The way for the calls of one session. Dropping it closes the connection.
pub trait Calls: fmt::Debug + Send + Sync {
    /// Sends a call. Calls arrive in the order of these methods' calls, and are answered in that
    /// order. What was sent is not taken back by dropping the future: whether it arrives is unknown.
    ///
    /// # Errors
    /// There was no connection, or it broke: whether Mesos acted on the call is unknown.
    fn call(&mut self, call: &Call) -> BoxFuture<Result<Answer, TransportError>>;
}

/// The answer to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The text of an error; empty where there is none.
    pub body: String,
}

/// A piece of what comes from a master.
#[derive(Debug)]
pub(crate) enum Piece {
    Head(ResponseHead),
    Body(Bytes),
    Closed(Option<String>),
}

/// Where a transport puts what comes back to a SUBSCRIBE.
#[derive(Debug)]
pub struct Pieces {
    epoch: u64,
    sender: mpsc::Sender<(u64, Piece)>,
}

impl Pieces {
    pub(crate) fn new(epoch: u64, sender: mpsc::Sender<(u64, Piece)>) -> Self {
        Self { epoch, sender }
    }

    /// Hands over the head of the answer; waits while the client is behind. Whether anybody still
    /// listens.
    pub async fn head(&self, head: ResponseHead) -> bool {
        self.send(Piece::Head(head)).await
    }

    /// Hands over bytes of the body, cut anywhere; waits while the client is behind. Whether anybody
    /// still listens.
    pub async fn body(&self, bytes: Bytes) -> bool {
        self.send(Piece::Body(bytes)).await
    }

    pub(crate) async fn closed(&self, error: Option<String>) {
        // Nobody listens any more when the client is ending.
        let _ = self.send(Piece::Closed(error)).await;
    }

    async fn send(&self, piece: Piece) -> bool {
        self.sender.send((self.epoch, piece)).await.is_ok()
    }
}
