//! Tasks as the master knows them: status updates, acknowledgements, kills.

use super::Master;
use crate::AgentIndex;
use crate::allocator::FrameworkKey;
use crate::link::{StatusMessage, ToAgent};
use crate::random::Uuid;
use crate::resources::Resources;
use crate::status;
use crate::task::{self, Container, TaskMeta, is_terminal};
use crate::world::World;
use peloton_proto::mesos::v1;
use std::sync::Arc;
use v1::TaskState;
use v1::scheduler::call;

/// A task as the master knows it.
#[derive(Debug)]
pub struct MasterTask {
    pub(crate) meta: Arc<TaskMeta>,
    pub(crate) agent: AgentIndex,
    pub(crate) state: TaskState,
    /// The update that the framework was sent last, if it has to acknowledge it.
    pub(crate) sent: Option<(TaskState, Uuid)>,
    pub(crate) healthy: Option<bool>,
    pub(crate) container: Container,
    /// A kill was asked for; it is sent again to an agent that comes back.
    pub(crate) is_killed: bool,
}

impl MasterTask {
    pub(super) const fn new(meta: Arc<TaskMeta>, agent: AgentIndex) -> Self {
        Self {
            meta,
            agent,
            state: TaskState::TaskStaging,
            sent: None,
            healthy: None,
            container: Container::Absent,
            is_killed: false,
        }
    }

    /// What does not change.
    #[must_use]
    pub fn meta(&self) -> &TaskMeta {
        &self.meta
    }

    /// Where it is.
    #[must_use]
    pub const fn agent(&self) -> AgentIndex {
        self.agent
    }

    /// Its newest state.
    #[must_use]
    pub const fn state(&self) -> TaskState {
        self.state
    }

    /// What its health check found last.
    #[must_use]
    pub const fn healthy(&self) -> Option<bool> {
        self.healthy
    }

    /// Whether it holds resources.
    pub(super) fn is_live(&self) -> bool {
        !is_terminal(self.state) && self.state != TaskState::TaskUnreachable
    }
}

impl Master {
    /// A status update from an agent.
    pub(super) fn status_update(
        &mut self,
        world: &mut World,
        agent: AgentIndex,
        message: StatusMessage,
    ) {
        let StatusMessage { framework, status, uuid, latest, container } = message;
        // An agent that is not registered is told so when it registers again.
        if self.agent(agent).is_none() {
            return;
        }
        let (state, healthy) = (status.state(), status.healthy);
        let id: Arc<str> = status.task_id.value.as_str().into();
        let is_connected = self.frameworks.get(&framework).is_some_and(|one| one.is_connected());
        if is_connected {
            self.send(world, framework, status::update(status));
        }
        let Some(owner) = self.frameworks.get_mut(&framework) else { return };
        let Some(task) = owner.tasks.get_mut(&id).filter(|task| task.agent == agent) else {
            return;
        };
        if is_connected {
            task.sent = Some((state, uuid));
        }
        (task.healthy, task.container) = (healthy, container);
        self.set_task_state(world, framework, &id, latest);
    }

    /// A task is in another state; when it ends, what it used is available again.
    pub(super) fn set_task_state(
        &mut self,
        world: &World,
        framework: FrameworkKey,
        id: &str,
        state: TaskState,
    ) {
        let Some(owner) = self.frameworks.get_mut(&framework) else { return };
        let Some(task) = owner.tasks.get_mut(id) else { return };
        if is_terminal(task.state) {
            return;
        }
        let was_live = task.is_live();
        task.state = state;
        if was_live && !task.is_live() {
            let (agent, meta) = (task.agent, Arc::clone(&task.meta));
            self.recover(world, framework, &meta.role, agent, &meta.resources, None);
        }
    }

    /// Forgets a task.
    pub(super) fn remove_task(
        &mut self,
        world: &World,
        framework: FrameworkKey,
        id: &str,
    ) -> Option<MasterTask> {
        let owner = self.frameworks.get_mut(&framework)?;
        let task = owner.tasks.remove(id)?;
        if let Some(agent) = self.agent_mut(task.agent) {
            agent.tasks.remove(&(framework, Arc::clone(&task.meta.id)));
        }
        if task.is_live() {
            let meta = &task.meta;
            self.recover(world, framework, &meta.role, task.agent, &meta.resources, None);
        }
        Some(task)
    }

    /// Adds a task to its framework and its agent.
    pub(super) fn add_task(&mut self, task: MasterTask) {
        let (framework, id) = (task.meta.framework, Arc::clone(&task.meta.id));
        if let Some(agent) = self.agent_mut(task.agent) {
            agent.tasks.insert((framework, Arc::clone(&id)));
        }
        if let Some(owner) = self.frameworks.get_mut(&framework) {
            owner.tasks.insert(id, task);
        }
    }

    pub(super) fn acknowledge(
        &mut self,
        world: &mut World,
        framework: FrameworkKey,
        acknowledge: &call::Acknowledge,
    ) {
        let Some(agent) = self.agent_by_id(world, &acknowledge.agent_id.value) else { return };
        let Some(uuid) = Uuid::from_bytes(&acknowledge.uuid) else { return };
        if !agent.connected {
            return;
        }
        let index = agent.index;
        let id: Arc<str> = acknowledge.task_id.value.as_str().into();
        let owner = self.frameworks.get(&framework);
        if let Some(task) = owner.and_then(|owner| owner.tasks.get(&id))
            && task.agent == index
        {
            match task.sent {
                // The update was not sent by this master.
                None => return,
                Some((state, sent)) if is_terminal(state) && sent == uuid => {
                    self.remove_task(world, framework, &id);
                }
                Some(_) => {}
            }
        }
        world.send_to_agent(index, ToAgent::Acknowledge { framework, task: id, uuid });
        self.check_drained(world, index);
    }

    pub(super) fn kill(&mut self, world: &mut World, framework: FrameworkKey, kill: &call::Kill) {
        let id = kill.task_id.value.as_str();
        let Some(owner) = self.frameworks.get_mut(&framework) else { return };
        let Some(task) = owner.tasks.get_mut(id) else {
            let (task_id, agent_id) = (kill.task_id.clone(), kill.agent_id.clone());
            let task = call::reconcile::Task { task_id, agent_id };
            self.reconcile(world, framework, &call::Reconcile { tasks: vec![task] });
            return;
        };
        if kill.agent_id.as_ref().is_some_and(|agent| *agent.value != *task.meta.agent_id) {
            return;
        }
        task.is_killed = true;
        let (index, task) = (task.agent, Arc::clone(&task.meta.id));
        if self.agent(index).is_some_and(|agent| agent.connected) {
            let grace_ms = kill.kill_policy.as_ref().and_then(task::grace_ms);
            world.send_to_agent(index, ToAgent::Kill { framework, task, grace_ms });
        }
    }

    pub(super) fn shutdown_executor(
        &self,
        world: &mut World,
        framework: FrameworkKey,
        shutdown: &call::Shutdown,
    ) {
        let agent = self.agent_by_id(world, &shutdown.agent_id.value).map(|agent| agent.index);
        if let Some(agent) = agent {
            let executor = shutdown.executor_id.value.as_str().into();
            world.send_to_agent(agent, ToAgent::ShutdownExecutor(framework, executor));
        }
    }

    /// An executor ended.
    pub(super) fn exited_executor(
        &mut self,
        world: &mut World,
        agent: AgentIndex,
        framework: FrameworkKey,
        executor: &Arc<str>,
        exit: i32,
    ) {
        let Some(one) = self.agent_mut(agent) else { return };
        let agent_id = Arc::clone(&one.id);
        let Some(meta) = one.executors.remove(&(framework, Arc::clone(executor))) else { return };
        self.recover(world, framework, &meta.role, agent, &meta.resources, None);
        self.send(world, framework, status::failure(&agent_id, Some((executor, exit))));
    }

    /// What tasks and executors on an agent use, one by one.
    pub(super) fn in_use(&self, agent: AgentIndex) -> Vec<&Resources> {
        let Some(agent) = self.agent(agent) else { return Vec::new() };
        let tasks = agent.tasks.iter().filter_map(|(framework, id)| {
            let task = self.frameworks.get(framework)?.tasks.get(id)?;
            task.is_live().then_some(&task.meta.resources)
        });
        tasks.chain(agent.executors.values().map(|executor| &executor.resources)).collect()
    }
}
