//! What a shard decides: writes to make durable, then effects to carry out.

use crate::input::{OfferedVolume, Reserved, SlotRef};
use peloton_model::job::JobConfig;
use peloton_model::{
    AgentId, AgentRecord, Content, FrameworkRecord, InstanceId, InstanceRecord, JobId, JobSummary,
    OfferId, Resources, RunNumber, RunRecord, SlotId, SlotRecord, TaskId, UnixMs, UpgradeEvent,
    UpgradeRecord, Version,
};
use std::sync::Arc;

/// What a step decided.
#[derive(Debug, Default)]
pub struct Output {
    /// Made durable in this order; neighbours with the same [`Write::unit`] in one transaction.
    pub writes: Vec<Write>,
    /// Carried out in this order, each after all writes of earlier steps and as many of this one as
    /// [`Output::after`] says are durable.
    pub effects: Vec<Effect>,
    /// For each effect, how many of `writes` have to be durable before. All of them, but for the ACCEPTs
    /// of a large wave of launches: the first may leave while the last are still being written.
    pub after: Vec<usize>,
    /// When the next [`crate::Input::Wake`] is wanted, in Unix milliseconds.
    pub wake_at: Option<UnixMs>,
}

/// A change of the shard's actual state. `None` deletes.
#[derive(Debug, Clone)]
pub enum Write {
    /// The shard's framework id.
    Framework(Option<FrameworkRecord>),
    /// A job as its shard sees it.
    Summary(JobId, Option<Box<JobSummary>>),
    /// An instance.
    Instance(JobId, InstanceId, Option<Box<InstanceRecord>>),
    /// A slot.
    Slot(JobId, InstanceId, SlotId, Option<SlotRecord>),
    /// A run that has ended.
    Run(JobId, InstanceId, RunNumber, Option<Box<RunRecord>>),
    /// All runs of an instance that was removed.
    RunsRemoved(JobId, InstanceId),
    /// An upgrade of a job. Where a revision comes along, it may only be written while the job's record is of
    /// that one: what is given up after a success is not to be what somebody has just asked to go back to.
    Upgrade(JobId, Version, Option<Box<UpgradeRecord>>, Option<i64>),
    /// An event of an upgrade, under its number.
    UpgradeEvent(JobId, Version, u64, Box<UpgradeEvent>),
    /// All upgrades of a job that was deleted.
    UpgradesRemoved(JobId),
    /// All events of an upgrade that is not kept any more; of all upgrades of a job, where none is named.
    EventsRemoved(JobId, Option<Version>),
    /// What was asked of a volume, under this name, is decided.
    VolumeAsked(String),
    /// An agent on which the shard has something.
    Agent(AgentId, Option<Arc<AgentRecord>>),
}

impl Write {
    /// What must not be torn: writes of one instance that follow each other.
    #[must_use]
    pub fn unit(&self) -> Option<(&JobId, InstanceId)> {
        match self {
            Self::Instance(job, i, _)
            | Self::Slot(job, i, _, _)
            | Self::Run(job, i, _, _)
            | Self::RunsRemoved(job, i) => Some((job, *i)),
            Self::Framework(_)
            | Self::Summary(..)
            | Self::Agent(..)
            | Self::VolumeAsked(_)
            | Self::Upgrade(..)
            | Self::UpgradeEvent(..)
            | Self::UpgradesRemoved(_)
            | Self::EventsRemoved(..) => None,
        }
    }
}

/// Something for Mesos.
#[derive(Debug, Clone)]
pub enum Effect {
    /// Uses offers of one agent.
    Accept(Accept),
    /// Gives offers back.
    Decline {
        /// The offers.
        offers: Vec<OfferId>,
        /// For how long the same is not wanted again, in milliseconds.
        refuse_ms: u64,
    },
    /// Ends a task.
    Kill {
        /// The task's id as Mesos has it.
        task: String,
        /// The agent, where it is known.
        agent: Option<AgentId>,
        /// Milliseconds between SIGTERM and SIGKILL; none leaves it to the task's own policy.
        grace_ms: Option<u64>,
    },
    /// Tells Mesos that a status update is durable.
    Acknowledge {
        /// The task's id as Mesos has it.
        task: String,
        /// The agent.
        agent: AgentId,
        /// The update's.
        uuid: Vec<u8>,
    },
    /// Tells Mesos that an operation's status is durable.
    AcknowledgeOperation {
        /// The operation's id.
        id: String,
        /// The agent.
        agent: Option<AgentId>,
        /// The update's.
        uuid: Vec<u8>,
    },
    /// Asks for the states of these tasks; of all that Mesos knows, where there are none. Whoever sends it
    /// may cut it into calls.
    Reconcile(Vec<(TaskId, Option<AgentId>)>),
    /// Asks for the states of these operations.
    ReconcileOperations(Vec<(String, AgentId)>),
    /// Wants offers, also of what was declined.
    Revive,
    /// Wants no offers.
    Suppress,
}

/// The use of offers.
#[derive(Debug, Clone)]
pub struct Accept {
    /// The agent.
    pub agent: AgentId,
    /// The offers, all of that agent.
    pub offers: Vec<OfferId>,
    /// What is done, in this order.
    pub operations: Vec<Operation>,
    /// For how long the rest is not wanted again, in milliseconds.
    pub refuse_ms: u64,
}

/// An operation on offered resources.
#[derive(Debug, Clone)]
pub enum Operation {
    /// Reserves for a slot, or more for it.
    Reserve {
        /// The operation's id.
        id: String,
        /// The slot.
        slot: SlotRef,
        /// The scalars.
        resources: Resources,
        /// The ports.
        ports: Vec<u16>,
    },
    /// Gives a reservation up, or a part of it.
    Unreserve {
        /// The operation's id.
        id: String,
        /// What was offered.
        reserved: Reserved,
    },
    /// Makes volumes of disk that is reserved for a slot.
    Create {
        /// The operation's id.
        id: String,
        /// The slot.
        slot: SlotRef,
        /// The principal of the reservation, if it was offered; else the framework's own.
        principal: Option<Arc<str>>,
        /// The volumes.
        volumes: Vec<VolumeSpec>,
    },
    /// Destroys volumes; their disk stays reserved.
    Destroy {
        /// The operation's id.
        id: String,
        /// What was offered: of its resources only the volumes.
        reserved: Reserved,
    },
    /// Launches a task.
    Launch(Box<Launch>),
    /// Launches a task that fills a volume.
    Fetch(Box<Fetch>),
}

/// A volume that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeSpec {
    /// Its persistence id.
    pub id: String,
    /// Its disk, in MB.
    pub size_mb: u64,
}

/// A volume that a task mounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounted {
    /// What was offered.
    pub volume: OfferedVolume,
    /// Where the task sees it.
    pub container_path: String,
    /// Whether it may write.
    pub read_write: bool,
}

/// The launch of a task that fills a volume.
#[derive(Debug, Clone)]
pub struct Fetch {
    /// The task: a run number of the instance of its own.
    pub task: TaskId,
    /// The agent.
    pub agent: AgentId,
    /// The slot whose plain resources it uses, with the principal of that reservation; none for unreserved ones.
    pub slot: Option<(SlotRef, Option<Arc<str>>)>,
    /// The scalars it gets.
    pub resources: Resources,
    /// The volume.
    pub volume: Mounted,
    /// What it is filled with.
    pub content: Content,
    /// The user that it runs as; empty for the framework's.
    pub user: String,
}

/// The launch of a run.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The task.
    pub task: TaskId,
    /// The agent.
    pub agent: AgentId,
    /// Its configuration.
    pub config: Arc<JobConfig>,
    /// The slot whose reservation it uses; none for unreserved resources.
    pub slot: Option<SlotRef>,
    /// The principal of that reservation, if it was offered; else the framework's own.
    pub principal: Option<Arc<str>>,
    /// The scalars it gets.
    pub resources: Resources,
    /// Its ports, in the order of the configuration's.
    pub ports: Vec<u16>,
    /// The volumes that it mounts.
    pub volumes: Vec<Mounted>,
    /// Whether only what the agent has is to be used, as on a rollback: no image is pulled, whatever the
    /// configuration says.
    pub keep_image: bool,
}
