//! Agents die in the middle of upgrades: these end, and tell who could not return to its agent.

use std::collections::{BTreeMap, BTreeSet};

use peloton_testbed::Mesos;
use serde_json::{Value, json};

use super::{NEW, Tasks, assert_at_home, options, version};
use crate::agents::{SETTINGS, agent_of, mesos, on, one_on_each};
use crate::support::{Audit, Cluster, Job, PATIENCE, Upgrade, config, wait_until};

/// The job of [`one_on_each`] with another command.
fn spread(command: &str) -> Value {
    let constraint = json!({"attribute": "hostname", "operator": "MAX_PER_VALUE", "max": 6});
    let placement = json!({"strategy": "SPREAD", "constraints": [constraint]});
    config(8, command, json!({"placement": placement}))
}

/// Begins an upgrade, and lets it wait with some instances at the new version: those.
fn half_done(job: &Job<'_>, before: &Tasks, command: &str) -> (Upgrade, BTreeSet<u32>) {
    let upgrade = Upgrade::create(job, &spread(command), options(2, json!({})));
    upgrade.wait_done(job.cluster, 2);
    assert_eq!(upgrade.call(job.cluster, "Pause"), json!({}));
    let new = wait_until("nothing in hand", PATIENCE, || {
        let info = upgrade.get(job.cluster);
        let idle = info["instances"].as_array().is_none_or(Vec::is_empty);
        let tasks = job.tasks();
        let new = super::restarted(before, &tasks);
        let same = info["numTasksDone"] == new.len() && info["state"] == 2;
        if idle && same { Ok(new) } else { Err(info.to_string()) }
    });
    assert!(new.len() < 8, "it was over before it waited");
    (upgrade, new)
}

/// Waits until just the instances on an agent are left to be brought where the upgrade goes.
fn wait_only_left(upgrade: &Upgrade, cluster: &Cluster, left: &BTreeSet<u32>) {
    wait_until(&format!("only {left:?} left of {}", upgrade.id), PATIENCE, || {
        let info = upgrade.get(cluster);
        assert_eq!(info["finishedAt"].as_i64().unwrap_or_default(), 0, "it ended: {info}");
        let all = info["instances"].as_array().into_iter().flatten();
        let named: BTreeSet<u32> =
            all.map(|one| one["instanceId"].as_u64().unwrap_or_default() as u32).collect();
        let same = info["numTasksRemaining"] == left.len() && named == *left;
        if same { Ok(()) } else { Err(info.to_string()) }
    });
}

/// Waits until Mesos and the master know that an agent is away.
fn wait_unreachable(job: &Job<'_>, instances: &[u32]) {
    for number in instances {
        job.wait_task(*number, "unreachable", |task| !task.runtime["unreachableSince"].is_null());
    }
}

fn end(job: &Job<'_>, audit: &Audit, tasks: &Tasks) {
    audit.wait_tasks(&tasks.values().map(|task| task.id.clone()).collect());
    audit.wait_slots(tasks.len());
    job.delete();
    audit.wait_nothing_left();
}

/// The instances that an upgrade's record names as displaced.
fn displaced(info: &Value) -> BTreeSet<u32> {
    let named = info["displaced"].as_array().into_iter().flatten();
    let named: BTreeSet<u32> = named.map(|one| one.as_u64().unwrap() as u32).collect();
    let count = info["displacedCount"].as_u64().unwrap_or_default();
    assert_eq!(count, named.len() as u64, "{info}");
    named
}

#[test]
fn upgrades_wait_for_an_agent_that_dies_and_comes_back() {
    let Some(mut mesos) = mesos() else { return };
    let cluster = Cluster::start(&mesos, "waiting", &["agents.unreachableReplaceSecs=300"]);
    let audit = Audit::new(&mesos, cluster.role());
    let (job, before) = one_on_each(&cluster);
    audit.wait_slots(8);
    let places = audit.places().unwrap();

    // On the way back: an instance at the new version is on the agent.
    let (upgrade, new) = half_done(&job, &before, NEW);
    let agent = agent_of(&before[new.first().unwrap()]);
    mesos.kill_agent_machine(agent).unwrap();
    wait_unreachable(&job, &on(&before, agent));
    upgrade.call(&cluster, "Rollback");
    let away: BTreeSet<u32> = on(&before, agent).into_iter().collect();
    wait_only_left(&upgrade, &cluster, &away.intersection(&new).copied().collect());
    mesos.start_agent(agent).unwrap();
    let info = upgrade.wait(&cluster, "ROLLED_BACK");
    assert_eq!(displaced(&info), BTreeSet::new(), "{info}");
    let back = assert_at_home(&job, &before, 8, 1);
    audit.wait_places(&places);

    // On the way forward: one that is still to be upgraded is.
    let (upgrade, new) = half_done(&job, &back, "exec sleep 3000");
    let agent = agent_of(before.iter().find(|(number, _)| !new.contains(number)).unwrap().1);
    mesos.kill_agent_machine(agent).unwrap();
    wait_unreachable(&job, &on(&before, agent));
    upgrade.call(&cluster, "Resume");
    let away: BTreeSet<u32> = on(&before, agent).into_iter().collect();
    wait_only_left(&upgrade, &cluster, &away.difference(&new).copied().collect());
    mesos.start_agent(agent).unwrap();
    let info = upgrade.wait(&cluster, "SUCCEEDED");
    assert_eq!(displaced(&info), BTreeSet::new(), "{info}");
    let after = assert_at_home(&job, &before, 8, 3);
    audit.wait_places(&places);
    end(&job, &audit, &after);
}

/// All instances run at this version, and those that were on an agent that is lost on another one.
#[track_caller]
fn assert_moved(job: &Job<'_>, before: &Tasks, lost: usize, wanted: u64) -> Tasks {
    let moved: BTreeSet<u32> = on(before, lost).into_iter().collect();
    // An upgrade may end when it has stopped waiting for them, a moment before they are replaced.
    for number in &moved {
        job.wait_task(*number, "elsewhere", |task| !task.host.is_empty() && agent_of(task) != lost);
    }
    let stayed = before.iter().filter(|(number, _)| !moved.contains(number));
    let stayed: BTreeMap<_, _> = stayed.map(|(number, task)| (*number, task.clone())).collect();
    let after = assert_at_home(job, &stayed, 8, wanted);
    for (number, task) in after.iter().filter(|(number, _)| moved.contains(number)) {
        assert_ne!(agent_of(task), lost, "instance {number}");
        assert_ne!(task.slot, before[number].slot, "instance {number}");
    }
    after
}

/// The machine dies, and the operator says that it will not come back.
fn lose(mesos: &mut Mesos, agent: usize) {
    mesos.kill_agent_machine(agent).unwrap();
    let operator = mesos.operator();
    let name = format!("agent-{agent}");
    let known = operator.agents().unwrap().into_iter().find(|known| known.hostname == name);
    operator.mark_agent_gone(&known.unwrap().id).unwrap();
}

#[test]
fn upgrades_end_without_an_agent_that_is_gone_and_name_who_was_displaced() {
    let Some(mut mesos) = mesos() else { return };
    let cluster = Cluster::start(&mesos, "displaced", &["agents.unreachableReplaceSecs=300"]);
    let audit = Audit::new(&mesos, cluster.role());
    let (job, before) = one_on_each(&cluster);
    audit.wait_slots(8);

    let (upgrade, new) = half_done(&job, &before, NEW);
    let agent = agent_of(&before[new.first().unwrap()]);
    lose(&mut mesos, agent);
    upgrade.call(&cluster, "Rollback");
    let info = upgrade.wait(&cluster, "ROLLED_BACK");
    assert_eq!(displaced(&info), on(&before, agent).into_iter().collect(), "{info}");
    let back = assert_moved(&job, &before, agent, 1);
    audit.wait_slots(8);

    let (upgrade, new) = half_done(&job, &back, "exec sleep 3000");
    let agent = agent_of(back.iter().find(|(number, _)| !new.contains(number)).unwrap().1);
    lose(&mut mesos, agent);
    upgrade.call(&cluster, "Resume");
    let info = upgrade.wait(&cluster, "SUCCEEDED");
    assert_eq!(displaced(&info), on(&back, agent).into_iter().collect(), "{info}");
    let after = assert_moved(&job, &back, agent, 3);
    end(&job, &audit, &after);
}

#[test]
fn a_rollback_ends_without_an_agent_that_stays_away_and_names_who_was_displaced() {
    let Some(mut mesos) = mesos() else { return };
    let cluster = Cluster::start(&mesos, "left", &SETTINGS);
    let audit = Audit::new(&mesos, cluster.role());
    let (job, before) = one_on_each(&cluster);
    audit.wait_slots(8);

    let (upgrade, new) = half_done(&job, &before, NEW);
    let agent = agent_of(&before[new.first().unwrap()]);
    mesos.kill_agent_machine(agent).unwrap();
    upgrade.call(&cluster, "Rollback");
    let info = upgrade.wait(&cluster, "ROLLED_BACK");
    // Those that it had not touched had nothing to return from; they may be replaced before its end or after it.
    let (named, away) = (displaced(&info), on(&before, agent).into_iter().collect());
    let touched: BTreeSet<u32> = new.intersection(&away).copied().collect();
    assert!(named.is_superset(&touched) && named.is_subset(&away), "{touched:?}: {info}");
    let back = assert_moved(&job, &before, agent, 1);

    // What is left there is given back when it returns after all.
    mesos.start_agent(agent).unwrap();
    mesos.wait_until_registered().unwrap();
    assert!(back.values().all(|task| version(task) == 1));
    end(&job, &audit, &back);
}
