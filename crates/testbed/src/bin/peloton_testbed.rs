//! `peloton-testbed`: installs and runs a real Mesos from the command line.

use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use peloton_testbed::{Error, Mesos, Options, Result, binaries, setup};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Runs a real Mesos 1.11.0 on this machine, for tests and demonstrations.
#[derive(Parser)]
#[command(name = "peloton-testbed", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Installs Mesos and builds what runs beside it.
    Setup,
    /// Runs a master and agents until Ctrl-C or SIGTERM, then ends them and their tasks.
    Run {
        /// How many agents, of 4 CPUs, 4096 MB of memory and 8192 MB of disk each.
        #[arg(long, default_value_t = 3)]
        agents: usize,
        /// The master's port on 127.0.0.1.
        #[arg(long, default_value_t = 5050)]
        port: u16,
        /// Where logs, registry and sandboxes are kept; a temporary directory by default.
        #[arg(long)]
        work_dir: Option<PathBuf>,
        /// Also end when standard input ends: with whoever holds its other end, however they end.
        #[arg(long)]
        until_stdin_ends: bool,
    },
    /// Waits until standard input ends, then ends what is left of a testbed.
    #[command(hide = true)]
    Guard {
        #[arg(long)]
        mark: String,
        #[arg(long)]
        remove: Option<PathBuf>,
    },
}

#[expect(clippy::print_stderr, reason = "a program's message to its user")]
fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Setup => install(),
        Command::Run { agents, port, work_dir, until_stdin_ends } => {
            run(agents, port, work_dir, until_stdin_ends)
        }
        Command::Guard { mark, remove } => {
            guard(&mark, remove);
            Ok(())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peloton-testbed: {error}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "the program's output")]
fn install() -> Result<()> {
    setup()?;
    binaries::locate()?;
    println!("Mesos 1.11.0 is installed in {}", peloton_testbed::directory().display());
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the program's output")]
fn run(agents: usize, port: u16, work_dir: Option<PathBuf>, until_stdin_ends: bool) -> Result<()> {
    let io = |what: &str| {
        let what = what.to_owned();
        move |source| Error::Io { what, source }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(io("cannot wait for signals"))?;
    runtime.block_on(async {
        // Before the start, so that a signal during it is not lost.
        let mut interrupt =
            signal(SignalKind::interrupt()).map_err(io("cannot wait for SIGINT"))?;
        let mut terminate =
            signal(SignalKind::terminate()).map_err(io("cannot wait for SIGTERM"))?;
        let (_open, mut ended) = stdin_end(until_stdin_ends);
        let options = Options { port: Some(port), work_dir, ..Options::agents(agents) };
        let mesos = Mesos::start(&options)?;
        println!("Mesos 1.11.0 with {agents} agents runs on http://{}", mesos.address());
        println!("logs and sandboxes: {}", mesos.work_dir().display());
        println!("Ctrl-C ends it");
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = ended.recv() => {}
        }
        mesos.stop()
    })
}

/// A channel that closes when standard input ends, if it is `watched`, and never otherwise: not while
/// the sender that comes with it lives.
fn stdin_end(watched: bool) -> (Option<mpsc::Sender<()>>, mpsc::Receiver<()>) {
    let (open, ended) = mpsc::channel(1);
    if !watched {
        return (Some(open), ended);
    }
    std::thread::spawn(move || {
        let mut ignored = Vec::new();
        // An error is an end, too.
        let _ = std::io::stdin().read_to_end(&mut ignored);
        drop(open);
    });
    (None, ended)
}

fn guard(mark: &str, remove: Option<PathBuf>) {
    let mut ignored = Vec::new();
    // An error is an end, too: the starter is gone.
    let _ = std::io::stdin().read_to_end(&mut ignored);
    peloton_task_runner::mark::sweep(mark, Duration::from_secs(20));
    if let Some(directory) = remove {
        let _ = std::fs::remove_dir_all(directory);
    }
}
