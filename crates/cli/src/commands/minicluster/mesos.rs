//! The Mesos of a minicluster: the simulated one in this process, a real one, or somebody else's.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use peloton_mesos_sim_server::{Options, Server};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdin, Command};

use super::place::{self, Place};
use super::signals::Stop;
use super::{LOOK_EVERY, failed, interrupted};
use crate::args::{MesosChoice, MiniclusterArgs};
use crate::exit::{Exit, Failure};
use crate::ui::Ui;

/// For a real Mesos with its agents; a loaded machine takes ten times what a free one does.
const START_WITHIN: Duration = Duration::from_secs(120);

/// For a real Mesos to end; more than it gives to its own agents.
const END_WITHIN: Duration = Duration::from_secs(60);

/// For somebody else's Mesos to accept a connection.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// How many lines of a log are shown when its program fails.
const LOG_LINES: usize = 20;

/// What runs a real Mesos.
const TESTBED: &str = "peloton-testbed";

/// The Mesos.
pub(super) enum Mesos {
    Simulated { server: Box<Server>, address: String, agents: u16 },
    Real { testbed: Box<Testbed>, address: String, agents: u16 },
    Borrowed { address: String },
}

impl Mesos {
    /// Starts the one that was asked for; somebody else's must accept connections.
    pub(super) async fn start(
        args: &MiniclusterArgs,
        place: &Place,
        ui: Ui,
        stop: &mut Stop,
    ) -> Result<Self, Failure> {
        let agents = args.agents;
        match &args.mesos {
            MesosChoice::Simulated => {
                let port = place::mesos_port(args.mesos_port)?;
                let mut options = Options::agents(usize::from(agents));
                options.port = port;
                options.work_dir = Some(place.join("mesos"));
                let server = Server::start(options).await.map_err(failed)?;
                let address = server.address();
                Ok(Self::Simulated { server: Box::new(server), address, agents })
            }
            MesosChoice::Real => {
                let port = match place::mesos_port(args.mesos_port)? {
                    0 => place::free_port()?,
                    port => port,
                };
                let testbed = Testbed::start(port, agents, place, ui, stop).await?;
                Ok(Self::Real {
                    testbed: Box::new(testbed),
                    address: format!("127.0.0.1:{port}"),
                    agents,
                })
            }
            MesosChoice::At(address) => {
                let connected = tokio::time::timeout(ANSWERS_WITHIN, TcpStream::connect(address));
                let why = match connected.await {
                    Ok(Ok(_)) => return Ok(Self::Borrowed { address: address.clone() }),
                    Ok(Err(error)) => error.to_string(),
                    Err(_) => "no answer".to_owned(),
                };
                Err(Failure::new(Exit::Unreachable, format!("no Mesos at {address}: {why}"))
                    .hint("without --mesos there is a simulated one"))
            }
        }
    }

    /// Where its master is.
    pub(super) fn address(&self) -> &str {
        match self {
            Self::Simulated { address, .. }
            | Self::Real { address, .. }
            | Self::Borrowed { address } => address,
        }
    }

    /// What it is, for people.
    pub(super) fn described(&self) -> String {
        match self {
            Self::Simulated { agents, .. } => {
                format!("simulated, {agents} agents; tasks are processes of this machine")
            }
            Self::Real { agents, .. } => format!("real, {agents} agents on this machine"),
            Self::Borrowed { .. } => "it was there".to_owned(),
        }
    }

    /// Whether it is somebody else's.
    pub(super) fn is_borrowed(&self) -> bool {
        matches!(self, Self::Borrowed { .. })
    }

    /// Returns when it ended although nobody asked it to.
    pub(super) async fn ended(&mut self) -> Failure {
        match self {
            Self::Real { testbed, .. } => testbed.ended().await,
            // In this process, or not ours: masters say in their health what is wrong with it.
            Self::Simulated { .. } | Self::Borrowed { .. } => std::future::pending().await,
        }
    }

    /// Ends it and its tasks, if it is ours.
    pub(super) async fn stop(self) -> Result<(), Failure> {
        match self {
            Self::Simulated { server, .. } => server.stop().await.map_err(failed),
            Self::Real { testbed, .. } => testbed.stop().await,
            Self::Borrowed { .. } => Ok(()),
        }
    }
}

/// A real Mesos, as a child process. It ends when its standard input does, so that it does not
/// outlive us however we end.
pub(super) struct Testbed {
    child: Child,
    input: Option<ChildStdin>,
    log: PathBuf,
}

impl Testbed {
    async fn start(
        port: u16,
        agents: u16,
        place: &Place,
        ui: Ui,
        stop: &mut Stop,
    ) -> Result<Self, Failure> {
        let program = testbed_program()?;
        ui.note("Mesos: on first use it is installed, which takes a minute or two");
        let mut setup = Command::new(&program);
        setup.arg("setup").stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        let set_up = tokio::select! {
            status = setup.status() => status.map_err(failed)?,
            () = stop.asked() => return Err(interrupted()),
        };
        if !set_up.success() {
            return Err(failed(format!("{TESTBED} setup: {set_up}"))
                .hint("what it wrote is above; without --mesos there is a simulated Mesos"));
        }
        let log = place.join("mesos.log");
        let output = File::create(&log).map_err(failed)?;
        let mut run = Command::new(&program);
        run.args(["run", "--until-stdin-ends", "--agents", &agents.to_string()]);
        run.args(["--port", &port.to_string()]).arg("--work-dir").arg(place.join("mesos"));
        run.stdin(Stdio::piped()).stdout(output.try_clone().map_err(failed)?).stderr(output);
        // Ctrl-C is for us; it ends after the masters.
        run.process_group(0);
        let mut child = run.spawn().map_err(failed)?;
        let mut testbed = Self { input: child.stdin.take(), child, log };
        match testbed.wait_until_up(stop).await {
            Ok(()) => Ok(testbed),
            Err(failure) => {
                let _first_failure_counts = testbed.stop().await;
                Err(failure)
            }
        }
    }

    async fn wait_until_up(&mut self, stop: &Stop) -> Result<(), Failure> {
        let deadline = Instant::now() + START_WITHIN;
        while !self.log_text().contains("runs on http://") {
            if let Some(status) = self.child.try_wait().map_err(failed)? {
                return Err(failed(format!("Mesos: {status}; it says:\n{}", self.log_tail())));
            }
            if stop.is_asked() {
                return Err(interrupted());
            }
            if Instant::now() >= deadline {
                let waited = START_WITHIN.as_secs();
                let tail = self.log_tail();
                return Err(failed(format!("Mesos: not up after {waited} s; it says:\n{tail}")));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    fn log_text(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    fn log_tail(&self) -> String {
        let text = self.log_text();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }

    async fn ended(&mut self) -> Failure {
        match self.child.wait().await {
            Ok(status) => failed(format!("Mesos: {status}; it says:\n{}", self.log_tail())),
            Err(error) => failed(format!("Mesos: {error}")),
        }
    }

    async fn stop(mut self) -> Result<(), Failure> {
        drop(self.input.take());
        match tokio::time::timeout(END_WITHIN, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => {
                Err(failed(format!("Mesos: {status}; it says:\n{}", self.log_tail())))
            }
            Ok(Err(error)) => Err(failed(format!("Mesos: {error}"))),
            Err(_) => {
                // Its own guard ends what is left.
                let _gone = self.child.kill().await;
                Err(failed(format!("Mesos did not end within {} s", END_WITHIN.as_secs())))
            }
        }
    }
}

/// The program beside this one, or on the path.
fn testbed_program() -> Result<PathBuf, Failure> {
    let myself = std::env::current_exe().ok();
    let beside = myself.as_deref().and_then(Path::parent).map(Path::to_path_buf);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut candidates = beside
        .into_iter()
        .chain(std::env::split_paths(&path))
        .map(|directory| directory.join(TESTBED));
    candidates.find(|path| path.is_file()).ok_or_else(|| {
        failed(format!("--mesos real: {TESTBED} is neither beside this program nor in PATH"))
            .hint("`cargo xtask build` in the source tree puts both into bin/")
    })
}
