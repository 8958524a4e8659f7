//! The key-value contract (etcd's semantics), the key schema, the in-memory model, the suite every
//! back end must pass.
//!
//! Peloton keeps all of its state in one ordered, transactional, watched key space. This crate says
//! what such a store must do and nothing about how: [`Store`] is the contract, [`MemoryState`] its
//! executable specification, and the suite compares a back end with the model operation by operation.
//! The semantics are etcd's because etcd is what a cluster runs on; the embedded back end follows.
//!
//! - Every transaction that changes something gets a [`Revision`] of its own, one above the last.
//! - Reads are linearizable: they see every transaction that was answered before they began.
//! - A watch delivers all events of one revision together, in order, none lost and none twice.
//! - A lease that runs out deletes the keys attached to it, as one revision.
//!
//! The crate is pure: no runtime, no threads besides the optional ticker of [`MemoryStore`], no I/O.

mod check;
mod error;
mod event_log;
pub mod keys;
mod memory;
mod pages;
mod store;
#[cfg(feature = "suite")]
pub mod suite;
mod types;
mod watch_hub;

pub use error::StoreError;
pub use event_log::{EventLog, LogBounds};
pub use memory::{MemoryState, MemoryStore};
pub use pages::{Pager, range_all};
pub use store::{BoxFuture, Health, Store, WatchStream};
pub use types::{
    Compare, Event, GetResponse, Key, KeyRange, KeyValue, LeaseGrant, LeaseId, Limits, Op,
    RangeRequest, RangeResponse, Revision, Txn, TxnResult, Value, WatchBatch,
};
pub use watch_hub::WatchHub;
