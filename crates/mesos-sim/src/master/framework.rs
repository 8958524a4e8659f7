//! A framework as the master knows it.

use super::tasks::MasterTask;
use crate::allocator::{Capabilities, FrameworkKey, FrameworkOptions};
use crate::operations::{framework_roles, has_capability};
use crate::resources::Quantities;
use crate::{AgentIndex, ConnectionId};
use peloton_proto::mesos::v1;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use v1::framework_info::capability::Type as Capability;

/// So many tasks of lost agents are remembered for each framework, as in Mesos.
const MAX_UNREACHABLE_TASKS: usize = 1_000;

/// Whether a framework's scheduler is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameworkState {
    /// It has a connection and gets offers.
    Active,
    /// Its connection ended.
    Disconnected,
    /// Agents told of it; it has not subscribed with this master.
    Recovered,
}

/// A framework.
#[derive(Debug)]
pub struct Framework {
    pub(crate) key: FrameworkKey,
    pub(crate) id: Arc<str>,
    pub(crate) info: Arc<v1::FrameworkInfo>,
    pub(crate) state: FrameworkState,
    pub(crate) connection: Option<ConnectionId>,
    pub(crate) stream_id: String,
    /// The number that the timer for its fail-over time-out must have.
    pub(crate) epoch: u32,
    pub(crate) roles: BTreeSet<Arc<str>>,
    pub(crate) tasks: BTreeMap<Arc<str>, MasterTask>,
    pub(crate) unreachable: UnreachableTasks,
    pub(crate) offers: BTreeSet<u64>,
    pub(crate) inverse_offers: BTreeSet<u64>,
    /// Operations that it gave an id.
    pub(crate) operations: BTreeMap<Box<str>, (AgentIndex, u64)>,
    pub(crate) multi_role: bool,
    pub(crate) refinement: bool,
    pub(crate) partition_aware: bool,
}

impl Framework {
    pub(super) fn new(key: FrameworkKey, id: Arc<str>, info: Arc<v1::FrameworkInfo>) -> Self {
        let mut framework = Self {
            key,
            id,
            state: FrameworkState::Recovered,
            connection: None,
            stream_id: String::new(),
            epoch: 0,
            roles: BTreeSet::new(),
            tasks: BTreeMap::new(),
            unreachable: UnreachableTasks::default(),
            offers: BTreeSet::new(),
            inverse_offers: BTreeSet::new(),
            operations: BTreeMap::new(),
            multi_role: false,
            refinement: false,
            partition_aware: false,
            info: Arc::clone(&info),
        };
        framework.update(info);
        framework
    }

    /// Takes over what the framework says of itself now.
    pub(super) fn update(&mut self, info: Arc<v1::FrameworkInfo>) {
        self.roles = framework_roles(&info).into_iter().map(Arc::from).collect();
        self.multi_role = has_capability(&info, Capability::MultiRole);
        self.refinement = has_capability(&info, Capability::ReservationRefinement);
        self.partition_aware = has_capability(&info, Capability::PartitionAware);
        self.info = info;
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What it said of itself.
    #[must_use]
    pub fn info(&self) -> &v1::FrameworkInfo {
        &self.info
    }

    /// Whether its scheduler is there.
    #[must_use]
    pub const fn state(&self) -> FrameworkState {
        self.state
    }

    /// Its connection.
    #[must_use]
    pub const fn connection(&self) -> Option<ConnectionId> {
        self.connection
    }

    /// Its tasks that the master has not forgotten, by id: those that run, and those whose end is
    /// not acknowledged.
    pub fn tasks(&self) -> impl Iterator<Item = &MasterTask> {
        self.tasks.values()
    }

    /// One of those.
    #[must_use]
    pub fn task(&self, id: &str) -> Option<&MasterTask> {
        self.tasks.get(id)
    }

    /// The number that stands for it in tasks and operations.
    #[must_use]
    pub const fn key(&self) -> FrameworkKey {
        self.key
    }

    /// The tasks that went with their agents.
    pub fn unreachable_tasks(&self) -> impl Iterator<Item = &MasterTask> {
        self.unreachable.tasks.values()
    }

    pub(super) fn is_connected(&self) -> bool {
        self.state == FrameworkState::Active
    }

    /// What the allocator has to know.
    pub(super) fn options(&self, suppressed: &[String]) -> FrameworkOptions {
        let info = &self.info;
        FrameworkOptions {
            id: Arc::clone(&self.id),
            roles: self.roles.clone(),
            suppressed: suppressed.iter().map(|role| Arc::from(role.as_str())).collect(),
            capabilities: Capabilities {
                gpu_resources: has_capability(info, Capability::GpuResources),
                shared_resources: has_capability(info, Capability::SharedResources),
                revocable_resources: has_capability(info, Capability::RevocableResources),
                reservation_refinement: self.refinement,
                region_aware: has_capability(info, Capability::RegionAware),
            },
            min_allocatable: self.min_allocatable(),
        }
    }

    fn min_allocatable(&self) -> BTreeMap<Arc<str>, Vec<Quantities>> {
        let filters = self.info.offer_filters.iter().filter_map(|(role, filters)| {
            let minimum = filters.min_allocatable_resources.as_ref()?;
            let quantities = minimum.quantities.iter().map(|one| {
                let units =
                    one.quantities.iter().map(|(name, scalar)| (name.as_str(), scalar.value));
                Quantities::of(&units.collect::<Vec<(&str, f64)>>())
            });
            Some((Arc::from(role.as_str()), quantities.collect()))
        });
        filters.collect()
    }
}

/// Tasks that went with their agents; the oldest are forgotten first.
#[derive(Debug, Default)]
pub(crate) struct UnreachableTasks {
    tasks: BTreeMap<Arc<str>, MasterTask>,
    order: VecDeque<Arc<str>>,
}

impl UnreachableTasks {
    pub(super) fn insert(&mut self, id: Arc<str>, task: MasterTask) {
        self.order.push_back(Arc::clone(&id));
        self.tasks.insert(id, task);
        while self.tasks.len() > MAX_UNREACHABLE_TASKS {
            let Some(oldest) = self.order.pop_front() else { break };
            self.tasks.remove(&oldest);
        }
        // Those that came back are still in the order.
        if self.order.len() > 2 * MAX_UNREACHABLE_TASKS {
            let tasks = &self.tasks;
            self.order.retain(|id| tasks.contains_key(id));
        }
    }

    pub(super) fn remove(&mut self, id: &str) -> Option<MasterTask> {
        self.tasks.remove(id)
    }

    pub(super) fn contains(&self, id: &str) -> bool {
        self.tasks.contains_key(id)
    }
}
