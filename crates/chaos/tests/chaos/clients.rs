//! The clients: each asks for one thing after the other, and everything goes into the record.
//!
//! Jobs without instances are what they work on, so that thousands of calls a minute cost Mesos nothing.
//! Few jobs at a time, so that clients meet; new ones every few seconds, so that what got lost weighs on a
//! short history only. Each content is written once in the whole test: a read tells whose write it saw.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use peloton_chaos::jobs::{Input, Job, Output};
use peloton_client::{Client, Error};
use peloton_proto::mesos::v1::CommandInfo;
use peloton_proto::peloton::job as pb;

use crate::cluster::{Cluster, MASTERS, client};
use crate::dice::Dice;
use crate::record::{Call, End, Record, Whom};

/// Jobs that are worked on at the same time, and for how long.
const JOBS: u64 = 4;
const JOBS_LIVE_NS: u64 = 6_000_000_000;

/// A client waits so long between two calls at most, in milliseconds.
const PAUSE_MS: u64 = 40;

/// How long a client of one master waits. Those that stay with one wait longer than anything takes that is
/// not that master's own fault, the election of a leader of etcd for example.
pub(crate) const PATIENT: Duration = Duration::from_secs(12);
/// Those that take any have other things to do.
pub(crate) const IMPATIENT: Duration = Duration::from_secs(2);
/// How long a client of all masters waits.
const OF_ALL: Duration = Duration::from_secs(15);

/// A configuration that is valid and runs nothing.
pub(crate) fn config(content: u64) -> pb::JobConfig {
    pb::JobConfig {
        name: "chaos".to_owned(),
        description: content.to_string(),
        instance_count: 0,
        resource: Some(pb::ResourceConfig {
            cpus_limit: 0.1,
            mem_limit_mb: 32.0,
            disk_limit_mb: 16.0,
            ..Default::default()
        }),
        command: Some(CommandInfo { value: Some("true".to_owned()), ..Default::default() }),
        ..Default::default()
    }
}

/// A job's id.
pub(crate) fn job_id(job: &str) -> Option<pb::JobId> {
    Some(pb::JobId { value: job.to_owned() })
}

/// One who calls.
struct Caller {
    number: usize,
    /// A client of each master, or one of all.
    masters: Vec<Client>,
    all: Option<Client>,
    /// The only master that it asks.
    stays_with: Option<usize>,
    dice: Dice,
    record: Record,
    contents: Arc<AtomicU64>,
    /// The latest version that it has seen of each job.
    seen: BTreeMap<String, u64>,
}

/// The clients at work.
pub(crate) struct Clients {
    stop: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Clients {
    /// Starts them: one that stays with each master, as many that take any, and one that asks all in turn.
    pub(crate) fn start(cluster: &Cluster, record: &Record, seed: u64) -> Self {
        let addresses: Vec<String> = (0..MASTERS).map(|number| cluster.address(number)).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let contents = Arc::new(AtomicU64::new(1));
        let tasks = (0..=2 * MASTERS).map(|number| {
            let stays_with = (number < MASTERS).then_some(number);
            let patience = if stays_with.is_some() { PATIENT } else { IMPATIENT };
            let single = |address: &String| client(std::slice::from_ref(address), patience);
            let caller = Caller {
                number,
                masters: addresses.iter().map(single).collect(),
                all: (number == 2 * MASTERS).then(|| client(&addresses, OF_ALL)),
                stays_with,
                dice: Dice::new(seed.wrapping_add(1 + number as u64)),
                record: record.clone(),
                contents: Arc::clone(&contents),
                seen: BTreeMap::new(),
            };
            tokio::spawn(caller.run(Arc::clone(&stop)))
        });
        Self { tasks: tasks.collect(), stop }
    }

    /// Tells them to end after what they are at, and waits for that.
    pub(crate) async fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

impl Caller {
    async fn run(mut self, stop: Arc<AtomicBool>) {
        while !stop.load(Ordering::Relaxed) {
            self.call().await;
            tokio::time::sleep(Duration::from_millis(self.dice.below(PAUSE_MS))).await;
        }
    }

    async fn call(&mut self) {
        let generation = self.record.now() / JOBS_LIVE_NS;
        let job = format!("lin-{generation}-{}", self.dice.below(JOBS));
        let input = self.choose(&job);
        let (client, whom) = match (&self.all, self.stays_with) {
            (Some(all), _) => (all, Whom::All),
            (None, Some(master)) => (&self.masters[master], Whom::Master(master)),
            (None, None) => {
                let master = usize::try_from(self.dice.below(MASTERS as u64)).unwrap();
                (&self.masters[master], Whom::Master(master))
            }
        };
        let from = self.record.now();
        let end = ask(client, &job, input).await;
        let to = self.record.now();
        match end {
            End::Answered(Output::Found(Job { version, .. }))
            | End::Answered(Output::Updated(version) | Output::Conflict(version)) => {
                self.seen.insert(job.clone(), version);
            }
            _ => {}
        }
        let client = self.number;
        self.record.add(Call { client, whom, job, input, from, to, end });
    }

    fn choose(&mut self, job: &str) -> Input {
        let content = || self.contents.fetch_add(1, Ordering::Relaxed);
        match self.dice.below(20) {
            0..9 => Input::Get,
            9..14 => {
                let expected = self.seen.get(job).copied().unwrap_or(1);
                Input::Update { expected, content: content() }
            }
            14 | 15 => Input::Update { expected: 0, content: content() },
            16..19 => Input::Create(content()),
            _ => Input::Delete,
        }
    }
}

/// Makes a call, and says how it ended in the words of the model.
pub(crate) async fn ask(client: &Client, job: &str, input: Input) -> End {
    let asked = async {
        let id = job_id(job);
        let jobs = client.jobs();
        Ok::<_, Error>(match input {
            Input::Create(content) => {
                let config = Some(config(content));
                let answer = jobs.create(pb::CreateRequest { id, config });
                created(&answer.await?)
            }
            Input::Get => found(&jobs.get(pb::GetRequest { id, ..Default::default() }).await?),
            Input::Update { expected, content } => {
                let config = Some(config(content));
                let request = pb::UpdateRequest { id, config, expected_version: expected };
                updated(expected, &jobs.update(request).await?)
            }
            Input::Delete => {
                let request = pb::DeleteRequest { id, ..Default::default() };
                match jobs.delete(request).await?.not_found {
                    Some(_) => End::Answered(Output::NotFound),
                    None => End::Answered(Output::Deleted),
                }
            }
        })
    };
    match asked.await {
        Ok(end) => end,
        Err(error @ Error::OutcomeUnknown { .. }) => End::Unknown(error.to_string()),
        Err(
            error
            @ (Error::Unreachable { .. } | Error::Unavailable { .. } | Error::TimedOut { .. }),
        ) => End::NotDone(error.to_string()),
        // Lost against others until the deadline.
        Err(Error::Refused { code: tonic::Code::Aborted, message, .. }) => End::NotDone(message),
        Err(error) => End::Broken(format!("{error:?}")),
    }
}

fn created(answer: &pb::CreateResponse) -> End {
    match (&answer.result, &answer.already_exists) {
        (Some(_), None) => End::Answered(Output::Created),
        (None, Some(_)) => End::Answered(Output::AlreadyExists),
        _ => End::Broken(format!("{answer:?}")),
    }
}

/// The job in an answer to a read.
pub(crate) fn found(answer: &pb::GetResponse) -> End {
    let Some(config) = &answer.result else {
        return match &answer.not_found {
            Some(_) => End::Answered(Output::NotFound),
            None => End::Broken(format!("{answer:?}")),
        };
    };
    let version = config.change_log.as_ref().and_then(|log| u64::try_from(log.version).ok());
    match (version, config.description.parse()) {
        (Some(version), Ok(content)) => End::Answered(Output::Found(Job { version, content })),
        _ => End::Broken(format!("{answer:?}")),
    }
}

fn updated(expected: u64, answer: &pb::UpdateResponse) -> End {
    match answer {
        pb::UpdateResponse { result: Some(result), .. } => {
            End::Answered(Output::Updated(result.version))
        }
        pb::UpdateResponse { not_found: Some(_), .. } => End::Answered(Output::NotFound),
        pb::UpdateResponse { conflict: Some(conflict), .. } if conflict.expected == expected => {
            End::Answered(Output::Conflict(conflict.actual))
        }
        _ => End::Broken(format!("{answer:?}")),
    }
}
