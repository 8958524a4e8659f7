//! The store against a real etcd: the suite that every back end must pass, and what etcd alone can do:
//! members that are killed, paused and cut off, compactions, passwords and certificates.

// All of this is test code; a helper may fail like a test does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod access;
mod compaction;
mod faults;
mod leases;
mod load;
mod lost_answers;
mod suite;
mod support;
