//! The lives of single instances: how they fail, come back, end, and what they are given.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{AnyMesos, Audit, Cluster, Job, PATIENCE, State, shared_mesos, wait_until};

/// What `TaskManager.GetHistory` tells of an instance, the oldest run first.
fn history(job: &Job<'_>, instance: u32) -> Vec<Value> {
    let body = json!({"jobId": {"value": job.id}, "instanceId": instance});
    let answer = job.cluster.yarpc("TaskManager.GetHistory", body);
    let mut runs = answer["result"]["runs"].as_array().cloned().unwrap_or_default();
    runs.reverse();
    runs
}

/// One of a run's times, in milliseconds.
fn time_ms(run: &Value, name: &str) -> u64 {
    run[name]["nanoseconds"].as_u64().unwrap_or_else(|| panic!("no {name} in {run}")) / 1_000_000
}

fn wait_file(path: &Path) -> String {
    wait_until(&format!("{}", path.display()), PATIENCE, || {
        let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
        if text.ends_with('\n') { Ok(text) } else { Err("not written yet".to_owned()) }
    })
}

#[test]
fn a_service_that_crashes_comes_back_in_its_slot_after_ever_longer_waits() {
    let Some(mesos) = shared_mesos() else { return };
    let cluster = Cluster::start(mesos, "crash", &[]);
    let audit = Audit::new(mesos, cluster.role());
    let mended = cluster.directory().join("mended");
    let command = format!("test -e {} && exec sleep 1000; exit 3", mended.display());
    let policy = json!({"restartPolicy": {"initialBackoffMs": 300, "maxBackoffMs": 1000}});
    let job = Job::service(&cluster, "crash", 1, &command, policy);

    let throttled = job.wait_task(0, "throttled after a crash", |task| {
        task.state == State::Throttled && task.failures >= 1
    });
    let message = throttled.runtime["message"].as_str().unwrap_or_default();
    assert!(message.contains("exited with status 3"), "{throttled:?}");
    job.wait_task(0, "four crashes", |task| task.failures >= 4);
    audit.wait_slots(1);
    fs::write(&mended, "").unwrap();
    let running = job.wait_task(0, "runs once it can", |task| task.state == State::Running);

    let runs = history(&job, 0);
    for (run, wait_ms) in runs.iter().zip([300, 600, 1000, 1000]) {
        assert_eq!(time_ms(run, "retryAt") - time_ms(run, "finishedAt"), wait_ms, "{run}");
        assert_eq!(run["slot"], running.slot.as_str(), "each run is in the same slot");
    }
    for pair in runs.windows(2) {
        assert!(time_ms(&pair[0], "retryAt") <= time_ms(&pair[1], "launchedAt"), "{pair:?}");
    }
    job.delete();
    audit.wait_nothing_left();
}

#[test]
fn batch_instances_are_retried_as_often_as_allowed() {
    let Some(mesos) = shared_mesos() else { return };
    let cluster = Cluster::start(mesos, "batch", &[]);
    let audit = Audit::new(mesos, cluster.role());
    let directory = cluster.directory().display().to_string();
    let policy = |max: u32| {
        let policy = json!({"maxFailures": max, "initialBackoffMs": 100, "maxBackoffMs": 200});
        json!({"type": "BATCH", "restartPolicy": policy})
    };
    let hopeless = Job::service(&cluster, "hopeless", 2, "exit 7", policy(2));
    // Fails the first time.
    let command = format!("mkdir {directory}/tried-$PELOTON_INSTANCE_ID && exit 1; exit 0");
    let clumsy = Job::service(&cluster, "clumsy", 2, &command, policy(1));

    for task in hopeless.wait_states(&[State::Failed; 2]).values() {
        assert_eq!((task.run, task.failures), (3, 3), "two failures are allowed: {task:?}");
        let message = task.runtime["message"].as_str().unwrap_or_default();
        assert!(message.contains("exited with status 7"), "{task:?}");
    }
    for task in clumsy.wait_states(&[State::Succeeded; 2]).values() {
        assert_eq!(task.run, 2, "{task:?}");
    }
    let state = |job: &Job<'_>| job.status()["state"].as_u64();
    wait_until("states of the jobs", PATIENCE, || {
        let found = (state(&hopeless), state(&clumsy));
        // FAILED and SUCCEEDED.
        if found == (Some(5), Some(4)) { Ok(()) } else { Err(format!("{found:?}")) }
    });
    audit.wait_nothing_left();
    hopeless.delete();
    clumsy.delete();
}

#[test]
fn a_kill_asks_first_and_insists_after_the_grace_period() {
    let Some(mesos) = shared_mesos() else { return };
    let cluster = Cluster::start(mesos, "grace", &[]);
    let audit = Audit::new(mesos, cluster.role());
    let file = |name: &str| cluster.directory().join(name);
    let trapping = |name: &str, then: &str| {
        let file = file(name).display().to_string();
        format!(
            "trap 'echo TERM >>{file}; {then}' TERM; echo up >>{file}; while :; do sleep 0.1; done"
        )
    };
    let grace = |secs: u32| json!({"killPolicy": {"gracePeriodSecs": secs}});
    let polite = Job::service(&cluster, "polite", 1, &trapping("polite", "exit 0"), grace(300));
    let deaf = Job::service(&cluster, "deaf", 1, &trapping("deaf", ":"), grace(1));
    for name in ["polite", "deaf"] {
        assert_eq!(wait_file(&file(name)), "up\n");
    }
    polite.wait_running(1);
    deaf.wait_running(1);
    polite.call("Stop");
    deaf.call("Stop");
    // Within our patience, which is less than the grace period: it ended by itself.
    polite.wait_states(&[State::Killed]);
    // It never ends by itself.
    deaf.wait_states(&[State::Killed]);
    for name in ["polite", "deaf"] {
        assert_eq!(wait_file(&file(name)), "up\nTERM\n", "{name} was asked, once");
    }
    audit.wait_tasks(&BTreeSet::new());
    polite.delete();
    deaf.delete();
    audit.wait_nothing_left();
}

#[test]
fn ranges_of_instances_are_stopped_started_and_restarted() {
    let Some(mesos) = shared_mesos() else { return };
    let cluster = Cluster::start(mesos, "ranges", &[]);
    let audit = Audit::new(mesos, cluster.role());
    let job = Job::service(&cluster, "ranges", 6, "sleep 1000", json!({}));
    let before = job.wait_running(6);
    job.tasks_call("Stop", 1, 2);
    let mut wished = [State::Running; 6];
    wished[1..=2].fill(State::Killed);
    job.wait_states(&wished);
    job.tasks_call("Restart", 4, 5);
    for number in [4, 5] {
        let task = job.wait_task(number, "restarted", |task| {
            task.state == State::Running && task.run == before[&number].run + 1
        });
        assert_eq!(task.slot, before[&number].slot);
    }
    job.tasks_call("Start", 2, 2);
    wished[2] = State::Running;
    let after = job.wait_states(&wished);
    for number in [0, 3] {
        assert_eq!(after[&number].id, before[&number].id, "instance {number} was not named");
    }

    let body = json!({"jobId": {"value": "ranges"}, "ranges": [{"from": 5, "to": 9}]});
    let answer = cluster.yarpc("TaskManager.Stop", body);
    let outside = json!({"jobId": {"value": "ranges"}, "instanceCount": 6});
    assert_eq!(answer, json!({"outOfRange": outside}));
    let body = json!({"jobId": {"value": "nobody"}, "ranges": []});
    assert!(cluster.yarpc("TaskManager.Stop", body)["notFound"].is_object());
    job.wait_states(&wished);
    job.delete();
    audit.wait_nothing_left();
}

#[test]
fn an_instance_that_fails_its_health_check_is_started_again() {
    let Some(mesos) = shared_mesos() else { return };
    let cluster = Cluster::start(mesos, "health", &[]);
    let sick = cluster.directory().join("sick");
    let check = json!({
        "enabled": true, "initialIntervalSecs": 1, "intervalSecs": 1, "timeoutSecs": 10,
        "maxConsecutiveFailures": 2, "shellCommand": format!("test ! -e {}", sick.display()),
    });
    let more = json!({"healthCheck": check, "restartPolicy": {"initialBackoffMs": 100}});
    let job = Job::service(&cluster, "patient", 1, "sleep 1000", more);
    let healthy = |run: u64| {
        // HEALTHY.
        job.wait_task(0, "healthy", |task| task.run >= run && task.runtime["health"] == 2)
    };
    let first = healthy(1);
    assert_eq!(job.status()["healthy"], 1);
    fs::write(&sick, "").unwrap();
    let second = job.wait_task(0, "started again", |task| task.run > first.run);
    fs::remove_file(&sick).unwrap();
    let last = healthy(second.run);
    assert_eq!(last.slot, first.slot);
    assert_ne!(last.id, first.id);
    job.delete();
    Audit::new(mesos, cluster.role()).wait_nothing_left();
}

#[test]
fn a_task_gets_its_ports_files_and_names() {
    let Some(mesos) = shared_mesos() else { return };
    let cluster = Cluster::start(mesos, "given", &[]);
    let audit = Audit::new(mesos, cluster.role());
    let directory = cluster.directory();
    fs::write(directory.join("note.txt"), "fetched\n").unwrap();
    let packed = Command::new("tar")
        .args(["-czf", "packed.tar.gz", "note.txt"])
        .current_dir(directory)
        .status();
    assert!(packed.unwrap().success());
    let source = |name: &str| directory.join(name).display().to_string();
    let command = format!(
        "set -e; cat note.txt; echo $UBER_PORT_http $ADMIN_PORT $HELLO $PELOTON_TASK_ID \
         >{}/seen-$PELOTON_INSTANCE_ID; exec sleep 1000",
        directory.display()
    );
    let variables = json!([{"name": "HELLO", "value": "world"}]);
    let job = json!({
        "command": {
            "value": command,
            "uris": [{"value": source("packed.tar.gz")}],
            "environment": {"variables": variables},
        },
        "ports": [{"name": "http"}, {"name": "admin", "envName": "ADMIN_PORT"}],
        "labels": {"labels": [{"key": "team", "value": "system"}]},
        "discovery": {"name": "given.example", "visibility": "CLUSTER"},
    });
    let job = Job::service(&cluster, "given", 3, "", job);
    let tasks = job.wait_running(3);
    let mut taken = BTreeSet::new();
    for (number, task) in &tasks {
        let ports = ["http", "admin"].map(|name| task.runtime["ports"][name].as_u64().unwrap());
        let seen = wait_file(&directory.join(format!("seen-{number}")));
        assert_eq!(seen, format!("{} {} world {}\n", ports[0], ports[1], task.id));
        for port in ports {
            assert!(taken.insert((task.host.clone(), port)), "a port twice: {tasks:?}");
        }
        let output = mesos.sandbox(&task.id).join("stdout");
        assert!(fs::read_to_string(output).unwrap().lines().any(|line| line == "fetched"));
    }
    let state = mesos.operator().state().unwrap();
    let all = state["frameworks"].as_array().unwrap().iter();
    let all = all.flat_map(|framework| framework["tasks"].as_array().unwrap());
    let seen = all.clone().find(|one| one["id"] == tasks[&0].id.as_str()).unwrap();
    assert_eq!(seen["discovery"]["name"], "given.example");
    let labels = seen["labels"].as_array().unwrap();
    assert!(labels.contains(&json!({"key": "team", "value": "system"})), "{seen}");
    job.delete();
    audit.wait_nothing_left();
}

#[test]
fn a_file_that_cannot_be_fetched_fails_the_instance_with_a_reason() {
    let Some(mesos) = shared_mesos() else { return };
    let cluster = Cluster::start(mesos, "unfetched", &[]);
    let missing = cluster.directory().join("missing").display().to_string();
    let more = json!({
        "type": "BATCH",
        "restartPolicy": {"maxFailures": 0},
        "command": {"value": "true", "uris": [{"value": missing}]},
    });
    let job = Job::service(&cluster, "unfetched", 1, "", more);
    let task = &job.wait_states(&[State::Failed])[&0];
    assert!(!task.runtime["message"].as_str().unwrap_or_default().is_empty(), "{task:?}");
    job.delete();
    Audit::new(mesos, cluster.role()).wait_nothing_left();
}
