//! Who is offered what: Mesos's hierarchical allocator by dominant-resource fairness.

mod types;

pub use types::{
    Allocation, AllocatorSettings, Capabilities, FrameworkKey, FrameworkOptions, InverseAllocation,
    Round, refuse_ms,
};

use crate::AgentIndex;
use crate::operations::Conversion;
use crate::resources::Resources;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The allocator. It knows time only from what it is told; nothing is offered but by
/// [`Allocator::allocate`].
#[derive(Debug)]
pub struct Allocator {
    settings: AllocatorSettings,
    next_batch_ms: u64,
    candidates: BTreeSet<AgentIndex>,
    frameworks: BTreeMap<FrameworkKey, (FrameworkOptions, bool)>,
    agents: BTreeMap<AgentIndex, Resources>,
}

impl Allocator {
    /// An allocator without agents and frameworks, whose first batch is one interval after `now_ms`.
    #[must_use]
    pub fn new(settings: AllocatorSettings, now_ms: u64) -> Self {
        Self {
            next_batch_ms: now_ms + settings.allocation_interval_ms,
            settings,
            candidates: BTreeSet::new(),
            frameworks: BTreeMap::new(),
            agents: BTreeMap::new(),
        }
    }

    /// Adds a framework. What it has on agents that are known already is `used`, by role. An active
    /// one is allocated to at once.
    pub fn add_framework(
        &mut self,
        framework: FrameworkKey,
        options: FrameworkOptions,
        active: bool,
        used: &[(AgentIndex, Arc<str>, Resources)],
    ) {
        self.frameworks.insert(framework, (options, active));
        let _ = used;
        self.candidates.extend(self.agents.keys());
    }

    /// Removes a framework; all that it has is available again.
    pub fn remove_framework(&mut self, framework: FrameworkKey) {
        self.frameworks.remove(&framework);
    }

    /// Lets a framework get offers, at once.
    pub fn activate_framework(&mut self, framework: FrameworkKey) {
        if let Some(entry) = self.frameworks.get_mut(&framework) {
            entry.1 = true;
        }
        self.candidates.extend(self.agents.keys());
    }

    /// Stops offers to a framework and forgets its filters; what it has stays its own.
    pub fn deactivate_framework(&mut self, framework: FrameworkKey) {
        if let Some(entry) = self.frameworks.get_mut(&framework) {
            entry.1 = false;
        }
    }

    /// Changes roles, suppressed roles, capabilities. Takes effect with the next allocation.
    pub fn update_framework(&mut self, framework: FrameworkKey, options: FrameworkOptions) {
        if let Some(entry) = self.frameworks.get_mut(&framework) {
            entry.0 = options;
        }
    }

    /// Adds an agent and allocates it at once. `used` is what frameworks have on it, by role; of a
    /// framework that is not known yet, too.
    pub fn add_agent(
        &mut self,
        agent: AgentIndex,
        region: Option<Arc<str>>,
        total: &Resources,
        used: &[(FrameworkKey, Arc<str>, Resources)],
    ) {
        let _ = (region, used);
        self.agents.insert(agent, total.clone());
        self.candidates.insert(agent);
    }

    /// Removes an agent, all that is used there, and its filters.
    pub fn remove_agent(&mut self, agent: AgentIndex) {
        self.agents.remove(&agent);
    }

    /// Lets an agent be offered again, from the next batch on.
    pub fn activate_agent(&mut self, agent: AgentIndex) {
        let _ = agent;
    }

    /// Offers an agent no more; what is used there stays so.
    pub fn deactivate_agent(&mut self, agent: AgentIndex) {
        let _ = agent;
    }

    /// An agent has other resources; it is allocated at once if they differ.
    pub fn update_agent(&mut self, agent: AgentIndex, total: &Resources) {
        self.agents.insert(agent, total.clone());
        self.candidates.insert(agent);
    }

    /// An agent's attributes changed: its filters are removed, and it is allocated at once.
    pub fn agent_attributes_changed(&mut self, agent: AgentIndex) {
        self.candidates.insert(agent);
    }

    /// A framework's operations changed what it was offered: `offered` becomes what `conversions`
    /// make of it, in the framework's allocation and in the agent's total.
    ///
    /// # Errors
    ///
    /// In Mesos's words, if a conversion consumes what is not there; nothing is changed then.
    pub fn update_allocation(
        &mut self,
        framework: FrameworkKey,
        role: &str,
        agent: AgentIndex,
        offered: &Resources,
        conversions: &[Conversion],
    ) -> Result<(), String> {
        let _ = (framework, role, agent, offered, conversions);
        Ok(())
    }

    /// An operator's operation changes what is available on an agent.
    ///
    /// # Errors
    ///
    /// In Mesos's words, if a conversion consumes what is not available; nothing is changed then.
    pub fn update_available(
        &mut self,
        agent: AgentIndex,
        conversions: &[Conversion],
    ) -> Result<(), String> {
        let _ = (agent, conversions);
        Ok(())
    }

    /// A framework gives resources back: an offer was declined, rescinded or not used up, or a task
    /// ended. With `refuse_ms` (see [`refuse_ms`]) they are not offered to the same framework and
    /// role for so long. They are available at once, and offered with the next allocation.
    pub fn recover(
        &mut self,
        framework: FrameworkKey,
        role: &str,
        agent: AgentIndex,
        resources: &Resources,
        refuse_ms: Option<u64>,
        now_ms: u64,
    ) {
        let _ = (framework, role, refuse_ms, now_ms);
        if let Some(total) = self.agents.get_mut(&agent) {
            total.add(resources);
        }
    }

    /// Stops offers for roles; none given means all of the framework's.
    pub fn suppress(&mut self, framework: FrameworkKey, roles: &[&str]) {
        let _ = (framework, roles);
    }

    /// Ends suppression and removes filters of roles (none given means all), and allocates at once.
    pub fn revive(&mut self, framework: FrameworkKey, roles: &[&str]) {
        let _ = (framework, roles);
        self.candidates.extend(self.agents.keys());
    }

    /// An agent will be unavailable from a time on, or no longer: frameworks with something there
    /// get inverse offers, at once.
    pub fn update_unavailability(&mut self, agent: AgentIndex, unavailable: bool) {
        let _ = unavailable;
        self.candidates.insert(agent);
    }

    /// An inverse offer is no longer outstanding: it was answered, or rescinded. With `refuse_ms`
    /// there is no other for so long.
    pub fn recover_inverse_offer(
        &mut self,
        framework: FrameworkKey,
        agent: AgentIndex,
        refuse_ms: Option<u64>,
        now_ms: u64,
    ) {
        let _ = (framework, agent, refuse_ms, now_ms);
    }

    /// Whether something waits to be allocated at once.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        !self.candidates.is_empty()
    }

    /// When [`Allocator::allocate`] wants to be called next, if nothing happens before.
    #[must_use]
    pub fn next_wake_ms(&self) -> u64 {
        if self.is_pending() { 0 } else { self.next_batch_ms }
    }

    /// Allocates what waits, and all agents if the batch is due. What comes out is taken from what
    /// is available: it is offered, or recovered.
    pub fn allocate(&mut self, now_ms: u64) -> Round {
        if now_ms >= self.next_batch_ms {
            self.next_batch_ms = now_ms + self.settings.allocation_interval_ms;
            self.candidates.extend(self.agents.keys());
        }
        let mut round = Round::default();
        let active = self.frameworks.iter().find(|(_, entry)| entry.1);
        let role = active.and_then(|(_, entry)| entry.0.roles.first());
        let (Some((framework, _)), Some(role)) = (active, role) else { return round };
        for agent in std::mem::take(&mut self.candidates) {
            let Some(total) = self.agents.get_mut(&agent) else { continue };
            let resources = total.allocatable_to(role);
            total.subtract(&resources);
            if !resources.is_empty() {
                let (framework, role) = (*framework, Arc::clone(role));
                round.offers.push(Allocation { framework, role, agent, resources });
            }
        }
        round
    }
}
