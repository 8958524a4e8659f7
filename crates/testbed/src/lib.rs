//! A real Mesos on this machine, for tests and demonstrations.
//!
//! [`Mesos::start`] installs Mesos 1.11.0 on first use (see [`setup()`]), and runs a master and
//! agents, each a process of its own, on free ports. Tests call [`start`] or [`require`], which say
//! loudly when there can be no Mesos on the machine. Everything blocks; there is no runtime.
//!
//! What the package of Mesos lacks, this crate brings: the programs `mesos-executor` (commands,
//! health checks, kill policies) and `mesos-fetcher` (plain files and archives). How they are
//! found: [`binaries`].
//!
//! ```no_run
//! use peloton_testbed::{Mesos, Options};
//!
//! let mut mesos = Mesos::start(&Options::agents(2))?;
//! println!("schedulers connect to http://{}/api/v1/scheduler", mesos.address());
//! mesos.kill_all(); // an outage: tasks go on
//! mesos.start_all()?; // the same ports, the same agents
//! assert!(mesos.operator().reserved_resources_by_role()?.is_empty());
//! mesos.stop()?;
//! # Ok::<(), peloton_testbed::Error>(())
//! ```

use std::io::Write as _;

pub mod binaries;
mod error;
pub mod etcd;
mod guarded;
mod mesos;
mod node;
pub mod operator;
mod options;
mod place;
pub use peloton_task_runner::http;
mod setup;
pub mod zookeeper;

pub use error::{Error, Result};
pub use mesos::Mesos;
pub use operator::Operator;
pub use options::{AgentOptions, Election, MAX_AGENTS, Options, Registry};
pub use place::Place;
pub use setup::{Installation, directory, setup, setup_etcd, setup_zookeeper};

/// Makes sure that there is a Mesos on this machine, for a test that needs one.
///
/// `None` means that there cannot be one: the test says so on standard error and should return.
///
/// # Panics
/// When there can be none and `CI` is set in the environment, since a test that did not run is not
/// a test that passed there; and when the set-up fails in any other way.
#[expect(clippy::panic, reason = "it speaks for a test")]
pub fn require() -> Option<Installation> {
    match setup() {
        Ok(installation) => Some(installation),
        Err(error) if error.is_unavailable() && std::env::var_os("CI").is_none() => {
            // Not by a macro: the test harness would keep that to itself when the test passes.
            let _ =
                writeln!(std::io::stderr(), "SKIPPED: this test needs a real Mesos, and {error}");
            None
        }
        Err(error) => panic!("this test needs a real Mesos: {error}"),
    }
}

/// [`require`], then [`Mesos::start`]: what a test begins with.
///
/// # Panics
/// As [`require`], and when Mesos does not start.
#[expect(clippy::panic, reason = "it speaks for a test")]
pub fn start(options: &Options) -> Option<Mesos> {
    require()?;
    match Mesos::start(options) {
        Ok(mesos) => Some(mesos),
        Err(error) => panic!("Mesos does not start: {error}"),
    }
}
