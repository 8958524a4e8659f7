//! A master's connections to the world: its power switch, and what holds its messages up.
//!
//! A pause of a master is made here, too: nothing leaves it and nothing comes in until it ends, and none of its
//! tasks is polled ([`Link::wrap`]). Its timers ring when it goes on, all that were due meanwhile, while what it
//! had begun goes on, lease or no lease.

use crate::sim::{Sim, lock};
use peloton_store::BoxFuture;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
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
    /// Tasks that were woken during a pause, in that order.
    asleep: Mutex<Vec<Waker>>,
}

/// A task of a process that can stand still.
struct Pausable {
    sim: Arc<Sim>,
    link: Arc<Link>,
    task: BoxFuture<'static, ()>,
}

impl Future for Pausable {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.link.paused_until() > self.sim.now_ms() {
            lock(&self.link.asleep).push(cx.waker().clone());
            return Poll::Pending;
        }
        self.task.as_mut().poll(cx)
    }
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
            asleep: Mutex::default(),
        }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Relaxed)
    }

    /// From now on nothing leaves the process, and nothing reaches it.
    pub(crate) fn kill(&self) {
        self.on.store(false, Relaxed);
    }

    pub(crate) fn pause(self: &Arc<Self>, sim: &Sim, until: u64) {
        self.paused_until.fetch_max(until, Relaxed);
        let link = self.clone();
        sim.schedule(until, move |_| link.wake());
    }

    /// Lets a task of this process stand still with it.
    pub(crate) fn wrap(
        self: &Arc<Self>,
        sim: &Arc<Sim>,
        task: BoxFuture<'static, ()>,
    ) -> BoxFuture<'static, ()> {
        Box::pin(Pausable { sim: sim.clone(), link: self.clone(), task })
    }

    /// Polls what was woken meanwhile; what still stands still goes back to sleep.
    fn wake(&self) {
        let woken = std::mem::take(&mut *lock(&self.asleep));
        for task in woken {
            task.wake();
        }
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
        self.wake();
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
