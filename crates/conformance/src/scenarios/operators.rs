//! Operators who take, give and change what a framework is offered: the offer is rescinded, and made
//! again with what there is then.

use serde_json::{Value, json};

use super::operations::{accept, agent_offers, back};
use super::scenario;
use crate::build;
use crate::error::Result;
use crate::lab::Lab;
use crate::suite::Scenario;

pub(super) const SCENARIOS: &[Scenario] = &[
    scenario("reservations_given_and_taken", reservations_given_and_taken),
    scenario("volumes_made_and_destroyed", volumes_made_and_destroyed),
    scenario("what_tasks_use", what_tasks_use),
];

/// A call of the operators' API about resources of agent 0, or about volumes there.
fn on_agent(lab: &mut Lab<'_>, kind: &str, resources: &[Value]) -> Result<()> {
    let agent = json!({"value": lab.agent(0)?});
    let list = if kind.ends_with("VOLUMES") { "volumes" } else { "resources" };
    lab.operate(&json!({"type": kind, kind.to_lowercase(): {"agent_id": agent, list: resources}}))?;
    Ok(())
}

/// Resources with a reservation, as an operator writes them: allocated to nobody.
fn unallocated(text: &str, owner: &Value) -> Vec<Value> {
    let mut resources = build::resources(text);
    resources.iter_mut().for_each(|resource| resource["reservations"] = json!([owner]));
    resources
}

/// A reservation that an operator makes for a framework's role out of what it is offered, and one that
/// he takes away. An ACCEPT that counts on the rescinded offer does nothing.
fn reservations_given_and_taken(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = lab.subscribe(&[&role])?;
    s.offers("all", |held| build::sum(held, "cpus") >= 8.0 - 0.001)?;
    let owner = build::reservation(&role, &[("slot", "1")]);
    on_agent(lab, "RESERVE_RESOURCES", &unallocated("cpus:1;mem:64;ports:31000-31001", &owner))?;
    s.event("RESCIND")?;
    let offers = back(&mut s, "with the reservation")?;
    lab.note("a part of it is taken away");
    on_agent(lab, "UNRESERVE_RESOURCES", &unallocated("cpus:0.5;mem:64", &owner))?;
    s.event("RESCIND")?;
    let of =
        |text: &str| build::reserved(build::resources(text), std::slice::from_ref(&owner), &role);
    let task = build::task("t", &offers[0].agent_id, "sleep 600", of("cpus:1;mem:64"));
    let operations = vec![
        build::with_id("unreserve", build::unreserve(of("cpus:1"))),
        build::launch(vec![task]),
    ];
    s.call(build::accept(&offers, operations))?;
    s.operation("unreserve")?;
    s.update("t")?;
    let offers = back(&mut s, "with what is left of it")?;
    lab.note("the framework gives the rest back itself");
    accept(&mut s, &offers, vec![build::unreserve(of("cpus:0.5;ports:31000-31001"))])?;
    back(&mut s, "all free")?;
    s.nothing_more()
}

/// A volume that an operator makes of disk that a framework is offered, and destroys.
fn volumes_made_and_destroyed(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = lab.subscribe(&[&role])?;
    let owner = build::reservation(&role, &[("slot", "1")]);
    let offers = agent_offers(&mut s, "agent-0", 4.0)?;
    let disk = build::reserved(build::resources("disk:64"), std::slice::from_ref(&owner), &role);
    accept(&mut s, &offers, vec![build::reserve(disk)])?;
    back(&mut s, "with reserved disk")?;
    let volume = build::volume(unallocated("disk:16", &owner).remove(0), "v1", "data");
    on_agent(lab, "CREATE_VOLUMES", std::slice::from_ref(&volume))?;
    s.event("RESCIND")?;
    back(&mut s, "with a volume")?;
    lab.note("the same again");
    on_agent(lab, "CREATE_VOLUMES", std::slice::from_ref(&volume))?;
    on_agent(lab, "DESTROY_VOLUMES", std::slice::from_ref(&volume))?;
    s.event("RESCIND")?;
    back(&mut s, "without it")?;
    lab.note("what is not there, and what is not reserved");
    on_agent(lab, "DESTROY_VOLUMES", std::slice::from_ref(&volume))?;
    let free = build::volume(build::resources("disk:16").remove(0), "v2", "data");
    on_agent(lab, "CREATE_VOLUMES", std::slice::from_ref(&free))?;
    s.nothing_more()
}

/// What a task uses cannot be taken, nor what is not reserved; what is refused changes nothing, though
/// offers may be rescinded for it.
fn what_tasks_use(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = lab.subscribe(&[&role])?;
    let owner = build::reservation(&role, &[("slot", "1")]);
    let of =
        |text: &str| build::reserved(build::resources(text), std::slice::from_ref(&owner), &role);
    let volume = build::volume(of("disk:32").remove(0), "v1", "data");
    let mut used = of("cpus:1;mem:64");
    used.push(volume.clone());
    let offers = agent_offers(&mut s, "agent-0", 4.0)?;
    let task = build::task("t", &offers[0].agent_id, "sleep 600", used);
    let operations = vec![
        build::reserve(of("cpus:1;mem:64;disk:32")),
        build::create(vec![volume]),
        build::launch(vec![task]),
    ];
    accept(&mut s, &offers, operations)?;
    s.updates("t", "TASK_RUNNING")?;
    s.offers("while it runs", |held| build::sum(held, "cpus") >= 7.0 - 0.001)?;
    on_agent(lab, "UNRESERVE_RESOURCES", &unallocated("cpus:1;mem:64", &owner))?;
    let volume = build::volume(unallocated("disk:32", &owner).remove(0), "v1", "data");
    on_agent(lab, "DESTROY_VOLUMES", &[volume])?;
    lab.note("more than is free beside the task");
    on_agent(lab, "RESERVE_RESOURCES", &unallocated("cpus:4", &owner))?;
    s.rescinds()?;
    s.offers("after all", |held| build::sum(held, "cpus") >= 7.0 - 0.001)?;
    s.call(build::reconcile(&[("t", None)]))?;
    s.answer("t")?;
    s.nothing_more()
}
