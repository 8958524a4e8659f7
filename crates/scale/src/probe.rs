//! A user beside the load: reads and writes at a steady pace, and how long each took.

use peloton_client::{Client, Error};
use peloton_proto::mesos::v1::CommandInfo;
use peloton_proto::peloton::{job, task};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

/// Between two rounds of requests.
const PACE: Duration = Duration::from_millis(100);

/// Latencies by the name of the call, and what failed.
#[derive(Debug, Default)]
pub(crate) struct Latencies {
    pub(crate) calls: BTreeMap<&'static str, Vec<Duration>>,
    pub(crate) failures: u64,
}

impl Latencies {
    fn add<T>(&mut self, call: &'static str, began: Instant, result: Result<T, Error>) {
        match result {
            Ok(_) => self.calls.entry(call).or_default().push(began.elapsed()),
            Err(_) => self.failures += 1,
        }
    }
}

/// A running probe.
pub(crate) struct Probe {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Latencies>,
}

impl Probe {
    pub(crate) async fn stop(self) -> Latencies {
        self.stop.store(true, Relaxed);
        self.task.await.unwrap_or_default()
    }
}

pub(crate) fn start(client: Client) -> Probe {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let task = tokio::spawn(async move {
        let mut latencies = Latencies::default();
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut round = 0;
        while !stopped.load(Relaxed) {
            pace.tick().await;
            ask(&client, round, &mut latencies).await;
            round += 1;
        }
        latencies
    });
    Probe { stop, task }
}

/// One round: what a user interface would ask, and a small job that comes and goes.
async fn ask(client: &Client, round: u32, latencies: &mut Latencies) {
    let id = Some(job::JobId { value: "scale-00000".into() });

    let began = Instant::now();
    let answer = client
        .jobs()
        .get_status(job::GetStatusRequest { id: id.clone(), ..Default::default() })
        .await;
    latencies.add("JobManager.GetStatus", began, answer);

    let request =
        task::GetRequest { job_id: id.clone(), instance_id: round % 1_000, ..Default::default() };
    let began = Instant::now();
    let answer = client.tasks().get(request).await;
    latencies.add("TaskManager.Get", began, answer);

    let request =
        task::ListRequest { job_id: id, limit: 100, without_config: true, ..Default::default() };
    let began = Instant::now();
    let answer = client.tasks().list(request).await;
    latencies.add("TaskManager.List of 100", began, answer);

    let id = Some(job::JobId { value: format!("probe-{round}") });
    let request = job::CreateRequest { id: id.clone(), config: Some(small_job()) };
    let began = Instant::now();
    let answer = client.jobs().create(request).await;
    latencies.add("JobManager.Create", began, answer);
    let began = Instant::now();
    let answer = client.jobs().delete(job::DeleteRequest { id, ..Default::default() }).await;
    latencies.add("JobManager.Delete", began, answer);
}

/// A job of no instances: what is measured is the API, not the cluster.
fn small_job() -> job::JobConfig {
    job::JobConfig {
        name: "probe".into(),
        owning_team: "scale".into(),
        instance_count: 0,
        resource: Some(job::ResourceConfig {
            cpus_limit: 0.1,
            mem_limit_mb: 32.0,
            ..Default::default()
        }),
        command: Some(CommandInfo { value: Some("true".into()), ..Default::default() }),
        ..Default::default()
    }
}
