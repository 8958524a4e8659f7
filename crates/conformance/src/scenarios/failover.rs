//! Frameworks that go away: how long Mesos waits for them, and what it does then.

use serde_json::json;

use super::operations::{accept, agent_offers};
use super::scenario;
use crate::build;
use crate::error::Result;
use crate::lab::Lab;
use crate::scheduler::Scheduler;
use crate::suite::Scenario;
use crate::wire;

pub(super) const SCENARIOS: &[Scenario] = &[
    scenario("back_in_time", back_in_time),
    scenario("not_back_in_time", not_back_in_time),
    scenario("no_time_at_all", no_time_at_all),
    scenario("the_last_word_counts", the_last_word_counts),
];

/// A task that leaves a word in its volume when it is killed.
const TELLS: &str = "trap 'touch data/killed; exit 0' TERM; touch data/begun; \
                     while :; do sleep 0.02; done";

/// A task that ends well as soon as that word is there.
const LISTENS: &str = "test -e data/begun || exit 1; for i in $(seq 500); do \
                       test -e data/killed && exit 0; sleep 0.02; done; exit 2";

/// A framework with a fail-over time-out, and a task of it in a slot with a volume.
fn with_task(lab: &mut Lab<'_>, role: &str, timeout_seconds: f64) -> Result<Scheduler> {
    let mut info = build::framework(&[role]);
    info["failover_timeout"] = json!(timeout_seconds);
    let mut s = lab.subscribe_with(info, &[])?;
    let offers = agent_offers(&mut s, "agent-0", 4.0)?;
    let owner = [build::reservation(role, &[("slot", "1")])];
    let of = |text: &str| build::reserved(build::resources(text), &owner, role);
    let volume = build::volume(of("disk:32").remove(0), "v1", "data");
    let mut used = of("cpus:1;mem:64");
    used.push(volume.clone());
    let mut task = build::task("t", &offers[0].agent_id, TELLS, used);
    // A word from the task itself: what is killed before it has begun leaves none.
    task["health_check"] = json!({"type": "COMMAND", "interval_seconds": 0.05,
        "delay_seconds": 0.0, "grace_period_seconds": 600.0,
        "command": {"shell": true, "value": "test -e data/begun"}});
    let operations = vec![
        build::reserve(of("cpus:1;mem:64;disk:32")),
        build::create(vec![volume]),
        build::launch(vec![task]),
    ];
    accept(&mut s, &offers, operations)?;
    s.updates("t", "TASK_RUNNING")?;
    s.update("t")?;
    Ok(s)
}

/// Back before the time is over, a framework finds its tasks, and the time that ran is void.
fn back_in_time(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let s = with_task(lab, &role, 4.0)?;
    let (id, info) = (s.framework_id.clone(), s.info.clone());
    s.disconnect();
    lab.until_inactive(&id)?;
    let mut s = lab.resubscribe_as(&id, &info)?;
    lab.note("longer than the time-out later");
    s.watch(50)?;
    s.call(build::reconcile(&[]))?;
    s.update("t")?;
    s.offers("what is free", |held| build::sum(held, "cpus") >= 7.0 - 0.001)?;
    s.call(build::kill("t", None, None))?;
    s.updates("t", "TASK_KILLED")?;
    s.nothing_more()
}

/// Not back in time, a framework is removed: its tasks are killed, its reservations and volumes stay,
/// and a subscription with its id is refused for good.
fn not_back_in_time(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let s = with_task(lab, &role, 1.0)?;
    removed(lab, s, &role)
}

/// Without a time-out, a framework is removed as soon as its connection ends.
fn no_time_at_all(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let s = with_task(lab, &role, 0.0)?;
    removed(lab, s, &role)
}

/// The time-out is that of the last subscription.
fn the_last_word_counts(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s1 = with_task(lab, &role, 600.0)?;
    let mut info = s1.info.clone();
    info["failover_timeout"] = json!(1.0);
    let s2 = lab.resubscribe_as(&s1.framework_id, &info)?;
    s1.event("ERROR")?;
    s1.event("CLOSED")?;
    removed(lab, s2, &role)
}

/// What a removed framework leaves to another of its role, and what it is told when it is back.
fn removed(lab: &mut Lab<'_>, s: Scheduler, role: &str) -> Result<()> {
    let (id, stream, mut info) = (s.framework_id.clone(), s.stream_id.clone(), s.info.clone());
    s.disconnect();
    lab.until_completed(&id)?;
    let mut heir = lab.subscribe(&[role])?;
    let offers = heir.offers("what it had", |held| build::sum(held, "cpus") >= 8.0 - 0.001)?;
    let offers = build::of_host(&offers, "agent-0");
    info["id"] = json!({"value": id});
    lab.subscribe_refused(info)?;
    let revive = wire::encode(&json!({"type": "REVIVE", "framework_id": {"value": id}}))?;
    let headers = [("Content-Type", wire::PROTOBUF), ("Mesos-Stream-Id", stream.as_str())];
    lab.raw("a call on the old stream", &headers, &revive)?;
    lab.note("another framework's task finds that the first was killed");
    let reserved = |r: &&serde_json::Value| r.get("reservations").is_some();
    let used = offers.iter().flat_map(|offer| &offer.resources).filter(reserved);
    let task = build::task("listens", &offers[0].agent_id, LISTENS, used.cloned().collect());
    accept(&mut heir, &offers, vec![build::launch(vec![task])])?;
    heir.updates_to_the_end("listens")?;
    lab.note("nothing is told of the task to others");
    heir.call(build::reconcile(&[("t", None)]))?;
    heir.update("t")?;
    heir.nothing_more()
}
