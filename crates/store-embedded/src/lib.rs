//! The embedded store: one machine, one directory, durable.
//!
//! One writer thread owns all writes. It takes every transaction that is waiting, evaluates them in
//! order against the state that includes those before, writes them into one transaction of the
//! B-tree engine (redb), syncs once, publishes their events and only then answers: group commit. The
//! more writers wait, the more of them share a sync; nobody waits for a timer.
//!
//! Reads run on a few reader threads, each on a snapshot of the last commit, so they never wait for a
//! writer, and a slow disk never blocks an executor's thread (a read that misses the cache is a disk
//! read, and behind a sync it can take as long as the sync: not even a single get is done inline).
//!
//! Watches read a bounded ring of recent events in memory. What is older is answered `Compacted`, and
//! the watcher lists again; so does every watcher after a restart. Old revisions are kept for reading
//! only while somebody pages through them.
//!
//! Leases do not outlive the process, for all of their holders live in this process: keys attached to
//! a lease of a dead process are deleted when the store is opened.
//!
//! A disk error never ends the process. If the error came before the sync, the store opens its file
//! again, finds out whether the last batch is in it, and goes on; its health stays degraded until a
//! write succeeds, be it one that the store makes to find out. After a failed sync nobody knows what
//! is on the disk (the kernel forgets the pages it could not write), so the store stops serving, says
//! so in its health, and needs a restart.

mod batch;
mod disk;
mod errors;
mod leases;
mod lock;
mod options;
mod queue;
mod reader;
mod record;
mod schema;
mod shared;
mod snapshots;
mod store;
mod writer;

#[cfg(test)]
mod fault_tests;

pub use options::Options;
pub use schema::SCHEMA_VERSION;
pub use store::EmbeddedStore;
