//! Runs shards: ownership, inbox, commits, effects, timers.
//!
//! A shard's rules are in `peloton-core`, which does no I/O. Here is what it needs around it: a lease
//! that says who may run a shard, the shard's records read and written, a Mesos client, a clock. Each
//! shard is one task with one inbox; in it, inputs are stepped one after another, their writes are
//! gathered into transactions (each compares the ownership key, so a deposed owner cannot commit),
//! and effects leave when the transactions before them are durable.
//!
//! Whatever goes wrong (the lease is lost, a commit conflicts, a watch is compacted) ends the run of
//! the shard; the next one begins with the records. There is no other way of recovering.

mod cluster;
mod commit;
mod lease;
mod load;
mod node;
mod outbox;
mod run;
mod runner;
mod status;

pub use cluster::{ClusterError, open_cluster};
pub use node::{Node, Options};
pub use status::{ShardPhase, ShardStatus};

use std::sync::LazyLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The time in Unix milliseconds: the system's clock as it was at the start, moved on by the monotonic
/// one. A clock that is set while the process runs changes nothing about how long a wait is.
pub(crate) fn unix_ms() -> u64 {
    static START: LazyLock<(Instant, u128)> = LazyLock::new(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        (Instant::now(), since.as_millis())
    });
    let (start, unix_ms) = *START;
    u64::try_from(unix_ms + start.elapsed().as_millis()).unwrap_or(u64::MAX)
}
