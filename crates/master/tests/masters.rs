//! Several masters in one process, over one store, without a Mesos: each shard has one owner, every
//! master serves what any of them wrote, and shards move when their owner stops. That tasks run is
//! for the system tests.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that panics fails"
)]

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use peloton_client::{Client, Options};
use peloton_config::{Flag, MasterConfig, load_flags};
use peloton_master::{Master, StartError, open_store};
use peloton_proto::mesos::v1::CommandInfo;
use peloton_proto::peloton::cluster::{ClusterStatus, GetStatusRequest};
use peloton_proto::peloton::job::{self, JobConfig, JobId, ResourceConfig};
use peloton_store::{MemoryStore, Store};

/// Far more than it takes.
const PATIENCE: Duration = Duration::from_secs(60);

fn config(flags: &[(&str, &str)]) -> MasterConfig {
    // Nobody listens on port 1.
    let always = [("mesos.masters", "127.0.0.1:1"), ("cluster.shards", "4")];
    let flags = always.iter().chain(flags).map(|(key, value)| Flag::new(*key, *value, "test"));
    let mut config = load_flags(flags.collect()).unwrap().config;
    config.master.listen = "127.0.0.1".parse().unwrap();
    config.master.port = 0;
    config
}

async fn start(store: &Arc<dyn Store>) -> (Master, Client) {
    let master = Master::start(config(&[]), Some(store.clone())).await.unwrap();
    let masters = vec![master.address().to_string()];
    let client = Client::new(Options { masters, ..Options::default() }).unwrap();
    (master, client)
}

async fn status(client: &Client) -> ClusterStatus {
    client.cluster().get_status(GetStatusRequest {}).await.unwrap().result.unwrap()
}

/// Waits until every shard has an owner among these, as this master sees it: the owners.
async fn owners(client: &Client, masters: &[&Master]) -> Vec<String> {
    let ids: BTreeSet<&str> = masters.iter().map(|master| master.id()).collect();
    let end = Instant::now() + PATIENCE;
    loop {
        let status = status(client).await;
        let owners: Vec<String> = status.shards.iter().map(|s| s.owner.clone()).collect();
        if owners.len() == 4 && owners.iter().all(|owner| ids.contains(owner.as_str())) {
            return owners;
        }
        assert!(Instant::now() < end, "owners {owners:?} are not among {ids:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until these have equally many shards, give or take one, as one of them sees it.
async fn even(client: &Client, masters: &[&Master]) {
    let end = Instant::now() + PATIENCE;
    loop {
        let owners = owners(client, masters).await;
        let count = |master: &&Master| owners.iter().filter(|owner| *owner == master.id()).count();
        let counts: Vec<usize> = masters.iter().map(count).collect();
        if counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1 {
            return;
        }
        assert!(Instant::now() < end, "uneven: {counts:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn create(client: &Client, id: &str) {
    let config = JobConfig {
        name: id.to_owned(),
        instance_count: 2,
        command: Some(CommandInfo { value: Some("sleep 1".to_owned()), ..Default::default() }),
        resource: Some(ResourceConfig {
            cpus_limit: 0.1,
            mem_limit_mb: 32.0,
            ..Default::default()
        }),
        ..JobConfig::default()
    };
    let id = Some(JobId { value: id.to_owned() });
    let request = job::CreateRequest { id, config: Some(config) };
    let answer = client.jobs().create(request).await.unwrap();
    assert!(answer.result.is_some(), "{answer:?}");
}

async fn reads(client: &Client, id: &str) {
    let id = Some(JobId { value: id.to_owned() });
    let answer = client.jobs().get(job::GetRequest { id, ..Default::default() }).await.unwrap();
    assert_eq!(answer.result.unwrap().instance_count, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn masters_of_one_process_share_a_store_and_its_shards() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let (one, client_one) = start(&store).await;
    assert_eq!(owners(&client_one, &[&one]).await, vec![one.id(); 4]);
    let (two, client_two) = start(&store).await;
    let (three, client_three) = start(&store).await;
    let ids = BTreeSet::from([one.id(), two.id(), three.id()]);
    assert_eq!(ids.len(), 3, "{ids:?}");
    let addresses = BTreeSet::from([one.address(), two.address(), three.address()]);
    assert_eq!(addresses.len(), 3, "{addresses:?}");

    // Everybody gets some, and all masters say the same.
    for client in [&client_one, &client_two, &client_three] {
        even(client, &[&one, &two, &three]).await;
        let listed = status(client).await.masters;
        assert_eq!(listed.len(), 3, "{listed:?}");
        assert_eq!(listed.iter().filter(|master| master.answering).count(), 1);
        assert!(listed.iter().all(|master| master.accepting), "{listed:?}");
        assert!(listed.iter().all(|master| master.schema_version == 1), "{listed:?}");
        let me = listed.iter().find(|master| master.answering).unwrap();
        assert!(me.lease_left_ms.unwrap() > 0, "{me:?}");
    }
    for (number, writer) in [&client_one, &client_two, &client_three].into_iter().enumerate() {
        let id = format!("job-{number}");
        create(writer, &id).await;
        for reader in [&client_one, &client_two, &client_three] {
            reads(reader, &id).await;
        }
    }

    one.stop().await.unwrap();
    even(&client_two, &[&two, &three]).await;
    create(&client_three, "job-3").await;
    reads(&client_two, "job-3").await;
    three.stop().await.unwrap();
    assert_eq!(owners(&client_two, &[&two]).await, vec![two.id(); 4]);
    two.stop().await.unwrap();
    // Whoever opened it closes it.
    assert!(store.get(peloton_store::keys::meta_cluster()).await.unwrap().kv.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_master_has_its_own_health() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let (one, client) = start(&store).await;
    owners(&client, &[&one]).await;
    let (two, _) = start(&store).await;
    let told = |master: &Master| {
        let health = master.health();
        health.components.get("mesos").map(|part| part.message.clone()).unwrap_or_default()
    };
    let end = Instant::now() + PATIENCE;
    // Each speaks of its own shards.
    let two_of_its_own = |master: &Master| told(master).contains("0 of 2 shards are subscribed");
    while !two_of_its_own(&one) || !two_of_its_own(&two) {
        assert!(Instant::now() < end, "{:?} and {:?}", told(&one), told(&two));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    one.stop().await.unwrap();
    two.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = config(&[]);
    config.master.port = taken.local_addr().unwrap().port();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let error = Master::start(config.clone(), Some(store)).await.unwrap_err();
    let said = error.to_string();
    assert!(said.contains(&format!("127.0.0.1:{}", config.master.port)), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_opens_and_closes_the_store_that_it_is_told_of() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = config(&[]);
    config.store.path = directory.path().join("store");
    let master = Master::start(config.clone(), None).await.unwrap();
    let error = Master::start(config.clone(), None).await.unwrap_err();
    assert!(matches!(error, StartError::Embedded { .. }), "{error:?}");
    assert!(error.to_string().contains("store.path"), "{error}");
    master.stop().await.unwrap();
    // Closed, so it can be opened again.
    open_store(&config.store).await.unwrap().close().await;
    config.cluster.shards = 9;
    let error = Master::start(config, None).await.unwrap_err();
    assert!(error.to_string().contains("cluster.shards: 9 is not allowed"), "{error}");
}
