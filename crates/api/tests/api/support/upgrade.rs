//! A job "a" that is upgraded, with a test in the place of its shard.

use peloton_model::{
    InstanceRecord, JobRecord, JobSummary, UpgradeId, UpgradeRecord, UpgradeState, decode_record,
};
use peloton_store::{Key, KeyRange, MemoryStore, Store, keys, range_all};
use serde_json::{Value, json};
use std::sync::Arc;

use super::{Master, config, put, shard};

pub struct World {
    pub store: MemoryStore,
    pub master: Master,
}

/// The `n`-th program, in so many instances.
pub fn program(n: u32, instances: u32) -> Value {
    let mut config = config(instances);
    config["command"]["value"] = json!(format!("sleep {n}"));
    config["labels"] = json!({"labels": [{"key": "program", "value": n.to_string()}]});
    config
}

/// A request for an upgrade of the job to a configuration.
pub fn to(config: Value) -> Value {
    json!({"spec": {"jobId": {"value": "a"}, "jobConfig": config}})
}

/// The same, in the place of one that is under way.
pub fn replacing(config: Value) -> Value {
    let mut request = to(config);
    request["spec"]["replace"] = json!(true);
    request
}

pub fn workflow(id: &str) -> Value {
    json!({"workflowId": {"value": id}})
}

impl World {
    /// With a job of three instances, which is not upgraded yet.
    pub async fn start() -> Self {
        let store = MemoryStore::new();
        let master = Master::ticking(Arc::new(store.clone())).await;
        let create = json!({"id": {"value": "a"}, "config": program(1, 3)});
        master.call("JobManager.Create", create).await;
        Self { store, master }
    }

    /// With an upgrade to program 2, in so many instances, of which its shard says this. Its id.
    pub async fn upgraded(instances: u32, state: Option<UpgradeState>) -> (Self, String) {
        let world = Self::start().await;
        let id = world.upgrade(to(program(2, instances))).await;
        if let Some(state) = state {
            world.say(state, |_| {}).await;
        }
        (world, id)
    }

    /// Begins one; its id.
    pub async fn upgrade(&self, request: Value) -> String {
        let answer = self.master.call("UpgradeManager.Create", request).await;
        answer["result"]["value"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    /// The shard says what has become of the last upgrade.
    pub async fn say(&self, state: UpgradeState, change: impl FnOnce(&mut UpgradeRecord)) {
        let record = self.record().await;
        let ask = record.upgrade.clone().expect("an upgrade");
        let mut actual = UpgradeRecord {
            mark: ask.mark,
            from: ask.from,
            to: record.version,
            state,
            back: matches!(state, UpgradeState::RollingBack | UpgradeState::RolledBack),
            total: record.instance_count.max(ask.from_count),
            message: format!("is {}", state.name()),
            ..Default::default()
        };
        change(&mut actual);
        self.put(keys::actual_upgrade(shard("a"), "a", record.version), &actual).await;
    }

    pub async fn put<T: serde::Serialize>(&self, key: Key, record: &T) {
        put(&self.store, key, record).await;
    }

    /// The shard has seen the job.
    pub async fn seen(&self) {
        let kv = self.store.get(keys::desired_job(shard("a"), "a")).await.unwrap().kv.unwrap();
        let incarnation = kv.create_revision.0;
        let summary = JobSummary { incarnation, ..Default::default() };
        self.put(keys::actual_job(shard("a"), "a"), &summary).await;
    }

    pub async fn instance(&self, instance: u32, record: &InstanceRecord) {
        self.put(keys::actual_instance(shard("a"), "a", instance), record).await;
    }

    pub async fn record(&self) -> JobRecord {
        let kv = self.store.get(keys::desired_job(shard("a"), "a")).await.unwrap().kv.unwrap();
        decode_record(&kv.value).unwrap()
    }

    /// Asks something of an upgrade.
    pub async fn ask(&self, control: &str, id: &str) -> Value {
        self.master.call(&format!("UpgradeManager.{control}"), workflow(id)).await
    }

    /// The upgrade as it is shown.
    pub async fn get(&self, id: &str) -> Value {
        let answer = self.ask("Get", id).await;
        assert!(answer.get("result").is_some(), "{answer}");
        answer["result"].clone()
    }

    pub async fn keys(&self, range: KeyRange) -> Vec<String> {
        let kvs = range_all(&self.store, range).await.unwrap().kvs;
        kvs.iter().map(|kv| String::from_utf8(kv.key.to_vec()).unwrap()).collect()
    }
}

/// The version of an upgrade's id.
pub fn version(id: &str) -> u64 {
    UpgradeId::parse(id).unwrap().to
}
