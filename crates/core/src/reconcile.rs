//! Reconciliation: after each subscription Mesos is asked for every task that should be there, until
//! it has answered, and for every task that it knows of.

use crate::ctx::Timer;
use crate::input::{StatusUpdate, TaskStatus};
use crate::instance::Ended;
use crate::job::Job;
use crate::output::Effect;
use crate::shard::Shard;
use peloton_model::{AgentId, JobId, TaskId};
use std::collections::BTreeMap;

/// The first and the longest wait before Mesos is asked again, in milliseconds, as its documentation
/// on reconciliation advises: with truncated exponential back-off.
const ASK_AGAIN_MS: (u64, u64) = (5_000, 60_000);

/// The tasks that Mesos has not answered for since the last subscription.
#[derive(Debug, Default)]
pub(crate) struct Reconcile {
    waiting: BTreeMap<TaskId, Option<AgentId>>,
    again_ms: u64,
}

impl Reconcile {
    pub(crate) fn answered(&mut self, task: &TaskId) {
        self.waiting.remove(task);
    }
}

impl Shard {
    pub(crate) fn start_reconciliation(&mut self) {
        #[cfg(feature = "planted-bugs")]
        if self.ctx.settings.bug == Some(crate::Bug::ForgetReconciliation) {
            return;
        }
        self.reconcile.waiting.clear();
        self.reconcile.again_ms = ASK_AGAIN_MS.0;
        for job in self.jobs.values() {
            for (i, instance) in job.instances.iter().enumerate() {
                let record = &instance.record;
                if record.state.is_live() {
                    let task = record.task_id(&job.id, i as u32);
                    self.reconcile.waiting.insert(task, record.agent.clone());
                }
            }
            for ((i, _), held) in &job.slots {
                for run in held.fetches() {
                    let task = TaskId { job: job.id.clone(), instance: *i, run };
                    self.reconcile.waiting.insert(task, Some(held.record.agent.clone()));
                }
            }
        }
        self.ask_for_tasks();
        // Implicit: everything that Mesos knows, to find what we do not.
        self.ctx.effect(Effect::Reconcile(Vec::new()));
    }

    /// Asks again for what was not answered.
    pub(crate) fn continue_reconciliation(&mut self) {
        if self.ctx.connected && !self.reconcile.waiting.is_empty() {
            self.reconcile.again_ms = (self.reconcile.again_ms * 2).min(ASK_AGAIN_MS.1);
            self.ask_for_tasks();
            // Of tasks on agents that it waits for after a fail-over Mesos does not say a word; of
            // operations it does.
            let silent = self.reconcile.waiting.values().flatten().cloned();
            self.ctx.ask_agents.extend(silent);
        }
    }

    /// Mesos waits for an agent after a fail-over. If it does so for too long, the tasks that it does not
    /// answer for are out of reach.
    pub(crate) fn agent_is_expected(&mut self, agent: &AgentId) {
        if !self.ctx.agent_is_expected(agent) {
            return;
        }
        for (task, of) in &self.reconcile.waiting {
            if of.as_ref() != Some(agent) || !is_current(&self.jobs, task) {
                continue;
            }
            let Some(job) = self.jobs.get_mut(&task.job) else { continue };
            if job.slot_of_fetch(task.instance, task.run).is_some() {
                continue;
            }
            let update = StatusUpdate {
                task: task.to_string(),
                status: TaskStatus::Unreachable,
                agent: of.clone(),
                uuid: None,
                healthy: None,
                message: Some("Mesos has failed over, and its agent is not back since".to_owned()),
                reason: None,
                exit_status: None,
            };
            job.out_of_reach(task.instance, &update, &mut self.ctx);
        }
    }

    fn ask_for_tasks(&mut self) {
        let jobs = &self.jobs;
        self.reconcile.waiting.retain(|task, _| is_current(jobs, task));
        let all: Vec<_> = self
            .reconcile
            .waiting
            .iter()
            .map(|(task, agent)| (task.clone(), agent.clone()))
            .collect();
        if all.is_empty() {
            return;
        }
        self.ctx.effect(Effect::Reconcile(all));
        self.ctx.arm(self.ctx.now + self.reconcile.again_ms, Timer::Reconcile);
    }

    /// The framework's id is dead, and with it every task. Reservations are the role's: they stay.
    pub(crate) fn framework_removed(&mut self) {
        self.ctx.connected = false;
        self.framework = None;
        self.ctx.writes.push(crate::output::Write::Framework(None));
        for job in self.jobs.values_mut() {
            job.lose_fetches(&mut self.ctx);
            for i in 0..job.instances.len() as u32 {
                if job.instances[i as usize].record.state.is_live() {
                    let why = "Mesos removed the framework and ended its tasks";
                    job.update(i, &mut self.ctx, |x| x.record.message = Some(why.into()));
                    job.ended(i, Ended::Lost, &mut self.ctx);
                }
            }
        }
    }
}

/// Whether a task is the one that its instance runs, or may.
fn is_current(jobs: &BTreeMap<JobId, Job>, task: &TaskId) -> bool {
    let Some(job) = jobs.get(&task.job) else { return false };
    let instance = job.instances.get(task.instance as usize);
    instance.is_some_and(|x| x.record.run == task.run && x.record.state.is_live())
        || job.slot_of_fetch(task.instance, task.run).is_some()
}
