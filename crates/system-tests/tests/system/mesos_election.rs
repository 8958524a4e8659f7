//! Three real Mesos masters elect a leader through a real ZooKeeper, and the master follows.

use std::collections::BTreeMap;

use peloton_testbed::{Election, Mesos, Options, zookeeper};
use serde_json::{Value, json};

use crate::support::{AnyMesos, Audit, Cluster, Job, PATIENCE, Task, master_command, wait_until};

/// One of several Mesos masters.
struct OneMaster(String);

impl AnyMesos for OneMaster {
    fn address(&self) -> String {
        self.0.clone()
    }
}

/// The Mesos master that leads, by its own word.
fn leader(mesos: &Mesos) -> (usize, OneMaster) {
    let leader = mesos.wait_for_leader().unwrap();
    (leader, OneMaster(mesos.master_addresses()[leader].clone()))
}

fn status(cluster: &Cluster) -> Value {
    cluster.yarpc("ClusterManager.GetStatus", json!({}))["result"].clone()
}

/// Waits until all shards are subscribed, with the Mesos master that leads: which it is.
fn wait_following(cluster: &Cluster, mesos: &Mesos) -> usize {
    const SUBSCRIBED: u64 = 4;
    wait_until("all shards at the leader", PATIENCE, || {
        let (number, leader) = leader(mesos);
        let shown = status(cluster);
        let shards = shown["shards"].as_array().map(Vec::as_slice).unwrap_or_default();
        let all = shards.iter().all(|shard| shard["connection"] == SUBSCRIBED);
        let there = all && shown["mesos"]["leader"] == leader.0;
        if there { Ok(number) } else { Err(shown.to_string()) }
    })
}

/// The same tasks, in the same runs.
fn go_on(job: &Job<'_>, before: &BTreeMap<u32, Task>) {
    for (number, task) in job.wait_running(before.len()) {
        assert_eq!(task.id, before[&number].id);
        assert_eq!(task.runtime["startedAt"], before[&number].runtime["startedAt"]);
    }
}

#[test]
fn the_leading_mesos_master_is_followed_through_zookeeper() {
    let Some(mut ensemble) = zookeeper::start(1) else { return };
    let options =
        Options { election: Some(Election::new(ensemble.url(), 3)), ..Options::agents(2) };
    let Some(mut mesos) = peloton_testbed::start(&options) else { return };
    let zk = format!("mesos.zk={}", ensemble.url());
    let nobody = OneMaster("127.0.0.1:1".to_owned());
    let mut cluster = Cluster::stopped(&nobody, "election", &[&zk]);
    cluster.launch();
    cluster.wait_answering();
    let first = wait_following(&cluster, &mesos);
    let shown = status(&cluster)["mesos"].clone();
    assert_eq!(shown["foundBy"], "zookeeper", "{shown}");
    assert_eq!(shown["foundIn"], ensemble.url(), "{shown}");
    let job = |id, instances| Job::service(&cluster, id, instances, "sleep 1000", json!({}));
    let old = job("old", 4);
    let before = old.wait_running(4);

    // The leader dies.
    mesos.kill_one_master(first).unwrap();
    let young = job("young", 2);
    young.wait_running(2);
    assert_ne!(wait_following(&cluster, &mesos), first);
    go_on(&old, &before);
    mesos.start_all().unwrap();

    // ZooKeeper and all Mesos masters are away, and come back.
    ensemble.kill(0).unwrap();
    mesos.kill_master();
    wait_until("word of it in /health", PATIENCE, || {
        let health = cluster.health();
        if health["components"]["mesos"]["status"] == "degraded" {
            Ok(())
        } else {
            Err(health.to_string())
        }
    });
    let late = job("late", 1);
    ensemble.start_all().unwrap();
    mesos.start_all().unwrap();
    late.wait_running(1);
    go_on(&old, &before);

    let (_, leader) = leader(&mesos);
    let audit = Audit::new(&leader, cluster.role());
    audit.wait_slots(7);
    for one in [old, young, late] {
        one.delete();
    }
    audit.wait_nothing_left();
}

#[test]
fn a_zookeeper_that_cannot_be_is_refused_by_name_and_without_its_password() {
    let check = |url: &str| {
        let zk = format!("mesos.zk={url}");
        let output = master_command().args(["--check-config", "--set", &zk]).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).unwrap())
    };
    let (good, text) = check("zk://me:geheim@a:2181,b:2181/mesos");
    assert!(good, "{text}");
    assert!(text.contains("zk://***@a:2181,b:2181/mesos"), "{text}");
    let (good, text) = check("zk://me:geheim@a,b:2181/mesos");
    assert!(!good, "{text}");
    assert!(
        text.contains("mesos.zk cannot be \"zk://***@a,b:2181/mesos\"; allowed: zk://"),
        "{text}"
    );
    assert!(!text.contains("geheim"), "{text}");
}
