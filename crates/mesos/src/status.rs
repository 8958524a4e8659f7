//! How a client is, for health pages and metrics.
//!
//! What changes rarely goes through a watch channel, so that somebody can wait for it; what
//! changes with every event or call is in atomics, so that counting costs nothing.

use crate::masters::Found;
use crate::zookeeper::Detected;
use peloton_mesos_wire::calls::CallKind;
use peloton_mesos_wire::session::Failure;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tokio::sync::watch;

/// Where a client stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientState {
    /// All masters were tried in vain; waiting before the next round.
    Disconnected {
        /// How many rounds were in vain.
        attempt: u32,
    },
    /// A master is being tried.
    Connecting {
        /// How many rounds were in vain so far.
        attempt: u32,
        /// The master, `host:port`.
        master: String,
    },
    /// The session stands.
    Subscribed,
    /// Ended for good.
    Failed(Failure),
    /// Stopped by its owner.
    Stopped,
}

/// A client's connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// Where the client stands.
    pub state: ClientState,
    /// The number of the session that stands.
    pub epoch: Option<u64>,
    /// The leading master, `host:port`, while a session stands.
    pub leader: Option<String>,
    /// How that master was found.
    pub found: Option<Found>,
    /// The framework's id, once known.
    pub framework_id: Option<String>,
    /// What last went wrong, until the next session stands.
    pub last_problem: Option<String>,
}

/// A client's status at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientStatus {
    /// The connection.
    pub connection: Connection,
    /// What ZooKeeper says, where the leading master is found through it.
    pub zookeeper: Option<Detected>,
    /// When something last came from the master, in milliseconds since the Unix epoch.
    pub last_heard_at_unix_ms: Option<u64>,
    /// How many sessions there have been.
    pub subscriptions: u64,
    /// How many of them were lost.
    pub disconnects: u64,
    /// How many attempts to subscribe failed (redirects not counted).
    pub failed_attempts: u64,
    /// How many events were handed to the owner.
    pub events: u64,
    /// How many events were skipped, being of an unknown kind or empty.
    pub events_skipped: u64,
    /// How many calls Mesos accepted, by kind; kinds never called are left out.
    pub calls: Vec<(CallKind, u64)>,
    /// How many calls Mesos refused.
    pub calls_rejected: u64,
    /// How many calls were not sent: made without a session, for another one, into a full queue,
    /// or still queued when their session ended.
    pub calls_dropped: u64,
}

/// One more than the largest number of a kind of call.
const CALL_KINDS: usize = CallKind::UpdateFramework as usize + 1;

/// The counters behind a status.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    last_heard_at_unix_ms: AtomicU64,
    pub(crate) subscriptions: AtomicU64,
    pub(crate) disconnects: AtomicU64,
    pub(crate) failed_attempts: AtomicU64,
    pub(crate) events: AtomicU64,
    pub(crate) events_skipped: AtomicU64,
    calls: [AtomicU64; CALL_KINDS],
    pub(crate) calls_rejected: AtomicU64,
    pub(crate) calls_dropped: AtomicU64,
}

impl Counters {
    pub(crate) fn heard_at(&self, unix_ms: u64) {
        self.last_heard_at_unix_ms.store(unix_ms, Relaxed);
    }

    pub(crate) fn called(&self, kind: CallKind) {
        if let Some(counter) = self.calls.get(kind as usize) {
            counter.fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn snapshot(
        &self,
        connection: Connection,
        zookeeper: Option<Detected>,
    ) -> ClientStatus {
        let last = self.last_heard_at_unix_ms.load(Relaxed);
        let calls = (0i32..).zip(&self.calls).filter_map(|(number, count)| {
            let (kind, count) = (CallKind::try_from(number).ok()?, count.load(Relaxed));
            (count > 0).then_some((kind, count))
        });
        ClientStatus {
            connection,
            zookeeper,
            last_heard_at_unix_ms: (last > 0).then_some(last),
            subscriptions: self.subscriptions.load(Relaxed),
            disconnects: self.disconnects.load(Relaxed),
            failed_attempts: self.failed_attempts.load(Relaxed),
            events: self.events.load(Relaxed),
            events_skipped: self.events_skipped.load(Relaxed),
            calls: calls.collect(),
            calls_rejected: self.calls_rejected.load(Relaxed),
            calls_dropped: self.calls_dropped.load(Relaxed),
        }
    }
}

/// The connection of a client that has not tried anything yet.
pub(crate) fn initial() -> watch::Sender<Connection> {
    watch::Sender::new(Connection {
        state: ClientState::Disconnected { attempt: 0 },
        epoch: None,
        leader: None,
        found: None,
        framework_id: None,
        last_problem: None,
    })
}
