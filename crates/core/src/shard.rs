//! The shard: its state, and the one way in.

use crate::ctx::{Ctx, Timer};
use crate::input::{Input, MesosEvent};
use crate::instance::HELD_BACK_MS;
use crate::job::{Desired, Job};
use crate::output::{Output, Write};
use crate::reconcile::Reconcile;
use peloton_model::{FrameworkId, FrameworkRecord, JobId, RunNumber, ShardId, TaskState, UnixMs};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What rules a shard besides its jobs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The shard.
    pub shard: ShardId,
    /// The role of its framework: `<role>/<shard>`.
    pub role: Arc<str>,
    /// An instance on an agent that is unreachable for this long gets a replacement, in milliseconds.
    pub unreachable_replace_ms: u64,
    /// Where more than this share of the agents became unreachable within a minute, replacement
    /// waits: it is rather our network than theirs. In percent.
    pub mass_unreachable_percent: u32,
    /// An instance whose slot's reservation is not offered for this long, though its agent is there,
    /// gets a new one, in milliseconds.
    pub slot_wait_ms: u64,
    /// A slot to be given up on an agent that stays away for this long is no longer waited for, in
    /// milliseconds.
    pub forget_agent_ms: u64,
    /// A launch without any answer for this long is asked for, in milliseconds.
    pub launch_check_ms: u64,
    /// For how long the run number of a deleted job is remembered, in milliseconds; longer than Mesos
    /// can know of its tasks.
    pub remember_deleted_ms: u64,
    /// What is wrong on purpose.
    #[cfg(feature = "planted-bugs")]
    pub bug: Option<crate::Bug>,
}

impl Settings {
    /// The role of a shard's framework, below the cluster's role.
    #[must_use]
    pub fn role_of(shard: ShardId, role: &str) -> String {
        format!("{role}/{shard}")
    }

    /// Settings with the defaults of the architecture.
    #[must_use]
    pub fn new(shard: ShardId, role: &str) -> Self {
        Self {
            shard,
            role: Self::role_of(shard, role).into(),
            unreachable_replace_ms: 300_000,
            mass_unreachable_percent: 10,
            slot_wait_ms: 300_000,
            forget_agent_ms: 3_600_000,
            launch_check_ms: 30_000,
            remember_deleted_ms: 30 * 24 * 3_600_000,
            #[cfg(feature = "planted-bugs")]
            bug: None,
        }
    }
}

/// A deleted job of which nothing is left but its highest run number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Remembered {
    pub(crate) run: RunNumber,
    pub(crate) deleted_at: UnixMs,
}

/// What a shard holds, for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Jobs that are not deleted.
    pub jobs: u64,
    /// Instances that should be there.
    pub instances: u64,
    /// Instances in state RUNNING.
    pub running: u64,
    /// Instances that wait for a place or their back-off.
    pub pending: u64,
    /// Slots, also those to be released.
    pub slots: u64,
    /// Slots to be released.
    pub releasing: u64,
    /// Whether replacements wait, because so many agents became unreachable at once.
    pub mass_outage: bool,
}

/// One shard as a state machine; see the crate's documentation.
#[derive(Debug)]
pub struct Shard {
    pub(crate) ctx: Ctx,
    pub(crate) jobs: BTreeMap<JobId, Job>,
    pub(crate) remembered: BTreeMap<JobId, Remembered>,
    pub(crate) framework: Option<FrameworkId>,
    pub(crate) reconcile: Reconcile,
}

impl Shard {
    /// An empty shard, as at a cluster's beginning.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            ctx: Ctx::new(settings),
            jobs: BTreeMap::new(),
            remembered: BTreeMap::new(),
            framework: None,
            reconcile: Reconcile::default(),
        }
    }

    /// The framework id to subscribe with, if there is one.
    #[must_use]
    pub fn framework(&self) -> Option<&FrameworkId> {
        self.framework.as_ref()
    }

    /// What the shard holds.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for job in self.jobs.values() {
            let counts = &job.summary.counts;
            totals.jobs += u64::from(job.desired.is_some());
            totals.instances += u64::from(counts.total());
            totals.running += u64::from(counts.get(TaskState::Running));
            totals.pending += u64::from(counts.get(TaskState::Scheduling))
                + u64::from(counts.get(TaskState::Throttled));
            totals.slots += job.slots.len() as u64;
        }
        totals.releasing = self.ctx.demand.releasing as u64;
        // Twice the time after which it is looked at again: then nothing is held back any more.
        let lately = |at| self.ctx.now.saturating_sub(at) <= 2 * HELD_BACK_MS;
        totals.mass_outage = self.ctx.held_back_at.is_some_and(lately);
        totals
    }

    /// Takes one input at a time that never goes backwards (an earlier `now` counts as the latest seen).
    pub fn step(&mut self, now: UnixMs, input: Input) -> Output {
        self.ctx.now = self.ctx.now.max(now);
        match input {
            Input::Config { job, version, config } => self.config_stored(&job, version, config),
            Input::Job { id, incarnation, modified, record } => {
                self.job_stored(&id, Desired { incarnation, modified, record });
            }
            Input::JobRemoved(id) => self.job_removed(&id),
            Input::Volume(ask) => self.volume_asked(&ask),
            Input::Mesos(event) => self.mesos(event),
            Input::Wake => {}
        }
        self.run_timers();
        self.finish()
    }

    fn mesos(&mut self, event: MesosEvent) {
        match event {
            MesosEvent::Subscribed { framework } => self.subscribed(framework),
            MesosEvent::Disconnected => self.ctx.connected = false,
            MesosEvent::FrameworkRemoved => self.framework_removed(),
            MesosEvent::Offers(offers) => self.offers(offers),
            MesosEvent::Rescind(_) => {}
            MesosEvent::Status(update) => self.status(update),
            MesosEvent::Operation(update) => self.operation(update),
        }
    }

    fn subscribed(&mut self, framework: FrameworkId) {
        if self.framework.as_ref() != Some(&framework) {
            let record = FrameworkRecord { id: framework.clone(), since: self.ctx.now };
            self.ctx.writes.push(Write::Framework(Some(record)));
            self.framework = Some(framework);
        }
        self.ctx.connected = true;
        self.ctx.subscribed_at = self.ctx.now;
        self.start_reconciliation();
        self.ctx.subscribed_demand();
        for job in self.jobs.values_mut() {
            job.ask_for_slots(&mut self.ctx);
            job.upgrade_connected(&mut self.ctx);
            job.repeat_kills(&mut self.ctx);
        }
        self.ask_for_retained();
    }

    /// Runs what is due, once: what is armed for now during this is due at the next wake-up.
    fn run_timers(&mut self) {
        let mut due = Vec::new();
        while let Some(first) = self.ctx.timers.first()
            && first.0 <= self.ctx.now
        {
            due.extend(self.ctx.timers.pop_first());
        }
        for (_, timer) in due {
            match timer {
                Timer::Instance(id, i) => {
                    if let Some(job) = self.jobs.get_mut(&id) {
                        job.timer(i, &mut self.ctx);
                    }
                }
                Timer::Slot(id, i, slot) => {
                    if let Some(job) = self.jobs.get_mut(&id) {
                        job.slot_timer(i, slot, &mut self.ctx);
                    }
                }
                Timer::Reconcile => self.continue_reconciliation(),
                Timer::Demand => {}
                Timer::Upgrade(id) => {
                    if let Some(job) = self.jobs.get_mut(&id) {
                        job.touch_job(&mut self.ctx);
                    }
                }
                Timer::Forget => self.forget_deleted(),
            }
        }
    }

    pub(crate) fn finish_recovery(&mut self) -> Output {
        self.run_timers();
        self.finish()
    }

    /// Turns what changed into writes, looks at demand, and hands everything out.
    fn finish(&mut self) -> Output {
        for agent in std::mem::take(&mut self.ctx.gone_agents) {
            self.agent_gone(&agent);
        }
        if let Some(since) = self.ctx.sweep_ended() {
            for job in self.jobs.values_mut() {
                job.audit_slots(since, &mut self.ctx);
                job.audit_volumes(since, &mut self.ctx);
            }
            self.audit_retained(since);
        }
        for id in std::mem::take(&mut self.ctx.dirty_jobs) {
            let Some(job) = self.jobs.get_mut(&id) else { continue };
            job.flush(&mut self.ctx);
            if job.is_over() {
                let run = job.summary.run_floor;
                let deleted_at = job.summary.deleted_at.unwrap_or(self.ctx.now);
                self.jobs.remove(&id);
                self.remember(id, Remembered { run, deleted_at });
            }
        }
        self.ctx.flush_agents();
        self.answer_asks();
        self.ctx.flush_questions();
        self.ctx.settle_demand();
        let mut after = std::mem::take(&mut self.ctx.after);
        after.resize(self.ctx.effects.len(), self.ctx.writes.len());
        Output {
            writes: std::mem::take(&mut self.ctx.writes),
            effects: std::mem::take(&mut self.ctx.effects),
            after,
            wake_at: self.ctx.timers.first().map(|(at, _)| *at),
        }
    }

    pub(crate) fn remember(&mut self, id: JobId, what: Remembered) {
        self.remembered.insert(id, what);
        let at = what.deleted_at.saturating_add(self.ctx.settings.remember_deleted_ms);
        self.ctx.arm(at.max(self.ctx.now + 1), Timer::Forget);
    }

    fn forget_deleted(&mut self) {
        let keep = self.ctx.settings.remember_deleted_ms;
        let now = self.ctx.now;
        let old = |r: &Remembered| r.deleted_at.saturating_add(keep) <= now;
        let gone: Vec<_> =
            self.remembered.iter().filter(|(_, r)| old(r)).map(|(id, _)| id.clone()).collect();
        for id in gone {
            self.remembered.remove(&id);
            self.ctx.writes.push(Write::Summary(id, None));
        }
    }
}
