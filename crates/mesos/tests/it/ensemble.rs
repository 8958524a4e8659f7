//! A real ZooKeeper with nodes that the test writes: changes of leader at the moment that the test wants.

use crate::peer::Peer;
use crate::support::{Client, DEADLINE, options};
use crate::writer::{Acl, Writer};
use peloton_mesos::{
    ClientState, Detected, DetectorOptions, Found, Masters, NotReached, Options, Probe, Reason,
    Url, ZooKeeper,
};
use peloton_testbed::zookeeper;
use std::time::{Duration, Instant};
use tokio::task::{block_in_place, spawn_blocking};
use tokio::time::timeout;

/// A heartbeat interval beyond any test's length.
const QUIET: f64 = 600.0;

/// A ZooKeeper of so many servers; the test is over where there can be none.
macro_rules! zookeeper {
    ($servers:expr) => {
        match spawn_blocking(|| zookeeper::start($servers)).await.unwrap() {
            Some(zookeeper) => zookeeper,
            None => return,
        }
    };
}

fn handle(url: &str) -> ZooKeeper {
    let options = DetectorOptions {
        session_timeout_ms: 3_000,
        backoff_min_ms: 20,
        backoff_max_ms: 500,
        ..DetectorOptions::new(Url::parse(url).unwrap())
    };
    ZooKeeper::new(options)
}

fn through(zookeeper: &ZooKeeper) -> Options {
    Options { masters: Masters::ZooKeeper(zookeeper.clone()), ..options(&[]) }
}

async fn until(zookeeper: &ZooKeeper, what: &str, wanted: impl Fn(&Detected) -> bool) -> Detected {
    let mut watch = zookeeper.watch();
    match timeout(DEADLINE, watch.wait_for(|now| wanted(now))).await {
        Ok(found) => found.unwrap().clone(),
        Err(_) => panic!("never {what}: {:?}", zookeeper.detected()),
    }
}

async fn leads(zookeeper: &ZooKeeper, address: &str) -> Detected {
    until(zookeeper, address, |now| {
        now.leader.as_ref().is_some_and(|leader| leader.address.to_string() == address)
    })
    .await
}

fn node(writer: &mut Writer, address: &str) -> String {
    try_node(writer, address).unwrap()
}

fn try_node(writer: &mut Writer, address: &str) -> std::io::Result<String> {
    let (host, port) = address.rsplit_once(':').unwrap();
    let info = format!(
        r#"{{"address":{{"hostname":"{host}","ip":"{host}","port":{port}}},"id":"x","port":{port}}}"#
    );
    writer.create_in_sequence("/mesos/json.info_", &info)
}

/// Leaves one master; tried until it succeeds, since servers close connections while they elect.
fn lead_alone(servers: &[String], address: &str) {
    let lead = |server: &String| -> std::io::Result<()> {
        let mut writer = Writer::connect(server, None)?;
        for child in writer.children("/mesos")? {
            writer.delete(&format!("/mesos/{child}"))?;
        }
        try_node(&mut writer, address).map(drop)
    };
    let deadline = Instant::now() + DEADLINE;
    while servers.iter().all(|server| lead(server).is_err()) {
        assert!(Instant::now() < deadline, "no server takes writes");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_leader_ends_a_stream_that_works_and_nobody_leading_does_not() {
    let servers = zookeeper!(1);
    let zookeeper = handle(&servers.url());
    let mut client = Client::spawn(through(&zookeeper), None);
    until(&zookeeper, "asked", |now| now.asked).await;
    assert_eq!(zookeeper.detected().leader, None);
    client
        .status_is("told that nobody leads", |status| {
            let problem = status.connection.last_problem.as_deref();
            problem == Some("ZooKeeper: no Mesos master leads")
        })
        .await;

    let (first, second) = (Peer::listen().await, Peer::listen().await);
    let mut writer = Writer::connect(&servers.addresses()[0], None).unwrap();
    // Neither path nor masters are there yet, and other nodes may be.
    writer.create("/mesos", Acl::Open).unwrap();
    writer.create("/mesos/log_replicas", Acl::Open).unwrap();
    let one = node(&mut writer, &first.address());
    let mut stream = first.accept_session(QUIET).await;
    let subscribed = client.subscribed().await;
    assert_eq!(subscribed.leader, first.address());
    let status = client.handle.status();
    let name = one.rsplit('/').next().unwrap().to_owned();
    assert_eq!(status.connection.found, Some(Found::ZooKeeper { node: name }));
    let detected = status.zookeeper.unwrap();
    assert_eq!(detected.server, Some(servers.addresses()[0].clone()));
    assert_eq!(detected.last_problem, None);

    // The next one in the row leads as soon as the first is gone.
    node(&mut writer, &second.address());
    writer.delete(&one).unwrap();
    let (epoch, reason) = client.disconnected().await;
    assert_eq!(epoch, subscribed.epoch);
    let expected = second.address();
    assert!(
        matches!(&reason, Reason::LeaderChanged { leader } if leader.to_string() == expected),
        "{reason}"
    );
    stream.closed().await;
    let mut stream = second.accept_session(QUIET).await;
    let subscribed = client.subscribed().await;
    assert_eq!(subscribed.leader, second.address());

    // Nobody leads: the stream is kept, and works.
    for child in writer.children("/mesos").unwrap() {
        if child.starts_with("json.info_") {
            writer.delete(&format!("/mesos/{child}")).unwrap();
        }
    }
    until(&zookeeper, "nobody leads", |now| now.leader.is_none()).await;
    stream.event(&crate::peer::message("still here")).await;
    client.event("MESSAGE", |event| event.message).await;
    let epoch = client.handle.status().connection.epoch;
    assert_eq!(epoch, Some(subscribed.epoch));
    // The same master, elected again, changes nothing for a stream to it.
    node(&mut writer, &second.address());
    leads(&zookeeper, &second.address()).await;
    stream.event(&crate::peer::message("still here")).await;
    client.event("MESSAGE", |event| event.message).await;
    assert_eq!(client.handle.status().connection.epoch, Some(subscribed.epoch));
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_share_a_session_and_the_last_one_ends_it() {
    let servers = zookeeper!(1);
    let mut writer = Writer::connect(&servers.addresses()[0], None).unwrap();
    writer.create("/mesos", Acl::Open).unwrap();
    let master = Peer::listen().await;
    node(&mut writer, &master.address());
    let clients = || servers.ask(0, "cons").unwrap().lines().filter(|l| l.contains("sid=")).count();
    let zookeeper = handle(&servers.url());
    let mut first = Client::spawn(through(&zookeeper), None);
    let _one = master.accept_session(QUIET).await;
    first.subscribed().await;
    // What is known already is news to the next client.
    let mut second = Client::spawn(through(&zookeeper), None);
    let _two = master.accept_session(QUIET).await;
    second.subscribed().await;
    assert_eq!(block_in_place(clients), 2, "the writer's and ours");
    drop(first);
    second.handle.stop().await;
    drop((second, zookeeper));
    let gone = async {
        while block_in_place(clients) > 1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(DEADLINE, gone).await.expect("our session is still there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zookeeper_that_is_away_keeps_the_leader_and_comes_back() {
    let mut servers = zookeeper!(1);
    let master = Peer::listen().await;
    let mut writer = Writer::connect(&servers.addresses()[0], None).unwrap();
    writer.create("/mesos", Acl::Open).unwrap();
    node(&mut writer, &master.address());
    drop(writer);
    // Absent at the start.
    servers.kill(0).unwrap();
    let zookeeper = handle(&servers.url());
    let mut client = Client::spawn(through(&zookeeper), None);
    let probe = Probe::new(&through(&zookeeper)).unwrap();
    until(&zookeeper, "a problem", |now| now.last_problem.is_some()).await;
    assert!(!zookeeper.detected().asked);
    let error = probe.reach(DEADLINE).await.unwrap_err();
    assert!(matches!(&error, NotReached::NoLeader(why) if why.contains("ZooKeeper")), "{error}");
    client
        .status_is("told why", |status| {
            let problem = status.connection.last_problem.as_deref().unwrap_or_default();
            problem.starts_with("ZooKeeper: 127.0.0.1:")
                && matches!(status.connection.state, ClientState::Disconnected { .. })
        })
        .await;
    block_in_place(|| servers.start_server(0)).unwrap();
    let mut stream = master.accept_session(QUIET).await;
    let subscribed = client.subscribed().await;

    // Killed, and paused until the session has run out: what is known stays, and so does the stream.
    for paused in [false, true] {
        if paused {
            servers.pause(0, true).unwrap();
        } else {
            servers.kill(0).unwrap();
        }
        let away = until(&zookeeper, "away", |now| now.server.is_none()).await;
        assert!(away.leader.is_some(), "{away:?}");
        stream.event(&crate::peer::message("still here")).await;
        client.event("MESSAGE", |event| event.message).await;
        if paused {
            servers.pause(0, false).unwrap();
        } else {
            block_in_place(|| servers.start_server(0)).unwrap();
        }
        let back = until(&zookeeper, "back", |now| now.server.is_some()).await;
        assert_eq!(back.last_problem, None);
    }
    assert_eq!(client.handle.status().connection.epoch, Some(subscribed.epoch));

    // A stream that breaks while ZooKeeper is away is tried again at the leader that was.
    servers.kill(0).unwrap();
    until(&zookeeper, "away", |now| now.server.is_none()).await;
    drop(stream);
    let _stream = master.accept_session(QUIET).await;
    assert_eq!(client.subscribed().await.leader, master.address());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_servers_one_that_is_silent_or_gone_is_left() {
    let mut servers = zookeeper!(3);
    let addresses = servers.addresses();
    let number = |server: &str| addresses.iter().position(|one| one == server).unwrap();
    let mut writer = Writer::connect(&addresses[0], None).unwrap();
    writer.create("/mesos", Acl::Open).unwrap();
    let zookeeper = handle(&servers.url());
    let found = until(&zookeeper, "asked", |now| now.asked).await;
    let mut used = number(&found.server.unwrap());
    for round in 0..3_u16 {
        // Paused twice, so that the session runs out unseen, then killed.
        let paused = round < 2;
        if paused {
            servers.pause(used, true).unwrap();
        } else {
            servers.kill(used).unwrap();
        }
        let others: Vec<String> =
            addresses.iter().filter(|one| **one != addresses[used]).cloned().collect();
        let leader = format!("127.0.0.1:{}", 5_050 + round);
        block_in_place(|| lead_alone(&others, &leader));
        let now = leads(&zookeeper, &leader).await;
        let now = number(&now.server.unwrap());
        assert_ne!(now, used);
        if paused {
            servers.pause(used, false).unwrap();
        } else {
            block_in_place(|| servers.start_server(used)).unwrap();
        }
        block_in_place(|| servers.wait_until_serving(used)).unwrap();
        used = now;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_open_what_is_closed_to_others() {
    let servers = zookeeper!(1);
    let server = &servers.addresses()[0];
    let mut writer = Writer::connect(server, Some("me:geheim")).unwrap();
    writer.create("/mesos", Acl::Mine).unwrap();
    let master = Peer::listen().await;
    node(&mut writer, &master.address());
    for url in [servers.url(), format!("zk://me:falsch@{server}/mesos")] {
        let zookeeper = handle(&url);
        let refused = until(&zookeeper, "refused", |now| now.last_problem.is_some()).await;
        let problem = refused.last_problem.unwrap();
        assert!(problem.ends_with("no permission to read /mesos"), "{problem}");
        assert_eq!(refused.leader, None);
    }
    let zookeeper = handle(&format!("zk://me:geheim@{server}/mesos"));
    leads(&zookeeper, &master.address()).await;
    assert!(!format!("{zookeeper:?}").contains("geheim"));
}
