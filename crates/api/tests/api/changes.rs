//! Several masters on one store, changing the same jobs at the same time.

use std::collections::BTreeSet;
use std::sync::Arc;

use peloton_model::{JobRecord, decode_record};
use peloton_store::{MemoryStore, Store, keys};
use serde_json::json;
use tokio::task::JoinSet;

use crate::support::{Master, config, shard};

const CALLERS: usize = 8;

async fn masters() -> (Arc<MemoryStore>, Vec<Arc<Master>>) {
    let store = Arc::new(MemoryStore::new());
    let mut masters = Vec::new();
    for _ in 0..2 {
        masters.push(Arc::new(Master::over(store.clone()).await));
    }
    (store, masters)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_creations_one_wins() {
    let (_, masters) = masters().await;
    let mut tasks = JoinSet::new();
    for i in 0..CALLERS {
        let master = masters[i % 2].clone();
        tasks.spawn(async move {
            let create = json!({"id": {"value": "a"}, "config": config(1 + i as u32)});
            master.call("JobManager.Create", create).await.get("result").is_some()
        });
    }
    let won = tasks.join_all().await.into_iter().filter(|won| *won).count();
    assert_eq!(won, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_version_is_made_by_exactly_one() {
    let (_, masters) = masters().await;
    let create = json!({"id": {"value": "a"}, "config": config(1)});
    masters[0].call("JobManager.Create", create).await;
    let mut tasks = JoinSet::new();
    for i in 0..CALLERS {
        let master = masters[i % 2].clone();
        tasks.spawn(async move {
            let mut made = Vec::new();
            let mut version = 1;
            while made.len() < 5 {
                let mut config = config(1);
                config["description"] = json!(format!("{i}-{version}"));
                let update =
                    json!({"id": {"value": "a"}, "config": config, "expectedVersion": version});
                let answer = master.call("JobManager.Update", update).await;
                if let Some(new) = answer["result"]["version"].as_u64() {
                    assert_eq!(new, version + 1);
                    made.push(new);
                    version = new;
                } else {
                    version = answer["conflict"]["actual"].as_u64().expect("a conflict");
                }
            }
            made
        });
    }
    let made: Vec<u64> = tasks.join_all().await.into_iter().flatten().collect();
    let different: BTreeSet<u64> = made.iter().copied().collect();
    assert_eq!(made.len(), CALLERS * 5);
    assert_eq!(different, (2..=made.len() as u64 + 1).collect(), "each version once, no gap");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_is_lost_among_many() {
    let (store, masters) = masters().await;
    let create = json!({"id": {"value": "a"}, "config": config(100)});
    masters[0].call("JobManager.Create", create).await;
    let mut tasks = JoinSet::new();
    for i in 0..CALLERS {
        let master = masters[i % 2].clone();
        tasks.spawn(async move {
            for n in 0..10 {
                let instance = i * 10 + n;
                let ranges = json!([{"from": instance, "to": instance}]);
                let stop = json!({"jobId": {"value": "a"}, "ranges": ranges});
                assert_eq!(master.call("TaskManager.Stop", stop).await, json!({}));
                // Without an expected version, an update is tried again until it fits.
                let mut config = config(100);
                config["description"] = json!(format!("{i}-{n}"));
                let update = json!({"id": {"value": "a"}, "config": config});
                let answer = master.call("JobManager.Update", update).await;
                assert!(answer.get("result").is_some(), "{answer}");
            }
        });
    }
    tasks.join_all().await;
    let kv = store.get(keys::desired_job(shard("a"), "a")).await.unwrap().kv.unwrap();
    let record: JobRecord = decode_record(&kv.value).unwrap();
    assert!((0..80).all(|i| record.goals.get(i).stopped));
    assert_eq!((record.version, record.generation), (81, 161));
}

#[tokio::test]
async fn what_one_master_wrote_every_master_reads() {
    let (_, masters) = masters().await;
    for i in 0..20_u32 {
        let (writer, reader) = (&masters[(i % 2) as usize], &masters[((i + 1) % 2) as usize]);
        let id = json!({"value": "a"});
        let mut config = config(1);
        config["description"] = json!(i.to_string());
        let procedure = if i == 0 { "JobManager.Create" } else { "JobManager.Update" };
        writer.call(procedure, json!({"id": id, "config": config})).await;
        let got = reader.call("JobManager.Get", json!({"id": id})).await;
        assert_eq!(got["result"]["description"], i.to_string());
    }
    // Also after a job of the same name took its place: nothing remembered of the first is shown.
    let id = json!({"value": "a"});
    masters[0].call("JobManager.Delete", json!({"id": id})).await;
    masters[0].call("JobManager.Create", json!({"id": id, "config": config(7)})).await;
    for master in &masters {
        let got = master.call("JobManager.Get", json!({"id": id})).await;
        assert_eq!(got["result"]["instanceCount"], 7);
        assert!(got["result"].get("description").is_none());
    }
}
