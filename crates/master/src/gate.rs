//! A store that is not open yet, for an API that serves already.
//!
//! An etcd that is away must not keep a master from starting: after a power cut everything comes up at
//! once, and in any order. So the API serves from the beginning, and until the store has been opened
//! and found to be the right cluster's, the gate answers for it that it is unavailable.

use futures_util::{FutureExt as _, StreamExt as _, stream};
use peloton_store::{
    BoxFuture, GetResponse, Health, Key, KeyRange, LeaseGrant, LeaseId, Limits, RangeRequest,
    RangeResponse, Revision, Store, StoreError, Txn, TxnResult, WatchStream,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// The reason given after the close.
const CLOSED: &str = "the store was closed";

/// What is behind the gate.
enum Behind {
    /// Nothing yet; why.
    Nothing(String),
    /// The store.
    Store(Arc<dyn Store>),
    /// Nothing any more.
    Closed,
}

/// A store that is not open yet, and then is.
pub(crate) struct Gate {
    limits: Limits,
    behind: watch::Sender<Behind>,
}

impl Gate {
    /// A gate that is shut, before a store with these limits.
    pub(crate) fn new(limits: Limits) -> Self {
        let nothing = Behind::Nothing("it is being opened".to_owned());
        Self { limits, behind: watch::Sender::new(nothing) }
    }

    /// Why there is nothing behind it yet.
    pub(crate) fn wait_for(&self, why: String) {
        self.behind.send_if_modified(|behind| {
            let is_shut = matches!(behind, Behind::Nothing(_));
            if is_shut {
                *behind = Behind::Nothing(why);
            }
            is_shut
        });
    }

    /// From now on the store answers.
    pub(crate) fn open(&self, store: Arc<dyn Store>) {
        self.behind.send_replace(Behind::Store(store));
    }

    fn store(&self) -> Result<Arc<dyn Store>, StoreError> {
        match &*self.behind.borrow() {
            Behind::Store(store) => Ok(Arc::clone(store)),
            Behind::Nothing(why) => Err(unavailable(why)),
            Behind::Closed => Err(unavailable(CLOSED)),
        }
    }

    /// Asks the store, if there is one.
    fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(Arc<dyn Store>) -> BoxFuture<'static, Result<T, StoreError>>,
    ) -> BoxFuture<'_, Result<T, StoreError>> {
        match self.store() {
            Ok(store) => question(store),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }
}

fn unavailable(reason: &str) -> StoreError {
    StoreError::Unavailable { reason: reason.to_owned() }
}

impl Store for Gate {
    fn limits(&self) -> Limits {
        self.limits
    }

    fn health(&self) -> Health {
        match &*self.behind.borrow() {
            Behind::Store(store) => store.health(),
            Behind::Nothing(why) => Health::Degraded { reason: why.clone() },
            Behind::Closed => Health::Failed { reason: CLOSED.to_owned() },
        }
    }

    fn get(&self, key: Key) -> BoxFuture<'_, Result<GetResponse, StoreError>> {
        self.ask(|store| Box::pin(async move { store.get(key).await }))
    }

    fn range(&self, request: RangeRequest) -> BoxFuture<'_, Result<RangeResponse, StoreError>> {
        self.ask(|store| Box::pin(async move { store.range(request).await }))
    }

    fn range_stale(
        &self,
        request: RangeRequest,
    ) -> BoxFuture<'_, Result<RangeResponse, StoreError>> {
        self.ask(|store| Box::pin(async move { store.range_stale(request).await }))
    }

    fn commit(&self, txn: Txn) -> BoxFuture<'_, Result<TxnResult, StoreError>> {
        self.ask(|store| Box::pin(async move { store.commit(txn).await }))
    }

    /// Of a store that is not there yet nothing was read, so there is nothing to miss: the watch begins
    /// when the store is there.
    fn watch(&self, range: KeyRange, from: Revision) -> WatchStream {
        let mut behind = self.behind.subscribe();
        let begin = async move {
            let there = behind.wait_for(|behind| !matches!(behind, Behind::Nothing(_))).await;
            match there.as_deref() {
                Ok(Behind::Store(store)) => store.watch(range, from),
                _ => Box::pin(stream::iter([Err(unavailable(CLOSED))])),
            }
        };
        Box::pin(begin.into_stream().flatten())
    }

    fn lease_grant(&self, ttl: Duration) -> BoxFuture<'_, Result<LeaseGrant, StoreError>> {
        self.ask(|store| Box::pin(async move { store.lease_grant(ttl).await }))
    }

    fn lease_keep_alive(&self, id: LeaseId) -> BoxFuture<'_, Result<Duration, StoreError>> {
        self.ask(|store| Box::pin(async move { store.lease_keep_alive(id).await }))
    }

    fn lease_revoke(&self, id: LeaseId) -> BoxFuture<'_, Result<(), StoreError>> {
        self.ask(|store| Box::pin(async move { store.lease_revoke(id).await }))
    }

    fn lease_time_to_live(&self, id: LeaseId) -> BoxFuture<'_, Result<Duration, StoreError>> {
        self.ask(|store| Box::pin(async move { store.lease_time_to_live(id).await }))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        let behind = self.behind.send_replace(Behind::Closed);
        Box::pin(async move {
            if let Behind::Store(store) = behind {
                store.close().await;
            }
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test that panics fails")]
mod tests {
    use super::*;
    use peloton_store::MemoryStore;

    #[tokio::test]
    async fn a_shut_gate_says_why_and_an_open_one_is_the_store() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let gate = Gate::new(store.limits());
        let key = Key::from_static(b"key");
        gate.wait_for("etcd is away".to_owned());
        let error = gate.get(key.clone()).await.unwrap_err();
        assert_eq!(error, unavailable("etcd is away"));
        assert_eq!(gate.health(), Health::Degraded { reason: "etcd is away".to_owned() });
        let mut watch = gate.watch(KeyRange::key(key.clone()), Revision::FIRST);
        assert!(watch.next().now_or_never().is_none(), "it waits");

        gate.open(Arc::clone(&store));
        gate.wait_for("too late".to_owned());
        assert_eq!(gate.health(), Health::Ok);
        let put = Txn::new().put(key.clone(), "value");
        assert!(matches!(gate.commit(put).await.unwrap(), TxnResult::Committed { .. }));
        assert_eq!(store.get(key.clone()).await.unwrap(), gate.get(key.clone()).await.unwrap());
        assert_eq!(watch.next().await.unwrap().unwrap().events.len(), 1);

        gate.close().await;
        assert_eq!(gate.get(key.clone()).await.unwrap_err(), unavailable(CLOSED));
        let mut late = gate.watch(KeyRange::key(key), Revision::FIRST);
        assert_eq!(late.next().await.unwrap().unwrap_err(), unavailable(CLOSED));
    }
}
