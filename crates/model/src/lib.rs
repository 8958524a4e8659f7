//! The domain: ids, resources, job configuration and versions, states, stored records, limits.
//!
//! Nothing here does I/O or knows a wire format: protobuf types stop at the API's edge, Mesos's
//! at the wire crate. Records are what the store holds, as self-describing JSON in which unknown
//! fields are ignored and missing ones take their default, so that masters of neighbouring
//! releases can share one store.

mod error;
mod goal;
mod ids;
pub mod job;
pub mod limits;
mod ports;
mod receipt;
mod record;
mod resources;
mod state;
mod update;
mod upgrade;
mod validate;
mod volume;

pub use error::{Code, FieldError};
pub use goal::{Goal, Goals};
pub use ids::{
    AgentId, FrameworkId, IdError, InstanceId, JobId, OfferId, RunNumber, ShardId, SlotId, TaskId,
    Version, shard_of,
};
pub use job::JobConfig;
pub use ports::PortSet;
pub use receipt::{Deletion, DeletionsRecord, MAX_DELETIONS, MAX_RECEIPTS, Receipt};
pub use record::{
    AgentRecord, ClusterRecord, ConfigRecord, FrameworkRecord, InstanceRecord, JobRecord,
    JobSummary, KillReason, Killing, MemberRecord, OwnerRecord, Resize, RunRecord, SlotRecord,
    SlotState, StateCounts, Waiting, Wide, decode_record, encode_record,
};
pub use resources::{Amount, Lack, Milli, Resources};
pub use state::{Health, JobState, TaskState};
pub use update::{Change, fields_changed};
pub use upgrade::{
    Abort, Current, SlotPlace, Stage, Step, UpgradeAsk, UpgradeEvent, UpgradeEventKind, UpgradeId,
    UpgradeOptions, UpgradeRecord, UpgradeSpecRecord, UpgradeState,
};

pub use volume::{
    Content, OnDelete, SlotRef, SlotVolume, VolumeAsk, VolumeConfig, VolumeState, VolumeWish,
};

/// Milliseconds since the Unix epoch: the only notion of time in the pure crates, always handed in.
pub type UnixMs = u64;
