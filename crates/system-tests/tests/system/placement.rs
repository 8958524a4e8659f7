//! Where instances go, and what is said of those that can go nowhere.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{Audit, Cluster, Job, PATIENCE, State, shared_mesos, wait_until};

fn constrained(constraint: Value) -> Value {
    json!({"placement": {"constraints": [constraint]}})
}

/// Waits until a job tells that its instances wait for what `lacking` says.
fn wait_lacking(job: &Job<'_>, instances: u32, lacking: &Value) {
    wait_until(&format!("reasons why {} waits", job.id), PATIENCE, || {
        let status = job.status();
        let waiting = status["waiting"].as_array().cloned().unwrap_or_default();
        let told = waiting.iter().any(|one| {
            one["instances"] == instances
                && one["lacking"] == *lacking
                && one["agentsLookedAt"] == 4
        });
        if told { Ok(()) } else { Err(status.to_string()) }
    });
}

#[test]
fn constraints_on_attributes_are_kept_and_what_cannot_be_is_explained() {
    let Some(mesos) = shared_mesos() else { return };
    let cluster = Cluster::start(mesos, "placement", &[]);
    let audit = Audit::new(mesos, cluster.role());
    let rack = |operator: &str, value: &str| {
        constrained(json!({"attribute": "rack", "operator": operator, "values": [value]}))
    };
    let one = Job::service(&cluster, "equal", 4, "sleep 1000", rack("EQUAL", "rack-1"));
    let other = Job::service(&cluster, "not-equal", 4, "sleep 1000", rack("NOT_EQUAL", "rack-1"));
    let nowhere = Job::service(&cluster, "nowhere", 2, "sleep 1000", rack("EQUAL", "rack-9"));
    let unique = constrained(json!({"attribute": "hostname", "operator": "UNIQUE"}));
    let unique = Job::service(&cluster, "unique", 5, "sleep 1000", unique);

    // The testbed's racks go round: agents 1 and 3 are in rack-1.
    for task in one.wait_running(4).values() {
        assert!(["agent-1", "agent-3"].contains(&task.host.as_str()), "{task:?}");
    }
    for task in other.wait_running(4).values() {
        assert!(["agent-0", "agent-2"].contains(&task.host.as_str()), "{task:?}");
    }
    wait_lacking(&nowhere, 2, &json!([{"reason": "constraint", "agents": 4}]));
    let task = nowhere.wait_task(0, "waits, and says why", |task| {
        !task.runtime["waitReason"].as_str().unwrap_or_default().is_empty()
    });
    assert_eq!(task.state, State::Scheduling);
    assert_eq!(nowhere.status()["state"], 2, "PENDING");

    wait_lacking(&unique, 1, &json!([{"reason": "constraint", "agents": 4}]));
    wait_until("an instance on each of four agents", PATIENCE, || {
        let tasks = unique.tasks();
        let running = tasks.values().filter(|task| task.state == State::Running);
        let hosts: Vec<&String> = running.map(|task| &task.host).collect();
        let different: BTreeSet<_> = hosts.iter().collect();
        assert_eq!(different.len(), hosts.len(), "two on one agent: {hosts:?}");
        if hosts.len() == 4 { Ok(()) } else { Err(format!("{hosts:?}")) }
    });

    for job in [one, other, nowhere, unique] {
        job.delete();
    }
    audit.wait_nothing_left();
}
