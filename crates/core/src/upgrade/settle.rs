//! What an upgrade leaves behind: slots that hold what is in force and nothing else, and no steps.

use crate::ctx::Ctx;
use crate::job::Job;
use crate::slots::slots_of;
use peloton_model::{InstanceId, SlotId, Stage, Step, UpgradeState};
use std::collections::BTreeSet;

impl Job {
    /// The version in force is the only one: what was for another goes.
    pub(super) fn settle_all(&mut self, ctx: &mut Ctx) {
        self.grow_to(self.wanted());
        for i in 0..self.instances.len() as InstanceId {
            if self.step(i).is_some() {
                self.settle_one(i, ctx);
            } else {
                self.drive(i, ctx);
            }
        }
        self.recount_surplus(ctx);
    }

    /// After a process began anew: what the last one had not come to.
    pub(super) fn settle_again(&mut self, ctx: &mut Ctx) {
        if self.upgrade.as_ref().is_some_and(|upgrade| !upgrade.is_open()) {
            self.settle_all(ctx);
        }
    }

    /// The job's record names no upgrade any more.
    pub(crate) fn settle_leftovers(&mut self, ctx: &mut Ctx) {
        let left = self.instances.iter().enumerate().filter(|(_, x)| x.record.step.is_some());
        let left: Vec<_> = left.map(|(i, _)| i as InstanceId).collect();
        for i in left {
            self.settle_one(i, ctx);
        }
    }

    /// An instance of an upgrade that is over. One whose run is not the one to keep waits until that ended.
    pub(crate) fn settle_one(&mut self, i: InstanceId, ctx: &mut Ctx) {
        let Some(instance) = self.instances.get(i as usize) else { return };
        let (live, stage) = (instance.record.state.is_live(), self.step(i).map(|step| step.stage));
        let Some(stage) = stage else { return };
        // Where the job's record names none any more, the step tells how the last one ended.
        let left = match stage {
            Stage::Back | Stage::Returned => UpgradeState::RolledBack,
            _ => UpgradeState::Succeeded,
        };
        match self.upgrade.as_ref().map_or(left, |upgrade| upgrade.record.state) {
            // One that is stopped has its new slot, and did not get into it, as it did not run.
            UpgradeState::Succeeded => self.seat(i, ctx),
            UpgradeState::RolledBack if live && !self.suits(i) => {
                if stage != Stage::Returned {
                    self.set_stage(i, Stage::Returned, ctx);
                }
                return self.drive(i, ctx);
            }
            UpgradeState::RolledBack => {
                if stage != Stage::Returned {
                    self.set_stage(i, Stage::Returned, ctx);
                }
                self.seat(i, ctx);
            }
            _ => return,
        }
        let state = self.upgrade.as_ref().map_or(left, |upgrade| upgrade.record.state);
        let new = state == UpgradeState::Succeeded;
        self.update(i, ctx, |instance| instance.record.step = None);
        let own = self.instances.get(i as usize).and_then(|x| x.record.slot);
        for slot in self.slots_of(i) {
            if own == Some(slot) {
                self.settle_slot(i, slot, new, ctx);
            } else {
                self.release_slot(i, slot, ctx);
            }
        }
        self.line_up(i, ctx);
        self.drive(i, ctx);
    }

    /// An upgrade ended with instances of both versions: what was got and not used is given up.
    pub(super) fn settle_mixed(&mut self, in_hand: &BTreeSet<InstanceId>, ctx: &mut Ctx) {
        for i in in_hand {
            self.put_back(*i, ctx);
        }
        let beyond = self.wanted()..self.instances.len() as InstanceId;
        for i in in_hand.iter().copied().chain(beyond) {
            self.drive(i, ctx);
        }
        self.recount_surplus(ctx);
    }

    /// Lets go of the instances in hand whose old version still runs.
    pub(super) fn drop_prepared(&mut self, ctx: &mut Ctx) {
        let Some(upgrade) = &self.upgrade else { return };
        let prepared = |i: &InstanceId| self.step(*i).is_some_and(|s| s.stage == Stage::Prepare);
        let dropped: Vec<_> = upgrade.in_hand.iter().copied().filter(prepared).collect();
        for i in dropped {
            if let Some(upgrade) = &mut self.upgrade {
                upgrade.let_go(i, ctx.now);
            }
            self.forget_wishes(i, ctx);
            self.put_back(i, ctx);
        }
    }

    /// An instance that was not switched yet is as if it had not been in hand, also where it was ended for the
    /// others' sake: in its slot it could not wait for a version that it was never given a place for.
    fn put_back(&mut self, i: InstanceId, ctx: &mut Ctx) {
        let Some(upgrade) = &self.upgrade else { return };
        let (from, to) = (upgrade.record.from, upgrade.record.to);
        let before = |step: &&Step| matches!(step.stage, Stage::Prepare | Stage::Halted);
        let Some(step) = self.step(i).filter(before).cloned() else { return };
        let rest = (step.base > from).then(|| {
            let stage = Stage::Proven;
            Box::new(Step { to: step.base, stage, next: None, ..step.clone() })
        });
        self.update(i, ctx, |instance| instance.record.step = rest);
        if let Some(slot) = step.next {
            self.release_slot(i, slot, ctx);
        }
        for slot in self.slots_of(i) {
            let Some(held) = self.slots.get_mut(&(i, slot)) else { continue };
            if held.record.wide.as_ref().is_some_and(|wide| wide.version == to) {
                let reserved = held.record.reserved();
                held.record.wide = None;
                held.record.set_reserved(reserved);
                self.touch_slot(i, slot, ctx);
            }
            self.drop_volumes(i, slot, ctx);
        }
    }

    fn slots_of(&self, i: InstanceId) -> Vec<SlotId> {
        let all = self.slots.range(slots_of(i));
        all.filter(|(_, held)| held.is_kept()).map(|((_, slot), _)| *slot).collect()
    }

    /// A slot holds what the version in force gets, and nothing else.
    fn settle_slot(&mut self, i: InstanceId, slot: SlotId, new: bool, ctx: &mut Ctx) {
        self.drop_volumes(i, slot, ctx);
        let Some(held) = self.slots.get_mut(&(i, slot)) else { return };
        let reserved = held.record.reserved();
        let wide = held.record.wide.take();
        let made_for = std::mem::take(&mut held.record.made_for);
        if wide.is_none() && made_for == 0 && held.record.reserved.is_none() {
            return;
        }
        if let Some(wide) = wide.filter(|_| new) {
            (held.record.resources, held.record.ports) = (wide.resources, wide.ports);
        }
        held.record.set_reserved(reserved);
        self.touch_slot(i, slot, ctx);
    }

    /// Looks for slots of which more is reserved than they hold.
    pub(crate) fn recount_surplus(&mut self, ctx: &mut Ctx) {
        let odd = self.slots.iter().filter(|(_, held)| held.record.reserved.is_some());
        let odd: Vec<_> = odd.map(|(key, _)| *key).collect();
        for (i, slot) in odd {
            self.settle_surplus(i, slot, ctx);
        }
    }
}
