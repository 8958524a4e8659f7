//! Once the faults are over: every upgrade has ended; every instance is as asked for, exactly once; the
//! reservations in Mesos are the slots in the store, exactly; nothing is pending; deleted jobs left nothing; shards
//! are shared evenly.

use crate::ground::{self, Reserved};
use crate::sim::{Sim, lock};
use crate::upgrades::is_spoilt;
use peloton_model::job::{JobConfig, JobKind};
use peloton_model::{
    Amount, ConfigRecord, InstanceRecord, JobId, JobRecord, JobState, JobSummary, MemberRecord,
    OwnerRecord, SlotRecord, SlotState, TaskState, UpgradeRecord, UpgradeState, Version,
    decode_record, fields_changed,
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

/// The upgrades that wait for a user, and those that ended half way.
pub(crate) fn open_upgrades(sim: &Sim) -> Vec<(JobId, UpgradeState)> {
    let records = sim.store.memory.look(Records::read);
    let open = records.jobs.iter().filter_map(|(job, record)| {
        let state = records.state(job, record);
        let ask = record.upgrade.as_deref()?;
        let waits = state.is_active() && ask.paused;
        let turns = ask.rollback && ask.abort.is_none();
        let ended = state.is_mixed() && !turns;
        Some((JobId::new(job).ok()?, state)).filter(|_| waits || ended)
    });
    open.collect()
}

/// What an instance is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goal {
    /// Not there.
    Nothing,
    /// Not running.
    Ended,
    /// Running, a version like this one; or, of a batch job, over by itself.
    Run(Version),
}

#[derive(Default)]
struct Records {
    jobs: BTreeMap<String, JobRecord>,
    configs: BTreeMap<(String, u64), ConfigRecord>,
    summaries: BTreeMap<String, JobSummary>,
    instances: BTreeMap<(String, u32), InstanceRecord>,
    slots: BTreeMap<(String, u32, u64), SlotRecord>,
    upgrades: BTreeMap<(String, Version), UpgradeRecord>,
    /// Jobs of which there are runs; events of upgrades; upgrades as they were asked for.
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
            ParsedKey::ActualUpgrade { job, version, .. } => {
                self.upgrades.insert((job, version), decode_record(&kv.value).ok()?);
            }
            ParsedKey::ActualRun { job, .. }
            | ParsedKey::ActualEvent { job, .. }
            | ParsedKey::DesiredUpgrade { job, .. }
            | ParsedKey::DesiredRecent { job, .. } => drop(self.runs.insert(job)),
            _ => {}
        }
        Some(())
    }

    /// The state of the upgrade that the job's record names.
    fn state(&self, job: &str, record: &JobRecord) -> UpgradeState {
        let Some(ask) = record.upgrade.as_deref() else { return UpgradeState::Succeeded };
        let actual = self.upgrades.get(&(job.to_owned(), record.version));
        let actual = actual.filter(|actual| actual.mark == ask.mark);
        actual.map_or(UpgradeState::RollingForward, |actual| actual.state)
    }

    fn config(&self, job: &str, version: Version) -> Option<&JobConfig> {
        self.configs.get(&(job.to_owned(), version)).map(|config| config.config.as_ref())
    }

    /// Tasks and instances.
    fn jobs(&self, live: &BTreeSet<String>) -> Option<String> {
        // Tasks of instances that fail again and again come and go.
        let (mut expected, mut restless) = (BTreeSet::new(), BTreeSet::new());
        for (job, record) in &self.jobs {
            let state = self.state(job, record);
            if record.upgrade.is_some() && state.is_active() {
                let record = self.upgrades.get(&(job.clone(), record.version));
                return Some(format!("{job} is being upgraded: {record:?}"));
            }
            let current = record.current(state).version;
            let Some(config) = self.config(job, current) else {
                return Some(format!("{job} has no configuration {current}"));
            };
            let batch = config.kind == JobKind::Batch;
            for i in 0..record.span(state) {
                let goal = self.goal((job, record), state, i);
                let fails = matches!(goal, Goal::Run(v) if self.is_spoilt(job, v));
                match self.instance(job, i, goal, batch) {
                    Ok(_) if fails && !batch => drop(restless.insert(format!("{job}-{i}-"))),
                    Ok(None) => {}
                    Ok(Some(task)) => drop(expected.insert(task)),
                    Err(why) => return Some(format!("{job}/{i}: {why}")),
                }
            }
        }
        let is_restless = |task: &&String| {
            task.rsplit_once('-').is_some_and(|(i, _)| restless.contains(&format!("{i}-")))
        };
        let missing = expected.difference(live).next().map(|task| format!("{task} does not run"));
        let extra = live.difference(&expected).find(|task| !is_restless(task));
        missing.or(extra.map(|task| format!("{task} should not run")))
    }

    fn is_spoilt(&self, job: &str, version: Version) -> bool {
        self.config(job, version).is_some_and(is_spoilt)
    }

    /// What an instance is to be. Where an upgrade ended half way, its step tells.
    fn goal(&self, (job, record): (&str, &JobRecord), state: UpgradeState, i: u32) -> Goal {
        let mut version = record.current(state).version;
        if let Some(ask) = record.upgrade.as_deref().filter(|_| state.is_mixed()) {
            let instance = self.instances.get(&(job.to_owned(), i));
            let step = instance.and_then(|instance| instance.step.as_deref());
            version = step.map_or(ask.from, |step| step.aim(ask.from));
            let count = match version {
                _ if version == ask.from => ask.from_count,
                _ if version == record.version => record.instance_count,
                _ => self.config(job, version).map_or(0, |config| config.instance_count),
            };
            if i >= count {
                return if i < ask.from_count { Goal::Ended } else { Goal::Nothing };
            }
        }
        if record.goals.get(i).stopped { Goal::Ended } else { Goal::Run(version) }
    }

    /// The task that an instance should have.
    fn instance(
        &self,
        job: &str,
        i: u32,
        goal: Goal,
        batch: bool,
    ) -> Result<Option<String>, String> {
        let Some(record) = self.instances.get(&(job.to_owned(), i)) else {
            let waits = matches!(goal, Goal::Run(version) if self.is_spoilt(job, version));
            return match goal {
                Goal::Nothing => Ok(None),
                // It asks for more than there is.
                _ if waits => Ok(None),
                _ => Err("has no record".to_owned()),
            };
        };
        let state = record.state;
        let over = matches!(state, TaskState::Succeeded | TaskState::Failed | TaskState::Killed);
        let well = match goal {
            Goal::Nothing => !state.is_live(),
            Goal::Ended => over,
            Goal::Run(_) if batch => matches!(state, TaskState::Succeeded | TaskState::Failed),
            Goal::Run(version) if self.is_spoilt(job, version) => {
                return match state {
                    TaskState::Killed => Err(format!("{goal:?}, but is {record:?}")),
                    _ => Ok(None),
                };
            }
            Goal::Run(version) => state == TaskState::Running && self.is_like(job, record, version),
        };
        if !well || record.killing.is_some() || record.unreachable_since.is_some() {
            return Err(format!("{goal:?}, batch {batch}, but is {record:?}"));
        }
        if record.step.is_some() && !self.is_half_way(job) {
            return Err(format!("a step is left: {record:?}"));
        }
        Ok((state == TaskState::Running).then(|| format!("{job}-{i}-{}", record.run)))
    }

    fn is_half_way(&self, job: &str) -> bool {
        self.jobs.get(job).is_some_and(|record| self.state(job, record).is_mixed())
    }

    /// Whether an instance's run is as one of the version would be. Where an upgrade succeeded though some
    /// instances failed, those that got no place go on with what they had.
    fn is_like(&self, job: &str, record: &InstanceRecord, version: Version) -> bool {
        let of_job = (job.to_owned(), 0)..=(job.to_owned(), Version::MAX);
        let some_failed = |upgrade: &UpgradeRecord| {
            upgrade.state == UpgradeState::Succeeded && upgrade.failed > 0
        };
        let lenient = self.upgrades.range(of_job).any(|(_, upgrade)| some_failed(upgrade));
        let both = self.config(job, record.version).zip(self.config(job, version));
        let differs = both.is_some_and(|(own, aim)| {
            fields_changed(own, aim).iter().any(|change| change.needs_upgrade)
        });
        record.version == version || (record.version < version && (lenient || !differs))
    }

    /// Slots and reservations. An instance that is stopped keeps its slot on a machine that is away: it may
    /// come back.
    fn slots(
        &self,
        reserved: &BTreeMap<Reserved, Amount>,
        dead: &BTreeSet<String>,
    ) -> Option<String> {
        let mut expected = BTreeMap::new();
        for ((job, i, slot), record) in &self.slots {
            if record.state != SlotState::Held {
                return Some(format!("slot {job}/{i}/{slot} is {:?}", record.state));
            }
            let half_way = self.is_half_way(job);
            let instance = self.instances.get(&(job.clone(), *i));
            let step = instance.and_then(|x| x.step.as_deref()).filter(|_| half_way);
            let of = [instance.and_then(|x| x.slot), step.and_then(|s| s.home)];
            let of_next = step.and_then(|step| step.next);
            if !of.into_iter().chain([of_next]).flatten().any(|own| own.0 == *slot) {
                return Some(format!("slot {job}/{i}/{slot} is nobody's"));
            }
            if dead.contains(record.agent.as_str()) {
                continue;
            }
            let settled = record.reserved.is_none() && record.resize.is_none();
            let narrow = record.wide.is_none() && record.made_for == 0;
            if !settled || !(narrow || half_way) {
                return Some(format!("slot {job}/{i}/{slot} is not settled: {record:?}"));
            }
            expected.insert((job.clone(), *i, *slot, record.agent.to_string()), record.hold());
        }
        for (slot, hold) in &expected {
            let there = reserved.get(slot);
            if there != Some(hold) {
                return Some(format!("of slot {slot:?} {there:?} is reserved, not {hold:?}"));
            }
        }
        let leaked = reserved.keys().find(|slot| !expected.contains_key(slot));
        leaked.map(|slot| format!("the reservation {slot:?} has no slot"))
    }

    /// What deleted jobs, and removed instances, left behind.
    fn leftovers(&self) -> Option<String> {
        let known = |job: &String| self.jobs.contains_key(job);
        for (job, i) in self.instances.keys() {
            let span = |record: &JobRecord| record.span(self.state(job, record));
            if self.jobs.get(job).is_none_or(|record| *i >= span(record)) {
                return Some(format!("the record of {job}/{i} is left"));
            }
        }
        if let Some((job, version)) = self.configs.keys().find(|(job, _)| !known(job)) {
            return Some(format!("version {version} of {job} is left"));
        }
        if let Some(job) = self.runs.iter().find(|job| !known(job)) {
            return Some(format!("runs of {job}, or what is known of its upgrades, are left"));
        }
        if let Some((job, to)) = self.upgrades.keys().find(|(job, _)| !known(job)) {
            return Some(format!("the upgrade of {job} to {to} is left"));
        }
        for (job, summary) in &self.summaries {
            if !known(job) && (summary.state != JobState::Deleted || summary.leftovers > 0) {
                return Some(format!("{job} is deleted, but its summary is {summary:?}"));
            }
            let of_job = (job.clone(), 0)..=(job.clone(), Version::MAX);
            let spoilt = self.configs.range(of_job).any(|(_, config)| is_spoilt(&config.config));
            if known(job) && !summary.waiting.is_empty() && !spoilt {
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
