//! One shard as a state machine without I/O: inputs in; writes, effects and a wake-up out.
//!
//! [`Shard::step`] is the only way in. It looks at no clock (time comes with each input), draws no
//! random number, and waits for nothing, so the same inputs always give the same outputs. Its state
//! is changed at once; whoever drives it makes the writes durable *before* it carries out the
//! effects that came with them or after them. That one rule gives both orders that must never break:
//! nothing is sent to Mesos before the decision behind it is durable, and no status update is
//! acknowledged before the state that it brought is.
//!
//! Every decision is derived from what is stored and what Mesos says, never from a memory of what
//! was sent. So recovery is no second path: a shard built from its records ([`Snapshot`]) drives the
//! same instances through the same rules, and Mesos's answers to reconciliation fill in the rest.

mod asks;
mod ctx;
mod demand;
mod input;
mod instance;
mod invariants;
mod job;
mod offers;
mod output;
mod persist;
#[cfg(feature = "planted-bugs")]
mod planted;
mod reconcile;
mod recover;
mod resize;
mod retained;
mod shard;
mod slots;
mod status;
mod upgrade;
mod volumes;

pub use input::{
    Input, MesosEvent, Offer, OfferedVolume, OperationState, OperationUpdate, Reserved, SlotRef,
    StatusUpdate, TaskStatus,
};
pub use output::{Accept, Effect, Fetch, Launch, Mounted, Operation, Output, VolumeSpec, Write};
pub use persist::{PersistError, encode};
#[cfg(feature = "planted-bugs")]
pub use planted::Bug;
pub use recover::{RecordError, Snapshot};
pub use shard::{Settings, Shard, Totals};
pub use volumes::FETCH_PATH;
