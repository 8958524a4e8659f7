//! The life of an instance: what should be so, what is so, and the next step from one to the other.

use crate::ctx::Ctx;
use crate::job::Job;
use crate::output::{Effect, Write};
use peloton_model::job::{JobKind, RestartPolicy};
use peloton_model::{
    AgentId, Goal, Health, InstanceId, InstanceRecord, JobId, KillReason, Killing, RunNumber,
    RunRecord, SlotState, TaskState, UnixMs, limits,
};
use std::sync::Arc;

/// Beyond the grace period, how long a kill may take before it is asked for again, in milliseconds:
/// the executor's answer comes within a second or two, and asking twice does no harm.
const KILL_REPEAT_MS: u64 = 10_000;

/// How soon a replacement that waits because of a mass outage is looked at again, in milliseconds.
pub(crate) const HELD_BACK_MS: u64 = 60_000;
/// How soon Mesos is asked again about a run whose agent is away, in milliseconds.
const ASK_AGAIN_MS: u64 = 10_000;

/// An instance: its record, and what need not outlive the process.
#[derive(Debug, Default)]
pub(crate) struct Instance {
    pub(crate) record: InstanceRecord,
    /// Whether the record differs from the stored one, as far as that matters.
    pub(crate) dirty: bool,
    /// Whether there is a stored record.
    pub(crate) stored: bool,
    /// The earliest timer that is armed.
    pub(crate) timer: Option<UnixMs>,
    /// When Mesos was last asked about the run, or to end it.
    pub(crate) asked_at: UnixMs,
    /// Since when it waits for an offer.
    pub(crate) waiting_since: UnixMs,
    /// When Mesos last said that the agent of the run is away.
    pub(crate) away_at: UnixMs,
    /// Since when it is up, as far as this process knows; 0 while it is not.
    pub(crate) up_since: UnixMs,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// By itself, well.
    Finished,
    /// Not well, or killed though nobody asked for it.
    Failed,
    /// Killed.
    Killed,
    /// Mesos or its agent lost it, or it never started: not the task's fault.
    Lost,
}

/// What an instance should be.
pub(crate) enum Want {
    /// Not there: beyond the count, or of a deleted job.
    Nothing,
    /// There, not running.
    Stopped,
    /// There, not running for now: an upgrade has ended it, and may have to bring it back.
    Parked,
    /// Running.
    Running(Goal),
}

impl Instance {
    /// Whether it is as if it had never been.
    pub(crate) fn is_blank(&self) -> bool {
        self.record.run == 0
            && self.record.fetched == 0
            && self.record.state == TaskState::Initialized
            && !self.dirty
    }

    /// Whether it does what it is there for, as far as anybody can tell.
    pub(crate) fn is_up(&self) -> bool {
        let record = &self.record;
        record.state == TaskState::Running
            && matches!(record.health, Health::Disabled | Health::Healthy)
            && record.killing.is_none()
            && record.unreachable_since.is_none()
    }

    /// The agent of a run that uses no slot, where there may be a task.
    pub(crate) fn unslotted_agent(&self) -> Option<AgentId> {
        let live = self.record.state.is_live() && self.record.slot.is_none();
        self.record.agent.clone().filter(|_| live)
    }

    /// Writes the record. One that says no more than "waits for its first place" is not written:
    /// it follows from the job's, and a job of a million instances must not cost a million writes. How far an
    /// upgrade is with it does not follow from anything.
    pub(crate) fn flush(&mut self, job: &JobId, i: InstanceId, ctx: &mut Ctx) {
        if !std::mem::take(&mut self.dirty) {
            return;
        }
        let record = &self.record;
        let says_something = record.run > 0
            || record.fetched > 0
            || record.slot.is_some()
            || record.step.is_some()
            || !matches!(record.state, TaskState::Initialized | TaskState::Scheduling);
        if says_something {
            self.stored = true;
            ctx.writes.push(Write::Instance(job.clone(), i, Some(Box::new(record.clone()))));
        } else if self.stored {
            self.stored = false;
            ctx.writes.push(Write::Instance(job.clone(), i, None));
        }
    }
}

impl Job {
    pub(crate) fn want(&self, i: InstanceId) -> Want {
        let Some(desired) = &self.desired else { return Want::Nothing };
        let run = self.instances.get(i as usize).map_or(0, |instance| instance.record.run);
        if run > 0 && run <= self.summary.run_floor {
            // Of an earlier job of the name.
            return Want::Nothing;
        }
        if i >= self.count_of(self.aim(i)) || (i >= self.wanted() && !self.upgrades()) {
            return if self.may_come_back(i) { Want::Parked } else { Want::Nothing };
        }
        let goal = desired.record.goals.get(i);
        if goal.stopped {
            Want::Stopped
        } else if self.is_halted(i) {
            Want::Parked
        } else {
            Want::Running(goal)
        }
    }

    /// Moves an instance towards what it should be. Safe to call at any time, any number of times.
    pub(crate) fn drive(&mut self, i: InstanceId, ctx: &mut Ctx) {
        let Some(instance) = self.instances.get(i as usize) else { return };
        let (state, acted_on) = (instance.record.state, instance.record.goal);
        match (self.want(i), state.is_live()) {
            (Want::Nothing, true) => self.kill(i, KillReason::Remove, ctx),
            (Want::Nothing, false) => self.clear(i, ctx),
            (Want::Stopped, true) => self.kill(i, KillReason::Stop, ctx),
            (Want::Parked, true) => self.kill(i, KillReason::Upgrade, ctx),
            (Want::Stopped, false) if !state.is_terminal() => {
                self.halt(i, "stopped by request", ctx);
            }
            (Want::Parked, false) if !state.is_terminal() => {
                self.halt(i, "ended by the upgrade", ctx);
            }
            (Want::Stopped | Want::Parked, false) => {}
            (Want::Running(goal), true) => {
                if !self.suits(i) {
                    self.kill(i, KillReason::Upgrade, ctx);
                } else if goal.restart > acted_on {
                    self.kill(i, KillReason::Restart, ctx);
                } else if goal.start > acted_on && instance.record.killing.is_none() {
                    // It runs already: that was what was asked for.
                    self.update(i, ctx, |instance| instance.record.goal = goal.start);
                }
            }
            (Want::Running(goal), false) => {
                let asked = goal.restart.max(goal.start) > acted_on;
                let wanted = match state {
                    TaskState::Succeeded | TaskState::Failed => asked,
                    TaskState::Throttled => asked || ctx.now >= self.retry_at(i),
                    TaskState::Scheduling => asked,
                    _ => true,
                };
                if wanted {
                    self.schedule(i, asked, ctx);
                }
            }
        }
    }

    fn retry_at(&self, i: InstanceId) -> UnixMs {
        self.instances.get(i as usize).map_or(0, |instance| instance.record.retry_at)
    }

    /// Puts an instance in line for a run.
    pub(crate) fn schedule(&mut self, i: InstanceId, afresh: bool, ctx: &mut Ctx) {
        let now = ctx.now;
        let goal = self.desired.as_ref().map_or(0, |d| d.record.generation);
        self.update(i, ctx, |instance| {
            let record = &mut instance.record;
            if afresh {
                record.failures = 0;
                record.lost = 0;
            }
            // What was asked up to now, this run answers. A run that is still to come keeps the
            // mark of the request that brought it, so that a restart of the process changes nothing.
            if afresh || record.run == 0 {
                record.goal = goal;
            }
            record.state = TaskState::Scheduling;
            record.retry_at = 0;
            record.killing = None;
            record.unreachable_since = None;
            record.health = Health::Disabled;
            instance.waiting_since = now;
        });
        self.seat(i, ctx);
        self.settle_one(i, ctx);
        self.line_up(i, ctx);
    }

    /// Enters an instance that waits for an offer into the right line.
    pub(crate) fn line_up(&mut self, i: InstanceId, ctx: &mut Ctx) {
        let waits =
            self.instances.get(i as usize).is_some_and(|x| x.record.state == TaskState::Scheduling);
        let in_slot = waits && self.own_slot(i).is_some();
        let changed = if in_slot { self.to_resume.insert(i) } else { self.to_resume.remove(&i) };
        let to_place = waits && !in_slot;
        let changed =
            if to_place { self.to_place.insert(i) } else { self.to_place.remove(&i) } | changed;
        if !changed {
            return;
        }
        ctx.demand.line_changed(&self.id, self.waits());
        if in_slot {
            let at = ctx.now + ctx.settings.slot_wait_ms;
            self.arm_instance(i, at, ctx);
            self.ask_for_slot(i, ctx);
            self.ask_about_agent(i, ctx);
        }
        if waits {
            ctx.want_offers_now();
        }
        if self.to_place.is_empty() {
            self.unplaced = None;
        }
    }

    /// Not to run, and does not: says so.
    fn halt(&mut self, i: InstanceId, why: &str, ctx: &mut Ctx) {
        self.update(i, ctx, |instance| {
            instance.record.state = TaskState::Killed;
            instance.record.retry_at = 0;
            instance.record.message = Some(why.into());
        });
        self.line_up(i, ctx);
    }

    /// Not to be there, and does not run: gives up its slots and forgets it.
    fn clear(&mut self, i: InstanceId, ctx: &mut Ctx) {
        self.release_slots(i, None, ctx);
        let Some(instance) = self.instances.get(i as usize) else { return };
        let (run, stored) = (instance.record.run.max(instance.record.fetched), instance.stored);
        if run > 0 || stored || instance.record.state != TaskState::Initialized {
            if run > self.summary.run_high {
                self.summary.run_high = run;
            }
            self.update(i, ctx, |instance| {
                instance.record = InstanceRecord::default();
                instance.timer = None;
            });
            if run > 0 {
                ctx.writes.push(Write::RunsRemoved(self.id.clone(), i));
            }
            self.line_up(i, ctx);
            // Where it was of an earlier job of the name, its place is now that of a new instance.
            if !matches!(self.want(i), Want::Nothing) {
                self.drive(i, ctx);
            }
        }
    }

    /// Ends a run: decided durably first, then sent, and sent again until it has ended.
    pub(crate) fn kill(&mut self, i: InstanceId, reason: KillReason, ctx: &mut Ctx) {
        let Some(instance) = self.instances.get(i as usize) else { return };
        // A removal overrides a stop, so that the record says what becomes of the instance.
        if instance
            .record
            .killing
            .is_some_and(|k| k.reason == reason || reason == KillReason::Restart)
        {
            return;
        }
        let since = instance.record.killing.map_or(ctx.now, |k| k.since);
        let fresh = instance.record.killing.is_none();
        self.update(i, ctx, |instance| instance.record.killing = Some(Killing { reason, since }));
        if fresh {
            self.send_kill(i, ctx);
        }
    }

    fn send_kill(&mut self, i: InstanceId, ctx: &mut Ctx) {
        // A job that is deleted has no configuration any more: then the policy that was sent with
        // the launch holds.
        let grace_ms = self.grace_ms(i);
        let now = ctx.now;
        let Some(instance) = self.instances.get_mut(i as usize) else { return };
        #[cfg(feature = "planted-bugs")]
        if ctx.settings.bug == Some(crate::Bug::KillOnce)
            && instance.record.killing.is_some_and(|killing| killing.since < now)
        {
            return;
        }
        instance.asked_at = now;
        let task = instance.record.task_id(&self.id, i).to_string();
        let agent = instance.record.agent.clone();
        ctx.effect(Effect::Kill { task, agent, grace_ms });
        self.arm_instance(i, now + grace_ms.unwrap_or(0) + KILL_REPEAT_MS, ctx);
    }

    /// How long the run of an instance has between SIGTERM and SIGKILL, where that is known.
    pub(crate) fn grace_ms(&self, i: InstanceId) -> Option<u64> {
        self.config_of_run(i).map(|config| config.kill_policy.grace_period_secs * 1000)
    }

    /// After a break of the connection: kills may have been lost.
    pub(crate) fn repeat_kills(&mut self, ctx: &mut Ctx) {
        for i in 0..self.instances.len() as InstanceId {
            if self.instances[i as usize].record.killing.is_some() {
                self.send_kill(i, ctx);
            }
        }
    }

    /// A run has ended.
    pub(crate) fn ended(&mut self, i: InstanceId, how: Ended, ctx: &mut Ctx) {
        let Some(instance) = self.instances.get(i as usize) else { return };
        let record = &instance.record;
        let killing = record.killing.is_some();
        let policy = self.config_of_run(i).map(|c| c.restart_policy.clone()).unwrap_or_default();
        let ran_ms = ctx.now.saturating_sub(record.started_at);
        let proven = record.started_at > 0 && ran_ms >= policy.reset_after_secs * 1000;
        let earlier = if proven { 0 } else { record.failures };
        let failures = match how {
            Ended::Finished | Ended::Failed if !killing => earlier + 1,
            Ended::Killed if !killing => earlier + 1,
            _ => earlier,
        };
        // A launch that is lost once is tried again at once; one that is lost again and again waits.
        let lost = if how == Ended::Lost && record.started_at == 0 { record.lost + 1 } else { 0 };
        let next = self.after(how, killing, failures, &policy, lost);
        let now = ctx.now;
        let run = record.run;
        self.update(i, ctx, |instance| {
            let record = &mut instance.record;
            record.finished_at = now;
            record.failures = failures;
            record.lost = lost;
            record.retry_at = match next {
                TaskState::Throttled => now + policy.backoff_ms(failures.max(lost)),
                _ => 0,
            };
            record.state = next;
            record.killing = None;
            record.unreachable_since = None;
        });
        self.keep_run(i, run, how, killing, ctx);
        self.run_of_upgrade_over(i, how, killing, ctx);
        self.ask_for_slot(i, ctx);
        if next == TaskState::Throttled {
            let at = self.retry_at(i);
            self.arm_instance(i, at, ctx);
        }
        self.drive(i, ctx);
    }

    /// The state after a run.
    fn after(
        &self,
        how: Ended,
        killing: bool,
        failures: u32,
        policy: &RestartPolicy,
        lost: u32,
    ) -> TaskState {
        let batch = self.config().is_some_and(|c| c.kind == JobKind::Batch);
        match how {
            // It ended by itself just before it was to be killed: for a batch instance that is success.
            Ended::Finished if batch => TaskState::Succeeded,
            _ if killing => TaskState::Killed,
            Ended::Lost if lost < 2 => TaskState::Initialized,
            Ended::Lost => TaskState::Throttled,
            _ if batch && policy.max_failures.is_some_and(|max| failures > max) => {
                TaskState::Failed
            }
            _ => TaskState::Throttled,
        }
    }

    /// Keeps the record of a run that has ended, and drops the oldest.
    fn keep_run(&self, i: InstanceId, run: RunNumber, how: Ended, killing: bool, ctx: &mut Ctx) {
        let Some(instance) = self.instances.get(i as usize) else { return };
        let outcome = match how {
            Ended::Finished => TaskState::Succeeded,
            Ended::Killed if killing => TaskState::Killed,
            _ => TaskState::Failed,
        };
        let record = InstanceRecord { step: None, ..instance.record.clone() };
        let record = RunRecord { instance: record, outcome };
        ctx.writes.push(Write::Run(self.id.clone(), i, run, Some(Box::new(record))));
        if run > limits::RUN_HISTORY {
            ctx.writes.push(Write::Run(self.id.clone(), i, run - limits::RUN_HISTORY, None));
        }
    }

    /// Looks at everything of an instance that time may have made due, and sets the next time.
    pub(crate) fn timer(&mut self, i: InstanceId, ctx: &mut Ctx) {
        let Some(instance) = self.instances.get_mut(i as usize) else { return };
        if instance.timer.is_some_and(|at| at <= ctx.now) {
            instance.timer = None;
        }
        if let Some(upgrade) = &mut self.upgrade {
            upgrade.look_at(i);
            self.touch_job(ctx);
        }
        let Some(instance) = self.instances.get(i as usize) else { return };
        let record = &instance.record;
        let now = ctx.now;
        match record.state {
            TaskState::Throttled if record.retry_at > now => {
                let at = record.retry_at;
                self.arm_instance(i, at, ctx);
            }
            TaskState::Throttled => self.drive(i, ctx),
            TaskState::Scheduling => self.slot_overdue(i, ctx),
            state if state.is_live() => self.look_at_live(i, ctx),
            _ => {}
        }
    }

    fn look_at_live(&mut self, i: InstanceId, ctx: &mut Ctx) {
        let Some(instance) = self.instances.get(i as usize) else { return };
        let record = &instance.record;
        let now = ctx.now;
        if let Some(since) = record.unreachable_since {
            self.consider_replacement(i, since, ctx);
        } else if record.killing.is_some() {
            let due = instance.asked_at + self.grace_ms(i).unwrap_or(0) + KILL_REPEAT_MS;
            if due <= now { self.send_kill(i, ctx) } else { self.arm_instance(i, due, ctx) }
        } else if record.state == TaskState::Assigned {
            let due = record.launched_at.max(instance.asked_at) + ctx.settings.launch_check_ms;
            if due <= now {
                let task = record.task_id(&self.id, i);
                let agent = record.agent.clone();
                ctx.ask_tasks.insert(task, agent);
                self.instances[i as usize].asked_at = now;
                self.arm_instance(i, now + ctx.settings.launch_check_ms, ctx);
            } else {
                self.arm_instance(i, due, ctx);
            }
        }
    }

    /// Starts a replacement of a run on an agent that stays away. Not on old knowledge: Mesos must
    /// say so in this session, after the time has passed. And not where so many agents went at once
    /// that our network is the likelier cause.
    pub(crate) fn consider_replacement(&mut self, i: InstanceId, since: UnixMs, ctx: &mut Ctx) {
        let Some(instance) = self.instances.get(i as usize) else { return };
        let (now, due) = (ctx.now, since + ctx.settings.unreachable_replace_ms);
        let Some(agent) = instance.record.agent.clone() else { return };
        let away_at = instance.away_at;
        if due > now {
            self.arm_instance(i, due, ctx);
        } else if away_at < due.max(ctx.subscribed_at) || !ctx.connected {
            let task = self.instances[i as usize].record.task_id(&self.id, i);
            ctx.ask_tasks.insert(task, Some(agent));
            self.arm_instance(i, now + ASK_AGAIN_MS, ctx);
        } else if self.is_tied(i, since, ctx) {
            self.hold_back(i, agent, ctx);
        } else if ctx.is_mass_event(&agent) {
            let why = "its agent is unreachable, as many are at once: its replacement waits";
            if self.instances[i as usize].record.message.as_deref() != Some(why) {
                self.update(i, ctx, |instance| instance.record.message = Some(why.into()));
            }
            ctx.held_back_at = Some(now);
            self.hold_back(i, agent, ctx);
        } else {
            self.give_up_on(i, "its agent stayed unreachable; a replacement is started", ctx);
        }
    }

    /// A replacement waits. An operator may say meanwhile that the agent is gone; Mesos tells only who asks. Not
    /// at each answer, though, or question and answer would chase each other.
    fn hold_back(&mut self, i: InstanceId, agent: AgentId, ctx: &mut Ctx) {
        let Some(instance) = self.instances.get_mut(i as usize) else { return };
        if ctx.now >= instance.asked_at + HELD_BACK_MS {
            instance.asked_at = ctx.now;
            ctx.ask_tasks.insert(instance.record.task_id(&self.id, i), Some(agent));
        }
        self.arm_instance(i, ctx.now + HELD_BACK_MS, ctx);
    }

    /// Ends a run that cannot be asked any more, and gives up the slots on its agent. If the task
    /// shows up again it is of an earlier run, and is killed.
    pub(crate) fn give_up_on(&mut self, i: InstanceId, why: &str, ctx: &mut Ctx) {
        self.update(i, ctx, |instance| instance.record.message = Some(why.into()));
        let agent = self.instances.get(i as usize).and_then(|x| x.record.agent.clone());
        self.release_slots(i, agent.as_ref(), ctx);
        self.ended(i, Ended::Lost, ctx);
    }

    /// Decides a run of an instance on an agent; the caller emits the launch.
    pub(crate) fn assign(
        &mut self,
        i: InstanceId,
        run: RunNumber,
        agent: &AgentId,
        host: &Arc<str>,
        ports: &[u16],
        ctx: &mut Ctx,
    ) {
        let now = ctx.now;
        let version = self.aim(i);
        let checked = self.configs.get(&version).is_some_and(|c| c.is_health_checked());
        self.update(i, ctx, |instance| {
            let old = std::mem::take(&mut instance.record);
            instance.record = InstanceRecord {
                state: TaskState::Assigned,
                run,
                version,
                goal: old.goal,
                slot: old.slot,
                agent: Some(agent.clone()),
                host: Some(host.clone()),
                ports: ports.to_vec(),
                health: if checked { Health::Unknown } else { Health::Disabled },
                launched_at: now,
                failures: old.failures,
                lost: old.lost,
                step: old.step,
                fetched: old.fetched,
                ..Default::default()
            };
            instance.asked_at = now;
        });
        self.line_up(i, ctx);
        self.arm_instance(i, now + ctx.settings.launch_check_ms, ctx);
    }

    /// The slot that an instance runs in, or will, if it has one that is not being given up.
    pub(crate) fn own_slot(&self, i: InstanceId) -> Option<peloton_model::SlotId> {
        let slot = self.instances.get(i as usize)?.record.slot?;
        let held = self.slots.get(&(i, slot))?;
        (held.record.state != SlotState::Releasing).then_some(slot)
    }
}
