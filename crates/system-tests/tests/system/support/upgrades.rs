//! Upgrades as a client sees them, in the API's JSON.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Cluster, Job, wait_until};

/// Upgrades take several batches of starts and ends of tasks.
const PATIENCE: Duration = Duration::from_secs(150);

/// The states of an upgrade, by their numbers in the API.
const STATES: [&str; 7] =
    ["ROLLING_FORWARD", "ROLLING_BACK", "PAUSED", "SUCCEEDED", "ROLLED_BACK", "ABORTED", "FAILED"];

/// An upgrade of a cluster's job. It has no hold of the cluster, which may be killed meanwhile.
#[derive(Debug, Clone)]
pub(crate) struct Upgrade {
    pub(crate) id: String,
}

impl Upgrade {
    /// Asks for an upgrade of a job that has none under way.
    #[track_caller]
    pub(crate) fn create(job: &Job<'_>, config: &Value, options: Value) -> Self {
        Self::ask(job, config, options, false)
    }

    /// Asks for one that takes the place of another.
    #[track_caller]
    pub(crate) fn replace(job: &Job<'_>, config: &Value, options: Value) -> Self {
        Self::ask(job, config, options, true)
    }

    #[track_caller]
    fn ask(job: &Job<'_>, config: &Value, options: Value, replace: bool) -> Self {
        let spec = json!({
            "jobId": {"value": job.id}, "jobConfig": config, "options": options, "replace": replace,
        });
        let answer = job.cluster.yarpc("UpgradeManager.Create", json!({"spec": spec}));
        let id = answer["result"]["value"].as_str().unwrap_or_else(|| panic!("{answer}"));
        Self { id: id.to_owned() }
    }

    /// `UpgradeManager.<method>` with the id of the upgrade.
    #[track_caller]
    pub(crate) fn call(&self, cluster: &Cluster, method: &str) -> Value {
        let body = json!({"workflowId": {"value": self.id}});
        cluster.yarpc(&format!("UpgradeManager.{method}"), body)
    }

    /// The answer's `result` of `UpgradeManager.Get`.
    #[track_caller]
    pub(crate) fn get(&self, cluster: &Cluster) -> Value {
        let answer = self.call(cluster, "Get");
        assert!(answer["result"].is_object(), "{answer}");
        answer["result"].clone()
    }

    /// Waits until the upgrade is in a state: then all that is told of it. `meanwhile` is called at each look.
    #[track_caller]
    pub(crate) fn watch(
        &self,
        cluster: &Cluster,
        state: &str,
        mut meanwhile: impl FnMut(),
    ) -> Value {
        // One that has ended may be on its way back, which its shard has not written down yet.
        let first = state_of(&self.get(cluster));
        wait_until(&format!("{} in state {state}", self.id), PATIENCE, || {
            meanwhile();
            let info = self.get(cluster);
            let found = state_of(&info);
            if found == state {
                return Ok(info);
            }
            let ended = info["finishedAt"].as_i64().unwrap_or_default() != 0;
            assert!(!ended || found == first, "it ended: {info}");
            Err(info.to_string())
        })
    }

    /// The same, with nothing to do meanwhile.
    #[track_caller]
    pub(crate) fn wait(&self, cluster: &Cluster, state: &str) -> Value {
        self.watch(cluster, state, || {})
    }

    /// Waits until so many instances have arrived where they are under way to.
    #[track_caller]
    pub(crate) fn wait_done(&self, cluster: &Cluster, least: u64) -> Value {
        wait_until(&format!("{least} instances done by {}", self.id), PATIENCE, || {
            let info = self.get(cluster);
            let done = info["numTasksDone"].as_u64().unwrap_or_default();
            if done >= least { Ok(info) } else { Err(info.to_string()) }
        })
    }

    /// The events: their kinds and instances.
    #[track_caller]
    pub(crate) fn events(&self, cluster: &Cluster) -> Vec<(String, Option<u64>)> {
        let answer = self.call(cluster, "GetEvents");
        let events = answer["events"].as_array().cloned().unwrap_or_default();
        let kind = |event: &Value| event["kind"].as_str().unwrap_or_default().to_owned();
        events.iter().map(|event| (kind(event), event["instanceId"].as_u64())).collect()
    }
}

/// The name of the state in what is told of an upgrade.
fn state_of(info: &Value) -> &'static str {
    let number = info["state"].as_u64().unwrap_or_default();
    STATES[usize::try_from(number).unwrap()]
}
