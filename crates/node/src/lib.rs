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
mod environment;
mod fence;
mod finish;
mod heavy;
mod join;
mod lease;
mod load;
mod map;
mod members;
mod node;
mod orders;
mod outbox;
mod ownership;
mod reach;
mod run;
mod runner;
mod sharing;
mod status;

pub use cluster::{ClusterError, open_cluster, open_cluster_in};
pub use environment::{Clock, Environment, Inspect, MesosProbe, Random, Wrap};
pub use map::{ClusterMap, Lease, Member, Owner, ShardPlace};
pub use node::{Node, Options, Sharing};
pub use status::{ShardPhase, ShardStatus};
