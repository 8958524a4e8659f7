//! The real Mesos of the testbed.

use std::fs;
use std::path::{Path, PathBuf};

use peloton_testbed::{AgentOptions, Mesos, Options};

use super::{ALLOCATION_INTERVAL_MS, ATTRIBUTES, ClusterSpec, RESOURCES, Target};
use crate::error::{Error, Result};

/// A real Mesos.
#[derive(Debug)]
pub struct Real {
    mesos: Mesos,
    /// How long each agent's log was when the agent was started last, in bytes.
    logged: Vec<u64>,
}

/// Where agents look for what runs groups.
const GROUP_EXECUTOR: &str = "libexec/mesos-default-executor";

/// What an agent writes into its log when it ends by itself. The testbed's process around it stays.
const LAST_WORDS: &str = "Agent terminating";

impl Real {
    /// Starts one. `group_executor` is the program that runs groups of tasks, in the place of Mesos's own.
    ///
    /// # Errors
    /// As [`Mesos::start`].
    pub fn start(spec: &ClusterSpec, group_executor: &Path) -> Result<Self> {
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
        let mesos = Mesos::start(&options)?;
        let place = mesos.work_dir().join(GROUP_EXECUTOR);
        fs::copy(group_executor, &place).map_err(Error::io(place.display().to_string()))?;
        Ok(Self { mesos, logged: vec![0; spec.agents] })
    }

    fn log(&self, index: usize) -> PathBuf {
        self.mesos.work_dir().join(format!("agent-{index}.log"))
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
        let length = fs::metadata(self.log(index)).map_or(0, |file| file.len());
        if let Some(logged) = self.logged.get_mut(index) {
            *logged = length;
        }
        Ok(self.mesos.start_agent(index)?)
    }

    fn has_agent_ended(&mut self, index: usize) -> Result<bool> {
        let path = self.log(index);
        let log = fs::read(&path).map_err(Error::io(path.display().to_string()))?;
        let from = self.logged.get(index).copied().and_then(|length| usize::try_from(length).ok());
        let new = from.and_then(|from| log.get(from..)).unwrap_or_default();
        Ok(String::from_utf8_lossy(new).contains(LAST_WORDS))
    }

    fn forget_agent(&mut self, index: usize) -> Result<()> {
        let latest = format!("agents/{index}/work/meta/slaves/latest");
        let latest = self.mesos.work_dir().join(latest);
        fs::remove_file(&latest).map_err(Error::io(latest.display().to_string()))
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
