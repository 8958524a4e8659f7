//! A demo cluster: a real Mesos and one master, with everything they write below `.peloton/demo`.
//!
//! The master is kept alive as a supervisor of services would do it: whoever kills it can watch the
//! tasks go on, and the next master take them over.

use crate::process::{Daemon, POLL_INTERVAL};
use crate::signals::Stop;
use crate::workspace::root;
use crate::{process, programs};
use anyhow::{Context as _, Result, bail};
use std::fs::{self, File, TryLockError};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The port of Mesos's master, and of ours, when they are free.
const MESOS_PORT: u16 = 5050;
const MASTER_PORT: u16 = 5289;

/// How many agents there are, so that spreading ten instances has something to show.
const AGENTS: u32 = 4;

/// For Mesos with its agents, and for our master; a loaded machine takes ten times what a free one
/// does, which is seconds.
const START_WITHIN: Duration = Duration::from_secs(120);

/// How long a killed master stays away, so that one sees that nobody needs it.
const RESTART_AFTER: Duration = Duration::from_secs(3);

/// A master that ends more often than this does not end because somebody tried it out.
const MAX_RESTARTS: u32 = 100;

/// The cluster; it ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Cluster {
    // In the order in which they end: the master first, as it would complain about a lost Mesos.
    master: Daemon,
    testbed: Daemon,
    /// Port of Mesos's master.
    pub(crate) mesos_port: u16,
    /// Port of our API.
    pub(crate) port: u16,
    directory: PathBuf,
    down_since: Option<Instant>,
    restarts: u32,
    keep: bool,
    /// Of the directory; the system lets go of it with the process.
    _lock: File,
}

impl Cluster {
    /// Starts Mesos and a master; `bin/` has to be there. `keep` leaves the directory behind.
    pub(crate) fn start(keep: bool, stop: &Stop) -> Result<Self> {
        let directory = root().join(".peloton/demo");
        let lock = claim(&directory)?;
        println!("Mesos: installed on first use, which takes a minute or two");
        process::run(Command::new(programs::path("peloton-testbed")).arg("setup"))?;

        let mesos_port = port_near(MESOS_PORT)?;
        let mut testbed = Command::new(programs::path("peloton-testbed"));
        testbed.args(["run", "--agents", &AGENTS.to_string(), "--port", &mesos_port.to_string()]);
        testbed.arg("--work-dir").arg(directory.join("mesos"));
        let log = directory.join("mesos.log");
        let mut testbed = Daemon::start("Mesos (peloton-testbed run)", &mut testbed, &log)?;
        let serving = |log: &str| log.contains("runs on http://");
        testbed.wait_until("ready", START_WITHIN, stop, serving)?;
        println!("Mesos: http://127.0.0.1:{mesos_port} with {AGENTS} agents");

        let port = port_near(MASTER_PORT)?;
        let master = start_master(&directory, mesos_port, port)?;
        let mut cluster = Self {
            master,
            testbed,
            mesos_port,
            port,
            directory,
            down_since: None,
            restarts: 0,
            keep,
            _lock: lock,
        };
        cluster.wait_for_master(stop)?;
        println!("peloton-master: http://127.0.0.1:{port} (process {})", cluster.master.pid());
        Ok(cluster)
    }

    fn wait_for_master(&mut self, stop: &Stop) -> Result<()> {
        let mut ask = self.peloton();
        ask.args(["cluster", "status"]).stdout(Stdio::null()).stderr(Stdio::null());
        self.master.wait_until("ready", START_WITHIN, stop, |_| {
            ask.status().is_ok_and(|status| status.success())
        })
    }

    /// The command line, for this cluster.
    pub(crate) fn peloton(&self) -> Command {
        let mut command = Command::new(programs::path("peloton"));
        command.current_dir(root()).env("PELOTON_MASTERS", format!("127.0.0.1:{}", self.port));
        command
    }

    /// Whether both ports are the usual ones, so that nothing needs to be told where they are.
    pub(crate) fn is_on_usual_ports(&self) -> bool {
        self.port == MASTER_PORT && self.mesos_port == MESOS_PORT
    }

    /// Has to be called every now and then: starts the master again after somebody killed it, and
    /// tells when Mesos ended.
    pub(crate) fn tend(&mut self) -> Result<()> {
        if let Some(status) = self.testbed.ended()? {
            bail!("Mesos ended: {status}; its log ends so:\n{}", self.testbed.log_tail());
        }
        let Some(status) = self.master.ended()? else { return Ok(()) };
        match self.down_since {
            None => {
                println!("[demo] peloton-master ended ({status}); the tasks run on");
                self.down_since = Some(Instant::now());
                self.restarts += 1;
            }
            Some(_) if self.restarts > MAX_RESTARTS => {
                bail!("the master ends again and again; its log:\n{}", self.master.log_tail());
            }
            Some(since) if since.elapsed() >= RESTART_AFTER => {
                self.master = start_master(&self.directory, self.mesos_port, self.port)?;
                self.down_since = None;
                println!("[demo] peloton-master started again (process {})", self.master.pid());
            }
            Some(_) => {}
        }
        Ok(())
    }

    /// Tends until a signal comes.
    pub(crate) fn stay(&mut self, stop: &Stop) -> Result<()> {
        while !stop.asked() {
            self.tend()?;
            std::thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    /// Ends everything; an error if the master or Mesos did not end well.
    pub(crate) fn stop(mut self) -> Result<()> {
        let master = self.master.stop()?;
        let mesos = self.testbed.stop()?;
        if self.down_since.is_none() && !master.success() {
            self.keep = true;
            bail!("peloton-master ended with {master}; its log:\n{}", self.master.log_tail());
        }
        if !mesos.success() {
            self.keep = true;
            bail!("Mesos ended with {mesos}; its log:\n{}", self.testbed.log_tail());
        }
        Ok(())
    }

    /// Leaves logs, store and sandboxes behind when the cluster ends, and says where.
    pub(crate) fn keep(&mut self) -> PathBuf {
        self.keep = true;
        self.directory.clone()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Before the directory goes; the fields that are dropped later have ended then.
        let _master = self.master.stop();
        let _mesos = self.testbed.stop();
        if !self.keep {
            let _ignored = fs::remove_dir_all(&self.directory);
        }
    }
}

/// Makes the directory, empty, and ours alone.
fn claim(directory: &std::path::Path) -> Result<File> {
    let parent = directory.parent().unwrap_or(directory);
    fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    let path = parent.join("demo.lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let lock = file.with_context(|| format!("cannot open {}", path.display()))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            bail!("another demo runs in this source tree; end it first")
        }
        Err(TryLockError::Error(error)) => bail!("cannot lock {}: {error}", path.display()),
    }
    if directory.exists() {
        fs::remove_dir_all(directory).context("cannot remove what an earlier demo left")?;
    }
    fs::create_dir_all(directory).context("cannot create the directory of the demo")?;
    Ok(lock)
}

fn start_master(directory: &std::path::Path, mesos: u16, port: u16) -> Result<Daemon> {
    let mut command = Command::new(programs::path("peloton-master"));
    command.current_dir(root()).env("UBER_CONFIG_DIR", "config/master");
    command.args(["--mesos", &format!("127.0.0.1:{mesos}"), "--port", &port.to_string()]);
    command.arg("--store").arg(directory.join("store"));
    let master = Daemon::start("peloton-master", &mut command, &directory.join("master.log"))?;
    fs::write(directory.join("master.pid"), format!("{}\n", master.pid()))
        .context("cannot write the master's process id")?;
    Ok(master)
}

/// The port if it is free, or else one that is.
fn port_near(wanted: u16) -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", wanted))
        .or_else(|_| TcpListener::bind(("127.0.0.1", 0)))
        .context("no port is free")?;
    Ok(listener.local_addr().context("a port without a number")?.port())
}
