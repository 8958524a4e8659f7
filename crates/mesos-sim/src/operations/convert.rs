//! What operations make of resources.

use crate::resources::{Resource, Resources, Value};
use peloton_proto::mesos::v1;
use v1::offer::Operation;
use v1::offer::operation::Type;

/// Some resources that become others.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Conversion {
    /// What is taken; empty where something is added, as copies of shared volumes are.
    pub consumed: Resources,
    /// What comes in its place.
    pub converted: Resources,
    /// A destroyed volume, of which no copy may be left.
    pub destroyed: Option<Resource>,
}

impl Conversion {
    /// One kind of resources for another.
    #[must_use]
    pub fn new(consumed: Resources, converted: Resources) -> Self {
        Self { consumed, converted, destroyed: None }
    }

    /// What the resources become. `role` is whom they are allocated to, for the words of an error.
    ///
    /// # Errors
    ///
    /// In Mesos's words, if what is consumed is not there, or copies of a destroyed volume are left.
    pub fn apply(&self, resources: &Resources, role: Option<&str>) -> Result<Resources, String> {
        let Some(mut result) = resources.checked_sub(&self.consumed) else {
            let (all, part) = (resources.display(role), self.consumed.display(role));
            return Err(format!("{all} does not contain {part}"));
        };
        result.add(&self.converted);
        match &self.destroyed {
            Some(volume) if result.contains_one(volume) => {
                let mut one = Resources::new();
                one.add_one(volume);
                let volume = one.display(role);
                Err(format!(
                    "Persistent volume {volume} cannot be removed due to additional shared copies"
                ))
            }
            _ => Ok(result),
        }
    }
}

/// What an operation converts, one after the other. Whom the resources are allocated to is not
/// looked at.
///
/// # Errors
///
/// In Mesos's words, if it is no such operation or its resources are invalid.
pub fn conversions(operation: &Operation) -> Result<Vec<Conversion>, String> {
    let missing = || "Operation contains no resources".to_owned();
    match operation.r#type() {
        Type::Unknown => Err("Unknown operation".to_owned()),
        Type::Launch | Type::LaunchGroup => Err("Operation not supported".to_owned()),
        Type::Reserve => {
            let reserve = operation.reserve.as_ref().ok_or_else(missing)?;
            let reserved = Resources::from_proto(&reserve.resources)?;
            // Without a source, it is one reservation more.
            let consumed = if reserve.source.is_empty() {
                reserved.pop_reservation()
            } else {
                Resources::from_proto(&reserve.source)?
            };
            Ok(vec![Conversion::new(consumed, reserved)])
        }
        Type::Unreserve => {
            let unreserve = operation.unreserve.as_ref().ok_or_else(missing)?;
            each(&unreserve.resources, |reserved| {
                Conversion::new(reserved.clone(), reserved.pop_reservation())
            })
        }
        Type::Create => {
            let create = operation.create.as_ref().ok_or_else(missing)?;
            each(&create.volumes, |volume| {
                Conversion::new(volume.without_volumes(), volume.clone())
            })
        }
        Type::Destroy => {
            let destroy = operation.destroy.as_ref().ok_or_else(missing)?;
            each(&destroy.volumes, |volume| Conversion {
                consumed: volume.clone(),
                converted: volume.without_volumes(),
                destroyed: volume.iter().next().cloned(),
            })
        }
        Type::GrowVolume => {
            let grow = operation.grow_volume.as_ref().ok_or_else(missing)?;
            resize_supported(&grow.volume)?;
            let volume = Resources::from_proto(std::slice::from_ref(&grow.volume))?;
            let addition = Resources::from_proto(std::slice::from_ref(&grow.addition))?;
            let grown = resized(&volume, addition.scalar("disk"));
            Ok(vec![Conversion::new(&volume + &addition, grown)])
        }
        Type::ShrinkVolume => {
            let shrink = operation.shrink_volume.as_ref().ok_or_else(missing)?;
            resize_supported(&shrink.volume)?;
            let volume = Resources::from_proto(std::slice::from_ref(&shrink.volume))?;
            let less = Value::thousandths(shrink.subtract.value);
            let freed = resized(&volume, less - volume.scalar("disk")).without_volumes();
            Ok(vec![Conversion::new(volume.clone(), &resized(&volume, -less) + &freed)])
        }
    }
}

fn resize_supported(volume: &v1::Resource) -> Result<(), String> {
    match volume.provider_id {
        Some(_) => Err("Operation not supported for resource provider".to_owned()),
        None => Ok(()),
    }
}

fn resized(volume: &Resources, by: i64) -> Resources {
    let mut result = Resources::new();
    volume.iter().for_each(|one| result.add_one(&one.resized(by)));
    result
}

fn each(
    resources: &[v1::Resource],
    conversion: impl Fn(&Resources) -> Conversion,
) -> Result<Vec<Conversion>, String> {
    let one = |resource| Resources::from_proto(std::slice::from_ref(resource));
    resources.iter().map(|resource| one(resource).map(|one| conversion(&one))).collect()
}

/// What resources become by conversions, one after the other. `role` is whom they are allocated to,
/// for the words of an error.
///
/// # Errors
///
/// In Mesos's words, for the first conversion that cannot be.
pub fn apply_all(
    resources: &Resources,
    conversions: &[Conversion],
    role: Option<&str>,
) -> Result<Resources, String> {
    let mut result = resources.clone();
    for conversion in conversions {
        result = conversion.apply(&result, role)?;
    }
    Ok(result)
}

/// What resources become by an operation, and the conversions that it took. `role` is whom they are
/// allocated to, for the words of an error.
///
/// # Errors
///
/// In Mesos's words, if it is no such operation or consumes what is not there.
pub fn apply(
    resources: &Resources,
    operation: &Operation,
    role: Option<&str>,
) -> Result<(Resources, Vec<Conversion>), String> {
    if let Some(role) = role {
        check_allocation(resources, operation, role)?;
    }
    let conversions =
        conversions(operation).map_err(|error| format!("Cannot get conversions: {error}"))?;
    let result = apply_all(resources, &conversions, role)?;
    Ok((result, conversions))
}

/// Refuses an operation on resources that its framework says are allocated to another role than these.
///
/// # Errors
///
/// In Mesos's words: what is allocated to another role is not contained.
pub fn check_allocation(
    resources: &Resources,
    operation: &Operation,
    role: &str,
) -> Result<(), String> {
    let Some((consumed, other)) = allocated_elsewhere(operation, role) else { return Ok(()) };
    let (all, part) = (resources.display(Some(role)), consumed.display(Some(&other)));
    Err(format!("{all} does not contain {part}"))
}

/// What an operation wants of another role's allocation, and which role.
fn allocated_elsewhere(operation: &Operation, role: &str) -> Option<(Resources, String)> {
    let lists = [
        operation.reserve.as_ref().map(|it| it.resources.as_slice()),
        operation.unreserve.as_ref().map(|it| it.resources.as_slice()),
        operation.create.as_ref().map(|it| it.volumes.as_slice()),
        operation.destroy.as_ref().map(|it| it.volumes.as_slice()),
        operation.grow_volume.as_ref().map(|it| std::slice::from_ref(&it.volume)),
        operation.shrink_volume.as_ref().map(|it| std::slice::from_ref(&it.volume)),
    ];
    let other = lists.into_iter().flatten().flatten().find_map(|resource| {
        let allocated = resource.allocation_info.as_ref()?.role.as_deref()?;
        (allocated != role).then(|| allocated.to_owned())
    })?;
    let consumed = conversions(operation).ok()?.into_iter().next()?.consumed;
    Some((consumed, other))
}
