//! The processes: a simulated Mesos and a master, on free ports of this machine.

use crate::Args;
use crate::usage::{self, Usages};
use anyhow::{Context as _, Result, bail, ensure};
use peloton_client::{Client, Options};
use peloton_proto::peloton::cluster::Connection;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::time::sleep;

/// For a process to answer after its start: tens of thousands of agents have to register.
const START_WITHIN: Duration = Duration::from_secs(120);

/// For a process to end after SIGTERM.
const STOP_WITHIN: Duration = Duration::from_secs(30);

/// The processes under measurement. Dropping it ends them.
pub(crate) struct Cluster {
    simulator: Child,
    master: Child,
    /// How the master is started.
    start_master: Command,
    address: String,
    dir: PathBuf,
    _temporary: Option<TempDir>,
}

impl Cluster {
    pub(crate) async fn start(args: &Args) -> Result<Self> {
        let bin = match &args.bin {
            Some(bin) => bin.clone(),
            None => std::env::current_exe()?.parent().context("no directory")?.to_owned(),
        };
        let (dir, temporary) = match &args.dir {
            Some(dir) => (dir.clone(), None),
            None => {
                let made = tempfile::Builder::new().prefix("peloton-scale-").tempdir()?;
                (made.path().to_owned(), Some(made))
            }
        };
        std::fs::create_dir_all(&dir).with_context(|| format!("{}", dir.display()))?;
        let (mesos_port, port) = (free_port()?, free_port()?);
        let mut simulator = Command::new(bin.join("mesos-sim"));
        simulator.args(["--port", &mesos_port.to_string(), "--fake", &args.agents.to_string()]);
        simulator.arg("--work-dir").arg(dir.join("mesos"));
        let simulator = spawn(&mut simulator, &dir.join("mesos.log"))?;
        let mut master = Command::new(bin.join("peloton-master"));
        master.args(["--port", &port.to_string(), "--mesos", &format!("127.0.0.1:{mesos_port}")]);
        master.arg("--store").arg(dir.join("store"));
        master.args(["--set", "logging.level=warn"]);
        let mut start_master = master;
        let master = spawn(&mut start_master, &dir.join("master.log"))?;
        let address = format!("127.0.0.1:{port}");
        let mut cluster =
            Self { simulator, master, start_master, address, dir, _temporary: temporary };
        cluster.wait_until_it_answers().await?;
        Ok(cluster)
    }

    async fn wait_until_it_answers(&mut self) -> Result<()> {
        let client = self.client()?;
        let deadline = Instant::now() + START_WITHIN;
        loop {
            self.check()?;
            let asked = client.cluster().get_status(Default::default()).await;
            let problem = match asked {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            ensure!(Instant::now() < deadline, "the master does not answer: {problem}");
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Kills the master as a crash would, and starts another on its store.
    pub(crate) fn restart_master(&mut self) -> Result<()> {
        self.master.kill()?;
        self.master.wait()?;
        self.master = spawn(&mut self.start_master, &self.dir.join("master.log"))?;
        Ok(())
    }

    /// The shards that the master runs with all their state, subscribed and reconciled. None while it
    /// does not answer yet.
    pub(crate) async fn shards_served(client: &Client) -> Result<u64> {
        let Ok(answer) = client.cluster().get_status(Default::default()).await else {
            return Ok(0);
        };
        let shards = answer.result.unwrap_or_default().shards;
        let served = shards.iter().filter(|s| s.connection == i32::from(Connection::Subscribed));
        Ok(served.count() as u64)
    }

    /// How many calls Mesos has taken from the master since it began.
    pub(crate) async fn mesos_calls(&self) -> Result<u64> {
        let address = self.address.clone();
        let text = tokio::task::spawn_blocking(move || metrics(&address)).await??;
        let of_shard = |line: &&str| line.starts_with("peloton_mesos_calls{");
        let value = |line: &str| line.rsplit(' ').next()?.parse::<f64>().ok();
        let all = text.lines().filter(of_shard).filter_map(value);
        Ok(all.sum::<f64>() as u64)
    }

    /// A client of its own connections.
    pub(crate) fn client(&self) -> Result<Client> {
        let masters = vec![self.address.clone()];
        Ok(Client::new(Options { masters, ..Default::default() })?)
    }

    /// Whether all processes still run; an error says which ended, and where its log is.
    pub(crate) fn check(&mut self) -> Result<()> {
        for (name, child) in [("mesos", &mut self.simulator), ("master", &mut self.master)] {
            if let Some(status) = child.try_wait()? {
                let log = std::fs::read_to_string(self.dir.join(format!("{name}.log")));
                let log = log.unwrap_or_default();
                let end: Vec<_> = log.lines().rev().take(10).collect();
                bail!("{name} ended with {status}; its log, last line first:\n{}", end.join("\n"));
            }
        }
        Ok(())
    }

    pub(crate) fn usage(&self) -> Result<Usages> {
        Ok(Usages {
            master: usage::of(self.master.id())?,
            simulator: usage::of(self.simulator.id())?,
            client: usage::of(std::process::id())?,
        })
    }

    /// The bytes of the store's files.
    pub(crate) fn store_bytes(&self) -> u64 {
        size(&self.dir.join("store"))
    }

    /// Ends all in order, as an operator would.
    pub(crate) async fn stop(mut self) -> Result<()> {
        end(&mut self.master).await.context("peloton-master")?;
        end(&mut self.simulator).await.context("mesos-sim")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in [&mut self.master, &mut self.simulator] {
            // One that has ended already cannot be killed, which is fine.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Waits as a task, so that our connections are closed when the master asks for it.
async fn end(child: &mut Child) -> Result<()> {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        kill_process(pid, Signal::TERM)?;
    }
    let deadline = Instant::now() + STOP_WITHIN;
    while child.try_wait()?.is_none() {
        ensure!(Instant::now() < deadline, "did not end within {STOP_WITHIN:?} of SIGTERM");
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// The master's metrics. Its server closes the connection behind them.
fn metrics(address: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

fn spawn(command: &mut Command, log: &Path) -> Result<Child> {
    let file = File::create(log).with_context(|| format!("{}", log.display()))?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    let program = command.get_program().to_owned();
    let hint = "build it first, or use `cargo xtask scale`";
    command.spawn().with_context(|| format!("cannot start {}: {hint}", program.display()))
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn size(path: &Path) -> u64 {
    if let Ok(entries) = std::fs::read_dir(path) {
        return entries.flatten().map(|entry| size(&entry.path())).sum();
    }
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}
