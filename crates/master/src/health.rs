//! The health of the parts, from the shards' statuses.

use crate::metrics::Gauges;
use crate::view::View;
use peloton_mesos::ClientState;
use peloton_node::{ShardPhase, ShardStatus};
use peloton_telemetry::{Health, HealthReporter, HealthStatus};
use std::time::Duration;
use tokio::sync::watch;

/// How often it is looked at.
const EVERY: Duration = Duration::from_millis(500);

/// The parts that report.
pub(crate) struct Reporters {
    store: HealthReporter,
    shards: HealthReporter,
    mesos: HealthReporter,
}

impl Reporters {
    pub(crate) fn new(health: &Health) -> Self {
        Self {
            store: health.component("store"),
            shards: health.component("shards"),
            mesos: health.component("mesos"),
        }
    }

    fn report(&self, view: &View, shards: &[ShardStatus]) {
        let store = view.store();
        self.store.set(if store.healthy {
            HealthStatus::Healthy
        } else {
            HealthStatus::Down(store.message)
        });
        let failing = shards.iter().find_map(|s| match &s.phase {
            ShardPhase::Failing { why } => Some(format!("shard {}: {why}", s.shard)),
            _ => s.store_problem.as_ref().map(|why| format!("shard {}: {why}", s.shard)),
        });
        self.shards.set(failing.map_or(HealthStatus::Healthy, HealthStatus::Degraded));
        self.mesos.set(mesos(shards));
    }
}

/// Without Mesos the API still serves reads and writes: that is degraded, not down.
fn mesos(shards: &[ShardStatus]) -> HealthStatus {
    let owned: Vec<_> = shards
        .iter()
        .filter(|s| s.phase == ShardPhase::Running)
        .filter_map(|s| s.mesos.as_ref())
        .collect();
    let subscribed = owned.iter().filter(|m| m.connection.state == ClientState::Subscribed).count();
    if subscribed == owned.len() {
        return HealthStatus::Healthy;
    }
    let problem = owned.iter().find_map(|m| m.connection.last_problem.clone());
    HealthStatus::Degraded(format!(
        "{subscribed} of {} shards are subscribed with Mesos: {}",
        owned.len(),
        problem.as_deref().unwrap_or("connecting")
    ))
}

/// Reports until the master stops.
pub(crate) async fn watch(
    view: View,
    reporters: Reporters,
    gauges: Gauges,
    mut stopped: watch::Receiver<bool>,
) {
    let mut tick = tokio::time::interval(EVERY);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            gone = async { stopped.wait_for(|stop| *stop).await.is_err() } => {
                tracing::debug!(gone, "the health watch ends");
                return;
            }
        }
        let shards = view.shards();
        reporters.report(&view, &shards);
        gauges.set(&shards);
    }
}
