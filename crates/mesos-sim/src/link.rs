//! The connection between the master and one agent.
//!
//! Messages arrive in the order in which they were sent, or not at all: what is under way when the
//! network is cut is lost, as is what is sent until it heals.

use crate::allocator::FrameworkKey;
use crate::operations::Conversion;
use crate::random::Uuid;
use crate::resources::Resources;
use crate::task::{Container, TaskMeta};
use crate::{AgentIndex, AgentSpec};
use peloton_proto::mesos::v1;
use std::collections::BTreeSet;
use std::sync::Arc;
use v1::TaskState;

/// One agent's connection.
#[derive(Debug, Default)]
pub(crate) struct Link {
    /// Nothing gets through.
    pub(crate) cut: bool,
    /// The master does not know yet that its connection is broken: what it sends is lost, until the
    /// agent registers again.
    pub(crate) broken: bool,
    /// Counts cuts; a message of an older number is lost.
    pub(crate) epoch: u32,
    /// When the last message to the agent arrives.
    pub(crate) to_agent_ms: u64,
    /// When the last message to the master arrives.
    pub(crate) to_master_ms: u64,
}

/// A message under way.
#[derive(Debug)]
pub(crate) enum Message {
    ToAgent { agent: AgentIndex, epoch: u32, message: ToAgent },
    ToMaster { agent: AgentIndex, epoch: u32, message: ToMaster },
}

/// A task that is launched: what is kept, and what goes to who runs it.
pub(crate) type Launched = (Arc<TaskMeta>, v1::TaskInfo);

/// Tasks to launch together.
#[derive(Debug)]
pub(crate) struct Launch {
    pub(crate) framework: FrameworkKey,
    pub(crate) tasks: Vec<Launched>,
    /// The framework's own executor, or that of a task group.
    pub(crate) executor: Option<ExecutorMeta>,
    pub(crate) is_group: bool,
}

/// An executor that is not a command's own.
#[derive(Debug, Clone, PartialEq)]
pub struct ExecutorMeta {
    /// Its id.
    pub id: Arc<str>,
    /// The role of the offer.
    pub role: Arc<str>,
    /// What it uses itself.
    pub resources: Resources,
}

/// The master's answer to a registration.
#[derive(Debug)]
pub(crate) struct Registered {
    pub(crate) id: Arc<str>,
    /// Tasks that the master knows and the agent did not name.
    pub(crate) unknown: Vec<(FrameworkKey, Arc<str>)>,
}

/// An operation to be carried out.
#[derive(Debug)]
pub(crate) struct Apply {
    pub(crate) operation: u64,
    pub(crate) framework: Option<FrameworkKey>,
    pub(crate) info: Arc<v1::offer::Operation>,
    /// What it comes to: sent along so that master and agent share the resources in memory.
    pub(crate) conversions: Vec<Conversion>,
}

/// What the master tells an agent.
#[derive(Debug)]
pub(crate) enum ToAgent {
    Registered(Registered),
    Launch(Box<Launch>),
    Kill {
        framework: FrameworkKey,
        task: Arc<str>,
        grace_ms: Option<u64>,
    },
    Acknowledge {
        framework: FrameworkKey,
        task: Arc<str>,
        uuid: Uuid,
    },
    AcknowledgeOperation {
        operation: u64,
        uuid: Uuid,
    },
    Apply(Box<Apply>),
    /// Operations that the master knows and the agent did not name.
    ReconcileOperations(Vec<u64>),
    ShutdownFramework(FrameworkKey),
    ShutdownExecutor(FrameworkKey, Arc<str>),
    /// The agent is not wanted any more: it ends.
    Shutdown,
    Drain {
        max_grace_ms: Option<u64>,
        mark_gone: bool,
    },
}

/// What an agent tells the master.
#[derive(Debug)]
pub(crate) enum ToMaster {
    Register(Arc<AgentSpec>, Resources),
    Reregister(Box<Reregistration>),
    /// All its operations, after it has registered.
    Operations(Vec<ReportedOperation>),
    Status(Box<StatusMessage>),
    OperationStatus {
        operation: u64,
        framework: Option<FrameworkKey>,
        status: v1::OperationStatus,
    },
    ExitedExecutor {
        framework: FrameworkKey,
        executor: Arc<str>,
        status: i32,
    },
    /// The agent's process has ended.
    Closed,
}

/// What an agent that registers again says of itself.
#[derive(Debug)]
pub(crate) struct Reregistration {
    pub(crate) id: Arc<str>,
    pub(crate) spec: Arc<AgentSpec>,
    pub(crate) total: Resources,
    pub(crate) tasks: Vec<ReportedTask>,
    pub(crate) executors: Vec<(FrameworkKey, ExecutorMeta)>,
    pub(crate) frameworks: BTreeSet<FrameworkKey>,
}

/// A task as an agent knows it.
#[derive(Debug)]
pub(crate) struct ReportedTask {
    pub(crate) meta: Arc<TaskMeta>,
    pub(crate) state: TaskState,
    /// The status update that was sent last.
    pub(crate) sent: Option<(TaskState, Uuid)>,
    pub(crate) healthy: Option<bool>,
    pub(crate) container: Container,
}

/// An operation as an agent knows it.
#[derive(Debug, Clone)]
pub(crate) struct ReportedOperation {
    pub(crate) operation: u64,
    pub(crate) framework: Option<FrameworkKey>,
    pub(crate) info: Arc<v1::offer::Operation>,
    pub(crate) status: v1::OperationStatus,
}

/// A task's status update.
#[derive(Debug)]
pub(crate) struct StatusMessage {
    pub(crate) framework: FrameworkKey,
    pub(crate) status: v1::TaskStatus,
    pub(crate) uuid: Uuid,
    /// The task's newest state; updates of it may still wait.
    pub(crate) latest: TaskState,
    pub(crate) container: Container,
}
