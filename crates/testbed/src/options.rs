//! What a Mesos is to look like.

use std::path::PathBuf;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::place::Place;

/// More agents than this on one machine only starve each other.
pub const MAX_AGENTS: usize = 64;

/// Where the master keeps the list of agents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registry {
    /// On disk, as in production: a master started again knows its agents.
    ReplicatedLog,
    /// In memory: a master started again learns of its agents when they register again.
    InMemory,
}

/// One agent. Unset fields are made from its number.
#[derive(Debug, Clone, Default)]
pub struct AgentOptions {
    /// Mesos's text form, as `cpus:4;mem:4096;disk:8192;ports:[31000-31100]`. Without `ports` in
    /// it, the agent gets a range of 200 ports that no other agent of this Mesos has.
    pub resources: Option<String>,
    /// Names and values. By default `rack` is `rack-0`, `rack-1` in turn and `agent` is `agent-<number>`.
    pub attributes: Option<Vec<(String, String)>>,
    /// By default `agent-<number>`. It is a name only: everything listens on one address.
    pub hostname: Option<String>,
}

/// Several masters.
#[derive(Debug, Clone)]
pub struct Election {
    /// Where they elect: `zk://127.0.0.1:10001/mesos`, see [`crate::zookeeper::ZooKeeper::url`].
    pub zookeeper: String,
    /// How many there are, 1 to 5.
    pub masters: usize,
    /// After so long without a word from it, ZooKeeper gives a master's place to the next. A master that does
    /// not reach ZooKeeper for so long ends.
    pub session_timeout_ms: u64,
}

impl Election {
    /// So many masters, each of which is given up after four seconds.
    pub fn new(zookeeper: impl Into<String>, masters: usize) -> Self {
        Self { zookeeper: zookeeper.into(), masters, session_timeout_ms: 4_000 }
    }
}

/// How to start a Mesos; see [`Options::agents`] for one that suits most tests.
#[derive(Debug, Clone)]
pub struct Options {
    /// The agents, at least one, at most [`MAX_AGENTS`].
    pub agents: Vec<AgentOptions>,
    /// Where the master keeps its agents.
    pub registry: Registry,
    /// The master's port; a free one when unset.
    pub port: Option<u16>,
    /// Kept when given; otherwise a temporary directory that goes with the [`crate::Mesos`].
    pub work_dir: Option<PathBuf>,
    /// Where all of it runs; the loopback interface by default.
    pub place: Place,
    /// Several masters that elect a leader through a ZooKeeper; without it there is one master.
    pub election: Option<Election>,
    /// When any are given, schedulers must name one by HTTP basic authentication: principal, secret.
    pub credentials: Vec<(String, String)>,
    /// How often the master makes offers.
    pub allocation_interval_ms: u64,
    /// How often the master looks after its agents; Mesos allows no less than a second.
    pub agent_ping_interval_ms: u64,
    /// After so many pings without an answer an agent is unreachable.
    pub max_agent_ping_timeouts: u32,
    /// How long an agent that was started again waits for its executors; at most 15 s.
    pub executor_reregistration_timeout_ms: u64,
    /// More flags for the master, as `--name=value` without the dashes: `("name", "value")`.
    pub master_flags: Vec<(String, String)>,
    /// More flags for every agent.
    pub agent_flags: Vec<(String, String)>,
    /// How long the processes may take until all agents are registered.
    pub start_within: Duration,
}

impl Options {
    /// So many agents of 4 CPUs, 4096 MB of memory and 8192 MB of disk each.
    pub fn agents(count: usize) -> Self {
        Self {
            agents: vec![AgentOptions::default(); count],
            registry: Registry::ReplicatedLog,
            port: None,
            work_dir: None,
            place: Place::default(),
            election: None,
            credentials: Vec::new(),
            allocation_interval_ms: 200,
            agent_ping_interval_ms: 2_000,
            max_agent_ping_timeouts: 5,
            executor_reregistration_timeout_ms: 2_000,
            master_flags: Vec::new(),
            agent_flags: Vec::new(),
            start_within: Duration::from_secs(60),
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        let number = |field, value: String, allowed: &str| {
            Err(Error::Option { field, value, allowed: allowed.to_owned() })
        };
        if self.agents.is_empty() || self.agents.len() > MAX_AGENTS {
            let allowed = format!("1 to {MAX_AGENTS}");
            return number("agents", self.agents.len().to_string(), &allowed);
        }
        if let Some(election) = &self.election
            && !(1..=5).contains(&election.masters)
        {
            return number("election.masters", election.masters.to_string(), "1 to 5");
        }
        if self.agent_ping_interval_ms < 1_000 {
            let value = self.agent_ping_interval_ms.to_string();
            return number("agent_ping_interval_ms", value, "1000 or more");
        }
        if self.max_agent_ping_timeouts == 0 {
            return number("max_agent_ping_timeouts", "0".to_owned(), "1 or more");
        }
        if self.executor_reregistration_timeout_ms > 15_000 {
            let value = self.executor_reregistration_timeout_ms.to_string();
            return number("executor_reregistration_timeout_ms", value, "at most 15000");
        }
        for (index, agent) in self.agents.iter().enumerate() {
            for (name, value) in agent.attributes.iter().flatten() {
                if name.contains([':', ';']) || value.contains(';') {
                    let value = format!("{name}:{value} of agent {index}");
                    return number("attributes", value, "no ; in it, and no : in the name");
                }
            }
        }
        Ok(())
    }

    /// How many masters there are.
    pub(crate) fn masters(&self) -> usize {
        self.election.as_ref().map_or(1, |election| election.masters)
    }

    /// The resources of one agent in Mesos's text form; `slot` picks its range of ports.
    pub(crate) fn resources(&self, index: usize, slot: usize) -> String {
        // Below the ports that the system gives to outgoing connections, above those that it keeps.
        const FIRST_PORT: usize = 20_000;
        const PORTS: usize = 200;
        const RANGES: usize = 60;
        let given = self.agents.get(index).and_then(|agent| agent.resources.as_deref());
        let resources = given.unwrap_or("cpus:4;mem:4096;disk:8192");
        if resources.contains("ports") {
            return resources.to_owned();
        }
        let first = FIRST_PORT + ((slot + index) % RANGES) * PORTS;
        format!("{resources};ports:[{first}-{}]", first + PORTS - 1)
    }

    pub(crate) fn attributes(&self, index: usize) -> String {
        let given = self.agents.get(index).and_then(|agent| agent.attributes.clone());
        let attributes = given.unwrap_or_else(|| {
            vec![
                ("rack".to_owned(), format!("rack-{}", index % 2)),
                ("agent".to_owned(), format!("agent-{index}")),
            ]
        });
        attributes
            .iter()
            .map(|(name, value)| format!("{name}:{value}"))
            .collect::<Vec<_>>()
            .join(";")
    }

    pub(crate) fn hostname(&self, index: usize) -> String {
        let given = self.agents.get(index).and_then(|agent| agent.hostname.clone());
        given.unwrap_or_else(|| format!("agent-{index}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_options_name_the_field_and_what_is_allowed() {
        let said = |change: fn(&mut Options)| {
            let mut options = Options::agents(1);
            change(&mut options);
            options.check().unwrap_err().to_string()
        };
        assert_eq!(said(|o| o.agents.clear()), r#"agents: "0" is not allowed: 1 to 64"#);
        assert!(said(|o| o.agent_ping_interval_ms = 10).contains("1000 or more"));
        let election = |o: &mut Options| o.election = Some(Election::new("zk://a:1/mesos", 6));
        assert_eq!(said(election), r#"election.masters: "6" is not allowed: 1 to 5"#);
        assert!(said(|o| o.max_agent_ping_timeouts = 0).contains("max_agent_ping_timeouts"));
        assert!(said(|o| o.executor_reregistration_timeout_ms = 15_001).contains("at most 15000"));
        let odd = |o: &mut Options| {
            o.agents[0].attributes = Some(vec![("a:b".to_owned(), "c".to_owned())]);
        };
        assert!(said(odd).contains("a:b:c of agent 0"));
    }

    #[test]
    fn agents_have_ports_of_their_own() {
        let mut options = Options::agents(2);
        let [a, b] = [options.resources(0, 7), options.resources(1, 7)];
        assert_eq!(a, "cpus:4;mem:4096;disk:8192;ports:[21400-21599]");
        assert_eq!(b, "cpus:4;mem:4096;disk:8192;ports:[21600-21799]");
        options.agents[0].resources = Some("cpus:1;ports:[1-2]".to_owned());
        assert_eq!(options.resources(0, 7), "cpus:1;ports:[1-2]");
    }
}
