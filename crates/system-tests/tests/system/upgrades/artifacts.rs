//! A rollback needs nothing of those who serve artifacts.

use std::fs;

use serde_json::json;

use super::{assert_at_home, options, restarted};
use crate::support::{
    Audit, Cluster, FileServer, Job, PATIENCE, Upgrade, config, shared_mesos, wait_until,
};

/// A service that shows what it has fetched, and then does `rest`.
fn showing(server: &FileServer, path: &str, rest: &str) -> serde_json::Value {
    let uris = json!([{"value": server.url(path), "outputFile": "artifact"}]);
    let command = format!("cat artifact; {rest}");
    config(4, "", json!({"command": {"value": command, "uris": uris}}))
}

#[test]
fn a_rollback_needs_no_artifact_server() {
    let Some(mesos) = shared_mesos() else { return };
    let cluster = Cluster::start(mesos, "artifacts", &[]);
    let audit = Audit::new(mesos, cluster.role());
    let server = FileServer::start(&[("/old", "the old artifact\n"), ("/new", "the new one\n")]);
    let job = Job::create(&cluster, "artifacts", &showing(&server, "/old", "exec sleep 1000"));
    let before = job.wait_running(4);
    audit.wait_slots(4);
    let places = audit.places().unwrap();

    // The last one fails, when the server is gone and others have their new version.
    let fail = cluster.directory().join("fail");
    let waits = format!("while test ! -e {}; do sleep 0.1; done; exit 1", fail.display());
    let rest = format!("test $PELOTON_INSTANCE_ID = 3 && {{ {waits}; }}; exec sleep 2000");
    let slow = json!({"minHealthySecs": 2});
    let bad = Upgrade::create(&job, &showing(&server, "/new", &rest), options(2, slow));
    bad.wait_done(&cluster, 2);
    wait_until("the last instance's new version", PATIENCE, || {
        let task = job.task(3);
        let there = task.runtime["configVersion"] == 2 && task.runtime["state"] == 4;
        if there { Ok(()) } else { Err(task.runtime.to_string()) }
    });
    let asked = server.asked();
    assert!(asked.contains(&"GET /old".to_owned()) && asked.contains(&"GET /new".to_owned()));
    let url = server.url("/old");
    drop(server);
    let refused =
        std::net::TcpStream::connect(url.trim_start_matches("http://").trim_end_matches("/old"));
    assert!(refused.is_err(), "the server is gone");
    fs::write(&fail, "").unwrap();

    bad.wait(&cluster, "ROLLED_BACK");
    let after = assert_at_home(&job, &before, 4, 1);
    assert_eq!(restarted(&before, &after).len(), 4, "each has fetched anew");
    for (number, task) in &after {
        let shown = fs::read_to_string(mesos.sandbox(&task.id).join("stdout")).unwrap();
        let same = shown.lines().any(|line| line == "the old artifact");
        assert!(same, "instance {number} got {shown}");
    }
    audit.wait_places(&places);
    audit.wait_tasks(&after.into_values().map(|task| task.id).collect());
    job.delete();
    audit.wait_nothing_left();
}
