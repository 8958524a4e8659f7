//! What outlives a close, and what a directory may contain that is not a store of ours.

// All of this is test code; a helper may fail like a test does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use peloton_store::{
    KeyRange, LogBounds, RangeRequest, Revision, Store, StoreError, Txn, TxnResult, WatchStream,
    range_all,
};
use peloton_store_embedded::{EmbeddedStore, Options, SCHEMA_VERSION};
use redb::{Database, TableDefinition};

const DATA_FILE: &str = "store.redb";

fn open(path: &Path) -> EmbeddedStore {
    EmbeddedStore::open(Options::new(path)).expect("open")
}

async fn commit(store: &EmbeddedStore, txn: Txn) -> Revision {
    match store.commit(txn).await {
        Ok(TxnResult::Committed { revision }) => revision,
        other => panic!("{other:?}"),
    }
}

async fn next(stream: &mut WatchStream) -> Option<Result<peloton_store::WatchBatch, StoreError>> {
    std::future::poll_fn(|cx| stream.as_mut().poll_next(cx)).await
}

#[tokio::test]
async fn keys_and_revisions_outlive_the_process_and_leases_do_not() {
    let directory = tempfile::tempdir().expect("directory");
    let store = open(directory.path());
    let first = commit(&store, Txn::new().put("a", "1").put("b", "1")).await;
    let lease = store.lease_grant(Duration::from_secs(3600)).await.expect("lease").id;
    let txn = Txn::new().put_leased("l/1", "", lease).put_leased("l/2", "", lease).put("b", "2");
    let last = commit(&store, txn).await;
    let before = range_all(&store, KeyRange::new("a", "c")).await.expect("all");
    store.close().await;
    drop(store);

    let store = open(directory.path());
    let after = range_all(&store, KeyRange::all()).await.expect("all");
    assert_eq!(after.kvs, before.kvs);
    assert_eq!(after.kvs[0].mod_revision, first);
    assert_eq!(after.revision, last.next(), "the keys of the dead lease are one revision");
    assert_eq!(store.lease_time_to_live(lease).await, Err(StoreError::LeaseNotFound { id: lease }));

    let mut past = store.watch(KeyRange::all(), last);
    let compacted = Some(Err(StoreError::Compacted { at: after.revision }));
    assert_eq!(next(&mut past).await, compacted);
    let mut from_now = store.watch(KeyRange::all(), after.revision.next());
    let revision = commit(&store, Txn::new().put("a", "2")).await;
    assert_eq!(revision, after.revision.next());
    assert_eq!(next(&mut from_now).await.expect("batch").expect("batch").revision, revision);
}

#[tokio::test]
async fn a_watcher_that_is_too_slow_is_told_so() {
    let directory = tempfile::tempdir().expect("directory");
    let mut options = Options::new(directory.path());
    options.watch_log = LogBounds { max_events: 10, max_bytes: 1 << 20 };
    let store = EmbeddedStore::open(options).expect("open");
    let first = commit(&store, Txn::new().put("k", "0")).await;
    let mut slow = store.watch(KeyRange::all(), first);
    let mut last = first;
    for n in 1..=20 {
        last = commit(&store, Txn::new().put("k", n.to_string())).await;
    }
    let at = Revision(last.0 - 10);
    assert_eq!(next(&mut slow).await, Some(Err(StoreError::Compacted { at })));
    assert_eq!(next(&mut slow).await, None);
    let mut in_time = store.watch(KeyRange::all(), at.next());
    assert_eq!(next(&mut in_time).await.expect("batch").expect("batch").revision, at.next());
}

#[tokio::test]
async fn what_others_write_costs_a_slow_watcher_nothing() {
    let directory = tempfile::tempdir().expect("directory");
    let mut options = Options::new(directory.path());
    options.watch_log = LogBounds { max_events: 10, max_bytes: 1 << 20 };
    let store = EmbeddedStore::open(options).expect("open");
    let first = commit(&store, Txn::new().put("mine/0", "0")).await;
    let mut slow = store.watch(KeyRange::prefix("mine/"), first);
    let mut expected = vec![first];
    for n in 0..90 {
        let key = if n % 30 == 7 { "mine/1" } else { "theirs" };
        let revision = commit(&store, Txn::new().put(key, n.to_string())).await;
        if n % 30 == 7 {
            expected.push(revision);
        }
    }
    for revision in expected {
        assert_eq!(next(&mut slow).await.expect("batch").expect("batch").revision, revision);
    }
    // And then it goes on with what is new.
    let new = commit(&store, Txn::new().put("mine/2", "new")).await;
    assert_eq!(next(&mut slow).await.expect("batch").expect("batch").revision, new);
}

#[tokio::test]
async fn an_old_revision_is_kept_for_paging_alone() {
    let directory = tempfile::tempdir().expect("directory");
    let store = open(directory.path());
    let old = commit(&store, Txn::new().put("a", "1").put("b", "1")).await;
    let all = RangeRequest::new(KeyRange::all());
    let page = store.range(all.clone().limit(1)).await.expect("page");
    assert!(page.more);
    let new = commit(&store, Txn::new().put("a", "2").put("b", "2")).await;
    let rest = RangeRequest::new(KeyRange::all().after(&page.kvs[0].key)).at(page.revision);
    let rest = store.range(rest).await.expect("the revision of the first page is kept");
    assert_eq!((&rest.kvs[0].value[..], rest.revision), (&b"1"[..], old));
    let current = store.range(all.clone().at(new)).await.expect("current");
    assert_eq!(current.kvs.len(), 2);
    let newer = commit(&store, Txn::new().put("a", "3")).await;
    let gone = store.range(all.at(new)).await;
    assert_eq!(gone, Err(StoreError::Compacted { at: newer }));
}

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().expect("directory");
    drop(open(directory.path()));
    let path = directory.path().join(DATA_FILE);
    let database = Database::open(&path).expect("file");
    let txn = database.begin_write().expect("txn");
    let table: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
    txn.open_table(table).expect("meta").insert("schema", SCHEMA_VERSION + 1).expect("insert");
    txn.commit().expect("commit");
    drop(database);
    let found = SCHEMA_VERSION + 1;
    for _ in 0..2 {
        let error = EmbeddedStore::open(Options::new(directory.path())).expect_err("newer");
        assert_eq!(error, StoreError::Schema { found, supported: SCHEMA_VERSION });
        assert!(error.is_fatal());
    }
}

#[test]
fn files_that_are_not_ours_are_refused() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join(DATA_FILE);
    let refused = |what: &str| {
        let error = EmbeddedStore::open(Options::new(directory.path())).expect_err(what);
        assert!(matches!(error, StoreError::Corrupt { .. }), "{what}: {error}");
        assert!(error.to_string().contains(DATA_FILE), "{error}");
    };
    std::fs::write(&path, "Dear diary, ".repeat(10_000)).expect("write");
    refused("text");
    std::fs::remove_file(&path).expect("remove");

    let database = Database::create(&path).expect("file");
    let txn = database.begin_write().expect("txn");
    let table: TableDefinition<'_, &str, u64> = TableDefinition::new("somebody else's");
    txn.open_table(table).expect("table").insert("k", 1).expect("insert");
    txn.commit().expect("commit");
    drop(database);
    refused("another program's file");

    let file = std::path::Path::new("/proc/self/status");
    let error = EmbeddedStore::open(Options::new(file)).expect_err("a file, not a directory");
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
}

/// Damage anywhere in the file may be found or not, but never ends the process.
#[tokio::test]
async fn a_damaged_file_is_an_error_and_not_a_panic() {
    const DAMAGES: usize = 60;
    let directory = tempfile::tempdir().expect("directory");
    let store = open(directory.path());
    for n in 0..50 {
        let txn = (0..20).fold(Txn::new(), |txn, key| txn.put(format!("{n}/{key}"), vec![7; 300]));
        commit(&store, txn).await;
    }
    drop(store);
    let path = directory.path().join(DATA_FILE);
    let whole = std::fs::read(&path).expect("read");
    let mut refused = 0;
    for damage in 0..DAMAGES {
        let mut bytes = whole.clone();
        if damage % 3 == 0 {
            bytes.truncate(whole.len() * damage / DAMAGES);
        } else {
            let page = whole.len() / 4096 * damage / DAMAGES * 4096;
            bytes[page..page + 64].iter_mut().for_each(|byte| *byte ^= 0xa5);
        }
        if bytes.is_empty() {
            continue;
        }
        std::fs::write(&path, &bytes).expect("write");
        match EmbeddedStore::open(Options::new(directory.path())) {
            Err(StoreError::Corrupt { .. } | StoreError::Unavailable { .. }) => refused += 1,
            Err(error) => panic!("damage {damage}: {error}"),
            Ok(store) => {
                let store = Arc::new(store);
                let read = range_all(&*store, KeyRange::all()).await;
                let written = store.commit(Txn::new().put("new", "")).await;
                refused += usize::from(read.is_err() || written.is_err());
            }
        }
    }
    assert!(refused > DAMAGES / 4, "{refused}");
}
