//! What this master knows of the cluster, for the API.

use peloton_api::cluster_view::{
    ClusterStatus, ClusterView, Connection, MasterStatus, MesosStatus, ShardStatus, StoreStatus,
};
use peloton_config::StoreType;
use peloton_core::Settings;
use peloton_mesos::ClientState;
use peloton_model::{OwnerRecord, decode_record};
use peloton_node as node;
use peloton_store::keys::{self, ParsedKey};
use peloton_store::{Health, Store, range_all};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
    known: Mutex<Known>,
}

/// What changes.
#[derive(Default)]
struct Known {
    me: Option<Identity>,
    shards: Vec<watch::Receiver<node::ShardStatus>>,
    owners: BTreeMap<u16, OwnerRecord>,
}

/// This master.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) id: String,
    pub(crate) address: String,
    pub(crate) started_at: u64,
}

impl View {
    pub(crate) fn new(role: &str, store: Arc<dyn Store>, kind: StoreType) -> Self {
        let known = Mutex::default();
        Self { shared: Arc::new(Shared { role: role.to_owned(), store, kind, known }) }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.shared.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who we are.
    pub(crate) fn introduce(&self, me: Identity) {
        self.known().me = Some(me);
    }

    /// The shards, once they run: when the store is there.
    pub(crate) fn attach(&self, shards: Vec<watch::Receiver<node::ShardStatus>>) {
        self.known().shards = shards;
    }

    pub(crate) fn shards(&self) -> Vec<node::ShardStatus> {
        self.known().shards.iter().map(|shard| shard.borrow().clone()).collect()
    }

    /// Looks up who owns the shards that are not ours. While the store does not answer, what was so
    /// last is shown: its own health tells the rest.
    pub(crate) async fn refresh_owners(&self) {
        let Ok(range) = range_all(&*self.shared.store, keys::owners()).await else { return };
        let owners = range.kvs.iter().filter_map(|kv| match keys::parse(kv.key.as_ref()) {
            Some(ParsedKey::Owner { shard }) => Some((shard, decode_record(&kv.value).ok()?)),
            _ => None,
        });
        let owners = owners.collect();
        self.known().owners = owners;
    }

    pub(crate) fn store(&self) -> StoreStatus {
        let (healthy, message) = match self.shared.store.health() {
            Health::Ok => (true, String::new()),
            Health::Degraded { reason } | Health::Failed { reason } => (false, reason),
        };
        let kind = match self.shared.kind {
            StoreType::Embedded => "embedded",
            StoreType::Etcd => "etcd",
        };
        StoreStatus { healthy, kind: kind.to_owned(), message, ..StoreStatus::default() }
    }

    fn shard(&self, known: &Known, status: &node::ShardStatus) -> ShardStatus {
        let ours = matches!(status.phase, node::ShardPhase::Running | node::ShardPhase::Loading);
        let owner = known.owners.get(&status.shard.0);
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

/// This master, and those that own shards: of others only the ownership keys tell.
fn masters(known: &Known) -> Vec<MasterStatus> {
    let me = known.me.iter().map(|me| MasterStatus {
        id: me.id.clone(),
        address: me.address.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: me.started_at,
        answering: true,
        accepting: true,
        ..MasterStatus::default()
    });
    let is_other = |owner: &&OwnerRecord| known.me.as_ref().is_none_or(|me| me.id != owner.master);
    let others = known.owners.values().filter(is_other);
    let others: BTreeMap<_, _> = others.map(|owner| (&owner.master, &owner.address)).collect();
    let others = others.into_iter().map(|(id, address)| MasterStatus {
        id: id.clone(),
        address: address.clone(),
        ..MasterStatus::default()
    });
    me.chain(others).collect()
}

impl ClusterView for View {
    fn status(&self) -> ClusterStatus {
        let statuses = self.shards();
        let known = self.known();
        let shards: Vec<_> = statuses.iter().map(|status| self.shard(&known, status)).collect();
        let masters = masters(&known);
        drop(known);
        let leader = statuses
            .iter()
            .find_map(|status| status.mesos.as_ref()?.connection.leader.clone())
            .unwrap_or_default();
        let connected = shards.iter().any(|shard| shard.connection == Connection::Subscribed);
        let message = shards.iter().map(|s| s.message.as_str()).find(|m| !m.is_empty());
        ClusterStatus {
            masters,
            mesos: MesosStatus {
                connected,
                leader,
                version: String::new(),
                message: message.unwrap_or_default().to_owned(),
                ..MesosStatus::default()
            },
            shards,
            store: self.store(),
        }
    }
}
