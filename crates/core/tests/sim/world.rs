//! The world around one shard: the store, the way to Mesos, users, and what goes wrong.

use crate::mesos::Mesos;
use crate::volumes::volumes;
use peloton_core::{
    Effect, Input, MesosEvent, Output, Settings, Shard, Snapshot, TaskStatus, Write, encode,
};
use peloton_model::job::{JobConfig, JobKind, PortConfig};
use peloton_model::{
    ConfigRecord, Goal, InstanceRecord, JobId, JobRecord, ShardId, TaskId, decode_record,
    encode_record,
};
use peloton_store::{Key, KeyValue, Op, Revision, keys};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

pub(crate) const SHARD: ShardId = ShardId(0);

/// Something done wrong on purpose, to see that it is found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Bug {
    /// Effects leave before their writes are durable.
    ActBeforeCommit,
    /// Releases never reach Mesos.
    ForgetRelease,
}

pub(crate) struct World {
    random: u64,
    trace: bool,
    pub(crate) bug: Option<Bug>,
    pub(crate) now: u64,
    pub(crate) store: BTreeMap<Key, (Vec<u8>, i64)>,
    revision: i64,
    shard: Shard,
    uncommitted: VecDeque<(Vec<Write>, Vec<Effect>)>,
    calls: VecDeque<Effect>,
    connected: bool,
    pub(crate) mesos: Mesos,
    wake_at: Option<u64>,
    pub(crate) desired: BTreeMap<JobId, JobRecord>,
    faults: bool,
    /// Agents that were away, or where an operator took something: slots there may be given up.
    pub(crate) suspicious: BTreeSet<peloton_model::AgentId>,
}

impl World {
    pub(crate) fn new(seed: u64, trace: bool) -> Self {
        Self {
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678,
            trace,
            bug: None,
            now: 1_000_000,
            store: BTreeMap::new(),
            revision: 1,
            shard: Shard::new(settings()),
            uncommitted: VecDeque::new(),
            calls: VecDeque::new(),
            connected: false,
            mesos: Mesos::new(4, seed),
            wake_at: None,
            desired: BTreeMap::new(),
            faults: true,
            suspicious: BTreeSet::new(),
        }
    }

    /// SplitMix64 (Steele, Lea and Flood, 2014).
    pub(crate) fn draw(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }

    fn say(&self, what: impl FnOnce() -> String) {
        if self.trace {
            println!("{:>9} {}", self.now, what());
        }
    }

    pub(crate) fn random_step(&mut self) {
        self.now += self.draw(400);
        match self.draw(100) {
            0..=11 => self.user(),
            12..=39 => self.deliver_event(),
            40..=59 => self.commit(),
            60..=74 => self.deliver_call(),
            75..=84 => self.mesos.allocate(),
            85..=91 => self.task_moves(),
            92 => self.mesos.send_again(),
            93 => self.duplicate(),
            94 => self.crash(),
            95 => self.disconnect(),
            96 => self.agent(),
            97 => self.rare(),
            _ => self.subscribe(),
        }
        if self.wake_at.is_some_and(|at| at <= self.now) {
            self.input(Input::Wake);
        }
    }

    fn rare(&mut self) {
        match self.draw(6) {
            0 => {
                let agent = self.mesos.vanish();
                self.suspicious.extend(agent);
            }
            1 => self.lose(),
            2 => self.framework_gone(),
            // The clock is set back.
            3 => self.now = self.now.saturating_sub(self.draw(20_000)),
            _ => self.now += self.draw(60_000),
        }
    }

    /// The faults end; enough time passes for everything to come right.
    pub(crate) fn settle(&mut self) {
        self.faults = false;
        self.mesos.faults = false;
        // What waits for an agent waits for as long as an operator does not say that it is gone.
        self.mesos.gone.values_mut().for_each(|by_operator| *by_operator = true);
        self.resume_all();
        let away: Vec<_> = self.mesos.agents.keys().cloned().collect();
        away.iter().for_each(|id| self.mesos.come_back(id));
        for round in 0..800 {
            self.now += if round < 200 { 1_000 } else { 7_000 };
            self.subscribe();
            self.mesos.send_again();
            self.input(Input::Wake);
            self.drain();
            self.mesos.allocate();
            self.drain();
            let tasks: Vec<_> = self.mesos.tasks.keys().cloned().collect();
            for id in tasks {
                self.move_task(&id);
            }
        }
    }

    /// Everything that is on its way arrives.
    fn drain(&mut self) {
        while !(self.uncommitted.is_empty()
            && self.calls.is_empty()
            && self.mesos.events.is_empty())
        {
            self.commit();
            self.deliver_call();
            self.deliver_event();
        }
    }

    fn input(&mut self, input: Input) {
        self.say(|| format!("input {input:?}"));
        let now = self.now;
        let output = self.shard.step(now, input);
        self.take(output);
    }

    fn take(&mut self, output: Output) {
        self.wake_at = output.wake_at;
        self.say(|| format!("  writes {:?}\n  effects {:?}", output.writes, output.effects));
        let violations = self.shard.violations();
        assert!(violations.is_empty(), "{violations:#?}");
        if self.bug == Some(Bug::ActBeforeCommit) {
            self.calls.extend(output.effects);
            self.uncommitted.push_back((output.writes, vec![]));
        } else {
            self.uncommitted.push_back((output.writes, output.effects));
        }
    }

    fn commit(&mut self) {
        let Some((writes, effects)) = self.uncommitted.pop_front() else { return };
        for write in writes {
            let op = encode(SHARD, &write).unwrap();
            self.apply(op);
        }
        if self.connected {
            self.calls.extend(effects);
        }
    }

    fn apply(&mut self, op: Op) {
        self.revision += 1;
        self.check_promise(&op);
        match op {
            Op::Put { key, value, .. } => {
                let created = self.store.get(&key).map_or(self.revision, |(_, created)| *created);
                self.store.insert(key, (value.to_vec(), created));
            }
            Op::Delete { key } => {
                self.store.remove(&key);
            }
            Op::DeleteRange { range } => self.store.retain(|key, _| !range.contains(key)),
        }
    }

    fn deliver_call(&mut self) {
        let Some(effect) = self.calls.pop_front() else { return };
        self.say(|| format!("call {effect:?}"));
        if self.bug == Some(Bug::ForgetRelease)
            && let Effect::Accept(accept) = &effect
            && accept
                .operations
                .iter()
                .any(|o| matches!(o, peloton_core::Operation::Unreserve { .. }))
        {
            return;
        }
        if let Effect::Accept(accept) = &effect {
            self.check_launches(accept);
            self.check_destroyed(accept);
        }
        let uses_offers = matches!(effect, Effect::Accept(_));
        self.mesos.call(effect);
        if uses_offers {
            self.check_held();
        }
        let problems = std::mem::take(&mut self.mesos.problems);
        assert!(problems.is_empty(), "{problems:?}");
    }

    /// Nothing is launched before the decision is durable.
    fn check_launches(&self, accept: &peloton_core::Accept) {
        for operation in &accept.operations {
            if let peloton_core::Operation::Launch(launch) = operation {
                let TaskId { job, instance, run } = &launch.task;
                let key = keys::actual_instance(SHARD.0, job.as_str(), *instance);
                let stored: Option<InstanceRecord> =
                    self.store.get(&key).map(|(v, _)| decode_record(v).unwrap());
                let top = stored.map_or(0, |r| r.run);
                assert!(top >= *run || top == 0, "{} launched, stored is run {top}", launch.task);
                let ever = top > 0 || self.removed(job, *instance, *run);
                assert!(ever, "{} launched without a record", launch.task);
            }
        }
    }

    /// The instance may have been removed between its commit and the call.
    fn removed(&self, job: &JobId, instance: u32, _run: u64) -> bool {
        self.desired.get(job).is_none_or(|r| r.instance_count <= instance)
            || self.shard_floor(job) > 0
    }

    pub(crate) fn shard_floor(&self, job: &JobId) -> u64 {
        let key = keys::actual_job(SHARD.0, job.as_str());
        let summary: Option<peloton_model::JobSummary> =
            self.store.get(&key).map(|(v, _)| decode_record(v).unwrap());
        summary.map_or(0, |s| s.run_floor.max(s.run_high))
    }

    fn deliver_event(&mut self) {
        if !self.connected {
            return;
        }
        if let Some(event) = self.mesos.events.pop_front() {
            self.input(Input::Mesos(event));
            self.check_unique();
        }
    }

    fn duplicate(&mut self) {
        let again = self.mesos.events.iter().find(|e| matches!(e, MesosEvent::Status(_))).cloned();
        self.mesos.events.extend(again);
    }

    fn subscribe(&mut self) {
        if !self.connected {
            self.connected = true;
            self.calls.clear();
            self.mesos.subscribe();
        }
    }

    fn disconnect(&mut self) {
        if self.connected {
            self.connected = false;
            // Some calls arrive, the rest is lost.
            for _ in 0..self.draw(4) {
                self.deliver_call();
            }
            self.calls.clear();
            self.mesos.events.clear();
            self.input(Input::Mesos(MesosEvent::Disconnected));
        }
    }

    fn crash(&mut self) {
        self.say(|| "crash".to_owned());
        for _ in 0..self.draw(3) {
            self.commit();
        }
        for _ in 0..self.draw(4) {
            self.deliver_call();
        }
        self.connected = false;
        self.calls.clear();
        self.mesos.events.clear();
        // A transaction that was larger than the store takes was cut between instances.
        if let Some((writes, _)) = self.uncommitted.pop_front() {
            let units = writes
                .chunk_by(|a, b| a.unit().is_some() && a.unit() == b.unit())
                .map(<[Write]>::to_vec)
                .collect::<Vec<_>>();
            let n = self.draw(units.len() as u64 + 1) as usize;
            for write in units.into_iter().take(n).flatten() {
                let op = encode(SHARD, &write).unwrap();
                self.apply(op);
            }
        }
        self.uncommitted.clear();
        let mut snapshot = Snapshot::default();
        for (key, (value, created)) in &self.store {
            let kv = KeyValue {
                key: key.clone(),
                value: value.clone().into(),
                create_revision: Revision(*created),
                mod_revision: Revision(*created),
                version: 1,
                lease: None,
            };
            snapshot.add(SHARD, &kv).unwrap();
        }
        let (shard, output) = Shard::recover(settings(), self.now, snapshot);
        self.shard = shard;
        self.take(output);
    }

    fn lose(&mut self) {
        let ids: Vec<_> = self.mesos.agents.keys().cloned().collect();
        let id = ids[self.draw(ids.len() as u64) as usize].clone();
        let by = self.draw(2) == 0;
        self.say(|| format!("lose {id} {by}"));
        self.mesos.lose(&id, by);
    }

    fn framework_gone(&mut self) {
        self.say(|| "framework removed".to_owned());
        self.connected = false;
        self.calls.clear();
        self.mesos.remove_framework();
        self.input(Input::Mesos(MesosEvent::FrameworkRemoved));
        while !self.uncommitted.is_empty() {
            self.commit();
        }
        self.calls.clear();
        self.crash();
    }

    fn agent(&mut self) {
        let ids: Vec<_> = self.mesos.agents.keys().cloned().collect();
        let id = &ids[self.draw(ids.len() as u64) as usize];
        if self.mesos.agents[id].reachable {
            self.suspicious.insert(id.clone());
            self.mesos.cut_off(id);
        } else {
            self.mesos.come_back(id);
        }
    }

    fn task_moves(&mut self) {
        let ids: Vec<_> = self.mesos.tasks.keys().cloned().collect();
        if !ids.is_empty() {
            let id = ids[self.draw(ids.len() as u64) as usize].clone();
            self.move_task(&id);
        }
    }

    fn move_task(&mut self, id: &str) {
        let fails = self.faults && self.draw(10) == 0;
        let Some(task) = self.mesos.tasks.get(id) else { return };
        let batch = id.starts_with("batch");
        let next = match task.status {
            _ if task.grace_over => TaskStatus::Killed,
            TaskStatus::Running if task.fetches.is_some() && !task.bad && !fails => {
                TaskStatus::Finished
            }
            _ if fails => TaskStatus::Failed,
            TaskStatus::Running if task.bad => TaskStatus::Failed,
            TaskStatus::Running if batch => TaskStatus::Finished,
            TaskStatus::Staging => TaskStatus::Running,
            status => status,
        };
        self.mesos.progress(id, next);
    }

    fn user(&mut self) {
        let names = ["service-a", "service-b", "batch-c"];
        let id = JobId::new(names[self.draw(3) as usize]).unwrap();
        let (from, to) = (self.draw(4) as u32, self.draw(4) as u32);
        match self.draw(13) {
            0 => self.delete(&id),
            1 => self.goal(&id, from, to, |goal, _| goal.stopped = true),
            2 => self.goal(&id, from, to, |goal, generation| {
                *goal = Goal { stopped: false, start: generation, ..*goal };
            }),
            3 => self.goal(&id, from, to, |goal, generation| {
                *goal = Goal { stopped: false, restart: generation, ..*goal };
            }),
            4 => self.scale(&id, 1 + from),
            5..=8 => self.upgrade(&id),
            9 => self.control(&id),
            _ => self.create(&id),
        }
    }

    fn create(&mut self, id: &JobId) {
        if self.desired.contains_key(id) {
            return;
        }
        let count = 1 + self.draw(4) as u32;
        self.put_config(id, 1, config(id, count));
        self.put_job(
            id,
            JobRecord { version: 1, generation: 1, instance_count: count, ..Default::default() },
        );
    }

    pub(crate) fn put_config(&mut self, id: &JobId, version: u64, config: JobConfig) {
        let record = ConfigRecord { version, config: Arc::new(config), ..Default::default() };
        let key = keys::desired_config(SHARD.0, id.as_str(), version);
        let value = encode_record(&record).unwrap().into();
        self.apply(Op::Put { key, value, lease: None });
        self.input(Input::Config { job: id.clone(), version, config: record.config });
    }

    pub(crate) fn put_job(&mut self, id: &JobId, record: JobRecord) {
        let key = keys::desired_job(SHARD.0, id.as_str());
        let value = encode_record(&record).unwrap().into();
        self.apply(Op::Put { key: key.clone(), value, lease: None });
        let incarnation = self.store[&key].1;
        self.desired.insert(id.clone(), record.clone());
        let modified = self.revision;
        self.input(Input::Job { id: id.clone(), incarnation, modified, record });
    }

    fn delete(&mut self, id: &JobId) {
        if self.desired.remove(id).is_some() {
            self.apply(Op::Delete { key: keys::desired_job(SHARD.0, id.as_str()) });
            self.apply(Op::DeleteRange { range: keys::desired_configs(SHARD.0, id.as_str()) });
            self.input(Input::JobRemoved(id.clone()));
        }
    }

    fn goal(&mut self, id: &JobId, from: u32, to: u32, f: impl Fn(&mut Goal, u64)) {
        let Some(mut record) = self.desired.get(id).cloned() else { return };
        record.generation += 1;
        let generation = record.generation;
        assert!(record.goals.change(from, to, |goal| f(goal, generation)));
        self.put_job(id, record);
    }

    fn scale(&mut self, id: &JobId, count: u32) {
        let Some(mut record) = self.desired.get(id).cloned() else { return };
        let state = self.upgrade_state(id);
        if record.upgrade.is_some() && (state.is_active() || state.is_mixed()) {
            return;
        }
        let current = record.current(state).version;
        let mut config = self.config(id, current);
        config.instance_count = count;
        record.generation += 1;
        record.version = record.next_version();
        record.top_version = record.version;
        record.upgrade = None;
        record.instance_count = count;
        self.put_config(id, record.version, config);
        self.put_job(id, record);
    }

    /// Never two runs of one instance on agents that can be reached, unless one is being ended.
    fn check_unique(&self) {
        let mut seen = BTreeSet::new();
        for (id, task) in &self.mesos.tasks {
            let id = TaskId::parse(id).unwrap();
            let counts = self.mesos.agents[&task.agent].reachable && self.is_current(&id);
            assert!(!counts || seen.insert((id.job.clone(), id.instance)), "{id} runs twice");
        }
    }

    fn is_current(&self, id: &TaskId) -> bool {
        let key = keys::actual_instance(SHARD.0, id.job.as_str(), id.instance);
        self.store
            .get(&key)
            .map(|(v, _)| decode_record::<InstanceRecord>(v).unwrap())
            .is_some_and(|r| r.run == id.run && r.state.is_live())
    }
}

/// The first configuration of a job.
fn config(id: &JobId, count: u32) -> JobConfig {
    let mut config = JobConfig { instance_count: count, ..Default::default() };
    config.resource.cpus_limit = 1.0;
    config.resource.mem_limit_mb = 64.0;
    config.resource.disk_limit_mb = 16.0;
    config.ports = vec![PortConfig { name: "http".into(), ..Default::default() }];
    config.volumes = volumes(id);
    if id.as_str().starts_with("batch") {
        config.kind = JobKind::Batch;
        config.restart_policy.max_failures = Some(2);
    }
    config
}

fn settings() -> Settings {
    Settings { forget_agent_ms: 900_000, ..Settings::new(SHARD, "peloton") }
}
