//! `peloton-master`: flags, logging and signals around the library.

mod args;

use anyhow::{Context as _, Result};
use args::Args;
use clap::Parser as _;
use peloton_config::{LogFormat, MasterConfig, Sources};
use peloton_master::Master;
use peloton_telemetry::{LogOptions, LogOutput};
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Messages of all sizes are made and dropped by many threads; the system's allocator takes twice the
/// memory for that, and more time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
        ..LogOptions::default()
    }
}

async fn serve(config: MasterConfig) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut master = Master::start(config, None).await?;
    let failed = tokio::select! {
        biased;
        _ = terminate.recv() => {
            tracing::info!("SIGTERM: finishing what is in hand");
            Ok(())
        }
        _ = interrupt.recv() => {
            tracing::info!("interrupted: finishing what is in hand");
            Ok(())
        }
        error = master.failed() => Err(error),
    };
    master.stop().await?;
    tracing::info!("stopped; tasks keep running");
    Ok(failed?)
}
