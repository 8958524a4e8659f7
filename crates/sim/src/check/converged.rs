//! Once the faults are over: every instance is as asked for, exactly once; the reservations in Mesos are
//! the slots in the store, exactly; nothing is pending; deleted jobs left nothing; shards are shared evenly.

use crate::ground::{self, Reserved};
use crate::sim::{Sim, lock};
use peloton_model::job::JobKind;
use peloton_model::{
    ConfigRecord, InstanceRecord, JobRecord, JobState, JobSummary, MemberRecord, OwnerRecord,
    SlotRecord, SlotState, TaskState, decode_record,
};
use peloton_store::keys::{self, ParsedKey};
use peloton_store::{KeyRange, KeyValue, MemoryState, RangeRequest};
use std::collections::{BTreeMap, BTreeSet};

/// The first thing that is not as it should be, if there is one.
pub(crate) fn unconverged(sim: &Sim) -> Option<String> {
    let records = sim.store.memory.look(Records::read);
    let side = lock(&sim.mesos);
    let live: BTreeSet<String> = ground::live_tasks(&side.model).into_iter().collect();
    let reserved = ground::reservations(&side.model);
    let dead = ground::dead_agents(&side.model);
    let pending = ground::pending(&side.model);
    drop(side);
    records
        .jobs(&live)
        .or_else(|| records.slots(&reserved, &dead))
        .or_else(|| records.leftovers())
        .or_else(|| records.sharing(sim.plan.shards, sim.plan.masters))
        .or(pending)
}

#[derive(Default)]
struct Records {
    jobs: BTreeMap<String, JobRecord>,
    configs: BTreeMap<(String, u64), ConfigRecord>,
    summaries: BTreeMap<String, JobSummary>,
    instances: BTreeMap<(String, u32), InstanceRecord>,
    slots: BTreeMap<(String, u32, u64), SlotRecord>,
    runs: BTreeSet<String>,
    owners: BTreeMap<u16, String>,
    members: BTreeMap<String, MemberRecord>,
}

impl Records {
    fn read(state: &MemoryState) -> Self {
        let mut records = Self::default();
        let page = state.range(&RangeRequest::new(KeyRange::all()));
        for kv in page.iter().flat_map(|page| &page.kvs) {
            // What cannot be read was reported when it was written.
            let _ = records.add(kv);
        }
        records
    }

    fn add(&mut self, kv: &KeyValue) -> Option<()> {
        match keys::parse(&kv.key)? {
            ParsedKey::Owner { shard } => {
                let record: OwnerRecord = decode_record(&kv.value).ok()?;
                self.owners.insert(shard, record.master);
            }
            ParsedKey::Member { master } => {
                self.members.insert(master, decode_record(&kv.value).ok()?);
            }
            ParsedKey::DesiredJob { job, .. } => {
                self.jobs.insert(job, decode_record(&kv.value).ok()?);
            }
            ParsedKey::DesiredConfig { job, version, .. } => {
                self.configs.insert((job, version), decode_record(&kv.value).ok()?);
            }
            ParsedKey::ActualJob { job, .. } => {
                self.summaries.insert(job, decode_record(&kv.value).ok()?);
            }
            ParsedKey::ActualInstance { job, instance, .. } => {
                self.instances.insert((job, instance), decode_record(&kv.value).ok()?);
            }
            ParsedKey::ActualSlot { job, instance, slot, .. } => {
                let record = decode_record(&kv.value).ok()?;
                self.slots.insert((job, instance, slot.parse().ok()?), record);
            }
            ParsedKey::ActualRun { job, .. } => drop(self.runs.insert(job)),
            _ => {}
        }
        Some(())
    }

    /// Tasks and instances.
    fn jobs(&self, live: &BTreeSet<String>) -> Option<String> {
        let mut expected = BTreeSet::new();
        for (job, record) in &self.jobs {
            let config = self.configs.get(&(job.clone(), record.version))?;
            for i in 0..record.instance_count {
                let batch = config.config.kind == JobKind::Batch;
                match self.instance(job, i, record.goals.get(i).stopped, batch) {
                    Ok(None) => {}
                    Ok(Some(task)) => drop(expected.insert(task)),
                    Err(why) => return Some(format!("{job}/{i}: {why}")),
                }
            }
        }
        let missing = expected.difference(live).next().map(|task| format!("{task} does not run"));
        let extra = live.difference(&expected).next().map(|task| format!("{task} should not run"));
        missing.or(extra)
    }

    /// The task that an instance should have.
    fn instance(
        &self,
        job: &str,
        i: u32,
        stopped: bool,
        batch: bool,
    ) -> Result<Option<String>, String> {
        let Some(record) = self.instances.get(&(job.to_owned(), i)) else {
            return Err("has no record".to_owned());
        };
        let state = record.state;
        let over = matches!(state, TaskState::Succeeded | TaskState::Failed | TaskState::Killed);
        let well = match (stopped, batch) {
            (true, _) => over,
            (false, true) => matches!(state, TaskState::Succeeded | TaskState::Failed),
            (false, false) => state == TaskState::Running,
        };
        if !well || record.killing.is_some() || record.unreachable_since.is_some() {
            return Err(format!("stopped {stopped}, batch {batch}, but is {record:?}"));
        }
        Ok((state == TaskState::Running).then(|| format!("{job}-{i}-{}", record.run)))
    }

    /// Slots and reservations. An instance that is stopped keeps its slot on a machine that is away: it may
    /// come back.
    fn slots(&self, reserved: &BTreeSet<Reserved>, dead: &BTreeSet<String>) -> Option<String> {
        let mut expected = BTreeSet::new();
        for ((job, i, slot), record) in &self.slots {
            if record.state != SlotState::Held {
                return Some(format!("slot {job}/{i}/{slot} is {:?}", record.state));
            }
            let of = self.instances.get(&(job.clone(), *i)).and_then(|x| x.slot);
            if of.is_none_or(|own| own.0 != *slot) {
                return Some(format!("slot {job}/{i}/{slot} is nobody's"));
            }
            if !dead.contains(record.agent.as_str()) {
                expected.insert((job.clone(), *i, *slot, record.agent.to_string()));
            }
        }
        let missing = expected.difference(reserved).next();
        let leaked = reserved.difference(&expected).next();
        missing
            .map(|slot| format!("slot {slot:?} is not reserved"))
            .or_else(|| leaked.map(|slot| format!("the reservation {slot:?} has no slot")))
    }

    /// What deleted jobs, and removed instances, left behind.
    fn leftovers(&self) -> Option<String> {
        let known = |job: &String| self.jobs.contains_key(job);
        for (job, i) in self.instances.keys() {
            if self.jobs.get(job).is_none_or(|record| *i >= record.instance_count) {
                return Some(format!("the record of {job}/{i} is left"));
            }
        }
        if let Some((job, version)) = self.configs.keys().find(|(job, _)| !known(job)) {
            return Some(format!("version {version} of {job} is left"));
        }
        if let Some(job) = self.runs.iter().find(|job| !known(job)) {
            return Some(format!("runs of {job} are left"));
        }
        for (job, summary) in &self.summaries {
            if !known(job) && (summary.state != JobState::Deleted || summary.leftovers > 0) {
                return Some(format!("{job} is deleted, but its summary is {summary:?}"));
            }
            if known(job) && !summary.waiting.is_empty() {
                return Some(format!("{job} waits: {:?}", summary.waiting));
            }
        }
        None
    }

    /// All masters are there and accept, and have the shards among them, evenly.
    fn sharing(&self, shards: u16, masters: usize) -> Option<String> {
        if self.members.len() != masters {
            return Some(format!("there are {masters} masters, but {:?}", self.members.keys()));
        }
        if let Some(member) = self.members.values().find(|member| !member.accepting) {
            return Some(format!("it accepts no shards: {member:?}"));
        }
        if let Some(free) = (0..shards).find(|shard| !self.owners.contains_key(shard)) {
            return Some(format!("shard {free} has no owner"));
        }
        let of = |member: &String| self.owners.values().filter(|owner| *owner == member).count();
        let counts: Vec<usize> = self.members.keys().map(of).collect();
        let uneven = counts.iter().max() > counts.iter().min().map(|least| least + 1).as_ref();
        uneven.then(|| format!("shards are not shared evenly: {:?}", self.owners))
    }
}
