//! Upgrades that users hold, turn, end and replace.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{NEW, OLD, assert_at_home, options, restarted, sized, version, wait_reserved};
use crate::support::{Audit, Cluster, Job, PATIENCE, Upgrade, config, shared_mesos, wait_until};

#[test]
fn an_upgrade_is_paused_resumed_rolled_back_and_aborted() {
    let Some(mesos) = shared_mesos() else { return };
    let cluster = Cluster::start(mesos, "by-hand", &[]);
    let audit = Audit::new(mesos, cluster.role());
    let job = Job::service(&cluster, "web", 6, OLD, json!({}));
    let before = job.wait_running(6);
    audit.wait_slots(6);
    let places = audit.places().unwrap();

    let paused = json!({"startPaused": true});
    let upgrade = Upgrade::create(&job, &config(6, NEW, json!({})), options(2, paused.clone()));
    upgrade.wait(&cluster, "PAUSED");
    assert_eq!(restarted(&before, &job.tasks()).len(), 0, "it waits");
    assert!(upgrade.call(&cluster, "Pause")["invalidState"].is_object(), "it is paused");
    assert_eq!(upgrade.call(&cluster, "Resume"), json!({}));
    upgrade.wait_done(&cluster, 1);
    assert_eq!(upgrade.call(&cluster, "Pause"), json!({}));
    // What is in hand is finished; no other is begun.
    let half = wait_until("a paused upgrade with nothing in hand", PATIENCE, || {
        let info = upgrade.get(&cluster);
        let idle = info["instances"].as_array().is_none_or(Vec::is_empty);
        let half = job.tasks();
        let same = info["numTasksDone"] == restarted(&before, &half).len();
        if info["state"] == 2 && idle && same { Ok(half) } else { Err(info.to_string()) }
    });
    let done = restarted(&before, &half).len();
    assert!((1..6).contains(&done), "{done} were done when it paused");

    let answer = upgrade.call(&cluster, "Rollback");
    assert_eq!(answer["result"]["value"], upgrade.id.as_str(), "{answer}");
    // One that goes back does not wait any longer.
    upgrade.wait(&cluster, "ROLLED_BACK");
    let back = assert_at_home(&job, &before, 6, 1);
    assert_eq!(restarted(&half, &back), restarted(&before, &half), "just these went back");
    audit.wait_places(&places);

    let aborted = Upgrade::create(&job, &config(6, NEW, json!({})), options(2, json!({})));
    aborted.wait_done(&cluster, 1);
    assert_eq!(aborted.call(&cluster, "Abort"), json!({}));
    aborted.wait(&cluster, "ABORTED");
    job.wait_running(6);
    audit.wait_places(&places);
    let answer = aborted.call(&cluster, "Rollback");
    let id = answer["result"]["value"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
    Upgrade { id }.wait(&cluster, "ROLLED_BACK");
    let last = assert_at_home(&job, &before, 6, 1);
    audit.wait_places(&places);
    audit.wait_tasks(&last.into_values().map(|task| task.id).collect());

    let forward = Upgrade::create(&job, &config(6, NEW, json!({})), options(0, json!({})));
    forward.wait(&cluster, "SUCCEEDED");
    let answer = forward.call(&cluster, "Rollback");
    let id = answer["result"]["value"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
    assert_ne!(id, forward.id, "one that has succeeded is taken back by a new one");
    let back = Upgrade { id }.wait(&cluster, "SUCCEEDED");
    assert_eq!(back["takesBack"]["value"], forward.id.as_str(), "{back}");
    job.wait_running(6);
    audit.wait_places(&places);
    job.delete();
    audit.wait_nothing_left();
}

#[test]
fn an_upgrade_that_is_not_to_go_back_fails_where_it_is_and_can_be_rolled_back() {
    let Some(mesos) = shared_mesos() else { return };
    let cluster = Cluster::start(mesos, "stays-failed", &[]);
    let audit = Audit::new(mesos, cluster.role());
    let job = Job::service(&cluster, "web", 6, OLD, json!({}));
    let before = job.wait_running(6);
    audit.wait_slots(6);
    let places = audit.places().unwrap();

    let failing = "test $PELOTON_INSTANCE_ID = 3 && exit 1; exec sleep 2000";
    let stays = json!({"rollbackOnFailure": false});
    let upgrade = Upgrade::create(&job, &config(6, failing, json!({})), options(2, stays));
    let info = upgrade.wait(&cluster, "FAILED");
    assert!(info["failure"].as_str().unwrap().contains("instance 3 failed"), "{info}");
    let stuck = job.tasks();
    let untouched: Vec<_> = stuck.values().filter(|task| version(task) == 1).collect();
    assert!(!untouched.is_empty() && untouched.len() < 5, "{untouched:?}");
    audit.wait_places(&places);

    let answer = upgrade.call(&cluster, "Rollback");
    assert_eq!(answer["result"]["value"], upgrade.id.as_str(), "{answer}");
    upgrade.wait(&cluster, "ROLLED_BACK");
    let after = assert_at_home(&job, &before, 6, 1);
    for (number, _) in stuck.iter().filter(|(_, task)| version(task) == 1) {
        assert_eq!(after[number].id, before[number].id, "instance {number} was not touched");
    }
    audit.wait_places(&places);
    audit.wait_tasks(&after.into_values().map(|task| task.id).collect());
    job.delete();
    audit.wait_nothing_left();
}

/// The instances in hand of which the new version runs, and is not proven yet.
fn in_flight(info: &Value) -> BTreeSet<u32> {
    let all = info["instances"].as_array().into_iter().flatten();
    let on_the_way = all.filter(|one| one["stage"] == "SWITCH" && one["version"] == 2);
    on_the_way.map(|one| one["instanceId"].as_u64().unwrap_or_default() as u32).collect()
}

#[test]
fn a_soft_abort_finishes_what_is_in_flight_and_begins_nothing() {
    let Some(mesos) = shared_mesos() else { return };
    let cluster = Cluster::start(mesos, "soft-abort", &[]);
    let audit = Audit::new(mesos, cluster.role());
    let job = Job::service(&cluster, "web", 6, OLD, json!({}));
    let before = job.wait_running(6);
    audit.wait_slots(6);
    let places = audit.places().unwrap();

    let slow = options(2, json!({"minHealthySecs": 3}));
    let upgrade = Upgrade::create(&job, &config(6, NEW, json!({})), slow);
    wait_until("two in flight", PATIENCE, || {
        let info = upgrade.get(&cluster);
        if in_flight(&info) == [0, 1].into() { Ok(()) } else { Err(info.to_string()) }
    });
    let soft = json!({"workflowId": {"value": upgrade.id}, "softAbort": true});
    assert_eq!(cluster.yarpc("UpgradeManager.Abort", soft), json!({}));
    let info = upgrade.wait(&cluster, "ABORTED");
    assert_eq!(info["numTasksDone"], 2, "{info}");
    let events = upgrade.events(&cluster);
    for number in [0, 1] {
        assert!(events.contains(&("PROVEN".to_owned(), Some(number))), "{number}: {events:?}");
    }
    let half = job.wait_running(6);
    assert_eq!(restarted(&before, &half), [0, 1].into());
    let new = half.iter().filter(|(_, task)| version(task) == 2).map(|(number, _)| *number);
    assert_eq!(new.collect::<BTreeSet<_>>(), [0, 1].into());
    audit.wait_places(&places);

    let answer = upgrade.call(&cluster, "Rollback");
    assert_eq!(answer["result"]["value"], upgrade.id.as_str(), "{answer}");
    upgrade.wait(&cluster, "ROLLED_BACK");
    let after = assert_at_home(&job, &before, 6, 1);
    assert_eq!(restarted(&half, &after), [0, 1].into());
    audit.wait_places(&places);
    job.delete();
    audit.wait_nothing_left();
}

#[test]
fn one_that_replaces_another_falls_back_to_what_was_proven_last() {
    let Some(mesos) = shared_mesos() else { return };
    let cluster = Cluster::start(mesos, "replacing", &[]);
    let audit = Audit::new(mesos, cluster.role());
    let job = Job::create(&cluster, "web", &sized(6, 0.1, 32, OLD));
    let before = job.wait_running(6);
    audit.wait_slots(6);
    let places = audit.places().unwrap();

    let slow = || options(2, json!({"minHealthySecs": 2}));
    let first = Upgrade::create(&job, &sized(6, 0.2, 32, NEW), slow());
    first.wait_done(&cluster, 2);
    let spec =
        json!({"jobId": {"value": "web"}, "jobConfig": sized(6, 0.1, 32, "exec sleep 3000")});
    let refused = cluster.yarpc("UpgradeManager.Create", json!({"spec": spec}));
    assert_eq!(refused["alreadyExists"]["id"]["value"], first.id.as_str(), "{refused}");
    // The last one fails: others have come from the first version to this one, or by way of the second.
    let failing = "test $PELOTON_INSTANCE_ID = 5 && exit 1; exec sleep 3000";
    let second = Upgrade::replace(&job, &sized(6, 0.1, 48, failing), slow());
    let replaced = first.wait(&cluster, "ABORTED");
    assert!(replaced["message"].as_str().unwrap().contains("replaced"), "{replaced}");
    let info = second.wait(&cluster, "ROLLED_BACK");
    assert_eq!(info["replaces"]["value"], first.id.as_str(), "{info}");
    let versions = (&info["fromVersion"], &info["toVersion"]);
    assert_eq!(versions, (&json!(1), &json!(3)), "{info}");
    assert_eq!(first.get(&cluster)["state"], 5, "it stays ABORTED");
    let back = assert_at_home(&job, &before, 6, 1);
    audit.wait_places(&places);

    let third = Upgrade::create(&job, &sized(6, 0.2, 32, NEW), slow());
    third.wait_done(&cluster, 2);
    let last = Upgrade::replace(&job, &sized(6, 0.1, 48, "exec sleep 4000"), options(3, json!({})));
    last.wait(&cluster, "SUCCEEDED");
    let after = assert_at_home(&job, &before, 6, 5);
    assert_eq!(restarted(&back, &after).len(), 6);
    wait_reserved(&audit, &[("cpus", 600), ("mem", 288_000), ("disk", 96_000)]);
    audit.wait_tasks(&after.into_values().map(|task| task.id).collect());
    job.delete();
    audit.wait_nothing_left();
}
