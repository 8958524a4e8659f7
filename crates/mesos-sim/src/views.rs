//! What checkers and the operators' API look at.

use crate::agent::Agent;
use crate::allocator::FrameworkKey;
use crate::interface::{AgentIndex, AgentSpec};
use crate::master::maintenance::MaintenanceSchedule;
use crate::master::{Framework, MasterTask, OperationView, RegisteredAgent};
use crate::mesos::Mesos;
use crate::registry::DrainInfo;
use crate::resources::Resources;
use crate::task::TaskMeta;
use peloton_proto::mesos::v1;
use std::collections::BTreeMap;
use std::sync::Arc;

/// An agent itself, whatever the master knows of it.
#[derive(Debug, Clone, Copy)]
pub struct AgentView<'a> {
    agent: &'a Agent,
}

impl<'a> AgentView<'a> {
    /// Its flags.
    #[must_use]
    pub fn spec(&self) -> &'a AgentSpec {
        self.agent.spec()
    }

    /// The id under which it registered last; none before the first time and after the master sent
    /// it away.
    #[must_use]
    pub fn id(&self) -> Option<&'a str> {
        self.agent.id().map(|id| &**id)
    }

    /// Whether its process runs.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        self.agent.is_alive()
    }

    /// All that it has, with the reservations and volumes on its disk.
    #[must_use]
    pub fn total(&self) -> &'a Resources {
        self.agent.total()
    }

    /// The tasks that run there, with their newest states.
    pub fn tasks(&self) -> impl Iterator<Item = (&'a TaskMeta, v1::TaskState)> {
        self.agent.running_tasks().map(|(meta, state)| (&**meta, state))
    }
}

impl Mesos {
    /// All agents, in the order in which they were added.
    pub fn agents(&self) -> impl Iterator<Item = (AgentIndex, AgentView<'_>)> {
        let numbered = (0..).map(AgentIndex).zip(&self.agents);
        numbered.map(|(index, agent)| (index, AgentView { agent }))
    }

    /// One agent.
    #[must_use]
    pub fn agent(&self, index: AgentIndex) -> Option<AgentView<'_>> {
        self.agents.get(index.0 as usize).map(|agent| AgentView { agent })
    }

    /// The agents that are registered with the master, as it knows them.
    pub fn registered_agents(&self) -> impl Iterator<Item = &RegisteredAgent> {
        self.master.iter().flat_map(|master| master.agents.iter().flatten().map(|agent| &**agent))
    }

    /// An agent as the master knows it.
    #[must_use]
    pub fn registered_agent(&self, index: AgentIndex) -> Option<&RegisteredAgent> {
        self.master.as_ref()?.agent(index)
    }

    /// An agent's place, by an id that it has or had.
    #[must_use]
    pub fn agent_index(&self, agent_id: &str) -> Option<AgentIndex> {
        self.world.names.agent(agent_id)
    }

    /// The frameworks that the master knows.
    pub fn frameworks(&self) -> impl Iterator<Item = &Framework> {
        self.master.iter().flat_map(|master| master.frameworks.values())
    }

    /// A framework by its id.
    #[must_use]
    pub fn framework(&self, framework_id: &str) -> Option<&Framework> {
        let key = self.world.names.framework_key(framework_id)?;
        self.master.as_ref()?.frameworks.get(&key)
    }

    /// The id of a framework, known to the master or not.
    #[must_use]
    pub fn framework_id(&self, framework: FrameworkKey) -> Option<&str> {
        self.world.names.framework(framework).map(|name| &*name.id)
    }

    /// The tasks that the master has not forgotten.
    pub fn tasks(&self) -> impl Iterator<Item = &MasterTask> {
        self.frameworks().flat_map(Framework::tasks)
    }

    /// A task that the master has not forgotten.
    #[must_use]
    pub fn task(&self, framework_id: &str, task_id: &str) -> Option<&MasterTask> {
        self.framework(framework_id)?.task(task_id)
    }

    /// The operations that are under way, or whose end is not acknowledged.
    pub fn operations(&self) -> impl Iterator<Item = OperationView<'_>> {
        self.master.iter().flat_map(|master| master.operations())
    }

    /// The master's own description; `None` without one.
    #[must_use]
    pub fn master_info(&self) -> Option<&v1::MasterInfo> {
        self.master.as_ref().map(|master| &master.info)
    }

    /// The agents of the registry that have not registered with this master.
    pub fn recovered_agents(&self) -> impl Iterator<Item = &str> {
        self.master.iter().flat_map(|master| master.recovered.iter().map(|id| &**id))
    }

    /// The agents that were away for too long, since when.
    pub fn unreachable_agents(&self) -> impl Iterator<Item = (&str, &v1::TimeInfo)> {
        let all = self.master.iter().flat_map(|master| &master.registry.unreachable);
        all.map(|(id, time)| (&**id, time))
    }

    /// The agents that were marked gone, since when.
    pub fn gone_agents(&self) -> impl Iterator<Item = (&str, &v1::TimeInfo)> {
        let all = self.master.iter().flat_map(|master| &master.registry.gone);
        all.map(|(id, time)| (&**id, time))
    }

    /// The agents that are drained, by id.
    #[must_use]
    pub fn draining_agents(&self) -> Option<&BTreeMap<Arc<str>, DrainInfo>> {
        self.master.as_ref().map(|master| &master.registry.draining)
    }

    /// The agents that an operator wants offered no more, those that are drained among them.
    pub fn deactivated_agents(&self) -> impl Iterator<Item = &str> {
        let registry = self.master.iter().map(|master| &master.registry);
        registry.flat_map(|one| one.deactivated.iter().chain(one.draining.keys())).map(|id| &**id)
    }

    /// What is offered: to whom, on which agent, and what.
    pub fn offered(&self) -> impl Iterator<Item = (FrameworkKey, AgentIndex, &Resources)> {
        self.master.iter().flat_map(|master| master.offered())
    }

    /// The frameworks that were removed and are remembered, the oldest first.
    pub fn completed_frameworks(&self) -> impl Iterator<Item = &v1::FrameworkInfo> {
        let keys = self.master.iter().flat_map(|master| master.completed());
        keys.filter_map(|key| self.world.names.framework(key)).map(|name| &*name.info)
    }

    /// The planned maintenance.
    #[must_use]
    pub fn maintenance_schedule(&self) -> Option<&MaintenanceSchedule> {
        self.master.as_ref().map(|master| &master.registry.schedule)
    }
}
