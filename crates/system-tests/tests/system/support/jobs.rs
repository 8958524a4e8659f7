//! Jobs as a client sees them, in the API's JSON.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{Cluster, PATIENCE, wait_until};

/// The states of an instance, by their numbers in the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    Initialized,
    Scheduling,
    Assigned,
    Launched,
    Running,
    Succeeded,
    Failed,
    Killed,
    Preempting,
    Throttled,
}

impl State {
    fn from_number(number: u64) -> Self {
        use State::*;
        let all = [
            Initialized,
            Scheduling,
            Assigned,
            Launched,
            Running,
            Succeeded,
            Failed,
            Killed,
            Preempting,
            Throttled,
        ];
        all[usize::try_from(number).unwrap()]
    }
}

/// An instance as `TaskManager.List` tells of it.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    pub(crate) state: State,
    /// The id of the current run; empty before the first.
    pub(crate) id: String,
    pub(crate) host: String,
    pub(crate) slot: String,
    pub(crate) run: u64,
    pub(crate) failures: u64,
    /// All of `runtime`.
    pub(crate) runtime: Value,
}

impl Task {
    fn from_json(value: &Value) -> Self {
        let runtime = value["runtime"].clone();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Self {
            state: State::from_number(runtime["state"].as_u64().unwrap_or_default()),
            id: text(&runtime["taskId"]["value"]),
            host: text(&runtime["host"]),
            slot: text(&runtime["slot"]),
            run: runtime["runNumber"].as_u64().unwrap_or_default(),
            failures: runtime["failures"].as_u64().unwrap_or_default(),
            runtime,
        }
    }
}

/// A job of one cluster.
pub(crate) struct Job<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) id: String,
}

/// The configuration of a small service; further keys are merged over it.
pub(crate) fn config(instances: u32, command: &str, more: Value) -> Value {
    let mut config = json!({
        "name": "system-test",
        "instanceCount": instances,
        "resource": {"cpusLimit": 0.1, "memLimitMb": 32, "diskLimitMb": 16},
        "killPolicy": {"gracePeriodSecs": 2},
        "command": {"value": command},
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        config[key] = value.clone();
    }
    config
}

impl<'a> Job<'a> {
    /// Creates a job that is not there yet.
    #[track_caller]
    pub(crate) fn create(cluster: &'a Cluster, id: &str, config: &Value) -> Self {
        let body = json!({"id": {"value": id}, "config": config});
        let answer = cluster.yarpc("JobManager.Create", body);
        assert_eq!(answer, json!({"result": {"value": id}}));
        Self::of(cluster, id)
    }

    /// Creates a service with [`config`].
    #[track_caller]
    pub(crate) fn service(
        cluster: &'a Cluster,
        id: &str,
        instances: u32,
        command: &str,
        more: Value,
    ) -> Self {
        Self::create(cluster, id, &config(instances, command, more))
    }

    /// A job that is there.
    pub(crate) fn of(cluster: &'a Cluster, id: &str) -> Self {
        Self { cluster, id: id.to_owned() }
    }

    /// `JobManager.<method>` with the job's id.
    #[track_caller]
    pub(crate) fn call(&self, method: &str) -> Value {
        self.cluster.yarpc(&format!("JobManager.{method}"), json!({"id": {"value": self.id}}))
    }

    /// `TaskManager.<method>` for a range of instances, both ends included.
    #[track_caller]
    pub(crate) fn tasks_call(&self, method: &str, from: u32, to: u32) {
        let range = json!({"from": from, "to": to});
        let body = json!({"jobId": {"value": self.id}, "ranges": [range]});
        assert_eq!(self.cluster.yarpc(&format!("TaskManager.{method}"), body), json!({}));
    }

    /// The instances, by number.
    #[track_caller]
    pub(crate) fn tasks(&self) -> BTreeMap<u32, Task> {
        let body = json!({"jobId": {"value": self.id}, "withoutConfig": true, "limit": 10000});
        let answer = self.cluster.yarpc("TaskManager.List", body);
        let tasks = answer["result"]["value"].as_object().into_iter().flatten();
        tasks.map(|(number, task)| (number.parse().unwrap(), Task::from_json(task))).collect()
    }

    /// One instance.
    #[track_caller]
    pub(crate) fn task(&self, instance: u32) -> Task {
        let body = json!({"jobId": {"value": self.id}, "instanceId": instance});
        Task::from_json(&self.cluster.yarpc("TaskManager.Get", body)["result"])
    }

    /// The answer's `result` of `JobManager.GetStatus`.
    #[track_caller]
    pub(crate) fn status(&self) -> Value {
        self.call("GetStatus")["result"].clone()
    }

    /// Waits until exactly these instances are there, in these states.
    #[track_caller]
    pub(crate) fn wait_states(&self, states: &[State]) -> BTreeMap<u32, Task> {
        wait_until(&format!("{} in states {states:?}", self.id), PATIENCE, || {
            let tasks = self.tasks();
            let found: Vec<State> = tasks.values().map(|task| task.state).collect();
            if found == states {
                return Ok(tasks);
            }
            let said = tasks.values().filter_map(|task| task.runtime["message"].as_str());
            let said: BTreeSet<&str> = said.filter(|text| !text.is_empty()).collect();
            Err(format!("{found:?}, {said:?}"))
        })
    }

    /// Waits until so many instances are there and all run.
    #[track_caller]
    pub(crate) fn wait_running(&self, instances: usize) -> BTreeMap<u32, Task> {
        self.wait_states(&vec![State::Running; instances])
    }

    /// Waits until an instance is as wished.
    #[track_caller]
    pub(crate) fn wait_task(
        &self,
        instance: u32,
        what: &str,
        wished: impl Fn(&Task) -> bool,
    ) -> Task {
        wait_until(&format!("{} {instance}: {what}", self.id), PATIENCE, || {
            let task = self.task(instance);
            if wished(&task) { Ok(task) } else { Err(task.runtime.to_string()) }
        })
    }

    /// Deletes the job and waits until nothing of it is left.
    #[track_caller]
    pub(crate) fn delete(&self) {
        assert_eq!(self.call("Delete"), json!({}));
        self.wait_gone();
    }

    /// Waits until nothing of a deleted job is left.
    #[track_caller]
    pub(crate) fn wait_gone(&self) {
        wait_until(&format!("end of {}", self.id), PATIENCE, || {
            let status = self.call("GetStatus");
            if status["notFound"].is_object() { Ok(()) } else { Err(status.to_string()) }
        });
    }
}
