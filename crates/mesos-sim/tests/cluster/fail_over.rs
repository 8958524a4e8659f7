//! The master's fail-over.

use crate::support::{CAPABLE, Cluster, LASTING, framework, spec, states};
use peloton_mesos_sim::{FrameworkState, Settings, Tasks};
use peloton_proto::mesos::v1;
use v1::TaskState;

#[test]
fn everything_comes_back_from_agents_and_frameworks() {
    let (mut cluster, mut scheduler, agent) = Cluster::with_one_agent();
    let offer = cluster.run(&mut scheduler, &["a", "b"]);
    let id = offer.agent_id.value.clone();
    cluster.mesos.fail_over_master();
    cluster.look(&mut scheduler);
    assert!(scheduler.is_closed);
    assert_eq!(cluster.mesos.recovered_agents().collect::<Vec<_>>(), [id.as_str()]);

    let info = v1::FrameworkInfo {
        id: Some(v1::FrameworkId { value: scheduler.id.clone() }),
        ..framework(&CAPABLE)
    };
    let mut scheduler = cluster.subscribe(info);
    // As long as the agent is expected, nothing is said of what it may have.
    cluster.reconcile(&scheduler, &[("a", Some(&id)), ("x", None)]);
    assert_eq!(cluster.updates(&mut scheduler), []);
    cluster.pass(1_000);
    assert_eq!(cluster.mesos.registered_agent(agent).unwrap().id(), id);
    // A fail-over is no reason for updates.
    assert_eq!(cluster.updates(&mut scheduler), []);
    cluster.reconcile(&scheduler, &[]);
    let known = states(&cluster.updates(&mut scheduler));
    assert_eq!(known, [TaskState::TaskRunning, TaskState::TaskRunning]);
    cluster.reconcile(&scheduler, &[("x", Some(&id))]);
    assert_eq!(states(&cluster.updates(&mut scheduler)), [TaskState::TaskGone]);
}

#[test]
fn frameworks_are_known_from_agents_before_they_subscribe() {
    let (mut cluster, mut scheduler, _) = Cluster::with_one_agent();
    cluster.run(&mut scheduler, &["a"]);
    cluster.mesos.fail_over_master();
    cluster.pass(1_000);
    let known = cluster.mesos.framework(&scheduler.id).unwrap();
    assert_eq!(known.state(), FrameworkState::Recovered);
    assert_eq!(known.tasks().count(), 1);
    cluster.mesos.check().unwrap();
}

#[test]
fn unacknowledged_updates_come_again() {
    let (mut cluster, mut scheduler, _) = Cluster::with_one_agent();
    let offer = cluster.offer(&mut scheduler);
    let info = crate::support::task("a", &offer, crate::support::small());
    cluster.accept(&scheduler, &[&offer], vec![crate::support::launch(vec![info])]);
    let first = cluster.updates(&mut scheduler);
    cluster.mesos.fail_over_master();
    let id = Some(v1::FrameworkId { value: scheduler.id.clone() });
    let mut scheduler = cluster.subscribe(v1::FrameworkInfo { id, ..framework(&CAPABLE) });
    cluster.pass(1_000);
    assert_eq!(cluster.updates(&mut scheduler), first);
    // The master speaks of what is not acknowledged, not of what waits behind it.
    cluster.reconcile(&scheduler, &[("a", None)]);
    assert_eq!(states(&cluster.updates(&mut scheduler)), [TaskState::TaskStarting]);
}

#[test]
fn agents_that_do_not_come_back_are_unreachable() {
    let mut cluster = Cluster::new(Settings::default());
    let agent = cluster.mesos.add_agent(spec("10.0.0.1", Tasks::Script(LASTING)));
    let mut scheduler = cluster.subscribe(framework(&CAPABLE));
    let offer = cluster.run(&mut scheduler, &["a"]);
    cluster.mesos.kill_agent_machine(agent);
    cluster.mesos.fail_over_master();
    let id = Some(v1::FrameworkId { value: scheduler.id.clone() });
    let mut scheduler = cluster.subscribe(v1::FrameworkInfo { id, ..framework(&CAPABLE) });
    cluster.pass(599_999);
    cluster.look(&mut scheduler);
    assert!(scheduler.events.iter().all(|event| event.failure.is_none()));
    cluster.pass(1);
    cluster.look(&mut scheduler);
    assert!(scheduler.events.iter().any(|event| event.failure.is_some()));
    cluster.reconcile(&scheduler, &[("a", Some(&offer.agent_id.value))]);
    assert_eq!(states(&cluster.updates(&mut scheduler)), [TaskState::TaskUnreachable]);
}

#[test]
fn without_a_master_nothing_is_answered() {
    let (mut cluster, scheduler, _) = Cluster::with_one_agent();
    cluster.mesos.stop_master();
    let call = crate::support::call_of(&scheduler, v1::scheduler::call::Type::Revive);
    assert_eq!(cluster.send(&scheduler, call).unwrap_err().status, 503);
    cluster.pass(60_000);
    cluster.mesos.start_master();
    cluster.pass(1_000);
    assert_eq!(cluster.mesos.registered_agents().count(), 1);
}
