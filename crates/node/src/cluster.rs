//! The cluster's record: made by the first master, checked by every other.

use crate::environment::Environment;
use peloton_model::{ClusterRecord, decode_record, encode_record};
use peloton_store::{Store, StoreError, Txn, TxnResult, keys};

/// Why a master cannot join the cluster of a store.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The store holds another cluster.
    #[error(
        "cluster.name: {asked:?} is not allowed: the store already holds the cluster {found:?}; \
         use another store (on etcd, another store.prefix) or set cluster.name to {found:?}"
    )]
    OtherName {
        /// The name asked for.
        asked: String,
        /// The name found.
        found: String,
    },
    /// The number of shards is fixed when a cluster is created.
    #[error(
        "cluster.shards: {asked} is not allowed: the cluster {name:?} was created with {found} \
         shards, and that cannot change, as jobs belong to their shard for life"
    )]
    OtherShards {
        /// The cluster's name.
        name: String,
        /// The number asked for.
        asked: u16,
        /// The number found.
        found: u16,
    },
    /// The record cannot be read.
    #[error("the cluster's record in the store cannot be read: {0}")]
    Record(#[from] serde_json::Error),
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Creates the cluster's record, or checks that what is there is the same cluster.
///
/// # Errors
/// [`ClusterError`]: another cluster, another number of shards, or a store that does not work.
pub async fn open_cluster(
    store: &dyn Store,
    name: &str,
    shards: u16,
) -> Result<ClusterRecord, ClusterError> {
    open_cluster_in(&Environment::default(), store, name, shards).await
}

/// As [`open_cluster`], with the time and the randomness of an environment.
///
/// # Errors
/// As [`open_cluster`].
pub async fn open_cluster_in(
    environment: &Environment,
    store: &dyn Store,
    name: &str,
    shards: u16,
) -> Result<ClusterRecord, ClusterError> {
    // No other cluster has the same 64 random bits.
    let id = format!("{:016x}", (environment.random)());
    let created_at = environment.unix_ms();
    let record = ClusterRecord { name: name.to_owned(), id, shards, created_at };
    let txn = Txn::new()
        .when_absent(keys::meta_cluster())
        .put(keys::meta_cluster(), encode_record(&record)?);
    let TxnResult::Conflict { current, .. } = store.commit(txn).await? else { return Ok(record) };
    let Some(kv) = current.into_iter().flatten().next() else { return Ok(record) };
    let found: ClusterRecord = decode_record(&kv.value)?;
    if found.name != name {
        return Err(ClusterError::OtherName { asked: name.to_owned(), found: found.name });
    }
    if found.shards != shards {
        let (asked, found) = (shards, found.shards);
        return Err(ClusterError::OtherShards { name: name.to_owned(), asked, found });
    }
    Ok(found)
}
