//! Jobs over JSON: the answers letter by letter, and what they mean.

use std::sync::Arc;

use peloton_model::{Goals, JobRecord, JobSummary, StateCounts, TaskState, Waiting, decode_record};
use peloton_store::{MemoryStore, Store, keys};
use serde_json::json;

use crate::support::{Master, config, put, shard};

#[tokio::test]
async fn the_call_of_2016_letter_by_letter() {
    let master = Master::start().await;
    // As curl sends it, with its own headers and the header case of its user.
    let body = r#"{"id": {"value": "myjob12345"}}"#;
    let request = format!(
        "POST / HTTP/1.1\r\nHost: localhost:5289\r\nUser-Agent: curl/7.43.0\r\nAccept: */*\r\n\
         content-type: application/json\r\nRpc-Procedure: JobManager.Get\r\n\
         Rpc-Service: peloton-master\r\nRpc-Caller: peloton-client\r\nContext-TTL-MS: 1000\r\n\
         Rpc-Encoding: json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let reply = master.raw(request.as_bytes()).await;
    assert_eq!(reply.status, 200);
    assert_eq!(
        reply.body,
        "{\"notFound\":{\"id\":{\"value\":\"myjob12345\"},\"message\":\"there is no job myjob12345\"}}\n"
    );

    let create = json!({"id": {"value": "myjob12345"}, "config": config(3)});
    let created = master.yarpc("JobManager.Create", &create).await;
    assert_eq!(created.body, "{\"result\":{\"value\":\"myjob12345\"}}\n");

    let reply = master.raw(request.as_bytes()).await;
    assert_eq!(
        reply.body,
        "{\"result\":{\"changeLog\":{\"version\":1,\"createdAt\":1472731200250,\
         \"updatedAt\":1472731200250,\"updatedBy\":\"tester\"},\"name\":\"test\",\
         \"instanceCount\":3,\"resource\":{\"cpusLimit\":0.1,\"memLimitMb\":32},\
         \"command\":{\"value\":\"sleep 1000\",\"shell\":true},\
         \"restartPolicy\":{\"initialBackoffMs\":1000,\"maxBackoffMs\":300000,\
         \"resetAfterSecs\":300},\"killPolicy\":{\"gracePeriodSecs\":3}}}\n"
    );
    assert_eq!(reply.headers["content-type"], "application/json");
    assert_eq!(reply.headers["rpc-service"], "peloton-master");
    assert_eq!(reply.headers["rpc-status"], "success");
    assert!(!reply.headers.contains_key("rpc-error-code"));

    // Any path, any content type, the later spelling of the procedure, headers in any case.
    let other = request
        .replace("POST / ", "POST /api/v1?x=y ")
        .replace("content-type: application/json", "CONTENT-TYPE: nonsense")
        .replace("Rpc-Procedure: JobManager.Get", "RPC-PROCEDURE: peloton.job.JobManager::Get");
    assert_eq!(master.raw(other.as_bytes()).await.body, reply.body);
    let other = request.replace("content-type: application/json\r\n", "");
    assert_eq!(master.raw(other.as_bytes()).await.body, reply.body);
}

#[tokio::test]
async fn a_second_creation_changes_nothing() {
    let master = Master::start().await;
    master.call("JobManager.Create", json!({"id": {"value": "a"}, "config": config(1)})).await;
    let again = json!({"id": {"value": "a"}, "config": config(9)});
    assert_eq!(
        master.yarpc("JobManager.Create", &again).await.body,
        "{\"alreadyExists\":{\"id\":{\"value\":\"a\"},\
         \"message\":\"there is a job a already, with another configuration; nothing was changed\"}}\n"
    );
    let got = master.call("JobManager.Get", json!({"id": {"value": "a"}})).await;
    assert_eq!(got["result"]["instanceCount"], 1);
    // The same again is what there is: a client that lost the answer asks once more.
    let same = json!({"id": {"value": "a"}, "config": config(1)});
    master.call("JobManager.Stop", json!({"id": {"value": "a"}})).await;
    let answer = master.call("JobManager.Create", same).await;
    assert_eq!(answer, json!({"result": {"value": "a"}}));
    let got = master.call("JobManager.Get", json!({"id": {"value": "a"}})).await;
    assert_eq!(got["result"]["changeLog"]["version"], 1);
}

#[tokio::test]
async fn everything_wrong_with_a_configuration_is_said_at_once() {
    let master = Master::start().await;
    let mut wrong = config(1);
    wrong["resource"]["cpusLimit"] = json!(0);
    wrong["ports"] = json!([{"name": "http", "value": 70000}]);
    let create = json!({"id": {"value": "a"}, "config": wrong});
    let reply = master.yarpc("JobManager.Create", &create).await;
    assert_eq!(reply.status, 400);
    for text in [
        "resource.cpusLimit: 0.0 is not allowed: at least 0.01; ",
        "ports[0].value: 70000 is not allowed: 0 (from the offer) to 65535",
    ] {
        assert!(reply.body.contains(text), "{}", reply.body);
    }
    // What the model has no place for is refused, too, and not dropped.
    let mut wrong = config(1);
    wrong["command"]["environment"] =
        json!({"variables": [{"name": "KEY", "type": "SECRET", "secret": {"type": "VALUE"}}]});
    wrong["healthCheck"] = json!({"enabled": true, "http": {"port": 80}, "shellCommand": "true"});
    let create = json!({"id": {"value": "a"}, "config": wrong});
    let reply = master.yarpc("JobManager.Create", &create).await;
    assert_eq!(reply.status, 400);
    for text in [
        "healthCheck.http: \"COMMAND\" is not allowed: given with type HTTP only",
        "command.environment.variables[0].type: \"KEY\" is not allowed: variables with a value, not with a secret",
    ] {
        assert!(reply.body.contains(text), "{}", reply.body);
    }
    let get = json!({"id": {"value": "a"}});
    assert!(master.call("JobManager.Get", get).await.get("notFound").is_some());
}

#[tokio::test]
async fn updates_keep_to_what_needs_no_upgrade() {
    let master = Master::start().await;
    let id = json!({"value": "a"});
    master.call("JobManager.Create", json!({"id": id, "config": config(1)})).await;
    let mut new = config(5);
    let update = json!({"id": id, "config": config(1)});
    let same = master.call("JobManager.Update", update).await;
    assert_eq!(same, json!({"result": {"id": {"value": "a"}, "version": 1}}));

    new["description"] = json!("five");
    let update = json!({"id": id, "config": new, "expectedVersion": 1});
    let answer = master.call("JobManager.Update", update.clone()).await;
    assert_eq!(answer, json!({"result": {"id": {"value": "a"}, "version": 2}}));
    let answer = master.call("JobManager.Update", update).await;
    assert_eq!(
        answer["conflict"],
        json!({"expected": 1, "actual": 2, "message":
            "job a has version 2, not 1: read it, and apply your change to that"})
    );

    new["command"]["value"] = json!("sleep 2000");
    new["ports"] = json!([{"name": "http"}]);
    let update = json!({"id": id, "config": new});
    let answer = master.call("JobManager.Update", update).await;
    assert_eq!(answer["needsUpgrade"]["fields"], json!(["command", "ports"]));

    let got = master.call("JobManager.Get", json!({"id": id})).await;
    assert_eq!(
        (&got["result"]["instanceCount"], &got["result"]["changeLog"]["version"]),
        (&json!(5), &json!(2))
    );
    let update = json!({"id": {"value": "none"}, "config": config(1)});
    assert!(master.call("JobManager.Update", update).await.get("notFound").is_some());

    // What was read can be written back.
    let update = json!({"id": id, "config": got["result"], "expectedVersion": 2});
    let answer = master.call("JobManager.Update", update).await;
    assert_eq!(answer["result"]["version"], 2);
}

#[tokio::test]
async fn queries_match_all_labels_and_page_without_gaps() {
    let master = Master::start().await;
    for i in 0..25 {
        let mut config = config(1);
        let parity = if i % 2 == 0 { "even" } else { "odd" };
        config["labels"] = json!({"labels": [
            {"key": "parity", "value": parity}, {"key": "all"}
        ]});
        let id = json!({"value": format!("job-{i}")});
        master.call("JobManager.Create", json!({"id": id, "config": config})).await;
    }
    let query = async |request| master.call("JobManager.Query", request).await;
    let count = |answer: &serde_json::Value| answer["result"].as_object().map_or(0, |m| m.len());
    assert_eq!(count(&query(json!({})).await), 25);
    let odd = json!({"labels": {"labels": [{"key": "parity", "value": "odd"}, {"key": "all"}]}});
    assert_eq!(count(&query(odd).await), 12);
    let none = json!({"labels": {"labels": [{"key": "parity", "value": "odd"}, {"key": "x"}]}});
    assert_eq!(query(none).await, json!({}));

    let (mut found, mut token) = (Vec::new(), String::new());
    loop {
        let page = query(json!({"limit": 4, "pageToken": token, "withStatus": true})).await;
        assert!((1..=4).contains(&count(&page)), "{page}");
        let names = page["result"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        for name in &names {
            assert_eq!(page["status"][name]["countsByState"], json!({"INITIALIZED": 1}));
        }
        found.extend(names);
        match page["nextPageToken"].as_str() {
            Some(next) => token = next.to_owned(),
            None => break,
        }
    }
    found.sort();
    found.dedup();
    assert_eq!(found.len(), 25);
    let reply = master.yarpc("JobManager.Query", &json!({"pageToken": "x"})).await;
    assert_eq!(reply.status, 400);
    assert!(reply.body.contains("pageToken: \"x\" is not allowed"), "{}", reply.body);
}

#[tokio::test]
async fn deletion_leaves_no_desired_state() {
    let store = Arc::new(MemoryStore::new());
    let master = Master::over(store.clone()).await;
    let id = json!({"value": "a"});
    // A name that only begins the same must stay.
    for name in ["a", "a.b", "a-1"] {
        let create = json!({"id": {"value": name}, "config": config(1)});
        master.call("JobManager.Create", create).await;
    }
    master.call("JobManager.Update", json!({"id": id, "config": config(2)})).await;
    let reply = master.yarpc("JobManager.Delete", &json!({"id": id})).await;
    assert_eq!(reply.body, "{}\n");
    let reply = master.call("JobManager.Delete", json!({"id": id})).await;
    assert!(reply.get("notFound").is_some());
    let configs = keys::desired_configs(shard("a"), "a");
    assert!(peloton_store::range_all(&*store, configs).await.unwrap().kvs.is_empty());
    for name in ["a.b", "a-1"] {
        let got = master.call("JobManager.Get", json!({"id": {"value": name}})).await;
        assert!(got.get("result").is_some());
    }
}

#[tokio::test]
async fn status_is_that_of_this_job_and_not_of_an_earlier_one() {
    let store = Arc::new(MemoryStore::new());
    let master = Master::over(store.clone()).await;
    let id = json!({"value": "a"});
    let status = async || master.call("JobManager.GetStatus", json!({"id": id})).await;
    assert!(status().await.get("notFound").is_some());
    master.call("JobManager.Create", json!({"id": id, "config": config(4)})).await;
    let fresh = json!({"result": {
        "id": {"value": "a"}, "instanceCount": 4, "countsByState": {"INITIALIZED": 4},
        "currentVersion": 1,
    }});
    assert_eq!(status().await, fresh);

    let key = keys::desired_job(shard("a"), "a");
    let incarnation = store.get(key).await.unwrap().kv.unwrap().create_revision.0;
    let mut counts = StateCounts::default();
    counts.add(TaskState::Running);
    counts.add(TaskState::Running);
    counts.add(TaskState::Scheduling);
    let waiting = Waiting {
        instances: 1,
        reason: "no place".into(),
        agents: 3,
        lacking: vec![(peloton_model::Lack::Cpus, 3)],
    };
    let mut summary = JobSummary {
        incarnation: incarnation - 1,
        state: peloton_model::JobState::Pending,
        counts,
        healthy: 2,
        versions: [(1, 2)].into(),
        waiting: vec![waiting],
        ..Default::default()
    };
    let key = keys::actual_job(shard("a"), "a");
    put(&*store, key.clone(), &summary).await;
    assert_eq!(status().await, fresh, "of an earlier job");
    summary.incarnation = incarnation;
    put(&*store, key.clone(), &summary).await;
    assert_eq!(
        status().await["result"],
        json!({
            "id": {"value": "a"}, "state": 2, "instanceCount": 4, "healthy": 2,
            "countsByState": {"INITIALIZED": 1, "SCHEDULING": 1, "RUNNING": 2},
            "versions": {"1": 2}, "currentVersion": 1,
            "waiting": [{"reason": "no place", "instances": 1, "agentsLookedAt": 3,
                "lacking": [{"reason": "cpus", "agents": 3}]}],
        })
    );

    // Deleted: its leftovers are told until there are none.
    master.call("JobManager.Delete", json!({"id": id})).await;
    let told = status().await;
    assert_eq!((&told["result"]["state"], &told["result"]["leftovers"]), (&json!(8), &json!(2)));
    summary.deleted_at = Some(1);
    summary.leftovers = 5;
    put(&*store, key.clone(), &summary).await;
    assert_eq!(status().await["result"]["leftovers"], 5);
    summary.leftovers = 0;
    put(&*store, key, &summary).await;
    assert!(status().await.get("notFound").is_some());
}

#[tokio::test]
async fn requests_for_whole_jobs_reach_instances_to_come() {
    let store = Arc::new(MemoryStore::new());
    let master = Master::over(store.clone()).await;
    let id = json!({"value": "a"});
    master.call("JobManager.Create", json!({"id": id, "config": config(2)})).await;
    let record = async || {
        let kv = store.get(keys::desired_job(shard("a"), "a")).await.unwrap().kv.unwrap();
        decode_record::<JobRecord>(&kv.value).unwrap()
    };
    for (procedure, stopped, restart, start) in
        [("Stop", true, 0, 0), ("Start", false, 0, 3), ("Restart", false, 4, 3)]
    {
        let answer = master.call(&format!("JobManager.{procedure}"), json!({"id": id})).await;
        assert_eq!(answer, json!({}));
        let goal = record().await.goals.get(1_000_000);
        assert_eq!((goal.stopped, goal.restart, goal.start), (stopped, restart, start));
    }
    assert_eq!(record().await.generation, 4);
    assert_ne!(record().await.goals, Goals::default());
    for procedure in ["Stop", "Start", "Restart"] {
        let none = json!({"id": {"value": "none"}});
        let answer = master.call(&format!("JobManager.{procedure}"), none).await;
        assert!(answer.get("notFound").is_some());
    }
}
