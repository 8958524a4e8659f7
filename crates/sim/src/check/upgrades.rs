//! Upgrades: until one has succeeded, durably, what the version before needs stays reserved where it is; a
//! rollback ends nothing but the new version, and starts the old one where it was; no more is ended than the
//! SLA allows; and what counts as proven is up, and was for long enough.
//!
//! A transaction can hold what several steps decided, a record in it only as the last of them left it. So what is
//! decided in a transaction is judged by what the store said before it, and where it says nothing about how it
//! came so, in favour of it.

use super::ledger::{Ledger, read};
use crate::ground::Reserved;
use crate::sim::Sim;
use peloton_api::domain::UpgradeControl;
use peloton_model::{
    Abort, Amount, ConfigRecord, Health, InstanceRecord, JobConfig, JobId, JobRecord, JobSummary,
    KillReason, SlotRecord, SlotState, Stage, TaskState, UpgradeAsk, UpgradeId, UpgradeRecord,
    UpgradeState,
};
use peloton_proto::mesos::v1;
use peloton_proto::mesos::v1::scheduler::Event;
use peloton_store::keys::{self, ParsedKey};
use peloton_store::{Op, Txn};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// For how long after an agent was back slots there may still be given up: a master that was away itself finds
/// out late, in milliseconds.
const EXCUSED_MS: u64 = 1_200_000;

/// What is asked of upgrades, and what became of them.
#[derive(Default)]
pub(super) struct Upgrades {
    jobs: BTreeMap<String, JobRecord>,
    records: BTreeMap<(String, u64), UpgradeRecord>,
    configs: BTreeMap<(String, u64), Arc<JobConfig>>,
    floors: BTreeMap<String, u64>,
    /// All that was ever asked of upgrades, job by job.
    asks: BTreeMap<String, Vec<(UpgradeId, UpgradeAsk)>>,
    /// Agents that were away, until when; for ever where there is nothing.
    away: BTreeMap<String, Option<u64>>,
    /// When each task was first said to run.
    up_at: BTreeMap<String, u64>,
}

/// An upgrade that is open.
struct Open<'a> {
    job: &'a str,
    desired: &'a JobRecord,
    ask: &'a UpgradeAsk,
    record: &'a UpgradeRecord,
    floor: u64,
}

impl Upgrades {
    /// Before the ledger has taken the transaction in.
    pub(super) fn committed(&mut self, sim: &Sim, txn: &Txn, ledger: &Ledger) {
        let change = Change::read(sim, txn);
        for (job, to, record) in &change.upgrades {
            if record.state == UpgradeState::Succeeded {
                self.succeeds(sim, (job, *to), &change, ledger);
            }
        }
        for ((job, i, slot), new) in &change.slots {
            self.slot(sim, (job, *i, *slot), new.as_ref(), &change, ledger);
        }
        let mut ended: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
        for ((job, i), new) in &change.instances {
            let old = ledger.instances.get(&(job.clone(), *i)).cloned().unwrap_or_default();
            let Some(open) = self.open(job) else { continue };
            if is_ended(&old, new) {
                self.ends(sim, &open, *i, &old);
                // Where a user asked for another run, it is him who ends this one.
                let goal = open.desired.goals.get(*i);
                if is_up(&old) && goal.restart <= old.goal && !goal.stopped {
                    ended.entry(job.as_str()).or_default().push(*i);
                }
            }
            self.starts(sim, &open, (*i, &old, new), ledger);
            self.proves(sim, &open, (*i, &old, new));
        }
        for (job, ended) in ended {
            self.keeps_sla(sim, job, &ended, &change, ledger);
        }
        self.take_in(sim, txn, change);
    }

    fn take_in(&mut self, sim: &Sim, txn: &Txn, change: Change) {
        for (job, to, record) in change.upgrades {
            self.records.insert((job, to), record);
        }
        for op in &txn.then {
            match op {
                Op::Put { key, value, .. } => match keys::parse(key) {
                    Some(ParsedKey::DesiredJob { job, .. }) => {
                        let Some(record) = read::<JobRecord>(sim, value) else { continue };
                        let id = JobId::new(&job).ok().and_then(|id| record.upgrade_id(&id));
                        if let (Some(id), Some(ask)) = (id, record.upgrade.as_deref()) {
                            self.asks.entry(job.clone()).or_default().push((id, ask.clone()));
                        }
                        self.jobs.insert(job, record);
                    }
                    Some(ParsedKey::DesiredConfig { job, version, .. }) => {
                        let Some(record) = read::<ConfigRecord>(sim, value) else { continue };
                        self.configs.insert((job, version), record.config);
                    }
                    Some(ParsedKey::ActualJob { job, .. }) => {
                        let Some(record) = read::<JobSummary>(sim, value) else { continue };
                        self.floors.insert(job, record.run_floor);
                    }
                    _ => {}
                },
                Op::Delete { key } => {
                    if let Some(ParsedKey::DesiredJob { job, .. }) = keys::parse(key) {
                        self.jobs.remove(&job);
                    }
                }
                Op::DeleteRange { .. } => {}
            }
        }
    }

    /// The upgrade of a job, once its shard has taken it up, and as long as the version before may come back.
    fn open<'a>(&'a self, job: &'a str) -> Option<Open<'a>> {
        let desired = self.jobs.get(job)?;
        let ask = desired.upgrade.as_deref()?;
        let record = self.records.get(&(job.to_owned(), desired.version))?;
        let open = record.mark == ask.mark && (record.state.is_active() || record.state.is_mixed());
        let floor = self.floors.get(job).copied().unwrap_or(0);
        open.then_some(Open { job, desired, ask, record, floor })
    }

    fn config(&self, job: &str, version: u64) -> Option<&JobConfig> {
        self.configs.get(&(job.to_owned(), version)).map(Arc::as_ref)
    }

    fn is_excused(&self, sim: &Sim, agent: &str) -> bool {
        self.away.get(agent).is_some_and(|until| {
            until.is_none_or(|until| sim.now_ms() < until.saturating_add(EXCUSED_MS))
        })
    }

    /// What the version before needs is not touched.
    fn slot(
        &self,
        sim: &Sim,
        (job, i, slot): (&str, u32, u64),
        new: Option<&SlotRecord>,
        change: &Change,
        ledger: &Ledger,
    ) {
        let Some(open) = self.open(job) else { return };
        let Some(old) = ledger.slots.get(&(job.to_owned(), i, slot)) else { return };
        if !open.needs((i, slot), old) || change.succeeds(job) {
            return;
        }
        let state = open.record.state;
        match new {
            Some(new) if (new.resources, &new.ports) != (old.resources, &old.ports) => {
                sim.violated(format!(
                    "{job}/{i}/{slot}: what the version before needs is changed in {state:?}: {old:?} {new:?}"
                ));
            }
            Some(new) if new.state != SlotState::Releasing => {}
            _ if self.is_excused(sim, old.agent.as_str()) => {}
            _ => sim.violated(format!(
                "{job}/{i}/{slot}: the slot of the version before is given up in {state:?}"
            )),
        }
    }

    /// An upgrade ends a run. On the way back only one of a new version.
    fn ends(&self, sim: &Sim, open: &Open<'_>, i: u32, old: &InstanceRecord) {
        let left = old.step.as_deref().is_some_and(|step| step.to == old.version);
        if open.record.back && old.version <= open.ask.from && !left {
            let job = open.job;
            sim.violated(format!("{job}/{i} is ended on the way back, but has not left: {old:?}"));
        }
    }

    /// On the way back a run begins in the slot that the version before had, as long as there is one.
    fn starts(
        &self,
        sim: &Sim,
        open: &Open<'_>,
        (i, old, new): (u32, &InstanceRecord, &InstanceRecord),
        ledger: &Ledger,
    ) {
        let back = new.step.as_deref().is_some_and(|step| {
            matches!(step.stage, Stage::Back | Stage::Returned) && step.to == open.record.to
        });
        if !back || !open.record.back || new.run == old.run || new.version > open.ask.from {
            return;
        }
        let all = (open.job.to_owned(), i, 0)..=(open.job.to_owned(), i, u64::MAX);
        let home = ledger.slots.range(all).find(|((_, _, slot), record)| {
            open.needs((i, *slot), record) && !self.is_excused(sim, record.agent.as_str())
        });
        let Some(((_, _, home), _)) = home else { return };
        if new.slot.is_none_or(|own| own.0 != *home) {
            let job = open.job;
            sim.violated(format!("{job}/{i} returns, but not to its slot {home}: {new:?}"));
        }
    }

    /// What counts as proven is up with the new version, and was for long enough.
    fn proves(
        &self,
        sim: &Sim,
        open: &Open<'_>,
        (i, old, new): (u32, &InstanceRecord, &InstanceRecord),
    ) {
        let to = open.record.to;
        let is_proven = |record: &InstanceRecord| {
            record.step.as_deref().is_some_and(|step| step.stage == Stage::Proven && step.to == to)
        };
        if is_proven(new) && !is_proven(old) {
            self.was_up(sim, open, (i, old, new));
        }
    }

    fn was_up(
        &self,
        sim: &Sim,
        open: &Open<'_>,
        (i, old, new): (u32, &InstanceRecord, &InstanceRecord),
    ) {
        let (job, to) = (open.job, open.record.to);
        // Removed, or stopped; or it ended, or another run began, after it was proven.
        let is_over =
            !new.state.is_live() && (new.started_at > 0 || new.state == TaskState::Killed);
        if i >= open.desired.instance_count || is_over || (new.run != old.run && old.run != 0) {
            return;
        }
        if new.version != to || new.state != TaskState::Running {
            return sim.violated(format!("{job}/{i} counts as proven for {to}, but is {new:?}"));
        }
        let task = format!("{job}-{i}-{}", new.run);
        let up_ms = self.up_at.get(&task).map_or(0, |at| sim.now_ms() - at);
        let least_ms = open.ask.options.min_healthy_secs * 1000;
        if up_ms < least_ms && !sim.plan.has_jumps() {
            sim.violated(format!("{task} counts as proven after {up_ms} of {least_ms} ms"));
        }
    }

    /// An upgrade succeeds: every instance is proven, but those that may fail.
    fn succeeds(&self, sim: &Sim, (job, to): (&str, u64), change: &Change, ledger: &Ledger) {
        let Some(open) = self.open(job).filter(|open| open.record.to == to) else { return };
        let mut failed = 0;
        for i in 0..open.desired.instance_count {
            let key = (job.to_owned(), i);
            let old = ledger.instances.get(&key).cloned().unwrap_or_default();
            let new = change.instances.get(&key);
            let stage = old.step.as_deref().filter(|step| step.to == to).map(|step| step.stage);
            match stage {
                Some(Stage::Failed | Stage::Unplaced) => failed += 1,
                Some(Stage::Proven) => {}
                _ if open.desired.goals.get(i).stopped => {}
                // It may have failed in this very transaction; of one that never ran nothing is left.
                _ if open.ask.options.max_failed_instances > 0 && change.touches(&key) => {}
                _ => match new {
                    Some(new) => self.was_up(sim, &open, (i, &old, new)),
                    None => sim.violated(format!("{job} succeeds, but {i} is not proven: {old:?}")),
                },
            }
        }
        if failed > open.ask.options.max_failed_instances {
            sim.violated(format!("{job} succeeds, although {failed} instances failed"));
        }
    }

    /// On the way forward, enough others are up when an upgrade ends instances.
    fn keeps_sla(&self, sim: &Sim, job: &str, ended: &[u32], change: &Change, ledger: &Ledger) {
        let Some(open) = self.open(job) else { return };
        let (record, ask) = (open.record, open.ask);
        if record.back || !record.state.is_active() || ask.options.stop_before_upgrade {
            return;
        }
        let minimum = |version, count| Some(self.config(job, version)?.sla.minimum(count));
        let old = minimum(ask.from, ask.from_count);
        let new = minimum(open.desired.version, open.desired.instance_count);
        let Some(minimum) = old.zip(new).map(|(old, new)| old.min(new)) else { return };
        let all = (job.to_owned(), 0)..=(job.to_owned(), u32::MAX);
        let mut up: BTreeSet<u32> = ledger
            .instances
            .range(all)
            .filter(|(_, record)| record.run > open.floor && is_up(record))
            .map(|((_, i), _)| *i)
            .collect();
        // Those that are not up after it may have been in between.
        up.extend(change.instances.keys().filter(|(of, _)| of == job).map(|(_, i)| *i));
        let left = up.len().saturating_sub(ended.len());
        if (left as u32) < minimum {
            sim.violated(format!("{job}: {ended:?} are ended, {left} of {minimum} are left"));
        }
    }

    /// What is reserved for every slot that an open upgrade may need again.
    pub(super) fn look(&self, sim: &Sim, ledger: &Ledger, reserved: &BTreeMap<Reserved, Amount>) {
        for ((job, i, slot), record) in &ledger.slots {
            let Some(open) = self.open(job) else { continue };
            if !open.needs((*i, *slot), record) || self.is_excused(sim, record.agent.as_str()) {
                continue;
            }
            let need = Amount::new(record.resources, record.ports.iter().copied());
            let name = (job.clone(), *i, *slot, record.agent.to_string());
            let there = reserved.get(&name).cloned().unwrap_or_default();
            if !there.covers(&need) {
                sim.violated(format!("{name:?}: {there:?} is reserved, and {need:?} is needed"));
            }
        }
    }

    pub(super) fn event(&mut self, now_ms: u64, event: &Event) {
        let update = event.update.as_ref().and_then(|update| update.status.as_ref());
        let running = v1::TaskState::TaskRunning as i32;
        if let Some(status) = update.filter(|status| status.state == running) {
            self.up_at.entry(status.task_id.value.clone()).or_insert(now_ms);
        }
    }

    pub(super) fn agent_is_away(&mut self, agent: &str) {
        self.away.insert(agent.to_owned(), None);
    }

    pub(super) fn agent_is_back(&mut self, agent: &str, now_ms: u64) {
        self.away.insert(agent.to_owned(), Some(now_ms));
    }

    /// How much was asked of the job's upgrades by now.
    pub(super) fn asked(&self, job: &JobId) -> usize {
        self.asks.get(job.as_str()).map_or(0, Vec::len)
    }

    /// A user was told that it is asked of this upgrade: it was, at some time since the question.
    pub(super) fn steered(
        &self,
        sim: &Sim,
        id: &UpgradeId,
        control: UpgradeControl,
        asked_before: usize,
    ) {
        let says = |ask: &UpgradeAsk| match control {
            UpgradeControl::Pause => ask.paused,
            UpgradeControl::Resume => !ask.paused,
            UpgradeControl::Rollback => ask.rollback && ask.abort.is_none(),
            UpgradeControl::Abort(Abort::Hard) => ask.abort == Some(Abort::Hard),
            UpgradeControl::Abort(Abort::Soft) => ask.abort.is_some(),
        };
        let all = self.asks.get(id.job.as_str()).map_or(&[][..], Vec::as_slice);
        let since = all.get(asked_before.saturating_sub(1)..).unwrap_or_default();
        if !since.iter().any(|(of, ask)| of == id && says(ask)) {
            sim.violated(format!(
                "a user was told that {control:?} is asked of {id}, and it is not"
            ));
        }
    }
}

impl Open<'_> {
    /// Whether the version before needs the slot, should it come back.
    fn needs(&self, (i, slot): (u32, u64), record: &SlotRecord) -> bool {
        let base = record.made_for == 0 && record.state == SlotState::Held;
        base && slot > self.floor && i < self.ask.from_count
    }
}

/// The records that a transaction writes, as it leaves them.
#[derive(Default)]
struct Change {
    instances: BTreeMap<(String, u32), InstanceRecord>,
    /// Instances whose records it deletes.
    gone: BTreeSet<(String, u32)>,
    slots: BTreeMap<(String, u32, u64), Option<SlotRecord>>,
    upgrades: Vec<(String, u64, UpgradeRecord)>,
}

impl Change {
    fn read(sim: &Sim, txn: &Txn) -> Self {
        let mut change = Self::default();
        for op in &txn.then {
            let (key, value) = match op {
                Op::Put { key, value, .. } => (key, Some(value)),
                Op::Delete { key } => (key, None),
                Op::DeleteRange { .. } => continue,
            };
            match (keys::parse(key), value) {
                (Some(ParsedKey::ActualInstance { job, instance, .. }), Some(value)) => {
                    let record = read::<InstanceRecord>(sim, value).unwrap_or_default();
                    change.instances.insert((job, instance), record);
                }
                (Some(ParsedKey::ActualInstance { job, instance, .. }), None) => {
                    change.gone.insert((job, instance));
                }
                (Some(ParsedKey::ActualSlot { job, instance, slot, .. }), value) => {
                    let Ok(slot) = slot.parse::<u64>() else { continue };
                    let record = value.and_then(|value| read::<SlotRecord>(sim, value));
                    change.slots.insert((job, instance, slot), record);
                }
                (Some(ParsedKey::ActualUpgrade { job, version, .. }), Some(value)) => {
                    let Some(record) = read::<UpgradeRecord>(sim, value) else { continue };
                    change.upgrades.push((job, version, record));
                }
                _ => {}
            }
        }
        change
    }

    fn touches(&self, instance: &(String, u32)) -> bool {
        self.instances.contains_key(instance) || self.gone.contains(instance)
    }

    fn succeeds(&self, job: &str) -> bool {
        self.upgrades
            .iter()
            .any(|(of, _, record)| of == job && record.state == UpgradeState::Succeeded)
    }
}

/// Whether an upgrade ends the run.
fn is_ended(old: &InstanceRecord, new: &InstanceRecord) -> bool {
    let by_upgrade = |record: &InstanceRecord| {
        record.killing.is_some_and(|killing| killing.reason == KillReason::Upgrade)
    };
    old.run == new.run && !by_upgrade(old) && by_upgrade(new)
}

fn is_up(record: &InstanceRecord) -> bool {
    record.state == TaskState::Running
        && matches!(record.health, Health::Disabled | Health::Healthy)
        && record.killing.is_none()
        && record.unreachable_since.is_none()
}
