//! What happens to Mesos: outages of all of it and of parts, and credentials.

use std::fs;
use std::path::Path;

use peloton_testbed::{AgentOptions, Options};

use crate::eventually;
use crate::scheduler::Scheduler;

/// Counts in a file for as long as it lives.
const COUNTING: &str = "trap 'exit 0' TERM; i=0; while :; do i=$((i+1)); echo $i > n.new; mv n.new n; sleep 0.05; done";

fn count(file: &Path) -> u64 {
    eventually("count", || fs::read_to_string(file).ok()?.trim().parse().ok())
}

/// Waits until the task has counted on.
fn is_counting(file: &Path) {
    let before = count(file);
    eventually("progress", || (count(file) > before).then_some(()));
}

#[test]
fn tasks_outlive_an_outage_of_all_of_mesos() {
    let Some(mut mesos) = peloton_testbed::start(&Options::agents(2)) else { return };
    let address = mesos.address();
    let mut scheduler = Scheduler::subscribe(&address);
    scheduler.run("counting", COUNTING);
    scheduler.reach("counting", "TASK_RUNNING");
    scheduler.run("waiting", "echo up; while ! test -e go; do sleep 0.05; done; exit 5");
    scheduler.reach("waiting", "TASK_RUNNING");
    let counting = mesos.sandbox("counting").unwrap().join("n");
    let waiting = mesos.sandbox("waiting").unwrap();
    let agents = mesos.operator().agents().unwrap();

    mesos.kill_all();
    assert!(mesos.operator().agents().is_err(), "the master still answers");
    is_counting(&counting);
    // One task ends while nobody can be told.
    fs::write(waiting.join("go"), "").unwrap();

    mesos.start_all().unwrap();
    assert_eq!(mesos.address(), address);
    let ids = |agents: &[peloton_testbed::operator::Agent]| -> Vec<String> {
        agents.iter().map(|agent| agent.id.clone()).collect()
    };
    assert_eq!(ids(&mesos.operator().agents().unwrap()), ids(&agents));
    let framework = scheduler.framework_id.clone();
    let mut scheduler = Scheduler::try_subscribe(&address, Some(&framework), None).unwrap();
    let failed = scheduler.reach("waiting", "TASK_FAILED");
    assert_eq!(failed["message"], "Command exited with status 5");
    scheduler.reconcile("counting");
    assert_eq!(scheduler.status("counting")["state"], "TASK_RUNNING");
    is_counting(&counting);
    scheduler.kill("counting", None);
    scheduler.reach("counting", "TASK_KILLED");

    scheduler.run("left", COUNTING);
    scheduler.reach("left", "TASK_RUNNING");
    assert!(mesos.task_processes().len() >= 2, "{:?}", mesos.task_processes());
    let work_dir = mesos.work_dir().to_path_buf();
    let left = mesos.sandbox("left").unwrap().join("n");
    is_counting(&left);
    mesos.stop().unwrap();
    assert!(!work_dir.exists());
}

#[test]
fn one_agent_or_the_master_alone_can_go_and_come_back() {
    let with = |rack: &str| AgentOptions {
        attributes: Some(vec![("rack".to_owned(), rack.to_owned())]),
        ..AgentOptions::default()
    };
    let options = Options {
        agents: vec![with("east"), with("west")],
        agent_ping_interval_ms: 1_000,
        max_agent_ping_timeouts: 2,
        ..Options::agents(0)
    };
    let Some(mut mesos) = peloton_testbed::start(&options) else { return };
    let agents = mesos.operator().agents().unwrap();
    let racks: Vec<&str> = agents.iter().map(|agent| agent.attributes["rack"].as_str()).collect();
    assert_eq!(racks, ["east", "west"]);

    let mut scheduler = Scheduler::subscribe(&mesos.address());
    let command = serde_json::json!({"command": {"value": COUNTING}});
    scheduler.launch("west", Some("agent-1"), command.clone());
    scheduler.reach("west", "TASK_RUNNING");
    scheduler.launch("east", Some("agent-0"), command);
    scheduler.reach("east", "TASK_RUNNING");
    let east = mesos.sandbox("east").unwrap().join("n");

    mesos.kill_master();
    mesos.start_master().unwrap();
    mesos.wait_until_registered().unwrap();
    let framework = scheduler.framework_id.clone();
    let mut scheduler = Scheduler::try_subscribe(&mesos.address(), Some(&framework), None).unwrap();
    let operator = mesos.operator();
    let running = || -> Vec<String> {
        let tasks = operator.tasks().unwrap_or_default();
        tasks.into_iter().filter(|task| task.state == "TASK_RUNNING").map(|task| task.id).collect()
    };
    eventually("both tasks", || (running() == ["east", "west"]).then_some(()));

    mesos.kill_agent(0).unwrap();
    scheduler.reach("east", "TASK_UNREACHABLE");
    is_counting(&east);
    mesos.start_agent(0).unwrap();
    mesos.wait_until_registered().unwrap();
    scheduler.reach("east", "TASK_RUNNING");
    is_counting(&east);

    mesos.kill_agent_machine(0).unwrap();
    let stopped_at = count(&east);
    mesos.start_agent(0).unwrap();
    mesos.wait_until_registered().unwrap();
    let lost = loop {
        let status = scheduler.status("east");
        let state = status["state"].as_str().unwrap().to_owned();
        if !matches!(state.as_str(), "TASK_UNREACHABLE" | "TASK_RUNNING") {
            break status;
        }
    };
    assert_eq!(lost["state"], "TASK_FAILED", "{lost}");
    assert_eq!(lost["reason"], "REASON_EXECUTOR_TERMINATED", "{lost}");
    assert_eq!(count(&east), stopped_at);
    let after: Vec<String> =
        mesos.operator().agents().unwrap().into_iter().map(|agent| agent.id).collect();
    let before: Vec<String> = agents.into_iter().map(|agent| agent.id).collect();
    assert_eq!(after, before);
    assert!(mesos.kill_agent(2).unwrap_err().to_string().contains("0 to 1"));
    mesos.operator().teardown(&framework).unwrap();
    eventually("the end of the last task", || running().is_empty().then_some(()));
    mesos.stop().unwrap();
}

#[test]
fn schedulers_without_the_credentials_are_refused() {
    let options = Options {
        credentials: vec![("peloton".to_owned(), "secret".to_owned())],
        ..Options::agents(1)
    };
    let Some(mesos) = peloton_testbed::start(&options) else { return };
    let subscribe = |credentials| Scheduler::try_subscribe(&mesos.address(), None, credentials);
    for wrong in [None, Some(("peloton", "guess"))] {
        assert_eq!(subscribe(wrong).err().map(|(status, _)| status), Some(401));
    }
    let mut scheduler = subscribe(Some(("peloton", "secret"))).unwrap();
    scheduler.run("allowed", "true");
    scheduler.reach("allowed", "TASK_FINISHED");
}
