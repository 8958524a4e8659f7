//! The typed configuration of `peloton-master`. What each key means is told in [`crate::keys`].

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::format::HostPort;
use crate::secret::Secret;

/// The configuration of `peloton-master`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MasterConfig {
    /// What is logged, where to and how.
    pub logging: LoggingConfig,
    /// The master's own API.
    pub master: MasterSection,
    /// How to reach Mesos.
    pub mesos: MesosConfig,
    /// What all masters of a cluster must agree on.
    pub cluster: ClusterConfig,
    /// Where the state is kept.
    pub store: StoreConfig,
    /// What to do when agents go away.
    pub agents: AgentsConfig,
}

/// Section `logging`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LoggingConfig {
    /// Directives of a tracing filter.
    pub level: String,
    /// To standard output; otherwise to standard error.
    pub stdout: bool,
    /// How events are written.
    pub format: LogFormat,
}

/// How log events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// A line of text for people.
    Text,
    /// A JSON object a line for programs.
    Json,
}

/// Section `master`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MasterSection {
    /// Port of the API, from 1.
    pub port: u16,
    /// Address the API listens on.
    pub listen: IpAddr,
    /// Where others reach the API, if not where it listens.
    pub advertise: Option<HostPort>,
    /// Most seconds to finish what is in hand after SIGTERM.
    pub shutdown_timeout_secs: u64,
    /// Largest request in bytes.
    pub max_request_bytes: usize,
}

impl MasterSection {
    /// Address and port to listen on.
    #[must_use]
    pub fn socket_addr(&self) -> SocketAddr {
        SocketAddr::new(self.listen, self.port)
    }

    /// The time to finish what is in hand after SIGTERM.
    #[must_use]
    pub fn shutdown_timeout(&self) -> Duration {
        Duration::from_secs(self.shutdown_timeout_secs)
    }
}

/// Section `mesos`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MesosConfig {
    /// The Mesos master, where `masters` names none.
    pub host_port: HostPort,
    /// All Mesos masters.
    pub masters: Vec<HostPort>,
    /// Where the Mesos masters elect their leader, a URL that may have a password; wins over the other two.
    pub zk: Option<String>,
    /// Path of the scheduler API.
    pub api_path: String,
    /// How the master presents itself to Mesos.
    pub framework: FrameworkConfig,
}

impl MesosConfig {
    /// The Mesos masters to try, at least one.
    #[must_use]
    pub fn addresses(&self) -> Vec<HostPort> {
        if self.masters.is_empty() { vec![self.host_port.clone()] } else { self.masters.clone() }
    }
}

/// Section `mesos.framework`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FrameworkConfig {
    /// User that tasks run as where the job names none.
    pub user: String,
    /// Name of the frameworks.
    pub name: String,
    /// Parent role of the shards' roles.
    pub role: String,
    /// Principal for authentication and reservations.
    pub principal: String,
    /// Seconds that Mesos waits for a master to come back before it kills all tasks.
    pub failover_timeout: u64,
    /// Whether agents keep tasks running while the agent process restarts.
    pub checkpoint: bool,
    /// File with the secret.
    pub secret_file: Option<PathBuf>,
    /// The secret, read from `secret_file`.
    #[serde(skip)]
    pub secret: Option<Secret>,
}

impl FrameworkConfig {
    /// How long Mesos waits for a master to come back before it kills all tasks.
    #[must_use]
    pub fn failover_timeout(&self) -> Duration {
        Duration::from_secs(self.failover_timeout)
    }
}

/// Section `cluster`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterConfig {
    /// Name of the cluster.
    pub name: String,
    /// Number of shards, 1 to 1024.
    pub shards: u32,
    /// Seconds that its shards stay with a master which is not heard of.
    pub lease_secs: u64,
}

impl ClusterConfig {
    /// How long its shards stay with a master which is not heard of.
    #[must_use]
    pub fn lease_ttl(&self) -> Duration {
        Duration::from_secs(self.lease_secs)
    }
}

/// Section `store`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StoreConfig {
    /// Which back end.
    #[serde(rename = "type")]
    pub kind: StoreType,
    /// Directory of the embedded store.
    pub path: PathBuf,
    /// Endpoints of etcd.
    pub endpoints: Vec<String>,
    /// What all keys in etcd start with.
    pub prefix: String,
    /// The authorities of etcd's certificates; the system's without it.
    pub ca_file: Option<PathBuf>,
    /// The certificate to show etcd.
    pub cert_file: Option<PathBuf>,
    /// The key of `cert_file`.
    pub key_file: Option<PathBuf>,
    /// User of etcd.
    pub user: Option<String>,
    /// File with the user's password.
    pub password_file: Option<PathBuf>,
    /// The password, read from `password_file`.
    #[serde(skip)]
    pub password: Option<Secret>,
    /// Operations in one transaction of etcd.
    pub max_txn_ops: usize,
}

/// The store's back ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreType {
    /// Files of one master.
    Embedded,
    /// An etcd cluster.
    Etcd,
}

/// Section `agents`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AgentsConfig {
    /// Seconds after which instances on an unreachable agent are replaced.
    pub unreachable_replace_secs: u64,
    /// Share of agents, in percent, above which a loss is taken for one of the network.
    pub mass_unreachable_percent: u8,
}

impl AgentsConfig {
    /// The time after which instances on an unreachable agent are replaced.
    #[must_use]
    pub fn unreachable_replace(&self) -> Duration {
        Duration::from_secs(self.unreachable_replace_secs)
    }
}
