//! Resources as Mesos prints them in messages to humans.

use super::{Resource, Resources, Value};
use peloton_proto::mesos::v1;
use std::fmt::{self, Write as _};
use v1::resource::disk_info::source::Type as SourceType;
use v1::resource::{DiskInfo, ReservationInfo, disk_info::Source};
use v1::volume::Mode;

impl fmt::Display for Resource {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&display_proto(&self.to_proto()))
    }
}

impl fmt::Display for Resources {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.display(None))
    }
}

impl Resources {
    /// As Mesos prints them when they are allocated to a role, or to nobody.
    #[must_use]
    pub fn display(&self, role: Option<&str>) -> String {
        match role {
            Some(role) => display_proto_list(&self.to_proto_allocated(role)),
            None => display_proto_list(&self.to_proto()),
        }
    }
}

/// Several resources as Mesos prints them.
#[must_use]
pub fn display_proto_list(resources: &[v1::Resource]) -> String {
    if resources.is_empty() {
        return "{}".to_owned();
    }
    let texts: Vec<_> = resources.iter().map(display_proto).collect();
    texts.join("; ")
}

/// A resource as Mesos prints it; the older form of a reservation is not shown.
#[must_use]
pub fn display_proto(resource: &v1::Resource) -> String {
    let mut text = resource.name.clone();
    if let Some(allocation) = &resource.allocation_info {
        let _ = write!(text, "(allocated: {})", allocation.role());
    }
    if !resource.reservations.is_empty() {
        let stack: Vec<_> = resource.reservations.iter().map(display_reservation).collect();
        let _ = write!(text, "(reservations: [{}])", stack.join(","));
    }
    if let Some(disk) = &resource.disk {
        let _ = write!(text, "[{}]", display_disk(disk));
    }
    if resource.revocable.is_some() {
        text.push_str("{REV}");
    }
    if resource.shared.is_some() {
        text.push_str("<SHARED>");
    }
    text.push(':');
    text.push_str(&display_value(resource));
    text
}

fn display_value(resource: &v1::Resource) -> String {
    match resource.r#type() {
        v1::value::Type::Scalar => {
            let value = resource.scalar.as_ref().map_or(0.0, |scalar| scalar.value);
            Value::Scalar(Value::thousandths(value)).to_string()
        }
        v1::value::Type::Ranges => {
            let ranges = resource.ranges.iter().flat_map(|ranges| ranges.range.iter());
            let texts: Vec<_> =
                ranges.map(|range| format!("{}-{}", range.begin, range.end)).collect();
            format!("[{}]", texts.join(", "))
        }
        v1::value::Type::Set => {
            let items = resource.set.as_ref().map_or(&[][..], |set| &set.item);
            format!("{{{}}}", items.join(", "))
        }
        v1::value::Type::Text => String::new(),
    }
}

fn display_reservation(reservation: &ReservationInfo) -> String {
    let mut text = format!("({},{}", reservation.r#type().as_str_name(), reservation.role());
    if let Some(principal) = &reservation.principal {
        let _ = write!(text, ",{principal}");
    }
    if let Some(labels) = &reservation.labels {
        let _ = write!(text, ",{}", display_labels(labels));
    }
    text.push(')');
    text
}

/// Labels as Mesos prints them.
#[must_use]
pub fn display_labels(labels: &v1::Labels) -> String {
    let label = |label: &v1::Label| match &label.value {
        Some(value) => format!("{}: {value}", label.key),
        None => label.key.clone(),
    };
    let texts: Vec<_> = labels.labels.iter().map(label).collect();
    format!("{{{}}}", texts.join(", "))
}

fn display_disk(disk: &DiskInfo) -> String {
    let mut text = disk.source.as_ref().map(display_source).unwrap_or_default();
    if let Some(persistence) = &disk.persistence {
        if disk.source.is_some() {
            text.push(',');
        }
        text.push_str(&persistence.id);
    }
    if let Some(volume) = &disk.volume {
        text.push(':');
        text.push_str(&display_volume(volume));
    }
    text
}

fn display_source(source: &Source) -> String {
    let storage = (source.id.is_some() || source.profile.is_some())
        .then(|| format!("({},{},{})", source.vendor(), source.id(), source.profile()));
    let root = |root: Option<&String>| root.map_or_else(String::new, |root| format!(":{root}"));
    let rest = match source.r#type() {
        SourceType::Mount => root(source.mount.as_ref().and_then(|mount| mount.root.as_ref())),
        SourceType::Path => root(source.path.as_ref().and_then(|path| path.root.as_ref())),
        SourceType::Unknown => return "UNKNOWN".to_owned(),
        SourceType::Block | SourceType::Raw => String::new(),
    };
    format!("{}{}", source.r#type().as_str_name(), storage.unwrap_or(rest))
}

fn display_volume(volume: &v1::Volume) -> String {
    let Some(host_path) = &volume.host_path else { return volume.container_path.clone() };
    let mode = match volume.mode() {
        Mode::Rw => "rw",
        Mode::Ro => "ro",
    };
    format!("{host_path}:{}:{mode}", volume.container_path)
}
