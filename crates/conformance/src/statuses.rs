//! What a scheduler does with the statuses of its tasks and operations.

use serde_json::{Value, json};

use crate::error::Result;
use crate::scheduler::Scheduler;

impl Scheduler {
    /// The next update of a task, recorded and acknowledged.
    ///
    /// # Errors
    /// When none comes, or the acknowledgement is refused.
    pub fn update(&mut self, task: &str) -> Result<Value> {
        let status = self.unacknowledged(task)?;
        self.acknowledge(&status)?;
        Ok(status)
    }

    /// The next update of a task, recorded.
    ///
    /// # Errors
    /// When none comes.
    pub fn unacknowledged(&mut self, task: &str) -> Result<Value> {
        let what = format!("an update of {task}");
        let event = self.take(&what, |e| e["update"]["status"]["taskId"]["value"] == task)?;
        self.record(&event);
        Ok(event["update"]["status"].clone())
    }

    /// The next update of a task that answers a question, recorded. An agent whose process ended may
    /// repeat an update whose acknowledgement it did not get.
    ///
    /// # Errors
    /// When none comes.
    pub fn answer(&mut self, task: &str) -> Result<Value> {
        let event = self.take(&format!("an answer about {task}"), |event| {
            let status = &event["update"]["status"];
            status["taskId"]["value"] == task && status.get("uuid").is_none()
        })?;
        self.record(&event);
        Ok(event["update"]["status"].clone())
    }

    /// Acknowledges a status; one that needs none is left alone.
    ///
    /// # Errors
    /// When it is refused.
    pub fn acknowledge(&mut self, status: &Value) -> Result<()> {
        if status.get("uuid").is_none() {
            return Ok(());
        }
        self.acknowledged.extend(status["uuid"].as_str().map(str::to_owned));
        let call = json!({"type": "ACKNOWLEDGE", "acknowledge": {"agent_id": status["agentId"],
            "task_id": status["taskId"], "uuid": status["uuid"]}});
        self.silent_call(call)
    }

    /// The updates of a task up to one with this state, recorded and acknowledged.
    ///
    /// # Errors
    /// When it does not come.
    pub fn updates(&mut self, task: &str, state: &str) -> Result<Value> {
        loop {
            let status = self.update(task)?;
            if status["state"] == state {
                return Ok(status);
            }
        }
    }

    /// The updates of a task up to the last of them, recorded and acknowledged.
    ///
    /// # Errors
    /// When it does not come.
    pub fn updates_to_the_end(&mut self, task: &str) -> Result<Value> {
        const GOING: [&str; 4] = ["TASK_STAGING", "TASK_STARTING", "TASK_RUNNING", "TASK_KILLING"];
        loop {
            let status = self.update(task)?;
            if !GOING.contains(&status["state"].as_str().unwrap_or_default()) {
                return Ok(status);
            }
        }
    }

    /// The next status of an operation, recorded.
    ///
    /// # Errors
    /// When none comes.
    pub fn operation_status(&mut self, id: &str) -> Result<Value> {
        let event = self.take(&format!("a status of operation {id}"), |e| {
            e["updateOperationStatus"]["status"]["operationId"]["value"] == id
        })?;
        self.record(&event);
        Ok(event["updateOperationStatus"]["status"].clone())
    }

    /// Acknowledges an operation's status; one that needs none is left alone.
    ///
    /// # Errors
    /// When it is refused.
    pub fn acknowledge_operation(&mut self, status: &Value) -> Result<()> {
        if status.get("uuid").is_none() {
            return Ok(());
        }
        let mut acknowledge =
            json!({"operation_id": status["operationId"], "uuid": status["uuid"]["value"]});
        if let Some(agent) = status.get("agentId") {
            acknowledge["agent_id"] = agent.clone();
        }
        self.silent_call(json!({"type": "ACKNOWLEDGE_OPERATION_STATUS",
            "acknowledge_operation_status": acknowledge}))
    }

    /// The next status of an operation, recorded and acknowledged.
    ///
    /// # Errors
    /// When none comes, or the acknowledgement is refused.
    pub fn operation(&mut self, id: &str) -> Result<Value> {
        let status = self.operation_status(id)?;
        self.acknowledge_operation(&status)?;
        Ok(status)
    }
}
