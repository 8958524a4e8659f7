//! Runs one Mesos task as a process, as Mesos's own command executor does.
//!
//! What an executor does with a task is the same whoever asks for it: the testbed's `mesos-executor`,
//! which a real agent starts for each task, and the simulated Mesos, which runs the tasks of all its
//! agents. Both hand in what they know in the types of this crate, and pass on the [`Report`]s of a
//! [`Run`]. There is a thread or two for each task, with small stacks, and no runtime: an executor
//! process can afford none, and a thousand threads that wait cost nothing.

mod command;
mod error;
pub mod fetch;
mod health;
pub mod http;
pub mod mark;
mod run;
mod thread;

pub use command::{CommandSpec, Place, ending};
pub use error::{Error, Result};
pub use health::{Health, HealthCheck, HealthKind, Verdict};
pub use run::{DEFAULT_GRACE_PERIOD, Input, Report, Run, Runnable, State};
pub use thread::{STACK_BYTES, spawn};
