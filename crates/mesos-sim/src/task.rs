//! What master and agent both know of a task, once.

use crate::allocator::FrameworkKey;
use crate::random::Uuid;
use crate::resources::Resources;
use peloton_proto::mesos::v1;
use std::sync::Arc;
use v1::TaskState;

/// What does not change while a task lives. Shared by master and agent: a million tasks cost one
/// of these each. The rest of the task's description goes to who runs it, and is dropped.
#[derive(Debug, PartialEq)]
pub struct TaskMeta {
    /// The framework that it belongs to.
    pub framework: FrameworkKey,
    /// Its id.
    pub id: Arc<str>,
    /// Its name.
    pub name: Box<str>,
    /// The id of the agent that it was launched on.
    pub agent_id: Arc<str>,
    /// The executor, unless it is a command's own.
    pub executor: Option<Arc<str>>,
    /// The role of the offer.
    pub role: Arc<str>,
    /// What it uses, its executor apart.
    pub resources: Resources,
    /// Between SIGTERM and SIGKILL.
    pub grace_ms: Option<u64>,
    /// Its labels.
    pub labels: Option<Box<v1::Labels>>,
    /// What service discovery is told of it.
    pub discovery: Option<Box<v1::DiscoveryInfo>>,
    /// Identifies its container, and this run of the id.
    pub(crate) container: Uuid,
}

/// What a status says of the task's container.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) enum Container {
    /// Nothing: there is none, or not yet.
    #[default]
    Absent,
    /// Its id, and the agent's address.
    Plain,
    /// What the driver said, too.
    Given(Arc<v1::ContainerStatus>),
    /// Its id alone, the driver's if there is one: the container of a group's task, which is not there
    /// yet, or no more.
    Named(Option<Arc<str>>),
}

impl Container {
    /// The same without what can only be told while it is there.
    pub(crate) fn named(&self) -> Self {
        match self {
            Self::Absent => Self::Absent,
            Self::Plain => Self::Named(None),
            Self::Given(given) => {
                Self::Named(given.container_id.as_ref().map(|id| Arc::from(id.value.as_str())))
            }
            Self::Named(id) => Self::Named(id.clone()),
        }
    }

    /// As a status has it.
    pub(crate) fn status(&self, meta: &TaskMeta, ip: &str) -> Option<v1::ContainerStatus> {
        let own = |value| v1::ContainerId { value, parent: None };
        let mut status = match self {
            Self::Absent => return None,
            Self::Plain => v1::ContainerStatus::default(),
            Self::Given(given) => v1::ContainerStatus::clone(given),
            Self::Named(id) => {
                let id =
                    id.as_ref().map_or_else(|| meta.container.to_string(), |id| id.to_string());
                return Some(v1::ContainerStatus {
                    container_id: Some(own(id)),
                    ..Default::default()
                });
            }
        };
        status.container_id.get_or_insert_with(|| own(meta.container.to_string()));
        if status.network_infos.is_empty() {
            let ip_address =
                v1::network_info::IpAddress { protocol: None, ip_address: Some(ip.to_owned()) };
            let ip_addresses = vec![ip_address];
            status.network_infos.push(v1::NetworkInfo { ip_addresses, ..Default::default() });
        }
        Some(status)
    }
}

impl TaskMeta {
    /// Of a task that is launched on what was offered to `role`.
    pub(crate) fn new(
        framework: FrameworkKey,
        info: &v1::TaskInfo,
        executor: Option<Arc<str>>,
        (agent_id, role): (&Arc<str>, &Arc<str>),
        resources: Resources,
        container: Uuid,
    ) -> Self {
        Self {
            framework,
            id: info.task_id.value.as_str().into(),
            name: info.name.as_str().into(),
            agent_id: Arc::clone(agent_id),
            executor,
            role: Arc::clone(role),
            resources,
            grace_ms: info.kill_policy.as_ref().and_then(grace_ms),
            labels: info.labels.clone().map(Box::new),
            discovery: info.discovery.clone().map(Box::new),
            container,
        }
    }

    /// The executor id in status updates: that of a command's own executor is the task's.
    pub(crate) fn executor_id(&self) -> v1::ExecutorId {
        let id = self.executor.as_ref().unwrap_or(&self.id);
        v1::ExecutorId { value: id.to_string() }
    }
}

/// A kill policy's grace period.
pub(crate) fn grace_ms(policy: &v1::KillPolicy) -> Option<u64> {
    policy.grace_period.as_ref().map(duration_ms)
}

/// Whole milliseconds; what is negative is none.
pub(crate) fn duration_ms(duration: &v1::DurationInfo) -> u64 {
    u64::try_from(duration.nanoseconds / 1_000_000).unwrap_or(0)
}

/// Whether a task in this state has ended for good.
#[must_use]
pub const fn is_terminal(state: TaskState) -> bool {
    match state {
        TaskState::TaskFinished
        | TaskState::TaskFailed
        | TaskState::TaskKilled
        | TaskState::TaskLost
        | TaskState::TaskError
        | TaskState::TaskDropped
        | TaskState::TaskGone
        | TaskState::TaskGoneByOperator => true,
        TaskState::TaskStaging
        | TaskState::TaskStarting
        | TaskState::TaskRunning
        | TaskState::TaskKilling
        | TaskState::TaskUnreachable
        | TaskState::TaskUnknown => false,
    }
}

/// Whether an operation in this state has ended for good.
#[must_use]
pub const fn is_terminal_operation(state: v1::OperationState) -> bool {
    use v1::OperationState as State;
    matches!(
        state,
        State::OperationFinished
            | State::OperationFailed
            | State::OperationError
            | State::OperationDropped
            | State::OperationGoneByOperator
    )
}
