//! The way back: what does not work first, then the others a batch at a time, each to the slot that it had.

use super::Upgrade;
use crate::ctx::Ctx;
use crate::instance::{Instance, Want};
use crate::job::Job;
use peloton_model::{Abort, InstanceId, Stage, UpgradeEventKind, UpgradeState};

impl Job {
    /// Turns the upgrade round. What it has not touched is left alone.
    pub(super) fn turn_back(&mut self, why: &str, by: &str, ctx: &mut Ctx) {
        let Some(upgrade) = &mut self.upgrade else { return };
        let record = &mut upgrade.record;
        record.back = true;
        record.state = upgrade.ask.state(true);
        record.message = format!("goes back: {why}");
        record.finished_at = 0;
        upgrade.progress_at = ctx.now;
        self.upgrade_event(UpgradeEventKind::RollingBack, by, why, ctx);
        self.clear_wishes(ctx);
        self.collect_back(ctx);
        self.touch_job(ctx);
        #[cfg(feature = "planted-bugs")]
        if ctx.settings.bug == Some(crate::Bug::RestartUntouched) {
            for i in 0..self.instances.len() as InstanceId {
                if self.instances[i as usize].is_up() {
                    self.kill(i, peloton_model::KillReason::Upgrade, ctx);
                }
            }
        }
    }

    /// Sorts the instances for the way back, from their steps.
    pub(super) fn collect_back(&mut self, ctx: &mut Ctx) {
        let Some(upgrade) = &mut self.upgrade else { return };
        let (from, total) = (upgrade.record.from, upgrade.record.total);
        upgrade.clear_sets();
        let mut spared = Vec::new();
        for (i, instance) in self.instances.iter().enumerate() {
            let (i, Some(step)) = (i as InstanceId, instance.record.step.as_deref()) else {
                continue;
            };
            match step.stage {
                Stage::Returned => {}
                Stage::Prepare | Stage::Unplaced if step.base <= from => spared.push(i),
                Stage::Back => {
                    upgrade.in_hand.insert(i);
                    upgrade.look.insert(i);
                }
                _ => {
                    upgrade.todo.insert(i);
                    if !instance.is_up() {
                        upgrade.down.insert(i);
                    }
                }
            }
        }
        let left = upgrade.todo.len() + upgrade.in_hand.len();
        upgrade.record.done = total.saturating_sub(left as u32);
        for i in spared {
            self.set_stage(i, Stage::Returned, ctx);
        }
    }

    pub(super) fn go_back(&mut self, ctx: &mut Ctx) {
        let Some(upgrade) = &self.upgrade else { return };
        let (paused, abort) = (upgrade.ask.paused, upgrade.ask.abort);
        let by = upgrade.ask.by.clone();
        let in_hand = upgrade.in_hand.len();
        match abort {
            Some(Abort::Soft) if in_hand > 0 => return,
            Some(_) => {
                let why = "ended by request, on the way back";
                return self.end_upgrade(UpgradeState::Aborted, why, &by, ctx);
            }
            None if paused => return,
            None => self.take_back(ctx),
        }
        let Some(upgrade) = &self.upgrade else { return };
        if upgrade.todo.is_empty() && upgrade.in_hand.is_empty() && upgrade.is_active() {
            let mut message = "every instance runs the version before".to_owned();
            if upgrade.record.displaced_count > 0 {
                message = format!(
                    "{message}, or is placed anew: {} could not return to their agent",
                    upgrade.record.displaced_count
                );
            }
            self.end_upgrade(UpgradeState::RolledBack, &message, "", ctx);
        }
    }

    fn take_back(&mut self, ctx: &mut Ctx) {
        while let Some(i) = self.upgrade.as_ref().and_then(|upgrade| upgrade.down.first().copied())
        {
            self.send_back(i, ctx);
        }
        loop {
            let Some(upgrade) = &self.upgrade else { return };
            let Some(i) = upgrade.todo.first().copied() else { return };
            if upgrade.in_hand.len() >= upgrade.batch() {
                return;
            }
            // Where the SLA can not be kept, going back is what mends it.
            let stuck = upgrade.in_hand.is_empty() && self.is_stalled(ctx);
            if self.spare() == 0 && !stuck && !self.stop_before() {
                return;
            }
            self.send_back(i, ctx);
        }
    }

    fn stop_before(&self) -> bool {
        self.upgrade.as_ref().is_some_and(|upgrade| upgrade.ask.options.stop_before_upgrade)
    }

    fn send_back(&mut self, i: InstanceId, ctx: &mut Ctx) {
        let Some(upgrade) = &mut self.upgrade else { return };
        upgrade.todo.remove(&i);
        upgrade.down.remove(&i);
        upgrade.in_hand.insert(i);
        upgrade.progress_at = ctx.now;
        let to = upgrade.record.to;
        self.set_step(i, ctx, |step| (step.to, step.tries) = (to, 0));
        self.set_stage(i, Stage::Back, ctx);
        self.restart_line(i, ctx);
    }

    /// Looks at an instance on its way back.
    pub(super) fn look_back(&mut self, i: InstanceId, ctx: &mut Ctx) {
        let Some(instance) = self.instances.get(i as usize) else { return };
        let record = &instance.record;
        if record.step.as_deref().is_none_or(|step| step.stage != Stage::Back) {
            // Removed, as the version before has no such instance.
            return self.returned(i, "", ctx);
        }
        let (live, is_up) = (record.state.is_live(), instance.is_up());
        let gone = record.unreachable_since;
        if !live && matches!(self.want(i), Want::Nothing | Want::Stopped | Want::Parked) {
            return self.returned(i, "", ctx);
        }
        if is_up && self.suits(i) {
            return self.returned(i, "", ctx);
        }
        if let Some(since) = gone {
            // Its task may run on, or be replaced later: nothing more can be done from here.
            let due = Self::counted_from(since, ctx) + ctx.settings.unreachable_replace_ms;
            if self.overdue(i, due, ctx) {
                self.left_behind(i, ctx);
                self.returned(i, "its agent is unreachable", ctx);
            }
            return;
        }
        let Some(upgrade) = &self.upgrade else { return };
        let patience_ms = upgrade.placement_deadline_ms()
            + upgrade.health_deadline_ms()
            + self.grace_ms(i).unwrap_or(0);
        let Some(step) = self.step(i) else { return };
        let (tries, since) = (step.tries, step.since);
        if !self.overdue(i, Self::counted_from(since, ctx) + patience_ms, ctx) {
            return;
        }
        let displaced = self.own_slot(i).is_none();
        let comes_up = self.suits(i) && live;
        if tries > 0 || displaced || comes_up {
            let why = match (tries, displaced) {
                (_, true) => "it is placed anew, and waits for a place",
                (0, _) => "the version before does not get healthy",
                _ => "the version before fails, too",
            };
            self.returned(i, why, ctx);
        } else if let Some(why) = self.volume_missing(i) {
            self.returned(i, &format!("the version before waits, too: {why}"), ctx);
        } else if self.waits_for_tied_agent(i, ctx) {
            self.returned(
                i,
                "its agent is away, or its slot was taken, and its volume is there: it waits",
                ctx,
            );
        } else {
            // The new run has not ended, or the slot was not offered yet: there is nothing to say but to wait.
            self.arm_instance(i, ctx.now + patience_ms, ctx);
        }
    }

    fn returned(&mut self, i: InstanceId, note: &str, ctx: &mut Ctx) {
        if let Some(upgrade) = &mut self.upgrade {
            upgrade.let_go(i, ctx.now);
            upgrade.record.done += 1;
        }
        if self.step(i).is_some() {
            self.set_stage(i, Stage::Returned, ctx);
            self.instance_event(i, UpgradeEventKind::Returned, note, ctx);
        }
    }
}

impl Upgrade {
    pub(super) fn clear_sets(&mut self) {
        for set in [&mut self.todo, &mut self.down, &mut self.in_hand, &mut self.ready] {
            set.clear();
        }
        for set in [&mut self.halted, &mut self.halting, &mut self.look] {
            set.clear();
        }
    }
}

/// Whether an instance concerns an upgrade of these counts.
pub(super) fn concerns(i: InstanceId, counts: u32, instance: &Instance) -> bool {
    i < counts || instance.record.step.is_some()
}
