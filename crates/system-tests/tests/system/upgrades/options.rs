//! What can be asked of an upgrade: to end all first, to try again, to let some fail.

use std::fs;

use serde_json::json;

use super::{NEW, OLD, assert_at_home, options, restarted, version};
use crate::support::{Audit, Cluster, Job, PATIENCE, Upgrade, config, shared_mesos, wait_until};

#[test]
fn all_are_ended_before_the_first_is_upgraded_and_so_on_the_way_back() {
    let Some(mesos) = shared_mesos() else { return };
    let cluster = Cluster::start(mesos, "stop-before", &[]);
    let audit = Audit::new(mesos, cluster.role());
    let notes = cluster.directory().join("notes");
    let notes = notes.display();
    // Each notes its start and its end, which takes a while.
    let noting = |name: &str, rest: &str| {
        format!(
            "trap 'sleep 0.5; echo end {name} >>{notes}; exit 0' TERM; echo start {name} >>{notes}; \
             {rest}; while :; do sleep 0.1; done"
        )
    };
    let job = Job::service(&cluster, "web", 4, &noting("old", ":"), json!({}));
    let before = job.wait_running(4);
    audit.wait_slots(4);
    let places = audit.places().unwrap();

    let all = json!({"stopBeforeUpgrade": true});
    let new = config(4, &noting("new", ":"), json!({}));
    let good = Upgrade::create(&job, &new, options(1, all.clone()));
    good.wait(&cluster, "SUCCEEDED");
    let upgraded = assert_at_home(&job, &before, 4, 2);
    let noted = fs::read_to_string(cluster.directory().join("notes")).unwrap();
    let [olds, news] = [["end old"; 4], ["start new"; 4]];
    let expected: Vec<&str> = ["start old"; 4].into_iter().chain(olds).chain(news).collect();
    assert_eq!(noted.lines().collect::<Vec<_>>(), expected);

    let failing = noting("bad", "test $PELOTON_INSTANCE_ID = 1 && exit 1");
    let bad = Upgrade::create(&job, &config(4, &failing, json!({})), options(1, all));
    bad.wait(&cluster, "ROLLED_BACK");
    let after = assert_at_home(&job, &before, 4, 2);
    assert_eq!(restarted(&upgraded, &after).len(), 4, "all were ended");
    audit.wait_places(&places);
    let noted = fs::read_to_string(cluster.directory().join("notes")).unwrap();
    let third: Vec<&str> = noted.lines().skip(12).take(6).collect();
    assert_eq!(third[..5], ["end new", "end new", "end new", "end new", "start bad"], "{noted}");
    job.delete();
    audit.wait_nothing_left();
}

#[test]
fn an_instance_is_tried_again_as_often_as_allowed() {
    let Some(mesos) = shared_mesos() else { return };
    let cluster = Cluster::start(mesos, "retries", &[]);
    let audit = Audit::new(mesos, cluster.role());
    let quick = json!({"restartPolicy": {"initialBackoffMs": 100, "maxBackoffMs": 200}});
    let job = Job::service(&cluster, "web", 2, OLD, quick.clone());
    let before = job.wait_running(2);
    audit.wait_slots(2);
    let places = audit.places().unwrap();
    // It fails so often, in each version; each try leaves a mark.
    let directory = cluster.directory().display().to_string();
    let clumsy = |name: &str, failures: u32| {
        let tries = format!("{directory}/{name}-$PELOTON_INSTANCE_ID");
        let failing = format!(
            "echo x >>{tries}; test $(wc -l <{tries}) -le {failures} && exit 7; exec sleep 2000"
        );
        config(2, &failing, quick.clone())
    };
    let failed_runs = |upgrade: &Upgrade| {
        let events = upgrade.events(&cluster);
        events.into_iter().filter(|(kind, _)| kind == "RUN_FAILED").count()
    };

    let twice = json!({"maxInstanceRetries": 2});
    let good = Upgrade::create(&job, &clumsy("twice", 2), options(2, twice.clone()));
    let info = good.wait(&cluster, "SUCCEEDED");
    assert_eq!(info["numTasksFailed"].as_u64().unwrap_or_default(), 0, "{info}");
    let upgraded = assert_at_home(&job, &before, 2, 2);
    assert!(upgraded.values().all(|task| task.run == 4), "three more runs each: {upgraded:?}");
    assert_eq!(failed_runs(&good), 4);

    let bad = Upgrade::create(&job, &clumsy("thrice", 3), options(1, twice));
    let info = bad.wait(&cluster, "ROLLED_BACK");
    assert!(info["failure"].as_str().unwrap().contains("status 7"), "{info}");
    let after = assert_at_home(&job, &before, 2, 2);
    assert_eq!(after[&1].id, upgraded[&1].id, "the second was not touched");
    assert_eq!(failed_runs(&bad), 3);
    audit.wait_places(&places);
    job.delete();
    audit.wait_nothing_left();
}

#[test]
fn so_many_instances_may_fail_and_no_more() {
    let Some(mesos) = shared_mesos() else { return };
    let cluster = Cluster::start(mesos, "tolerant", &[]);
    let audit = Audit::new(mesos, cluster.role());
    let job = Job::service(&cluster, "web", 5, OLD, json!({}));
    let before = job.wait_running(5);
    audit.wait_slots(5);
    let places = audit.places().unwrap();
    let failing = |which: &str| {
        let command = format!("case $PELOTON_INSTANCE_ID in {which}) exit 1;; esac; {NEW}");
        config(5, &command, json!({}))
    };
    let one = json!({"maxFailedInstances": 1});

    let bad = Upgrade::create(&job, &failing("1|3"), options(1, one.clone()));
    let info = bad.wait(&cluster, "ROLLED_BACK");
    assert!(info["failure"].as_str().unwrap().contains("instance 3"), "{info}");
    let back = assert_at_home(&job, &before, 5, 1);
    assert_eq!(back[&4].id, before[&4].id, "the last was not touched");
    audit.wait_places(&places);

    let good = Upgrade::create(&job, &failing("1"), options(1, one));
    let info = good.wait(&cluster, "SUCCEEDED");
    let counts = ["numTasksDone", "numTasksFailed"].map(|name| info[name].as_u64());
    assert_eq!(counts, [Some(4), Some(1)], "{info}");
    let failed = ("INSTANCE_FAILED".to_owned(), Some(1));
    assert!(good.events(&cluster).contains(&failed), "{:?}", good.events(&cluster));
    let after = job.tasks();
    wait_until("the others at the new version", PATIENCE, || {
        let after = job.tasks();
        let others = after.iter().filter(|(number, _)| **number != 1);
        let there = others.clone().all(|(_, task)| version(task) == 3);
        if there { Ok(()) } else { Err(format!("{after:?}")) }
    });
    // It is of the new version like the others, and started again for ever, as such are.
    assert_eq!(version(&after[&1]), 3, "{after:?}");
    audit.wait_places(&places);
    job.delete();
    audit.wait_nothing_left();
}
