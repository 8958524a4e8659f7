//! Deterministic simulation of whole clusters.
//!
//! The masters are real: `peloton-node` with `peloton-core` inside, the client of `peloton-mesos`, the
//! services of `peloton-api`. What they stand on is not: the store is the in-memory one behind a network
//! that delays, loses and fails; Mesos with its agents is the model of `peloton-mesos-sim`; time is
//! tokio's paused clock, which moves by itself when nobody has anything to do. One thread, one seed: the
//! same seed does the same again, step by step.
//!
//! Users and faults keep the cluster busy for more than an hour; the checkers look at each commit and
//! each call. Then the faults end, and everything has to come right by itself.

#![allow(clippy::unreachable, reason = "a simulation is a test: what cannot be is to be loud")]

mod bugs;
mod check;
mod faults;
mod ground;
mod link;
mod many;
mod masters;
mod mesos;
mod panics;
mod plan;
mod random;
mod rival;
mod sim;
mod store;
mod trace;
mod transport;
mod upgrades;
mod users;
mod words;
mod world;

pub use many::{Args, Report, simulate};
pub use trace::Lines;
pub use world::{Outcome, Wish, run};
