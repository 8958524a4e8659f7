//! The API through its port: real sockets, a real store in memory, both encodings.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]
#![allow(unreachable_pub, reason = "a test binary has no users; `pub` is what its modules share")]

mod changes;
mod dying;
mod encodings;
mod errors;
mod etcd;
mod faults;
mod jobs;
mod outcomes;
mod stale;
mod support;
mod tasks;
mod upgrade_controls;
mod upgrade_reads;
mod upgraded_jobs;
mod upgrades;
mod versions;
