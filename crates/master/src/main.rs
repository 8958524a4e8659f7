//! `peloton-master`: wiring only. Configuration in; store, shards and API started in that order;
//! on SIGTERM or SIGINT ended in the reverse one.

mod args;
mod health;
mod metrics;
mod view;

use anyhow::{Context as _, Result};
use args::Args;
use clap::Parser as _;
use peloton_api::{Api, ApiServer};
use peloton_config::{LogFormat, MasterConfig, Sources, StoreType};
use peloton_core::Settings;
use peloton_mesos as mesos;
use peloton_model::ShardId;
use peloton_node::{Node, open_cluster};
use peloton_store::Store;
use peloton_store_embedded::EmbeddedStore;
use peloton_telemetry::{BuildInfo, Health, LogOptions, LogOutput, Metrics};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How long shards stay with a master that is not heard of.
const LEASE_TTL: Duration = Duration::from_secs(5);

/// What this build is.
fn build() -> BuildInfo {
    BuildInfo {
        program: "peloton-master".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        revision: option_env!("PELOTON_REVISION").unwrap_or("unknown").to_owned(),
    }
}

#[expect(clippy::print_stderr, reason = "errors at the start come before there is a log")]
fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peloton-master: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "--check-config is asked for its output")]
fn run(args: &Args) -> Result<()> {
    let mut sources = Sources::from_process(args.flags());
    if let Some(dir) = &args.config_dir {
        sources.dir = Some(dir.clone());
    }
    let loaded = peloton_config::load(&sources)?;
    if args.check_config {
        print!("{}", loaded.effective.render());
        return Ok(());
    }
    let config = loaded.config;
    peloton_telemetry::init_logging(&log_options(&config)).context("logging")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(serve(config));
    // Blocking readers of the store may still hold a thread; nothing of theirs is waited for.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

fn log_options(config: &MasterConfig) -> LogOptions {
    LogOptions {
        directives: config.logging.level.clone(),
        format: match config.logging.format {
            LogFormat::Text => peloton_telemetry::LogFormat::Text,
            LogFormat::Json => peloton_telemetry::LogFormat::Json,
        },
        output: if config.logging.stdout { LogOutput::Stdout } else { LogOutput::Stderr },
    }
}

async fn serve(config: MasterConfig) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let started_at = unix_ms();
    let metrics = Metrics::new(&build());
    let health = Health::new();
    metrics.register_collector(health.collector());
    let store = open_store(&config)?;
    let shards = u16::try_from(config.cluster.shards).context("cluster.shards")?;
    let cluster = open_cluster(&*store, &config.cluster.name, shards).await?;

    let (stop, stopped) = watch::channel(false);
    let master = master_id();
    let view = view::View::new(&config, &master, started_at, store.clone());
    let clock: peloton_api::domain::Clock = Arc::new(unix_ms);
    let api = Api::new(store.clone(), shards, clock, Arc::new(view.clone()), &metrics);
    let api_options = peloton_api::Options {
        listen: config.master.listen.to_string(),
        port: config.master.port,
        max_request_bytes: config.master.max_request_bytes,
        drain_timeout: config.master.shutdown_timeout(),
        ..Default::default()
    };
    let (server, address) =
        ApiServer::bind(api_options, api, health.clone(), metrics.clone(), build()).await?;
    tracing::info!(%address, master, cluster = config.cluster.name, "serving the API");

    let mut options = node_options(&config, &master, &address.to_string(), shards);
    options.cluster = cluster.id;
    let node = Node::start(store.clone(), options);
    view.attach(node.watch());
    let gauges = metrics::Gauges::new(&metrics);
    let reporters = health::Reporters::new(&health);
    let watching = tokio::spawn(health::watch(view, reporters, gauges, stopped.clone()));
    let serving = tokio::spawn(server.serve(until(stopped)));

    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: finishing what is in hand"),
        _ = interrupt.recv() => tracing::info!("interrupted: finishing what is in hand"),
    }
    stop.send_replace(true);
    serving.await.context("the API")?;
    node.stop().await;
    watching.await.context("the health watch")?;
    store.close().await;
    tracing::info!("stopped; tasks keep running");
    Ok(())
}

async fn until(mut stopped: watch::Receiver<bool>) {
    let _gone = stopped.wait_for(|stop| *stop).await.is_err();
}

fn open_store(config: &MasterConfig) -> Result<Arc<dyn Store>> {
    match config.store.kind {
        StoreType::Embedded => {
            let path = &config.store.path;
            let options = peloton_store_embedded::Options::new(path.clone());
            let store = EmbeddedStore::open(options)
                .with_context(|| format!("store.path {}", path.display()))?;
            Ok(Arc::new(store))
        }
        StoreType::Etcd => anyhow::bail!("store.type: etcd is not in this build: use embedded"),
    }
}

fn node_options(
    config: &MasterConfig,
    master: &str,
    address: &str,
    shards: u16,
) -> peloton_node::Options {
    let framework = &config.mesos.framework;
    let settings = mesos::FrameworkSettings {
        user: framework.user.clone(),
        name: framework.name.clone(),
        role: framework.role.clone(),
        principal: Some(framework.principal.clone()).filter(|p| !p.is_empty()),
        failover_timeout_ms: framework.failover_timeout.saturating_mul(1000),
        checkpoint: framework.checkpoint,
        hostname: None,
        webui_url: None,
        capabilities: mesos::FrameworkSettings::default_capabilities(),
    };
    let masters = config.mesos.addresses().iter().map(ToString::to_string).collect();
    let credential = framework.secret.as_ref().map(|secret| mesos::Credential {
        principal: framework.principal.clone(),
        secret: secret.reveal().to_owned(),
    });
    let mut core = Settings::new(ShardId(0), &framework.role);
    core.unreachable_replace_ms = config.agents.unreachable_replace_secs.saturating_mul(1000);
    core.mass_unreachable_percent = u32::from(config.agents.mass_unreachable_percent);
    peloton_node::Options {
        cluster: String::new(),
        master: master.to_owned(),
        address: address.to_owned(),
        shards,
        lease_ttl: LEASE_TTL,
        mesos: mesos::Options {
            api_path: config.mesos.api_path.clone(),
            credential,
            ..mesos::Options::new(masters, settings)
        },
        settings: core,
    }
}

/// An id for this process: the host, and when it started, so that it is new with each start.
fn master_id() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = if host.trim().is_empty() { "master" } else { host.trim() };
    format!("{host}-{}-{}", std::process::id(), unix_ms())
}

/// The time in Unix milliseconds.
fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
