//! RESERVE, UNRESERVE, CREATE, DESTROY: what they make of offers, and how they are told of.

use serde_json::{Value, json};

use super::{Pair, scenario};
use crate::build::{self, of_host};
use crate::error::Result;
use crate::lab::Lab;
use crate::scheduler::{Offer, Scheduler};
use crate::suite::Scenario;

pub(super) const SCENARIOS: &[Scenario] = &[
    scenario("reserve_and_unreserve", reserve_and_unreserve),
    scenario("labels_keep_reservations_apart", labels_keep_reservations_apart),
    scenario("reservations_stay_with_their_role", reservations_stay_with_their_role),
    scenario("refinement", refinement),
    scenario("wrong_reservations", wrong_reservations),
    scenario("wrong_unreservations", wrong_unreservations),
    scenario("volumes", volumes),
    scenario("wrong_volumes", wrong_volumes),
    scenario("shared_volumes", shared_volumes),
    scenario("ids_and_feedback", ids_and_feedback),
    scenario("order_in_one_accept", order_in_one_accept),
    scenario("reconcile_operations", reconcile_operations),
];

/// An agent's offers, waited for until all of its free CPUs are in them.
pub(super) fn agent_offers(s: &mut Scheduler, host: &str, cpus: f64) -> Result<Vec<Offer>> {
    s.watch_until(|held| build::sum(&of_host(held, host), "cpus") >= cpus - 0.001)?;
    Ok(of_host(&s.held(), host))
}

/// Uses offers; what comes of it is for the scenario to see.
pub(super) fn accept(s: &mut Scheduler, offers: &[Offer], operations: Vec<Value>) -> Result<()> {
    s.forget(offers);
    s.call(build::accept(offers, operations))
}

/// What agent 0 has of CPUs, when it is all back in offers.
pub(super) fn back(s: &mut Scheduler, what: &str) -> Result<Vec<Offer>> {
    let offers = s.offers(what, |held| build::sum(held, "cpus") >= 8.0 - 0.001)?;
    Ok(of_host(&offers, "agent-0"))
}

/// RESERVE takes what is unreserved and gives it back reserved, with labels and principal; UNRESERVE
/// the reverse. Both may take a part.
fn reserve_and_unreserve(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = lab.subscribe(&[&role])?;
    let offers = agent_offers(&mut s, "agent-0", 4.0)?;
    let owner = build::reservation(&role, &[("slot", "1")]);
    let all = build::resources("cpus:1;mem:64;disk:32;ports:31000-31001");
    let reserved = build::reserved(all, std::slice::from_ref(&owner), &role);
    accept(&mut s, &offers, vec![build::reserve(reserved.clone())])?;
    let offers = back(&mut s, "after RESERVE")?;
    let part = build::resources("cpus:0.5;mem:32;ports:31001-31001");
    let part = build::reserved(part, &[owner], &role);
    accept(&mut s, &offers, vec![build::unreserve(part)])?;
    let offers = back(&mut s, "after UNRESERVE of a part")?;
    lab.note("without the allocation's role, which Mesos then adds");
    let bare: Vec<Value> = build::resources("cpus:0.25")
        .into_iter()
        .map(|mut r| {
            r["reservations"] = json!([build::reservation(&role, &[])]);
            r
        })
        .collect();
    accept(&mut s, &offers, vec![build::reserve(bare)])?;
    back(&mut s, "after RESERVE without it")?;
    s.nothing_more()
}

/// Reservations with equal labels are merged in offers, those with different ones are not; the
/// order of labels matters.
fn labels_keep_reservations_apart(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = lab.subscribe(&[&role])?;
    let offers = agent_offers(&mut s, "agent-0", 4.0)?;
    let of = |labels: &[(&str, &str)], text: &str| {
        let owner = build::reservation(&role, labels);
        build::reserve(build::reserved(build::resources(text), &[owner], &role))
    };
    let operations = vec![
        of(&[("slot", "1")], "cpus:0.5;ports:31000-31001"),
        of(&[("slot", "1")], "cpus:0.25;ports:31002-31002"),
        of(&[("slot", "2")], "cpus:0.5"),
        of(&[("slot", "1"), ("job", "x")], "cpus:0.5"),
        of(&[("job", "x"), ("slot", "1")], "cpus:0.5"),
        of(&[], "cpus:0.125"),
    ];
    accept(&mut s, &offers, operations)?;
    back(&mut s, "after RESERVE")?;
    s.nothing_more()
}

/// What is reserved for a role is offered to no other, not even to its parent or child.
fn reservations_stay_with_their_role(lab: &mut Lab<'_>) -> Result<()> {
    let pair = Pair::new(lab);
    let mut s = lab.subscribe(&[&pair.child])?;
    let offers = agent_offers(&mut s, "agent-0", 4.0)?;
    let owner = build::reservation(&pair.child, &[("slot", "1")]);
    let reserved = build::reserved(build::resources("cpus:1;mem:64"), &[owner], &pair.child);
    accept(&mut s, &offers, vec![build::reserve(reserved)])?;
    let offers = back(&mut s, "to the owner")?;
    s.call(build::decline(&s.held(), Some(0.0)))?;
    s.forget(&s.held());
    drop(offers);
    s.call(json!({"type": "SUPPRESS"}))?;
    for role in [&pair.parent, &pair.grandchild, &pair.other] {
        let mut t = lab.subscribe(&[role])?;
        t.offers(&format!("to {role}"), |held| build::sum(held, "cpus") >= 7.0)?;
        t.watch(3)?;
        t.show_offers("three intervals later");
        t.call(json!({"type": "TEARDOWN"}))?;
    }
    s.call(json!({"type": "REVIVE"}))?;
    back(&mut s, "to the owner again")?;
    s.nothing_more()
}

/// A reservation for a child of the role on top of one for the role; it goes back level by level.
/// What is reserved for a role is offered to the roles below, too.
fn refinement(lab: &mut Lab<'_>) -> Result<()> {
    let pair = Pair::new(lab);
    let mut s = lab.subscribe(&[&pair.parent])?;
    let offers = agent_offers(&mut s, "agent-0", 4.0)?;
    let outer = build::reservation(&pair.parent, &[("level", "1")]);
    let inner = build::reservation(&pair.child, &[("level", "2")]);
    let cpus = || build::resources("cpus:1");
    let of = |levels: &[Value], to: &str| build::reserved(cpus(), levels, to);
    let parent = &pair.parent;
    accept(&mut s, &offers, vec![build::reserve(of(std::slice::from_ref(&outer), parent))])?;
    back(&mut s, "reserved for the parent")?;
    s.call(json!({"type": "SUPPRESS"}))?;
    s.call(build::decline(&s.held(), Some(0.0)))?;
    s.forget(&s.held());
    let mut t = lab.subscribe(&[&pair.child])?;
    t.offers("to the child", |held| build::sum(held, "cpus") >= 8.0)?;
    let offers = of_host(&t.held(), "agent-0");
    let both = [outer, inner];
    accept(&mut t, &offers, vec![build::reserve(of(&both, &pair.child))])?;
    back(&mut t, "refined for the child")?;
    lab.note("the parent is not offered it any more");
    t.call(json!({"type": "SUPPRESS"}))?;
    t.call(build::decline(&t.held(), Some(0.0)))?;
    t.forget(&t.held());
    s.call(json!({"type": "REVIVE"}))?;
    s.offers("to the parent", |held| build::sum(held, "cpus") >= 7.0)?;
    s.watch(3)?;
    s.show_offers("three intervals later");
    s.call(json!({"type": "TEARDOWN"}))?;
    t.call(json!({"type": "REVIVE"}))?;
    let offers = back(&mut t, "to the child")?;
    accept(&mut t, &offers, vec![build::unreserve(of(&both, &pair.child))])?;
    back(&mut t, "after UNRESERVE")?;
    t.nothing_more()
}

/// RESERVE that cannot be: told as OPERATION_ERROR where it has an id, without uuid. (An amount of zero
/// is left out: it ends the master of Mesos 1.11, and so does a call of type UNKNOWN.)
fn wrong_reservations(lab: &mut Lab<'_>) -> Result<()> {
    let (a, b) = (lab.role("a"), lab.role("b"));
    let mut s = lab.subscribe(&[&a])?;
    let owner = || build::reservation(&a, &[]);
    let cpus =
        |text: &str, owner: Value, to: &str| build::reserved(build::resources(text), &[owner], to);
    let mut principal = owner();
    principal["principal"] = json!("somebody");
    let mut nobody = owner();
    if let Some(fields) = nobody.as_object_mut() {
        fields.remove("principal");
    }
    let mut fixed = owner();
    fixed["type"] = json!("STATIC");
    let unreserved = build::allocated(build::resources("cpus:1"), &a);
    let refined = [owner(), build::reservation(&format!("{a}/x"), &[])];
    let cases = [
        ("more than there is", cpus("cpus:64", owner(), &a)),
        ("a resource that is not there", cpus("gpus:1", owner(), &a)),
        ("another role", cpus("cpus:1", build::reservation(&b, &[]), &a)),
        ("allocated to another role", cpus("cpus:1", owner(), &b)),
        ("another principal", cpus("cpus:1", principal, &a)),
        ("no principal", cpus("cpus:1", nobody, &a)),
        ("a static reservation", cpus("cpus:1", fixed, &a)),
        ("no reservation", unreserved),
        ("nothing", Vec::new()),
        ("below zero", cpus("cpus:-1", owner(), &a)),
        ("a child's", cpus("cpus:1", build::reservation(&format!("{a}/x"), &[]), &a)),
        (
            "on a reservation that is not there",
            build::reserved(build::resources("cpus:1"), &refined, &a),
        ),
        ("ports that are not there", cpus("ports:1-2", owner(), &a)),
    ];
    for (what, resources) in cases {
        let offers = agent_offers(&mut s, "agent-0", 4.0)?;
        lab.note(what);
        accept(&mut s, &offers, vec![build::with_id(what, build::reserve(resources))])?;
        s.operation(what)?;
    }
    back(&mut s, "what is left of it")?;
    s.nothing_more()
}

/// UNRESERVE that cannot be.
fn wrong_unreservations(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = lab.subscribe(&[&role])?;
    let owner = build::reservation(&role, &[("slot", "1")]);
    let of = |text: &str, owner: &Value| {
        build::reserved(build::resources(text), std::slice::from_ref(owner), &role)
    };
    let offers = agent_offers(&mut s, "agent-0", 4.0)?;
    accept(&mut s, &offers, vec![build::reserve(of("cpus:1;mem:64", &owner))])?;
    let other = build::reservation(&role, &[("slot", "2")]);
    let mut principal = owner.clone();
    principal["principal"] = json!("somebody");
    let cases = [
        ("other labels", of("cpus:1", &other)),
        ("no labels", of("cpus:1", &build::reservation(&role, &[]))),
        ("another principal", of("cpus:1", &principal)),
        ("more than is reserved", of("cpus:2", &owner)),
        ("what is not reserved", build::allocated(build::resources("cpus:1"), &role)),
        ("one part is wrong", of("cpus:1;disk:1", &owner)),
    ];
    for (what, resources) in cases {
        let offers = agent_offers(&mut s, "agent-0", 4.0)?;
        lab.note(what);
        accept(&mut s, &offers, vec![build::with_id(what, build::unreserve(resources))])?;
        s.operation(what)?;
    }
    back(&mut s, "what is left of it")?;
    s.nothing_more()
}

/// A volume is made of reserved disk and keeps it from UNRESERVE until it is destroyed.
fn volumes(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = lab.subscribe(&[&role])?;
    let offers = agent_offers(&mut s, "agent-0", 4.0)?;
    let owner = [build::reservation(&role, &[("slot", "1")])];
    let disk = || build::reserved(build::resources("disk:64"), &owner, &role).remove(0);
    let part = build::reserved(build::resources("disk:16"), &owner, &role).remove(0);
    let volume = build::volume(part.clone(), "v1", "data");
    let create = vec![
        build::with_id("reserve", build::reserve(vec![disk()])),
        build::with_id("create", build::create(vec![volume.clone()])),
    ];
    accept(&mut s, &offers, create)?;
    s.operation("reserve")?;
    s.operation("create")?;
    let offers = back(&mut s, "with a volume")?;
    lab.note("its disk cannot be unreserved");
    let with_disk = build::with_id("unreserve-all", build::unreserve(vec![disk()]));
    let of_volume = build::with_id("unreserve-volume", build::unreserve(vec![volume.clone()]));
    accept(&mut s, &offers, vec![with_disk, of_volume])?;
    s.operation("unreserve-all")?;
    s.operation("unreserve-volume")?;
    let offers = back(&mut s, "still with it")?;
    let destroy = build::with_id("destroy", build::destroy(vec![volume.clone()]));
    let again = build::with_id("destroy-again", build::destroy(vec![volume]));
    accept(&mut s, &offers, vec![destroy, again])?;
    s.operation("destroy")?;
    s.operation("destroy-again")?;
    let offers = back(&mut s, "without it")?;
    accept(&mut s, &offers, vec![build::unreserve(vec![disk()])])?;
    back(&mut s, "all free")?;
    s.nothing_more()
}

/// CREATE that cannot be.
fn wrong_volumes(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = lab.subscribe(&[&role])?;
    let owner = [build::reservation(&role, &[])];
    let of = |text: &str| build::reserved(build::resources(text), &owner, &role).remove(0);
    let offers = agent_offers(&mut s, "agent-0", 4.0)?;
    let first = build::volume(of("disk:16"), "v1", "data");
    let made = vec![build::reserve(vec![of("disk:64")]), build::create(vec![first])];
    accept(&mut s, &offers, made)?;
    let with = |change: fn(&mut Value)| {
        let mut volume = build::volume(of("disk:16"), "v2", "data");
        change(&mut volume);
        volume
    };
    let free = build::allocated(build::resources("disk:16"), &role).remove(0);
    let cases = [
        ("of unreserved disk", build::volume(free, "v2", "data")),
        ("of memory", build::volume(of("mem:16"), "v2", "data")),
        ("an id that is taken", build::volume(of("disk:16"), "v1", "data")),
        ("more than is reserved", build::volume(of("disk:128"), "v2", "data")),
        ("no volume", of("disk:16")),
        ("another principal", with(|v| v["disk"]["persistence"]["principal"] = json!("x"))),
        ("a slash in the id", with(|v| v["disk"]["persistence"]["id"] = json!("a/b"))),
        ("read-only", with(|v| v["disk"]["volume"]["mode"] = json!("RO"))),
        ("with a path of the host", with(|v| v["disk"]["volume"]["host_path"] = json!("/x"))),
        ("shared without the capability", with(|v| v["shared"] = json!({}))),
    ];
    for (what, volume) in cases {
        let offers = agent_offers(&mut s, "agent-0", 4.0)?;
        lab.note(what);
        accept(&mut s, &offers, vec![build::with_id(what, build::create(vec![volume]))])?;
        s.operation(what)?;
    }
    back(&mut s, "what is left of it")?;
    s.nothing_more()
}

/// A shared volume can be used by tasks at once, and is offered while they use it.
fn shared_volumes(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut info = build::framework(&[&role]);
    build::add_capability(&mut info, "SHARED_RESOURCES");
    let mut s = lab.subscribe_with(info, &[])?;
    let owner = [build::reservation(&role, &[])];
    let disk = build::reserved(build::resources("disk:16"), &owner, &role).remove(0);
    let mut volume = build::volume(disk.clone(), "v1", "data");
    volume["shared"] = json!({});
    let offers = agent_offers(&mut s, "agent-0", 4.0)?;
    let agent = offers[0].agent_id.clone();
    let task = |id: &str| {
        let mut resources = build::allocated(build::resources("cpus:1;mem:64"), &role);
        resources.push(volume.clone());
        build::task(id, &agent, "sleep 600", resources)
    };
    let create = build::create(vec![volume.clone()]);
    let operations =
        vec![build::reserve(vec![disk]), create, build::launch(vec![task("t1"), task("t2")])];
    accept(&mut s, &offers, operations)?;
    s.updates("t1", "TASK_RUNNING")?;
    s.updates("t2", "TASK_RUNNING")?;
    s.offers("while it is used", |held| build::sum(&of_host(held, "agent-0"), "cpus") >= 2.0)?;
    let offers = of_host(&s.held(), "agent-0");
    lab.note("it cannot be destroyed while it is used");
    let destroy = build::with_id("destroy", build::destroy(vec![volume.clone()]));
    accept(&mut s, &offers, vec![destroy])?;
    s.operation("destroy")?;
    for task in ["t1", "t2"] {
        s.call(build::kill(task, None, None))?;
        s.updates(task, "TASK_KILLED")?;
    }
    let offers = back(&mut s, "unused")?;
    accept(&mut s, &offers, vec![build::with_id("destroy-2", build::destroy(vec![volume]))])?;
    s.operation("destroy-2")?;
    back(&mut s, "destroyed")?;
    s.nothing_more()
}

/// An operation with an id is told of until its status is acknowledged, one without is not.
fn ids_and_feedback(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = lab.subscribe(&[&role])?;
    let owner = [build::reservation(&role, &[])];
    let of = |text: &str| build::reserved(build::resources(text), &owner, &role);
    let offers = agent_offers(&mut s, "agent-0", 4.0)?;
    let operations = vec![
        build::with_id("one", build::reserve(of("cpus:1"))),
        build::reserve(of("cpus:0.5")),
        build::with_id("two", build::unreserve(of("cpus:0.25"))),
    ];
    accept(&mut s, &offers, operations)?;
    let one = s.operation_status("one")?;
    s.operation("two")?;
    lab.note("the first is not acknowledged, and its id is used again");
    let offers = back(&mut s, "after all")?;
    accept(&mut s, &offers, vec![build::with_id("one", build::reserve(of("cpus:0.125")))])?;
    s.operation("one")?;
    let offers = back(&mut s, "after the second of this id")?;
    s.acknowledge_operation(&one)?;
    lab.note("acknowledged twice, with a wrong uuid, of nobody");
    s.acknowledge_operation(&one)?;
    let wrong = |id: &str, uuid: &str, agent: &str| {
        json!({"type": "ACKNOWLEDGE_OPERATION_STATUS", "acknowledge_operation_status": {
            "agent_id": {"value": agent}, "operation_id": {"value": id}, "uuid": uuid}})
    };
    let (agent, uuid) = (offers[0].agent_id.clone(), "AAAAAAAAQACAAAAAAAAAAA==");
    s.try_call(wrong("one", uuid, &agent))?;
    s.try_call(wrong("nobody", uuid, &agent))?;
    s.try_call(wrong("one", uuid, "no-agent"))?;
    s.try_call(wrong("one", "AAAA", &agent))?;
    lab.note("an empty id, and a LAUNCH with one");
    accept(&mut s, &offers, vec![build::with_id("", build::reserve(of("cpus:0.125")))])?;
    let offers = back(&mut s, "after the empty id")?;
    let task = build::task(
        "t",
        &agent,
        "true",
        build::allocated(build::resources("cpus:1;mem:32"), &role),
    );
    accept(&mut s, &offers, vec![build::with_id("launch", build::launch(vec![task]))])?;
    s.update("t")?;
    back(&mut s, "after the LAUNCH")?;
    s.nothing_more()
}

/// The operations of one ACCEPT see what those before them made of the offer; one that fails is
/// left out, and the others go on.
fn order_in_one_accept(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = lab.subscribe(&[&role])?;
    let owner = [build::reservation(&role, &[])];
    let of = |text: &str| build::reserved(build::resources(text), &owner, &role);
    let offers = agent_offers(&mut s, "agent-0", 4.0)?;
    let operations = vec![
        build::with_id("too-early", build::unreserve(of("cpus:1"))),
        build::with_id("reserve", build::reserve(of("cpus:3;disk:64"))),
        build::with_id("too-much", build::reserve(of("cpus:2"))),
        build::with_id("unreserve", build::unreserve(of("cpus:1"))),
        build::with_id("enough", build::reserve(of("cpus:2"))),
        build::with_id(
            "create",
            build::create(vec![build::volume(of("disk:32").remove(0), "v", "data")]),
        ),
    ];
    accept(&mut s, &offers, operations)?;
    for id in ["too-early", "reserve", "too-much", "unreserve", "enough", "create"] {
        s.operation(id)?;
    }
    back(&mut s, "after all")?;
    s.nothing_more()
}

/// What is answered about operations: those that wait for an acknowledgement, those that are over,
/// and those that never were.
fn reconcile_operations(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = lab.subscribe(&[&role])?;
    let owner = [build::reservation(&role, &[])];
    let of = |text: &str| build::reserved(build::resources(text), &owner, &role);
    let offers = agent_offers(&mut s, "agent-0", 4.0)?;
    let agent = offers[0].agent_id.clone();
    let operations = vec![
        build::with_id("waits", build::reserve(of("cpus:1"))),
        build::with_id("over", build::reserve(of("cpus:1"))),
        build::with_id("failed", build::reserve(of("cpus:64"))),
    ];
    accept(&mut s, &offers, operations)?;
    let waits = s.operation_status("waits")?;
    s.operation("over")?;
    s.operation("failed")?;
    // The agent's acknowledgement of "over" is on its way to it; this one comes behind.
    let offers = back(&mut s, "after all")?;
    accept(&mut s, &offers, vec![build::with_id("behind", build::reserve(of("cpus:0.5")))])?;
    s.operation("behind")?;
    lab.settle_operations(&s.framework_id, &["waits"])?;
    let ask = |ids: &[(&str, Option<&str>)]| build::reconcile_operations(ids);
    let agent = Some(agent.as_str());
    for id in ["waits", "over", "failed", "never"] {
        lab.note(&format!("{id}, with its agent, without, with an unknown one"));
        for agent in [agent, None, Some("no-such-agent")] {
            s.call(ask(&[(id, agent)]))?;
            s.operation_status(id)?;
        }
    }
    lab.note("all");
    s.call(ask(&[]))?;
    s.nothing_more()?;
    s.acknowledge_operation(&waits)?;
    lab.settle_operations(&s.framework_id, &[])?;
    s.call(ask(&[("waits", agent)]))?;
    s.operation_status("waits")?;
    s.nothing_more()
}
