//! An upgrade of a job: which instances are in hand, what is next, and when it is over.
//!
//! What an instance is to run follows from the [`Step`] in its record and from the state of the upgrade
//! ([`Job::aim`]); everything else of an instance's life goes on as ever. So an upgrade only moves steps: it
//! takes instances in hand, a batch at a time, looks at those in hand whenever something of them changed
//! or a deadline passed, and turns back when too many failed. The sets below are derived from the steps, so
//! a process that starts anew goes on from the records.
//!
//! Nothing that the proven version needs is given up before the record that says SUCCEEDED is written; the
//! writes of a step keep their order.

mod aim;
mod back;
mod events;
mod follow;
mod forward;
pub(crate) mod prepare;
mod settle;

use crate::ctx::{Ctx, Timer};
use crate::job::Job;
use crate::output::Write;
use peloton_model::{
    InstanceId, Stage, Step, UnixMs, UpgradeAsk, UpgradeEventKind, UpgradeRecord, UpgradeState,
};
use std::collections::BTreeSet;

/// The upgrade that a job's record names.
#[derive(Debug)]
pub(crate) struct Upgrade {
    pub(crate) record: UpgradeRecord,
    pub(crate) ask: UpgradeAsk,
    /// The instance count of the new version.
    pub(crate) to_count: u32,
    /// Instances that were not taken in hand yet, in the present direction.
    pub(crate) todo: BTreeSet<InstanceId>,
    /// Of these, the ones that are not up: they come first.
    pub(crate) down: BTreeSet<InstanceId>,
    /// Instances in hand.
    pub(crate) in_hand: BTreeSet<InstanceId>,
    /// Of these, the ones that have what they need and wait until they may be ended.
    pub(crate) ready: BTreeSet<InstanceId>,
    /// Of those in hand, the ones that are ended first of all.
    pub(crate) halted: BTreeSet<InstanceId>,
    /// Of these, the ones that still run.
    pub(crate) halting: BTreeSet<InstanceId>,
    /// Instances in hand of which something changed.
    pub(crate) look: BTreeSet<InstanceId>,
    /// When it last got on.
    pub(crate) progress_at: UnixMs,
    /// What was last found to be missing for an instance in hand.
    pub(crate) lack: Option<String>,
    /// The record as it is stored.
    written: Option<UpgradeRecord>,
}

impl Upgrade {
    /// Whether it is under way.
    pub(crate) fn is_active(&self) -> bool {
        self.record.state.is_active()
    }

    /// Whether instances may have either version.
    pub(crate) fn is_open(&self) -> bool {
        self.is_active() || self.record.state.is_mixed()
    }

    /// An instance changed.
    pub(crate) fn changed(&mut self, i: InstanceId, is_up: bool) {
        if self.in_hand.contains(&i) {
            self.look.insert(i);
        } else if self.todo.contains(&i) {
            if is_up {
                self.down.remove(&i);
            } else {
                self.down.insert(i);
            }
        }
    }

    /// Something that concerns an instance may be due.
    pub(crate) fn look_at(&mut self, i: InstanceId) {
        if self.in_hand.contains(&i) {
            self.look.insert(i);
        }
    }

    /// How many instances are in hand at a time; percentages are of the larger of both instance counts.
    fn batch(&self) -> usize {
        self.ask.options.batch(self.to_count.max(self.ask.from_count)) as usize
    }

    fn placement_deadline_ms(&self) -> u64 {
        self.ask.options.placement_deadline_secs.saturating_mul(1000)
    }

    fn health_deadline_ms(&self) -> u64 {
        self.ask.options.health_deadline_secs.saturating_mul(1000)
    }

    /// The instance is not in hand any more.
    fn let_go(&mut self, i: InstanceId, now: UnixMs) {
        self.in_hand.remove(&i);
        self.ready.remove(&i);
        self.halted.remove(&i);
        self.halting.remove(&i);
        self.progress_at = now;
    }
}

impl Job {
    /// Whether the upgrade of the job's record is under way.
    pub(crate) fn upgrades(&self) -> bool {
        self.upgrade.as_ref().is_some_and(|upgrade| upgrade.is_active())
    }

    /// Something that concerns an instance in an upgrade may be due.
    pub(crate) fn look_at(&mut self, i: InstanceId, ctx: &mut Ctx) {
        if let Some(upgrade) = &mut self.upgrade {
            upgrade.look_at(i);
            self.touch_job(ctx);
        }
    }

    pub(crate) fn step(&self, i: InstanceId) -> Option<&Step> {
        self.instances.get(i as usize)?.record.step.as_deref()
    }

    /// Changes where an instance is in the upgrade.
    fn set_step(&mut self, i: InstanceId, ctx: &mut Ctx, f: impl FnOnce(&mut Step)) {
        self.update(i, ctx, |instance| {
            if let Some(step) = instance.record.step.as_deref_mut() {
                f(step);
            }
        });
    }

    fn set_stage(&mut self, i: InstanceId, stage: Stage, ctx: &mut Ctx) {
        let now = ctx.now;
        self.set_step(i, ctx, |step| {
            step.stage = stage;
            step.since = now;
        });
    }

    /// A deadline of the upgrade counts only while Mesos is there: since then, at the earliest.
    fn counted_from(at: UnixMs, ctx: &Ctx) -> UnixMs {
        at.max(ctx.subscribed_at)
    }

    /// Whether a deadline has passed; if not, the instance is looked at then.
    fn overdue(&mut self, i: InstanceId, due: UnixMs, ctx: &mut Ctx) -> bool {
        if due <= ctx.now {
            return ctx.connected;
        }
        self.arm_instance(i, due, ctx);
        false
    }

    /// Brings the upgrade as far as it gets now.
    pub(crate) fn advance(&mut self, ctx: &mut Ctx) {
        while self.upgrades() {
            let Some(upgrade) = &mut self.upgrade else { return };
            let back = upgrade.record.back;
            let Some(i) = upgrade.look.pop_first() else {
                if back {
                    self.go_back(ctx);
                } else {
                    self.go_forward(ctx);
                }
                let looks = self.upgrade.as_ref().is_some_and(|upgrade| !upgrade.look.is_empty());
                let turned = self.upgrade.as_ref().is_some_and(|u| u.record.back != back);
                if looks || turned {
                    continue;
                }
                return;
            };
            if back {
                self.look_back(i, ctx);
            } else {
                self.look_forward(i, ctx);
            }
        }
    }

    /// How many instances that are up may be ended now.
    fn spare(&self) -> u32 {
        self.up.saturating_sub(self.minimum_up())
    }

    /// How many instances the SLA wants to be up: of both versions, what the less demanding one says, as the
    /// new one may be there to change just that.
    fn minimum_up(&self) -> u32 {
        let Some(upgrade) = &self.upgrade else { return 0 };
        let minimum = |version, count| {
            self.configs.get(&version).map_or(0, |config| config.sla.minimum(count))
        };
        let old = minimum(upgrade.record.from, upgrade.ask.from_count);
        let new = minimum(upgrade.record.to, upgrade.to_count);
        old.min(new)
    }

    /// Whether the upgrade could not get on for so long that it is not to be waited for. If not, it is looked
    /// at again then.
    fn is_stalled(&self, ctx: &mut Ctx) -> bool {
        let Some(upgrade) = &self.upgrade else { return false };
        let since = Self::counted_from(upgrade.progress_at, ctx);
        let due = since + upgrade.placement_deadline_ms();
        if due > ctx.now || !ctx.connected {
            let at = due.max(ctx.now + 1000);
            ctx.arm(at, Timer::Upgrade(self.id.clone()));
            return false;
        }
        true
    }

    /// Too much failed.
    fn fail(&mut self, why: String, ctx: &mut Ctx) {
        let Some(upgrade) = &mut self.upgrade else { return };
        upgrade.record.failure.get_or_insert_with(|| why.clone());
        if upgrade.ask.options.rollback_on_failure {
            self.turn_back(&why, "", ctx);
        } else {
            self.end_upgrade(UpgradeState::Failed, &why, "", ctx);
        }
    }

    /// The upgrade is over. That is written before anything is done that follows from it.
    fn end_upgrade(&mut self, state: UpgradeState, why: &str, by: &str, ctx: &mut Ctx) {
        let Some(upgrade) = &mut self.upgrade else { return };
        let record = &mut upgrade.record;
        record.state = state;
        record.message = why.to_owned();
        record.finished_at = ctx.now;
        for set in [&mut upgrade.todo, &mut upgrade.down, &mut upgrade.look] {
            set.clear();
        }
        for set in [&mut upgrade.ready, &mut upgrade.halted, &mut upgrade.halting] {
            set.clear();
        }
        let in_hand = std::mem::take(&mut upgrade.in_hand);
        self.clear_wishes(ctx);
        let message = format!("{}: {why}", state.name());
        self.upgrade_event(UpgradeEventKind::Ended, by, &message, ctx);
        self.flush_upgrade(ctx);
        match state {
            UpgradeState::Succeeded | UpgradeState::RolledBack => self.settle_all(ctx),
            _ => self.settle_mixed(&in_hand, ctx),
        }
        self.forget_configs();
        self.touch_job(ctx);
    }

    /// Writes the upgrade's record, if it changed.
    pub(crate) fn flush_upgrade(&mut self, ctx: &mut Ctx) {
        let Some(upgrade) = &mut self.upgrade else { return };
        if upgrade.written.as_ref() == Some(&upgrade.record) {
            return;
        }
        upgrade.record.updated_at = ctx.now;
        upgrade.written = Some(upgrade.record.clone());
        let record = upgrade.record.clone();
        self.upgrades.insert(record.to, record.clone());
        let succeeds = record.state == UpgradeState::Succeeded;
        let guard = self.desired.as_ref().filter(|_| succeeds).map(|desired| desired.modified);
        ctx.writes.push(Write::Upgrade(self.id.clone(), record.to, Some(Box::new(record)), guard));
    }
}
