//! The README's way: the examples by the command line, on a real Mesos.

use std::process::Output;

use serde_json::{Value, json};

use crate::support::{AnyMesos, Audit, Cluster, shared_mesos};

/// Runs the command line, which must succeed: its standard output.
#[track_caller]
fn peloton(cluster: &Cluster, arguments: &[&str]) -> String {
    let output = cluster.cli(arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// The same, for programs.
#[track_caller]
fn peloton_json(cluster: &Cluster, arguments: &[&str]) -> Value {
    let text = peloton(cluster, &[&["-o", "json"], arguments].concat());
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"))
}

/// The lines of a table that have all of these words.
fn rows<'a>(table: &'a str, words: &[&str]) -> Vec<&'a str> {
    let has_all = |line: &&str| {
        let found: Vec<&str> = line.split_whitespace().collect();
        words.iter().all(|word| found.contains(word))
    };
    table.lines().filter(has_all).collect()
}

#[test]
fn the_examples_run_and_are_shown() {
    let Some(mesos) = shared_mesos() else { return };
    let cluster = Cluster::start(mesos, "examples", &[]);
    let audit = Audit::new(mesos, cluster.role());
    // With `--watch` each of these comes back when the job is up, or done.
    peloton(&cluster, &["job", "create", "-f", "examples/service.yaml", "--watch"]);
    peloton(&cluster, &["job", "create", "-f", "examples/batch.yaml", "--watch"]);
    let old = ["job", "create", "myjob12345", "-f", "examples/original-2016.yaml", "--watch"];
    peloton(&cluster, &old);

    let list = peloton(&cluster, &["job", "list"]);
    for job in ["hello-service", "hello-batch", "myjob12345"] {
        assert_eq!(rows(&list, &[job]).len(), 1, "{list}");
    }
    let list = peloton(&cluster, &["job", "list", "-l", "team=examples"]);
    assert!(rows(&list, &["myjob12345"]).is_empty(), "{list}");
    assert_eq!(rows(&list, &["hello-service"]).len(), 1, "{list}");

    let status = peloton(&cluster, &["job", "status", "hello-service"]);
    assert!(status.contains("RUNNING") && status.contains("10"), "{status}");
    let tasks = peloton(&cluster, &["task", "list", "hello-service"]);
    assert_eq!(rows(&tasks, &["RUNNING"]).len(), 10, "{tasks}");
    let tasks = peloton(&cluster, &["task", "list", "hello-batch"]);
    assert_eq!(rows(&tasks, &["SUCCEEDED"]).len(), 10, "{tasks}");
    assert_eq!(audit.tasks().unwrap().len(), 20);

    let log = peloton(&cluster, &["task", "logs", "hello-service", "0"]);
    assert!(log.lines().any(|line| line.starts_with("hello from")), "{log}");

    let got = peloton_json(&cluster, &["job", "get", "hello-service"]);
    assert!(got.to_string().contains("Says hello for ever."), "{got}");
    let cluster_status = peloton(&cluster, &["cluster", "status"]);
    assert!(cluster_status.contains(&mesos.address()), "{cluster_status}");

    for job in ["hello-service", "hello-batch", "myjob12345"] {
        peloton(&cluster, &["job", "delete", job, "--yes", "--watch"]);
    }
    audit.wait_nothing_left();
}

#[test]
fn the_output_of_ended_instances_can_still_be_read() {
    let Some(mesos) = shared_mesos() else { return };
    let cluster = Cluster::start(mesos, "ended", &[]);
    // Nothing else runs on the agents when it has ended.
    peloton(&cluster, &["job", "create", "-f", "examples/batch.yaml", "--watch"]);
    for instance in ["0", "9"] {
        let log = peloton(&cluster, &["task", "logs", "hello-batch", instance]);
        assert!(log.ends_with("1\n2\n3\n"), "{log}");
    }
    peloton(&cluster, &["job", "delete", "hello-batch", "--yes", "--watch"]);
}

#[test]
fn instances_are_stopped_started_and_restarted_by_the_command_line() {
    let Some(mesos) = shared_mesos() else { return };
    let cluster = Cluster::start(mesos, "commands", &[]);
    let audit = Audit::new(mesos, cluster.role());
    let file = cluster.directory().join("job.yaml");
    let job = json!({
        "id": "web", "name": "web", "instanceCount": 4, "command": {"value": "sleep 1000"},
        "resource": {"cpusLimit": 0.1, "memLimitMb": 32, "diskLimitMb": 16},
    });
    // JSON is YAML, too.
    std::fs::write(&file, job.to_string()).unwrap();
    let file = file.display().to_string();
    peloton(&cluster, &["job", "create", "-f", &file, "--watch"]);
    let states = |state: &str| {
        let table = peloton(&cluster, &["task", "list", "web"]);
        rows(&table, &[state]).len()
    };
    assert_eq!(states("RUNNING"), 4);
    peloton(&cluster, &["job", "stop", "web", "--instances", "1-2", "--watch"]);
    assert_eq!((states("RUNNING"), states("KILLED")), (2, 2));
    peloton(&cluster, &["job", "start", "web", "--watch"]);
    assert_eq!(states("RUNNING"), 4);
    peloton(&cluster, &["job", "restart", "web", "--instances", "0", "--watch"]);
    assert_eq!(rows(&peloton(&cluster, &["task", "list", "web"]), &["RUNNING"]).len(), 4);
    assert!(audit.tasks().unwrap().contains_key("web-0-2"), "{:?}", audit.tasks());

    let code = |output: Output| output.status.code().unwrap();
    let again = cluster.cli(&["job", "create", "-f", &file]);
    assert_eq!(code(again), 0, "it is there already, just so");
    let other = cluster.directory().join("other.yaml");
    let mut job = job;
    job["instanceCount"] = json!(5);
    std::fs::write(&other, job.to_string()).unwrap();
    let other = cluster.cli(&["job", "create", "-f", other.to_str().unwrap()]);
    assert_eq!(code(other), 4, "it is there already, and another");
    assert_eq!(code(cluster.cli(&["job", "get", "nobody"])), 3, "no such job");
    assert_eq!(code(cluster.cli(&["task", "get", "web", "4"])), 3, "no such instance");
    assert_eq!(code(cluster.cli(&["job", "create", "-f", "/nonexistent"])), 2, "no such file");
    let elsewhere = ["--masters", "127.0.0.1:1", "job", "list"];
    assert_eq!(code(cluster.cli(&elsewhere)), 5, "no master");
    // The first of several masters is not there.
    let masters = format!("127.0.0.1:1,{}", cluster.address());
    assert_eq!(code(cluster.cli(&["--masters", &masters, "job", "list"])), 0);
    peloton(&cluster, &["job", "delete", "web", "--yes", "--watch"]);
    audit.wait_nothing_left();
}
