//! The health of the parts, from the shards' statuses.

use crate::metrics::Gauges;
use crate::view::View;
use peloton_mesos::ClientState;
use peloton_node::{ClusterMap, ShardPhase, ShardStatus};
use peloton_telemetry::{Health, HealthReporter, HealthStatus};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

/// How often it is looked at.
const EVERY: Duration = Duration::from_millis(500);

/// How often the members of etcd are asked: each time that is a new connection with each.
const ENDPOINTS_EVERY: Duration = Duration::from_secs(5);

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
        let Some(map) = view.map() else {
            let waiting = || HealthStatus::Degraded("waiting for the store".to_owned());
            self.shards.set(waiting());
            return self.mesos.set(waiting());
        };
        let failing = shards.iter().find_map(|s| match &s.phase {
            ShardPhase::Failing { why } => Some(format!("shard {}: {why}", s.shard)),
            _ => s.store_problem.as_ref().map(|why| format!("shard {}: {why}", s.shard)),
        });
        let failing = failing.or_else(|| unowned(&map));
        self.shards.set(failing.map_or(HealthStatus::Healthy, HealthStatus::Degraded));
        // What an operator must mend, although everything works for the moment.
        let notice = shards.iter().find_map(|s| s.notice.clone()).map(HealthStatus::Degraded);
        self.mesos.set(match (mesos(shards, &map), notice) {
            (HealthStatus::Healthy, Some(notice)) => notice,
            (status, _) => status,
        });
    }
}

/// What is wrong with the cluster's sharing: jobs of a shard that nobody has wait, whichever master one
/// asks.
fn unowned(map: &ClusterMap) -> Option<String> {
    if !map.members.contains_key(&map.master) {
        return Some("this master has not joined the others yet".to_owned());
    }
    let free = map.shards.iter().filter(|place| place.owner.is_none()).count();
    (free > 0).then(|| format!("{free} of {} shards have no owner", map.shards.len()))
}

/// Without Mesos the API still serves reads and writes: that is degraded, not down. A shard whose run
/// ended counts, too: Mesos may be why, and without a run nobody can say that Mesos is fine. So does one
/// that this master owns and has not begun to run.
fn mesos(shards: &[ShardStatus], map: &ClusterMap) -> HealthStatus {
    let is_owner = |s: &ShardStatus| {
        let place = map.shards.get(usize::from(s.shard.0));
        let owner = place.and_then(|place| place.owner.as_ref());
        owner.is_some_and(|owner| owner.record.master == map.master)
    };
    let is_ours = |s: &&ShardStatus| match s.phase {
        ShardPhase::Stopped => false,
        ShardPhase::NotOwned => is_owner(s),
        _ => true,
    };
    let ours: Vec<_> = shards.iter().filter(is_ours).collect();
    let connection = |s: &ShardStatus| s.mesos.as_ref().map(|mesos| mesos.connection.clone());
    let is_subscribed = |s: &&&ShardStatus| {
        s.phase == ShardPhase::Running
            && connection(s).is_some_and(|c| c.state == ClientState::Subscribed)
    };
    let subscribed = ours.iter().filter(is_subscribed).count();
    if subscribed == ours.len() {
        return HealthStatus::Healthy;
    }
    let problem = ours.iter().find_map(|s| match &s.phase {
        ShardPhase::Failing { why } => Some(why.clone()),
        _ => connection(s)?.last_problem,
    });
    HealthStatus::Degraded(format!(
        "{subscribed} of {} shards are subscribed with Mesos: {}",
        ours.len(),
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
    let reporting = async {
        let mut tick = tokio::time::interval(EVERY);
        loop {
            tick.tick().await;
            let shards = view.shards();
            reporters.report(&view, &shards);
            gauges.set(&shards);
            gauges.set_cluster(view.map().as_ref(), &view.store());
        }
    };
    let asking = async {
        let mut tick = tokio::time::interval(ENDPOINTS_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            view.refresh_endpoints().await;
        }
    };
    tokio::select! {
        biased;
        gone = async { stopped.wait_for(|stop| *stop).await.is_err() } => {
            tracing::debug!(gone, "the health watch ends");
        }
        () = reporting => {}
        () = asking => {}
    }
}
