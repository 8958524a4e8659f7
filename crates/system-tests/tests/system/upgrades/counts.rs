//! Upgrades that change how many instances there are, and what each gets.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::{NEW, OLD, assert_at_home, options, restarted, sized, wait_reserved};
use crate::support::{Audit, Cluster, Job, PATIENCE, Upgrade, config, shared_mesos, wait_until};

/// A command that goes on, but of one instance, which fails as soon as there is a file.
fn failing_once_told(instance: u32, file: &Path) -> String {
    let waits = format!("while test ! -e {}; do sleep 0.1; done; exit 1", file.display());
    format!("test $PELOTON_INSTANCE_ID = {instance} && {{ {waits}; }}; exec sleep 3000")
}

/// Waits until this has happened to an instance in an upgrade.
#[track_caller]
fn wait_event(upgrade: &Upgrade, cluster: &Cluster, kind: &str, instance: u64) {
    wait_until(&format!("{kind} of {instance}"), PATIENCE, || {
        let events = upgrade.events(cluster);
        let there = events.contains(&(kind.to_owned(), Some(instance)));
        if there { Ok(()) } else { Err(format!("{events:?}")) }
    });
}

#[test]
fn instances_are_added_and_removed_and_come_back_to_their_slots_if_it_fails() {
    let Some(mesos) = shared_mesos() else { return };
    let cluster = Cluster::start(mesos, "counted", &[]);
    let audit = Audit::new(mesos, cluster.role());
    let job = Job::service(&cluster, "counted", 3, OLD, json!({}));
    let few = job.wait_running(3);
    let more = Upgrade::create(&job, &config(6, NEW, json!({})), options(2, json!({})));
    more.wait(&cluster, "SUCCEEDED");
    let many = assert_at_home(&job, &few, 6, 2);
    audit.wait_slots(6);
    let places = audit.places().unwrap();

    // The last that is kept fails when others were removed.
    let fail = cluster.directory().join("fail");
    let slow = options(4, json!({"minHealthySecs": 30}));
    let fails = Upgrade::create(&job, &config(3, &failing_once_told(2, &fail), json!({})), slow);
    wait_event(&fails, &cluster, "PROVEN", 5);
    fs::write(&fail, "").unwrap();
    let info = fails.wait(&cluster, "ROLLED_BACK");
    let back = assert_at_home(&job, &many, 6, 2);
    audit.wait_places(&places);
    let others = restarted(&many, &back);
    assert!(others.contains(&2) && others.contains(&5), "{others:?}: {info}");

    let less = Upgrade::create(&job, &config(3, OLD, json!({})), options(2, json!({})));
    less.wait(&cluster, "SUCCEEDED");
    let last = assert_at_home(&job, &few, 3, 4);
    audit.wait_tasks(&last.into_values().map(|task| task.id).collect());
    audit.wait_slots(3);
    job.delete();
    audit.wait_nothing_left();
}

#[test]
fn fewer_larger_instances_and_more_smaller_ones_come_back_to_their_slots() {
    let Some(mesos) = shared_mesos() else { return };
    let cluster = Cluster::start(mesos, "reshaped", &[]);
    let audit = Audit::new(mesos, cluster.role());
    let job = Job::create(&cluster, "reshaped", &sized(6, 0.2, 32, OLD));
    let before = job.wait_running(6);
    wait_reserved(&audit, &[("cpus", 1200), ("mem", 192_000), ("disk", 96_000)]);
    let places = audit.places().unwrap();
    let failing = |instance: u32| {
        format!("test $PELOTON_INSTANCE_ID = {instance} && exit 1; exec sleep 2000")
    };
    let saw = |upgrade: &Upgrade, kind: &str, instance: u64| {
        let events = upgrade.events(&cluster);
        assert!(
            events.contains(&(kind.to_owned(), Some(instance))),
            "{kind} {instance}: {events:?}"
        );
    };

    // Half as many and larger. The last that is kept fails, when others were removed.
    let slow = options(6, json!({"minHealthySecs": 30}));
    let fail = cluster.directory().join("fail");
    let few = Upgrade::create(&job, &sized(3, 0.3, 48, &failing_once_told(2, &fail)), slow);
    wait_event(&few, &cluster, "PROVEN", 5);
    wait_event(&few, &cluster, "WIDENED", 2);
    fs::write(&fail, "").unwrap();
    few.wait(&cluster, "ROLLED_BACK");
    saw(&few, "RETURNED", 5);
    let back = assert_at_home(&job, &before, 6, 1);
    assert!(restarted(&before, &back).contains(&5), "the last one was removed");
    audit.wait_places(&places);

    // More and smaller ones. Those that are new come first; then an old one fails.
    let many = Upgrade::create(&job, &sized(8, 0.1, 24, &failing(1)), options(2, json!({})));
    many.wait(&cluster, "ROLLED_BACK");
    saw(&many, "PROVEN", 7);
    let back = assert_at_home(&job, &before, 6, 1);
    audit.wait_places(&places);
    audit.wait_tasks(&back.into_values().map(|task| task.id).collect());

    let few = Upgrade::create(&job, &sized(3, 0.3, 48, NEW), options(3, json!({})));
    few.wait(&cluster, "SUCCEEDED");
    let kept = before.clone().into_iter().filter(|(number, _)| *number < 3).collect();
    let kept = assert_at_home(&job, &kept, 3, 4);
    wait_reserved(&audit, &[("cpus", 900), ("mem", 144_000), ("disk", 48_000)]);
    let many = Upgrade::create(&job, &sized(8, 0.1, 24, NEW), options(4, json!({})));
    many.wait(&cluster, "SUCCEEDED");
    let last = assert_at_home(&job, &kept, 8, 5);
    wait_reserved(&audit, &[("cpus", 800), ("mem", 192_000), ("disk", 128_000)]);
    audit.wait_tasks(&last.into_values().map(|task| task.id).collect());
    job.delete();
    audit.wait_nothing_left();
}
