//! The suite, against one member; each part has a member of its own, because revisions are the whole
//! member's.

use std::sync::Arc;

use peloton_store::{MemoryStore, Store, Txn, TxnResult};
use peloton_store_etcd::{EtcdStore, Options};
use peloton_testbed::etcd::{Etcd, EtcdOptions, start};

async fn fresh() -> (Arc<dyn Store>, Option<Etcd>) {
    let Some(etcd) = start(&EtcdOptions::members(1)) else {
        // It was said that the test is skipped; what goes on is a test of the model.
        return (Arc::new(MemoryStore::new()), None);
    };
    let store = EtcdStore::open(Options::new(etcd.endpoints(), "/suite")).await.expect("open");
    (Arc::new(store), Some(etcd))
}

peloton_store::store_suite!(fresh);

/// What the limits allow fits into one request of etcd's, with the longest prefix and keys.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_transaction_is_taken() {
    let Some(etcd) = start(&EtcdOptions::members(1)) else { return };
    let prefix = format!("/{}", "p".repeat(127));
    let store = EtcdStore::open(Options::new(etcd.endpoints(), prefix)).await.expect("open");
    let limits = store.limits();
    let key = |n: usize| format!("{n:0width$}", width = limits.max_key_bytes);
    let bare = |value: &[u8]| {
        (0..limits.max_txn_ops)
            .fold(Txn::new(), |txn, n| txn.when_absent(key(n)).put(key(n), value.to_vec()))
    };
    let room = limits.max_txn_bytes - bare(b"").size_bytes();
    let largest = bare(&vec![7; room / limits.max_txn_ops]);
    assert!(largest.size_bytes() > limits.max_txn_bytes - limits.max_txn_ops);
    let revision = store.commit(largest.clone()).await.expect("taken").committed();
    assert!(revision.is_some());
    let conflict = store.commit(largest).await.expect("taken");
    let TxnResult::Conflict { failed, current, .. } = conflict else { panic!("{conflict:?}") };
    assert_eq!((failed.len(), current.len()), (limits.max_txn_ops, limits.max_txn_ops));
}
