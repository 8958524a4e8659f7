//! Upgrades: every instance comes to its new version where it is, or back to the one before, where it was.

use std::collections::{BTreeMap, BTreeSet};

use peloton_testbed::Options;
use serde_json::{Value, json};

use crate::support::{
    Audit, Cluster, Job, PATIENCE, Places, Task, Upgrade, config, shared_mesos, wait_until,
};

const OLD: &str = "exec sleep 1000";
const NEW: &str = "exec sleep 2000";

/// Options of quick upgrades; `more` is merged over them.
fn options(batch: u32, more: Value) -> Value {
    let mut options = json!({"batchSize": batch, "minHealthySecs": 1});
    for (key, value) in more.as_object().into_iter().flatten() {
        options[key] = value.clone();
    }
    options
}

type Tasks = BTreeMap<u32, Task>;

/// The version that an instance runs.
fn version(task: &Task) -> u64 {
    task.runtime["configVersion"].as_u64().unwrap_or_default()
}

/// All instances run, at this version, and those that were there before in the slots that they had.
#[track_caller]
fn assert_at_home(job: &Job<'_>, before: &Tasks, instances: usize, wanted: u64) -> Tasks {
    let after = job.wait_running(instances);
    for (number, task) in &after {
        assert_eq!(version(task), wanted, "the version of instance {number}");
        if let Some(old) = before.get(number) {
            assert_eq!((&task.host, &task.slot), (&old.host, &old.slot), "instance {number}");
        }
    }
    after
}

/// The instances whose runs are others now.
fn restarted(before: &Tasks, after: &Tasks) -> BTreeSet<u32> {
    let same = |number: &u32| before[number].id == after[number].id;
    before.keys().copied().filter(|number| !same(number)).collect()
}

#[test]
fn a_new_command_comes_batch_by_batch_to_every_instance_where_it_is() {
    let Some(mesos) = shared_mesos() else { return };
    let cluster = Cluster::start(mesos, "upgrade", &[]);
    let audit = Audit::new(mesos, cluster.role());
    // Five on each of the four agents.
    let constraint = json!({"attribute": "hostname", "operator": "MAX_PER_VALUE", "max": 5});
    let sla = json!({"minimumInstanceCount": 15});
    let sla = || json!({"sla": sla, "placement": {"constraints": [constraint]}});
    let job = Job::service(&cluster, "web", 20, OLD, sla());
    let before = job.wait_running(20);
    audit.wait_slots(20);
    let places = audit.places().unwrap();

    let upgrade = Upgrade::create(&job, &config(20, NEW, sla()), options(5, json!({})));
    let mut fewest = 20;
    let info = upgrade.watch(&cluster, "SUCCEEDED", || {
        let told = job.status()["countsByState"]["RUNNING"].as_u64().unwrap_or_default();
        assert!(told >= 15, "the master tells of {told} that run");
        let tasks = audit.tasks().unwrap();
        let running = tasks.values().filter(|state| *state == "TASK_RUNNING").count();
        assert!(running >= 15, "{running} run in Mesos: {tasks:?}");
        fewest = fewest.min(running);
    });
    println!("never fewer than {fewest} ran");
    assert!(fewest < 20, "nothing was seen of the upgrade");
    assert_eq!(
        (&info["numTasksDone"], &info["fromVersion"], &info["toVersion"]),
        (&json!(20), &json!(1), &json!(2)),
        "{info}"
    );
    let after = assert_at_home(&job, &before, 20, 2);
    assert_eq!(restarted(&before, &after).len(), 20, "each was restarted");
    assert!(after.values().all(|task| task.run == 2), "once: {after:?}");
    audit.wait_places(&places);
    audit.wait_tasks(&after.values().map(|task| task.id.clone()).collect());
    assert_eq!(job.status()["currentVersion"], 2);
    job.delete();
    audit.wait_nothing_left();
}

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

#[test]
fn an_instance_gets_more_where_it_is_and_gives_it_back() {
    let Some(mesos) = shared_mesos() else { return };
    let cluster = Cluster::start(mesos, "widened", &[]);
    let audit = Audit::new(mesos, cluster.role());
    let sized = |cpus: f64, mem: u32| {
        let resource = json!({"cpusLimit": cpus, "memLimitMb": mem, "diskLimitMb": 16});
        config(4, OLD, json!({"resource": resource}))
    };
    let job = Job::create(&cluster, "widened", &sized(0.1, 32));
    let before = job.wait_running(4);
    audit.wait_slots(4);
    let places = audit.places().unwrap();

    let up = Upgrade::create(&job, &sized(0.2, 48), options(2, json!({})));
    up.wait(&cluster, "SUCCEEDED");
    let wide = assert_at_home(&job, &before, 4, 2);
    let reserved = || audit.reserved().unwrap();
    let wanted = BTreeMap::from([("cpus", 800), ("mem", 192_000), ("disk", 64_000)]);
    wait_until("more in each slot", PATIENCE, || {
        let found = reserved();
        let same = wanted.iter().all(|(name, amount)| found.get(*name) == Some(amount));
        if same && found.len() == 3 { Ok(()) } else { Err(format!("{found:?}")) }
    });
    let places_of = |places: &Places| places.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(places_of(&audit.places().unwrap()), places_of(&places), "in the same slots");

    let down = Upgrade::create(&job, &sized(0.1, 32), options(2, json!({})));
    down.wait(&cluster, "SUCCEEDED");
    let after = assert_at_home(&job, &before, 4, 3);
    assert_eq!(restarted(&wide, &after).len(), 4);
    audit.wait_places(&places);
    job.delete();
    audit.wait_nothing_left();
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

    // The last that is kept fails, so that others were upgraded, or removed, before.
    let failing = "test $PELOTON_INSTANCE_ID = 2 && exit 1; exec sleep 3000";
    let fails = Upgrade::create(&job, &config(3, failing, json!({})), options(4, json!({})));
    let info = fails.wait(&cluster, "ROLLED_BACK");
    let back = assert_at_home(&job, &many, 6, 2);
    audit.wait_places(&places);
    let others = restarted(&many, &back);
    let removed = ("PROVEN".to_owned(), Some(5));
    let events = fails.events(&cluster);
    assert!(others.contains(&2) && events.contains(&removed), "{others:?}: {info}; {events:?}");

    let less = Upgrade::create(&job, &config(3, OLD, json!({})), options(2, json!({})));
    less.wait(&cluster, "SUCCEEDED");
    let last = assert_at_home(&job, &few, 3, 4);
    audit.wait_tasks(&last.into_values().map(|task| task.id).collect());
    audit.wait_slots(3);
    job.delete();
    audit.wait_nothing_left();
}

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

#[test]
fn an_instance_that_needs_more_than_its_agent_has_moves_or_comes_home() {
    let mut agents = Options::agents(2);
    for agent in &mut agents.agents {
        agent.resources = Some("cpus:1;mem:1024;disk:1024".to_owned());
    }
    let Some(mesos) = peloton_testbed::start(&agents) else { return };
    let cluster = Cluster::start(&mesos, "moves", &[]);
    let audit = Audit::new(&mesos, cluster.role());
    let sized = |cpus: f64, command: &str| {
        let resource = json!({"cpusLimit": cpus, "memLimitMb": 32, "diskLimitMb": 16});
        config(1, command, json!({"resource": resource}))
    };
    let job = Job::create(&cluster, "moves", &sized(0.4, OLD));
    let before = job.wait_running(1);
    // It leaves too little on that agent for the job to grow there.
    let beside =
        [json!({"attribute": "hostname", "operator": "EQUAL", "values": [before[&0].host]})];
    let mut beside_it = sized(0.4, OLD);
    beside_it["placement"] = json!({"constraints": beside});
    let neighbour = Job::create(&cluster, "neighbour", &beside_it);
    let neighbours = neighbour.wait_running(1);
    let reserves = |cpus: i64| {
        wait_until(&format!("{cpus} thousandths of cpus reserved"), PATIENCE, || {
            let found = audit.reserved()?;
            if found.get("cpus") == Some(&cpus) { Ok(()) } else { Err(format!("{found:?}")) }
        });
    };
    reserves(800);
    let places = audit.places().unwrap();

    let bad = Upgrade::create(&job, &sized(0.8, "exit 1"), options(1, json!({})));
    bad.wait(&cluster, "ROLLED_BACK");
    let events = bad.events(&cluster);
    assert!(events.contains(&("MOVED".to_owned(), Some(0))), "{events:?}");
    assert_at_home(&job, &before, 1, 1);
    audit.wait_places(&places);

    let good = Upgrade::create(&job, &sized(0.8, NEW), options(1, json!({})));
    good.wait(&cluster, "SUCCEEDED");
    let moved = job.wait_running(1);
    assert_eq!(version(&moved[&0]), 3);
    assert_ne!(moved[&0].host, before[&0].host, "where there is room");
    reserves(1200);
    assert_eq!(neighbour.wait_running(1)[&0].id, neighbours[&0].id, "nobody else was touched");
    job.delete();
    neighbour.delete();
    audit.wait_nothing_left();
}
