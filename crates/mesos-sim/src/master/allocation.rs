//! Between the master and its allocator.

use super::Master;
use crate::AgentIndex;
use crate::allocator::{self, FrameworkKey};
use crate::resources::Resources;
use crate::world::World;
use peloton_proto::mesos::v1;
use std::sync::Arc;

/// For how long what an offer had shall not be offered again.
pub(super) fn refuse_ms(filters: Option<&v1::Filters>) -> u64 {
    allocator::refuse_ms(filters.and_then(|filters| filters.refuse_seconds))
}

impl Master {
    /// Resources of a framework are available again.
    pub(super) fn recover(
        &mut self,
        world: &World,
        framework: FrameworkKey,
        role: &str,
        agent: AgentIndex,
        resources: &Resources,
        refuse_ms: Option<u64>,
    ) {
        if !resources.is_empty() {
            self.allocator.recover(framework, role, agent, resources, refuse_ms, world.now_ms);
        }
    }

    /// When the allocator has something to do.
    pub(crate) fn next_allocation_ms(&self) -> u64 {
        self.allocator.next_wake_ms()
    }

    /// Allocates what is due, and offers it.
    pub(crate) fn allocate(&mut self, world: &mut World) {
        let round = self.allocator.allocate(world.now_ms);
        self.offer(world, round.offers);
        self.inverse_offer(world, &round.inverse_offers);
    }

    /// Who uses what on an agent, by framework and role.
    pub(crate) fn used_on(&self, agent: AgentIndex) -> Vec<(FrameworkKey, Arc<str>, Resources)> {
        let mut used: Vec<(FrameworkKey, Arc<str>, Resources)> = Vec::new();
        let Some(agent) = self.agent(agent) else { return used };
        let mut add = |framework: FrameworkKey, role: &Arc<str>, resources: &Resources| {
            let same = used.iter_mut().find(|(key, of, _)| *key == framework && of == role);
            match same {
                Some((_, _, sum)) => sum.add(resources),
                None => used.push((framework, Arc::clone(role), resources.clone())),
            }
        };
        for (framework, id) in &agent.tasks {
            let owner = self.frameworks.get(framework);
            let Some(task) = owner.and_then(|owner| owner.tasks.get(id)) else { continue };
            if task.is_live() {
                add(*framework, &task.meta.role, &task.meta.resources);
            }
        }
        for ((framework, _), executor) in &agent.executors {
            add(*framework, &executor.role, &executor.resources);
        }
        used
    }
}
