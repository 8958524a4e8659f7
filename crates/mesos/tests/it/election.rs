//! Three real Mesos masters that elect a leader through a real ZooKeeper.

use crate::support::{Client, DEADLINE, options};
use peloton_mesos::{Found, Masters, NotReached, Options, Probe, ZooKeeper, calls};
use peloton_proto::mesos::v1::TaskState;
use peloton_testbed::{Election, Mesos, Options as MesosOptions, zookeeper};
use std::time::Duration;
use tokio::task::{block_in_place, spawn_blocking};

/// Three masters, one agent, one ZooKeeper; `None` where there can be no such thing.
async fn start() -> Option<(zookeeper::ZooKeeper, Mesos)> {
    let starting = || {
        let zookeeper = zookeeper::start(1)?;
        let mut options = MesosOptions::agents(1);
        options.election = Some(Election::new(zookeeper.url(), 3));
        let mesos = peloton_testbed::start(&options)?;
        mesos.wait_for_leader().unwrap();
        Some((zookeeper, mesos))
    };
    spawn_blocking(starting).await.unwrap()
}

fn through(zookeeper: &zookeeper::ZooKeeper) -> Options {
    let zookeeper = ZooKeeper::parse(&zookeeper.url()).unwrap();
    Options { masters: Masters::ZooKeeper(zookeeper), ..options(&[]) }
}

async fn runs(client: &mut Client, epoch: u64, task: &str) {
    client.handle.submit(epoch, calls::reconcile(vec![])).unwrap();
    client.task_status(task, TaskState::TaskRunning).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_is_followed_through_zookeeper() {
    let Some((mut zookeeper, mut mesos)) = start().await else { return };
    let addresses = mesos.master_addresses();
    let options = through(&zookeeper);
    let probe = Probe::new(&options).unwrap();
    let mut client = Client::spawn(options, None);
    let first = client.subscribed().await;
    let leader = block_in_place(|| mesos.wait_for_leader()).unwrap();
    assert_eq!(first.leader, addresses[leader]);
    assert_eq!(probe.reach(DEADLINE).await.unwrap().leader, addresses[leader]);
    let found = client.handle.status().connection.found;
    assert!(matches!(found, Some(Found::ZooKeeper { .. })), "{found:?}");
    crate::real::run_task(&mut client, first.epoch, "peloton/0", "t-1").await;

    // The leading master dies.
    block_in_place(|| mesos.kill_one_master(leader)).unwrap();
    assert_eq!(client.disconnected().await.0, first.epoch);
    let second = client.subscribed().await;
    assert_eq!(second.framework_id, first.framework_id);
    assert_ne!(second.leader, first.leader);
    client.offer().await;
    runs(&mut client, second.epoch, "t-1").await;

    // ZooKeeper starts again, within the session time-out: nothing happens to the election.
    block_in_place(|| mesos.start_all()).unwrap();
    zookeeper.kill(0).unwrap();
    block_in_place(|| zookeeper.start_all()).unwrap();

    // ZooKeeper is silent until all masters have given themselves up, and nobody leads.
    zookeeper.pause(0, true).unwrap();
    client.disconnected().await;
    zookeeper.pause(0, false).unwrap();
    block_in_place(|| mesos.kill_master());
    client
        .status_is("told that nobody leads", |status| {
            let zookeeper = status.zookeeper.as_ref().unwrap();
            zookeeper.server.is_some() && zookeeper.leader.is_none()
        })
        .await;
    let error = probe.reach(DEADLINE).await.unwrap_err();
    assert!(matches!(error, NotReached::NoLeader(_)), "{error}");
    block_in_place(|| mesos.start_master()).unwrap();
    let third = client.subscribed().await;
    client.offer().await;
    runs(&mut client, third.epoch, "t-1").await;
    let status = client.handle.status();
    assert_eq!(status.calls_rejected, 0, "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_is_followed_through_a_list_and_redirects() {
    let Some((_zookeeper, mut mesos)) = start().await else { return };
    let addresses = mesos.master_addresses();
    let leader = block_in_place(|| mesos.wait_for_leader()).unwrap();
    // Those that do not lead come first.
    let mut list: Vec<String> = addresses.clone();
    list.rotate_left((leader + 1) % 3);
    let probe = Probe::new(&options(&list)).unwrap();
    let mut client = Client::spawn(options(&list), None);
    let first = client.subscribed().await;
    assert_eq!(first.leader, addresses[leader]);
    let from = list[0].clone();
    assert_eq!(client.handle.status().connection.found, Some(Found::Redirect { from }));
    assert_eq!(probe.reach(DEADLINE).await.unwrap().leader, addresses[leader]);
    crate::real::run_task(&mut client, first.epoch, "peloton/0", "t-1").await;

    block_in_place(|| mesos.kill_one_master(leader)).unwrap();
    assert_eq!(client.disconnected().await.0, first.epoch);
    let second = client.subscribed().await;
    assert_ne!(second.leader, first.leader);
    client.offer().await;
    runs(&mut client, second.epoch, "t-1").await;
    assert_eq!(probe.reach(DEADLINE).await.unwrap().leader, second.leader);

    block_in_place(|| mesos.kill_master());
    let error = probe.reach(DEADLINE).await.unwrap_err();
    assert!(matches!(error, NotReached::Failed { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_does_not_wait_for_a_master_that_is_silent() {
    let Some((_zookeeper, mut mesos)) = start().await else { return };
    let leader = block_in_place(|| mesos.wait_for_leader()).unwrap();
    let list = [mesos.master_addresses()[leader].clone()];
    let probe = Probe::new(&options(&list)).unwrap();
    mesos.pause_master(leader, true).unwrap();
    let error = probe.reach(Duration::from_millis(200)).await.unwrap_err();
    assert!(error.to_string().ends_with("no answer within 200 ms"), "{error}");
    mesos.pause_master(leader, false).unwrap();
}
