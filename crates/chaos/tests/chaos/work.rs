//! What runs in Mesos meanwhile: services that must not notice anything, and batch jobs that come and go,
//! so that there is always something to start that could be started twice.
//!
//! Each task notes its start in a file, and holds a lock of its instance for as long as its process lives:
//! the tasks themselves tell whether there were two at once.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use peloton_client::{Client, Error};
use peloton_proto::mesos::v1::CommandInfo;
use peloton_proto::peloton::job::{self as pb, JobState};

use crate::clients::{config, job_id};
use crate::cluster::{Cluster, MASTERS, ROLE, client, wait_until};

/// Services and their instances: every shard has some, as a rule.
const SERVICES: u32 = 8;
const INSTANCES: u32 = 2;
/// A client that all masters serve badly for so long fails the test.
const CALL_WITHIN: Duration = Duration::from_secs(20);
/// Between two looks at a job.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The jobs, and what their tasks note.
pub(crate) struct Work {
    notes: PathBuf,
    client: Client,
    stop: Arc<AtomicBool>,
    batch: Option<tokio::task::JoinHandle<u32>>,
}

/// A task that notes its start, and another one of its instance beside it, then goes on with `rest`.
fn noting(notes: &Path, rest: &str) -> String {
    let notes = notes.display();
    format!(
        "exec 9>{notes}/$PELOTON_JOB_ID-$PELOTON_INSTANCE_ID.lock; \
         flock -n 9 || echo $PELOTON_TASK_ID >>{notes}/doubles; \
         echo $PELOTON_TASK_ID >>{notes}/starts; {rest}"
    )
}

fn running(kind: pb::JobType, command: String) -> pb::JobConfig {
    pb::JobConfig {
        instance_count: INSTANCES,
        command: Some(CommandInfo { value: Some(command), ..Default::default() }),
        r#type: kind.into(),
        ..config(0)
    }
}

impl Work {
    /// Starts the services, waits until they run, and starts the coming and going of batch jobs.
    pub(crate) async fn start(cluster: &Cluster) -> Self {
        let notes = cluster.directory().join("notes");
        fs::create_dir(&notes).unwrap();
        let addresses: Vec<String> = (0..MASTERS).map(|number| cluster.address(number)).collect();
        let client = client(&addresses, CALL_WITHIN);
        for service in 0..SERVICES {
            let command = noting(&notes, "exec sleep 100000");
            create(&client, &format!("keep-{service}"), running(pb::JobType::Service, command))
                .await;
        }
        for service in 0..SERVICES {
            wait_for(&client, &format!("keep-{service}"), JobState::Running).await;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let batch = tokio::spawn(batch_jobs(client.clone(), notes.clone(), Arc::clone(&stop)));
        Self { notes, client, stop, batch: Some(batch) }
    }

    /// Lets the last batch job end; how many there were.
    pub(crate) async fn finish(&mut self) -> u32 {
        self.stop.store(true, Ordering::Relaxed);
        self.batch.take().unwrap().await.unwrap()
    }

    /// Compares what tasks noted with what there should be, and what Mesos says of tasks and reservations
    /// with both; then deletes the services, and nothing is left.
    pub(crate) async fn audit(&self, cluster: &Cluster, batch_jobs: u32) {
        let mut starts: BTreeMap<String, u32> = BTreeMap::new();
        for id in self.noted("starts") {
            *starts.entry(id).or_default() += 1;
        }
        assert_eq!(self.noted("doubles"), Vec::<String>::new(), "instances that ran twice at once");
        let twice: Vec<_> = starts.iter().filter(|(_, times)| **times > 1).collect();
        assert!(twice.is_empty(), "tasks that were started twice: {twice:?}");
        let mut per_job: BTreeMap<&str, u32> = BTreeMap::new();
        for id in starts.keys() {
            // A task's id is the job's, the instance's and the run's.
            *per_job.entry(id.rsplitn(3, '-').nth(2).unwrap()).or_default() += 1;
        }
        let odd: Vec<_> = per_job.iter().filter(|(_, tasks)| **tasks != INSTANCES).collect();
        assert!(odd.is_empty(), "jobs whose tasks were started too often, or never: {odd:?}");
        assert_eq!(per_job.len(), usize::try_from(SERVICES + batch_jobs).unwrap());
        let services = starts.keys().filter(|id| id.starts_with("keep-"));
        wait_mesos(cluster, &services.cloned().collect::<Vec<_>>());
        for service in 0..SERVICES {
            delete(&self.client, &format!("keep-{service}")).await;
        }
        wait_mesos(cluster, &[]);
    }

    fn noted(&self, file: &str) -> Vec<String> {
        let text = fs::read_to_string(self.notes.join(file)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

/// Creates, awaits and deletes one batch job after the other; how many.
async fn batch_jobs(client: Client, notes: PathBuf, stop: Arc<AtomicBool>) -> u32 {
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let job = format!("work-{number}");
        create(&client, &job, running(pb::JobType::Batch, noting(&notes, "sleep 0.3"))).await;
        wait_for(&client, &job, JobState::Succeeded).await;
        delete(&client, &job).await;
        number += 1;
    }
    number
}

/// Creates a job that nobody else works on, so that what got lost can be asked for again.
async fn create(client: &Client, job: &str, config: pb::JobConfig) {
    loop {
        let config = Some(config.clone());
        let request = pb::CreateRequest { id: job_id(job), config };
        match client.jobs().create(request).await {
            Ok(_) => return,
            Err(Error::OutcomeUnknown { .. }) => {}
            Err(error) => panic!("{job} cannot be created: {error}"),
        }
    }
}

async fn delete(client: &Client, job: &str) {
    loop {
        let request = pb::DeleteRequest { id: job_id(job), ..Default::default() };
        match client.jobs().delete(request).await {
            Ok(_) => return,
            Err(Error::OutcomeUnknown { .. }) => {}
            Err(error) => panic!("{job} cannot be deleted: {error}"),
        }
    }
}

/// Waits for a job's state: as long as any fault lasts, and more.
async fn wait_for(client: &Client, job: &str, wished: JobState) {
    const WITHIN: Duration = Duration::from_secs(120);
    let end = tokio::time::Instant::now() + WITHIN;
    loop {
        let request = pb::GetStatusRequest { id: job_id(job), ..Default::default() };
        let answer = client.jobs().get_status(request).await;
        let status = answer.unwrap_or_else(|error| panic!("status of {job}: {error}")).result;
        if status.as_ref().is_some_and(|status| status.state() == wished) {
            return;
        }
        let late = tokio::time::Instant::now() >= end;
        assert!(!late, "{job} is not {wished:?} within {WITHIN:?}: {status:?}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Waits until Mesos has just these tasks, all running, and a slot for each is reserved and nothing else.
fn wait_mesos(cluster: &Cluster, ids: &[String]) {
    let operator = cluster.mesos.operator();
    wait_until(&format!("Mesos with just the tasks {ids:?}"), || {
        let tasks = operator.tasks().map_err(|error| error.to_string())?;
        let same = tasks.iter().map(|task| &task.id).eq(ids);
        if !same || tasks.iter().any(|task| task.state != "TASK_RUNNING") {
            return Err(format!("{tasks:?}"));
        }
        let reserved = operator.reserved_resources_by_role().map_err(|error| error.to_string())?;
        let mut sum: BTreeMap<String, f64> = BTreeMap::new();
        for (role, resources) in reserved {
            assert!(role.starts_with(&format!("{ROLE}/")), "reserved for {role}");
            for (name, amount) in resources {
                *sum.entry(name).or_default() += amount;
            }
        }
        sum.retain(|_, amount| *amount != 0.0);
        let slots = f64::from(u32::try_from(ids.len()).unwrap());
        // As `config` has it.
        let wanted = [("cpus", 0.1), ("mem", 32.0), ("disk", 16.0)];
        let close = |(name, each): &(&str, f64)| {
            (sum.get(*name).copied().unwrap_or_default() - each * slots).abs() < 0.001
        };
        let known = sum.keys().all(|name| wanted.iter().any(|(wanted, _)| wanted == name));
        if known && wanted.iter().all(close) { Ok(()) } else { Err(format!("reserved: {sum:?}")) }
    });
}
