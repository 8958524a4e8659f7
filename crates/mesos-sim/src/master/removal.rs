//! How agents and frameworks leave.

use super::Master;
use crate::AgentIndex;
use crate::Output;
use crate::allocator::FrameworkKey;
use crate::link::ToAgent;
use crate::status::{self, MasterNews};
use crate::world::World;
use peloton_proto::mesos::v1;
use std::collections::BTreeSet;
use std::sync::Arc;
use v1::task_status::Reason;
use v1::{OperationState, TaskState};

/// So many frameworks are remembered as removed, as in Mesos.
const MAX_COMPLETED_FRAMEWORKS: usize = 50;

/// Why an agent leaves.
#[derive(Clone, Copy)]
pub(super) enum Removal {
    Unreachable(v1::TimeInfo),
    Gone,
    /// By an operator who takes the machine down.
    Removed,
}

impl Master {
    pub(super) fn mark_unreachable(&mut self, world: &mut World, index: AgentIndex, message: &str) {
        let Some(agent) = self.agent(index) else { return };
        let (id, time) = (Arc::clone(&agent.id), world.time_info());
        self.registry.admitted.remove(&id);
        self.registry.unreachable.insert(id, time);
        let state = OperationState::OperationUnreachable;
        self.fail_operations(world, index, state, "Agent was marked unreachable");
        self.remove_agent(world, index, message, Removal::Unreachable(time));
    }

    /// Agents of the registry that did not come back after a fail-over.
    pub(crate) fn recovery_timeout(&mut self, world: &mut World, master: u32) {
        if master != self.epoch {
            return;
        }
        for id in std::mem::take(&mut self.recovered) {
            if self.registry.gone.contains_key(&id) {
                self.recovered.insert(id);
                continue;
            }
            self.registry.admitted.remove(&id);
            self.registry.unreachable.insert(Arc::clone(&id), world.time_info());
            self.broadcast(world, &status::failure(&id, None));
        }
    }

    pub(super) fn mark_gone(&mut self, world: &mut World, id: &Arc<str>) {
        const MESSAGE: &str = "Agent has been marked gone";
        let registry = &mut self.registry;
        registry.gone.insert(Arc::clone(id), world.time_info());
        registry.admitted.remove(id);
        registry.unreachable.remove(id);
        registry.draining.remove(id);
        registry.deactivated.remove(id);
        // One that is still expected back stays so, and nobody gets an answer about it: as in Mesos,
        // which does not know its tasks (MESOS-9739).
        if let Some(index) = self.agent_by_id(world, id).map(|agent| agent.index) {
            world.send_to_agent(index, ToAgent::Shutdown);
            let state = OperationState::OperationGoneByOperator;
            self.fail_operations(world, index, state, MESSAGE);
            self.remove_agent(world, index, MESSAGE, Removal::Gone);
            return;
        }
        for (framework, task) in self.unreachable_tasks.remove(id).unwrap_or_default() {
            let Some(owner) = self.frameworks.get_mut(&framework) else { continue };
            let Some(task) = owner.unreachable.remove(&task) else { continue };
            let (state, reason) = if owner.partition_aware {
                (TaskState::TaskGoneByOperator, Reason::AgentRemovedByOperator)
            } else {
                (TaskState::TaskLost, Reason::AgentRemoved)
            };
            let news = MasterNews {
                task: &task.meta.id,
                agent: Some(&task.meta.agent_id),
                state,
                message: MESSAGE.to_owned(),
                reason,
                seconds: world.seconds(),
            };
            self.send(world, framework, status::update(news.status_of(&task.meta)));
        }
    }

    /// Takes an agent out of everything, and tells its frameworks.
    pub(super) fn remove_agent(
        &mut self,
        world: &mut World,
        index: AgentIndex,
        message: &str,
        removal: Removal,
    ) {
        self.allocator.remove_agent(index);
        let Some(agent) = self.agent(index) else { return };
        let id = Arc::clone(&agent.id);
        let tasks: Vec<_> = agent.tasks.iter().cloned().collect();
        for (framework, task) in tasks {
            self.lose_task(world, (framework, &task), message, removal);
        }
        self.rescind_offers_on(world, index);
        let numbers: Vec<u64> = self
            .agent(index)
            .map_or_else(Vec::new, |agent| agent.operations.keys().copied().collect());
        for number in numbers {
            self.remove_operation(index, number);
        }
        if let Some(entry) = self.agents.get_mut(index.0 as usize) {
            *entry = None;
        }
        self.broadcast(world, &status::failure(&id, None));
    }

    fn lose_task(
        &mut self,
        world: &mut World,
        (framework, id): (FrameworkKey, &str),
        message: &str,
        removal: Removal,
    ) {
        let is_aware = self.frameworks.get(&framework).is_some_and(|one| one.partition_aware);
        let (state, reason) = match removal {
            Removal::Unreachable(_) if is_aware => {
                (TaskState::TaskUnreachable, Reason::AgentRemoved)
            }
            Removal::Gone if is_aware => {
                (TaskState::TaskGoneByOperator, Reason::AgentRemovedByOperator)
            }
            Removal::Unreachable(_) | Removal::Gone | Removal::Removed => {
                (TaskState::TaskLost, Reason::AgentRemoved)
            }
        };
        self.set_task_state(world, framework, id, state);
        let Some(task) = self.remove_task(world, framework, id) else { return };
        let news = MasterNews {
            task: id,
            agent: Some(&task.meta.agent_id),
            state,
            message: message.to_owned(),
            reason,
            seconds: world.seconds(),
        };
        let mut status = news.status_of(&task.meta);
        if let Removal::Unreachable(time) = removal {
            status.unreachable_time = Some(time);
        }
        self.send(world, framework, status::update(status));
        let is_remembered = match removal {
            Removal::Unreachable(_) => true,
            Removal::Gone | Removal::Removed => false,
        };
        if let Some(owner) = self.frameworks.get_mut(&framework).filter(|_| is_remembered) {
            let (agent, id) = (Arc::clone(&task.meta.agent_id), Arc::clone(&task.meta.id));
            self.unreachable_tasks.entry(agent).or_default().push((framework, Arc::clone(&id)));
            owner.unreachable.insert(id, task);
        }
    }

    /// Ends a framework: its tasks, executors, offers, and its connection.
    pub(super) fn remove_framework(&mut self, world: &mut World, framework: FrameworkKey) {
        self.deactivate_framework(world, framework);
        let Some(owner) = self.frameworks.get(&framework) else { return };
        let mut agents: BTreeSet<AgentIndex> =
            owner.tasks.values().map(|task| task.agent).collect();
        let tasks: Vec<Arc<str>> = owner.tasks.keys().cloned().collect();
        let operations: Vec<(AgentIndex, u64)> = owner.operations.values().copied().collect();
        let connection = owner.connection;
        for id in tasks {
            self.set_task_state(world, framework, &id, TaskState::TaskKilled);
            self.remove_task(world, framework, &id);
        }
        for agent in self.agents.iter().flatten() {
            let from = (framework, Arc::from(""));
            let first = agent.executors.range(from..).next();
            if first.is_some_and(|((key, _), _)| *key == framework) {
                agents.insert(agent.index);
            }
        }
        for agent in agents {
            world.send_to_agent(agent, ToAgent::ShutdownFramework(framework));
            let Some(one) = self.agent(agent) else { continue };
            let executors: Vec<_> =
                one.executors.keys().filter(|(key, _)| *key == framework).cloned().collect();
            for key in executors {
                self.remove_executor(world, agent, &key);
            }
        }
        // The agent's word on them finds nobody, and the master acknowledges it.
        for (agent, number) in operations {
            let one = self.agent_mut(agent).and_then(|one| one.operations.get_mut(&number));
            if let Some(operation) = one {
                operation.framework = None;
            }
        }
        self.allocator.remove_framework(framework);
        self.frameworks.remove(&framework);
        if let Some(connection) = connection {
            self.connections.remove(&connection);
            world.outputs.push(Output::Close(connection));
        }
        self.completed.push_back(framework);
        if self.completed.len() > MAX_COMPLETED_FRAMEWORKS {
            self.completed.pop_front();
        }
    }
}
