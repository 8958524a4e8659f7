//! A simulated Mesos as a pure state machine: one master, its registry and allocator, and agents.
//!
//! It speaks the messages of the v1 scheduler API and behaves as Mesos 1.11 does, which the
//! conformance suite holds it to. It does no I/O and reads no clock: whoever drives it tells the
//! time by [`Mesos::advance`], hands in what schedulers, operators and tasks do, and carries out
//! what [`Mesos::drain`] gives back. The same inputs give the same outputs. A server drives it for
//! the minicluster and the scale tests, and the deterministic simulation drives it on virtual time.

mod agent;
pub mod allocator;
mod interface;
mod invariants;
mod link;
mod master;
mod mesos;
mod names;
pub mod operations;
mod operator;
mod random;
mod registry;
pub mod resources;
mod script;
mod status;
mod task;
mod timers;
mod views;
mod world;

pub use interface::*;
pub use link::ExecutorMeta;
pub use master::maintenance::{
    MachineId, MachineMode, MaintenanceSchedule, MaintenanceWindow, machine_of,
};
pub use master::{Framework, FrameworkState, MasterTask, OperationView, RegisteredAgent};
pub use mesos::Mesos;
pub use registry::DrainInfo;
pub use task::{TaskMeta, is_terminal, is_terminal_operation};
pub use views::AgentView;
