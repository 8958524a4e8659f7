//! Agents go away and come back: in the end each instance runs once, and nothing is left over.

use std::collections::BTreeMap;

use peloton_testbed::{Mesos, Options};
use serde_json::json;

use crate::support::{Audit, Cluster, Job, PATIENCE, Task, wait_until};

/// The least time that the master can be told to wait before it replaces an instance.
pub(crate) const SETTINGS: [&str; 2] =
    ["agents.unreachableReplaceSecs=10", "agents.massUnreachablePercent=100"];

/// A Mesos that gives an agent up within seconds.
pub(crate) fn mesos() -> Option<Mesos> {
    let mut options = Options::agents(4);
    options.agent_ping_interval_ms = 1_000;
    options.max_agent_ping_timeouts = 2;
    peloton_testbed::start(&options)
}

/// The number of an agent, from its host name.
pub(crate) fn agent_of(task: &Task) -> usize {
    task.host.strip_prefix("agent-").unwrap().parse().unwrap()
}

/// The instances on an agent.
pub(crate) fn on(tasks: &BTreeMap<u32, Task>, agent: usize) -> Vec<u32> {
    let found = tasks.iter().filter(|(_, task)| agent_of(task) == agent);
    found.map(|(number, _)| *number).collect()
}

/// One service with an instance on each agent.
pub(crate) fn one_on_each(cluster: &Cluster) -> (Job<'_>, BTreeMap<u32, Task>) {
    // Six for four: when agents are gone, the others take theirs.
    let constraint = json!({"attribute": "hostname", "operator": "MAX_PER_VALUE", "max": 6});
    let placement = json!({"placement": {"strategy": "SPREAD", "constraints": [constraint]}});
    let job = Job::service(cluster, "spread", 8, "sleep 1000", placement);
    let tasks = job.wait_running(8);
    for agent in 0..4 {
        assert!(!on(&tasks, agent).is_empty(), "nothing on agent {agent}: {tasks:?}");
    }
    (job, tasks)
}

fn end(job: &Job<'_>, audit: &Audit, tasks: &BTreeMap<u32, Task>) {
    audit.wait_tasks(&tasks.values().map(|task| task.id.clone()).collect());
    audit.wait_slots(tasks.len());
    job.delete();
    audit.wait_nothing_left();
}

#[test]
fn an_agent_that_returns_in_time_keeps_its_instances() {
    let Some(mut mesos) = mesos() else { return };
    // Long enough for the agent to be back.
    let cluster = Cluster::start(&mesos, "returns", &["agents.unreachableReplaceSecs=300"]);
    let audit = Audit::new(&mesos, cluster.role());
    let (job, before) = one_on_each(&cluster);
    let affected = on(&before, 0);
    mesos.kill_agent(0).unwrap();
    for number in &affected {
        job.wait_task(*number, "unreachable", |task| !task.runtime["unreachableSince"].is_null());
    }
    mesos.start_agent(0).unwrap();
    for number in &affected {
        job.wait_task(*number, "reachable", |task| task.runtime["unreachableSince"].is_null());
    }
    let after = job.wait_running(8);
    for (number, task) in &after {
        assert_eq!(task.id, before[number].id, "instance {number} goes on, in the same run");
    }
    end(&job, &audit, &after);
}

#[test]
fn instances_of_lost_agents_are_replaced_and_count_once_when_the_agents_return() {
    let Some(mut mesos) = mesos() else { return };
    let cluster = Cluster::start(&mesos, "replaced", &SETTINGS);
    let audit = Audit::new(&mesos, cluster.role());
    let (job, before) = one_on_each(&cluster);
    // One machine dies with its tasks; of another, the network is gone and its tasks run on.
    mesos.kill_agent_machine(1).unwrap();
    mesos.kill_agent(2).unwrap();
    let affected: Vec<u32> = on(&before, 1).into_iter().chain(on(&before, 2)).collect();
    for number in &affected {
        let replaced = job.wait_task(*number, "replaced", |task| {
            task.id != before[number].id && task.runtime["state"] == 4
        });
        assert!([0, 3].contains(&agent_of(&replaced)), "{replaced:?}");
        assert_ne!(replaced.slot, before[number].slot, "a new slot");
    }
    let replaced = job.wait_running(8);
    for (number, task) in replaced.iter().filter(|(number, _)| !affected.contains(number)) {
        assert_eq!(task.id, before[number].id, "instance {number} was not touched");
    }

    mesos.start_agent(1).unwrap();
    mesos.start_agent(2).unwrap();
    mesos.wait_until_registered().unwrap();
    // The replacements stay: what returns is ended, and its slots are released.
    let after = job.wait_running(8);
    assert!(after.values().map(|task| &task.id).eq(replaced.values().map(|task| &task.id)));
    end(&job, &audit, &after);
    wait_until("end of all processes of tasks", PATIENCE, || {
        let left = mesos.task_processes();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
}
