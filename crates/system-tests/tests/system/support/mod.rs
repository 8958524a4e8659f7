//! What the tests have in common.

mod audit;
mod cluster;
mod jobs;
mod programs;

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use peloton_testbed::{Mesos, Options};

pub(crate) use audit::{Audit, Watching};
pub(crate) use cluster::{CallError, Cluster, fault_lasts, master_command, yarpc};
pub(crate) use jobs::{Job, State, Task, config};

/// For anything that should come about by itself. Far more than it takes: tests are about what
/// happens, not about how fast.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// One Mesos for all tests that do nothing to it. Nothing drops it: its guard ends it after us.
pub(crate) fn shared_mesos() -> Option<&'static Mesos> {
    static SHARED: OnceLock<Option<Mesos>> = OnceLock::new();
    SHARED.get_or_init(|| peloton_testbed::start(&Options::agents(4))).as_ref()
}

/// Waits for a condition; until then it says why it is not so.
#[track_caller]
pub(crate) fn wait_until<T>(
    what: &str,
    deadline: Duration,
    mut condition: impl FnMut() -> Result<T, String>,
) -> T {
    let end = Instant::now() + deadline;
    loop {
        match condition() {
            Ok(found) => return found,
            Err(why) => assert!(Instant::now() < end, "no {what} within {deadline:?}: {why}"),
        }
        std::thread::sleep(LOOK_EVERY);
    }
}
