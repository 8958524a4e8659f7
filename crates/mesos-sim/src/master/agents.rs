//! Agents as the master knows them: registration, and what comes with it.

use super::Master;
use super::maintenance::{MachineMode, machine_of};
use super::operations::MasterOperation;
use super::tasks::MasterTask;
use crate::allocator::FrameworkKey;
use crate::link::{ExecutorMeta, Registered, ReportedTask, Reregistration, ToAgent, ToMaster};
use crate::resources::Resources;
use crate::status::{self, MasterNews, ip_of};
use crate::task::is_terminal;
use crate::timers::Timer;
use crate::world::World;
use crate::{AgentIndex, AgentSpec};
use peloton_proto::mesos::v1;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use v1::TaskState;
use v1::task_status::Reason;

/// An agent that is registered.
#[derive(Debug)]
pub struct RegisteredAgent {
    pub(crate) index: AgentIndex,
    pub(crate) id: Arc<str>,
    pub(crate) spec: Arc<AgentSpec>,
    pub(crate) connected: bool,
    pub(crate) active: bool,
    pub(crate) total: Resources,
    pub(crate) offers: BTreeSet<u64>,
    pub(crate) inverse_offers: BTreeSet<u64>,
    pub(crate) tasks: BTreeSet<(FrameworkKey, Arc<str>)>,
    pub(crate) executors: BTreeMap<(FrameworkKey, Arc<str>), ExecutorMeta>,
    pub(crate) operations: BTreeMap<u64, MasterOperation>,
    pub(crate) registered_ms: u64,
    /// The number that a timer for its time-out must have.
    epoch: u32,
}

impl RegisteredAgent {
    fn new(world: &World, index: AgentIndex, id: Arc<str>, spec: Arc<AgentSpec>) -> Self {
        Self {
            index,
            id,
            spec,
            connected: true,
            active: true,
            total: Resources::new(),
            offers: BTreeSet::new(),
            inverse_offers: BTreeSet::new(),
            tasks: BTreeSet::new(),
            executors: BTreeMap::new(),
            operations: BTreeMap::new(),
            registered_ms: world.now_ms,
            epoch: 0,
        }
    }

    /// Its place in the cluster.
    #[must_use]
    pub const fn index(&self) -> AgentIndex {
        self.index
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its flags.
    #[must_use]
    pub fn spec(&self) -> &AgentSpec {
        &self.spec
    }

    /// Whether its connection stands, as far as the master knows.
    #[must_use]
    pub const fn is_connected(&self) -> bool {
        self.connected
    }

    /// Whether it is offered.
    #[must_use]
    pub const fn is_active(&self) -> bool {
        self.active
    }

    /// All that it has, with reservations and volumes.
    #[must_use]
    pub const fn total(&self) -> &Resources {
        &self.total
    }

    /// Its tasks that the master has not forgotten: framework and id.
    pub fn tasks(&self) -> impl Iterator<Item = (FrameworkKey, &str)> {
        self.tasks.iter().map(|(framework, id)| (*framework, &**id))
    }

    /// Its executors that are not a command's own.
    pub fn executors(&self) -> impl Iterator<Item = (FrameworkKey, &ExecutorMeta)> {
        self.executors.iter().map(|((framework, _), executor)| (*framework, executor))
    }

    /// The agent as Mesos writes it in its words.
    pub(super) fn description(&self) -> String {
        let (ip, port) = (ip_of(&self.spec), self.spec.port);
        format!("{} at slave(1)@{ip}:{port} ({})", self.id, self.spec.hostname)
    }

    /// When it registered.
    #[must_use]
    pub const fn registered_ms(&self) -> u64 {
        self.registered_ms
    }
}

impl Master {
    /// A message from an agent.
    pub(crate) fn handle(&mut self, world: &mut World, agent: AgentIndex, message: ToMaster) {
        match message {
            ToMaster::Register(spec, total) => self.register(world, agent, spec, &total),
            ToMaster::Reregister(message) => self.reregister(world, agent, *message),
            ToMaster::Operations(reported) => self.reported_operations(world, agent, reported),
            ToMaster::Status(message) => self.status_update(world, agent, *message),
            ToMaster::OperationStatus { operation, framework, status } => {
                self.operation_status(world, agent, operation, framework, status);
            }
            ToMaster::ExitedExecutor { framework, executor, status } => {
                self.exited_executor(world, agent, framework, &executor, status);
            }
            ToMaster::Closed => self.agent_closed(world, agent),
        }
    }

    fn register(
        &mut self,
        world: &mut World,
        index: AgentIndex,
        spec: Arc<AgentSpec>,
        total: &Resources,
    ) {
        mend(world, index);
        if self.registry.machines.get(&machine_of(&spec)) == Some(&MachineMode::Down) {
            world.send_to_agent(index, ToAgent::Shutdown);
            return;
        }
        if let Some(agent) = self.agent(index) {
            // The answer got lost.
            let id = Arc::clone(&agent.id);
            self.reconnected(world, index);
            let registered = Registered { id, unknown: Vec::new() };
            world.send_to_agent(index, ToAgent::Registered(registered));
            return;
        }
        let id: Arc<str> = format!("{}-S{}", self.id, self.next_agent).into();
        self.next_agent += 1;
        world.names.note_agent(Arc::clone(&id), index);
        self.registry.admitted.insert(Arc::clone(&id), spec.hostname.clone());
        let mut agent = RegisteredAgent::new(world, index, Arc::clone(&id), spec);
        agent.total.clone_from(total);
        self.add_agent(index, agent);
        let registered = Registered { id, unknown: Vec::new() };
        world.send_to_agent(index, ToAgent::Registered(registered));
    }

    fn add_agent(&mut self, index: AgentIndex, agent: RegisteredAgent) {
        let machine = machine_of(&agent.spec);
        let region = agent.spec.domain.as_ref().and_then(|domain| {
            let region = domain.fault_domain.as_ref()?.region.as_ref()?;
            Some(Arc::from(region.name.as_str()))
        });
        let total = agent.total.clone();
        let slot = index.0 as usize;
        if self.agents.len() <= slot {
            self.agents.resize_with(slot + 1, || None);
        }
        if let Some(entry) = self.agents.get_mut(slot) {
            *entry = Some(Box::new(agent));
        }
        let used = self.used_on(index);
        self.allocator.add_agent(index, region, &total, &used);
        if self.registry.schedule.unavailability(&machine).is_some() {
            self.allocator.update_unavailability(index, true);
        }
    }

    fn reregister(&mut self, world: &mut World, index: AgentIndex, message: Reregistration) {
        mend(world, index);
        let is_down = self.registry.machines.get(&machine_of(&message.spec));
        let is_gone = self.registry.gone.contains_key(&message.id);
        if is_gone || is_down == Some(&MachineMode::Down) {
            world.send_to_agent(index, ToAgent::Shutdown);
            return;
        }
        for framework in &message.frameworks {
            let is_new = !self.frameworks.contains_key(framework) && !self.is_completed(*framework);
            if is_new {
                self.insert_framework(world, *framework, &[], false);
            }
        }
        let completed: Vec<FrameworkKey> =
            message.frameworks.iter().copied().filter(|key| self.is_completed(*key)).collect();
        let id = Arc::clone(&message.id);
        if self.agent(index).is_some_and(|agent| agent.id == id) {
            self.reregister_known(world, index, message);
        } else {
            self.reregister_unknown(world, index, message);
        }
        for framework in completed {
            world.send_to_agent(index, ToAgent::ShutdownFramework(framework));
        }
        if let Some(drain) = self.registry.draining.get(&id) {
            let (max_grace_ms, mark_gone) = (drain.max_grace_ms, drain.mark_gone);
            world.send_to_agent(index, ToAgent::Drain { max_grace_ms, mark_gone });
        }
    }

    /// An agent that the master had not given up.
    fn reregister_known(&mut self, world: &mut World, index: AgentIndex, message: Reregistration) {
        if self.agent(index).is_some_and(|agent| agent.connected) {
            // Its connection must have broken, whether the master saw it or not.
            self.disconnect_agent(world, index);
        }
        let Some(agent) = self.agent_mut(index) else { return };
        agent.total.clone_from(&message.total);
        agent.spec = message.spec;
        self.allocator.update_agent(index, &message.total);
        let Some(agent) = self.agent(index) else { return };
        let reported: BTreeSet<(FrameworkKey, &Arc<str>)> =
            message.tasks.iter().map(|task| (task.meta.framework, &task.meta.id)).collect();
        let is_unknown =
            |(framework, id): &&(FrameworkKey, Arc<str>)| !reported.contains(&(*framework, id));
        let unknown = agent.tasks.iter().filter(is_unknown).cloned().collect();
        let executors: BTreeSet<(FrameworkKey, &Arc<str>)> =
            message.executors.iter().map(|(framework, one)| (*framework, &one.id)).collect();
        let ended: Vec<(FrameworkKey, Arc<str>)> = agent
            .executors
            .keys()
            .filter(|(framework, id)| !executors.contains(&(*framework, id)))
            .cloned()
            .collect();
        let registered = Registered { id: Arc::clone(&agent.id), unknown };
        world.send_to_agent(index, ToAgent::Registered(registered));
        for key in ended {
            self.remove_executor(world, index, &key);
        }
        for task in message.tasks.iter().filter(|task| !is_terminal(task.state)) {
            let (framework, id) = (task.meta.framework, &task.meta.id);
            let owner = self.frameworks.get(&framework);
            if owner.and_then(|owner| owner.tasks.get(id)).is_some_and(|task| task.is_killed) {
                let task = Arc::clone(id);
                let kill = ToAgent::Kill { framework, task, grace_ms: None };
                world.send_to_agent(index, kill);
            }
        }
        self.reconnected(world, index);
    }

    fn reconnected(&mut self, _world: &World, index: AgentIndex) {
        let epoch = self.new_epoch();
        let Some(agent) = self.agent_mut(index) else { return };
        agent.epoch = epoch;
        agent.connected = true;
        let id = Arc::clone(&agent.id);
        if !self.registry.deactivated.contains(&id) {
            if let Some(agent) = self.agent_mut(index) {
                agent.active = true;
            }
            self.allocator.activate_agent(index);
        }
    }

    /// An agent that was unreachable, that is known from the registry alone, or not at all.
    fn reregister_unknown(
        &mut self,
        world: &mut World,
        index: AgentIndex,
        message: Reregistration,
    ) {
        let Reregistration { id, spec, total, tasks, executors, .. } = message;
        world.names.note_agent(Arc::clone(&id), index);
        let was_recovered = self.recovered.remove(&id);
        let was_unreachable = self.registry.unreachable.remove(&id).is_some();
        let mut agent = RegisteredAgent::new(world, index, Arc::clone(&id), Arc::clone(&spec));
        agent.total = total;
        for (framework, executor) in executors {
            if !self.is_completed(framework) {
                agent.executors.insert((framework, Arc::clone(&executor.id)), executor);
            }
        }
        if !was_recovered {
            let message = if was_unreachable {
                "Unreachable agent re-reregistered"
            } else {
                "Unknown agent reregistered"
            };
            self.tell_of_return(world, &spec, &tasks, message);
        }
        for (framework, task) in self.unreachable_tasks.remove(&id).unwrap_or_default() {
            if let Some(owner) = self.frameworks.get_mut(&framework) {
                owner.unreachable.remove(&task);
            }
        }
        self.registry.admitted.insert(Arc::clone(&id), spec.hostname.clone());
        // The tasks come first, so the allocator learns who uses what at once.
        for ReportedTask { meta, state, sent, healthy, container } in tasks {
            let framework = meta.framework;
            let Some(owner) = self.frameworks.get_mut(&framework) else { continue };
            if owner.tasks.contains_key(&meta.id) {
                continue;
            }
            agent.tasks.insert((framework, Arc::clone(&meta.id)));
            let new = MasterTask::new(Arc::clone(&meta), index);
            let task = MasterTask { state, sent, healthy, container, ..new };
            owner.tasks.insert(Arc::clone(&meta.id), task);
        }
        self.add_agent(index, agent);
        if self.registry.deactivated.contains(&id) {
            self.deactivate_agent_at(world, index);
        }
        let registered = Registered { id, unknown: Vec::new() };
        world.send_to_agent(index, ToAgent::Registered(registered));
    }

    /// Frameworks learn what became of tasks that they thought lost.
    fn tell_of_return(
        &mut self,
        world: &mut World,
        spec: &AgentSpec,
        tasks: &[ReportedTask],
        message: &str,
    ) {
        let ip = ip_of(spec);
        for task in tasks {
            let meta = &task.meta;
            let Some(owner) = self.frameworks.get_mut(&meta.framework) else { continue };
            owner.unreachable.remove(&meta.id);
            let news = MasterNews {
                task: &meta.id,
                agent: Some(&meta.agent_id),
                state: task.state,
                message: message.to_owned(),
                reason: Reason::AgentReregistered,
                seconds: world.seconds(),
            };
            let mut status = news.status_of(meta);
            status.healthy = task.healthy;
            status.container_status = task.container.status(meta, &ip);
            self.send(world, meta.framework, status::update(status));
        }
    }

    /// The agent's process ended, and its connection with it.
    pub(crate) fn agent_closed(&mut self, world: &mut World, index: AgentIndex) {
        if !self.agent(index).is_some_and(|agent| agent.connected) {
            return;
        }
        self.disconnect_agent(world, index);
        self.lose_unchecked_tasks(world, index);
        self.expect_agent(world, index);
    }

    fn disconnect_agent(&mut self, world: &mut World, index: AgentIndex) {
        if let Some(agent) = self.agent_mut(index) {
            agent.connected = false;
        }
        self.deactivate_agent_at(world, index);
    }

    pub(super) fn deactivate_agent_at(&mut self, world: &mut World, index: AgentIndex) {
        if let Some(agent) = self.agent_mut(index) {
            agent.active = false;
        }
        self.allocator.deactivate_agent(index);
        self.rescind_offers_on(world, index);
    }

    /// If the agent stays away, it will be unreachable.
    pub(crate) fn expect_agent(&mut self, world: &mut World, index: AgentIndex) {
        let (master, epoch) = (self.epoch, self.new_epoch());
        if let Some(agent) = self.agent_mut(index) {
            agent.epoch = epoch;
            let after_ms = world.settings.agent_timeout_ms;
            world.set_timer(after_ms, Timer::AgentTimeout { agent: index, master, epoch });
        }
    }

    /// Pings get through again.
    pub(crate) fn stop_expecting(&mut self, index: AgentIndex) {
        let epoch = self.new_epoch();
        if let Some(agent) = self.agent_mut(index) {
            agent.epoch = epoch;
        }
    }

    pub(crate) fn agent_timeout(
        &mut self,
        world: &mut World,
        index: AgentIndex,
        (master, epoch): (u32, u32),
    ) {
        if master == self.epoch && self.agent(index).is_some_and(|agent| agent.epoch == epoch) {
            self.mark_unreachable(world, index, "health check timed out");
        }
    }

    /// Tasks of frameworks that do not checkpoint end with the agent's process.
    fn lose_unchecked_tasks(&mut self, world: &mut World, index: AgentIndex) {
        let Some(agent) = self.agent(index) else { return };
        let hostname = agent.spec.hostname.clone();
        let is_unchecked = |key: &FrameworkKey| {
            self.frameworks.get(key).is_some_and(|owner| !owner.info.checkpoint())
        };
        let tasks: Vec<_> =
            agent.tasks.iter().filter(|(key, _)| is_unchecked(key)).cloned().collect();
        let executors: Vec<_> =
            agent.executors.keys().filter(|(key, _)| is_unchecked(key)).cloned().collect();
        for (framework, id) in tasks {
            self.set_task_state(world, framework, &id, TaskState::TaskLost);
            let Some(task) = self.remove_task(world, framework, &id) else { continue };
            let news = MasterNews {
                task: &id,
                agent: Some(&task.meta.agent_id),
                state: TaskState::TaskLost,
                message: format!("Agent {hostname} disconnected"),
                reason: Reason::AgentDisconnected,
                seconds: world.seconds(),
            };
            self.send(world, framework, status::update(news.status_of(&task.meta)));
        }
        for key in executors {
            self.remove_executor(world, index, &key);
        }
    }

    pub(super) fn remove_executor(
        &mut self,
        world: &World,
        index: AgentIndex,
        key: &(FrameworkKey, Arc<str>),
    ) {
        let Some(executor) = self.agent_mut(index).and_then(|agent| agent.executors.remove(key))
        else {
            return;
        };
        self.recover(world, key.0, &executor.role, index, &executor.resources, None);
    }
}

/// A new connection: from here on, messages to the agent get through.
fn mend(world: &mut World, index: AgentIndex) {
    if let Some(link) = world.links.get_mut(index.0 as usize) {
        link.broken = false;
    }
}
