//! Each change is made once: when the store loses answers, when what was lost arrives late, and when a client
//! asks another master for the same.

use std::sync::Arc;

use peloton_model::{JobRecord, decode_record};
use peloton_store::{MemoryStore, Store, TxnResult, keys};
use serde_json::{Value, json};

use crate::support::{Fault, FaultyStore, Master, config, shard};

/// A master whose store fails, and one whose store does not; both stores are the same.
pub struct Pair {
    pub store: MemoryStore,
    pub faulty: Arc<FaultyStore>,
    pub a: Arc<Master>,
    pub b: Master,
}

fn id() -> Value {
    json!({"id": {"value": "a"}})
}

fn create(instances: u32) -> Value {
    json!({"id": {"value": "a"}, "config": config(instances)})
}

fn update(description: &str, expected: u64) -> Value {
    let mut config = config(1);
    config["description"] = json!(description);
    json!({"id": {"value": "a"}, "config": config, "expectedVersion": expected})
}

impl Pair {
    pub async fn start() -> Self {
        let store = MemoryStore::new();
        let faulty = Arc::new(FaultyStore::over(store.clone()));
        let a = Arc::new(Master::over(faulty.clone()).await);
        let b = Master::over(Arc::new(store.clone())).await;
        Self { store, faulty, a, b }
    }

    /// Asks the one with the fault; while its commit is held, `meanwhile` is asked of the other. What the
    /// first then says.
    pub async fn while_held(
        &self,
        fault: Fault,
        (procedure, request): (&'static str, Value),
        meanwhile: &[(&str, Value)],
    ) -> Value {
        self.faulty.set(Some(fault));
        let a = self.a.clone();
        let asked = tokio::spawn(async move { a.call(procedure, request).await });
        self.faulty.held().await;
        for (procedure, request) in meanwhile {
            let answer = self.b.call(procedure, request.clone()).await;
            let done = answer == json!({}) || answer.get("result").is_some();
            assert!(done, "{procedure}: {answer}");
        }
        self.faulty.tell();
        asked.await.unwrap()
    }

    pub async fn record(&self) -> Option<JobRecord> {
        let kv = self.store.get(keys::desired_job(shard("a"), "a")).await.unwrap().kv;
        kv.map(|kv| decode_record(&kv.value).unwrap())
    }
}

#[tokio::test]
async fn what_was_done_is_known_although_others_went_on() {
    // Created, deleted, and created anew by somebody else.
    let pair = Pair::start().await;
    let meanwhile = [("JobManager.Delete", id()), ("JobManager.Create", create(5))];
    let asked = ("JobManager.Create", create(1));
    let answer = pair.while_held(Fault::HoldAnswer, asked, &meanwhile).await;
    assert_eq!(answer, json!({"result": {"value": "a"}}));
    assert_eq!(pair.record().await.unwrap().instance_count, 5);

    // Updated, and updated by somebody else.
    let pair = Pair::start().await;
    pair.b.call("JobManager.Create", create(1)).await;
    let meanwhile = [("JobManager.Update", update("theirs", 0)), ("JobManager.Stop", id())];
    let asked = ("JobManager.Update", update("ours", 1));
    let answer = pair.while_held(Fault::HoldAnswer, asked, &meanwhile).await;
    assert_eq!(answer["result"]["version"], 2);
    let got = pair.b.call("JobManager.Get", id()).await;
    assert_eq!(got["result"]["description"], "theirs");
    assert_eq!(pair.record().await.unwrap().generation, 4, "nothing was done twice");

    // Updated, and deleted.
    let asked = ("JobManager.Update", update("again", 0));
    let meanwhile = [("JobManager.Delete", id())];
    let answer = pair.while_held(Fault::HoldAnswer, asked, &meanwhile).await;
    assert_eq!(answer["result"]["version"], 4);

    // Deleted, and created anew: the new one stays.
    let pair = Pair::start().await;
    pair.b.call("JobManager.Create", create(1)).await;
    let meanwhile = [("JobManager.Create", create(5))];
    let asked = ("JobManager.Delete", id());
    assert_eq!(pair.while_held(Fault::HoldAnswer, asked, &meanwhile).await, json!({}));
    assert_eq!(pair.record().await.unwrap().instance_count, 5);
}

#[tokio::test]
async fn what_others_did_is_not_taken_for_our_own() {
    let pair = Pair::start().await;
    let asked = ("JobManager.Create", create(1));
    let meanwhile = [("JobManager.Create", create(5))];
    let answer = pair.while_held(Fault::HoldCommit, asked, &meanwhile).await;
    assert!(answer.get("alreadyExists").is_some(), "{answer}");

    let asked = ("JobManager.Delete", id());
    let meanwhile = [("JobManager.Delete", id())];
    let answer = pair.while_held(Fault::HoldCommit, asked, &meanwhile).await;
    assert!(answer.get("notFound").is_some(), "{answer}");

    pair.b.call("JobManager.Create", create(1)).await;
    let asked = ("JobManager.Update", update("ours", 1));
    let meanwhile = [("JobManager.Update", update("theirs", 1))];
    let answer = pair.while_held(Fault::HoldCommit, asked, &meanwhile).await;
    assert_eq!(
        (&answer["conflict"]["expected"], &answer["conflict"]["actual"]),
        (&json!(1), &json!(2))
    );
}

#[tokio::test]
async fn what_arrives_late_finds_the_door_shut() {
    let pair = Pair::start().await;
    for (procedure, request, undo) in [
        ("JobManager.Create", create(1), Some("JobManager.Delete")),
        ("JobManager.Create", create(1), None),
        ("JobManager.Stop", id(), Some("JobManager.Start")),
        ("JobManager.Delete", id(), Some("JobManager.Create")),
    ] {
        pair.faulty.set(Some(Fault::Delay));
        pair.a.call(procedure, request).await;
        if let Some(undo) = undo {
            pair.b.call(undo, if undo == "JobManager.Create" { create(2) } else { id() }).await;
        }
        let before = pair.record().await;
        let landed = pair.faulty.land().await;
        assert!(matches!(landed, TxnResult::Conflict { .. }), "{procedure}, {undo:?}: {landed:?}");
        assert_eq!(pair.record().await, before);
    }
}

#[tokio::test]
async fn a_change_asked_of_two_masters_is_made_once() {
    let pair = Pair::start().await;
    let twice = async |id: &str, procedure: &str, request: &Value| {
        let first = pair.a.attempt(procedure, request, id, "1").await;
        let second = pair.b.attempt(procedure, request, id, "2").await;
        assert_eq!((first.status, &first.body), (second.status, &second.body), "{procedure}");
        assert_eq!(first.status, 200, "{}", first.body);
        first.json()
    };
    twice("1", "JobManager.Create", &create(1)).await;
    twice("2", "JobManager.Restart", &id()).await;
    let some = json!({"jobId": {"value": "a"}, "ranges": [{"from": 0, "to": 0}]});
    twice("3", "TaskManager.Restart", &some).await;
    let answer = twice("4", "JobManager.Update", &update("new", 1)).await;
    assert_eq!(answer["result"]["version"], 2);
    assert_eq!(pair.record().await.unwrap().generation, 4, "each once");
    // Although the job is another one by now.
    let again = pair.b.attempt("JobManager.Create", &create(1), "1", "2").await;
    assert_eq!(again.json(), json!({"result": {"value": "a"}}));
    assert_eq!(twice("5", "JobManager.Delete", &id()).await, json!({}));
    // Deleted since, and not created or stopped once more.
    for (id, procedure, request) in
        [("1", "JobManager.Create", create(1)), ("2", "JobManager.Restart", id())]
    {
        let again = pair.b.attempt(procedure, &request, id, "2").await.json();
        assert!(again.get("notFound").is_none(), "{again}");
        assert!(pair.record().await.is_none());
    }
    // A job of the name that came later has nothing to do with it.
    pair.b.call("JobManager.Create", create(7)).await;
    for (id, procedure) in [("5", "JobManager.Delete"), ("2", "JobManager.Restart")] {
        let again = pair.a.attempt(procedure, &self::id(), id, "3").await;
        assert_eq!(again.json(), json!({}));
    }
    assert_eq!(pair.record().await.unwrap().generation, 1);
    // Another request is another change.
    assert_eq!(twice("6", "JobManager.Delete", &id()).await, json!({}));
    assert!(pair.record().await.is_none());
}

#[tokio::test]
async fn what_can_not_be_told_is_said_to_be_unknown() {
    let pair = Pair::start().await;
    pair.b.call("JobManager.Create", create(1)).await;
    pair.faulty.set(Some(Fault::HoldAnswer));
    let a = pair.a.clone();
    let asked = tokio::spawn(async move { a.yarpc("JobManager.Stop", &id()).await });
    pair.faulty.held().await;
    // More than there are receipts of.
    for _ in 0..peloton_model::MAX_RECEIPTS {
        pair.b.call("JobManager.Start", id()).await;
    }
    pair.faulty.tell();
    let reply = asked.await.unwrap();
    assert_eq!((reply.status, &reply.headers["rpc-error-code"][..]), (503, "unavailable"));
    assert_eq!(reply.headers["rpc-header-peloton-outcome-unknown"], "1");
    assert!(!reply.headers.contains_key("rpc-header-peloton-not-executed"));
    assert!(reply.body.contains("whether the change was made is not known"), "{}", reply.body);

    // The store goes away for good while it is in doubt.
    pair.faulty.set(Some(Fault::HoldCommit));
    let a = pair.a.clone();
    let asked = tokio::spawn(async move { a.yarpc("JobManager.Stop", &id()).await });
    pair.faulty.held().await;
    pair.faulty.set(Some(Fault::Down));
    pair.faulty.tell();
    let reply = asked.await.unwrap();
    assert_eq!(reply.headers["rpc-header-peloton-outcome-unknown"], "1");
    // Without a doubt it is certain.
    let reply = pair.a.yarpc("JobManager.Stop", &id()).await;
    assert_eq!(reply.headers["rpc-header-peloton-not-executed"], "1");
}

#[tokio::test]
async fn changes_of_an_expected_version() {
    let pair = Pair::start().await;
    pair.b.call("JobManager.Create", create(1)).await;
    pair.b.call("JobManager.Update", update("two", 1)).await;
    for procedure in ["Stop", "Start", "Restart", "Delete"] {
        let procedure = format!("JobManager.{procedure}");
        let expecting = |version: u64| json!({"id": {"value": "a"}, "expectedVersion": version});
        let before = pair.record().await;
        let answer = pair.a.call(&procedure, expecting(1)).await;
        let message = "job a has version 2, not 1: read it, and apply your change to that";
        let conflict = json!({"expected": 1, "actual": 2, "message": message});
        assert_eq!(answer, json!({"conflict": conflict}), "{procedure}");
        assert_eq!(pair.record().await, before);
        assert_eq!(pair.a.call(&procedure, expecting(2)).await, json!({}), "{procedure}");
    }
    assert!(pair.record().await.is_none());
}
