//! The way to a new version, with what it needs.

use std::collections::{BTreeMap, BTreeSet};

use peloton_testbed::Options;
use serde_json::json;

use super::{NEW, OLD, assert_at_home, options, restarted, version};
use crate::support::{
    Audit, Cluster, Job, PATIENCE, Places, Upgrade, config, shared_mesos, wait_until,
};

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
