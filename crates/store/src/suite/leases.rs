//! Leases: expiry, keep-alive, revocation, and which key belongs to which.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{commit, get, gone, next_batch};
use crate::{Event, KeyRange, LeaseId, Store, StoreError, Txn};

/// Long enough not to run out during a test.
const LONG: Duration = Duration::from_secs(3600);

/// A lease that nobody keeps deletes its keys, as one revision that watches see.
pub async fn lease_expiry_deletes_its_keys(store: Arc<dyn Store>) {
    let lease = store.lease_grant(Duration::from_millis(150)).await.expect("grant");
    assert!(lease.ttl >= Duration::from_millis(150));
    let txn = Txn::new()
        .put_leased("l/1", "v", lease.id)
        .put_leased("l/2", "v", lease.id)
        .put("l/3", "free");
    let revision = commit(&store, txn).await;
    assert_eq!(get(&store, "l/1").await.expect("l/1").lease, Some(lease.id));
    let mut watch = store.watch(KeyRange::prefix("l/"), revision.next());
    gone(&store, "l/1").await;
    gone(&store, "l/2").await;
    assert!(get(&store, "l/3").await.is_some());
    let batch = next_batch(&mut watch).await;
    let delete =
        |key: &'static str| Event::Delete { key: key.into(), mod_revision: batch.revision };
    assert_eq!(batch.events, [delete("l/1"), delete("l/2")]);
    let late = store.lease_keep_alive(lease.id).await;
    assert_eq!(late, Err(StoreError::LeaseNotFound { id: lease.id }));
}

/// A lease that is kept alive outlives its first deadline.
pub async fn lease_keep_alive_holds_its_keys(store: Arc<dyn Store>) {
    let lease = store.lease_grant(Duration::from_secs(2)).await.expect("grant");
    commit(&store, Txn::new().put_leased("k", "v", lease.id)).await;
    let until = Instant::now() + lease.ttl + lease.ttl / 2;
    while Instant::now() < until {
        let ttl = store.lease_keep_alive(lease.id).await.expect("alive");
        assert_eq!(ttl, lease.ttl);
        assert!(store.lease_time_to_live(lease.id).await.expect("alive") <= lease.ttl);
        assert!(get(&store, "k").await.is_some());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    gone(&store, "k").await;
}

/// A key belongs to the lease of its last write, or to none.
pub async fn lease_put_moves_the_key(store: Arc<dyn Store>) {
    let first = store.lease_grant(LONG).await.expect("grant").id;
    let second = store.lease_grant(LONG).await.expect("grant").id;
    assert_ne!(first, second);
    let all = ["moved", "freed", "stays"];
    let txn = all.iter().fold(Txn::new(), |txn, key| txn.put_leased(*key, "", first));
    commit(&store, txn).await;
    commit(&store, Txn::new().put_leased("moved", "", second).put("freed", "")).await;
    store.lease_revoke(first).await.expect("revoke");
    assert!(get(&store, "stays").await.is_none());
    assert_eq!(get(&store, "moved").await.expect("moved").lease, Some(second));
    assert_eq!(get(&store, "freed").await.expect("freed").lease, None);
    store.lease_revoke(second).await.expect("revoke");
    assert!(get(&store, "moved").await.is_none());
    assert!(get(&store, "freed").await.is_some());
}

/// When a revocation is answered, the keys are gone and the lease is unknown.
pub async fn lease_revoke_deletes_its_keys_at_once(store: Arc<dyn Store>) {
    let lease = store.lease_grant(LONG).await.expect("grant").id;
    commit(&store, Txn::new().put_leased("a", "", lease).put_leased("b", "", lease)).await;
    commit(&store, Txn::new().delete("a")).await;
    store.lease_revoke(lease).await.expect("revoke");
    assert_eq!((get(&store, "a").await, get(&store, "b").await), (None, None));
    let again = store.lease_revoke(lease).await;
    assert_eq!(again, Err(StoreError::LeaseNotFound { id: lease }));
    let refused = store.commit(Txn::new().put_leased("c", "", lease).put("d", "")).await;
    assert_eq!(refused, Err(StoreError::LeaseNotFound { id: lease }));
    assert_eq!(get(&store, "d").await, None, "a refused transaction changes nothing");
}

/// What never was a lease is refused everywhere.
pub async fn unknown_lease_is_refused(store: Arc<dyn Store>) {
    let id = LeaseId(0x7eed_1e55);
    let expected = StoreError::LeaseNotFound { id };
    assert_eq!(store.lease_keep_alive(id).await, Err(expected.clone()));
    assert_eq!(store.lease_time_to_live(id).await, Err(expected.clone()));
    assert_eq!(store.lease_revoke(id).await, Err(expected.clone()));
    assert_eq!(store.commit(Txn::new().put_leased("k", "", id)).await, Err(expected));
    let conflict = Txn::new().when_exists("k").put_leased("k", "", id);
    assert!(store.commit(conflict).await.expect("a conflict comes first").committed().is_none());
}
