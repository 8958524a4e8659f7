//! Members that are killed and paused, one at a time and more than the cluster can bear.

use std::sync::atomic::Ordering;

use peloton_store::{Health, KeyRange, RangeRequest, Store, StoreError, Txn};
use peloton_testbed::etcd::{EtcdOptions, start};

use crate::load::Load;
use crate::support::{eventually, open, put};

/// Writes acknowledged between two faults.
const BETWEEN: u64 = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_members_lose_no_write_and_no_event() {
    let Some(mut etcd) = start(&EtcdOptions::members(3)) else { return };
    let store = open(&etcd).await;
    let load = Load::begin(&store).await;
    let watch = load.watch();
    for member in 0..3 {
        load.more(BETWEEN).await;
        etcd.kill(member).unwrap();
        load.more(BETWEEN).await;
        etcd.start_member(member).unwrap();
        etcd.wait_until_healthy(member).unwrap();
    }
    load.more(BETWEEN).await;
    load.end(watch).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paused_members_are_left_and_do_no_harm() {
    let Some(mut etcd) = start(&EtcdOptions::members(3)) else { return };
    let store = open(&etcd).await;
    let load = Load::begin(&store).await;
    let watch = load.watch();
    let leader = etcd.leader().unwrap();
    // The leader, and then the others: one of the three is the member in use.
    for member in [leader, (leader + 1) % 3, (leader + 2) % 3] {
        load.more(BETWEEN).await;
        etcd.pause(member, true).unwrap();
        load.more(BETWEEN).await;
        etcd.pause(member, false).unwrap();
        etcd.wait_until_healthy(member).unwrap();
    }
    let doubtful = load.doubtful.load(Ordering::Relaxed);
    assert!(doubtful > 0, "a write was under way at the member in use when it was paused");
    load.more(BETWEEN).await;
    load.end(watch).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_leader_costs_no_lease_that_is_kept() {
    let Some(mut etcd) = start(&EtcdOptions::members(3)) else { return };
    let store = open(&etcd).await;
    let lease = store.lease_grant(std::time::Duration::from_secs(5)).await.unwrap();
    store.commit(Txn::new().put_leased("owner", "me", lease.id)).await.unwrap();
    let leader = etcd.leader().unwrap();
    etcd.pause(leader, true).unwrap();
    // As the node renews it, for three of the lease's lives.
    for _ in 0..9 {
        tokio::time::sleep(lease.ttl / 3).await;
        match store.lease_keep_alive(lease.id).await {
            Ok(ttl) => assert_eq!(ttl, lease.ttl),
            Err(error) => assert!(!error.is_invalid(), "{error}"),
        }
    }
    assert!(store.get("owner".into()).await.unwrap().kv.is_some());
    assert_eq!(store.lease_keep_alive(lease.id).await, Ok(lease.ttl));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_quorum_is_told_and_heals() {
    let Some(mut etcd) = start(&EtcdOptions::members(3)) else { return };
    let store = open(&etcd).await;
    let revision = put(&*store, "k", "before").await;
    let mut watch = store.watch(KeyRange::all(), revision.next());
    etcd.kill(0).unwrap();
    etcd.kill(1).unwrap();

    // What is under way may be in doubt; then it is clear that nothing can be done.
    let reason = eventually("writes are refused", async || {
        match store.commit(Txn::new().put("k", "lost")).await {
            Err(StoreError::Unavailable { reason }) => Some(reason),
            Err(StoreError::Unknown { .. }) => None,
            other => panic!("{other:?}"),
        }
    })
    .await;
    assert!(reason.contains("leader") || reason.contains("127.0.0.1"), "{reason}");
    let read = store.get("k".into()).await;
    assert!(matches!(read, Err(StoreError::Unavailable { .. })), "{read:?}");
    let lease = store.lease_grant(std::time::Duration::from_secs(5)).await;
    assert!(lease.is_err(), "{lease:?}");
    eventually("health tells", async || {
        matches!(store.health(), Health::Degraded { .. }).then_some(())
    })
    .await;
    // The one that is left still says what it has.
    let stale = eventually("a stale read is answered", async || {
        store.range_stale(RangeRequest::new(KeyRange::key("k"))).await.ok()
    })
    .await;
    assert_eq!(stale.kvs.len(), 1);
    let status = store.status().await;
    assert_eq!((status.members().count(), status.leader()), (1, None), "{status:?}");

    etcd.start_member(0).unwrap();
    let healed = eventually("writes work again", async || {
        store.commit(Txn::new().put("healed", "")).await.ok()?.committed()
    })
    .await;
    eventually("health tells", async || (store.health() == Health::Ok).then_some(())).await;
    // What was in doubt may be among it.
    let mut seen = revision;
    while seen < healed {
        let batch = crate::support::next(&mut watch).await.unwrap();
        assert!(batch.revision > seen);
        seen = batch.revision;
    }
    assert_eq!(seen, healed);
    let status = store.status().await;
    assert!(status.leader().is_some(), "{status:?}");
    assert_eq!(status.endpoints.iter().filter(|(_, answer)| answer.is_err()).count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_any_member_opening_fails_and_says_why() {
    let Some(mut etcd) = start(&EtcdOptions::members(1)) else { return };
    etcd.kill(0).unwrap();
    let options = peloton_store_etcd::Options::new(etcd.endpoints(), "/test");
    let error = peloton_store_etcd::EtcdStore::open(options).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
}
