//! Jobs: create, read, change, delete. Each change is one transaction on the job's own keys, however
//! many instances it has, guarded by a compare on the job's record; nothing is ever locked. Creations and
//! deletions compare the deletions of the job's place, too: that there is no job is no revision.

use std::sync::Arc;

use peloton_model::{
    Code, ConfigRecord, Deletion, InstanceId, JobConfig, JobId, JobRecord, Version, fields_changed,
};
use peloton_store::{Txn, keys};

use super::change::{Change, Look};
use super::records::{Stored, encoded};
use super::standing::Standing;
use super::upgrades::history;
use super::versions::{self, JobVersions};
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
    /// There was one already, with the same configuration.
    Same,
    /// There was one already, with another configuration.
    AlreadyExists,
}

/// What came of a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// It is gone, durably; its shard ends what still runs.
    Deleted,
    /// There is none.
    NotFound,
    /// The job has another version than expected.
    Conflict(Versions),
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

    /// The same for one answer from what is at hand; see [`Records::stale`].
    #[must_use]
    pub fn stale(&self) -> Self {
        Self::new(Arc::new(self.records.stale()))
    }

    /// Creates a job. Where there is one with the same configuration, nothing is changed: what was asked of
    /// its instances since stays.
    ///
    /// # Errors
    /// `invalid-argument` with everything that is wrong with the configuration; `unavailable`; `aborted`
    /// when others created and deleted it until the deadline.
    pub async fn create(
        &self,
        job: &JobId,
        config: JobConfig,
        caller: &Caller,
    ) -> Result<Created, ApiError> {
        config.validate().map_err(|errors| ApiError::fields(&errors))?;
        let mut change = Change::new(&self.records, job, caller);
        loop {
            let tried = self.try_create(job, &config, caller, &mut change).await;
            if let Some(created) = change.after(tried).await? {
                return Ok(created);
            }
        }
    }

    async fn try_create(
        &self,
        job: &JobId,
        config: &JobConfig,
        caller: &Caller,
        change: &mut Change<'_>,
    ) -> Result<Option<Created>, ApiError> {
        let place = change.look_to_create().await?;
        if place.made {
            return Ok(Some(Created::Created));
        }
        if let Some(stored) = &place.job {
            let standing = self.records.standing(job, &stored.record).await?;
            let current = change.config(stored, standing.current(&stored.record).version).await?;
            return Ok(current.map(|current| match *current.record.config == *config {
                true => Created::Same,
                false => Created::AlreadyExists,
            }));
        }
        let now = self.records.now();
        let mut record = JobRecord {
            version: 1,
            generation: 1,
            labels: config.labels.clone(),
            instance_count: config.instance_count,
            created_at: now,
            updated_at: now,
            updated_by: caller.name.clone(),
            ..Default::default()
        };
        record.sign(change.id);
        let config = config_record(1, config.clone(), now, caller);
        let shard = self.records.shard(job);
        let key = keys::desired_job(shard, job.as_str());
        let txn = Txn::new()
            .when_absent(key.clone())
            .when_unchanged(Records::deletions_key(job), place.deletions.modified)
            .put(keys::desired_config(shard, job.as_str(), 1), encoded(&config)?)
            .put(key, encoded(&record)?);
        Ok(change.commit_at(txn, &place).await?.then_some(Created::Created))
    }

    /// Reads a job.
    ///
    /// # Errors
    /// `unavailable`; `internal` where the store is damaged.
    pub async fn get(&self, job: &JobId) -> Result<Option<JobView>, ApiError> {
        let found = self.records.job_with_config(job).await?;
        Ok(found.map(|(stored, _, config)| JobView {
            id: job.clone(),
            record: stored.record,
            config,
        }))
    }

    /// The configurations of a job that are kept, the newest first: at most `limit` where that is not 0, and
    /// only the one with the number `version` where that is not 0.
    ///
    /// # Errors
    /// `unavailable`; `internal` where the store is damaged.
    pub async fn versions(
        &self,
        job: &JobId,
        limit: u32,
        version: Version,
    ) -> Result<Option<JobVersions>, ApiError> {
        versions::versions(&self.records, job, limit, version).await
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
        let mut change = Change::new(&self.records, job, caller);
        loop {
            let tried = self.try_update(job, &config, expected, caller, &mut change).await;
            if let Some(updated) = change.after(tried).await? {
                return Ok(updated);
            }
        }
    }

    async fn try_update(
        &self,
        job: &JobId,
        config: &JobConfig,
        expected: Version,
        caller: &Caller,
        change: &mut Change<'_>,
    ) -> Result<Option<Updated>, ApiError> {
        let stored = match change.look().await? {
            Look::Made(version) => return Ok(Some(Updated::Updated(version))),
            Look::Gone => return Ok(Some(Updated::NotFound)),
            Look::There(stored) => stored,
        };
        let standing = self.records.standing(job, &stored.record).await?;
        let actual = standing.current(&stored.record).version;
        if expected != 0 && expected != actual {
            return Ok(Some(Updated::Conflict(Versions { expected, actual })));
        }
        check_settled(job, &stored.record, &standing)?;
        let Some(current) = change.config(&stored, actual).await? else { return Ok(None) };
        let changes = fields_changed(&current.record.config, config);
        let upgrades = changes.iter().filter(|change| change.needs_upgrade);
        let upgrades: Vec<_> = upgrades.map(|change| change.field.clone()).collect();
        if !upgrades.is_empty() {
            return Ok(Some(Updated::NeedsUpgrade(upgrades)));
        }
        if changes.is_empty() {
            return Ok(Some(Updated::Updated(actual)));
        }
        let txn = self.next_version(job, &stored, config.clone(), caller, change.id)?;
        let version = stored.record.next_version();
        Ok(change.commit(txn, &stored).await?.then_some(Updated::Updated(version)))
    }

    /// Makes the next version, if the job is still as it was read. Nothing depends on an upgrade before it any
    /// more: that has ended, and both what it came from and what it went to are behind.
    fn next_version(
        &self,
        job: &JobId,
        stored: &Stored<JobRecord>,
        config: JobConfig,
        caller: &Caller,
        id: u64,
    ) -> Result<Txn, ApiError> {
        let now = self.records.now();
        let version = stored.record.next_version();
        let mut goals = stored.record.goals.clone();
        // What was asked of instances that go does not wait for those that may come one day;
        // what was asked of all instances, whatever their number, does.
        let of_all = goals.get(InstanceId::MAX);
        goals.change(config.instance_count, InstanceId::MAX, |goal| *goal = of_all);
        let mut record = JobRecord {
            version,
            upgrade: None,
            goals,
            generation: stored.record.generation + 1,
            labels: config.labels.clone(),
            instance_count: config.instance_count,
            updated_at: now,
            updated_by: caller.name.clone(),
            ..stored.record.clone()
        };
        record.sign(id);
        let config = config_record(version, config, now, caller);
        let shard = self.records.shard(job);
        let key = keys::desired_job(shard, job.as_str());
        let txn = Txn::new()
            .when_unchanged(key.clone(), stored.modified)
            .put(keys::desired_config(shard, job.as_str(), version), encoded(&config)?)
            .put(key, encoded(&record)?);
        Ok(versions::prune(txn, shard, job, version, None))
    }

    /// Deletes a job with all its configurations. Its shard sees that, ends the tasks and releases
    /// the reservations; both it knows from its own records.
    ///
    /// # Errors
    /// `unavailable`; `aborted` when others changed the job until the deadline.
    pub async fn delete(&self, job: &JobId, caller: &Caller) -> Result<Deleted, ApiError> {
        self.delete_if(job, 0, caller).await
    }

    /// The same, if the job has the version expected; 0 expects none in particular.
    ///
    /// # Errors
    /// As [`Jobs::delete`].
    pub async fn delete_if(
        &self,
        job: &JobId,
        expected: Version,
        caller: &Caller,
    ) -> Result<Deleted, ApiError> {
        let mut change = Change::new(&self.records, job, caller);
        loop {
            let tried = self.try_delete(job, expected, caller, &mut change).await;
            if let Some(deleted) = change.after(tried).await? {
                return Ok(deleted);
            }
        }
    }

    async fn try_delete(
        &self,
        job: &JobId,
        expected: Version,
        caller: &Caller,
        change: &mut Change<'_>,
    ) -> Result<Option<Deleted>, ApiError> {
        let place = change.look_to_delete().await?;
        if place.made {
            return Ok(Some(Deleted::Deleted));
        }
        let Some(stored) = &place.job else { return Ok(Some(Deleted::NotFound)) };
        let standing = self.records.standing(job, &stored.record).await?;
        let actual = standing.current(&stored.record).version;
        if expected != 0 && expected != actual {
            return change.refuse(stored, Deleted::Conflict(Versions { expected, actual })).await;
        }
        let deletion = Deletion {
            job: job.clone(),
            incarnation: stored.created.0,
            generation: stored.record.generation,
            receipts: stored.record.receipts.clone(),
            id: change.id,
            at: self.records.now(),
            by: caller.name.clone(),
        };
        let deletions = place.deletions.record.clone().with(deletion);
        let shard = self.records.shard(job);
        let (key, gone) = (keys::desired_job(shard, job.as_str()), Records::deletions_key(job));
        // Compared by revision and not by existence: a deletion must not hit a job of the same name
        // that was created since.
        let mut txn = Txn::new()
            .when_unchanged(key.clone(), stored.modified)
            .when_unchanged(gone.clone(), place.deletions.modified)
            .delete(key)
            .delete_range(keys::desired_configs(shard, job.as_str()))
            .delete_range(keys::desired_upgrades(shard, job.as_str()))
            .put(gone, encoded(&deletions)?);
        for spec in history::specs(&self.records, job).await? {
            txn = txn.delete(history::recent_key(shard, job, &spec));
        }
        let txn = if expected == 0 { txn } else { standing.guard(txn) };
        Ok(change.commit_at(txn, &place).await?.then_some(Deleted::Deleted))
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
        self.change_if(job, change, 0, caller).await
    }

    /// The same, if the job has the version expected; 0 expects none in particular.
    ///
    /// # Errors
    /// As [`Jobs::change`].
    pub async fn change_if(
        &self,
        job: &JobId,
        change: GoalChange,
        expected: Version,
        caller: &Caller,
    ) -> Result<GoalOutcome, ApiError> {
        goals::change(&self.records, job, &[], change, expected, caller).await
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

/// That no upgrade is under way, and none has ended half way.
fn check_settled(job: &JobId, record: &JobRecord, standing: &Standing) -> Result<(), ApiError> {
    let state = standing.state;
    let message = if let Some(id) = &standing.active {
        format!(
            "job {job} is being upgraded by {id}: wait until that has ended, roll it back or abort it, \
             or replace it by an upgrade to what you want"
        )
    } else if let Some(id) = record.upgrade_id(job).filter(|_| state.is_mixed()) {
        format!(
            "job {job} has instances of two versions, as its upgrade {id} is {}: roll that back, or \
             start an upgrade to what you want",
            state.name()
        )
    } else {
        return Ok(());
    };
    Err(ApiError::new(Code::FailedPrecondition, message))
}

pub(super) fn config_record(
    version: Version,
    config: JobConfig,
    now: u64,
    caller: &Caller,
) -> ConfigRecord {
    ConfigRecord {
        version,
        created_at: now,
        created_by: caller.name.clone(),
        config: Arc::new(config),
    }
}
