//! All shards of one master.

use crate::environment::Environment;
use crate::lease;
use crate::map::ClusterMap;
use crate::runner::Runner;
use crate::status::{ShardPhase, ShardStatus};
use peloton_core::Settings;
use peloton_mesos as mesos;
use peloton_model::{ShardId, UnixMs};
use peloton_store::Store;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// How long a stop waits for what is in hand to become durable and leave.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// The wait before a shard whose task panicked is run again.
const AFTER_PANIC: Duration = Duration::from_secs(5);

/// What a node needs to know.
#[derive(Debug, Clone)]
pub struct Options {
    /// The cluster's id, as [`crate::open_cluster`] tells it.
    pub cluster: String,
    /// The master's id, new with each start of the process.
    pub master: String,
    /// Where it serves the API, `host:port`, for others to see.
    pub address: String,
    /// How many shards the cluster has.
    pub shards: u16,
    /// The master's release, for others to see.
    pub version: String,
    /// The version of the stored schema that it writes, for others to see.
    pub schema: u32,
    /// When its process started, in Unix milliseconds.
    pub started_at: UnixMs,
    /// How long shards stay with a master that is not heard of.
    pub lease_ttl: Duration,
    /// How shards are shared.
    pub sharing: Sharing,
    /// The Mesos client's options; role and name are those of the whole, each shard adds its number.
    pub mesos: mesos::Options,
    /// What rules each shard; the shard's number and role are filled in.
    pub settings: Settings,
}

/// How a master shares the shards with others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sharing {
    /// How long the members have to have been the same before a master gives a shard up for the sake of
    /// evenness. Masters that come up one after another, as in a rolling upgrade, move fewer shards so.
    pub settle: Duration,
    /// How long a free shard is left to the master that is to have it before any other takes it.
    pub grace: Duration,
    /// How long a master may not reach Mesos before its shards go to others that do; none is for ever.
    pub mesos_away: Option<Duration>,
}

impl Default for Sharing {
    fn default() -> Self {
        Self {
            settle: Duration::from_secs(2),
            grace: Duration::from_secs(2),
            mesos_away: Some(Duration::from_secs(10)),
        }
    }
}

/// All shards of one master.
#[derive(Debug)]
pub struct Node {
    cluster: watch::Receiver<ClusterMap>,
    shards: Vec<watch::Receiver<ShardStatus>>,
    /// One for each shard: the tasks that wait on one channel wake up in no particular order.
    stop: Vec<watch::Sender<bool>>,
    runners: JoinSet<()>,
    lease_stop: watch::Sender<bool>,
    lease: JoinHandle<()>,
}

impl Node {
    /// Starts running shards. To be called inside a tokio runtime.
    #[must_use]
    pub fn start(store: Arc<dyn Store>, options: Options) -> Self {
        Self::start_in(Environment::default(), store, options)
    }

    /// As [`Node::start`], in another environment than the real one.
    #[must_use]
    pub fn start_in(environment: Environment, store: Arc<dyn Store>, options: Options) -> Self {
        let (lease_stop, lease_stopped) = watch::channel(false);
        let cluster = watch::channel(ClusterMap::new(&options.master, options.shards)).1;
        let (held, lease) = lease::keep(store.clone(), &options, lease_stopped);
        let (options, environment) = (Arc::new(options), Arc::new(environment));
        let (mut shards, mut runners, mut stop) = (Vec::new(), JoinSet::new(), Vec::new());
        for (number, held) in (0..options.shards).zip(held) {
            let shard = ShardId(number);
            let (stop_this, stopped) = watch::channel(false);
            stop.push(stop_this);
            let fresh = ShardStatus::new(shard, environment.unix_ms());
            let (status, receiver) = watch::channel(fresh);
            shards.push(receiver);
            let runner = Runner {
                shard,
                store: store.clone(),
                options: options.clone(),
                environment: environment.clone(),
                lease: held,
                stop: stopped,
                status: Arc::new(status),
            };
            runners.spawn(guard(runner));
        }
        Self { cluster, shards, stop, runners, lease_stop, lease }
    }

    /// How each shard is.
    #[must_use]
    pub fn status(&self) -> Vec<ShardStatus> {
        self.shards.iter().map(|shard| shard.borrow().clone()).collect()
    }

    /// What this master knows of the cluster: to be looked at at any time, or waited on for changes.
    #[must_use]
    pub fn cluster(&self) -> watch::Receiver<ClusterMap> {
        self.cluster.clone()
    }

    /// The shards' statuses, to be waited on for changes.
    #[must_use]
    pub fn watch(&self) -> Vec<watch::Receiver<ShardStatus>> {
        self.shards.clone()
    }

    /// Finishes what is in hand, gives the shards up, and ends. Tasks keep running.
    pub async fn stop(mut self) {
        for stop in &self.stop {
            stop.send_replace(true);
        }
        let all = async { while self.runners.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_PATIENCE, all).await.is_err() {
            tracing::warn!("some shards did not finish in time; they go on at their next owner");
            self.runners.shutdown().await;
        }
        self.lease_stop.send_replace(true);
        let revoked = tokio::time::timeout(STOP_PATIENCE, &mut self.lease).await;
        if revoked.is_err() {
            self.lease.abort();
        }
    }
}

/// Runs a shard, and again after a panic: the lease is the whole master's, so a shard that died alone
/// would be nobody's for as long as the process lives.
async fn guard(runner: Runner) {
    loop {
        // In a set, so that it ends with us.
        let mut run = JoinSet::new();
        run.spawn(runner.clone().run());
        match run.join_next().await {
            Some(Err(error)) if error.is_panic() => {
                tracing::error!(shard = %runner.shard, %error, "a bug: the shard's task panicked");
                runner.phase(ShardPhase::Failing { why: "a bug: its task panicked".to_owned() });
                tokio::time::sleep(AFTER_PANIC).await;
            }
            _ => return,
        }
    }
}
