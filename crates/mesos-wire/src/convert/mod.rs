//! Between the shard's terms and Mesos's messages: the only place where the two meet.
//!
//! The shard speaks of slots, scalars in thousandths and task ids with parts; Mesos of resources with
//! reservations and labels. What Peloton does not use (revocable, shared and provider resources,
//! reservations of other roles or without Peloton's labels) does not pass inwards, so the core can
//! neither use it nor release it by mistake.

mod fetch;
mod inbound;
mod outbound;
mod task;
#[cfg(test)]
mod tests;

pub use inbound::event;
pub use outbound::call;

use peloton_proto::mesos::v1::{Label, Labels};

/// The label that names the cluster of a reservation, by its id.
pub const LABEL_CLUSTER: &str = "peloton.cluster";
/// Labels that name the slot of a reservation.
pub const LABEL_JOB: &str = "peloton.job";
/// See [`LABEL_JOB`].
pub const LABEL_INSTANCE: &str = "peloton.instance";
/// See [`LABEL_JOB`].
pub const LABEL_SLOT: &str = "peloton.slot";

/// Who the framework is towards Mesos.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The role it subscribes in and reserves for.
    pub role: String,
    /// The id of the cluster: only reservations that carry it are ours.
    pub cluster: String,
    /// The principal that its reservations carry, if any.
    pub principal: Option<String>,
}

fn labels<K: Into<String>, V: Into<String>>(all: impl IntoIterator<Item = (K, V)>) -> Labels {
    let label = |(key, value): (K, V)| Label { key: key.into(), value: Some(value.into()) };
    Labels { labels: all.into_iter().map(label).collect() }
}
