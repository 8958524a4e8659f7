//! Scalar resources in thousandths, the precision in which Mesos itself compares them.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A scalar resource in thousandths of its unit (CPU, MB, GPU). Mesos rounds scalars to three
/// decimals (`Value.Scalar` in mesos.proto), so nothing is lost, and sums are exact.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Milli(pub u64);

impl Milli {
    /// Rounds to thousandths; negative values and NaN become 0, huge ones the maximum.
    #[must_use]
    pub fn from_f64(units: f64) -> Self {
        // `as` saturates and maps NaN to 0, which is what is wanted here.
        Self((units * 1000.0).round() as u64)
    }

    /// In whole units.
    #[must_use]
    pub fn as_f64(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Milli {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_f64().fmt(f)
    }
}

/// Scalar resources of an agent, an instance or a slot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// CPUs.
    #[serde(skip_serializing_if = "Milli::is_zero")]
    pub cpus: Milli,
    /// Memory in MB.
    #[serde(skip_serializing_if = "Milli::is_zero")]
    pub mem_mb: Milli,
    /// Disk in MB.
    #[serde(skip_serializing_if = "Milli::is_zero")]
    pub disk_mb: Milli,
    /// GPUs.
    #[serde(skip_serializing_if = "Milli::is_zero")]
    pub gpus: Milli,
}

/// A resource that is short, as placement reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lack {
    /// Not enough CPUs.
    Cpus,
    /// Not enough memory.
    Mem,
    /// Not enough disk.
    Disk,
    /// Not enough GPUs.
    Gpus,
    /// Not enough free ports, or a static port is taken.
    Ports,
    /// A placement constraint is not met.
    Constraint,
}

impl Lack {
    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cpus => "cpus",
            Self::Mem => "mem",
            Self::Disk => "disk",
            Self::Gpus => "gpus",
            Self::Ports => "ports",
            Self::Constraint => "constraint",
        }
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Resources {
    /// Nothing but so many MB of disk.
    #[must_use]
    pub fn disk(mb: u64) -> Self {
        Self { disk_mb: Milli(mb.saturating_mul(1000)), ..Self::default() }
    }

    /// Of each the smaller amount.
    #[must_use]
    pub fn min(&self, other: &Self) -> Self {
        self.zip(other, u64::min)
    }

    /// The first resource of which `self` has less than `need`, if any.
    #[must_use]
    pub fn lack(&self, need: &Self) -> Option<Lack> {
        [
            (self.cpus < need.cpus, Lack::Cpus),
            (self.mem_mb < need.mem_mb, Lack::Mem),
            (self.disk_mb < need.disk_mb, Lack::Disk),
            (self.gpus < need.gpus, Lack::Gpus),
        ]
        .into_iter()
        .find_map(|(short, lack)| short.then_some(lack))
    }

    /// Whether `need` fits into `self`.
    #[must_use]
    pub fn fits(&self, need: &Self) -> bool {
        self.lack(need).is_none()
    }

    /// The sum, saturating.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        self.zip(other, u64::saturating_add)
    }

    /// The difference, not below zero.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        self.zip(other, u64::saturating_sub)
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn zip(&self, other: &Self, op: fn(u64, u64) -> u64) -> Self {
        Self {
            cpus: Milli(op(self.cpus.0, other.cpus.0)),
            mem_mb: Milli(op(self.mem_mb.0, other.mem_mb.0)),
            disk_mb: Milli(op(self.disk_mb.0, other.disk_mb.0)),
            gpus: Milli(op(self.gpus.0, other.gpus.0)),
        }
    }
}

/// Scalars and ports together: what a reservation is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Amount {
    /// The scalars.
    pub resources: Resources,
    /// The ports, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<u16>,
}

impl Amount {
    /// Of these scalars and ports.
    #[must_use]
    pub fn new(resources: Resources, ports: impl IntoIterator<Item = u16>) -> Self {
        let mut ports: Vec<u16> = ports.into_iter().collect();
        ports.sort_unstable();
        ports.dedup();
        Self { resources, ports }
    }

    /// Enough for either: of each scalar the larger one, and the ports of both.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        let resources = self.resources.zip(&other.resources, u64::max);
        Self::new(resources, self.ports.iter().chain(&other.ports).copied())
    }

    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let resources = self.resources.plus(&other.resources);
        Self::new(resources, self.ports.iter().chain(&other.ports).copied())
    }

    /// What this has beyond the other.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        let ports = self.ports.iter().copied().filter(|port| !other.ports.contains(port));
        Self::new(self.resources.minus(&other.resources), ports)
    }

    /// Whether the other is a part of this.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other.minus(self).is_empty()
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.resources.is_empty() && self.ports.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_tenths_are_exact() {
        let tenth = Resources { cpus: Milli::from_f64(0.1), ..Default::default() };
        let sum = (0..10).fold(Resources::default(), |sum, _| sum.plus(&tenth));
        assert_eq!(sum.cpus, Milli::from_f64(1.0));
        assert!(sum.fits(&sum) && !sum.minus(&tenth).fits(&sum));
    }

    #[test]
    fn the_first_lack_is_named() {
        let have = Resources { cpus: Milli(1000), mem_mb: Milli(5), ..Default::default() };
        let need = Resources { cpus: Milli(1), mem_mb: Milli(6), disk_mb: Milli(1), ..have };
        assert_eq!(have.lack(&need), Some(Lack::Mem));
    }

    #[test]
    fn odd_floats_are_tamed() {
        assert_eq!(Milli::from_f64(f64::NAN), Milli(0));
        assert_eq!(Milli::from_f64(-1.0), Milli(0));
        assert_eq!(Milli::from_f64(0.0005), Milli(1));
    }
}
