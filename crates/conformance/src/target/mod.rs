//! What the scenarios run against.

mod real;
mod simulated;

pub use real::Real;
pub use simulated::Simulated;

use crate::error::Result;

/// How a cluster is to look and behave; both targets get the same.
#[derive(Debug, Clone, Copy)]
pub struct ClusterSpec {
    /// How many agents; each has [`RESOURCES`] and [`ATTRIBUTES`].
    pub agents: usize,
    /// Between two looks of the master after its agents, in milliseconds: at least 1,000.
    pub ping_interval_ms: u64,
    /// After so many such looks in vain, an agent is unreachable.
    pub max_pings: u32,
}

/// Of every agent. Small, so that a scenario can use all of it.
pub const RESOURCES: &str = "cpus:4;mem:1024;disk:1024;ports:[31000-31009]";

/// Ports of every agent, first and last.
const PORTS: (u16, u16) = (31_000, 31_009);

/// CPUs of every agent.
pub const CPUS: f64 = 4.0;

/// Memory of every agent, in megabytes.
pub(crate) const MEM_MB: f64 = 1024.0;

/// Disk of every agent, in megabytes.
pub(crate) const DISK_MB: f64 = 1024.0;

/// Of every agent: a text and a number.
pub const ATTRIBUTES: [(&str, &str); 2] = [("rack", "r1"), ("weight", "2.5")];

/// Between two allocations, in milliseconds.
pub const ALLOCATION_INTERVAL_MS: u64 = 100;

/// A Mesos that scenarios can use and break.
pub trait Target: Send {
    /// The master's `host:port`. It stays the same when the master is started again.
    fn address(&self) -> String;

    /// Ends an agent's process; its tasks go on.
    ///
    /// # Errors
    /// When the target cannot do it.
    fn stop_agent(&mut self, index: usize) -> Result<()>;

    /// Starts an agent's process that was stopped.
    ///
    /// # Errors
    /// When the target cannot do it.
    fn start_agent(&mut self, index: usize) -> Result<()>;

    /// Whether an agent's process has ended by itself since it was started: the master sent it away.
    ///
    /// # Errors
    /// When the target cannot tell.
    fn has_agent_ended(&mut self, index: usize) -> Result<bool>;

    /// Removes from the disk of an agent that does not run what it would come back as.
    ///
    /// # Errors
    /// When the target cannot do it.
    fn forget_agent(&mut self, index: usize) -> Result<()>;

    /// Ends an agent's process and all of its tasks, as a machine that dies.
    ///
    /// # Errors
    /// When the target cannot do it.
    fn kill_agent_machine(&mut self, index: usize) -> Result<()>;

    /// Cuts an agent off from the master, or ends that.
    ///
    /// # Errors
    /// When the target cannot do it.
    fn partition_agent(&mut self, index: usize, cut: bool) -> Result<()>;

    /// Ends the master; all connections end with it.
    ///
    /// # Errors
    /// When the target cannot do it.
    fn stop_master(&mut self) -> Result<()>;

    /// Starts the master again, with its registry.
    ///
    /// # Errors
    /// When the target cannot do it.
    fn start_master(&mut self) -> Result<()>;
}
