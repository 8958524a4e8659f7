//! Agents that stop, die, are cut off, drained, and gone.

use serde_json::{Value, json};

use super::operations::{accept, agent_offers};
use super::scenario;
use crate::build;
use crate::error::Result;
use crate::lab::Lab;
use crate::scheduler::Scheduler;
use crate::suite::Scenario;

pub(super) const SCENARIOS: &[Scenario] = &[
    scenario("process_restarts", process_restarts),
    scenario("task_ends_while_the_agent_is_down", task_ends_while_the_agent_is_down),
    scenario("killed_while_the_agent_is_down", killed_while_the_agent_is_down),
    scenario("unreachable_and_back", unreachable_and_back),
    scenario("machine_dies", machine_dies),
    scenario("deactivated", deactivated),
    scenario("maintenance", maintenance),
    scenario("inverse_offers_are_answered", inverse_offers_are_answered),
    scenario("gone", gone),
    scenario("gone_while_it_is_away", gone_while_it_is_away),
];

/// Groups of scenarios that break the master.
pub(super) const MASTER: &[Scenario] = &[
    scenario("master_restarts", master_restarts),
    scenario("reconcile_before_agents_return", reconcile_before_agents_return),
    scenario("gone_before_it_is_back", gone_before_it_is_back),
];

/// By itself: what is launched on the agent afterwards may still be dropped.
pub(super) const DRAIN: &[Scenario] = &[scenario("drained", drained)];

const SLEEP: &str = "sleep 600";

/// A task in a slot of its own on agent 0, and one without reservation.
fn two_tasks(lab: &mut Lab<'_>, role: &str) -> Result<Scheduler> {
    let mut s = lab.subscribe(&[role])?;
    let offers = agent_offers(&mut s, "agent-0", 4.0)?;
    let owner = [build::reservation(role, &[("slot", "1")])];
    let of = build::reserved(build::resources("cpus:1;mem:64"), &owner, role);
    let agent = &offers[0].agent_id;
    let free = build::allocated(build::resources("cpus:1;mem:32"), role);
    let tasks = vec![
        build::task("reserved", agent, SLEEP, of.clone()),
        build::task("free", agent, SLEEP, free),
    ];
    accept(&mut s, &offers, vec![build::reserve(of), build::launch(tasks)])?;
    s.updates("reserved", "TASK_RUNNING")?;
    s.updates("free", "TASK_RUNNING")?;
    s.watch_until(|held| build::sum(held, "cpus") >= 6.0 - 0.001)?;
    Ok(s)
}

/// An agent's process that is started again finds its tasks; nothing is told of it but that its offers
/// are taken back and made again, reservations with them.
fn process_restarts(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = two_tasks(lab, &role)?;
    lab.target.stop_agent(0)?;
    s.event("RESCIND")?;
    lab.note("while the agent is away");
    s.call(build::reconcile(&[("free", None)]))?;
    s.answer("free")?;
    lab.target.start_agent(0)?;
    lab.until_active(&[0, 1])?;
    s.offers("when it is back", |held| build::sum(held, "cpus") >= 6.0 - 0.001)?;
    s.call(build::reconcile(&[("reserved", None)]))?;
    s.answer("reserved")?;
    s.call(build::kill("free", None, None))?;
    s.updates("free", "TASK_KILLED")?;
    s.nothing_more()
}

/// A task that ends while its agent's process is away is told of when it is back.
fn task_ends_while_the_agent_is_down(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = lab.subscribe(&[&role])?;
    let offers = agent_offers(&mut s, "agent-0", 4.0)?;
    let resources = build::resources("cpus:1;mem:32");
    let task = build::task("t", &offers[0].agent_id, "sleep 1; exit 3", resources);
    accept(&mut s, &offers, vec![build::launch(vec![task])])?;
    s.updates("t", "TASK_RUNNING")?;
    s.watch_until(|held| build::sum(held, "cpus") >= 7.0 - 0.001)?;
    lab.target.stop_agent(0)?;
    s.event("RESCIND")?;
    s.watch(12)?;
    s.call(build::kill("t", None, None))?;
    lab.target.start_agent(0)?;
    s.updates("t", "TASK_FAILED")?;
    lab.until_active(&[0, 1])?;
    s.nothing_more()
}

/// A KILL for an agent whose process is away is sent when it is back.
fn killed_while_the_agent_is_down(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = two_tasks(lab, &role)?;
    lab.target.stop_agent(0)?;
    s.event("RESCIND")?;
    s.call(build::kill("reserved", None, None))?;
    s.nothing_more()?;
    lab.target.start_agent(0)?;
    s.updates("reserved", "TASK_KILLED")?;
    lab.until_active(&[0, 1])?;
    s.offers("what it had", |held| build::sum(held, "cpus") >= 7.0 - 0.001)?;
    s.call(build::reconcile(&[("free", None)]))?;
    s.answer("free")?;
    s.nothing_more()
}

/// An agent that does not answer: TASK_UNREACHABLE without uuid, its offers taken back. When it is
/// back, TASK_RUNNING is told again, and its resources are offered as they were.
fn unreachable_and_back(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = two_tasks(lab, &role)?;
    let agent = lab.agent(0)?;
    lab.target.partition_agent(0, true)?;
    s.update("reserved")?;
    s.update("free")?;
    s.event("RESCIND")?;
    s.event("FAILURE")?;
    lab.note("asked meanwhile: with and without agent, and one that never was");
    for (task, agent) in [("free", None), ("free", Some(agent.as_str())), ("never", Some(&agent))] {
        s.call(build::reconcile(&[(task, agent)]))?;
        s.update(task)?;
    }
    s.call(build::reconcile(&[]))?;
    s.nothing_more()?;
    s.call(build::reconcile_operations(&[("never", Some(&agent))]))?;
    s.operation("never")?;
    s.call(build::kill("free", Some(&agent), None))?;
    s.nothing_more()?;
    lab.target.partition_agent(0, false)?;
    s.update("reserved")?;
    s.update("free")?;
    lab.until_active(&[0, 1])?;
    s.offers("when it is back", |held| build::sum(held, "cpus") >= 6.0 - 0.001)?;
    s.call(build::kill("free", None, None))?;
    s.updates("free", "TASK_KILLED")?;
    s.nothing_more()
}

/// A machine that dies and comes back: the tasks are lost, which is told when its agent registers
/// again; the reservations are still there.
fn machine_dies(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = two_tasks(lab, &role)?;
    lab.target.kill_agent_machine(0)?;
    lab.target.start_agent(0)?;
    s.updates_to_the_end("reserved")?;
    s.updates_to_the_end("free")?;
    lab.until_active(&[0, 1])?;
    s.event("RESCIND")?;
    s.offers("when it is back", |held| build::sum(held, "cpus") >= 8.0 - 0.001)?;
    s.nothing_more()
}

/// What an agent that is deactivated has is not offered; its tasks go on.
fn deactivated(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = two_tasks(lab, &role)?;
    let content = json!({"agent_id": {"value": lab.agent(0)?}});
    lab.operate(&json!({"type": "DEACTIVATE_AGENT", "deactivate_agent": content}))?;
    s.event("RESCIND")?;
    s.watch(5)?;
    s.show_offers("after five intervals");
    s.call(build::reconcile(&[("free", None)]))?;
    s.answer("free")?;
    lab.operate(&json!({"type": "REACTIVATE_AGENT", "reactivate_agent": content}))?;
    s.offers("when it is reactivated", |held| build::sum(held, "cpus") >= 6.0 - 0.001)?;
    s.call(build::kill("free", None, None))?;
    s.updates("free", "TASK_KILLED")?;
    lab.note("one that nobody knows");
    let nobody = json!({"agent_id": {"value": "nobody"}});
    lab.operate(&json!({"type": "DEACTIVATE_AGENT", "deactivate_agent": nobody}))?;
    lab.operate(&json!({"type": "REACTIVATE_AGENT", "reactivate_agent": nobody}))?;
    s.nothing_more()
}

/// An agent that is drained kills its tasks and is offered no more, until it is reactivated. (What is
/// launched right behind that, the agent of Mesos 1.11 may still drop as "already draining".)
fn drained(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = two_tasks(lab, &role)?;
    let agent = json!({"value": lab.agent(0)?});
    let drain = json!({"agent_id": agent, "max_grace_period": {"nanoseconds": 1_000_000_000}});
    lab.operate(&json!({"type": "DRAIN_AGENT", "drain_agent": drain}))?;
    s.event("RESCIND")?;
    s.updates_to_the_end("reserved")?;
    s.updates_to_the_end("free")?;
    s.watch(5)?;
    s.show_offers("after five intervals");
    lab.settle_tasks(&s.framework_id, &[])?;
    lab.operate(&json!({"type": "REACTIVATE_AGENT", "reactivate_agent": {"agent_id": agent}}))?;
    s.offers("when it is reactivated", |held| build::sum(held, "cpus") >= 8.0 - 0.001)?;
    s.nothing_more()
}

/// Plans maintenance.
fn schedule(lab: &mut Lab<'_>, windows: Value) -> Result<()> {
    lab.operate(&json!({"type": "UPDATE_MAINTENANCE_SCHEDULE",
        "update_maintenance_schedule": {"schedule": {"windows": windows}}}))?;
    Ok(())
}

/// An hour far in the future for the machine of agent 0.
fn window_of_agent_0() -> Value {
    let start: u64 = 4_000_000_000_000_000_000;
    json!([{"machine_ids": [{"hostname": "agent-0", "ip": "127.0.0.1"}],
        "unavailability": {"start": {"nanoseconds": start},
            "duration": {"nanoseconds": 3_600_000_000_000_u64}}}])
}

/// The next inverse offer, recorded: its id.
fn inverse_offer(lab: &Lab<'_>, s: &mut Scheduler) -> Result<Value> {
    let event = s.take("INVERSE_OFFERS", |event| event["type"] == "INVERSE_OFFERS")?;
    let offers = event["inverseOffers"]["inverseOffers"].as_array();
    for offer in offers.into_iter().flatten() {
        let id = offer["id"]["value"].as_str().unwrap_or_default();
        lab.transcript.name(id, "<inverse offer>");
    }
    s.record(&event);
    Ok(event["inverseOffers"]["inverseOffers"][0]["id"].clone())
}

/// A machine with planned maintenance: its offers are made anew with the time, and what is used of it
/// is asked back by an inverse offer.
fn maintenance(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = two_tasks(lab, &role)?;
    schedule(lab, window_of_agent_0())?;
    inverse_offer(lab, &mut s)?;
    s.rescinds()?;
    let offers = s.offers("with the time", |held| build::sum(held, "cpus") >= 6.0 - 0.001)?;
    for offer in build::of_host(&offers, "agent-0") {
        lab.transcript.message("unavailable", &offer.message["unavailability"]);
    }
    schedule(lab, json!([]))?;
    s.take("the end of it", |event| event["type"] == "RESCIND_INVERSE_OFFER")?;
    s.call(build::kill("free", None, None))?;
    s.updates("free", "TASK_KILLED")?;
    Ok(())
}

/// An answer to an inverse offer, yes or no, says when the next one may come; nothing else follows from
/// it. One that is not there is ignored.
fn inverse_offers_are_answered(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = two_tasks(lab, &role)?;
    schedule(lab, window_of_agent_0())?;
    let answer = |accept: bool, id: &Value, seconds: f64| {
        let kind = if accept { "ACCEPT_INVERSE_OFFERS" } else { "DECLINE_INVERSE_OFFERS" };
        json!({"type": kind, kind.to_lowercase(): {
            "inverse_offer_ids": [id], "filters": {"refuse_seconds": seconds}}})
    };
    let first = inverse_offer(lab, &mut s)?;
    s.rescinds()?;
    lab.note("no, and ask again at once");
    s.call(answer(false, &first, 0.0))?;
    let second = inverse_offer(lab, &mut s)?;
    lab.note(&format!("another: {}", first != second));
    lab.note("one that was answered, and one that never was");
    s.call(answer(true, &first, 0.0))?;
    s.call(answer(false, &json!({"value": "no-such-offer"}), 0.0))?;
    s.watch(5)?;
    s.nothing_more()?;
    lab.note("yes, and ask again at once");
    s.call(answer(true, &second, 0.0))?;
    let third = inverse_offer(lab, &mut s)?;
    lab.note("yes, and do not ask for long");
    s.call(answer(true, &third, 600.0))?;
    s.watch(5)?;
    s.nothing_more()?;
    lab.note("the tasks go on");
    s.call(build::reconcile(&[("free", None)]))?;
    s.answer("free")?;
    schedule(lab, json!([]))?;
    s.rescinds()?;
    s.nothing_more()
}

/// An agent that an operator marks as gone: its tasks are TASK_GONE_BY_OPERATOR, its offers are taken
/// back, and it cannot come back.
fn gone(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = two_tasks(lab, &role)?;
    let agent = lab.agent(0)?;
    let mark = mark_gone(&agent);
    lab.operate(&mark)?;
    s.update("reserved")?;
    s.update("free")?;
    s.event("RESCIND")?;
    s.event("FAILURE")?;
    lab.note("asked afterwards: with and without agent, and one that never was");
    for (task, agent) in [("free", None), ("free", Some(agent.as_str())), ("never", Some(&agent))] {
        s.call(build::reconcile(&[(task, agent)]))?;
        s.update(task)?;
    }
    s.call(build::reconcile_operations(&[("never", Some(&agent))]))?;
    s.operation("never")?;
    lab.operate(&mark)?;
    lab.operate(&mark_gone("nobody"))?;
    s.offers("what is left", |held| build::sum(held, "cpus") >= 4.0 - 0.001)?;
    s.nothing_more()?;
    stays_away(lab, &mut s)?;
    s.nothing_more()
}

/// An agent that is marked gone while it is unreachable: its tasks are told of again, as gone. When it
/// is back it is sent away.
fn gone_while_it_is_away(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = two_tasks(lab, &role)?;
    let agent = lab.agent(0)?;
    lab.target.partition_agent(0, true)?;
    s.update("reserved")?;
    s.update("free")?;
    s.event("RESCIND")?;
    s.event("FAILURE")?;
    lab.operate(&mark_gone(&agent))?;
    s.update("reserved")?;
    s.update("free")?;
    s.call(build::reconcile(&[("free", Some(&agent))]))?;
    s.update("free")?;
    lab.target.partition_agent(0, false)?;
    stays_away(lab, &mut s)?;
    s.call(build::reconcile(&[("free", Some(&agent))]))?;
    s.update("free")?;
    s.nothing_more()
}

/// Agent 0, which is gone, ends, and ends again whenever it is started, since it comes back with its old
/// id: until somebody removes that from its disk. Then it is a new agent, with what was reserved.
fn stays_away(lab: &mut Lab<'_>, s: &mut Scheduler) -> Result<()> {
    lab.until_sent_away(0)?;
    lab.target.start_agent(0)?;
    lab.until_sent_away(0)?;
    lab.note("it was sent away twice, and is started without its old id");
    s.nothing_more()?;
    lab.target.forget_agent(0)?;
    lab.target.start_agent(0)?;
    lab.until_active(&[0, 1])?;
    s.offers("with the new agent", |held| build::sum(held, "cpus") >= 8.0 - 0.001)?;
    Ok(())
}

fn mark_gone(agent: &str) -> Value {
    json!({"type": "MARK_AGENT_GONE", "mark_agent_gone": {"agent_id": {"value": agent}}})
}

/// A master that is started again: frameworks subscribe anew with their ids, agents register again,
/// nothing of tasks and reservations is lost.
fn master_restarts(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = two_tasks(lab, &role)?;
    let (id, info) = (s.framework_id.clone(), s.info.clone());
    lab.target.stop_master()?;
    s.event("CLOSED")?;
    lab.target.start_master()?;
    lab.until_active(&[0, 1])?;
    let mut s = lab.resubscribe_as(&id, &info)?;
    s.offers("when all are back", |held| build::sum(held, "cpus") >= 6.0 - 0.001)?;
    s.call(build::reconcile(&[("reserved", None)]))?;
    s.answer("reserved")?;
    s.call(build::kill("free", None, None))?;
    s.updates("free", "TASK_KILLED")?;
    s.offers("when one has ended", |held| build::sum(held, "cpus") >= 7.0 - 0.001)?;
    s.nothing_more()
}

/// While an agent has not come back after the master's restart, nothing is answered about its tasks:
/// they may be there. Those that it never had are unknown when it is back.
fn reconcile_before_agents_return(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = two_tasks(lab, &role)?;
    let (id, info, agent) = (s.framework_id.clone(), s.info.clone(), lab.agent(0)?);
    lab.target.stop_agent(0)?;
    s.event("RESCIND")?;
    lab.target.stop_master()?;
    s.event("CLOSED")?;
    lab.target.start_master()?;
    lab.until_active(&[1])?;
    let mut s = lab.resubscribe_as(&id, &info)?;
    lab.note("with its agent, which the registry knows");
    s.call(build::reconcile(&[("free", Some(&agent))]))?;
    s.call(build::reconcile(&[("never", Some(&agent))]))?;
    s.watch(2)?;
    s.call(build::reconcile_operations(&[("never", Some(&agent))]))?;
    s.operation("never")?;
    s.call(build::reconcile(&[("elsewhere", Some("no-such-agent"))]))?;
    s.update("elsewhere")?;
    s.call(build::reconcile(&[]))?;
    lab.target.start_agent(0)?;
    lab.until_active(&[0, 1])?;
    s.offers("when it is back", |held| build::sum(held, "cpus") >= 6.0 - 0.001)?;
    s.call(build::reconcile(&[("free", None)]))?;
    s.answer("free")?;
    Ok(())
}

/// An agent that is marked gone when a new master knows it from the registry alone: the master does not
/// know its tasks, so it tells nobody (MESOS-9739), and answers nothing about them until there is another
/// master. The agent's process is sent away when it comes.
fn gone_before_it_is_back(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = two_tasks(lab, &role)?;
    let (id, info, agent) = (s.framework_id.clone(), s.info.clone(), lab.agent(0)?);
    lab.target.stop_agent(0)?;
    s.event("RESCIND")?;
    let anew = |lab: &mut Lab<'_>, mut s: Scheduler| -> Result<Scheduler> {
        lab.target.stop_master()?;
        s.event("CLOSED")?;
        lab.target.start_master()?;
        lab.until_active(&[1])?;
        lab.resubscribe_as(&id, &info)
    };
    let mut s = anew(lab, s)?;
    lab.operate(&mark_gone(&agent))?;
    for agent in [Some(agent.as_str()), None] {
        s.call(build::reconcile(&[("free", agent)]))?;
    }
    s.call(build::reconcile(&[]))?;
    s.nothing_more()?;
    s.call(build::reconcile_operations(&[("never", Some(&agent))]))?;
    s.operation("never")?;
    let mut s = anew(lab, s)?;
    lab.note("with its agent, without");
    for agent in [Some(agent.as_str()), None] {
        s.call(build::reconcile(&[("free", agent)]))?;
        s.update("free")?;
    }
    s.call(build::reconcile(&[]))?;
    s.call(build::reconcile_operations(&[("never", Some(&agent))]))?;
    s.operation("never")?;
    lab.target.start_agent(0)?;
    stays_away(lab, &mut s)?;
    s.nothing_more()
}
