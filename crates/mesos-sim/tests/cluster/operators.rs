//! What operators do.

use crate::support::{Cluster, LASTING, amount, framework, reserved, small, spec, states};
use peloton_mesos_sim::{MachineId, MaintenanceSchedule, MaintenanceWindow, Output, Tasks};
use peloton_proto::mesos::v1;
use v1::TaskState;
use v1::scheduler::{Call, call, event};
use v1::task_status::Reason;

#[test]
fn an_agent_that_is_gone_comes_back_only_as_another_one() {
    let (mut cluster, mut scheduler, agent) = Cluster::with_one_agent();
    let offer = cluster.offer(&mut scheduler);
    let mine = reserved(&small(), "one");
    let info = crate::support::task("a", &offer, mine.clone());
    let operations = vec![crate::support::reserve(mine, None), crate::support::launch(vec![info])];
    cluster.accept(&scheduler, &[&offer], operations);
    cluster.acknowledge_all(&mut scheduler);
    let id = offer.agent_id.value.as_str();
    assert_eq!(cluster.mesos.mark_agent_gone("nobody").unwrap_err().status, 404);
    cluster.mesos.mark_agent_gone(id).unwrap();
    let gone = cluster.updates(&mut scheduler).remove(0);
    assert_eq!(
        (gone.state(), gone.reason()),
        (TaskState::TaskGoneByOperator, Reason::AgentRemovedByOperator)
    );
    assert!(!cluster.mesos.agent(agent).unwrap().is_running());
    cluster.reconcile(&scheduler, &[("a", Some(id))]);
    let asked = states(&cluster.updates(&mut scheduler));
    assert_eq!(asked, [TaskState::TaskGoneByOperator]);

    cluster.mesos.start_agent(agent);
    assert!(!cluster.mesos.agent(agent).unwrap().is_running());
    cluster.mesos.forget_agent(agent);
    cluster.mesos.start_agent(agent);
    cluster.pass(1_000);
    let again = cluster.offer(&mut scheduler);
    assert_ne!(again.agent_id, offer.agent_id);
    assert_eq!(again.hostname, offer.hostname);
    // The disk is the old one.
    assert!(again.resources.iter().any(|resource| !resource.reservations.is_empty()));
}

#[test]
fn an_unreachable_agent_can_be_marked_gone() {
    let (mut cluster, mut scheduler, agent) = Cluster::with_one_agent();
    let offer = cluster.run(&mut scheduler, &["a"]);
    cluster.mesos.partition_agent(agent, true);
    cluster.pass(75_000);
    cluster.updates(&mut scheduler);
    cluster.mesos.mark_agent_gone(&offer.agent_id.value).unwrap();
    let gone = cluster.updates(&mut scheduler).remove(0);
    assert_eq!(gone.state(), TaskState::TaskGoneByOperator);
    cluster.mesos.partition_agent(agent, false);
    assert!(!cluster.mesos.agent(agent).unwrap().is_running());
    assert_eq!(cluster.updates(&mut scheduler), []);
}

#[test]
fn a_drained_agent_is_offered_again_when_reactivated() {
    let (mut cluster, mut scheduler, agent) = Cluster::with_one_agent();
    let offer = cluster.run(&mut scheduler, &["a"]);
    let id = offer.agent_id.value.clone();
    cluster.mesos.drain_agent(&id, Some(50), false).unwrap();
    cluster.pass(50);
    let refusal = cluster.mesos.reactivate_agent(&id).unwrap_err();
    assert_eq!(refusal.body, "Agent is still in the DRAINING state");
    let updates = cluster.acknowledge_all(&mut scheduler);
    assert_eq!(states(&updates), [TaskState::TaskKilling, TaskState::TaskKilled]);
    assert!(updates.iter().all(|update| update.reason() == Reason::AgentDraining));
    assert_eq!(updates[1].message(), "Command terminated with signal Killed");
    assert!(cluster.mesos.draining_agents().unwrap()[id.as_str()].drained);
    cluster.pass(60_000);
    assert_eq!(cluster.offers(&mut scheduler), []);
    cluster.mesos.reactivate_agent(&id).unwrap();
    cluster.pass(1_000);
    assert_eq!(cluster.offer(&mut scheduler).resources, offer.resources);
    assert!(cluster.mesos.registered_agent(agent).unwrap().is_active());
}

#[test]
fn a_drain_can_end_with_gone() {
    let (mut cluster, mut scheduler, agent) = Cluster::with_one_agent();
    let offer = cluster.run(&mut scheduler, &["a"]);
    cluster.mesos.drain_agent(&offer.agent_id.value, None, true).unwrap();
    cluster.pass(1_000);
    let updates = cluster.acknowledge_all(&mut scheduler);
    assert_eq!(updates.last().unwrap().state(), TaskState::TaskGoneByOperator);
    assert_eq!(cluster.mesos.gone_agents().count(), 1);
    assert!(!cluster.mesos.agent(agent).unwrap().is_running());
}

#[test]
fn an_operator_can_reserve_what_is_offered() {
    let (mut cluster, mut scheduler, _) = Cluster::with_one_agent();
    let offer = cluster.offer(&mut scheduler);
    let id = offer.agent_id.value.as_str();
    let mine = reserved(&small(), "one");
    cluster.mesos.reserve(id, mine.clone()).unwrap();
    cluster.look(&mut scheduler);
    assert!(scheduler.events.iter().any(|event| event.r#type() == event::Type::Rescind));
    cluster.pass(10_000);
    let with = cluster.offers(&mut scheduler).pop().unwrap();
    let of_mine = with.resources.iter().filter(|one| !one.reservations.is_empty()).count();
    assert_eq!(of_mine, mine.len());
    cluster.mesos.unreserve(id, mine.clone()).unwrap();
    let refusal = cluster.mesos.unreserve(id, mine).unwrap_err();
    assert_eq!(refusal.status, 409, "{}", refusal.body);
    cluster.pass(10_000);
    let without = cluster.offers(&mut scheduler).pop().unwrap();
    assert_eq!(without.resources, offer.resources);
}

#[test]
fn a_teardown_by_an_operator() {
    let (mut cluster, mut scheduler, _) = Cluster::with_one_agent();
    cluster.mesos.teardown(&scheduler.id).unwrap();
    cluster.look(&mut scheduler);
    assert!(scheduler.is_closed);
    let refusal = cluster.mesos.teardown(&scheduler.id).unwrap_err();
    assert_eq!(refusal.body, "No framework found with specified ID");
}

#[test]
fn maintenance_asks_for_resources_back() {
    let (mut cluster, mut scheduler, agent) = Cluster::with_one_agent();
    cluster.run(&mut scheduler, &["a"]);
    let machine = MachineId { hostname: "10.0.0.1".to_owned(), ip: "10.0.0.1".to_owned() };
    let start = Some(v1::TimeInfo { nanoseconds: 2_000_000_000_000_000 });
    let unavailability = v1::Unavailability { start, duration: None };
    let machines = vec![machine.clone()];
    let window = MaintenanceWindow { machines: machines.clone(), unavailability };
    cluster
        .mesos
        .update_maintenance_schedule(MaintenanceSchedule { windows: vec![window] })
        .unwrap();
    cluster.look(&mut scheduler);
    let asked = scheduler.events.iter().find_map(|event| event.inverse_offers.clone()).unwrap();
    let inverse = &asked.inverse_offers[0];
    assert_eq!(inverse.unavailability, Some(unavailability));
    let decline =
        call::DeclineInverseOffers { inverse_offer_ids: vec![inverse.id.clone()], filters: None };
    let call = crate::support::call_of(&scheduler, call::Type::DeclineInverseOffers);
    cluster.send(&scheduler, Call { decline_inverse_offers: Some(decline), ..call }).unwrap();
    cluster.pass(10_000);
    let offer = cluster.offers(&mut scheduler).pop().unwrap();
    assert_eq!(offer.unavailability, Some(unavailability));

    cluster.mesos.start_maintenance(&machines).unwrap();
    let lost = cluster.updates(&mut scheduler).remove(0);
    assert_eq!((lost.state(), lost.reason()), (TaskState::TaskLost, Reason::AgentRemoved));
    cluster.mesos.start_agent(agent);
    assert!(!cluster.mesos.agent(agent).unwrap().is_running());
    cluster.mesos.stop_maintenance(&machines).unwrap();
    cluster.mesos.start_agent(agent);
    cluster.pass(1_000);
    assert_eq!(amount(&cluster.offer(&mut scheduler).resources, "cpus"), 8.0);
}

#[test]
fn tasks_of_drivers_are_killed_with_their_framework() {
    let (mut cluster, mut first, _) = Cluster::with_one_agent();
    let agent = cluster.mesos.add_agent(spec("10.0.0.2", Tasks::Driver));
    cluster.mesos.teardown(&first.id).unwrap();
    cluster.look(&mut first);
    let mut scheduler = cluster.subscribe(framework(&crate::support::CAPABLE));
    let offers = cluster.offers(&mut scheduler);
    let offer = offers.iter().find(|offer| offer.hostname == "10.0.0.2").unwrap();
    let info = crate::support::task("a", offer, small());
    cluster.accept(&scheduler, &[offer], vec![crate::support::launch(vec![info])]);
    cluster.mesos.teardown(&scheduler.id).unwrap();
    cluster.look(&mut scheduler);
    let last = cluster.outputs.last().unwrap();
    assert!(matches!(last, Output::Kill { agent: of, .. } if *of == agent), "{last:?}");
    let _ = LASTING;
}
