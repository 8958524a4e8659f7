//! A master of Peloton: wiring only.
//!
//! [`Master::start`] puts a store, shards and the API together, and [`Master::stop`] takes them
//! apart in the reverse order. There is no global state: each master has its own health, metrics,
//! API server and node, so that several of them live in one process as they would in several.
//! Masters of one process may share a store; whoever opened it closes it.
//!
//! An embedded store is opened, or refused, before anything else. etcd may be away for a while, so a
//! master on etcd serves its API at once, answers that the store is unavailable, and goes on trying;
//! [`Master::failed`] tells when that has no hope.
//!
//! The program `peloton-master` adds flags, logging and signals; `peloton minicluster` is the other
//! user.

mod backend;
mod gate;
mod health;
mod metrics;
mod options;
mod schema;
mod view;

pub use backend::open_store;
pub use peloton_api::ServeError;
// How a master reads a job's configuration, and tells where two differ.
pub use peloton_api::convert::{config_from_proto, field_changes};
pub use peloton_config::MasterConfig;
pub use peloton_node::ClusterError;
pub use peloton_store::{Store, StoreError};
pub use peloton_telemetry::health::HealthSnapshot;
pub use schema::SchemaError;

use gate::Gate;
use peloton_api::{Api, ApiServer};
use peloton_config::StoreType;
use peloton_model::ClusterRecord;
use peloton_node::Node;
use peloton_store_etcd::EtcdStore;
use peloton_telemetry::{BuildInfo, Health, Metrics};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinError, JoinHandle};
use view::View;

/// How often a master that runs looks whether the store's schema version was raised.
const LOOK_AT_SCHEMA_EVERY: Duration = Duration::from_secs(1);

/// Why a master does not start, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The embedded store cannot be opened.
    #[error("store.path {}", path.display())]
    Embedded {
        /// Its directory.
        path: PathBuf,
        /// Why.
        source: StoreError,
    },
    /// etcd cannot be used as it is configured, or holds something else than a store of Peloton's.
    #[error("store.endpoints {}", endpoints.join(","))]
    Etcd {
        /// Where it was looked for.
        endpoints: Vec<String>,
        /// Why.
        source: StoreError,
    },
    /// A key of the configuration makes no sense for etcd.
    #[error("{key}")]
    Setting {
        /// The key.
        key: &'static str,
        /// Why.
        source: StoreError,
    },
    /// More shards than there are numbers for.
    #[error("cluster.shards: {0} are too many")]
    Shards(u32),
    /// The records in the store are of a schema version that this build does not know.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// The store holds another cluster, or does not answer.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The API cannot be served, most often because its port is taken.
    #[error(transparent)]
    Api(#[from] ServeError),
    /// A part of the master panicked: a bug.
    #[error("a bug: a part of the master panicked; the log tells which")]
    Panicked,
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

/// A master that serves its API and runs shards. Dropping it ends its tasks at some later time; only
/// [`Master::stop`] finishes what is in hand.
#[derive(Debug)]
pub struct Master {
    id: String,
    address: SocketAddr,
    health: Health,
    stop: watch::Sender<bool>,
    failed: oneshot::Receiver<StartError>,
    serving: JoinHandle<()>,
    watching: JoinHandle<()>,
    running: JoinHandle<()>,
    own_store: OwnStore,
}

/// The store, if the master opened it.
struct OwnStore(Option<Arc<dyn Store>>);

impl std::fmt::Debug for OwnStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("OwnStore").field(&self.0.is_some()).finish()
    }
}

/// A store, and how far it is.
enum Joined {
    /// It is there, and holds this cluster.
    Yes(Arc<dyn Store>, ClusterRecord),
    /// It is to be opened, behind this gate.
    NotYet(Arc<Gate>),
}

impl Joined {
    async fn begin(
        config: &MasterConfig,
        store: Option<Arc<dyn Store>>,
        shards: u16,
    ) -> Result<(Self, OwnStore), StartError> {
        let own = store.is_none();
        let store = match (store, config.store.kind) {
            (Some(store), _) => store,
            (None, StoreType::Embedded) => open_store(&config.store).await?,
            (None, StoreType::Etcd) => {
                let gate = Arc::new(Gate::new(backend::etcd(&config.store).limits()));
                let store: Arc<dyn Store> = gate.clone();
                return Ok((Self::NotYet(gate), OwnStore(Some(store))));
            }
        };
        let cluster = backend::join(config, &*store, shards).await?;
        let own = OwnStore(own.then(|| Arc::clone(&store)));
        Ok((Self::Yes(store, cluster), own))
    }

    fn store(&self) -> Arc<dyn Store> {
        match self {
            Self::Yes(store, _) => Arc::clone(store),
            Self::NotYet(gate) => Arc::clone(gate) as Arc<dyn Store>,
        }
    }
}

impl Master {
    /// Starts a master on the store that is given, or else on the one that the configuration names.
    /// To be called inside a tokio runtime. Port 0 takes a free one.
    ///
    /// With etcd it does not wait for the store: [`Master::failed`] tells what is wrong with that.
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
        let shards = u16::try_from(config.cluster.shards)
            .map_err(|_| StartError::Shards(config.cluster.shards))?;
        let (joined, own_store) = Joined::begin(&config, store, shards).await?;
        let store = joined.store();

        let (stop, stopped) = watch::channel(false);
        let kind = if own_store.0.is_some() { config.store.kind } else { StoreType::Embedded };
        let view = View::new(&config, store.clone(), kind);
        let clock: peloton_api::domain::Clock = Arc::new(unix_ms);
        let api = Api::new(store, shards, clock, Arc::new(view.clone()), &metrics);
        let options = options::api(&config);
        let (server, address) =
            ApiServer::bind(options, api, health.clone(), metrics.clone(), build()).await?;
        let id = master_id(address, started_at);
        tracing::info!(%address, master = id, cluster = config.cluster.name, "serving the API");

        let advertised = options::advertised(&config, address);
        let me = view::Identity { id: id.clone(), address: advertised, started_at };
        view.introduce(me.clone());
        let gauges = metrics::Gauges::new(&metrics);
        let reporters = health::Reporters::new(&health);
        let watching =
            tokio::spawn(health::watch(view.clone(), reporters, gauges, stopped.clone()));
        let serving = tokio::spawn(server.serve(until(stopped.clone())));
        let runner = Runner { config, me, shards, view, stopped };
        let node = match joined {
            Joined::Yes(store, cluster) => Ok(runner.run_shards(store, None, cluster)),
            Joined::NotYet(gate) => Err(gate),
        };
        let (fail, failed) = oneshot::channel();
        let running = tokio::spawn(runner.run(node, fail));
        Ok(Self { id, address, health, stop, failed, serving, watching, running, own_store })
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

    /// Waits until the master cannot go on, and tells why: etcd holds another cluster or does not let
    /// it in, or a newer release has raised the schema version. It is then still to be stopped.
    pub async fn failed(&mut self) -> StartError {
        (&mut self.failed).await.unwrap_or(StartError::Panicked)
    }

    /// Takes no new calls and gives the shards up, both at once: a client that takes its time holds up
    /// no shard. Calls in hand are finished, and the store is closed if the master opened it. Tasks
    /// keep running.
    ///
    /// # Errors
    /// When a part of it had panicked; everything else is stopped all the same.
    pub async fn stop(self) -> Result<(), StopError> {
        self.stop.send_replace(true);
        let ran = self.running.await;
        let served = self.serving.await;
        let watched = self.watching.await;
        if let Some(store) = self.own_store.0 {
            store.close().await;
        }
        ran.map_err(|source| StopError { part: "the shards", source })?;
        served.map_err(|source| StopError { part: "the API", source })?;
        watched.map_err(|source| StopError { part: "the health watch", source })
    }
}

/// What it takes to run the shards, as soon as there is a store.
struct Runner {
    config: MasterConfig,
    me: view::Identity,
    shards: u16,
    view: View,
    stopped: watch::Receiver<bool>,
}

/// The shards, and the store that they are in.
struct Running {
    store: Arc<dyn Store>,
    node: Node,
}

impl Runner {
    fn run_shards(
        &self,
        store: Arc<dyn Store>,
        etcd: Option<Arc<EtcdStore>>,
        cluster: ClusterRecord,
    ) -> Running {
        let me = &self.me;
        let mut options = options::node(&self.config, &me.id, &me.address, self.shards);
        options.cluster = cluster.id;
        options.started_at = me.started_at;
        let node = Node::start(Arc::clone(&store), options);
        self.view.attach(&node, etcd);
        Running { store, node }
    }

    /// Runs the shards, or opens the store first, until the master is to stop; tells when it cannot.
    async fn run(self, begun: Result<Running, Arc<Gate>>, fail: oneshot::Sender<StartError>) {
        let running = match begun {
            Ok(running) => running,
            Err(gate) => {
                let opened = tokio::select! {
                    biased;
                    () = until(self.stopped.clone()) => return,
                    opened = backend::join_when_there(&self.config, self.shards, &gate) => opened,
                };
                match opened {
                    Ok((store, cluster)) => {
                        tracing::info!(
                            cluster = cluster.name,
                            id = cluster.id,
                            "the store is there"
                        );
                        gate.open(store.clone());
                        self.run_shards(store.clone(), Some(store), cluster)
                    }
                    Err(error) => {
                        gate.wait_for(error.to_string());
                        // The other end is gone only when the master is.
                        let _ = fail.send(error);
                        return until(self.stopped.clone()).await;
                    }
                }
            }
        };
        let unknown = tokio::select! {
            biased;
            () = until(self.stopped.clone()) => None,
            error = newer_schema(&*running.store) => Some(error),
        };
        if let Some(error) = unknown {
            tracing::error!(%error, "this master cannot go on");
            let _ = fail.send(error.into());
        }
        running.node.stop().await;
        until(self.stopped).await;
    }
}

/// Waits until the store's schema version is one that we do not know.
async fn newer_schema(store: &dyn Store) -> SchemaError {
    loop {
        tokio::time::sleep(LOOK_AT_SCHEMA_EVERY).await;
        match schema::look(store).await {
            Ok(()) | Err(SchemaError::Store(_)) => {}
            Err(error) => return error,
        }
    }
}

async fn until(mut stopped: watch::Receiver<bool>) {
    let _gone = stopped.wait_for(|stop| *stop).await.is_err();
}

/// An id for this master: the host, the process and the port tell it from all that run now, and when
/// it started from all that ran before.
fn master_id(address: SocketAddr, started_at: u64) -> String {
    let host = options::host_name().unwrap_or_else(|| "master".to_owned());
    format!("{host}-{}-{}-{started_at}", address.port(), std::process::id())
}

/// The time in Unix milliseconds.
fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
