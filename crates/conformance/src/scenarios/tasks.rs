//! The life of a task: its states, how it ends, and how updates are acknowledged.

use serde_json::{Value, json};

use super::operations::{accept, agent_offers, back};
use super::scenario;
use crate::build;
use crate::error::Result;
use crate::lab::Lab;
use crate::scheduler::Scheduler;
use crate::suite::Scenario;

pub(super) const SCENARIOS: &[Scenario] = &[
    scenario("finishes", finishes),
    scenario("fails", fails),
    scenario("cannot_start", cannot_start),
    scenario("killed", killed),
    scenario("killed_with_grace", killed_with_grace),
    scenario("killed_at_once", killed_at_once),
    scenario("killed_before_launch", killed_before_launch),
    scenario("wrong_kills", wrong_kills),
    scenario("killing_state", killing_state),
    scenario("health", health),
    scenario("environment", environment),
    scenario("unacknowledged", unacknowledged),
    scenario("wrong_acknowledgements", wrong_acknowledgements),
    scenario("wrong_acknowledgements_of_an_end", wrong_acknowledgements_of_an_end),
    scenario("ends_while_nobody_listens", ends_while_nobody_listens),
    scenario("teardown_ends_tasks", teardown_ends_tasks),
    scenario("reconcile", reconcile),
    scenario("reconcile_others", reconcile_others),
];

/// What needs many seconds.
pub(super) const SLOW: &[Scenario] = &[scenario("heartbeats_and_retries", heartbeats_and_retries)];

/// A HEARTBEAT comes at once and then every 15 seconds; an update without acknowledgement comes again
/// after 10, and one with does not.
fn heartbeats_and_retries(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = lab.subscribe(&[&role])?;
    run(&mut s, "t", |_| {})?;
    let starting = s.unacknowledged("t")?;
    lab.note(&format!("heartbeats at once: {}", s.heartbeats));
    s.watch(170)?;
    lab.note(&format!("heartbeats after 17 seconds: {}", s.heartbeats));
    lab.note(&format!("the update came again: {}", s.repeated > 0));
    s.acknowledge(&starting)?;
    s.updates("t", "TASK_RUNNING")?;
    s.nothing_more()
}

const SLEEP: &str = "sleep 600";

/// Launches a task with 1 CPU and 32 MB on agent 0.
fn run(s: &mut Scheduler, id: &str, change: impl FnOnce(&mut Value)) -> Result<()> {
    s.watch_until(|held| build::sum(&build::of_host(held, "agent-0"), "cpus") >= 1.0)?;
    let offers = build::of_host(&s.held(), "agent-0");
    let mut task = build::task(id, &offers[0].agent_id, SLEEP, build::resources("cpus:1;mem:32"));
    change(&mut task);
    accept(s, &offers, vec![build::launch(vec![task])])
}

fn command(text: &str) -> impl FnOnce(&mut Value) {
    let text = text.to_owned();
    move |task| task["command"]["value"] = json!(text)
}

/// STARTING, RUNNING, FINISHED; the labels of the task are not in its updates.
fn finishes(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = lab.subscribe(&[&role])?;
    run(&mut s, "t", |task| {
        task["command"]["value"] = json!("true");
        task["labels"] = json!({"labels": [{"key": "a", "value": "b"}]});
    })?;
    s.updates("t", "TASK_FINISHED")?;
    back(&mut s, "when it has ended")?;
    s.nothing_more()
}

/// An exit status that is not zero, and a signal from elsewhere.
fn fails(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = lab.subscribe(&[&role])?;
    run(&mut s, "exit", command("exit 3"))?;
    s.updates("exit", "TASK_FAILED")?;
    run(&mut s, "signal", command("kill -9 $$"))?;
    s.updates("signal", "TASK_FAILED")?;
    run(&mut s, "term", command("kill -TERM $$"))?;
    s.updates("term", "TASK_FAILED")?;
    run(&mut s, "segv", command("kill -SEGV $$"))?;
    s.updates("segv", "TASK_FAILED")?;
    s.nothing_more()
}

/// What the fetcher cannot fetch, and what is no program.
fn cannot_start(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = lab.subscribe(&[&role])?;
    run(&mut s, "fetch", |task| {
        task["command"]["uris"] = json!([{"value": "/no/such/file"}]);
    })?;
    s.updates("fetch", "TASK_FAILED")?;
    run(&mut s, "shell", command("/no/such/program"))?;
    s.updates("shell", "TASK_FAILED")?;
    back(&mut s, "when all have ended")?;
    s.nothing_more()
}

/// KILL is SIGTERM. A task that ends by it with a status of its own is killed all the same.
fn killed(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = lab.subscribe(&[&role])?;
    run(&mut s, "t1", |_| {})?;
    s.updates("t1", "TASK_RUNNING")?;
    s.call(build::kill("t1", None, None))?;
    s.updates("t1", "TASK_KILLED")?;
    let trap = "trap 'exit 7' TERM; touch ready; while :; do sleep 0.02; done";
    run(&mut s, "t2", command(trap))?;
    s.updates("t2", "TASK_RUNNING")?;
    s.watch(5)?;
    let agent = lab.agent(0)?;
    s.call(build::kill("t2", Some(&agent), None))?;
    s.updates("t2", "TASK_KILLED")?;
    s.nothing_more()
}

/// A task that ignores SIGTERM is killed after its grace period; the call's overrides the task's.
fn killed_with_grace(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = lab.subscribe(&[&role])?;
    let stubborn = "trap '' TERM; while :; do sleep 0.02; done";
    run(&mut s, "t1", |task| {
        task["command"]["value"] = json!(stubborn);
        task["kill_policy"] = json!({"grace_period": {"nanoseconds": 300_000_000}});
    })?;
    s.updates("t1", "TASK_RUNNING")?;
    s.watch(5)?;
    s.call(build::kill("t1", None, None))?;
    s.updates("t1", "TASK_KILLED")?;
    run(&mut s, "t2", |task| {
        task["command"]["value"] = json!(stubborn);
        task["kill_policy"] = json!({"grace_period": {"nanoseconds": 600_000_000_000_u64}});
    })?;
    s.updates("t2", "TASK_RUNNING")?;
    s.watch(5)?;
    s.call(build::kill("t2", None, Some(200)))?;
    s.updates("t2", "TASK_KILLED")?;
    lab.note("a second kill shortens the first's grace period");
    run(&mut s, "t3", |task| {
        task["command"]["value"] = json!(stubborn);
        task["kill_policy"] = json!({"grace_period": {"nanoseconds": 600_000_000_000_u64}});
    })?;
    s.updates("t3", "TASK_RUNNING")?;
    s.watch(5)?;
    s.call(build::kill("t3", None, None))?;
    s.call(build::kill("t3", None, Some(200)))?;
    s.updates("t3", "TASK_KILLED")?;
    s.nothing_more()
}

/// A kill right behind the launch. It may meet the task before or after it has started, so only the
/// end is looked at.
fn killed_at_once(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = lab.subscribe(&[&role])?;
    run(&mut s, "t", |_| {})?;
    s.call(build::kill("t", None, None))?;
    let state = loop {
        let event =
            s.take("an update of t", |e| e["update"]["status"]["taskId"]["value"] == "t")?;
        let status = event["update"]["status"].clone();
        s.acknowledge(&status)?;
        if status["state"] != "TASK_STARTING" && status["state"] != "TASK_RUNNING" {
            break status["state"].to_string();
        }
    };
    lab.note(&format!("it ends as {state}"));
    s.nothing_more()
}

/// A KILL that comes before its task's launch is answered as a question about a task that is not there,
/// and forgotten: the task that is launched afterwards runs.
fn killed_before_launch(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = lab.subscribe(&[&role])?;
    let agent = lab.agent(0)?;
    s.call(build::kill("t", Some(&agent), None))?;
    s.update("t")?;
    run(&mut s, "t", |_| {})?;
    s.updates("t", "TASK_RUNNING")?;
    s.watch(5)?;
    s.nothing_more()?;
    s.call(build::kill("t", Some(&agent), None))?;
    s.updates("t", "TASK_KILLED")?;
    s.nothing_more()
}

/// Kills of what is not there, or not where it is said to be, and two kills of one task.
fn wrong_kills(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = lab.subscribe(&[&role])?;
    let (here, there) = (lab.agent(0)?, lab.agent(1)?);
    lab.note("unknown, without agent, with one, with an unknown one");
    for agent in [None, Some(here.as_str()), Some("no-such-agent")] {
        s.call(build::kill("unknown", agent, None))?;
        s.update("unknown")?;
    }
    run(&mut s, "t", |_| {})?;
    s.updates("t", "TASK_RUNNING")?;
    lab.note("on another agent");
    s.call(build::kill("t", Some(&there), None))?;
    s.nothing_more()?;
    lab.note("on an unknown agent");
    s.call(build::kill("t", Some("no-such-agent"), None))?;
    s.nothing_more()?;
    lab.note("twice");
    s.call(build::kill("t", None, None))?;
    s.call(build::kill("t", None, None))?;
    s.updates("t", "TASK_KILLED")?;
    lab.note("when it has ended");
    back(&mut s, "all free")?;
    lab.settle_tasks(&s.framework_id, &[])?;
    s.call(build::kill("t", None, None))?;
    s.update("t")?;
    s.nothing_more()
}

/// With TASK_KILLING_STATE a kill is told of at once.
fn killing_state(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut info = build::framework(&[&role]);
    build::add_capability(&mut info, "TASK_KILLING_STATE");
    let mut s = lab.subscribe_with(info, &[])?;
    run(&mut s, "t", |_| {})?;
    s.updates("t", "TASK_RUNNING")?;
    s.call(build::kill("t", None, None))?;
    s.updates("t", "TASK_KILLED")?;
    s.nothing_more()
}

/// A health check's first result is an update, and so is each that differs from the one before.
/// After too many failures the task is killed: TASK_FAILED, unhealthy.
fn health(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = lab.subscribe(&[&role])?;
    let check = |command: &str, failures: u64| {
        json!({"type": "COMMAND", "command": {"shell": true, "value": command},
            "delay_seconds": 0.0, "interval_seconds": 0.1, "timeout_seconds": 5.0,
            "consecutive_failures": failures, "grace_period_seconds": 0.0})
    };
    run(&mut s, "good", |task| task["health_check"] = check("true", 3))?;
    s.updates("good", "TASK_RUNNING")?;
    s.update("good")?;
    s.watch(5)?;
    s.call(build::kill("good", None, None))?;
    s.updates("good", "TASK_KILLED")?;
    lab.note("one that fails");
    run(&mut s, "bad", |task| task["health_check"] = check("false", 1))?;
    s.updates("bad", "TASK_RUNNING")?;
    s.update("bad")?;
    let last = s.updates_to_the_end("bad")?;
    lab.note(&format!("it ends as {}", last["state"]));
    s.nothing_more()
}

/// What a task finds: its sandbox, its own variables, what was fetched, how many files it may open.
fn environment(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = lab.subscribe(&[&role])?;
    let with = |name: &str, value: &str| json!({"name": name, "value": value});
    run(&mut s, "variables", |task| {
        task["command"]["value"] = json!("test \"$OURS\" = 'a b'");
        task["command"]["environment"] = json!({"variables": [with("OURS", "a b")]});
    })?;
    s.updates_to_the_end("variables")?;
    run(&mut s, "sandbox", command("test \"$PWD\" -ef \"$MESOS_SANDBOX\" && touch here"))?;
    s.updates_to_the_end("sandbox")?;
    run(&mut s, "arguments", |task| {
        task["command"] = json!({"shell": false, "value": "/bin/sh",
            "arguments": ["sh", "-c", "test \"$1\" = 'x y'", "0", "x y"]});
    })?;
    s.updates_to_the_end("arguments")?;
    run(&mut s, "output", |task| {
        task["command"]["value"] = json!("test -x script && ./script");
        task["command"]["uris"] = json!([{"value": "/bin/true", "executable": true,
            "output_file": "script"}]);
    })?;
    s.updates_to_the_end("output")?;
    run(&mut s, "limit", |task| {
        task["command"]["value"] = json!("test $(ulimit -n) = 123");
        let limit = json!({"type": "RLMT_NOFILE", "hard": 123, "soft": 123});
        task["container"] = json!({"type": "MESOS", "rlimit_info": {"rlimits": [limit]}});
    })?;
    s.updates_to_the_end("limit")?;
    s.nothing_more()
}

/// Until an update is acknowledged, those behind it wait.
fn unacknowledged(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = lab.subscribe(&[&role])?;
    run(&mut s, "t", command("true"))?;
    let starting = s.unacknowledged("t")?;
    s.watch(5)?;
    s.nothing_more()?;
    lab.note("a reconciliation tells the state that was told, not the latest");
    s.call(build::reconcile(&[("t", None)]))?;
    s.unacknowledged("t")?;
    s.acknowledge(&starting)?;
    s.updates("t", "TASK_FINISHED")?;
    lab.settle_tasks(&s.framework_id, &[])?;
    s.call(build::reconcile(&[("t", None)]))?;
    s.update("t")?;
    s.nothing_more()
}

/// Acknowledgements that fit nothing are ignored.
fn wrong_acknowledgements(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = lab.subscribe(&[&role])?;
    run(&mut s, "t", |_| {})?;
    let starting = s.unacknowledged("t")?;
    let acknowledge = |task: &str, agent: &Value, uuid: &Value| {
        json!({"type": "ACKNOWLEDGE", "acknowledge":
            {"agent_id": agent, "task_id": {"value": task}, "uuid": uuid}})
    };
    let (agent, uuid) = (&starting["agentId"], &starting["uuid"]);
    let wrong = json!("AAAAAAAAQACAAAAAAAAAAA==");
    let nobody = json!({"value": "no-such-agent"});
    lab.note("another uuid, no uuid, another task, another agent");
    s.try_call(acknowledge("t", agent, &wrong))?;
    s.try_call(acknowledge("t", agent, &json!("AAAA")))?;
    s.try_call(acknowledge("other", agent, uuid))?;
    s.try_call(acknowledge("t", &nobody, uuid))?;
    s.watch(3)?;
    s.nothing_more()?;
    s.acknowledge(&starting)?;
    s.acknowledge(&starting)?;
    s.updates("t", "TASK_RUNNING")?;
    s.nothing_more()
}

/// The end of a task is told until it is acknowledged with its own uuid: that of the update before, or one
/// that never was, ends nothing.
fn wrong_acknowledgements_of_an_end(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = lab.subscribe(&[&role])?;
    run(&mut s, "t", |_| {})?;
    let running = s.updates("t", "TASK_RUNNING")?;
    s.call(build::kill("t", None, None))?;
    let killed = s.unacknowledged("t")?;
    for uuid in [&running["uuid"], &json!("AAAAAAAAQACAAAAAAAAAAA==")] {
        let mut wrong = killed.clone();
        wrong["uuid"] = uuid.clone();
        s.acknowledge(&wrong)?;
    }
    s.offers("what it had is free all the same", |held| build::sum(held, "cpus") >= 8.0 - 0.001)?;
    lab.settle_tasks(&s.framework_id, &["t"])?;
    s.call(build::reconcile(&[("t", None)]))?;
    s.answer("t")?;
    s.acknowledge(&killed)?;
    lab.settle_tasks(&s.framework_id, &[])?;
    s.call(build::reconcile(&[("t", None)]))?;
    s.answer("t")?;
    s.nothing_more()
}

/// Updates wait for a framework that is away, and come when it is back.
fn ends_while_nobody_listens(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = lab.subscribe(&[&role])?;
    run(&mut s, "t", command("while ! test -e go; do sleep 0.02; done"))?;
    s.updates("t", "TASK_RUNNING")?;
    let (id, info) = (s.framework_id.clone(), s.info.clone());
    s.disconnect();
    lab.until_inactive(&id)?;
    let mut s = lab.resubscribe_as(&id, &info)?;
    lab.note("it runs on; nothing is told unasked");
    s.nothing_more()?;
    s.call(build::reconcile(&[]))?;
    s.update("t")?;
    s.call(build::kill("t", None, None))?;
    s.unacknowledged("t")?;
    let (id, info) = (s.framework_id.clone(), s.info.clone());
    s.disconnect();
    lab.until_inactive(&id)?;
    let mut s = lab.resubscribe_as(&id, &info)?;
    s.call(build::reconcile(&[("t", None)]))?;
    s.answer("t")?;
    Ok(())
}

/// TEARDOWN ends the framework's tasks; what they used is free, what was reserved stays reserved.
fn teardown_ends_tasks(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s1 = lab.subscribe(&[&role])?;
    let offers = agent_offers(&mut s1, "agent-0", 4.0)?;
    let owner = [build::reservation(&role, &[])];
    let of = build::reserved(build::resources("cpus:1;mem:32"), &owner, &role);
    let task = build::task("t", &offers[0].agent_id, SLEEP, of.clone());
    accept(&mut s1, &offers, vec![build::reserve(of), build::launch(vec![task])])?;
    s1.updates("t", "TASK_RUNNING")?;
    s1.call(json!({"type": "TEARDOWN"}))?;
    let mut s2 = lab.subscribe(&[&role])?;
    back(&mut s2, "for another framework of the role")?;
    s2.nothing_more()
}

/// Explicit and implicit reconciliation of tasks that run, ended, and never were.
fn reconcile(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = lab.subscribe(&[&role])?;
    let (here, there) = (lab.agent(0)?, lab.agent(1)?);
    lab.note("nothing to tell");
    s.call(build::reconcile(&[]))?;
    s.nothing_more()?;
    run(&mut s, "t", |_| {})?;
    s.updates("t", "TASK_RUNNING")?;
    run(&mut s, "over", command("true"))?;
    s.updates("over", "TASK_FINISHED")?;
    lab.settle_tasks(&s.framework_id, &["t"])?;
    for task in ["t", "over", "never"] {
        lab.note(&format!("{task}: without agent, its agent, another, an unknown one"));
        for agent in [None, Some(here.as_str()), Some(there.as_str()), Some("no-such-agent")] {
            s.call(build::reconcile(&[(task, agent)]))?;
            s.update(task)?;
        }
    }
    lab.note("all at once");
    s.call(build::reconcile(&[("t", None), ("over", None), ("t", None)]))?;
    s.update("t")?;
    s.update("over")?;
    s.update("t")?;
    s.call(build::reconcile(&[]))?;
    s.update("t")?;
    s.nothing_more()
}

/// A framework learns nothing of another's tasks.
fn reconcile_others(lab: &mut Lab<'_>) -> Result<()> {
    let (a, b) = (lab.role("a"), lab.role("b"));
    let mut s1 = lab.subscribe(&[&a])?;
    run(&mut s1, "t", |_| {})?;
    s1.updates("t", "TASK_RUNNING")?;
    let mut s2 = lab.subscribe(&[&b])?;
    let here = lab.agent(0)?;
    s2.call(build::reconcile(&[("t", None)]))?;
    s2.update("t")?;
    s2.call(build::reconcile(&[("t", Some(&here))]))?;
    s2.update("t")?;
    s2.call(build::reconcile(&[]))?;
    s2.call(build::kill("t", None, None))?;
    s2.update("t")?;
    s2.nothing_more()?;
    s1.nothing_more()
}
