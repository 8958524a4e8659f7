//! A real ZooKeeper: one process for each server, on free ports, in a temporary directory.
//!
//! Each server can be killed as by a power cut, paused, and started again on its ports and its data.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::error::{Error, Result};
use crate::guarded::Guarded;
use crate::node::free_ports;
use crate::place::Place;
use crate::setup::setup_zookeeper;

/// How often a condition is looked at while waiting.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// For all servers to be there, on a busy machine: each is a Java virtual machine.
const START_WITHIN: Duration = Duration::from_secs(90);

/// How often a start is tried when other programs take the ports that were free a moment ago.
const START_ATTEMPTS: u32 = 5;

/// For an answer to a question of four letters.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// The unit of all of ZooKeeper's times, in milliseconds. Sessions have a time-out of 2 to 20 of it.
const TICK_MS: u32 = 500;

/// The program: one server, alone or of several.
const MAIN: &str = "org.apache.zookeeper.server.quorum.QuorumPeerMain";

/// A running ensemble. Dropping it ends the servers.
#[derive(Debug)]
pub struct ZooKeeper {
    servers: Vec<Server>,
    // Last: servers write to it until they are gone.
    _directory: TempDir,
}

#[derive(Debug)]
struct Server {
    process: Guarded,
    port: u16,
}

/// Makes sure that there is a ZooKeeper, and starts an ensemble of so many servers: what a test begins with.
/// `None`, and a word on standard error, where there can be none.
///
/// # Panics
/// When there can be none and `CI` is set in the environment, and when it does not start.
#[expect(clippy::panic, reason = "it speaks for a test")]
pub fn start(servers: usize) -> Option<ZooKeeper> {
    match ZooKeeper::start(servers) {
        Ok(zookeeper) => Some(zookeeper),
        Err(error) if error.is_unavailable() && std::env::var_os("CI").is_none() => {
            let _ =
                writeln!(std::io::stderr(), "SKIPPED: this test needs a real ZooKeeper: {error}");
            None
        }
        Err(error) => panic!("this test needs a real ZooKeeper: {error}"),
    }
}

impl ZooKeeper {
    /// Installs ZooKeeper if need be, starts so many servers, at least one, and waits until they serve.
    ///
    /// # Errors
    /// [`Error::NoZooKeeper`] where there can be none; [`Error::NotReady`] with the end of a log.
    pub fn start(servers: usize) -> Result<Self> {
        let class_path = setup_zookeeper()?;
        let mut attempt = 1;
        loop {
            let mut zookeeper = Self::lay_out(servers.max(1), &class_path)?;
            match zookeeper.start_all() {
                Err(_) if attempt < START_ATTEMPTS && zookeeper.lost_a_port() => attempt += 1,
                Err(error) => return Err(error),
                Ok(()) => return Ok(zookeeper),
            }
        }
    }

    fn lay_out(count: usize, class_path: &str) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("peloton-zookeeper-").tempdir();
        let directory = directory.map_err(Error::io("cannot create a temporary directory"))?;
        let ports = free_ports(3 * count)?;
        let ports: Vec<&[u16]> = ports.chunks_exact(3).collect();
        let mut servers = Vec::new();
        for (number, own) in ports.iter().enumerate() {
            let file = configure(directory.path(), number, &ports)?;
            let name = format!("zookeeper-{number}");
            let arguments = [
                // Small, and quick to start rather than quick in the long run.
                "-Xmx96m",
                "-XX:+UseSerialGC",
                "-XX:TieredStopAtLevel=1",
                "-Xshare:auto",
                "-cp",
                class_path,
                MAIN,
            ];
            let file = file.display().to_string();
            let arguments = arguments.iter().map(|text| (*text).to_owned()).chain([file]);
            let process = Guarded {
                log: Guarded::log_in(directory.path(), &name),
                name,
                place: Place::default(),
                program: PathBuf::from("java"),
                arguments: arguments.collect(),
                deaf_to: "JAVA_TOOL_OPTIONS",
                directory: directory.path().to_path_buf(),
                running: None,
            };
            servers.push(Server { process, port: own[0] });
        }
        Ok(Self { servers, _directory: directory })
    }

    fn lost_a_port(&self) -> bool {
        let in_use = "Address already in use";
        self.servers.iter().any(|server| server.process.log_text().contains(in_use))
    }

    /// Starts whatever does not run, and waits until all serve.
    ///
    /// # Errors
    /// [`Error::NotReady`], or an error from the system.
    pub fn start_all(&mut self) -> Result<()> {
        for server in 0..self.servers.len() {
            self.start_server(server)?;
        }
        (0..self.servers.len()).try_for_each(|server| self.wait_until_serving(server))
    }

    /// What masters and agents of Mesos get to find each other: `zk://127.0.0.1:10001/mesos`.
    pub fn url(&self) -> String {
        format!("zk://{}/mesos", self.addresses().join(","))
    }

    /// The servers' addresses, `host:port`.
    pub fn addresses(&self) -> Vec<String> {
        self.servers.iter().map(|server| format!("127.0.0.1:{}", server.port)).collect()
    }

    /// Ends a server at once, as a power cut would.
    ///
    /// # Errors
    /// [`Error::Option`] when there is no such server.
    pub fn kill(&mut self, server: usize) -> Result<()> {
        self.server(server)?.process.kill();
        Ok(())
    }

    /// Stops a server's process where it is, or lets it go on. Its connections stay open meanwhile.
    ///
    /// # Errors
    /// [`Error::Option`] when there is no such server; an error from the system.
    pub fn pause(&mut self, server: usize, paused: bool) -> Result<()> {
        self.server(server)?.process.pause(paused)
    }

    /// Starts a server again, on its old ports and with its old data, unless it runs.
    ///
    /// # Errors
    /// [`Error::Option`] when there is no such server; an error from the system.
    pub fn start_server(&mut self, server: usize) -> Result<()> {
        self.server(server)?.process.start()
    }

    /// Waits until a server serves clients: of several, it has to be part of a quorum.
    ///
    /// # Errors
    /// [`Error::NotReady`] when it ends meanwhile, or is too slow.
    pub fn wait_until_serving(&mut self, server: usize) -> Result<()> {
        let deadline = Instant::now() + START_WITHIN;
        loop {
            if self.mode(server).is_some() {
                return Ok(());
            }
            let process = &self.server(server)?.process;
            if !process.is_running() {
                return Err(process.failure(format!("server {server} of ZooKeeper ended")));
            }
            if Instant::now() >= deadline {
                let what =
                    format!("server {server} of ZooKeeper does not serve in {START_WITHIN:?}");
                return Err(process.failure(what));
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// What a server is while it serves: `standalone`, `leader` or `follower`.
    pub fn mode(&self, server: usize) -> Option<String> {
        let answer = self.ask(server, "srvr").ok()?;
        answer.lines().find_map(|line| line.strip_prefix("Mode: ")).map(str::to_owned)
    }

    /// Asks a server one of the questions of four letters, such as `cons` for its clients.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn ask(&self, server: usize, question: &str) -> Result<String> {
        let port = self.servers.get(server).map_or(0, |server| server.port);
        let ask = || {
            let mut stream = TcpStream::connect(("127.0.0.1", port))?;
            stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
            stream.write_all(question.as_bytes())?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        ask().map_err(Error::io(format!("cannot ask server {server} of ZooKeeper")))
    }

    fn server(&mut self, server: usize) -> Result<&mut Server> {
        let count = self.servers.len();
        self.servers.get_mut(server).ok_or_else(|| Error::Option {
            field: "server",
            value: server.to_string(),
            allowed: format!("0 to {}", count.saturating_sub(1)),
        })
    }
}

/// Writes a server's configuration, and gives its file.
fn configure(directory: &Path, number: usize, ports: &[&[u16]]) -> Result<PathBuf> {
    let data = directory.join(format!("data-{number}"));
    fs::create_dir_all(&data).map_err(Error::path("create", &data))?;
    let write =
        |path: &Path, text: String| fs::write(path, text).map_err(Error::path("write", path));
    let mut lines = vec![
        format!("tickTime={TICK_MS}"),
        format!("dataDir={}", data.display()),
        "initLimit=40".to_owned(),
        "syncLimit=20".to_owned(),
        "maxClientCnxns=0".to_owned(),
        "admin.enableServer=false".to_owned(),
        "4lw.commands.whitelist=*".to_owned(),
        // A process is killed here, never a machine.
        "forceSync=no".to_owned(),
    ];
    let client = |own: &[u16]| own.first().copied().unwrap_or_default();
    if let [own] = ports {
        lines.push(format!("clientPort={}", client(own)));
        lines.push("clientPortAddress=127.0.0.1".to_owned());
    } else {
        for (other, own) in ports.iter().enumerate() {
            if let [client, peer, election] = own {
                lines
                    .push(format!("server.{other}=127.0.0.1:{peer}:{election};127.0.0.1:{client}"));
            }
        }
        write(&data.join("myid"), number.to_string())?;
    }
    let file = directory.join(format!("server-{number}.cfg"));
    write(&file, lines.join("\n") + "\n")?;
    Ok(file)
}
