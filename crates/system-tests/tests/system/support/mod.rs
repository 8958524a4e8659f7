//! What the tests have in common.

mod audit;
mod cluster;
mod failure;
mod files;
mod history;
mod jobs;
mod masters;
mod mesos;
mod programs;
mod rival;
mod upgrades;

use std::time::{Duration, Instant};

pub(crate) use audit::{Audit, Places, Watching};
pub(crate) use cluster::{
    CallError, Cluster, cli_command, fault_lasts, free_ports, master_command, yarpc,
};
pub(crate) use files::FileServer;
pub(crate) use history::{History, Keys};
pub(crate) use jobs::{Job, State, Task, config};
pub(crate) use masters::{Masters, Notes};
pub(crate) use mesos::{AnyMesos, Mesos as SharedMesos, shared_mesos};
pub(crate) use rival::{Greed, Rival};
pub(crate) use upgrades::Upgrade;

/// For anything that should come about by itself. Far more than it takes: tests are about what
/// happens, not about how fast.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Waits for a condition; until then it says why it is not so.
#[track_caller]
pub(crate) fn wait_until<T>(
    what: &str,
    deadline: Duration,
    condition: impl FnMut() -> Result<T, String>,
) -> T {
    wait_closely(what, deadline, LOOK_EVERY, condition)
}

/// The same, with other times between two looks: for what is soon over.
#[track_caller]
pub(crate) fn wait_closely<T>(
    what: &str,
    deadline: Duration,
    look_every: Duration,
    mut condition: impl FnMut() -> Result<T, String>,
) -> T {
    let end = Instant::now() + deadline;
    loop {
        match condition() {
            Ok(found) => return found,
            Err(why) => assert!(Instant::now() < end, "no {what} within {deadline:?}: {why}"),
        }
        std::thread::sleep(look_every);
    }
}
