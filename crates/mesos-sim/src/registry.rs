//! What a master keeps over its own end.

use crate::master::maintenance::{MachineId, MachineMode, MaintenanceSchedule};
use peloton_proto::mesos::v1;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How far an agent is with being drained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainInfo {
    /// All tasks have ended.
    pub drained: bool,
    /// The longest grace period that tasks get.
    pub max_grace_ms: Option<u64>,
    /// The agent is marked gone as soon as it is drained.
    pub mark_gone: bool,
}

/// What Mesos writes into its registry: which agents there are, and what operators decided.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    /// Agents that are part of the cluster, with their host names.
    pub(crate) admitted: BTreeMap<Arc<str>, String>,
    /// Agents that were away for too long, since when.
    pub(crate) unreachable: BTreeMap<Arc<str>, v1::TimeInfo>,
    /// Agents that an operator marked gone.
    pub(crate) gone: BTreeMap<Arc<str>, v1::TimeInfo>,
    pub(crate) draining: BTreeMap<Arc<str>, DrainInfo>,
    /// Agents that are offered no more.
    pub(crate) deactivated: std::collections::BTreeSet<Arc<str>>,
    pub(crate) schedule: MaintenanceSchedule,
    pub(crate) machines: BTreeMap<MachineId, MachineMode>,
}
