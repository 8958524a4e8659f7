//! What a client tells its owner.

use peloton_mesos_wire::calls::{CallKind, kind};
use peloton_mesos_wire::session::{Failure, Reason};
use peloton_proto::mesos::v1::MasterInfo;
use peloton_proto::mesos::v1::scheduler::{Call, Event};

/// What a client tells its owner, in the order it happened.
///
/// Between a `Subscribed` and the next `Disconnected` or `Failed` lie the events of one session.
#[derive(Debug, Clone, PartialEq)]
pub enum MesosEvent {
    /// A session stands: offers will come, calls may be made, and it is time to reconcile.
    Subscribed(Box<Subscribed>),
    /// An event of Mesos: any kind but SUBSCRIBED, HEARTBEAT and ERROR, and always with the field
    /// that its kind announces.
    Event {
        /// The session's number.
        epoch: u64,
        /// The event.
        event: Box<Event>,
    },
    /// The session is over; its offers are void. The client is already about to reconnect. Every
    /// call not known to have had its effect has to be assumed lost.
    Disconnected {
        /// The session's number.
        epoch: u64,
        /// Why.
        reason: Reason,
    },
    /// The client has ended for good. Nothing follows.
    Failed(Failure),
    /// Mesos refused a call. The session goes on.
    CallRejected(Box<CallRejected>),
}

/// A session that stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Subscribed {
    /// The session's number, which every call has to name.
    pub epoch: u64,
    /// The framework's id, new or as asked for.
    pub framework_id: String,
    /// Where the leading master was reached, `host:port`.
    pub leader: String,
    /// What the master says about itself.
    pub master_info: Option<MasterInfo>,
    /// The interval of heartbeats, in milliseconds.
    pub heartbeat_interval_ms: u64,
}

/// A call that Mesos refused.
#[derive(Debug, Clone, PartialEq)]
pub struct CallRejected {
    /// The session's number.
    pub epoch: u64,
    /// The call as it was submitted.
    pub call: Call,
    /// The HTTP status.
    pub status: u16,
    /// Mesos's words.
    pub body: String,
}

impl CallRejected {
    /// The kind of the call.
    pub fn kind(&self) -> CallKind {
        kind(&self.call)
    }
}
