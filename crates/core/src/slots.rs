//! Slots: what is reserved for an instance, from the decision until Mesos has it back.
//!
//! A slot's record comes before its reservation and goes after it. Between, three things tell where
//! it is: a task that runs in it, an offer of it, and the status of the operation that made or
//! ended it. Where none of them has spoken, Mesos is asked; where it knows nothing, the record goes,
//! and should the reservation turn up after all, it is a leak and released as such.

use crate::ctx::{Ctx, Timer};
use crate::input::{OperationState, OperationUpdate, SlotRef};
use crate::instance::{Ended, Instance};
use crate::job::{Job, place};
use crate::output::Effect;
use crate::shard::Shard;
use crate::volumes::{create_id, destroy_id};
use peloton_model::{
    AgentId, Amount, InstanceId, JobId, SlotId, SlotRecord, SlotState, TaskId, TaskState, UnixMs,
    VolumeState,
};
use std::collections::BTreeSet;
use std::ops::RangeInclusive;

/// How often Mesos is asked about a slot that it has not told of: at first, and at most, in milliseconds.
const ASK_AGAIN_MS: (u64, u64) = (10_000, 300_000);
/// A reservation to be released that its agent, when it was offered after this time, did not bring
/// along, and of whose release Mesos knows nothing, is not there; in milliseconds.
const UNSEEN_MS: u64 = 30_000;

/// Sweeps in a row that must miss a slot before it counts as taken away: one may cross a task's end.
pub(crate) const MISSED_SWEEPS: u32 = 2;

/// A slot: its record, and what need not outlive the process.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) record: SlotRecord,
    /// The operation that ends it, once one was sent.
    pub(crate) unreserve: Option<String>,
    /// When it was last known to be there, or began to be wanted.
    pub(crate) seen_at: UnixMs,
    /// When Mesos is asked next, and the wait after that.
    timer: Option<UnixMs>,
    again_ms: u64,
    /// Sweeps in a row that should have brought it, and did not.
    missed: u32,
    /// Before then no task is launched that fills a volume of it.
    pub(crate) fill_at: UnixMs,
    /// Of its volumes, the ones that offers have brought since the last sweep.
    pub(crate) seen_volumes: BTreeSet<String>,
    /// Sweeps in a row that missed a volume that is to go.
    pub(crate) missed_volumes: u32,
    /// What was last offered of it beside its volumes since the last sweep, and what was more than its record
    /// tells then.
    pub(crate) seen_part: Amount,
    more: Option<Amount>,
}

impl Slot {
    pub(crate) fn new(record: SlotRecord, now: UnixMs) -> Self {
        let again_ms = ASK_AGAIN_MS.0;
        Self {
            record,
            unreserve: None,
            seen_at: now,
            timer: None,
            again_ms,
            missed: 0,
            fill_at: 0,
            seen_volumes: BTreeSet::new(),
            missed_volumes: 0,
            seen_part: Amount::default(),
            more: None,
        }
    }

    /// Whether its instance keeps it.
    pub(crate) fn is_kept(&self) -> bool {
        self.record.state != SlotState::Releasing
    }

    /// Whether there is more of it than its record tells, twice in a row the same: an operation of which
    /// Mesos knew nothing any more was done after all.
    fn has_more(&mut self) -> bool {
        let reserved = self.record.reserved();
        let more = self.seen_part != reserved && self.seen_part.covers(&reserved);
        let now = more.then(|| self.seen_part.clone());
        let before = std::mem::replace(&mut self.more, now.clone());
        now.is_some() && now == before
    }

    /// Whether an operation on what is reserved for it is under way, and it is kept.
    pub(crate) fn is_resized(&self) -> bool {
        self.is_kept() && self.is_busy()
    }
}

/// The id of the operation that makes a slot.
pub(crate) fn reserve_id(slot: &SlotRef) -> String {
    format!("reserve/{slot}")
}

/// The id of an operation that ends a slot; each try has its own, as Mesos wants them unique.
pub(crate) fn unreserve_id(slot: &SlotRef, ctx: &mut Ctx) -> String {
    let number = ctx.unique();
    format!("unreserve/{slot}/{}-{number}", ctx.now)
}

/// The id of an operation that changes how much of a slot is reserved.
pub(crate) fn resize_id(slot: &SlotRef, number: u64) -> String {
    format!("resize/{slot}/{number}")
}

/// The keys of all slots of an instance.
pub(crate) fn slots_of(i: InstanceId) -> RangeInclusive<(InstanceId, SlotId)> {
    (i, SlotId(0))..=(i, SlotId(u64::MAX))
}

/// What an operation does with its slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    Make,
    End,
    /// By the number of the slot's [`peloton_model::Resize`].
    Resize(u64),
    /// Makes volumes of it, or destroys them, by the number that they have meanwhile.
    Volumes(u64),
}

/// The slot that an operation is about, and what it does with it.
fn parse_operation(id: &str) -> Option<(Does, SlotRef)> {
    let mut parts = id.split('/');
    let kind = parts.next()?;
    let job = JobId::new(parts.next()?).ok()?;
    let instance = parts.next()?.parse().ok()?;
    let slot = SlotId(parts.next()?.parse().ok()?);
    let does = match kind {
        "reserve" => Does::Make,
        "unreserve" => Does::End,
        "resize" => Does::Resize(parts.next()?.parse().ok()?),
        "create" | "destroy" => Does::Volumes(parts.next()?.parse().ok()?),
        _ => return None,
    };
    Some((does, SlotRef { job, instance, slot }))
}

fn in_use(instances: &[Instance], i: InstanceId, slot: SlotId) -> bool {
    instances
        .get(i as usize)
        .is_some_and(|x| x.record.state.is_live() && x.record.slot == Some(slot))
}

impl Job {
    pub(crate) fn slot_ref(&self, i: InstanceId, slot: SlotId) -> SlotRef {
        SlotRef { job: self.id.clone(), instance: i, slot }
    }

    pub(crate) fn add_slot(
        &mut self,
        i: InstanceId,
        slot: SlotId,
        record: SlotRecord,
        ctx: &mut Ctx,
    ) {
        ctx.use_agent(&record.agent);
        place(&mut self.placed, &record.agent, true);
        self.slots.insert((i, slot), Slot::new(record, ctx.now));
        self.top_run = self.top_run.max(slot.0);
        self.touch_slot(i, slot, ctx);
    }

    /// What is offered of an idle slot beside its volumes.
    pub(crate) fn note_part(&mut self, i: InstanceId, slot: SlotId, sum: &Amount) {
        let used = self.in_use(i, slot);
        if let Some(held) = self.slots.get_mut(&(i, slot)).filter(|_| !used) {
            held.seen_part = sum.clone();
        }
    }

    /// Whether a task runs in the slot, or may.
    pub(crate) fn in_use(&self, i: InstanceId, slot: SlotId) -> bool {
        in_use(&self.instances, i, slot)
    }

    /// Mesos has the reservation: a task runs in it, or it was offered.
    pub(crate) fn slot_is_there(&mut self, i: InstanceId, slot: SlotId, ctx: &mut Ctx) {
        if let Some(held) = self.slots.get_mut(&(i, slot)) {
            held.seen_at = ctx.now;
            held.missed = 0;
            if held.record.state == SlotState::Requested {
                held.record.state = SlotState::Held;
                self.touch_slot(i, slot, ctx);
                self.look_at(i, ctx);
            }
        }
    }

    /// Mesos does not have the reservation (any more).
    fn slot_is_gone(&mut self, i: InstanceId, slot: SlotId, ctx: &mut Ctx) {
        let Some(gone) = self.slots.remove(&(i, slot)) else { return };
        self.retain_volumes(i, slot, &gone, ctx);
        self.settle_chores(i, slot, ctx);
        if gone.is_kept() {
            place(&mut self.placed, &gone.record.agent, false);
        } else {
            ctx.demand.releasing = ctx.demand.releasing.saturating_sub(1);
        }
        ctx.leave_agent(&gone.record.agent);
        self.touch_slot(i, slot, ctx);
        self.settle_surplus(i, slot, ctx);
        self.slot_left(i, slot, &gone.record, ctx);
        if self.instances.get(i as usize).is_some_and(|x| x.record.slot == Some(slot)) {
            if !self.in_use(i, slot) {
                self.update(i, ctx, |instance| instance.record.slot = None);
            }
            self.line_up(i, ctx);
        }
    }

    /// Gives up every slot of an instance, or those on one agent: the durable decision. Mesos has them back
    /// once they are offered.
    pub(crate) fn release_slots(&mut self, i: InstanceId, on: Option<&AgentId>, ctx: &mut Ctx) {
        let here = |held: &Slot| on.is_none_or(|agent| held.record.agent == *agent);
        let slots = self.slots.range(slots_of(i)).filter(|(_, held)| here(held));
        let all: Vec<_> = slots.map(|((_, slot), _)| *slot).collect();
        for slot in all {
            self.release_slot(i, slot, ctx);
        }
    }

    pub(crate) fn release_slot(&mut self, i: InstanceId, slot: SlotId, ctx: &mut Ctx) {
        let Some(held) = self.slots.get_mut(&(i, slot)).filter(|held| held.is_kept()) else {
            return;
        };
        held.record.state = SlotState::Releasing;
        held.give_up_volumes();
        held.seen_at = ctx.now;
        held.again_ms = ASK_AGAIN_MS.0;
        place(&mut self.placed, &held.record.agent, false);
        ctx.demand.releasing += 1;
        let record = held.record.clone();
        ctx.want_offers_now();
        self.touch_slot(i, slot, ctx);
        self.settle_surplus(i, slot, ctx);
        self.slot_left(i, slot, &record, ctx);
        self.stop_fetches(i, slot, ctx);
        self.settle_chores(i, slot, ctx);
        self.arm_slot(i, slot, ctx);
    }

    /// Asks for the slot that an instance waits for, if Mesos has not told yet whether it is there.
    pub(crate) fn ask_for_slot(&mut self, i: InstanceId, ctx: &mut Ctx) {
        if let Some(slot) = self.own_slot(i)
            && !self.in_use(i, slot)
        {
            self.ask_about(i, slot, ctx);
        }
    }

    /// Asks whether the agent of an instance's slot is there, by way of the run that made the slot.
    pub(crate) fn ask_about_agent(&self, i: InstanceId, ctx: &mut Ctx) {
        if let Some(slot) = self.own_slot(i) {
            self.ask_about_agent_of(i, slot, ctx);
        }
    }

    fn ask_about_agent_of(&self, i: InstanceId, slot: SlotId, ctx: &mut Ctx) {
        if let Some(held) = self.slots.get(&(i, slot)) {
            let task = TaskId { job: self.id.clone(), instance: i, run: slot.0 };
            ctx.ask_tasks.insert(task, Some(held.record.agent.clone()));
        }
    }

    /// After a break of the connection: answers may have been lost, agents may have gone.
    pub(crate) fn ask_for_slots(&mut self, ctx: &mut Ctx) {
        let all: Vec<_> = self.slots.keys().copied().collect();
        for (i, slot) in all {
            let resizes = self.slots.get(&(i, slot)).is_some_and(|held| held.is_resized());
            if resizes || !self.in_use(i, slot) {
                if let Some(held) = self.slots.get_mut(&(i, slot)) {
                    held.again_ms = ASK_AGAIN_MS.0;
                }
                self.ask_about_agent_of(i, slot, ctx);
                self.ask_about(i, slot, ctx);
            }
            self.stop_fetches(i, slot, ctx);
        }
    }

    fn ask_about(&mut self, i: InstanceId, slot: SlotId, ctx: &mut Ctx) {
        let name = self.slot_ref(i, slot);
        let Some(held) = self.slots.get(&(i, slot)) else { return };
        for volume in &held.record.volumes {
            let id = match volume.state {
                VolumeState::Creating => create_id(&name, volume.number),
                VolumeState::Destroying => destroy_id(&name, volume.number),
                _ => continue,
            };
            ctx.ask_operations.push((id, held.record.agent.clone()));
        }
        let operation = match held.record.state {
            SlotState::Requested => reserve_id(&name),
            SlotState::Held => match &held.record.resize {
                Some(resize) => resize_id(&name, resize.number),
                None if held.is_busy() => return self.arm_slot(i, slot, ctx),
                None => return,
            },
            // Of these there is nothing to ask until nothing is left but what is to stay.
            SlotState::Releasing if held.record.volumes.iter().any(|volume| volume.drop) => {
                return self.arm_slot(i, slot, ctx);
            }
            SlotState::Retained => return,
            // Where no release was sent by this process, the id is one that Mesos cannot know: its
            // answer says "unknown", which is what it knows of the release.
            SlotState::Releasing => match &held.unreserve {
                Some(id) => id.clone(),
                None => unreserve_id(&name, ctx),
            },
        };
        ctx.ask_operations.push((operation, held.record.agent.clone()));
        self.arm_slot(i, slot, ctx);
    }

    /// Sets the next time to ask, if none is set.
    pub(crate) fn arm_slot(&mut self, i: InstanceId, slot: SlotId, ctx: &mut Ctx) {
        let id = self.id.clone();
        if let Some(held) = self.slots.get_mut(&(i, slot))
            && held.timer.is_none_or(|at| at <= ctx.now)
        {
            let at = ctx.now + held.again_ms;
            held.again_ms = (held.again_ms * 2).min(ASK_AGAIN_MS.1);
            held.timer = Some(at);
            ctx.arm(at, Timer::Slot(id, i, slot));
        }
    }

    pub(crate) fn slot_timer(&mut self, i: InstanceId, slot: SlotId, ctx: &mut Ctx) {
        let Some(held) = self.slots.get_mut(&(i, slot)) else { return };
        if held.timer.is_some_and(|at| at <= ctx.now) {
            held.timer = None;
        }
        self.ask_for_fetches(i, slot, ctx);
        self.settle_chores(i, slot, ctx);
        let Some(held) = self.slots.get(&(i, slot)) else { return };
        let resizes = held.is_resized();
        if self.in_use(i, slot) {
            if resizes {
                self.ask_about(i, slot, ctx);
            }
            return;
        }
        if self.slot_is_on_unknown_agent(i, slot, ctx) {
            self.slot_is_gone(i, slot, ctx);
            return;
        }
        self.ask_about_agent_of(i, slot, ctx);
        self.ask_about(i, slot, ctx);
    }

    /// Whether a slot to be released is on an agent that Mesos did not know, or could not reach, for so
    /// long that nothing waits for it any more. Should the agent come back, its reservation is a leak
    /// that is released when it is offered.
    fn slot_is_on_unknown_agent(&self, i: InstanceId, slot: SlotId, ctx: &Ctx) -> bool {
        let Some(held) = self.slots.get(&(i, slot)).filter(|held| !held.is_kept()) else {
            return false;
        };
        let patience = ctx.settings.forget_agent_ms;
        let away = ctx.away_since(&held.record.agent);
        away.is_some_and(|since| ctx.now.saturating_sub(since.max(ctx.subscribed_at)) > patience)
    }

    /// The instance waits for its slot for too long, counted from when it could have been offered: an
    /// operator may have taken the reservation away, or the agent stays away.
    pub(crate) fn slot_overdue(&mut self, i: InstanceId, ctx: &mut Ctx) {
        let Some(slot) = self.own_slot(i) else { return };
        let Some(instance) = self.instances.get(i as usize) else { return };
        let due = instance.waiting_since.max(ctx.demand.open_since) + ctx.settings.slot_wait_ms;
        let Some(agent) = self.slots.get(&(i, slot)).map(|held| held.record.agent.clone()) else {
            return;
        };
        let seen_at = ctx.agents.get(&agent).map_or(0, |known| known.seen_at);
        let away = ctx.away_since(&agent).is_some();
        if due > ctx.now {
            self.arm_instance(i, due, ctx);
        } else if !ctx.connected
            || (away && ctx.is_mass_event(&agent))
            || !(away || seen_at >= ctx.subscribed_at)
        {
            // Nothing is known of the agent in this session: ask, and look again.
            self.ask_about_agent(i, ctx);
            ctx.ask_agents.insert(agent);
            self.arm_instance(i, ctx.now + ASK_AGAIN_MS.0, ctx);
        } else if self.waits_for_volumes(i, slot, ctx) || self.waits_for_upgrade(i, slot, ctx) {
            self.arm_instance(i, ctx.now + ctx.settings.slot_wait_ms, ctx);
        } else {
            self.release_slot(i, slot, ctx);
            let why = "its slot was not offered in time; it is placed anew";
            self.update(i, ctx, |instance| {
                instance.record.message = Some(why.into());
                instance.record.slot = None;
            });
            self.line_up(i, ctx);
        }
    }

    /// Whether a slot is there, and only does not serve yet what an upgrade makes of its instance.
    fn waits_for_upgrade(&self, i: InstanceId, slot: SlotId, ctx: &Ctx) -> bool {
        let open = self.upgrade.as_ref().is_some_and(|upgrade| upgrade.is_open());
        let held = self.slots.get(&(i, slot));
        open && held.is_some_and(|held| held.seen_at + ctx.settings.slot_wait_ms > ctx.now)
    }

    /// After a sweep that began at `since`: a slot that nothing runs in, and that its agent's offers did
    /// not bring along twice in a row, was taken away by an operator. Where the agent was not offered at
    /// all, Mesos is asked: of one that is gone it tells only about tasks.
    pub(crate) fn audit_slots(&mut self, since: UnixMs, ctx: &mut Ctx) {
        let (mut gone, mut short, mut ask) = (Vec::new(), Vec::new(), Vec::new());
        let mut surplus = Vec::new();
        let instances = &self.instances;
        for ((i, slot), held) in &mut self.slots {
            let used = in_use(instances, *i, *slot);
            let offered = ctx.agents.get(&held.record.agent).is_some_and(|a| a.offered_at >= since);
            let held_whole = held.record.state == SlotState::Held
                && held.fetches().next().is_none()
                && !held.is_busy();
            if used || !offered || held.seen_at >= since || !held_whole {
                held.missed = 0;
                if !used && offered && held_whole && held.has_more() {
                    surplus.push((*i, *slot));
                } else {
                    held.seen_part = Amount::default();
                }
                if !used && !offered {
                    ask.push((*i, *slot));
                }
                continue;
            }
            held.missed += 1;
            if held.missed < MISSED_SWEEPS {
                held.seen_part = Amount::default();
                continue;
            }
            held.missed = 0;
            if held.record.is_tied() {
                short.push((*i, *slot));
            } else {
                gone.push((*i, *slot));
            }
        }
        for (i, slot) in gone {
            self.slot_is_gone(i, slot, ctx);
        }
        for (i, slot) in short.into_iter().chain(surplus) {
            self.slot_is_other(i, slot, ctx);
        }
        for (i, slot) in ask {
            self.ask_about_agent_of(i, slot, ctx);
        }
    }

    fn reserve_update(&mut self, name: &SlotRef, update: &OperationUpdate, ctx: &mut Ctx) {
        let (i, slot) = (name.instance, name.slot);
        let Some(held) = self.slots.get(&(i, slot)) else { return };
        match update.state {
            OperationState::Pending | OperationState::Recovering => {}
            OperationState::Finished => self.slot_is_there(i, slot, ctx),
            OperationState::Gone => self.lose_slot(i, slot, ctx),
            // The launch that came with it fails by itself, and tells.
            OperationState::Failed | OperationState::Unknown
                if held.record.state == SlotState::Requested =>
            {
                if !self.in_use(i, slot) {
                    self.slot_is_gone(i, slot, ctx);
                } else if update.state == OperationState::Failed {
                    let message = update.message.as_deref().unwrap_or("no reason given");
                    let why = format!("the reservation failed: {message}");
                    self.update(i, ctx, |instance| instance.record.message = Some(why.into()));
                }
            }
            OperationState::Failed | OperationState::Unknown => {}
        }
    }

    fn unreserve_update(&mut self, name: &SlotRef, update: &OperationUpdate, ctx: &mut Ctx) {
        let (i, slot) = (name.instance, name.slot);
        let Some(held) = self.slots.get(&(i, slot)).filter(|held| !held.is_kept()) else { return };
        match update.state {
            OperationState::Gone => self.lose_slot(i, slot, ctx),
            _ if held.record.volumes.iter().any(|volume| volume.drop) => {}
            OperationState::Finished => self.slot_is_gone(i, slot, ctx),
            OperationState::Unknown => {
                // Its agent was offered, well after the release was decided or the slot last seen,
                // and did not bring it along.
                let since = held.seen_at.max(ctx.demand.open_since) + UNSEEN_MS;
                let agent = ctx.agents.get(&held.record.agent);
                if agent.is_some_and(|known| known.offered_at >= since) {
                    self.slot_is_gone(i, slot, ctx);
                } else {
                    ctx.want_offers_now();
                }
            }
            // It will be offered again.
            OperationState::Failed => ctx.want_offers_now(),
            OperationState::Pending | OperationState::Recovering => {}
        }
    }

    /// The agent is gone for good, and the reservation with it.
    pub(crate) fn lose_slot(&mut self, i: InstanceId, slot: SlotId, ctx: &mut Ctx) {
        if self.in_use(i, slot) {
            let why = "its agent is gone for good";
            self.update(i, ctx, |instance| instance.record.message = Some(why.into()));
            self.ended(i, Ended::Lost, ctx);
        }
        if let Some(held) = self.slots.get_mut(&(i, slot)) {
            held.record.volumes.clear();
        }
        self.slot_is_gone(i, slot, ctx);
        if self.instances.get(i as usize).is_some_and(|x| x.record.state == TaskState::Scheduling) {
            self.line_up(i, ctx);
        }
    }
}

impl Shard {
    /// The status of an operation.
    pub(crate) fn operation(&mut self, update: OperationUpdate) {
        if let Some(agent) = &update.agent
            && update.state == OperationState::Recovering
        {
            self.agent_is_expected(agent);
        }
        let parsed = parse_operation(&update.id);
        if let Some((Does::Volumes(number), name)) = &parsed
            && self.ctx.retained.contains_key(name)
        {
            self.retained_update(name, *number, &update);
        } else if let Some((does, name)) = parsed
            && let Some(job) = self.jobs.get_mut(&name.job)
        {
            match does {
                Does::Make => job.reserve_update(&name, &update, &mut self.ctx),
                Does::End => job.unreserve_update(&name, &update, &mut self.ctx),
                Does::Resize(number) => {
                    job.resize_update(&name, number, &update, &mut self.ctx);
                }
                Does::Volumes(number) => {
                    job.volume_update(&name, number, &update, &mut self.ctx);
                }
            }
        }
        if let Some(uuid) = update.uuid {
            let id = update.id;
            self.ctx.effect(Effect::AcknowledgeOperation { id, agent: update.agent, uuid });
        }
    }

    /// An agent is gone for good: every slot on it is lost, also those of instances that do not run.
    pub(crate) fn agent_gone(&mut self, agent: &AgentId) {
        self.retained_gone(agent);
        for job in self.jobs.values_mut() {
            let lost: Vec<_> = job
                .slots
                .iter()
                .filter(|(_, held)| held.record.agent == *agent)
                .map(|(key, _)| *key)
                .collect();
            for (i, slot) in lost {
                job.lose_slot(i, slot, &mut self.ctx);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operation_ids_tell_their_slot() {
        let mut ctx = Ctx::new(crate::Settings::new(peloton_model::ShardId(0), "peloton"));
        let slot = SlotRef { job: JobId::new("a-1.b").unwrap(), instance: 3, slot: SlotId(7) };
        assert_eq!(parse_operation(&reserve_id(&slot)), Some((Does::Make, slot.clone())));
        assert_eq!(parse_operation(&resize_id(&slot, 9)), Some((Does::Resize(9), slot.clone())));
        let (one, other) = (unreserve_id(&slot, &mut ctx), unreserve_id(&slot, &mut ctx));
        assert_ne!(one, other);
        assert_eq!(parse_operation(&one), Some((Does::End, slot.clone())));
        for id in [create_id(&slot, 8), destroy_id(&slot, 8)] {
            assert_eq!(parse_operation(&id), Some((Does::Volumes(8), slot.clone())));
        }
        for bad in ["", "reserve/a", "other/a/1/2", "reserve/a/x/2", "resize/a/1/2"] {
            assert_eq!(parse_operation(bad), None, "{bad}");
        }
    }
}
