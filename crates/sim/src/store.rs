//! The store as a master sees it: over a network that delays, loses and fails.
//!
//! Requests of one master and of several overtake each other, as requests do that a client multiplexes. A
//! commit can fail before it happened, its answer can get lost, and it can happen long after the master
//! was told that nobody knows.

use crate::link::{Link, Way};
use crate::sim::{NEVER, Sim, lock};
use futures_util::{FutureExt as _, StreamExt as _, stream};
use peloton_store::{
    BoxFuture, GetResponse, Health, Key, KeyRange, LeaseGrant, LeaseId, Limits, MemoryState,
    MemoryStore, RangeRequest, RangeResponse, Revision, Store, StoreError, Txn, TxnResult,
    WatchStream,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::oneshot;

/// After this long a master gives an answer up, in milliseconds.
const PATIENCE_MS: (u64, u64) = (1_000, 5_000);
/// A break of the network that is shorter than this is only slowness: TCP sends again.
const RESEND_MS: u64 = 2_000;

/// The store itself, and its mood.
pub(crate) struct StoreSide {
    pub(crate) memory: MemoryStore,
    /// Of a thousand requests, how many fail, on top of what the seed's quiet times have.
    fails_per_mille: AtomicU64,
    /// How much longer a request may take, in milliseconds.
    slow_ms: AtomicU64,
    /// The faults are over.
    calm: AtomicBool,
}

impl StoreSide {
    pub(crate) fn new() -> Self {
        Self {
            memory: MemoryStore::with_virtual_time(MemoryState::default()),
            fails_per_mille: AtomicU64::new(0),
            slow_ms: AtomicU64::new(0),
            calm: AtomicBool::new(false),
        }
    }

    pub(crate) fn wake_at(&self) -> u64 {
        self.memory.next_deadline().map_or(NEVER, millis)
    }

    /// Lets leases run out.
    pub(crate) fn advance(&self, sim: &Sim, now: u64) {
        let due = self.wake_at() <= now;
        self.memory.advance(Duration::from_millis(now));
        if due {
            sim.note("store", b"expired", || "a lease ran out".to_owned());
        }
    }

    pub(crate) fn trouble(&self, fails_per_mille: u64, slow_ms: u64) {
        self.fails_per_mille.store(fails_per_mille, Relaxed);
        self.slow_ms.store(slow_ms, Relaxed);
    }

    /// From now on nothing fails.
    pub(crate) fn calm_down(&self) {
        self.trouble(0, 0);
        self.calm.store(true, Relaxed);
    }

    /// Forgets history up to now.
    pub(crate) fn compact(&self) {
        let at = self.memory.look(MemoryState::revision);
        self.memory.compact(at);
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(NEVER)
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Works,
    /// It never happens, and the answer says so.
    Refused,
    /// It never happens, and nobody can tell.
    Lost,
    /// It happens; the answer gets lost.
    AnswerLost,
    /// It happens, after the master was told that nobody knows.
    Late,
}

/// A request that is on its way.
struct Request<T> {
    sim: Arc<Sim>,
    link: Arc<Link>,
    /// Whether it changes something: then a lost answer leaves the outcome unknown.
    writes: bool,
    fate: Fate,
    work: Box<dyn FnOnce() -> Result<T, StoreError> + Send>,
    answer: oneshot::Sender<Result<T, StoreError>>,
}

impl<T: Send + 'static> Request<T> {
    fn send(self) {
        let at = self.link.leaves_at(&self.sim) + self.latency();
        let sim = self.sim.clone();
        sim.schedule(at, move |_| self.arrive());
    }

    fn latency(&self) -> u64 {
        let slow = self.sim.store.slow_ms.load(Relaxed);
        self.sim.latency() + self.sim.draw(|r| r.below(slow + 1))
    }

    fn arrive(self) {
        let now = self.sim.now_ms();
        if !self.link.is_on() {
            // It was on the network when its sender died.
            if self.sim.draw(|r| r.coin()) {
                let _nobody_asks_any_more = (self.work)();
            }
            return;
        }
        let cut_until = self.link.cut_until(Way::Store);
        if cut_until > now {
            if cut_until - now <= RESEND_MS {
                let sim = self.sim.clone();
                return sim.schedule(cut_until, move |_| self.arrive());
            }
            return self.give_up();
        }
        match self.fate {
            Fate::Works => self.happen(),
            Fate::Refused => {
                let reason = "simulated: nothing happened".to_owned();
                let at = now + self.latency();
                reply(
                    self.sim,
                    self.link,
                    at,
                    self.answer,
                    Err(StoreError::Unavailable { reason }),
                );
            }
            Fate::Lost => self.give_up(),
            Fate::AnswerLost => {
                let _lost = (self.work)();
                fail(self.sim, self.link, self.writes, self.answer);
            }
            Fate::Late => {
                fail(self.sim.clone(), self.link, self.writes, self.answer);
                let (work, at) = (self.work, now + self.sim.draw(|r| r.within(1, 30_000)));
                self.sim.schedule(at, move |_| drop((work)()));
            }
        }
    }

    fn happen(self) {
        let latency = self.latency();
        let result = (self.work)();
        let (sim, link) = (self.sim, self.link);
        let at = sim.now_ms() + latency;
        reply(sim, link, at, self.answer, result);
    }

    /// It never arrives.
    fn give_up(self) {
        fail(self.sim, self.link, self.writes, self.answer);
    }
}

/// The answer does not come; the master notices after a while.
fn fail<T: Send + 'static>(
    sim: Arc<Sim>,
    link: Arc<Link>,
    writes: bool,
    answer: oneshot::Sender<Result<T, StoreError>>,
) {
    let reason = "simulated: no answer".to_owned();
    let error =
        if writes { StoreError::Unknown { reason } } else { StoreError::Unavailable { reason } };
    let at = sim.now_ms() + sim.draw(|r| r.within(PATIENCE_MS.0, PATIENCE_MS.1));
    sim.clone().schedule(at, move |sim| {
        let at = link.paused_until();
        deliver(sim, &link, at, answer, Err(error));
    });
}

/// Brings an answer back, if the way is open when it arrives.
fn reply<T: Send + 'static>(
    sim: Arc<Sim>,
    link: Arc<Link>,
    at: u64,
    answer: oneshot::Sender<Result<T, StoreError>>,
    result: Result<T, StoreError>,
) {
    sim.clone().schedule(at, move |sim| {
        let until = link.cut_until(Way::Store);
        let now = sim.now_ms();
        if until > now + RESEND_MS {
            let failed = StoreError::Unknown { reason: "simulated: no answer".to_owned() };
            let at = now + sim.draw(|r| r.within(PATIENCE_MS.0, PATIENCE_MS.1));
            return deliver(sim, &link, at.max(link.paused_until()), answer, Err(failed));
        }
        deliver(sim, &link, until.max(link.paused_until()), answer, result);
    });
}

fn deliver<T: Send + 'static>(
    sim: &Arc<Sim>,
    link: &Arc<Link>,
    at: u64,
    answer: oneshot::Sender<Result<T, StoreError>>,
    result: Result<T, StoreError>,
) {
    if at > sim.now_ms() {
        let link = link.clone();
        return sim.schedule(at, move |sim| deliver(sim, &link, 0, answer, result));
    }
    if link.is_on() {
        // Whoever asked may have given up.
        let _ = answer.send(result);
    }
}

/// The store of one process of a master.
pub(crate) struct SimStore {
    sim: Arc<Sim>,
    link: Arc<Link>,
}

impl SimStore {
    pub(crate) fn new(sim: Arc<Sim>, link: Arc<Link>) -> Arc<Self> {
        Arc::new(Self { sim, link })
    }

    fn ask<T: Send + 'static>(
        &self,
        writes: bool,
        work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, StoreError>> {
        let (answer, answered) = oneshot::channel();
        if self.link.is_on() && !self.sim.is_over() {
            let fate = self.draw_fate(writes);
            let (sim, link) = (self.sim.clone(), self.link.clone());
            Request { sim, link, writes, fate, work: Box::new(work), answer }.send();
        }
        Box::pin(async move {
            match answered.await {
                Ok(result) => result,
                // The process is dead, or the simulation over.
                Err(_) => std::future::pending().await,
            }
        })
    }

    fn draw_fate(&self, writes: bool) -> Fate {
        let quiet =
            if self.sim.store.calm.load(Relaxed) { 0 } else { self.sim.plan.store_fails_per_mille };
        let fails = quiet + self.sim.store.fails_per_mille.load(Relaxed);
        self.sim.draw(|r| {
            if !r.per_mille(fails) {
                return Fate::Works;
            }
            match r.below(4) {
                0 => Fate::Refused,
                1 => Fate::Lost,
                2 if writes => Fate::AnswerLost,
                3 if writes => Fate::Late,
                _ => Fate::Refused,
            }
        })
    }
}

/// Asks the store itself, which answers at once.
fn now<T>(future: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let reason = "simulated: the store has to answer at once".to_owned();
    future.now_or_never().unwrap_or(Err(StoreError::Unavailable { reason }))
}

impl Store for SimStore {
    fn limits(&self) -> Limits {
        self.sim.store.memory.limits()
    }

    fn health(&self) -> Health {
        Health::Ok
    }

    fn get(&self, key: Key) -> BoxFuture<'_, Result<GetResponse, StoreError>> {
        let sim = self.sim.clone();
        self.ask(false, move || now(sim.store.memory.get(key)))
    }

    fn range(&self, request: RangeRequest) -> BoxFuture<'_, Result<RangeResponse, StoreError>> {
        let sim = self.sim.clone();
        self.ask(false, move || now(sim.store.memory.range(request)))
    }

    fn commit(&self, txn: Txn) -> BoxFuture<'_, Result<TxnResult, StoreError>> {
        let (sim, link) = (self.sim.clone(), self.link.clone());
        self.ask(true, move || sim.commit(&link, txn))
    }

    fn watch(&self, range: KeyRange, from: Revision) -> WatchStream {
        let (sim, link) = (self.sim.clone(), self.link.clone());
        let inner = self.sim.store.memory.watch(range, from);
        Box::pin(stream::unfold((sim, link, inner), |(sim, link, mut inner)| async move {
            let item = inner.next().await?;
            let at = sim.now_ms() + sim.latency();
            tokio::time::sleep_until(sim.at(at)).await;
            link.opened(&sim, Way::Store).await;
            Some((item, (sim, link, inner)))
        }))
    }

    fn lease_grant(&self, ttl: Duration) -> BoxFuture<'_, Result<LeaseGrant, StoreError>> {
        let sim = self.sim.clone();
        self.ask(true, move || now(sim.store.memory.lease_grant(ttl)))
    }

    fn lease_keep_alive(&self, id: LeaseId) -> BoxFuture<'_, Result<Duration, StoreError>> {
        let sim = self.sim.clone();
        self.ask(true, move || now(sim.store.memory.lease_keep_alive(id)))
    }

    fn lease_revoke(&self, id: LeaseId) -> BoxFuture<'_, Result<(), StoreError>> {
        let sim = self.sim.clone();
        self.ask(true, move || now(sim.store.memory.lease_revoke(id)))
    }

    fn lease_time_to_live(&self, id: LeaseId) -> BoxFuture<'_, Result<Duration, StoreError>> {
        let sim = self.sim.clone();
        self.ask(false, move || now(sim.store.memory.lease_time_to_live(id)))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        // The store is there for the others, too.
        Box::pin(async {})
    }
}

impl Sim {
    /// A transaction reaches the store.
    fn commit(&self, link: &Link, txn: Txn) -> Result<TxnResult, StoreError> {
        self.store.memory.advance(Duration::from_millis(self.now_ms()));
        let before = lock(&self.checks).before_commit(self, &txn);
        let result = now(self.store.memory.commit(txn.clone()));
        self.note_commit(link, &txn, &result);
        if let Ok(TxnResult::Committed { .. }) = &result {
            lock(&self.checks).committed(self, link, &txn, before);
        }
        result
    }

    fn note_commit(&self, link: &Link, txn: &Txn, result: &Result<TxnResult, StoreError>) {
        let mut bytes = Vec::with_capacity(256);
        for op in &txn.then {
            match op {
                peloton_store::Op::Put { key, value, .. } => {
                    bytes.extend_from_slice(key);
                    bytes.extend_from_slice(value);
                }
                peloton_store::Op::Delete { key } => bytes.extend_from_slice(key),
                peloton_store::Op::DeleteRange { range } => bytes.extend_from_slice(&range.start),
            }
        }
        self.note(&link.name, &bytes, || {
            let outcome = match result {
                Ok(TxnResult::Committed { revision }) => format!("commit {revision}"),
                Ok(TxnResult::Conflict { .. }) => "commit conflicts".to_owned(),
                Err(error) => format!("commit fails: {error}"),
            };
            let ops: Vec<String> = txn.then.iter().map(op_words).collect();
            format!("{outcome}: {}", ops.join("; "))
        });
    }
}

fn op_words(op: &peloton_store::Op) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match op {
        peloton_store::Op::Put { key, value, .. } if key.starts_with(b"d/") => {
            format!("{} ({} bytes)", text(key), value.len())
        }
        peloton_store::Op::Put { key, value, .. } => format!("{}={}", text(key), text(value)),
        peloton_store::Op::Delete { key } => format!("-{}", text(key)),
        peloton_store::Op::DeleteRange { range } => format!("-{}*", text(&range.start)),
    }
}
