//! Everything else in the API, of a job that is or was upgraded: which version is in force, how many instances
//! there may be, and what may be changed.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use peloton_model::UpgradeState::{
    self, Aborted, Failed, Paused, RolledBack, RollingBack, RollingForward, Succeeded,
};
use peloton_proto::peloton::job as pb;
use peloton_proto::peloton::job::job_manager_client::JobManagerClient;
use serde_json::{Value, json};

use crate::support::upgrade::{World, program, to, version};
use crate::support::{FaultyStore, Master, PATIENCE, config};

const STATES: [Option<UpgradeState>; 8] = [
    None,
    Some(RollingForward),
    Some(RollingBack),
    Some(Paused),
    Some(Succeeded),
    Some(RolledBack),
    Some(Aborted),
    Some(Failed),
];

fn id() -> Value {
    json!({"id": {"value": "a"}})
}

#[tokio::test]
async fn reads_show_the_version_in_force_and_all_instances() {
    for (old, new) in [(3, 5), (3, 1)] {
        for state in STATES {
            let (world, upgrade) = World::upgraded(new, state).await;
            let in_force = if state == Some(RolledBack) { 1 } else { 2 };
            let active = state.is_none_or(UpgradeState::is_active);
            let span = match state {
                Some(RolledBack) => old,
                Some(Succeeded) => new,
                _ => new.max(old),
            };
            let case = format!("{old} to {new}, {state:?}");
            let call = async |procedure: &str, request| world.master.call(procedure, request).await;
            let got = call("JobManager.Get", id()).await;
            assert_eq!(got["result"]["changeLog"]["version"], in_force, "{case}");
            let program = format!("sleep {in_force}");
            assert_eq!(got["result"]["command"]["value"], program, "{case}");
            let status = call("JobManager.GetStatus", id()).await["result"].clone();
            let expected = if active { json!(upgrade) } else { Value::Null };
            assert_eq!(status["activeUpgrade"], expected, "{case}");
            assert_eq!(status["currentVersion"], in_force, "{case}");
            assert_eq!(status["instanceCount"], span, "{case}");
            assert_eq!(status["countsByState"], json!({"INITIALIZED": span}), "{case}");

            for n in 1..=2 {
                let labels = json!({"labels": [{"key": "program", "value": n.to_string()}]});
                let found = call("JobManager.Query", json!({"labels": labels})).await;
                assert_eq!(found.get("result").is_some(), n == in_force, "{case}: {found}");
            }
            let found = call("JobManager.Query", json!({})).await;
            assert_eq!(found["result"]["a"], got["result"], "{case}");

            let job = json!({"value": "a"});
            let listed = call("TaskManager.List", json!({"jobId": job})).await;
            assert_eq!(listed["result"]["value"].as_object().unwrap().len() as u32, span, "{case}");
            let at = |i: u32| json!({"jobId": job, "instanceId": i});
            assert!(call("TaskManager.Get", at(span - 1)).await.get("result").is_some(), "{case}");
            for procedure in ["Get", "GetHistory"] {
                let beyond = call(&format!("TaskManager.{procedure}"), at(span)).await;
                assert_eq!(beyond["outOfRange"]["instanceCount"], span, "{case}");
            }
            let ranges = |i: u32| json!({"jobId": job, "ranges": [{"from": i, "to": i}]});
            for procedure in ["Stop", "Start", "Restart"] {
                let procedure = format!("TaskManager.{procedure}");
                assert_eq!(call(&procedure, ranges(span - 1)).await, json!({}), "{case}");
                let beyond = call(&procedure, ranges(span)).await;
                assert_eq!(beyond["outOfRange"]["instanceCount"], span, "{case}");
            }
        }
    }
}

#[tokio::test]
async fn expected_versions_are_those_in_force() {
    for state in STATES {
        let in_force = if state == Some(RolledBack) { 1 } else { 2 };
        let (world, _) = World::upgraded(3, state).await;
        for procedure in ["Stop", "Start", "Restart", "Delete"] {
            let procedure = format!("JobManager.{procedure}");
            for expected in [3 - in_force, in_force] {
                let request = json!({"id": {"value": "a"}, "expectedVersion": expected});
                let answer = world.master.call(&procedure, request).await;
                let is_done = answer == json!({});
                assert_eq!(is_done, expected == in_force, "{state:?}, {procedure}: {answer}");
                if !is_done {
                    assert_eq!(answer["conflict"]["actual"], in_force);
                }
            }
        }
        let desired = world.keys(peloton_store::keys::all_desired()).await;
        assert!(desired.is_empty(), "nothing is left: {desired:?}");
    }
}

#[tokio::test]
async fn updates_wait_for_an_upgrade_and_settle_it() {
    for state in STATES {
        let (world, upgrade) = World::upgraded(3, state).await;
        let in_force = if state == Some(RolledBack) { 1 } else { 2 };
        let mut new = program(in_force, 4);
        new["description"] = json!("new");
        let update = json!({"id": {"value": "a"}, "config": new});
        let before = world.record().await;
        let reply = world.master.yarpc("JobManager.Update", &update).await;
        if matches!(state, Some(Succeeded | RolledBack)) {
            assert_eq!(reply.json()["result"]["version"], 3, "{state:?}: {}", reply.body);
            let record = world.record().await;
            assert_eq!((record.version, &record.upgrade), (3, &None));
            assert_eq!(record.next_version(), 4);
            // Its history stays.
            let shown = world.get(&upgrade).await;
            assert_eq!(shown["state"], state.unwrap() as u64);
            let id = world.upgrade(to(program(7, 4))).await;
            assert_eq!(version(&id), 4);
            assert_eq!(world.record().await.upgrade.unwrap().from, 3);
            continue;
        }
        assert_eq!(reply.status, 400, "{state:?}");
        assert_eq!(reply.headers["rpc-error-code"], "failed-precondition");
        let text = if state.is_none_or(UpgradeState::is_active) {
            format!("job a is being upgraded by {upgrade}: wait until that has ended, roll it back")
        } else {
            let name = state.unwrap().name();
            format!("instances of two versions, as its upgrade {upgrade} is {name}: roll that back")
        };
        assert!(reply.body.contains(&text), "{state:?}: {}", reply.body);
        assert_eq!(world.record().await, before);
    }
    // What differs is judged by the version in force.
    let (world, _) = World::upgraded(3, Some(RolledBack)).await;
    let update = json!({"id": {"value": "a"}, "config": program(2, 3)});
    let answer = world.master.call("JobManager.Update", update).await;
    assert_eq!(answer["needsUpgrade"]["fields"], json!(["command"]));
    let update = json!({"id": {"value": "a"}, "config": program(1, 3)});
    let answer = world.master.call("JobManager.Update", update).await;
    assert_eq!(answer["result"]["version"], 1, "nothing differs");
    // And so is whether a creation is the same once more.
    let create = json!({"id": {"value": "a"}, "config": program(1, 3)});
    assert!(world.master.call("JobManager.Create", create).await.get("result").is_some());
}

#[tokio::test]
async fn a_job_without_an_upgrade_costs_no_read_more() {
    let store = Arc::new(FaultyStore::new());
    let master = Master::over(store.clone()).await;
    let create = json!({"id": {"value": "a"}, "config": config(3)});
    master.call("JobManager.Create", create).await;
    let reads = async |procedure: &str, request: Value| {
        master.call(procedure, request.clone()).await;
        let before = store.reads.load(Ordering::Relaxed);
        master.call(procedure, request).await;
        store.reads.load(Ordering::Relaxed) - before
    };
    let labels = json!({"labels": {"labels": [{"key": "no", "value": "such"}]}});
    let all = async || {
        [
            reads("JobManager.Get", id()).await,
            reads("JobManager.GetStatus", id()).await,
            reads("JobManager.Query", json!({})).await,
            reads("JobManager.Query", labels.clone()).await,
            reads("JobManager.Stop", id()).await,
        ]
    };
    let shards = u64::from(crate::support::SHARDS);
    assert_eq!(all().await, [1, 2, shards, shards, 1]);
    master.call("UpgradeManager.Create", to(program(2, 3))).await;
    assert_eq!(all().await, [2, 3, shards + 1, shards + 1, 2]);
}

#[tokio::test]
async fn a_watch_tells_when_an_upgrade_begins_and_ends() {
    let world = World::start().await;
    let mut jobs = JobManagerClient::new(world.master.channel().await);
    let request = pb::WatchRequest { id: Some(pb::JobId { value: "a".into() }) };
    let mut watch = jobs.watch(request).await.unwrap().into_inner();
    let mut next = async || {
        let message = tokio::time::timeout(PATIENCE, watch.message()).await.expect("news");
        let status = message.unwrap().unwrap().result.unwrap();
        (status.current_version, status.instance_count, status.active_upgrade)
    };
    assert_eq!(next().await, (1, 3, String::new()));
    let id = world.upgrade(to(program(2, 2))).await;
    assert_eq!(next().await, (2, 3, id.clone()));
    world.say(RolledBack, |_| {}).await;
    assert_eq!(next().await, (1, 3, String::new()));
}
