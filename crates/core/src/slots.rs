//! Slots: what is reserved for an instance, from the decision until Mesos has it back.
//!
//! A slot's record comes before its reservation and goes after it. Between, three things tell where
//! it is: a task that runs in it, an offer of it, and the status of the operation that made or
//! ended it. Where none of them has spoken, Mesos is asked; where it knows nothing, the record goes,
//! and should the reservation turn up after all, it is a leak and released as such.

use crate::ctx::{Ctx, Timer};
use crate::input::{OperationState, OperationUpdate, SlotRef};
use crate::instance::Ended;
use crate::job::Job;
use crate::output::Effect;
use crate::shard::Shard;
use peloton_model::{InstanceId, JobId, SlotId, SlotRecord, SlotState, TaskState, UnixMs};

/// How often Mesos is asked about an operation that it has not answered for, in milliseconds.
const ASK_AGAIN_MS: u64 = 10_000;
/// A reservation to be released that was not offered for this long, in milliseconds, while offers were
/// wanted, and of whose release Mesos knows nothing, is not there: allocation runs every second.
const UNSEEN_MS: u64 = 30_000;

/// A slot: its record, and what need not outlive the process.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) record: SlotRecord,
    /// The operation that ends it, once one was sent.
    pub(crate) unreserve: Option<String>,
    /// When it was last offered, or began to be wanted.
    pub(crate) seen_at: UnixMs,
}

/// The id of the operation that makes a slot.
pub(crate) fn reserve_id(slot: &SlotRef) -> String {
    format!("reserve/{slot}")
}

/// The id of an operation that ends a slot; each try has its own, as Mesos wants them unique.
pub(crate) fn unreserve_id(slot: &SlotRef, now: UnixMs) -> String {
    format!("unreserve/{slot}/{now}")
}

/// The slot that an operation is about, and whether it makes it.
fn parse_operation(id: &str) -> Option<(bool, SlotRef)> {
    let mut parts = id.split('/');
    let makes = match parts.next()? {
        "reserve" => true,
        "unreserve" => false,
        _ => return None,
    };
    let job = JobId::new(parts.next()?).ok()?;
    let instance = parts.next()?.parse().ok()?;
    let slot = SlotId(parts.next()?.parse().ok()?);
    Some((makes, SlotRef { job, instance, slot }))
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
        let slot_state = Slot { record, unreserve: None, seen_at: ctx.now };
        self.slots.insert((i, slot), slot_state);
        self.touch_slot(i, slot, ctx);
    }

    /// Whether a task runs in the slot, or may.
    pub(crate) fn in_use(&self, i: InstanceId, slot: SlotId) -> bool {
        self.instances.get(i as usize).is_some_and(|instance| {
            instance.record.state.is_live() && instance.record.slot == Some(slot)
        })
    }

    /// Mesos has the reservation: a task runs in it, or it was offered.
    pub(crate) fn slot_is_there(&mut self, i: InstanceId, slot: SlotId, ctx: &mut Ctx) {
        if let Some(held) = self.slots.get_mut(&(i, slot)) {
            held.seen_at = ctx.now;
            if held.record.state == SlotState::Requested {
                held.record.state = SlotState::Held;
                self.touch_slot(i, slot, ctx);
            }
        }
    }

    /// Mesos does not have the reservation (any more).
    fn slot_is_gone(&mut self, i: InstanceId, slot: SlotId, ctx: &mut Ctx) {
        let Some(gone) = self.slots.remove(&(i, slot)) else { return };
        if gone.record.state == SlotState::Releasing {
            ctx.demand.releasing = ctx.demand.releasing.saturating_sub(1);
        }
        ctx.leave_agent(&gone.record.agent);
        self.touch_slot(i, slot, ctx);
        if self.instances.get(i as usize).is_some_and(|x| x.record.slot == Some(slot)) {
            if !self.in_use(i, slot) {
                self.update(i, ctx, |instance| instance.record.slot = None);
            }
            self.line_up(i, ctx);
        }
    }

    /// Gives up every slot of an instance: the durable decision. Mesos has them back once they are offered.
    pub(crate) fn release_slots(&mut self, i: InstanceId, ctx: &mut Ctx) {
        let range = (i, SlotId(0))..=(i, SlotId(u64::MAX));
        let all: Vec<_> = self.slots.range(range).map(|((_, slot), _)| *slot).collect();
        for slot in all {
            self.release_slot(i, slot, ctx);
        }
    }

    pub(crate) fn release_slot(&mut self, i: InstanceId, slot: SlotId, ctx: &mut Ctx) {
        let Some(held) = self.slots.get_mut(&(i, slot)) else { return };
        if held.record.state == SlotState::Releasing {
            return;
        }
        held.record.state = SlotState::Releasing;
        held.seen_at = ctx.now;
        ctx.demand.releasing += 1;
        ctx.want_offers_now();
        ctx.arm(ctx.now + ASK_AGAIN_MS, Timer::Slot(self.id.clone(), i, slot));
        self.touch_slot(i, slot, ctx);
    }

    /// Asks for the slot that an instance waits for, if Mesos has not told yet whether it is there.
    pub(crate) fn ask_for_slot(&mut self, i: InstanceId, ctx: &mut Ctx) {
        if let Some(slot) = self.own_slot(i)
            && !self.in_use(i, slot)
        {
            self.ask_about(i, slot, ctx);
        }
    }

    /// After a break of the connection: answers may have been lost.
    pub(crate) fn ask_for_slots(&mut self, ctx: &mut Ctx) {
        let all: Vec<_> = self.slots.keys().copied().collect();
        for (i, slot) in all {
            if !self.in_use(i, slot) {
                self.ask_about(i, slot, ctx);
            }
        }
    }

    fn ask_about(&mut self, i: InstanceId, slot: SlotId, ctx: &mut Ctx) {
        let name = self.slot_ref(i, slot);
        let Some(held) = self.slots.get_mut(&(i, slot)) else { return };
        let operation = match held.record.state {
            SlotState::Requested => reserve_id(&name),
            SlotState::Held => return,
            // Without a release of this process's: any id of its kind finds out nothing, but the
            // answer says whether the agent is there, and starts the clock of `UNSEEN_MS`.
            SlotState::Releasing => {
                held.unreserve.clone().unwrap_or_else(|| unreserve_id(&name, held.record.since))
            }
        };
        ctx.effect(Effect::ReconcileOperations(vec![(operation, held.record.agent.clone())]));
        ctx.arm(ctx.now + ASK_AGAIN_MS, Timer::Slot(self.id.clone(), i, slot));
    }

    pub(crate) fn slot_timer(&mut self, i: InstanceId, slot: SlotId, ctx: &mut Ctx) {
        if !self.in_use(i, slot) {
            self.ask_about(i, slot, ctx);
        }
    }

    /// The instance waits for its slot for too long: an operator may have taken the reservation away.
    pub(crate) fn slot_overdue(&mut self, i: InstanceId, ctx: &mut Ctx) {
        let Some(slot) = self.own_slot(i) else { return };
        let Some(instance) = self.instances.get(i as usize) else { return };
        let due = instance.waiting_since + ctx.settings.slot_wait_ms;
        let agent = self.slots.get(&(i, slot)).map(|held| held.record.agent.clone());
        let away = agent.and_then(|id| ctx.agents.get(&id)?.unreachable_since);
        if due > ctx.now {
            self.arm_instance(i, due, ctx);
        } else if !ctx.connected || away.is_some_and(|since| ctx.too_many_unreachable(since)) {
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
}

impl Shard {
    /// The status of an operation.
    pub(crate) fn operation(&mut self, update: OperationUpdate) {
        if let Some((makes, name)) = parse_operation(&update.id)
            && let Some(job) = self.jobs.get_mut(&name.job)
        {
            if makes {
                job.reserve_update(&name, &update, &mut self.ctx);
            } else {
                job.unreserve_update(&name, &update, &mut self.ctx);
            }
        }
        if let Some(uuid) = update.uuid {
            self.ctx.effect(Effect::AcknowledgeOperation {
                id: update.id,
                agent: update.agent,
                uuid,
            });
        }
    }
}

impl Job {
    fn reserve_update(&mut self, name: &SlotRef, update: &OperationUpdate, ctx: &mut Ctx) {
        let (i, slot) = (name.instance, name.slot);
        let Some(held) = self.slots.get(&(i, slot)) else { return };
        match update.state {
            OperationState::Pending => {}
            OperationState::Finished => self.slot_is_there(i, slot, ctx),
            OperationState::Gone => {
                self.lose_slot(i, slot, ctx);
            }
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
        let Some(held) = self.slots.get(&(i, slot)) else { return };
        if held.record.state != SlotState::Releasing {
            return;
        }
        let unseen = ctx.now.saturating_sub(held.seen_at.max(ctx.demand.open_since));
        match update.state {
            OperationState::Finished | OperationState::Gone => self.slot_is_gone(i, slot, ctx),
            OperationState::Unknown if unseen >= UNSEEN_MS => self.slot_is_gone(i, slot, ctx),
            // It will be offered again.
            OperationState::Failed => ctx.want_offers_now(),
            OperationState::Unknown | OperationState::Pending => {}
        }
    }

    /// The agent is gone for good, and the reservation with it.
    pub(crate) fn lose_slot(&mut self, i: InstanceId, slot: SlotId, ctx: &mut Ctx) {
        if self.in_use(i, slot) {
            let why = "its agent is gone for good";
            self.update(i, ctx, |instance| {
                instance.record.message = Some(why.into());
            });
            self.ended(i, Ended::Lost, ctx);
        }
        self.slot_is_gone(i, slot, ctx);
        if self.instances.get(i as usize).is_some_and(|x| x.record.state == TaskState::Scheduling) {
            self.line_up(i, ctx);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operation_ids_tell_their_slot() {
        let slot = SlotRef { job: JobId::new("a-1.b").unwrap(), instance: 3, slot: SlotId(7) };
        assert_eq!(parse_operation(&reserve_id(&slot)), Some((true, slot.clone())));
        assert_eq!(parse_operation(&unreserve_id(&slot, 99)), Some((false, slot)));
        for bad in ["", "reserve/a", "other/a/1/2", "reserve/a/x/2", "reserve/a/1/y"] {
            assert_eq!(parse_operation(bad), None, "{bad}");
        }
    }
}
