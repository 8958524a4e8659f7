//! The testbed against itself: a real master, real agents, our executor and fetcher.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, not only tests themselves"
)]

mod outages;
mod program;
mod scheduler;
mod tasks;

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use peloton_testbed::{Mesos, Options};

/// For conditions outside of Mesos's events.
const DEADLINE: Duration = Duration::from_secs(60);

/// One Mesos for all tests that do nothing to it. Nothing drops it: its guard ends it after us.
fn shared() -> Option<&'static Mesos> {
    static SHARED: OnceLock<Option<Mesos>> = OnceLock::new();
    SHARED.get_or_init(|| peloton_testbed::start(&Options::agents(2))).as_ref()
}

/// Waits for a condition, with a deadline.
#[track_caller]
fn eventually<T>(what: &str, condition: impl Fn() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < deadline, "no {what} within {DEADLINE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
