//! What operators can do, apart from maintenance.

use super::Master;
use super::calls::{BAD_REQUEST, refuse};
use super::maintenance::machine_of;
use crate::link::ToAgent;
use crate::operations::{self, Requester};
use crate::registry::DrainInfo;
use crate::resources::{self, Resources};
use crate::world::World;
use crate::{AgentIndex, Refusal};
use peloton_proto::mesos::v1::offer::Operation;
use peloton_proto::mesos::v1::offer::operation::Type;
use std::sync::Arc;

const NOT_FOUND: u16 = 404;
const CONFLICT: u16 = 409;

impl Master {
    fn known_agent(&self, id: &str) -> bool {
        self.registry.admitted.contains_key(id) || self.registry.unreachable.contains_key(id)
    }

    pub(crate) fn mark_agent_gone(&mut self, world: &mut World, id: &str) -> Result<(), Refusal> {
        if self.registry.gone.contains_key(id) {
            return Ok(());
        }
        if !self.known_agent(id) {
            return Err(refuse(NOT_FOUND, format!("Agent '{id}' not found")));
        }
        self.mark_gone(world, &Arc::from(id));
        Ok(())
    }

    pub(crate) fn drain_agent(
        &mut self,
        world: &mut World,
        id: &str,
        max_grace_ms: Option<u64>,
        mark_gone: bool,
    ) -> Result<(), Refusal> {
        let index = self.agent_by_id(world, id).map(|agent| agent.index);
        if let Some(agent) = index.and_then(|index| self.agent(index)) {
            let machine = machine_of(&agent.spec);
            if self.registry.schedule.unavailability(&machine).is_some() {
                let why =
                    format!("Agent {id} is part of a maintenance schedule under Machine {machine}");
                return Err(refuse(BAD_REQUEST, why));
            }
        }
        if !self.known_agent(id) {
            return Err(refuse(BAD_REQUEST, "Unknown agent"));
        }
        let id: Arc<str> = Arc::from(id);
        let info = DrainInfo { drained: false, max_grace_ms, mark_gone };
        self.registry.draining.insert(Arc::clone(&id), info);
        self.registry.deactivated.insert(id);
        if let Some(index) = index {
            self.deactivate_agent_at(world, index);
            world.send_to_agent(index, ToAgent::Drain { max_grace_ms, mark_gone });
            self.check_drained(world, index);
        }
        Ok(())
    }

    /// An agent without tasks and operations is drained.
    pub(super) fn check_drained(&mut self, world: &mut World, index: AgentIndex) {
        let Some(agent) = self.agent(index) else { return };
        if !agent.tasks.is_empty() || !agent.operations.is_empty() {
            return;
        }
        let id = Arc::clone(&agent.id);
        let Some(info) = self.registry.draining.get_mut(&id).filter(|info| !info.drained) else {
            return;
        };
        if info.mark_gone {
            self.mark_gone(world, &id);
        } else {
            info.drained = true;
        }
    }

    pub(crate) fn deactivate_agent(&mut self, world: &mut World, id: &str) -> Result<(), Refusal> {
        if !self.known_agent(id) {
            return Err(refuse(BAD_REQUEST, "Unknown agent"));
        }
        self.registry.deactivated.insert(Arc::from(id));
        if let Some(index) = self.agent_by_id(world, id).map(|agent| agent.index) {
            self.deactivate_agent_at(world, index);
        }
        Ok(())
    }

    pub(crate) fn reactivate_agent(&mut self, world: &World, id: &str) -> Result<(), Refusal> {
        if !self.registry.deactivated.contains(id) {
            return Err(refuse(BAD_REQUEST, "Agent is not deactivated"));
        }
        if self.registry.draining.get(id).is_some_and(|info| !info.drained) {
            return Err(refuse(BAD_REQUEST, "Agent is still in the DRAINING state"));
        }
        self.registry.draining.remove(id);
        self.registry.deactivated.remove(id);
        let Some(index) = self.agent_by_id(world, id).map(|agent| agent.index) else {
            return Err(refuse(CONFLICT, "Agent removed while processing the call"));
        };
        if let Some(agent) = self.agent_mut(index).filter(|agent| agent.connected) {
            agent.active = true;
            self.allocator.activate_agent(index);
        }
        Ok(())
    }

    pub(crate) fn teardown(&mut self, world: &mut World, id: &str) -> Result<(), Refusal> {
        let key = world.names.framework_key(id);
        let Some(key) = key.filter(|key| self.frameworks.contains_key(key)) else {
            return Err(refuse(BAD_REQUEST, "No framework found with specified ID"));
        };
        self.remove_framework(world, key);
        Ok(())
    }

    /// An operator's operation that cannot be: Mesos says where of what makes something, and not of what
    /// takes it away.
    fn invalid_operation(&self, index: AgentIndex, operation: &Operation, why: &str) -> Refusal {
        let makes = matches!(operation.r#type(), Type::Reserve | Type::Create);
        let agent = self.agent(index).filter(|_| makes);
        let place = agent.map(|one| format!(" on agent {}", one.description())).unwrap_or_default();
        let name = operation.r#type().as_str_name();
        refuse(BAD_REQUEST, format!("Invalid {name} operation{place}: {why}"))
    }

    /// An operator's RESERVE, UNRESERVE, CREATE or DESTROY. What is offered is taken back for it.
    pub(crate) fn operate_on_agent(
        &mut self,
        world: &mut World,
        id: &str,
        mut operation: Operation,
    ) -> Result<(), Refusal> {
        let Some(agent) = self.agent_by_id(world, id) else {
            return Err(refuse(BAD_REQUEST, "No agent found with specified ID"));
        };
        let (index, total) = (agent.index, agent.total.clone());
        let mut wrong = None;
        super::accept::for_each_resource(&mut operation, |resource| {
            let invalid = resources::validate(std::slice::from_ref(resource)).err();
            wrong = wrong.take().or(invalid);
            resources::upgrade(resource);
        });
        if let Some(why) = wrong {
            return Err(refuse(BAD_REQUEST, why));
        }
        let requester = Requester { framework: None, principal: None };
        let conversions = operations::validate(&operation, requester, &total, &self.in_use(index))
            .and_then(|()| operations::conversions(&operation))
            .map_err(|why| self.invalid_operation(index, &operation, &why))?;
        let mut required = Resources::new();
        conversions.iter().for_each(|conversion| required.add(&conversion.consumed));
        let mut recovered = Resources::new();
        let offers: Vec<u64> =
            self.agent(index).map_or_else(Vec::new, |one| one.offers.iter().copied().collect());
        for number in offers {
            let Some(offer) = self.offers.get(&number) else { continue };
            let rest = &required - &offer.resources;
            if rest == required {
                continue;
            }
            required = rest;
            let refuse_ms = super::allocation::refuse_ms(None);
            if let Some(offered) = self.rescind_offer(world, number, Some(refuse_ms)) {
                recovered.add(&offered);
            }
            if operations::apply_all(&recovered, &conversions, None).is_ok() {
                break;
            }
        }
        self.allocator
            .update_available(index, &conversions)
            .map_err(|why| refuse(CONFLICT, why))?;
        self.start_operation(world, index, None, &operation, &conversions);
        Ok(())
    }
}
