//! The program: one command starts a Mesos, and one signal ends it, kill -9 included.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use peloton_proto::mesos::v1::TaskState;
use rustix::process::{Pid, Signal, kill_process};

use crate::outages::{leaver, processes, sign};
use crate::support::{Scheduler, eventually, get};

/// Starts the program: it, the master's address, and where the sandboxes are.
fn run(arguments: &[&str]) -> (Child, String, PathBuf) {
    let mut program = Command::new(env!("CARGO_BIN_EXE_mesos-sim"))
        .args(["--port", "0"])
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
    let mut after = |prefix: &str| {
        let line = lines.find(|line| line.as_ref().unwrap().contains(prefix)).unwrap().unwrap();
        line.split_once(prefix).unwrap().1.to_owned()
    };
    let address = after("listens on http://");
    let work_dir = after("sandboxes: ").into();
    (program, address, work_dir)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_ends_everything_however_it_ends() {
    for signal in [Signal::TERM, Signal::KILL] {
        let (mut program, address, work_dir) = run(&["--agents", "1"]);
        let mut scheduler = Scheduler::subscribe(&address).await;
        let sign = sign(&format!("program-{}", signal.as_raw()));
        scheduler.run("t", &leaver(&sign)).await;
        scheduler.reach("t", TaskState::TaskRunning).await;
        assert!(work_dir.exists() && processes(&sign) > 0);
        kill_process(Pid::from_child(&program), signal).unwrap();
        let status = program.wait().unwrap();
        if signal == Signal::TERM {
            assert!(status.success(), "{status}");
            assert_eq!((processes(&sign), work_dir.exists()), (0, false));
        }
        // After a SIGKILL, the guard does it.
        eventually("end", || (processes(&sign) == 0 && !work_dir.exists()).then_some(())).await;
        assert!(std::net::TcpStream::connect(address).is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fake_agents_play_their_tasks() {
    let arguments = ["--fake", "20", "--run-time-ms", "1..5", "--allocation-interval-ms", "50"];
    let (mut program, address, _) = run(&arguments);
    let agents = get(&address, "/master/slaves").await;
    assert_eq!(agents["slaves"].as_array().unwrap().len(), 20);
    let mut scheduler = Scheduler::subscribe(&address).await;
    scheduler.run("t", "anything").await;
    scheduler.reach("t", TaskState::TaskFinished).await;
    kill_process(Pid::from_child(&program), Signal::TERM).unwrap();
    assert!(program.wait().unwrap().success());
}
