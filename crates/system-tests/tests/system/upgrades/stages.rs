//! The master is killed at each stage of an upgrade, and once more while it recovers.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::{assert_at_home, options, sized, wait_reserved};
use crate::support::{
    Audit, Cluster, Job, PATIENCE, Places, Upgrade, fault_lasts, shared_mesos, wait_closely,
};

/// After the end of the upgrade, while more is reserved than is to stay.
const TRIM: &str = "TRIM";

/// Between two looks at the stages; the shortest last for a round of offers.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// While it recovers, the master is killed so long after its start: other for each stage.
const RECOVERS_MS: [u64; 4] = [40, 120, 240, 400];

/// Kills the master at stages that it has not been killed at yet.
struct Hunt<'a> {
    upgrade: &'a Upgrade,
    audit: &'a Audit,
    wanted: &'a [&'static str],
    hit: BTreeSet<&'static str>,
}

impl Hunt<'_> {
    /// Goes on until the upgrade has ended, in a state by its number, and what it left is given back:
    /// `trimmed` is not so yet when the upgrade has ended.
    #[track_caller]
    fn follow(&mut self, cluster: &mut Cluster, trimmed: impl Fn(&Places) -> bool) {
        let what = format!("the end of {}", self.upgrade.id);
        wait_closely(&what, 3 * PATIENCE, LOOK_EVERY, || {
            let info = self.upgrade.get(cluster);
            let ended = info["finishedAt"].as_i64().unwrap_or_default() != 0;
            let shown = if ended { [TRIM.to_owned()].into() } else { self.shown(cluster, &info) };
            let new = self
                .wanted
                .iter()
                .find(|stage| shown.contains(**stage) && !self.hit.contains(*stage));
            if let Some(stage) = new {
                cluster.kill();
                if *stage != TRIM || !trimmed(&self.audit.places()?) {
                    self.hit.insert(stage);
                }
                self.recover(cluster);
            }
            if ended { Ok(()) } else { Err(info.to_string()) }
        });
        let wanted: BTreeSet<_> = self.wanted.iter().copied().collect();
        assert_eq!(self.hit, wanted, "stages at which the master was killed");
    }

    /// The stages that instances are in, as the master tells.
    fn shown(&self, cluster: &Cluster, info: &Value) -> BTreeSet<String> {
        let all = info["instances"].as_array().into_iter().flatten();
        let mut shown: BTreeSet<String> =
            all.filter_map(|one| one["stage"].as_str().map(str::to_owned)).collect();
        // Those that have arrived are not among them.
        let arrived = self.upgrade.events(cluster).into_iter().map(|(kind, _)| kind);
        shown.extend(arrived.filter(|kind| kind == "PROVEN" || kind == "RETURNED"));
        shown
    }

    /// Starts the master, kills it again at once, and starts it for good.
    fn recover(&self, cluster: &mut Cluster) {
        cluster.launch();
        let soon = RECOVERS_MS[self.hit.len() % RECOVERS_MS.len()];
        fault_lasts(Duration::from_millis(soon));
        cluster.kill();
        cluster.launch();
        cluster.wait_answering();
    }
}

/// A run that takes a while to end.
fn slow_to_end(first: &str) -> String {
    format!("{first}; trap 'sleep 1; exit 0' TERM; while :; do sleep 0.1; done")
}

#[test]
fn a_master_that_is_killed_at_each_stage_of_the_way_forward_goes_on() {
    let Some(mesos) = shared_mesos() else { return };
    let mut cluster = Cluster::start(mesos, "stages-forward", &[]);
    let audit = Audit::new(mesos, cluster.role());
    let job = Job::create(&cluster, "web", &sized(4, 0.2, 32, &slow_to_end(":")));
    let before = job.wait_running(4);
    wait_reserved(&audit, &[("cpus", 800), ("mem", 128_000), ("disk", 64_000)]);

    let starts = cluster.directory().join("starts");
    let noting = slow_to_end(&format!("echo $PELOTON_INSTANCE_ID >>{}", starts.display()));
    let all = options(2, json!({"stopBeforeUpgrade": true}));
    let upgrade = Upgrade::create(&job, &sized(4, 0.1, 48, &noting), all);
    let wanted = ["PREPARE", "HALTED", "SWITCH", "PROVEN", TRIM];
    let mut hunt = Hunt { upgrade: &upgrade, audit: &audit, wanted: &wanted, hit: BTreeSet::new() };
    let cpus = |places: &Places| {
        let all = places.iter().filter(|((_, _, resource), _)| resource == "cpus");
        all.map(|(_, (amount, _))| amount).sum::<i64>()
    };
    hunt.follow(&mut cluster, |places| cpus(places) == 400);

    upgrade.wait(&cluster, "SUCCEEDED");
    let job = Job::of(&cluster, "web");
    let after = assert_at_home(&job, &before, 4, 2);
    let started = std::fs::read_to_string(&starts).unwrap();
    let mut started: Vec<&str> = started.lines().collect();
    started.sort_unstable();
    assert_eq!(started, ["0", "1", "2", "3"], "each was started once: {after:?}");
    wait_reserved(&audit, &[("cpus", 400), ("mem", 192_000), ("disk", 64_000)]);
    audit.wait_tasks(&after.into_values().map(|task| task.id).collect());
    job.delete();
    audit.wait_nothing_left();
}

#[test]
fn a_master_that_is_killed_at_each_stage_of_the_way_back_goes_on() {
    let Some(mesos) = shared_mesos() else { return };
    let mut cluster = Cluster::start(mesos, "stages-back", &[]);
    let audit = Audit::new(mesos, cluster.role());
    let job = Job::create(&cluster, "web", &sized(5, 0.2, 32, &slow_to_end(":")));
    let before = job.wait_running(5);
    wait_reserved(&audit, &[("cpus", 1000), ("mem", 160_000), ("disk", 80_000)]);
    let places = audit.places().unwrap();

    // One may fail, and is seen to have; the second failure turns the upgrade round.
    let failing = slow_to_end("case $PELOTON_INSTANCE_ID in 1|3) exit 1;; esac");
    let one = options(2, json!({"maxFailedInstances": 1}));
    let upgrade = Upgrade::create(&job, &sized(5, 0.1, 48, &failing), one);
    let wanted = ["PREPARE", "SWITCH", "PROVEN", "FAILED", "BACK", "RETURNED", TRIM];
    let mut hunt = Hunt { upgrade: &upgrade, audit: &audit, wanted: &wanted, hit: BTreeSet::new() };
    hunt.follow(&mut cluster, |now| *now == places);

    upgrade.wait(&cluster, "ROLLED_BACK");
    let job = Job::of(&cluster, "web");
    let after = assert_at_home(&job, &before, 5, 1);
    audit.wait_places(&places);
    audit.wait_tasks(&after.into_values().map(|task| task.id).collect());
    job.delete();
    audit.wait_nothing_left();
}
