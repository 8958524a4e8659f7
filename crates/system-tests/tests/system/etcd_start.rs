//! The master's start on etcd, as a person starts it: what it waits for, and what it refuses.

use std::fs;
use std::process::ExitStatus;

use peloton_testbed::etcd::{self, Etcd, EtcdOptions};
use serde_json::json;

use crate::support::{
    AnyMesos, CallError, Cluster, Job, Keys, Masters, PATIENCE, master_command, shared_mesos,
    wait_until,
};

/// A master on an etcd, not started yet.
fn master(mesos: &impl AnyMesos, role: &str, etcd: &Etcd, settings: &[&str]) -> Cluster {
    let mut all = Masters::settings(etcd, 2);
    all.extend(settings.iter().map(|setting| (*setting).to_owned()));
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    Cluster::stopped(mesos, role, &all)
}

/// Waits for the master to give up: what it said.
fn given_up(master: &mut Cluster) -> String {
    let status: ExitStatus = master.wait_ended();
    let said = master.log();
    assert_eq!(status.code(), Some(1), "{said}");
    said
}

/// Starts a master that must not stay.
fn refused(mut master: Cluster) -> String {
    master.launch();
    given_up(&mut master)
}

#[test]
fn a_prefix_has_one_cluster_with_its_number_of_shards() {
    let Some(mesos) = shared_mesos() else { return };
    let Some(etcd) = etcd::start(&EtcdOptions::members(1)) else { return };
    let mut first = master(mesos, "etcd-first", &etcd, &["cluster.name=first"]);
    first.launch();
    first.wait_healthy();
    let before = Job::service(&first, "stays", 2, "sleep 1000", json!({})).wait_running(2);

    let said =
        refused(master(mesos, "etcd-first", &etcd, &["cluster.name=first", "cluster.shards=3"]));
    assert!(said.contains("cluster.shards: 3 is not allowed"), "{said}");
    assert!(said.contains("was created with 2"), "{said}");
    let said = refused(master(mesos, "etcd-second", &etcd, &["cluster.name=second"]));
    assert!(said.contains("cluster.name: \"second\" is not allowed"), "{said}");
    assert!(said.contains("\"first\""), "{said}");

    // Beside it, under another prefix, is room; and neither knows of the other.
    let settings = ["cluster.name=second", "store.prefix=/second"];
    let mut second = master(mesos, "etcd-second", &etcd, &settings);
    second.launch();
    second.wait_healthy();
    assert!(Job::of(&second, "stays").call("GetStatus")["notFound"].is_object());
    let job = Job::of(&first, "stays");
    let after = job.wait_running(2);
    assert!(after.values().map(|task| &task.id).eq(before.values().map(|task| &task.id)));
    job.delete();
    for mut master in [first, second] {
        assert!(master.terminate().success());
    }
}

#[test]
fn a_newer_schema_is_refused_and_ends_masters_that_run() {
    let Some(mesos) = shared_mesos() else { return };
    let Some(etcd) = etcd::start(&EtcdOptions::members(1)) else { return };
    let keys = Keys::new(&etcd, "/peloton");
    let newer = |said: &str| said.contains("schema version 2") && said.contains("up to 1");
    let mut one = master(mesos, "etcd-schema", &etcd, &[]);
    one.launch();
    one.wait_healthy();
    assert_eq!(keys.get("meta/schema").unwrap().value, "1");

    keys.put("meta/schema", "2");
    let said = given_up(&mut one);
    assert!(newer(&said), "{said}");
    assert_eq!(keys.get("own/0000"), None, "it gave its shards up before it ended");
    let said = refused(master(mesos, "etcd-schema", &etcd, &[]));
    assert!(newer(&said), "{said}");
    assert_eq!(keys.get("meta/schema").unwrap().value, "2", "nobody wrote it back");

    keys.put("meta/schema", "here lives somebody else");
    let said = refused(master(mesos, "etcd-schema", &etcd, &[]));
    assert!(said.contains("here lives somebody else"), "{said}");

    // As the first releases left it.
    keys.delete("meta/schema");
    one.launch();
    one.wait_healthy();
    assert_eq!(keys.get("meta/schema").unwrap().value, "1");
    assert!(one.terminate().success());
}

#[test]
fn a_master_waits_for_etcd_and_says_so() {
    let Some(mesos) = shared_mesos() else { return };
    let Some(mut etcd) = etcd::start(&EtcdOptions::members(1)) else { return };
    etcd.kill(0).unwrap();
    let endpoint = etcd.endpoints().remove(0);
    let mut one = master(mesos, "etcd-away", &etcd, &[]);
    one.launch();
    one.wait_answering();
    wait_until("word of the store in /health", PATIENCE, || {
        let (status, text) = one.get("/health")?;
        let health = one.health();
        let message = health["components"]["store"]["message"].as_str().unwrap_or_default();
        let told = status == 503 && message.contains(&endpoint);
        if told { Ok(()) } else { Err(text) }
    });
    for (procedure, body) in
        [("JobManager.Query", json!({})), ("JobManager.Delete", json!({"id": {"value": "any"}}))]
    {
        match one.try_yarpc(procedure, &body) {
            Err(CallError::Refused(_, code, text)) => {
                assert!(code.contains("unavailable"), "{procedure}: {code}: {text}");
                assert!(text.contains("store unavailable"), "{procedure}: {text}");
            }
            other => panic!("{procedure} without a store: {other:?}"),
        }
    }
    // Whoever asks for nothing but the status is told.
    let status = one.yarpc("ClusterManager.GetStatus", json!({}));
    assert_eq!(status["result"]["store"]["type"], "etcd", "{status}");
    assert!(!status["result"]["store"]["healthy"].as_bool().unwrap_or_default(), "{status}");
    assert!(one.terminate().success(), "SIGTERM ends a master that waits");

    one.launch();
    one.wait_answering();
    etcd.start_member(0).unwrap();
    one.wait_healthy();
    let job = Job::service(&one, "late", 1, "sleep 1000", json!({}));
    job.wait_running(1);
    job.delete();
    let log = one.log();
    assert!(log.contains("the store is not there; it is tried again"), "{log}");
    assert!(log.contains("the store is there"), "{log}");
    assert!(one.terminate().success());
}

#[test]
fn a_user_of_etcd_needs_the_right_password() {
    let Some(mesos) = shared_mesos() else { return };
    let Some(etcd) = etcd::start(&EtcdOptions::members(1)) else { return };
    for (path, body) in [
        ("role/add", json!({"name": "root"})),
        ("user/add", json!({"name": "root", "password": "right"})),
        ("user/grant", json!({"user": "root", "role": "root"})),
        ("enable", json!({})),
    ] {
        etcd.post(0, &format!("/v3/auth/{path}"), &body).unwrap();
    }
    let files = tempfile::tempdir().unwrap();
    let user = |password: &str| {
        let file = files.path().join(password);
        fs::write(&file, format!("{password}\n")).unwrap();
        let file = format!("store.passwordFile={}", file.display());
        master(mesos, "etcd-user", &etcd, &["store.user=root", &file])
    };
    let said = refused(master(mesos, "etcd-user", &etcd, &[]));
    assert!(said.contains("store.endpoints"), "{said}");
    assert!(said.contains("asks for a user and a password"), "{said}");
    let said = refused(user("wrong"));
    assert!(said.contains("invalid user ID or password"), "{said}");
    let mut one = user("right");
    one.launch();
    one.wait_healthy();
    assert!(one.terminate().success());
}

#[test]
fn what_is_wrong_with_the_settings_of_etcd_is_named() {
    let cases: [(&[&str], &str); 5] = [
        (&[], "store.type needs store.endpoints"),
        (&["store.endpoints=etcd:2379"], "store.endpoints"),
        (
            &["store.endpoints=https://a:1", "store.certFile=c"],
            "store.certFile needs store.keyFile",
        ),
        (&["store.endpoints=http://a:1", "store.user=u"], "store.user needs store.passwordFile"),
        (&["store.endpoints=http://a:1", "store.prefix=/a/"], "store.prefix"),
    ];
    for (settings, wanted) in cases {
        let mut command = master_command();
        for setting in [&["store.type=etcd"], settings].concat() {
            command.args(["--set", setting]);
        }
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{settings:?}: {said}");
        assert!(said.contains(wanted), "{settings:?}: {said}");
    }
}
