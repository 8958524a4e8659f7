//! Effects of the shard as calls to Mesos.

use super::{Identity, LABEL_CLUSTER, LABEL_INSTANCE, LABEL_JOB, LABEL_SLOT, fetch, labels, task};
use crate::calls;
use peloton_core::{Accept, Effect, Mounted, OfferedVolume, Operation, SlotRef, VolumeSpec};
use peloton_model::{Milli, Resources};
use peloton_proto::mesos::v1 as mesos;
use peloton_proto::mesos::v1::offer;
use peloton_proto::mesos::v1::scheduler::Call;

/// A volume's path has to be there also where nothing mounts it.
const UNMOUNTED: &str = "volume";

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
        Operation::Create { id: name, slot, principal, volumes } => {
            let principal = principal.as_deref().or(identity.principal.as_deref());
            let make = |volume: &VolumeSpec| {
                let made = OfferedVolume {
                    id: volume.id.clone(),
                    size_mb: volume.size_mb,
                    principal: identity.principal.as_deref().map(Into::into),
                    slot: slot.clone(),
                    reserver: principal.map(Into::into),
                };
                self::volume(identity, &made, UNMOUNTED, true)
            };
            let volumes = volumes.iter().map(make).collect();
            let create = offer::operation::Create { volumes };
            offer::Operation { id: id(name), create: Some(create), ..of(Type::Create) }
        }
        Operation::Destroy { id: name, reserved } => {
            let take = |one: &OfferedVolume| volume(identity, one, UNMOUNTED, true);
            let volumes = reserved.volumes.iter().map(take).collect();
            let destroy = offer::operation::Destroy { volumes };
            offer::Operation { id: id(name), destroy: Some(destroy), ..of(Type::Destroy) }
        }
        Operation::Fetch(fetch) => {
            let owner = fetch.slot.as_ref().map(|(slot, principal)| {
                let principal = principal.as_deref().or(identity.principal.as_deref());
                reservation(identity, &identity.role, principal, slot)
            });
            let mut resources =
                self::resources(&identity.role, &fetch.resources, &[], owner.as_ref());
            resources.push(mounted(identity, &fetch.volume));
            let task_infos = vec![fetch::info(&fetch, resources)];
            let launch = offer::operation::Launch { task_infos };
            offer::Operation { launch: Some(launch), ..of(Type::Launch) }
        }
        Operation::Launch(launch) => {
            let principal = launch.principal.as_deref().or(identity.principal.as_deref());
            let owner = launch
                .slot
                .as_ref()
                .map(|slot| reservation(identity, &identity.role, principal, slot));
            let mut resources =
                self::resources(&identity.role, &launch.resources, &launch.ports, owner.as_ref());
            resources.extend(launch.volumes.iter().map(|volume| mounted(identity, volume)));
            let task_infos = vec![task::info(&launch, resources)];
            let launch = offer::operation::Launch { task_infos };
            offer::Operation { launch: Some(launch), ..of(Type::Launch) }
        }
    }
}

/// A volume as a task mounts it.
fn mounted(identity: &Identity, mount: &Mounted) -> mesos::Resource {
    volume(identity, &mount.volume, &mount.container_path, mount.read_write)
}

/// A persistent volume. Where it is mounted, and whether it may be written, is a matter of use: Mesos does not
/// tell volumes apart by it. But it makes and destroys none that is read-only (`src/master/validation.cpp`).
fn volume(
    identity: &Identity,
    volume: &OfferedVolume,
    container_path: &str,
    read_write: bool,
) -> mesos::Resource {
    use mesos::resource::disk_info::Persistence;
    use mesos::volume::Mode;
    let mode = if read_write { Mode::Rw } else { Mode::Ro };
    let role = identity.role.as_str();
    let owner = reservation(identity, role, volume.reserver.as_deref(), &volume.slot);
    mesos::Resource {
        name: "disk".to_owned(),
        r#type: mesos::value::Type::Scalar as i32,
        scalar: Some(mesos::value::Scalar { value: volume.size_mb as f64 }),
        allocation_info: Some(mesos::resource::AllocationInfo { role: Some(role.to_owned()) }),
        reservations: vec![owner],
        disk: Some(Box::new(mesos::resource::DiskInfo {
            persistence: Some(Persistence {
                id: volume.id.clone(),
                principal: volume.principal.as_deref().map(str::to_owned),
            }),
            volume: Some(mesos::Volume {
                container_path: container_path.to_owned(),
                mode: mode as i32,
                ..Default::default()
            }),
            source: None,
        })),
        ..Default::default()
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
