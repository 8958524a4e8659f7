//! What a compaction does to watches and reads.

use peloton_store::{Event, KeyRange, RangeRequest, Revision, Store, StoreError, Txn};
use peloton_testbed::etcd::{Etcd, EtcdOptions, start};
use serde_json::json;

use crate::support::{committed, next, open, put};

fn compact(etcd: &Etcd, revision: Revision) {
    let request = json!({"revision": revision.0, "physical": true});
    etcd.post(0, "/v3/kv/compaction", &request).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_missed_what_was_compacted_says_so() {
    let Some(mut etcd) = start(&EtcdOptions::members(1)) else { return };
    let store = open(&etcd).await;
    let first = put(&*store, "k", "1").await;
    let mut watch = store.watch(KeyRange::all(), first);
    assert_eq!(next(&mut watch).await.unwrap().revision, first);
    // The break. The watch opens its stream anew only when it is read.
    etcd.kill(0).unwrap();
    etcd.start_member(0).unwrap();
    etcd.wait_until_healthy(0).unwrap();
    let second = put(&*store, "k", "2").await;
    let third = put(&*store, "k", "3").await;
    compact(&etcd, third);
    assert_eq!(next(&mut watch).await, Err(StoreError::Compacted { at: third }));
    let mut anew = store.watch(KeyRange::all(), third.next());
    let fourth = put(&*store, "k", "4").await;
    assert_eq!(next(&mut anew).await.unwrap().revision, fourth);

    let read = store.range(RangeRequest::new(KeyRange::all()).at(second)).await;
    assert!(matches!(read, Err(StoreError::Compacted { .. })), "{read:?}");
    let read = store.range(RangeRequest::new(KeyRange::all()).at(third)).await.unwrap();
    assert_eq!(&read.kvs[0].value[..], b"3");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_at_the_compacted_revision_is_not_skipped() {
    let Some(etcd) = start(&EtcdOptions::members(1)) else { return };
    let store = open(&etcd).await;
    put(&*store, "k", "1").await;
    let deleted = committed(store.commit(Txn::new().delete("k")).await);
    let later = put(&*store, "other", "1").await;
    compact(&etcd, deleted);
    // etcd itself would watch from there on, and old versions leave the deletion out.
    let mut watch = store.watch(KeyRange::all(), deleted);
    assert_eq!(next(&mut watch).await, Err(StoreError::Compacted { at: deleted }));
    let mut watch = store.watch(KeyRange::all(), deleted.next());
    let batch = next(&mut watch).await.unwrap();
    assert_eq!(batch.revision, later);
    assert!(matches!(&batch.events[..], [Event::Put(_)]), "{batch:?}");
}

/// etcd puts ten of them into one message of 2 MiB; a transaction has four, so messages end within one.
const LARGE: usize = 200 << 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_histories_arrive_whole() {
    let Some(etcd) = start(&EtcdOptions::members(1)) else { return };
    let store = open(&etcd).await;
    let mut revisions = Vec::new();
    for n in 0..12_u8 {
        let value = vec![n; LARGE];
        let txn = ["a", "b", "c", "d"];
        let txn = txn.into_iter().fold(Txn::new(), |txn, key| txn.put(key, value.clone()));
        revisions.push(committed(store.commit(txn).await));
    }
    // From the past they come in few large answers, which etcd splits within transactions.
    let mut watch = store.watch(KeyRange::all(), revisions[0]);
    for revision in &revisions {
        let batch = next(&mut watch).await.unwrap();
        assert_eq!((batch.revision, batch.events.len()), (*revision, 4));
    }
    let page = store.range(RangeRequest::new(KeyRange::all())).await.unwrap();
    assert_eq!(page.kvs.iter().map(|kv| kv.value.len()).sum::<usize>(), 4 * LARGE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_that_would_be_too_large_get_fewer_keys() {
    let Some(etcd) = start(&EtcdOptions::members(1)) else { return };
    let store = open(&etcd).await;
    // More than the 64 MiB that one answer may have.
    const KEYS: usize = 340;
    for n in 0..KEYS {
        let txn = Txn::new().put(format!("k/{n:03}"), vec![b'v'; LARGE]);
        committed(store.commit(txn).await);
    }
    let page = store.range(RangeRequest::new(KeyRange::prefix("k/"))).await.unwrap();
    assert!(page.more && page.kvs.len() < KEYS, "{} keys", page.kvs.len());
    let all = peloton_store::range_all(&*store, KeyRange::prefix("k/")).await.unwrap();
    assert_eq!(all.kvs.len(), KEYS);
}
