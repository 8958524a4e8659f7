//! What the master that answers knows of the cluster, handed in by the program.

/// Tells how the cluster is doing.
pub trait ClusterView: Send + Sync + 'static {
    /// How it is now; cheap, does no I/O.
    fn status(&self) -> ClusterStatus;
}

/// How the cluster is doing, seen from one master.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClusterStatus {
    /// The masters that are there now.
    pub masters: Vec<MasterStatus>,
    /// The shards, in the order of their numbers.
    pub shards: Vec<ShardStatus>,
    /// The store.
    pub store: StoreStatus,
    /// Mesos.
    pub mesos: MesosStatus,
}

/// A master.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MasterStatus {
    /// Its id, new with each start.
    pub id: String,
    /// Where it serves the API, `host:port`.
    pub address: String,
    /// The release that it runs.
    pub version: String,
    /// When it started, in milliseconds since the Unix epoch; its uptime is the time since.
    pub started_at: u64,
    /// Whether it is the one that answers.
    pub answering: bool,
}

/// How a shard's framework is connected with Mesos.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Connection {
    /// Not known here: another master runs the shard.
    #[default]
    Unknown,
    /// Not connected; will try again.
    Disconnected,
    /// Connected, not subscribed yet.
    Connecting,
    /// Subscribed; asking for the state of all tasks.
    Reconciling,
    /// Subscribed and up to date.
    Subscribed,
}

/// A shard.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShardStatus {
    /// Its number.
    pub number: u16,
    /// The id of the master that runs it; empty if none does.
    pub owner: String,
    /// Since when it does, in milliseconds since the Unix epoch.
    pub owned_since: u64,
    /// Its framework's id; empty before the first subscription.
    pub framework_id: String,
    /// Its role in Mesos.
    pub role: String,
    /// How it is connected with Mesos.
    pub connection: Connection,
    /// What is wrong with the connection; empty if nothing is.
    pub message: String,
}

/// The store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreStatus {
    /// Whether the last request to it went well.
    pub healthy: bool,
    /// `embedded` or `etcd`.
    pub kind: String,
    /// What is wrong; empty if nothing is.
    pub message: String,
}

/// Mesos.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MesosStatus {
    /// Whether any shard of this master is subscribed.
    pub connected: bool,
    /// The leading master, `host:port`; empty if not known.
    pub leader: String,
    /// Its release.
    pub version: String,
    /// What is wrong; empty if nothing is.
    pub message: String,
}
