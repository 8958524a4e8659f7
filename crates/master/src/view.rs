//! What this master knows of the cluster, for the API.

use peloton_api::cluster_view::{
    ClusterStatus, ClusterView, Connection, MasterStatus, MesosStatus, ShardStatus, StoreStatus,
};
use peloton_config::MasterConfig;
use peloton_core::Settings;
use peloton_mesos::ClientState;
use peloton_node as node;
use peloton_store::{Health, Store};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// What this master knows of the cluster.
#[derive(Clone)]
pub(crate) struct View {
    shared: Arc<Shared>,
}

struct Shared {
    master: MasterStatus,
    role: String,
    store: Arc<dyn Store>,
    shards: Mutex<Vec<watch::Receiver<node::ShardStatus>>>,
}

impl View {
    pub(crate) fn new(
        config: &MasterConfig,
        master: &str,
        started_at: u64,
        store: Arc<dyn Store>,
    ) -> Self {
        let master = MasterStatus {
            id: master.to_owned(),
            address: config.master.socket_addr().to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at,
            answering: true,
        };
        let role = config.mesos.framework.role.clone();
        Self { shared: Arc::new(Shared { master, role, store, shards: Mutex::default() }) }
    }

    /// The shards, once they run.
    pub(crate) fn attach(&self, shards: Vec<watch::Receiver<node::ShardStatus>>) {
        *self.shared.shards.lock().unwrap_or_else(PoisonError::into_inner) = shards;
    }

    pub(crate) fn shards(&self) -> Vec<node::ShardStatus> {
        let shards = self.shared.shards.lock().unwrap_or_else(PoisonError::into_inner);
        shards.iter().map(|shard| shard.borrow().clone()).collect()
    }

    pub(crate) fn store(&self) -> StoreStatus {
        let (healthy, message) = match self.shared.store.health() {
            Health::Ok => (true, String::new()),
            Health::Degraded { reason } | Health::Failed { reason } => (false, reason),
        };
        StoreStatus { healthy, kind: "embedded".to_owned(), message }
    }

    fn shard(&self, status: &node::ShardStatus) -> ShardStatus {
        let owned = matches!(status.phase, node::ShardPhase::Running | node::ShardPhase::Loading);
        let connection = status.mesos.as_ref().map(|mesos| &mesos.connection);
        let problem = connection.and_then(|c| c.last_problem.clone());
        ShardStatus {
            number: status.shard.0,
            owner: if owned { self.shared.master.id.clone() } else { String::new() },
            owned_since: status.since,
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

impl ClusterView for View {
    fn status(&self) -> ClusterStatus {
        let statuses = self.shards();
        let shards: Vec<_> = statuses.iter().map(|status| self.shard(status)).collect();
        let leader = statuses
            .iter()
            .find_map(|status| status.mesos.as_ref()?.connection.leader.clone())
            .unwrap_or_default();
        let connected = shards.iter().any(|shard| shard.connection == Connection::Subscribed);
        let message = shards.iter().map(|s| s.message.as_str()).find(|m| !m.is_empty());
        ClusterStatus {
            masters: vec![self.shared.master.clone()],
            mesos: MesosStatus {
                connected,
                leader,
                version: String::new(),
                message: message.unwrap_or_default().to_owned(),
            },
            shards,
            store: self.store(),
        }
    }
}
