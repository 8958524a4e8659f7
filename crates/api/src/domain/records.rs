//! Typed access to the store's records, and commits whose outcome is known.

use std::sync::Arc;
use std::time::Duration;

use peloton_model::{
    ClusterRecord, Code, ConfigRecord, JobId, JobRecord, JobSummary, Version, decode_record,
    encode_record, shard_of,
};
use peloton_store::{Key, KeyValue, Revision, Store, StoreError, Txn, TxnResult, Value, keys};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::{Caller, Clock, ConfigCache, Random, StoredConfig, system_random};
use crate::ApiError;

/// How often a commit whose outcome is unknown is repeated; each waits longer.
const UNKNOWN_ATTEMPTS: u32 = 6;
/// How often a job and its configuration are read until both are of one job. A job would have to be
/// deleted and created anew between the reads each time.
const READ_ATTEMPTS: u32 = 4;
/// The longest wait between two tries.
const MAX_WAIT_MS: u64 = 64;

/// A record with the revisions of its key.
#[derive(Debug, Clone)]
pub(super) struct Stored<T> {
    /// The record.
    pub record: T,
    /// What created it: tells a job from a later one of the same name.
    pub created: Revision,
    /// What last changed it: what a change compares.
    pub modified: Revision,
}

/// How a commit ended.
#[derive(Debug)]
pub(super) enum Commit {
    /// It is durable.
    Done,
    /// Somebody else was first.
    Conflict,
}

/// The store, as records of the model.
pub struct Records {
    store: Arc<dyn Store>,
    shards: u16,
    clock: Clock,
    random: Random,
    configs: ConfigCache,
}

impl std::fmt::Debug for Records {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Records").field("shards", &self.shards).finish_non_exhaustive()
    }
}

impl Records {
    /// Over a store of a cluster with so many shards (`meta/cluster`).
    #[must_use]
    pub fn new(store: Arc<dyn Store>, shards: u16, clock: Clock) -> Self {
        let random = system_random();
        Self { store, shards: shards.max(1), clock, random, configs: ConfigCache::default() }
    }

    /// The same with random numbers from elsewhere.
    #[must_use]
    pub fn with_random(self, random: Random) -> Self {
        Self { random, ..self }
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// How many shards the cluster has.
    #[must_use]
    pub fn shards(&self) -> u16 {
        self.shards
    }

    /// The shard of a job.
    #[must_use]
    pub fn shard(&self, job: &JobId) -> u16 {
        shard_of(job, self.shards).0
    }

    /// The time of day, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn now(&self) -> u64 {
        (self.clock)()
    }

    /// A record, if its key exists.
    pub(super) async fn read<T: DeserializeOwned>(
        &self,
        key: Key,
    ) -> Result<Option<Stored<T>>, ApiError> {
        let response = self.store.get(key).await?;
        response.kv.as_ref().map(stored).transpose()
    }

    /// What was decided when the cluster was created, if it is recorded.
    ///
    /// # Errors
    /// `unavailable`; `internal` where the store is damaged.
    pub async fn cluster(&self) -> Result<Option<ClusterRecord>, ApiError> {
        Ok(self.read(keys::meta_cluster()).await?.map(|stored| stored.record))
    }

    /// What users ask of a job.
    pub(super) async fn job(&self, job: &JobId) -> Result<Option<Stored<JobRecord>>, ApiError> {
        self.read(keys::desired_job(self.shard(job), job.as_str())).await
    }

    /// A job as its shard sees it, or saw an earlier one of the name.
    pub(super) async fn summary(&self, job: &JobId) -> Result<Option<JobSummary>, ApiError> {
        let key = keys::actual_job(self.shard(job), job.as_str());
        Ok(self.read(key).await?.map(|stored| stored.record))
    }

    /// A configuration of the job that was created by `incarnation`, if it is there.
    pub(super) async fn config(
        &self,
        job: &JobId,
        incarnation: Revision,
        version: Version,
    ) -> Result<Option<Arc<StoredConfig>>, ApiError> {
        if let Some(config) = self.configs.get(job, incarnation, version) {
            return Ok(Some(config));
        }
        let key = keys::desired_config(self.shard(job), job.as_str(), version);
        let Some(kv) = self.store.get(key).await?.kv else { return Ok(None) };
        let record: ConfigRecord = stored(&kv)?.record;
        let config = Arc::new(StoredConfig { record, size_bytes: kv.value.len() });
        self.configs.insert(job, incarnation, Arc::clone(&config));
        Ok(Some(config))
    }

    /// A job with its current configuration, both of the same job.
    pub(super) async fn job_with_config(
        &self,
        job: &JobId,
    ) -> Result<Option<(Stored<JobRecord>, Arc<StoredConfig>)>, ApiError> {
        for _ in 0..READ_ATTEMPTS {
            let Some(record) = self.job(job).await? else { return Ok(None) };
            let version = record.record.version;
            if let Some(config) = self.config(job, record.created, version).await? {
                return Ok(Some((record, config)));
            }
        }
        Err(ApiError::internal(format!("job {job} has no configuration in the store")))
    }

    /// Commits a transaction that, among others, puts `value` at `key` (or deletes it, with `None`),
    /// under a compare of that key which does not hold once it is done. So a transaction whose
    /// outcome got lost is repeated: if it had happened, the conflict shows our own change.
    pub(super) async fn commit(
        &self,
        txn: Txn,
        key: &Key,
        value: Option<&Value>,
        caller: &Caller,
    ) -> Result<Commit, ApiError> {
        let mut lost: Option<StoreError> = None;
        for attempt in 1.. {
            match self.store.commit(txn.clone()).await {
                Ok(TxnResult::Committed { .. }) => return Ok(Commit::Done),
                Ok(TxnResult::Conflict { current, .. }) => {
                    let found = current.iter().flatten().find(|kv| kv.key == *key);
                    let ours = lost.is_some() && found.map(|kv| &kv.value) == value;
                    return Ok(if ours { Commit::Done } else { Commit::Conflict });
                }
                Err(error) if error.is_unknown() => lost = Some(error),
                Err(error) if error.is_retryable() && lost.is_some() => {}
                Err(error) => return Err(error.into()),
            }
            if attempt >= UNKNOWN_ATTEMPTS || !self.pause(attempt, caller).await {
                break;
            }
        }
        let reason = lost.map_or_else(String::new, |error| error.to_string());
        Err(StoreError::Unknown { reason }.into())
    }

    /// Waits before the try after the `attempt`-th, at random within a growing bound, so that masters
    /// that met once do not meet again. Whether the caller still waits.
    pub(super) async fn pause(&self, attempt: u32, caller: &Caller) -> bool {
        let bound_ms = (1_u64 << attempt.min(16)).min(MAX_WAIT_MS);
        let until = Instant::now() + Duration::from_millis((self.random)() % bound_ms + 1);
        tokio::time::sleep_until(until.min(caller.deadline)).await;
        !caller.is_gone()
    }
}

/// What a caller gets who lost against others until its deadline.
pub(super) fn contended(job: &JobId) -> ApiError {
    ApiError::new(
        Code::Aborted,
        format!("job {job} was changed by others at the same time; try again"),
    )
}

/// Decodes a key's value.
pub(super) fn stored<T: DeserializeOwned>(kv: &KeyValue) -> Result<Stored<T>, ApiError> {
    let record = decode_record(&kv.value).map_err(|error| {
        let key = String::from_utf8_lossy(&kv.key);
        ApiError::internal(format!("the store's record {key} cannot be read: {error}"))
    })?;
    Ok(Stored { record, created: kv.create_revision, modified: kv.mod_revision })
}

/// Encodes a record.
pub(super) fn encoded<T: Serialize>(record: &T) -> Result<Value, ApiError> {
    let bytes = encode_record(record)
        .map_err(|error| ApiError::internal(format!("a record cannot be encoded: {error}")))?;
    Ok(bytes.into())
}
