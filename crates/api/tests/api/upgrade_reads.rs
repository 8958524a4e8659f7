//! Upgrades as they are shown: one, all, what happened, what would be done; and the same over gRPC.

use std::sync::Arc;

use peloton_model::UpgradeState::{RollingBack, RollingForward, Succeeded};
use peloton_model::{
    AgentId, InstanceRecord, Milli, Resources, SlotId, SlotPlace, SlotRecord, Stage, Step,
    TaskState, UpgradeEvent, UpgradeEventKind, limits,
};
use peloton_proto::json::{from_json, to_json};
use peloton_proto::peloton::upgrade as pb;
use peloton_proto::peloton::upgrade::upgrade_manager_client::UpgradeManagerClient;
use peloton_store::{MemoryStore, keys};
use serde_json::{Value, json};

use crate::support::upgrade::{World, program, to, version, workflow};
use crate::support::{Master, NOW_MS, SHARDS, shard};

#[tokio::test]
async fn one_letter_by_letter() {
    let world = World::start().await;
    let mut request = to(program(2, 5));
    request["spec"]["options"] = json!({"batchPercentage": 10, "maxFailedInstances": 2});
    let id = world.upgrade(request).await;
    let options = json!({
        "batchPercentage": 10, "maxFailedInstances": 2, "healthDeadlineSecs": 300,
        "minHealthySecs": 10, "placementDeadlineSecs": 300, "rollbackOnFailure": true,
    });
    let created_at = world.get(&id).await["createdAt"].as_u64().unwrap();
    assert!(created_at > NOW_MS);
    let changes = json!([
        {"field": "command.value", "before": "\"sleep 1\"", "after": "\"sleep 2\""},
        {"field": "instanceCount", "before": "3", "after": "5"},
        {"field": "labels.labels[program].value", "before": "\"1\"", "after": "\"2\""},
    ]);
    let expected = json!({
        "workflowId": {"value": id}, "jobId": {"value": "a"}, "numTasksRemaining": 5,
        "fromVersion": 1, "toVersion": 2, "message": "its shard has not looked at it yet",
        "createdAt": created_at, "updatedAt": created_at, "createdBy": "tester",
        "options": options, "changes": changes,
    });
    assert_eq!(world.get(&id).await, expected);

    world
        .say(RollingForward, |actual| {
            (actual.done, actual.failed, actual.updated_at) = (2, 1, created_at + 9);
            actual.failure = Some("instance 1 failed".into());
            (actual.displaced, actual.displaced_count) = (vec![4], 1);
        })
        .await;
    let shown = world.get(&id).await;
    let counts = |shown: &Value| {
        ["numTasksDone", "numTasksRemaining", "numTasksFailed"].map(|key| shown[key].clone())
    };
    assert_eq!(counts(&shown), [2, 2, 1].map(|n| json!(n)));
    assert_eq!(shown["updatedAt"], created_at + 9);
    assert_eq!(
        (&shown["failure"], &shown["displaced"], &shown["displacedCount"]),
        (&json!("instance 1 failed"), &json!([4]), &json!(1))
    );
    world.say(RollingBack, |actual| (actual.done, actual.failed) = (2, 1)).await;
    let shown = world.get(&id).await;
    assert_eq!(counts(&shown), [2, 3, 1].map(|n| json!(n)), "what failed has to return, too");
    assert_eq!(shown["rollingBack"], true);
}

#[tokio::test]
async fn instances_in_hand_are_told() {
    let (world, id) = World::upgraded(6, Some(RollingForward)).await;
    let step =
        |to, stage| Some(Box::new(Step { to, stage, since: 9, tries: 1, ..Default::default() }));
    let instance = |run, step| InstanceRecord {
        state: TaskState::Running,
        run,
        version: 2,
        host: Some("h1".into()),
        message: Some("says".into()),
        step,
        ..Default::default()
    };
    let records = [
        instance(4, step(2, Stage::Switch)),
        instance(4, step(2, Stage::Proven)),
        instance(4, step(1, Stage::Switch)),
        instance(4, step(2, Stage::Failed)),
        instance(4, None),
        instance(4, step(2, Stage::Returned)),
    ];
    for (i, record) in (0..).zip(&records) {
        world.instance(i, record).await;
    }
    assert_eq!(world.get(&id).await.get("instances"), None, "of an earlier job of the name");
    world.seen().await;
    let told = |instance: u32, stage: &str| {
        json!({"instanceId": instance, "stage": stage, "since": 9, "tries": 1, "taskState": "RUNNING",
               "version": 2, "host": "h1", "message": "says"})
    };
    let mut first = told(0, "SWITCH");
    first.as_object_mut().unwrap().remove("instanceId");
    assert_eq!(world.get(&id).await["instances"], json!([first, told(3, "FAILED")]));
    world.say(Succeeded, |_| {}).await;
    assert_eq!(world.get(&id).await.get("instances"), None);
    world.say(RollingForward, |_| {}).await;
    let record = instance(4, step(2, Stage::Prepare));
    for i in 0..1100 {
        world.instance(i, &record).await;
    }
    let named = world.get(&id).await["instances"].as_array().unwrap().len();
    assert_eq!(named, limits::MAX_NAMED_INSTANCES);
}

#[tokio::test]
async fn all_of_all_jobs_the_newest_first_in_pages() {
    let store = MemoryStore::new();
    let master = Master::ticking(Arc::new(store.clone())).await;
    let mut begun = Vec::new();
    let names: Vec<_> = (0..12).map(|i| format!("job-{i}")).collect();
    let shards: std::collections::BTreeSet<_> = names.iter().map(|name| shard(name)).collect();
    assert!(shards.len() > usize::from(SHARDS) / 2, "spread over shards");
    for round in 0..3 {
        for name in &names {
            let id = json!({"value": name});
            if round == 0 {
                let create = json!({"id": id, "config": program(0, 1)});
                master.call("JobManager.Create", create).await;
            }
            let config = program(1 + round, 1);
            let spec = json!({"jobId": id, "jobConfig": config, "replace": true});
            let answer = master.call("UpgradeManager.Create", json!({"spec": spec})).await;
            begun.push(answer["result"]["value"].as_str().unwrap().to_owned());
        }
    }
    begun.reverse();
    let ids = |page: &Value| -> Vec<String> {
        let value = page["result"]["value"].as_array().cloned().unwrap_or_default();
        value.iter().map(|u| u["workflowId"]["value"].as_str().unwrap().to_owned()).collect()
    };
    let list = async |request: Value| master.call("UpgradeManager.List", request).await;
    let all = list(json!({})).await;
    assert_eq!(ids(&all), begun);
    assert!(all.get("nextPageToken").is_none());
    for limit in [1, 5, 36] {
        let (mut found, mut token) = (Vec::new(), String::new());
        loop {
            let page = list(json!({"limit": limit, "pageToken": token})).await;
            assert!(ids(&page).len() <= limit);
            found.extend(ids(&page));
            match page["nextPageToken"].as_str() {
                Some(next) => token = next.to_owned(),
                None => break,
            }
        }
        assert_eq!(found, begun, "by {limit}");
    }

    // Of one job, in the same order.
    let own: Vec<_> = begun.iter().filter(|id| id.starts_with("job-7-")).cloned().collect();
    let job = json!({"value": "job-7"});
    assert_eq!(ids(&list(json!({"jobId": job})).await), own);
    let first = list(json!({"jobId": job, "limit": 2})).await;
    assert_eq!(ids(&first), own[..2]);
    let states: Vec<_> = first["result"]["value"].as_array().unwrap().clone();
    assert_eq!((states[0].get("state"), &states[1]["state"]), (None, &json!(5)));
    assert_eq!(states[0]["replaces"]["value"], own[1]);
    assert!(states[0].get("changes").is_none());
    let token = &first["nextPageToken"];
    let second = list(json!({"jobId": job, "limit": 2, "pageToken": token})).await;
    assert_eq!(ids(&second), own[2..]);
    assert!(second.get("nextPageToken").is_none());
    let none = list(json!({"jobId": {"value": "none"}})).await;
    assert!(ids(&none).is_empty());

    // The list forgets what is deleted.
    master.call("JobManager.Delete", json!({"id": job})).await;
    assert!(ids(&list(json!({})).await).iter().all(|id| !id.starts_with("job-7-")));
    for (request, text) in [
        (json!({"limit": -1}), "limit: -1 is not allowed: 0 or more"),
        (json!({"pageToken": "x"}), "pageToken: \"x\" is not allowed"),
        (json!({"pageToken": token, "jobId": {"value": "job-1"}}), "pageToken: "),
        (json!({"jobId": {"value": "a/b"}}), "jobId.value: "),
    ] {
        let reply = master.yarpc("UpgradeManager.List", &request).await;
        assert!(reply.status == 400 && reply.body.contains(text), "{}", reply.body);
    }
}

#[tokio::test]
async fn the_history_of_a_job_is_bounded() {
    let world = World::start().await;
    let mut ids = Vec::new();
    for n in 0..25 {
        ids.push(world.upgrade(to(program(10 + n, 3))).await);
        world.say(Succeeded, |_| {}).await;
    }
    let n = shard("a");
    assert_eq!(world.keys(keys::desired_upgrades(n, "a")).await.len(), limits::KEPT_UPGRADES);
    assert_eq!(world.keys(keys::desired_recents(n)).await.len(), limits::KEPT_UPGRADES);
    assert!(world.ask("Get", &ids[4]).await.get("notFound").is_some());
    assert_eq!(world.get(&ids[5]).await["state"], 3);
    let list = world.master.call("UpgradeManager.List", json!({"limit": 100})).await;
    assert_eq!(list["result"]["value"].as_array().unwrap().len(), limits::KEPT_UPGRADES);
    world.master.call("JobManager.Delete", json!({"id": {"value": "a"}})).await;
    assert!(world.keys(keys::desired(n)).await.is_empty());
}

#[tokio::test]
async fn events_in_pages() {
    let (world, id) = World::upgraded(3, None).await;
    assert_eq!(world.ask("GetEvents", &id).await, json!({}));
    let n = shard("a");
    let place = |slot, host: &str| Some(SlotPlace { slot: SlotId(slot), host: host.into() });
    let event = |at| UpgradeEvent {
        at,
        kind: UpgradeEventKind::Started,
        instance: None,
        by: String::new(),
        from_slot: None,
        to_slot: None,
        run: 0,
        message: String::new(),
    };
    for number in 0..7 {
        let event = UpgradeEvent {
            kind: UpgradeEventKind::RunFailed,
            instance: Some(0),
            by: "someone".into(),
            from_slot: place(3, "h1"),
            to_slot: place(4, "h2"),
            run: 9,
            message: "exit 1".into(),
            ..event(number)
        };
        world.put(keys::actual_event(n, "a", 2, number), &event).await;
    }
    world.put(keys::actual_event(n, "a", 2, 0), &event(1)).await;
    world.say(RollingForward, |actual| actual.events = 6).await;
    let events = async |limit: u32, token: &str| {
        let mut request = workflow(&id);
        request["limit"] = json!(limit);
        request["pageToken"] = json!(token);
        world.master.call("UpgradeManager.GetEvents", request).await
    };
    let numbers = |page: &Value| {
        let events = page["events"].as_array().cloned().unwrap_or_default();
        events.iter().map(|e| e["number"].as_u64().unwrap_or(0)).collect::<Vec<_>>()
    };
    let all = events(0, "").await;
    assert_eq!(numbers(&all), [0, 1, 2, 3, 4, 5], "the seventh is of an earlier job");
    assert!(all.get("nextPageToken").is_none());
    assert_eq!(all["events"][0], json!({"at": 1, "kind": "STARTED"}));
    assert_eq!(
        all["events"][1],
        json!({"number": 1, "at": 1, "kind": "RUN_FAILED", "instanceId": 0, "by": "someone",
            "fromSlot": "3", "fromHost": "h1", "toSlot": "4", "toHost": "h2", "taskId": "a-0-9",
            "message": "exit 1"})
    );
    let first = events(4, "").await;
    assert_eq!((numbers(&first), &first["nextPageToken"]), (vec![0, 1, 2, 3], &json!("4")));
    let second = events(4, "4").await;
    assert_eq!((numbers(&second), second.get("nextPageToken")), (vec![4, 5], None));
    assert_eq!(events(4, "6").await, json!({}), "what is to come");
    let mut wrong = workflow(&id);
    wrong["pageToken"] = json!("x");
    let reply = world.master.yarpc("UpgradeManager.GetEvents", &wrong).await;
    assert!(reply.status == 400 && reply.body.contains("pageToken: \"x\""), "{}", reply.body);
}

#[tokio::test]
async fn a_dry_run_tells_and_writes_nothing() {
    let world = World::start().await;
    world.seen().await;
    let n = shard("a");
    let resources = Resources { cpus: Milli(100), mem_mb: Milli(32_000), ..Default::default() };
    for i in 0..2_u32 {
        let slot = SlotRecord::new(AgentId::new("S1"), resources, vec![], 0);
        world.put(keys::actual_slot(n, "a", i, "1"), &slot).await;
        let record = InstanceRecord { run: 1, host: Some("h1".into()), ..Default::default() };
        world.instance(i, &record).await;
    }
    let wide = Resources { cpus: Milli(5000), ..resources };
    let slot = SlotRecord::new(AgentId::new("S2"), wide, vec![31000], 0);
    world.put(keys::actual_slot(n, "a", 1, "2"), &slot).await;
    let before = world.store.state().revision();
    let mut request = to(program(2, 5));
    request["spec"]["jobConfig"]["resource"]["cpusLimit"] = json!(0.6);
    request["spec"]["jobConfig"]["ports"] = json!([{"name": "http"}]);
    request["spec"]["options"] = json!({"batchPercentage": 30});
    request["dryRun"] = json!(true);
    let plan = world.master.call("UpgradeManager.Create", request.clone()).await["plan"].clone();
    assert_eq!(world.store.state().revision(), before);
    let numbers = ["fromVersion", "toVersion", "batch"].map(|key| plan[key].as_u64().unwrap());
    assert_eq!(numbers, [1, 2, 2]);
    let fields: Vec<_> =
        plan["changes"].as_array().unwrap().iter().map(|c| c["field"].as_str().unwrap()).collect();
    let expected = [
        "command.value",
        "instanceCount",
        "labels.labels[program].value",
        "ports",
        "resource.cpusLimit",
    ];
    assert_eq!(fields, expected);
    let all = "cpus 0.6, mem 32 MB, 1 port";
    assert_eq!(
        plan["instances"],
        json!([
            {"action": "WIDEN", "host": "h1", "more": "cpus 0.5, 1 port"},
            {"instanceId": 1, "action": "IN_PLACE", "host": "h1"},
            {"instanceId": 2, "action": "IN_PLACE"},
            {"instanceId": 3, "action": "ADD", "more": all},
            {"instanceId": 4, "action": "ADD", "more": all},
        ])
    );
    assert_eq!(plan["counts"], json!({"WIDEN": 1, "IN_PLACE": 2, "ADD": 2}));
    request["spec"]["jobConfig"] = program(2, 1);
    let plan = world.master.call("UpgradeManager.Create", request.clone()).await["plan"].clone();
    assert_eq!(plan["counts"], json!({"IN_PLACE": 1, "REMOVE": 2}));
    request["spec"]["jobConfig"]["instanceCount"] = json!(5000);
    let plan = world.master.call("UpgradeManager.Create", request).await["plan"].clone();
    assert_eq!(plan["instances"].as_array().unwrap().len(), limits::MAX_NAMED_INSTANCES);
    assert_eq!(plan["counts"]["ADD"], 4997);
}

#[tokio::test]
async fn the_same_over_grpc() {
    let world = World::start().await;
    let mut client = UpgradeManagerClient::new(world.master.channel().await);
    let create: pb::CreateRequest = from_json(&to(program(2, 3))).unwrap().message;
    let mut request = tonic::Request::new(create.clone());
    request.metadata_mut().insert("rpc-caller", "tester".parse().unwrap());
    request.metadata_mut().insert("peloton-request-id", "7".parse().unwrap());
    let id = client.create(request).await.unwrap().into_inner().result;
    let text = id.clone().unwrap().value;
    assert_eq!(version(&text), 2);
    let again = client.create(create).await.unwrap().into_inner();
    assert_eq!(again.already_exists.unwrap().id, id);
    world.say(RollingForward, |actual| actual.events = 1).await;
    let event = json!({"at": 5, "kind": "PROVEN", "instance": 2});
    world.put(keys::actual_event(shard("a"), "a", 2, 0), &event).await;

    let workflow_id = || id.clone();
    let get = pb::GetRequest { workflow_id: workflow_id() };
    let got = client.get(get).await.unwrap().into_inner();
    assert_eq!(to_json(&got).unwrap(), world.ask("Get", &text).await);
    let list = client.list(pb::ListRequest::default()).await.unwrap().into_inner();
    let by_json = world.master.call("UpgradeManager.List", json!({})).await;
    assert_eq!(to_json(&list).unwrap(), by_json);
    let events = pb::GetEventsRequest { workflow_id: workflow_id(), ..Default::default() };
    let events = client.get_events(events).await.unwrap().into_inner();
    assert_eq!(to_json(&events).unwrap(), world.ask("GetEvents", &text).await);

    let answer = client.pause(pb::PauseRequest { workflow_id: workflow_id() }).await.unwrap();
    assert_eq!(answer.into_inner(), pb::PauseResponse::default());
    let answer = client.pause(pb::PauseRequest { workflow_id: workflow_id() }).await.unwrap();
    let refused = answer.into_inner().invalid_state.unwrap();
    assert_eq!(refused.invalid_state(), pb::State::Paused);
    let answer = client.resume(pb::ResumeRequest { workflow_id: workflow_id() }).await.unwrap();
    assert_eq!(answer.into_inner(), pb::ResumeResponse::default());
    let answer = client.rollback(pb::RollbackRequest { workflow_id: workflow_id() }).await.unwrap();
    assert_eq!(answer.into_inner().result, id);
    let abort = pb::AbortRequest { workflow_id: workflow_id(), soft_abort: true };
    assert_eq!(client.abort(abort).await.unwrap().into_inner(), pb::AbortResponse::default());
    let none = Some(pb::WorkflowId { value: "none-1-00000000".into() });
    let answer = client.get(pb::GetRequest { workflow_id: none }).await.unwrap().into_inner();
    assert!(answer.not_found.is_some());
}
