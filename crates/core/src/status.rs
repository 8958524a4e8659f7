//! Status updates of tasks.

use crate::ctx::Ctx;
use crate::input::{StatusUpdate, TaskStatus};
use crate::instance::Ended;
use crate::job::Job;
use crate::output::Effect;
use crate::shard::Shard;
use peloton_model::{Health, InstanceId, SlotId, TaskId, TaskState};

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
        let Some(job) = self.jobs.get_mut(&task.job) else { return false };
        let current = job.instances.get(task.instance as usize).is_some_and(|instance| {
            instance.record.run == task.run && instance.record.state.is_live()
        });
        if current {
            self.reconcile.answered(&task);
            self.ctx.note_agent(update);
            job.run_update(task.instance, update, &mut self.ctx);
        }
        current
    }
}

impl Ctx {
    /// What an update says of its agent.
    fn note_agent(&mut self, update: &StatusUpdate) {
        let Some(agent) = update.agent.as_ref().and_then(|id| self.agents.get_mut(id)) else {
            return;
        };
        if update.status == TaskStatus::Unreachable {
            agent.unreachable_since.get_or_insert(self.now);
        } else if update.status.is_live() {
            agent.unreachable_since = None;
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
            TaskStatus::Killed => self.over(i, Ended::Killed, update, ctx),
            TaskStatus::GoneByOperator => {
                let slots = (i, SlotId(0))..=(i, SlotId(u64::MAX));
                let lost: Vec<_> = self
                    .slots
                    .range(slots)
                    .filter(|(_, held)| Some(&held.record.agent) == update.agent.as_ref())
                    .map(|((_, slot), _)| *slot)
                    .collect();
                self.over(i, Ended::Lost, update, ctx);
                for slot in lost {
                    self.lose_slot(i, slot, ctx);
                }
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
        let checked = record.health != Health::Disabled;
        let health = match update.healthy {
            Some(true) => Health::Healthy,
            Some(false) => Health::Unhealthy,
            None if checked && state == TaskState::Running => record.health,
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
        if let Some(slot) = slot {
            self.slot_is_there(i, slot, ctx);
        }
        self.drive(i, ctx);
    }

    /// The agent is partitioned away, or not back yet after a fail-over of Mesos: the task may well run.
    fn out_of_reach(&mut self, i: InstanceId, update: &StatusUpdate, ctx: &mut Ctx) {
        let now = ctx.now;
        let fresh =
            self.instances.get(i as usize).is_some_and(|x| x.record.unreachable_since.is_none());
        if fresh {
            self.update(i, ctx, |instance| {
                let record = &mut instance.record;
                record.unreachable_since = Some(now);
                record.message = update.message.as_deref().map(Into::into);
                record.reason = update.reason.as_deref().map(Into::into);
            });
            self.arm_instance(i, now + ctx.settings.unreachable_replace_ms, ctx);
        }
    }

    fn over(&mut self, i: InstanceId, how: Ended, update: &StatusUpdate, ctx: &mut Ctx) {
        self.update(i, ctx, |instance| {
            let record = &mut instance.record;
            record.message = update.message.as_deref().map(Into::into);
            record.reason = update.reason.as_deref().map(Into::into);
            if update.healthy == Some(false) {
                record.health = Health::Unhealthy;
            }
        });
        self.ended(i, how, ctx);
    }
}
