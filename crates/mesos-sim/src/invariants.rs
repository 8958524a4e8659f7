//! What must always be true of the model itself, for tests and for the simulation to ask.

use crate::allocator::FrameworkKey;
use crate::master::Master;
use crate::mesos::Mesos;
use crate::resources::Resources;
use crate::{FrameworkState, RegisteredAgent};
use std::collections::BTreeMap;
use std::sync::Arc;

impl Mesos {
    /// Looks through everything, so it takes long on large clusters.
    ///
    /// # Errors
    ///
    /// What is wrong: a fault of the model, not of those who use it.
    pub fn check(&self) -> Result<(), String> {
        let Some(master) = &self.master else { return Ok(()) };
        master.agents.iter().flatten().try_for_each(|agent| master.check_agent(agent))?;
        master.check_frameworks()?;
        master.check_offers()
    }
}

impl Master {
    /// Of an agent, everything is available, offered, or used.
    fn check_agent(&self, agent: &RegisteredAgent) -> Result<(), String> {
        let id = &agent.id;
        let mut taken: BTreeMap<(FrameworkKey, Arc<str>), Resources> = BTreeMap::new();
        for (framework, role, resources) in self.used_on(agent.index) {
            taken.entry((framework, role)).or_default().add(&resources);
        }
        for number in &agent.offers {
            let Some(offer) = self.offers.get(number) else {
                return Err(format!("agent {id} has offer {number}, which is not there"));
            };
            let key = (offer.framework, Arc::clone(&offer.role));
            taken.entry(key).or_default().add(&offer.resources);
        }
        let mut available = agent.total.non_shared();
        for ((framework, role), resources) in &taken {
            let allocated = self.allocator.allocated(*framework, role, agent.index);
            let allocated = allocated.cloned().unwrap_or_default();
            if allocated != *resources {
                return Err(format!(
                    "agent {id}: {framework:?} has {resources} for {role}, and the allocator thinks \
                     {allocated}"
                ));
            }
            available.subtract(&resources.non_shared());
        }
        let free = self.allocator.available(agent.index).cloned().unwrap_or_default();
        if free.non_shared() != available {
            return Err(format!("agent {id}: {available} is left, the allocator thinks {free}"));
        }
        match self.allocator.total(agent.index) {
            Some(total) if *total == agent.total => Ok(()),
            total => {
                Err(format!("agent {id} has {}, and the allocator thinks {total:?}", agent.total))
            }
        }
    }

    /// One stream for each framework, and one owner for each task.
    fn check_frameworks(&self) -> Result<(), String> {
        for framework in self.frameworks.values() {
            let id = &framework.id;
            let owner = framework.connection.and_then(|one| self.connections.get(&one));
            let is_active = framework.state == FrameworkState::Active;
            if is_active != (owner == Some(&framework.key)) {
                return Err(format!("framework {id} is {:?} and has {owner:?}", framework.state));
            }
            for (task_id, task) in &framework.tasks {
                let key = (framework.key, Arc::clone(task_id));
                if !self.agent(task.agent).is_some_and(|agent| agent.tasks.contains(&key)) {
                    return Err(format!("task {task_id} of {id} is not on its agent"));
                }
            }
        }
        if self.connections.len()
            != self.frameworks.values().filter(|one| one.connection.is_some()).count()
        {
            return Err("a framework has two connections".to_owned());
        }
        for agent in self.agents.iter().flatten() {
            for (framework, task) in &agent.tasks {
                let owner = self.frameworks.get(framework);
                let task = owner.and_then(|owner| owner.tasks.get(task));
                if task.is_none_or(|task| task.agent != agent.index) {
                    return Err(format!("agent {} has a task that nobody owns", agent.id));
                }
            }
        }
        Ok(())
    }

    /// Offers are those of connected frameworks on active agents.
    fn check_offers(&self) -> Result<(), String> {
        for (number, offer) in &self.offers {
            let framework = self.frameworks.get(&offer.framework);
            let framework = framework.filter(|one| one.connection.is_some());
            let agent = self.agent(offer.agent).filter(|agent| agent.active);
            if !framework.is_some_and(|one| one.offers.contains(number))
                || !agent.is_some_and(|agent| agent.offers.contains(number))
            {
                return Err(format!("offer {number} has lost its framework or its agent"));
            }
        }
        Ok(())
    }
}
