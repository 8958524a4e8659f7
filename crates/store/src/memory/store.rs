//! The model behind the contract: for tests, for the simulator, and for trying things out.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::MemoryState;
use crate::{
    BoxFuture, EventLog, GetResponse, Health, Key, KeyRange, LeaseGrant, LeaseId, Limits,
    LogBounds, RangeRequest, RangeResponse, Revision, Store, StoreError, Txn, TxnResult, WatchHub,
    WatchStream,
};

/// How often the ticker of a store in real time looks for leases that ran out.
const TICK: Duration = Duration::from_millis(20);

/// A store in memory. [`MemoryStore::new`] lives in real time; [`MemoryStore::with_virtual_time`]
/// stands still until [`MemoryStore::advance`] is called. Cloning shares it.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    inner: Mutex<Inner>,
    hub: WatchHub,
}

#[derive(Debug)]
struct Inner {
    state: MemoryState,
    published: Revision,
    clock: Clock,
    closed: bool,
}

#[derive(Debug)]
enum Clock {
    Real { epoch: Instant, ticking: bool },
    Virtual { now: Duration },
}

impl Clock {
    fn now(&self) -> Duration {
        match self {
            Self::Real { epoch, .. } => epoch.elapsed(),
            Self::Virtual { now } => *now,
        }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStore {
    /// An empty store in real time. A thread that expires leases starts with the first lease and ends
    /// with the store.
    pub fn new() -> Self {
        Self::from_state(MemoryState::default(), None)
    }

    /// A store at virtual time zero: leases run out in [`Self::advance`] and at no other time.
    pub fn with_virtual_time(state: MemoryState) -> Self {
        Self::from_state(state, Some(Duration::ZERO))
    }

    fn from_state(state: MemoryState, virtual_now: Option<Duration>) -> Self {
        let clock = match virtual_now {
            Some(now) => Clock::Virtual { now },
            None => Clock::Real { epoch: Instant::now(), ticking: false },
        };
        let revision = state.revision();
        let hub = WatchHub::new(EventLog::new(revision, LogBounds::NONE));
        let inner = Inner { state, published: revision, clock, closed: false };
        Self { shared: Arc::new(Shared { inner: Mutex::new(inner), hub }) }
    }

    /// Moves virtual time to `now` (since the store's start; never backwards), and expires what ran
    /// out until then. In real time it only expires.
    pub fn advance(&self, now: Duration) {
        self.shared.with(|inner| {
            if let Clock::Virtual { now: current } = &mut inner.clock {
                *current = now.max(*current);
            }
            inner.state.advance(inner.clock.now());
        });
    }

    /// Forgets history; see [`MemoryState::compact`].
    pub fn compact(&self, at: Revision) {
        self.shared.with(|inner| inner.state.compact(at));
        self.shared.hub.compact(at);
    }

    /// When the next lease runs out, since the store's start.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.shared.lock().state.next_deadline()
    }

    /// Looks at the state without a copy. `look` must not use the store.
    pub fn look<T>(&self, look: impl FnOnce(&MemoryState) -> T) -> T {
        look(&self.shared.lock().state)
    }

    /// A copy of the state, to look at.
    pub fn state(&self) -> MemoryState {
        self.shared.lock().state.clone()
    }

    fn start_ticker(&self) {
        let mut inner = self.shared.lock();
        let Clock::Real { ticking, .. } = &mut inner.clock else { return };
        if std::mem::replace(ticking, true) {
            return;
        }
        let shared = Arc::downgrade(&self.shared);
        // Without the thread leases still run out at the next operation, only watches hear it later.
        let _ =
            std::thread::Builder::new().name("memory-store".into()).spawn(move || tick(&shared));
    }
}

fn tick(shared: &Weak<Shared>) {
    while let Some(shared) = shared.upgrade() {
        let closed = shared.with(|inner| {
            inner.state.advance(inner.clock.now());
            inner.closed
        });
        if closed {
            return;
        }
        drop(shared);
        std::thread::sleep(TICK);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // The model has no states in between, so a panic elsewhere does not spoil it.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works on the state, then publishes what happened before anybody else gets at it.
    fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        let mut inner = self.lock();
        let result = work(&mut inner);
        if let Ok(batches) = inner.state.events(inner.published.next(), usize::MAX) {
            inner.published = inner.state.revision();
            self.hub.publish(batches);
        }
        result
    }

    /// The same for what is asked from outside: at the current time, and not after the close.
    fn serve<T>(
        &self,
        work: impl FnOnce(&mut MemoryState, Duration) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.with(|inner| {
            if inner.closed {
                return Err(StoreError::Unavailable { reason: "the store was closed".into() });
            }
            let now = inner.clock.now();
            inner.state.advance(now);
            work(&mut inner.state, now)
        })
    }
}

impl Store for MemoryStore {
    fn limits(&self) -> Limits {
        self.shared.lock().state.limits()
    }

    fn health(&self) -> Health {
        if self.shared.lock().closed {
            return Health::Failed { reason: "the store was closed".into() };
        }
        Health::Ok
    }

    fn get(&self, key: Key) -> BoxFuture<'_, Result<GetResponse, StoreError>> {
        Box::pin(async move { self.shared.serve(|state, _| state.get(&key)) })
    }

    fn range(&self, request: RangeRequest) -> BoxFuture<'_, Result<RangeResponse, StoreError>> {
        Box::pin(async move { self.shared.serve(|state, _| state.range(&request)) })
    }

    fn commit(&self, txn: Txn) -> BoxFuture<'_, Result<TxnResult, StoreError>> {
        Box::pin(async move { self.shared.serve(|state, now| state.apply(&txn, now)) })
    }

    fn watch(&self, range: KeyRange, from: Revision) -> WatchStream {
        self.shared.hub.watch(range, from)
    }

    fn lease_grant(&self, ttl: Duration) -> BoxFuture<'_, Result<LeaseGrant, StoreError>> {
        Box::pin(async move {
            self.start_ticker();
            self.shared.serve(|state, now| state.lease_grant(ttl, now))
        })
    }

    fn lease_keep_alive(&self, id: LeaseId) -> BoxFuture<'_, Result<Duration, StoreError>> {
        Box::pin(async move { self.shared.serve(|state, now| state.lease_keep_alive(id, now)) })
    }

    fn lease_revoke(&self, id: LeaseId) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { self.shared.serve(|state, now| state.lease_revoke(id, now)) })
    }

    fn lease_time_to_live(&self, id: LeaseId) -> BoxFuture<'_, Result<Duration, StoreError>> {
        Box::pin(async move { self.shared.serve(|state, now| state.lease_time_to_live(id, now)) })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.shared.with(|inner| inner.closed = true);
            self.shared.hub.close();
        })
    }
}
