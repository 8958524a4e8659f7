//! One master as a child process, with a port, a store and a log of its own, on a testbed's Mesos.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use peloton_testbed::http::{self, Request};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::programs::{programs, workspace};
use super::{AnyMesos, PATIENCE, failure, wait_until};

/// How much of a log is shown when a test fails.
const TAIL_LINES: usize = 120;

/// A call's time by default, in milliseconds; tests that are about time say their own.
const TTL_MS: &str = "20000";

/// Shards of a cluster where a test does not say: two are enough to have several.
const SHARDS: &str = "cluster.shards=2";

/// A master. Dropping it ends its process; its tasks are Mesos's.
#[derive(Debug)]
pub(crate) struct Cluster {
    role: String,
    port: u16,
    mesos: String,
    directory: TempDir,
    settings: Vec<String>,
    /// Another program than the one under test.
    program: Option<PathBuf>,
    process: Option<Child>,
}

/// A call that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CallError {
    /// No answer came: what became of the call is not known.
    Broken(String),
    /// The answer is an error: status, code, text.
    Refused(u16, String, String),
}

impl Cluster {
    /// A master that is healthy, with a role of its own; `settings` are `key=value`.
    pub(crate) fn start(mesos: &impl AnyMesos, role: &str, settings: &[&str]) -> Self {
        let mut cluster = Self::stopped(mesos, role, settings);
        cluster.launch();
        cluster.wait_healthy();
        cluster
    }

    /// The same, not started yet.
    pub(crate) fn stopped(mesos: &impl AnyMesos, role: &str, settings: &[&str]) -> Self {
        failure::remember();
        let mut all = vec![SHARDS.to_owned()];
        all.push(format!("mesos.framework.role={role}"));
        all.push(format!("mesos.framework.name=Peloton {role}"));
        all.extend(settings.iter().map(|setting| (*setting).to_owned()));
        Self {
            role: role.to_owned(),
            port: free_port(),
            mesos: mesos.address(),
            directory: tempfile::Builder::new().prefix("peloton-system-").tempdir().unwrap(),
            settings: all,
            program: None,
            process: None,
        }
    }

    /// `host:port` of the API.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The role of which the shards' roles are made.
    pub(crate) fn role(&self) -> &str {
        &self.role
    }

    /// A directory for files of the test.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The arguments of the master's program.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let mut arguments = vec!["--port".to_owned(), self.port.to_string()];
        arguments.extend(["--mesos".to_owned(), self.mesos.clone()]);
        arguments.extend(["--store".to_owned(), self.path("store").display().to_string()]);
        for setting in &self.settings {
            arguments.extend(["--set".to_owned(), setting.clone()]);
        }
        arguments
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Starts the process and waits for nothing.
    pub(crate) fn launch(&mut self) {
        assert!(self.process.is_none(), "the master runs already");
        let log = File::options().create(true).append(true).open(self.path("log")).unwrap();
        let mut command = match &self.program {
            Some(program) => configured(Command::new(program)),
            None => master_command(),
        };
        command.args(self.arguments()).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.process = Some(command.spawn().unwrap());
    }

    /// The program that is launched from now on: of another release, or again the one under test.
    pub(crate) fn set_program(&mut self, program: Option<&Path>) {
        self.program = program.map(Path::to_owned);
    }

    /// Ends the process at once, as a power cut would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Sends the process a signal, and waits for nothing.
    pub(crate) fn signal(&self, signal: Signal) {
        let process = self.process.as_ref().unwrap();
        let pid = Pid::from_raw(i32::try_from(process.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// SIGTERM, and how the process ended.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait_ended()
    }

    /// Waits until the process has ended by itself, or of a signal: how.
    pub(crate) fn wait_ended(&mut self) -> ExitStatus {
        let mut process = self.process.take().unwrap();
        wait_until("the end of the master", PATIENCE, || {
            process.try_wait().unwrap().ok_or_else(|| "it runs".to_owned())
        })
    }

    /// Whether the process runs: it was started, and has not ended.
    pub(crate) fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| process.try_wait().unwrap().is_none())
    }

    /// Begins a call, and never comes to its end: the master has it in hand, and waits for the rest until
    /// this is dropped.
    pub(crate) fn endless_call(&self) -> TcpStream {
        let mut stream = TcpStream::connect(self.address()).unwrap();
        let headers = "POST / HTTP/1.1\r\nHost: master\r\nRpc-Caller: system-tests\r\n\
                       Rpc-Service: peloton-master\r\nRpc-Procedure: JobManager.Query\r\n\
                       Rpc-Encoding: json\r\nContext-TTL-MS: 60000\r\nContent-Length: 100\r\n\
                       Expect: 100-continue\r\n\r\n";
        stream.write_all(headers.as_bytes()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 100", "the master waits for the rest");
        stream
    }

    /// Whether the process was started, and not ended by us.
    pub(crate) fn is_started(&self) -> bool {
        self.process.is_some()
    }

    /// Waits until the API answers, whatever the health of what is behind it.
    pub(crate) fn wait_answering(&mut self) {
        let process = self.process.as_mut().unwrap();
        let address = format!("127.0.0.1:{}", self.port);
        wait_until("an answer of the master", PATIENCE, || {
            let ended = process.try_wait().unwrap();
            assert_eq!(ended, None, "the master ended");
            get(&address, "/health").map(|_| ())
        });
    }

    /// Waits until every part says that it is healthy, which it does only when that is so.
    pub(crate) fn wait_healthy(&mut self) {
        self.wait_answering();
        wait_until("a healthy master", PATIENCE, || {
            let health = self.health();
            if health["status"] == "healthy" { Ok(()) } else { Err(health.to_string()) }
        });
        let status = self.yarpc("ClusterManager.GetStatus", serde_json::json!({}));
        for shard in status["result"]["shards"].as_array().unwrap() {
            assert_eq!(shard["connection"], 4, "healthy, and not all shards subscribed: {status}");
        }
    }

    /// `/health`.
    pub(crate) fn health(&self) -> Value {
        let (_, text) = self.get("/health").unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// A page: status and text.
    pub(crate) fn get(&self, path: &str) -> Result<(u16, String), String> {
        get(&self.address(), path)
    }

    /// Calls a procedure that must succeed.
    #[track_caller]
    pub(crate) fn yarpc(&self, procedure: &str, body: Value) -> Value {
        match self.try_yarpc(procedure, &body) {
            Ok(answer) => answer,
            Err(error) => panic!("{procedure} {body}: {error:?}"),
        }
    }

    /// Calls a procedure.
    pub(crate) fn try_yarpc(&self, procedure: &str, body: &Value) -> Result<Value, CallError> {
        yarpc(&self.address(), procedure, body)
    }

    /// Runs the command line against this master.
    pub(crate) fn cli(&self, arguments: &[&str]) -> Output {
        Command::new(&programs().cli)
            .env("PELOTON_MASTERS", self.address())
            .args(arguments)
            .current_dir(workspace())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// What all runs of the master have logged.
    pub(crate) fn log(&self) -> String {
        let bytes = fs::read(self.path("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// The command line's program, in the root of the sources.
pub(crate) fn cli_command() -> Command {
    let mut command = Command::new(&programs().cli);
    command.current_dir(workspace());
    command
}

/// The master's program as the README starts it, before its arguments.
pub(crate) fn master_command() -> Command {
    configured(Command::new(&programs().master))
}

fn configured(mut master: Command) -> Command {
    master.env("UBER_CONFIG_DIR", "config/master").current_dir(workspace());
    master
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n");
            let _ = writeln!(
                std::io::stderr(),
                "--- the end of the master's log, role {}:\n{tail}\n--- what failed: {}",
                self.role,
                failure::last().unwrap_or_default()
            );
            if std::env::var_os("PELOTON_KEEP").is_some() {
                self.directory.disable_cleanup(true);
                let _ = writeln!(std::io::stderr(), "kept: {}", self.directory.path().display());
            }
        }
    }
}

/// Calls a procedure of the master at `host:port`.
pub(crate) fn yarpc(address: &str, procedure: &str, body: &Value) -> Result<Value, CallError> {
    let headers = [
        ("Rpc-Caller", "system-tests"),
        ("Rpc-Service", "peloton-master"),
        ("Rpc-Procedure", procedure),
        ("Rpc-Encoding", "json"),
        ("Context-TTL-MS", TTL_MS),
    ];
    let text = body.to_string();
    let request = Request {
        method: "POST",
        address,
        path: "/",
        headers: &headers,
        body: text.as_bytes(),
        timeout: Some(PATIENCE),
    };
    let broken = |error: std::io::Error| CallError::Broken(error.to_string());
    let response = http::send(&request).map_err(broken)?;
    let status = response.status;
    let code = response.header("rpc-error-code").unwrap_or_default().to_owned();
    let text = response.text().map_err(broken)?;
    if status != 200 {
        return Err(CallError::Refused(status, code, text));
    }
    serde_json::from_str(&text).map_err(|error| CallError::Broken(format!("{error}: {text}")))
}

fn get(address: &str, path: &str) -> Result<(u16, String), String> {
    let request =
        Request { method: "GET", address, path, headers: &[], body: b"", timeout: Some(PATIENCE) };
    let response = http::send(&request).map_err(|error| error.to_string())?;
    let status = response.status;
    Ok((status, response.text().map_err(|error| error.to_string())?))
}

/// A port that stays free while a master is down: see [`free_ports`].
fn free_port() -> u16 {
    free_ports(1)
}

/// The first of so many free ports in a row: outside the range that the system gives to outgoing
/// connections, and outside the testbed's ports for tasks.
pub(crate) fn free_ports(count: u16) -> u16 {
    const FIRST: u16 = 12_000;
    const COUNT: u16 = 7_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % u32::from(COUNT)).unwrap();
    let is_free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    loop {
        let offset = start.wrapping_add(NEXT.fetch_add(count, Ordering::Relaxed)) % COUNT;
        let port = FIRST + offset;
        if (port..port + count).all(is_free) {
            return port;
        }
    }
}

/// Sleeps for what a test is about: the time of a fault, never the time until something is done.
pub(crate) fn fault_lasts(time: Duration) {
    std::thread::sleep(time);
}
