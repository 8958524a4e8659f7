//! A master's connections to the world: its power switch, and what holds its messages up.
//!
//! A pause of a master is made here, too: nothing leaves it and nothing comes in until it ends. To all
//! others that is a process that stands still and then goes on with what it had begun, lease or no lease.

use crate::sim::Sim;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use tokio::sync::Notify;

/// Which way a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Store,
    Mesos,
}

/// The connections of one process of a master; the next process has others.
#[derive(Debug)]
pub(crate) struct Link {
    /// The master's id, which it writes into the store.
    pub(crate) name: String,
    on: AtomicBool,
    paused_until: AtomicU64,
    store_cut_until: AtomicU64,
    mesos_cut_until: AtomicU64,
    /// Counts how often the connections to Mesos were reset.
    resets: AtomicU64,
    opened: Notify,
}

impl Link {
    pub(crate) fn new(name: String) -> Self {
        Self {
            name,
            on: AtomicBool::new(true),
            paused_until: AtomicU64::new(0),
            store_cut_until: AtomicU64::new(0),
            mesos_cut_until: AtomicU64::new(0),
            resets: AtomicU64::new(0),
            opened: Notify::new(),
        }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Relaxed)
    }

    /// From now on nothing leaves the process, and nothing reaches it.
    pub(crate) fn kill(&self) {
        self.on.store(false, Relaxed);
    }

    pub(crate) fn pause(&self, until: u64) {
        self.paused_until.fetch_max(until, Relaxed);
    }

    pub(crate) fn cut(&self, way: Way, until: u64) {
        self.cut_of(way).fetch_max(until, Relaxed);
    }

    /// Ends every hold-up.
    pub(crate) fn heal(&self) {
        for until in [&self.paused_until, &self.store_cut_until, &self.mesos_cut_until] {
            until.store(0, Relaxed);
        }
        self.opened.notify_waiters();
    }

    pub(crate) fn reset(&self) {
        self.resets.fetch_add(1, Relaxed);
    }

    pub(crate) fn resets(&self) -> u64 {
        self.resets.load(Relaxed)
    }

    fn cut_of(&self, way: Way) -> &AtomicU64 {
        match way {
            Way::Store => &self.store_cut_until,
            Way::Mesos => &self.mesos_cut_until,
        }
    }

    /// Until when the process stands still; the past where it runs.
    pub(crate) fn paused_until(&self) -> u64 {
        self.paused_until.load(Relaxed)
    }

    /// Until when nothing passes that way; the past where it is open.
    pub(crate) fn cut_until(&self, way: Way) -> u64 {
        self.cut_of(way).load(Relaxed)
    }

    /// Until when nothing comes in that way, for whatever reason.
    pub(crate) fn held_until(&self, way: Way) -> u64 {
        self.cut_until(way).max(self.paused_until())
    }

    /// When a message that is sent now leaves.
    pub(crate) fn leaves_at(&self, sim: &Sim) -> u64 {
        sim.now_ms().max(self.paused_until())
    }

    /// Waits until something can come in; for ever where the process is dead.
    pub(crate) async fn opened(&self, sim: &Sim, way: Way) {
        loop {
            if !self.is_on() {
                std::future::pending::<()>().await;
            }
            let until = self.held_until(way);
            if until <= sim.now_ms() {
                return;
            }
            tokio::select! {
                biased;
                () = self.opened.notified() => {}
                () = tokio::time::sleep_until(sim.at(until)) => {}
            }
        }
    }
}
