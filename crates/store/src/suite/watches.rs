//! Watches: every revision once, in order, whole, from the past and into the future.

use std::sync::Arc;

use super::{commit, get, next, next_batch, put};
use crate::{Event, KeyRange, Revision, Store, StoreError, Txn};

/// While many write, each watcher gets every revision once, in order, whenever it began.
pub async fn watch_delivers_every_revision_once(store: Arc<dyn Store>) {
    const WRITERS: usize = 8;
    const TXNS: usize = 25;
    let start = put(&store, "w/start", "").await;
    let mut early = store.watch(KeyRange::prefix("w/"), start.next());
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let mut revisions = Vec::new();
            for n in 0..TXNS {
                let txn = Txn::new()
                    .put(format!("w/{writer}/a"), n.to_string())
                    .put(format!("w/{writer}/b"), n.to_string());
                revisions.push(commit(&store, txn).await);
            }
            revisions
        });
    }
    let mut seen = Vec::new();
    while seen.len() < WRITERS * TXNS {
        let batch = next_batch(&mut early).await;
        assert_eq!(batch.events.len(), 2, "both writes of one transaction together: {batch:?}");
        seen.push(batch.revision);
    }
    let mut committed: Vec<Revision> = tasks.join_all().await.concat();
    committed.sort_unstable();
    assert_eq!(seen, committed, "every revision once, in order");

    let mut late = store.watch(KeyRange::prefix("w/"), start.next());
    for revision in committed {
        assert_eq!(next_batch(&mut late).await.revision, revision);
    }
}

/// A watch sees its range alone, and all of a revision within it.
pub async fn watch_filters_and_keeps_batches_whole(store: Arc<dyn Store>) {
    let start = commit(&store, Txn::new().put("a", "1").put("b/1", "1").put("b/2", "1")).await;
    let mut watch = store.watch(KeyRange::prefix("b/"), start.next());
    put(&store, "a", "2").await;
    let txn = Txn::new().delete("a").put("b/3", "1").delete_range(KeyRange::new("b/1", "b/3"));
    let revision = commit(&store, txn).await;
    let batch = next_batch(&mut watch).await;
    let put = get(&store, "b/3").await.expect("b/3");
    let delete = |key: &'static str| Event::Delete { key: key.into(), mod_revision: revision };
    assert_eq!(batch.revision, revision);
    assert_eq!(batch.events, [Event::Put(put), delete("b/1"), delete("b/2")]);
}

/// A watch goes on where another one, or a read, was.
pub async fn watch_resumes_in_the_past(store: Arc<dyn Store>) {
    let mut revisions = Vec::new();
    for n in 0..10 {
        revisions.push(commit(&store, Txn::new().put("k", n.to_string())).await);
    }
    for (position, from) in revisions.iter().enumerate() {
        let mut watch = store.watch(KeyRange::key("k"), *from);
        for expected in &revisions[position..] {
            let batch = next_batch(&mut watch).await;
            assert_eq!(batch.revision, *expected);
            let [Event::Put(kv)] = &batch.events[..] else { panic!("{batch:?}") };
            assert_eq!(kv.mod_revision, *expected);
        }
    }
}

/// A watch from a future revision leaves out what comes before.
pub async fn watch_waits_for_the_future(store: Arc<dyn Store>) {
    let now = put(&store, "k", "now").await;
    let from = Revision(now.0 + 3);
    let mut watch = store.watch(KeyRange::key("k"), from);
    let mut last = now;
    while last < from {
        last = put(&store, "k", "later").await;
    }
    assert!(next_batch(&mut watch).await.revision >= from);

    let mut zero = store.watch(KeyRange::all(), Revision::ZERO);
    let refused = next(&mut zero).await;
    assert!(matches!(refused, Some(Err(StoreError::InvalidArgument { .. }))), "{refused:?}");
    assert!(next(&mut zero).await.is_none(), "an error ends the stream");
}

/// After the close, watches end and requests are refused; closing again is fine.
pub async fn close_ends_everything(store: Arc<dyn Store>) {
    let revision = put(&store, "k", "v").await;
    let mut watch = store.watch(KeyRange::all(), revision.next());
    store.close().await;
    store.close().await;
    let end = next(&mut watch).await;
    assert!(matches!(end, Some(Err(StoreError::Unavailable { .. }))), "{end:?}");
    assert!(next(&mut watch).await.is_none());
    let refused = store.commit(Txn::new().put("k", "w")).await;
    assert!(matches!(refused, Err(StoreError::Unavailable { .. })), "{refused:?}");
    let refused = store.get("k".into()).await;
    assert!(matches!(refused, Err(StoreError::Unavailable { .. })), "{refused:?}");
    assert_ne!(store.health(), crate::Health::Ok);
}
