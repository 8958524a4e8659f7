//! Operation feedback.

use crate::support::Scheduler;
use crate::support::{Cluster, call_of, reserve, reserved, small};
use peloton_proto::mesos::v1;
use v1::OperationState;
use v1::scheduler::{Call, call};

fn reconcile(cluster: &mut Cluster, scheduler: &Scheduler, operations: &[(&str, Option<&str>)]) {
    let operation = |&(id, agent): &(&str, Option<&str>)| call::reconcile_operations::Operation {
        operation_id: v1::OperationId { value: id.to_owned() },
        agent_id: agent.map(|id| v1::AgentId { value: id.to_owned() }),
        resource_provider_id: None,
    };
    let operations = operations.iter().map(operation).collect();
    let reconcile = Some(call::ReconcileOperations { operations });
    let call = call_of(scheduler, call::Type::ReconcileOperations);
    cluster.send(scheduler, Call { reconcile_operations: reconcile, ..call }).unwrap();
}

#[test]
fn the_end_of_an_operation_is_told_until_it_is_acknowledged() {
    let (mut cluster, mut scheduler, _) = Cluster::with_one_agent();
    let offer = cluster.offer(&mut scheduler);
    let mine = reserved(&small(), "one");
    cluster.accept(&scheduler, &[&offer], vec![reserve(mine, Some("r1"))]);
    let first = cluster.operation_updates(&mut scheduler).remove(0);
    assert_eq!(first.state(), OperationState::OperationFinished);
    assert_eq!(first.agent_id.as_ref(), Some(&offer.agent_id));
    let uuid = first.uuid.clone().unwrap().value;
    cluster.pass(10_000);
    assert_eq!(cluster.operation_updates(&mut scheduler), std::slice::from_ref(&first));

    reconcile(&mut cluster, &scheduler, &[("r1", None)]);
    let known = cluster.operation_updates(&mut scheduler).remove(0);
    assert_eq!((known.state(), &known.uuid), (OperationState::OperationFinished, &None));

    let acknowledge = call::AcknowledgeOperationStatus {
        agent_id: Some(offer.agent_id.clone()),
        resource_provider_id: None,
        uuid,
        operation_id: v1::OperationId { value: "r1".to_owned() },
    };
    let call = call_of(&scheduler, call::Type::AcknowledgeOperationStatus);
    let call = Call { acknowledge_operation_status: Some(acknowledge), ..call };
    cluster.send(&scheduler, call).unwrap();
    cluster.pass(600_000);
    assert_eq!(cluster.operation_updates(&mut scheduler), []);
    assert_eq!(cluster.mesos.operations().count(), 0);

    let agent = Some(offer.agent_id.value.as_str());
    reconcile(&mut cluster, &scheduler, &[("r1", agent), ("r1", None), ("r1", Some("nobody"))]);
    let unknown = cluster.operation_updates(&mut scheduler);
    assert!(unknown.iter().all(|one| one.state() == OperationState::OperationUnknown));
    let messages: Vec<_> = unknown.iter().map(v1::OperationStatus::message).collect();
    assert_eq!(
        messages,
        [
            "Reconciliation: Operation is unknown",
            "Reconciliation: Operation is unknown and no 'agent_id' was provided",
            "Reconciliation: Both operation and agent are unknown",
        ]
    );
}

#[test]
fn operations_without_an_id_are_the_masters_to_acknowledge() {
    let (mut cluster, mut scheduler, _) = Cluster::with_one_agent();
    let offer = cluster.offer(&mut scheduler);
    cluster.accept(&scheduler, &[&offer], vec![reserve(reserved(&small(), "one"), None)]);
    assert_eq!(cluster.operation_updates(&mut scheduler), []);
    assert_eq!(cluster.mesos.operations().count(), 0);
}

#[test]
fn operations_that_were_lost_are_dropped() {
    let (mut cluster, mut scheduler, agent) = Cluster::with_one_agent();
    let offer = cluster.offer(&mut scheduler);
    cluster.mesos.partition_agent(agent, true);
    let mine = reserved(&small(), "one");
    cluster.accept(&scheduler, &[&offer], vec![reserve(mine, Some("r1"))]);
    assert_eq!(cluster.operation_updates(&mut scheduler), []);
    reconcile(&mut cluster, &scheduler, &[]);
    let pending = cluster.operation_updates(&mut scheduler).remove(0);
    assert_eq!(pending.state(), OperationState::OperationPending);
    cluster.mesos.partition_agent(agent, false);
    let dropped = cluster.operation_updates(&mut scheduler).remove(0);
    assert_eq!((dropped.state(), &dropped.uuid), (OperationState::OperationDropped, &None));
    cluster.pass(10_000);
    let offers = cluster.offers(&mut scheduler);
    assert_eq!(offers.last().unwrap().resources, offer.resources);
}

#[test]
fn operations_go_with_their_agents() {
    let (mut cluster, mut scheduler, agent) = Cluster::with_one_agent();
    let offer = cluster.offer(&mut scheduler);
    cluster.accept(&scheduler, &[&offer], vec![reserve(reserved(&small(), "one"), Some("r1"))]);
    cluster.operation_updates(&mut scheduler);
    cluster.mesos.partition_agent(agent, true);
    cluster.pass(75_000);
    let gone = cluster.operation_updates(&mut scheduler).remove(0);
    assert_eq!(gone.state(), OperationState::OperationUnreachable);
    assert_eq!(gone.message(), "Agent was marked unreachable");
    reconcile(&mut cluster, &scheduler, &[("r1", Some(&offer.agent_id.value))]);
    let asked = cluster.operation_updates(&mut scheduler).remove(0);
    assert_eq!(asked.state(), OperationState::OperationUnreachable);
    cluster.mesos.partition_agent(agent, false);
    let again = cluster.operation_updates(&mut scheduler).remove(0);
    assert_eq!(again.state(), OperationState::OperationFinished);
    assert!(again.uuid.is_some());
}
