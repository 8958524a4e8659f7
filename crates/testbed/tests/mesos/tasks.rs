//! What tasks do: output, ends, kills, health, files.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::scheduler::Scheduler;
use crate::{eventually, shared};

fn read(task: &str, file: &str) -> String {
    fs::read_to_string(shared().unwrap().sandbox(task).unwrap().join(file)).unwrap()
}

/// The output is there once the file holds this: output and status come by different ways.
fn wait_for_output(task: &str, expected: &str) {
    eventually(&format!("{expected:?} in the output of {task}"), || {
        let sandbox = shared()?.sandbox(task).ok()?;
        fs::read_to_string(sandbox.join("stdout")).ok()?.contains(expected).then_some(())
    });
}

#[test]
fn a_task_runs_and_its_end_and_output_are_told() {
    let Some(mesos) = shared() else { return };
    let mut scheduler = Scheduler::subscribe(&mesos.address());
    let variables = json!([{"name": "WHO", "value": "world"}]);
    let command = "echo hello $WHO of $MESOS_ALLOCATION_ROLE; echo oops >&2; pwd";
    scheduler.launch(
        "output",
        Some("agent-1"),
        json!({"command": {"value": command, "environment": {"variables": variables}}}),
    );
    let statuses = scheduler.until("output", "TASK_FINISHED");
    let states: Vec<&str> =
        statuses.iter().map(|status| status["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["TASK_STARTING", "TASK_RUNNING", "TASK_FINISHED"]);
    assert_eq!(statuses[2]["message"], "Command exited with status 0");
    assert_eq!(statuses[2]["source"], "SOURCE_EXECUTOR");
    let sandbox = mesos.sandbox("output").unwrap();
    assert!(sandbox.starts_with(mesos.work_dir().join("agents/1")));
    let output = read("output", "stdout");
    assert!(output.contains("hello world of test\n"), "{output}");
    assert!(output.contains(&format!("{}\n", sandbox.display())), "{output}");
    assert!(read("output", "stderr").contains("oops\n"));

    scheduler.run("failing", "exit 3");
    let failed = scheduler.reach("failing", "TASK_FAILED");
    assert_eq!(failed["message"], "Command exited with status 3");

    let arguments = ["own-name", "-c", "echo $0 \"$1\"", "zero", "a b"];
    let plain = json!({"shell": false, "value": "/bin/sh", "arguments": arguments});
    scheduler.launch("plain", None, json!({"command": plain}));
    scheduler.reach("plain", "TASK_FINISHED");
    assert!(read("plain", "stdout").contains("zero a b\n"));

    let missing = json!({"shell": false, "value": "/no/such/program"});
    scheduler.launch("missing", None, json!({"command": missing}));
    let failed = scheduler.reach("missing", "TASK_FAILED");
    assert!(failed["message"].as_str().unwrap().contains("/no/such/program"), "{failed}");
    let completed = mesos.operator().completed_tasks().unwrap();
    assert!(completed.iter().any(|task| task.id == "missing" && task.state == "TASK_FAILED"));
}

#[test]
fn resource_limits_hold_for_the_command() {
    let Some(mesos) = shared() else { return };
    let mut scheduler = Scheduler::subscribe(&mesos.address());
    let files = json!({"type": "RLMT_NOFILE", "soft": 64, "hard": 64});
    let container = json!({"type": "MESOS", "rlimit_info": {"rlimits": [files]}});
    let command = json!({"value": "echo \"soft $(ulimit -S -n) hard $(ulimit -H -n)\""});
    scheduler.launch("limited", None, json!({"command": command, "container": container}));
    scheduler.reach("limited", "TASK_FINISHED");
    let output = read("limited", "stdout");
    assert!(output.contains("soft 64 hard 64\n"), "{output}");
}

#[test]
fn a_kill_is_gentle_first_and_then_not() {
    let Some(mesos) = shared() else { return };
    let mut scheduler = Scheduler::subscribe(&mesos.address());
    scheduler.run("gentle", "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done");
    wait_for_output("gentle", "up");
    scheduler.kill("gentle", None);
    let statuses = scheduler.until("gentle", "TASK_KILLED");
    assert!(statuses.iter().any(|status| status["state"] == "TASK_KILLING"), "{statuses:#?}");
    assert_eq!(statuses.last().unwrap()["message"], "Command exited with status 0");
    assert!(read("gentle", "stdout").contains("bye"));

    // The task's own policy would give it an hour; the kill's policy overrides it.
    let hour = json!({"grace_period": {"nanoseconds": 3_600_000_000_000_u64}});
    let stubborn = "trap '' TERM; echo up; while :; do sleep 0.05; done";
    scheduler.launch(
        "stubborn",
        None,
        json!({"command": {"value": stubborn}, "kill_policy": hour}),
    );
    wait_for_output("stubborn", "up");
    scheduler.kill("stubborn", None);
    scheduler.reach("stubborn", "TASK_KILLING");
    scheduler.kill("stubborn", Some(Duration::from_millis(200)));
    let killed = scheduler.reach("stubborn", "TASK_KILLED");
    assert_eq!(killed["message"], "Command terminated with signal Killed");

    // And its own policy, where the kill has none.
    let short = json!({"grace_period": {"nanoseconds": 100_000_000}});
    scheduler.launch("short", None, json!({"command": {"value": stubborn}, "kill_policy": short}));
    wait_for_output("short", "up");
    scheduler.kill("short", None);
    let killed = scheduler.reach("short", "TASK_KILLED");
    assert_eq!(killed["message"], "Command terminated with signal Killed");

    let brief = json!({"nanoseconds": 100_000_000});
    scheduler.launch(
        "overtime",
        None,
        json!({"command": {"value": "exec sleep 600"}, "max_completion_time": brief}),
    );
    let failed = scheduler.reach("overtime", "TASK_FAILED");
    assert_eq!(failed["reason"], "REASON_MAX_COMPLETION_TIME_REACHED");
}

/// A health check that is quick, and does not wait.
fn check(kind: Value) -> Value {
    let mut check = json!({
        "delay_seconds": 0.0,
        "interval_seconds": 0.1,
        "timeout_seconds": 10.0,
        "grace_period_seconds": 0.0,
        "consecutive_failures": 2,
    });
    check.as_object_mut().unwrap().extend(kind.as_object().unwrap().clone());
    check
}

fn health_of(scheduler: &mut Scheduler, task: &str) -> (bool, Value) {
    loop {
        let status = scheduler.status(task);
        if let Some(healthy) = status["healthy"].as_bool() {
            return (healthy, status);
        }
    }
}

/// Waits for healthy, makes it fail, and waits for unhealthy twice and the kill that follows.
fn goes_bad(scheduler: &mut Scheduler, task: &str, make_it_fail: impl FnOnce()) {
    let (healthy, status) = health_of(scheduler, task);
    assert!(healthy, "{status}");
    assert_eq!(status["state"], "TASK_RUNNING");
    assert_eq!(status["reason"], "REASON_TASK_HEALTH_CHECK_STATUS_UPDATED");
    make_it_fail();
    for _ in 0..2 {
        let (healthy, status) = health_of(scheduler, task);
        assert!(!healthy, "{status}");
        assert_eq!(status["state"], "TASK_RUNNING");
    }
    let killed = scheduler.reach(task, "TASK_KILLED");
    assert_eq!(killed["healthy"], false);
}

#[test]
fn a_command_checks_health() {
    let Some(mesos) = shared() else { return };
    let mut scheduler = Scheduler::subscribe(&mesos.address());
    let command = json!({"type": "COMMAND", "command": {"value": "! test -e bad"}});
    scheduler.launch(
        "by-command",
        None,
        json!({"command": {"value": "exec sleep 600"}, "health_check": check(command)}),
    );
    let sandbox = eventually("sandbox", || mesos.sandbox("by-command").ok());
    goes_bad(&mut scheduler, "by-command", || fs::write(sandbox.join("bad"), "").unwrap());
}

#[test]
fn an_http_answer_checks_health() {
    let Some(mesos) = shared() else { return };
    let (port, status) = serve("fine");
    let mut scheduler = Scheduler::subscribe(&mesos.address());
    let http = json!({"type": "HTTP", "http": {"port": port, "path": "/health"}});
    scheduler.launch(
        "by-http",
        None,
        json!({"command": {"value": "exec sleep 600"}, "health_check": check(http)}),
    );
    goes_bad(&mut scheduler, "by-http", || status.store(500, Ordering::SeqCst));
}

#[test]
fn a_connection_checks_health() {
    let Some(mesos) = shared() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let closing = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&closing);
    let accepting = std::thread::spawn(move || {
        for _connection in listener.incoming() {
            if told.load(Ordering::SeqCst) {
                return;
            }
        }
    });
    let mut scheduler = Scheduler::subscribe(&mesos.address());
    let tcp = json!({"type": "TCP", "tcp": {"port": port}});
    scheduler.launch(
        "by-tcp",
        None,
        json!({"command": {"value": "exec sleep 600"}, "health_check": check(tcp)}),
    );
    goes_bad(&mut scheduler, "by-tcp", || {
        closing.store(true, Ordering::SeqCst);
        accepting.join().unwrap();
    });
}

#[test]
fn failures_in_the_grace_period_do_no_harm() {
    let Some(mesos) = shared() else { return };
    let mut scheduler = Scheduler::subscribe(&mesos.address());
    let slow = "sleep 1; touch good; exec sleep 600";
    let mut check = check(json!({"type": "COMMAND", "command": {"value": "test -e good"}}));
    check["grace_period_seconds"] = json!(600.0);
    scheduler.launch("slow", None, json!({"command": {"value": slow}, "health_check": check}));
    let (healthy, status) = health_of(&mut scheduler, "slow");
    assert!(healthy, "{status}");
    scheduler.kill("slow", None);
    assert_eq!(scheduler.reach("slow", "TASK_KILLED")["healthy"], Value::Null);
}

/// A server of one body and a status that can be changed.
fn serve(body: &'static str) -> (u16, Arc<AtomicU16>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let status = Arc::new(AtomicU16::new(200));
    let current = Arc::clone(&status);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = BufReader::new(stream.try_clone().unwrap()).lines();
            while request.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            let status = current.load(Ordering::SeqCst);
            // In chunks, as servers do that do not know the length.
            let (head, tail) = body.split_at(1);
            let answer = format!(
                "HTTP/1.1 {status} S\r\nTransfer-Encoding: chunked\r\n\r\n\
                 1\r\n{head}\r\n{:x};x=y\r\n{tail}\r\n0\r\n\r\n",
                tail.len()
            );
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    (port, status)
}

#[test]
fn uris_are_in_the_sandbox_before_the_task_starts() {
    let Some(mesos) = shared() else { return };
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    fs::write(path("plain"), "plain\n").unwrap();
    fs::write(path("tool"), "#!/bin/sh\necho tool runs\n").unwrap();
    fs::create_dir(path("inner")).unwrap();
    fs::write(path("inner/file"), "from archive\n").unwrap();
    let mut tar = Command::new("tar");
    tar.args(["-C", &path(""), "-czf", &path("a.tar.gz"), "inner"]);
    assert!(tar.status().unwrap().success());
    let (port, _) = serve("from server\n");
    let uris = json!([
        {"value": path("plain"), "output_file": "sub/renamed"},
        {"value": format!("file://{}", path("tool")), "executable": true},
        {"value": path("a.tar.gz")},
        {"value": format!("http://127.0.0.1:{port}/dir/page.txt?x=1"), "cache": true},
    ]);
    let command = "cat sub/renamed inner/file page.txt && ./tool";
    let mut scheduler = Scheduler::subscribe(&mesos.address());
    scheduler.launch("uris", None, json!({"command": {"value": command, "uris": uris}}));
    scheduler.reach("uris", "TASK_FINISHED");
    let output = read("uris", "stdout");
    let expected = "plain\nfrom archive\nfrom server\ntool runs\n";
    assert!(output.contains(expected), "{output}");

    let uris = json!([{"value": path("nowhere")}]);
    scheduler.launch("no-uri", None, json!({"command": {"value": "true", "uris": uris}}));
    let failed = scheduler.reach("no-uri", "TASK_FAILED");
    assert_eq!(failed["reason"], "REASON_CONTAINER_LAUNCH_FAILED", "{failed}");
    assert!(read("no-uri", "stderr").contains("nowhere"));
}
