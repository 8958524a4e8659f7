//! What an instance's new version needs, got while the old one goes on: in its slot if that is enough, else by
//! reserving more on the same agent, else in another slot on another agent.

use crate::ctx::Ctx;
use crate::job::Job;
use crate::output::Operation;
use crate::resize::Shapes;
use peloton_model::{AgentId, InstanceId, SlotId, Stage, UpgradeEventKind};
use peloton_placement::{Candidate, permits};

/// For how long it is tried to reserve more on the same agent before another one is looked for, too, in
/// milliseconds: several rounds of Mesos's allocator, as what is free there may just be offered to others.
const WIDEN_PATIENCE_MS: u64 = 10_000;

impl Job {
    /// Looks at an instance that gets what it needs.
    pub(super) fn look_prepare(&mut self, i: InstanceId, ctx: &mut Ctx) {
        let Some(upgrade) = &self.upgrade else { return };
        if upgrade.ready.contains(&i) && self.is_prepared(i, ctx) {
            return;
        }
        if self.is_prepared(i, ctx) {
            self.tell_prepared(i, ctx);
            self.forget_wishes(i, ctx);
            if let Some(upgrade) = &mut self.upgrade {
                upgrade.ready.insert(i);
                upgrade.progress_at = ctx.now;
            }
            return;
        }
        if let Some(upgrade) = &mut self.upgrade {
            upgrade.ready.remove(&i);
        }
        if let Some(why) = self.fetch_failed(i) {
            return self.instance_failed(i, Stage::Unplaced, &why, ctx);
        }
        self.wish(i, ctx);
        self.consider_unplaced(i, ctx);
    }

    /// An instance that did not get what it needs in time.
    fn consider_unplaced(&mut self, i: InstanceId, ctx: &mut Ctx) {
        let Some(upgrade) = self.upgrade.as_ref().filter(|upgrade| !upgrade.ask.paused) else {
            return;
        };
        let deadline_ms = upgrade.placement_deadline_ms();
        let since = self.step(i).map_or(ctx.now, |step| step.since);
        if self.overdue(i, Self::counted_from(since, ctx) + deadline_ms, ctx) {
            let lack = self.upgrade.as_ref().and_then(|upgrade| upgrade.lack.clone());
            let lack = self.staging_trouble(i).map(|(_, why)| why).or(lack);
            let lack = lack.map_or_else(String::new, |lack| format!(": {lack}"));
            let why = format!(
                "what its new version needs was not free within {} s{lack}",
                deadline_ms / 1000
            );
            self.instance_failed(i, Stage::Unplaced, &why, ctx);
        }
    }

    fn is_prepared(&mut self, i: InstanceId, ctx: &mut Ctx) -> bool {
        let Some(upgrade) = &self.upgrade else { return false };
        let (to, to_count) = (upgrade.record.to, upgrade.to_count);
        if i >= to_count {
            return true;
        }
        let next = self.step(i).and_then(|step| step.next);
        let Some(slot) = next.or_else(|| self.own_slot(i)) else { return true };
        if self.slot_serves(i, slot, to) {
            return next.is_some() || self.may_stay(i, slot, ctx);
        }
        if next.is_some() || !self.may_stay(i, slot, ctx) || self.slot_is_shaped(i, slot, to) {
            return false;
        }
        let Some(shapes) = self.shapes(i, slot) else { return false };
        self.shape_slot(i, slot, &shapes, ctx) && self.slot_serves(i, slot, to)
    }

    /// The slot in which the new version is to run, as far as it is known.
    fn slot_ahead(&self, i: InstanceId) -> Option<SlotId> {
        self.step(i).and_then(|step| step.next).or_else(|| self.own_slot(i))
    }

    /// What keeps the volumes of the new version from being filled.
    fn staging_trouble(&self, i: InstanceId) -> Option<(u32, String)> {
        let config = self.configs.get(&self.upgrade.as_ref()?.record.to)?;
        self.volume_trouble(i, self.slot_ahead(i)?, config)
    }

    /// Why the volumes of the new version could not be filled, where that was tried often enough.
    fn fetch_failed(&self, i: InstanceId) -> Option<String> {
        let allowed = self.upgrade.as_ref()?.ask.options.max_instance_retries;
        self.staging_trouble(i).filter(|(tries, _)| *tries > allowed).map(|(_, why)| why)
    }

    /// Whether the new version may run on the agent of the slot.
    fn may_stay(&self, i: InstanceId, slot: SlotId, ctx: &Ctx) -> bool {
        let Some(upgrade) = &self.upgrade else { return false };
        let Some(config) = self.configs.get(&upgrade.record.to) else { return false };
        let agent = self.slots.get(&(i, slot)).map(|held| &held.record.agent);
        let agent = agent.and_then(|agent| ctx.agents.get(agent));
        agent.is_none_or(|agent| permits(config, &agent.record))
    }

    fn shapes(&self, i: InstanceId, slot: SlotId) -> Option<Shapes> {
        let upgrade = self.upgrade.as_ref()?;
        let version = upgrade.record.to;
        let made_for = self.slots.get(&(i, slot))?.record.made_for;
        let old = if made_for > 0 { made_for } else { upgrade.record.from };
        let (old, new) = (self.configs.get(&old)?.clone(), self.configs.get(&version)?.clone());
        Some(Shapes { old, new, version })
    }

    fn tell_prepared(&mut self, i: InstanceId, ctx: &mut Ctx) {
        let moved = self.step(i).is_some_and(|step| step.next.is_some());
        let agent = self.own_slot(i).and_then(|slot| self.slots.get(&(i, slot)));
        let wishes = agent.and_then(|held| self.to_widen.get(&held.record.agent));
        let widened = wishes.is_some_and(|all| all.contains(&i));
        if moved {
            self.instance_event(i, UpgradeEventKind::Moved, "", ctx);
        } else if widened {
            self.instance_event(i, UpgradeEventKind::Widened, "", ctx);
        }
    }

    /// Wants offers for an instance: of its agent at first, of any after a while.
    fn wish(&mut self, i: InstanceId, ctx: &mut Ctx) {
        let step = self.step(i).cloned().unwrap_or_default();
        let Some(slot) = self.own_slot(i).filter(|_| step.next.is_none()) else {
            return self.forget_wishes(i, ctx);
        };
        if self.slots.get(&(i, slot)).is_some_and(|held| held.is_resized()) {
            return;
        }
        let stays = self.may_stay(i, slot, ctx);
        let to = self.upgrade.as_ref().map_or(0, |upgrade| upgrade.record.to);
        if stays && self.slot_is_shaped(i, slot, to) {
            // Nothing but its volumes is waited for.
            return self.forget_wishes(i, ctx);
        }
        let mut fresh = false;
        if let Some(held) = self.slots.get(&(i, slot)).filter(|_| stays) {
            fresh = self.to_widen.entry(held.record.agent.clone()).or_default().insert(i);
        }
        let due = Self::counted_from(step.since, ctx) + WIDEN_PATIENCE_MS;
        if self.slots.get(&(i, slot)).is_some_and(|held| held.record.is_tied()) {
            // What is in its volumes does not move.
            if !stays && let Some(upgrade) = &mut self.upgrade {
                upgrade.lack = Some("its volume is on an agent that does not suit it".to_owned());
            }
        } else if !stays || due <= ctx.now {
            fresh |= self.to_move.insert(i);
        } else {
            self.arm_instance(i, due, ctx);
        }
        if fresh {
            ctx.demand.line_changed(&self.id, self.waits());
            ctx.want_offers_now();
        }
    }

    /// Nothing more is wanted for an instance.
    pub(super) fn forget_wishes(&mut self, i: InstanceId, ctx: &mut Ctx) {
        let agent = self.own_slot(i).and_then(|slot| self.slots.get(&(i, slot)));
        let agent = agent.map(|held| held.record.agent.clone());
        let mut empty = true;
        match agent.as_ref().and_then(|agent| self.to_widen.get_mut(agent)) {
            Some(all) => {
                all.remove(&i);
                empty = all.is_empty();
            }
            // Its slot is gone: somewhere.
            None => self.to_widen.values_mut().for_each(|all| {
                all.remove(&i);
            }),
        }
        if self.to_move.remove(&i) | empty {
            self.to_widen.retain(|_, all| !all.is_empty());
        }
        ctx.demand.line_changed(&self.id, self.waits());
    }

    pub(super) fn clear_wishes(&mut self, ctx: &mut Ctx) {
        self.to_move.clear();
        self.to_widen.clear();
        ctx.demand.line_changed(&self.id, self.waits());
    }

    /// Reserves more for instances on the agent, which is offered.
    pub(crate) fn widen_on(&mut self, candidate: &mut Candidate, ctx: &mut Ctx) -> Vec<Operation> {
        let mut operations = Vec::new();
        let Some(waiting) = self.to_widen.get(&candidate.agent).cloned() else {
            return operations;
        };
        for i in waiting {
            let Some(slot) = self.own_slot(i) else { continue };
            let Some(shapes) = self.shapes(i, slot) else { continue };
            match self.widen_slot((i, slot), &shapes, candidate, ctx) {
                Ok(operation) => {
                    operations.push(operation);
                    self.to_move.remove(&i);
                    self.look_at(i, ctx);
                }
                Err(Some(lack)) => {
                    if let Some(upgrade) = &mut self.upgrade {
                        let host = &candidate.record.host;
                        upgrade.lack = Some(format!("{host} lacks {lack} for more in its slot"));
                    }
                }
                Err(None) => {}
            }
        }
        operations
    }

    /// What is found to be missing for instances that look for another agent.
    pub(crate) fn note_lack(&mut self, reason: &str) {
        if let Some(upgrade) = &mut self.upgrade {
            let own = upgrade.lack.as_deref().and_then(|lack| lack.split("; ").next());
            let own = own.filter(|own| own.contains("in its slot"));
            let lack = own.map_or_else(String::new, |own| format!("{own}; "));
            upgrade.lack = Some(format!("{lack}elsewhere: {reason}"));
        }
    }

    /// A slot on another agent is being reserved for an instance, which runs on where it is.
    pub(crate) fn moves_to(&mut self, i: InstanceId, slot: SlotId, ctx: &mut Ctx) {
        self.set_step(i, ctx, |step| step.next = Some(slot));
        self.forget_wishes(i, ctx);
    }
}

/// The agents of slots that instances are about to leave: there they do not count for placement.
pub(crate) fn leaving<'a>(job: &Job, movers: impl Iterator<Item = &'a InstanceId>) -> Vec<AgentId> {
    let slot = |i: &InstanceId| Some((*i, job.own_slot(*i)?));
    let agent = |key| job.slots.get(&key).map(|held| held.record.agent.clone());
    movers.filter_map(slot).filter_map(agent).collect()
}
