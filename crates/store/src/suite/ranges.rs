//! Ranges: bounds, pages, deletion, and that reads see what was answered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{PATIENCE, commit, get, put};
use crate::{KeyRange, Pager, RangeRequest, Store, Txn, range_all};

fn names(kvs: &[crate::KeyValue]) -> Vec<String> {
    kvs.iter().map(|kv| String::from_utf8_lossy(&kv.key).into_owned()).collect()
}

/// Ranges start and end where they say, in key order, with or without values.
pub async fn ranges_have_their_bounds(store: Arc<dyn Store>) {
    let txn = Txn::new().put("b/2", "v").put("a", "v").put("b/1", "v").put("c", "v").put("b0", "v");
    let revision = commit(&store, txn).await;
    let cases = [
        (KeyRange::all(), vec!["a", "b/1", "b/2", "b0", "c"]),
        (KeyRange::prefix("b/"), vec!["b/1", "b/2"]),
        (KeyRange::prefix("b"), vec!["b/1", "b/2", "b0"]),
        (KeyRange::key("a"), vec!["a"]),
        (KeyRange::key("x"), vec![]),
        (KeyRange::new("a", "b/2"), vec!["a", "b/1"]),
        (KeyRange::new("b/2", "b/2"), vec![]),
        (KeyRange::new("c", "a"), vec![]),
        (KeyRange { start: "b0".into(), end: None }, vec!["b0", "c"]),
    ];
    for (range, expected) in cases {
        let page = store.range(RangeRequest::new(range.clone())).await.expect("range");
        assert_eq!(names(&page.kvs), expected, "{range:?}");
        assert!(!page.more, "{range:?}");
        assert!(page.revision >= revision);
    }
    let keys = store.range(RangeRequest::new(KeyRange::prefix("b/")).keys_only()).await;
    let keys = keys.expect("range").kvs;
    assert!(keys.iter().all(|kv| kv.value.is_empty() && kv.mod_revision == revision));
    assert_eq!(keys.len(), 2);
}

/// Pages are of the first one's revision whatever is written in between; and a limit that is met
/// exactly has no more.
pub async fn pages_are_of_one_revision(store: Arc<dyn Store>) {
    const KEYS: usize = 25;
    let txn = (0..KEYS).fold(Txn::new(), |txn, n| txn.put(format!("k/{n:02}"), "old"));
    let revision = commit(&store, txn).await;
    let range = KeyRange::prefix("k/");
    let mut pager = Pager::new(RangeRequest::new(range.clone()).limit(10));
    let mut seen = Vec::new();
    let mut sizes = Vec::new();
    while let Some(page) = pager.next(&*store).await.expect("page") {
        assert!(page.kvs.iter().all(|kv| kv.value == "old"), "a page of a later revision");
        sizes.push(page.kvs.len());
        seen.extend(names(&page.kvs));
        // Changes before and behind the cursor.
        commit(&store, Txn::new().put("k/00", "new").put("k/24", "new").put("k/99", "new")).await;
        commit(&store, Txn::new().delete("k/23").delete("k/99")).await;
        put(&store, "k/23", "new").await;
    }
    let expected: Vec<String> = (0..KEYS).map(|n| format!("k/{n:02}")).collect();
    assert_eq!((seen, sizes), (expected, vec![10, 10, 5]));
    assert!(pager.revision().expect("known") >= revision);

    let exact = store.range(RangeRequest::new(range.clone()).limit(25)).await.expect("range");
    assert_eq!((exact.kvs.len(), exact.more), (25, false));
    let all = range_all(&*store, range).await.expect("all");
    assert_eq!(all.kvs.iter().filter(|kv| kv.value == "new").count(), 3);
}

/// A range deletion takes its range, in one revision, and nothing else.
pub async fn delete_range_deletes_the_range_alone(store: Arc<dyn Store>) {
    let txn = Txn::new().put("j/1", "").put("k/1", "").put("k/2", "").put("l/1", "");
    let written = commit(&store, txn).await;
    let txn = Txn::new().delete_range(KeyRange::prefix("k/")).put("m", "").delete("l/1");
    let deleted = commit(&store, txn).await;
    assert!(deleted > written);
    let left = range_all(&*store, KeyRange::all()).await.expect("all");
    assert_eq!(names(&left.kvs), ["j/1", "m"]);
    assert_eq!(left.kvs[1].mod_revision, deleted);
}

/// A read that begins after a transaction was answered sees it, from whichever task.
pub async fn reads_see_what_was_answered(store: Arc<dyn Store>) {
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..8 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            for n in 0..20 {
                let (key, value) = (format!("w/{writer}"), n.to_string());
                let revision = commit(&store, Txn::new().put(key.clone(), value.clone())).await;
                let reader = Arc::clone(&store);
                let read = tokio::spawn(async move { reader.get(key.into()).await });
                let response = read.await.expect("task").expect("get");
                let kv = response.kv.expect("key");
                assert_eq!((&kv.value[..], kv.mod_revision), (value.as_bytes(), revision));
                assert!(response.revision >= revision);
                let range = RangeRequest::new(KeyRange::key(kv.key.clone()));
                assert_eq!(store.range(range).await.expect("range").kvs, [kv]);
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(get(&store, "w/0").await.expect("w/0").version, 20);
}

/// What is at hand is of the revision that it says, and catches up.
pub async fn stale_reads_catch_up(store: Arc<dyn Store>) {
    let deadline = Instant::now() + PATIENCE;
    for value in ["old", "new"] {
        let revision = put(&store, "k", value).await;
        loop {
            let request = RangeRequest::new(KeyRange::key("k"));
            let page = store.range_stale(request).await.expect("a stale read");
            let found = page.kvs.first().is_some_and(|kv| kv.value == value);
            assert_eq!(found, page.revision >= revision, "{page:?}");
            if found {
                break;
            }
            assert!(Instant::now() < deadline, "it catches up");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
