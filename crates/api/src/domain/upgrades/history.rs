//! An upgrade as it is shown: what was asked for, and what its shard says of it.

use std::sync::Arc;

use peloton_model::{
    InstanceId, InstanceRecord, JobId, JobRecord, UpgradeAsk, UpgradeId, UpgradeRecord,
    UpgradeSpecRecord, UpgradeState, Version,
};
use peloton_store::{Key, keys};

use super::super::records::stored;
use super::super::standing::{is_to_turn, state_seen};
use super::progress;
use crate::ApiError;
use crate::domain::{Records, StoredConfig};

/// An upgrade and how far it is.
#[derive(Debug, Clone)]
pub struct UpgradeView {
    /// Its id.
    pub id: UpgradeId,
    /// What was asked for.
    pub spec: UpgradeSpecRecord,
    /// The state, as users see it.
    pub state: UpgradeState,
    /// What its shard says; nothing where it has not looked.
    pub actual: Option<UpgradeRecord>,
    /// Instances that it concerns.
    pub total: u32,
    /// Why the state is as it is, for people.
    pub message: String,
    /// The upgrade that it took the place of.
    pub replaces: Option<UpgradeId>,
    /// The finished upgrade that it takes back.
    pub takes_back: Option<UpgradeId>,
    /// The configurations before and after; where they were asked for, and are kept.
    pub configs: Option<(Arc<StoredConfig>, Arc<StoredConfig>)>,
    /// Instances in hand, and those that failed; where they were asked for.
    pub instances: Vec<(InstanceId, InstanceRecord)>,
}

impl UpgradeView {
    /// Instances that have arrived where it is under way to.
    #[must_use]
    pub fn done(&self) -> u32 {
        self.actual.as_ref().map_or(0, |actual| actual.done)
    }

    /// Instances whose new version failed.
    #[must_use]
    pub fn failed(&self) -> u32 {
        self.actual.as_ref().map_or(0, |actual| actual.failed)
    }

    /// Whether it is, or was last, under way back.
    #[must_use]
    pub fn is_back(&self) -> bool {
        self.actual.as_ref().is_some_and(|actual| actual.back)
    }

    /// Instances that have neither arrived nor, on the way forward, failed. On the way back those that
    /// failed have to return like all others.
    #[must_use]
    pub fn remaining(&self) -> u32 {
        let failed = if self.is_back() { 0 } else { self.failed() };
        self.total.saturating_sub(self.done()).saturating_sub(failed)
    }
}

/// The key of an upgrade in the list of all.
pub(in crate::domain) fn recent_key(shard: u16, job: &JobId, spec: &UpgradeSpecRecord) -> Key {
    keys::desired_recent(shard, spec.created_at, job.as_str(), spec.to)
}

/// What was asked for of the job's upgrades that are kept, oldest first.
pub(in crate::domain) async fn specs(
    records: &Records,
    job: &JobId,
) -> Result<Vec<UpgradeSpecRecord>, ApiError> {
    let range = keys::desired_upgrades(records.shard(job), job.as_str());
    let kvs = records.range_all(range).await?;
    kvs.iter().map(|kv| Ok(stored(kv)?.record)).collect()
}

/// What was asked for of the job's upgrade to a version.
pub(super) async fn spec(
    records: &Records,
    job: &JobId,
    to: Version,
) -> Result<Option<UpgradeSpecRecord>, ApiError> {
    let key = keys::desired_upgrade(records.shard(job), job.as_str(), to);
    Ok(records.read::<UpgradeSpecRecord>(key).await?.map(|spec| spec.record))
}

/// Whether there is such an upgrade.
pub(super) async fn find(
    records: &Records,
    id: &UpgradeId,
) -> Result<Option<UpgradeSpecRecord>, ApiError> {
    Ok(spec(records, &id.job, id.to).await?.filter(|spec| spec.mark == id.mark))
}

/// The state of an upgrade that is not the job's last one, if there is such.
pub(super) async fn state(
    records: &Records,
    id: &UpgradeId,
) -> Result<Option<UpgradeState>, ApiError> {
    if find(records, id).await?.is_none() {
        return Ok(None);
    }
    let actual = records.upgrade(id).await?.map(|actual| actual.record);
    Ok(Some(state_seen(None, actual.as_ref())))
}

pub(super) async fn get(
    records: &Records,
    id: &UpgradeId,
) -> Result<Option<UpgradeView>, ApiError> {
    let Some(spec) = find(records, id).await? else { return Ok(None) };
    let Some(job) = records.job(&id.job).await? else { return Ok(None) };
    let actual = records.upgrade(id).await?.map(|actual| actual.record);
    let (from, to) = (spec.from, spec.to);
    let mut view = view(id.clone(), spec, Some(&job.record), actual);
    link(records, &mut view).await?;
    let before = records.config(&id.job, &job, from).await?;
    let after = records.config(&id.job, &job, to).await?;
    view.configs = before.zip(after);
    let is_last = job.record.upgrade_id(&id.job).as_ref() == Some(id);
    let is_over = matches!(view.state, UpgradeState::Succeeded | UpgradeState::RolledBack);
    if is_last && !is_over && view.actual.is_some() {
        view.instances = progress::in_hand(records, &id.job, job.created, to).await?;
    }
    Ok(Some(view))
}

/// Reads the ids of the upgrades that this one names by version.
pub(super) async fn link(records: &Records, view: &mut UpgradeView) -> Result<(), ApiError> {
    let (replaces, takes_back) = (view.spec.replaces, view.spec.takes_back);
    for (version, id) in [(replaces, &mut view.replaces), (takes_back, &mut view.takes_back)] {
        let Some(to) = version else { continue };
        let job = view.id.job.clone();
        let spec = spec(records, &job, to).await?;
        *id = spec.map(|spec| UpgradeId { job, to, mark: spec.mark });
    }
    Ok(())
}

/// Puts an upgrade together. `job` is the record of its job.
pub(super) fn view(
    id: UpgradeId,
    spec: UpgradeSpecRecord,
    job: Option<&JobRecord>,
    actual: Option<UpgradeRecord>,
) -> UpgradeView {
    let last = job.filter(|job| job.upgrade_id(&id.job).as_ref() == Some(&id));
    let ask = last.and_then(|job| job.upgrade.as_deref());
    let counts = last.zip(ask).map(|(job, ask)| job.instance_count.max(ask.from_count));
    let total = actual.as_ref().map_or(counts.unwrap_or_default(), |actual| actual.total);
    UpgradeView {
        state: state_seen(ask, actual.as_ref()),
        total,
        message: message(ask, actual.as_ref()),
        id,
        spec,
        actual,
        replaces: None,
        takes_back: None,
        configs: None,
        instances: Vec::new(),
    }
}

fn message(ask: Option<&UpgradeAsk>, actual: Option<&UpgradeRecord>) -> String {
    let state = actual.map_or(UpgradeState::RollingForward, |actual| actual.state);
    let Some(ask) = ask else {
        return match actual {
            None => "replaced by another upgrade before its shard had looked at it".to_owned(),
            Some(actual) if state.is_active() => {
                format!("replaced by another upgrade; before that: {}", actual.message)
            }
            Some(actual) => actual.message.clone(),
        };
    };
    let is_back = actual.is_some_and(|actual| actual.back);
    let turns = ask.rollback && state.is_active() && !is_back || is_to_turn(ask, state);
    let asked = if state.is_active() && ask.abort.is_some() {
        "asked to end where it is"
    } else if turns {
        "asked to go back"
    } else if state.is_active() && ask.paused && state != UpgradeState::Paused {
        "asked to wait"
    } else if state == UpgradeState::Paused && !ask.paused {
        "asked to go on"
    } else {
        let waits = || "its shard has not looked at it yet".to_owned();
        return actual.map_or_else(waits, |actual| actual.message.clone());
    };
    let by = if ask.by.is_empty() { String::new() } else { format!(" by {}", ask.by) };
    format!("{asked}{by}; its shard has not written that down yet")
}
