//! Offers: each is used or given back in the step in which it comes; none is held.

use crate::input::{Offer, Reserved, SlotRef};
use crate::job::Job;
use crate::output::{Accept, Effect, Launch, Operation};
use crate::shard::Shard;
use crate::slots::{reserve_id, unreserve_id};
use peloton_model::job::{JobConfig, JobKind, Strategy};
use peloton_model::{
    AgentId, AgentRecord, InstanceId, JobId, OfferId, PortSet, SlotId, SlotRecord, SlotState,
    UnixMs,
};
use peloton_placement::{Candidate, Existing, Request, place};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

/// For how long instances of a job that spreads wait for agents that are not offered yet, in milliseconds:
/// two rounds of Mesos's allocator.
const SPREAD_PATIENCE_MS: u64 = 2_000;

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
            for reserved in offer.reserved {
                self.reserved(&offer.agent, &offer.record, reserved, &mut bundles[at]);
            }
        }
        if !candidates.is_empty() {
            self.place_all(&mut candidates, &mut bundles);
        }
        self.answer(candidates, bundles);
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
            let id = unreserve_id(&name, &mut self.ctx);
            bundle.reserves.push(Operation::Unreserve { id, reserved });
            return;
        };
        let Some(held) = job.slots.get_mut(&(i, slot)) else { return };
        if held.record.state == SlotState::Releasing {
            let id = unreserve_id(&name, &mut self.ctx);
            held.seen_at = self.ctx.now;
            held.unreserve = Some(id.clone());
            bundle.reserves.push(Operation::Unreserve { id, reserved });
            return;
        }
        job.slot_is_there(i, slot, &mut self.ctx);
        bundle.launches.extend(job.resume(i, slot, agent, record, &reserved, &mut self.ctx));
    }

    /// Places what waits for any agent, the jobs of higher priority first.
    fn place_all(&mut self, candidates: &mut [Candidate], bundles: &mut [Bundle]) {
        let priority = |job: &Job| job.config().map_or(0, |config| config.sla.priority);
        let mut order: Vec<(Reverse<u32>, JobId)> = self
            .ctx
            .demand
            .lines
            .iter()
            .filter_map(|id| self.jobs.get(id).filter(|job| !job.to_place.is_empty()))
            .map(|job| (Reverse(priority(job)), job.id.clone()))
            .collect();
        order.sort_unstable();
        let known = self.ctx.agents_seen_lately();
        for (_, id) in order {
            let Some(job) = self.jobs.get_mut(&id) else { continue };
            let Some(config) = job.config().cloned() else { continue };
            let placed = {
                let existing: Vec<_> = job
                    .placed
                    .iter()
                    .map(|(agent, count)| Existing {
                        agent,
                        record: self.ctx.agents.get(agent).map(|a| a.record.as_ref()),
                        count: *count,
                    })
                    .collect();
                let count = job.place_now(candidates.len(), known, self.ctx.now);
                place(candidates, &Request { config: &config, count, existing: &existing })
            };
            if placed.waiting.is_none() && placed.assignments.len() < job.to_place.len() {
                // Held back for agents that are not offered yet.
                self.ctx.want_offers_now();
            }
            let waiting: Vec<_> =
                job.to_place.iter().copied().take(placed.assignments.len()).collect();
            for (i, assignment) in waiting.into_iter().zip(placed.assignments) {
                let candidate = &candidates[assignment.candidate];
                let bundle = &mut bundles[assignment.candidate];
                job.place_one(i, &config, candidate, assignment.ports, bundle, &mut self.ctx);
            }
            if job.unplaced != placed.waiting {
                job.unplaced = placed.waiting;
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
                Operation::Reserve { slot, .. } => (&slot.job, slot.instance),
                // That the slot is given up was decided, and written, in an earlier step; or nobody
                // knows it.
                Operation::Unreserve { .. } => continue,
            };
            if let Some(job) = self.jobs.get_mut(job) {
                job.flush_one(i, &mut self.ctx);
            }
        }
    }
}

impl Job {
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
        ctx: &mut crate::ctx::Ctx,
    ) -> Option<Operation> {
        if !self.to_resume.contains(&i) || self.own_slot(i) != Some(slot) {
            return None;
        }
        let config = self.config()?.clone();
        let held = &self.slots.get(&(i, slot))?.record;
        let whole = reserved.resources.fits(&held.resources)
            && held.ports.iter().all(|port| reserved.ports.contains(*port));
        if !whole {
            return None;
        }
        let (resources, ports) = (held.resources, held.ports.clone());
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
        })))
    }

    /// Launches on a new place: services in a slot made for it, batch on what is free.
    fn place_one(
        &mut self,
        i: InstanceId,
        config: &Arc<JobConfig>,
        candidate: &Candidate,
        ports: Vec<u16>,
        bundle: &mut Bundle,
        ctx: &mut crate::ctx::Ctx,
    ) {
        let run = self.next_run(i);
        let resources = config.resource.scalars();
        let agent = &candidate.agent;
        let slot: Option<SlotRef> = (config.kind == JobKind::Service).then(|| {
            let slot = SlotId(run);
            let record = SlotRecord::new(agent.clone(), resources, ports.clone(), ctx.now);
            self.add_slot(i, slot, record, ctx);
            self.slot_ref(i, slot)
        });
        let own = slot.as_ref().map(|name| name.slot);
        self.update(i, ctx, |instance| instance.record.slot = own);
        self.assign(i, run, agent, &candidate.record.host, &ports, ctx);
        if let Some(name) = &slot {
            bundle.reserves.push(Operation::Reserve {
                id: reserve_id(name),
                slot: name.clone(),
                resources,
                ports: ports.clone(),
            });
        }
        bundle.launches.push(Operation::Launch(Box::new(Launch {
            task: peloton_model::TaskId { job: self.id.clone(), instance: i, run },
            agent: agent.clone(),
            config: config.clone(),
            slot,
            principal: None,
            resources,
            ports,
        })));
    }
}
