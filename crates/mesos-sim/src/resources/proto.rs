//! Between resources and the protocol's messages.
//!
//! The protocol has two forms of a reservation: the older one with `role` and `reservation`, which
//! knows only one level, and the stack in `reservations`. Inside there is only the stack.

#![allow(deprecated, reason = "the older form is still what frameworks without refinement speak")]

use super::{Kind, Name, Reservation, Resource, Resources, Shape, Stack, Value, validate};
use peloton_proto::mesos::v1;
use std::sync::Arc;
use v1::resource::reservation_info::Type as ReservationType;
use v1::resource::{AllocationInfo, ReservationInfo};

impl Resources {
    /// Reads resources of either form. Whom they are allocated to is left out.
    ///
    /// # Errors
    ///
    /// In Mesos's words, for the first that is invalid.
    pub fn from_proto(resources: &[v1::Resource]) -> Result<Self, String> {
        validate(resources)?;
        let mut result = Self::new();
        let mut last_stack = Stack::default();
        for resource in resources {
            if let Some(read) = read(resource, &mut last_stack) {
                result.add_one(&read);
            }
        }
        Ok(result)
    }

    /// As messages with the stack of reservations, allocated to nobody.
    #[must_use]
    pub fn to_proto(&self) -> Vec<v1::Resource> {
        self.iter().map(Resource::to_proto).collect()
    }

    /// As messages with the stack of reservations, allocated to a role.
    #[must_use]
    pub fn to_proto_allocated(&self, role: &str) -> Vec<v1::Resource> {
        let mut resources = self.to_proto();
        allocate_proto(&mut resources, role);
        resources
    }
}

/// Notes in messages to which role they are allocated.
pub fn allocate_proto(resources: &mut [v1::Resource], role: &str) {
    for resource in resources {
        resource.allocation_info = Some(AllocationInfo { role: Some(role.to_owned()) });
    }
}

/// Brings a message into the form with the stack of reservations.
pub fn upgrade(resource: &mut v1::Resource) {
    let (role, reservation) = (resource.role.take(), resource.reservation.take());
    if !resource.reservations.is_empty() {
        return;
    }
    let Some(role) = role.filter(|role| role != "*") else { return };
    let kind =
        if reservation.is_some() { ReservationType::Dynamic } else { ReservationType::Static };
    let (principal, labels) = reservation.map_or((None, None), |old| (old.principal, old.labels));
    let mut new = ReservationInfo { principal, labels, role: Some(role), r#type: None };
    new.set_type(kind);
    resource.reservations.push(new);
}

/// Brings messages into the older form, for frameworks without `RESERVATION_REFINEMENT`. Those with
/// a refined reservation have no such form and are left as they are.
pub fn downgrade(resources: &mut [v1::Resource]) {
    for resource in resources {
        match resource.reservations.as_slice() {
            [] => resource.role = Some("*".to_owned()),
            [_] => {
                let Some(old) = resource.reservations.pop() else { continue };
                if old.r#type() == ReservationType::Dynamic {
                    let (principal, labels) = (old.principal, old.labels);
                    let reservation =
                        ReservationInfo { principal, labels, role: None, r#type: None };
                    resource.reservation = Some(reservation);
                }
                resource.role = old.role;
            }
            _ => {}
        }
    }
}

/// Reads one resource that is valid. `last_stack` is that of the one before, which is mostly the
/// same and then shared.
fn read(resource: &v1::Resource, last_stack: &mut Stack) -> Option<Resource> {
    let (shape, value) = match resource.r#type() {
        v1::value::Type::Scalar => {
            let value = resource.scalar.as_ref()?.value;
            (Shape::Scalar, Value::Scalar(Value::thousandths(value)))
        }
        v1::value::Type::Ranges => {
            let ranges = resource.ranges.as_ref()?.range.iter();
            (Shape::Ranges, Value::ranges(ranges.map(|range| (range.begin, range.end))))
        }
        v1::value::Type::Set => {
            let items = resource.set.as_ref()?.item.iter();
            (Shape::Set, Value::set(items.map(|item| item.as_str().into())))
        }
        v1::value::Type::Text => return None,
    };
    let name = Name::from(resource.name.as_str());
    let reservations = read_stack(resource);
    let plain = resource.disk.is_none()
        && resource.revocable.is_none()
        && resource.shared.is_none()
        && resource.provider_id.is_none();
    if plain && reservations.is_empty() {
        return Some(Resource::new(Kind::plain(name, shape), value));
    }
    if **last_stack != *reservations {
        *last_stack = reservations.into();
    }
    let kind = Kind::build(
        name,
        shape,
        Arc::clone(last_stack),
        resource.disk.as_deref().cloned().map(Arc::new),
        resource.revocable.is_some(),
        resource.shared.is_some(),
        resource.provider_id.as_ref().map(|id| id.value.as_str().into()),
    );
    Some(Resource::new(Arc::new(kind), value))
}

fn read_stack(resource: &v1::Resource) -> Vec<Reservation> {
    if resource.reservations.is_empty() && resource.role.is_some() {
        let mut upgraded = resource.clone();
        upgrade(&mut upgraded);
        return upgraded.reservations.iter().map(read_reservation).collect();
    }
    resource.reservations.iter().map(read_reservation).collect()
}

fn read_reservation(reservation: &ReservationInfo) -> Reservation {
    Reservation {
        dynamic: reservation.r#type() == ReservationType::Dynamic,
        role: reservation.role().into(),
        principal: reservation.principal.as_deref().map(Into::into),
        labels: reservation.labels.as_ref().map(|labels| labels.labels.as_slice().into()),
    }
}

impl Reservation {
    fn to_proto(&self) -> ReservationInfo {
        let kind = if self.dynamic { ReservationType::Dynamic } else { ReservationType::Static };
        ReservationInfo {
            principal: self.principal.as_deref().map(str::to_owned),
            labels: self.labels.as_ref().map(|labels| v1::Labels { labels: labels.to_vec() }),
            role: Some(self.role.to_string()),
            r#type: Some(kind as i32),
        }
    }
}

impl Resource {
    /// As a message with the stack of reservations, allocated to nobody.
    #[must_use]
    pub fn to_proto(&self) -> v1::Resource {
        let kind = self.kind();
        let mut result = v1::Resource {
            name: kind.name().as_str().to_owned(),
            reservations: kind.reservations().iter().map(Reservation::to_proto).collect(),
            disk: kind.disk().cloned().map(Box::new),
            revocable: kind.is_revocable().then(Default::default),
            shared: kind.is_shared().then(Default::default),
            provider_id: kind.provider().map(|id| v1::ResourceProviderId { value: id.to_owned() }),
            ..Default::default()
        };
        match self.value() {
            Value::Scalar(value) => {
                result.set_type(v1::value::Type::Scalar);
                // As Mesos does it: only the decimals are divided.
                let value = (value / 1_000) as f64 + (value % 1_000) as f64 / 1_000.0;
                result.scalar = Some(v1::value::Scalar { value });
            }
            Value::Ranges(ranges) => {
                result.set_type(v1::value::Type::Ranges);
                let range = |&(begin, end): &(u64, u64)| v1::value::Range { begin, end };
                result.ranges =
                    Some(v1::value::Ranges { range: ranges.iter().map(range).collect() });
            }
            Value::Set(items) => {
                result.set_type(v1::value::Type::Set);
                let item = items.iter().map(ToString::to_string).collect();
                result.set = Some(v1::value::Set { item });
            }
        }
        result
    }
}
