//! Another framework takes all that is free, and an upgrade goes back nevertheless.

use std::fs;

use peloton_testbed::Options;
use serde_json::json;

use super::{NEW, OLD, assert_at_home, options, restarted, sized, small_agents, wait_reserved};
use crate::support::{Audit, Cluster, Greed, Job, PATIENCE, Rival, Upgrade, wait_until};

/// Two agents, each with room for a rival beside the job.
fn agents() -> Options {
    small_agents(2, "cpus:2;mem:1024;disk:1024")
}

/// The rival has all that is free before the upgrades begin, and until after their end.
#[track_caller]
fn goes_back_beside(greed: Greed) {
    let Some(mesos) = peloton_testbed::start(&agents()) else { return };
    let cluster = Cluster::start(&mesos, "beside", &[]);
    let audit = Audit::new(&mesos, cluster.role());
    let job = Job::create(&cluster, "beside", &sized(6, 0.1, 32, OLD));
    let before = job.wait_running(6);
    audit.wait_slots(6);
    let places = audit.places().unwrap();
    let rival = Rival::start(&mesos, greed);
    rival.wait_all_taken();

    // In its slots there is room for another version, whoever has the rest.
    let failing = "test $PELOTON_INSTANCE_ID = 4 && exit 1; exec sleep 2000";
    let bad = Upgrade::create(&job, &sized(6, 0.1, 32, failing), options(2, json!({})));
    bad.wait(&cluster, "ROLLED_BACK");
    let after = assert_at_home(&job, &before, 6, 1);
    let others = restarted(&before, &after);
    assert!(others.contains(&0) && others.contains(&4), "restarted: {others:?}");
    audit.wait_places(&places);

    // There is none for a larger one: nothing is ended for it.
    let quick = options(2, json!({"placementDeadlineSecs": 3}));
    let large = Upgrade::create(&job, &sized(6, 0.2, 48, NEW), quick);
    let info = large.wait(&cluster, "ROLLED_BACK");
    assert!(info["failure"].as_str().unwrap().contains("was not free"), "{info}");
    let last = assert_at_home(&job, &after, 6, 1);
    assert_eq!(restarted(&after, &last).len(), 0, "nothing was ended");
    audit.wait_places(&places);
    audit.wait_tasks(&last.into_values().map(|task| task.id).collect());
    rival.wait_all_taken();
    job.delete();
    audit.wait_nothing_left();
    // What the job had is the rival's now.
    rival.wait_all_taken();
}

#[test]
fn an_upgrade_goes_back_beside_a_rival_that_holds_all_offers() {
    goes_back_beside(Greed::Holds);
}

#[test]
fn an_upgrade_goes_back_beside_a_rival_that_launches_on_all_that_is_free() {
    goes_back_beside(Greed::Launches);
}

#[test]
fn what_was_widened_goes_back_though_a_rival_took_the_rest() {
    let Some(mesos) = peloton_testbed::start(&agents()) else { return };
    let cluster = Cluster::start(&mesos, "narrowed", &[]);
    let audit = Audit::new(&mesos, cluster.role());
    let job = Job::create(&cluster, "narrowed", &sized(4, 0.2, 32, OLD));
    let before = job.wait_running(4);
    wait_reserved(&audit, &[("cpus", 800), ("mem", 128_000), ("disk", 64_000)]);
    let places = audit.places().unwrap();

    // More memory, and fewer CPUs: the version before needs what the new one does not use.
    let fail = cluster.directory().join("fail");
    let failing = format!("while test ! -e {}; do sleep 0.1; done; exit 1", fail.display());
    let slow = options(0, json!({"minHealthySecs": 60}));
    let bad = Upgrade::create(&job, &sized(4, 0.1, 48, &failing), slow);
    wait_until("the new version of all", PATIENCE, || {
        let running = job
            .tasks()
            .into_values()
            .filter(|task| task.runtime["configVersion"] == 2 && task.runtime["state"] == 4);
        let count = running.count();
        if count == 4 { Ok(()) } else { Err(format!("{count} run it")) }
    });
    wait_reserved(&audit, &[("cpus", 800), ("mem", 192_000), ("disk", 64_000)]);
    let rival = Rival::start(&mesos, Greed::Launches);
    rival.wait_all_taken();
    let taken = rival.taken();
    fs::write(&fail, "").unwrap();

    bad.wait(&cluster, "ROLLED_BACK");
    let after = assert_at_home(&job, &before, 4, 1);
    audit.wait_places(&places);
    audit.wait_tasks(&after.into_values().map(|task| task.id).collect());
    assert_eq!(rival.taken(), taken, "the CPUs of the job were never free");
    job.delete();
    audit.wait_nothing_left();
}
