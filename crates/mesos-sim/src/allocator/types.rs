//! What goes into the allocator and comes out.

use crate::AgentIndex;
use crate::resources::{Quantities, Resources};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A framework for as long as the allocator lives. The master gives the numbers, and never one
/// twice; small ones are best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrameworkKey(pub u32);

/// How the allocator behaves.
#[derive(Debug, Clone, PartialEq)]
pub struct AllocatorSettings {
    /// Seeds the order in which agents are allocated.
    pub seed: u64,
    /// Between two allocations of all agents.
    pub allocation_interval_ms: u64,
    /// Alternatives, one of which must be in an allocation; none given lets everything pass.
    pub min_allocatable: Vec<Quantities>,
    /// The master's region, which agents in others are remote from.
    pub region: Option<Arc<str>>,
    /// Sabotage, for tests of tests: reservations keep no role away.
    pub ignores_reservations: bool,
}

impl Default for AllocatorSettings {
    /// As Mesos 1.11 does without flags.
    fn default() -> Self {
        Self {
            seed: 0,
            allocation_interval_ms: 1_000,
            min_allocatable: vec![
                Quantities::of(&[("cpus", 0.01)]),
                Quantities::of(&[("mem", 32.0)]),
            ],
            region: None,
            ignores_reservations: false,
        }
    }
}

/// Which resources and agents a framework can deal with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities {
    /// `GPU_RESOURCES`: agents with GPUs.
    pub gpu_resources: bool,
    /// `SHARED_RESOURCES`
    pub shared_resources: bool,
    /// `REVOCABLE_RESOURCES`
    pub revocable_resources: bool,
    /// `RESERVATION_REFINEMENT`: resources with more than one reservation.
    pub reservation_refinement: bool,
    /// `REGION_AWARE`: agents in another region than the master's.
    pub region_aware: bool,
}

/// What a framework said when it subscribed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FrameworkOptions {
    /// Its id, which orders frameworks that are equal otherwise.
    pub id: Arc<str>,
    /// Its roles.
    pub roles: BTreeSet<Arc<str>>,
    /// The roles among them that it wants no offers for.
    pub suppressed: BTreeSet<Arc<str>>,
    /// What it can deal with.
    pub capabilities: Capabilities,
    /// By role, instead of [`AllocatorSettings::min_allocatable`].
    pub min_allocatable: BTreeMap<Arc<str>, Vec<Quantities>>,
}

/// Resources of an agent for a framework.
#[derive(Debug, Clone, PartialEq)]
pub struct Allocation {
    /// Who is offered.
    pub framework: FrameworkKey,
    /// For which of its roles.
    pub role: Arc<str>,
    /// Where.
    pub agent: AgentIndex,
    /// What.
    pub resources: Resources,
}

/// A framework to be asked to leave an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InverseAllocation {
    /// Who is asked.
    pub framework: FrameworkKey,
    /// Where.
    pub agent: AgentIndex,
}

/// What one allocation gives.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Round {
    /// To be offered. At most one for a framework, role and agent.
    pub offers: Vec<Allocation>,
    /// To be asked back.
    pub inverse_offers: Vec<InverseAllocation>,
}

/// For how long refused resources are not offered again, if a call says nothing.
const DEFAULT_REFUSE_SECONDS: f64 = 5.0;

/// The longest such time: 365 days.
const MAX_REFUSE_SECONDS: f64 = 365.0 * 24.0 * 3_600.0;

/// Milliseconds from a call's `refuse_seconds`; what is negative or no number is the default.
#[must_use]
pub fn refuse_ms(refuse_seconds: Option<f64>) -> u64 {
    let seconds = refuse_seconds.unwrap_or(DEFAULT_REFUSE_SECONDS);
    let seconds = if seconds >= 0.0 { seconds } else { DEFAULT_REFUSE_SECONDS };
    (seconds.min(MAX_REFUSE_SECONDS) * 1_000.0).round() as u64
}
