//! The shards' figures, and what this master sees of the cluster, as metrics.

use peloton_api::cluster_view::StoreStatus;
use peloton_node::{ClusterMap, ShardPhase, ShardStatus};
use peloton_telemetry::Metrics;
use peloton_telemetry::metrics::{GaugeF64, GaugeFamily, Labels};
use peloton_telemetry::prometheus_client::metrics::gauge::Gauge;

type Family = GaugeFamily<Labels<1>>;

/// Gauges by shard.
pub(crate) struct Gauges {
    running: Family,
    subscribed: Family,
    jobs: Family,
    instances: Family,
    instances_running: Family,
    instances_pending: Family,
    slots: Family,
    slots_releasing: Family,
    pending_writes: Family,
    steps: Family,
    commits: Family,
    mesos_reconnects: Family,
    mesos_calls: Family,
    mesos_calls_rejected: Family,
    cluster: Cluster,
}

/// Gauges of the cluster as this master sees it.
struct Cluster {
    members: Gauge,
    accepting: Gauge,
    owned: Gauge,
    free: Gauge,
    lease_left: GaugeF64,
    silent: GaugeF64,
    revision: Gauge,
    endpoints: Gauge,
    endpoints_healthy: Gauge,
    behind: Gauge,
}

impl Cluster {
    fn new(metrics: &Metrics) -> Self {
        let (cluster, store) = (metrics.scope("cluster"), metrics.scope("store"));
        Self {
            members: cluster.gauge("masters", "Masters that live, as this one sees it."),
            accepting: cluster.gauge("masters_accepting", "Those of them that take shards."),
            owned: cluster.gauge("shards_owned", "Shards that this master owns."),
            free: cluster.gauge("shards_free", "Shards that nobody owns."),
            lease_left: cluster.gauge_f64(
                "lease_left_seconds",
                "How long this master's lease is certain to live.",
            ),
            silent: store
                .gauge_f64("silent_seconds", "How long ago the store last answered this master."),
            revision: store.gauge("revision", "The last change of masters or owners seen here."),
            endpoints: store.gauge("endpoints", "Members of etcd that are configured."),
            endpoints_healthy: store.gauge("endpoints_healthy", "Members of etcd without trouble."),
            behind: store.gauge(
                "behind",
                "Changes that the member of etcd in use knows of and has not made yet.",
            ),
        }
    }

    fn set(&self, map: &ClusterMap, store: &StoreStatus) {
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let owner = |place: &peloton_node::ShardPlace| {
            place.owner.as_ref().map(|owner| owner.record.master.clone())
        };
        let accepting = map.members.values().filter(|member| member.record.accepting);
        let owned = map.shards.iter().filter(|place| owner(place).as_ref() == Some(&map.master));
        let free = map.shards.iter().filter(|place| place.owner.is_none());
        self.members.set(count(map.members.len()));
        self.accepting.set(count(accepting.count()));
        self.owned.set(count(owned.count()));
        self.free.set(count(free.count()));
        let lease = map.lease.as_ref().map(peloton_node::Lease::certain_for);
        self.lease_left.set(lease.unwrap_or_default().as_secs_f64());
        self.silent.set(map.silent_for().unwrap_or_default().as_secs_f64());
        self.revision.set(store.revision);
        self.endpoints.set(count(store.endpoints.len()));
        let healthy = store.endpoints.iter().filter(|one| one.healthy);
        self.endpoints_healthy.set(count(healthy.count()));
        let used = store.endpoints.iter().find(|one| one.connected);
        self.behind.set(used.map_or(0, |one| i64::try_from(one.behind).unwrap_or(i64::MAX)));
    }
}

impl Gauges {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let scope = metrics.scope("shard");
        let family = |name, help| scope.gauge_family::<Labels<1>>(name, help);
        Self {
            running: family("running", "Whether this master runs the shard."),
            subscribed: family("subscribed", "Whether the shard is subscribed with Mesos."),
            jobs: family("jobs", "Jobs that are not deleted."),
            instances: family("instances", "Instances that should be there."),
            instances_running: family("instances_running", "Instances in state RUNNING."),
            instances_pending: family(
                "instances_pending",
                "Instances that wait for a place or their back-off.",
            ),
            slots: family("slots", "Slots, also those to be released."),
            slots_releasing: family("slots_releasing", "Slots to be released."),
            pending_writes: family("pending_writes", "Writes that are not durable yet."),
            steps: family("steps", "Inputs stepped since the shard's run began."),
            commits: family("commits", "Transactions committed since the shard's run began."),
            mesos_reconnects: family("mesos_disconnects", "Sessions with Mesos that were lost."),
            mesos_calls: family("mesos_calls", "Calls that Mesos took, of all kinds."),
            mesos_calls_rejected: family("mesos_calls_rejected", "Calls that Mesos refused."),
            cluster: Cluster::new(metrics),
        }
    }

    /// What is seen of the cluster, once anything is.
    pub(crate) fn set_cluster(&self, map: Option<&ClusterMap>, store: &StoreStatus) {
        if let Some(map) = map {
            self.cluster.set(map, store);
        }
    }

    pub(crate) fn set(&self, shards: &[ShardStatus]) {
        let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        for status in shards {
            let labels = [("shard", status.shard.to_string())];
            let set = |family: &Family, value: u64| {
                family.get_or_create(&labels).set(signed(value));
            };
            let mesos = status.mesos.as_ref();
            let subscribed = mesos.is_some_and(|m| m.connection.epoch.is_some());
            set(&self.running, u64::from(status.phase == ShardPhase::Running));
            set(&self.subscribed, u64::from(subscribed));
            set(&self.jobs, status.totals.jobs);
            set(&self.instances, status.totals.instances);
            set(&self.instances_running, status.totals.running);
            set(&self.instances_pending, status.totals.pending);
            set(&self.slots, status.totals.slots);
            set(&self.slots_releasing, status.totals.releasing);
            set(&self.pending_writes, status.pending_writes as u64);
            set(&self.steps, status.steps);
            set(&self.commits, status.commits);
            set(&self.mesos_reconnects, mesos.map_or(0, |m| m.disconnects));
            let taken = mesos.map_or(0, |m| m.calls.iter().map(|(_, count)| count).sum());
            set(&self.mesos_calls, taken);
            set(&self.mesos_calls_rejected, mesos.map_or(0, |m| m.calls_rejected));
        }
    }
}
