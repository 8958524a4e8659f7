//! One handler a procedure: a request's message in, an answer's message or an [`ApiError`] out. Both
//! encodings call these and nothing else, so a call means the same however it came.

mod cluster_manager;
mod job_manager;
mod services;
mod task_manager;
mod upgrade_manager;
mod volume_manager;
mod watch;

use std::sync::{Arc, OnceLock};

use peloton_proto::peloton::cluster::ClusterInfo;
use peloton_telemetry::Metrics;
use tokio::sync::{Semaphore, watch as signal};

use crate::cluster_view::ClusterView;
use crate::domain::{Caller, Clock, Jobs, Records, Tasks, Upgrades, Volumes};
use crate::metrics::CallMetrics;
use crate::{ApiError, Store};

pub(crate) use services::{CallError, Grpc, call_json};

/// Most watches at a time in one master: each is a watch of the store, and a stream that stays.
pub(crate) const MAX_WATCHES: usize = 1000;

/// Everything that the handlers need.
pub struct Api {
    pub(crate) jobs: Arc<Jobs>,
    pub(crate) tasks: Tasks,
    pub(crate) upgrades: Upgrades,
    pub(crate) volumes: Volumes,
    pub(crate) cluster: Arc<dyn ClusterView>,
    /// What was decided when the cluster was created, once it was read.
    cluster_info: OnceLock<ClusterInfo>,
    pub(crate) metrics: CallMetrics,
    watches: Arc<Semaphore>,
    closing: signal::Sender<bool>,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api").field("jobs", &self.jobs).finish_non_exhaustive()
    }
}

impl Api {
    /// The API over a store of a cluster with so many shards.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        shards: u16,
        clock: Clock,
        cluster: Arc<dyn ClusterView>,
        metrics: &Metrics,
    ) -> Arc<Self> {
        let records = Arc::new(Records::new(store, shards, clock));
        Arc::new(Self {
            jobs: Arc::new(Jobs::new(Arc::clone(&records))),
            tasks: Tasks::new(Arc::clone(&records)),
            upgrades: Upgrades::new(Arc::clone(&records)),
            volumes: Volumes::new(records),
            cluster,
            cluster_info: OnceLock::new(),
            metrics: CallMetrics::new(metrics),
            watches: Arc::new(Semaphore::new(MAX_WATCHES)),
            closing: signal::Sender::new(false),
        })
    }

    /// Ends all watches, so that their clients go to another master.
    pub fn close(&self) {
        self.closing.send_replace(true);
    }
}

/// One call: on whose behalf.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) caller: Caller,
    /// Whether the caller named its deadline itself; without one, a stream may go on for ever.
    pub(crate) has_deadline: bool,
}

type Answer<M> = Result<M, ApiError>;

/// What a request must have.
fn required<M>(field: &str, message: Option<M>) -> Answer<M> {
    message.ok_or_else(|| ApiError::invalid(format!("{field}: missing")))
}
