//! etcd without a quorum: tasks run on, nothing is made up, everybody is told, and it heals by itself.

#![allow(clippy::print_stdout, reason = "how long an answer takes is shown, not asserted")]

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{
    Audit, CallError, History, Job, Masters, Notes, PATIENCE, State, config, fault_lasts,
    shared_mesos, wait_until,
};

/// How long the quorum is lost, after everything that is to be seen of it was seen.
const LOST_FOR: Duration = Duration::from_secs(8);

/// Asserts that a call is answered in time, with word of the store.
fn unavailable(masters: &Masters, master: usize, procedure: &str, body: &Value) {
    let began = Instant::now();
    match masters[master].try_yarpc(procedure, body) {
        Err(CallError::Refused(_, code, text)) => {
            assert!(code.contains("unavailable"), "{procedure}: {code}: {text}");
            assert!(text.contains("store unavailable"), "{procedure}: {text}");
        }
        other => panic!("{procedure} without a quorum: {other:?}"),
    }
    println!("{procedure} of master {master}: unavailable after {:?}", began.elapsed());
}

/// Waits until a master's status tells this of the store: how many of its members are well, and whether
/// they have a quorum, by the number that the API has for it.
fn wait_store(masters: &Masters, master: usize, healthy: usize, quorum: u64) {
    wait_until("the store's members in the status", PATIENCE, || {
        let status = masters[master].yarpc("ClusterManager.GetStatus", json!({}));
        let store = &status["result"]["store"];
        let endpoints = store["endpoints"].as_array().cloned().unwrap_or_default();
        let well = endpoints.iter().filter(|one| one["healthy"] == true).count();
        let told = endpoints.len() == 3 && well == healthy && store["quorum"] == quorum;
        if told { Ok(()) } else { Err(store.to_string()) }
    });
}

/// The numbers by which the API says it.
const PRESENT: u64 = 1;
const LOST: u64 = 2;

#[test]
fn without_a_quorum_tasks_run_on_and_nothing_is_made_up() {
    let Some(mesos) = shared_mesos() else { return };
    let Some(mut masters) = Masters::start(mesos, "etcd-quorum", 8) else { return };
    let audit = Audit::new(mesos, "etcd-quorum");
    let notes = Notes::new();
    let signal = tempfile::tempdir().unwrap();
    let end = signal.path().join("end");
    let until = format!("until test -e {}; do sleep 0.1; done", end.display());
    Job::service(&masters[0], "runs", 4, &notes.service(), json!({})).wait_running(4);
    Job::service(&masters[1], "ends", 2, &until, json!({"type": "BATCH"})).wait_running(2);
    let tasks = wait_until("a note of every task", PATIENCE, || {
        let started = notes.started();
        if started.len() == 4 { Ok(started) } else { Err(format!("{started:?}")) }
    });
    let ending: BTreeSet<String> =
        Job::of(&masters[2], "ends").tasks().into_values().map(|task| task.id).collect();

    wait_store(&masters, 0, 3, PRESENT);
    let metrics = masters[0].get("/metrics").unwrap().1;
    for line in ["peloton_cluster_masters 3", "peloton_cluster_shards_free 0"] {
        assert!(metrics.lines().any(|found| found == line), "no {line} in {metrics}");
    }

    // The leader among them, or not: which that is does not matter.
    masters.etcd.kill(1).unwrap();
    masters.etcd.kill(2).unwrap();
    // What ends now, masters still hear of, as their leases are certain for a moment. It cannot be stored,
    // so Mesos must not hear that it was.
    fs::write(&end, "").unwrap();
    let named = |id: &str| json!({"id": {"value": id}});
    for master in 0..3 {
        unavailable(&masters, master, "JobManager.Get", &named("runs"));
    }
    unavailable(&masters, 0, "JobManager.Delete", &named("nobody"));
    let new = json!({"id": {"value": "new"}, "config": config(1, "sleep 1000", json!({}))});
    unavailable(&masters, 1, "JobManager.Create", &new);
    wait_until("word of the store in /health", PATIENCE, || {
        let health = masters[0].health();
        let down = health["components"]["store"]["status"] == "down";
        if down { Ok(()) } else { Err(health.to_string()) }
    });

    // The one that is left knows no leader, so it is not well either.
    wait_store(&masters, 0, 0, LOST);

    let unacknowledged = |what: &str| {
        wait_until(what, PATIENCE, || {
            let found = audit.tasks()?;
            let finished = |id: &String| found.get(id).is_some_and(|s| s == "TASK_FINISHED");
            if ending.iter().all(finished) { Ok(()) } else { Err(format!("{found:?}")) }
        });
    };
    unacknowledged("ends that nobody acknowledged");
    fault_lasts(LOST_FOR);
    unacknowledged("ends that nobody has acknowledged yet");
    notes.assert_same(&tasks);

    masters.etcd.start_member(1).unwrap();
    masters.etcd.start_member(2).unwrap();
    let back = Instant::now();
    let (_, time) = masters.measure_served(&[0, 1, 2], back);
    println!("all shards are served {time:?} after the members were started");
    for master in 0..3 {
        masters.wait_healthy(master);
    }
    masters.wait_even(&[0, 1, 2]);
    wait_store(&masters, 0, 3, PRESENT);
    Job::of(&masters[2], "ends").wait_states(&[State::Succeeded; 2]);
    // The answer left open whether it was made; whichever it was, it is so on all of them.
    let is_made =
        |master: usize| Job::of(&masters[master], "new").call("GetStatus")["result"].is_object();
    let made: Vec<bool> = (0..3).map(is_made).collect();
    assert!(made.iter().all(|one| *one == made[0]), "{made:?}");
    if made[0] {
        Job::of(&masters[0], "new").delete();
    }
    let runs = Job::of(&masters[1], "runs").wait_running(4);
    audit.wait_tasks(&runs.into_values().map(|task| task.id).collect());
    audit.wait_slots(4);
    notes.assert_same(&tasks);
    for job in ["runs", "ends"] {
        Job::of(&masters[0], job).delete();
    }
    audit.wait_nothing_left();
    let history = History::audited(masters.keys());
    println!("{} commits under {} claims", history.commits.len(), history.claims.len());
}
