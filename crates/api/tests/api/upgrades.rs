//! How upgrades begin.

use std::collections::BTreeSet;
use std::sync::Arc;

use peloton_model::UpgradeState::{Aborted, Failed, RolledBack, RollingForward, Succeeded};
use peloton_model::{UpgradeId, UpgradeOptions, UpgradeSpecRecord, decode_record};
use peloton_store::{Compare, KeyRange, Store, TxnResult, keys};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::outcomes::Pair;
use crate::support::upgrade::{World, program, replacing, to, version, workflow};
use crate::support::{Fault, config, shard};

#[tokio::test]
async fn a_creation_writes_four_keys_however_many_instances_there_are() {
    for instances in [0, 3, 1_000_000] {
        let world = World::start().await;
        let before: BTreeSet<_> = world.keys(KeyRange::all()).await.into_iter().collect();
        let mut request = to(program(2, instances));
        request["spec"]["options"] = json!({"batchSize": 2, "startPaused": true});
        let id = world.upgrade(request).await;
        let after = world.keys(KeyRange::all()).await.into_iter();
        let new: Vec<_> = after.filter(|key| !before.contains(key)).collect();
        let n = shard("a");
        let recent = world.keys(keys::desired_recents(n)).await.remove(0);
        let expected = ["config/a/0000000002", "upgrade/a/0000000002"];
        let mut expected: Vec<_> = expected.map(|key| format!("d/{n:04}/{key}")).into();
        expected.insert(1, recent.clone());
        assert_eq!(new, expected, "and the job's own");

        let record = world.record().await;
        assert_eq!((record.version, record.top_version, record.generation), (2, 2, 2));
        assert_eq!((record.instance_count, &record.labels["program"][..]), (instances, "2"));
        let ask = record.upgrade.clone().unwrap();
        assert_eq!((ask.from, ask.from_count, ask.paused), (1, 3, true));
        let options = UpgradeOptions { batch_size: 2, ..Default::default() };
        assert_eq!(ask.options, options);
        assert_eq!(id, format!("a-2-{:08x}", ask.mark));
        let kv = world.store.get(keys::desired_upgrade(n, "a", 2)).await.unwrap().kv.unwrap();
        let spec: UpgradeSpecRecord = decode_record(&kv.value).unwrap();
        assert_eq!((spec.mark, spec.from, spec.to, &spec.options), (ask.mark, 1, 2, &options));
        assert_eq!((spec.created_by.as_str(), spec.replaces), ("tester", None));
        let key = keys::desired_recent(n, spec.created_at, "a", 2);
        assert_eq!(recent.as_bytes(), &key[..]);
    }
}

#[tokio::test]
async fn everything_wrong_with_a_request_is_named() {
    let world = World::start().await;
    let before = world.store.state().revision();
    let refused = async |request: &Value, texts: &[&str]| {
        let reply = world.master.yarpc("UpgradeManager.Create", request).await;
        assert_eq!(reply.status, 400, "{request}: {}", reply.body);
        assert_eq!(reply.headers["rpc-error-code"], "invalid-argument");
        for text in texts {
            assert!(reply.body.contains(text), "{text} not in {}", reply.body);
        }
    };
    refused(&json!({}), &["spec: missing"]).await;
    let none = json!({"spec": {"jobConfig": program(2, 3)}});
    refused(&none, &["spec.jobId: missing"]).await;
    let none = json!({"spec": {"jobId": {"value": "a"}}});
    refused(&none, &["spec.jobConfig: missing"]).await;

    let mut request = to(program(2, 3));
    request["spec"]["jobConfig"]["resource"]["cpusLimit"] = json!(0);
    request["spec"]["options"] = json!({
        "batchPercentage": 100.5, "healthDeadlineSecs": 0, "placementDeadlineSecs": 31_622_401,
        "minHealthySecs": 31_622_401,
    });
    let texts = [
        "resource.cpusLimit: 0.0 is not allowed: at least 0.01",
        "options.batchPercentage: 100.5 is not allowed: 0 to 100",
        "options.healthDeadlineSecs: 0 is not allowed: 1 to 31622400",
        "options.minHealthySecs: 31622401 is not allowed: 0 to 31622400",
        "options.placementDeadlineSecs: 31622401 is not allowed: 1 to 31622400",
    ];
    refused(&request, &texts).await;
    request["spec"]["options"] = json!({"batchSize": -1});
    refused(&request, &["options.batchSize: -1 is not allowed: 0 or more"]).await;

    let mut batch = program(2, 3);
    batch["type"] = json!("BATCH");
    let text = "jobConfig.type: \"BATCH\" is not allowed: SERVICE, the type of the job";
    refused(&to(batch.clone()), &[text]).await;
    refused(&to(program(1, 3)), &["jobConfig: nothing differs from version 1"]).await;
    assert_eq!(world.store.state().revision(), before, "nothing was written");

    let mut promised = config(3);
    promised["sla"] = json!({"minimumInstanceCount": 3});
    let update = json!({"id": {"value": "a"}, "config": program(1, 3)});
    let mut update = update;
    update["config"]["sla"] = promised["sla"].clone();
    world.master.call("JobManager.Update", update).await;
    let mut request = to(program(2, 3));
    request["spec"]["jobConfig"]["sla"] = json!({"minimumInstancePercent": 90});
    let text = "sla.minimumInstancePercent: 90.0 is not allowed: such that fewer than 3 instances";
    refused(&request, &[text, "options.stopBeforeUpgrade"]).await;
    request["dryRun"] = json!(true);
    refused(&request, &[text]).await;
    request["dryRun"] = json!(false);
    request["spec"]["options"] = json!({"stopBeforeUpgrade": true});
    assert_eq!(version(&world.upgrade(request).await), 3);

    batch["instanceCount"] = json!(1);
    let create = json!({"id": {"value": "b"}, "config": batch});
    world.master.call("JobManager.Create", create).await;
    let mut request = to(program(3, 1));
    request["spec"]["jobId"] = json!({"value": "b"});
    refused(&request, &["jobConfig.type: \"BATCH\" is not allowed: upgrades of services only"])
        .await;
}

#[tokio::test]
async fn answers_that_are_no_errors() {
    let world = World::start().await;
    let create = async |request: Value| world.master.call("UpgradeManager.Create", request).await;
    for dry_run in [true, false] {
        let mut request = to(program(2, 3));
        request["dryRun"] = json!(dry_run);
        request["spec"]["jobId"] = json!({"value": "none"});
        assert_eq!(create(request.clone()).await["notFound"]["id"], json!({"value": "none"}));
        request["spec"]["jobId"] = json!({"value": "a"});
        request["spec"]["expectedVersion"] = json!(7);
        let conflict = create(request).await["conflict"].clone();
        assert_eq!((&conflict["expected"], &conflict["actual"]), (&json!(7), &json!(1)));
    }
    let id = world.upgrade(to(program(2, 3))).await;
    for state in [None, Some(RollingForward), Some(peloton_model::UpgradeState::Paused)] {
        if let Some(state) = state {
            world.say(state, |_| {}).await;
        }
        let answer = create(to(program(3, 3))).await;
        assert_eq!(answer["alreadyExists"]["id"], json!({"value": id}), "{answer}");
        let text = answer["alreadyExists"]["message"].as_str().unwrap();
        assert!(text.contains("wait until that has ended, or replace it"), "{text}");
    }
}

#[tokio::test]
async fn each_falls_back_to_what_was_proven_last() {
    // The state of the first, whether the second replaces it, what it falls back to, whether it may go to
    // the version that is in force.
    for (state, replaces, from, back_allowed) in [
        (None, true, 1, true),
        (Some(RollingForward), true, 1, true),
        (Some(Succeeded), false, 2, false),
        (Some(RolledBack), false, 1, false),
        (Some(Aborted), false, 1, true),
        (Some(Failed), false, 1, true),
    ] {
        let (world, first) = World::upgraded(5, state).await;
        let proven = if from == 1 { program(1, 3) } else { program(2, 5) };
        let mut dry = replacing(proven);
        dry["dryRun"] = json!(true);
        let reply = world.master.yarpc("UpgradeManager.Create", &dry).await;
        assert_eq!(reply.status == 200, back_allowed, "{state:?}: {}", reply.body);

        let id = world.upgrade(replacing(program(3, 4))).await;
        assert_eq!(version(&id), 3);
        let ask = world.record().await.upgrade.unwrap();
        let count = if from == 1 { 3 } else { 5 };
        assert_eq!((ask.from, ask.from_count), (from, count), "{state:?}");
        let shown = world.get(&id).await;
        assert_eq!(shown["fromVersion"], from);
        let expected = if replaces { json!({"value": first}) } else { Value::Null };
        assert_eq!(shown["replaces"], expected, "{state:?}");
        if replaces {
            let old = world.get(&first).await;
            assert_eq!(old["state"], 5, "aborted, as its place is taken");
            assert!(old["message"].as_str().unwrap().starts_with("replaced by another"), "{old}");
            let refused = world.ask("Pause", &first).await;
            assert_eq!(refused["invalidState"]["invalidState"], 5);
        }
    }
}

#[tokio::test]
async fn a_replacement_compares_how_far_the_replaced_one_is() {
    let pair = pair_with_upgrade().await;
    let key = keys::actual_upgrade(shard("a"), "a", 2);
    pair.faulty.set(Some(Fault::Delay));
    pair.a.call("UpgradeManager.Create", replacing(program(3, 3))).await;
    let compares = pair.faulty.delayed_compares();
    let is_it =
        |compare: &Compare| matches!(compare, Compare::ModRevision { key: k, .. } if *k == key);
    assert!(compares.iter().any(is_it), "{compares:?}");

    // It succeeds while the replacement is under way: then that falls back to it.
    let pair = pair_with_upgrade().await;
    pair.faulty.set(Some(Fault::HoldCommit));
    let a = pair.a.clone();
    let asked =
        tokio::spawn(
            async move { a.call("UpgradeManager.Create", replacing(program(3, 3))).await },
        );
    pair.faulty.held().await;
    let mark = pair.record().await.unwrap().upgrade.unwrap().mark;
    let actual =
        peloton_model::UpgradeRecord { mark, to: 2, state: Succeeded, ..Default::default() };
    crate::support::put(&pair.store, key, &actual).await;
    pair.faulty.tell();
    assert!(asked.await.unwrap().get("result").is_some());
    assert_eq!(pair.record().await.unwrap().upgrade.unwrap().from, 2);
}

async fn pair_with_upgrade() -> Pair {
    let pair = Pair::start().await;
    let create = json!({"id": {"value": "a"}, "config": program(1, 3)});
    pair.b.call("JobManager.Create", create).await;
    pair.b.call("UpgradeManager.Create", to(program(2, 3))).await;
    pair
}

#[tokio::test]
async fn each_change_is_made_once_whatever_gets_lost() {
    for fault in [Fault::LoseAnswer, Fault::LoseCommit, Fault::Delay] {
        let pair = Pair::start().await;
        let create = json!({"id": {"value": "a"}, "config": program(1, 3)});
        pair.b.call("JobManager.Create", create).await;
        let call = async |procedure: &str, request: Value| {
            pair.faulty.set(Some(fault));
            let answer = pair.a.call(procedure, request).await;
            if fault == Fault::Delay {
                let landed = pair.faulty.land().await;
                assert!(matches!(landed, TxnResult::Conflict { .. }), "{procedure}: {landed:?}");
            }
            answer
        };
        let answer = call("UpgradeManager.Create", to(program(2, 3))).await;
        let id = answer["result"]["value"].as_str().unwrap().to_owned();
        assert_eq!(pair.record().await.unwrap().generation, 2, "{fault:?}");
        for (n, control) in (3..).zip(["Pause", "Resume", "Rollback", "Abort"]) {
            let answer = call(&format!("UpgradeManager.{control}"), workflow(&id)).await;
            assert!(answer.get("invalidState").is_none(), "{fault:?}, {control}: {answer}");
            assert_eq!(pair.record().await.unwrap().generation, n, "{fault:?}, {control}");
        }
    }
}

#[tokio::test]
async fn the_same_asked_of_two_masters_is_made_once() {
    let pair = Pair::start().await;
    let create = json!({"id": {"value": "a"}, "config": program(1, 3)});
    pair.b.call("JobManager.Create", create).await;
    let twice = async |id: &str, procedure: &str, request: &Value| {
        let first = pair.a.attempt(procedure, request, id, "1").await;
        let second = pair.b.attempt(procedure, request, id, "2").await;
        assert_eq!((first.status, &first.body), (second.status, &second.body), "{procedure}");
        assert_eq!(first.status, 200, "{}", first.body);
        first.json()
    };
    let answer = twice("a1", "UpgradeManager.Create", &to(program(2, 3))).await;
    let id = answer["result"]["value"].as_str().unwrap().to_owned();
    let mark = UpgradeId::parse(&id).unwrap().mark;
    twice("a2", "UpgradeManager.Pause", &workflow(&id)).await;
    twice("a3", "UpgradeManager.Resume", &workflow(&id)).await;
    let answer = twice("a4", "UpgradeManager.Rollback", &workflow(&id)).await;
    assert_eq!(answer, json!({"result": {"value": id}}));
    assert_eq!(pair.record().await.unwrap().generation, 5, "each once");

    // A finished one is taken back once.
    let actual =
        peloton_model::UpgradeRecord { mark, state: Succeeded, to: 2, ..Default::default() };
    crate::support::put(&pair.store, keys::actual_upgrade(shard("a"), "a", 2), &actual).await;
    let answer = twice("a5", "UpgradeManager.Rollback", &workflow(&id)).await;
    let new = UpgradeId::parse(answer["result"]["value"].as_str().unwrap()).unwrap();
    assert!(new.to == 3 && new.mark != mark, "{new}");
    // Lost, deleted meanwhile, and asked of another: it was done.
    pair.b.call("JobManager.Delete", json!({"id": {"value": "a"}})).await;
    let again = pair.b.attempt("UpgradeManager.Create", &to(program(2, 3)), "a1", "2").await;
    assert_eq!(again.json(), json!({"result": {"value": id}}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_upgrades_at_once_one_begins() {
    let pair = Arc::new(Pair::start().await);
    let create = json!({"id": {"value": "a"}, "config": program(1, 3)});
    pair.b.call("JobManager.Create", create).await;
    let mut tasks = JoinSet::new();
    for i in 0..8 {
        let pair = pair.clone();
        tasks.spawn(async move {
            let master = if i % 2 == 0 { &pair.a } else { &pair.b };
            master.call("UpgradeManager.Create", to(program(10 + i, 3))).await
        });
    }
    let answers = tasks.join_all().await;
    let won: Vec<_> = answers.iter().filter_map(|answer| answer["result"].as_object()).collect();
    assert_eq!(won.len(), 1);
    for answer in &answers {
        let named = answer["alreadyExists"]["id"].as_object();
        assert!(answer.get("result").is_some() || named == Some(won[0]), "{answer}");
    }
}

#[tokio::test]
async fn requests_for_instances_of_neither_version_are_forgotten() {
    let world = World::start().await;
    let stop = json!({"jobId": {"value": "a"}, "ranges": [{"from": 1, "to": 2}]});
    world.master.call("TaskManager.Stop", stop).await;
    world.upgrade(to(program(2, 1))).await;
    let stopped = async || {
        let goals = world.record().await.goals;
        (0..4).filter(|i| goals.get(*i).stopped).collect::<Vec<_>>()
    };
    assert_eq!(stopped().await, [1, 2], "a rollback brings them back");
    world.say(Succeeded, |_| {}).await;
    world.upgrade(to(program(3, 2))).await;
    assert_eq!(stopped().await, [1]);
}
