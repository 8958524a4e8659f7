//! The Mesos that tests share: the real one, or the simulated one, as `PELOTON_TEST_MESOS` says.
//!
//! Tests that do nothing to Mesos do not care which one it is, and running them on both finds
//! differences that matter. Those that kill it, or parts of it, start a real one for themselves.

use std::path::PathBuf;
use std::sync::OnceLock;

use peloton_mesos_sim_server as sim;
use peloton_testbed::{self as testbed, Operator};
use tokio::runtime::Runtime;

/// Agents of the shared Mesos.
const AGENTS: usize = 4;

/// What a cluster and an audit need to know of a Mesos.
pub(crate) trait AnyMesos {
    /// The master's `host:port`.
    fn address(&self) -> String;

    /// Its operators' interface.
    fn operator(&self) -> Operator {
        Operator::new(self.address())
    }
}

impl AnyMesos for testbed::Mesos {
    fn address(&self) -> String {
        self.address()
    }
}

/// The shared one.
pub(crate) enum Mesos {
    Real(testbed::Mesos),
    Simulated { server: sim::Server, _runtime: Runtime },
}

impl AnyMesos for Mesos {
    fn address(&self) -> String {
        match self {
            Self::Real(mesos) => mesos.address(),
            Self::Simulated { server, .. } => server.address(),
        }
    }
}

impl Mesos {
    /// The directory of a task's run.
    pub(crate) fn sandbox(&self, task: &str) -> PathBuf {
        let server = match self {
            Self::Real(mesos) => return mesos.sandbox(task).unwrap(),
            Self::Simulated { server, .. } => server,
        };
        let tasks = self.operator().tasks().unwrap();
        let found = tasks.iter().find(|one| one.id == task).unwrap();
        let run = format!(
            "slaves/{}/frameworks/{}/executors/{task}/runs/latest",
            found.agent_id, found.framework_id
        );
        let agents = server.agents();
        let mut runs =
            agents.iter().filter_map(|agent| agent.work_dir.join(&run).canonicalize().ok());
        runs.next().unwrap()
    }

    fn start() -> Option<Self> {
        let asked = std::env::var("PELOTON_TEST_MESOS").unwrap_or_default();
        match asked.as_str() {
            "" | "real" => testbed::start(&testbed::Options::agents(AGENTS)).map(Self::Real),
            "sim" => {
                let runtime = Runtime::new().unwrap();
                let server = runtime.block_on(sim::Server::start(sim::Options::agents(AGENTS)));
                Some(Self::Simulated { server: server.unwrap(), _runtime: runtime })
            }
            other => panic!("PELOTON_TEST_MESOS={other}: expected real or sim"),
        }
    }
}

/// One Mesos for all tests that do nothing to it. Nothing drops it: its guard ends it after us.
pub(crate) fn shared_mesos() -> Option<&'static Mesos> {
    static SHARED: OnceLock<Option<Mesos>> = OnceLock::new();
    SHARED.get_or_init(Mesos::start).as_ref()
}
