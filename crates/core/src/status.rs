//! Status updates of tasks.

use crate::ctx::Ctx;
use crate::input::{StatusUpdate, TaskStatus};
use crate::instance::Ended;
use crate::job::Job;
use crate::output::Effect;
use crate::shard::Shard;
use crate::slots::slots_of;
use peloton_model::{AgentId, Health, InstanceId, TaskId, TaskState};

impl Shard {
    pub(crate) fn status(&mut self, update: StatusUpdate) {
        if !self.known_run(&update) && (update.status.is_live()) {
            // Not ours to keep: of an earlier run, a removed instance, or a deleted job. The whole
            // state is loaded before the subscription, so "not known" is not "not known yet".
            self.ctx.effect(Effect::Kill {
                task: update.task.clone(),
                agent: update.agent.clone(),
                grace_ms: None,
            });
        }
        if let (Some(uuid), Some(agent)) = (update.uuid, update.agent) {
            self.ctx.effect(Effect::Acknowledge { task: update.task, agent, uuid });
        }
    }

    /// Takes the update to the run that it is about; whether that is the current run of an instance.
    fn known_run(&mut self, update: &StatusUpdate) -> bool {
        let Ok(task) = TaskId::parse(&update.task) else { return false };
        self.ctx.note_agent(update);
        let Some(job) = self.jobs.get_mut(&task.job) else { return false };
        let current = job.instances.get(task.instance as usize).is_some_and(|instance| {
            instance.record.run == task.run && instance.record.state.is_live()
        });
        if let Some(slot) = job.slot_of_fetch(task.instance, task.run) {
            self.reconcile.answered(&task);
            job.fetch_update(&task, slot, update, &mut self.ctx);
            return true;
        }
        if current {
            self.reconcile.answered(&task);
            job.run_update(task.instance, update, &mut self.ctx);
        } else if update.status.is_live() {
            job.still_in_use(task.instance, update.agent.as_ref(), &mut self.ctx);
        }
        current
    }
}

impl Ctx {
    /// What an update says of its agent.
    fn note_agent(&mut self, update: &StatusUpdate) {
        let Some(agent) = &update.agent else { return };
        match update.status {
            TaskStatus::Unreachable | TaskStatus::Unknown => self.agent_is_away(agent, self.now),
            TaskStatus::GoneByOperator => {
                self.gone_agents.insert(agent.clone());
            }
            // The agent is registered, and has no such task.
            TaskStatus::Gone if update.reason.as_deref() == Some("RECONCILIATION") => {
                self.agent_is_there(agent);
            }
            status if status.is_live() => self.agent_is_there(agent),
            _ => {}
        }
    }
}

impl Job {
    fn run_update(&mut self, i: InstanceId, update: &StatusUpdate, ctx: &mut Ctx) {
        match update.status {
            TaskStatus::Staging | TaskStatus::Starting => {
                self.proof_of_life(i, update, TaskState::Launched, ctx);
            }
            TaskStatus::Running | TaskStatus::Killing => {
                self.proof_of_life(i, update, TaskState::Running, ctx);
            }
            TaskStatus::Unreachable => self.out_of_reach(i, update, ctx),
            TaskStatus::Unknown if self.was_seen(i) => self.out_of_reach(i, update, ctx),
            TaskStatus::Finished => self.over(i, Ended::Finished, update, ctx),
            TaskStatus::Failed | TaskStatus::Error => self.over(i, Ended::Failed, update, ctx),
            // Not for a fault of its own, where the agent is being emptied.
            TaskStatus::Killed if update.reason.as_deref() == Some("AGENT_DRAINING") => {
                self.over(i, Ended::Lost, update, ctx);
            }
            TaskStatus::Killed => self.over(i, Ended::Killed, update, ctx),
            // The slots go with the agent, at the end of the step.
            TaskStatus::GoneByOperator => self.over(i, Ended::Lost, update, ctx),
            // Removed, as its agent was shut down or came back as another one: nothing to come back to.
            _ if agent_removed(update) => {
                let agent = self.instances.get(i as usize).and_then(|x| x.record.agent.clone());
                self.release_slots(i, agent.as_ref(), ctx);
                self.over(i, Ended::Lost, update, ctx);
            }
            TaskStatus::Lost | TaskStatus::Dropped | TaskStatus::Gone | TaskStatus::Unknown => {
                self.over(i, Ended::Lost, update, ctx);
            }
        }
    }

    /// Whether Mesos has ever confirmed the run. Of one that it has, "unknown" says only that the
    /// agent has not (yet) come back; of another, that the launch never arrived.
    fn was_seen(&self, i: InstanceId) -> bool {
        self.instances.get(i as usize).is_some_and(|x| x.record.state != TaskState::Assigned)
    }

    fn proof_of_life(
        &mut self,
        i: InstanceId,
        update: &StatusUpdate,
        state: TaskState,
        ctx: &mut Ctx,
    ) {
        let Some(instance) = self.instances.get(i as usize) else { return };
        let record = &instance.record;
        let slot = record.slot;
        // A late TASK_STARTING must not turn a running task back.
        let state = state.max(record.state);
        let health = match update.healthy {
            Some(true) => Health::Healthy,
            Some(false) => Health::Unhealthy,
            None => record.health,
        };
        let first = state == TaskState::Running && record.started_at == 0;
        let same = record.state == state
            && record.health == health
            && record.unreachable_since.is_none()
            && record.message.as_deref() == update.message.as_deref();
        if !same {
            let now = ctx.now;
            self.update(i, ctx, |instance| {
                let record = &mut instance.record;
                record.state = state;
                record.health = health;
                record.unreachable_since = None;
                record.message = update.message.as_deref().map(Into::into);
                record.reason = None;
                if first {
                    record.started_at = now;
                }
            });
        }
        // Staging is the master's word alone: the agent may never have got to know of the reservation.
        if let Some(slot) = slot.filter(|_| update.status != TaskStatus::Staging) {
            self.slot_is_there(i, slot, ctx);
        }
        self.drive(i, ctx);
    }

    /// A task of an earlier run is still there: its slot, if there is one, is in use.
    fn still_in_use(&mut self, i: InstanceId, agent: Option<&AgentId>, ctx: &mut Ctx) {
        for (_, held) in self.slots.range_mut(slots_of(i)) {
            if Some(&held.record.agent) == agent {
                held.seen_at = ctx.now;
            }
        }
    }

    /// The agent is partitioned away, or not back yet after a fail-over of Mesos: the task may well run.
    pub(crate) fn out_of_reach(&mut self, i: InstanceId, update: &StatusUpdate, ctx: &mut Ctx) {
        let now = ctx.now;
        let Some(instance) = self.instances.get_mut(i as usize) else { return };
        instance.away_at = now;
        if let Some(since) = instance.record.unreachable_since {
            self.consider_replacement(i, since, ctx);
            return;
        }
        self.update(i, ctx, |instance| {
            let record = &mut instance.record;
            record.unreachable_since = Some(now);
            record.message = update.message.as_deref().map(Into::into);
            record.reason = update.reason.as_deref().map(Into::into);
        });
        self.arm_instance(i, now + ctx.settings.unreachable_replace_ms, ctx);
    }

    fn over(&mut self, i: InstanceId, how: Ended, update: &StatusUpdate, ctx: &mut Ctx) {
        self.update(i, ctx, |instance| {
            let record = &mut instance.record;
            record.message = update.message.as_deref().map(Into::into);
            record.reason = update.reason.as_deref().map(Into::into);
            record.exit_status = update.exit_status;
            if update.healthy == Some(false) {
                record.health = Health::Unhealthy;
            }
        });
        self.ended(i, how, ctx);
    }
}

/// Whether Mesos removed the agent, and its id with it.
fn agent_removed(update: &StatusUpdate) -> bool {
    matches!(update.status, TaskStatus::Lost | TaskStatus::Gone)
        && matches!(update.reason.as_deref(), Some("AGENT_REMOVED" | "AGENT_REMOVED_BY_OPERATOR"))
}
