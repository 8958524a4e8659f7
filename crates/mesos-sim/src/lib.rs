//! A simulated Mesos as a pure state machine: one master, its registry and allocator, and agents.
//!
//! It speaks the messages of the v1 scheduler API and behaves as Mesos 1.11 does, which the
//! conformance suite holds it to. It does no I/O and reads no clock: whoever drives it tells the
//! time by [`Mesos::advance`], hands in what schedulers, operators and tasks do, and carries out
//! what [`Mesos::drain`] gives back. The same inputs give the same outputs. A server drives it for
//! the minicluster and the scale tests, and the deterministic simulation drives it on virtual time.

pub mod allocator;
mod interface;
pub mod operations;
pub mod resources;

pub use interface::*;
