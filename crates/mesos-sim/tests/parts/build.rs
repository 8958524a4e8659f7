//! Messages in few words.

use peloton_mesos_sim::resources::Resources;
use peloton_proto::mesos::v1;
use v1::resource::disk_info::{Persistence, Source, source};
use v1::resource::reservation_info::Type as ReservationType;
use v1::resource::{DiskInfo, ReservationInfo};

/// An unreserved scalar.
pub(crate) fn scalar(name: &str, value: f64) -> v1::Resource {
    let mut resource = v1::Resource { name: name.to_owned(), ..Default::default() };
    resource.set_type(v1::value::Type::Scalar);
    resource.scalar = Some(v1::value::Scalar { value });
    resource
}

/// Unreserved ports.
pub(crate) fn ports(ranges: &[(u64, u64)]) -> v1::Resource {
    let mut resource = v1::Resource { name: "ports".to_owned(), ..Default::default() };
    resource.set_type(v1::value::Type::Ranges);
    let range = |&(begin, end): &(u64, u64)| v1::value::Range { begin, end };
    resource.ranges = Some(v1::value::Ranges { range: ranges.iter().map(range).collect() });
    resource
}

/// An unreserved set.
pub(crate) fn set(name: &str, items: &[&str]) -> v1::Resource {
    let mut resource = v1::Resource { name: name.to_owned(), ..Default::default() };
    resource.set_type(v1::value::Type::Set);
    let item = items.iter().map(|item| (*item).to_owned()).collect();
    resource.set = Some(v1::value::Set { item });
    resource
}

pub(crate) fn labels(pairs: &[(&str, &str)]) -> v1::Labels {
    let label = |&(key, value): &(&str, &str)| v1::Label {
        key: key.to_owned(),
        value: Some(value.to_owned()),
    };
    v1::Labels { labels: pairs.iter().map(label).collect() }
}

/// A dynamic reservation.
pub(crate) fn reservation(
    role: &str,
    principal: Option<&str>,
    label: Option<(&str, &str)>,
) -> ReservationInfo {
    let mut info = ReservationInfo {
        role: Some(role.to_owned()),
        principal: principal.map(str::to_owned),
        labels: label.map(|label| labels(&[label])),
        r#type: None,
    };
    info.set_type(ReservationType::Dynamic);
    info
}

/// Words that change a resource.
pub(crate) trait With {
    /// With one more reservation, by nobody.
    fn reserved(self, role: &str) -> Self;
    /// With one more reservation, as given.
    fn with(self, reservation: ReservationInfo) -> Self;
    /// With one reservation by the agent's flags.
    fn static_for(self, role: &str) -> Self;
    /// As a persistent volume.
    fn volume(self, id: &str) -> Self;
    fn shared(self) -> Self;
    fn on_mount(self, root: &str) -> Self;
    fn allocated(self, role: &str) -> Self;
}

impl With for v1::Resource {
    fn reserved(self, role: &str) -> Self {
        self.with(reservation(role, None, None))
    }

    fn with(mut self, reservation: ReservationInfo) -> Self {
        self.reservations.push(reservation);
        self
    }

    fn static_for(mut self, role: &str) -> Self {
        let mut info = ReservationInfo { role: Some(role.to_owned()), ..Default::default() };
        info.set_type(ReservationType::Static);
        self.reservations.push(info);
        self
    }

    fn volume(mut self, id: &str) -> Self {
        let disk = self.disk.get_or_insert_default();
        disk.persistence = Some(Persistence { id: id.to_owned(), principal: None });
        let mut volume = v1::Volume { container_path: "data".to_owned(), ..Default::default() };
        volume.set_mode(v1::volume::Mode::Rw);
        disk.volume = Some(volume);
        self
    }

    fn shared(mut self) -> Self {
        self.shared = Some(Default::default());
        self
    }

    fn on_mount(mut self, root: &str) -> Self {
        let mut source = Source {
            mount: Some(source::Mount { root: Some(root.to_owned()) }),
            ..Default::default()
        };
        source.set_type(source::Type::Mount);
        self.disk = Some(Box::new(DiskInfo { source: Some(source), ..Default::default() }));
        self
    }

    fn allocated(mut self, role: &str) -> Self {
        self.allocation_info = Some(v1::resource::AllocationInfo { role: Some(role.to_owned()) });
        self
    }
}

pub(crate) fn resources(list: &[v1::Resource]) -> Resources {
    Resources::from_proto(list).unwrap()
}

pub(crate) fn cpus_mem(cpus: f64, mem: f64) -> Resources {
    Resources::scalars_of(&[("cpus", cpus), ("mem", mem)])
}
