//! Mesos stops, whole, and comes back: the master says so, works on, and catches up by itself.

use std::time::Duration;

use peloton_testbed::Options;
use serde_json::json;

use crate::support::{Audit, Cluster, Job, PATIENCE, State, fault_lasts, wait_until};

/// How long Mesos is down.
const OUTAGE: Duration = Duration::from_secs(30);

#[test]
fn an_outage_of_mesos_loses_no_task_and_no_request() {
    let Some(mut mesos) = peloton_testbed::start(&Options::agents(2)) else { return };
    let cluster = Cluster::start(&mesos, "outage", &[]);
    let audit = Audit::new(&mesos, cluster.role());
    let old = Job::service(&cluster, "old", 4, "sleep 1000", json!({}));
    let doomed = Job::service(&cluster, "doomed", 2, "sleep 1000", json!({}));
    let before = old.wait_running(4);
    doomed.wait_running(2);

    mesos.kill_all();
    let processes = mesos.task_processes();
    wait_until("word of the outage in /health", PATIENCE, || {
        let health = cluster.health();
        let part = &health["components"]["mesos"];
        let message = part["message"].as_str().unwrap_or_default();
        let told = health["status"] == "degraded" && part["status"] == "degraded";
        let told = told && message.contains("Mesos") && message.contains(&mesos.address());
        if told { Ok(()) } else { Err(health.to_string()) }
    });
    // Degraded is no reason to send clients elsewhere: the API serves.
    assert_eq!(cluster.get("/health").unwrap().0, 200);
    let young = Job::service(&cluster, "young", 3, "sleep 1000", json!({}));
    doomed.call("Delete");
    old.tasks_call("Stop", 3, 3);
    fault_lasts(OUTAGE);
    // Reads go on, and what was not reached is not made up.
    assert_eq!(old.tasks().len(), 4);
    let waiting = young.tasks();
    assert!(waiting.values().all(|task| task.state < State::Launched), "{waiting:?}");
    let found = mesos.task_processes();
    assert!(processes.iter().all(|pid| found.contains(pid)), "a task ended in the outage");

    mesos.start_all().unwrap();
    wait_until("health after the outage", PATIENCE, || {
        let health = cluster.health();
        if health["status"] == "healthy" { Ok(()) } else { Err(health.to_string()) }
    });
    let running = State::Running;
    let after = old.wait_states(&[running, running, running, State::Killed]);
    for (number, task) in after.iter().take(3) {
        assert_eq!(task.id, before[number].id, "instance {number} goes on, in the same run");
        assert_eq!(task.runtime["startedAt"], before[number].runtime["startedAt"]);
    }
    let new = young.wait_running(3);
    doomed.wait_gone();
    let kept = after.values().take(3).chain(new.values());
    audit.wait_tasks(&kept.map(|task| task.id.clone()).collect());
    audit.wait_slots(7);
    let log = cluster.log();
    for part in ["degraded component=\"mesos\"", "healthy component=\"mesos\""] {
        assert!(log.contains(part), "the log has no {part}");
    }
    old.delete();
    young.delete();
    audit.wait_nothing_left();
    drop(cluster);
    mesos.stop().unwrap();
}
