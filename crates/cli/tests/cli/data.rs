//! The jobs of the stand-in master.

mod upgrades;

use std::collections::BTreeMap;

use peloton_proto::mesos::v1::{CommandInfo, Label, Labels, TaskId, TimeInfo};
use peloton_proto::peloton::changelog::ChangeLog;
use peloton_proto::peloton::cluster::store_status::Quorum;
use peloton_proto::peloton::cluster::{
    ClusterInfo, ClusterStatus, Connection, Master, MesosStatus, Shard, StoreEndpoint, StoreStatus,
};
use peloton_proto::peloton::job::{
    JobConfig, JobId, JobState, JobStatus, JobType, Lacking, ResourceConfig, WaitingInstances,
};
use peloton_proto::peloton::task::{HealthState, RuntimeInfo, TaskInfo, TaskState};

pub(crate) use upgrades::{events, in_hand, plan, upgrade};

/// The first second of October 2016.
pub(crate) const THEN_SECS: i64 = 1_475_280_000;

pub(crate) fn time(after_secs: i64) -> Option<TimeInfo> {
    Some(TimeInfo { nanoseconds: (THEN_SECS + after_secs) * 1_000_000_000 })
}

pub(crate) fn id(job: &str) -> Option<JobId> {
    Some(JobId { value: job.to_owned() })
}

pub(crate) fn config(team: &str, kind: JobType, instances: u32) -> JobConfig {
    let label = Label { key: "team".into(), value: Some(team.into()) };
    JobConfig {
        change_log: Some(ChangeLog {
            version: 2,
            created_at: THEN_SECS * 1000,
            updated_at: THEN_SECS * 1000 + 60_000,
            updated_by: "ann@desk".into(),
        }),
        name: "a job".into(),
        owning_team: team.into(),
        labels: Some(Labels { labels: vec![label] }),
        instance_count: instances,
        resource: Some(ResourceConfig {
            cpus_limit: 0.5,
            mem_limit_mb: 128.0,
            ..Default::default()
        }),
        command: Some(CommandInfo {
            shell: Some(true),
            value: Some("echo hello\nsleep 1000\n".into()),
            ..Default::default()
        }),
        r#type: kind.into(),
        ..Default::default()
    }
}

pub(crate) fn status(state: JobState, instances: u32, counts: &[(TaskState, u32)]) -> JobStatus {
    JobStatus {
        state: state.into(),
        instance_count: instances,
        counts_by_state: counts.iter().map(|(s, n)| (s.as_str_name().to_owned(), *n)).collect(),
        versions: BTreeMap::from([(2, instances)]),
        current_version: 2,
        ..Default::default()
    }
}

/// A job of which some instances wait and two run an older version.
pub(crate) fn waiting_status() -> JobStatus {
    use TaskState::{Running, Scheduling, Throttled};
    let counts = [(Running, 5), (Scheduling, 3), (Throttled, 1)];
    let mut status = status(JobState::Pending, 9, &counts);
    status.healthy = 4;
    status.unhealthy = 1;
    status.versions = BTreeMap::from([(1, 2), (2, 3)]);
    status.active_upgrade = "web-2-00000002".into();
    let lacking = |reason: &str, agents| Lacking { reason: reason.into(), agents };
    status.waiting = vec![
        WaitingInstances {
            reason: "no agent has room".into(),
            instances: 3,
            agents_looked_at: 7,
            lacking: vec![lacking("cpus", 5), lacking("constraint", 2)],
        },
        WaitingInstances {
            reason: "failed 4 times; next try in 8 s".into(),
            instances: 1,
            ..Default::default()
        },
    ];
    status
}

pub(crate) fn task(job: &str, instance: u32, state: TaskState, run: u64) -> TaskInfo {
    let mut runtime = RuntimeInfo { state: state.into(), run_number: run, ..Default::default() };
    runtime.config_version = 2;
    match state {
        TaskState::Scheduling => runtime.wait_reason = "no agent has room".into(),
        TaskState::Throttled => {
            runtime.message = "command exited with status 3".into();
            runtime.exit_status = Some(3);
            runtime.failures = 4;
            runtime.retry_at = time(68);
        }
        _ => {
            runtime.task_id = Some(TaskId { value: format!("{job}-{instance}-{run}") });
            runtime.host = format!("agent-{instance}.example.com");
            runtime.health = HealthState::Healthy.into();
            runtime.started_at = time(60);
            runtime.ports = BTreeMap::from([("http".to_owned(), 31_000 + instance)]);
        }
    }
    TaskInfo { instance_id: instance, job_id: id(job), job_config: None, runtime: Some(runtime) }
}

pub(crate) fn cluster_info() -> ClusterInfo {
    ClusterInfo { name: "test".into(), shard_count: 3, created_at: THEN_SECS * 1000 }
}

/// Three masters of which one is on its way out, and a store of three members of which one is dead.
pub(crate) fn cluster_status() -> ClusterStatus {
    let master = |id: &str, address: &str, lease_left_ms| Master {
        id: id.into(),
        address: address.into(),
        version: "0.1.0".into(),
        started_at: THEN_SECS * 1000,
        accepting: true,
        lease_left_ms,
        schema_version: 1,
        ..Default::default()
    };
    let shard = |number, owner: &str, connection: Connection, message: &str| Shard {
        number,
        owner: owner.into(),
        owned_since: if owner.is_empty() { 0 } else { THEN_SECS * 1000 },
        framework_id: if owner.is_empty() { String::new() } else { format!("f-000{number}") },
        role: format!("peloton/{number}"),
        connection: connection.into(),
        message: message.into(),
        owner_address: owner.replace("m-", "10.0.0.") + if owner.is_empty() { "" } else { ":5289" },
    };
    let answers = Master { answering: true, ..master("m-1", "10.0.0.1:5289", Some(2940)) };
    let stops = Master {
        accepting: false,
        not_accepting: "it is stopping".into(),
        ..master("m-3", "10.0.0.3:5289", Some(1200))
    };
    ClusterStatus {
        masters: vec![answers, master("m-2", "10.0.0.2:5289", Some(75)), stops],
        shards: vec![
            shard(0, "m-1", Connection::Subscribed, ""),
            shard(1, "m-2", Connection::Disconnected, "connection refused; next try in 2 s"),
            shard(2, "", Connection::Unknown, ""),
        ],
        store: Some(store_status()),
        mesos: Some(MesosStatus {
            connected: true,
            leader: "10.0.0.9:5050".into(),
            version: "1.11.0".into(),
            message: String::new(),
            found_by: "zookeeper".into(),
            found_in: "zk://10.0.0.7:2181,10.0.0.8:2181/mesos".into(),
        }),
        cluster: Some(cluster_info()),
    }
}

fn store_status() -> StoreStatus {
    let endpoint = |host: u32| StoreEndpoint {
        address: format!("http://10.0.1.{host}:2379"),
        healthy: true,
        version: "3.5.16".into(),
        revision: 4711,
        db_bytes: 25 << 20,
        ..Default::default()
    };
    StoreStatus {
        healthy: true,
        r#type: "etcd".into(),
        endpoints: vec![
            StoreEndpoint { connected: true, behind: 3, ..endpoint(1) },
            StoreEndpoint { leader: true, ..endpoint(2) },
            StoreEndpoint {
                address: "http://10.0.1.3:2379".into(),
                message: "connection refused".into(),
                ..Default::default()
            },
        ],
        revision: 4711,
        since_answer_ms: Some(12),
        quorum: Quorum::Present.into(),
        ..Default::default()
    }
}
