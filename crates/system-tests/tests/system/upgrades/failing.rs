//! Versions that fail go back by themselves.

use serde_json::{Value, json};

use super::{NEW, OLD, assert_at_home, options, restarted};
use crate::support::{Audit, Cluster, Job, Upgrade, config, shared_mesos};

/// A service of 8, and a version of it that fails: the upgrade goes back by itself, every instance to its slot and its
/// version, and at most `touched` were restarted. What it failed of is said.
#[track_caller]
fn goes_back(role: &str, failing: &Value, more: Value, touched: usize, failure: &str) {
    let Some(mesos) = shared_mesos() else { return };
    let cluster = Cluster::start(mesos, role, &[]);
    let audit = Audit::new(mesos, cluster.role());
    let job = Job::service(&cluster, role, 8, OLD, json!({}));
    let before = job.wait_running(8);
    audit.wait_slots(8);
    let places = audit.places().unwrap();

    let upgrade = Upgrade::create(&job, failing, options(2, more));
    let info = upgrade.wait(&cluster, "ROLLED_BACK");
    let said = info["failure"].as_str().unwrap_or_default();
    assert!(!said.is_empty() && said.contains(failure), "{failure} in {info}");
    let after = assert_at_home(&job, &before, 8, 1);
    let others = restarted(&before, &after);
    assert!(others.len() <= touched, "restarted: {others:?}, {:?}", upgrade.events(&cluster));
    audit.wait_places(&places);
    audit.wait_tasks(&after.values().map(|task| task.id.clone()).collect());
    let status = job.status();
    assert_eq!(status["currentVersion"], 1, "{status}");
    assert!(status["activeUpgrade"].as_str().unwrap_or_default().is_empty(), "{status}");
    let events = upgrade.events(&cluster);
    for instance in others {
        let returned = ("RETURNED".to_owned(), Some(u64::from(instance)));
        assert!(events.contains(&returned), "{instance} in {events:?}");
    }
    job.delete();
    audit.wait_nothing_left();
}

#[test]
fn a_version_that_exits_goes_back_by_itself() {
    goes_back("exiting", &config(8, "exit 1", json!({})), json!({}), 2, "status 1");
}

#[test]
fn a_version_that_never_gets_healthy_goes_back_by_itself() {
    let check = json!({
        "enabled": true, "initialIntervalSecs": 1, "intervalSecs": 1, "timeoutSecs": 5,
        "maxConsecutiveFailures": 100, "shellCommand": "false",
    });
    let failing = config(8, NEW, json!({"healthCheck": check}));
    goes_back("sick", &failing, json!({"healthDeadlineSecs": 5}), 2, "was not up within 5 s");
}

#[test]
fn a_version_whose_file_cannot_be_fetched_goes_back_by_itself() {
    let command = json!({"value": NEW, "uris": [{"value": "http://127.0.0.1:1/x"}]});
    let failing = config(8, "", json!({"command": command}));
    goes_back("unfetchable", &failing, json!({}), 2, "");
}

#[test]
fn a_version_that_fits_nowhere_goes_back_and_nothing_was_restarted() {
    let resource = json!({"cpusLimit": 500, "memLimitMb": 32, "diskLimitMb": 16});
    let failing = config(8, NEW, json!({"resource": resource}));
    goes_back("too-large", &failing, json!({"placementDeadlineSecs": 4}), 0, "lacks cpus");
}

#[test]
fn a_version_that_needs_more_and_exits_goes_back_and_gives_it_up() {
    let resource = json!({"cpusLimit": 0.2, "memLimitMb": 48, "diskLimitMb": 16});
    let failing = config(8, "exit 1", json!({"resource": resource}));
    goes_back("greedy", &failing, json!({}), 2, "status 1");
}
