//! Who is offered what: Mesos's hierarchical allocator by dominant-resource fairness.
//!
//! Reserved resources go to their role or to a role below it, all others to whoever has the smallest
//! share. Some events allocate at once (a new agent or framework, `REVIVE`), all others wait for the
//! next batch, which looks at all agents. What a framework refused is not offered to it again for a
//! while.
//!
//! Rounds have to be cheap with 50,000 agents of which hardly any has news. Whether anybody takes
//! something of an agent depends on the agent's resources, on the filters there, and on who wants
//! offers; never on fair shares, which only decide who is first. So an agent of which nobody took
//! anything is settled: it is looked at again when its resources change or a filter there ends, and by
//! a framework that begins to want offers. For a settled agent, only that framework is looked at.
//!
//! Left out are quotas, weights of roles, the whitelist of agents, offer constraints and
//! oversubscription; agents are taken to have all capabilities of Mesos 1.11.

mod agent;
mod roles;
mod round;
mod types;

pub use types::{
    Allocation, AllocatorSettings, Capabilities, FrameworkKey, FrameworkOptions, InverseAllocation,
    Round, refuse_ms,
};

use crate::AgentIndex;
use crate::operations::{Conversion, apply_all};
use crate::resources::{Quantities, Resources};
use agent::{Agent, Filter, InverseFilter};
use roles::{Charge, RoleId, Roles};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A framework that the allocator knows.
#[derive(Debug)]
struct Framework {
    options: FrameworkOptions,
    active: bool,
}

/// The allocator. It knows time only from what it is told; nothing is offered but by
/// [`Allocator::allocate`].
#[derive(Debug)]
pub struct Allocator {
    settings: AllocatorSettings,
    random: u64,
    next_batch_ms: u64,
    frameworks: BTreeMap<FrameworkKey, Framework>,
    roles: Roles,
    /// By [`AgentIndex`].
    agents: Vec<Option<Agent>>,
    /// To be allocated at once: some agents, or all.
    candidates: BTreeSet<AgentIndex>,
    all_are_candidates: bool,
    /// Agents whose resources or filters changed since they were looked at.
    unsettled: BTreeSet<AgentIndex>,
    /// Frameworks in roles that want more offers than when agents were looked at.
    woken: BTreeSet<(RoleId, FrameworkKey)>,
    /// When filters end that hid something.
    rechecks: BTreeSet<(u64, AgentIndex)>,
    /// Agents with an unavailability.
    unavailable: BTreeSet<AgentIndex>,
}

impl Allocator {
    /// An allocator without agents and frameworks, whose first batch is one interval after `now_ms`.
    #[must_use]
    pub fn new(settings: AllocatorSettings, now_ms: u64) -> Self {
        Self {
            // Zero is the one state that the generator would not leave.
            random: settings.seed | 1 << 63,
            next_batch_ms: now_ms.saturating_add(settings.allocation_interval_ms),
            settings,
            frameworks: BTreeMap::new(),
            roles: Roles::default(),
            agents: Vec::new(),
            candidates: BTreeSet::new(),
            all_are_candidates: false,
            unsettled: BTreeSet::new(),
            woken: BTreeSet::new(),
            rechecks: BTreeSet::new(),
            unavailable: BTreeSet::new(),
        }
    }

    /// Adds a framework, and allocates at once if it is active. What it has on agents is known from
    /// them.
    pub fn add_framework(
        &mut self,
        framework: FrameworkKey,
        options: FrameworkOptions,
        active: bool,
    ) {
        self.frameworks.insert(framework, Framework { options, active });
        self.subscribe(framework);
        for at in 0..self.agents.len() {
            let Some(Some(agent)) = self.agents.get_mut(at) else { continue };
            if agent.used.iter().any(|used| used.framework == framework) {
                let used = std::mem::take(&mut agent.used);
                let (mine, others) = used.into_iter().partition(|one| one.framework == framework);
                agent.used = others;
                let mine: Vec<agent::Use> = mine;
                for one in mine {
                    self.charge_new(index(at), framework, one.role, &one.resources);
                    if let Some(Some(agent)) = self.agents.get_mut(at) {
                        agent.used.push(one);
                    }
                }
            }
        }
        self.all_are_candidates |= active;
    }

    /// Removes a framework; all that it has is available again, with the next allocation.
    pub fn remove_framework(&mut self, framework: FrameworkKey) {
        for at in 0..self.agents.len() {
            let Some(Some(agent)) = self.agents.get_mut(at) else { continue };
            agent.inverse_filters.retain(|filter| filter.framework != framework);
            if let Some(asked) = &mut agent.asked {
                asked.remove(&framework);
            }
            let mine = agent.used.iter().filter(|used| used.framework == framework);
            for (role, resources) in
                Vec::from_iter(mine.map(|one| (one.role, one.resources.clone())))
            {
                self.give_back(index(at), framework, role, &resources);
            }
        }
        if let Some(entry) = self.frameworks.remove(&framework) {
            for role in &entry.options.roles {
                let role = self.roles.make(role);
                self.roles.subscribe(role, framework, false, false);
            }
        }
    }

    /// Lets a framework get offers, and allocates at once.
    pub fn activate_framework(&mut self, framework: FrameworkKey) {
        if let Some(entry) = self.frameworks.get_mut(&framework) {
            entry.active = true;
            self.subscribe(framework);
            self.all_are_candidates = true;
        }
    }

    /// Stops offers to a framework and forgets its filters; what it has stays its own.
    pub fn deactivate_framework(&mut self, framework: FrameworkKey) {
        if let Some(entry) = self.frameworks.get_mut(&framework) {
            entry.active = false;
            self.drop_filters(framework, |_| true);
            self.drop_inverse_filters(framework);
            self.subscribe(framework);
        }
    }

    /// Changes roles, suppressed roles and capabilities, from the next allocation on. Filters of
    /// roles that are left or revived are removed.
    pub fn update_framework(&mut self, framework: FrameworkKey, options: FrameworkOptions) {
        let Some(entry) = self.frameworks.get_mut(&framework) else { return };
        let old = std::mem::replace(&mut entry.options, options.clone());
        let revived =
            |role: &Arc<str>| old.suppressed.contains(role) && !options.suppressed.contains(role);
        self.drop_filters(framework, |role| revived(role) || !options.roles.contains(role));
        if options.roles.iter().any(revived) {
            self.drop_inverse_filters(framework);
        }
        for role in old.roles.difference(&options.roles) {
            let role = self.roles.make(role);
            self.roles.drop_filters(role, framework);
            self.roles.subscribe(role, framework, false, false);
        }
        self.subscribe(framework);
        // It may take now what it did not want before.
        for role in &options.roles {
            let role = self.roles.make(role);
            self.woken.insert((role, framework));
        }
    }

    /// Tells the roles of a framework whether it wants offers.
    fn subscribe(&mut self, framework: FrameworkKey) {
        let Some(entry) = self.frameworks.get(&framework) else { return };
        for path in &entry.options.roles {
            let role = self.roles.make(path);
            let wants = entry.active && !entry.options.suppressed.contains(path);
            self.roles.join(role, framework, &entry.options.id);
            if self.roles.subscribe(role, framework, true, wants) {
                self.woken.insert((role, framework));
            }
        }
    }

    /// Makes a framework's filters for some of its roles void.
    fn drop_filters(&mut self, framework: FrameworkKey, of: impl Fn(&Arc<str>) -> bool) {
        let Some(entry) = self.frameworks.get(&framework) else { return };
        for path in entry.options.roles.iter().filter(|path| of(path)) {
            let role = self.roles.make(path);
            self.roles.drop_filters(role, framework);
            self.woken.insert((role, framework));
        }
    }

    fn drop_inverse_filters(&mut self, framework: FrameworkKey) {
        for agent in &self.unavailable {
            if let Some(Some(agent)) = self.agents.get_mut(agent.0 as usize) {
                agent.inverse_filters.retain(|filter| filter.framework != framework);
            }
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
        self.remove_agent(agent);
        let at = agent.0 as usize;
        if self.agents.len() <= at {
            self.agents.resize_with(at + 1, || None);
        }
        if let Some(place) = self.agents.get_mut(at) {
            *place = Some(Agent::new(total, region));
        }
        let quantities = Quantities::of_scalars(total);
        self.roles.change_total(|all| all.add(&quantities));
        for (framework, role, resources) in used {
            let role = self.roles.make(role);
            self.charge_new(agent, *framework, role, resources);
            if let Some(agent) = self.agent_mut(agent) {
                agent.take(*framework, role, resources);
            }
        }
        if let Some(agent) = self.agent_mut(agent) {
            agent.refresh();
        }
        self.unsettled.insert(agent);
        self.candidates.insert(agent);
    }

    /// Removes an agent, with all that is used there and its filters.
    pub fn remove_agent(&mut self, agent: AgentIndex) {
        let Some(Some(_)) = self.agents.get(agent.0 as usize) else { return };
        loop {
            let first = self.agent(agent).and_then(|agent| agent.used.first());
            let Some(one) = first else { break };
            let (framework, role, resources) = (one.framework, one.role, one.resources.clone());
            self.give_back(agent, framework, role, &resources);
        }
        if let Some(removed) = self.agents.get_mut(agent.0 as usize).and_then(Option::take) {
            let quantities = Quantities::of_scalars(&removed.total);
            self.roles.change_total(|all| all.subtract(&quantities));
            if let Some(at_ms) = removed.recheck_ms {
                self.rechecks.remove(&(at_ms, agent));
            }
        }
        self.candidates.remove(&agent);
        self.unsettled.remove(&agent);
        self.unavailable.remove(&agent);
    }

    /// Lets an agent be offered again, from the next batch on.
    pub fn activate_agent(&mut self, agent: AgentIndex) {
        if let Some(entry) = self.agent_mut(agent) {
            entry.active = true;
            self.unsettled.insert(agent);
        }
    }

    /// Offers an agent no more; what is used there stays so.
    pub fn deactivate_agent(&mut self, agent: AgentIndex) {
        if let Some(entry) = self.agent_mut(agent) {
            entry.active = false;
        }
    }

    /// An agent has other resources; it is allocated at once if they differ.
    pub fn update_agent(&mut self, agent: AgentIndex, total: &Resources) {
        if self.set_total(agent, total) {
            self.candidates.insert(agent);
        }
    }

    fn set_total(&mut self, agent: AgentIndex, total: &Resources) -> bool {
        let Some(entry) = self.agent_mut(agent) else { return false };
        if entry.total == *total {
            return false;
        }
        let (old, new) = (Quantities::of_scalars(&entry.total), Quantities::of_scalars(total));
        entry.set_total(total);
        self.roles.change_total(|all| {
            all.subtract(&old);
            all.add(&new);
        });
        self.unsettled.insert(agent);
        true
    }

    /// An agent's attributes changed: its filters are removed, and it is allocated at once.
    pub fn agent_attributes_changed(&mut self, agent: AgentIndex) {
        if let Some(entry) = self.agent_mut(agent) {
            entry.filters.clear();
            entry.inverse_filters.clear();
            self.unsettled.insert(agent);
            self.candidates.insert(agent);
        }
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
        let unknown = || format!("Agent {} or role {role} is not known", agent.0);
        let id = self.roles.get(role).ok_or_else(unknown)?;
        let updated = apply_all(offered, conversions, Some(role))?;
        let entry = self.agent_mut(agent).ok_or_else(unknown)?;
        let has = entry.used_by(framework, id).is_some_and(|has| has.resources.contains(offered));
        if !has {
            return Err(format!("{} is not allocated", offered.display(Some(role))));
        }
        // More copies of what is shared are no change of the total.
        let in_total: Vec<_> =
            conversions.iter().filter(|one| !one.consumed.is_empty()).cloned().collect();
        let total = apply_all(&entry.total, &in_total, None)?;
        let (before, after) = (Quantities::of_scalars(offered), Quantities::of_scalars(&updated));
        if before == after && offered.shared().is_empty() && updated.shared().is_empty() {
            entry.convert(framework, id, (offered, &updated), total);
        } else {
            self.recharge(agent, framework, id, (offered, &updated), &total);
        }
        Ok(())
    }

    /// The longer way of a conversion, for what is shared or changes in quantity: all is given back
    /// and taken anew.
    fn recharge(
        &mut self,
        agent: AgentIndex,
        framework: FrameworkKey,
        role: RoleId,
        (from, to): (&Resources, &Resources),
        total: &Resources,
    ) {
        if !to.is_empty() {
            // Holds the framework's place while it has nothing.
            self.roles.change_agents(role, framework, 1);
        }
        self.give_back(agent, framework, role, from);
        self.set_total(agent, total);
        if !to.is_empty() {
            self.charge(agent, framework, role, to, false, false);
            let kept = self.agent_mut(agent).is_some_and(|agent| {
                let is_new = agent.take(framework, role, to);
                agent.refresh();
                !is_new
            });
            if kept {
                self.roles.change_agents(role, framework, -1);
            }
        }
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
        let unknown = || format!("Agent {} is not known", agent.0);
        let entry = self.agent_mut(agent).ok_or_else(unknown)?;
        apply_all(&entry.available, conversions, None)?;
        let total = apply_all(&entry.total, conversions, None)?;
        self.set_total(agent, &total);
        Ok(())
    }

    /// A framework gives resources back: an offer was declined, rescinded or not used up, or a task
    /// ended. They are available at once, and offered with the next allocation, but with `refuse_ms`
    /// (see [`refuse_ms`]) not to the same framework and role before that time is over, and an
    /// interval of allocation. False if the framework does not have them, which changes nothing.
    pub fn recover(
        &mut self,
        framework: FrameworkKey,
        role: &str,
        agent: AgentIndex,
        resources: &Resources,
        refuse_ms: Option<u64>,
        now_ms: u64,
    ) -> bool {
        let Some(role) = self.roles.get(role) else { return false };
        // Of that moment, as the framework may leave the role with this.
        let epoch = self.roles.epoch(role, framework);
        if resources.is_empty() || !self.give_back(agent, framework, role, resources) {
            return resources.is_empty();
        }
        let interval_ms = self.settings.allocation_interval_ms;
        if let (Some(refuse_ms @ 1..), Some(epoch)) = (refuse_ms, epoch)
            && let Some(agent) = self.agent_mut(agent)
        {
            // A filter outlives the next batch, or it would have no effect.
            let until_ms = now_ms.saturating_add(refuse_ms.max(interval_ms));
            let resources = resources.clone();
            agent.filters.push(Filter { framework, role, resources, until_ms, epoch });
        }
        true
    }

    /// Stops offers for roles; none given means all of the framework's.
    pub fn suppress(&mut self, framework: FrameworkKey, roles: &[&str]) {
        let Some(entry) = self.frameworks.get_mut(&framework) else { return };
        let options = &mut entry.options;
        let of = |role: &&Arc<str>| roles.is_empty() || roles.contains(&&***role);
        options.suppressed.extend(options.roles.iter().filter(of).cloned());
        self.subscribe(framework);
    }

    /// Ends suppression and removes filters of roles (none given means all), and allocates at once.
    pub fn revive(&mut self, framework: FrameworkKey, roles: &[&str]) {
        let Some(entry) = self.frameworks.get_mut(&framework) else { return };
        let of = |role: &Arc<str>| roles.is_empty() || roles.contains(&&**role);
        entry.options.suppressed.retain(|role| !of(role));
        self.drop_filters(framework, of);
        self.drop_inverse_filters(framework);
        self.subscribe(framework);
        self.all_are_candidates = true;
    }

    /// An agent will be unavailable from a time on, or no longer: frameworks with something there
    /// get inverse offers, at once. Earlier answers are forgotten.
    pub fn update_unavailability(&mut self, agent: AgentIndex, unavailable: bool) {
        let Some(entry) = self.agent_mut(agent) else { return };
        entry.inverse_filters.clear();
        entry.asked = unavailable.then(BTreeSet::new);
        if unavailable {
            self.unavailable.insert(agent);
        } else {
            self.unavailable.remove(&agent);
        }
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
        let Some(entry) = self.agent_mut(agent) else { return };
        if let Some(asked) = &mut entry.asked {
            asked.remove(&framework);
        }
        if let Some(refuse_ms @ 1..) = refuse_ms {
            let until_ms = now_ms.saturating_add(refuse_ms);
            entry.inverse_filters.push(InverseFilter { framework, until_ms });
        }
    }

    /// What could be offered of an agent, to whomever.
    #[must_use]
    pub fn available(&self, agent: AgentIndex) -> Option<&Resources> {
        self.agent(agent).map(|agent| &agent.available)
    }

    /// All that an agent has, by what was told of it and converted on it.
    #[must_use]
    pub fn total(&self, agent: AgentIndex) -> Option<&Resources> {
        self.agent(agent).map(|agent| &agent.total)
    }

    /// What a framework has on an agent for a role, offered or allocated.
    #[must_use]
    pub fn allocated(
        &self,
        framework: FrameworkKey,
        role: &str,
        agent: AgentIndex,
    ) -> Option<&Resources> {
        let role = self.roles.get(role)?;
        self.agent(agent)?.used_by(framework, role).map(|used| &used.resources)
    }

    fn agent(&self, agent: AgentIndex) -> Option<&Agent> {
        self.agents.get(agent.0 as usize)?.as_ref()
    }

    fn agent_mut(&mut self, agent: AgentIndex) -> Option<&mut Agent> {
        self.agents.get_mut(agent.0 as usize)?.as_mut()
    }

    /// Takes resources back from a framework, and accounts for it.
    fn give_back(
        &mut self,
        agent: AgentIndex,
        framework: FrameworkKey,
        role: RoleId,
        resources: &Resources,
    ) -> bool {
        let Some(entry) = self.agent_mut(agent) else { return false };
        let Some(nothing_left) = entry.give_back(framework, role, resources) else { return false };
        self.charge(agent, framework, role, resources, true, false);
        if nothing_left {
            self.roles.change_agents(role, framework, -1);
        }
        self.unsettled.insert(agent);
        true
    }

    /// Accounts for something on an agent that a known framework has already and that is not in the
    /// agent's list of uses yet.
    fn charge_new(
        &mut self,
        agent: AgentIndex,
        framework: FrameworkKey,
        role: RoleId,
        resources: &Resources,
    ) {
        let Some(entry) = self.frameworks.get(&framework) else { return };
        self.roles.join(role, framework, &entry.options.id);
        if self.agent(agent).is_some_and(|agent| agent.used_by(framework, role).is_none()) {
            self.roles.change_agents(role, framework, 1);
        }
        self.charge(agent, framework, role, resources, false, true);
    }

    /// Accounts for resources that are not in the agent's list of uses yet, or no longer.
    fn charge(
        &mut self,
        agent: AgentIndex,
        framework: FrameworkKey,
        role: RoleId,
        resources: &Resources,
        give_back: bool,
        chosen: bool,
    ) {
        if !self.frameworks.contains_key(&framework) {
            return;
        }
        let quantities = Quantities::of_scalars(&resources.non_shared());
        let shared = self.shared_levels(agent, framework, role, resources);
        let charge = Charge { quantities: &quantities, shared: &shared, give_back, chosen };
        self.roles.charge(role, framework, &charge);
    }

    /// A shared resource counts once on an agent, at each level of the tree.
    fn shared_levels(
        &self,
        agent: AgentIndex,
        framework: FrameworkKey,
        role: RoleId,
        resources: &Resources,
    ) -> Vec<Quantities> {
        let Some(agent) = self.agent(agent) else { return Vec::new() };
        if !resources.iter().any(|resource| resource.kind().is_shared()) {
            return Vec::new();
        }
        let mut levels = vec![
            agent.shared_beyond(resources, |used| used.framework == framework && used.role == role),
            agent.shared_beyond(resources, |used| used.role == role),
        ];
        for above in self.roles.with_ancestors(role) {
            let below = |one: RoleId| self.roles.with_ancestors(one).any(|role| role == above);
            levels.push(agent.shared_beyond(resources, |used| below(used.role)));
        }
        levels
    }
}

/// The inverse of `AgentIndex.0 as usize`, for places in the list of agents.
fn index(at: usize) -> AgentIndex {
    AgentIndex(u32::try_from(at).unwrap_or(u32::MAX))
}
