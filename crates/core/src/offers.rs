//! Offers: each is used or given back in the step in which it comes; none is held.

use crate::ctx::Ctx;
use crate::input::{Offer, Reserved, SlotRef};
use crate::job::{self, Job};
use crate::output::{Accept, Effect, Launch, Operation};
use crate::shard::Shard;
use crate::slots::{reserve_id, unreserve_id};
use crate::upgrade::prepare::leaving;
use crate::volumes::missing_volumes;
use peloton_model::job::{JobConfig, JobKind, PortConfig, Strategy};
use peloton_model::{
    AgentId, AgentRecord, Amount, InstanceId, JobId, OfferId, PortSet, Resources, SlotId,
    SlotRecord, SlotState, Stage, UnixMs, Version, Waiting,
};
use peloton_placement::{Candidate, Existing, Request, place};
use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

/// For how long instances of a job that spreads wait for agents that are not offered yet, in milliseconds:
/// two rounds of Mesos's allocator.
const SPREAD_PATIENCE_MS: u64 = 2_000;

/// Instances that are placed alike.
struct Group {
    version: Version,
    /// How many are to be placed.
    count: u32,
    /// Which; where they are not told apart, the first of those that wait.
    instances: Option<Vec<InstanceId>>,
    /// Whether they run, and only a slot is to be reserved.
    moves: bool,
}

/// The offers of one agent, and what is done with them.
struct Bundle {
    offers: Vec<OfferId>,
    /// Reservations are made before anything runs in them.
    reserves: Vec<Operation>,
    launches: Vec<Operation>,
}

impl Shard {
    pub(crate) fn offers(&mut self, offers: Vec<Offer>) {
        let (mut candidates, mut bundles) = (Vec::new(), Vec::new());
        let mut pieces: BTreeMap<SlotRef, Amount> = BTreeMap::new();
        let mut to_fill: Vec<(usize, Reserved)> = Vec::new();
        let mut index: BTreeMap<AgentId, usize> = BTreeMap::new();
        for offer in offers {
            self.ctx.see_agent(&offer.agent, &offer.record);
            let at = *index.entry(offer.agent.clone()).or_insert_with(|| {
                candidates.push(Candidate {
                    agent: offer.agent.clone(),
                    record: offer.record.clone(),
                    free: Default::default(),
                    ports: PortSet::default(),
                });
                bundles.push(Bundle { offers: vec![], reserves: vec![], launches: vec![] });
                bundles.len() - 1
            });
            let candidate: &mut Candidate = &mut candidates[at];
            candidate.free = candidate.free.plus(&offer.free);
            candidate.ports.extend(offer.ports.ranges().iter().copied());
            bundles[at].offers.push(offer.id);
            for reserved in self.ctx.attribute(offer.reserved) {
                self.note_piece(&offer.agent, &reserved, &mut pieces);
                if !reserved.volumes.is_empty() {
                    to_fill.push((at, reserved.clone()));
                }
                self.reserved(&offer.agent, &offer.record, reserved, &mut bundles[at]);
            }
        }
        for (at, reserved) in to_fill {
            let Some(job) = self.jobs.get_mut(&reserved.slot.job) else { continue };
            let fill = job.fill_volume(&reserved, &mut candidates[at], &mut self.ctx);
            bundles[at].launches.extend(fill);
        }
        self.reserve_more(
            &mut candidates,
            &mut bundles,
            |job| !job.chores.is_empty(),
            Job::mend_on,
        );
        let widens = |job: &Job| !job.to_widen.is_empty();
        self.reserve_more(&mut candidates, &mut bundles, widens, Job::widen_on);
        if !candidates.is_empty() {
            self.place_all(&mut candidates, &mut bundles);
        }
        self.answer(candidates, bundles);
    }

    /// Jobs in line that have a wish get more reserved in slots that they have on the agents.
    fn reserve_more(
        &mut self,
        candidates: &mut [Candidate],
        bundles: &mut [Bundle],
        wishes: impl Fn(&Job) -> bool,
        reserve: fn(&mut Job, &mut Candidate, &mut Ctx) -> Vec<Operation>,
    ) {
        let waits = |id: &&JobId| self.jobs.get(*id).is_some_and(&wishes);
        let waiting: Vec<JobId> = self.ctx.demand.lines.iter().filter(waits).cloned().collect();
        if waiting.is_empty() {
            return;
        }
        for (candidate, bundle) in candidates.iter_mut().zip(bundles) {
            for id in &waiting {
                if let Some(job) = self.jobs.get_mut(id) {
                    bundle.reserves.extend(reserve(job, candidate, &mut self.ctx));
                }
            }
        }
    }

    /// A slot that is offered is there, if all of it is: a part may be what an operator left of it, or what was
    /// reserved for it after he took the rest. Where a task uses it, the rest is not offered.
    fn note_piece(
        &mut self,
        agent: &AgentId,
        piece: &Reserved,
        pieces: &mut BTreeMap<SlotRef, Amount>,
    ) {
        let (i, slot) = (piece.slot.instance, piece.slot.slot);
        let Some(job) = self.jobs.get_mut(&piece.slot.job) else { return };
        let Some(held) = job.slots.get(&(i, slot)).filter(|held| held.record.agent == *agent)
        else {
            return;
        };
        let amount = Amount::new(piece.resources, piece.ports.iter());
        let sum = pieces.entry(piece.slot.clone()).or_default();
        *sum = sum.plus(&amount);
        let whole = job.in_use(i, slot)
            || held.record.resize.is_some()
            || sum.covers(&held.record.reserved());
        let sum = sum.clone();
        job.note_part(i, slot, &sum);
        if whole {
            job.slot_is_there(i, slot, &mut self.ctx);
        }
    }

    /// A reservation is offered: something is to run in it, it is to be given up, or nobody knows it.
    fn reserved(
        &mut self,
        agent: &AgentId,
        record: &Arc<AgentRecord>,
        reserved: Reserved,
        bundle: &mut Bundle,
    ) {
        let name = reserved.slot.clone();
        let (i, slot) = (name.instance, name.slot);
        let known = self.jobs.get_mut(&name.job).filter(|job| {
            job.slots.get(&(i, slot)).is_some_and(|held| held.record.agent == *agent)
        });
        let Some(job) = known else {
            if self.ctx.retained.contains_key(&name) {
                let operations = self.retained_offered(&reserved);
                bundle.reserves.extend(operations);
                return;
            }
            // Volumes that no record knows may be all that is left of somebody's data.
            let plain = !reserved.resources.is_empty() || !reserved.ports.is_empty();
            if !plain || !reserved.volumes.is_empty() {
                return;
            }
            let id = unreserve_id(&name, &mut self.ctx);
            bundle.reserves.push(Operation::Unreserve { id, reserved });
            return;
        };
        job.note_volumes(i, slot, &reserved.volumes, &mut self.ctx);
        let Some(held) = job.slots.get_mut(&(i, slot)) else { return };
        if held.record.state == SlotState::Releasing {
            let plain = !reserved.resources.is_empty() || !reserved.ports.is_empty();
            if held.record.volumes.iter().any(|volume| volume.drop) || !plain {
                let work = job.work_on_volumes(i, slot, &reserved, &mut self.ctx);
                bundle.reserves.extend(work);
                return;
            }
            let id = unreserve_id(&name, &mut self.ctx);
            held.seen_at = self.ctx.now;
            held.unreserve = Some(id.clone());
            bundle.reserves.push(Operation::Unreserve { id, reserved });
            return;
        }
        bundle.reserves.extend(job.work_on_volumes(i, slot, &reserved, &mut self.ctx));
        bundle.reserves.extend(job.trim_slot(i, slot, &reserved, &mut self.ctx));
        bundle.launches.extend(job.resume(i, slot, agent, record, &reserved, &mut self.ctx));
    }

    /// Places what waits for any agent, the jobs of higher priority first.
    fn place_all(&mut self, candidates: &mut [Candidate], bundles: &mut [Bundle]) {
        let priority = |job: &Job| job.config().map_or(0, |config| config.sla.priority);
        let waits = |job: &Job| !job.to_place.is_empty() || !job.to_move.is_empty();
        let mut order: Vec<(Reverse<u32>, JobId)> = self
            .ctx
            .demand
            .lines
            .iter()
            .filter_map(|id| self.jobs.get(id).filter(|job| waits(job)))
            .map(|job| (Reverse(priority(job)), job.id.clone()))
            .collect();
        order.sort_unstable();
        let known = self.ctx.agents_seen_lately();
        for (_, id) in order {
            let Some(job) = self.jobs.get_mut(&id) else { continue };
            let mut waiting = None;
            for group in job.groups(candidates.len(), known, self.ctx.now) {
                let found = job.place_group(&group, candidates, bundles, &mut self.ctx);
                if group.moves {
                    found.iter().for_each(|lack| job.note_lack(&lack.reason));
                } else {
                    waiting = waiting.or(found);
                }
            }
            if job.unplaced != waiting {
                job.unplaced = waiting;
                job.touch_job(&mut self.ctx);
            }
        }
    }

    fn answer(&mut self, candidates: Vec<Candidate>, bundles: Vec<Bundle>) {
        let refuse_ms = self.ctx.refuse_ms();
        let mut unused = Vec::new();
        for (candidate, bundle) in candidates.into_iter().zip(bundles) {
            let mut operations = bundle.reserves;
            operations.extend(bundle.launches);
            #[cfg(feature = "planted-bugs")]
            if self.ctx.settings.bug == Some(crate::Bug::ForgetRelease) {
                operations.retain(|operation| !matches!(operation, Operation::Unreserve { .. }));
            }
            if operations.is_empty() {
                unused.extend(bundle.offers);
            } else {
                let agent = candidate.agent;
                self.write_ahead(&agent, &operations);
                let accept = Accept { agent, offers: bundle.offers, operations, refuse_ms };
                self.ctx.early_effect(Effect::Accept(accept));
            }
        }
        if !unused.is_empty() {
            self.ctx.effect(Effect::Decline { offers: unused, refuse_ms });
        }
    }

    /// Writes all that an ACCEPT does, so that it can leave before the rest of the step is durable: a
    /// step may decide a hundred thousand launches.
    fn write_ahead(&mut self, agent: &AgentId, operations: &[Operation]) {
        self.ctx.flush_agent(agent.clone());
        for operation in operations {
            let (job, i) = match operation {
                Operation::Launch(launch) => (&launch.task.job, launch.task.instance),
                Operation::Fetch(fetch) => (&fetch.task.job, fetch.task.instance),
                Operation::Reserve { slot, .. } | Operation::Create { slot, .. } => {
                    (&slot.job, slot.instance)
                }
                // That a slot is given up was written in an earlier step, that a part of one is, was not.
                Operation::Unreserve { reserved, .. } | Operation::Destroy { reserved, .. } => {
                    (&reserved.slot.job, reserved.slot.instance)
                }
            };
            if let Some(job) = self.jobs.get_mut(job) {
                job.flush_one(i, &mut self.ctx);
            }
        }
    }
}

impl Job {
    /// What waits for any agent, by what it is to run there; those that run and look for another agent last.
    fn groups(&self, offered: usize, known: usize, now: UnixMs) -> Vec<Group> {
        let count = self.place_now(offered, known, now);
        let Some(upgrade) = self.upgrade.as_ref().filter(|upgrade| upgrade.is_open()) else {
            return vec![Group { version: self.version(), count, instances: None, moves: false }];
        };
        let group = |(version, all): (Version, Vec<InstanceId>), moves| Group {
            version,
            count: all.len() as u32,
            instances: Some(all),
            moves,
        };
        let mut by_version: BTreeMap<Version, Vec<InstanceId>> = BTreeMap::new();
        for i in self.to_place.iter().take(count as usize) {
            by_version.entry(self.aim(*i)).or_default().push(*i);
        }
        let mut groups: Vec<_> = by_version.into_iter().map(|all| group(all, false)).collect();
        if !self.to_move.is_empty() {
            let movers = self.to_move.iter().copied().collect();
            groups.push(group((upgrade.record.to, movers), true));
        }
        groups
    }

    /// Places a group; says why the rest of it waits.
    fn place_group(
        &mut self,
        group: &Group,
        candidates: &mut [Candidate],
        bundles: &mut [Bundle],
        ctx: &mut Ctx,
    ) -> Option<Waiting> {
        let config = self.configs.get(&group.version)?.clone();
        let mut there = Cow::Borrowed(&self.placed);
        if group.moves {
            let leaves = leaving(self, group.instances.iter().flatten());
            leaves.iter().for_each(|agent| job::place(there.to_mut(), agent, false));
        }
        let existing: Vec<_> = there
            .iter()
            .map(|(agent, count)| Existing {
                agent,
                record: ctx.agents.get(agent).map(|a| a.record.as_ref()),
                count: *count,
            })
            .collect();
        let request = Request { config: &config, count: group.count, existing: &existing };
        let placed = place(candidates, &request);
        if !group.moves && placed.waiting.is_none() && (group.count as usize) < self.to_place.len()
        {
            // Held back for agents that are not offered yet.
            ctx.want_offers_now();
        }
        let first = || self.to_place.iter().copied().take(placed.assignments.len()).collect();
        let instances = group.instances.clone().unwrap_or_else(first);
        for (i, assignment) in instances.into_iter().zip(placed.assignments) {
            let candidate = &candidates[assignment.candidate];
            let bundle = &mut bundles[assignment.candidate];
            if group.moves {
                let (slot, made) =
                    self.new_slot((i, group.version), &config, candidate, &assignment.ports, ctx);
                bundle.reserves.extend(made);
                self.moves_to(i, slot, ctx);
                self.arm_slot(i, slot, ctx);
            } else {
                self.place_one(i, &config, candidate, assignment.ports, bundle, ctx);
            }
        }
        placed.waiting
    }

    /// How many instances are to be placed on so many offered agents. Where other frameworks want
    /// offers, too, Mesos offers a few agents at a time. For a job that spreads, those get their share of the
    /// known ones at first, and all only when the others were not offered in time.
    fn place_now(&self, offered: usize, known: usize, now: UnixMs) -> u32 {
        let all = self.to_place.len();
        let spread = self.config().is_some_and(|c| c.placement.strategy == Strategy::Spread);
        let first = self.to_place.first().and_then(|i| self.instances.get(*i as usize));
        let waited_ms = first.map_or(0, |x| now.saturating_sub(x.waiting_since));
        let share = if spread && waited_ms < SPREAD_PATIENCE_MS && offered < known {
            all.saturating_mul(offered).div_ceil(known)
        } else {
            all
        };
        share as u32
    }

    /// Launches in the slot that was offered, if its instance waits for it.
    fn resume(
        &mut self,
        i: InstanceId,
        slot: SlotId,
        agent: &AgentId,
        record: &Arc<AgentRecord>,
        reserved: &Reserved,
        ctx: &mut Ctx,
    ) -> Option<Operation> {
        if !self.to_resume.contains(&i) || self.own_slot(i) != Some(slot) {
            return None;
        }
        let version = self.aim(i);
        let config = self.configs.get(&version)?.clone();
        let (resources, ports) = self.slots.get(&(i, slot))?.record.share_of(version);
        let ports = ports.to_vec();
        let has_volumes = self.slots.get(&(i, slot)).is_some_and(|held| {
            held.record.volumes_of(&config).all(|(_, volume)| volume.is_some())
        });
        if !has_volumes && self.slots.get(&(i, slot)).is_some_and(|held| held.record.is_tied()) {
            let why = "its slot lacks a volume of its configuration, and another one is there";
            self.update(i, ctx, |instance| instance.record.message = Some(why.into()));
            return None;
        }
        if !has_volumes || !serves(&config, &resources, &ports) {
            if let Some(upgrade) = self.upgrade.as_ref().filter(|upgrade| upgrade.is_open()) {
                // Of an upgrade that was replaced: the slot is being made to serve the next one. Where that has
                // ended half way, it serves the version that was proven last.
                if !upgrade.is_active() && version > upgrade.record.from {
                    self.update(i, ctx, |instance| instance.record.step = None);
                    ctx.want_offers_now();
                }
                return None;
            }
            // Left over from an upgrade in which the instance got nothing.
            self.release_slot(i, slot, ctx);
            self.update(i, ctx, |instance| instance.record.slot = None);
            self.line_up(i, ctx);
            return None;
        }
        let whole = reserved.resources.fits(&resources)
            && ports.iter().all(|port| reserved.ports.contains(*port));
        if !whole {
            return None;
        }
        let volumes = self.mounts(i, slot, &config, reserved)?;
        let run = self.next_run(i);
        self.assign(i, run, agent, &record.host, &ports, ctx);
        Some(Operation::Launch(Box::new(Launch {
            task: peloton_model::TaskId { job: self.id.clone(), instance: i, run },
            agent: agent.clone(),
            config,
            slot: Some(self.slot_ref(i, slot)),
            principal: reserved.principal.clone(),
            resources,
            ports,
            volumes,
            keep_image: self.goes_back(i),
        })))
    }

    /// Whether an instance is on its way back: then only what its agent has is to be used.
    fn goes_back(&self, i: InstanceId) -> bool {
        self.step(i).is_some_and(|step| matches!(step.stage, Stage::Back | Stage::Returned))
    }

    /// Decides a slot on an agent; the caller emits the operations that make it, and its volumes.
    fn new_slot(
        &mut self,
        (i, version): (InstanceId, Version),
        config: &JobConfig,
        candidate: &Candidate,
        ports: &[u16],
        ctx: &mut Ctx,
    ) -> (SlotId, Vec<Operation>) {
        let slot = SlotId(self.next_run(i));
        let resources = config.resource.scalars();
        let mut record =
            SlotRecord::new(candidate.agent.clone(), resources, ports.to_vec(), ctx.now);
        let upgrade = self.upgrade.as_ref().filter(|upgrade| upgrade.is_open());
        if upgrade.is_some_and(|upgrade| version > upgrade.record.from) {
            record.made_for = version;
        }
        let name = self.slot_ref(i, slot);
        // Their disk is reserved with the rest.
        record.volumes = missing_volumes(&record, &name, config, ctx);
        let has_volumes = !record.volumes.is_empty();
        self.add_slot(i, slot, record, ctx);
        if has_volumes {
            // What is left of a slot that never ran keeps its number.
            self.update(i, ctx, |x| x.record.fetched = x.record.fetched.max(slot.0));
        }
        let create = self.create_volumes(i, slot, None, ctx);
        let (id, ports) = (reserve_id(&name), ports.to_vec());
        let resources = config.scalars_with_volumes();
        let mut operations = vec![Operation::Reserve { id, slot: name, resources, ports }];
        operations.extend(create);
        (slot, operations)
    }

    /// Launches on a new place: services in a slot made for it, batch on what is free.
    fn place_one(
        &mut self,
        i: InstanceId,
        config: &Arc<JobConfig>,
        candidate: &Candidate,
        ports: Vec<u16>,
        bundle: &mut Bundle,
        ctx: &mut Ctx,
    ) {
        let run = self.next_run(i);
        let resources = config.resource.scalars();
        let agent = &candidate.agent;
        let mut own = None;
        if config.kind == JobKind::Service {
            let (slot, made) = self.new_slot((i, self.aim(i)), config, candidate, &ports, ctx);
            bundle.reserves.extend(made);
            own = Some(slot);
        }
        self.update(i, ctx, |instance| instance.record.slot = own);
        if !config.volumes.is_empty() {
            // It is launched once its volumes are there, when its slot is offered.
            self.line_up(i, ctx);
            if let Some(slot) = own {
                self.arm_slot(i, slot, ctx);
            }
            return;
        }
        self.assign(i, run, agent, &candidate.record.host, &ports, ctx);
        bundle.launches.push(Operation::Launch(Box::new(Launch {
            task: peloton_model::TaskId { job: self.id.clone(), instance: i, run },
            agent: agent.clone(),
            config: config.clone(),
            slot: own.map(|slot| self.slot_ref(i, slot)),
            principal: None,
            resources,
            ports,
            volumes: Vec::new(),
            keep_image: false,
        })));
    }
}

/// Whether what a slot holds for a version is what its configuration wants. Ports by their number are held
/// under it, the others under any.
fn serves(config: &JobConfig, resources: &Resources, ports: &[u16]) -> bool {
    let fixed =
        |(port, number): (&PortConfig, &u16)| port.value == 0 || port.value == u32::from(*number);
    resources.fits(&config.resource.scalars())
        && ports.len() == config.ports.len()
        && config.ports.iter().zip(ports).all(fixed)
}
