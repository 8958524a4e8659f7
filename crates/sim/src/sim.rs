//! What all parts of a simulated cluster share: time, the messages on their way, the store, Mesos, the
//! checkers.
//!
//! Everything that crosses the network is an [`Event`] with the time of its arrival. One task, [`run`],
//! takes them in the order of their times, and of their sending where the times are equal; masters are
//! tokio tasks of the same thread. tokio's clock is paused, so when nobody has anything to do it moves to
//! the next timer at once.

use crate::check::Checks;
use crate::mesos::MesosSide;
use crate::plan::Plan;
use crate::random::Random;
use crate::store::StoreSide;
use crate::trace::{Lines, Trace};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// Something that happens when its time has come.
pub(crate) type Event = Box<dyn FnOnce(&Arc<Sim>) + Send>;

/// "Never", as a time.
pub(crate) const NEVER: u64 = u64::MAX;

/// Where the masters' clocks begin, in Unix milliseconds: a day in 2026.
pub(crate) const EPOCH_UNIX_MS: u64 = 1_780_000_000_000;

struct Due {
    at: u64,
    number: u64,
    event: Event,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}
impl Eq for Due {}
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

#[derive(Default)]
struct Queue {
    heap: BinaryHeap<Reverse<Due>>,
    number: u64,
}

/// What all parts share.
pub(crate) struct Sim {
    pub(crate) plan: Plan,
    started: Instant,
    queue: Mutex<Queue>,
    /// Until when the task that takes events sleeps.
    sleeps_until: AtomicU64,
    poked: Notify,
    network: Mutex<Random>,
    trace: Mutex<Trace>,
    pub(crate) store: StoreSide,
    pub(crate) mesos: Mutex<MesosSide>,
    pub(crate) checks: Mutex<Checks>,
    violation: Mutex<Option<String>>,
    /// Told when there is a violation.
    pub(crate) failed: Notify,
    /// The simulation is over: what is dropped now is not sent anywhere.
    over: AtomicBool,
}

impl Sim {
    pub(crate) fn new(plan: Plan, lines: Lines) -> Arc<Self> {
        Arc::new(Self {
            started: Instant::now(),
            queue: Mutex::default(),
            sleeps_until: AtomicU64::new(NEVER),
            poked: Notify::new(),
            network: Mutex::new(Random::new(plan.seed, 1)),
            trace: Mutex::new(Trace::new(lines)),
            store: StoreSide::new(),
            mesos: Mutex::new(MesosSide::new(&plan)),
            checks: Mutex::new(Checks::new()),
            violation: Mutex::new(None),
            failed: Notify::new(),
            over: AtomicBool::new(false),
            plan,
        })
    }

    /// The time since the start, in milliseconds.
    pub(crate) fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(NEVER)
    }

    pub(crate) fn at(&self, ms: u64) -> Instant {
        self.started + Duration::from_millis(ms)
    }

    /// Lets something happen at a time; things of the same time in the order of these calls.
    pub(crate) fn schedule(&self, at: u64, event: impl FnOnce(&Arc<Self>) + Send + 'static) {
        {
            let mut queue = lock(&self.queue);
            queue.number += 1;
            let number = queue.number;
            queue.heap.push(Reverse(Due { at, number, event: Box::new(event) }));
        }
        self.poke(at);
    }

    /// Something is to be looked at then.
    pub(crate) fn poke(&self, at: u64) {
        if at < self.sleeps_until.load(Relaxed) {
            self.sleeps_until.store(at, Relaxed);
            self.poked.notify_one();
        }
    }

    fn pop_due(&self, now: u64) -> Option<Event> {
        let mut queue = lock(&self.queue);
        if queue.heap.peek().is_none_or(|Reverse(due)| due.at > now) {
            return None;
        }
        queue.heap.pop().map(|Reverse(due)| due.event)
    }

    fn next_at(&self) -> u64 {
        let event = lock(&self.queue).heap.peek().map_or(NEVER, |Reverse(due)| due.at);
        event.min(self.store.wake_at()).min(lock(&self.mesos).wake_at())
    }

    /// Draws for the network.
    pub(crate) fn draw<T>(&self, draw: impl FnOnce(&mut Random) -> T) -> T {
        draw(&mut lock(&self.network))
    }

    /// How long a message takes: a millisecond or some, now and then far longer.
    pub(crate) fn latency(&self) -> u64 {
        let slow = self.plan.slow_per_mille;
        self.draw(|r| if r.per_mille(slow) { r.within(20, 1500) } else { r.within(1, 4) })
    }

    /// Notes what happened: for the hash the bytes, for people the words.
    pub(crate) fn note(&self, who: &str, bytes: &[u8], words: impl FnOnce() -> String) {
        let now = self.now_ms();
        let mut trace = lock(&self.trace);
        trace.mix_number(now);
        trace.mix(bytes);
        if trace.wants_lines() {
            trace.line(format!("{:>10.3} {who:<8} {}", now as f64 / 1000.0, words()));
        }
    }

    /// Something that must not be; the first one counts.
    pub(crate) fn violated(&self, what: String) {
        let mut violation = lock(&self.violation);
        if violation.is_none() {
            let now = self.now_ms();
            lock(&self.trace).line(format!("{:>10.3} VIOLATED {what}", now as f64 / 1000.0));
            *violation = Some(what);
            self.failed.notify_one();
        }
    }

    pub(crate) fn violation(&self) -> Option<String> {
        lock(&self.violation).clone()
    }

    pub(crate) fn hash(&self) -> u64 {
        lock(&self.trace).hash()
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        lock(&self.trace).lines()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Relaxed)
    }

    pub(crate) fn end(&self) {
        self.over.store(true, Relaxed);
        // What waits here holds ends of channels, whose other ends hold us.
        let left = std::mem::take(&mut lock(&self.queue).heap);
        drop(left);
    }
}

/// Takes events when their time has come, for ever.
pub(crate) async fn run(sim: Arc<Sim>) {
    loop {
        // Awake: whatever is scheduled now is seen before the next sleep.
        sim.sleeps_until.store(0, Relaxed);
        let now = sim.now_ms();
        sim.store.advance(&sim, now);
        if lock(&sim.mesos).wake_at() <= now {
            sim.with_mesos(|_| {});
        }
        while let Some(event) = sim.pop_due(now) {
            event(&sim);
        }
        let next = sim.next_at();
        if next <= sim.now_ms() {
            tokio::task::yield_now().await;
            continue;
        }
        sim.sleeps_until.store(next, Relaxed);
        // An hour stands for "never".
        let wake = sim.at(next.min(now + 3_600_000));
        tokio::select! {
            biased;
            () = sim.poked.notified() => {}
            () = sleep_until(wake) => {}
        }
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
