//! Events of Mesos as inputs of the shard.

use super::{Identity, LABEL_CLUSTER, LABEL_INSTANCE, LABEL_JOB, LABEL_SLOT};
use peloton_core::{
    MesosEvent, Offer, OfferedVolume, OperationState, OperationUpdate, Reserved, SlotRef,
    StatusUpdate, TaskStatus,
};
use peloton_model::{AgentId, AgentRecord, JobId, Milli, OfferId, PortSet, Resources, SlotId};
use peloton_proto::mesos::v1 as mesos;
use peloton_proto::mesos::v1::scheduler::{Event, event};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Other clusters that are named; more would only make the list long.
const MAX_FOREIGN: usize = 16;

/// An event as the shard takes it; `foreign` gets the ids of other clusters whose reservations are offered
/// in our role. None for those that say nothing to it (heartbeats, messages of
/// executors, inverse offers, and kinds that are not known here).
#[must_use]
pub fn event(
    identity: &Identity,
    event: Event,
    foreign: &mut BTreeSet<String>,
) -> Option<MesosEvent> {
    match event::Type::try_from(event.r#type?).ok()? {
        event::Type::Offers => {
            let offers = event.offers?.offers;
            Some(MesosEvent::Offers(
                offers.into_iter().map(|o| offer(identity, o, foreign)).collect(),
            ))
        }
        event::Type::Rescind => {
            Some(MesosEvent::Rescind(OfferId::new(&event.rescind?.offer_id?.value)))
        }
        event::Type::Update => status(event.update?.status?).map(MesosEvent::Status),
        event::Type::UpdateOperationStatus => {
            operation(event.update_operation_status?.status?).map(MesosEvent::Operation)
        }
        _ => None,
    }
}

fn offer(identity: &Identity, offer: mesos::Offer, foreign: &mut BTreeSet<String>) -> Offer {
    let mut free = Pool::default();
    let mut reserved: BTreeMap<(SlotRef, Option<String>), Pool> = BTreeMap::new();
    for resource in &offer.resources {
        match owner(identity, resource) {
            Owner::Nobody => free.add(resource),
            Owner::Slot(slot, principal) => match volume(&slot, principal.as_deref(), resource) {
                Some(volume) => {
                    reserved.entry((slot, principal)).or_default().volumes.push(volume);
                }
                None => reserved.entry((slot, principal)).or_default().add(resource),
            },
            Owner::OtherCluster(id) => {
                if foreign.len() < MAX_FOREIGN && !foreign.contains(id) {
                    foreign.insert(id.to_owned());
                }
            }
            Owner::Others => {}
        }
    }
    let role: Arc<str> = identity.role.as_str().into();
    let reserved = reserved
        .into_iter()
        .map(|((slot, principal), pool)| Reserved {
            slot,
            role: role.clone(),
            principal: principal.map(Into::into),
            resources: pool.scalars,
            ports: pool.ports(),
            volumes: pool.volumes,
        })
        .collect();
    Offer {
        id: OfferId::new(&offer.id.value),
        agent: AgentId::new(&offer.agent_id.value),
        free: free.scalars,
        ports: free.ports(),
        reserved,
        record: Arc::new(AgentRecord {
            host: offer.hostname.into(),
            attributes: offer.attributes.iter().filter_map(attribute).collect(),
            url: offer.url.map(url).unwrap_or_default(),
        }),
    }
}

/// A resource as a persistent volume, if it is one.
fn volume(
    slot: &SlotRef,
    reserver: Option<&str>,
    resource: &mesos::Resource,
) -> Option<OfferedVolume> {
    let persistence = resource.disk.as_ref()?.persistence.as_ref()?;
    let size = Milli::from_f64(resource.scalar.as_ref().map_or(0.0, |s| s.value));
    Some(OfferedVolume {
        id: persistence.id.clone(),
        size_mb: size.0 / 1000,
        principal: persistence.principal.as_deref().map(Into::into),
        slot: slot.clone(),
        reserver: reserver.map(Into::into),
    })
}

/// Scalars and ports that belong together.
#[derive(Default)]
struct Pool {
    scalars: Resources,
    ranges: Vec<(u16, u16)>,
    volumes: Vec<OfferedVolume>,
}

impl Pool {
    fn add(&mut self, resource: &mesos::Resource) {
        let scalar = || Milli::from_f64(resource.scalar.as_ref().map_or(0.0, |s| s.value));
        let mut one = Resources::default();
        match resource.name.as_str() {
            "cpus" => one.cpus = scalar(),
            "mem" => one.mem_mb = scalar(),
            "disk" => one.disk_mb = scalar(),
            "gpus" => one.gpus = scalar(),
            "ports" => {
                let ranges = resource.ranges.iter().flat_map(|r| &r.range);
                self.ranges.extend(ranges.filter_map(|r| {
                    let to = u16::try_from(r.end).unwrap_or(u16::MAX);
                    u16::try_from(r.begin).ok().map(|from| (from, to))
                }));
            }
            _ => {}
        }
        self.scalars = self.scalars.plus(&one);
    }

    fn ports(&self) -> PortSet {
        PortSet::from_ranges(self.ranges.iter().copied())
    }
}

enum Owner<'a> {
    Nobody,
    Slot(SlotRef, Option<String>),
    /// Of another cluster of Peloton, which was given our role.
    OtherCluster(&'a str),
    Others,
}

fn owner<'a>(identity: &Identity, resource: &'a mesos::Resource) -> Owner<'a> {
    // Of disks, only volumes on the agent's own are ours to use.
    let foreign_disk =
        |disk: &mesos::resource::DiskInfo| disk.source.is_some() || disk.persistence.is_none();
    let special = resource.revocable.is_some()
        || resource.shared.is_some()
        || resource.provider_id.is_some()
        || resource.disk.as_deref().is_some_and(foreign_disk);
    match resource.reservations.as_slice() {
        _ if special => Owner::Others,
        [] => Owner::Nobody,
        [reservation] if reservation.role.as_deref() == Some(&identity.role) => {
            let labels = reservation.labels.as_ref();
            match (labels.and_then(slot), labels.and_then(|all| value(all, LABEL_CLUSTER))) {
                (Some(slot), Some(cluster)) if cluster == identity.cluster => {
                    Owner::Slot(slot, reservation.principal.clone())
                }
                (Some(_), Some(cluster)) => Owner::OtherCluster(cluster),
                _ => Owner::Others,
            }
        }
        _ => Owner::Others,
    }
}

fn value<'a>(labels: &'a mesos::Labels, key: &str) -> Option<&'a str> {
    labels.labels.iter().find(|label| label.key == key).and_then(|label| label.value.as_deref())
}

fn slot(labels: &mesos::Labels) -> Option<SlotRef> {
    Some(SlotRef {
        job: JobId::new(value(labels, LABEL_JOB)?).ok()?,
        instance: value(labels, LABEL_INSTANCE)?.parse().ok()?,
        slot: SlotId(value(labels, LABEL_SLOT)?.parse().ok()?),
    })
}

/// An attribute as text, in the forms in which operators write them on an agent's command line.
fn attribute(attribute: &mesos::Attribute) -> Option<(String, String)> {
    let text = if let Some(text) = &attribute.text {
        text.value.clone()
    } else if let Some(scalar) = &attribute.scalar {
        scalar.value.to_string()
    } else if let Some(ranges) = &attribute.ranges {
        let all: Vec<_> = ranges.range.iter().map(|r| format!("{}-{}", r.begin, r.end)).collect();
        format!("[{}]", all.join(","))
    } else {
        format!("{{{}}}", attribute.set.as_ref()?.item.join(","))
    };
    Some((attribute.name.clone(), text))
}

fn url(url: mesos::Url) -> String {
    let host = url.address.ip.or(url.address.hostname).unwrap_or_default();
    let path = url.path.unwrap_or_default();
    format!("{}://{host}:{}{path}", url.scheme, url.address.port)
}

fn status(status: mesos::TaskStatus) -> Option<StatusUpdate> {
    use mesos::TaskState as State;
    let state = match State::try_from(status.state).ok()? {
        State::TaskStaging => TaskStatus::Staging,
        State::TaskStarting => TaskStatus::Starting,
        State::TaskRunning => TaskStatus::Running,
        State::TaskKilling => TaskStatus::Killing,
        State::TaskFinished => TaskStatus::Finished,
        State::TaskFailed => TaskStatus::Failed,
        State::TaskKilled => TaskStatus::Killed,
        State::TaskError => TaskStatus::Error,
        State::TaskLost => TaskStatus::Lost,
        State::TaskDropped => TaskStatus::Dropped,
        State::TaskUnreachable => TaskStatus::Unreachable,
        State::TaskGone => TaskStatus::Gone,
        State::TaskGoneByOperator => TaskStatus::GoneByOperator,
        State::TaskUnknown => TaskStatus::Unknown,
    };
    let reason = status.reason.and_then(|r| mesos::task_status::Reason::try_from(r).ok());
    let message = status.message.filter(|text| !text.is_empty());
    Some(StatusUpdate {
        exit_status: message.as_deref().and_then(exit_status),
        task: status.task_id.value,
        status: state,
        agent: status.agent_id.map(|id| AgentId::new(&id.value)),
        uuid: status.uuid.filter(|uuid| !uuid.is_empty()),
        healthy: status.healthy,
        message,
        reason: reason.map(|r| r.as_str_name().trim_start_matches("REASON_").to_owned()),
    })
}

/// A status update has no field for it: Mesos's own executors tell it in words,
/// `Command exited with status 3`.
fn exit_status(message: &str) -> Option<i32> {
    let (_, rest) = message.split_once("exited with status ")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn operation(status: mesos::OperationStatus) -> Option<OperationUpdate> {
    use mesos::OperationState as State;
    let state = match State::try_from(status.state).ok()? {
        State::OperationFinished => OperationState::Finished,
        State::OperationFailed | State::OperationError | State::OperationDropped => {
            OperationState::Failed
        }
        State::OperationGoneByOperator => OperationState::Gone,
        State::OperationUnknown => OperationState::Unknown,
        State::OperationRecovering => OperationState::Recovering,
        State::OperationUnsupported | State::OperationPending | State::OperationUnreachable => {
            OperationState::Pending
        }
    };
    Some(OperationUpdate {
        id: status.operation_id?.value,
        state,
        agent: status.agent_id.map(|id| AgentId::new(&id.value)),
        uuid: status.uuid.map(|uuid| uuid.value),
        message: status.message,
    })
}
