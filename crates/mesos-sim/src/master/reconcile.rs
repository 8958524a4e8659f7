//! What the master answers when a framework asks how its tasks and operations are.

use super::Master;
use super::tasks::MasterTask;
use crate::allocator::FrameworkKey;
use crate::status::{self, MasterNews, ip_of};
use crate::world::World;
use peloton_proto::mesos::v1;
use v1::OperationState;
use v1::TaskState;
use v1::scheduler::call;
use v1::task_status::Reason;

impl Master {
    pub(super) fn reconcile(
        &self,
        world: &mut World,
        framework: FrameworkKey,
        reconcile: &call::Reconcile,
    ) {
        let Some(owner) = self.frameworks.get(&framework) else { return };
        if reconcile.tasks.is_empty() {
            for task in owner.tasks.values() {
                let status = self.latest_status(world, task);
                self.send(world, framework, status::update(status));
            }
            return;
        }
        for asked in &reconcile.tasks {
            let status = match owner.tasks.get(asked.task_id.value.as_str()) {
                Some(task) => Some(self.latest_status(world, task)),
                None => self.status_of_unknown(world, asked, owner.partition_aware),
            };
            if let Some(status) = status {
                self.send(world, framework, status::update(status));
            }
        }
    }

    /// What the framework was told last, or would be told first.
    fn latest_status(&self, world: &World, task: &MasterTask) -> v1::TaskStatus {
        let news = MasterNews {
            task: &task.meta.id,
            agent: Some(&task.meta.agent_id),
            state: task.sent.map_or(task.state, |(state, _)| state),
            message: "Reconciliation: Latest task state".to_owned(),
            reason: Reason::Reconciliation,
            seconds: world.seconds(),
        };
        let ip = self.agent(task.agent).map(|agent| ip_of(&agent.spec)).unwrap_or_default();
        let mut status = news.status_of(&task.meta);
        status.healthy = task.healthy;
        status.container_status = task.container.status(&task.meta, &ip);
        status
    }

    /// Nothing, as long as an agent may still come back with the task.
    fn status_of_unknown(
        &self,
        world: &World,
        asked: &call::reconcile::Task,
        is_aware: bool,
    ) -> Option<v1::TaskStatus> {
        let agent = asked.agent_id.as_ref().map(|id| id.value.as_str());
        let registry = &self.registry;
        let mut unreachable_time = None;
        let (state, message) = match agent {
            Some(id) if self.recovered.contains(id) => return None,
            None if !self.recovered.is_empty() => return None,
            Some(id) if self.agent_by_id(world, id).is_some() => {
                (TaskState::TaskGone, "Reconciliation: Task is unknown to the agent")
            }
            Some(id) if registry.unreachable.contains_key(id) => {
                unreachable_time = registry.unreachable.get(id).copied();
                (TaskState::TaskUnreachable, "Reconciliation: Task is unreachable")
            }
            Some(id) if registry.gone.contains_key(id) => {
                (TaskState::TaskGoneByOperator, "Reconciliation: Task is gone")
            }
            _ => (TaskState::TaskUnknown, "Reconciliation: Task is unknown"),
        };
        let news = MasterNews {
            task: &asked.task_id.value,
            agent,
            state: if is_aware { state } else { TaskState::TaskLost },
            message: message.to_owned(),
            reason: Reason::Reconciliation,
            seconds: world.seconds(),
        };
        Some(v1::TaskStatus { unreachable_time, ..news.status() })
    }

    pub(super) fn reconcile_operations(
        &self,
        world: &mut World,
        framework: FrameworkKey,
        reconcile: &call::ReconcileOperations,
    ) {
        let Some(owner) = self.frameworks.get(&framework) else { return };
        let latest = |id: &str| {
            let (agent, number) = owner.operations.get(id)?;
            let mut status = self.agent(*agent)?.operations.get(number)?.status.clone();
            status.uuid = None;
            Some(status)
        };
        if reconcile.operations.is_empty() {
            for status in owner.operations.keys().filter_map(|id| latest(id)) {
                self.send(world, framework, status::operation_update(status));
            }
            return;
        }
        for asked in &reconcile.operations {
            let status = latest(&asked.operation_id.value)
                .unwrap_or_else(|| self.status_of_unknown_operation(world, asked));
            self.send(world, framework, status::operation_update(status));
        }
    }

    fn status_of_unknown_operation(
        &self,
        world: &World,
        asked: &call::reconcile_operations::Operation,
    ) -> v1::OperationStatus {
        use OperationState as State;
        let registry = &self.registry;
        let (state, message) = match asked.agent_id.as_ref().map(|id| id.value.as_str()) {
            Some(id) if self.recovered.contains(id) => (
                State::OperationRecovering,
                "Reconciliation: Agent is recovered but has not re-registered",
            ),
            Some(id) if self.agent_by_id(world, id).is_some() => {
                (State::OperationUnknown, "Reconciliation: Operation is unknown")
            }
            Some(id) if registry.unreachable.contains_key(id) => {
                (State::OperationUnreachable, "Reconciliation: Agent is unreachable")
            }
            Some(id) if registry.gone.contains_key(id) => {
                (State::OperationGoneByOperator, "Reconciliation: Agent marked gone by operator")
            }
            Some(_) => {
                (State::OperationUnknown, "Reconciliation: Both operation and agent are unknown")
            }
            None => (
                State::OperationUnknown,
                "Reconciliation: Operation is unknown and no 'agent_id' was provided",
            ),
        };
        let mut status = v1::OperationStatus {
            operation_id: Some(asked.operation_id.clone()),
            message: Some(message.to_owned()),
            agent_id: asked.agent_id.clone(),
            resource_provider_id: asked.resource_provider_id.clone(),
            ..Default::default()
        };
        status.set_state(state);
        status
    }
}
