//! The masters: real nodes and the API's real services, each over its own store and transport.

use crate::link::Link;
use crate::random::Random;
use crate::sim::{EPOCH_UNIX_MS, Sim, lock};
use crate::store::SimStore;
use crate::transport::SimTransport;
use peloton_api::domain::{Jobs, Records, Tasks, Upgrades};
use peloton_core::Settings;
use peloton_mesos as mesos;
use peloton_model::ShardId;
use peloton_node::{
    Environment, Inspect, Node, Options, ShardPhase, Sharing, Wrap, open_cluster_in,
};
use peloton_store::Store;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The role below which the shards have theirs.
const ROLE: &str = "peloton";

/// One process of a master.
pub(crate) struct Master {
    pub(crate) link: Arc<Link>,
    pub(crate) jobs: Arc<Jobs>,
    pub(crate) tasks: Arc<Tasks>,
    pub(crate) upgrades: Arc<Upgrades>,
    /// How far its clock is off, in milliseconds.
    pub(crate) clock_off_ms: Arc<AtomicI64>,
    /// The task that joins the cluster, then holds the node.
    node: tokio::task::JoinHandle<()>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
}

impl Master {
    /// Starts a process: the `incarnation`-th of master `number`.
    pub(crate) fn start(sim: &Arc<Sim>, number: usize, incarnation: u64) -> Self {
        let link = Arc::new(Link::new(format!("m{number}.{incarnation}")));
        let purpose = 100 + number as u64 + incarnation * 16;
        let random = Arc::new(Mutex::new(Random::new(sim.plan.seed, purpose)));
        let clock_off_ms = Arc::new(AtomicI64::new(0));
        let clock: peloton_node::Clock = {
            let (sim, off) = (sim.clone(), clock_off_ms.clone());
            Arc::new(move || {
                (EPOCH_UNIX_MS + sim.now_ms()).saturating_add_signed(off.load(Relaxed))
            })
        };
        let numbers: peloton_node::Random = Arc::new(move || lock(&random).next());
        let store: Arc<dyn Store> = SimStore::new(sim.clone(), link.clone());
        let transport =
            SimTransport::new(sim.clone(), link.clone(), Random::new(sim.plan.seed, purpose + 8));
        let environment = Environment {
            clock: clock.clone(),
            random: numbers.clone(),
            transport: Some(transport.clone()),
            probe: sim.plan.probe.then_some(transport),
            wrap: Some(wrap(sim, &link)),
            inspect: Some(inspect(sim)),
        };
        let records = Records::new(store.clone(), sim.plan.shards, clock).with_random(numbers);
        let records = Arc::new(records);
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let options = options(sim, &link.name);
        let process = Box::pin(run(sim.clone(), environment, store, options, stopped));
        let node = tokio::spawn(link.wrap(sim, process));
        let jobs = Arc::new(Jobs::new(records.clone()));
        let tasks = Arc::new(Tasks::new(records.clone()));
        let upgrades = Arc::new(Upgrades::new(records));
        Self { link, jobs, tasks, upgrades, clock_off_ms, node, stop: Some(stop) }
    }

    /// `kill -9`.
    pub(crate) fn kill(&self) {
        self.link.kill();
        self.node.abort();
    }

    /// SIGTERM: it finishes what is in hand, and ends by itself.
    pub(crate) fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // It may have ended already.
            let _ = stop.send(());
        }
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stop.is_none()
    }
}

/// A process from its start to its end.
async fn run(
    sim: Arc<Sim>,
    environment: Environment,
    store: Arc<dyn Store>,
    mut options: Options,
    mut stopped: tokio::sync::oneshot::Receiver<()>,
) {
    let shards = options.shards;
    let cluster = loop {
        match open_cluster_in(&environment, &*store, "simulated", shards).await {
            Ok(record) => break record,
            // A service manager would start the process again.
            Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
        }
    };
    options.cluster = cluster.id;
    let node = Node::start_in(environment, store, options);
    let statuses = node.watch();
    loop {
        let wait = tokio::time::sleep(Duration::from_secs(60));
        tokio::select! {
            biased;
            _ = &mut stopped => break,
            () = wait => {}
        }
        for status in &statuses {
            if let ShardPhase::Failing { why } = &status.borrow().phase
                && why.starts_with("a bug")
            {
                sim.violated(why.clone());
            }
        }
    }
    node.stop().await;
}

/// Lets each task of the process stand still with it.
fn wrap(sim: &Arc<Sim>, link: &Arc<Link>) -> Wrap {
    let (sim, link) = (sim.clone(), link.clone());
    Arc::new(move |task| link.wrap(&sim, task))
}

/// Asks each shard after each step whether it is sound.
fn inspect(sim: &Arc<Sim>) -> Inspect {
    let sim = sim.clone();
    Arc::new(move |shard| {
        if let Some(what) = shard.violations().first() {
            sim.violated(format!("a shard's invariant: {what}"));
        }
    })
}

fn options(sim: &Sim, master: &str) -> Options {
    let framework = mesos::FrameworkSettings {
        user: "root".to_owned(),
        name: ROLE.to_owned(),
        role: ROLE.to_owned(),
        principal: Some(ROLE.to_owned()),
        failover_timeout_ms: 7 * 24 * 3_600_000,
        checkpoint: true,
        hostname: None,
        webui_url: None,
        capabilities: mesos::FrameworkSettings::default_capabilities(),
    };
    Options {
        cluster: String::new(),
        master: master.to_owned(),
        address: format!("{master}:5289"),
        shards: sim.plan.shards,
        version: "0".to_owned(),
        schema: 1,
        started_at: 0,
        lease_ttl: Duration::from_millis(sim.plan.lease_ms),
        sharing: Sharing::default(),
        mesos: mesos::Options::new(vec!["mesos:5050".to_owned()], framework),
        // Agents that stay away are forgotten within the hour that is simulated.
        settings: Settings {
            forget_agent_ms: 900_000,
            #[cfg(feature = "planted-bugs")]
            bug: sim.plan.bug,
            ..Settings::new(ShardId(0), ROLE)
        },
    }
}
