//! No master calls Mesos without end: questions whose answers lead to the same questions would do no harm
//! to the state, and much to Mesos.

use crate::link::Link;
use crate::sim::Sim;
use std::collections::BTreeMap;

/// The time over which calls are counted, in milliseconds.
const WINDOW_MS: u64 = 60_000;
/// The most calls of one master in that time; the busiest minutes of sound masters have a tenth of it.
const MOST: u64 = 6_000;

/// The calls of each master in the present window.
#[derive(Default)]
pub(super) struct Storm {
    window: u64,
    calls: BTreeMap<String, u64>,
}

impl Storm {
    pub(super) fn called(&mut self, sim: &Sim, link: &Link) {
        let window = sim.now_ms() / WINDOW_MS;
        if window != self.window {
            self.window = window;
            self.calls.clear();
        }
        let calls = self.calls.entry(link.name.clone()).or_default();
        *calls += 1;
        if *calls == MOST {
            sim.violated(format!("{} made {MOST} calls within a minute", link.name));
        }
    }
}
