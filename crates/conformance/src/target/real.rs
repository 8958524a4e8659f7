//! The real Mesos of the testbed.

use peloton_testbed::{AgentOptions, Mesos, Options};

use super::{ALLOCATION_INTERVAL_MS, ATTRIBUTES, ClusterSpec, RESOURCES, Target};
use crate::error::Result;

/// A real Mesos.
#[derive(Debug)]
pub struct Real {
    mesos: Mesos,
}

impl Real {
    /// Starts one.
    ///
    /// # Errors
    /// As [`Mesos::start`].
    pub fn start(spec: &ClusterSpec) -> Result<Self> {
        let attributes = ATTRIBUTES.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let agent = AgentOptions {
            resources: Some(RESOURCES.to_owned()),
            attributes: Some(attributes.to_vec()),
            hostname: None,
        };
        let options = Options {
            agents: vec![agent; spec.agents],
            allocation_interval_ms: ALLOCATION_INTERVAL_MS,
            agent_ping_interval_ms: spec.ping_interval_ms,
            max_agent_ping_timeouts: spec.max_pings,
            ..Options::agents(0)
        };
        Ok(Self { mesos: Mesos::start(&options)? })
    }
}

impl Target for Real {
    fn address(&self) -> String {
        self.mesos.address()
    }

    fn stop_agent(&mut self, index: usize) -> Result<()> {
        Ok(self.mesos.kill_agent(index)?)
    }

    fn start_agent(&mut self, index: usize) -> Result<()> {
        Ok(self.mesos.start_agent(index)?)
    }

    fn kill_agent_machine(&mut self, index: usize) -> Result<()> {
        Ok(self.mesos.kill_agent_machine(index)?)
    }

    fn partition_agent(&mut self, index: usize, cut: bool) -> Result<()> {
        Ok(self.mesos.pause_agent(index, cut)?)
    }

    fn stop_master(&mut self) -> Result<()> {
        self.mesos.kill_master();
        Ok(())
    }

    fn start_master(&mut self) -> Result<()> {
        Ok(self.mesos.start_master()?)
    }
}
