//! Limits: what fits is taken, what does not is refused with the limit's name.

use std::sync::Arc;
use std::time::Duration;

use super::{commit, get, put};
use crate::{Compare, Key, KeyRange, RangeRequest, Revision, Store, StoreError, Txn, range_all};

/// Each limit refuses one more than it allows, and nothing is written.
pub async fn what_is_too_large_is_refused(store: Arc<dyn Store>) {
    let limits = store.limits();
    let ops = (0..=limits.max_txn_ops).fold(Txn::new(), |txn, n| txn.put(n.to_string(), ""));
    let compare = || Compare::Absent { key: "k".into() };
    let compares = (0..=limits.max_txn_ops).fold(Txn::new(), |txn, _| txn.when(compare()));
    let value = Txn::new().put("k", vec![0; limits.max_value_bytes + 1]);
    let key = Txn::new().put(vec![b'k'; limits.max_key_bytes + 1], "");
    let values = limits.max_txn_bytes / limits.max_value_bytes + 1;
    let bytes = (0..values)
        .fold(Txn::new(), |txn, n| txn.put(n.to_string(), vec![0; limits.max_value_bytes]));
    for txn in [ops, compares, value, key, bytes] {
        let error = store.commit(txn).await.expect_err("too large");
        assert!(matches!(error, StoreError::TooLarge { .. }), "{error}");
        assert!(error.is_invalid() && !error.is_retryable());
    }
    let all = range_all(&*store, KeyRange::all()).await.expect("all");
    assert!(all.kvs.is_empty());
}

/// The greatest transaction, value and key come back as they were.
pub async fn what_fits_exactly_is_taken(store: Arc<dyn Store>) {
    let limits = store.limits();
    let value = vec![7; limits.max_value_bytes];
    let key = Key::from(vec![b'k'; limits.max_key_bytes]);
    let largest = limits.max_txn_bytes.min(limits.max_value_bytes + limits.max_key_bytes);
    let value = value[..largest - key.len()].to_vec();
    commit(&store, Txn::new().put(key.clone(), value.clone())).await;
    let kv = store.get(key.clone()).await.expect("get").kv.expect("key");
    assert_eq!(kv.value, value);
    commit(&store, Txn::new().delete(key)).await;

    let txn = (0..limits.max_txn_ops).fold(Txn::new(), |txn, n| txn.put(format!("o/{n}"), "v"));
    let revision = commit(&store, txn).await;
    let all = range_all(&*store, KeyRange::prefix("o/")).await.expect("all");
    assert_eq!(all.kvs.len(), limits.max_txn_ops);
    assert!(all.kvs.iter().all(|kv| kv.mod_revision == revision));
}

/// Requests that make no sense are refused and change nothing.
pub async fn invalid_requests_are_refused(store: Arc<dyn Store>) {
    let revision = put(&store, "k", "v").await;
    let twice = [
        Txn::new().put("k", "1").put("k", "2"),
        Txn::new().put("k", "1").delete("k"),
        Txn::new().delete("k").put("k", "1"),
        Txn::new().put("k", "1").delete_range(KeyRange::all()),
        Txn::new().put("", "1"),
        Txn::new().delete(""),
        Txn::new().when_absent("").put("k", "1"),
    ];
    for txn in twice {
        let error = store.commit(txn.clone()).await.expect_err("invalid");
        assert!(matches!(error, StoreError::InvalidArgument { .. }), "{txn:?}: {error}");
    }
    assert_eq!(get(&store, "k").await.expect("k").mod_revision, revision);
    let overlapping = Txn::new().delete("k").delete("k").delete_range(KeyRange::prefix("k"));
    assert!(commit(&store, overlapping).await > revision);

    let refused = [
        store.get(Key::new()).await.err(),
        store.range(RangeRequest::new(KeyRange::all()).at(Revision(i64::MAX))).await.err(),
        store.lease_grant(Duration::ZERO).await.err(),
        store.lease_grant(store.limits().max_lease_ttl + Duration::from_secs(1)).await.err(),
    ];
    for error in refused {
        assert!(matches!(error, Some(StoreError::InvalidArgument { .. })), "{error:?}");
    }
}
