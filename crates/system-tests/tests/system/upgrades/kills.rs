//! The master is killed in the middle of upgrades.

use serde_json::{Value, json};

use super::{NEW, OLD, assert_at_home, options, restarted};
use crate::support::{Audit, Cluster, Job, PATIENCE, Upgrade, config, shared_mesos, wait_until};

/// Kills the master whenever one more instance has arrived, or turned back, until the upgrade has ended.
#[track_caller]
fn kill_on_the_way(cluster: &mut Cluster, upgrade: &Upgrade, least_kills: u32) {
    let mut kills = 0;
    let mut seen = Value::Null;
    wait_until(&format!("the end of {}", upgrade.id), 3 * PATIENCE, || {
        let info = upgrade.get(cluster);
        if info["finishedAt"].as_i64().unwrap_or_default() != 0 {
            return Ok(());
        }
        let now = json!([info["state"], info["numTasksDone"], info["instances"]]);
        if now != seen && kills < 8 {
            cluster.kill();
            cluster.launch();
            cluster.wait_answering();
            kills += 1;
            seen = now;
        }
        Err(info.to_string())
    });
    assert!(kills >= least_kills, "killed only {kills} times");
}

#[test]
fn a_master_that_is_killed_again_and_again_brings_upgrades_to_their_end() {
    let Some(mesos) = shared_mesos() else { return };
    let mut cluster = Cluster::start(mesos, "upgrade-kills", &[]);
    let audit = Audit::new(mesos, cluster.role());
    let job = Job::service(&cluster, "web", 6, OLD, json!({}));
    let before = job.wait_running(6);
    audit.wait_slots(6);
    let places = audit.places().unwrap();

    // A run that was decided and not sent when the master was killed has a number, and never starts.
    let starts = cluster.directory().join("starts");
    let noting = format!("echo $PELOTON_INSTANCE_ID >>{}; {NEW}", starts.display());
    let noting = config(6, &noting, json!({}));
    let good = Upgrade::create(&job, &noting, options(2, json!({})));
    kill_on_the_way(&mut cluster, &good, 3);
    good.wait(&cluster, "SUCCEEDED");
    let job = Job::of(&cluster, "web");
    let upgraded = assert_at_home(&job, &before, 6, 2);
    let started = std::fs::read_to_string(&starts).unwrap();
    let mut started: Vec<u32> = started.lines().map(|line| line.parse().unwrap()).collect();
    started.sort_unstable();
    assert_eq!(started, [0, 1, 2, 3, 4, 5], "each was started once: {upgraded:?}");
    audit.wait_places(&places);

    // Others have arrived before this one fails.
    let failing = "test $PELOTON_INSTANCE_ID = 3 && exit 1; exec sleep 3000";
    let bad = Upgrade::create(&job, &config(6, failing, json!({})), options(2, json!({})));
    kill_on_the_way(&mut cluster, &bad, 3);
    bad.wait(&cluster, "ROLLED_BACK");
    let job = Job::of(&cluster, "web");
    let after = assert_at_home(&job, &before, 6, 2);
    let others = restarted(&upgraded, &after);
    assert!(others.contains(&3) && !others.contains(&5), "restarted: {others:?}");
    audit.wait_places(&places);
    audit.wait_tasks(&after.into_values().map(|task| task.id).collect());
    job.delete();
    audit.wait_nothing_left();
}
