//! LAUNCH: alone, behind operations, with what is wrong in it, and from which offers.

use serde_json::{Value, json};

use super::operations::{accept, agent_offers, back};
use super::scenario;
use crate::build;
use crate::error::Result;
use crate::lab::Lab;
use crate::scheduler::Offer;
use crate::suite::Scenario;

pub(super) const SCENARIOS: &[Scenario] = &[
    scenario("reserve_create_launch", reserve_create_launch),
    scenario("behind_failed_operations", behind_failed_operations),
    scenario("wrong_tasks", wrong_tasks),
    scenario("several_tasks", several_tasks),
    scenario("duplicate_ids", duplicate_ids),
    scenario("several_offers", several_offers),
    scenario("two_agents", two_agents),
    scenario("invalid_offers", invalid_offers),
    scenario("rescinded_offer", rescinded_offer),
    scenario("partial_use", partial_use),
    scenario("nothing_to_do", nothing_to_do),
    scenario("groups", groups),
    scenario("groups_run", groups_run),
];

const SLEEP: &str = "sleep 600";

/// RESERVE, CREATE and LAUNCH in one ACCEPT. When the task has ended, what it had comes back
/// reserved as it was, and the volume with it.
fn reserve_create_launch(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = lab.subscribe(&[&role])?;
    let offers = agent_offers(&mut s, "agent-0", 4.0)?;
    let owner = [build::reservation(&role, &[("slot", "1")])];
    let of = |text: &str| build::reserved(build::resources(text), &owner, &role);
    let volume = build::volume(of("disk:32").remove(0), "v1", "data");
    let mut used = of("cpus:1;mem:64;ports:31000-31001");
    used.push(volume.clone());
    let task =
        |id: &str, command: &str| build::task(id, &offers[0].agent_id, command, used.clone());
    let operations = vec![
        build::with_id("reserve", build::reserve(of("cpus:1;mem:64;disk:64;ports:31000-31001"))),
        build::with_id("create", build::create(vec![volume.clone()])),
        build::launch(vec![task("t1", "echo kept > data/file && sleep 600")]),
    ];
    accept(&mut s, &offers, operations)?;
    s.operation("reserve")?;
    s.operation("create")?;
    s.updates("t1", "TASK_RUNNING")?;
    s.offers("while it runs", |held| build::sum(held, "cpus") >= 7.0)?;
    s.call(build::kill("t1", None, None))?;
    s.updates("t1", "TASK_KILLED")?;
    let again = back(&mut s, "when it has ended")?;
    lab.note("another task finds what the first wrote");
    accept(&mut s, &again, vec![build::launch(vec![task("t2", "grep -q kept data/file")])])?;
    s.updates("t2", "TASK_FINISHED")?;
    let again = back(&mut s, "when the second has ended")?;
    lab.note("a volume that is destroyed and made again is empty");
    let operations = vec![
        build::destroy(vec![volume.clone()]),
        build::create(vec![volume]),
        build::launch(vec![task("t3", "test ! -e data/file")]),
    ];
    accept(&mut s, &again, operations)?;
    s.updates("t3", "TASK_FINISHED")?;
    s.nothing_more()
}

/// A LAUNCH behind an operation that fails is still tried: it fails if it needs what the
/// operation should have made, and runs if it does not.
fn behind_failed_operations(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = lab.subscribe(&[&role])?;
    let owner = [build::reservation(&role, &[("slot", "1")])];
    let of = |text: &str| build::reserved(build::resources(text), &owner, &role);
    let free = || build::allocated(build::resources("cpus:1;mem:32"), &role);
    lab.note("the task needs what was not reserved");
    let offers = agent_offers(&mut s, "agent-0", 4.0)?;
    let agent = offers[0].agent_id.clone();
    let task = |id: &str, resources: Vec<Value>| build::task(id, &agent, SLEEP, resources);
    let reserve = || build::with_id("reserve", build::reserve(of("cpus:64;mem:32")));
    let launch = build::launch(vec![task("t1", of("cpus:1;mem:32"))]);
    accept(&mut s, &offers, vec![reserve(), launch])?;
    s.operation("reserve")?;
    s.update("t1")?;
    lab.note("the task does not");
    let offers = agent_offers(&mut s, "agent-0", 4.0)?;
    accept(&mut s, &offers, vec![reserve(), build::launch(vec![task("t2", free())])])?;
    s.operation("reserve")?;
    s.updates("t2", "TASK_RUNNING")?;
    s.call(build::kill("t2", None, None))?;
    s.updates("t2", "TASK_KILLED")?;
    lab.note("an operation behind a LAUNCH cannot have what the task has");
    let offers = agent_offers(&mut s, "agent-0", 4.0)?;
    let operations = vec![
        build::launch(vec![task("t3", build::allocated(build::resources("cpus:3;mem:32"), &role))]),
        build::with_id("much", build::reserve(of("cpus:2"))),
        build::with_id("little", build::reserve(of("cpus:1"))),
    ];
    accept(&mut s, &offers, operations)?;
    s.operation("much")?;
    s.operation("little")?;
    s.updates("t3", "TASK_RUNNING")?;
    s.offers("while it runs", |held| build::sum(held, "cpus") >= 5.0)?;
    s.nothing_more()
}

/// Tasks that cannot be: TASK_ERROR, without uuid, from the master.
fn wrong_tasks(lab: &mut Lab<'_>) -> Result<()> {
    let (role, other) = (lab.role("a"), lab.role("b"));
    let mut s = lab.subscribe(&[&role])?;
    let offers = agent_offers(&mut s, "agent-0", 4.0)?;
    let agent = offers[0].agent_id.clone();
    let of = |text: &str| build::allocated(build::resources(text), &role);
    let task = |resources: Vec<Value>| build::task("t", &agent, SLEEP, resources);
    let good = || task(of("cpus:1;mem:32"));
    let with = |change: &dyn Fn(&mut Value)| {
        let mut task = good();
        change(&mut task);
        task
    };
    let reserved =
        build::reserved(build::resources("cpus:1"), &[build::reservation(&role, &[])], &role);
    let executor = json!({"executor_id": {"value": "e"}, "command": {"value": SLEEP}});
    let cases = [
        ("more than there is", task(of("cpus:64;mem:32"))),
        ("what is not reserved", task(reserved)),
        ("another role", task(build::allocated(build::resources("cpus:1;mem:32"), &other))),
        ("no resources", task(Vec::new())),
        ("a resource twice", task(of("cpus:1;cpus:1;mem:32"))),
        ("below zero", task(of("cpus:-1;mem:32"))),
        ("zero cpus", task(of("cpus:0;mem:32"))),
        ("ports that are not there", task(of("cpus:1;mem:32;ports:1-2"))),
        ("another agent", with(&|t| t["agent_id"]["value"] = json!("no-such-agent"))),
        ("a slash in the id", with(&|t| t["task_id"]["value"] = json!("a/b"))),
        ("an empty id", with(&|t| t["task_id"]["value"] = json!(""))),
        ("dots for an id", with(&|t| t["task_id"]["value"] = json!(".."))),
        ("a space in the id", with(&|t| t["task_id"]["value"] = json!("a b"))),
        ("neither command nor executor", with(&|t| t["command"] = Value::Null)),
        ("command and executor", with(&|t| t["executor"] = executor.clone())),
        (
            "a grace period below zero",
            with(&|t| {
                t["kill_policy"] = json!({"grace_period": {"nanoseconds": -1}});
            }),
        ),
        ("a health check of nothing", with(&|t| t["health_check"] = json!({"type": "HTTP"}))),
    ];
    for (index, (what, mut task)) in cases.into_iter().enumerate() {
        if task["task_id"]["value"] == "t" {
            task["task_id"]["value"] = json!(format!("t{index}"));
        }
        let id = task["task_id"]["value"].as_str().unwrap_or_default().to_owned();
        let offers = agent_offers(&mut s, "agent-0", 4.0)?;
        lab.note(what);
        accept(&mut s, &offers, vec![build::launch(vec![task])])?;
        let first = s.update(&id)?;
        if first["state"] != "TASK_ERROR" {
            lab.note("this one is good");
            s.updates(&id, "TASK_RUNNING")?;
            s.call(build::kill(&id, None, None))?;
            s.updates(&id, "TASK_KILLED")?;
            s.watch_until(|held| build::sum(held, "mem") >= 2048.0)?;
        }
    }
    back(&mut s, "what is left of it")?;
    s.nothing_more()
}

/// Of several tasks in one LAUNCH each stands for itself, in order.
fn several_tasks(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = lab.subscribe(&[&role])?;
    let offers = agent_offers(&mut s, "agent-0", 4.0)?;
    let of = |id: &str, text: &str| {
        build::task(id, &offers[0].agent_id, SLEEP, build::allocated(build::resources(text), &role))
    };
    let tasks = vec![
        of("t1", "cpus:2;mem:32"),
        of("t2", "cpus:3;mem:32"),
        of("t3", "cpus:2;mem:32"),
        of("t4", "cpus:1;mem:32"),
    ];
    accept(&mut s, &offers, vec![build::launch(tasks)])?;
    s.update("t2")?;
    s.update("t4")?;
    s.updates("t1", "TASK_RUNNING")?;
    s.updates("t3", "TASK_RUNNING")?;
    s.offers("what is left", |held| build::sum(held, "mem") >= 1024.0 + 960.0)?;
    s.nothing_more()
}

/// An id that a running task has is refused. (One of a task that has just ended is not, but then the
/// agent of Mesos 1.11 may hold the new task for ever, as its executor's id is still in use: this is
/// left out. Peloton uses no id twice.)
fn duplicate_ids(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = lab.subscribe(&[&role])?;
    let offers = agent_offers(&mut s, "agent-0", 4.0)?;
    let agent = offers[0].agent_id.clone();
    let task = || build::task("t", &agent, SLEEP, build::resources("cpus:1;mem:32"));
    lab.note("twice in one LAUNCH");
    accept(&mut s, &offers, vec![build::launch(vec![task(), task()])])?;
    s.update("t")?;
    s.updates("t", "TASK_RUNNING")?;
    lab.note("while it runs");
    let offers = agent_offers(&mut s, "agent-0", 3.0)?;
    accept(&mut s, &offers, vec![build::launch(vec![task()])])?;
    s.update("t")?;
    s.nothing_more()
}

/// Several offers of one agent are one pool of resources.
fn several_offers(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = lab.subscribe(&[&role])?;
    let offers = agent_offers(&mut s, "agent-0", 4.0)?;
    let agent = offers[0].agent_id.clone();
    let of = |text: &str| build::allocated(build::resources(text), &role);
    let tasks =
        ["t1", "t2"].map(|id| build::task(id, &agent, SLEEP, of("cpus:1;mem:256;disk:128")));
    accept(&mut s, &offers, vec![build::launch(tasks.to_vec())])?;
    s.updates("t1", "TASK_RUNNING")?;
    s.updates("t2", "TASK_RUNNING")?;
    agent_offers(&mut s, "agent-0", 2.0)?;
    s.call(build::kill("t1", None, None))?;
    s.updates("t1", "TASK_KILLED")?;
    let two = agent_offers(&mut s, "agent-0", 3.0)?;
    lab.note(&format!("offers of one agent: {}", two.len()));
    let big = build::task("big", &agent, SLEEP, of("cpus:3;mem:512"));
    accept(&mut s, &two, vec![build::launch(vec![big])])?;
    s.updates("big", "TASK_RUNNING")?;
    s.nothing_more()
}

/// Offers of two agents in one ACCEPT: nothing is done, tasks are dropped, all offers are used up.
fn two_agents(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = lab.subscribe(&[&role])?;
    let mut offers = s.offers("all", |held| build::sum(held, "cpus") >= 8.0)?;
    offers.sort_by_key(|offer| offer.host.clone());
    let task = build::task("t", &offers[0].agent_id, SLEEP, build::resources("cpus:1;mem:32"));
    let owner = [build::reservation(&role, &[])];
    let reserve = build::reserve(build::reserved(build::resources("cpus:1"), &owner, &role));
    let operations = vec![build::with_id("reserve", reserve), build::launch(vec![task])];
    accept(&mut s, &offers, operations)?;
    s.operation("reserve")?;
    s.update("t")?;
    s.offers("all again", |held| build::sum(held, "cpus") >= 8.0)?;
    s.nothing_more()
}

/// ACCEPT of offers that are not there, were used, or are named twice: tasks are lost, and
/// operations with ids are dropped.
fn invalid_offers(lab: &mut Lab<'_>) -> Result<()> {
    let (a, b) = (lab.role("a"), lab.role("b"));
    let mut s = lab.subscribe(&[&a])?;
    let offers = agent_offers(&mut s, "agent-0", 4.0)?;
    let agent = offers[0].agent_id.clone();
    let owner = [build::reservation(&a, &[])];
    let operations = |id: &str| {
        let task = build::task(id, &agent, SLEEP, build::resources("cpus:1;mem:32"));
        let reserve = build::reserve(build::reserved(build::resources("cpus:1"), &owner, &a));
        vec![build::with_id("reserve", reserve), build::launch(vec![task])]
    };
    let unknown = "no-such-offer";
    let first = offers[0].id.clone();
    let cases = [
        ("unknown", vec![unknown.to_owned()]),
        ("none", Vec::new()),
        ("unknown beside a good one", vec![first.clone(), unknown.to_owned()]),
    ];
    for (what, ids) in cases {
        lab.note(what);
        s.call(build::accept_ids(ids.iter().map(String::as_str), operations("t")))?;
        s.operation("reserve")?;
        s.update("t")?;
    }
    s.forget(&offers);
    let offers = agent_offers(&mut s, "agent-0", 4.0)?;
    let id = offers[0].id.clone();
    lab.note("twice the same");
    s.call(build::accept_ids([id.as_str(), id.as_str()].into_iter(), operations("t")))?;
    s.operation("reserve")?;
    s.update("t")?;
    s.forget(&offers);
    let offers = agent_offers(&mut s, "agent-0", 4.0)?;
    s.call(build::decline(&offers, Some(0.0)))?;
    s.forget(&offers);
    lab.note("declined before");
    s.call(build::accept(&offers, operations("t")))?;
    s.operation("reserve")?;
    s.update("t")?;
    lab.note("another framework's");
    s.watch_until(|held| build::sum(held, "cpus") >= 8.0)?;
    let all = s.held();
    let mut t = lab.subscribe_with(build::framework(&[&b]), &[&b])?;
    t.call(build::accept(&build::of_host(&all, "agent-0"), operations("t")))?;
    t.operation("reserve")?;
    t.update("t")?;
    t.nothing_more()?;
    s.nothing_more()
}

/// An ACCEPT that meets a RESCIND on its way: the same as an offer that is not there.
fn rescinded_offer(lab: &mut Lab<'_>) -> Result<()> {
    let (a, b) = (lab.role("a"), lab.role("b"));
    let mut s = lab.subscribe(&[&a])?;
    let offers = agent_offers(&mut s, "agent-0", 4.0)?;
    let agent = lab.agent(0)?;
    let mut one = build::resources("cpus:1").remove(0);
    one["reservations"] = json!([build::reservation(&b, &[])]);
    let content = json!({"agent_id": {"value": agent}, "resources": [one]});
    lab.operate(&json!({"type": "RESERVE_RESOURCES", "reserve_resources": content}))?;
    s.event("RESCIND")?;
    let task = build::task("t", &agent, SLEEP, build::resources("cpus:1;mem:32"));
    s.call(build::accept(&offers, vec![build::launch(vec![task])]))?;
    s.update("t")?;
    s.nothing_more()
}

/// What an ACCEPT leaves of an offer comes again at once, or after its filter's time.
fn partial_use(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = lab.subscribe(&[&role])?;
    let offers = agent_offers(&mut s, "agent-0", 4.0)?;
    let agent = offers[0].agent_id.clone();
    let task = |id: &str| build::task(id, &agent, SLEEP, build::resources("cpus:1;mem:32"));
    let mut call = build::accept(&offers, vec![build::launch(vec![task("t1")])]);
    call["accept"]["filters"] = json!({"refuse_seconds": 600.0});
    s.forget(&offers);
    s.call(call)?;
    s.updates("t1", "TASK_RUNNING")?;
    s.watch(5)?;
    s.show_offers("after five intervals, with a filter");
    s.call(json!({"type": "REVIVE"}))?;
    let offers = agent_offers(&mut s, "agent-0", 3.0)?;
    accept(&mut s, &offers, vec![build::launch(vec![task("t2")])])?;
    s.updates("t2", "TASK_RUNNING")?;
    s.offers("without", |held| build::sum(held, "cpus") >= 6.0)?;
    lab.note("no allocation in the task: Mesos adds it");
    let state = lab.operator().state()?;
    let tasks = state["frameworks"].as_array().into_iter().flatten();
    let tasks = tasks.flat_map(|f| f["tasks"].as_array().cloned().unwrap_or_default());
    let mut lines: Vec<String> = tasks.map(|t| format!("{} {}", t["id"], t["state"])).collect();
    lines.sort();
    lines.iter().for_each(|line| lab.transcript.say(line));
    s.nothing_more()
}

/// An ACCEPT without operations is a DECLINE.
fn nothing_to_do(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = lab.subscribe(&[&role])?;
    let offers = agent_offers(&mut s, "agent-0", 4.0)?;
    accept(&mut s, &offers, Vec::new())?;
    let offers = back(&mut s, "again")?;
    let mut call = build::accept(&offers, Vec::new());
    call["accept"]["filters"] = json!({"refuse_seconds": 600.0});
    s.forget(&offers);
    s.call(call)?;
    s.watch(5)?;
    s.show_offers("after five intervals, with a filter");
    s.nothing_more()
}

/// The executor that Mesos brings for groups.
fn default_executor(framework: &str, role: &str) -> Value {
    let resources = build::allocated(build::resources("cpus:0.1;mem:32;disk:32"), role);
    json!({"type": "DEFAULT", "executor_id": {"value": "e"},
        "framework_id": {"value": framework}, "resources": resources})
}

fn launch_group(executor: &Value, tasks: Vec<Value>) -> Value {
    json!({"type": "LAUNCH_GROUP",
        "launch_group": {"executor": executor, "task_group": {"tasks": tasks}}})
}

/// LAUNCH_GROUP: the tasks and their executor use resources apart. A task that ends well leaves the others
/// alone, one that is killed takes them with it, and a FAILURE tells of the executor's end.
fn groups_run(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = lab.subscribe(&[&role])?;
    let offers = agent_offers(&mut s, "agent-0", 4.0)?;
    let executor = default_executor(&s.framework_id, &role);
    let task = |id: &str, command: &str| {
        let resources = build::allocated(build::resources("cpus:1;mem:32"), &role);
        build::task(id, &offers[0].agent_id, command, resources)
    };
    let tasks = vec![task("t1", SLEEP), task("t2", SLEEP), task("t3", "sleep 1")];
    accept(&mut s, &offers, vec![launch_group(&executor, tasks)])?;
    s.updates("t3", "TASK_FINISHED")?;
    s.updates("t1", "TASK_RUNNING")?;
    s.updates("t2", "TASK_RUNNING")?;
    let held = s.offers("while they run", |held| build::sum(held, "cpus") >= 5.9 - 0.001)?;
    let named = |offer: &Offer| offer.message["executorIds"][0]["value"] == "e";
    let last = build::of_host(&held, "agent-0").iter().any(named);
    lab.note(&format!("its offers name the executor: {last}"));
    s.nothing_more()?;
    s.call(build::kill("t1", None, None))?;
    s.updates("t1", "TASK_KILLED")?;
    s.updates("t2", "TASK_KILLED")?;
    s.event("FAILURE")?;
    back(&mut s, "when all have ended")?;
    s.nothing_more()
}

/// LAUNCH_GROUP that cannot be: all of its tasks fail together.
fn groups(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = lab.subscribe(&[&role])?;
    let offers = agent_offers(&mut s, "agent-0", 4.0)?;
    let (agent, framework) = (offers[0].agent_id.clone(), s.framework_id.clone());
    let of = |text: &str| build::allocated(build::resources(text), &role);
    let task = |id: &str, text: &str| build::task(id, &agent, SLEEP, of(text));
    let executor = default_executor(&framework, &role);
    let mut custom = executor.clone();
    custom["type"] = json!("CUSTOM");
    let mut command = executor.clone();
    command["command"] = json!({"value": SLEEP});
    let cases = [
        (
            "too much together",
            &executor,
            vec![task("t1", "cpus:3;mem:32"), task("t2", "cpus:3;mem:32")],
        ),
        (
            "a task is wrong",
            &executor,
            vec![task("t1", "cpus:1;mem:32"), task("t2", "cpus:-1;mem:32")],
        ),
        ("a custom executor without command", &custom, vec![task("t1", "cpus:1;mem:32")]),
        ("a default executor with command", &command, vec![task("t1", "cpus:1;mem:32")]),
    ];
    for (what, executor, tasks) in cases {
        lab.note(what);
        let ids: Vec<String> = tasks
            .iter()
            .map(|t| t["task_id"]["value"].as_str().unwrap_or_default().to_owned())
            .collect();
        let offers = agent_offers(&mut s, "agent-0", 4.0)?;
        accept(&mut s, &offers, vec![launch_group(executor, tasks)])?;
        for id in ids {
            s.update(&id)?;
        }
    }
    back(&mut s, "what is left of it")?;
    s.nothing_more()
}
