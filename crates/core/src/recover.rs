//! A shard from its records. The same rules then drive it as at any other time.

use crate::input::SlotRef;
use crate::job::{Desired, Job};
use crate::output::Output;
use crate::shard::{Remembered, Settings, Shard};
use crate::slots::Slot;
use peloton_model::{
    AgentId, AgentRecord, ConfigRecord, FrameworkRecord, InstanceId, InstanceRecord, JobId,
    JobRecord, JobSummary, ShardId, SlotId, SlotRecord, SlotState, TaskState, UnixMs,
    UpgradeRecord, VolumeAsk, decode_record,
};
use peloton_store::KeyValue;
use peloton_store::keys::{self, ParsedKey};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

/// A record that cannot be read: the store is damaged, or was written by a later schema.
#[derive(Debug, thiserror::Error)]
#[error("the record of {key} cannot be read: {why}")]
pub struct RecordError {
    /// The key.
    pub key: String,
    /// Why.
    pub why: String,
}

/// All records of one shard, as read from the store at one revision.
#[derive(Debug, Default)]
pub struct Snapshot {
    desired: BTreeMap<JobId, Desired>,
    configs: Vec<(JobId, ConfigRecord)>,
    summaries: BTreeMap<JobId, JobSummary>,
    instances: Vec<(JobId, InstanceId, InstanceRecord)>,
    slots: Vec<(JobId, InstanceId, SlotId, SlotRecord)>,
    agents: Vec<(AgentId, AgentRecord)>,
    framework: Option<FrameworkRecord>,
    upgrades: Vec<(JobId, UpgradeRecord)>,
    asks: Vec<VolumeAsk>,
}

impl Snapshot {
    /// Takes a record. Records of other shards, and kinds that a shard does not need, are passed over.
    ///
    /// # Errors
    /// [`RecordError`] where the record cannot be read. The shard must not be run then: what it
    /// does not know it would kill and release.
    pub fn add(&mut self, shard: ShardId, kv: &KeyValue) -> Result<(), RecordError> {
        let fail =
            |why: String| RecordError { key: String::from_utf8_lossy(&kv.key).into_owned(), why };
        fn read<T: DeserializeOwned>(kv: &KeyValue) -> Result<T, String> {
            decode_record(&kv.value).map_err(|error| error.to_string())
        }
        let id = |text: &str| JobId::new(text).map_err(|error| fail(error.to_string()));
        let mine = |of: u16| of == shard.0;
        match keys::parse(&kv.key) {
            Some(ParsedKey::DesiredJob { shard, job }) if mine(shard) => {
                let record: JobRecord = read(kv).map_err(fail)?;
                let (incarnation, modified) = (kv.create_revision.0, kv.mod_revision.0);
                let desired = Desired { incarnation, modified, record };
                self.desired.insert(id(&job)?, desired);
            }
            Some(ParsedKey::DesiredConfig { shard, job, .. }) if mine(shard) => {
                self.configs.push((id(&job)?, read(kv).map_err(fail)?));
            }
            Some(ParsedKey::DesiredVolume { shard, .. }) if mine(shard) => {
                self.asks.push(read(kv).map_err(fail)?);
            }
            Some(ParsedKey::ActualJob { shard, job }) if mine(shard) => {
                self.summaries.insert(id(&job)?, read(kv).map_err(fail)?);
            }
            Some(ParsedKey::ActualInstance { shard, job, instance }) if mine(shard) => {
                self.instances.push((id(&job)?, instance, read(kv).map_err(fail)?));
            }
            Some(ParsedKey::ActualSlot { shard, job, instance, slot }) if mine(shard) => {
                let number = slot.parse().map_err(|_| fail("not a slot's number".to_owned()))?;
                self.slots.push((id(&job)?, instance, SlotId(number), read(kv).map_err(fail)?));
            }
            Some(ParsedKey::ActualUpgrade { shard, job, .. }) if mine(shard) => {
                self.upgrades.push((id(&job)?, read(kv).map_err(fail)?));
            }
            Some(ParsedKey::ActualAgent { shard, agent }) if mine(shard) => {
                self.agents.push((AgentId::new(&agent), read(kv).map_err(fail)?));
            }
            Some(ParsedKey::ActualFramework { shard }) if mine(shard) => {
                self.framework = Some(read(kv).map_err(fail)?);
            }
            _ => {}
        }
        Ok(())
    }
}

impl Shard {
    /// A shard from its records, with what follows from them at once.
    #[must_use]
    pub fn recover(settings: Settings, now: UnixMs, snapshot: Snapshot) -> (Self, Output) {
        let mut shard = Self::new(settings);
        shard.ctx.now = now;
        shard.framework = snapshot.framework.map(|record| record.id);
        for (id, record) in snapshot.agents {
            shard.ctx.restore_agent(&id, record);
            // Looked at once everything is counted: an agent no longer used is dropped.
            shard.ctx.use_agent(&id);
        }
        let known: Vec<AgentId> = shard.ctx.agents.keys().cloned().collect();
        for (id, config) in snapshot.configs {
            shard.config_stored(&id, config.version, config.config);
        }
        for (id, i, record) in snapshot.instances {
            #[cfg(feature = "planted-bugs")]
            if shard.ctx.settings.bug == Some(crate::Bug::KillBeforeLoad) {
                continue;
            }
            shard.restore_instance(&id, i, record);
        }
        for (id, i, slot, record) in snapshot.slots {
            shard.restore_slot(&id, i, slot, record);
        }
        for (id, record) in snapshot.upgrades {
            let job = shard.jobs.entry(id.clone()).or_insert_with(|| Job::new(id));
            job.upgrades.insert(record.to, record);
        }
        let mut ids: Vec<JobId> = shard.jobs.keys().cloned().collect();
        ids.extend(snapshot.summaries.keys().cloned());
        ids.extend(snapshot.desired.keys().cloned());
        ids.sort_unstable();
        ids.dedup();
        let mut desired = snapshot.desired;
        for id in ids {
            shard.restore_job(&id, snapshot.summaries.get(&id), desired.remove(&id));
        }
        for ask in &snapshot.asks {
            shard.volume_asked(ask);
        }
        for id in known {
            shard.ctx.leave_agent(&id);
        }
        let output = shard.finish_recovery();
        (shard, output)
    }

    fn restore_instance(&mut self, id: &JobId, i: InstanceId, record: InstanceRecord) {
        let job = self.jobs.entry(id.clone()).or_insert_with(|| Job::new(id.clone()));
        job.grow_to(i + 1);
        if let Some(agent) = record.agent.as_ref() {
            self.ctx.use_agent(agent);
            if let Some(since) = record.unreachable_since {
                self.ctx.agent_is_away(agent, since.min(self.ctx.now));
            }
        }
        if let Some(instance) = job.instances.get_mut(i as usize) {
            instance.stored = true;
            instance.record = record;
            instance.up_since = if instance.is_up() { self.ctx.now } else { 0 };
        }
    }

    fn restore_slot(&mut self, id: &JobId, i: InstanceId, slot: SlotId, record: SlotRecord) {
        let name = SlotRef { job: id.clone(), instance: i, slot };
        self.ctx.note_adopted(&name, &record);
        if record.state == SlotState::Retained {
            return self.ctx.retain(name, record);
        }
        self.ctx.use_agent(&record.agent);
        let job = self.jobs.entry(id.clone()).or_insert_with(|| Job::new(id.clone()));
        if record.state == SlotState::Releasing {
            self.ctx.demand.releasing += 1;
        }
        job.slots.insert((i, slot), Slot::new(record, self.ctx.now));
        job.top_run = job.top_run.max(slot.0);
    }

    fn restore_job(&mut self, id: &JobId, summary: Option<&JobSummary>, desired: Option<Desired>) {
        let job = self.jobs.entry(id.clone()).or_insert_with(|| Job::new(id.clone()));
        job.recount();
        if let Some(summary) = summary {
            job.restore_summary(summary);
            #[cfg(feature = "planted-bugs")]
            if self.ctx.settings.bug == Some(crate::Bug::ReuseRunNumbers) {
                (job.summary.run_floor, job.summary.run_high) = (0, 0);
            }
        }
        job.resume_waiting(&mut self.ctx);
        match desired {
            Some(desired) => job.desire(desired, &mut self.ctx),
            // Unless its deletion was not seen yet: then its summary still has to say so.
            None if job.is_over() && job.summary.deleted_at.is_some() => {
                let deleted_at = job.summary.deleted_at.unwrap_or(self.ctx.now);
                let run = job.top_run;
                self.jobs.remove(id);
                self.remember(id.clone(), Remembered { run, deleted_at });
            }
            None => job.remove(&mut self.ctx),
        }
        if let Some(job) = self.jobs.get_mut(id) {
            if job.upgrade.is_none() {
                job.settle_leftovers(&mut self.ctx);
            }
            job.recount_surplus(&mut self.ctx);
            job.recount_chores(&mut self.ctx);
        }
    }
}

impl Job {
    /// Sets the clocks of what was under way.
    fn resume_waiting(&mut self, ctx: &mut crate::ctx::Ctx) {
        // A clock that was set back since must not stretch a wait beyond what it can be.
        let policy = self.configs.values().last().map(|c| c.restart_policy.clone());
        let latest = ctx.now + policy.unwrap_or_default().max_backoff_ms;
        for i in 0..self.instances.len() as InstanceId {
            let Some(instance) = self.instances.get_mut(i as usize) else { continue };
            instance.waiting_since = ctx.now;
            instance.record.retry_at = instance.record.retry_at.min(latest);
            let record = &instance.record;
            let (state, unreachable) = (record.state, record.unreachable_since.is_some());
            if state == TaskState::Throttled || state.is_live() {
                let at = if state == TaskState::Throttled { record.retry_at } else { ctx.now };
                let at = at.max(ctx.now + u64::from(unreachable));
                self.arm_instance(i, at, ctx);
            }
            self.line_up(i, ctx);
        }
    }
}
