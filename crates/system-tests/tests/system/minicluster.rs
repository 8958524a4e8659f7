//! `peloton minicluster` as a person runs it, on the simulated Mesos; and that it leaves nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufReader, Read as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::{PATIENCE, cli_command, free_ports, wait_until};

/// The program, and a directory for all that it and its tasks write: by that they are found.
struct Minicluster {
    process: Child,
    output: BufReader<ChildStdout>,
    /// Where it makes its temporary directory.
    temporary: tempfile::TempDir,
}

impl Minicluster {
    fn start(arguments: &[&str]) -> Self {
        let temporary = tempfile::Builder::new().prefix("peloton-system-").tempdir().unwrap();
        let errors = File::create(temporary.path().join("errors")).unwrap();
        fs::create_dir(temporary.path().join("tmp")).unwrap();
        let mut command = cli_command();
        command.args(["-o", "json", "minicluster", "--agents", "2"]).args(arguments);
        // Mesos's usual port would be taken from whoever else is on this machine.
        command.args(["--mesos-port", "0"]).env("TMPDIR", temporary.path().join("tmp"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors);
        let mut process = command.spawn().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        Self { process, output, temporary }
    }

    /// Where everything is, as it says when it is ready.
    fn whereabouts(&mut self) -> Value {
        let mut documents = serde_json::Deserializer::from_reader(&mut self.output).into_iter();
        let found: Option<Result<Value, _>> = documents.next();
        found.unwrap_or_else(|| panic!("it ended: {}", self.errors())).unwrap()
    }

    /// What it wrote to standard error.
    fn errors(&self) -> String {
        fs::read_to_string(self.temporary.path().join("errors")).unwrap()
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.process.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    fn wait(&mut self) -> ExitStatus {
        wait_until("the end of the minicluster", PATIENCE, || {
            self.process.try_wait().unwrap().ok_or_else(|| "it runs".to_owned())
        })
    }

    /// What is left in the directory for temporary files.
    fn left(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.temporary.path().join("tmp")).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    /// The processes that work in the directory: tasks do.
    fn processes(&self) -> BTreeSet<u32> {
        processes_in(self.temporary.path())
    }
}

impl Drop for Minicluster {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// All processes with a working directory in this one.
fn processes_in(directory: &Path) -> BTreeSet<u32> {
    let directory = directory.canonicalize().unwrap();
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_inside = |pid: &u32| {
        let at = fs::read_link(format!("/proc/{pid}/cwd"));
        at.is_ok_and(|at| at.starts_with(&directory))
    };
    pids.filter(is_inside).collect()
}

/// Runs the command line against one master: what it writes.
fn peloton(master: &str, arguments: &[&str]) -> String {
    let output = cli_command().args(["--masters", master]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn masters(whereabouts: &Value) -> Vec<String> {
    let all = whereabouts["masters"].as_array().unwrap().iter();
    all.map(|master| master.as_str().unwrap().to_owned()).collect()
}

/// A job of three instances, of two processes each.
fn create(minicluster: &Minicluster, master: &str) {
    let job = json!({
        "id": "mine", "name": "mine", "instanceCount": 3,
        "command": {"value": "sleep 1000 & wait"},
        "resource": {"cpusLimit": 0.1, "memLimitMb": 32, "diskLimitMb": 16},
    });
    let file = minicluster.temporary.path().join("job.yaml");
    fs::write(&file, job.to_string()).unwrap();
    peloton(master, &["job", "create", "-f", file.to_str().unwrap(), "--watch"]);
}

#[test]
fn a_minicluster_serves_a_job_at_every_master_and_leaves_nothing_after_ctrl_c() {
    let port = free_ports(3);
    let mut minicluster = Minicluster::start(&["--port", &port.to_string()]);
    let whereabouts = minicluster.whereabouts();
    let masters = masters(&whereabouts);
    let expected = [port, port + 1, port + 2].map(|port| format!("127.0.0.1:{port}"));
    assert_eq!(masters, expected);

    // All of them work.
    wait_until("an even share of the shards", PATIENCE, || {
        let status = peloton(&masters[0], &["-o", "json", "cluster", "status"]);
        let status: Value = serde_json::from_str(&status).unwrap();
        let mut shares: BTreeMap<String, u32> = BTreeMap::new();
        for shard in status["status"]["shards"].as_array().into_iter().flatten() {
            *shares.entry(shard["owner"].to_string()).or_default() += 1;
        }
        let mut counts: Vec<u32> = shares.values().copied().collect();
        counts.sort_unstable();
        if counts == [2, 3, 3] { Ok(()) } else { Err(format!("{shares:?}")) }
    });
    create(&minicluster, &masters[1]);
    for master in &masters {
        let tasks = peloton(master, &["task", "list", "mine"]);
        assert_eq!(tasks.matches(" RUNNING ").count(), 3, "{master}: {tasks}");
    }
    // Tasks are real.
    assert!(minicluster.processes().len() >= 6, "{:?}", minicluster.processes());
    let second = cli_command()
        .args(["minicluster", "--port", &port.to_string(), "--mesos-port", "0"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("port {port} ")) && said.contains("--port"), "{said}");

    minicluster.signal(Signal::INT);
    assert!(minicluster.wait().success(), "{}", minicluster.errors());
    assert_eq!(minicluster.processes(), BTreeSet::new());
    assert_eq!(minicluster.left(), Vec::<PathBuf>::new());
    for port in port..port + 3 {
        TcpListener::bind(("127.0.0.1", port)).unwrap();
    }
    let mesos = whereabouts["mesos"].as_str().unwrap();
    TcpListener::bind(mesos).unwrap();
}

#[test]
fn a_killed_minicluster_leaves_no_task() {
    let mut minicluster = Minicluster::start(&["--port", "0", "--master-count", "1"]);
    let masters = masters(&minicluster.whereabouts());
    create(&minicluster, &masters[0]);
    assert!(minicluster.processes().len() >= 6, "{:?}", minicluster.processes());
    minicluster.signal(Signal::KILL);
    minicluster.wait();
    wait_until("end of all tasks", PATIENCE, || {
        let left = minicluster.processes();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
}

#[test]
fn the_demo_is_shown_once_in_a_directory_that_stays() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("kept");
    let run = || -> Command {
        let mut command = cli_command();
        command.args(["minicluster", "--once", "--port", "0", "--mesos-port", "0", "--dir"]);
        command.arg(&directory);
        command
    };
    let output = run().output().unwrap();
    let (text, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}{errors}");
    for state in [" RUNNING ", " SUCCEEDED "] {
        let placed = |line: &&str| line.contains(state) && line.contains(" agent-");
        assert_eq!(text.lines().filter(placed).count(), 10, "{state}: {text}");
    }
    assert_eq!(processes_in(&directory), BTreeSet::new());
    let mut log = String::new();
    File::open(directory.join("masters.log")).unwrap().read_to_string(&mut log).unwrap();
    assert!(log.contains("serving the API"), "{log}");
    // Each begins anew.
    let again = run().output().unwrap();
    assert_eq!(again.status.code(), Some(2), "{again:?}");
    assert!(String::from_utf8_lossy(&again.stderr).contains("it is not empty"), "{again:?}");
}

#[test]
fn a_mesos_that_is_not_there_is_named() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let directory = tempfile::tempdir().unwrap();
    let output = cli_command()
        .args(["minicluster", "--port", "0", "--mesos", &nobody])
        .env("TMPDIR", directory.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(said.contains(&nobody), "{said}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "{said}");
    // A program alone, with no testbed beside it or on its path.
    let alone = directory.path().join("peloton");
    fs::copy(cli_command().get_program(), &alone).unwrap();
    let output = Command::new(&alone)
        .args(["minicluster", "--port", "0", "--mesos", "real"])
        .env("PATH", directory.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("peloton-testbed") && said.contains("cargo xtask build"), "{said}");
}
