//! What Mesos itself says: the master's state, for tests to compare with.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::http::{self, Request};

/// Mesos answers in milliseconds; on a machine at its limit, in seconds.
const TIMEOUT: Duration = Duration::from_secs(20);

/// An agent as the master sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Agent {
    /// Mesos's id of it; stays when the agent is started again in its work directory.
    pub id: String,
    /// Its host name, as in [`crate::AgentOptions`].
    pub hostname: String,
    /// Registered, and not unreachable.
    pub active: bool,
    /// Its attributes, as text.
    pub attributes: BTreeMap<String, String>,
    /// All of its scalar resources: name to amount, in Mesos's units.
    pub resources: BTreeMap<String, f64>,
    /// The reserved ones: role to name to amount.
    pub reserved: BTreeMap<String, BTreeMap<String, f64>>,
}

/// A task as the master sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// The id that the framework gave it.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `TASK_RUNNING` and so on.
    pub state: String,
    /// Where it runs.
    pub agent_id: String,
    /// Whose it is.
    pub framework_id: String,
}

/// The master's HTTP interface for operators.
#[derive(Debug, Clone)]
pub struct Operator {
    address: String,
}

impl Operator {
    /// For the master at `host:port`.
    pub fn new(address: impl Into<String>) -> Self {
        Self { address: address.into() }
    }

    /// GET of a path, the answer as JSON.
    ///
    /// # Errors
    /// When the master cannot be reached, or the answer is no success or no JSON.
    pub fn get(&self, path: &str) -> Result<Value> {
        self.ask("GET", path, &[], b"")
    }

    /// A call of the v1 operator API; the answer is null where Mesos sends none.
    ///
    /// # Errors
    /// When the master cannot be reached or refuses the call.
    pub fn call(&self, call: &Value) -> Result<Value> {
        let headers = [("Content-Type", "application/json"), ("Accept", "application/json")];
        self.ask("POST", "/master/api/v1", &headers, call.to_string().as_bytes())
    }

    fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Value> {
        let request = format!("{method} http://{}{path}", self.address);
        let sent =
            Request { method, address: &self.address, path, headers, body, timeout: Some(TIMEOUT) };
        let failed = |why: String| Error::Answer { request: request.clone(), why };
        let answer = http::send(&sent).map_err(|error| failed(error.to_string()))?;
        let status = answer.status;
        let text = answer.text().map_err(|error| failed(error.to_string()))?;
        match status {
            200 | 202 if text.is_empty() => Ok(Value::Null),
            200 => serde_json::from_str(&text).map_err(|error| failed(error.to_string())),
            202 => Ok(Value::Null),
            other => Err(failed(format!("status {other}: {text}"))),
        }
    }

    /// The master's whole state, `/master/state`.
    ///
    /// # Errors
    /// As [`Operator::get`].
    pub fn state(&self) -> Result<Value> {
        self.get("/master/state")
    }

    /// The agents that the master knows, by host name.
    ///
    /// # Errors
    /// As [`Operator::get`].
    pub fn agents(&self) -> Result<Vec<Agent>> {
        let answer = self.get("/master/slaves")?;
        let mut agents: Vec<Agent> = items(&answer, "slaves").map(agent).collect();
        agents.sort_by(|a, b| a.hostname.cmp(&b.hostname));
        Ok(agents)
    }

    /// What is reserved in the whole cluster: role to resource name to amount. Empty when nothing
    /// is: the check for leaks.
    ///
    /// # Errors
    /// As [`Operator::get`].
    pub fn reserved_resources_by_role(&self) -> Result<BTreeMap<String, BTreeMap<String, f64>>> {
        let mut sum: BTreeMap<String, BTreeMap<String, f64>> = BTreeMap::new();
        for agent in self.agents()? {
            for (role, resources) in agent.reserved {
                for (name, amount) in resources {
                    *sum.entry(role.clone()).or_default().entry(name).or_default() += amount;
                }
            }
        }
        Ok(sum)
    }

    /// The tasks that have not ended, of all frameworks, by id.
    ///
    /// # Errors
    /// As [`Operator::get`].
    pub fn tasks(&self) -> Result<Vec<Task>> {
        self.tasks_in("tasks")
    }

    /// The tasks that have ended, as far as Mesos remembers them, by id.
    ///
    /// # Errors
    /// As [`Operator::get`].
    pub fn completed_tasks(&self) -> Result<Vec<Task>> {
        self.tasks_in("completed_tasks")
    }

    fn tasks_in(&self, list: &str) -> Result<Vec<Task>> {
        let answer = self.state()?;
        let frameworks = items(&answer, "frameworks").chain(items(&answer, "completed_frameworks"));
        let mut tasks: Vec<Task> =
            frameworks.flat_map(|framework| items(framework, list)).map(task).collect();
        tasks.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(tasks)
    }

    /// The ids of the frameworks that have not been torn down.
    ///
    /// # Errors
    /// As [`Operator::get`].
    pub fn frameworks(&self) -> Result<Vec<String>> {
        let answer = self.get("/master/frameworks")?;
        Ok(items(&answer, "frameworks").map(|framework| text(framework, "id")).collect())
    }

    /// Ends a framework and all of its tasks.
    ///
    /// # Errors
    /// As [`Operator::call`].
    pub fn teardown(&self, framework_id: &str) -> Result<()> {
        self.call(
            &json!({"type": "TEARDOWN", "teardown": {"framework_id": {"value": framework_id}}}),
        )
        .map(|_| ())
    }

    /// Tells the master that an agent is gone for good.
    ///
    /// # Errors
    /// As [`Operator::call`].
    pub fn mark_agent_gone(&self, agent_id: &str) -> Result<()> {
        let call = json!({
            "type": "MARK_AGENT_GONE",
            "mark_agent_gone": {"agent_id": {"value": agent_id}},
        });
        self.call(&call).map(|_| ())
    }
}

fn items<'a>(value: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value[list].as_array().map(Vec::as_slice).unwrap_or_default().iter()
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_default().to_owned()
}

fn amounts(value: &Value) -> BTreeMap<String, f64> {
    let fields = value.as_object().into_iter().flatten();
    fields.filter_map(|(name, amount)| Some((name.clone(), amount.as_f64()?))).collect()
}

fn agent(value: &Value) -> Agent {
    let attributes = value["attributes"].as_object().into_iter().flatten();
    let reserved = value["reserved_resources"].as_object().into_iter().flatten();
    Agent {
        id: text(value, "id"),
        hostname: text(value, "hostname"),
        active: value["active"].as_bool().unwrap_or_default(),
        attributes: attributes
            .map(|(name, one)| {
                (name.clone(), one.as_str().map_or_else(|| one.to_string(), str::to_owned))
            })
            .collect(),
        resources: amounts(&value["resources"]),
        reserved: reserved.map(|(role, of_role)| (role.clone(), amounts(of_role))).collect(),
    }
}

fn task(value: &Value) -> Task {
    Task {
        id: text(value, "id"),
        name: text(value, "name"),
        state: text(value, "state"),
        agent_id: text(value, "slave_id"),
        framework_id: text(value, "framework_id"),
    }
}
