//! `--watch`: the lines that it writes where there is no terminal, and how it ends.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use peloton_proto::peloton::job::{JobState, JobStatus, JobType};
use peloton_proto::peloton::task::TaskState::{
    Failed, Killed, Running, Scheduling, Succeeded, Throttled,
};

use crate::data;
use crate::master::{Job, Master};
use crate::transcript::Transcript;

const JOB: &str = "instanceCount: 10\ncommand: {value: x}\n";
const BATCH: &str = "type: BATCH\ninstanceCount: 10\ncommand: {value: x}\n";

fn master(progress: Vec<Option<JobStatus>>) -> (Master, Transcript) {
    let master = Master::start();
    master.state().progress = progress.into();
    let t = Transcript::new(&master.address());
    t.file("job.yaml", JOB);
    t.file("batch.yaml", BATCH);
    (master, t)
}

#[test]
fn until_all_run_or_have_ended() {
    let (_service, mut t) = master(vec![
        Some(data::status(JobState::Uninitialized, 10, &[])),
        Some(data::status(JobState::Pending, 10, &[(Running, 4), (Scheduling, 6)])),
        Some(data::status(JobState::Pending, 10, &[(Running, 4), (Scheduling, 6)])),
        Some(data::status(JobState::Running, 10, &[(Running, 10)])),
    ]);
    assert_eq!(t.run("job create web -f job.yaml --watch"), 0);
    let (_batch, mut b) = master(vec![
        Some(data::status(JobState::Running, 10, &[(Running, 8), (Succeeded, 2)])),
        Some(data::status(JobState::Succeeded, 10, &[(Succeeded, 10)])),
    ]);
    assert_eq!(b.run("job create index -f batch.yaml --watch"), 0);
    t.check("watch-service.txt");
    b.check("watch-batch.txt");
}

#[test]
fn until_it_failed_or_the_time_is_up() {
    let (_failed, mut t) =
        master(vec![Some(data::status(JobState::Failed, 10, &[(Succeeded, 9), (Failed, 1)]))]);
    assert_eq!(t.run("job create index -f batch.yaml --watch -o json"), 1);
    t.check("watch-failed.txt");
    let (_killed, mut t) = master(vec![Some(data::status(JobState::Killed, 10, &[(Killed, 10)]))]);
    assert_eq!(t.run("job create web -f job.yaml --watch"), 1);
    t.check("watch-killed.txt");
    let (_waiting, mut t) = master(vec![Some(data::waiting_status())]);
    assert_eq!(t.run("job create web -f job.yaml --watch --watch-timeout 1s"), 6);
    t.check("watch-timeout.txt");
}

#[test]
fn instances_that_fail_again_and_again_say_why() {
    let master = Master::with_jobs();
    let mut t = Transcript::new(&master.address());
    let got = t.command("job get web").output().unwrap();
    t.file("web.yaml", &String::from_utf8(got.stdout).unwrap());
    let tasks = (0..3).map(|i| {
        let mut task = data::task("web", i, Throttled, 1);
        if i > 0 {
            task.runtime.as_mut().unwrap().message = "no image provider\nfor DOCKER".into();
        }
        (i, task)
    });
    let mut status = data::status(JobState::Pending, 3, &[(Throttled, 3)]);
    let job = |status| Job {
        config: data::config("search", JobType::Service, 9),
        statuses: [Some(status)].into(),
        tasks: [tasks.clone().collect()].into(),
        ..Job::default()
    };
    master.state().jobs.insert("web".into(), job(status.clone()));
    assert_eq!(t.run("job status web"), 0);
    assert_eq!(t.run("job update -f web.yaml --watch --watch-timeout 1s"), 6);
    // Failures that are over are not told of: these tasks' messages are of no interest then.
    status = data::status(JobState::Running, 3, &[(Running, 3)]);
    master.state().jobs.insert("web".into(), job(status));
    assert_eq!(t.run("job status web"), 0);
    assert_eq!(t.run("job update -f web.yaml --watch"), 0);
    t.check("failures.txt");
}

#[test]
fn until_a_deleted_job_is_gone() {
    let master = Master::with_jobs();
    let left = JobStatus { leftovers: 3, ..data::status(JobState::Deleted, 9, &[]) };
    let there = data::status(JobState::Running, 9, &[(Running, 9)]);
    master.state().jobs.get_mut("web").unwrap().statuses = [Some(there), Some(left), None].into();
    let mut t = Transcript::new(&master.address());
    assert_eq!(t.run("job delete web --yes --watch"), 0);
    t.check("watch-delete.txt");
}

#[test]
fn until_instances_have_done_what_was_asked() {
    let master = Master::with_jobs();
    let tasks = |states: [(_, u64); 4]| {
        let task = |(i, (state, run))| (i as u32, data::task("web", i as u32, state, run));
        states.into_iter().enumerate().map(task).collect()
    };
    let job = |all: Vec<_>| Job {
        config: data::config("search", JobType::Service, 4),
        tasks: all.into(),
        ..Job::default()
    };
    let mut t = Transcript::new(&master.address());
    let up = || tasks([(Running, 1), (Running, 5), (Running, 1), (Running, 1)]);
    let some = tasks([(Running, 2), (Scheduling, 6), (Running, 1), (Killed, 1)]);
    let all = tasks([(Running, 2), (Running, 6), (Running, 2), (Running, 2)]);
    master.state().jobs.insert("web".into(), job(vec![up(), up(), some, all]));
    assert_eq!(t.run("job restart web --watch"), 0);
    let ended = tasks([(Killed, 1), (Killed, 5), (Killed, 1), (Killed, 1)]);
    master.state().jobs.insert("web".into(), job(vec![up(), ended]));
    assert_eq!(t.run("job stop web -i 0-3 --watch"), 0);
    t.check("watch-tasks.txt");
}

#[test]
fn ctrl_c_leaves_the_job_alone() {
    let (master, t) = master(vec![Some(data::waiting_status())]);
    let mut command = t.command("job create web -f job.yaml --watch");
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    // It watches once it has written its first line.
    let first = lines.next().unwrap().unwrap();
    assert!(first.starts_with("web: 5 of 9 running"), "{first}");
    let id = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let rest: Vec<_> = lines.map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(rest[0], "error: stopped watching job \"web\"; the job itself goes on");
    assert!(master.state().jobs.contains_key("web"));
    assert_eq!(master.state().requests, ["create web with 10 for ann"]);
}
