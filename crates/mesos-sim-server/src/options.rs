//! What the simulated cluster is to look like.

use std::path::PathBuf;

use peloton_mesos_sim::{AgentSpec, Script, Settings, Tasks};
use peloton_proto::mesos::v1;
use peloton_proto::mesos::v1::domain_info::FaultDomain;
use peloton_proto::mesos::v1::domain_info::fault_domain::{RegionInfo, ZoneInfo};

use crate::error::{Error, Result};

/// More agents with processes than this on one machine only starve each other.
const MAX_AGENTS: usize = 256;

/// More fake agents than this, and the offers of all of them exceed what one record may have.
const MAX_FAKE_AGENTS: usize = 100_000;

/// Below the ports that the system gives to outgoing connections, above those that it keeps.
const FIRST_PORT: usize = 20_000;

/// The ports of an agent that says nothing about them.
const PORTS: usize = 200;

/// How many such ranges there are.
const RANGES: usize = 60;

/// Where a fake agent says it listens: nobody does.
const FAKE_PORT: u16 = 5051;

/// One agent whose tasks are real processes. Unset fields are made from its index.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentOptions {
    /// By default `agent-<index>`. It is a name only: everything listens on 127.0.0.1.
    pub hostname: Option<String>,
    /// CPUs. Nothing holds tasks to them.
    pub cpus: f64,
    /// Memory in megabytes. Nothing holds tasks to it.
    pub mem_mb: f64,
    /// Disk in megabytes. Nothing holds tasks to it.
    pub disk_mb: f64,
    /// First and last port; by default a range that no other agent of this cluster has.
    pub ports: Option<(u16, u16)>,
    /// Names and values; a value that is a number is a scalar. By default `rack` is `rack-0`,
    /// `rack-1` in turn, and `agent` is `agent-<index>`.
    pub attributes: Option<Vec<(String, String)>>,
    /// Region and zone.
    pub domain: Option<(String, String)>,
}

impl Default for AgentOptions {
    fn default() -> Self {
        Self {
            hostname: None,
            cpus: 4.0,
            mem_mb: 4096.0,
            disk_mb: 8192.0,
            ports: None,
            attributes: None,
            domain: None,
        }
    }
}

/// Agents whose tasks are played by the model.
#[derive(Debug, Clone, PartialEq)]
pub struct Fake {
    /// How many, at most 100,000.
    pub count: usize,
    /// What each of them is.
    pub agent: AgentOptions,
    /// What their tasks do.
    pub script: Script,
}

/// How to start a server; see [`Options::agents`].
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// The master's port; 0 for any free one.
    pub port: u16,
    /// Kept when given; otherwise a temporary directory that goes with the server. Only files are
    /// kept: a server started again knows nothing of the reservations and volumes before.
    pub work_dir: Option<PathBuf>,
    /// Agents with processes, at most 256.
    pub agents: Vec<AgentOptions>,
    /// Agents without; their indices follow.
    pub fake: Option<Fake>,
    /// How Mesos behaves. The address in it is replaced by the real one.
    pub settings: Settings,
    /// When any are given, schedulers must name one by HTTP basic authentication: principal, secret.
    pub credentials: Vec<(String, String)>,
    /// The program that guards the tasks' processes, such as `mesos-sim`. By default this program,
    /// where it has called [`crate::supervise_if_asked`].
    pub guard: Option<PathBuf>,
}

impl Options {
    /// So many agents of 4 CPUs, 4096 MB of memory and 8192 MB of disk each. Offers come within
    /// 200 ms, as with the testbed; all other times are Mesos's own.
    #[must_use]
    pub fn agents(count: usize) -> Self {
        Self {
            port: 0,
            work_dir: None,
            agents: vec![AgentOptions::default(); count],
            fake: None,
            settings: Settings { allocation_interval_ms: 200, ..Settings::default() },
            credentials: Vec::new(),
            guard: None,
        }
    }

    /// So many agents whose tasks follow a script.
    #[must_use]
    pub fn fake(count: usize, script: Script) -> Self {
        let fake = Fake { count, agent: AgentOptions::default(), script };
        Self { fake: Some(fake), settings: Settings::default(), ..Self::agents(0) }
    }

    pub(crate) fn check(&self) -> Result<()> {
        let wrong =
            |field, value: String, allowed: String| Err(Error::Option { field, value, allowed });
        if self.agents.len() > MAX_AGENTS {
            return wrong("agents", self.agents.len().to_string(), format!("0 to {MAX_AGENTS}"));
        }
        let fakes = self.fake.as_ref().map_or(0, |fake| fake.count);
        if fakes > MAX_FAKE_AGENTS {
            return wrong("fake", fakes.to_string(), format!("0 to {MAX_FAKE_AGENTS}"));
        }
        for agent in self.agents.iter().chain(self.fake.iter().map(|fake| &fake.agent)) {
            let amounts =
                [("cpus", agent.cpus), ("mem_mb", agent.mem_mb), ("disk_mb", agent.disk_mb)];
            for (field, amount) in amounts {
                if !amount.is_finite() || amount < 0.0 {
                    return wrong(field, amount.to_string(), "0 or more".to_owned());
                }
            }
            if let Some((first, last)) = agent.ports.filter(|(first, last)| first > last) {
                return wrong("ports", format!("{first}-{last}"), "first to last".to_owned());
            }
        }
        Ok(())
    }
}

impl AgentOptions {
    /// What the model is told. `slot` picks the range of ports, where none is given.
    pub(crate) fn spec(&self, index: usize, slot: usize, port: u16, tasks: Tasks) -> AgentSpec {
        let ports = self.ports.unwrap_or_else(|| {
            let first = FIRST_PORT + ((slot + index) % RANGES) * PORTS;
            let port = |number: usize| u16::try_from(number).unwrap_or(u16::MAX);
            (port(first), port(first + PORTS - 1))
        });
        let range = v1::value::Range { begin: ports.0.into(), end: ports.1.into() };
        let resources = vec![
            scalar("cpus", self.cpus),
            scalar("mem", self.mem_mb),
            scalar("disk", self.disk_mb),
            v1::Resource {
                name: "ports".to_owned(),
                r#type: v1::value::Type::Ranges as i32,
                ranges: Some(v1::value::Ranges { range: vec![range] }),
                ..Default::default()
            },
        ];
        let attributes = match &self.attributes {
            Some(given) => given.iter().map(|(name, value)| attribute(name, value)).collect(),
            None => vec![
                attribute("rack", &format!("rack-{}", index % 2)),
                attribute("agent", &format!("agent-{index}")),
            ],
        };
        let domain = self.domain.as_ref().map(|(region, zone)| v1::DomainInfo {
            fault_domain: Some(FaultDomain {
                region: Some(RegionInfo { name: region.clone() }),
                zone: Some(ZoneInfo { name: zone.clone() }),
            }),
        });
        AgentSpec {
            hostname: self.hostname.clone().unwrap_or_else(|| format!("agent-{index}")),
            port,
            resources: resources.into_iter().filter(|resource| !is_nothing(resource)).collect(),
            attributes,
            domain,
            tasks,
        }
    }
}

impl Fake {
    /// What the model is told of one of them.
    pub(crate) fn spec(&self, index: usize) -> AgentSpec {
        self.agent.spec(index, 0, FAKE_PORT, Tasks::Script(self.script))
    }
}

fn is_nothing(resource: &v1::Resource) -> bool {
    resource.scalar.is_some_and(|scalar| scalar.value == 0.0)
}

fn scalar(name: &str, value: f64) -> v1::Resource {
    v1::Resource {
        name: name.to_owned(),
        r#type: v1::value::Type::Scalar as i32,
        scalar: Some(v1::value::Scalar { value }),
        ..Default::default()
    }
}

fn attribute(name: &str, value: &str) -> v1::Attribute {
    let base = v1::Attribute { name: name.to_owned(), ..Default::default() };
    match value.parse::<f64>() {
        Ok(value) if value.is_finite() => v1::Attribute {
            r#type: v1::value::Type::Scalar as i32,
            scalar: Some(v1::value::Scalar { value }),
            ..base
        },
        _ => v1::Attribute {
            r#type: v1::value::Type::Text as i32,
            text: Some(v1::value::Text { value: value.to_owned() }),
            ..base
        },
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
        assert_eq!(said(|o| o.agents[0].cpus = -1.0), r#"cpus: "-1" is not allowed: 0 or more"#);
        assert!(said(|o| o.agents[0].ports = Some((2, 1))).contains("2-1"));
        assert!(said(|o| o.agents = vec![AgentOptions::default(); 300]).contains("0 to 256"));
    }

    #[test]
    fn agents_have_ports_of_their_own() {
        let ports = |index| {
            let spec = AgentOptions::default().spec(index, 5050, 1, Tasks::Driver);
            let range = spec.resources.last().unwrap().ranges.clone().unwrap().range[0];
            (range.begin, range.end)
        };
        assert_eq!(ports(1), (ports(0).1 + 1, ports(0).1 + 200));
    }
}
