//! Instances over JSON.

use std::sync::Arc;

use peloton_model::{
    AgentId, AgentRecord, FrameworkId, FrameworkRecord, Health, InstanceRecord, JobRecord,
    JobSummary, RunRecord, SlotId, TaskState, Waiting, decode_record,
};
use peloton_store::{MemoryStore, Store, keys};
use serde_json::{Value, json};

use crate::support::{Master, config, put, shard};

async fn create(master: &Master, instances: u32) {
    let mut config = config(instances);
    config["ports"] = json!([{"name": "http"}, {"name": "admin"}]);
    master.call("JobManager.Create", json!({"id": {"value": "a"}, "config": config})).await;
}

async fn summary(store: &dyn Store) -> JobSummary {
    let kv = store.get(keys::desired_job(shard("a"), "a")).await.unwrap().kv.unwrap();
    JobSummary { incarnation: kv.create_revision.0, ..Default::default() }
}

async fn list(master: &Master, mut request: Value) -> Value {
    request["jobId"] = json!({"value": "a"});
    master.call("TaskManager.List", request).await
}

fn ids(page: &Value) -> Vec<u32> {
    let value = page["result"]["value"].as_object();
    let mut ids: Vec<u32> =
        value.into_iter().flat_map(|m| m.keys()).map(|k| k.parse().unwrap()).collect();
    ids.sort_unstable();
    ids
}

#[tokio::test]
async fn ten_thousand_instances_are_there_at_once_and_page() {
    let master = Master::start().await;
    create(&master, 10_000).await;
    let all = list(&master, json!({})).await;
    assert_eq!(ids(&all), (0..10_000).collect::<Vec<_>>(), "clients of 2016 see everything");
    assert!(all.get("nextPageToken").is_none());

    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let request = json!({"limit": 3000, "pageToken": token, "withoutConfig": true});
        let page = list(&master, request).await;
        seen.extend(ids(&page));
        match page["nextPageToken"].as_str() {
            Some(next) => token = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(seen, (0..10_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn ranges_include_both_ends_and_are_cut_to_the_job() {
    let master = Master::start().await;
    create(&master, 5).await;
    for (range, expected) in [
        (json!({}), vec![0]),
        (json!({"from": 1, "to": 3}), vec![1, 2, 3]),
        (json!({"from": 3, "to": 4_294_967_295_u32}), vec![3, 4]),
        (json!({"from": 5, "to": 9}), vec![]),
    ] {
        let page = list(&master, json!({"range": range})).await;
        assert_eq!(ids(&page), expected);
        assert!(page.get("nextPageToken").is_none());
    }
    let page = list(&master, json!({"range": {"from": 1, "to": 3}, "limit": 2})).await;
    assert_eq!((ids(&page), &page["nextPageToken"]), (vec![1, 2], &json!("3")));
    for (request, text) in [
        (
            json!({"range": {"from": 3, "to": 2}}),
            "range.to: 2 is not allowed: `to` at least `from`, which is 3 (both are included)",
        ),
        (json!({"pageToken": "x"}), "pageToken: \"x\" is not allowed"),
        (
            json!({"pageToken": "9", "range": {"from": 1, "to": 3}}),
            "pageToken: \"9\" is not allowed",
        ),
    ] {
        let mut request = request;
        request["jobId"] = json!({"value": "a"});
        let reply = master.yarpc("TaskManager.List", &request).await;
        assert!(reply.status == 400 && reply.body.contains(text), "{}", reply.body);
    }
    let none = json!({"jobId": {"value": "none"}});
    let answer = master.call("TaskManager.List", none).await;
    assert!(answer.get("notFound").is_some());
}

#[tokio::test]
async fn an_instance_shows_all_that_is_known_of_its_run() {
    let store = Arc::new(MemoryStore::new());
    let master = Master::over(store.clone()).await;
    create(&master, 3).await;
    let get = async |instance: u32| {
        let request = json!({"jobId": {"value": "a"}, "instanceId": instance});
        master.call("TaskManager.Get", request).await
    };
    let unseen = get(2).await;
    assert_eq!(
        unseen["result"]["runtime"],
        json!({"waitReason": "its shard has not looked at it yet"})
    );
    assert_eq!(unseen["result"]["jobConfig"]["instanceCount"], 3);
    let beyond = get(3).await;
    assert_eq!(beyond, json!({"outOfRange": {"jobId": {"value": "a"}, "instanceCount": 3}}));

    let n = shard("a");
    let mut record = InstanceRecord {
        state: TaskState::Running,
        run: 7,
        version: 1,
        slot: Some(SlotId(6)),
        agent: Some(AgentId::new("S1")),
        host: Some("host1".into()),
        ports: vec![31000, 31001],
        health: Health::Healthy,
        launched_at: 1000,
        started_at: 2000,
        ..Default::default()
    };
    put(&*store, keys::actual_instance(n, "a", 0), &record).await;
    let agent = AgentRecord { url: "http://host1:5051".into(), ..Default::default() };
    put(&*store, keys::actual_agent(n, "S1"), &agent).await;
    let framework = FrameworkRecord { id: FrameworkId::new("F1"), since: 0 };
    put(&*store, keys::actual_framework(n), &framework).await;
    let unseen = json!({"waitReason": "its shard has not looked at it yet"});
    assert_eq!(get(0).await["result"]["runtime"], unseen, "without a summary it is another job's");

    let mut summary = summary(&*store).await;
    put(&*store, keys::actual_job(n, "a"), &summary).await;
    assert_eq!(
        get(0).await["result"]["runtime"],
        json!({
            "state": 4, "taskId": {"value": "a-0-7"}, "startedAt": {"nanoseconds": 2_000_000_000_u64},
            "host": "host1", "ports": {"http": 31000, "admin": 31001}, "agentId": "S1", "slot": "6",
            "configVersion": 1, "health": 2, "runNumber": 7, "agentUrl": "http://host1:5051",
            "sandboxPath": "/frameworks/F1/executors/a-0-7/runs/latest",
            "launchedAt": {"nanoseconds": 1_000_000_000},
        })
    );

    for run in 5..=6 {
        let ended = RunRecord {
            instance: InstanceRecord { run, finished_at: 900, ..record.clone() },
            outcome: TaskState::Failed,
        };
        put(&*store, keys::actual_run(n, "a", 0, run), &ended).await;
    }
    let history = async |limit: u32| {
        let request = json!({"jobId": {"value": "a"}, "instanceId": 0, "limit": limit});
        let answer = master.call("TaskManager.GetHistory", request).await;
        let runs = answer["result"]["runs"].as_array().cloned().unwrap_or_default();
        runs.iter().map(|r| (r["runNumber"].clone(), r["state"].clone())).collect::<Vec<_>>()
    };
    let run = |run: u64, state: u32| (json!(run), json!(state));
    assert_eq!(history(0).await, [run(7, 4), run(6, 6), run(5, 6)]);
    assert_eq!(history(2).await, [run(7, 4), run(6, 6)]);

    // Runs up to the floor are an earlier job's.
    summary.run_floor = 5;
    put(&*store, keys::actual_job(n, "a"), &summary).await;
    assert_eq!(history(0).await, [run(7, 4), run(6, 6)]);
    summary.run_floor = 7;
    put(&*store, keys::actual_job(n, "a"), &summary).await;
    // The shard has seen the new job: its instances wait for their first place.
    let waiting = json!({"state": TaskState::Scheduling as u32});
    assert_eq!(get(0).await["result"]["runtime"], waiting);

    summary.run_floor = 0;
    summary.waiting = vec![Waiting {
        instances: 1,
        reason: "no agent has room".into(),
        agents: 3,
        lacking: vec![(peloton_model::Lack::Cpus, 2), (peloton_model::Lack::Ports, 1)],
    }];
    put(&*store, keys::actual_job(n, "a"), &summary).await;
    let waits = InstanceRecord { state: TaskState::Scheduling, ..Default::default() };
    put(&*store, keys::actual_instance(n, "a", 1), &waits).await;
    assert_eq!(
        get(1).await["result"]["runtime"]["waitReason"],
        "no agent has room (3 agents looked at: 2 lack cpus, 1 lacks ports)"
    );
    record.state = TaskState::Throttled;
    record.failures = 3;
    record.retry_at = 1_472_731_200_250;
    put(&*store, keys::actual_instance(n, "a", 0), &record).await;
    assert_eq!(
        get(0).await["result"]["runtime"]["waitReason"],
        "failed 3 times in a row; next try at 2016-09-01T12:00:00.250Z"
    );
}

#[tokio::test]
async fn requests_for_ranges_are_all_or_nothing() {
    let store = Arc::new(MemoryStore::new());
    let master = Master::over(store.clone()).await;
    create(&master, 5).await;
    let record = async || {
        let kv = store.get(keys::desired_job(shard("a"), "a")).await.unwrap().kv.unwrap();
        decode_record::<JobRecord>(&kv.value).unwrap()
    };
    let request = |ranges: Value| json!({"jobId": {"value": "a"}, "ranges": ranges});
    let stop = request(json!([{"from": 1, "to": 2}, {"from": 4, "to": 4}]));
    assert_eq!(master.call("TaskManager.Stop", stop).await, json!({}));
    let stopped = record().await;
    let flags: Vec<_> = (0..6).map(|i| stopped.goals.get(i).stopped).collect();
    assert_eq!(flags, [false, true, true, false, true, false]);
    assert_eq!((stopped.generation, stopped.updated_by.as_str()), (2, "tester"));

    let beyond = request(json!([{"from": 0, "to": 0}, {"from": 3, "to": 5}]));
    for procedure in ["Start", "Stop", "Restart"] {
        let answer = master.call(&format!("TaskManager.{procedure}"), beyond.clone()).await;
        let expected = json!({"outOfRange": {"jobId": {"value": "a"}, "instanceCount": 5}});
        assert_eq!(answer, expected);
    }
    let reply =
        master.yarpc("TaskManager.Stop", &request(json!([{"to": 1}, {"from": 3, "to": 2}]))).await;
    assert_eq!(reply.status, 400);
    assert!(reply.body.contains("ranges[1].to: 2 is not allowed"), "{}", reply.body);
    let many: Vec<_> = (0..1001).map(|_| json!({})).collect();
    let reply = master.yarpc("TaskManager.Stop", &request(json!(many))).await;
    assert!(reply.body.contains("ranges: 1001 is not allowed: at most 1000"), "{}", reply.body);
    assert_eq!(record().await, stopped);
    let none = json!({"jobId": {"value": "none"}});
    assert!(master.call("TaskManager.Stop", none).await.get("notFound").is_some());
}

#[tokio::test]
async fn a_stop_of_what_goes_away_is_forgotten_and_one_of_all_is_not() {
    let store = Arc::new(MemoryStore::new());
    let master = Master::over(store.clone()).await;
    create(&master, 5).await;
    let stopped = async |i| {
        let kv = store.get(keys::desired_job(shard("a"), "a")).await.unwrap().kv.unwrap();
        decode_record::<JobRecord>(&kv.value).unwrap().goals.get(i).stopped
    };
    let id = json!({"value": "a"});
    let scale = async |count: u32| {
        let mut config = master.call("JobManager.Get", json!({"id": id})).await["result"].clone();
        config["instanceCount"] = json!(count);
        let update = json!({"id": id, "config": config});
        let answer = master.call("JobManager.Update", update).await;
        assert!(answer["result"]["version"].is_number(), "{answer}");
    };
    let stop = json!({"jobId": id, "ranges": [{"from": 3, "to": 4}]});
    assert_eq!(master.call("TaskManager.Stop", stop).await, json!({}));
    scale(3).await;
    scale(5).await;
    assert!(!stopped(4).await);
    assert_eq!(master.call("JobManager.Stop", json!({"id": id})).await.get("notFound"), None);
    scale(3).await;
    scale(6).await;
    assert!(stopped(5).await);
}
