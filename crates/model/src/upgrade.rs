//! Upgrades: what users ask of one, how far it is, and where each instance is in it.
//!
//! An upgrade takes a job from a proven configuration version to a new one. What is asked is desired
//! state: a part of the job's record, which any master writes. What became of it is actual state: one
//! record of the upgrade, and a [`Step`] in the record of each instance that it has touched; only the
//! owner of the shard writes those. Whoever reads takes both together: see [`JobRecord::current`].

use crate::{IdError, InstanceId, JobId, JobRecord, RunNumber, SlotId, UnixMs, Version};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The id of an upgrade: `<job>-<version>-<mark>`, the mark in eight hexadecimal digits. It names the
/// version that the upgrade goes to; the mark tells jobs of the same name apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UpgradeId {
    /// The job.
    pub job: JobId,
    /// The version under way to.
    pub to: Version,
    /// Made at random with the upgrade.
    pub mark: u32,
}

impl UpgradeId {
    /// Reads an id that Peloton gave.
    ///
    /// # Errors
    /// [`IdError::Upgrade`] for every other text.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let fail = || IdError::Upgrade(text.to_owned());
        let mut parts = text.rsplitn(3, '-');
        let mark = parts.next().and_then(|t| u32::from_str_radix(t, 16).ok()).ok_or_else(fail)?;
        let to = parts.next().and_then(|t| t.parse().ok()).ok_or_else(fail)?;
        let job = parts.next().and_then(|t| JobId::new(t).ok()).ok_or_else(fail)?;
        let id = Self { job, to, mark };
        if id.to_string() == text { Ok(id) } else { Err(fail()) }
    }
}

impl fmt::Display for UpgradeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{:08x}", self.job, self.to, self.mark)
    }
}

/// How an upgrade goes about. The defaults are those of the API.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UpgradeOptions {
    /// How many instances are in hand at a time; 0 for all.
    pub batch_size: u32,
    /// The same in percent of the instance count, rounded up; counts where it is not 0.
    pub batch_percentage: f64,
    /// Whether all instances are ended before the first is upgraded.
    pub stop_before_upgrade: bool,
    /// How often the new version of one instance may fail and is tried again.
    pub max_instance_retries: u32,
    /// How many instances may fail before the upgrade does.
    pub max_failed_instances: u32,
    /// Seconds within which a new run must be up: running, and healthy where that is checked.
    pub health_deadline_secs: u64,
    /// Seconds for which it must stay up to be proven.
    pub min_healthy_secs: u64,
    /// Seconds within which an instance must have got what its new version needs, and within which the
    /// upgrade must be able to go on at all.
    pub placement_deadline_secs: u64,
    /// Whether a failed upgrade goes back.
    pub rollback_on_failure: bool,
}

impl Default for UpgradeOptions {
    fn default() -> Self {
        Self {
            batch_size: 0,
            batch_percentage: 0.0,
            stop_before_upgrade: false,
            max_instance_retries: 0,
            max_failed_instances: 0,
            health_deadline_secs: 300,
            min_healthy_secs: 10,
            placement_deadline_secs: 300,
            rollback_on_failure: true,
        }
    }
}

impl UpgradeOptions {
    /// How many of `count` instances are in hand at a time; at least one.
    #[must_use]
    pub fn batch(&self, count: u32) -> u32 {
        let of_percent = (f64::from(count) * self.batch_percentage / 100.0).ceil() as u32;
        let batch = if self.batch_percentage > 0.0 { of_percent } else { self.batch_size };
        if batch == 0 { count.max(1) } else { batch.min(count.max(1)) }
    }
}

/// How an upgrade is to be ended where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Abort {
    /// Instances in hand are finished first.
    Soft,
    /// At once.
    Hard,
}

/// The upgrade of a job that was asked for last, in the job's record.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UpgradeAsk {
    /// See [`UpgradeId`]; `to` is [`JobRecord::version`].
    pub mark: u32,
    /// The last proven version: the one to fall back to.
    pub from: Version,
    /// The instance count of that version.
    pub from_count: u32,
    /// How to go about.
    pub options: UpgradeOptions,
    /// Whether it is to wait.
    #[serde(skip_serializing_if = "is_default")]
    pub paused: bool,
    /// Whether a user asked to go back.
    #[serde(skip_serializing_if = "is_default")]
    pub rollback: bool,
    /// Whether it is to be ended where it is.
    #[serde(skip_serializing_if = "is_default")]
    pub abort: Option<Abort>,
    /// Who asked last for one of these three.
    #[serde(skip_serializing_if = "is_default")]
    pub by: String,
}

impl UpgradeAsk {
    /// The state of an upgrade that is under way in this direction.
    #[must_use]
    pub fn state(&self, back: bool) -> UpgradeState {
        match back {
            _ if self.paused => UpgradeState::Paused,
            true => UpgradeState::RollingBack,
            false => UpgradeState::RollingForward,
        }
    }
}

/// `d/<shard>/upgrade/<job>/<to>`: an upgrade as it was asked for, for the history.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UpgradeSpecRecord {
    /// See [`UpgradeId`].
    pub mark: u32,
    /// The last proven version.
    pub from: Version,
    /// The new one.
    pub to: Version,
    /// How to go about.
    pub options: UpgradeOptions,
    /// When it was asked for.
    pub created_at: UnixMs,
    /// By whom: the `Rpc-Caller` of the request.
    pub created_by: String,
    /// The version whose upgrade was under way and is replaced by this one.
    #[serde(skip_serializing_if = "is_default")]
    pub replaces: Option<Version>,
    /// The version whose finished upgrade is taken back by this one.
    #[serde(skip_serializing_if = "is_default")]
    pub takes_back: Option<Version>,
}

/// The state of an upgrade. Names and numbers are those of the wire.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum UpgradeState {
    /// Under way to the new version.
    #[default]
    RollingForward,
    /// Under way back to the version before.
    RollingBack,
    /// Waits to be resumed; [`UpgradeRecord::back`] tells in which direction.
    Paused,
    /// Every instance runs the new version. What was held for the old one is given up.
    Succeeded,
    /// Every instance runs the version before. What was held for the new one is given up.
    RolledBack,
    /// Ended by request, where it was. What was held for the version before stays held.
    Aborted,
    /// Ended by failures, where it was, as rollback was switched off. What was held stays held.
    Failed,
}

impl UpgradeState {
    /// Every state, in the order of their numbers on the wire.
    pub const ALL: [Self; 7] = [
        Self::RollingForward,
        Self::RollingBack,
        Self::Paused,
        Self::Succeeded,
        Self::RolledBack,
        Self::Aborted,
        Self::Failed,
    ];

    /// Whether it is under way.
    #[must_use]
    pub const fn is_active(self) -> bool {
        matches!(self, Self::RollingForward | Self::RollingBack | Self::Paused)
    }

    /// Whether it ended with instances of both versions, what the old one needs still held.
    #[must_use]
    pub const fn is_mixed(self) -> bool {
        matches!(self, Self::Aborted | Self::Failed)
    }

    /// The name on the wire, such as `ROLLING_FORWARD`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RollingForward => "ROLLING_FORWARD",
            Self::RollingBack => "ROLLING_BACK",
            Self::Paused => "PAUSED",
            Self::Succeeded => "SUCCEEDED",
            Self::RolledBack => "ROLLED_BACK",
            Self::Aborted => "ABORTED",
            Self::Failed => "FAILED",
        }
    }
}

/// `a/<shard>/upgrade/<job>/<to>`: an upgrade as its shard sees it. Where there is none yet, the shard has
/// not looked at it: it counts as rolling forward.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UpgradeRecord {
    /// See [`UpgradeId`].
    pub mark: u32,
    /// The last proven version.
    pub from: Version,
    /// The new one.
    pub to: Version,
    /// The state.
    pub state: UpgradeState,
    /// Whether it is, or was last, on its way back.
    #[serde(skip_serializing_if = "is_default")]
    pub back: bool,
    /// Instances that it concerns: those of both versions.
    pub total: u32,
    /// Of these, how many have arrived: at the new version; on the way back, at the one before.
    pub done: u32,
    /// Instances whose new version failed.
    #[serde(skip_serializing_if = "is_default")]
    pub failed: u32,
    /// Why the state is as it is, for people.
    #[serde(skip_serializing_if = "is_default")]
    pub message: String,
    /// Why it failed: the first failure that counted, kept when it goes back.
    #[serde(skip_serializing_if = "is_default")]
    pub failure: Option<String>,
    /// When the shard began it.
    pub started_at: UnixMs,
    /// When it last changed.
    pub updated_at: UnixMs,
    /// When it ended; 0 while it has not.
    #[serde(skip_serializing_if = "is_default")]
    pub finished_at: UnixMs,
    /// Instances that could not return to their agent, or stay there, as that was lost: the first
    /// [`crate::limits::MAX_NAMED_INSTANCES`] of them.
    #[serde(skip_serializing_if = "is_default")]
    pub displaced: Vec<InstanceId>,
    /// How many these are in all.
    #[serde(skip_serializing_if = "is_default")]
    pub displaced_count: u32,
    /// How many events are stored: the next one gets this number.
    pub events: u64,
}

/// What an event of an upgrade tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum UpgradeEventKind {
    /// It began.
    Started,
    /// It waits.
    Paused,
    /// It goes on.
    Resumed,
    /// It turned back.
    RollingBack,
    /// It ended; the message tells in which state.
    Ended,
    /// More was reserved for an instance, where it is.
    Widened,
    /// A slot on another agent was reserved for an instance.
    Moved,
    /// An instance is proven: it runs the new version.
    Proven,
    /// A run of an instance's new version failed.
    RunFailed,
    /// An instance failed.
    InstanceFailed,
    /// An instance runs the version before again.
    Returned,
    /// An instance can not return to its agent, or stay there.
    Displaced,
}

/// `a/<shard>/event/<job>/<to>/<number>`: an event of an upgrade.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpgradeEvent {
    /// When.
    pub at: UnixMs,
    /// What.
    pub kind: UpgradeEventKind,
    /// The instance, where it is about one.
    #[serde(default, skip_serializing_if = "is_default")]
    pub instance: Option<InstanceId>,
    /// Who asked for it, where somebody did.
    #[serde(default, skip_serializing_if = "is_default")]
    pub by: String,
    /// The slot and agent that the instance had before.
    #[serde(default, skip_serializing_if = "is_default")]
    pub from_slot: Option<SlotPlace>,
    /// The slot and agent that it has, or is to have.
    #[serde(default, skip_serializing_if = "is_default")]
    pub to_slot: Option<SlotPlace>,
    /// The run that it is about: with job and instance the task, whose logs tell more.
    #[serde(default, skip_serializing_if = "is_default")]
    pub run: RunNumber,
    /// For people; of a failure, the task's last message.
    #[serde(default, skip_serializing_if = "is_default")]
    pub message: String,
}

/// A slot and where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SlotPlace {
    /// The slot.
    pub slot: SlotId,
    /// The agent's host name.
    pub host: Arc<str>,
}

/// Where an instance is in an upgrade.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Stage {
    /// Gets what its new version needs, while its old one goes on.
    #[default]
    Prepare,
    /// Ended, and waits until all others are: `stopBeforeUpgrade`.
    Halted,
    /// Ends the old version, starts the new one, and proves it.
    Switch,
    /// Has proven the new version; or is gone, where the new version has no such instance.
    Proven,
    /// Its new version failed.
    Failed,
    /// Did not get what its new version needs; stays as it was.
    Unplaced,
    /// Ends the new version and starts the old one.
    Back,
    /// Runs the old version again.
    Returned,
}

/// Where an instance is in an upgrade, in the instance's record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Step {
    /// The upgrade, by the version that it goes to.
    pub to: Version,
    /// Where the instance is.
    pub stage: Stage,
    /// The version that it had when the upgrade took it in hand.
    pub base: Version,
    /// Since when it is there.
    pub since: UnixMs,
    /// Failed runs of the new version.
    #[serde(skip_serializing_if = "is_default")]
    pub tries: u32,
    /// The slot of the old version, where the instance runs in another one now.
    #[serde(skip_serializing_if = "is_default")]
    pub home: Option<SlotId>,
    /// The slot on another agent that was, or is to be, reserved for the new version.
    #[serde(skip_serializing_if = "is_default")]
    pub next: Option<SlotId>,
}

impl Step {
    /// The version that the instance is to run; `proven` is the upgrade's last proven one.
    #[must_use]
    pub fn aim(&self, proven: Version) -> Version {
        match self.stage {
            Stage::Prepare | Stage::Unplaced => self.base,
            Stage::Halted | Stage::Switch | Stage::Proven | Stage::Failed => self.to,
            Stage::Back | Stage::Returned => proven,
        }
    }
}

/// The configuration that a job has at present, as far as it is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Current {
    /// The version.
    pub version: Version,
    /// Its instance count.
    pub instance_count: u32,
}

impl JobRecord {
    /// The version in force: the one asked for last, unless its upgrade was rolled back. `state` is that of
    /// the record's upgrade, and does not matter where there is none.
    #[must_use]
    pub fn current(&self, state: UpgradeState) -> Current {
        match &self.upgrade {
            Some(ask) if state == UpgradeState::RolledBack => {
                Current { version: ask.from, instance_count: ask.from_count }
            }
            _ => Current { version: self.version, instance_count: self.instance_count },
        }
    }

    /// The last proven version: the one that a further upgrade falls back to.
    #[must_use]
    pub fn proven(&self, state: UpgradeState) -> Current {
        match &self.upgrade {
            Some(ask) if state != UpgradeState::Succeeded => {
                Current { version: ask.from, instance_count: ask.from_count }
            }
            _ => Current { version: self.version, instance_count: self.instance_count },
        }
    }

    /// How many instances there may be: of either version, where there are two.
    #[must_use]
    pub fn span(&self, state: UpgradeState) -> u32 {
        let current = self.current(state).instance_count;
        match &self.upgrade {
            Some(ask) if state.is_active() || state.is_mixed() => current.max(ask.from_count),
            _ => current,
        }
    }

    /// The number that the next version gets.
    #[must_use]
    pub fn next_version(&self) -> Version {
        self.version.max(self.top_version) + 1
    }

    /// The id of the upgrade that was asked for last, unless later changes have settled it.
    #[must_use]
    pub fn upgrade_id(&self, job: &JobId) -> Option<UpgradeId> {
        let mark = self.upgrade.as_ref()?.mark;
        Some(UpgradeId { job: job.clone(), to: self.version, mark })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upgrade_ids_round_trip_with_dashes_in_the_name() {
        let id = UpgradeId { job: JobId::new("a-1-2").unwrap(), to: 3, mark: 0xab };
        assert_eq!(id.to_string(), "a-1-2-3-000000ab");
        assert_eq!(UpgradeId::parse("a-1-2-3-000000ab").unwrap(), id);
        for bad in ["", "a", "a-1", "a-x-000000ab", "a-1-ab", "a-1-000000AB", "-1-000000ab"] {
            assert!(UpgradeId::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn batches_are_counts_or_percentages_rounded_up_and_never_none() {
        let batch = |size, percent, count| {
            let options = UpgradeOptions {
                batch_size: size,
                batch_percentage: percent,
                ..Default::default()
            };
            options.batch(count)
        };
        assert_eq!([batch(0, 0.0, 7), batch(3, 0.0, 7), batch(9, 0.0, 7)], [7, 3, 7]);
        assert_eq!([batch(3, 10.0, 20), batch(3, 10.0, 21), batch(0, 0.1, 5)], [2, 3, 1]);
        assert_eq!([batch(0, 0.0, 0), batch(5, 0.0, 0)], [1, 1]);
    }

    #[test]
    fn a_step_says_which_version_the_instance_is_to_run() {
        let aim = |stage| Step { to: 9, stage, base: 7, ..Default::default() }.aim(5);
        let stages = [Stage::Prepare, Stage::Unplaced, Stage::Halted, Stage::Switch];
        assert_eq!(stages.map(aim), [7, 7, 9, 9]);
        assert_eq!([Stage::Proven, Stage::Failed].map(aim), [9, 9]);
        assert_eq!([Stage::Back, Stage::Returned].map(aim), [5, 5]);
    }

    #[test]
    fn a_rolled_back_upgrade_leaves_the_version_before() {
        let ask = UpgradeAsk { from: 3, from_count: 2, ..Default::default() };
        let record = JobRecord {
            version: 4,
            top_version: 4,
            instance_count: 9,
            upgrade: Some(Box::new(ask)),
            ..Default::default()
        };
        use UpgradeState::{Aborted, RolledBack, RollingForward, Succeeded};
        let states = [RollingForward, Succeeded, RolledBack, Aborted];
        assert_eq!(states.map(|s| record.current(s).version), [4, 4, 3, 4]);
        assert_eq!(states.map(|s| record.proven(s).version), [3, 4, 3, 3]);
        assert_eq!(states.map(|s| record.span(s)), [9, 9, 2, 9]);
        assert_eq!(record.next_version(), 5);
    }
}
