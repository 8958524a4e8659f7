//! Offers: what is in them, and when they are made again.

use serde_json::json;

use super::scenario;
use crate::build::{self, of_host};
use crate::error::Result;
use crate::lab::Lab;
use crate::scheduler::Offer;
use crate::suite::Scenario;

pub(super) const SCENARIOS: &[Scenario] = &[
    scenario("declined_at_once", declined_at_once),
    scenario("declined_for_long", declined_for_long),
    scenario("declined_for_a_moment", declined_for_a_moment),
    scenario("filter_and_new_resources", filter_and_new_resources),
    scenario("suppress", suppress),
    scenario("suppress_one_role", suppress_one_role),
    scenario("roles_share", roles_share),
    scenario("frameworks_share", frameworks_share),
    scenario("decline_unknown", decline_unknown),
    scenario("decline_of_another", decline_of_another),
    scenario("too_little_to_offer", too_little_to_offer),
    scenario("leaves_and_returns", leaves_and_returns),
    scenario("operator_reserves", operator_reserves),
];

/// All CPUs of both agents.
pub(super) fn all(offers: &[Offer]) -> bool {
    build::sum(offers, "cpus") >= 8.0
}

/// Refused for no time at all, offers come again with the next allocation.
fn declined_at_once(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = lab.subscribe(&[&role])?;
    let offers = s.offers("all", all)?;
    s.call(build::decline(&offers, Some(0.0)))?;
    s.forget(&offers);
    let again = s.offers("all again", all)?;
    let new = again.iter().all(|offer| offers.iter().all(|old| old.id != offer.id));
    lab.note(&format!("with new ids: {new}"));
    s.call(build::decline(&again, Some(-1.0)))?;
    s.forget(&again);
    lab.note("a time below zero counts as Mesos's default of five seconds");
    s.watch(5)?;
    s.show_offers("after five intervals");
    s.nothing_more()
}

/// Refused for long, they do not come, until REVIVE ends the filters.
fn declined_for_long(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = lab.subscribe(&[&role])?;
    let offers = s.offers("all", all)?;
    s.call(build::decline(&offers, Some(600.0)))?;
    s.forget(&offers);
    s.watch(5)?;
    s.show_offers("after five intervals");
    s.call(json!({"type": "REVIVE"}))?;
    let offers = s.offers("after REVIVE", all)?;
    s.call(build::decline(&offers, Some(600.0)))?;
    s.forget(&offers);
    s.call(json!({"type": "REVIVE", "revive": {"roles": [role]}}))?;
    s.offers("after REVIVE of the role", all)?;
    s.nothing_more()
}

/// A filter ends by itself.
fn declined_for_a_moment(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = lab.subscribe(&[&role])?;
    let offers = s.offers("all", all)?;
    s.call(build::decline(&offers, Some(1.0)))?;
    s.forget(&offers);
    s.watch(3)?;
    s.show_offers("after three intervals");
    s.offers("later", all)?;
    s.nothing_more()
}

/// A filter holds for what was refused and for less; an agent that has more to offer is offered.
fn filter_and_new_resources(lab: &mut Lab<'_>) -> Result<()> {
    let (a, b) = (lab.role("a"), lab.role("b"));
    let mut s1 = lab.subscribe(&[&a])?;
    let offers = s1.offers("all", all)?;
    // The first agent with a task on it: what is left there is refused, then the task ends.
    let first = of_host(&offers, "agent-0");
    let second = of_host(&offers, "agent-1");
    s1.call(build::decline(&second, Some(600.0)))?;
    s1.forget(&offers);
    let task = build::task("t", &first[0].agent_id, "sleep 600", build::resources("cpus:1;mem:64"));
    s1.call(build::accept(&first, vec![build::launch(vec![task])]))?;
    s1.updates("t", "TASK_RUNNING")?;
    let rest = s1.offers("the rest", |held| build::sum(held, "cpus") >= 3.0)?;
    s1.call(build::decline(&rest, Some(600.0)))?;
    s1.forget(&rest);
    s1.watch(5)?;
    s1.show_offers("after five intervals");
    lab.note("another framework is offered what the first refused");
    let mut s2 = lab.subscribe(&[&b])?;
    let others = s2.offers("what is free", |held| build::sum(held, "cpus") >= 7.0)?;
    s2.call(build::decline(&others, Some(600.0)))?;
    s2.forget(&others);
    s1.call(build::kill("t", None, None))?;
    s1.updates("t", "TASK_KILLED")?;
    s1.watch(3)?;
    s2.watch(1)?;
    lab.note("the agent has more to offer than either has refused");
    let both = |s: &crate::scheduler::Scheduler| build::sum(&s.held(), "cpus");
    lab.note(&format!("cpus offered: {}", both(&s1) + both(&s2)));
    Ok(())
}

/// SUPPRESS ends offers, not filters; REVIVE ends both. What is offered already stays so.
fn suppress(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = lab.subscribe(&[&role])?;
    let offers = s.offers("all", all)?;
    s.call(json!({"type": "SUPPRESS"}))?;
    s.nothing_more()?;
    s.call(build::decline(&offers, Some(0.0)))?;
    s.forget(&offers);
    s.watch(5)?;
    s.show_offers("after five intervals");
    s.call(json!({"type": "SUPPRESS"}))?;
    s.call(json!({"type": "REVIVE"}))?;
    s.offers("after REVIVE", all)?;
    s.nothing_more()
}

/// Roles are suppressed and revived one by one.
fn suppress_one_role(lab: &mut Lab<'_>) -> Result<()> {
    let (a, b) = (lab.role("a"), lab.role("b"));
    let mut s = lab.subscribe_with(build::framework(&[&a, &b]), &[&b])?;
    let offers = s.offers("all for a", all)?;
    s.call(json!({"type": "SUPPRESS", "suppress": {"roles": [a]}}))?;
    s.call(build::decline(&offers, Some(0.0)))?;
    s.forget(&offers);
    s.watch(5)?;
    s.show_offers("after five intervals");
    s.call(json!({"type": "REVIVE", "revive": {"roles": [b]}}))?;
    s.offers("all for b", all)?;
    s.nothing_more()
}

/// Two roles of a framework, each of which gets an agent: an agent is offered whole, to one.
fn roles_share(lab: &mut Lab<'_>) -> Result<()> {
    let (a, b) = (lab.role("a"), lab.role("b"));
    let mut s = lab.subscribe(&[&a, &b])?;
    // Which agent goes to which role is Mesos's choice.
    s.watch_until(|held| build::sum(held, "cpus") >= 8.0)?;
    let mut roles: Vec<String> = s.held().iter().map(|offer| offer.role.clone()).collect();
    roles.sort();
    lab.note(&format!("roles: {roles:?}"));
    let whole = s.held().iter().all(|offer| build::sum(std::slice::from_ref(offer), "cpus") >= 4.0);
    lab.note(&format!("each agent is whole: {whole}"));
    Ok(())
}

/// What one framework holds is not offered to another; what it refuses is.
fn frameworks_share(lab: &mut Lab<'_>) -> Result<()> {
    let (a, b) = (lab.role("a"), lab.role("b"));
    let mut s1 = lab.subscribe(&[&a])?;
    let offers = s1.offers("all", all)?;
    let mut s2 = lab.subscribe(&[&b])?;
    s2.watch(5)?;
    s2.show_offers("after five intervals");
    let first = of_host(&offers, "agent-0");
    s1.call(build::decline(&first, Some(600.0)))?;
    s1.forget(&first);
    s2.offers("what the other refused", |held| build::sum(held, "cpus") >= 4.0)?;
    lab.note("the first goes: its offers are free");
    s1.call(json!({"type": "TEARDOWN"}))?;
    s2.offers("all", all)?;
    s2.nothing_more()
}

/// Declining what is not there, or twice, does nothing.
fn decline_unknown(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = lab.subscribe(&[&role])?;
    let offers = s.offers("all", all)?;
    let ids = json!([{"value": "no-such-offer"}]);
    s.call(json!({"type": "DECLINE", "decline": {"offer_ids": ids}}))?;
    s.call(json!({"type": "DECLINE", "decline": {"offer_ids": []}}))?;
    s.call(build::decline(&offers, Some(600.0)))?;
    s.call(build::decline(&offers, Some(0.0)))?;
    s.forget(&offers);
    s.watch(5)?;
    s.show_offers("after five intervals");
    s.nothing_more()
}

/// Nobody checks whose offers are declined: a framework can decline those of another, with a filter
/// for the other, and the other is not told.
fn decline_of_another(lab: &mut Lab<'_>) -> Result<()> {
    let (a, b) = (lab.role("a"), lab.role("b"));
    let mut s1 = lab.subscribe(&[&a])?;
    let offers = s1.offers("all", all)?;
    let mut s2 = lab.subscribe_with(build::framework(&[&b]), &[&b])?;
    s2.call(build::decline(&of_host(&offers, "agent-0"), Some(0.0)))?;
    s1.forget(&of_host(&offers, "agent-0"));
    s1.offers("again what the other declined", all)?;
    s2.call(build::decline(&of_host(&offers, "agent-1"), Some(600.0)))?;
    s1.forget(&of_host(&offers, "agent-1"));
    s1.watch(5)?;
    s1.show_offers("after five intervals");
    s1.nothing_more()?;
    s2.nothing_more()
}

/// What has neither a hundredth of a CPU nor 32 MB of memory is offered only together with more: a
/// rest of disk and ports waits until a task's CPUs come back.
fn too_little_to_offer(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = lab.subscribe(&[&role])?;
    let offers = of_host(&s.offers("all", all)?, "agent-0");
    let task = |id: &str, text: &str| {
        build::task(id, &offers[0].agent_id, "sleep 600", build::resources(text))
    };
    let tasks = vec![task("t1", "cpus:3.995;mem:900"), task("t2", "mem:100;cpus:0.001")];
    s.call(build::accept(&offers, vec![build::launch(tasks)]))?;
    s.forget(&offers);
    s.updates("t1", "TASK_RUNNING")?;
    s.watch(5)?;
    s.show_offers("after five intervals");
    s.call(build::kill("t2", None, None))?;
    s.updates("t2", "TASK_KILLED")?;
    s.offers("with the memory of the second task", |held| build::sum(held, "mem") >= 1124.0)?;
    Ok(())
}

/// A framework that loses its connection loses its offers, filters and suppression with it.
fn leaves_and_returns(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s1 = lab.subscribe(&[&role])?;
    let offers = s1.offers("all", all)?;
    s1.call(build::decline(&of_host(&offers, "agent-0"), Some(600.0)))?;
    s1.call(json!({"type": "SUPPRESS"}))?;
    let (id, info) = (s1.framework_id.clone(), s1.info.clone());
    s1.disconnect();
    let mut s2 = lab.resubscribe_as(&id, &info)?;
    s2.offers("all", all)?;
    s2.nothing_more()
}

/// An operator reserves what is offered: the offer is rescinded, and made again with what it has now.
fn operator_reserves(lab: &mut Lab<'_>) -> Result<()> {
    let (a, b) = (lab.role("a"), lab.role("b"));
    let mut s = lab.subscribe(&[&a])?;
    let offers = s.offers("all", all)?;
    let agent = lab.agent(0)?;
    let mut one = build::reservation(&b, &[]);
    one["principal"] = json!("operator");
    let resources: Vec<_> = build::resources("cpus:1;mem:64")
        .into_iter()
        .map(|mut resource| {
            resource["reservations"] = json!([one]);
            resource
        })
        .collect();
    let content = json!({"agent_id": {"value": agent}, "resources": resources});
    lab.operate(&json!({"type": "RESERVE_RESOURCES", "reserve_resources": content}))?;
    s.event("RESCIND")?;
    s.offers("what is not reserved", |held| build::sum(&of_host(held, "agent-0"), "cpus") >= 3.0)?;
    lab.note(&format!("the other agent's offer stayed: {}", {
        let held = s.held();
        of_host(&held, "agent-1") == of_host(&offers, "agent-1")
    }));
    let mut s2 = lab.subscribe(&[&b])?;
    s2.offers("what is reserved", |held| build::sum(held, "cpus") >= 1.0)?;
    lab.operate(&json!({"type": "UNRESERVE_RESOURCES", "unreserve_resources": content}))?;
    s2.event("RESCIND")?;
    s2.nothing_more()?;
    lab.note("what is not there");
    lab.operate(&json!({"type": "UNRESERVE_RESOURCES", "unreserve_resources": content}))?;
    let nobody = json!({"agent_id": {"value": "nobody"}, "resources": content["resources"]});
    lab.operate(&json!({"type": "RESERVE_RESOURCES", "reserve_resources": nobody}))?;
    let mut much = content.clone();
    much["resources"][0]["scalar"]["value"] = json!(64.0);
    lab.operate(&json!({"type": "RESERVE_RESOURCES", "reserve_resources": much}))?;
    Ok(())
}
