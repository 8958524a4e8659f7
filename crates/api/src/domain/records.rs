//! Typed access to the store's records: the latest ones, or those at hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use peloton_model::{
    ClusterRecord, Code, ConfigRecord, DeletionsRecord, JobId, JobRecord, JobSummary, Version,
    decode_record, encode_record, shard_of,
};
use peloton_store::{
    Key, KeyRange, KeyValue, RangeRequest, RangeResponse, Revision, Store, Value, keys,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::standing::Standing;
use super::{Caller, Clock, ConfigCache, Random, StoredConfig, system_random};
use crate::ApiError;

/// The places at which deletions are kept: few keys for ever, and still hardly ever two busy jobs at one.
const DELETION_PLACES: u16 = 1024;
/// How often a job and its configuration are read until both are of one job. A job would have to be
/// deleted and created anew between the reads each time.
pub(super) const READ_ATTEMPTS: u32 = 4;

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

/// The store, as records of the model. Cheap to clone.
#[derive(Clone)]
pub struct Records {
    store: Arc<dyn Store>,
    shards: u16,
    clock: Clock,
    random: Random,
    configs: Arc<ConfigCache>,
    /// Of reads from what is at hand: the oldest revision that any of them was of.
    as_of: Option<Arc<AtomicI64>>,
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
        let (random, configs) = (system_random(), Arc::default());
        Self { store, shards: shards.max(1), clock, random, configs, as_of: None }
    }

    /// The same with random numbers from elsewhere.
    #[must_use]
    pub fn with_random(self, random: Random) -> Self {
        Self { random, ..self }
    }

    /// The same for one answer from what is at hand: it may be old, and is there while the store can commit
    /// nothing.
    #[must_use]
    pub fn stale(&self) -> Self {
        Self { as_of: Some(Arc::new(AtomicI64::new(i64::MAX))), ..self.clone() }
    }

    /// The revision that everything read from what is at hand is at least of; `None` where the latest was
    /// read, or nothing.
    #[must_use]
    pub fn as_of(&self) -> Option<Revision> {
        let oldest = self.as_of.as_ref()?.load(Ordering::Relaxed);
        (oldest != i64::MAX).then_some(Revision(oldest))
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

    /// A random number.
    pub(super) fn random(&self) -> u64 {
        (self.random)()
    }

    /// A key, if it exists.
    async fn get(&self, key: Key) -> Result<Option<KeyValue>, ApiError> {
        if self.as_of.is_none() {
            return Ok(self.store.get(key).await?.kv);
        }
        let page = self.range(RangeRequest::new(KeyRange::key(key)).limit(1)).await?;
        Ok(page.kvs.into_iter().next())
    }

    /// A page of a range.
    pub(super) async fn range(&self, request: RangeRequest) -> Result<RangeResponse, ApiError> {
        let Some(as_of) = &self.as_of else { return Ok(self.store.range(request).await?) };
        let page = self.store.range_stale(request).await?;
        as_of.fetch_min(page.revision.0, Ordering::Relaxed);
        Ok(page)
    }

    /// A range, all of one revision; of what is at hand, where the next page may be elsewhere, each page of
    /// its own.
    pub(super) async fn range_all(&self, range: KeyRange) -> Result<Vec<KeyValue>, ApiError> {
        let mut request = RangeRequest::new(range);
        let mut kvs: Vec<KeyValue> = Vec::new();
        loop {
            let page = self.range(request.clone()).await?;
            kvs.extend(page.kvs);
            let (Some(last), true) = (kvs.last(), page.more) else { return Ok(kvs) };
            request.range = request.range.after(&last.key);
            if self.as_of.is_none() {
                request.revision = Some(page.revision);
            }
        }
    }

    /// A record, if its key exists.
    pub(super) async fn read<T: DeserializeOwned>(
        &self,
        key: Key,
    ) -> Result<Option<Stored<T>>, ApiError> {
        self.get(key).await?.as_ref().map(stored).transpose()
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

    /// The key of the last deletions at the job's place.
    pub(super) fn deletions_key(job: &JobId) -> Key {
        keys::deletions(shard_of(job, DELETION_PLACES).0)
    }

    /// The last deletions at the job's place.
    pub(super) async fn deletions(&self, job: &JobId) -> Result<Stored<DeletionsRecord>, ApiError> {
        let none = Stored {
            record: DeletionsRecord::default(),
            created: Revision::ZERO,
            modified: Revision::ZERO,
        };
        Ok(self.read(Self::deletions_key(job)).await?.unwrap_or(none))
    }

    /// A configuration of the job, if it is there. One that was stored after the job was read may be of a
    /// later job of the name: it is not taken for the job's current one or an older one, and never kept.
    pub(super) async fn config(
        &self,
        id: &JobId,
        job: &Stored<JobRecord>,
        version: Version,
    ) -> Result<Option<Arc<StoredConfig>>, ApiError> {
        if let Some(config) = self.configs.get(id, job.created, version) {
            return Ok(Some(config));
        }
        let key = keys::desired_config(self.shard(id), id.as_str(), version);
        let Some(kv) = self.get(key).await? else { return Ok(None) };
        let is_later = kv.mod_revision > job.modified;
        if is_later && version <= job.record.version {
            return Ok(None);
        }
        let record: ConfigRecord = stored(&kv)?.record;
        let config = Arc::new(StoredConfig { record, size_bytes: kv.value.len() });
        if !is_later && kv.mod_revision >= job.created {
            self.configs.insert(id, job.created, Arc::clone(&config));
        }
        Ok(Some(config))
    }

    /// A job with the configuration in force, both of the same job.
    pub(super) async fn job_with_config(
        &self,
        job: &JobId,
    ) -> Result<Option<(Stored<JobRecord>, Standing, Arc<StoredConfig>)>, ApiError> {
        for _ in 0..READ_ATTEMPTS {
            let Some(record) = self.job(job).await? else { return Ok(None) };
            let standing = self.standing(job, &record.record).await?;
            let version = standing.current(&record.record).version;
            if let Some(config) = self.config(job, &record, version).await? {
                return Ok(Some((record, standing, config)));
            }
        }
        Err(ApiError::internal(format!("job {job} has no configuration in the store")))
    }

    /// Waits before the try after the `attempt`-th, at random within a growing bound, so that masters
    /// that met once do not meet again. Whether the caller still waits.
    pub(super) async fn pause(&self, attempt: u32, max_ms: u64, caller: &Caller) -> bool {
        let bound_ms = (1_u64 << attempt.min(16)).min(max_ms);
        let until = Instant::now() + Duration::from_millis(self.random() % bound_ms + 1);
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
