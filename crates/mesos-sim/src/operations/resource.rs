//! What resources have to be for something to be done with them, apart from being well formed.

use crate::resources::{Quantities, Resources, Shape, UNIT, Value, display_proto};
use peloton_proto::mesos::v1;
use std::collections::BTreeSet;
use v1::volume::Mode;

/// The longest id, from the longest file name on Linux: ids become directories.
const MAX_ID_BYTES: usize = 255;

/// Validates resources that a framework or operator wants something done with.
///
/// # Errors
///
/// In Mesos's words.
pub fn validate_resources(resources: &[v1::Resource]) -> Result<(), String> {
    let read =
        Resources::from_proto(resources).map_err(|error| format!("Invalid resources: {error}"))?;
    if read.scalar("gpus") % UNIT != 0 {
        let error = "The 'gpus' resource must be an unsigned integer";
        return Err(format!("Invalid 'gpus' resource: {error}"));
    }
    for resource in resources {
        validate_disk(resource).map_err(|error| format!("Invalid DiskInfo: {error}"))?;
    }
    for (read, resource) in read_each(resources) {
        if read.is_dynamically_reserved() && read.is_revocable() {
            return Err(format!(
                "Invalid ReservationInfo: Dynamically reserved resource {} cannot be created from \
                 revocable resources",
                display_proto(resource)
            ));
        }
    }
    Ok(())
}

/// Each message with the kind that it is read as; those of nothing are left out.
fn read_each(
    resources: &[v1::Resource],
) -> impl Iterator<Item = (crate::resources::Kind, &v1::Resource)> {
    resources.iter().filter_map(|resource| {
        let read = Resources::from_proto(std::slice::from_ref(resource)).ok()?;
        Some((read.iter().next()?.kind().clone(), resource))
    })
}

fn validate_disk(resource: &v1::Resource) -> Result<(), String> {
    let Some(disk) = &resource.disk else { return Ok(()) };
    let error = |text: &str| Err(text.to_owned());
    let Some(persistence) = &disk.persistence else {
        if disk.volume.is_some() {
            return error("Non-persistent volume not supported");
        }
        if disk.source.is_none() {
            return error("DiskInfo is set but empty");
        }
        return Ok(());
    };
    if resource.revocable.is_some() {
        return error("Persistent volumes cannot be created from revocable resources");
    }
    if is_unreserved(resource) {
        return error("Persistent volumes cannot be created from unreserved resources");
    }
    let Some(volume) = &disk.volume else {
        return error("Expecting 'volume' to be set for persistent volume");
    };
    if volume.host_path.is_some() {
        return error("Expecting 'host_path' to be unset for persistent volume");
    }
    validate_id(&persistence.id)
        .map_err(|error| format!("Invalid persistence ID for persistent volume: {error}"))
}

fn is_unreserved(resource: &v1::Resource) -> bool {
    #[allow(deprecated, reason = "the older form of a reservation")]
    let older = resource.role();
    resource.reservations.is_empty() && older == "*"
}

/// Validates the id of a task, an executor or a volume, which becomes a directory.
///
/// # Errors
///
/// In Mesos's words.
pub fn validate_id(id: &str) -> Result<(), String> {
    if id.is_empty() {
        return Err("ID must not be empty".to_owned());
    }
    if id.len() > MAX_ID_BYTES {
        return Err(format!("ID must not be greater than {MAX_ID_BYTES} characters"));
    }
    if id == "." || id == ".." {
        return Err(format!("'{id}' is disallowed"));
    }
    if id.contains(|c: char| c.is_ascii_control() || c == '/' || c == '\\') {
        return Err(format!("'{id}' contains invalid characters"));
    }
    Ok(())
}

/// Whom a message's resource is allocated to.
pub(super) fn role_of_allocation(resource: &v1::Resource) -> Option<&str> {
    resource.allocation_info.as_ref()?.role.as_deref()
}

pub(super) fn validate_persistent_volumes(volumes: &[v1::Resource]) -> Result<(), String> {
    for volume in volumes {
        let Some(disk) = &volume.disk else {
            return Err(format!("Resource {} does not have DiskInfo", display_proto(volume)));
        };
        if disk.persistence.is_none() {
            return Err("'persistence' is not set in DiskInfo".to_owned());
        }
        let Some(volume) = &disk.volume else {
            return Err("Expecting 'volume' to be set for persistent volume".to_owned());
        };
        if volume.mode() == Mode::Ro {
            return Err("Read-only persistent volume not supported".to_owned());
        }
    }
    Ok(())
}

/// Persistence ids are unique for a role on an agent.
pub(super) fn validate_unique_persistence_ids(resources: &Resources) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for resource in resources {
        let kind = resource.kind();
        if let Some(id) = kind.persistence_id()
            && !seen.insert((kind.reservation_role(), id))
        {
            return Err(format!("Persistence ID '{id}' is not unique"));
        }
    }
    Ok(())
}

pub(super) fn validate_single_allocation_role(resources: &[v1::Resource]) -> Result<(), String> {
    let mut first = None;
    for resource in resources {
        let Some(role) = role_of_allocation(resource) else {
            return Err("The resources are not allocated to a role".to_owned());
        };
        let other = *first.get_or_insert(role);
        if role != other {
            return Err(format!(
                "The resources have multiple allocation roles ('{role}' and '{other}') but only one \
                 allocation role is allowed"
            ));
        }
    }
    Ok(())
}

pub(super) fn validate_single_provider(resources: &[v1::Resource]) -> Result<(), String> {
    let provider = |resource: &v1::Resource| resource.provider_id.clone().map(|id| id.value);
    let providers: BTreeSet<_> = resources.iter().map(provider).collect();
    if providers.len() == 1 {
        return Ok(());
    }
    if providers.contains(&None) {
        return Err("Some resources have a resource provider and some do not".to_owned());
    }
    let ids: Vec<_> = providers.into_iter().flatten().collect();
    Err(format!("The resources have multiple resource providers: {}", ids.join(", ")))
}

pub(super) fn validate_revocable_apart(resources: &Resources) -> Result<(), String> {
    for resource in resources {
        let name = resource.kind().name();
        let mut others = resources.iter().filter(|other| other.kind().name() == name);
        if others.any(|other| other.kind().is_revocable() != resource.kind().is_revocable()) {
            return Err(format!(
                "Cannot use both revocable and non-revocable '{name}' at the same time"
            ));
        }
    }
    Ok(())
}

/// Whether ranges or sets have something in common: then the sum is less than its parts.
pub(super) fn overlap(parts: &[Resources]) -> bool {
    let size = |resources: &Resources| {
        let members = resources.iter().filter(|one| one.kind().shape() != Shape::Scalar);
        members.fold(0, |sum: i64, one| sum.saturating_add(one.value().quantity()))
    };
    let mut total = Resources::new();
    parts.iter().for_each(|part| total.add(part));
    parts.iter().map(size).fold(0, i64::saturating_add) != size(&total)
}

/// Units of one name, for the words of an error: `None` where there is nothing of it.
pub(super) fn units(resources: &Resources, name: &str) -> Option<Value> {
    let quantities = Quantities::of_scalars(resources);
    let thousandths = quantities.get(&name.into());
    (thousandths != 0).then_some(Value::Scalar(thousandths))
}
