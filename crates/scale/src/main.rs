//! The scale benchmark: one master, the simulated Mesos with tens of thousands of agents, and a
//! client, as three processes that talk through their protocols.
//!
//! Jobs are created until the cluster has so many instances; when all run, the master is killed and
//! started again on its store; then the jobs are stopped, and deleted. Meanwhile a client reads and
//! writes as users would, and its latencies are kept. What each process costs comes from the system:
//! processor time and memory, before, during and after. The figures are printed as a table; nothing is
//! asserted but that everything ran and ended.

#![expect(clippy::print_stdout, reason = "a benchmark's figures are its output")]

mod cluster;
mod jobs;
mod probe;
mod report;
mod usage;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;
use cluster::Cluster;
use jobs::Jobs;
use report::Phase;
use std::path::PathBuf;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// A cluster's shards by default.
const SHARDS: u16 = 8;

/// Measures a master with many agents and instances.
#[derive(Debug, Clone, Parser)]
struct Args {
    /// Simulated agents.
    #[arg(long, default_value_t = 50_000)]
    agents: u32,
    /// Instances over all jobs.
    #[arg(long, default_value_t = 1_000_000)]
    instances: u32,
    /// Jobs that they are spread over.
    #[arg(long, default_value_t = 100)]
    jobs: u32,
    /// Batch jobs instead of services: they run on unreserved resources.
    #[arg(long)]
    batch: bool,
    /// Where the programs `peloton-master` and `mesos-sim` are; beside this one if absent.
    #[arg(long)]
    bin: Option<PathBuf>,
    /// How long each phase may take, in seconds.
    #[arg(long, default_value_t = 1_800)]
    patience_secs: u64,
    /// Where the store and logs go, to be kept; a temporary directory if absent.
    #[arg(long)]
    dir: Option<PathBuf>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    // The client must not compete with what it measures more than it has to.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        // Either way the cluster is dropped, which ends its processes.
        tokio::select! {
            done = run(&args) => done,
            _ = terminate.recv() => bail!("SIGTERM"),
            _ = interrupt.recv() => bail!("interrupted"),
        }
    })
}

async fn run(args: &Args) -> Result<()> {
    println!(
        "{} agents, {} instances in {} {} jobs",
        args.agents,
        args.instances,
        args.jobs,
        if args.batch { "batch" } else { "service" }
    );
    let patience = Duration::from_secs(args.patience_secs);
    let mut cluster = Cluster::start(args).await.context("the cluster")?;
    let jobs = Jobs::new(cluster.client()?, args);
    let empty = cluster.usage()?;

    let mut phases = Vec::new();
    let mut phase = Phase::begin("launch", &cluster)?;
    let probe = probe::start(cluster.client()?);
    jobs.create().await.context("creating the jobs")?;
    phase.requested();
    let target = u64::from(args.instances);
    phase.follow(&mut cluster, patience, "running", target, || jobs.running()).await?;
    phases.push(phase.end(&cluster, probe.stop().await)?);
    let full = cluster.usage()?;

    let mut phase = Phase::begin("idle, all running", &cluster)?;
    let probe = probe::start(cluster.client()?);
    phase.requested();
    tokio::time::sleep(Duration::from_secs(30)).await;
    phases.push(phase.end(&cluster, probe.stop().await)?);

    if !args.batch {
        let mut phase = Phase::begin("upgrade", &cluster)?;
        let calls = cluster.mesos_calls().await?;
        let probe = probe::start(cluster.client()?);
        jobs.upgrade().await.context("upgrading the jobs")?;
        phase.requested();
        phase.follow(&mut cluster, patience, "upgraded", target, || jobs.upgraded()).await?;
        phases.push(phase.end(&cluster, probe.stop().await)?);
        let calls = cluster.mesos_calls().await?.saturating_sub(calls);
        report::print_calls("upgrade", calls, target);
    }

    cluster.restart_master().context("starting the master again")?;
    let client = cluster.client()?;
    let mut phase = Phase::begin("kill -9 and start again", &cluster)?;
    phase.requested();
    let served = || Cluster::shards_served(&client);
    phase.follow(&mut cluster, patience, "shards served", u64::from(SHARDS), served).await?;
    let running = jobs.running().await?;
    ensure!(running == target, "only {running} of {target} run after the master's restart");
    phases.push(phase.end(&cluster, Default::default())?);
    let again = cluster.usage()?;

    let mut phase = Phase::begin("stop", &cluster)?;
    let probe = probe::start(cluster.client()?);
    jobs.stop().await.context("stopping the jobs")?;
    phase.requested();
    phase.follow(&mut cluster, patience, "stopped", target, || jobs.stopped()).await?;
    phases.push(phase.end(&cluster, probe.stop().await)?);

    let mut phase = Phase::begin("delete", &cluster)?;
    let probe = probe::start(cluster.client()?);
    jobs.delete().await.context("deleting the jobs")?;
    phase.requested();
    phase
        .follow(&mut cluster, patience, "deleted", u64::from(args.jobs), || jobs.deleted())
        .await?;
    phases.push(phase.end(&cluster, probe.stop().await)?);

    report::print(&phases, &empty, &full, &again, target);
    cluster.stop().await
}
