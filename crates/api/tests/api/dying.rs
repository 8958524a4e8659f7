//! Masters that die and come back in the middle of calls: a client of several does not notice, and whatever it
//! asks is done once, although the answers to what was done get lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use peloton_api::Options;
use peloton_client::Client;
use peloton_proto::json::from_json;
use peloton_proto::peloton::job as pb;
use peloton_store::MemoryStore;
use serde_json::json;
use tokio::task::JoinSet;

use crate::support::{Master, PATIENCE, config};

/// Users at the same time.
const USERS: usize = 6;
/// How often a master dies.
const DEATHS: u64 = 20;
/// Calls that are answered between two deaths.
const BETWEEN: u64 = 15;

fn id(job: &str) -> Option<pb::JobId> {
    Some(pb::JobId { value: job.to_owned() })
}

fn job(description: &str) -> Option<pb::JobConfig> {
    let mut config = config(1);
    config["description"] = json!(description);
    Some(from_json(&config).unwrap().message)
}

/// What the users share.
#[derive(Default)]
struct Load {
    answered: AtomicU64,
    over: AtomicBool,
}

struct User {
    client: Client,
    number: usize,
    load: Arc<Load>,
    versions: Vec<u64>,
}

impl User {
    fn new(addresses: &[String], number: usize, load: Arc<Load>) -> Self {
        let mut masters = addresses.to_vec();
        masters.rotate_left(number % addresses.len());
        let options = peloton_client::Options { masters, timeout: PATIENCE, ..Default::default() };
        let client = Client::new(options).unwrap();
        Self { client, number, load, versions: Vec::new() }
    }

    /// Goes on until it is over; the versions of the job of all that it made.
    async fn run(mut self) -> Vec<u64> {
        let own = format!("of-{}", self.number);
        for round in 0_u64.. {
            let jobs = self.client.jobs();
            // A job that is this user's alone: nobody else created or deleted it.
            let create = pb::CreateRequest { id: id(&own), config: job(&format!("{round}")) };
            let created = jobs.create(create).await.unwrap();
            assert!(created.result.is_some(), "{created:?}");
            let update = pb::UpdateRequest {
                id: id("of-all"),
                config: job(&format!("{round} of {}", self.number)),
                expected_version: 0,
            };
            let updated = jobs.update(update).await.unwrap();
            self.versions.push(updated.result.unwrap().version);
            let update = pb::UpdateRequest {
                id: id(&own),
                config: job(&format!("{round}, again")),
                expected_version: 1,
            };
            let updated = jobs.update(update).await.unwrap();
            let version = updated.result.as_ref().map(|result| result.version);
            assert_eq!(version, Some(2), "{updated:?}");
            let delete = pb::DeleteRequest { id: id(&own), expected_version: 2 };
            let deleted = jobs.delete(delete).await.unwrap();
            assert_eq!(deleted, pb::DeleteResponse::default());
            self.load.answered.fetch_add(4, Ordering::Relaxed);
            if self.load.over.load(Ordering::Relaxed) {
                break;
            }
        }
        self.versions
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_is_done_once_although_masters_die() {
    let store = MemoryStore::new();
    let mut masters = Vec::new();
    for _ in 0..3 {
        masters.push(Master::over(Arc::new(store.clone())).await);
    }
    let addresses: Vec<_> = masters.iter().map(|master| master.address.to_string()).collect();
    let create = json!({"id": {"value": "of-all"}, "config": config(1)});
    masters[0].call("JobManager.Create", create).await;
    let load = Arc::new(Load::default());
    let mut users = JoinSet::new();
    for number in 0..USERS {
        users.spawn(User::new(&addresses, number, load.clone()).run());
    }
    for death in 0..DEATHS {
        let want = load.answered.load(Ordering::Relaxed) + BETWEEN;
        let deadline = Instant::now() + PATIENCE;
        while load.answered.load(Ordering::Relaxed) < want {
            assert!(Instant::now() < deadline, "calls are answered");
            if let Some(ended) = users.try_join_next() {
                panic!("a user ended: {ended:?}");
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let dying = &mut masters[death as usize % 3];
        let port = dying.address.port();
        // With all its connections, and whatever its handlers are at.
        dying.served.abort();
        let _ = (&mut dying.served).await;
        let options = Options { port, ..Options::default() };
        *dying = Master::on_port(Arc::new(store.clone()), options).await;
    }
    load.over.store(true, Ordering::Relaxed);
    let mut versions: Vec<u64> = users.join_all().await.into_iter().flatten().collect();
    versions.sort_unstable();
    let expected: Vec<u64> = (2..versions.len() as u64 + 2).collect();
    assert_eq!(versions, expected, "each made one version, and nothing else did");
}
