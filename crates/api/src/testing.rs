//! What the unit tests of this crate share.

use std::sync::Arc;
use std::time::Duration;

use peloton_store::MemoryStore;
use peloton_telemetry::{BuildInfo, Metrics};

use crate::cluster_view::{ClusterStatus, ClusterView};
use crate::domain::{Caller, system_clock};
use crate::rpc::{Api, Context};

struct NoCluster;

impl ClusterView for NoCluster {
    fn status(&self) -> ClusterStatus {
        ClusterStatus::default()
    }
}

pub(crate) fn api() -> Arc<Api> {
    let metrics = Metrics::new(&BuildInfo::default());
    let store = Arc::new(MemoryStore::new());
    Api::new(store, 8, system_clock(), Arc::new(NoCluster), &metrics)
}

pub(crate) fn context() -> Context {
    let caller = Caller::new("test", Duration::from_secs(60));
    Context { caller, has_deadline: true }
}
