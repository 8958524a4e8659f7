//! The API's messages, clients and servers, one module a package.

/// Who changed something, and when.
#[allow(clippy::all, reason = "generated")]
pub mod changelog {
    include!(concat!(env!("OUT_DIR"), "/peloton.changelog.rs"));
}

/// Jobs: their configuration, their state, and the service that manages them.
#[allow(clippy::all, reason = "generated")]
pub mod job {
    include!(concat!(env!("OUT_DIR"), "/peloton.job.rs"));
}

/// Tasks: the instances of jobs and their runs, and the service that manages them.
#[allow(clippy::all, reason = "generated")]
pub mod task {
    include!(concat!(env!("OUT_DIR"), "/peloton.task.rs"));
}

/// Upgrades: workflows that take a job from one configuration version to another.
#[allow(clippy::all, reason = "generated")]
pub mod upgrade {
    include!(concat!(env!("OUT_DIR"), "/peloton.upgrade.rs"));
}

/// Volumes: disk of instances that outlives their runs, and the service that manages it.
#[allow(clippy::all, reason = "generated")]
pub mod volume {
    include!(concat!(env!("OUT_DIR"), "/peloton.volume.rs"));
}

/// The cluster as a whole: its masters and shards, and what they depend on.
#[allow(clippy::all, reason = "generated")]
pub mod cluster {
    include!(concat!(env!("OUT_DIR"), "/peloton.cluster.rs"));
}
