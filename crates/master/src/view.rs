//! What this master knows of the cluster, for the API: its own shards from those that run them, members
//! and owners from the node's map, and the members of etcd from asking each of them now and then.

use crate::options;
use peloton_api::cluster_view::{
    ClusterStatus, ClusterView, Connection, MasterStatus, MesosStatus, Quorum, ShardStatus,
    StoreEndpoint, StoreStatus,
};
use peloton_config::{MasterConfig, StoreType};
use peloton_core::Settings;
use peloton_mesos::{ClientState, Found, Masters};
use peloton_node::{self as node, ClusterMap};
use peloton_store::{Health, Store};
use peloton_store_etcd::EtcdStore;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// What this master knows of the cluster.
#[derive(Clone)]
pub(crate) struct View {
    shared: Arc<Shared>,
}

struct Shared {
    role: String,
    store: Arc<dyn Store>,
    kind: StoreType,
    mesos: MesosStatus,
    known: Mutex<Known>,
}

/// What changes.
#[derive(Default)]
struct Known {
    me: Option<Identity>,
    shards: Vec<watch::Receiver<node::ShardStatus>>,
    cluster: Option<watch::Receiver<ClusterMap>>,
    etcd: Option<Arc<EtcdStore>>,
    endpoints: Vec<StoreEndpoint>,
    quorum: Quorum,
}

impl Known {
    fn map(&self) -> Option<ClusterMap> {
        self.cluster.as_ref().map(|cluster| cluster.borrow().clone())
    }
}

/// This master.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) id: String,
    pub(crate) address: String,
    pub(crate) started_at: u64,
}

impl View {
    /// A view in which nothing runs yet.
    pub(crate) fn new(config: &MasterConfig, store: Arc<dyn Store>, kind: StoreType) -> Self {
        let role = config.mesos.framework.role.clone();
        let (mesos, known) = (finding(config), Mutex::default());
        Self { shared: Arc::new(Shared { role, store, kind, mesos, known }) }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.shared.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who we are.
    pub(crate) fn introduce(&self, me: Identity) {
        self.known().me = Some(me);
    }

    /// What runs, once it does: when the store is there.
    pub(crate) fn attach(&self, node: &node::Node, etcd: Option<Arc<EtcdStore>>) {
        let mut known = self.known();
        known.shards = node.watch();
        known.cluster = Some(node.cluster());
        known.etcd = etcd;
    }

    pub(crate) fn shards(&self) -> Vec<node::ShardStatus> {
        self.known().shards.iter().map(|shard| shard.borrow().clone()).collect()
    }

    /// What the node knows of members and owners, once it runs.
    pub(crate) fn map(&self) -> Option<ClusterMap> {
        self.known().map()
    }

    /// Asks the members of etcd how they are, which takes up to two seconds.
    pub(crate) async fn refresh_endpoints(&self) {
        let Some(etcd) = self.known().etcd.clone() else { return };
        let status = etcd.status().await;
        let quorum = if status.leader().is_some() { Quorum::Present } else { Quorum::Lost };
        let endpoints = status.endpoints.iter();
        let endpoints = endpoints.map(|(address, answer)| endpoint(&status, address, answer));
        let endpoints = endpoints.collect();
        let mut known = self.known();
        known.endpoints = endpoints;
        known.quorum = quorum;
    }

    pub(crate) fn store(&self) -> StoreStatus {
        let known = self.known();
        let map = known.map();
        self.store_of(&known, map.as_ref())
    }

    fn store_of(&self, known: &Known, map: Option<&ClusterMap>) -> StoreStatus {
        let (healthy, message) = match self.shared.store.health() {
            Health::Ok => (true, String::new()),
            Health::Degraded { reason } | Health::Failed { reason } => (false, reason),
        };
        let kind = match self.shared.kind {
            StoreType::Embedded => "embedded",
            StoreType::Etcd => "etcd",
        };
        StoreStatus {
            healthy,
            kind: kind.to_owned(),
            message,
            endpoints: known.endpoints.clone(),
            revision: map.map_or(0, |map| map.revision.0),
            since_answer_ms: map.and_then(ClusterMap::silent_for).map(millis),
            quorum: known.quorum,
        }
    }

    fn shard(
        &self,
        known: &Known,
        map: Option<&ClusterMap>,
        status: &node::ShardStatus,
    ) -> ShardStatus {
        let ours = matches!(status.phase, node::ShardPhase::Running | node::ShardPhase::Loading);
        let place = map.and_then(|map| map.shards.get(usize::from(status.shard.0)));
        let owner = place.and_then(|place| place.owner.as_ref()).map(|owner| &owner.record);
        let (owner, owner_address, owned_since) = match (&known.me, owner) {
            (Some(me), _) if ours => (me.id.clone(), me.address.clone(), status.since),
            (_, Some(owner)) => (owner.master.clone(), owner.address.clone(), owner.since),
            _ => (String::new(), String::new(), status.since),
        };
        let connection = status.mesos.as_ref().map(|mesos| &mesos.connection);
        let problem = connection.and_then(|c| c.last_problem.clone());
        ShardStatus {
            number: status.shard.0,
            owner,
            owner_address,
            owned_since,
            framework_id: connection.and_then(|c| c.framework_id.clone()).unwrap_or_default(),
            role: Settings::role_of(status.shard, &self.shared.role),
            connection: match connection.map(|c| &c.state) {
                None => Connection::Unknown,
                Some(ClientState::Connecting { .. }) => Connection::Connecting,
                Some(ClientState::Subscribed) => Connection::Subscribed,
                Some(_) => Connection::Disconnected,
            },
            message: match &status.phase {
                node::ShardPhase::Failing { why } => why.clone(),
                _ => status.store_problem.clone().or(problem).unwrap_or_default(),
            },
        }
    }
}

/// How the configuration has Mesos found.
fn finding(config: &MasterConfig) -> MesosStatus {
    let masters = options::masters(config);
    let found_by = match &masters {
        Masters::ZooKeeper(_) => "zookeeper",
        Masters::List(list) if list.len() == 1 => "address",
        Masters::List(_) => "list",
    };
    let found_in = masters.to_string();
    MesosStatus { found_by: found_by.to_owned(), found_in, ..MesosStatus::default() }
}

fn endpoint(
    cluster: &peloton_store_etcd::ClusterStatus,
    address: &str,
    answer: &Result<peloton_store_etcd::MemberStatus, String>,
) -> StoreEndpoint {
    let connected = cluster.connected.as_deref() == Some(address);
    let address = address.to_owned();
    match answer {
        Ok(member) => StoreEndpoint {
            address,
            healthy: member.errors.is_empty() && !member.is_learner,
            message: member.errors.join("; "),
            connected,
            leader: cluster.leader() == Some(member.id),
            version: member.version.clone(),
            revision: member.revision.0,
            behind: member.behind,
            db_bytes: member.db_bytes,
        },
        Err(why) => {
            StoreEndpoint { address, message: why.clone(), connected, ..StoreEndpoint::default() }
        }
    }
}

/// All that live, and those that own shards without being members: they died just now, or are of a
/// release that knew no members.
fn masters(known: &Known, map: Option<&ClusterMap>) -> Vec<MasterStatus> {
    let mut all: BTreeMap<&str, MasterStatus> = BTreeMap::new();
    for place in map.into_iter().flat_map(|map| &map.shards) {
        let Some(owner) = place.owner.as_ref().map(|owner| &owner.record) else { continue };
        all.entry(&owner.master).or_insert_with(|| MasterStatus {
            id: owner.master.clone(),
            address: owner.address.clone(),
            ..MasterStatus::default()
        });
    }
    for (id, member) in map.into_iter().flat_map(|map| &map.members) {
        let record = &member.record;
        let status = MasterStatus {
            id: id.clone(),
            address: record.address.clone(),
            version: record.version.clone(),
            started_at: record.started_at,
            answering: false,
            accepting: record.accepting,
            not_accepting: record.why_not.clone().unwrap_or_default(),
            lease_left_ms: None,
            schema_version: u64::from(record.schema),
        };
        all.insert(id, status);
    }
    if let Some(me) = &known.me {
        let mine = all.entry(&me.id).or_insert_with(|| MasterStatus {
            id: me.id.clone(),
            address: me.address.clone(),
            not_accepting: "it has not joined the others yet".to_owned(),
            ..MasterStatus::default()
        });
        mine.version = env!("CARGO_PKG_VERSION").to_owned();
        mine.started_at = me.started_at;
        mine.answering = true;
        mine.schema_version = u64::from(crate::schema::NEWEST);
        let lease = map.and_then(|map| map.lease.as_ref());
        mine.lease_left_ms = lease.map(|lease| millis(lease.certain_for()));
    }
    all.into_values().collect()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl ClusterView for View {
    fn status(&self) -> ClusterStatus {
        let statuses = self.shards();
        let known = self.known();
        let map = known.map();
        let map = map.as_ref();
        let shards: Vec<_> =
            statuses.iter().map(|status| self.shard(&known, map, status)).collect();
        let masters = masters(&known, map);
        let store = self.store_of(&known, map);
        drop(known);
        let mut mesos = self.shared.mesos.clone();
        let mut connections = statuses.iter().filter_map(|status| status.mesos.as_ref());
        if let Some(status) = connections.find(|status| status.connection.leader.is_some()) {
            mesos.leader = status.connection.leader.clone().unwrap_or_default();
            if let Some(Found::Redirect { .. }) = status.connection.found {
                "redirect".clone_into(&mut mesos.found_by);
            }
        }
        let connected = shards.iter().any(|shard| shard.connection == Connection::Subscribed);
        let message = shards.iter().map(|s| s.message.as_str()).find(|m| !m.is_empty());
        let message = message.unwrap_or_default().to_owned();
        let mesos = MesosStatus { connected, message, ..mesos };
        ClusterStatus { masters, shards, store, mesos }
    }
}
