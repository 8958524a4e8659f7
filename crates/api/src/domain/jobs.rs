//! Jobs: create, read, change, delete. Each change is one transaction on the job's own keys, however
//! many instances it has, guarded by a compare on the job's record; nothing is ever locked.

use std::sync::Arc;

use peloton_model::{
    Change, ConfigRecord, InstanceId, JobConfig, JobId, JobRecord, Version, fields_changed, limits,
};
use peloton_store::{Txn, keys};

use super::records::{Commit, Stored, contended, encoded};
use super::{Caller, GoalChange, GoalOutcome, JobPage, JobStatus, PageRequest, Records};
use super::{StoredConfig, Versions, goals, query, status};
use crate::ApiError;

/// The service for jobs.
#[derive(Debug, Clone)]
pub struct Jobs {
    records: Arc<Records>,
}

/// A job as its users want it.
#[derive(Debug, Clone)]
pub struct JobView {
    /// Its id.
    pub id: JobId,
    /// Its record.
    pub record: JobRecord,
    /// Its current configuration.
    pub config: Arc<StoredConfig>,
}

/// What came of a creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// It is there, durably.
    Created,
    /// There was one already.
    AlreadyExists,
}

/// What came of a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// It is gone, durably; its shard ends what still runs.
    Deleted,
    /// There is none.
    NotFound,
}

/// What came of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Updated {
    /// The job has this version now. It is the old one where nothing differed.
    Updated(Version),
    /// There is no such job.
    NotFound,
    /// The job has another version than expected.
    Conflict(Versions),
    /// These fields need running instances to be replaced.
    NeedsUpgrade(Vec<String>),
}

impl Jobs {
    /// Over these records.
    #[must_use]
    pub fn new(records: Arc<Records>) -> Self {
        Self { records }
    }

    /// Creates a job.
    ///
    /// # Errors
    /// `invalid-argument` with everything that is wrong with the configuration; `unavailable`.
    pub async fn create(
        &self,
        job: &JobId,
        config: JobConfig,
        caller: &Caller,
    ) -> Result<Created, ApiError> {
        config.validate().map_err(|errors| ApiError::fields(&errors))?;
        let now = self.records.now();
        let record = JobRecord {
            version: 1,
            generation: 1,
            labels: config.labels.clone(),
            instance_count: config.instance_count,
            created_at: now,
            updated_at: now,
            updated_by: caller.name.clone(),
            ..Default::default()
        };
        let config = config_record(1, config, now, caller);
        let shard = self.records.shard(job);
        let key = keys::desired_job(shard, job.as_str());
        let value = encoded(&record)?;
        let txn = Txn::new()
            .when_absent(key.clone())
            .put(keys::desired_config(shard, job.as_str(), 1), encoded(&config)?)
            .put(key.clone(), value.clone());
        Ok(match self.records.commit(txn, &key, Some(&value), caller).await? {
            Commit::Done => Created::Created,
            Commit::Conflict => Created::AlreadyExists,
        })
    }

    /// Reads a job.
    ///
    /// # Errors
    /// `unavailable`; `internal` where the store is damaged.
    pub async fn get(&self, job: &JobId) -> Result<Option<JobView>, ApiError> {
        let found = self.records.job_with_config(job).await?;
        Ok(found.map(|(stored, config)| JobView { id: job.clone(), record: stored.record, config }))
    }

    /// Finds jobs that have all of the labels.
    ///
    /// # Errors
    /// `invalid-argument` for a page token that is not one; `unavailable`.
    pub async fn query(
        &self,
        labels: &std::collections::BTreeMap<String, String>,
        page: &PageRequest,
    ) -> Result<JobPage, ApiError> {
        query::query(&self.records, labels, page).await
    }

    /// Gives a job another configuration, where that needs no instance to be replaced. Version 0
    /// expects none in particular.
    ///
    /// # Errors
    /// `invalid-argument`, `unavailable`; `aborted` when others changed the job until the deadline.
    pub async fn update(
        &self,
        job: &JobId,
        config: JobConfig,
        expected: Version,
        caller: &Caller,
    ) -> Result<Updated, ApiError> {
        config.validate().map_err(|errors| ApiError::fields(&errors))?;
        for attempt in 1.. {
            let Some((stored, current)) = self.records.job_with_config(job).await? else {
                return Ok(Updated::NotFound);
            };
            let actual = stored.record.version;
            if expected != 0 && expected != actual {
                return Ok(Updated::Conflict(Versions { expected, actual }));
            }
            let changes = fields_changed(&current.record.config, &config);
            let upgrades = changes.iter().filter(|change| change.needs_upgrade);
            let upgrades: Vec<_> = upgrades.map(|Change { field, .. }| field.clone()).collect();
            if !upgrades.is_empty() {
                return Ok(Updated::NeedsUpgrade(upgrades));
            }
            if changes.is_empty() {
                return Ok(Updated::Updated(actual));
            }
            match self.put_version(job, &stored, config.clone(), caller).await? {
                Commit::Done => return Ok(Updated::Updated(actual + 1)),
                Commit::Conflict if self.records.pause(attempt, caller).await => {}
                Commit::Conflict => break,
            }
        }
        Err(contended(job))
    }

    /// Makes the next version, if the job is still as it was read.
    async fn put_version(
        &self,
        job: &JobId,
        stored: &Stored<JobRecord>,
        config: JobConfig,
        caller: &Caller,
    ) -> Result<Commit, ApiError> {
        let now = self.records.now();
        let version = stored.record.version + 1;
        let mut goals = stored.record.goals.clone();
        // What was asked of instances that go does not wait for those that may come one day;
        // what was asked of all instances, whatever their number, does.
        let of_all = goals.get(InstanceId::MAX);
        goals.change(config.instance_count, InstanceId::MAX, |goal| *goal = of_all);
        let record = JobRecord {
            version,
            goals,
            generation: stored.record.generation + 1,
            labels: config.labels.clone(),
            instance_count: config.instance_count,
            updated_at: now,
            updated_by: caller.name.clone(),
            ..stored.record.clone()
        };
        let config = config_record(version, config, now, caller);
        let shard = self.records.shard(job);
        let key = keys::desired_job(shard, job.as_str());
        let value = encoded(&record)?;
        let mut txn = Txn::new()
            .when_unchanged(key.clone(), stored.modified)
            .put(keys::desired_config(shard, job.as_str(), version), encoded(&config)?)
            .put(key.clone(), value.clone());
        if let Some(old) = version.checked_sub(limits::KEPT_VERSIONS).filter(|old| *old > 0) {
            txn = txn.delete(keys::desired_config(shard, job.as_str(), old));
        }
        self.records.commit(txn, &key, Some(&value), caller).await
    }

    /// Deletes a job with all its configurations. Its shard sees that, ends the tasks and releases
    /// the reservations; both it knows from its own records.
    ///
    /// # Errors
    /// `unavailable`; `aborted` when others changed the job until the deadline.
    pub async fn delete(&self, job: &JobId, caller: &Caller) -> Result<Deleted, ApiError> {
        let shard = self.records.shard(job);
        let key = keys::desired_job(shard, job.as_str());
        for attempt in 1.. {
            let Some(stored) = self.records.job(job).await? else { return Ok(Deleted::NotFound) };
            // Compared by revision and not by existence: a repeated deletion must not hit a job of
            // the same name that was created in between.
            let txn = Txn::new()
                .when_unchanged(key.clone(), stored.modified)
                .delete(key.clone())
                .delete_range(keys::desired_configs(shard, job.as_str()));
            match self.records.commit(txn, &key, None, caller).await? {
                Commit::Done => return Ok(Deleted::Deleted),
                Commit::Conflict if self.records.pause(attempt, caller).await => {}
                Commit::Conflict => break,
            }
        }
        Err(contended(job))
    }

    /// Starts, stops or restarts all instances, those that are added later, too.
    ///
    /// # Errors
    /// `unavailable`; `aborted` when others changed the job until the deadline.
    pub async fn change(
        &self,
        job: &JobId,
        change: GoalChange,
        caller: &Caller,
    ) -> Result<GoalOutcome, ApiError> {
        goals::change(&self.records, job, &[], change, caller).await
    }

    /// How a job is doing; also of one that was deleted, while something of it is left.
    ///
    /// # Errors
    /// `unavailable`; `internal` where the store is damaged.
    pub async fn status(&self, job: &JobId) -> Result<Option<JobStatus>, ApiError> {
        status::status(&self.records, job).await
    }

    /// The records that this works on.
    #[must_use]
    pub fn records(&self) -> &Records {
        &self.records
    }
}

fn config_record(version: Version, config: JobConfig, now: u64, caller: &Caller) -> ConfigRecord {
    ConfigRecord {
        version,
        created_at: now,
        created_by: caller.name.clone(),
        config: Arc::new(config),
    }
}
