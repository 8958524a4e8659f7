//! A store that fails when it is told to, in the ways that real ones do.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use peloton_store::{
    BoxFuture, Compare, GetResponse, Health, Key, KeyRange, LeaseGrant, LeaseId, Limits,
    MemoryStore, RangeRequest, RangeResponse, Revision, Store, StoreError, Txn, TxnResult,
    WatchStream,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is answered, ever.
    Hang,
    /// Nothing can be reached.
    Down,
    /// The next commit happens, but its answer gets lost.
    LoseAnswer,
    /// The next commit gets lost, and whether it happened is not known.
    LoseCommit,
    /// As `LoseAnswer`, but that is told only after [`FaultyStore::tell`].
    HoldAnswer,
    /// As `LoseCommit`, but that is told only after [`FaultyStore::tell`].
    HoldCommit,
    /// As `LoseCommit`, but it may still arrive: at [`FaultyStore::land`].
    Delay,
}

pub struct FaultyStore {
    pub inner: MemoryStore,
    fault: Mutex<Option<Fault>>,
    delayed: Mutex<Option<Txn>>,
    held: Notify,
    told: Notify,
    /// Keys and ranges that were read.
    pub reads: AtomicU64,
}

impl FaultyStore {
    pub fn new() -> Self {
        Self::over(MemoryStore::new())
    }

    pub fn over(inner: MemoryStore) -> Self {
        let (held, told) = (Notify::new(), Notify::new());
        let (fault, delayed, reads) = (Mutex::new(None), Mutex::new(None), AtomicU64::new(0));
        Self { inner, fault, delayed, held, told, reads }
    }

    /// Waits until a commit is held.
    pub async fn held(&self) {
        self.held.notified().await;
    }

    /// Lets the one that is held be told that nobody knows.
    pub fn tell(&self) {
        self.told.notify_one();
    }

    /// The commit that was delayed arrives; what comes of it.
    pub async fn land(&self) -> TxnResult {
        let txn = self.delayed.lock().unwrap().take().expect("a delayed commit");
        self.inner.commit(txn).await.unwrap()
    }

    /// What the commit that was delayed compares.
    pub fn delayed_compares(&self) -> Vec<Compare> {
        self.delayed.lock().unwrap().as_ref().expect("a delayed commit").compares.clone()
    }

    pub fn set(&self, fault: Option<Fault>) {
        *self.fault.lock().unwrap() = fault;
    }

    async fn reach(&self) -> Result<(), StoreError> {
        let fault = *self.fault.lock().unwrap();
        match fault {
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Down) => Err(StoreError::Unavailable { reason: "pulled the plug".into() }),
            _ => Ok(()),
        }
    }
}

impl Store for FaultyStore {
    fn limits(&self) -> Limits {
        self.inner.limits()
    }

    fn health(&self) -> Health {
        self.inner.health()
    }

    fn get(&self, key: Key) -> BoxFuture<'_, Result<GetResponse, StoreError>> {
        Box::pin(async {
            self.reach().await?;
            self.reads.fetch_add(1, Ordering::Relaxed);
            self.inner.get(key).await
        })
    }

    fn range(&self, request: RangeRequest) -> BoxFuture<'_, Result<RangeResponse, StoreError>> {
        Box::pin(async {
            self.reach().await?;
            self.reads.fetch_add(1, Ordering::Relaxed);
            self.inner.range(request).await
        })
    }

    fn commit(&self, txn: Txn) -> BoxFuture<'_, Result<TxnResult, StoreError>> {
        Box::pin(async {
            self.reach().await?;
            let lost = self.fault.lock().unwrap().take();
            match lost {
                None => return self.inner.commit(txn).await,
                Some(Fault::LoseAnswer | Fault::HoldAnswer) => {
                    self.inner.commit(txn).await?;
                }
                Some(Fault::Delay) => *self.delayed.lock().unwrap() = Some(txn),
                Some(_) => {}
            }
            if matches!(lost, Some(Fault::HoldAnswer | Fault::HoldCommit)) {
                self.held.notify_one();
                self.told.notified().await;
            }
            Err(StoreError::Unknown { reason: "the line went dead".into() })
        })
    }

    fn watch(&self, range: KeyRange, from: Revision) -> WatchStream {
        self.inner.watch(range, from)
    }

    fn lease_grant(&self, ttl: Duration) -> BoxFuture<'_, Result<LeaseGrant, StoreError>> {
        self.inner.lease_grant(ttl)
    }

    fn lease_keep_alive(&self, id: LeaseId) -> BoxFuture<'_, Result<Duration, StoreError>> {
        self.inner.lease_keep_alive(id)
    }

    fn lease_revoke(&self, id: LeaseId) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.lease_revoke(id)
    }

    fn lease_time_to_live(&self, id: LeaseId) -> BoxFuture<'_, Result<Duration, StoreError>> {
        self.inner.lease_time_to_live(id)
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.inner.close()
    }
}
