//! One allocation: which agents are looked at, and who gets what of them.

use super::agent::Filter;
use super::roles::RoleId;
use super::types::{
    Allocation, Capabilities, FrameworkKey, FrameworkOptions, InverseAllocation, Round,
};
use super::{Allocator, index};
use crate::AgentIndex;
use crate::resources::{Quantities, Resource, Resources};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Who is looked at for an agent.
enum Who<'a> {
    /// All: the agent's resources or filters changed.
    All,
    /// Those who want more offers than before: nobody else took anything.
    Only(&'a BTreeSet<(RoleId, FrameworkKey)>),
}

impl Allocator {
    /// Whether something waits to be allocated at once.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.all_are_candidates || !self.candidates.is_empty()
    }

    /// When [`Allocator::allocate`] wants to be called next, if nothing happens before: 0 is now.
    #[must_use]
    pub fn next_wake_ms(&self) -> u64 {
        if self.is_pending() { 0 } else { self.next_batch_ms }
    }

    /// Allocates what waits, and all agents if the batch is due. What comes out is the framework's
    /// until it is recovered.
    pub fn allocate(&mut self, now_ms: u64) -> Round {
        if now_ms >= self.next_batch_ms {
            self.next_batch_ms = now_ms.saturating_add(self.settings.allocation_interval_ms.max(1));
            self.all_are_candidates = true;
        }
        let mut round = Round::default();
        if !self.is_pending() {
            return round;
        }
        let all = std::mem::take(&mut self.all_are_candidates);
        let candidates = std::mem::take(&mut self.candidates);
        self.end_filters(now_ms);
        let woken = std::mem::take(&mut self.woken);
        for (agent, settled) in self.work(all, &candidates, !woken.is_empty()) {
            let who = if settled { Who::Only(&woken) } else { Who::All };
            self.allocate_agent(agent, &who, now_ms, &mut round.offers);
        }
        if !all {
            self.woken = woken;
        }
        let unavailable: Vec<_> = if all {
            self.unavailable.iter().copied().collect()
        } else {
            candidates.intersection(&self.unavailable).copied().collect()
        };
        for agent in unavailable {
            self.ask_back(agent, now_ms, &mut round.inverse_offers);
        }
        round
    }

    /// Agents on which a filter ended that hid something are looked at again.
    fn end_filters(&mut self, now_ms: u64) {
        while let Some(&(until_ms, agent)) = self.rechecks.first()
            && until_ms < now_ms
        {
            self.rechecks.pop_first();
            if let Some(entry) = self.agent_mut(agent) {
                entry.recheck_ms = None;
                self.unsettled.insert(agent);
            }
        }
    }

    /// The agents to look at, in random order, and whether each is settled.
    fn work(
        &mut self,
        all: bool,
        candidates: &BTreeSet<AgentIndex>,
        anybody_woken: bool,
    ) -> Vec<(AgentIndex, bool)> {
        let mut work = Vec::new();
        let unsettled = if all {
            std::mem::take(&mut self.unsettled)
        } else {
            let now: BTreeSet<_> = candidates.intersection(&self.unsettled).copied().collect();
            self.unsettled.retain(|agent| !now.contains(agent));
            now
        };
        if anybody_woken && all {
            work.extend((0..self.agents.len()).map(|at| (index(at), true)));
        } else if anybody_woken {
            work.extend(candidates.iter().map(|agent| (*agent, true)));
        } else {
            work.extend(unsettled.iter().map(|agent| (*agent, false)));
        }
        for (agent, settled) in &mut work {
            *settled = *settled && !unsettled.contains(agent);
        }
        work.retain(|(agent, _)| {
            self.agent(*agent).is_some_and(|agent| agent.active && !agent.available.is_empty())
        });
        for at in (1..work.len()).rev() {
            let other = self.random_below(at as u64 + 1);
            work.swap(at, other);
        }
        work
    }

    /// Marsaglia's xorshift, which is random enough for an order.
    fn random_below(&mut self, bound: u64) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random % bound) as usize
    }

    /// Gives of one agent to each in turn who may have and wants it.
    fn allocate_agent(
        &mut self,
        agent: AgentIndex,
        who: &Who<'_>,
        now_ms: u64,
        offers: &mut Vec<Allocation>,
    ) {
        let turns: Vec<_> = match who {
            Who::All => self.roles.order().to_vec(),
            Who::Only(some) => {
                self.roles.order().iter().filter(|turn| some.contains(turn)).copied().collect()
            }
        };
        self.drop_void_filters(agent, now_ms);
        let mut offered_shared = Resources::new();
        let mut recheck_ms = None;
        for (role, framework) in turns {
            let Some(entry) = self.agent(agent) else { return };
            if entry.available.is_empty() {
                break;
            }
            let path = self.roles.path(role);
            let Some(resources) = self.offerable(agent, framework, &path, &offered_shared) else {
                continue;
            };
            if let Some(until_ms) = hidden_until(&entry.filters, framework, role, &resources) {
                recheck_ms = Some(recheck_ms.map_or(until_ms, |other: u64| other.min(until_ms)));
                continue;
            }
            self.charge_new(agent, framework, role, &resources);
            if let Some(entry) = self.agent_mut(agent) {
                entry.take(framework, role, &resources);
            }
            let shared = resources.shared();
            if !shared.is_empty() {
                offered_shared.add(&shared);
                // What is shared is there for the next batch again.
                self.unsettled.insert(agent);
            }
            offers.push(Allocation { framework, role: path, agent, resources });
        }
        self.recheck(agent, recheck_ms, matches!(who, Who::All));
    }

    fn drop_void_filters(&mut self, agent: AgentIndex, now_ms: u64) {
        let Some(Some(entry)) = self.agents.get_mut(agent.0 as usize) else { return };
        entry.filters.retain(|filter| {
            now_ms <= filter.until_ms
                && self.roles.epoch(filter.role, filter.framework) == Some(filter.epoch)
        });
    }

    /// What a framework could be offered of an agent, if it is enough to be worth it.
    fn offerable(
        &self,
        agent: AgentIndex,
        framework: FrameworkKey,
        role: &Arc<str>,
        offered_shared: &Resources,
    ) -> Option<Resources> {
        let agent = self.agent(agent)?;
        let options = &self.frameworks.get(&framework)?.options;
        let can = options.capabilities;
        let is_remote = agent.region.is_some() && agent.region != self.settings.region;
        if (agent.has_gpus && !can.gpu_resources) || (is_remote && !can.region_aware) {
            return None;
        }
        let ignores = self.settings.ignores_reservations;
        let may_have = |resource: &Resource| {
            understands(can, resource)
                && (ignores || resource.kind().is_allocatable_to(role))
                && !(resource.kind().is_shared() && offered_shared.contains_one(&resource.single()))
        };
        let least = self.least(options, role);
        is_enough(&agent.available, &may_have, least).then(|| agent.available.filter(may_have))
    }

    fn least<'a>(&'a self, options: &'a FrameworkOptions, role: &str) -> &'a [Quantities] {
        options.min_allocatable.get(role).unwrap_or(&self.settings.min_allocatable)
    }

    /// Notes when an agent is to be looked at again because of filters. Looking at some frameworks
    /// only leaves what others wait for.
    fn recheck(&mut self, agent: AgentIndex, at_ms: Option<u64>, replaces: bool) {
        let Some(entry) = self.agent_mut(agent) else { return };
        let old = entry.recheck_ms;
        let new = match (old, at_ms) {
            (Some(old), Some(at_ms)) if !replaces => Some(old.min(at_ms)),
            (Some(old), None) if !replaces => Some(old),
            _ => at_ms,
        };
        entry.recheck_ms = new;
        if old != new {
            if let Some(old) = old {
                self.rechecks.remove(&(old, agent));
            }
            self.rechecks.extend(new.map(|new| (new, agent)));
        }
    }

    /// Asks the frameworks on an agent with an unavailability to leave it, unless they have been
    /// asked.
    fn ask_back(
        &mut self,
        index: AgentIndex,
        now_ms: u64,
        inverse_offers: &mut Vec<InverseAllocation>,
    ) {
        let Some(Some(agent)) = self.agents.get_mut(index.0 as usize) else { return };
        agent.inverse_filters.retain(|filter| now_ms <= filter.until_ms);
        let there: BTreeSet<_> = agent.used.iter().map(|used| used.framework).collect();
        let Some(asked) = &mut agent.asked else { return };
        for framework in there {
            let is_active = self.frameworks.get(&framework).is_some_and(|entry| entry.active);
            let mut filters = agent.inverse_filters.iter();
            if is_active
                && !filters.any(|filter| filter.framework == framework)
                && asked.insert(framework)
            {
                inverse_offers.push(InverseAllocation { framework, agent: index });
            }
        }
    }
}

/// Whether a framework can deal with a resource.
fn understands(can: Capabilities, resource: &Resource) -> bool {
    let kind = resource.kind();
    (can.shared_resources || !kind.is_shared())
        && (can.revocable_resources || !kind.is_revocable())
        && (can.reservation_refinement || kind.reservations().len() <= 1)
}

/// Whether there is one of the alternatives among those resources that may be had; without
/// alternatives, anything is enough.
fn is_enough(
    available: &Resources,
    may_have: &impl Fn(&Resource) -> bool,
    alternatives: &[Quantities],
) -> bool {
    let mut had = available.iter().filter(|resource| may_have(resource)).peekable();
    if had.peek().is_none() {
        return false;
    }
    alternatives.is_empty()
        || alternatives.iter().any(|least| {
            least.iter().all(|(name, wanted)| {
                let mut sum = 0i64;
                available.iter().any(|resource| {
                    if resource.kind().name() == name && may_have(resource) {
                        sum = sum.saturating_add(resource.value().quantity());
                    }
                    sum >= wanted
                })
            })
        })
}

/// Until when a framework has refused resources: it has if it refused as much or more.
fn hidden_until(
    filters: &[Filter],
    framework: FrameworkKey,
    role: RoleId,
    resources: &Resources,
) -> Option<u64> {
    let hide = |filter: &&Filter| {
        filter.framework == framework && filter.role == role && filter.resources.contains(resources)
    };
    filters.iter().filter(hide).map(|filter| filter.until_ms).max()
}
