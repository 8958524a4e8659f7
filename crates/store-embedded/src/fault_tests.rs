//! What the store does when its disk fails, with failures injected under the engine.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use peloton_store::{
    Health, Key, KeyRange, Revision, Store, StoreError, Txn, TxnResult, WatchStream, range_all,
};

use crate::disk::Faults;
use crate::{EmbeddedStore, Options};

const PATIENCE: Duration = Duration::from_secs(30);

fn open(path: &std::path::Path, cache_bytes: usize) -> (EmbeddedStore, Arc<Faults>) {
    let mut options = Options::new(path);
    options.cache_bytes = cache_bytes;
    let faults = Arc::clone(&options.faults);
    (EmbeddedStore::open(options).expect("open"), faults)
}

async fn put(store: &EmbeddedStore, key: &'static str) -> Result<Revision, StoreError> {
    let result = store.commit(Txn::new().put(key, "v")).await?;
    Ok(result.committed().expect("no compares"))
}

/// Repeats until the store works again; each attempt must fail in a way that one may retry.
async fn until_it_works(store: &EmbeddedStore, key: &'static str) -> Revision {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match put(store, key).await {
            Ok(revision) => return revision,
            Err(error) => assert!(error.is_retryable() || error.is_unknown(), "{error}"),
        }
        assert!(Instant::now() < deadline, "the store does not recover");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn revisions(stream: &mut WatchStream, last: Revision) -> Vec<Revision> {
    let mut revisions = Vec::new();
    while revisions.last().is_none_or(|revision| *revision < last) {
        let next = std::future::poll_fn(|cx| stream.as_mut().poll_next(cx)).await;
        revisions.push(next.expect("the watch goes on").expect("batch").revision);
    }
    revisions
}

#[tokio::test]
async fn a_failed_write_is_survived() {
    let directory = tempfile::tempdir().expect("directory");
    let (store, faults) = open(directory.path(), 1 << 20);
    let first = put(&store, "before").await.expect("works");
    let mut watch = store.watch(KeyRange::all(), first);
    faults.write.store(true, Ordering::Release);
    for _ in 0..3 {
        let error = put(&store, "during").await.expect_err("the disk is full");
        assert!(error.is_retryable() || error.is_unknown(), "{error}");
    }
    assert!(matches!(store.health(), Health::Degraded { .. }), "{:?}", store.health());
    faults.write.store(false, Ordering::Release);
    let last = until_it_works(&store, "after").await;
    assert_eq!(store.health(), Health::Ok);
    let all = range_all(&store, KeyRange::all()).await.expect("all");
    let seen = revisions(&mut watch, last).await;
    let kept: Vec<Revision> = (first.0..=last.0).map(Revision).collect();
    assert_eq!(seen, kept, "every revision once");
    assert_eq!(all.revision, last);
    store.close().await;
    drop(store);
    let (store, _) = open(directory.path(), 1 << 20);
    assert_eq!(range_all(&store, KeyRange::all()).await.expect("all"), all);
}

/// A full disk has room for the little that opening the file writes. That is no reason to call the
/// store well; that as much as a large record can be written again is, without anybody asking for it.
#[tokio::test]
async fn a_full_disk_shows_until_there_is_room() {
    let directory = tempfile::tempdir().expect("directory");
    let (store, faults) = open(directory.path(), 1 << 20);
    put(&store, "before").await.expect("works");
    faults.large_write.store(true, Ordering::Release);
    for _ in 0..5 {
        let large = Txn::new().put("large", vec![b'x'; 512 << 10]);
        let error = store.commit(large).await.expect_err("the disk is full");
        assert!(error.is_retryable() || error.is_unknown(), "{error}");
        let kv = store.get(Key::from("before")).await.expect("reads go on").kv;
        assert!(kv.is_some());
        let health = store.health();
        assert!(
            matches!(&health, Health::Degraded { reason } if reason.contains("write")),
            "{health:?}"
        );
    }
    faults.large_write.store(false, Ordering::Release);
    let deadline = Instant::now() + PATIENCE;
    while store.health() != Health::Ok {
        assert!(Instant::now() < deadline, "{:?}", store.health());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    put(&store, "after").await.expect("works");
}

#[tokio::test]
async fn a_failed_sync_ends_service_until_a_restart() {
    let directory = tempfile::tempdir().expect("directory");
    let (store, faults) = open(directory.path(), 1 << 20);
    let first = put(&store, "before").await.expect("works");
    faults.sync.store(true, Ordering::Release);
    let error = put(&store, "during").await.expect_err("not durable");
    assert!(error.is_unknown(), "{error}");
    faults.sync.store(false, Ordering::Release);
    assert!(matches!(store.health(), Health::Failed { .. }), "{:?}", store.health());
    let refused = [
        put(&store, "after").await.err(),
        store.get(Key::from("before")).await.err(),
        store.lease_grant(PATIENCE).await.err(),
    ];
    for error in refused {
        assert!(
            matches!(&error, Some(StoreError::Unavailable { reason })
            if reason.contains("restart")),
            "{error:?}"
        );
    }
    drop(store);
    let (store, _) = open(directory.path(), 1 << 20);
    let kv = store.get(Key::from("before")).await.expect("get").kv.expect("before");
    assert_eq!(kv.mod_revision, first);
    assert!(put(&store, "after").await.expect("works") > first);
}

#[tokio::test]
async fn a_failed_read_is_survived() {
    let directory = tempfile::tempdir().expect("directory");
    let (store, faults) = open(directory.path(), 0);
    put(&store, "k").await.expect("works");
    faults.read.store(true, Ordering::Release);
    let error = store.get(Key::from("k")).await.expect_err("the disk does not answer");
    assert!(error.is_retryable(), "{error}");
    faults.read.store(false, Ordering::Release);
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = store.get(Key::from("k")).await {
        assert!(error.is_retryable() && Instant::now() < deadline, "{error}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    until_it_works(&store, "l").await;
    assert_eq!(store.health(), Health::Ok);
}

/// A lease whose end cannot be written ends as soon as the disk works again.
#[tokio::test]
async fn leases_end_after_the_disk_recovers() {
    let directory = tempfile::tempdir().expect("directory");
    let (store, faults) = open(directory.path(), 1 << 20);
    let lease = store.lease_grant(Duration::from_millis(100)).await.expect("lease").id;
    let revoked = store.lease_grant(PATIENCE).await.expect("lease").id;
    let txn = Txn::new().put_leased("k", "", lease).put_leased("l", "", revoked);
    assert!(matches!(store.commit(txn).await, Ok(TxnResult::Committed { .. })));
    faults.write.store(true, Ordering::Release);
    store.lease_revoke(revoked).await.expect_err("the disk is full");
    while store.lease_time_to_live(lease).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    faults.write.store(false, Ordering::Release);
    let deadline = Instant::now() + PATIENCE;
    // A disk that does not work yet is waited for, too.
    while !range_all(&store, KeyRange::all()).await.is_ok_and(|all| all.kvs.is_empty()) {
        assert!(Instant::now() < deadline, "the keys are still there");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Many transactions in flight while the disk comes and goes: what was answered is so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_true_while_the_disk_comes_and_goes() {
    const WRITERS: usize = 8;
    const TXNS: usize = 40;
    let directory = tempfile::tempdir().expect("directory");
    let (store, faults) = open(directory.path(), 1 << 20);
    let store = Arc::new(store);
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            let mut answers = Vec::new();
            for n in 0..TXNS {
                let key = format!("{writer}/{n}");
                answers.push((key.clone(), store.commit(Txn::new().put(key, "v")).await));
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            answers
        });
    }
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        faults.write.store(true, Ordering::Release);
        tokio::time::sleep(Duration::from_millis(2)).await;
        faults.write.store(false, Ordering::Release);
    }
    let answers: Vec<_> = writers.join_all().await.concat();
    until_it_works(&store, "end").await;
    for (key, answer) in answers {
        let kv = store.get(Key::from(key.clone())).await.expect("get").kv;
        match answer {
            Ok(result) => assert_eq!(kv.map(|kv| kv.mod_revision), result.committed(), "{key}"),
            Err(StoreError::Unavailable { .. }) => assert_eq!(kv, None, "{key}"),
            Err(StoreError::Unknown { .. }) => {}
            Err(error) => panic!("{key}: {error}"),
        }
    }
}
