//! What an instance writes to a persistent volume is there in its next run, whatever came between.

use std::fs;

use serde_json::json;

use super::{options, persistent, seen, volumes, wait_held, wait_volumes, with_volumes};
use crate::support::{
    Audit, Cluster, Job, PATIENCE, SharedMesos, State, Task, Upgrade, shared_mesos, wait_until,
};

/// Adds a line to the file in its volume, then waits; it fails once the file `crash` is there.
fn command(crash: &std::path::Path, word: &str) -> String {
    let crash = crash.display();
    format!(
        "echo {word} >> data/log; while test ! -e {crash}; do sleep 0.1; done; rm {crash}; exit 1"
    )
}

/// Waits until just these lines are in the file in its volume.
#[track_caller]
fn wait_log(mesos: &SharedMesos, task: &Task, lines: &[&str], after: &str) {
    wait_until(&format!("what was written before {after}"), PATIENCE, || {
        let log = seen(mesos, task, "data/log");
        let same = log.lines().eq(lines.iter().copied());
        if same { Ok(()) } else { Err(log) }
    });
}

#[test]
fn what_is_written_is_there_after_everything_that_happens_to_an_instance() {
    let Some(mesos) = shared_mesos() else { return };
    let mut cluster = Cluster::start(mesos, "written", &[]);
    let audit = Audit::new(mesos, cluster.role());
    let crash = cluster.directory().join("crash");
    let quick = json!({"initialBackoffMs": 100, "maxBackoffMs": 100});
    let of = |command: &str| {
        let mut config = with_volumes(1, command, json!([persistent("data", "DELETE")]));
        config["restartPolicy"] = quick.clone();
        config
    };
    let mut lines = vec!["one"];
    let (home, places);
    {
        let job = Job::create(&cluster, "written", &of(&command(&crash, "one")));
        let first = job.wait_running(1).remove(&0).unwrap();
        home = (first.host.clone(), first.slot.clone());
        wait_volumes(&cluster, "written", 1, 2);
        wait_held(&audit, 1, 16);
        places = audit.places().unwrap();
        let check = |what: &str, run: u64, lines: &[&str]| {
            let task =
                job.wait_task(0, what, |task| task.run > run && task.state == State::Running);
            assert_eq!((&task.host, &task.slot), (&home.0, &home.1), "after {what}");
            wait_log(mesos, &task, lines, what);
            task.run
        };
        let mut run = check("its start", 0, &lines);

        fs::write(&crash, "").unwrap();
        lines.push("one");
        run = check("a crash", run, &lines);
        job.tasks_call("Restart", 0, 0);
        lines.push("one");
        run = check("a restart", run, &lines);
        let upgrade = Upgrade::create(&job, &of(&command(&crash, "two")), options(1));
        upgrade.wait(&cluster, "SUCCEEDED");
        lines.push("two");
        run = check("an upgrade", run, &lines);
        let bad = Upgrade::create(&job, &of("echo bad >> data/log; exit 3"), options(1));
        bad.wait(&cluster, "ROLLED_BACK");
        lines.extend(["bad", "two"]);
        run = check("a rollback", run, &lines);
        job.tasks_call("Stop", 0, 0);
        job.wait_states(&[State::Killed]);
        audit.wait_places(&places);
        job.tasks_call("Start", 0, 0);
        lines.push("two");
        check("a stop and a start", run, &lines);
    }
    let id = super::ids(&volumes(&cluster, "written"));
    cluster.kill();
    cluster.launch();
    cluster.wait_healthy();
    let job = Job::of(&cluster, "written");
    let run = job.wait_running(1)[&0].run;
    job.tasks_call("Restart", 0, 0);
    let task = job.wait_task(0, "after the master's kill", |task| {
        task.run > run && task.state == State::Running
    });
    lines.push("two");
    wait_log(mesos, &task, &lines, "the master was killed");
    assert_eq!(super::ids(&volumes(&cluster, "written")), id, "it is the same volume");
    audit.wait_places(&places);
    job.delete();
    audit.wait_nothing_left();
    assert_eq!(volumes(&cluster, "written"), Vec::<serde_json::Value>::new());
}

#[test]
fn every_instance_has_a_volume_of_its_own_also_many_on_one_agent() {
    let Some(mesos) = shared_mesos() else { return };
    let cluster = Cluster::start(mesos, "own", &[]);
    let audit = Audit::new(mesos, cluster.role());
    let volumes = json!([persistent("a", "DELETE"), persistent("b", "DELETE")]);
    let command =
        "echo $PELOTON_INSTANCE_ID >> a/who; echo $PELOTON_INSTANCE_ID >> b/who; exec sleep 1000";
    let mut config = with_volumes(6, command, volumes);
    config["placement"] = json!({"strategy": "PACK"});
    let job = Job::create(&cluster, "own", &config);
    let tasks = job.wait_running(6);
    wait_volumes(&cluster, "own", 12, 2);
    for (number, task) in &tasks {
        for name in ["a/who", "b/who"] {
            wait_until("its own number, once", PATIENCE, || {
                let who = seen(mesos, task, name);
                if who == format!("{number}\n") { Ok(()) } else { Err(who) }
            });
        }
    }
    wait_held(&audit, 6, 6 * 32);
    job.delete();
    audit.wait_nothing_left();
}
