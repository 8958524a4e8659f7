//! A job in its shard: what is asked of it, its instances and slots, and the counts that are kept.

use crate::ctx::Ctx;
use crate::instance::Instance;
use crate::output::Write;
use crate::shard::{Remembered, Shard};
use crate::slots::{Slot, slots_of};
use crate::upgrade::Upgrade;
use peloton_model::job::{JobConfig, JobKind};
use peloton_model::{
    AgentId, Goals, Health, InstanceId, JobId, JobRecord, JobState, JobSummary, RunNumber, SlotId,
    TaskState, UnixMs, UpgradeRecord, UpgradeState, Version, Waiting,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What users ask of a job.
#[derive(Debug, Clone)]
pub(crate) struct Desired {
    pub(crate) incarnation: i64,
    /// The revision of the record.
    pub(crate) modified: i64,
    pub(crate) record: JobRecord,
}

#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) id: JobId,
    /// None once the job is deleted.
    pub(crate) desired: Option<Desired>,
    pub(crate) configs: BTreeMap<Version, Arc<JobConfig>>,
    /// Dense: instance `i` at index `i`.
    pub(crate) instances: Vec<Instance>,
    pub(crate) slots: BTreeMap<(InstanceId, SlotId), Slot>,
    /// Instances that wait for an offer of any agent.
    pub(crate) to_place: BTreeSet<InstanceId>,
    /// Instances that wait for the offer of their slot.
    pub(crate) to_resume: BTreeSet<InstanceId>,
    /// The counts in it are kept at all times; the rest is filled in when it is written.
    pub(crate) summary: JobSummary,
    /// Why instances could not be placed, from the last look at offers.
    pub(crate) unplaced: Option<Waiting>,
    /// How many instances each agent has: in slots that are kept, else running.
    pub(crate) placed: BTreeMap<AgentId, u32>,
    /// Instances that wait for more to be reserved on the agent where they are.
    pub(crate) to_widen: BTreeMap<AgentId, BTreeSet<InstanceId>>,
    /// Instances that wait for a slot on any agent to be reserved, while they run on.
    pub(crate) to_move: BTreeSet<InstanceId>,
    /// Slots with volumes that are to be made, filled or destroyed, and wait for an offer.
    pub(crate) chores: BTreeSet<(InstanceId, SlotId)>,
    /// How many instances are up.
    pub(crate) up: u32,
    /// The upgrade that the job's record names, also once it has ended.
    pub(crate) upgrade: Option<Box<Upgrade>>,
    /// The records of upgrades that are stored.
    pub(crate) upgrades: BTreeMap<Version, UpgradeRecord>,
    /// The highest run number that any instance, also a removed one, ever had.
    pub(crate) top_run: RunNumber,
    written: JobSummary,
    dirty_instances: Vec<InstanceId>,
    dirty_slots: BTreeSet<(InstanceId, SlotId)>,
}

impl Job {
    pub(crate) fn new(id: JobId) -> Self {
        Self {
            id,
            desired: None,
            configs: BTreeMap::new(),
            instances: Vec::new(),
            slots: BTreeMap::new(),
            to_place: BTreeSet::new(),
            to_resume: BTreeSet::new(),
            summary: JobSummary::default(),
            unplaced: None,
            placed: BTreeMap::new(),
            to_widen: BTreeMap::new(),
            to_move: BTreeSet::new(),
            chores: BTreeSet::new(),
            up: 0,
            upgrade: None,
            upgrades: BTreeMap::new(),
            top_run: 0,
            written: JobSummary::default(),
            dirty_instances: Vec::new(),
            dirty_slots: BTreeSet::new(),
        }
    }

    /// Takes a stored summary; the counts are counted anew from the instances.
    pub(crate) fn restore_summary(&mut self, summary: &JobSummary) {
        self.summary.incarnation = summary.incarnation;
        self.summary.run_floor = summary.run_floor;
        self.summary.run_high = summary.run_high;
        self.summary.deleted_at = summary.deleted_at;
        self.top_run = self.top_run.max(summary.run_floor).max(summary.run_high);
        self.written = summary.clone();
    }

    /// How many instances there may be: of either version, where an upgrade is under way.
    pub(crate) fn wanted(&self) -> u32 {
        self.desired.as_ref().map_or(0, |d| d.record.span(self.upgrade_state()))
    }

    /// The state of the upgrade that the job's record names; any, where it names none.
    pub(crate) fn upgrade_state(&self) -> UpgradeState {
        self.upgrade.as_ref().map_or(UpgradeState::Succeeded, |upgrade| upgrade.record.state)
    }

    /// The version in force; while an upgrade is under way, the one that it goes to.
    pub(crate) fn version(&self) -> Version {
        self.desired.as_ref().map_or(0, |d| d.record.current(self.upgrade_state()).version)
    }

    /// The configuration in force, once it is known.
    pub(crate) fn config(&self) -> Option<&Arc<JobConfig>> {
        self.configs.get(&self.version())
    }

    /// The configuration of an instance's run.
    pub(crate) fn config_of_run(&self, i: InstanceId) -> Option<&Arc<JobConfig>> {
        let version = self.instances.get(i as usize)?.record.version;
        self.configs.get(&version).or_else(|| self.config())
    }

    /// Whether an instance waits for an offer.
    pub(crate) fn waits(&self) -> bool {
        !self.to_place.is_empty()
            || !self.to_resume.is_empty()
            || !self.to_widen.is_empty()
            || !self.to_move.is_empty()
            || !self.chores.is_empty()
    }

    pub(crate) fn is_service(&self) -> bool {
        self.config().is_none_or(|c| c.kind == JobKind::Service)
    }

    /// Makes room for an instance.
    pub(crate) fn grow_to(&mut self, count: u32) {
        while self.instances.len() < count as usize {
            self.instances.push(Instance::default());
            self.summary.counts.add(TaskState::Initialized);
        }
    }

    /// Drops instances at the end that should not be there and are not.
    fn shrink(&mut self) {
        while self.instances.len() > self.wanted() as usize
            && self.instances.last().is_some_and(Instance::is_blank)
        {
            self.instances.pop();
            self.summary.counts.remove(TaskState::Initialized);
        }
    }

    pub(crate) fn touch(&mut self, i: InstanceId, ctx: &mut Ctx) {
        if let Some(instance) = self.instances.get_mut(i as usize)
            && !instance.dirty
        {
            instance.dirty = true;
            self.dirty_instances.push(i);
        }
        self.touch_job(ctx);
    }

    pub(crate) fn touch_slot(&mut self, i: InstanceId, slot: SlotId, ctx: &mut Ctx) {
        self.dirty_slots.insert((i, slot));
        self.touch_job(ctx);
    }

    pub(crate) fn touch_job(&self, ctx: &mut Ctx) {
        if !ctx.dirty_jobs.contains(&self.id) {
            ctx.dirty_jobs.insert(self.id.clone());
        }
    }

    /// Changes an instance and keeps every count that depends on it.
    pub(crate) fn update(&mut self, i: InstanceId, ctx: &mut Ctx, f: impl FnOnce(&mut Instance)) {
        let Some(instance) = self.instances.get_mut(i as usize) else { return };
        let summary = &mut self.summary;
        count(summary, instance, false);
        let (before, free_before) = (instance.record.agent.clone(), instance.unslotted_agent());
        let was_up = instance.is_up();
        f(instance);
        count(summary, instance, true);
        let is_up = instance.is_up();
        if was_up != is_up {
            instance.up_since = if is_up { ctx.now } else { 0 };
            self.up = if is_up { self.up + 1 } else { self.up.saturating_sub(1) };
        }
        if let Some(upgrade) = &mut self.upgrade {
            upgrade.changed(i, is_up);
        }
        let (after, free_after) = (instance.record.agent.clone(), instance.unslotted_agent());
        if before != after {
            if let Some(agent) = after {
                ctx.use_agent(&agent);
            }
            if let Some(agent) = before {
                ctx.leave_agent(&agent);
            }
        }
        if free_before != free_after {
            if let Some(agent) = free_after {
                place(&mut self.placed, &agent, true);
            }
            if let Some(agent) = free_before {
                place(&mut self.placed, &agent, false);
            }
        }
        self.top_run = self.top_run.max(instance.record.run).max(instance.record.fetched);
        self.touch(i, ctx);
    }

    /// Counts instances as they were loaded.
    pub(crate) fn recount(&mut self) {
        let fresh = JobSummary::default();
        self.summary.counts = fresh.counts;
        self.summary.healthy = 0;
        self.summary.unhealthy = 0;
        self.summary.versions.clear();
        self.up = 0;
        self.placed.clear();
        for held in self.slots.values().filter(|held| held.is_kept()) {
            place(&mut self.placed, &held.record.agent, true);
        }
        for instance in &self.instances {
            count(&mut self.summary, instance, true);
            self.up += u32::from(instance.is_up());
            if let Some(agent) = instance.unslotted_agent() {
                place(&mut self.placed, &agent, true);
            }
            self.top_run = self.top_run.max(instance.record.run).max(instance.record.fetched);
        }
    }

    /// Whether nothing is left of a deleted job.
    pub(crate) fn is_over(&self) -> bool {
        self.desired.is_none() && self.instances.is_empty() && self.slots.is_empty()
    }

    /// Writes what changed: each instance with its slots, then the summary.
    pub(crate) fn flush(&mut self, ctx: &mut Ctx) {
        self.advance(ctx);
        self.flush_floors(ctx);
        let touched = std::mem::take(&mut self.dirty_slots);
        let mut dirty = std::mem::take(&mut self.dirty_instances);
        dirty.extend(touched.iter().map(|(i, _)| *i));
        dirty.sort_unstable();
        dirty.dedup();
        let mut slots = touched.into_iter().peekable();
        for i in dirty {
            while let Some((_, slot)) = slots.next_if(|(of, _)| *of == i) {
                self.write_slot(i, slot, ctx);
            }
            let id = &self.id;
            if let Some(instance) = self.instances.get_mut(i as usize) {
                instance.flush(id, i, ctx);
            }
        }
        self.shrink();
        self.flush_upgrade(ctx);
        self.flush_summary(ctx);
    }

    /// Writes an instance with its slots ahead of the others.
    pub(crate) fn flush_one(&mut self, i: InstanceId, ctx: &mut Ctx) {
        let slots = self.dirty_slots.range(slots_of(i));
        let slots: Vec<_> = slots.copied().collect();
        let dirty = self.instances.get(i as usize).is_some_and(|instance| instance.dirty);
        if !dirty && slots.is_empty() {
            return;
        }
        self.flush_floors(ctx);
        for (i, slot) in slots {
            self.dirty_slots.remove(&(i, slot));
            self.write_slot(i, slot, ctx);
        }
        if let Some(instance) = self.instances.get_mut(i as usize) {
            instance.flush(&self.id, i, ctx);
        }
    }

    fn write_slot(&self, i: InstanceId, slot: SlotId, ctx: &mut Ctx) {
        let record = self.slots.get(&(i, slot)).map(|s| s.record.clone());
        let record =
            record.or_else(|| ctx.retained.get(&self.slot_ref(i, slot)).map(|s| s.record.clone()));
        ctx.writes.push(Write::Slot(self.id.clone(), i, slot, record));
    }

    /// What keeps run numbers from coming twice goes first of all: should only a part of a step's writes
    /// become durable, it is to be this one.
    fn flush_floors(&mut self, ctx: &mut Ctx) {
        let floors = |summary: &JobSummary| (summary.run_floor, summary.run_high);
        if floors(&self.summary) != floors(&self.written) {
            self.flush_summary(ctx);
        }
    }

    fn flush_summary(&mut self, ctx: &mut Ctx) {
        self.summary.waiting = self.waiting();
        self.summary.state = self.state();
        if self.desired.is_none() {
            let counts = &self.summary.counts;
            let live: u32 =
                TaskState::ALL.iter().filter(|s| s.is_live()).map(|s| counts.get(*s)).sum();
            self.summary.leftovers = live + self.slots.len() as u32;
            if self.is_over() {
                self.summary.run_floor = self.top_run;
            }
        }
        if self.summary != self.written {
            self.written = self.summary.clone();
            ctx.writes.push(Write::Summary(self.id.clone(), Some(Box::new(self.summary.clone()))));
        }
    }

    fn waiting(&self) -> Vec<Waiting> {
        let mut all = Vec::new();
        if !self.to_place.is_empty() {
            let mut waiting = self.unplaced.clone().unwrap_or_else(|| Waiting {
                reason: "waits for offers from Mesos".to_owned(),
                ..Default::default()
            });
            waiting.instances = self.to_place.len() as u32;
            all.push(waiting);
        }
        let (for_volumes, for_offers) = self.waiting_for_slots();
        all.extend(for_volumes);
        if for_offers > 0 {
            all.push(Waiting {
                instances: for_offers,
                reason: "waits for Mesos to offer the resources of its slot".to_owned(),
                ..Default::default()
            });
        }
        let throttled = self.summary.counts.get(TaskState::Throttled);
        if throttled > 0 {
            all.push(Waiting {
                instances: throttled,
                reason: "waits out its back-off after a failure".to_owned(),
                ..Default::default()
            });
        }
        all
    }

    fn state(&self) -> JobState {
        let Some(desired) = &self.desired else { return JobState::Deleted };
        let n = |state| self.summary.counts.get(state);
        let (total, wanted) = (self.summary.counts.total(), self.wanted());
        let waiting =
            n(TaskState::Scheduling) + n(TaskState::Throttled) + n(TaskState::Initialized);
        let live = n(TaskState::Assigned) + n(TaskState::Launched) + n(TaskState::Running);
        let stopping = total > wanted
            || (live > 0 && waiting == 0 && desired.record.goals.all_stopped(wanted));
        if stopping {
            JobState::Killing
        } else if waiting > 0 || live > n(TaskState::Running) {
            JobState::Pending
        } else if live > 0 || (total == 0 && self.is_service()) {
            JobState::Running
        } else if n(TaskState::Failed) > 0 {
            JobState::Failed
        } else if n(TaskState::Killed) > 0 {
            JobState::Killed
        } else {
            JobState::Succeeded
        }
    }
}

/// Counts an instance in (`up`) or out.
fn count(summary: &mut JobSummary, instance: &Instance, up: bool) {
    let record = &instance.record;
    let by = |n: &mut u32| *n = if up { *n + 1 } else { n.saturating_sub(1) };
    if up {
        summary.counts.add(record.state);
    } else {
        summary.counts.remove(record.state);
    }
    if record.state == TaskState::Running {
        match record.health {
            Health::Healthy => by(&mut summary.healthy),
            Health::Unhealthy => by(&mut summary.unhealthy),
            Health::Disabled | Health::Unknown => {}
        }
    }
    if record.state.is_live() {
        let n = summary.versions.entry(record.version).or_default();
        by(n);
        if *n == 0 {
            summary.versions.remove(&record.version);
        }
    }
}

/// Counts an instance on an agent in, or out.
pub(crate) fn place(placed: &mut BTreeMap<AgentId, u32>, agent: &AgentId, up: bool) {
    match placed.get_mut(agent) {
        Some(n) if up => *n += 1,
        Some(n) if *n > 1 => *n -= 1,
        Some(_) => {
            placed.remove(agent);
        }
        None if up => {
            placed.insert(agent.clone(), 1);
        }
        None => {}
    }
}

impl Shard {
    pub(crate) fn config_stored(&mut self, id: &JobId, version: Version, config: Arc<JobConfig>) {
        entry(&mut self.jobs, &mut self.remembered, id).configs.insert(version, config);
    }

    pub(crate) fn job_stored(&mut self, id: &JobId, desired: Desired) {
        entry(&mut self.jobs, &mut self.remembered, id).desire(desired, &mut self.ctx);
    }

    pub(crate) fn job_removed(&mut self, id: &JobId) {
        if let Some(job) = self.jobs.get_mut(id) {
            job.remove(&mut self.ctx);
        }
    }
}

/// The job of an id; a new one goes on from the run numbers of a deleted one of the name.
fn entry<'a>(
    jobs: &'a mut BTreeMap<JobId, Job>,
    remembered: &mut BTreeMap<JobId, Remembered>,
    id: &JobId,
) -> &'a mut Job {
    jobs.entry(id.clone()).or_insert_with(|| {
        let mut job = Job::new(id.clone());
        if let Some(old) = remembered.remove(id) {
            job.summary.run_floor = old.run;
            job.top_run = old.run;
        }
        job
    })
}

impl Job {
    pub(crate) fn desire(&mut self, desired: Desired, ctx: &mut Ctx) {
        if self.summary.incarnation != desired.incarnation {
            // A new job of an old name: everything that is there belongs to the old one.
            self.summary.incarnation = desired.incarnation;
            self.summary.run_floor = self.top_run;
            self.forget_upgrades(ctx);
            self.forget_steps(ctx);
        }
        self.summary.deleted_at = None;
        self.summary.leftovers = 0;
        let wanted = self.wanted();
        let (incarnation, next) = (desired.incarnation, desired.record.clone());
        let old = self.desired.replace(desired);
        self.follow_upgrade(ctx);
        self.forget_configs();
        self.grow_to(self.wanted());
        match old {
            Some(old) if old.incarnation == incarnation && self.wanted() == wanted => {
                self.drive_changed(&old.record.goals, &next.goals, ctx);
            }
            _ => self.drive_all(ctx),
        }
        self.touch_job(ctx);
    }

    /// Keeps the configurations that an instance runs, or may have to run.
    pub(crate) fn forget_configs(&mut self) {
        let upgrade = self.upgrade.as_ref().filter(|upgrade| upgrade.is_open());
        let oldest = upgrade.map_or_else(|| self.version(), |upgrade| upgrade.record.from);
        let versions = &self.summary.versions;
        self.configs.retain(|version, _| *version >= oldest || versions.contains_key(version));
    }

    /// Drives the instances of which something else is asked than before.
    fn drive_changed(&mut self, old: &Goals, new: &Goals, ctx: &mut Ctx) {
        let last = (self.instances.len() as InstanceId).saturating_sub(1);
        for (from, to, _) in old.ranges().iter().chain(new.ranges()) {
            for i in *from..=(*to).min(last) {
                if old.get(i) != new.get(i) {
                    self.drive(i, ctx);
                }
            }
        }
    }

    pub(crate) fn remove(&mut self, ctx: &mut Ctx) {
        self.desired = None;
        self.forget_upgrades(ctx);
        self.configs.clear();
        self.summary.deleted_at.get_or_insert(ctx.now);
        self.drive_all(ctx);
        self.touch_job(ctx);
    }

    pub(crate) fn drive_all(&mut self, ctx: &mut Ctx) {
        for i in 0..self.instances.len() as InstanceId {
            self.drive(i, ctx);
        }
    }

    /// The number of the next run of an instance.
    pub(crate) fn next_run(&self, i: InstanceId) -> RunNumber {
        let last = self.instances.get(i as usize);
        let last = last.map_or(0, |instance| instance.record.run.max(instance.record.fetched));
        let base = if last == 0 { self.summary.run_floor.max(self.summary.run_high) } else { last };
        // A slot that outlived its instance's record keeps its number from coming twice.
        let slots = self.slots.range(slots_of(i));
        base.max(slots.last().map_or(0, |((_, slot), _)| slot.0)) + 1
    }

    /// When an instance is to be looked at again, at the latest.
    pub(crate) fn arm_instance(&mut self, i: InstanceId, at: UnixMs, ctx: &mut Ctx) {
        if let Some(instance) = self.instances.get_mut(i as usize)
            && instance.timer.is_none_or(|set| set > at || set <= ctx.now)
        {
            instance.timer = Some(at);
            ctx.arm(at, crate::ctx::Timer::Instance(self.id.clone(), i));
        }
    }
}
