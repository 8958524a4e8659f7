//! A master of Peloton: wiring only.
//!
//! [`Master::start`] puts a store, shards and the API together, and [`Master::stop`] takes them
//! apart in the reverse order. There is no global state: each master has its own health, metrics,
//! API server and node, so that several of them live in one process as they would in several.
//! Masters of one process may share a store; whoever opened it closes it.
//!
//! The program `peloton-master` adds flags, logging and signals; `peloton minicluster` is the other
//! user.

mod health;
mod metrics;
mod options;
mod view;

pub use peloton_api::ServeError;
pub use peloton_config::MasterConfig;
pub use peloton_node::ClusterError;
pub use peloton_store::{Store, StoreError};
pub use peloton_telemetry::health::HealthSnapshot;

use peloton_api::{Api, ApiServer};
use peloton_config::{StoreConfig, StoreType};
use peloton_node::{Node, open_cluster};
use peloton_store_embedded::EmbeddedStore;
use peloton_telemetry::{BuildInfo, Health, Metrics};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle};

/// Why a master does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The embedded store cannot be opened.
    #[error("store.path {}", path.display())]
    Store {
        /// Its directory.
        path: PathBuf,
        /// Why.
        source: StoreError,
    },
    /// A back end that this build does not have.
    #[error("store.type: etcd is not in this build: use embedded")]
    NoEtcd,
    /// More shards than there are numbers for.
    #[error("cluster.shards: {0} are too many")]
    Shards(u32),
    /// The store holds another cluster, or does not answer.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The API cannot be served, most often because its port is taken.
    #[error(transparent)]
    Api(#[from] ServeError),
}

/// A master stopped, but a part of it had panicked before.
#[derive(Debug, thiserror::Error)]
#[error("{part}: {source}")]
pub struct StopError {
    part: &'static str,
    source: JoinError,
}

/// What this build is.
#[must_use]
pub fn build() -> BuildInfo {
    BuildInfo {
        program: "peloton-master".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        revision: option_env!("PELOTON_REVISION").unwrap_or("unknown").to_owned(),
    }
}

/// Opens the store that a configuration names. Blocks on the disk.
///
/// # Errors
/// [`StartError::Store`] when it cannot be opened, [`StartError::NoEtcd`].
pub fn open_store(config: &StoreConfig) -> Result<Arc<dyn Store>, StartError> {
    match config.kind {
        StoreType::Embedded => {
            let path = config.path.clone();
            let options = peloton_store_embedded::Options::new(path.clone());
            let store = EmbeddedStore::open(options)
                .map_err(|source| StartError::Store { path, source })?;
            Ok(Arc::new(store))
        }
        StoreType::Etcd => Err(StartError::NoEtcd),
    }
}

/// A master that serves its API and runs shards. Dropping it ends its tasks at some later time; only
/// [`Master::stop`] finishes what is in hand.
#[derive(Debug)]
pub struct Master {
    id: String,
    address: SocketAddr,
    health: Health,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
    watching: JoinHandle<()>,
    node: Node,
    own_store: OwnStore,
}

/// The store, if the master opened it.
struct OwnStore(Option<Arc<dyn Store>>);

impl std::fmt::Debug for OwnStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("OwnStore").field(&self.0.is_some()).finish()
    }
}

impl Master {
    /// Starts a master on the store that is given, or else on the one that the configuration names.
    /// To be called inside a tokio runtime. Port 0 takes a free one.
    ///
    /// # Errors
    /// [`StartError`]: the store, the cluster in it, or the API's port. Mesos is none of them: a
    /// master without Mesos serves, and connects when there is one.
    pub async fn start(
        config: MasterConfig,
        store: Option<Arc<dyn Store>>,
    ) -> Result<Self, StartError> {
        let started_at = unix_ms();
        let metrics = Metrics::new(&build());
        let health = Health::new();
        metrics.register_collector(health.collector());
        let (store, own_store) = match store {
            Some(store) => (store, OwnStore(None)),
            None => {
                let store = open_store(&config.store)?;
                (store.clone(), OwnStore(Some(store)))
            }
        };
        let shards = u16::try_from(config.cluster.shards)
            .map_err(|_| StartError::Shards(config.cluster.shards))?;
        let cluster = open_cluster(&*store, &config.cluster.name, shards).await?;

        let (stop, stopped) = watch::channel(false);
        let view = view::View::new(&config.mesos.framework.role, store.clone());
        let clock: peloton_api::domain::Clock = Arc::new(unix_ms);
        let api = Api::new(store.clone(), shards, clock, Arc::new(view.clone()), &metrics);
        let options = options::api(&config);
        let (server, address) =
            ApiServer::bind(options, api, health.clone(), metrics.clone(), build()).await?;
        let id = master_id(address, started_at);
        tracing::info!(%address, master = id, cluster = config.cluster.name, "serving the API");

        let mut options = options::node(&config, &id, address, shards);
        options.cluster = cluster.id;
        let node = Node::start(store, options);
        view.attach(view::Identity { id: id.clone(), address, started_at }, node.watch());
        let gauges = metrics::Gauges::new(&metrics);
        let reporters = health::Reporters::new(&health);
        let watching = tokio::spawn(health::watch(view, reporters, gauges, stopped.clone()));
        let serving = tokio::spawn(server.serve(until(stopped)));
        Ok(Self { id, address, health, stop, serving, watching, node, own_store })
    }

    /// Its id, new with each start.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Where it serves the API.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How its parts are: what `/health` tells.
    #[must_use]
    pub fn health(&self) -> HealthSnapshot {
        self.health.snapshot()
    }

    /// Takes no new calls, finishes those in hand, gives the shards up, and closes the store if it
    /// opened it. Tasks keep running.
    ///
    /// # Errors
    /// When a part of it had panicked; everything else is stopped all the same.
    pub async fn stop(self) -> Result<(), StopError> {
        self.stop.send_replace(true);
        let served = self.serving.await;
        self.node.stop().await;
        let watched = self.watching.await;
        if let Some(store) = self.own_store.0 {
            store.close().await;
        }
        served.map_err(|source| StopError { part: "the API", source })?;
        watched.map_err(|source| StopError { part: "the health watch", source })
    }
}

async fn until(mut stopped: watch::Receiver<bool>) {
    let _gone = stopped.wait_for(|stop| *stop).await.is_err();
}

/// An id for this master: the host, the process and the port tell it from all that run now, and when
/// it started from all that ran before.
fn master_id(address: SocketAddr, started_at: u64) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = if host.trim().is_empty() { "master" } else { host.trim() };
    format!("{host}-{}-{}-{started_at}", address.port(), std::process::id())
}

/// The time in Unix milliseconds.
fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
