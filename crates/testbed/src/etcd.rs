//! A real etcd cluster: one process for each member, on free ports, in a temporary directory.
//!
//! Each member can be killed as by a power cut, paused, and started again on its ports and its data.

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::error::{Error, Result};
use crate::guarded::Guarded;
use crate::http::{Request, send};
use crate::node::free_ports;
use crate::place::Place;
use crate::setup::setup_etcd;

/// How often a condition is looked at while waiting.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// For a cluster to be there, on a busy machine.
const START_WITHIN: Duration = Duration::from_secs(60);

/// How often a start is tried when other programs take the ports that were free a moment ago.
const START_ATTEMPTS: u32 = 5;

/// For an answer of etcd's.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How the cluster is to be.
#[derive(Debug, Clone, Default)]
pub struct EtcdOptions {
    /// How many members; 0 stands for one.
    pub members: usize,
    /// Clients are served with TLS.
    pub tls: Option<EtcdTls>,
    /// More arguments for every member.
    pub arguments: Vec<String>,
    /// Where each member runs; the loopback interface for those that are not in it.
    pub places: Vec<Place>,
}

impl EtcdOptions {
    /// So many members, without TLS.
    pub fn members(members: usize) -> Self {
        Self { members, ..Self::default() }
    }
}

/// Files in PEM form for a server with TLS.
#[derive(Debug, Clone)]
pub struct EtcdTls {
    /// The server's certificate, for 127.0.0.1.
    pub cert_file: PathBuf,
    /// Its key.
    pub key_file: PathBuf,
    /// The authority of clients' certificates; with it only clients that have one are served.
    pub client_ca_file: Option<PathBuf>,
}

/// A running cluster. Dropping it ends the members.
#[derive(Debug)]
pub struct Etcd {
    members: Vec<Member>,
    scheme: &'static str,
    // Last: members write to it until they are gone.
    _directory: TempDir,
}

#[derive(Debug)]
struct Member {
    process: Guarded,
    client_port: u16,
    /// Serves health and metrics without TLS.
    metrics_port: u16,
}

/// Makes sure that there is an etcd, and starts a cluster: what a test begins with. `None`, and a word on
/// standard error, where there can be none.
///
/// # Panics
/// When there can be none and `CI` is set in the environment, and when the cluster does not start.
#[expect(clippy::panic, reason = "it speaks for a test")]
pub fn start(options: &EtcdOptions) -> Option<Etcd> {
    match Etcd::start(options) {
        Ok(etcd) => Some(etcd),
        Err(error) if error.is_unavailable() && std::env::var_os("CI").is_none() => {
            let _ = writeln!(std::io::stderr(), "SKIPPED: this test needs a real etcd: {error}");
            None
        }
        Err(error) => panic!("this test needs a real etcd: {error}"),
    }
}

impl Etcd {
    /// Installs etcd if need be, starts the members, and waits until they serve.
    ///
    /// # Errors
    /// [`Error::NoEtcd`] where there can be none; [`Error::NotReady`] with the end of a log.
    pub fn start(options: &EtcdOptions) -> Result<Self> {
        let program = setup_etcd()?;
        let mut attempt = 1;
        loop {
            let mut etcd = Self::lay_out(options, &program)?;
            let all = 0..etcd.members.len();
            let started = all.clone().try_for_each(|member| etcd.start_member(member));
            match started.and_then(|()| all.clone().try_for_each(|n| etcd.wait_until_healthy(n))) {
                Err(_) if attempt < START_ATTEMPTS && etcd.lost_a_port() => attempt += 1,
                Err(error) => return Err(error),
                Ok(()) => return Ok(etcd),
            }
        }
    }

    fn lay_out(options: &EtcdOptions, program: &Path) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("peloton-etcd-").tempdir();
        let directory = directory.map_err(Error::io("cannot create a temporary directory"))?;
        let count = options.members.max(1);
        let ports = free_ports(3 * count)?;
        let ports: Vec<[u16; 3]> =
            ports.chunks_exact(3).map(|three| [three[0], three[1], three[2]]).collect();
        let place = |member: usize| options.places.get(member).cloned().unwrap_or_default();
        let peers = ports.iter().enumerate();
        let peers: Vec<String> = peers
            .map(|(member, [_, peer, _])| {
                format!("m{member}=http://{}:{peer}", place(member).address)
            })
            .collect();
        let scheme = if options.tls.is_some() { "https" } else { "http" };
        let member = |(number, ports): (usize, &[u16; 3])| Member {
            process: Guarded {
                name: format!("member {number} of etcd"),
                place: place(number),
                program: program.to_path_buf(),
                arguments: arguments(options, number, *ports, &peers.join(","), directory.path()),
                // etcd takes every flag from the environment, too.
                deaf_to: "ETCD_",
                directory: directory.path().to_path_buf(),
                log: Guarded::log_in(directory.path(), &format!("m{number}")),
                running: None,
            },
            client_port: ports[0],
            metrics_port: ports[2],
        };
        let members = ports.iter().enumerate().map(member).collect();
        Ok(Self { members, scheme, _directory: directory })
    }

    fn lost_a_port(&self) -> bool {
        let in_use = "address already in use";
        self.members.iter().any(|member| member.process.log_text().contains(in_use))
    }

    /// The members' addresses for clients.
    pub fn endpoints(&self) -> Vec<String> {
        let scheme = self.scheme;
        self.members.iter().map(|member| format!("{scheme}://{}", member.address())).collect()
    }

    /// How many members there are, running or not.
    pub fn member_count(&self) -> usize {
        self.members.len()
    }

    /// Ends a member at once, as a power cut would.
    ///
    /// # Errors
    /// [`Error::Option`] when there is no such member.
    pub fn kill(&mut self, member: usize) -> Result<()> {
        self.member(member)?.process.kill();
        Ok(())
    }

    /// Stops a member's process where it is, or lets it go on. Its connections stay open meanwhile.
    ///
    /// # Errors
    /// [`Error::Option`] when there is no such member; an error from the system.
    pub fn pause(&mut self, member: usize, paused: bool) -> Result<()> {
        self.member(member)?.process.pause(paused)
    }

    /// Starts a member again, on its old ports and with its old data, unless it runs.
    ///
    /// # Errors
    /// [`Error::Option`] when there is no such member; an error from the system.
    pub fn start_member(&mut self, member: usize) -> Result<()> {
        self.member(member)?.process.start()
    }

    /// Waits until a member says that it is healthy: it has a leader, and reads through it.
    ///
    /// # Errors
    /// [`Error::NotReady`] when it ends meanwhile, or is too slow.
    pub fn wait_until_healthy(&mut self, member: usize) -> Result<()> {
        let deadline = Instant::now() + START_WITHIN;
        let one = self.member(member)?;
        loop {
            if one.is_healthy() {
                return Ok(());
            }
            if !one.process.is_running() {
                return Err(one.process.failure(format!("member {member} of etcd ended")));
            }
            if Instant::now() >= deadline {
                let what = format!("member {member} of etcd is not healthy in {START_WITHIN:?}");
                return Err(one.process.failure(what));
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// The member that leads, as any of those that run has it. Not with TLS.
    ///
    /// # Errors
    /// When nobody knows a leader within a minute.
    pub fn leader(&self) -> Result<usize> {
        let deadline = Instant::now() + START_WITHIN;
        loop {
            let all = 0..self.members.len();
            let told = |member| self.post(member, "/v3/maintenance/status", &Value::Null).ok();
            let statuses: Vec<Option<Value>> = all.map(told).collect();
            let leads = statuses.iter().position(|status| {
                let id = status.as_ref().map(|status| status["header"]["member_id"].clone());
                id.is_some_and(|id| {
                    id == status.as_ref().map_or(Value::Null, |s| s["leader"].clone())
                })
            });
            if let Some(leader) = leads {
                return Ok(leader);
            }
            if Instant::now() >= deadline {
                let why = format!("no member leads: {statuses:?}");
                return Err(Error::Answer { request: "status of etcd".to_owned(), why });
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// Asks a member's JSON interface, `/v3/kv/compaction` for example. Not with TLS.
    ///
    /// # Errors
    /// [`Error::Answer`] when the answer is an error; others when there is none.
    pub fn post(&self, member: usize, path: &str, body: &Value) -> Result<Value> {
        self.post_with(member, path, body, &[])
    }

    /// [`Etcd::post`] with a token that etcd gave out.
    ///
    /// # Errors
    /// As [`Etcd::post`].
    pub fn post_as(&self, member: usize, path: &str, body: &Value, token: &str) -> Result<Value> {
        self.post_with(member, path, body, &[("Authorization", token)])
    }

    fn post_with(
        &self,
        member: usize,
        path: &str,
        body: &Value,
        headers: &[(&str, &str)],
    ) -> Result<Value> {
        let request = format!("{path} of member {member} of etcd");
        let address = self.members.get(member).map_or_else(String::new, Member::address);
        let body = if body.is_null() { "{}".to_owned() } else { body.to_string() };
        let response = send(&Request {
            method: "POST",
            address: &address,
            path,
            headers: &[&[("Content-Type", "application/json")], headers].concat(),
            body: body.as_bytes(),
            timeout: Some(ANSWER_TIMEOUT),
        });
        let response = response.map_err(Error::io(request.clone()))?;
        let status = response.status;
        let text = response.text().map_err(Error::io(request.clone()))?;
        if status != 200 {
            return Err(Error::Answer { request, why: format!("{status}: {text}") });
        }
        serde_json::from_str(&text)
            .map_err(|error| Error::Answer { request, why: error.to_string() })
    }

    fn member(&mut self, member: usize) -> Result<&mut Member> {
        let count = self.members.len();
        self.members.get_mut(member).ok_or_else(|| Error::Option {
            field: "member",
            value: member.to_string(),
            allowed: format!("0 to {}", count.saturating_sub(1)),
        })
    }
}

fn arguments(
    options: &EtcdOptions,
    number: usize,
    [client, peer, metrics]: [u16; 3],
    peers: &str,
    directory: &Path,
) -> Vec<String> {
    let scheme = if options.tls.is_some() { "https" } else { "http" };
    let address = options.places.get(number).map_or(Ipv4Addr::LOCALHOST, |place| place.address);
    let mut arguments = vec![
        format!("--name=m{number}"),
        format!("--data-dir={}", directory.join(format!("m{number}")).display()),
        format!("--listen-client-urls={scheme}://{address}:{client}"),
        format!("--advertise-client-urls={scheme}://{address}:{client}"),
        format!("--listen-peer-urls=http://{address}:{peer}"),
        format!("--initial-advertise-peer-urls=http://{address}:{peer}"),
        format!("--listen-metrics-urls=http://{address}:{metrics}"),
        format!("--initial-cluster={peers}"),
        // No two clusters of this machine can take each other's members.
        format!("--initial-cluster-token={}", directory.display()),
        "--logger=zap".to_owned(),
        "--log-outputs=stderr".to_owned(),
    ];
    if let Some(tls) = &options.tls {
        arguments.push(format!("--cert-file={}", tls.cert_file.display()));
        arguments.push(format!("--key-file={}", tls.key_file.display()));
        if let Some(authority) = &tls.client_ca_file {
            arguments.push("--client-cert-auth".to_owned());
            arguments.push(format!("--trusted-ca-file={}", authority.display()));
        }
    }
    arguments.extend(options.arguments.iter().cloned());
    arguments
}

impl Member {
    fn address(&self) -> String {
        format!("{}:{}", self.process.place.address, self.client_port)
    }

    fn is_healthy(&self) -> bool {
        let answer = send(&Request {
            method: "GET",
            address: &format!("{}:{}", self.process.place.address, self.metrics_port),
            path: "/health",
            headers: &[],
            body: &[],
            timeout: Some(ANSWER_TIMEOUT),
        });
        answer.is_ok_and(|answer| answer.status == 200)
    }
}
