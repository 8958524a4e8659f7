//! The simulated Mesos's server, in this process.

use std::future::Future;
use std::path::Path;

use peloton_mesos_sim_server::model::{AgentIndex, Mesos, Sabotage, Settings};
use peloton_mesos_sim_server::{AgentOptions, Options, Server};
use tokio::runtime::Runtime;

use super::{
    ALLOCATION_INTERVAL_MS, ATTRIBUTES, CPUS, ClusterSpec, DISK_MB, MEM_MB, PORTS, Target,
};
use crate::error::{Error, Result};

/// A simulated Mesos with tasks as processes.
pub struct Simulated {
    runtime: Runtime,
    server: Option<Server>,
}

impl Simulated {
    /// Starts one. `guard` is the program that ends the tasks' processes when this one dies: one that
    /// calls `supervise_if_asked` first.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn start(spec: &ClusterSpec, guard: &Path) -> Result<Self> {
        Self::start_sabotaged(spec, guard, None)
    }

    /// Starts one that breaks a rule.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn start_sabotaged(
        spec: &ClusterSpec,
        guard: &Path,
        sabotage: Option<Sabotage>,
    ) -> Result<Self> {
        let runtime = Runtime::new().map_err(Error::io("a runtime"))?;
        let attributes = ATTRIBUTES.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let agent = AgentOptions {
            cpus: CPUS,
            mem_mb: MEM_MB,
            disk_mb: DISK_MB,
            ports: Some(PORTS),
            attributes: Some(attributes.to_vec()),
            ..AgentOptions::default()
        };
        let settings = Settings {
            allocation_interval_ms: ALLOCATION_INTERVAL_MS,
            agent_timeout_ms: spec.ping_interval_ms * u64::from(spec.max_pings),
            registration_backoff_ms: 50,
            sabotage,
            ..Settings::default()
        };
        let options = Options {
            agents: vec![agent; spec.agents],
            guard: Some(guard.to_path_buf()),
            settings,
            ..Options::agents(0)
        };
        let server = runtime
            .block_on(Server::start(options))
            .map_err(|error| Error::answer("the simulated Mesos", error))?;
        Ok(Self { runtime, server: Some(server) })
    }

    fn run<'a, T, F>(&'a self, action: impl FnOnce(&'a Server) -> F) -> Result<T>
    where
        F: Future<Output = peloton_mesos_sim_server::Result<T>> + 'a,
    {
        let failed = |why: String| Error::answer("the simulated Mesos", why);
        let server = self.server.as_ref().ok_or_else(|| failed("it is stopped".to_owned()))?;
        self.runtime.block_on(action(server)).map_err(|error| failed(error.to_string()))
    }
}

impl Target for Simulated {
    fn address(&self) -> String {
        self.server.as_ref().map(Server::address).unwrap_or_default()
    }

    fn stop_agent(&mut self, index: usize) -> Result<()> {
        self.run(|server| server.stop_agent(index))
    }

    fn start_agent(&mut self, index: usize) -> Result<()> {
        self.run(|server| server.start_agent(index))
    }

    fn has_agent_ended(&mut self, index: usize) -> Result<bool> {
        let index = AgentIndex(u32::try_from(index).unwrap_or(u32::MAX));
        let runs = move |mesos: &mut Mesos| mesos.agent(index).is_some_and(|one| one.is_running());
        self.run(|server| server.with_model(runs)).map(|runs| !runs)
    }

    fn forget_agent(&mut self, index: usize) -> Result<()> {
        let index = AgentIndex(u32::try_from(index).unwrap_or(u32::MAX));
        self.run(|server| server.with_model(move |mesos| mesos.forget_agent(index)))
    }

    fn kill_agent_machine(&mut self, index: usize) -> Result<()> {
        self.run(|server| server.kill_agent_machine(index))
    }

    fn partition_agent(&mut self, index: usize, cut: bool) -> Result<()> {
        self.run(|server| server.partition_agent(index, cut))
    }

    fn stop_master(&mut self) -> Result<()> {
        self.run(Server::stop_master)
    }

    fn start_master(&mut self) -> Result<()> {
        self.run(Server::start_master)
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            // What is left after all, its guard ends.
            let _ = self.runtime.block_on(server.stop());
        }
    }
}
