//! The whole, through its public interfaces: `peloton-master` and `peloton` as child processes, the
//! API over HTTP, and Mesos's own operators' interface to compare with what they say.
//!
//! Every test has a master of its own, with a role and a store of its own. Tests that do nothing to
//! Mesos share one; those that break it have their own.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, not only tests themselves"
)]

mod agents;
mod authentication;
mod command_line;
mod curl;
mod deletion;
mod etcd_masters;
mod etcd_quorum;
mod etcd_start;
mod grpc;
mod kills;
mod many_instances;
mod mesos_election;
mod minicluster;
mod outage;
mod placement;
mod process;
mod support;
mod task_life;
mod upgrades;
mod volumes;
