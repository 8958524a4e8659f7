//! Masters on a real etcd that fails: each change is made once, and without a quorum it is told what there is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use peloton_client::{Client, Error};
use peloton_proto::json::from_json;
use peloton_proto::peloton::job as pb;
use peloton_store::{Store, TxnResult};
use peloton_store_etcd::{EtcdStore, Options};
use peloton_testbed::etcd::{Etcd, EtcdOptions, start};
use serde_json::json;
use tokio::task::JoinSet;

use crate::support::{Master, PATIENCE, config};

/// Users that change one job at the same time.
const USERS: u32 = 4;
/// Changes between two faults.
const BETWEEN: u64 = 40;

/// Masters with a connection of their own each, and a client of all.
async fn masters(etcd: &Etcd) -> (Vec<Master>, Client) {
    let mut masters = Vec::new();
    for _ in 0..2 {
        let store = EtcdStore::open(Options::new(etcd.endpoints(), "/test")).await.unwrap();
        masters.push(Master::over(Arc::new(store)).await);
    }
    let addresses = masters.iter().map(|master| master.address.to_string()).collect();
    (masters, client(addresses))
}

fn client(masters: Vec<String>) -> Client {
    let options = peloton_client::Options { masters, timeout: PATIENCE, ..Default::default() };
    Client::new(options).unwrap()
}

fn id() -> Option<pb::JobId> {
    Some(pb::JobId { value: "a".into() })
}

fn job(description: &str) -> Option<pb::JobConfig> {
    let mut config = config(1);
    config["description"] = json!(description);
    Some(from_json(&config).unwrap().message)
}

async fn create(client: &Client) {
    let request = pb::CreateRequest { id: id(), config: job("first") };
    assert!(client.jobs().create(request).await.unwrap().result.is_some());
}

/// What the users share.
#[derive(Default)]
struct Load {
    made: AtomicU64,
    over: AtomicBool,
}

impl Load {
    /// Waits until so many more changes were made.
    async fn more(&self) {
        let want = self.made.load(Ordering::Relaxed) + BETWEEN;
        let deadline = Instant::now() + PATIENCE;
        while self.made.load(Ordering::Relaxed) < want {
            assert!(Instant::now() < deadline, "changes go on");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Makes changes through all masters until it is over; the versions that they made.
async fn change(addresses: Vec<String>, user: u32, load: Arc<Load>) -> Vec<u64> {
    let client = client(addresses);
    let mut versions = Vec::new();
    while !load.over.load(Ordering::Relaxed) {
        let config = job(&format!("change {} of user {user}", versions.len()));
        let request = pb::UpdateRequest { id: id(), config, expected_version: 0 };
        let answer = client.jobs().update(request).await.unwrap();
        versions.push(answer.result.unwrap().version);
        load.made.fetch_add(1, Ordering::Relaxed);
    }
    versions
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_change_is_made_once_while_members_fail() {
    let Some(mut etcd) = start(&EtcdOptions::members(3)) else { return };
    let (masters, client) = masters(&etcd).await;
    create(&client).await;
    let load = Arc::new(Load::default());
    let mut users = JoinSet::new();
    for user in 0..USERS {
        let mut addresses: Vec<_> = masters.iter().map(|m| m.address.to_string()).collect();
        addresses.rotate_left(user as usize % 2);
        users.spawn(change(addresses, user, load.clone()));
    }
    // Each member, so that those in use and the leader are among them.
    for member in [0, 1, 2] {
        load.more().await;
        etcd.pause(member, true).unwrap();
        load.more().await;
        etcd.pause(member, false).unwrap();
        etcd.wait_until_healthy(member).unwrap();
        load.more().await;
        etcd.kill(member).unwrap();
        load.more().await;
        etcd.start_member(member).unwrap();
        etcd.wait_until_healthy(member).unwrap();
    }
    load.more().await;
    load.over.store(true, Ordering::Relaxed);
    let mut all: Vec<u64> = users.join_all().await.into_iter().flatten().collect();
    all.sort_unstable();
    let expected: Vec<u64> = (2..all.len() as u64 + 2).collect();
    assert_eq!(all, expected, "each made a version of its own");
    let got = client.jobs().get(pb::GetRequest { id: id(), stale: false }).await.unwrap();
    let last = got.result.unwrap().change_log.unwrap().version;
    assert_eq!(last, all.len() as i64 + 1, "and nothing else made one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_quorum_stale_reads_are_answered() {
    let Some(mut etcd) = start(&EtcdOptions::members(3)) else { return };
    let (masters, client) = masters(&etcd).await;
    create(&client).await;
    let kept = etcd.leader().unwrap();
    for member in (0..3).filter(|member| *member != kept) {
        etcd.kill(member).unwrap();
    }
    let short = peloton_client::Options {
        masters: masters.iter().map(|master| master.address.to_string()).collect(),
        timeout: Duration::from_secs(2),
        ..Default::default()
    };
    let short = Client::new(short).unwrap();
    let request = pb::GetRequest { id: id(), stale: false };
    let error = short.jobs().get(request).await.unwrap_err();
    let is_told = matches!(error, Error::Unavailable { .. } | Error::TimedOut { .. });
    assert!(is_told, "{error:?}");
    let stop = pb::StopRequest { id: id(), expected_version: 0 };
    short.jobs().stop(stop).await.unwrap_err();
    // Until the connection is to the member that is left, it may be to one that is not.
    for (procedure, request) in [
        ("JobManager.Get", json!({"id": {"value": "a"}, "stale": true})),
        ("JobManager.GetStatus", json!({"id": {"value": "a"}, "stale": true})),
        ("JobManager.Query", json!({"withStatus": true, "stale": true})),
        ("TaskManager.Get", json!({"jobId": {"value": "a"}, "stale": true})),
        ("TaskManager.List", json!({"jobId": {"value": "a"}, "stale": true})),
    ] {
        let deadline = Instant::now() + PATIENCE;
        let reply = loop {
            let reply = masters[0].yarpc(procedure, &request).await;
            if reply.status == 200 {
                break reply;
            }
            assert!(Instant::now() < deadline, "{procedure}: {}", reply.body);
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let answer = reply.json();
        assert!(answer["asOfRevision"].as_i64().unwrap() > 0, "{procedure}: {answer}");
        assert!(!answer["result"].is_null(), "{procedure}: {answer}");
    }
    // It heals by itself, and a client that waits does not notice.
    for member in (0..3).filter(|member| *member != kept) {
        etcd.start_member(member).unwrap();
    }
    let restart = pb::RestartRequest { id: id(), expected_version: 1 };
    assert_eq!(client.jobs().restart(restart).await.unwrap(), pb::RestartResponse::default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_compares_deletions_too() {
    // What the model does in other tests, as etcd does it: a creation made from before a deletion.
    let Some(etcd) = start(&EtcdOptions::members(1)) else { return };
    let (_masters, client) = masters(&etcd).await;
    for _ in 0..3 {
        create(&client).await;
        let delete = pb::DeleteRequest { id: id(), expected_version: 1 };
        assert_eq!(client.jobs().delete(delete).await.unwrap(), pb::DeleteResponse::default());
    }
    let store = EtcdStore::open(Options::new(etcd.endpoints(), "/test")).await.unwrap();
    let place = peloton_store::KeyRange::prefix("gone/");
    let gone = peloton_store::range_all(&store, place).await.unwrap();
    assert_eq!(gone.kvs.len(), 1, "one key, however often it is deleted");
    let before = peloton_store::Txn::new()
        .when_unchanged(gone.kvs[0].key.clone(), peloton_store::Revision::ZERO)
        .put("late", "");
    let result = store.commit(before).await.unwrap();
    assert!(matches!(result, TxnResult::Conflict { .. }), "{result:?}");
}
