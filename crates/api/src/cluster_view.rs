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
    /// Whether it takes shards.
    pub accepting: bool,
    /// Why it does not; empty if it does.
    pub not_accepting: String,
    /// What its lease has left, in milliseconds, where that is known.
    pub lease_left_ms: Option<u64>,
    /// The version of the store's schema that it writes; 0 if not known.
    pub schema_version: u64,
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
    /// Where that master serves the API, `host:port`; empty if none does.
    pub owner_address: String,
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

/// Whether a majority of the store's members is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Quorum {
    /// The store has no members: it is of one machine; or it is not known.
    #[default]
    NotNeeded,
    /// It is.
    Present,
    /// It is not: nothing can be written, and reads are stale ones.
    Lost,
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
    /// The members, in the order of the configuration; none of an embedded store.
    pub endpoints: Vec<StoreEndpoint>,
    /// The latest revision that this master has seen; 0 if not known.
    pub revision: i64,
    /// How long ago the store last answered this master, in milliseconds, where that is known.
    pub since_answer_ms: Option<u64>,
    /// Whether a majority of the members is there.
    pub quorum: Quorum,
}

/// One member of the store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreEndpoint {
    /// Its address, as it was configured.
    pub address: String,
    /// Whether it answers and knows of no trouble.
    pub healthy: bool,
    /// What is wrong with it; empty if nothing is.
    pub message: String,
    /// Whether this master sends its requests there.
    pub connected: bool,
    /// Whether it leads the others.
    pub leader: bool,
    /// Its release; empty if it did not answer.
    pub version: String,
    /// The revision of its copy; 0 if it did not answer.
    pub revision: i64,
    /// How many changes it knows of and has not made in its copy yet.
    pub behind: u64,
    /// The size of its file in bytes; 0 if it did not answer.
    pub db_bytes: u64,
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
    /// How the leading master is found: `address` (there is one), `list`, `redirect` or `zookeeper`.
    pub found_by: String,
    /// Where that looks, such as `zk://a:2181,b:2181/mesos`.
    pub found_in: String,
}
