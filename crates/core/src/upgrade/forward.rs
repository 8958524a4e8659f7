//! The way to the new version: prepare, switch, prove.

use crate::ctx::Ctx;
use crate::instance::{Ended, Want};
use crate::job::Job;
use peloton_model::{
    Abort, InstanceId, KillReason, Stage, Step, UpgradeEventKind, UpgradeState, Version,
};

impl Job {
    /// Takes instances in hand, and lets those go on that are ready, as far as the options allow.
    pub(super) fn go_forward(&mut self, ctx: &mut Ctx) {
        let Some(upgrade) = &self.upgrade else { return };
        let (paused, abort) = (upgrade.ask.paused, upgrade.ask.abort);
        let by = upgrade.ask.by.clone();
        match abort {
            Some(Abort::Hard) => {
                return self.end_upgrade(UpgradeState::Aborted, "ended by request", &by, ctx);
            }
            Some(Abort::Soft) => {
                self.drop_prepared(ctx);
                if self.upgrade.as_ref().is_some_and(|upgrade| upgrade.in_hand.is_empty()) {
                    let why = "ended by request; what was in hand was finished";
                    self.end_upgrade(UpgradeState::Aborted, why, &by, ctx);
                    return;
                }
                self.start_halted(ctx);
            }
            None if paused => return self.start_halted(ctx),
            None => {
                self.take_in_hand(ctx);
                self.switch_ready(ctx);
                self.start_halted(ctx);
            }
        }
        let Some(upgrade) = &self.upgrade else { return };
        let over = upgrade.todo.is_empty() && upgrade.in_hand.is_empty();
        if over && upgrade.is_active() && !upgrade.record.back {
            let failed = upgrade.record.failed;
            let message = match failed {
                0 => "every instance runs the new version".to_owned(),
                _ => format!("{failed} instances failed, as many as may"),
            };
            self.end_upgrade(UpgradeState::Succeeded, &message, "", ctx);
        }
    }

    /// Those that are not up first: they have nothing to lose.
    fn take_in_hand(&mut self, ctx: &mut Ctx) {
        loop {
            let Some(upgrade) = &mut self.upgrade else { return };
            let all = upgrade.ask.options.stop_before_upgrade;
            if !all && upgrade.in_hand.len() >= upgrade.batch() {
                return;
            }
            let next = upgrade.down.first().or_else(|| upgrade.todo.first()).copied();
            let Some(i) = next else { return };
            upgrade.todo.remove(&i);
            upgrade.down.remove(&i);
            upgrade.in_hand.insert(i);
            upgrade.look.insert(i);
            upgrade.progress_at = ctx.now;
            self.begin(i, ctx);
            if !self.upgrades() {
                return;
            }
        }
    }

    fn begin(&mut self, i: InstanceId, ctx: &mut Ctx) {
        let Some(upgrade) = &self.upgrade else { return };
        let (to, from, now) = (upgrade.record.to, upgrade.record.from, ctx.now);
        let aim = self.aim(i);
        self.grow_to(i + 1);
        let old = self.step(i).cloned().unwrap_or_default();
        // Of an upgrade that this one replaces: what the instance was to run and never did is nothing to go on with.
        let runs_it = self.instances.get(i as usize).is_some_and(|x| {
            x.record.state.is_live() && x.record.version == aim && x.record.killing.is_none()
        });
        let proven = old.stage == Stage::Proven || aim <= from || runs_it;
        let base = if proven { aim } else { old.base.max(from) };
        let step =
            Step { to, stage: Stage::Prepare, base, since: now, home: old.home, ..Step::default() };
        let own = self.instances.get(i as usize).and_then(|x| x.record.slot);
        self.update(i, ctx, |instance| instance.record.step = Some(Box::new(step)));
        // What an upgrade before this one got, and has not used.
        if let Some(slot) = old.next.filter(|slot| own != Some(*slot)) {
            self.release_slot(i, slot, ctx);
        }
    }

    /// Looks at an instance in hand.
    pub(super) fn look_forward(&mut self, i: InstanceId, ctx: &mut Ctx) {
        let Some(step) = self.step(i) else { return self.begin_again(i, ctx) };
        match step.stage {
            Stage::Prepare => self.look_prepare(i, ctx),
            Stage::Halted => {
                let live = self.instances.get(i as usize).is_some_and(|x| x.record.state.is_live());
                if let Some(upgrade) = &mut self.upgrade
                    && !live
                {
                    upgrade.halting.remove(&i);
                }
                self.look_ending(i, ctx);
            }
            Stage::Switch => self.look_switch(i, ctx),
            _ => {
                if let Some(upgrade) = &mut self.upgrade {
                    upgrade.let_go(i, ctx.now);
                }
            }
        }
    }

    /// An instance in hand was forgotten: it is not there in the new version; or what was there was of an
    /// earlier job of the name, and its turn comes yet.
    fn begin_again(&mut self, i: InstanceId, ctx: &mut Ctx) {
        let Some(upgrade) = &mut self.upgrade else { return };
        if i >= upgrade.to_count {
            return self.arrived(i, ctx);
        }
        upgrade.let_go(i, ctx.now);
        upgrade.todo.insert(i);
        upgrade.down.insert(i);
    }

    /// An instance has arrived at the new version.
    fn arrived(&mut self, i: InstanceId, ctx: &mut Ctx) {
        if let Some(upgrade) = &mut self.upgrade {
            upgrade.let_go(i, ctx.now);
            upgrade.record.done += 1;
        }
        if self.step(i).is_some() {
            self.set_stage(i, Stage::Proven, ctx);
            self.instance_event(i, UpgradeEventKind::Proven, "", ctx);
        }
        #[cfg(feature = "planted-bugs")]
        if ctx.settings.bug == Some(crate::Bug::ReleaseBeforeSuccess)
            && let Some(home) = self.step(i).and_then(|step| step.home)
        {
            self.release_slot(i, home, ctx);
        }
    }

    /// Ends what is ready, as long as enough others are up.
    fn switch_ready(&mut self, ctx: &mut Ctx) {
        let Some(upgrade) = &self.upgrade else { return };
        if upgrade.ask.options.stop_before_upgrade {
            let prepared = upgrade.ready.len() + upgrade.halted.len() == upgrade.in_hand.len();
            if upgrade.todo.is_empty() && prepared && !upgrade.ready.is_empty() {
                self.halt_all(ctx);
            }
            return;
        }
        let mut blocked = false;
        for i in upgrade.ready.iter().copied().collect::<Vec<_>>() {
            let up = self.instances.get(i as usize).is_some_and(crate::instance::Instance::is_up);
            #[cfg(feature = "planted-bugs")]
            let up = up && ctx.settings.bug != Some(crate::Bug::IgnoreSla);
            if up && self.spare() == 0 {
                blocked = true;
                continue;
            }
            self.switch(i, ctx);
        }
        if blocked && self.only_waits() && self.is_stalled(ctx) {
            let (up, minimum) = (self.up, self.minimum_up());
            let why = format!(
                "{up} instances are up, and the SLA wants {minimum}: for too long none could be ended"
            );
            self.fail(why, ctx);
        }
    }

    /// Whether everything in hand waits to be ended.
    fn only_waits(&self) -> bool {
        self.upgrade.as_ref().is_some_and(|upgrade| upgrade.ready.len() == upgrade.in_hand.len())
    }

    /// Ends all instances before the first is upgraded.
    fn halt_all(&mut self, ctx: &mut Ctx) {
        let Some(upgrade) = &mut self.upgrade else { return };
        let all = std::mem::take(&mut upgrade.ready);
        upgrade.halted.extend(all.iter().copied());
        upgrade.halting.extend(all.iter().copied());
        for i in all {
            self.set_stage(i, Stage::Halted, ctx);
            self.drive(i, ctx);
        }
    }

    /// Starts what was ended before all, a batch at a time, once the last one has ended.
    fn start_halted(&mut self, ctx: &mut Ctx) {
        loop {
            let Some(upgrade) = &self.upgrade else { return };
            let may = upgrade.ready.is_empty() && upgrade.halting.is_empty();
            let starting = upgrade.in_hand.len() - upgrade.halted.len();
            let Some(i) = upgrade.halted.first().copied() else { return };
            if !may || starting >= upgrade.batch() || upgrade.ask.paused {
                return;
            }
            self.switch(i, ctx);
        }
    }

    /// Ends the old version of an instance; the new one follows.
    fn switch(&mut self, i: InstanceId, ctx: &mut Ctx) {
        if let Some(upgrade) = &mut self.upgrade {
            upgrade.ready.remove(&i);
            upgrade.halted.remove(&i);
            upgrade.progress_at = ctx.now;
        }
        self.set_stage(i, Stage::Switch, ctx);
        self.restart_line(i, ctx);
    }

    /// What an instance waited for so far is not what it is to wait for now.
    pub(super) fn restart_line(&mut self, i: InstanceId, ctx: &mut Ctx) {
        let Some(instance) = self.instances.get(i as usize) else { return };
        let live = instance.record.state.is_live();
        if !live && matches!(self.want(i), Want::Running(_)) {
            self.schedule(i, true, ctx);
        } else {
            if live {
                // The failures of one version say nothing about the other.
                self.update(i, ctx, |x| (x.record.failures, x.record.lost) = (0, 0));
            }
            self.drive(i, ctx);
        }
        self.look_at(i, ctx);
    }

    fn look_switch(&mut self, i: InstanceId, ctx: &mut Ctx) {
        let Some(upgrade) = &self.upgrade else { return };
        let to = upgrade.record.to;
        let min_healthy_ms = upgrade.ask.options.min_healthy_secs.saturating_mul(1000);
        let deadline_ms = upgrade.health_deadline_ms();
        let Some(instance) = self.instances.get(i as usize) else { return };
        let (is_up, up_since) = (instance.is_up(), instance.up_since);
        let record = &instance.record;
        let (live, launched_at) = (record.state.is_live(), record.launched_at);
        let dying = record.killing.is_some();
        if !live && matches!(self.want(i), Want::Nothing | Want::Parked | Want::Stopped) {
            return self.arrived(i, ctx);
        }
        if !live || dying || record.version != to {
            return self.look_ending(i, ctx);
        }
        #[cfg(feature = "planted-bugs")]
        let (is_up, min_healthy_ms) = match ctx.settings.bug {
            Some(crate::Bug::SucceedUnproven) => (true, 0),
            _ => (is_up, min_healthy_ms),
        };
        if is_up {
            if ctx.now >= up_since + min_healthy_ms {
                self.arrived(i, ctx);
            } else {
                self.arm_instance(i, up_since + min_healthy_ms, ctx);
            }
        } else if self.overdue(i, Self::counted_from(launched_at, ctx) + deadline_ms, ctx) {
            let why = format!("was not up within {} s", deadline_ms / 1000);
            self.try_failed(i, &why, ctx);
            if self.upgrades() && self.step(i).is_some_and(|step| step.stage == Stage::Switch) {
                self.kill(i, KillReason::Upgrade, ctx);
            }
        }
    }

    /// The old run is to end, or the new one to begin: neither may take for ever.
    fn look_ending(&mut self, i: InstanceId, ctx: &mut Ctx) {
        let Some(upgrade) = &self.upgrade else { return };
        let patience_ms = upgrade.placement_deadline_ms() + self.grace_ms(i).unwrap_or(0);
        let Some(instance) = self.instances.get(i as usize) else { return };
        let record = &instance.record;
        let throttled_ms = record.retry_at.saturating_sub(ctx.now);
        let since = self.step(i).map_or(ctx.now, |step| step.since);
        let due = Self::counted_from(since, ctx) + patience_ms + throttled_ms;
        if self.overdue(i, due, ctx) {
            let what = match self.instances.get(i as usize).map(|x| &x.record) {
                Some(record) if record.unreachable_since.is_some() => "its agent is unreachable",
                Some(record) if record.state.is_live() => "its old run did not end",
                _ => "it did not get what its new version needs",
            };
            let why = format!("{what}, for more than {} s", patience_ms / 1000);
            self.instance_failed(i, Stage::Failed, &why, ctx);
        }
    }

    /// A run in an upgrade has ended.
    pub(crate) fn run_of_upgrade_over(
        &mut self,
        i: InstanceId,
        how: Ended,
        killing: bool,
        ctx: &mut Ctx,
    ) {
        let Some(upgrade) = self.upgrade.as_ref().filter(|upgrade| upgrade.is_active()) else {
            return;
        };
        let (to, from) = (upgrade.record.to, upgrade.record.from);
        let Some(record) = self.instances.get(i as usize).map(|x| &x.record) else { return };
        let version: Version = record.version;
        if killing || how == Ended::Lost {
            return;
        }
        let message = record.message.as_deref().unwrap_or("its run ended").to_owned();
        match self.step(i).map(|step| step.stage) {
            Some(Stage::Switch) if version == to => self.try_failed(i, &message, ctx),
            Some(Stage::Back) if version <= from => {
                self.set_step(i, ctx, |step| step.tries = step.tries.saturating_add(1));
            }
            _ => {}
        }
    }

    /// A run of the new version failed.
    fn try_failed(&mut self, i: InstanceId, why: &str, ctx: &mut Ctx) {
        let now = ctx.now;
        self.set_step(i, ctx, |step| {
            step.tries = step.tries.saturating_add(1);
            step.since = now;
        });
        let tries = self.step(i).map_or(0, |step| step.tries);
        let allowed = self.upgrade.as_ref().map_or(0, |u| u.ask.options.max_instance_retries);
        self.instance_event(i, UpgradeEventKind::RunFailed, why, ctx);
        if tries > allowed {
            self.instance_failed(i, Stage::Failed, why, ctx);
        }
    }

    /// An instance's new version failed for good.
    pub(super) fn instance_failed(
        &mut self,
        i: InstanceId,
        stage: Stage,
        why: &str,
        ctx: &mut Ctx,
    ) {
        self.forget_wishes(i, ctx);
        let Some(upgrade) = &mut self.upgrade else { return };
        upgrade.let_go(i, ctx.now);
        upgrade.record.failed += 1;
        let (failed, allowed) = (upgrade.record.failed, upgrade.ask.options.max_failed_instances);
        let run = self.instances.get(i as usize).map_or(0, |x| x.record.run);
        self.instance_event(i, UpgradeEventKind::InstanceFailed, why, ctx);
        self.set_stage(i, stage, ctx);
        if failed > allowed {
            self.fail(format!("instance {i} failed (run {run}): {why}"), ctx);
        }
    }
}
