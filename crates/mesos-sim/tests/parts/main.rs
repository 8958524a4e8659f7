//! The parts of the simulated Mesos by themselves: resources, operations, allocator.

#![allow(clippy::unwrap_used, reason = "a test may end with a panic")]

mod algebra;
mod allocator;
mod allocator_scale;
mod build;
mod inverse;
mod operations;
mod text;
mod validity;
