//! One scheduler connection as a state machine.
//!
//! The machine owns every decision: which master to try, when to try again, whether the stream is
//! still alive, what an event or a status code means. The driver owns the sockets and the clock:
//! it feeds [`Input`]s with the time and a random number, and performs the [`Output`]s in order.
//!
//! Every connection attempt has an *epoch*, a number that only grows. Inputs carry the epoch they
//! belong to and those of an older one are ignored, so a driver need not care about races between
//! closing a connection and what was still under way in it.
//!
//! Masters are tried in rounds: the last leader first, then all configured ones, without a pause
//! between them, because usually just one of several is the one to talk to. Only a whole round in
//! vain makes the machine wait, longer each time, with jitter, so that the frameworks of a cluster
//! do not return in step after their master's restart.
//!
//! Where somebody else finds the leader, as ZooKeeper does, there is no list, and [`Input::Leader`] says
//! where to go: at once, from wherever the session is. That nobody leads ends nothing: a stream that works
//! is kept until it breaks, since the master at its other end is the one to know whether it leads.
//!
//! Two things end a session for good, because the same attempt again would be wrong or useless:
//! another owner took the framework over, or Mesos has given the framework id up. Refused
//! credentials and an invalid subscription end it too: only a changed configuration helps. All
//! else is retried for ever.

mod machine;
#[cfg(test)]
mod tests;

pub use machine::Session;

use crate::address::{AddressError, MasterAddress};
use crate::recordio::{MAX_RECORD_BYTES, RecordError};
use peloton_proto::mesos::v1::MasterInfo;
use peloton_proto::mesos::v1::scheduler::Event;

/// How many heartbeats may be missing before a silent stream counts as dead. Mesos's own client
/// library uses the same number; fewer would turn a long pause of the master into a lost session.
pub const MISSED_HEARTBEATS: u64 = 5;

/// The heartbeat interval when a master names none, which is what Mesos uses, in milliseconds.
pub const DEFAULT_HEARTBEAT_MS: u64 = 15_000;

/// The least heartbeat interval believed, in milliseconds: a master that says 0 would otherwise
/// make every session die at once.
pub const MIN_HEARTBEAT_MS: u64 = 10;

/// The greatest heartbeat interval believed, in milliseconds: above, a dead stream would go
/// unnoticed for the better part of an hour.
pub const MAX_HEARTBEAT_MS: u64 = 600_000;

/// How many redirects are followed in a row. One is enough in a healthy cluster; masters that
/// point at each other during an election must not be chased in a tight loop.
pub const MAX_REDIRECTS: u32 = 3;

/// What a session needs to know from the start.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    /// The configured masters in the order to try them; none where [`Input::Leader`] says who leads.
    pub masters: Vec<MasterAddress>,
    /// The framework id to subscribe with; none for a framework that Mesos does not know yet.
    pub framework_id: Option<String>,
    /// The pause after the first round in vain, in milliseconds; doubles with each round.
    pub backoff_min_ms: u64,
    /// The longest pause between two rounds, in milliseconds.
    pub backoff_max_ms: u64,
    /// How long one attempt may take from connecting to SUBSCRIBED, in milliseconds.
    pub subscribe_timeout_ms: u64,
    /// The most bytes one event may have.
    pub max_record_bytes: usize,
}

impl SessionOptions {
    /// The pause after the first round in vain: long enough not to burden a starting master,
    /// short enough not to be noticed.
    pub const DEFAULT_BACKOFF_MIN_MS: u64 = 200;
    /// The longest pause: how late a recovered Mesos may be noticed.
    pub const DEFAULT_BACKOFF_MAX_MS: u64 = 10_000;
    /// The time for one attempt: a leader just elected is busy with all its agents at once.
    pub const DEFAULT_SUBSCRIBE_TIMEOUT_MS: u64 = 20_000;

    /// Options with the default times and limits.
    pub fn new(masters: Vec<MasterAddress>, framework_id: Option<String>) -> Self {
        Self {
            masters,
            framework_id,
            backoff_min_ms: Self::DEFAULT_BACKOFF_MIN_MS,
            backoff_max_ms: Self::DEFAULT_BACKOFF_MAX_MS,
            subscribe_timeout_ms: Self::DEFAULT_SUBSCRIBE_TIMEOUT_MS,
            max_record_bytes: MAX_RECORD_BYTES,
        }
    }
}

/// The head of the answer to SUBSCRIBE, with the body where the status is not 200.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResponseHead {
    /// The HTTP status.
    pub status: u16,
    /// The header `Content-Type`.
    pub content_type: Option<String>,
    /// The header `Mesos-Stream-Id`.
    pub stream_id: Option<String>,
    /// The header `Location`.
    pub location: Option<String>,
    /// The body as text where the status is not 200, cut to a sensible length.
    pub error_body: String,
}

/// What happens to a session.
#[derive(Debug, Clone, PartialEq)]
pub enum Input<'a> {
    /// The time asked for with [`Output::WakeAt`] has come. Also what starts a new session.
    Timer,
    /// The master answered the SUBSCRIBE of this epoch.
    Response {
        /// The epoch of the connection.
        epoch: u64,
        /// The answer's head.
        head: ResponseHead,
    },
    /// Bytes of the event stream.
    Body {
        /// The epoch of the connection.
        epoch: u64,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// The connection could not be made, broke, or was closed by the master.
    Closed {
        /// The epoch of the connection.
        epoch: u64,
        /// What went wrong; `None` for an orderly end.
        error: Option<String>,
    },
    /// Somebody who watches the masters' election says who leads now; `None` if nobody does. To be given
    /// again for a new election, also when it has the same winner.
    Leader {
        /// Where the leading master listens.
        address: Option<MasterAddress>,
    },
    /// A call showed that the session is over.
    CallBroke {
        /// The epoch of the session the call was made for.
        epoch: u64,
        /// What the call met.
        error: String,
    },
}

/// What is to be done, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Connect to this master and send SUBSCRIBE with [`Session::framework_id`].
    Connect {
        /// The number of this attempt, to be carried by all its inputs.
        epoch: u64,
        /// Where to.
        master: MasterAddress,
    },
    /// Close the connection of this epoch; what it still delivers is ignored.
    Close {
        /// The epoch of the connection.
        epoch: u64,
    },
    /// Give [`Input::Timer`] at this time. Replaces any earlier wish.
    WakeAt {
        /// The time on the driver's clock, in milliseconds.
        at_ms: u64,
    },
    /// The session stands. Calls may be made.
    Subscribed(Box<Subscription>),
    /// An event for the owner of the framework: any kind but SUBSCRIBED, HEARTBEAT and ERROR.
    Event {
        /// The epoch of the session.
        epoch: u64,
        /// The event.
        event: Box<Event>,
    },
    /// A session that stood is over. Another attempt follows by itself.
    Lost {
        /// The epoch of the session.
        epoch: u64,
        /// Why.
        reason: Reason,
    },
    /// An attempt to subscribe failed. Another one follows by itself.
    AttemptFailed {
        /// The epoch of the attempt.
        epoch: u64,
        /// The master that was tried.
        master: MasterAddress,
        /// Why.
        reason: Reason,
    },
    /// The machine has stopped for good.
    Failed(Failure),
}

/// A session that stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Subscription {
    /// The session's number.
    pub epoch: u64,
    /// The framework's id, new or as asked for.
    pub framework_id: String,
    /// What every call of this session must carry.
    pub stream_id: String,
    /// Where the leading master was reached.
    pub master: MasterAddress,
    /// What the master says about itself.
    pub master_info: Option<MasterInfo>,
    /// The interval of heartbeats, in milliseconds, after sanitizing.
    pub heartbeat_interval_ms: u64,
}

/// Why an attempt failed or a session ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The connection failed or broke.
    #[error("connection failed: {0}")]
    Connection(String),
    /// The master ended the stream in good order.
    #[error("the master closed the stream")]
    Closed,
    /// Nothing came for too long.
    #[error("no heartbeat for {silent_ms} ms")]
    HeartbeatsMissed {
        /// How long nothing came, in milliseconds.
        silent_ms: u64,
    },
    /// The attempt took too long.
    #[error("not subscribed within {after_ms} ms")]
    TimedOut {
        /// The time allowed, in milliseconds.
        after_ms: u64,
    },
    /// The master answered SUBSCRIBE with a status that may change with time.
    #[error("SUBSCRIBE was answered with HTTP status {status}: {body}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The body as text.
        body: String,
    },
    /// The master points to another one: the normal way to the leader.
    #[error("redirected to {leader}")]
    Redirected {
        /// The master it points to.
        leader: MasterAddress,
    },
    /// Another master leads now.
    #[error("the leading master is {leader} now")]
    LeaderChanged {
        /// The master that leads.
        leader: MasterAddress,
    },
    /// The masters point at each other.
    #[error("more than {MAX_REDIRECTS} redirects in a row")]
    TooManyRedirects,
    /// A redirect that names no master.
    #[error("redirected to nowhere: {0}")]
    BadRedirect(#[from] AddressError),
    /// What answers is no Mesos master.
    #[error("not a Mesos master: {0}")]
    NotMesos(&'static str),
    /// The stream is no RecordIO.
    #[error("broken event stream: {0}")]
    Framing(#[from] RecordError),
    /// A record is no event.
    #[error("undecodable event: {0}")]
    Undecodable(String),
    /// The master ended the stream with an ERROR event.
    #[error("Mesos says: {0}")]
    Error(String),
    /// A call showed that the session is over.
    #[error("{0}")]
    CallBroke(String),
}

/// Why a session ended for good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Somebody else subscribed with the same framework id: they own it now.
    #[error("another scheduler has taken the framework over")]
    FailedOver,
    /// Mesos has given the framework id up: torn down, or its fail-over time-out has passed. All
    /// its tasks are dead; only a new id helps.
    #[error("Mesos has removed the framework: {message}")]
    FrameworkRemoved {
        /// Mesos's words.
        message: String,
    },
    /// The credential is wrong or missing, or does not allow to subscribe.
    #[error("authentication refused by {master} with HTTP status {status}: {body}")]
    AuthenticationRefused {
        /// The master that refused.
        master: MasterAddress,
        /// 401 or 403.
        status: u16,
        /// The body as text.
        body: String,
    },
    /// Mesos finds the SUBSCRIBE call itself wrong, for example a principal other than the
    /// authenticated one.
    #[error("subscription invalid according to {master}: {body}")]
    InvalidSubscription {
        /// The master that refused.
        master: MasterAddress,
        /// The body as text.
        body: String,
    },
}

/// Where a session stands, for status pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Waiting before the next round.
    Disconnected {
        /// How many rounds were in vain since the last session.
        attempt: u32,
    },
    /// An attempt is under way.
    Connecting {
        /// How many rounds were in vain since the last session.
        attempt: u32,
        /// The master being tried.
        master: MasterAddress,
    },
    /// The session stands.
    Subscribed {
        /// What every call of this session must carry.
        stream_id: String,
        /// The leading master.
        master: MasterAddress,
        /// The interval of heartbeats, in milliseconds.
        heartbeat_interval_ms: u64,
        /// When something last came from the master, on the driver's clock, in milliseconds.
        last_heard_at_ms: u64,
    },
    /// Stopped for good.
    Failed(Failure),
}
