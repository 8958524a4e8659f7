//! The cluster: three masters, three members of etcd and a real Mesos, each in a network namespace.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use peloton_client::{Client, Options as ClientOptions};
use peloton_proto::peloton::cluster::{ClusterStatus, Connection, GetStatusRequest};
use peloton_testbed::etcd::{Etcd, EtcdOptions};
use peloton_testbed::{Mesos, Options as MesosOptions};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::net::{End, Net};
use crate::programs;

/// Masters, and members of etcd.
pub(crate) const MASTERS: usize = 3;
pub(crate) const MEMBERS: usize = 3;
/// Enough that every master has some, and that one is lost with each.
pub(crate) const SHARDS: usize = 6;
/// The role of which the shards' are made.
pub(crate) const ROLE: &str = "chaos";

const AGENTS: usize = 2;
const PORT: u16 = 5289;

/// For anything that should come about by itself. Far more than it takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks at a condition.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(20);

/// For a master's word on the cluster; one that takes longer has none.
const STATUS_WITHIN: Duration = Duration::from_secs(2);

/// Nodes of the network.
pub(crate) const NODES: [&str; 7] =
    ["master0", "master1", "master2", "etcd0", "etcd1", "etcd2", "mesos"];

/// The node of a master.
pub(crate) fn master(number: usize) -> End {
    End::Node(number)
}

/// The node of a member of etcd.
pub(crate) fn member(number: usize) -> End {
    End::Node(MASTERS + number)
}

/// Mesos's node.
pub(crate) const MESOS: End = End::Node(MASTERS + MEMBERS);

/// Waits for a condition; until then it says why it is not so.
#[track_caller]
pub(crate) fn wait_until<T>(what: &str, mut condition: impl FnMut() -> Result<T, String>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        match condition() {
            Ok(found) => return found,
            Err(why) => assert!(Instant::now() < end, "no {what} within {PATIENCE:?}: {why}"),
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// A running cluster. Dropping it ends everything, in the order of the fields.
pub(crate) struct Cluster {
    masters: Vec<Master>,
    pub(crate) mesos: Mesos,
    pub(crate) etcd: Etcd,
    pub(crate) net: Net,
    runtime: tokio::runtime::Handle,
    directory: TempDir,
}

struct Master {
    process: Option<Child>,
    log: PathBuf,
    status: Client,
}

impl Master {
    fn pid(&self) -> Pid {
        Pid::from_child(self.process.as_ref().expect("the master runs"))
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It may have ended by itself.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Cluster {
    /// Starts everything; `None`, with a word on standard error, where that cannot be.
    pub(crate) fn start(runtime: &tokio::runtime::Handle) -> Option<Self> {
        if !crate::net::is_possible() {
            return None;
        }
        peloton_testbed::require()?;
        let directory = tempfile::Builder::new().prefix("peloton-chaos-").tempdir().unwrap();
        programs::master(directory.path());
        let net = Net::new(&NODES);
        let places = (0..MEMBERS).map(|number| net.place(MASTERS + number)).collect();
        let etcd = EtcdOptions { places, ..EtcdOptions::members(MEMBERS) };
        let etcd = peloton_testbed::etcd::start(&etcd)?;
        let mut options = MesosOptions::agents(AGENTS);
        options.place = net.place(MASTERS + MEMBERS);
        let mesos = peloton_testbed::start(&options)?;
        let masters = (0..MASTERS).map(|number| Master {
            process: None,
            log: directory.path().join(format!("master{number}.log")),
            status: client(&[format!("{}:{PORT}", net.address(master(number)))], STATUS_WITHIN),
        });
        let masters = masters.collect();
        let runtime = runtime.clone();
        let mut cluster = Self { masters, mesos, etcd, net, runtime, directory };
        for number in 0..MASTERS {
            cluster.start_master(number);
        }
        cluster.wait_healthy();
        Some(cluster)
    }

    /// `host:port` of a master's API.
    pub(crate) fn address(&self, number: usize) -> String {
        format!("{}:{PORT}", self.net.address(master(number)))
    }

    /// A directory for files of the test.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Starts a master, and waits for nothing.
    pub(crate) fn start_master(&mut self, number: usize) {
        let place = self.net.place(number);
        let mut command = place.command(&self.directory.path().join("peloton-master"));
        command.args(["--port", &PORT.to_string(), "--mesos", &self.mesos.address()]);
        for setting in [
            format!("master.listen={}", place.address),
            "store.type=etcd".to_owned(),
            format!("store.endpoints={}", self.etcd.endpoints().join(",")),
            format!("cluster.shards={SHARDS}"),
            format!("mesos.framework.role={ROLE}"),
        ] {
            command.args(["--set", &setting]);
        }
        let master = &mut self.masters[number];
        assert!(master.process.is_none(), "the master runs already");
        let log = File::options().create(true).append(true).open(&master.log).unwrap();
        command.env("UBER_CONFIG_DIR", "config/master").current_dir(programs::workspace());
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        master.process = Some(command.spawn().unwrap());
    }

    /// Ends a master at once, as a power cut would.
    pub(crate) fn kill_master(&mut self, number: usize) {
        let mut process = self.masters[number].process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// SIGTERM for a master; it is waited for by [`Cluster::wait_stopped`].
    pub(crate) fn stop_master(&mut self, number: usize) {
        kill_process(self.masters[number].pid(), Signal::TERM).unwrap();
    }

    /// Waits for the end of a master that was told to stop.
    pub(crate) fn wait_stopped(&mut self, number: usize) {
        let mut process = self.masters[number].process.take().unwrap();
        let status = wait_until("the end of the master after SIGTERM", || {
            process.try_wait().unwrap().ok_or_else(|| "it runs".to_owned())
        });
        assert!(status.success(), "master {number} ended with {status}");
    }

    /// Stops a master's process where it is, or lets it go on.
    pub(crate) fn pause_master(&self, number: usize, paused: bool) {
        let signal = if paused { Signal::STOP } else { Signal::CONT };
        kill_process(self.masters[number].pid(), signal).unwrap();
    }

    /// The cluster as a master sees it.
    pub(crate) fn status(&self, number: usize) -> Result<ClusterStatus, String> {
        let client = self.masters[number].status.clone();
        let asked = async move { client.cluster().get_status(GetStatusRequest {}).await };
        let answer = self.runtime.block_on(asked).map_err(|error| error.to_string())?;
        answer.result.ok_or_else(|| "no status".to_owned())
    }

    /// Which of these masters serves each shard: it owns it and is subscribed, as it says itself. An error
    /// tells what is missing.
    pub(crate) fn served_by(&self, masters: &[usize]) -> Result<Vec<usize>, String> {
        let mut served = vec![None; SHARDS];
        let mut told = Vec::new();
        for number in masters {
            let status = match self.status(*number) {
                Ok(status) => status,
                Err(error) => {
                    told.push(format!("master {number}: {error}"));
                    continue;
                }
            };
            let me = status.masters.iter().find(|one| one.answering).map(|one| one.id.clone());
            for shard in &status.shards {
                let own = me.as_ref() == Some(&shard.owner);
                if own && shard.connection() == Connection::Subscribed {
                    served[shard.number as usize] = Some(*number);
                }
            }
        }
        let all: Option<Vec<usize>> = served.iter().copied().collect();
        all.ok_or_else(|| format!("shards are served by {served:?}; {told:?}"))
    }

    /// Waits until these masters serve all shards.
    pub(crate) fn wait_served(&self, masters: &[usize]) -> Vec<usize> {
        wait_until("service of all shards", || self.served_by(masters))
    }

    /// Waits until all masters serve equally many shards, so that whichever is hit has some to lose.
    pub(crate) fn wait_shared(&self) {
        wait_until("even sharing of the shards", || {
            let served = self.served_by(&[0, 1, 2])?;
            let counts = [0, 1, 2].map(|number| served.iter().filter(|by| **by == number).count());
            if counts == [SHARDS / MASTERS; MASTERS] { Ok(()) } else { Err(format!("{counts:?}")) }
        });
    }

    /// Waits until every master answers for the store and for Mesos, and all shards are served.
    pub(crate) fn wait_healthy(&mut self) {
        for number in 0..MASTERS {
            self.wait_answering(number);
        }
        self.wait_served(&[0, 1, 2]);
    }

    /// Waits until a master reads from the store.
    pub(crate) fn wait_answering(&mut self, number: usize) {
        let process = self.masters[number].process.as_mut().unwrap();
        if let Some(status) = process.try_wait().unwrap() {
            panic!("master {number} ended with {status}:\n{}", self.log_tail(number));
        }
        wait_until(&format!("answer of master {number}"), || {
            let status = self.status(number)?;
            let store = status.store.unwrap_or_default();
            if store.healthy { Ok(()) } else { Err(store.message) }
        });
    }

    fn log_tail(&self, number: usize) -> String {
        const LINES: usize = 40;
        let text = std::fs::read_to_string(&self.masters[number].log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }

    /// Copies the masters' logs to where they outlive the test.
    pub(crate) fn keep_logs(&self, directory: &Path) {
        std::fs::create_dir_all(directory).unwrap();
        for master in &self.masters {
            let name = master.log.file_name().unwrap();
            // The test has something else to tell already.
            let _ = std::fs::copy(&master.log, directory.join(name));
        }
    }
}

/// A client of these masters, all tries of whose calls together take so long; with one master it tries once.
pub(crate) fn client(masters: &[String], timeout: Duration) -> Client {
    let single = masters.len() == 1;
    let options = ClientOptions {
        masters: masters.to_vec(),
        timeout,
        // A lost packet is sent again after a second; a master that is cut off is not worth three.
        connect_timeout: Duration::from_millis(1500).min(timeout),
        retry_rounds: if single { 0 } else { 5 },
        ..ClientOptions::default()
    };
    Client::new(options).unwrap()
}
