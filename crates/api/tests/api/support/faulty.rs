//! A store that fails when it is told to, in the ways that real ones do.

use std::sync::Mutex;
use std::time::Duration;

use peloton_store::{
    BoxFuture, GetResponse, Health, Key, KeyRange, LeaseGrant, LeaseId, Limits, MemoryStore,
    RangeRequest, RangeResponse, Revision, Store, StoreError, Txn, TxnResult, WatchStream,
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
}

pub struct FaultyStore {
    pub inner: MemoryStore,
    fault: Mutex<Option<Fault>>,
}

impl FaultyStore {
    pub fn new() -> Self {
        Self { inner: MemoryStore::new(), fault: Mutex::new(None) }
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
            self.inner.get(key).await
        })
    }

    fn range(&self, request: RangeRequest) -> BoxFuture<'_, Result<RangeResponse, StoreError>> {
        Box::pin(async {
            self.reach().await?;
            self.inner.range(request).await
        })
    }

    fn commit(&self, txn: Txn) -> BoxFuture<'_, Result<TxnResult, StoreError>> {
        Box::pin(async {
            self.reach().await?;
            let lost = self.fault.lock().unwrap().take();
            if lost != Some(Fault::LoseCommit) {
                let result = self.inner.commit(txn).await;
                if lost.is_none() {
                    return result;
                }
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
