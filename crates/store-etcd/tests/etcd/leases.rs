//! Leases that etcd alone can end.

use std::time::Duration;

use peloton_store::{Event, KeyRange, Store, StoreError, Txn};
use peloton_testbed::etcd::{EtcdOptions, start};

use crate::support::{committed, eventually, next, open};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_runs_out_in_a_pause_is_gone_afterwards() {
    let Some(mut etcd) = start(&EtcdOptions::members(1)) else { return };
    let store = open(&etcd).await;
    let lease = store.lease_grant(Duration::from_secs(2)).await.unwrap();
    let revision = committed(store.commit(Txn::new().put_leased("k", "v", lease.id)).await);
    let mut watch = store.watch(KeyRange::all(), revision.next());
    etcd.pause(0, true).unwrap();
    let kept = store.lease_keep_alive(lease.id).await;
    assert!(
        matches!(kept, Err(StoreError::Unavailable { .. } | StoreError::Unknown { .. })),
        "nobody can renew it: {kept:?}"
    );
    // It counts from the grant, and asking has taken longer than it lives; this makes sure of it.
    tokio::time::sleep(lease.ttl).await;
    etcd.pause(0, false).unwrap();
    eventually("the lease is gone", async || {
        let kept = store.lease_keep_alive(lease.id).await;
        (kept == Err(StoreError::LeaseNotFound { id: lease.id })).then_some(())
    })
    .await;
    let batch = next(&mut watch).await.unwrap();
    let deleted = Event::Delete { key: "k".into(), mod_revision: batch.revision };
    assert_eq!(batch.events, [deleted]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_leases_the_missing_one_is_named() {
    let Some(etcd) = start(&EtcdOptions::members(1)) else { return };
    let store = open(&etcd).await;
    let kept = store.lease_grant(Duration::from_secs(60)).await.unwrap().id;
    let gone = store.lease_grant(Duration::from_secs(60)).await.unwrap().id;
    store.lease_revoke(gone).await.unwrap();
    let txn = Txn::new().put("a", "").put_leased("b", "", kept).put_leased("c", "", gone);
    assert_eq!(store.commit(txn).await, Err(StoreError::LeaseNotFound { id: gone }));
    let all = peloton_store::range_all(&*store, KeyRange::all()).await.unwrap();
    assert!(all.kvs.is_empty(), "nothing of the transaction was done");
}
