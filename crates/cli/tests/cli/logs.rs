//! `task logs`.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use peloton_proto::peloton::job::JobType;
use peloton_proto::peloton::task::TaskState;

use crate::agent::Agent;
use crate::data;
use crate::master::{Job, Master};
use crate::transcript::Transcript;

/// A master with a job `web` whose instance 0 has its sandbox on the agent at `url`.
fn master(url: &str, states: &[TaskState]) -> Master {
    let master = Master::start();
    let mut job = Job { config: data::config("x", JobType::Service, 1), ..Job::default() };
    for state in states {
        let mut task = data::task("web", 0, *state, 2);
        if *state != TaskState::Scheduling {
            let runtime = task.runtime.as_mut().unwrap();
            runtime.agent_url = url.to_owned();
            runtime.sandbox_path = "/sandbox/now".into();
        }
        job.tasks.push_back([(0, task)].into());
    }
    master.state().jobs.insert("web".into(), job);
    master
}

#[test]
fn every_byte_of_every_piece() {
    let agent = Agent::start("/files/read");
    // Pieces end in the middle of characters; some bytes are no text at all.
    let mut content: Vec<u8> = "äöü \"quoted\" \t ☃\n".repeat(400).into_bytes();
    content.extend([0, 1, 0xff, 0xfe, b'\n']);
    agent.append("/sandbox/now/stdout", &content);
    let master = master(&agent.url(), &[TaskState::Running]);
    let t = Transcript::new(&master.address());
    let output = t.command("task logs web 0").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stdout == content);
    let output = t.command("task logs web 0 --offset 5000").output().unwrap();
    assert!(output.stdout == content[5000..]);
}

#[test]
fn parts_streams_and_runs() {
    let agent = Agent::start("/slave(1)/files/read");
    let lines: String = (1..=1000).map(|i| format!("line {i}\n")).collect();
    agent.append("/sandbox/now/stdout", lines.as_bytes());
    agent.append("/sandbox/now/stderr", b"no newline");
    agent.append("/sandbox/before/stdout", b"from before\n");
    let url = format!("{}/slave(1)", agent.url());
    let master = master(&url, &[TaskState::Running]);
    let mut t = Transcript::new(&master.address());
    t.name(agent.address(), "AGENT");
    for line in [
        "task logs web 0 --tail 3",
        "task logs web 0 --tail 0",
        "task logs web 0 --offset 8884",
        "task logs web 0 --stderr",
        "task logs web 0 --stderr --tail 1",
        "task logs web 0 --run 1",
    ] {
        assert_eq!(t.run(line), 0, "{line}");
    }
    let all = t.command("task logs web 0 --tail 5000").output().unwrap();
    assert_eq!(String::from_utf8(all.stdout).unwrap(), lines);
    assert_eq!(t.run("task logs web 0 --run 7"), 3);
    assert_eq!(t.run("task logs web 0 --run 1 --stderr"), 3);
    assert_eq!(t.run("task logs web 5"), 3);
    t.check("logs.txt");
}

#[test]
fn no_sandbox_or_no_agent() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = nobody.local_addr().unwrap().to_string();
    drop(nobody);
    let states = [TaskState::Scheduling, TaskState::Running];
    let master = master(&format!("http://{gone}"), &states);
    let mut t = Transcript::new(&master.address());
    t.name(&gone, "GONE");
    assert_eq!(t.run("task logs web 0"), 1);
    assert_eq!(t.run("task logs web 0"), 1);
    t.check("logs-missing.txt");
}

#[test]
fn following_ends_with_the_run() {
    let agent = Agent::start("/files/read");
    agent.append("/sandbox/now/stdout", b"one\n");
    // Waits for the sandbox, too.
    let master = master(&agent.url(), &[TaskState::Scheduling, TaskState::Running]);
    let t = Transcript::new(&master.address());
    let mut command = t.command("task logs web 0 --follow");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.next().unwrap(), "one");
    agent.append("/sandbox/now/stdout", b"two\n");
    assert_eq!(lines.next().unwrap(), "two");
    agent.append("/sandbox/now/stdout", b"three\n");
    let mut state = master.state();
    let task = state.jobs.get_mut("web").unwrap().tasks[0].get_mut(&0).unwrap();
    task.runtime.as_mut().unwrap().set_state(TaskState::Killed);
    drop(state);
    assert_eq!(lines.collect::<Vec<_>>(), ["three"]);
    assert!(child.wait().unwrap().success());
}
