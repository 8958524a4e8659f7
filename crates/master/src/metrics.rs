//! The shards' figures as metrics.

use peloton_node::{ShardPhase, ShardStatus};
use peloton_telemetry::Metrics;
use peloton_telemetry::metrics::{GaugeFamily, Labels};

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
    mesos_calls_rejected: Family,
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
            mesos_calls_rejected: family("mesos_calls_rejected", "Calls that Mesos refused."),
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
            set(&self.mesos_calls_rejected, mesos.map_or(0, |m| m.calls_rejected));
        }
    }
}
