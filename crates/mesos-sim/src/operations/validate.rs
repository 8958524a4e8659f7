//! Whether an operation may be done, with Mesos's words for why not.

use super::resource::{
    role_of_allocation, validate_persistent_volumes, validate_resources,
    validate_single_allocation_role, validate_single_provider, validate_unique_persistence_ids,
};
use crate::resources::{Resources, Value, display_proto, display_proto_list};
use peloton_proto::mesos::v1;
use std::collections::BTreeSet;
use v1::framework_info::capability::Type as Capability;
use v1::offer::Operation;
use v1::offer::operation::{Create, Destroy, GrowVolume, Reserve, ShrinkVolume, Type, Unreserve};

/// Who asks for an operation.
#[derive(Debug, Clone, Copy, Default)]
pub struct Requester<'a> {
    /// The framework; `None` is an operator.
    pub framework: Option<&'a v1::FrameworkInfo>,
    /// The framework's principal, or as whom an operator is authenticated. Without one, principals in
    /// resources may be anything.
    pub principal: Option<&'a str>,
}

impl<'a> Requester<'a> {
    /// A framework, which is known by the principal of its info.
    #[must_use]
    pub fn framework(info: &'a v1::FrameworkInfo) -> Self {
        Self { framework: Some(info), principal: info.principal.as_deref() }
    }
}

/// Validates an operation on an agent whose reservations and volumes are `checkpointed` (its total
/// will do), while `in_use` is what tasks and executors have there. The resources of a framework's
/// operation must have their allocation info, which the master puts there from the offers.
///
/// Not looked at are `LAUNCH` and `LAUNCH_GROUP`, which have functions of their own.
///
/// # Errors
///
/// In Mesos's words, without the agent's description that the master appends.
pub fn validate(
    operation: &Operation,
    requester: Requester<'_>,
    checkpointed: &Resources,
    in_use: &[&Resources],
) -> Result<(), String> {
    let missing = || "Operation contains no resources".to_owned();
    match operation.r#type() {
        Type::Unknown => Err("Unknown operation".to_owned()),
        Type::Launch | Type::LaunchGroup => Ok(()),
        Type::Reserve => reserve(operation.reserve.as_ref().ok_or_else(missing)?, requester),
        Type::Unreserve => unreserve(operation.unreserve.as_ref().ok_or_else(missing)?),
        Type::Create => {
            create(operation.create.as_ref().ok_or_else(missing)?, requester, checkpointed)
        }
        Type::Destroy => {
            destroy(operation.destroy.as_ref().ok_or_else(missing)?, checkpointed, in_use)
        }
        Type::GrowVolume => grow(operation.grow_volume.as_ref().ok_or_else(missing)?),
        Type::ShrinkVolume => shrink(operation.shrink_volume.as_ref().ok_or_else(missing)?),
    }
}

fn prefixed(prefix: &'static str) -> impl Fn(String) -> String {
    move |error| format!("{prefix}: {error}")
}

fn reserve(reserve: &Reserve, requester: Requester<'_>) -> Result<(), String> {
    validate_resources(&reserve.resources).map_err(prefixed("Invalid resources"))?;
    validate_resources(&reserve.source).map_err(prefixed("Invalid source"))?;
    if !reserve.source.is_empty() {
        reserve_source(reserve)?;
    }
    validate_single_provider(&reserve.resources).map_err(prefixed("Invalid resources"))?;
    for resource in &reserve.resources {
        reserve_one(resource, requester)?;
    }
    if requester.framework.is_some() {
        validate_single_allocation_role(&reserve.resources)
            .map_err(prefixed("Invalid reservation resources"))?;
    }
    Ok(())
}

/// With a source, its reservations are replaced, and all else stays.
fn reserve_source(reserve: &Reserve) -> Result<(), String> {
    for (what, resources) in
        [("Invalid source", &reserve.source), ("Invalid resources", &reserve.resources)]
    {
        let read = Resources::from_proto(resources)?;
        let Some(first) = read.iter().next() else {
            return Err(format!("{what}: Resource cannot be empty"));
        };
        let stack = first.kind().reservations();
        if read.iter().any(|resource| resource.kind().reservations() != stack) {
            let resources = display_proto_list(resources);
            return Err(format!("{what}: Mixed reservations are not supported{resources}"));
        }
    }
    let source = Resources::from_proto(&reserve.source)?.to_unreserved();
    let target = Resources::from_proto(&reserve.resources)?.to_unreserved();
    if source != target {
        return Err(format!(
            "Source and target resources should refer to identical resource quantities: {source} \
             vs. {target}"
        ));
    }
    Ok(())
}

fn reserve_one(resource: &v1::Resource, requester: Requester<'_>) -> Result<(), String> {
    let text = || display_proto(resource);
    let read = Resources::from_proto(std::slice::from_ref(resource))?;
    let Some(first) = read.iter().next().filter(|read| read.kind().is_dynamically_reserved())
    else {
        return Err(format!("Resource {} is not dynamically reserved", text()));
    };
    let Some(top) = first.kind().reservations().last() else { return Ok(()) };
    if let Some(principal) = requester.principal {
        let Some(theirs) = top.principal.as_deref() else {
            return Err(format!(
                "A reserve operation was attempted by principal '{principal}', but there is a \
                 reserved resource in the request with no principal set"
            ));
        };
        if theirs != principal {
            return Err(format!(
                "A reserve operation was attempted by authenticated principal '{principal}', which \
                 does not match a reserved resource in the request with principal '{theirs}'"
            ));
        }
    }
    let Some(framework) = requester.framework else {
        if resource.allocation_info.is_some() {
            return Err("A reserve operation was attempted with an allocated resource, but the \
                        operator API only allows reservations to be made to unallocated resources"
                .to_owned());
        }
        return Ok(());
    };
    let Some(allocated) = role_of_allocation(resource) else {
        return Err(format!(
            "A reserve operation was attempted on unallocated resource {}, but frameworks can only \
             perform reservations on allocated resources",
            text()
        ));
    };
    if allocated != &*top.role {
        return Err(format!(
            "A reserve operation was attempted for a resource with role '{}', but the resource was \
             allocated to role '{allocated}'",
            top.role
        ));
    }
    let roles = framework_roles(framework);
    if !roles.contains(allocated) {
        let roles = Vec::from_iter(roles).join(", ");
        return Err(format!(
            "A reserve operation was attempted for a resource allocated to role '{allocated}', but \
             the framework only has roles '{{ {roles} }}'"
        ));
    }
    Ok(())
}

/// A framework's roles: `roles` with `MULTI_ROLE`, and `role` without.
#[must_use]
pub fn framework_roles(framework: &v1::FrameworkInfo) -> BTreeSet<&str> {
    if has_capability(framework, Capability::MultiRole) {
        return framework.roles.iter().map(String::as_str).collect();
    }
    #[allow(deprecated, reason = "what frameworks without MULTI_ROLE have")]
    let role = framework.role();
    BTreeSet::from([role])
}

/// Whether a framework has a capability.
#[must_use]
pub fn has_capability(framework: &v1::FrameworkInfo, capability: Capability) -> bool {
    framework.capabilities.iter().any(|has| has.r#type() == capability)
}

fn unreserve(unreserve: &Unreserve) -> Result<(), String> {
    validate_resources(&unreserve.resources).map_err(prefixed("Invalid resources"))?;
    validate_single_provider(&unreserve.resources).map_err(prefixed("Invalid resources"))?;
    for resource in &unreserve.resources {
        let text = || display_proto(resource);
        let read = Resources::from_proto(std::slice::from_ref(resource))?;
        if !read.iter().any(|read| read.kind().is_dynamically_reserved()) {
            return Err(format!("Resource {} is not dynamically reserved", text()));
        }
        if read.iter().any(|read| read.kind().persistence_id().is_some()) {
            return Err(format!(
                "A dynamically reserved persistent volume {} cannot be unreserved directly. Please \
                 destroy the persistent volume first then unreserve the resource",
                text()
            ));
        }
    }
    Ok(())
}

fn create(
    create: &Create,
    requester: Requester<'_>,
    checkpointed: &Resources,
) -> Result<(), String> {
    validate_resources(&create.volumes).map_err(prefixed("Invalid resources"))?;
    validate_single_provider(&create.volumes).map_err(prefixed("Invalid resources"))?;
    validate_persistent_volumes(&create.volumes).map_err(prefixed("Not a persistent volume"))?;
    let volumes = Resources::from_proto(&create.volumes)?;
    validate_unique_persistence_ids(&(&checkpointed.persistent_volumes() + &volumes))?;
    for volume in &create.volumes {
        create_one(volume, requester)?;
    }
    if requester.framework.is_some() {
        validate_single_allocation_role(&create.volumes)
            .map_err(prefixed("Invalid volume resources"))?;
    }
    Ok(())
}

fn create_one(volume: &v1::Resource, requester: Requester<'_>) -> Result<(), String> {
    if let Some(framework) = requester.framework
        && volume.shared.is_some()
        && !has_capability(framework, Capability::SharedResources)
    {
        let id = framework.id.as_ref().map_or("", |id| &id.value);
        return Err(format!(
            "Create volume operation for '{}' has been attempted by framework '{id}' with no \
             SHARED_RESOURCES capability",
            display_proto(volume)
        ));
    }
    let Some(principal) = requester.principal else { return Ok(()) };
    let persistence = volume.disk.as_ref().and_then(|disk| disk.persistence.as_ref());
    match persistence.and_then(|persistence| persistence.principal.as_deref()) {
        None => Err(format!(
            "Create volume operation attempted by principal '{principal}', but there is a volume in \
             the operation with no principal set in 'disk.persistence'"
        )),
        Some(theirs) if theirs != principal => Err(format!(
            "Create volume operation attempted by authenticated principal '{principal}', which does \
             not match a volume in the operation with principal '{theirs}' set in \
             'disk.persistence'"
        )),
        Some(_) => Ok(()),
    }
}

fn destroy(
    destroy: &Destroy,
    checkpointed: &Resources,
    in_use: &[&Resources],
) -> Result<(), String> {
    let mut unallocated = destroy.volumes.clone();
    unallocated.iter_mut().for_each(|volume| volume.allocation_info = None);
    validate_resources(&unallocated).map_err(prefixed("Invalid resources"))?;
    validate_single_provider(&unallocated).map_err(prefixed("Invalid resources"))?;
    validate_persistent_volumes(&unallocated).map_err(prefixed("Not a persistent volume"))?;
    let volumes = Resources::from_proto(&unallocated)?;
    let of_agent = |volume: &&crate::resources::Resource| volume.kind().provider().is_none();
    if volumes.iter().filter(of_agent).any(|volume| !checkpointed.contains_one(volume)) {
        return Err("Persistent volumes not found".to_owned());
    }
    // A volume that is not shared is not offered while it is in use: this is for shared ones.
    if in_use.iter().any(|used| volumes.iter().any(|volume| used.contains_one(volume))) {
        return Err("Persistent volumes in use".to_owned());
    }
    Ok(())
}

fn grow(grow: &GrowVolume) -> Result<(), String> {
    let validate = crate::resources::validate_one;
    validate(&grow.volume)
        .map_err(prefixed("Invalid resource in the 'GrowVolume.volume' field"))?;
    validate(&grow.addition)
        .map_err(prefixed("Invalid resource in the 'GrowVolume.addition' field"))?;
    if thousandths(&grow.addition) <= 0 {
        return Err("The size of 'GrowVolume.addition' field must be greater than zero".to_owned());
    }
    if grow.volume.provider_id.is_some() {
        return Err("Growing a volume from a resource provider is not supported".to_owned());
    }
    let volume = std::slice::from_ref(&grow.volume);
    validate_persistent_volumes(volume)
        .map_err(prefixed("Invalid persistent volume in the 'GrowVolume.volume' field"))?;
    if grow.volume.shared.is_some() {
        return Err("Growing a shared persistent volume is not supported".to_owned());
    }
    let stripped = Resources::from_proto(volume)?.without_volumes();
    let addition = Resources::from_proto(std::slice::from_ref(&grow.addition))?;
    let roles = (role_of_allocation(&grow.volume), role_of_allocation(&grow.addition));
    if (&stripped + &addition).len() != 1 || roles.0 != roles.1 {
        return Err("Incompatible resources in the 'GrowVolume.volume' and 'GrowVolume.addition' \
                    fields"
            .to_owned());
    }
    Ok(())
}

fn shrink(shrink: &ShrinkVolume) -> Result<(), String> {
    crate::resources::validate_one(&shrink.volume)
        .map_err(prefixed("Invalid resource in the 'ShrinkVolume.volume' field"))?;
    let subtract = Value::thousandths(shrink.subtract.value);
    if subtract <= 0 {
        return Err("Value of 'ShrinkVolume.subtract' must be greater than zero".to_owned());
    }
    if thousandths(&shrink.volume) <= subtract {
        return Err("Value of 'ShrinkVolume.subtract' must be smaller than the size of \
                    'ShrinkVolume.volume'"
            .to_owned());
    }
    if shrink.volume.provider_id.is_some() {
        return Err("Shrinking a volume from a resource provider is not supported".to_owned());
    }
    let source = shrink.volume.disk.as_ref().and_then(|disk| disk.source.as_ref());
    if source.is_some_and(|source| source.r#type() == v1::resource::disk_info::source::Type::Mount)
    {
        return Err("Shrinking a volume on a MOUNT disk is not supported".to_owned());
    }
    validate_persistent_volumes(std::slice::from_ref(&shrink.volume))
        .map_err(prefixed("Invalid persistent volume in the 'ShrinkVolume.volume' field"))?;
    if shrink.volume.shared.is_some() {
        return Err("Shrinking a shared persistent volume is not supported".to_owned());
    }
    Ok(())
}

fn thousandths(resource: &v1::Resource) -> i64 {
    resource.scalar.as_ref().map_or(0, |scalar| Value::thousandths(scalar.value))
}
