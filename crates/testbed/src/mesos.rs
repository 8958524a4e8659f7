//! A running Mesos: one process for each master, one for each agent.
//!
//! Each can be killed and started again by itself. Agents recover their tasks from their work
//! directories and keep their ids, so killing everything and starting it again is an outage of
//! Mesos as an operator would see it: the tasks go on meanwhile. Whatever way a user of this type
//! ends, a guard process holds the other end of a pipe to it, and ends what is left.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::binaries::{self, Binaries};
use crate::error::{Error, Result};
use crate::http;
use crate::node::{Node, free_ports, random_bytes};
use crate::operator::{Operator, Task};
use crate::options::{Options, Registry};
use crate::setup::{Installation, setup};
use peloton_task_runner::mark::{marked, sweep};

/// How often a condition is looked at while waiting.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// For a master's answer; one that is paused gives none.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// For the processes of tasks to be gone after their SIGKILL.
const SWEEP_WITHIN: Duration = Duration::from_secs(20);

/// How often a start is tried when other programs take the ports that were free a moment ago.
const START_ATTEMPTS: u32 = 5;

/// A master, or several that elect a leader, and agents on one address. Dropping it ends them, their tasks included.
#[derive(Debug)]
pub struct Mesos {
    masters: Vec<Node>,
    agents: Vec<Node>,
    instance: String,
    work_dir: PathBuf,
    temporary: Option<TempDir>,
    guard: Option<Child>,
    start_within: Duration,
}

impl Mesos {
    /// Installs Mesos if need be, starts it, and waits until every agent is registered.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where there can be no Mesos; [`Error::Option`]; [`Error::NotReady`]
    /// with the end of the log when a process ends or is too slow; others from the system.
    pub fn start(options: &Options) -> Result<Self> {
        options.check()?;
        let installation = setup()?;
        let binaries = binaries::locate()?;
        let mut attempt = 1;
        loop {
            let mut mesos = Self::lay_out(options, &installation, &binaries)?;
            match mesos.start_all() {
                Err(_) if attempt < START_ATTEMPTS && mesos.lost_a_port(options) => attempt += 1,
                Err(error) => return Err(error),
                Ok(()) => return Ok(mesos),
            }
        }
    }

    fn lay_out(options: &Options, installed: &Installation, binaries: &Binaries) -> Result<Self> {
        let (work_dir, temporary) = match &options.work_dir {
            Some(given) => {
                fs::create_dir_all(given).map_err(Error::path("create", given))?;
                (given.canonicalize().map_err(Error::path("resolve", given))?, None)
            }
            None => {
                let made = tempfile::Builder::new().prefix("peloton-testbed-").tempdir();
                let made = made.map_err(Error::io("cannot create a temporary directory"))?;
                let path = made.path();
                (path.canonicalize().map_err(Error::path("resolve", path))?, Some(made))
            }
        };
        let launcher = work_dir.join("libexec");
        copy_launcher(&launcher, installed, binaries)?;
        let instance = random_bytes::<8>()?.map(|byte| format!("{byte:02x}")).concat();
        let ports = ports(options, &work_dir)?;
        let node = |name: &str, port, arguments, environment| Node {
            name: name.to_owned(),
            place: options.place.clone(),
            port,
            program: installed.node_program(),
            arguments,
            environment,
            mark: format!("{instance}/{name}"),
            log: work_dir.join(format!("{name}.log")),
            child: None,
        };
        let (master_ports, agent_ports) = ports.split_at(options.masters());
        let environment = master_environment(options, &work_dir)?;
        let masters = master_ports.iter().enumerate().map(|(index, port)| {
            // The one of several that comes first has the name of one that is alone.
            let name = if index == 0 { "master".to_owned() } else { format!("master-{index}") };
            let directory = work_dir.join(&name);
            let arguments =
                vec!["master".to_owned(), format!("--work_dir={}", directory.display())];
            node(&name, *port, arguments, environment.clone())
        });
        let masters = masters.collect();
        let agents = agent_ports.iter().enumerate().map(|(index, port)| {
            let arguments = agent_arguments(options, index, ports[0], &work_dir, &launcher);
            node(&format!("agent-{index}"), *port, arguments, election_environment(options))
        });
        let agents = agents.collect();
        let guard = Some(start_guard(&binaries.testbed, &instance, temporary.as_ref())?);
        let start_within = options.start_within;
        Ok(Self { masters, agents, instance, work_dir, temporary, guard, start_within })
    }

    fn lost_a_port(&self, options: &Options) -> bool {
        let fixed = options.port.is_some() && self.masters[0].lost_its_port();
        !fixed && self.masters.iter().chain(&self.agents).any(Node::lost_its_port)
    }

    /// Starts whatever does not run, on its old port and in its old directory, and waits until all
    /// agents are registered.
    ///
    /// # Errors
    /// [`Error::NotReady`], or an error from the system.
    pub fn start_all(&mut self) -> Result<()> {
        for node in self.masters.iter_mut().chain(&mut self.agents) {
            node.start()?;
        }
        self.wait_until_recovered()?;
        self.wait_until_registered()
    }

    /// Waits until the agents whose processes run are registered and active.
    ///
    /// # Errors
    /// [`Error::NotReady`] when a process ends meanwhile, or the time is over.
    pub fn wait_until_registered(&mut self) -> Result<()> {
        let deadline = Instant::now() + self.start_within;
        loop {
            let mut expected = Vec::new();
            for agent in &mut self.agents {
                if agent.is_running() {
                    expected.push(agent.port);
                } else if agent.child.is_some() {
                    return Err(agent.failure(format!("{} ended", agent.name)));
                }
            }
            // One of several may end, and does when it loses the election.
            if !self.masters.iter_mut().any(Node::is_running) {
                return Err(self.masters[0].failure("the master ended".to_owned()));
            }
            let registered = self.registered_ports().unwrap_or_default();
            let missing = expected.iter().position(|port| !registered.contains(port));
            let Some(missing) = missing else { return Ok(()) };
            if Instant::now() >= deadline {
                let port = expected[missing];
                let late = self.agents.iter().find(|agent| agent.port == port);
                let late = late.unwrap_or(&self.masters[0]);
                let what = format!("{} did not register within {:?}", late.name, self.start_within);
                return Err(late.failure(what));
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    fn registered_ports(&self) -> Result<Vec<u16>> {
        let answer = self.operator().get("/master/slaves")?;
        let agents = answer["slaves"].as_array().map(Vec::as_slice).unwrap_or_default();
        let active = agents.iter().filter(|agent| agent["active"].as_bool() == Some(true));
        Ok(active.filter_map(|agent| agent["port"].as_u64()?.try_into().ok()).collect())
    }

    /// Kills all masters and all agents at once. Tasks go on; [`Mesos::start_all`] ends the outage.
    pub fn kill_all(&mut self) {
        for node in self.masters.iter_mut().chain(&mut self.agents) {
            node.kill();
        }
    }

    /// Kills the masters alone: the one, mostly.
    pub fn kill_master(&mut self) {
        for master in &mut self.masters {
            master.kill();
        }
    }

    /// Starts the masters that do not run; agents find the one that leads by themselves, within their ping
    /// time-out.
    ///
    /// # Errors
    /// When the system cannot start one.
    pub fn start_master(&mut self) -> Result<()> {
        self.masters.iter_mut().try_for_each(Node::start)
    }

    /// Kills one of several masters.
    ///
    /// # Errors
    /// [`Error::Option`] when there is no such master.
    pub fn kill_one_master(&mut self, index: usize) -> Result<()> {
        self.one_master(index)?.kill();
        Ok(())
    }

    /// Stops one master's process where it is, or lets it go on.
    ///
    /// # Errors
    /// [`Error::Option`] when there is no such master; an error from the system.
    pub fn pause_master(&mut self, index: usize, paused: bool) -> Result<()> {
        self.one_master(index)?.pause(paused)
    }

    /// The master that leads now, and says so.
    pub fn leader(&self) -> Option<usize> {
        self.masters.iter().position(|master| leads(&master.address()))
    }

    /// Waits until a master leads.
    ///
    /// # Errors
    /// [`Error::NotReady`] when the time is over.
    pub fn wait_for_leader(&self) -> Result<usize> {
        let deadline = Instant::now() + self.start_within;
        loop {
            if let Some(leader) = self.leader() {
                return Ok(leader);
            }
            if Instant::now() >= deadline {
                let what = format!("no master leads within {:?}", self.start_within);
                return Err(self.masters[0].failure(what));
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// Waits until each of several masters that runs can vote. Without it, one that was just started does
    /// not count for a quorum, which the others may no longer have by themselves.
    ///
    /// # Errors
    /// [`Error::NotReady`] when the time is over.
    pub fn wait_until_recovered(&mut self) -> Result<()> {
        if self.masters.len() == 1 {
            return Ok(());
        }
        let deadline = Instant::now() + self.start_within;
        for master in &mut self.masters {
            while master.is_running() && !has_recovered(&master.address()) {
                if Instant::now() >= deadline {
                    let what = format!("{} does not recover its log", master.name);
                    return Err(master.failure(what));
                }
                std::thread::sleep(POLL_INTERVAL);
            }
        }
        Ok(())
    }

    /// The addresses of all masters, `host:port`.
    pub fn master_addresses(&self) -> Vec<String> {
        self.masters.iter().map(Node::address).collect()
    }

    fn one_master(&mut self, index: usize) -> Result<&mut Node> {
        one_of(&mut self.masters, "master", index)
    }

    /// Kills one agent's process; its tasks go on without it.
    ///
    /// # Errors
    /// [`Error::Option`] when there is no such agent.
    pub fn kill_agent(&mut self, index: usize) -> Result<()> {
        self.agent(index)?.kill();
        Ok(())
    }

    /// Kills one agent and everything that runs under it, as a machine that dies.
    ///
    /// # Errors
    /// [`Error::Option`] when there is no such agent; [`Error::NotReady`] when its tasks do not end.
    pub fn kill_agent_machine(&mut self, index: usize) -> Result<()> {
        let agent = self.agent(index)?;
        agent.kill();
        if sweep(&agent.mark, SWEEP_WITHIN) {
            return Ok(());
        }
        Err(agent.failure(format!("tasks of agent {index} are still there")))
    }

    /// Stops one agent's process where it is, or lets it go on: as a network that delivers nothing
    /// for a time. Its tasks go on.
    ///
    /// # Errors
    /// [`Error::Option`] when there is no such agent; an error from the system.
    pub fn pause_agent(&mut self, index: usize, paused: bool) -> Result<()> {
        self.agent(index)?.pause(paused)
    }

    /// Starts one agent again, on its old port and in its old directory: it keeps its id and finds
    /// its tasks. Wait with [`Mesos::wait_until_registered`].
    ///
    /// # Errors
    /// [`Error::Option`] when there is no such agent; an error from the system.
    pub fn start_agent(&mut self, index: usize) -> Result<()> {
        self.agent(index)?.start()
    }

    fn agent(&mut self, index: usize) -> Result<&mut Node> {
        one_of(&mut self.agents, "agent", index)
    }

    /// Ends everything, tasks included. Dropping does the same, and cannot tell of a failure.
    ///
    /// # Errors
    /// When processes are left after all.
    pub fn stop(mut self) -> Result<()> {
        if self.clean_up() {
            return Ok(());
        }
        Err(self.masters[0].failure("processes of tasks are still there".to_owned()))
    }

    fn clean_up(&mut self) -> bool {
        self.kill_all();
        let clean = sweep(&self.instance, SWEEP_WITHIN);
        if let Some(mut guard) = self.guard.take() {
            drop(guard.stdin.take());
            let _ = guard.wait();
        }
        clean
    }

    /// The master's `host:port`, of several the first one's.
    pub fn address(&self) -> String {
        self.masters[0].address()
    }

    /// The master's port, of several the first one's.
    pub fn port(&self) -> u16 {
        self.masters[0].port
    }

    /// Where everything is kept: `master.log`, `agent-<n>.log`, the agents' directories.
    pub fn work_dir(&self) -> &Path {
        &self.work_dir
    }

    /// The interface for operators of the master, of several the one that leads now.
    pub fn operator(&self) -> Operator {
        let leader = if self.masters.len() > 1 { self.leader().unwrap_or(0) } else { 0 };
        Operator::new(self.masters[leader].address())
    }

    /// How many agents there are, running or not.
    pub fn agent_count(&self) -> usize {
        self.agents.len()
    }

    /// The sandbox of a task's latest run, with its `stdout` and `stderr`. The task may have ended.
    ///
    /// # Errors
    /// When Mesos does not know the task, or cannot be asked.
    pub fn sandbox(&self, task_id: &str) -> Result<PathBuf> {
        let operator = self.operator();
        let mut tasks = operator.tasks()?;
        tasks.extend(operator.completed_tasks()?);
        let unknown = || Error::Answer {
            request: format!("sandbox of {task_id}"),
            why: "Mesos knows no such task".to_owned(),
        };
        let task = tasks.iter().find(|task| task.id == task_id).ok_or_else(unknown)?;
        self.sandbox_of(task).ok_or_else(unknown)
    }

    fn sandbox_of(&self, task: &Task) -> Option<PathBuf> {
        (0..self.agents.len()).find_map(|index| {
            let run = self.work_dir.join(format!(
                "agents/{index}/work/slaves/{}/frameworks/{}/executors/{}/runs/latest",
                task.agent_id, task.framework_id, task.id
            ));
            run.canonicalize().ok()
        })
    }

    /// The process ids of executors and tasks that run under this Mesos now.
    pub fn task_processes(&self) -> Vec<u32> {
        let nodes = self.agents.iter().chain(&self.masters);
        let nodes: Vec<u32> = nodes.filter_map(|node| Some(node.child.as_ref()?.id())).collect();
        let mut found = marked(&self.instance);
        found.retain(|pid| !nodes.contains(pid));
        found
    }
}

impl Drop for Mesos {
    fn drop(&mut self) {
        self.clean_up();
        // An agent writes until it is killed, so the directory goes only now.
        if let Some(temporary) = self.temporary.take() {
            let _ = temporary.close();
        }
    }
}

/// Whether a master takes calls as the one that leads: it refuses the method, and not the request.
fn leads(address: &str) -> bool {
    const METHOD_NOT_ALLOWED: u16 = 405;
    let answer = http::send(&http::Request {
        method: "GET",
        address,
        path: "/api/v1/scheduler",
        headers: &[],
        body: b"",
        timeout: Some(ANSWER_TIMEOUT),
    });
    answer.is_ok_and(|answer| answer.status == METHOD_NOT_ALLOWED)
}

/// Whether a master's copy of the registry is complete, so that it has a vote.
fn has_recovered(address: &str) -> bool {
    let metrics = Operator::new(address).get("/metrics/snapshot");
    metrics.is_ok_and(|metrics| metrics["registrar/log/recovered"].as_f64() == Some(1.0))
}

fn one_of<'a>(nodes: &'a mut [Node], field: &'static str, index: usize) -> Result<&'a mut Node> {
    let count = nodes.len();
    nodes.get_mut(index).ok_or_else(|| Error::Option {
        field,
        value: index.to_string(),
        allowed: format!("0 to {}", count.saturating_sub(1)),
    })
}

/// The masters' ports first. An earlier run in the same directory decides, where it can: executors
/// that outlived it look for their agents at the old ports.
fn ports(options: &Options, work_dir: &Path) -> Result<Vec<u16>> {
    let wanted = options.masters() + options.agents.len();
    let file = work_dir.join("ports");
    let kept = fs::read_to_string(&file).unwrap_or_default();
    let kept: Vec<u16> = kept.split_whitespace().filter_map(|port| port.parse().ok()).collect();
    let mut ports = match options.work_dir {
        Some(_) if kept.len() == wanted => kept,
        _ => free_ports(wanted)?,
    };
    if let Some(port) = options.port {
        ports[0] = port;
    }
    let text = ports.iter().map(u16::to_string).collect::<Vec<_>>().join(" ");
    fs::write(&file, text).map_err(Error::path("write", &file))?;
    Ok(ports)
}

/// Copies, not links: cargo may replace its programs while this Mesos runs.
fn copy_launcher(launcher: &Path, installed: &Installation, binaries: &Binaries) -> Result<()> {
    fs::create_dir_all(launcher).map_err(Error::path("create", launcher))?;
    let programs = [
        ("mesos-containerizer", installed.containerizer_program()),
        ("mesos-executor", binaries.executor.clone()),
        ("mesos-fetcher", binaries.fetcher.clone()),
    ];
    for (name, from) in programs {
        let to = launcher.join(name);
        // An earlier run's copy may still be running: it cannot be written to, but be replaced.
        let aside = launcher.join(format!("{name}.new"));
        fs::copy(&from, &aside).map_err(Error::path("copy", &from))?;
        fs::rename(&aside, &to).map_err(Error::path("replace", &to))?;
    }
    Ok(())
}

fn start_guard(program: &Path, instance: &str, temporary: Option<&TempDir>) -> Result<Child> {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new(program);
    command.args(["guard", "--mark", instance]);
    if let Some(temporary) = temporary {
        command.arg("--remove").arg(temporary.path());
    }
    // Ctrl-C of a terminal is for its user, not for the guard.
    command.process_group(0).current_dir("/");
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().map_err(Error::path("start the guard", program))
}

fn master_environment(options: &Options, work_dir: &Path) -> Result<Vec<(String, String)>> {
    let registry = match options.registry {
        Registry::ReplicatedLog => "replicated_log",
        Registry::InMemory => "in_memory",
    };
    let mut flags = vec![
        ("registry".to_owned(), registry.to_owned()),
        ("hostname".to_owned(), options.place.address.to_string()),
        ("allocation_interval".to_owned(), format!("{}ms", options.allocation_interval_ms)),
        ("agent_ping_timeout".to_owned(), format!("{}ms", options.agent_ping_interval_ms)),
        ("max_agent_ping_timeouts".to_owned(), options.max_agent_ping_timeouts.to_string()),
    ];
    if !options.credentials.is_empty() {
        let file = work_dir.join("credentials.json");
        let credentials: Vec<_> = options
            .credentials
            .iter()
            .map(
                |(principal, secret)| serde_json::json!({"principal": principal, "secret": secret}),
            )
            .collect();
        let text = serde_json::json!({ "credentials": credentials }).to_string();
        fs::write(&file, text).map_err(Error::path("write", &file))?;
        flags.push(("credentials".to_owned(), format!("file://{}", file.display())));
        flags.push(("authenticate_http_frameworks".to_owned(), "true".to_owned()));
        flags.push(("http_framework_authenticators".to_owned(), "basic".to_owned()));
    }
    if let Some(election) = &options.election {
        flags.push(("zk".to_owned(), election.zookeeper.clone()));
        flags.push(("quorum".to_owned(), (election.masters / 2 + 1).to_string()));
    }
    flags.extend(options.master_flags.iter().cloned());
    let name = |flag: &str| format!("MESOS_{}", flag.to_ascii_uppercase());
    let mut environment: Vec<(String, String)> =
        flags.into_iter().map(|(flag, value)| (name(&flag), value)).collect();
    environment.extend(election_environment(options));
    Ok(environment)
}

/// What masters and agents need that meet in a ZooKeeper.
fn election_environment(options: &Options) -> Vec<(String, String)> {
    let Some(election) = &options.election else { return Vec::new() };
    let timeout_ms = election.session_timeout_ms.to_string();
    vec![
        ("TESTBED_ZK_SESSION_TIMEOUT_MS".to_owned(), timeout_ms),
        // Each of Mesos's connections to ZooKeeper holds up a thread at times, and all of them together must
        // not hold up all threads.
        ("LIBPROCESS_NUM_WORKER_THREADS".to_owned(), "16".to_owned()),
    ]
}

fn agent_arguments(
    options: &Options,
    index: usize,
    master_port: u16,
    work_dir: &Path,
    launcher: &Path,
) -> Vec<String> {
    let directory = work_dir.join("agents").join(index.to_string());
    let directory = directory.display();
    let wait = options.executor_reregistration_timeout_ms;
    let master = match &options.election {
        Some(election) => election.zookeeper.clone(),
        None => format!("{}:{master_port}", options.place.address),
    };
    let mut arguments = vec![
        "agent".to_owned(),
        format!("--master={master}"),
        format!("--work_dir={directory}/work"),
        format!("--runtime_dir={directory}/run"),
        format!("--fetcher_cache_dir={directory}/fetch"),
        format!("--launcher_dir={}", launcher.display()),
        format!("--hostname={}", options.hostname(index)),
        format!("--resources={}", options.resources(index, usize::from(master_port))),
        format!("--executor_reregistration_timeout={wait}ms"),
        // No cgroups, no root: whatever user runs the tests owns the tasks.
        "--launcher=posix".to_owned(),
        "--isolation=posix/cpu,posix/mem,posix/rlimits,filesystem/posix".to_owned(),
        "--no-switch_user".to_owned(),
        "--no-systemd_enable_support".to_owned(),
        "--http_command_executor".to_owned(),
        // Register at once: the default spreads the agents of a large cluster over a second.
        "--registration_backoff_factor=50ms".to_owned(),
    ];
    let attributes = options.attributes(index);
    if !attributes.is_empty() {
        arguments.push(format!("--attributes={attributes}"));
    }
    arguments.extend(options.agent_flags.iter().map(|(name, value)| format!("--{name}={value}")));
    arguments
}
