//! The call of the original's README, by the real `curl`.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Cluster, Job, config, shared_mesos};

/// As the README of 2016 has it.
const CALL: &str = r#"curl -X POST  \
  -H 'content-type: application/json' \
  -H 'Rpc-Procedure: JobManager.Get' \
  -H 'Rpc-Service: peloton-master' \
  -H 'Rpc-Caller: peloton-client' \
  -H 'Context-TTL-MS: 1000' \
  -H 'Rpc-Encoding: json' \
  -d '{"id": {"value": "myjob12345"}}' \
  localhost:5289"#;

/// Runs a call with nothing in it changed: curl's own file of settings leads the address to the
/// test's port.
fn run(cluster: &Cluster, call: &str) -> Value {
    let home = cluster.directory().join("curl");
    fs::create_dir_all(&home).unwrap();
    let rule = format!("connect-to = \"localhost:5289:127.0.0.1:{}\"\n", cluster.port());
    fs::write(home.join(".curlrc"), rule).unwrap();
    let output = Command::new("sh")
        .args(["-c", call])
        .env("CURL_HOME", &home)
        .env("no_proxy", "*")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(output.stdout.last(), Some(&b'\n'));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_call_of_the_original_readme_is_answered() {
    let Some(mesos) = shared_mesos() else { return };
    let cluster = Cluster::start(mesos, "curl", &[]);
    // Clients of 2016 give a read 99 ms.
    let hasty = CALL.replace("1000", "99");

    let before = run(&cluster, CALL);
    let not_found = json!({"id": {"value": "myjob12345"}, "message": "there is no job myjob12345"});
    assert_eq!(before, json!({"notFound": not_found}));
    assert_eq!(run(&cluster, &hasty), before);

    let command = "while true; do sleep 1; done";
    let job = Job::create(&cluster, "myjob12345", &config(2, command, json!({})));
    let after = run(&cluster, CALL);
    let result = &after["result"];
    assert_eq!(result["name"], "system-test");
    assert_eq!(result["instanceCount"], 2);
    assert_eq!(result["command"]["value"], command);
    assert_eq!(result["changeLog"]["version"], 1);
    assert_eq!(run(&cluster, &hasty), after);
    job.delete();
    assert_eq!(run(&cluster, CALL), before);
}
