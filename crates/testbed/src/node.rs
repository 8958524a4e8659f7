//! One process of Mesos: a master or an agent.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::error::{Error, Result};
use crate::place::Place;
use crate::setup::tail;
use peloton_task_runner::mark::MARK;

/// What a log's end tells of a failure.
const TAIL_LINES: usize = 15;

/// How to start a process of Mesos, the same way each time.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) place: Place,
    pub(crate) port: u16,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
    /// The value of [`MARK`] for everything that it starts.
    pub(crate) mark: String,
    pub(crate) log: PathBuf,
    /// While it runs. Its standard input is held open: the process ends when that closes.
    pub(crate) child: Option<Child>,
}

impl Node {
    pub(crate) fn start(&mut self) -> Result<()> {
        if self.is_running() {
            return Ok(());
        }
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .map_err(Error::path("open", &self.log))?;
        let second = log.try_clone().map_err(Error::path("open", &self.log))?;
        let mut command = self.place.command(&self.program);
        command.args(&self.arguments);
        // Executors inherit the agent's environment: nothing of the caller's Mesos or libprocess.
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if name.starts_with("MESOS_") || name.starts_with("LIBPROCESS_") {
                command.env_remove(name);
            }
        }
        command.env("LIBPROCESS_IP", self.place.address.to_string());
        command.env("LIBPROCESS_PORT", self.port.to_string());
        // A thread per core of many processes would only be memory.
        command.env("LIBPROCESS_NUM_WORKER_THREADS", "4");
        command.env(MARK, &self.mark).envs(self.environment.iter().cloned());
        command.stdin(Stdio::piped()).stdout(log).stderr(second);
        let child = command.spawn().map_err(Error::io(format!("cannot start {}", self.name)))?;
        self.child = Some(child);
        Ok(())
    }

    /// Whether it has been started and has not ended.
    pub(crate) fn is_running(&mut self) -> bool {
        match &mut self.child {
            Some(child) => child.try_wait().is_ok_and(|status| status.is_none()),
            None => false,
        }
    }

    /// Ends it at once, as a power cut would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself, which is all that was wanted.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Stops the process where it is, or lets it go on. One that does not run is left alone.
    pub(crate) fn pause(&mut self, paused: bool) -> Result<()> {
        let Some(child) = &self.child else { return Ok(()) };
        let signal = if paused { Signal::STOP } else { Signal::CONT };
        kill_process(Pid::from_child(child), signal)
            .map_err(|error| Error::io(format!("cannot pause {}", self.name))(error.into()))
    }

    /// Where it listens, `host:port`.
    pub(crate) fn address(&self) -> String {
        format!("{}:{}", self.place.address, self.port)
    }

    pub(crate) fn failure(&self, what: String) -> Error {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        Error::NotReady { what, log: self.log.clone(), tail: tail(&text, TAIL_LINES) }
    }

    /// Whether its log says that somebody else had the port.
    pub(crate) fn lost_its_port(&self) -> bool {
        fs::read_to_string(&self.log).is_ok_and(|log| log.contains("Address already in use"))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Ports that nobody listens on, and that the system gives to no outgoing connection: a process
/// that is started again later must find its port free.
pub(crate) fn free_ports(count: usize) -> Result<Vec<u16>> {
    const FIRST: u16 = 10_000;
    const RANGE: u16 = 9_000;
    let mut offset = start_offset()? % RANGE;
    let mut held = Vec::new();
    let mut ports = Vec::new();
    for _ in 0..RANGE {
        let port = FIRST + offset;
        offset = (offset + 1) % RANGE;
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            held.push(listener);
            ports.push(port);
            if ports.len() == count {
                return Ok(ports);
            }
        }
    }
    Err(Error::Io {
        what: format!("cannot find {count} free ports from {FIRST}"),
        source: std::io::ErrorKind::AddrInUse.into(),
    })
}

/// Somewhere else for every caller, so that they seldom want the same ports.
fn start_offset() -> Result<u16> {
    let [a, b] = random_bytes::<2>()?;
    Ok(u16::from_le_bytes([a, b]))
}

/// So many bytes that nobody else has.
pub(crate) fn random_bytes<const N: usize>() -> Result<[u8; N]> {
    use std::io::Read;
    let source = Path::new("/dev/urandom");
    let mut bytes = [0; N];
    File::open(source)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(Error::path("read", source))?;
    Ok(bytes)
}
