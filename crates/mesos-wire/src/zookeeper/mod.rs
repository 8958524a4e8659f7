//! Finding the leading master through ZooKeeper, without I/O.
//!
//! Masters register below one node, and the lowest number leads (`leader`). The [`Detector`] connects to
//! one server, lists the node's children with a watch, reads the leader's, and lists again whenever the
//! watch fires. As with a session, every decision is made here, and the driver moves bytes.
//!
//! *Only reading.* The detector has no nodes of its own, so a session is worth nothing to it: each connection
//! begins a new one and reads everything again. What must not happen is to read from a server that lags
//! behind what was read before; each connection names the last transaction that was seen, and servers that
//! have not got as far refuse it. After a session time-out in vain that is forgotten, since the ensemble
//! may have been set up anew.
//!
//! *ZooKeeper away* is no news about the leader: what was found last stands until something else is
//! read. That a server is silent is noticed by pings, after two thirds of the session time-out.

mod jute;
mod machine;
#[cfg(test)]
mod tests;
mod url;

pub use machine::Detector;
pub use url::{Server, Url, UrlError};

use crate::address::MasterAddress;

/// What a detector needs to know.
#[derive(Debug, Clone)]
pub struct DetectorOptions {
    /// Where to look.
    pub url: Url,
    /// The session time-out to ask for, in milliseconds; servers have bounds of their own.
    pub session_timeout_ms: u64,
    /// How long one attempt to begin a session may take, in milliseconds.
    pub connect_timeout_ms: u64,
    /// The pause after the first round of servers in vain, in milliseconds; doubles with each.
    pub backoff_min_ms: u64,
    /// The longest pause between rounds, in milliseconds.
    pub backoff_max_ms: u64,
}

impl DetectorOptions {
    /// Options with the default times.
    pub fn new(url: Url) -> Self {
        Self {
            url,
            // What Mesos itself asks for: nobody has to know of a change sooner than masters do.
            session_timeout_ms: 10_000,
            // A server that is down and silent costs this much at every round.
            connect_timeout_ms: 3_000,
            backoff_min_ms: 200,
            backoff_max_ms: 5_000,
        }
    }
}

/// The leading master as ZooKeeper has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leading {
    /// The name of its node, `json.info_` and a number that no other registration has.
    pub node: String,
    /// Where it listens.
    pub address: MasterAddress,
}

/// What happens to a detector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input<'a> {
    /// The time asked for with [`Output::WakeAt`] has come. Also what starts a new detector.
    Timer,
    /// Bytes from the server.
    Bytes {
        /// The epoch of the connection.
        epoch: u64,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// The connection could not be made, broke, or was closed by the server.
    Closed {
        /// The epoch of the connection.
        epoch: u64,
        /// What went wrong; `None` for an orderly end.
        error: Option<String>,
    },
}

/// What is to be done, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Connect to this server.
    Connect {
        /// The number of this connection, to be carried by all its inputs.
        epoch: u64,
        /// Where to.
        server: Server,
    },
    /// Send these bytes, after all those before, once there is a connection.
    Send {
        /// The epoch of the connection.
        epoch: u64,
        /// The bytes.
        bytes: Vec<u8>,
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
    /// A session stands, and the list of masters was read.
    Connected {
        /// The server.
        server: Server,
    },
    /// The leading master changed, or is known now; `None` if nobody leads. Comes after
    /// [`Output::Connected`], and at least once in each session that is the first to read something.
    Leader(Option<Leading>),
    /// Something went wrong. What can be mended by another attempt is tried again without a wish.
    Trouble {
        /// The server at which it did.
        server: Server,
        /// What.
        trouble: Trouble,
    },
}

/// Why a connection ended, or no leader could be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// The connection failed or broke.
    #[error("connection failed: {0}")]
    Connection(String),
    /// The server closed the connection, as one does that is part of no quorum, that lags behind, or whose
    /// session ran out.
    #[error("the server closed the connection")]
    Closed,
    /// The attempt took too long.
    #[error("no session within {after_ms} ms")]
    TimedOut {
        /// The time allowed, in milliseconds.
        after_ms: u64,
    },
    /// Nothing came, not even answers to pings.
    #[error("no answer for {silent_ms} ms")]
    Silent {
        /// How long nothing came, in milliseconds.
        silent_ms: u64,
    },
    /// What answers is no ZooKeeper.
    #[error("not ZooKeeper: {0}")]
    Malformed(&'static str),
    /// The server has given the session up.
    #[error("the session has expired")]
    SessionExpired,
    /// The server does not take the credentials.
    #[error("the credentials are refused")]
    AuthFailed,
    /// The node may not be read with these credentials.
    #[error("no permission to read {path}")]
    NoPermission {
        /// The node's path.
        path: String,
    },
    /// The server answered with an error.
    #[error("error {code} for {path}")]
    Refused {
        /// ZooKeeper's number for the error.
        code: i32,
        /// The path of the request.
        path: String,
    },
    /// What the masters wrote cannot be understood.
    #[error("{0}")]
    NotUnderstood(String),
}
