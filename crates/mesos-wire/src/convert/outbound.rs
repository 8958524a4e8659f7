//! Effects of the shard as calls to Mesos.

use super::{Identity, LABEL_CLUSTER, LABEL_INSTANCE, LABEL_JOB, LABEL_SLOT, labels, task};
use crate::calls;
use peloton_core::{Accept, Effect, Operation, SlotRef};
use peloton_model::{Milli, Resources};
use peloton_proto::mesos::v1 as mesos;
use peloton_proto::mesos::v1::offer;
use peloton_proto::mesos::v1::scheduler::Call;

/// The call that carries an effect out.
#[must_use]
pub fn call(identity: &Identity, effect: Effect) -> Call {
    let agent_id = |id: &peloton_model::AgentId| mesos::AgentId { value: id.to_string() };
    let task_id = |value: String| mesos::TaskId { value };
    let operation_id = |value: String| mesos::OperationId { value };
    match effect {
        Effect::Accept(accept) => self::accept(identity, accept),
        Effect::Decline { offers, refuse_ms } => {
            calls::decline(offers.iter().map(offer_id).collect(), Some(refuse_ms))
        }
        Effect::Kill { task, agent, grace_ms } => {
            calls::kill(task_id(task), agent.as_ref().map(agent_id), grace_ms)
        }
        Effect::Acknowledge { task, agent, uuid } => {
            calls::acknowledge(agent_id(&agent), task_id(task), uuid)
        }
        Effect::AcknowledgeOperation { id, agent, uuid } => calls::acknowledge_operation_status(
            agent.as_ref().map(agent_id),
            operation_id(id),
            uuid,
        ),
        Effect::Reconcile(tasks) => calls::reconcile(
            tasks
                .into_iter()
                .map(|(task, agent)| (task_id(task.to_string()), agent.as_ref().map(agent_id)))
                .collect(),
        ),
        Effect::ReconcileOperations(operations) => calls::reconcile_operations(
            operations
                .into_iter()
                .map(|(id, agent)| (operation_id(id), Some(agent_id(&agent))))
                .collect(),
        ),
        Effect::Revive => calls::revive(vec![identity.role.clone()]),
        Effect::Suppress => calls::suppress(vec![identity.role.clone()]),
    }
}

fn offer_id(id: &peloton_model::OfferId) -> mesos::OfferId {
    mesos::OfferId { value: id.to_string() }
}

fn accept(identity: &Identity, accept: Accept) -> Call {
    let operations = accept.operations.into_iter().map(|o| operation(identity, o)).collect();
    calls::accept(accept.offers.iter().map(offer_id).collect(), operations, Some(accept.refuse_ms))
}

fn operation(identity: &Identity, operation: Operation) -> offer::Operation {
    use offer::operation::Type;
    let of = |kind: Type| offer::Operation { r#type: Some(kind as i32), ..Default::default() };
    let id = |value: String| Some(mesos::OperationId { value });
    match operation {
        Operation::Reserve { id: name, slot, resources, ports } => {
            let principal = identity.principal.as_deref();
            let owner = Some(reservation(identity, &identity.role, principal, &slot));
            let resources = self::resources(&identity.role, &resources, &ports, owner.as_ref());
            let reserve = offer::operation::Reserve { resources, ..Default::default() };
            offer::Operation { id: id(name), reserve: Some(reserve), ..of(Type::Reserve) }
        }
        Operation::Unreserve { id: name, reserved } => {
            let principal = reserved.principal.as_deref();
            let owner = Some(reservation(identity, &reserved.role, principal, &reserved.slot));
            let ports: Vec<u16> = reserved.ports.iter().collect();
            let resources =
                self::resources(&identity.role, &reserved.resources, &ports, owner.as_ref());
            let unreserve = offer::operation::Unreserve { resources };
            offer::Operation { id: id(name), unreserve: Some(unreserve), ..of(Type::Unreserve) }
        }
        Operation::Launch(launch) => {
            let principal = launch.principal.as_deref().or(identity.principal.as_deref());
            let owner = launch
                .slot
                .as_ref()
                .map(|slot| reservation(identity, &identity.role, principal, slot));
            let resources =
                self::resources(&identity.role, &launch.resources, &launch.ports, owner.as_ref());
            let task_infos = vec![task::info(&launch, resources)];
            let launch = offer::operation::Launch { task_infos };
            offer::Operation { launch: Some(launch), ..of(Type::Launch) }
        }
    }
}

fn reservation(
    identity: &Identity,
    role: &str,
    principal: Option<&str>,
    slot: &SlotRef,
) -> mesos::resource::ReservationInfo {
    mesos::resource::ReservationInfo {
        principal: principal.map(str::to_owned),
        labels: Some(labels([
            (LABEL_CLUSTER, identity.cluster.clone()),
            (LABEL_JOB, slot.job.to_string()),
            (LABEL_INSTANCE, slot.instance.to_string()),
            (LABEL_SLOT, slot.slot.to_string()),
        ])),
        role: Some(role.to_owned()),
        r#type: Some(mesos::resource::reservation_info::Type::Dynamic as i32),
    }
}

fn resources(
    role: &str,
    scalars: &Resources,
    ports: &[u16],
    owner: Option<&mesos::resource::ReservationInfo>,
) -> Vec<mesos::Resource> {
    let base = |name: &str, kind: mesos::value::Type| mesos::Resource {
        name: name.to_owned(),
        r#type: kind as i32,
        allocation_info: Some(mesos::resource::AllocationInfo { role: Some(role.to_owned()) }),
        reservations: owner.cloned().into_iter().collect(),
        ..Default::default()
    };
    let scalar = |(name, amount): (&str, Milli)| mesos::Resource {
        scalar: Some(mesos::value::Scalar { value: amount.as_f64() }),
        ..base(name, mesos::value::Type::Scalar)
    };
    let amounts = [
        ("cpus", scalars.cpus),
        ("mem", scalars.mem_mb),
        ("disk", scalars.disk_mb),
        ("gpus", scalars.gpus),
    ];
    let mut all: Vec<_> =
        amounts.into_iter().filter(|(_, amount)| !amount.is_zero()).map(scalar).collect();
    if !ports.is_empty() {
        let set: peloton_model::PortSet = ports.iter().copied().collect();
        let range = |(from, to): &(u16, u16)| mesos::value::Range {
            begin: u64::from(*from),
            end: u64::from(*to),
        };
        all.push(mesos::Resource {
            ranges: Some(mesos::value::Ranges { range: set.ranges().iter().map(range).collect() }),
            ..base("ports", mesos::value::Type::Ranges)
        });
    }
    all
}
