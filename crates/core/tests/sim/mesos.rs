//! A small model of Mesos: agents with reservations and tasks, offers, calls, and updates that are
//! sent again until acknowledged. Only what the shard relies on; the conformance of a full model to
//! the real Mesos is the business of the simulated Mesos.

use crate::disks::reserved_of;
use peloton_core::{
    Accept, Effect, MesosEvent, Offer, Operation, OperationState, OperationUpdate, Reserved,
    SlotRef, StatusUpdate, TaskStatus,
};
use peloton_model::{AgentId, AgentRecord, Milli, OfferId, PortSet, Resources};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

pub(crate) struct Agent {
    pub(crate) free: Resources,
    pub(crate) ports: PortSet,
    /// Reservations, what tasks use of them included.
    pub(crate) reserved: BTreeMap<SlotRef, (Resources, PortSet)>,
    /// By persistence id.
    pub(crate) volumes: BTreeMap<String, Volume>,
    pub(crate) reachable: bool,
    pub(crate) offered: Option<OfferId>,
}

/// A persistent volume; its disk is not in the reservation of its slot.
pub(crate) struct Volume {
    pub(crate) slot: SlotRef,
    pub(crate) size_mb: u64,
    /// What it was filled with, once that was done.
    pub(crate) content: Option<String>,
}

pub(crate) struct Task {
    pub(crate) agent: AgentId,
    /// The volumes that it uses.
    pub(crate) volumes: Vec<String>,
    /// What it fetches, if that is what it is there for.
    pub(crate) fetches: Option<String>,
    pub(crate) slot: Option<SlotRef>,
    pub(crate) resources: Resources,
    pub(crate) ports: Vec<u16>,
    pub(crate) status: TaskStatus,
    pub(crate) grace_over: bool,
    /// Whether it is of a configuration that does not work.
    pub(crate) bad: bool,
}

#[derive(Default)]
pub(crate) struct Mesos {
    pub(crate) agents: BTreeMap<AgentId, Agent>,
    /// Tasks that run, or whose last update is not acknowledged.
    pub(crate) tasks: BTreeMap<String, Task>,
    unacknowledged: BTreeMap<Vec<u8>, StatusUpdate>,
    operations: BTreeMap<Vec<u8>, OperationUpdate>,
    known_operations: BTreeMap<String, OperationState>,
    pub(crate) events: VecDeque<MesosEvent>,
    suppressed: bool,
    refused: BTreeSet<AgentId>,
    next: u64,
    /// Every task that was ever launched: an id must not come twice.
    pub(crate) launched: BTreeSet<String>,
    pub(crate) problems: Vec<String>,
    /// Agents that are gone for good: whether an operator said so.
    pub(crate) gone: BTreeMap<AgentId, bool>,
    pub(crate) dice: u64,
    pub(crate) faults: bool,
}

impl Mesos {
    pub(crate) fn new(agents: u32, dice: u64) -> Self {
        let agent = |i| {
            let free = Resources {
                cpus: Milli(4000),
                mem_mb: Milli(4_000_000),
                disk_mb: Milli(4_000_000),
                gpus: Milli(0),
            };
            let agent = Agent {
                free,
                ports: PortSet::from_ranges([(31000, 31020)]),
                reserved: BTreeMap::new(),
                volumes: BTreeMap::new(),
                reachable: true,
                offered: None,
            };
            (AgentId::new(&format!("agent-{i}")), agent)
        };
        Self { agents: (0..agents).map(agent).collect(), dice, faults: true, ..Default::default() }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// One time in `below`, while there are faults.
    pub(crate) fn roll(&mut self, below: u64) -> bool {
        self.dice = self.dice.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        self.faults && (self.dice >> 33).is_multiple_of(below)
    }
    /// Agent removed for good: by operator, or just removed.
    pub(crate) fn lose(&mut self, id: &AgentId, by_operator: bool) {
        if self.agents.remove(id).is_none() {
            return;
        }
        self.gone.insert(id.clone(), by_operator);
        let dead: Vec<_> =
            self.tasks.iter().filter(|(_, t)| t.agent == *id).map(|(t, _)| t.clone()).collect();
        self.unacknowledged.retain(|_, u| u.agent.as_ref() != Some(id));
        self.operations.retain(|_, u| u.agent.as_ref() != Some(id));
        for t in dead {
            self.tasks.remove(&t);
            let status = if by_operator { TaskStatus::GoneByOperator } else { TaskStatus::Gone };
            self.events.push_back(MesosEvent::Status(StatusUpdate {
                task: t,
                status,
                agent: Some(id.clone()),
                uuid: None,
                healthy: None,
                message: None,
                reason: None,
                exit_status: None,
            }));
        }
        let n = self.number();
        let fresh = Mesos::new(1, 0).agents.into_values().next().unwrap();
        self.agents.insert(AgentId::new(&format!("agent-new-{n}")), fresh);
    }
    /// An operator takes away a reservation that no task uses.
    pub(crate) fn vanish(&mut self) -> Option<AgentId> {
        let used: BTreeSet<_> = self.tasks.values().filter_map(|t| t.slot.clone()).collect();
        for (id, agent) in &mut self.agents {
            let with: BTreeSet<_> = agent.volumes.values().map(|v| v.slot.clone()).collect();
            let idle = |s: &&SlotRef| !used.contains(*s) && !with.contains(*s);
            if let Some(slot) = agent.reserved.keys().find(idle).cloned() {
                let (r, p) = agent.reserved.remove(&slot).unwrap();
                agent.free = agent.free.plus(&r);
                agent.ports.extend(p.ranges().iter().copied());
                agent.offered = None;
                return Some(id.clone());
            }
        }
        None
    }
    /// The framework is removed, its tasks killed; reservations stay.
    pub(crate) fn remove_framework(&mut self) {
        let all: Vec<_> = self.tasks.keys().cloned().collect();
        for t in all {
            self.free(&t)
        }
        self.unacknowledged.clear();
        self.operations.clear();
        self.known_operations.clear();
        self.events.clear();
    }
    /// A new subscription: offers are withdrawn, suppression and filters forgotten.
    pub(crate) fn subscribe(&mut self) {
        self.events.clear();
        self.suppressed = false;
        self.refused.clear();
        self.agents.values_mut().for_each(|a| a.offered = None);
        let framework = peloton_model::FrameworkId::new("framework");
        self.events.push_back(MesosEvent::Subscribed { framework });
    }

    /// One round of the allocator.
    pub(crate) fn allocate(&mut self) {
        if self.suppressed {
            return;
        }
        let mut offers = Vec::new();
        let mut next = self.next;
        for (id, agent) in &mut self.agents {
            let skip = agent.offered.is_some() || self.refused.contains(id) || !agent.reachable;
            if skip {
                continue;
            }
            next += 1;
            let offer = OfferId::new(&format!("offer-{next}"));
            agent.offered = Some(offer.clone());
            let reserved = reserved_of(agent, &self.tasks);
            let record = AgentRecord { host: id.as_str().into(), ..Default::default() };
            offers.push(Offer {
                id: offer,
                agent: id.clone(),
                record: Arc::new(record),
                free: agent.free,
                ports: agent.ports.clone(),
                reserved,
            });
        }
        self.next = next;
        if !offers.is_empty() {
            self.events.push_back(MesosEvent::Offers(offers));
        }
    }

    pub(crate) fn call(&mut self, effect: Effect) {
        match effect {
            Effect::Accept(accept) => self.accept(accept),
            Effect::Decline { offers, .. } => {
                for offer in offers {
                    if let Some(id) = self.take_offer(&offer) {
                        self.refused.insert(id);
                    }
                }
            }
            Effect::Kill { task, agent, .. } => {
                if let (Some(a), Some(t)) = (&agent, self.tasks.get(&task))
                    && t.agent != *a
                {
                    self.problems.push(format!("kill of {task} names {a}"));
                }
                self.kill(&task)
            }
            Effect::Acknowledge { task, uuid, .. } => self.acknowledge(&task, &uuid),
            Effect::AcknowledgeOperation { id, uuid, .. } => {
                if let Some(update) = self.operations.remove(&uuid) {
                    assert_eq!(update.id, id);
                    self.known_operations.remove(&id);
                }
            }
            Effect::Reconcile(tasks) => self.reconcile(tasks),
            Effect::ReconcileOperations(operations) => {
                for (id, agent) in operations {
                    let reachable = self.agents.get(&agent).is_some_and(|a| a.reachable);
                    let state = match self.known_operations.get(&id) {
                        _ if self.gone.get(&agent) == Some(&true) => OperationState::Gone,
                        _ if self.gone.get(&agent) == Some(&false) => OperationState::Unknown,
                        _ if !reachable => OperationState::Pending,
                        Some(state) => *state,
                        None => OperationState::Unknown,
                    };
                    let update = OperationUpdate {
                        id,
                        state,
                        agent: Some(agent),
                        uuid: None,
                        message: None,
                    };
                    self.events.push_back(MesosEvent::Operation(update));
                }
            }
            Effect::Revive => {
                self.suppressed = false;
                self.refused.clear();
            }
            Effect::Suppress => self.suppressed = true,
        }
    }

    fn take_offer(&mut self, offer: &OfferId) -> Option<AgentId> {
        let (id, agent) =
            self.agents.iter_mut().find(|(_, a)| a.offered.as_ref() == Some(offer))?;
        agent.offered = None;
        Some(id.clone())
    }

    fn accept(&mut self, accept: Accept) {
        let valid =
            accept.offers.iter().all(|o| self.take_offer(o).as_ref() == Some(&accept.agent));
        let silent = self.roll(15) || !self.agents.contains_key(&accept.agent);
        let valid = valid && !silent;
        for operation in accept.operations {
            if silent && !matches!(operation, Operation::Launch(_)) {
                continue;
            }
            match operation {
                Operation::Reserve { id, slot, resources, ports } => {
                    let ok = valid
                        && !self.roll(10)
                        && self.reserve(&accept.agent, slot, resources, &ports);
                    self.operation(id, &accept.agent, ok);
                }
                Operation::Unreserve { id, reserved } => {
                    let ok = valid && !self.roll(6) && self.unreserve(&accept.agent, &reserved);
                    self.operation(id, &accept.agent, ok);
                }
                Operation::Create { id, slot, volumes, .. } => {
                    let ok = valid
                        && !self.roll(10)
                        && volumes.iter().all(|one| self.create(&accept.agent, &slot, one));
                    self.operation(id, &accept.agent, ok);
                }
                Operation::Destroy { id, reserved } => {
                    let ok = valid && !self.roll(6) && self.destroy(&accept.agent, &reserved);
                    self.operation(id, &accept.agent, ok);
                }
                Operation::Launch(launch) => {
                    let id = launch.task.to_string();
                    self.note_launch(&id);
                    let ok = valid && self.start(&id, &launch);
                    self.answer_launch(&id, &accept.agent, valid, ok);
                }
                Operation::Fetch(fetch) => {
                    let id = fetch.task.to_string();
                    self.note_launch(&id);
                    let ok = valid && self.start_fetch(&id, &fetch);
                    self.answer_launch(&id, &accept.agent, valid, ok);
                }
            }
        }
    }

    fn note_launch(&mut self, id: &str) {
        if !self.launched.insert(id.to_owned()) {
            self.problems.push(format!("{id} was launched twice"));
        }
    }

    fn answer_launch(&mut self, id: &str, agent: &AgentId, valid: bool, ok: bool) {
        if !ok {
            let status = if valid { TaskStatus::Error } else { TaskStatus::Dropped };
            self.update(id, status, Some(agent.clone()));
        }
    }

    fn operation(&mut self, id: String, agent: &AgentId, ok: bool) {
        let state = if ok { OperationState::Finished } else { OperationState::Failed };
        let uuid = self.number().to_be_bytes().to_vec();
        self.known_operations.insert(id.clone(), state);
        let update = OperationUpdate {
            id,
            state,
            agent: Some(agent.clone()),
            uuid: Some(uuid.clone()),
            message: None,
        };
        self.operations.insert(uuid, update.clone());
        if !self.roll(4) {
            self.events.push_back(MesosEvent::Operation(update));
        }
    }

    fn reserve(&mut self, id: &AgentId, slot: SlotRef, need: Resources, ports: &[u16]) -> bool {
        let Some(agent) = self.agents.get_mut(id) else { return false };
        let fits = agent.free.fits(&need) && ports.iter().all(|p| agent.ports.contains(*p));
        if !fits {
            return false;
        }
        agent.free = agent.free.minus(&need);
        for port in ports {
            agent.ports.remove(*port);
        }
        let whole = agent.reserved.entry(slot).or_default();
        whole.0 = whole.0.plus(&need);
        whole.1.extend(ports.iter().map(|port| (*port, *port)));
        true
    }

    fn unreserve(&mut self, id: &AgentId, part: &Reserved) -> bool {
        let Some(agent) = self.agents.get_mut(id) else { return false };
        let Some(whole) = agent.reserved.get_mut(&part.slot) else { return false };
        let (resources, ports) = unused(&self.tasks, &part.slot, whole);
        if !resources.fits(&part.resources) || !part.ports.iter().all(|p| ports.contains(p)) {
            return false;
        }
        whole.0 = whole.0.minus(&part.resources);
        for port in part.ports.iter() {
            whole.1.remove(port);
        }
        if whole.0.is_empty() && whole.1.is_empty() {
            agent.reserved.remove(&part.slot);
        }
        agent.free = agent.free.plus(&part.resources);
        agent.ports.extend(part.ports.ranges().iter().copied());
        true
    }

    fn start(&mut self, id: &str, launch: &peloton_core::Launch) -> bool {
        if !self.mount(id, &launch.agent, &launch.volumes) {
            return false;
        }
        let Some(agent) = self.agents.get_mut(&launch.agent).filter(|a| a.reachable) else {
            return false;
        };
        if let Some(slot) = &launch.slot {
            let Some(whole) = agent.reserved.get(slot) else { return false };
            let (resources, ports) = unused(&self.tasks, slot, whole);
            let fits = resources.fits(&launch.resources);
            if !fits || !launch.ports.iter().all(|port| ports.contains(*port)) {
                return false;
            }
        } else {
            if !agent.free.fits(&launch.resources) {
                return false;
            }
            agent.free = agent.free.minus(&launch.resources);
            for port in &launch.ports {
                agent.ports.remove(*port);
            }
        }
        let task = Task {
            agent: launch.agent.clone(),
            volumes: launch.volumes.iter().map(|one| one.volume.id.clone()).collect(),
            fetches: None,
            slot: launch.slot.clone(),
            resources: launch.resources,
            ports: launch.ports.clone(),
            status: TaskStatus::Staging,
            grace_over: false,
            bad: launch.config.command.value == "bad",
        };
        self.tasks.insert(id.to_owned(), task);
        true
    }

    /// A task moves on by itself, or ends.
    pub(crate) fn progress(&mut self, id: &str, status: TaskStatus) {
        let Some(task) = self.tasks.get_mut(id) else { return };
        if !self.agents[&task.agent].reachable {
            return;
        }
        task.status = status;
        let agent = task.agent.clone();
        if let Some(url) = task.fetches.clone().filter(|_| status == TaskStatus::Finished) {
            let volume = task.volumes.first().cloned().unwrap_or_default();
            let volumes = self.agents.get_mut(&agent).map(|agent| &mut agent.volumes);
            if let Some(volume) = volumes.and_then(|all| all.get_mut(&volume)) {
                volume.content = Some(url);
            }
        }
        if !status.is_live() {
            self.free(id);
        }
        self.update(id, status, Some(agent));
    }

    fn free(&mut self, id: &str) {
        let Some(task) = self.tasks.remove(id) else { return };
        if task.slot.is_none()
            && let Some(agent) = self.agents.get_mut(&task.agent)
        {
            agent.free = agent.free.plus(&task.resources);
            agent.ports.extend(task.ports.iter().map(|p| (*p, *p)));
        }
    }

    fn kill(&mut self, id: &str) {
        match self.tasks.get_mut(id) {
            Some(task) if self.agents[&task.agent].reachable => task.grace_over = true,
            Some(_) => {}
            None => self.reconcile_one(id.to_owned(), None),
        }
    }

    fn update(&mut self, id: &str, status: TaskStatus, agent: Option<AgentId>) {
        let uuid = self.number().to_be_bytes().to_vec();
        let update = StatusUpdate {
            task: id.to_owned(),
            status,
            agent,
            uuid: Some(uuid.clone()),
            healthy: None,
            message: None,
            reason: None,
            exit_status: None,
        };
        self.unacknowledged.insert(uuid, update.clone());
        self.events.push_back(MesosEvent::Status(update));
    }

    fn acknowledge(&mut self, task: &str, uuid: &[u8]) {
        if let Some(update) = self.unacknowledged.remove(uuid) {
            assert_eq!(update.task, task);
        }
    }

    /// Updates that nobody acknowledged come again: the oldest of each task.
    pub(crate) fn send_again(&mut self) {
        let mut seen = BTreeSet::new();
        for update in self.unacknowledged.values() {
            let reachable = update
                .agent
                .as_ref()
                .is_none_or(|id| self.agents.get(id).is_some_and(|a| a.reachable));
            if reachable && seen.insert(update.task.clone()) {
                self.events.push_back(MesosEvent::Status(update.clone()));
            }
        }
        let operations: Vec<_> = self.operations.values().cloned().collect();
        self.events.extend(operations.into_iter().map(MesosEvent::Operation));
    }

    fn reconcile(&mut self, tasks: Vec<(peloton_model::TaskId, Option<AgentId>)>) {
        if tasks.is_empty() {
            let all: Vec<_> = self.tasks.keys().cloned().collect();
            all.into_iter().for_each(|id| self.reconcile_one(id, None));
        }
        for (task, agent) in tasks {
            self.reconcile_one(task.to_string(), agent);
        }
    }

    fn reconcile_one(&mut self, id: String, agent: Option<AgentId>) {
        let task = self.tasks.get(&id);
        let agent = task.map(|t| t.agent.clone()).or(agent);
        let reachable =
            agent.as_ref().and_then(|a| self.agents.get(a)).is_some_and(|a| a.reachable);
        let lost = agent.as_ref().and_then(|a| self.gone.get(a)).copied();
        let status = match task {
            _ if lost == Some(true) => TaskStatus::GoneByOperator,
            _ if lost == Some(false) => TaskStatus::Unknown,
            None if agent.is_none() => TaskStatus::Unknown,
            _ if !reachable => TaskStatus::Unreachable,
            Some(task) => task.status,
            None => TaskStatus::Gone,
        };
        self.events.push_back(MesosEvent::Status(StatusUpdate {
            task: id,
            status,
            agent,
            uuid: None,
            healthy: None,
            message: None,
            reason: Some("RECONCILIATION".to_owned()),
            exit_status: None,
        }));
    }

    pub(crate) fn cut_off(&mut self, id: &AgentId) {
        let Some(agent) = self.agents.get_mut(id).filter(|a| a.reachable) else { return };
        agent.reachable = false;
        agent.offered = None;
        let gone: Vec<_> =
            self.tasks.iter().filter(|(_, t)| t.agent == *id).map(|(t, _)| t.clone()).collect();
        for task in gone {
            self.update(&task, TaskStatus::Unreachable, Some(id.clone()));
        }
    }

    pub(crate) fn come_back(&mut self, id: &AgentId) {
        let Some(agent) = self.agents.get_mut(id).filter(|a| !a.reachable) else { return };
        agent.reachable = true;
        let back: Vec<_> = self
            .tasks
            .iter()
            .filter(|(_, t)| t.agent == *id)
            .map(|(t, task)| (t.clone(), task.status))
            .collect();
        for (task, status) in back {
            self.update(&task, status, Some(id.clone()));
        }
    }
}

/// What no task uses of a reservation.
pub(crate) fn unused(
    tasks: &BTreeMap<String, Task>,
    slot: &SlotRef,
    whole: &(Resources, PortSet),
) -> (Resources, PortSet) {
    let (mut resources, mut ports) = whole.clone();
    for task in tasks.values().filter(|task| task.slot.as_ref() == Some(slot)) {
        resources = resources.minus(&task.resources);
        for port in &task.ports {
            ports.remove(*port);
        }
    }
    (resources, ports)
}
