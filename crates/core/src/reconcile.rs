//! Reconciliation: after each subscription Mesos is asked for every task that should be there, until
//! it has answered, and for every task that it knows of.

use crate::ctx::Timer;
use crate::instance::Ended;
use crate::output::Effect;
use crate::shard::Shard;
use peloton_model::{AgentId, TaskId};
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
        }
    }

    fn ask_for_tasks(&mut self) {
        let jobs = &self.jobs;
        self.reconcile.waiting.retain(|task, _| {
            jobs.get(&task.job)
                .and_then(|job| job.instances.get(task.instance as usize))
                .is_some_and(|x| x.record.run == task.run && x.record.state.is_live())
        });
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
