//! What a shard is told: users' wishes, Mesos's events, and the passing of time.

use peloton_model::job::JobConfig;
use peloton_model::{
    AgentId, AgentRecord, FrameworkId, JobId, JobRecord, OfferId, PortSet, Resources, Version,
    VolumeAsk,
};

use std::sync::Arc;

pub use peloton_model::SlotRef;

/// An input of [`crate::Shard::step`].
#[derive(Debug, Clone)]
pub enum Input {
    /// A configuration version of a job was stored. It comes before the record that names it.
    Config {
        /// The job.
        job: JobId,
        /// The version.
        version: Version,
        /// The configuration.
        config: Arc<JobConfig>,
    },
    /// A job was created or changed.
    Job {
        /// The job.
        id: JobId,
        /// The create revision of its record: tells a job from a later one of the same name.
        incarnation: i64,
        /// The revision of its record: what is decided for good on what it says is compared with it.
        modified: i64,
        /// What users ask of it.
        record: JobRecord,
    },
    /// A job was deleted, with its configurations.
    JobRemoved(JobId),
    /// Something is asked of a volume, or of the slot that has it. It is answered by [`crate::Write::VolumeAsked`].
    Volume(VolumeAsk),
    /// Something came from Mesos.
    Mesos(MesosEvent),
    /// A wake-up that was asked for is due.
    Wake,
}

/// What Mesos says, in the shard's terms.
#[derive(Debug, Clone)]
pub enum MesosEvent {
    /// The subscription stands.
    Subscribed {
        /// The framework's id.
        framework: FrameworkId,
    },
    /// The connection broke: calls that were not answered may be lost.
    Disconnected,
    /// Mesos will not take the framework's id again: every task of it was killed. Its
    /// reservations belong to the role and stay.
    FrameworkRemoved,
    /// Resources are offered.
    Offers(Vec<Offer>),
    /// An offer is withdrawn. Offers are answered at once, so this changes nothing here.
    Rescind(OfferId),
    /// The state of a task.
    Status(StatusUpdate),
    /// The state of an operation.
    Operation(OperationUpdate),
}

/// Resources of one agent, offered to this shard.
#[derive(Debug, Clone)]
pub struct Offer {
    /// The offer.
    pub id: OfferId,
    /// The agent.
    pub agent: AgentId,
    /// Its host, attributes and address.
    pub record: Arc<AgentRecord>,
    /// Scalars that nobody has reserved.
    pub free: Resources,
    /// Ports that nobody has reserved.
    pub ports: PortSet,
    /// Reservations of ours that no task uses.
    pub reserved: Vec<Reserved>,
}

/// A reservation that carries Peloton's labels, as offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reserved {
    /// Whose it is.
    pub slot: SlotRef,
    /// The role it was made to.
    pub role: Arc<str>,
    /// The principal that made it, if any.
    pub principal: Option<Arc<str>>,
    /// Its scalars.
    pub resources: Resources,
    /// Its ports.
    pub ports: PortSet,
    /// Its persistent volumes; their disk is not in `resources`.
    pub volumes: Vec<OfferedVolume>,
}

/// A persistent volume, as offered: nothing uses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferedVolume {
    /// Its persistence id.
    pub id: String,
    /// Its disk, in MB.
    pub size_mb: u64,
    /// The principal that made it, if any.
    pub principal: Option<Arc<str>>,
    /// The slot that the labels of its reservation name: where it was made.
    pub slot: SlotRef,
    /// The principal that made its reservation, if any.
    pub reserver: Option<Arc<str>>,
}

/// A task's state, in the words of Mesos.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TaskStatus {
    /// Accepted, not with its executor yet.
    Staging,
    /// With its executor.
    Starting,
    /// Runs.
    Running,
    /// Is being killed.
    Killing,
    /// Ended well.
    Finished,
    /// Ended not well.
    Failed,
    /// Was killed.
    Killed,
    /// Refused.
    Error,
    /// Lost without a known reason (frameworks that know no partitions).
    Lost,
    /// Never started.
    Dropped,
    /// Its agent is partitioned away.
    Unreachable,
    /// No longer runs: its agent is there without it, or was shut down.
    Gone,
    /// An operator said that its agent is gone for good.
    GoneByOperator,
    /// Mesos knows nothing of its agent.
    Unknown,
}

impl TaskStatus {
    /// Whether the task is, or may be, running.
    #[must_use]
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Staging | Self::Starting | Self::Running | Self::Killing)
    }
}

/// A status update, also one that answers a reconciliation.
#[derive(Debug, Clone)]
pub struct StatusUpdate {
    /// The task's id as Mesos has it; Peloton's own are `<job>-<instance>-<run>`.
    pub task: String,
    /// The state.
    pub status: TaskStatus,
    /// The agent, where Mesos names it.
    pub agent: Option<AgentId>,
    /// To be acknowledged with this, if there is one.
    pub uuid: Option<Vec<u8>>,
    /// What the health check says, where there is one.
    pub healthy: Option<bool>,
    /// Words of Mesos or the executor.
    pub message: Option<String>,
    /// Mesos's reason without `REASON_`, such as `INVALID_OFFERS`.
    pub reason: Option<String>,
    /// The command's exit status, where it ended by itself and the executor told.
    pub exit_status: Option<i32>,
}

/// An operation's state, as far as the shard tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OperationState {
    /// On its way, or its agent is away: no answer yet.
    Pending,
    /// Done.
    Finished,
    /// Not done, and will not be: refused, failed, dropped.
    Failed,
    /// Mesos knows no such operation: it never came, or was acknowledged long ago.
    Unknown,
    /// Its agent is gone for good, and the reservation with it.
    Gone,
    /// Mesos has failed over since, and waits for the agent.
    Recovering,
}

impl OperationState {
    /// Whether it was done; none while that is open, or nothing is left of its agent.
    #[must_use]
    pub(crate) const fn outcome(self) -> Option<bool> {
        match self {
            Self::Finished => Some(true),
            Self::Failed | Self::Unknown => Some(false),
            Self::Pending | Self::Recovering | Self::Gone => None,
        }
    }
}

/// An operation status update.
#[derive(Debug, Clone)]
pub struct OperationUpdate {
    /// The operation's id.
    pub id: String,
    /// The state.
    pub state: OperationState,
    /// The agent, where Mesos names it.
    pub agent: Option<AgentId>,
    /// To be acknowledged with this, if there is one.
    pub uuid: Option<Vec<u8>>,
    /// Words of Mesos.
    pub message: Option<String>,
}
