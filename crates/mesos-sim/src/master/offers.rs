//! Offers and inverse offers: made, declined, rescinded.

use super::Master;
use super::allocation::refuse_ms;
use super::maintenance::machine_of;
use crate::AgentIndex;
use crate::allocator::{Allocation, FrameworkKey, InverseAllocation};
use crate::resources::{self, Resources};
use crate::status::{self, agent_id, ip_of};
use crate::world::World;
use peloton_proto::mesos::v1;
use std::collections::BTreeMap;
use std::sync::Arc;
use v1::resource::AllocationInfo;
use v1::scheduler::{Call, call};

/// Resources of an agent that a framework can use, until it does or they are rescinded.
#[derive(Debug)]
pub(crate) struct Offer {
    pub(crate) framework: FrameworkKey,
    pub(crate) agent: AgentIndex,
    pub(crate) role: Arc<str>,
    pub(crate) resources: Resources,
}

/// A framework was asked to leave an agent.
#[derive(Debug)]
pub(super) struct InverseOffer {
    pub(super) framework: FrameworkKey,
    pub(super) agent: AgentIndex,
}

impl Master {
    /// What is offered, for those who look.
    pub(crate) fn offered(&self) -> impl Iterator<Item = (FrameworkKey, AgentIndex, &Resources)> {
        self.offers.values().map(|offer| (offer.framework, offer.agent, &offer.resources))
    }

    fn offer_id(&self, number: u64) -> v1::OfferId {
        v1::OfferId { value: format!("{}-O{number}", self.id) }
    }

    fn offer_number(&self, id: &v1::OfferId) -> Option<u64> {
        id.value.strip_prefix(&self.id)?.strip_prefix("-O")?.parse().ok()
    }

    pub(super) fn offer_by_id(&self, id: &v1::OfferId) -> Option<&Offer> {
        self.offers.get(&self.offer_number(id)?)
    }

    /// Offers what was allocated: one event for each framework.
    pub(super) fn offer(&mut self, world: &mut World, allocations: Vec<Allocation>) {
        let mut messages: BTreeMap<FrameworkKey, Vec<v1::Offer>> = BTreeMap::new();
        for Allocation { framework, role, agent, resources } in allocations {
            let is_there = self.frameworks.get(&framework).is_some_and(|one| one.is_connected())
                && self.agent(agent).is_some_and(|agent| agent.active);
            if !is_there {
                self.recover(world, framework, &role, agent, &resources, None);
                continue;
            }
            let number = self.next_offer;
            self.next_offer += 1;
            let offer = Offer { framework, agent, role, resources };
            let merges = world.settings.sabotage == Some(crate::Sabotage::MergeDifferentLabels);
            if let Some(message) = self.offer_message(number, &offer, merges) {
                messages.entry(framework).or_default().push(message);
            }
            if let Some(owner) = self.frameworks.get_mut(&framework) {
                owner.offers.insert(number);
            }
            if let Some(agent) = self.agent_mut(agent) {
                agent.offers.insert(number);
            }
            self.offers.insert(number, offer);
        }
        for (framework, offers) in messages {
            self.send(world, framework, status::offers(offers));
        }
    }

    fn offer_message(&self, number: u64, offer: &Offer, merges: bool) -> Option<v1::Offer> {
        let owner = self.frameworks.get(&offer.framework)?;
        let agent = self.agent(offer.agent)?;
        let merged = merges.then(|| offer.resources.merged_over_labels());
        let resources = merged.as_ref().unwrap_or(&offer.resources);
        let mut resources = if owner.multi_role {
            resources.to_proto_allocated(&offer.role)
        } else {
            resources.to_proto()
        };
        if !owner.refinement {
            resources::downgrade(&mut resources);
        }
        let executors = agent.executors.range((owner.key, Arc::from(""))..);
        let executors = executors.take_while(|((key, _), _)| *key == owner.key);
        let executor_ids =
            executors.map(|((_, id), _)| v1::ExecutorId { value: id.to_string() }).collect();
        let role = Some(offer.role.to_string());
        Some(v1::Offer {
            id: self.offer_id(number),
            framework_id: v1::FrameworkId { value: owner.id.to_string() },
            agent_id: agent_id(&agent.id),
            hostname: agent.spec.hostname.clone(),
            resources,
            executor_ids,
            attributes: agent.spec.attributes.clone(),
            url: Some(url_of(&agent.spec)),
            unavailability: self.registry.schedule.unavailability(&machine_of(&agent.spec)),
            allocation_info: owner.multi_role.then_some(AllocationInfo { role }),
            domain: agent.spec.domain.clone(),
        })
    }

    /// Takes an offer out of all lists; what it holds is the caller's.
    pub(super) fn take_offer(&mut self, number: u64) -> Option<Offer> {
        let offer = self.offers.remove(&number)?;
        if let Some(framework) = self.frameworks.get_mut(&offer.framework) {
            framework.offers.remove(&number);
        }
        if let Some(agent) = self.agent_mut(offer.agent) {
            agent.offers.remove(&number);
        }
        Some(offer)
    }

    pub(super) fn take_offer_by_id(&mut self, id: &v1::OfferId) -> Option<Offer> {
        let number = self.offer_number(id)?;
        self.take_offer(number)
    }

    fn give_back(&mut self, world: &World, offer: &Offer, refuse_ms: Option<u64>) {
        let Offer { framework, agent, role, resources } = offer;
        self.recover(world, *framework, role, *agent, resources, refuse_ms);
    }

    /// Takes an offer back without a word.
    pub(super) fn discard_offer(
        &mut self,
        world: &World,
        id: &v1::OfferId,
        refuse_ms: Option<u64>,
    ) {
        if let Some(offer) = self.take_offer_by_id(id) {
            self.give_back(world, &offer, refuse_ms);
        }
    }

    /// Takes an offer back and says so.
    pub(super) fn rescind_offer(
        &mut self,
        world: &mut World,
        number: u64,
        refuse_ms: Option<u64>,
    ) -> Option<Resources> {
        let offer = self.take_offer(number)?;
        self.send(world, offer.framework, status::rescind(self.offer_id(number)));
        self.give_back(world, &offer, refuse_ms);
        Some(offer.resources)
    }

    /// All offers and inverse offers of a framework are void.
    pub(super) fn discard_offers_of(
        &mut self,
        world: &mut World,
        framework: FrameworkKey,
        rescind: bool,
    ) {
        let Some(owner) = self.frameworks.get(&framework) else { return };
        let offers: Vec<u64> = owner.offers.iter().copied().collect();
        let inverse: Vec<u64> = owner.inverse_offers.iter().copied().collect();
        for number in offers {
            if rescind {
                self.rescind_offer(world, number, None);
            } else if let Some(offer) = self.take_offer(number) {
                self.give_back(world, &offer, None);
            }
        }
        for number in inverse {
            self.remove_inverse_offer(world, number, rescind, None);
        }
    }

    /// All offers and inverse offers of an agent are rescinded.
    pub(super) fn rescind_offers_on(&mut self, world: &mut World, agent: AgentIndex) {
        let Some(one) = self.agent(agent) else { return };
        let offers: Vec<u64> = one.offers.iter().copied().collect();
        let inverse: Vec<u64> = one.inverse_offers.iter().copied().collect();
        for number in offers {
            self.rescind_offer(world, number, None);
        }
        for number in inverse {
            self.remove_inverse_offer(world, number, true, None);
        }
    }

    pub(super) fn decline(&mut self, world: &World, decline: &call::Decline) {
        let refuse_ms = refuse_ms(decline.filters.as_ref());
        for id in &decline.offer_ids {
            self.discard_offer(world, id, Some(refuse_ms));
        }
    }

    /// Asks frameworks to leave agents that will be unavailable.
    pub(super) fn inverse_offer(&mut self, world: &mut World, asked: &[InverseAllocation]) {
        let mut messages: BTreeMap<FrameworkKey, Vec<v1::InverseOffer>> = BTreeMap::new();
        for InverseAllocation { framework, agent } in asked {
            let (framework, index) = (*framework, *agent);
            let Some(agent) = self.agent(index).filter(|agent| agent.active) else { continue };
            let unavailability = self.registry.schedule.unavailability(&machine_of(&agent.spec));
            let owner = self.frameworks.get(&framework).filter(|one| one.is_connected());
            let (Some(unavailability), Some(owner)) = (unavailability, owner) else { continue };
            let number = self.next_offer;
            let message = v1::InverseOffer {
                id: self.offer_id(number),
                url: Some(url_of(&agent.spec)),
                framework_id: v1::FrameworkId { value: owner.id.to_string() },
                agent_id: Some(agent_id(&agent.id)),
                unavailability: Some(unavailability),
                resources: Vec::new(),
            };
            messages.entry(framework).or_default().push(message);
            self.next_offer += 1;
            self.inverse_offers.insert(number, InverseOffer { framework, agent: index });
            if let Some(owner) = self.frameworks.get_mut(&framework) {
                owner.inverse_offers.insert(number);
            }
            if let Some(agent) = self.agent_mut(index) {
                agent.inverse_offers.insert(number);
            }
        }
        for (framework, inverse_offers) in messages {
            self.send(world, framework, status::inverse_offers(inverse_offers));
        }
    }

    pub(super) fn remove_inverse_offer(
        &mut self,
        world: &mut World,
        number: u64,
        rescind: bool,
        refuse_ms: Option<u64>,
    ) {
        let Some(InverseOffer { framework, agent }) = self.inverse_offers.remove(&number) else {
            return;
        };
        if let Some(owner) = self.frameworks.get_mut(&framework) {
            owner.inverse_offers.remove(&number);
        }
        if let Some(agent) = self.agent_mut(agent) {
            agent.inverse_offers.remove(&number);
        }
        self.allocator.recover_inverse_offer(framework, agent, refuse_ms, world.now_ms);
        if rescind {
            let id = self.offer_id(number);
            self.send(world, framework, status::rescind_inverse_offer(id));
        }
    }

    /// Accepted or declined: that there is an answer is all that counts.
    pub(super) fn answer_inverse_offers(&mut self, world: &mut World, call: &Call) {
        let accepted = call.accept_inverse_offers.iter();
        let accepted = accepted.map(|one| (&one.inverse_offer_ids, one.filters.as_ref()));
        let declined = call.decline_inverse_offers.iter();
        let declined = declined.map(|one| (&one.inverse_offer_ids, one.filters.as_ref()));
        for (ids, filters) in accepted.chain(declined) {
            let refuse_ms = refuse_ms(filters);
            for number in ids.iter().filter_map(|id| self.offer_number(id)).collect::<Vec<_>>() {
                self.remove_inverse_offer(world, number, false, Some(refuse_ms));
            }
        }
    }
}

fn url_of(spec: &crate::AgentSpec) -> v1::Url {
    v1::Url {
        scheme: "http".to_owned(),
        address: v1::Address {
            hostname: Some(spec.hostname.clone()),
            ip: Some(ip_of(spec)),
            port: i32::from(spec.port),
        },
        path: Some("/slave(1)".to_owned()),
        query: Vec::new(),
        fragment: None,
    }
}
