//! Whether resources in messages make sense by themselves, with Mesos's words for what does not.

#![allow(deprecated, reason = "the older form of reservations is validated, too")]

use super::{Value, display_labels, display_proto, is_strict_subrole_of};
use peloton_proto::mesos::v1;
use v1::resource::ReservationInfo;
use v1::resource::disk_info::source::Type as SourceType;
use v1::resource::reservation_info::Type as ReservationType;

/// Validates each of several resources.
///
/// # Errors
///
/// In Mesos's words, for the first that is invalid.
pub fn validate(resources: &[v1::Resource]) -> Result<(), String> {
    for resource in resources {
        validate_one(resource).map_err(|error| {
            format!("Resource '{}' is invalid: {error}", display_proto(resource))
        })?;
    }
    Ok(())
}

/// Validates one resource.
pub(crate) fn validate_one(resource: &v1::Resource) -> Result<(), String> {
    if resource.name.is_empty() {
        return Err("Empty resource name".to_owned());
    }
    if v1::value::Type::try_from(resource.r#type).is_err() {
        return Err("Invalid resource type".to_owned());
    }
    validate_value(resource)?;
    validate_disk(resource)?;
    if resource.reservations.is_empty() {
        validate_older_form(resource)?;
    } else {
        validate_stack(&resource.reservations)?;
        validate_both_forms(resource)?;
    }
    if resource.shared.is_some() {
        if resource.name != "disk" {
            return Err(format!("Resource {} cannot be shared", resource.name));
        }
        if resource.disk.as_ref().is_none_or(|disk| disk.persistence.is_none()) {
            return Err("Only persistent volumes can be shared".to_owned());
        }
    }
    Ok(())
}

fn validate_value(resource: &v1::Resource) -> Result<(), String> {
    let (scalar, ranges, set) = (&resource.scalar, &resource.ranges, &resource.set);
    let error = match resource.r#type() {
        v1::value::Type::Scalar => match (scalar, ranges, set) {
            (Some(scalar), None, None) => {
                // What is not zero must not become zero, either.
                let vanishes = scalar.value != 0.0 && Value::thousandths(scalar.value) <= 0;
                vanishes.then_some("Invalid scalar resource: value <= 0")
            }
            _ => Some("Invalid scalar resource"),
        },
        v1::value::Type::Ranges => match (scalar, ranges, set) {
            (None, Some(ranges), None) => validate_ranges(&ranges.range),
            _ => Some("Invalid ranges resource"),
        },
        v1::value::Type::Set => match (scalar, ranges, set) {
            (None, None, Some(set)) => {
                let mut items: Vec<_> = set.item.iter().collect();
                items.sort_unstable();
                let repeated = items.windows(2).any(|pair| pair.first() == pair.last());
                repeated.then_some("Invalid set resource: duplicated elements")
            }
            _ => Some("Invalid set resource"),
        },
        v1::value::Type::Text => Some("Unsupported resource type"),
    };
    error.map_or(Ok(()), |error| Err(error.to_owned()))
}

fn validate_ranges(ranges: &[v1::value::Range]) -> Option<&'static str> {
    if ranges.iter().any(|range| range.begin > range.end) {
        return Some("Invalid ranges resource: begin > end");
    }
    let mut sorted: Vec<_> = ranges.iter().map(|range| (range.begin, range.end)).collect();
    sorted.sort_unstable();
    let mut pairs = sorted.iter().zip(sorted.iter().skip(1));
    pairs
        .any(|(one, next)| next.0 <= one.1)
        .then_some("Invalid ranges resource: overlapping ranges")
}

fn validate_disk(resource: &v1::Resource) -> Result<(), String> {
    let Some(disk) = &resource.disk else { return Ok(()) };
    if resource.name != "disk" {
        return Err(format!("DiskInfo should not be set for {} resource", resource.name));
    }
    let Some(source) = &disk.source else { return Ok(()) };
    let kind = source.r#type();
    match kind {
        SourceType::Path | SourceType::Mount => Ok(()),
        SourceType::Block | SourceType::Raw => {
            let name = kind.as_str_name();
            if source.mount.is_some() {
                return Err(format!("Mount should not be set for {name} disk source"));
            }
            if source.path.is_some() {
                return Err(format!("Path should not be set for {name} disk source"));
            }
            Ok(())
        }
        SourceType::Unknown => Err("Unsupported 'DiskInfo.Source.Type' in 'UNKNOWN'".to_owned()),
    }
}

fn validate_older_form(resource: &v1::Resource) -> Result<(), String> {
    validate_role(resource.role())?;
    let Some(reservation) = &resource.reservation else { return Ok(()) };
    for (field, is_set) in
        [("type", reservation.r#type.is_some()), ("role", reservation.role.is_some())]
    {
        if is_set {
            return Err(format!(
                "'Resource.ReservationInfo.{field}' must not be set for the \
                 'Resource.reservation' field"
            ));
        }
    }
    if resource.role() == "*" {
        return Err("Invalid reservation: role \"*\" cannot be dynamically reserved".to_owned());
    }
    Ok(())
}

fn validate_stack(stack: &[ReservationInfo]) -> Result<(), String> {
    for reservation in stack {
        for (field, is_set) in
            [("type", reservation.r#type.is_some()), ("role", reservation.role.is_some())]
        {
            if !is_set {
                return Err(format!(
                    "Invalid reservation: 'Resource.ReservationInfo.{field}' field must be set."
                ));
            }
        }
        validate_role(reservation.role())?;
        if reservation.role() == "*" {
            return Err("Invalid reservation: role \"*\" cannot be reserved".to_owned());
        }
    }
    for (below, above) in stack.iter().zip(stack.iter().skip(1)) {
        if above.r#type() == ReservationType::Static {
            return Err(
                "Invalid refined reservation: A refined reservation cannot be STATIC".to_owned()
            );
        }
        if !is_strict_subrole_of(above.role(), below.role()) {
            return Err(format!(
                "Invalid refined reservation: role '{}' is not a refinement of '{}'",
                above.role(),
                below.role()
            ));
        }
    }
    Ok(())
}

/// Both forms may be there together if they say the same.
fn validate_both_forms(resource: &v1::Resource) -> Result<(), String> {
    let error = |text: &str| Err(format!("Invalid resource format: {text}"));
    let [reservation] = resource.reservations.as_slice() else {
        let more = "must not be set if there is more than one reservation in \
                    'Resource.reservations'";
        if resource.role.is_some() {
            return error(&format!("'Resource.role' {more}"));
        }
        if resource.reservation.is_some() {
            return error(&format!("'Resource.reservation' {more}"));
        }
        return Ok(());
    };
    if resource.role.as_deref().is_some_and(|role| role != reservation.role()) {
        return error(&format!(
            "'Resource.role' field with '{}' does not match the role '{}' in \
             'Resource.reservations'",
            resource.role(),
            reservation.role()
        ));
    }
    match (reservation.r#type(), &resource.reservation) {
        (ReservationType::Static, Some(_)) => error(
            "'Resource.reservation' must not be set if the single reservation in \
             'Resource.reservations' is STATIC",
        ),
        (ReservationType::Static, None) => Ok(()),
        (ReservationType::Dynamic, older) if resource.role.is_some() != older.is_some() => error(
            "'Resource.role' and 'Resource.reservation' must either be both set or both not set \
             if the single reservation in 'Resource.reservations' is DYNAMIC",
        ),
        (ReservationType::Dynamic, Some(older)) => same_reservation(older, reservation),
        (ReservationType::Dynamic, None) => Ok(()),
        (ReservationType::Unknown, _) => {
            Err("Unsupported 'Resource.ReservationInfo.Type'".to_owned())
        }
    }
}

fn same_reservation(older: &ReservationInfo, reservation: &ReservationInfo) -> Result<(), String> {
    if older.principal() != reservation.principal() {
        return Err(format!(
            "Invalid resource format: 'Resource.reservation.principal' field with '{}' does not \
             match the principal '{}' in 'Resource.reservations'",
            older.principal(),
            reservation.principal()
        ));
    }
    let labels = |of: &ReservationInfo| of.labels.clone().unwrap_or_default();
    let (old, new) = (labels(older), labels(reservation));
    if !super::kind::same_labels(&old.labels, &new.labels) {
        return Err(format!(
            "Invalid resource format: 'Resource.reservation.labels' field with '{}' does not match \
             the labels '{}' in 'Resource.reservations'",
            display_labels(&old),
            display_labels(&new)
        ));
    }
    Ok(())
}

/// Characters that no role has: white space and backspace.
const INVALID_ROLE_CHARACTERS: [char; 7] = ['\t', '\n', '\x0b', '\x0c', '\r', ' ', '\x7f'];

/// Validates a role's name, with its path.
///
/// # Errors
///
/// In Mesos's words.
pub fn validate_role(role: &str) -> Result<(), String> {
    if role == "*" {
        return Ok(());
    }
    if role.starts_with('/') {
        return Err(format!("Role '{role}' cannot start with a slash"));
    }
    if role.ends_with('/') {
        return Err(format!("Role '{role}' cannot end with a slash"));
    }
    if role.contains("//") {
        return Err(format!("Role '{role}' cannot contain two adjacent slashes"));
    }
    if role.is_empty() {
        return Err("Role names cannot be the empty string".to_owned());
    }
    for component in role.split('/') {
        if [".", "..", "*"].contains(&component) {
            return Err(format!("Role '{role}' cannot include '{component}' as a component"));
        }
        let why = if component.starts_with('-') {
            "it starts with a dash"
        } else if component.contains(INVALID_ROLE_CHARACTERS) {
            "it contains backspace or whitespace"
        } else {
            continue;
        };
        return Err(format!("Role component '{component}' is invalid because {why}"));
    }
    Ok(())
}
