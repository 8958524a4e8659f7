//! Statuses of operations: sent until they are acknowledged, whoever is started anew meanwhile.

use serde_json::json;

use super::operations::{accept, agent_offers};
use super::scenario;
use crate::build;
use crate::error::Result;
use crate::lab::Lab;
use crate::scheduler::Scheduler;
use crate::suite::Scenario;

pub(super) const SCENARIOS: &[Scenario] = &[
    scenario("operation_retries", operation_retries),
    scenario("operation_statuses_and_the_agent", operation_statuses_and_the_agent),
    scenario("operation_statuses_and_the_master", operation_statuses_and_the_master),
    scenario("operation_statuses_and_the_network", operation_statuses_and_the_network),
    scenario("operation_statuses_of_a_gone_agent", operation_statuses_of_a_gone_agent),
];

/// A framework with three operations behind it: "done" is acknowledged, and the agent knows; "kept" and
/// "behind" are not.
fn with_statuses(lab: &mut Lab<'_>, role: &str) -> Result<Scheduler> {
    let mut s = lab.subscribe(&[role])?;
    let owner = [build::reservation(role, &[])];
    let of = |text: &str| build::reserve(build::reserved(build::resources(text), &owner, role));
    let offers = agent_offers(&mut s, "agent-0", 4.0)?;
    let operations =
        vec![build::with_id("kept", of("cpus:1")), build::with_id("done", of("cpus:0.5"))];
    accept(&mut s, &offers, operations)?;
    s.operation_status("kept")?;
    s.operation("done")?;
    lab.settle_operations(&s.framework_id, &["kept"])?;
    // The acknowledgement of "done" is on its way to the agent; this one comes behind.
    let offers = agent_offers(&mut s, "agent-0", 4.0)?;
    accept(&mut s, &offers, vec![build::with_id("behind", of("cpus:0.25"))])?;
    s.operation_status("behind")?;
    agent_offers(&mut s, "agent-0", 4.0)?;
    Ok(s)
}

/// What was not acknowledged comes again, and no more when it is.
fn again(lab: &mut Lab<'_>, s: &mut Scheduler) -> Result<()> {
    s.operation("kept")?;
    s.operation("behind")?;
    lab.settle_operations(&s.framework_id, &[])?;
    Ok(())
}

/// An agent's process that starts anew sends again what was not acknowledged, and only that.
fn operation_statuses_and_the_agent(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = with_statuses(lab, &role)?;
    lab.target.stop_agent(0)?;
    s.event("RESCIND")?;
    lab.note("while the agent is away");
    s.call(build::reconcile_operations(&[("kept", None)]))?;
    s.operation_status("kept")?;
    lab.target.start_agent(0)?;
    lab.until_active(&[0, 1])?;
    lab.note("when it is back");
    again(lab, &mut s)?;
    s.offers("all", |held| build::sum(held, "cpus") >= 8.0 - 0.001)?;
    s.nothing_more()
}

/// A master that starts anew learns of operations from the agents, and passes on what these send again.
fn operation_statuses_and_the_master(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = with_statuses(lab, &role)?;
    let (id, info) = (s.framework_id.clone(), s.info.clone());
    lab.target.stop_master()?;
    s.event("CLOSED")?;
    lab.target.start_master()?;
    let version = json!({"type": "GET_VERSION"});
    lab.until("a master", |operator| operator.call(&version).is_ok())?;
    let mut s = lab.resubscribe_as(&id, &info)?;
    lab.until_active(&[0, 1])?;
    again(lab, &mut s)?;
    s.offers("all", |held| build::sum(held, "cpus") >= 8.0 - 0.001)?;
    s.nothing_more()
}

/// The status of an operation comes again after ten seconds, the same, until it is acknowledged; one
/// that is does not.
fn operation_retries(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = with_statuses(lab, &role)?;
    lab.note("ten seconds later");
    again(lab, &mut s)?;
    s.nothing_more()
}

/// When an agent is unreachable, so are its operations that were not acknowledged; when it is back it
/// tells again how they ended.
fn operation_statuses_and_the_network(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = with_statuses(lab, &role)?;
    let agent = lab.agent(0)?;
    lab.target.partition_agent(0, true)?;
    s.operation("kept")?;
    s.operation("behind")?;
    s.event("RESCIND")?;
    s.event("FAILURE")?;
    lab.note("asked meanwhile: with its agent, without, one that was acknowledged");
    for (id, agent) in [("kept", Some(agent.as_str())), ("kept", None), ("done", Some(&agent))] {
        s.call(build::reconcile_operations(&[(id, agent)]))?;
        s.operation(id)?;
    }
    lab.target.partition_agent(0, false)?;
    lab.until_active(&[0, 1])?;
    lab.note("when it is back");
    again(lab, &mut s)?;
    s.offers("all", |held| build::sum(held, "cpus") >= 8.0 - 0.001)?;
    s.nothing_more()
}

/// When an agent is marked gone, so are its operations that were not acknowledged.
fn operation_statuses_of_a_gone_agent(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = with_statuses(lab, &role)?;
    let agent = lab.agent(0)?;
    let content = json!({"agent_id": {"value": agent}});
    lab.operate(&json!({"type": "MARK_AGENT_GONE", "mark_agent_gone": content}))?;
    s.operation("kept")?;
    s.operation("behind")?;
    s.event("RESCIND")?;
    s.event("FAILURE")?;
    for (id, agent) in [("kept", Some(agent.as_str())), ("kept", None)] {
        s.call(build::reconcile_operations(&[(id, agent)]))?;
        s.operation(id)?;
    }
    s.nothing_more()
}
