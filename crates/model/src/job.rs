//! The configuration of a job: everything an instance gets is here, so that a version is complete.
//!
//! Field names in JSON are those of the API (lowerCamel); validation errors use the same paths.

use crate::{Milli, Resources, VolumeConfig};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// An immutable job configuration. See `proto/peloton/job.proto` for what each field means to users.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct JobConfig {
    /// A name for people.
    pub name: String,
    /// The team that answers for it.
    pub owning_team: String,
    /// Groups that may change it.
    pub ldap_groups: Vec<String>,
    /// Free text.
    pub description: String,
    /// Labels of the job; given to its tasks, too.
    pub labels: BTreeMap<String, String>,
    /// How many instances.
    pub instance_count: u32,
    /// What each instance gets.
    pub resource: ResourceConfig,
    /// How an instance's health is checked.
    pub health_check: Option<HealthCheck>,
    /// The ports of an instance.
    pub ports: Vec<PortConfig>,
    /// What it runs in.
    pub container: Option<Container>,
    /// What the operator was promised.
    pub sla: Sla,
    /// What it runs.
    pub command: Command,
    /// Service or batch.
    #[serde(rename = "type")]
    pub kind: JobKind,
    /// When and how often it is tried again.
    pub restart_policy: RestartPolicy,
    /// How it is ended.
    pub kill_policy: KillPolicy,
    /// Where it may run.
    pub placement: Placement,
    /// How it is found by others.
    pub discovery: Option<Discovery>,
    /// The volumes of an instance; services only.
    pub volumes: Vec<VolumeConfig>,
}

/// Whether instances run for ever or to an end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum JobKind {
    /// Runs for ever, in a slot.
    #[default]
    Service,
    /// Runs to an end, on unreserved resources.
    Batch,
}

/// Resources of one instance.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResourceConfig {
    /// CPUs.
    pub cpus_limit: f64,
    /// Memory in MB.
    pub mem_limit_mb: f64,
    /// Disk in MB.
    pub disk_limit_mb: f64,
    /// Open files; 0 leaves the agent's limit.
    pub fd_limit: u32,
    /// GPUs, a whole number.
    pub gpus_limit: f64,
}

impl ResourceConfig {
    /// The scalars, as placement and slots count them.
    #[must_use]
    pub fn scalars(&self) -> Resources {
        Resources {
            cpus: Milli::from_f64(self.cpus_limit),
            mem_mb: Milli::from_f64(self.mem_limit_mb),
            disk_mb: Milli::from_f64(self.disk_limit_mb),
            gpus: Milli::from_f64(self.gpus_limit),
        }
    }
}

/// A health check. Times in seconds; 0 stands for the default of its field.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HealthCheck {
    /// Whether it is on.
    pub enabled: bool,
    /// Seconds before the first check.
    pub initial_interval_secs: u32,
    /// Seconds between checks.
    pub interval_secs: u32,
    /// Failures in a row that make the instance unhealthy and end it.
    pub max_consecutive_failures: u32,
    /// Seconds that one check may take.
    pub timeout_secs: u32,
    /// Seconds after the start in which failures do not count.
    pub grace_period_secs: u32,
    /// What is checked.
    pub check: Check,
}

/// What a health check looks at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum Check {
    /// A shell command that exits with 0, run beside the task.
    Command {
        /// The command.
        #[serde(rename = "shellCommand")]
        shell: String,
    },
    /// An HTTP GET answered with 200 to 399.
    Http {
        /// `http` or `https`.
        scheme: String,
        /// Where.
        port: PortRef,
        /// The path, starting with `/`.
        path: String,
    },
    /// A TCP connection that is accepted.
    Tcp {
        /// Where.
        port: PortRef,
    },
}

impl Default for Check {
    fn default() -> Self {
        Self::Command { shell: String::new() }
    }
}

/// A port, by its name in the job's `ports` or by number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PortRef {
    /// A name in `ports`.
    Name(String),
    /// A number.
    Number(u16),
}

/// A port of an instance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PortConfig {
    /// Its name, unique in the job.
    pub name: String,
    /// Its number; 0 takes one from the offer.
    pub value: u32,
    /// The environment variable that tells it to the task; empty stands for `UBER_PORT_<name>`.
    pub env_name: String,
}

impl PortConfig {
    /// The environment variable that tells the port to the task.
    #[must_use]
    pub fn variable(&self) -> String {
        if self.env_name.is_empty() {
            format!("UBER_PORT_{}", self.name)
        } else {
            self.env_name.clone()
        }
    }
}

/// Which containerizer of Mesos runs the task.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ContainerKind {
    /// Mesos's own.
    #[default]
    Mesos,
    /// Docker.
    Docker,
}

/// What a task runs in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Container {
    /// The containerizer.
    #[serde(rename = "type")]
    pub kind: ContainerKind,
    /// The image; empty for none (MESOS only).
    pub image: String,
    /// Environment, in addition to the command's.
    pub environment: Vec<(String, String)>,
    /// Host paths mounted into it.
    pub mounts: Vec<Mount>,
    /// Docker only.
    pub docker: DockerOptions,
}

/// A host path mounted into a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Mount {
    /// The path on the agent.
    pub src_volume: String,
    /// The path in the container.
    pub dst_volume: String,
    /// Whether it may be written.
    pub read_write: bool,
}

/// Options of the Docker containerizer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DockerOptions {
    /// HOST (the default, empty), BRIDGE or NONE.
    pub network: String,
    /// Whether it runs privileged.
    pub privileged: bool,
    /// Whether the image is pulled although the agent has it; never so on a rollback.
    pub force_pull_image: bool,
    /// Arguments handed to `docker run`.
    pub parameters: Vec<(String, String)>,
    /// Ports inside the container; BRIDGE only.
    pub port_mappings: Vec<PortMapping>,
}

/// A port of the job mapped to one inside the container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PortMapping {
    /// A name in `ports`.
    pub port_name: String,
    /// The port inside.
    pub container_port: u32,
    /// `tcp` (the default, empty) or `udp`.
    pub protocol: String,
}

/// What the operator was promised.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Sla {
    /// Higher ones are placed first.
    pub priority: u32,
    /// Instances that are to be up at all times.
    pub minimum_instance_count: u32,
    /// The same as a percentage of the instance count.
    pub minimum_instance_percent: f64,
    /// Whether others may take its place.
    pub preemptible: bool,
}

impl Sla {
    /// How many of `count` instances are to be up at all times.
    #[must_use]
    pub fn minimum(&self, count: u32) -> u32 {
        let of_percent = (f64::from(count) * self.minimum_instance_percent / 100.0).ceil() as u32;
        self.minimum_instance_count.max(of_percent).min(count)
    }
}

/// What a task runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Command {
    /// Fetched into the sandbox before the start.
    pub uris: Vec<Uri>,
    /// Environment.
    pub environment: Vec<(String, String)>,
    /// Whether `value` is a shell command; otherwise it is a program and `arguments` its argv.
    pub shell: bool,
    /// The command.
    pub value: String,
    /// The arguments, `argv[0]` first, where `shell` is off.
    pub arguments: Vec<String>,
    /// The user; empty for the framework's.
    pub user: String,
}

/// An artifact fetched into the sandbox.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Uri {
    /// Where from.
    pub value: String,
    /// Whether it is made executable (and then not extracted).
    pub executable: bool,
    /// Whether a known archive is extracted.
    pub extract: bool,
    /// Whether the agent's fetcher cache is used; for services it always is.
    pub cache: bool,
    /// The file's name in the sandbox; empty for the URI's last part.
    pub output_file: String,
}

/// When and how often an instance is tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RestartPolicy {
    /// Failures that a batch instance may have; with one more it is given up. None means no limit
    /// (services: always none).
    pub max_failures: Option<u32>,
    /// The first wait, in milliseconds; it doubles with each failure in a row.
    pub initial_backoff_ms: u64,
    /// The longest wait, in milliseconds.
    pub max_backoff_ms: u64,
    /// A run of at least this many seconds makes the failures before it forgotten.
    pub reset_after_secs: u64,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            max_failures: None,
            initial_backoff_ms: 1000,
            max_backoff_ms: 300_000,
            reset_after_secs: 300,
        }
    }
}

impl RestartPolicy {
    /// The wait before the next try, after `failures` failures in a row, in milliseconds.
    #[must_use]
    pub fn backoff_ms(&self, failures: u32) -> u64 {
        let doublings = failures.saturating_sub(1).min(63);
        self.initial_backoff_ms.saturating_mul(1 << doublings).min(self.max_backoff_ms)
    }
}

/// How an instance is ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KillPolicy {
    /// Seconds between SIGTERM and SIGKILL.
    pub grace_period_secs: u64,
}

impl Default for KillPolicy {
    /// 3 seconds is what Mesos itself takes where nothing is said.
    fn default() -> Self {
        Self { grace_period_secs: 3 }
    }
}

/// Where instances may run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Placement {
    /// Spread or pack.
    pub strategy: Strategy,
    /// What an agent must satisfy, all of them.
    pub constraints: Vec<Constraint>,
}

/// How agents are ranked among those that fit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Strategy {
    /// The agent with the fewest instances of the job first.
    #[default]
    Spread,
    /// The fullest agent on which it fits first.
    Pack,
}

/// A condition on an agent's attribute. `hostname` counts as an attribute that every agent has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Constraint {
    /// The attribute's name.
    pub attribute: String,
    /// The condition.
    pub rule: Rule,
}

/// The condition of a [`Constraint`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Rule {
    /// The attribute is there and has this value.
    Equal(String),
    /// The attribute is not there or has another value.
    NotEqual(String),
    /// The attribute is there and has one of these values.
    In(Vec<String>),
    /// At most one instance per value of the attribute; agents without it do not count.
    Unique,
    /// At most this many instances per value of the attribute.
    MaxPerValue(u32),
}

/// What Mesos's DiscoveryInfo tells service discovery.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Discovery {
    /// FRAMEWORK, CLUSTER (the default, empty) or EXTERNAL.
    pub visibility: String,
    /// The service's name.
    pub name: String,
    /// Environment, such as `production`.
    pub environment: String,
    /// Location, such as a region.
    pub location: String,
    /// Version of the service.
    pub version: String,
}

impl JobConfig {
    /// The scalars that an instance's place has to have: what its tasks get, and the disk of its volumes.
    #[must_use]
    pub fn scalars_with_volumes(&self) -> Resources {
        let volumes = self.volumes.iter().map(|volume| Resources::disk(volume.size_mb));
        volumes.fold(self.resource.scalars(), |sum, disk| sum.plus(&disk))
    }

    /// How many of its ports are taken from the offer.
    #[must_use]
    pub fn dynamic_ports(&self) -> usize {
        self.ports.iter().filter(|p| p.value == 0).count()
    }

    /// The ports that it names by number.
    pub fn static_ports(&self) -> impl Iterator<Item = u16> + '_ {
        self.ports.iter().filter_map(|p| u16::try_from(p.value).ok().filter(|v| *v != 0))
    }

    /// Whether a health check decides about its instances.
    #[must_use]
    pub fn is_health_checked(&self) -> bool {
        self.health_check.as_ref().is_some_and(|h| h.enabled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_off_doubles_up_to_its_cap() {
        let policy = RestartPolicy::default();
        let waits: Vec<_> = [0, 1, 2, 3, 9, 10, 500].map(|n| policy.backoff_ms(n)).into();
        assert_eq!(waits, [1000, 1000, 2000, 4000, 256_000, 300_000, 300_000]);
    }
}
