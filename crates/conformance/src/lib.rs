//! What Peloton relies on in Mesos, as scenarios that are written once and run against a real Mesos
//! and against the simulated one.
//!
//! A [`Scenario`] subscribes [`Scheduler`]s, makes calls, and waits for what must come; all that it
//! sees goes into a [`Transcript`] in normal form. The transcripts of the real Mesos are kept in
//! `golden/`, so that both sides have something to be compared with where only one can run, and so
//! that a change of either shows in review. A difference is a failed test that shows it line by line.
//!
//! Facts about Mesos that surprise stand in the documentation of the scenario that shows them.

pub mod build;
pub mod connection;
mod error;
mod lab;
pub mod normal;
mod scenarios;
mod scheduler;
mod statuses;
mod stream;
mod suite;
mod target;
mod transcript;
pub mod wire;

pub use error::{Error, Result};
pub use lab::Lab;
pub use peloton_mesos_sim_server::model::Sabotage;
pub use scenarios::GROUPS;
pub use scheduler::{Answer, DEADLINE, Offer, Scheduler};
pub use suite::{Group, Outcome, Scenario, compare, keep, run_group};
pub use target::{
    ALLOCATION_INTERVAL_MS, ATTRIBUTES, CPUS, ClusterSpec, RESOURCES, Real, Simulated, Target,
};
pub use transcript::{Transcript, difference};
