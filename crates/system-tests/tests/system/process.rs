//! The master as a process: its pages, its signals, and the starts that it refuses.

use serde_json::json;

use crate::support::{Audit, Cluster, Job, PATIENCE, master_command, shared_mesos, wait_until};

/// Runs the master's program, which must refuse to start: what it says.
fn refusal(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let mut command = master_command();
    command.args(arguments).envs(environment.iter().copied());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
    assert_eq!(output.stdout, b"", "{arguments:?}: errors go to standard error");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_master_that_stops_leaves_its_tasks_and_finds_them_again() {
    let Some(mesos) = shared_mesos() else { return };
    // A name is for people; nothing that is made from it may trouble Mesos.
    let name = r"mesos.framework.name=Peloton/tests of \ names";
    let mut cluster = Cluster::start(mesos, "process", &[name]);
    let audit = Audit::new(mesos, cluster.role());
    let command = "echo $PELOTON_TASK_ID >>starts; exec sleep 1000";
    let before = Job::service(&cluster, "stays", 3, command, json!({})).wait_running(3);
    let ids = before.values().map(|task| task.id.clone()).collect();

    let health = cluster.health();
    for part in ["mesos", "shards", "store"] {
        assert_eq!(health["components"][part]["status"], "healthy", "{health}");
    }
    wait_until("three running instances in /metrics", PATIENCE, || {
        let (status, text) = cluster.get("/metrics")?;
        assert_eq!(status, 200);
        assert!(text.contains("peloton_build_info{program=\"peloton-master\""), "{text}");
        let running =
            text.lines().filter(|line| line.starts_with("peloton_shard_instances_running{"));
        let sum: f64 =
            running.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum();
        if sum == 3.0 { Ok(()) } else { Err(text) }
    });

    assert_eq!(cluster.terminate().code(), Some(0), "SIGTERM is a clean end");
    assert!(cluster.log().contains("SIGTERM"), "the log does not tell of the signal");
    audit.wait_tasks(&ids);
    cluster.launch();
    cluster.wait_healthy();
    let job = Job::of(&cluster, "stays");
    let after = job.wait_running(3);
    assert!(after.values().map(|task| &task.id).eq(before.values().map(|task| &task.id)));
    audit.wait_tasks(&ids);
    audit.wait_slots(3);
    job.delete();
    audit.wait_nothing_left();
}

#[test]
fn a_store_has_one_master_and_its_number_of_shards_for_life() {
    let Some(mesos) = shared_mesos() else { return };
    let mut cluster = Cluster::start(mesos, "store", &[]);
    let arguments = cluster.arguments();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // Without `--port` and its number, so that it is the store that refuses.
    let said = refusal(&arguments[2..], &[]);
    assert!(
        said.contains("store.path") && said.contains("is in use by the process with pid"),
        "{said}"
    );
    assert_eq!(cluster.health()["status"], "healthy");

    assert!(cluster.terminate().success());
    let more = [&arguments[..], &["--set", "cluster.shards=3"]].concat();
    let said = refusal(&more, &[]);
    assert!(said.contains("cluster.shards: 3 is not allowed"), "{said}");
    assert!(said.contains("was created with 2"), "{said}");
    cluster.launch();
    cluster.wait_healthy();
}

#[test]
fn a_wrong_configuration_is_refused_with_its_place() {
    let cases = [
        ("mesos.hostport=a:1", "unknown key \"mesos.hostport\", did you mean \"mesos.hostPort\"?"),
        (
            "master.port=abc",
            "master.port cannot be \"abc\"; allowed: a whole number from 1 to 65535",
        ),
        ("cluster.shards=0", "cluster.shards cannot be"),
        ("mesos.framework.secretFile=/nonexistent", "mesos.framework.secretFile"),
    ];
    for (setting, wanted) in cases {
        let said = refusal(&["--set", setting], &[]);
        assert!(said.contains("--set") && said.contains(wanted), "{setting}: {said}");
    }
    let said = refusal(&[], &[("UBER_CONFIG_DIR", "/nonexistent")]);
    assert!(said.contains("/nonexistent: no such directory"), "{said}");
    let said = refusal(&[], &[("UBER_ENVIRONMENT", "moon")]);
    assert!(said.contains("moon.yaml: no such file"), "{said}");
    let said = refusal(&[], &[("PELOTON__MASTER__PORT", "70000")]);
    assert!(said.contains("PELOTON__MASTER__PORT") && said.contains("master.port"), "{said}");

    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("base.yaml"), "master:\n  prot: 5289\n").unwrap();
    let said = refusal(&["--config-dir", directory.path().to_str().unwrap()], &[]);
    assert!(said.contains("base.yaml") && said.contains("master.prot"), "{said}");
}

#[test]
fn the_effective_configuration_is_shown_with_where_it_comes_from() {
    let output = master_command()
        .args(["--check-config", "--set", "mesos.framework.role=shown"])
        .env("PELOTON__MASTER__PORT", "5290")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let line = |part: &str| text.lines().find(|line| line.contains(part)).unwrap_or_default();
    assert!(line("5290").contains("PELOTON__MASTER__PORT"), "{text}");
    assert!(line("shown").contains("--set"), "{text}");
    assert!(line("failoverTimeout").contains("base.yaml"), "{text}");
}
