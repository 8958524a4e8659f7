//! Limits on everything that comes from outside, each with its reason.

/// Longest job id: it is part of task ids, which appear in sandbox paths (255 bytes a name).
pub const MAX_JOB_ID_CHARS: usize = 128;
/// Most instances of one job: ten times the largest cluster aimed for has a million in all.
pub const MAX_INSTANCES: u32 = 1_000_000;
/// Most dynamic and static ports of one instance: an agent has a few thousand to share.
pub const MAX_PORTS: usize = 64;
/// Most labels of a job: they are copied into each task's launch message.
pub const MAX_LABELS: usize = 128;
/// Most environment variables: they are copied into each task's launch message.
pub const MAX_ENVIRONMENT: usize = 1024;
/// Most placement constraints of a job: each is checked for each candidate agent.
pub const MAX_CONSTRAINTS: usize = 32;
/// Most URIs of a command.
pub const MAX_URIS: usize = 64;
/// Most volumes of an instance: each is a mount, and a resource in each offer.
pub const MAX_VOLUMES: usize = 32;
/// Longest free text field (description, label values), in bytes.
pub const MAX_TEXT_BYTES: usize = 16 * 1024;
/// Largest encoded job configuration, in bytes: a tenth of etcd's default request limit (1.5 MiB), so that
/// a launch message with a few of them, and a transaction, always fit.
pub const MAX_CONFIG_BYTES: usize = 128 * 1024;
/// Largest scalar resource, in whole units (CPUs, MB): far above any machine, far below overflow.
pub const MAX_SCALAR: f64 = 1e9;
/// Most shards of a cluster: each is a framework with a connection to Mesos.
pub const MAX_SHARDS: u16 = 1024;
/// Longest time span in a configuration, in seconds: a year.
pub const MAX_SECS: u64 = 366 * 24 * 3600;
/// Runs of an instance whose records are kept.
pub const RUN_HISTORY: u64 = 10;
/// Configuration versions of a job that are kept, the current one included.
pub const KEPT_VERSIONS: u64 = 100;
/// Upgrades of a job whose history is kept, the last one included.
pub const KEPT_UPGRADES: usize = 20;
/// Most events kept of one upgrade: each instance has two or three, and counts tell of a million of them
/// better than a list. Beyond it only failures and what concerns the whole are written.
pub const MAX_UPGRADE_EVENTS: u64 = 10_000;
/// Most instances that a record names one by one.
pub const MAX_NAMED_INSTANCES: usize = 1000;
/// Most separate ranges with a goal of their own in one job; see [`crate::Goals`].
pub const MAX_GOAL_RANGES: usize = 10_000;
/// Entries of a page in list calls where the caller names no limit.
pub const DEFAULT_PAGE: u32 = 1000;
/// Most entries of a page in list calls.
pub const MAX_PAGE: u32 = 10_000;
