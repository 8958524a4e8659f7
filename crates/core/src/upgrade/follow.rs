//! The upgrade that a job's record names: taken up, followed as users ask more of it, and forgotten.

use super::Upgrade;
use super::back::concerns;
use crate::ctx::Ctx;
use crate::job::Job;
use crate::output::Write;
use peloton_model::{
    InstanceId, Stage, UnixMs, UpgradeAsk, UpgradeEventKind, UpgradeRecord, UpgradeState, Version,
    limits,
};
use std::collections::BTreeSet;

impl Job {
    /// Takes up what the job's record says of its upgrade.
    pub(crate) fn follow_upgrade(&mut self, ctx: &mut Ctx) {
        let Some(record) = self.desired.as_ref().map(|desired| &desired.record) else { return };
        let (to, to_count, by) = (record.version, record.instance_count, record.updated_by.clone());
        let ask = record.upgrade.as_deref().cloned();
        let Some(ask) = ask else {
            if self.upgrade.take().is_some() {
                self.settle_leftovers(ctx);
                self.recount_surplus(ctx);
            }
            return;
        };
        match &mut self.upgrade {
            Some(upgrade) if (upgrade.record.to, upgrade.record.mark) == (to, ask.mark) => {
                upgrade.ask = ask;
            }
            _ => {
                self.replace_upgrade(to, ctx);
                self.take_up(ask, to, to_count, &by, ctx);
            }
        }
        self.obey(ctx);
    }

    /// The upgrade so far is not the job's any more. Where it stands is where the next one begins.
    fn replace_upgrade(&mut self, to: Version, ctx: &mut Ctx) {
        let Some(upgrade) = self.upgrade.as_mut().filter(|upgrade| upgrade.is_active()) else {
            return;
        };
        upgrade.record.state = UpgradeState::Aborted;
        upgrade.record.message = format!("replaced by the upgrade to version {to}");
        upgrade.record.finished_at = ctx.now;
        let message = upgrade.record.message.clone();
        self.upgrade_event(UpgradeEventKind::Ended, "", &message, ctx);
        self.clear_wishes(ctx);
        self.flush_upgrade(ctx);
    }

    fn take_up(&mut self, ask: UpgradeAsk, to: Version, to_count: u32, by: &str, ctx: &mut Ctx) {
        let stored = self.upgrades.get(&to).filter(|record| record.mark == ask.mark).cloned();
        let is_new = stored.is_none();
        let counts = to_count.max(ask.from_count);
        let others = self.instances.iter().enumerate().skip(counts as usize);
        let others = others.filter(|(_, instance)| instance.record.step.is_some()).count();
        let record = stored.clone().unwrap_or_else(|| UpgradeRecord {
            mark: ask.mark,
            from: ask.from,
            to,
            state: ask.state(false),
            total: counts + others as u32,
            started_at: ctx.now,
            updated_at: ctx.now,
            ..Default::default()
        });
        let upgrade = Upgrade::new(record, ask, to_count, stored, ctx.now);
        let (active, back) = (upgrade.is_active(), upgrade.record.back);
        self.upgrade = Some(Box::new(upgrade));
        if is_new {
            self.upgrade_event(UpgradeEventKind::Started, by, "", ctx);
            self.prune_upgrades(to, ctx);
        }
        if active && back {
            self.collect_back(ctx);
        } else if active {
            self.collect_forward();
        } else {
            self.settle_again(ctx);
        }
        self.recount_surplus(ctx);
        self.touch_job(ctx);
    }

    /// Sorts the instances for the way forward, from their steps.
    fn collect_forward(&mut self) {
        let Some(upgrade) = &mut self.upgrade else { return };
        upgrade.clear_sets();
        (upgrade.record.done, upgrade.record.failed) = (0, 0);
        let counts = upgrade.to_count.max(upgrade.ask.from_count);
        let to = upgrade.record.to;
        for (i, instance) in self.instances.iter().enumerate() {
            let i = i as InstanceId;
            if !concerns(i, counts, instance) {
                continue;
            }
            let step = instance.record.step.as_deref().filter(|step| step.to == to);
            match step.map(|step| step.stage) {
                Some(Stage::Prepare | Stage::Switch) => {
                    upgrade.in_hand.insert(i);
                }
                Some(Stage::Halted) => {
                    upgrade.in_hand.insert(i);
                    upgrade.halted.insert(i);
                    if instance.record.state.is_live() {
                        upgrade.halting.insert(i);
                    }
                }
                Some(Stage::Proven) => upgrade.record.done += 1,
                Some(Stage::Failed | Stage::Unplaced) => upgrade.record.failed += 1,
                Some(Stage::Back | Stage::Returned) | None => {
                    upgrade.todo.insert(i);
                    if !instance.is_up() {
                        upgrade.down.insert(i);
                    }
                }
            }
        }
        // Those of which there is nothing yet.
        let fresh: BTreeSet<_> = (self.instances.len() as InstanceId..counts).collect();
        upgrade.down.extend(fresh.iter().copied());
        upgrade.todo.extend(fresh);
        upgrade.look.clone_from(&upgrade.in_hand);
    }

    /// Does what users have asked of the upgrade.
    fn obey(&mut self, ctx: &mut Ctx) {
        let Some(upgrade) = &mut self.upgrade else { return };
        let (ask, record) = (&upgrade.ask, &upgrade.record);
        let by = ask.by.clone();
        if ask.rollback && !record.back && upgrade.is_open() {
            return self.turn_back("asked for", &by, ctx);
        }
        let state = ask.state(record.back);
        // One that ended on the way back goes on with that, if that is asked once more.
        let again = ask.rollback && ask.abort.is_none() && record.state.is_mixed();
        if again {
            return self.turn_back("asked for once more", &by, ctx);
        }
        if !upgrade.is_active() || record.state == state {
            return;
        }
        upgrade.record.state = state;
        upgrade.progress_at = ctx.now;
        let paused = state == UpgradeState::Paused;
        upgrade.look.clone_from(&upgrade.in_hand);
        let waiting: Vec<_> = upgrade.in_hand.iter().copied().filter(|_| !paused).collect();
        let kind = if paused { UpgradeEventKind::Paused } else { UpgradeEventKind::Resumed };
        self.upgrade_event(kind, &by, "", ctx);
        // The time of the pause does not count.
        for i in waiting {
            if self.step(i).is_some_and(|step| step.stage == Stage::Prepare) {
                self.set_stage(i, Stage::Prepare, ctx);
            }
        }
        self.touch_job(ctx);
    }

    /// Mesos is there again: deadlines count from now.
    pub(crate) fn upgrade_connected(&mut self, ctx: &mut Ctx) {
        let Some(upgrade) = &mut self.upgrade else { return };
        upgrade.look.clone_from(&upgrade.in_hand);
        self.touch_job(ctx);
    }

    /// Drops the oldest upgrades beyond those that are kept.
    fn prune_upgrades(&mut self, to: Version, ctx: &mut Ctx) {
        while self.upgrades.keys().filter(|version| **version != to).count()
            >= limits::KEPT_UPGRADES
        {
            let Some((oldest, _)) = self.upgrades.pop_first() else { return };
            ctx.writes.push(Write::EventsRemoved(self.id.clone(), Some(oldest)));
            ctx.writes.push(Write::Upgrade(self.id.clone(), oldest, None, None));
        }
    }

    /// Nothing of upgrades is of use any more: the job is gone, or another one has its name.
    pub(crate) fn forget_upgrades(&mut self, ctx: &mut Ctx) {
        let had = self.upgrade.take().is_some() || !self.upgrades.is_empty();
        self.clear_wishes(ctx);
        if had {
            self.upgrades.clear();
            ctx.writes.push(Write::EventsRemoved(self.id.clone(), None));
            ctx.writes.push(Write::UpgradesRemoved(self.id.clone()));
        }
    }

    /// What upgrades of an earlier job of the name did with instances that never ran says nothing of this one's.
    pub(crate) fn forget_steps(&mut self, ctx: &mut Ctx) {
        for i in 0..self.instances.len() as InstanceId {
            if self.step(i).is_some() {
                self.update(i, ctx, |instance| instance.record.step = None);
            }
        }
    }
}

impl Upgrade {
    fn new(
        record: UpgradeRecord,
        ask: UpgradeAsk,
        to_count: u32,
        written: Option<UpgradeRecord>,
        now: UnixMs,
    ) -> Self {
        Self {
            record,
            ask,
            to_count,
            todo: BTreeSet::new(),
            down: BTreeSet::new(),
            in_hand: BTreeSet::new(),
            ready: BTreeSet::new(),
            halted: BTreeSet::new(),
            halting: BTreeSet::new(),
            look: BTreeSet::new(),
            progress_at: now,
            lack: None,
            written,
        }
    }
}
