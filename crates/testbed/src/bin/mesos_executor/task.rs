//! From the JSON of a `TaskInfo` to what the task runner knows.

use std::process::Command;
use std::time::Duration;

use peloton_task_runner::{CommandSpec, HealthCheck, HealthKind, Place, Runnable};
use serde_json::Value;

use crate::message::{duration_info, grace_period, seconds, text};

/// What a `TaskInfo` says is to be run. Its output goes where the executor's goes: the agent has
/// directed that to the sandbox's `stdout` and `stderr`.
pub(crate) fn runnable(info: &Value, reports_killing: bool) -> Result<Runnable, String> {
    let command = command_spec(info.get("command").ok_or("the task has no command")?);
    let mut process: Command =
        command.process(&Place::default()).map_err(|error| error.to_string())?;
    let role = info.pointer("/resources/0/allocation_info/role").and_then(Value::as_str);
    if let Some(role) = role {
        process.env("MESOS_ALLOCATION_ROLE", role);
    }
    let health = info.get("health_check").map(health_check).transpose()?;
    Ok(Runnable {
        process,
        command: command.value.unwrap_or_default(),
        health: health.map(|check| (check, Place::default())),
        grace_period: info.get("kill_policy").and_then(grace_period),
        max_completion_time: info.get("max_completion_time").and_then(duration_info),
        reports_killing,
    })
}

/// A `CommandInfo`.
fn command_spec(command: &Value) -> CommandSpec {
    let arguments = command.get("arguments").and_then(Value::as_array);
    let variables = command.pointer("/environment/variables").and_then(Value::as_array);
    let environment = variables.into_iter().flatten().filter_map(|variable| {
        // Secrets are resolved by the agent, and come to us in the environment.
        if text(variable, "type") == Some("SECRET") {
            return None;
        }
        Some((text(variable, "name")?.to_owned(), text(variable, "value")?.to_owned()))
    });
    CommandSpec {
        // The field's default is true.
        shell: command.get("shell").and_then(Value::as_bool).unwrap_or(true),
        value: text(command, "value").map(str::to_owned),
        arguments: arguments
            .into_iter()
            .flatten()
            .filter_map(|argument| argument.as_str().map(str::to_owned))
            .collect(),
        environment: environment.collect(),
    }
}

/// A `HealthCheck`.
fn health_check(check: &Value) -> Result<HealthCheck, String> {
    let mut made = HealthCheck::new(kind_of(check)?);
    let set = |field, setting: &mut Duration| {
        if let Some(given) = seconds(check, field) {
            *setting = given;
        }
    };
    set("delay_seconds", &mut made.delay);
    set("interval_seconds", &mut made.interval);
    set("timeout_seconds", &mut made.timeout);
    set("grace_period_seconds", &mut made.grace_period);
    if let Some(limit) = check.get("consecutive_failures").and_then(Value::as_u64) {
        made.consecutive_failures = limit;
    }
    Ok(made)
}

fn kind_of(check: &Value) -> Result<HealthKind, String> {
    let port = |of: &str| {
        let port = check.get(of).and_then(|part| part.get("port")).and_then(Value::as_u64);
        let port = port.ok_or_else(|| format!("the health check's {of} has no port"))?;
        u16::try_from(port).map_err(|_| format!("the health check's port {port} is above 65535"))
    };
    // Old frameworks leave the type out: then the part that is there says it.
    let guess = if check.get("http").is_some() { "HTTP" } else { "COMMAND" };
    match text(check, "type").unwrap_or(guess) {
        "COMMAND" => {
            let command = check.get("command").ok_or("the health check has no command")?;
            Ok(HealthKind::Command(command_spec(command)))
        }
        "HTTP" => {
            let path = check.pointer("/http/path").and_then(Value::as_str).unwrap_or("/");
            match check.pointer("/http/scheme").and_then(Value::as_str).unwrap_or("http") {
                "http" => Ok(HealthKind::Http { port: port("http")?, path: path.to_owned() }),
                other => Err(format!("the testbed checks no {other}, only http")),
            }
        }
        "TCP" => Ok(HealthKind::Tcp { port: port("tcp")? }),
        other => Err(format!("the testbed knows no health check of type {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn secrets_are_left_to_the_agent() {
        let environment = json!({"variables": [
            {"name": "A", "value": "from task"},
            {"name": "A", "type": "SECRET"},
        ]});
        let command = command_spec(&json!({"value": "x", "environment": environment}));
        assert!(command.shell);
        assert_eq!(command.environment, [("A".to_owned(), "from task".to_owned())]);
        assert!(runnable(&json!({"command": {}}), true).unwrap_err().contains("no value"));
        assert!(runnable(&json!({}), true).unwrap_err().contains("no command"));
    }

    #[test]
    fn checks_that_cannot_be_made_are_refused() {
        let refused = |check: Value| kind_of(&check).unwrap_err();
        assert!(refused(json!({"type": "TCP", "tcp": {}})).contains("no port"));
        assert!(refused(json!({"type": "TCP", "tcp": {"port": 70_000}})).contains("70000"));
        assert!(refused(json!({"type": "COMMAND"})).contains("no command"));
        assert!(refused(json!({"type": "GRPC"})).contains("GRPC"));
        assert!(refused(json!({"http": {"port": 1, "scheme": "https"}})).contains("https"));
    }
}
