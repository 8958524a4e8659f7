//! The master: frameworks, agents, offers, tasks and operations, as far as it knows them.
//!
//! All of it but the registry is lost when the master ends, and comes back from agents and
//! frameworks as it does in Mesos.

mod accept;
mod agents;
mod allocation;
mod calls;
mod framework;
mod launch;
pub(crate) mod maintenance;
mod offers;
mod operations;
mod operator;
mod reconcile;
mod removal;
mod subscribe;
mod tasks;
mod validation;

pub use agents::RegisteredAgent;
pub use framework::{Framework, FrameworkState};
pub use operations::OperationView;
pub use tasks::MasterTask;

use crate::allocator::{Allocator, AllocatorSettings, FrameworkKey};
use crate::registry::Registry;
use crate::world::World;
use crate::{AgentIndex, ConnectionId};
use offers::{InverseOffer, Offer};
use peloton_proto::mesos::v1;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// The version that the master says it is.
const VERSION: &str = "1.11.0";

/// The leading master.
#[derive(Debug)]
pub(crate) struct Master {
    pub(crate) info: v1::MasterInfo,
    id: String,
    /// Counts masters: timers of earlier ones mean nothing.
    epoch: u32,
    pub(crate) registry: Registry,
    pub(crate) allocator: Allocator,
    /// Agents of the registry that have not registered with this master.
    pub(crate) recovered: BTreeSet<Arc<str>>,
    pub(crate) agents: Vec<Option<Box<RegisteredAgent>>>,
    pub(crate) frameworks: BTreeMap<FrameworkKey, Framework>,
    pub(crate) connections: BTreeMap<ConnectionId, FrameworkKey>,
    /// Frameworks that were removed, the oldest first.
    completed: VecDeque<FrameworkKey>,
    pub(crate) offers: BTreeMap<u64, Offer>,
    inverse_offers: BTreeMap<u64, InverseOffer>,
    /// Tasks that went with their agents, by agent id.
    unreachable_tasks: BTreeMap<Arc<str>, Vec<(FrameworkKey, Arc<str>)>>,
    next_framework: u64,
    next_agent: u64,
    next_offer: u64,
    /// Counts what makes timers void.
    next_epoch: u32,
}

impl Master {
    pub(crate) fn new(world: &mut World, registry: Registry, epoch: u32) -> Self {
        let id = world.random.uuid().to_string();
        let settings = AllocatorSettings {
            seed: world.random.next(),
            allocation_interval_ms: world.settings.allocation_interval_ms,
            ignores_reservations: world.settings.sabotage
                == Some(crate::Sabotage::OfferReservedToOthers),
            ..AllocatorSettings::default()
        };
        let recovered: BTreeSet<_> = registry.admitted.keys().cloned().collect();
        if !recovered.is_empty() {
            let after_ms = world.settings.agent_reregister_timeout_ms;
            world.set_timer(after_ms, crate::timers::Timer::RecoveryTimeout { master: epoch });
        }
        let agents = world.links.iter().map(|_| None).collect();
        Self {
            info: master_info(&id, &world.settings.address),
            id,
            epoch,
            registry,
            allocator: Allocator::new(settings, world.now_ms),
            recovered,
            agents,
            frameworks: BTreeMap::new(),
            connections: BTreeMap::new(),
            completed: VecDeque::new(),
            offers: BTreeMap::new(),
            inverse_offers: BTreeMap::new(),
            unreachable_tasks: BTreeMap::new(),
            next_framework: 0,
            next_agent: 0,
            next_offer: 0,
            next_epoch: 0,
        }
    }

    const fn new_epoch(&mut self) -> u32 {
        self.next_epoch += 1;
        self.next_epoch
    }

    /// The agent with an id, if it is registered.
    fn agent_by_id(&self, world: &World, id: &str) -> Option<&RegisteredAgent> {
        let index = world.names.agent(id)?;
        self.agent(index).filter(|agent| *agent.id == *id)
    }

    pub(crate) fn agent(&self, index: AgentIndex) -> Option<&RegisteredAgent> {
        self.agents.get(index.0 as usize)?.as_deref()
    }

    fn agent_mut(&mut self, index: AgentIndex) -> Option<&mut RegisteredAgent> {
        self.agents.get_mut(index.0 as usize)?.as_deref_mut()
    }

    pub(crate) fn open_connections(&self) -> impl Iterator<Item = ConnectionId> {
        self.connections.keys().copied()
    }

    /// Sends an event to a framework, if it is connected.
    fn send(&self, world: &mut World, framework: FrameworkKey, event: v1::scheduler::Event) {
        let connection = self.frameworks.get(&framework).and_then(|one| one.connection);
        if let Some(connection) = connection {
            world.emit(connection, event);
        }
    }

    /// The frameworks that were removed, the oldest first.
    pub(crate) fn completed(&self) -> impl Iterator<Item = FrameworkKey> {
        self.completed.iter().copied()
    }

    fn is_completed(&self, framework: FrameworkKey) -> bool {
        self.completed.contains(&framework)
    }
}

fn master_info(id: &str, (host, port): &(String, u16)) -> v1::MasterInfo {
    use v1::master_info::{Capability, capability::Type};
    let ip = host.parse::<Ipv4Addr>().unwrap_or(Ipv4Addr::LOCALHOST);
    let capabilities = [Type::AgentUpdate, Type::AgentDraining, Type::QuotaV2];
    v1::MasterInfo {
        id: Some(id.to_owned()),
        // The address in network byte order, read as a number of the machine's own.
        ip: Some(u32::from_le_bytes(ip.octets())),
        port: Some(u32::from(*port)),
        pid: Some(format!("master@{ip}:{port}")),
        hostname: Some(host.clone()),
        version: Some(VERSION.to_owned()),
        address: Some(v1::Address {
            hostname: Some(host.clone()),
            ip: Some(ip.to_string()),
            port: i32::from(*port),
        }),
        domain: None,
        capabilities: capabilities.map(|one| Capability { r#type: Some(one as i32) }).into(),
    }
}
