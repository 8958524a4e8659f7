//! Agents that go, come back, or do not.

use crate::support::{
    CAPABLE, Cluster, LASTING, UNAWARE, launch, reserve, reserved, small, states, task,
};
use peloton_mesos_sim::Tasks;
use peloton_proto::mesos::v1;
use v1::TaskState;
use v1::scheduler::event;
use v1::task_status::Reason;

#[test]
fn an_agent_that_is_cut_off_is_unreachable_and_comes_back() {
    let (mut cluster, mut scheduler, agent) = Cluster::with_one_agent();
    let offer = cluster.run(&mut scheduler, &["a"]);
    let id = offer.agent_id.value.as_str();
    cluster.mesos.partition_agent(agent, true);
    cluster.pass(74_999);
    assert_eq!(cluster.updates(&mut scheduler), []);
    cluster.pass(1);
    let lost = cluster.updates(&mut scheduler).remove(0);
    assert_eq!((lost.state(), lost.reason()), (TaskState::TaskUnreachable, Reason::AgentRemoved));
    assert_eq!(lost.message(), "health check timed out");
    assert!(lost.unreachable_time.is_some());
    let failure = scheduler.events.iter().find_map(|event| event.failure.as_ref()).unwrap();
    assert_eq!((failure.agent_id.as_ref(), &failure.executor_id), (Some(&offer.agent_id), &None));

    cluster.reconcile(&scheduler, &[("a", Some(id)), ("a", None)]);
    let asked = states(&cluster.updates(&mut scheduler));
    assert_eq!(asked, [TaskState::TaskUnreachable, TaskState::TaskUnknown]);
    cluster.reconcile(&scheduler, &[]);
    assert_eq!(cluster.updates(&mut scheduler), []);

    cluster.mesos.partition_agent(agent, false);
    let back = cluster.updates(&mut scheduler).remove(0);
    assert_eq!((back.state(), back.reason()), (TaskState::TaskRunning, Reason::AgentReregistered));
    assert_eq!(back.message(), "Unreachable agent re-reregistered");
    assert_eq!(cluster.mesos.registered_agent(agent).unwrap().id(), id);
}

#[test]
fn frameworks_that_are_not_partition_aware_lose_their_tasks() {
    let (mut cluster, mut scheduler, agent) = Cluster::with_agent(Tasks::Script(LASTING), &UNAWARE);
    cluster.run(&mut scheduler, &["a"]);
    cluster.mesos.partition_agent(agent, true);
    cluster.pass(75_000);
    let lost = cluster.updates(&mut scheduler).remove(0);
    assert_eq!((lost.state(), lost.reason()), (TaskState::TaskLost, Reason::AgentRemoved));
}

#[test]
fn what_was_lost_on_the_way_is_dropped() {
    let (mut cluster, mut scheduler, agent) = Cluster::with_one_agent();
    let offer = cluster.offer(&mut scheduler);
    cluster.mesos.partition_agent(agent, true);
    cluster.accept(&scheduler, &[&offer], vec![launch(vec![task("a", &offer, small())])]);
    cluster.pass(5_000);
    cluster.mesos.partition_agent(agent, false);
    let dropped = cluster.acknowledge_all(&mut scheduler).remove(0);
    assert_eq!(dropped.state(), TaskState::TaskDropped);
    assert_eq!(dropped.message(), "Reconciliation: task unknown to the agent");
    assert_eq!(cluster.mesos.tasks().count(), 0);
}

#[test]
fn a_kill_that_was_lost_is_sent_again() {
    let (mut cluster, mut scheduler, agent) = Cluster::with_one_agent();
    cluster.run(&mut scheduler, &["a"]);
    cluster.mesos.partition_agent(agent, true);
    cluster.kill(&scheduler, "a", None);
    cluster.pass(5_000);
    assert_eq!(cluster.updates(&mut scheduler), []);
    cluster.mesos.partition_agent(agent, false);
    cluster.pass(1_000);
    let updates = cluster.acknowledge_all(&mut scheduler);
    assert_eq!(states(&updates), [TaskState::TaskKilling, TaskState::TaskKilled]);
}

#[test]
fn tasks_survive_the_agents_process() {
    let (mut cluster, mut scheduler, agent) = Cluster::with_one_agent();
    let offer = cluster.offer(&mut scheduler);
    let mut info = task("a", &offer, small());
    info.command.as_mut().unwrap().value = Some("sleep 30".to_owned());
    cluster.accept(&scheduler, &[&offer], vec![launch(vec![info])]);
    cluster.acknowledge_all(&mut scheduler);
    cluster.pass(10_000);
    let rest = cluster.offer(&mut scheduler);
    cluster.mesos.stop_agent(agent);
    // Its offers are gone at once, its tasks are not.
    cluster.look(&mut scheduler);
    let rescind = scheduler.events.iter().find_map(|event| event.rescind.as_ref()).unwrap();
    assert_eq!(rescind.offer_id.as_ref(), Some(&rest.id));
    cluster.pass(30_000);
    assert_eq!(cluster.updates(&mut scheduler), []);
    cluster.mesos.start_agent(agent);
    let updates = cluster.acknowledge_all(&mut scheduler);
    assert_eq!(states(&updates), [TaskState::TaskFinished]);
    cluster.pass(1_000);
    assert_eq!(cluster.offer(&mut scheduler).resources, offer.resources);
}

#[test]
fn tasks_of_frameworks_that_do_not_checkpoint_end_with_the_agents_process() {
    let (mut cluster, _, agent) = Cluster::with_one_agent();
    let mut info = crate::support::framework(&CAPABLE);
    info.checkpoint = Some(false);
    let mut scheduler = cluster.subscribe(info);
    cluster.mesos.stop_agent(agent);
    cluster.mesos.start_agent(agent);
    cluster.pass(1_000);
    let offers = cluster.offers(&mut scheduler);
    let Some(offer) = offers.last() else { panic!("no offer") };
    cluster.accept(&scheduler, &[offer], vec![launch(vec![task("a", offer, small())])]);
    cluster.acknowledge_all(&mut scheduler);
    cluster.mesos.stop_agent(agent);
    let lost = cluster.updates(&mut scheduler).remove(0);
    assert_eq!((lost.state(), lost.reason()), (TaskState::TaskLost, Reason::AgentDisconnected));
    assert_eq!(lost.message(), "Agent 10.0.0.1 disconnected");
    assert_eq!(cluster.mesos.agent(agent).unwrap().tasks().count(), 0);
}

#[test]
fn tasks_end_with_their_machine_and_reservations_do_not() {
    let (mut cluster, mut scheduler, agent) = Cluster::with_one_agent();
    let offer = cluster.offer(&mut scheduler);
    let mine = reserved(&small(), "one");
    let operations =
        vec![reserve(mine.clone(), None), launch(vec![task("a", &offer, mine.clone())])];
    cluster.accept(&scheduler, &[&offer], operations);
    cluster.acknowledge_all(&mut scheduler);
    cluster.mesos.kill_agent_machine(agent);
    cluster.pass(20_000);
    assert_eq!(cluster.updates(&mut scheduler), []);
    cluster.mesos.start_agent(agent);
    let ended = cluster.acknowledge_all(&mut scheduler).remove(0);
    assert_eq!(
        (ended.state(), ended.reason()),
        (TaskState::TaskFailed, Reason::ExecutorTerminated)
    );
    scheduler.events.clear();
    cluster.pass(10_000);
    let offers = cluster.offers(&mut scheduler);
    let reservations = |offer: &v1::Offer| {
        offer
            .resources
            .iter()
            .filter(|one| !one.reservations.is_empty())
            .cloned()
            .collect::<Vec<_>>()
    };
    let back: Vec<v1::Resource> = offers.iter().flat_map(reservations).collect();
    assert_eq!(back.len(), mine.len());
    assert_eq!(back[0].reservations, mine[0].reservations);
}

#[test]
fn a_machine_that_does_not_come_back_is_unreachable() {
    let (mut cluster, mut scheduler, agent) = Cluster::with_one_agent();
    cluster.run(&mut scheduler, &["a"]);
    cluster.kinds(&mut scheduler);
    cluster.mesos.kill_agent_machine(agent);
    cluster.pass(75_000);
    let kinds = cluster.kinds(&mut scheduler);
    assert!(
        kinds.ends_with(&[event::Type::Update, event::Type::Rescind, event::Type::Failure])
            || kinds.ends_with(&[event::Type::Update, event::Type::Failure]),
        "{kinds:?}"
    );
    cluster.mesos.start_agent(agent);
    // The agent tells first what it knows, then what became of it.
    let updates = cluster.acknowledge_all(&mut scheduler);
    assert_eq!(states(&updates), [TaskState::TaskFailed, TaskState::TaskFailed]);
    assert_eq!(updates[0].reason(), Reason::AgentReregistered);
    assert_eq!(updates[1].reason(), Reason::ExecutorTerminated);
}
