//! All shards of one master.

use crate::environment::{Environment, MesosProbe};
use crate::join::{Intent, Joiner};
use crate::lease::{Held, Keeper};
use crate::map::ClusterMap;
use crate::members::Members;
use crate::orders::Standing;
use crate::ownership::Ownership;
use crate::reach::{self, Links};
use crate::runner::Runner;
use crate::status::{ShardPhase, ShardStatus};
use peloton_core::Settings;
use peloton_mesos as mesos;
use peloton_model::{ShardId, UnixMs};
use peloton_store::Store;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

/// How long a stop waits for what is in hand to become durable and leave.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// How long a stop waits until the others can know of it. The shards are given up all the same, only who
/// takes them is then not known before the lease is given back.
const TELL_PATIENCE: Duration = Duration::from_millis(250);

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
    /// Says that the master stops; then it is told when all others can know.
    leave: watch::Sender<bool>,
    left: watch::Receiver<bool>,
    /// One for each shard: the tasks that wait on one channel wake up in no particular order.
    stop: Vec<watch::Sender<bool>>,
    runners: JoinSet<()>,
    /// What keeps the membership, until the end.
    helpers: JoinSet<()>,
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
    pub fn start_in(mut environment: Environment, store: Arc<dyn Store>, options: Options) -> Self {
        if environment.transport.is_none() && environment.probe.is_none() {
            // Options that make no probe make no client either, and each shard says so.
            let probe = mesos::Probe::new(&options.mesos).ok();
            environment.probe = probe.map(|probe| Arc::new(probe) as Arc<dyn MesosProbe>);
        }
        let shards = options.shards;
        let (lease_stop, lease_stopped) = watch::channel(false);
        let (keeper, mut held) = Keeper::new(store.clone(), &options, usize::from(shards) + 2);
        let lease = tokio::spawn(environment.wrapped(keeper.run(lease_stopped)));
        let mut listener = || held.pop().unwrap_or_else(|| watch::channel(None).1);
        let (members, cluster, standings) = Members::new(store.clone(), &options, listener());
        let (links, news) = mpsc::unbounded_channel();
        let (intent, meant) = watch::channel(Intent::default());
        let (leave, leaving) = watch::channel(false);
        let (told, left) = watch::channel(false);
        let common =
            Common { store, options: Arc::new(options), environment: Arc::new(environment), links };
        let joiner = Joiner {
            store: common.store.clone(),
            options: common.options.clone(),
            environment: common.environment.clone(),
            lease: listener(),
            intent: meant,
            stop: leaving,
            left: told,
        };
        let (of, options) = (common.environment.clone(), common.options.clone());
        let reach = reach::watch(of.clone(), options, news, cluster.clone(), intent);
        let mut helpers = JoinSet::new();
        helpers.spawn(of.wrapped(members.run()));
        helpers.spawn(of.wrapped(joiner.run()));
        helpers.spawn(of.wrapped(reach));

        let (mut statuses, mut runners, mut stop) = (Vec::new(), JoinSet::new(), Vec::new());
        for (number, standing) in (0..shards).zip(standings) {
            let (stop_this, stopped) = watch::channel(false);
            let (runner, status) = common.runner(ShardId(number), listener(), standing, stopped);
            stop.push(stop_this);
            statuses.push(status);
            runners.spawn(of.wrapped(guard(runner)));
        }
        Self { cluster, shards: statuses, leave, left, stop, runners, helpers, lease_stop, lease }
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

    /// Says that it stops, so that the others know who takes what; finishes what is in hand and gives each
    /// shard up as it is ready; gives the lease back, and ends. Tasks keep running.
    pub async fn stop(mut self) {
        self.leave.send_replace(true);
        let known = self.left.wait_for(|left| *left);
        if tokio::time::timeout(TELL_PATIENCE, known).await.is_err() {
            tracing::warn!("the others could not be told that this master stops");
        }
        for stop in &self.stop {
            stop.send_replace(true);
        }
        let all = async { while self.runners.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_PATIENCE, all).await.is_err() {
            tracing::warn!("some shards did not finish in time; they go on at their next owner");
            self.runners.shutdown().await;
        }
        // From here on the membership would only be in the way.
        self.helpers.abort_all();
        self.lease_stop.send_replace(true);
        let revoked = tokio::time::timeout(STOP_PATIENCE, &mut self.lease).await;
        if revoked.is_err() {
            self.lease.abort();
        }
    }
}

/// What all shards of a master have in common.
struct Common {
    store: Arc<dyn Store>,
    options: Arc<Options>,
    environment: Arc<Environment>,
    links: Links,
}

impl Common {
    /// What runs a shard, and where it tells how the shard is.
    fn runner(
        &self,
        shard: ShardId,
        lease: watch::Receiver<Option<Held>>,
        standing: watch::Receiver<Standing>,
        stop: watch::Receiver<bool>,
    ) -> (Runner, watch::Receiver<ShardStatus>) {
        let fresh = ShardStatus::new(shard, self.environment.unix_ms());
        let (status, receiver) = watch::channel(fresh);
        let ownership = Ownership {
            shard,
            store: self.store.clone(),
            options: self.options.clone(),
            environment: self.environment.clone(),
            lease: lease.clone(),
        };
        let runner = Runner {
            shard,
            store: self.store.clone(),
            options: self.options.clone(),
            environment: self.environment.clone(),
            ownership,
            lease,
            standing,
            stop,
            status: Arc::new(status),
            links: self.links.clone(),
        };
        (runner, receiver)
    }
}

/// Runs a shard, and again after a panic: the lease is the whole master's, so a shard that died alone
/// would be nobody's for as long as the process lives.
async fn guard(runner: Runner) {
    let environment = runner.environment.clone();
    loop {
        // In a set, so that it ends with us.
        let mut run = JoinSet::new();
        run.spawn(environment.wrapped(runner.clone().run()));
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
