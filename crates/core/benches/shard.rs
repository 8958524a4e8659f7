//! The core alone: how many transitions a second one shard makes, without any I/O.
//!
//! Fixed input: one service of 10,000 instances on 1,000 agents. `launch` is everything from the job's
//! record to the ACCEPTs; `status` takes the three updates of each start; `stop` the kill of each
//! instance and its end; `recover` builds the shard from its records.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a benchmark may fail loudly; the macros make public items"
)]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use peloton_core::{
    Effect, Input, MesosEvent, Offer, Operation, Output, Settings, Shard, Snapshot, StatusUpdate,
    TaskStatus, Write, encode,
};
use peloton_model::{
    AgentId, AgentRecord, ConfigRecord, FrameworkId, JobConfig, JobId, JobRecord, Milli, OfferId,
    PortSet, Resources, ShardId, encode_record,
};
use peloton_store::{KeyValue, Op, Revision, keys};
use std::sync::Arc;

const INSTANCES: u32 = 10_000;
const AGENTS: u32 = 1_000;
const SHARD: ShardId = ShardId(0);

fn job() -> JobId {
    JobId::new("service").unwrap()
}

fn config() -> Arc<JobConfig> {
    let mut config = JobConfig { instance_count: INSTANCES, ..Default::default() };
    config.resource.cpus_limit = 1.0;
    config.resource.mem_limit_mb = 128.0;
    config.command.value = "serve".into();
    Arc::new(config)
}

fn record(generation: u64) -> JobRecord {
    JobRecord { version: 1, generation, instance_count: INSTANCES, ..Default::default() }
}

fn input(record: JobRecord) -> Input {
    Input::Job { id: job(), incarnation: 1, modified: 1, record }
}

fn offers() -> Vec<Offer> {
    let offer = |i| Offer {
        id: OfferId::new(&format!("offer-{i}")),
        agent: AgentId::new(&format!("agent-{i:05}")),
        record: Arc::new(AgentRecord { host: format!("host-{i}").into(), ..Default::default() }),
        free: Resources {
            cpus: Milli(16_000),
            mem_mb: Milli(65_536_000),
            disk_mb: Milli(1_000_000_000),
            gpus: Milli(0),
        },
        ports: PortSet::from_ranges([(31000, 32000)]),
        reserved: vec![],
    };
    (0..AGENTS).map(offer).collect()
}

fn waiting() -> Shard {
    let mut shard = Shard::new(Settings::new(SHARD, "peloton"));
    shard.step(1, Input::Config { job: job(), version: 1, config: config() });
    shard.step(2, input(record(1)));
    let framework = FrameworkId::new("framework");
    shard.step(3, Input::Mesos(MesosEvent::Subscribed { framework }));
    shard
}

/// The launched tasks: id and agent.
fn launched(output: &Output) -> Vec<(String, AgentId)> {
    let accepts = output.effects.iter().filter_map(|effect| match effect {
        Effect::Accept(accept) => Some(&accept.operations),
        _ => None,
    });
    accepts
        .flatten()
        .filter_map(|operation| match operation {
            Operation::Launch(launch) => Some((launch.task.to_string(), launch.agent.clone())),
            _ => None,
        })
        .collect()
}

fn updates(tasks: &[(String, AgentId)], status: TaskStatus) -> Vec<StatusUpdate> {
    let update = |(task, agent): &(String, AgentId)| StatusUpdate {
        task: task.clone(),
        status,
        agent: Some(agent.clone()),
        uuid: Some(vec![0; 16]),
        healthy: None,
        message: None,
        reason: None,
        exit_status: None,
    };
    tasks.iter().map(update).collect()
}

fn take(shard: &mut Shard, updates: Vec<StatusUpdate>) -> usize {
    let step = |update| shard.step(5, Input::Mesos(MesosEvent::Status(update)));
    updates.into_iter().map(step).map(|output| output.writes.len()).sum()
}

fn started() -> (Shard, Vec<(String, AgentId)>, Vec<Write>) {
    let mut shard = waiting();
    let output = shard.step(4, Input::Mesos(MesosEvent::Offers(offers())));
    let tasks = launched(&output);
    assert_eq!(tasks.len(), INSTANCES as usize);
    (shard, tasks, output.writes)
}

fn running() -> (Shard, Vec<(String, AgentId)>) {
    let (mut shard, tasks, _) = started();
    take(&mut shard, updates(&tasks, TaskStatus::Running));
    assert_eq!(shard.totals().running, u64::from(INSTANCES));
    (shard, tasks)
}

fn key_values(writes: &[Write]) -> Vec<KeyValue> {
    let mut all: Vec<Op> = writes.iter().map(|write| encode(SHARD, write).unwrap()).collect();
    let record = |value| Op::Put { key: keys::desired_job(0, "service"), value, lease: None };
    all.push(record(encode_record(&record_of_job()).unwrap().into()));
    let config = ConfigRecord { version: 1, config: config(), ..Default::default() };
    let (key, value) = (keys::desired_config(0, "service", 1), encode_record(&config).unwrap());
    all.push(Op::Put { key, value: value.into(), lease: None });
    let kv = |op| match op {
        Op::Put { key, value, .. } => Some(KeyValue {
            key,
            value,
            create_revision: Revision(1),
            mod_revision: Revision(1),
            version: 1,
            lease: None,
        }),
        _ => None,
    };
    all.into_iter().filter_map(kv).collect()
}

fn record_of_job() -> JobRecord {
    record(1)
}

fn benches(c: &mut Criterion) {
    let mut group = c.benchmark_group("shard");
    group.sample_size(20);
    group.throughput(Throughput::Elements(u64::from(INSTANCES)));
    group.bench_function("launch", |b| {
        b.iter_batched(
            || (waiting(), offers()),
            |(mut shard, offers)| shard.step(4, Input::Mesos(MesosEvent::Offers(offers))),
            BatchSize::LargeInput,
        );
    });
    group.throughput(Throughput::Elements(3 * u64::from(INSTANCES)));
    group.bench_function("status", |b| {
        b.iter_batched(
            || {
                let (shard, tasks, _) = started();
                let states = [TaskStatus::Starting, TaskStatus::Running, TaskStatus::Running];
                let all: Vec<_> = states.into_iter().flat_map(|s| updates(&tasks, s)).collect();
                (shard, all)
            },
            |(mut shard, updates)| take(&mut shard, updates),
            BatchSize::LargeInput,
        );
    });
    group.throughput(Throughput::Elements(2 * u64::from(INSTANCES)));
    group.bench_function("stop", |b| {
        b.iter_batched(
            || {
                let (shard, tasks) = running();
                let mut stop = record(2);
                stop.goals.change(0, u32::MAX, |goal| goal.stopped = true);
                (shard, stop, updates(&tasks, TaskStatus::Killed))
            },
            |(mut shard, stop, updates)| {
                let kills = shard.step(6, input(stop)).effects.len();
                kills + take(&mut shard, updates)
            },
            BatchSize::LargeInput,
        );
    });
    group.throughput(Throughput::Elements(u64::from(INSTANCES)));
    group.bench_function("recover", |b| {
        let (_, _, writes) = started();
        let kvs = key_values(&writes);
        b.iter(|| {
            let mut snapshot = Snapshot::default();
            for kv in &kvs {
                snapshot.add(SHARD, kv).unwrap();
            }
            Shard::recover(Settings::new(SHARD, "peloton"), 7, snapshot).0.totals()
        });
    });
    group.finish();
}

criterion_group!(shard, benches);
criterion_main!(shard);
