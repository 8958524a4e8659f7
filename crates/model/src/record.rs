//! The records of the store: JSON of these types under the keys of `peloton_store::keys`.

use crate::job::JobConfig;
use crate::{
    AgentId, Amount, FrameworkId, Goals, Health, InstanceId, JobState, Lack, Receipt, Resources,
    RunNumber, SlotId, SlotVolume, Step, TaskState, UnixMs, UpgradeAsk, Version, VolumeConfig,
    VolumeState,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Encodes a record.
///
/// # Errors
/// None is known for the types of this crate: their maps have string keys and their floats are
/// checked to be finite.
pub fn encode_record<T: Serialize>(record: &T) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(record)
}

/// Decodes a record.
///
/// # Errors
/// When the bytes are not JSON of that type: a damaged store, or one of a later schema.
pub fn decode_record<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(bytes)
}

/// `meta/cluster`: set once, when the cluster is created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterRecord {
    /// The cluster's name.
    pub name: String,
    /// Its id, made at random with it: reservations carry it, so that clusters that share a Mesos do
    /// not take each other's for leaks.
    pub id: String,
    /// How many shards it has, for ever.
    pub shards: u16,
    /// When it was created.
    pub created_at: UnixMs,
}

/// `own/<shard>`: who runs the shard; lives as long as the owner's lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnerRecord {
    /// The master's id, new with each start of the process.
    pub master: String,
    /// Where it serves the API, `host:port`.
    pub address: String,
    /// Since when it has the shard.
    pub since: UnixMs,
}

/// `meta/member/<master>`: a master that lives; the key lives as long as the master's lease.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MemberRecord {
    /// The master's id, new with each start of the process.
    pub master: String,
    /// Where it serves the API, `host:port`.
    pub address: String,
    /// Its release.
    pub version: String,
    /// The version of the stored schema that it writes.
    pub schema: u32,
    /// When its process started.
    pub started_at: UnixMs,
    /// Since when it is a member: since it has its present lease.
    pub since: UnixMs,
    /// Whether it is to have shards. Not while it stops, or cannot reach Mesos while others do.
    pub accepting: bool,
    /// Whether it is about to end: then it is to have none even where nobody else accepts any.
    #[serde(skip_serializing_if = "is_default")]
    pub stopping: bool,
    /// Why it is not, in words for an operator.
    #[serde(skip_serializing_if = "is_default")]
    pub why_not: Option<String>,
    /// Whether it has not reached Mesos for some seconds. It goes on accepting for as long as nobody
    /// else is better off.
    #[serde(skip_serializing_if = "is_default")]
    pub mesos_away: bool,
}

/// `d/<shard>/job/<job>`: what users ask of a job.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct JobRecord {
    /// The configuration version that was asked for last. Whether it is in force, [`JobRecord::current`]
    /// tells.
    pub version: Version,
    /// The highest version that the job ever had; 0 stands for `version`.
    #[serde(skip_serializing_if = "is_default")]
    pub top_version: Version,
    /// The upgrade to that version; none where it came to be without one, or nothing more depends on it.
    #[serde(skip_serializing_if = "is_default")]
    pub upgrade: Option<Box<UpgradeAsk>>,
    /// Counts the changes of this record, from 1; goals refer to it.
    pub generation: u64,
    /// What is asked of single instances.
    #[serde(skip_serializing_if = "is_default")]
    pub goals: Goals,
    /// The current configuration's labels, so that a query reads one record a job.
    #[serde(skip_serializing_if = "is_default")]
    pub labels: BTreeMap<String, String>,
    /// The current configuration's instance count, for the same reason.
    pub instance_count: u32,
    /// When it was created.
    pub created_at: UnixMs,
    /// When it was last changed.
    pub updated_at: UnixMs,
    /// Who changed it last: the `Rpc-Caller` of the request.
    #[serde(skip_serializing_if = "is_default")]
    pub updated_by: String,
    /// The requests that made it what it is: the one that created it, and the last ones.
    #[serde(skip_serializing_if = "is_default")]
    pub receipts: Vec<Receipt>,
}

/// `d/<shard>/config/<job>/<version>`: an immutable configuration.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigRecord {
    /// Its number.
    pub version: Version,
    /// When it was made.
    pub created_at: UnixMs,
    /// Who made it.
    pub created_by: String,
    /// The configuration.
    pub config: Arc<JobConfig>,
}

/// `a/<shard>/framework`: the shard's framework in Mesos.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FrameworkRecord {
    /// The id that Mesos gave.
    pub id: FrameworkId,
    /// When it was given.
    pub since: UnixMs,
}

/// How many instances are in each state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StateCounts([u32; TaskState::ALL.len()]);

impl StateCounts {
    /// The count of a state.
    #[must_use]
    pub fn get(&self, state: TaskState) -> u32 {
        self.0[state as usize]
    }

    /// Counts one more.
    pub fn add(&mut self, state: TaskState) {
        self.0[state as usize] += 1;
    }

    /// Counts one less.
    pub fn remove(&mut self, state: TaskState) {
        self.0[state as usize] = self.0[state as usize].saturating_sub(1);
    }

    /// Every state with a count above zero.
    pub fn iter(&self) -> impl Iterator<Item = (TaskState, u32)> + '_ {
        TaskState::ALL.into_iter().map(|s| (s, self.get(s))).filter(|(_, n)| *n > 0)
    }

    /// The sum.
    #[must_use]
    pub fn total(&self) -> u32 {
        self.0.iter().sum()
    }
}

/// Why instances of a job wait for a place.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Waiting {
    /// How many instances wait.
    pub instances: u32,
    /// What they wait for, in words.
    pub reason: String,
    /// How many agents were looked at.
    pub agents: u32,
    /// What each lacked first: reason, number of agents.
    pub lacking: Vec<(Lack, u32)>,
}

/// `a/<shard>/job/<job>`: the job as its shard sees it. It stays after the job's deletion, for the sake of
/// `run_floor`: a later job of the same name goes on with higher run numbers, so task ids are never reused.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct JobSummary {
    /// The store's create revision of the job's record: tells a job from a later one of the same name.
    pub incarnation: i64,
    /// Runs and slots up to this number belong to earlier jobs of the name.
    pub run_floor: RunNumber,
    /// The highest run of an instance that was removed: one that comes back goes on from there.
    #[serde(skip_serializing_if = "is_default")]
    pub run_high: RunNumber,
    /// The state.
    pub state: JobState,
    /// Instances by state.
    pub counts: StateCounts,
    /// Running instances whose health check passes.
    pub healthy: u32,
    /// Running instances whose health check fails.
    pub unhealthy: u32,
    /// Live instances by configuration version.
    pub versions: BTreeMap<Version, u32>,
    /// Why instances wait.
    pub waiting: Vec<Waiting>,
    /// When the deletion was seen.
    #[serde(skip_serializing_if = "is_default")]
    pub deleted_at: Option<UnixMs>,
    /// What is still on its way out after the deletion: tasks and slots.
    #[serde(skip_serializing_if = "is_default")]
    pub leftovers: u32,
}

/// Why a run is being ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum KillReason {
    /// A user stopped it.
    Stop,
    /// A user asked for another run.
    Restart,
    /// The instance, or its job, was removed.
    Remove,
    /// It came back after a replacement was started.
    Superseded,
    /// An upgrade gives it another configuration.
    Upgrade,
}

/// A run is being ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Killing {
    /// Why.
    pub reason: KillReason,
    /// Since when.
    pub since: UnixMs,
}

/// `a/<shard>/inst/<job>/<instance>`: an instance and its current run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct InstanceRecord {
    /// The state.
    pub state: TaskState,
    /// The current or last run; 0 before the first.
    pub run: RunNumber,
    /// The configuration version of that run.
    #[serde(skip_serializing_if = "is_default")]
    pub version: Version,
    /// The newest request (generation of the job's record) acted on.
    #[serde(skip_serializing_if = "is_default")]
    pub goal: u64,
    /// The slot it runs in; services only.
    #[serde(skip_serializing_if = "is_default")]
    pub slot: Option<SlotId>,
    /// The agent of the run.
    #[serde(skip_serializing_if = "is_default")]
    pub agent: Option<AgentId>,
    /// The agent's host name.
    #[serde(skip_serializing_if = "is_default")]
    pub host: Option<Arc<str>>,
    /// The run's ports, in the order of the configuration's.
    #[serde(skip_serializing_if = "is_default")]
    pub ports: Vec<u16>,
    /// What health checks say.
    #[serde(skip_serializing_if = "is_default")]
    pub health: Health,
    /// What Mesos or Peloton said last of the run.
    #[serde(skip_serializing_if = "is_default")]
    pub message: Option<Arc<str>>,
    /// The reason that Mesos gave, without its `REASON_`.
    #[serde(skip_serializing_if = "is_default")]
    pub reason: Option<Arc<str>>,
    /// The command's exit status, where it ended by itself and the executor told.
    #[serde(skip_serializing_if = "is_default")]
    pub exit_status: Option<i32>,
    /// When the launch was decided.
    #[serde(skip_serializing_if = "is_default")]
    pub launched_at: UnixMs,
    /// When it was first seen running.
    #[serde(skip_serializing_if = "is_default")]
    pub started_at: UnixMs,
    /// When it was seen to have ended.
    #[serde(skip_serializing_if = "is_default")]
    pub finished_at: UnixMs,
    /// Failures in a row.
    #[serde(skip_serializing_if = "is_default")]
    pub failures: u32,
    /// Runs in a row that were lost before they ran: not their own fault.
    #[serde(skip_serializing_if = "is_default")]
    pub lost: u32,
    /// THROTTLED until then.
    #[serde(skip_serializing_if = "is_default")]
    pub retry_at: UnixMs,
    /// The run is being ended.
    #[serde(skip_serializing_if = "is_default")]
    pub killing: Option<Killing>,
    /// The agent is partitioned away since then.
    #[serde(skip_serializing_if = "is_default")]
    pub unreachable_since: Option<UnixMs>,
    /// Where it is in the job's upgrade; none if that has not touched it.
    #[serde(skip_serializing_if = "is_default")]
    pub step: Option<Box<Step>>,
    /// The highest run number that a task had which filled a volume of it.
    #[serde(skip_serializing_if = "is_default")]
    pub fetched: RunNumber,
}

/// `a/<shard>/run/<job>/<instance>/<run>`: a run that has ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RunRecord {
    /// The instance as it was at the run's end.
    #[serde(flatten)]
    pub instance: InstanceRecord,
    /// How the run ended.
    pub outcome: TaskState,
}

/// Where a slot is in its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SlotState {
    /// Decided; whether Mesos made the reservation is not known yet.
    #[default]
    Requested,
    /// Mesos has the reservation.
    Held,
    /// To be given up as soon as Mesos offers it.
    Releasing,
    /// Only volumes are left of it, which stay until somebody deletes or adopts them.
    Retained,
}

/// `a/<shard>/slot/<job>/<instance>/<slot>`: resources reserved on one agent for one instance.
///
/// While an upgrade is under way a slot holds what either version needs. What Mesos has reserved follows by
/// operations of which one is under way at a time, and changes only with what became of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SlotRecord {
    /// Where it is in its life.
    pub state: SlotState,
    /// The agent.
    pub agent: AgentId,
    /// The scalars of the proven version.
    pub resources: Resources,
    /// The ports of the proven version, in the order of its configuration's.
    #[serde(default, skip_serializing_if = "is_default")]
    pub ports: Vec<u16>,
    /// When it was decided.
    pub since: UnixMs,
    /// The version of an upgrade for which it was made anew; 0 for the proven one.
    #[serde(default, skip_serializing_if = "is_default")]
    pub made_for: Version,
    /// What an upgrade's new version gets in this slot.
    #[serde(default, skip_serializing_if = "is_default")]
    pub wide: Option<Box<Wide>>,
    /// What Mesos has reserved, where that is not what the slot is to hold.
    #[serde(default, skip_serializing_if = "is_default")]
    pub reserved: Option<Box<Amount>>,
    /// The operation under way that reserves more, or gives back a part.
    #[serde(default, skip_serializing_if = "is_default")]
    pub resize: Option<Box<Resize>>,
    /// Its volumes. Their disk is no part of the amounts above once they are made.
    #[serde(default, skip_serializing_if = "is_default")]
    pub volumes: Vec<SlotVolume>,
}

/// What a version that is not proven yet gets in a slot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Wide {
    /// The version.
    pub version: Version,
    /// Its scalars.
    pub resources: Resources,
    /// Its ports, in the order of its configuration's.
    #[serde(skip_serializing_if = "is_default")]
    pub ports: Vec<u16>,
}

/// An operation that changes how much of a slot is reserved.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Resize {
    /// Tells it from the slot's other operations.
    pub number: u64,
    /// What is reserved once it is done.
    pub to: Amount,
}

impl SlotRecord {
    /// One that was just decided.
    #[must_use]
    pub fn new(agent: AgentId, resources: Resources, ports: Vec<u16>, since: UnixMs) -> Self {
        let state = SlotState::Requested;
        let (made_for, wide, reserved, resize) = (0, None, None, None);
        let volumes = Vec::new();
        Self { state, agent, resources, ports, since, made_for, wide, reserved, resize, volumes }
    }

    /// What the slot is to hold: enough for either version.
    #[must_use]
    pub fn hold(&self) -> Amount {
        let mut hold = Amount::new(self.resources, self.ports.iter().copied());
        if let Some(wide) = &self.wide {
            hold = hold.or(&Amount::new(wide.resources, wide.ports.iter().copied()));
        }
        hold.plus(&self.volumes_to_make())
    }

    /// What the volumes take that are still to be made: disk that is reserved as such.
    #[must_use]
    pub fn volumes_to_make(&self) -> Amount {
        let to_make = self.volumes.iter().filter(|volume| !volume.is_made());
        Amount::new(Resources::disk(to_make.map(|volume| volume.size_mb).sum()), [])
    }

    /// The volumes that a configuration mounts, each with the one that serves it, if there is one.
    pub fn volumes_of<'a>(
        &'a self,
        config: &'a JobConfig,
    ) -> impl Iterator<Item = (&'a VolumeConfig, Option<&'a SlotVolume>)> {
        config
            .volumes
            .iter()
            .map(|asked| (asked, self.volumes.iter().find(|volume| volume.is_for(asked))))
    }

    /// Whether all volumes of the configuration are there to be mounted.
    #[must_use]
    pub fn has_volumes_of(&self, config: &JobConfig) -> bool {
        let ready = |volume: &SlotVolume| volume.state == VolumeState::Ready;
        self.volumes_of(config).all(|(_, volume)| volume.is_some_and(ready))
    }

    /// Whether it has a volume that belongs to the instance, and is not to go.
    #[must_use]
    pub fn is_tied(&self) -> bool {
        self.volumes.iter().any(|volume| {
            volume.is_persistent() && !volume.drop && volume.state != VolumeState::Planned
        })
    }

    /// What Mesos has reserved for it, once it is held.
    #[must_use]
    pub fn reserved(&self) -> Amount {
        self.reserved.as_deref().cloned().unwrap_or_else(|| self.hold())
    }

    /// Takes down what Mesos has reserved.
    pub fn set_reserved(&mut self, amount: Amount) {
        self.reserved = (amount != self.hold()).then(|| Box::new(amount));
    }

    /// What the version gets in this slot.
    #[must_use]
    pub fn share_of(&self, version: Version) -> (Resources, &[u16]) {
        match &self.wide {
            Some(wide) if wide.version == version => (wide.resources, &wide.ports),
            _ => (self.resources, &self.ports),
        }
    }
}

/// `a/<shard>/agent/<agent>`: an agent on which the shard has something.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AgentRecord {
    /// The host name.
    pub host: Arc<str>,
    /// Attributes as text, by name.
    pub attributes: BTreeMap<String, String>,
    /// Where the agent serves its HTTP API: `http://host:port/prefix`.
    pub url: String,
}

impl InstanceRecord {
    /// The task id of the current run.
    #[must_use]
    pub fn task_id(&self, job: &crate::JobId, instance: InstanceId) -> crate::TaskId {
        crate::TaskId { job: job.clone(), instance, run: self.run }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_tolerate_fields_of_later_releases_and_lack_of_new_ones() {
        let record: InstanceRecord =
            decode_record(br#"{"state":"RUNNING","run":3,"somethingNew":{"a":1}}"#).unwrap();
        assert_eq!((record.state, record.run, record.slot), (TaskState::Running, 3, None));
        let small = String::from_utf8(encode_record(&record).unwrap()).unwrap();
        assert_eq!(small, r#"{"state":"RUNNING","run":3}"#);
    }
}
