//! The transaction that begins an upgrade: the new configuration, what was asked for, an entry in the list of
//! all upgrades, and the job's record, which is what it compares.

use std::sync::Arc;

use peloton_model::{
    Current, InstanceId, JobConfig, JobId, JobRecord, UpgradeAsk, UpgradeId, UpgradeOptions,
    UpgradeSpecRecord, UpgradeState, Version, limits,
};
use peloton_store::{Txn, keys};

use super::super::change::{Change, Look};
use super::super::jobs::config_record;
use super::super::records::{Stored, encoded};
use super::super::standing::Standing;
use super::super::versions;
use super::{Start, UpgradeRequest, history, options};
use crate::ApiError;
use crate::domain::{Caller, Records, StoredConfig, Versions};

/// An upgrade that may begin.
pub(super) struct Draft {
    /// The last proven version.
    pub from: Current,
    /// Its configuration.
    pub old: Arc<StoredConfig>,
    /// The version under way that it takes the place of.
    pub replaces: Option<Version>,
}

pub(super) async fn create(
    records: &Records,
    job: &JobId,
    request: &UpgradeRequest,
    caller: &Caller,
) -> Result<Start<UpgradeId>, ApiError> {
    options::check(request)?;
    let mut change = Change::new(records, job, caller);
    loop {
        let tried = try_create(records, job, request, caller, &mut change).await;
        if let Some(started) = change.after(tried).await? {
            return Ok(started);
        }
    }
}

async fn try_create(
    records: &Records,
    job: &JobId,
    request: &UpgradeRequest,
    caller: &Caller,
    change: &mut Change<'_>,
) -> Result<Option<Start<UpgradeId>>, ApiError> {
    let stored = match change.look().await? {
        Look::Made(to) => return Ok(Some(Start::Done(id_of(job, to, change.id)))),
        Look::Gone => return Ok(Some(Start::NotFound)),
        Look::There(stored) => stored,
    };
    let standing = records.standing(job, &stored.record).await?;
    if let Some(refusal) = refusal(&stored.record, &standing, request) {
        return change.refuse(&stored, refusal).await;
    }
    let from = stored.record.proven(standing.state);
    let Some(old) = change.config(&stored, from.version).await? else { return Ok(None) };
    let draft = draft(&stored.record, &standing, old, request)?;
    let asked = Asked {
        config: &request.config,
        options: &request.options,
        paused: request.start_paused,
        from: draft.from,
        replaces: draft.replaces,
        takes_back: None,
    };
    let txn = begin(records, job, (&stored, &standing), asked, caller, change.id).await?;
    let to = stored.record.next_version();
    Ok(change.commit(txn, &stored).await?.then(|| Start::Done(id_of(job, to, change.id))))
}

/// The id of the upgrade to a version that the request made.
pub(super) fn id_of(job: &JobId, to: Version, request: u64) -> UpgradeId {
    UpgradeId { job: job.clone(), to, mark: mark(request) }
}

fn mark(request: u64) -> u32 {
    (request & u64::from(u32::MAX)) as u32
}

/// Why an upgrade may not begin now.
pub(super) fn refusal<T>(
    record: &JobRecord,
    standing: &Standing,
    request: &UpgradeRequest,
) -> Option<Start<T>> {
    let (expected, actual) = (request.expected, standing.current(record).version);
    if expected != 0 && expected != actual {
        return Some(Start::Conflict(Versions { expected, actual }));
    }
    let active = standing.active.clone().filter(|_| !request.replace);
    active.map(Start::AlreadyExists)
}

/// Checks the upgrade against what the job is. `old` is the configuration that was proven last.
pub(super) fn draft(
    record: &JobRecord,
    standing: &Standing,
    old: Arc<StoredConfig>,
    request: &UpgradeRequest,
) -> Result<Draft, ApiError> {
    let proven = &old.record.config;
    options::check_pair(proven, &request.config, &request.options)?;
    // Back to what was proven is a way out of an upgrade that is not done with; without one it is none.
    let is_settled = record.upgrade.is_none()
        || matches!(standing.state, UpgradeState::Succeeded | UpgradeState::RolledBack);
    if is_settled && **proven == request.config {
        let version = old.record.version;
        return Err(ApiError::invalid(format!(
            "jobConfig: nothing differs from version {version}, which is in force"
        )));
    }
    let replaces = standing.active.as_ref().map(|id| id.to);
    Ok(Draft { from: record.proven(standing.state), old, replaces })
}

/// What an upgrade is made of.
pub(super) struct Asked<'a> {
    pub config: &'a JobConfig,
    pub options: &'a UpgradeOptions,
    pub paused: bool,
    pub from: Current,
    pub replaces: Option<Version>,
    pub takes_back: Option<Version>,
}

/// The transaction, if job and upgrade are still as they were read.
pub(super) async fn begin(
    records: &Records,
    job: &JobId,
    (stored, standing): (&Stored<JobRecord>, &Standing),
    asked: Asked<'_>,
    caller: &Caller,
    id: u64,
) -> Result<Txn, ApiError> {
    let (now, to) = (records.now(), stored.record.next_version());
    let spec = UpgradeSpecRecord {
        mark: mark(id),
        from: asked.from.version,
        to,
        options: asked.options.clone(),
        created_at: now,
        created_by: caller.name.clone(),
        replaces: asked.replaces,
        takes_back: asked.takes_back,
    };
    let record = next_record(stored, standing, &asked, &spec, id);
    let config = config_record(to, asked.config.clone(), now, caller);
    let shard = records.shard(job);
    let key = keys::desired_job(shard, job.as_str());
    let mut txn = Txn::new()
        .when_unchanged(key.clone(), stored.modified)
        .put(keys::desired_config(shard, job.as_str(), to), encoded(&config)?)
        .put(keys::desired_upgrade(shard, job.as_str(), to), encoded(&spec)?)
        .put(history::recent_key(shard, job, &spec), "")
        .put(key, encoded(&record)?);
    txn = versions::prune(txn, shard, job, to, Some(asked.from.version));
    // The history that is too long with this one.
    let specs = history::specs(records, job).await?;
    let too_many = (specs.len() + 1).saturating_sub(limits::KEPT_UPGRADES);
    for old in &specs[..too_many] {
        txn = txn
            .delete(keys::desired_upgrade(shard, job.as_str(), old.to))
            .delete(history::recent_key(shard, job, old));
    }
    Ok(standing.guard(txn))
}

/// The job's record with the upgrade.
fn next_record(
    stored: &Stored<JobRecord>,
    standing: &Standing,
    asked: &Asked<'_>,
    spec: &UpgradeSpecRecord,
    id: u64,
) -> JobRecord {
    let count = asked.config.instance_count;
    let mut goals = stored.record.goals.clone();
    // What was asked of instances that are neither in the one version nor in the other is forgotten;
    // what was asked of all instances, whatever their number, is not.
    let of_all = goals.get(InstanceId::MAX);
    let span = standing.span(&stored.record).max(count);
    goals.change(span, InstanceId::MAX, |goal| *goal = of_all);
    let ask = UpgradeAsk {
        mark: spec.mark,
        from: asked.from.version,
        from_count: asked.from.instance_count,
        options: asked.options.clone(),
        paused: asked.paused,
        rollback: false,
        abort: None,
        by: spec.created_by.clone(),
    };
    let mut record = JobRecord {
        version: spec.to,
        top_version: spec.to,
        upgrade: Some(Box::new(ask)),
        goals,
        generation: stored.record.generation + 1,
        labels: asked.config.labels.clone(),
        instance_count: count,
        updated_at: spec.created_at,
        updated_by: spec.created_by.clone(),
        ..stored.record.clone()
    };
    record.sign(id);
    record
}
