//! What only the model can do: history, compaction, virtual time.

// All of this is test code; a helper may fail like a test does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use peloton_store::{
    EventLog, Key, KeyRange, LogBounds, MemoryState, MemoryStore, RangeRequest, Revision, Store,
    StoreError, Txn, WatchBatch,
};

const NOW: Duration = Duration::from_secs(100);

fn commit(state: &mut MemoryState, txn: &Txn) -> Revision {
    state.apply(txn, NOW).expect("applies").committed().expect("no conflict")
}

fn values(state: &MemoryState, at: Revision) -> Result<Vec<(Key, Key)>, StoreError> {
    let page = state.range(&RangeRequest::new(KeyRange::all()).at(at))?;
    Ok(page.kvs.into_iter().map(|kv| (kv.key, kv.value)).collect())
}

#[test]
fn history_is_kept_until_it_is_compacted() {
    let mut state = MemoryState::default();
    let one = commit(&mut state, &Txn::new().put("a", "1").put("b", "1"));
    let two = commit(&mut state, &Txn::new().delete("a").put("b", "2"));
    let three = commit(&mut state, &Txn::new().put("a", "3"));
    let pair = |key: &'static str, value: &'static str| (Key::from(key), Key::from(value));
    assert_eq!(values(&state, one), Ok(vec![pair("a", "1"), pair("b", "1")]));
    assert_eq!(values(&state, two), Ok(vec![pair("b", "2")]));
    assert_eq!(values(&state, Revision::FIRST), Ok(vec![]));

    state.compact(two);
    let compacted = StoreError::Compacted { at: two };
    assert_eq!(values(&state, one), Err(compacted.clone()));
    assert_eq!(values(&state, two), Ok(vec![pair("b", "2")]));
    assert_eq!(values(&state, three), Ok(vec![pair("a", "3"), pair("b", "2")]));
    assert_eq!(state.events(two, 10), Err(compacted));
    assert_eq!(state.events(three, 10).expect("kept").len(), 1);
}

#[test]
fn virtual_time_ends_leases_in_the_order_of_their_deadlines() {
    let mut state = MemoryState::default();
    let late = state.lease_grant(Duration::from_secs(20), NOW).expect("lease").id;
    let early = state.lease_grant(Duration::from_secs(10), NOW).expect("lease").id;
    let before =
        commit(&mut state, &Txn::new().put_leased("e", "", early).put_leased("l", "", late));
    assert_eq!(state.next_deadline(), Some(NOW + Duration::from_secs(10)));
    state.advance(NOW + Duration::from_millis(9999));
    assert_eq!(state.revision(), before);
    state.advance(NOW + Duration::from_secs(60));
    let keys: Vec<Key> = state
        .events(before.next(), 10)
        .expect("kept")
        .iter()
        .map(|batch| batch.events[0].key().clone())
        .collect();
    assert_eq!(keys, [Key::from("e"), Key::from("l")]);
    assert_eq!(state.next_deadline(), None);
}

#[tokio::test]
async fn a_store_in_virtual_time_stands_still() {
    let store = MemoryStore::with_virtual_time(MemoryState::default());
    let lease = store.lease_grant(Duration::from_millis(100)).await.expect("lease").id;
    store.commit(Txn::new().put_leased("k", "", lease)).await.expect("commit");
    store.advance(Duration::from_millis(99));
    assert_eq!(store.lease_time_to_live(lease).await, Ok(Duration::from_millis(1)));
    store.advance(Duration::from_millis(100));
    assert_eq!(store.get("k".into()).await.expect("get").kv, None);
}

#[test]
fn the_event_log_forgets_the_oldest_first() {
    let bounds = LogBounds { max_events: 3, max_bytes: 1000 };
    let mut log = EventLog::new(Revision(10), bounds);
    assert_eq!(log.since(Revision(10), 1), Err(StoreError::Compacted { at: Revision(10) }));
    let mut state = MemoryState::default();
    for n in 11..=15 {
        let txn = Txn::new().put("k", n.to_string());
        let from = commit(&mut state, &txn);
        let events = state.events(from, 1).expect("kept")[0].events.clone();
        log.push(WatchBatch { revision: Revision(n), events }.into());
    }
    assert_eq!((log.compacted(), log.newest()), (Revision(12), Revision(15)));
    let kept: Vec<i64> =
        log.since(Revision(13), 9).expect("kept").iter().map(|batch| batch.revision.0).collect();
    assert_eq!(kept, [13, 14, 15]);
    assert_eq!(log.since(Revision(20), 9).expect("the future").len(), 0);
}

#[test]
fn errors_say_what_may_be_done_about_them() {
    let unavailable = StoreError::Unavailable { reason: "x".into() };
    let unknown = StoreError::Unknown { reason: "x".into() };
    assert!(unavailable.is_retryable() && !unavailable.is_unknown());
    assert!(unknown.is_unknown() && !unknown.is_retryable());
    assert!(StoreError::Compacted { at: Revision(1) }.is_compacted());
    assert!(StoreError::Schema { found: 2, supported: 1 }.is_fatal());
}
