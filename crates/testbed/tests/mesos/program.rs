//! The program: one command starts a Mesos, and one signal ends it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use peloton_testbed::Operator;
use rustix::process::{Pid, Signal, kill_process};

use crate::eventually;
use crate::scheduler::Scheduler;

/// How many processes have this directory in their command line.
fn processes_of(directory: &Path) -> usize {
    let directory = directory.display().to_string();
    let mentions = |pid: &str| {
        fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| String::from_utf8_lossy(&line).contains(&directory))
    };
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(mentions))
        .count()
}

/// Starts the program and a task that outlives its agent; returns the master's address, too.
fn run(work_dir: &Path) -> (Child, String) {
    // A port of the range that the library does not choose from.
    let port = (19_000..20_000)
        .skip(usize::try_from(std::process::id() % 500).unwrap())
        .find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_peloton-testbed"))
        .args(["run", "--agents", "1", "--port", &port.to_string(), "--work-dir"])
        .arg(work_dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    let address = format!("127.0.0.1:{port}");
    assert!(first.ends_with(&format!("runs on http://{address}")), "{first}");
    let mut scheduler = Scheduler::subscribe(&address);
    // Its directory is in its command line, so that it can be found.
    scheduler.run("t", &format!("while :; do sleep 0.1; done # {}", work_dir.display()));
    scheduler.reach("t", "TASK_RUNNING");
    assert_eq!(Operator::new(address.as_str()).agents().unwrap().len(), 1);
    assert!(processes_of(work_dir) >= 4);
    (program, address)
}

#[test]
fn the_program_ends_everything_when_it_is_ended() {
    if peloton_testbed::require().is_none() {
        return;
    }
    for signal in [Signal::TERM, Signal::KILL] {
        let directory = tempfile::tempdir().unwrap();
        let (mut program, address) = run(directory.path());
        kill_process(Pid::from_child(&program), signal).unwrap();
        let status = program.wait().unwrap();
        if signal == Signal::TERM {
            assert!(status.success(), "{status}");
            assert_eq!(processes_of(directory.path()), 0);
        }
        // After a SIGKILL, the guard does it.
        eventually("end", || (processes_of(directory.path()) == 0).then_some(()));
        assert!(Operator::new(address).agents().is_err());
    }
}
