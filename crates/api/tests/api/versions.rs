//! The configuration versions that are kept.

use peloton_model::UpgradeState::{RolledBack, RollingForward, Succeeded};
use peloton_model::limits;
use peloton_store::keys;
use serde_json::{Value, json};

use crate::support::shard;
use crate::support::upgrade::{World, program, replacing, to};

async fn versions(world: &World, request: Value) -> (Vec<u64>, u64) {
    let mut request = request;
    request["id"] = json!({"value": "a"});
    let answer = world.master.call("JobManager.GetVersions", request).await;
    let configs = answer["versions"].as_array().cloned().unwrap_or_default();
    let numbers = configs.iter().map(|c| c["changeLog"]["version"].as_u64().unwrap());
    (numbers.collect(), answer["currentVersion"].as_u64().unwrap())
}

#[tokio::test]
async fn the_newest_first_with_the_one_in_force() {
    let world = World::start().await;
    for n in 0..3 {
        let mut config = program(1, 3);
        config["description"] = json!(n.to_string());
        let update = json!({"id": {"value": "a"}, "config": config});
        world.master.call("JobManager.Update", update).await;
    }
    assert_eq!(versions(&world, json!({})).await, (vec![4, 3, 2, 1], 4));
    world.upgrade(to(program(2, 3))).await;
    assert_eq!(versions(&world, json!({})).await, (vec![5, 4, 3, 2, 1], 5));
    world.say(RolledBack, |_| {}).await;
    assert_eq!(versions(&world, json!({})).await, (vec![5, 4, 3, 2, 1], 4));
    assert_eq!(versions(&world, json!({"limit": 2})).await, (vec![5, 4], 4));
    assert_eq!(versions(&world, json!({"version": 3})).await, (vec![3], 4));
    assert_eq!(versions(&world, json!({"version": 9})).await, (vec![], 4));
    let request = json!({"id": {"value": "a"}, "version": 5});
    let answer = world.master.call("JobManager.GetVersions", request).await;
    assert_eq!(answer["versions"][0]["command"]["value"], "sleep 2");
    assert_eq!(answer["versions"][0]["changeLog"]["updatedBy"], "tester");
    let none = json!({"id": {"value": "none"}});
    let answer = world.master.call("JobManager.GetVersions", none).await;
    assert!(answer.get("notFound").is_some());
}

#[tokio::test]
async fn what_a_rollback_needs_is_kept_however_old_it_is() {
    let world = World::start().await;
    for n in 0..u32::try_from(limits::KEPT_VERSIONS).unwrap() + 5 {
        world.upgrade(replacing(program(10 + n, 3))).await;
        world.say(RollingForward, |_| {}).await;
    }
    let last = limits::KEPT_VERSIONS + 6;
    let first = last - limits::KEPT_VERSIONS + 1;
    let (kept, current) = versions(&world, json!({})).await;
    let mut expected: Vec<u64> = (first..=last).rev().collect();
    expected.push(1);
    assert_eq!((kept, current), (expected, last));
    assert_eq!(world.record().await.upgrade.unwrap().from, 1);
    // Once it is settled, it goes with those around it.
    world.say(Succeeded, |_| {}).await;
    world.upgrade(to(program(2, 3))).await;
    let (kept, _) = versions(&world, json!({})).await;
    assert_eq!(kept, (first + 1..=last + 1).rev().collect::<Vec<_>>());
    let upgrades = world.keys(keys::desired_upgrades(shard("a"), "a")).await;
    assert_eq!(upgrades.len(), limits::KEPT_UPGRADES);
}
