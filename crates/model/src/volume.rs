//! Volumes: what a job asks for, and what a slot has of it.
//!
//! A volume is disk of the slot's reservation that outlives the runs in it. A *persistent* one belongs to the
//! instance and may be written. A *remote* one is the content of an immutable URL: another URL is another volume,
//! made beside the old one, so that the old content is there until nobody can ask for it any more.

use crate::{InstanceId, JobId, RunNumber, SlotId, UnixMs};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A volume in a job's configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeConfig {
    /// Its name, unique in the job.
    pub name: String,
    /// Where the instance sees it: below its sandbox; with an image, an absolute path, too.
    pub container_path: String,
    /// How much disk is reserved for it, in MB.
    pub size_mb: u64,
    /// What becomes of a persistent one that nothing asks for any more.
    #[serde(skip_serializing_if = "is_default")]
    pub on_delete: OnDelete,
    /// A persistent one whose agent is away for this long is given up, and made anew elsewhere, in seconds; 0: never.
    #[serde(skip_serializing_if = "is_default")]
    pub give_up_after_secs: u64,
    /// What a remote one is filled with; none for a persistent one.
    #[serde(skip_serializing_if = "is_default")]
    pub content: Option<Content>,
}

/// What a remote volume is filled with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Content {
    /// Where it comes from; what is found there is never expected to change.
    pub url: String,
    /// The SHA-256 of what is fetched, in lower-case hexadecimal; empty where it is not checked.
    #[serde(skip_serializing_if = "is_default")]
    pub sha256: String,
    /// Whether it is an archive, of which the volume gets the content.
    #[serde(skip_serializing_if = "is_default")]
    pub extract: bool,
}

/// What becomes of a persistent volume once its job or its instance is removed, or its configuration names it no
/// longer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OnDelete {
    /// It stays until somebody deletes it.
    #[default]
    Retain,
    /// It is destroyed.
    Delete,
}

/// Where a slot's volume is in its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum VolumeState {
    /// To be made, of disk that is reserved or will be.
    #[default]
    Planned,
    /// Mesos was asked to make it.
    Creating,
    /// There, and to be filled.
    Empty,
    /// A task fills it.
    Filling,
    /// There for the instance.
    Ready,
    /// Mesos was asked to destroy it.
    Destroying,
}

/// A volume of a slot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SlotVolume {
    /// Its persistence id in Mesos: unique on its agent within the role.
    pub id: String,
    /// Its name in the configuration.
    pub name: String,
    /// Disk in MB.
    pub size_mb: u64,
    /// What a remote one is filled with.
    #[serde(skip_serializing_if = "is_default")]
    pub content: Option<Content>,
    /// Where it is in its life.
    pub state: VolumeState,
    /// It is to be destroyed: the durable decision.
    #[serde(skip_serializing_if = "is_default")]
    pub drop: bool,
    /// The number of the operation under way, or the run of the task that fills it.
    #[serde(skip_serializing_if = "is_default")]
    pub number: u64,
    /// How often filling it failed.
    #[serde(skip_serializing_if = "is_default")]
    pub tries: u32,
    /// Why it is not ready, where that is more than a matter of seconds.
    #[serde(skip_serializing_if = "is_default")]
    pub message: Option<String>,
    /// What becomes of it once nothing asks for it any more.
    #[serde(skip_serializing_if = "is_default")]
    pub on_delete: OnDelete,
    /// See [`VolumeConfig::give_up_after_secs`].
    #[serde(skip_serializing_if = "is_default")]
    pub give_up_after_secs: u64,
    /// When it was decided.
    #[serde(skip_serializing_if = "is_default")]
    pub since: UnixMs,
    /// Whose labels its reservation carries, where that is not its slot: it was adopted.
    #[serde(skip_serializing_if = "is_default")]
    pub labels: Option<SlotRef>,
}

/// `d/<shard>/volume/<volume or slot>`: what is asked of a volume, or of a slot that has volumes. It goes once it is
/// done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeAsk {
    /// What is asked.
    pub what: VolumeWish,
    /// The slot.
    pub slot: SlotRef,
    /// Who asks it.
    pub by: String,
    /// When it was asked.
    pub at: UnixMs,
}

/// What can be asked of a volume or a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum VolumeWish {
    /// The volume of this id is to be destroyed; where its slot is in use by an instance that does not run, the slot
    /// is given up, too.
    Delete(String),
    /// The slot is to be given up, so that its instance starts elsewhere.
    Release,
    /// The retained volumes of the slot are those of this instance of this job from now on; of the same shard.
    Adopt(JobId, InstanceId),
}

impl VolumeAsk {
    /// What the ask is filed under.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.what {
            VolumeWish::Delete(id) => id.clone(),
            VolumeWish::Release | VolumeWish::Adopt(..) => {
                format!("{}~{}~{}", self.slot.job, self.slot.instance, self.slot.slot)
            }
        }
    }
}

/// The name of a slot, as the labels of its reservation tell it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SlotRef {
    /// `peloton.job`
    pub job: JobId,
    /// `peloton.instance`
    pub instance: InstanceId,
    /// `peloton.slot`
    pub slot: SlotId,
}

impl fmt::Display for SlotRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.job, self.instance, self.slot)
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl VolumeConfig {
    /// Whether it belongs to the instance and is written by it.
    #[must_use]
    pub fn is_persistent(&self) -> bool {
        self.content.is_none()
    }
}

impl SlotVolume {
    /// One that is to be made. The number tells it from others of its name: of another URL, or that were destroyed.
    #[must_use]
    pub fn new(config: &VolumeConfig, slot: &SlotRef, number: u64, since: UnixMs) -> Self {
        let SlotRef { job, instance, slot } = slot;
        Self {
            // Of a character that none of the parts can have, so that two never come out the same.
            id: format!("{job}~{instance}~{slot}~{}~{number}", config.name),
            name: config.name.clone(),
            size_mb: config.size_mb,
            content: config.content.clone(),
            on_delete: config.on_delete,
            give_up_after_secs: config.give_up_after_secs,
            since,
            ..Self::default()
        }
    }

    /// Whether this is what the configuration asks for.
    #[must_use]
    pub fn is_for(&self, config: &VolumeConfig) -> bool {
        !self.drop
            && self.name == config.name
            && self.content == config.content
            && self.size_mb == config.size_mb
    }

    /// Whether it belongs to the instance and is written by it.
    #[must_use]
    pub fn is_persistent(&self) -> bool {
        self.content.is_none()
    }

    /// Whether Mesos has it, as far as is known: its disk is not plain disk any more.
    #[must_use]
    pub fn is_made(&self) -> bool {
        use VolumeState::{Destroying, Empty, Filling, Ready};
        matches!(self.state, Empty | Filling | Ready | Destroying)
    }

    /// Whether Mesos surely has never made it. One that is planned again after nothing was known of the operation
    /// keeps that one's number: it may be there after all.
    #[must_use]
    pub fn is_unmade(&self) -> bool {
        self.state == VolumeState::Planned && self.number == 0
    }

    /// The run of the task that fills it.
    #[must_use]
    pub fn fetch(&self) -> Option<RunNumber> {
        (self.state == VolumeState::Filling).then_some(self.number)
    }
}
