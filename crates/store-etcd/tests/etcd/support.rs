//! Starting clusters and stores, and waiting.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use peloton_store::{Revision, Store, StoreError, Txn, TxnResult, WatchBatch, WatchStream};
use peloton_store_etcd::{EtcdStore, Options};
use peloton_testbed::etcd::Etcd;

/// How long a test waits for what must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn open(etcd: &Etcd) -> Arc<EtcdStore> {
    let options = Options::new(etcd.endpoints(), "/test");
    Arc::new(EtcdStore::open(options).await.expect("open"))
}

pub(crate) async fn put(store: &dyn Store, key: &str, value: &str) -> Revision {
    committed(store.commit(Txn::new().put(key.to_owned(), value.to_owned())).await)
}

pub(crate) fn committed(result: Result<TxnResult, StoreError>) -> Revision {
    match result {
        Ok(TxnResult::Committed { revision }) => revision,
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn next(watch: &mut WatchStream) -> Result<WatchBatch, StoreError> {
    let next = tokio::time::timeout(PATIENCE, watch.next()).await.expect("in time");
    next.expect("the watch goes on")
}

/// Tries until it comes true.
pub(crate) async fn eventually<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = attempt().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
