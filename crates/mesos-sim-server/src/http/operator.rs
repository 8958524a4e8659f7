//! `POST /api/v1`: the calls of operators, in JSON.
//!
//! There are no messages of the operator API in the project, so calls and answers are JSON as it
//! comes and goes; the messages inside them that the scheduler API has too are read by their fields.

use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use peloton_mesos_sim::{MachineId, MaintenanceSchedule, MaintenanceWindow, Mesos, Refusal};
use peloton_proto::json::from_json;
use peloton_proto::mesos::v1;
use serde_json::Value;

use super::legacy::acted;
use super::{
    Answer, accepted_format, body, content_format, json, method_not_allowed, operator_views, text,
    unavailable,
};
use crate::driver::Handle;
use crate::stream::Format;

/// The calls of Mesos's that are not here.
const NOT_IMPLEMENTED: [&str; 19] = [
    "UNKNOWN",
    "GET_FLAGS",
    "GET_LOGGING_LEVEL",
    "SET_LOGGING_LEVEL",
    "LIST_FILES",
    "READ_FILE",
    "GET_EXECUTORS",
    "GET_WEIGHTS",
    "UPDATE_WEIGHTS",
    "SUBSCRIBE",
    "GROW_VOLUME",
    "SHRINK_VOLUME",
    "GET_MAINTENANCE_STATUS",
    "START_MAINTENANCE",
    "STOP_MAINTENANCE",
    "GET_QUOTA",
    "UPDATE_QUOTA",
    "SET_QUOTA",
    "REMOVE_QUOTA",
];

/// Answers an operator.
pub(super) async fn handle(driver: &Handle, request: Request<Incoming>) -> Answer {
    match checked(driver, request).await {
        Ok(answer) | Err(answer) => answer,
    }
}

fn bad(words: String) -> Answer {
    text(StatusCode::BAD_REQUEST, words)
}

async fn checked(driver: &Handle, request: Request<Incoming>) -> Result<Answer, Answer> {
    if request.method() != Method::POST {
        return Err(method_not_allowed("POST", request.method()));
    }
    let (head, content) = request.into_parts();
    if content_format(&head.headers)? == Format::Protobuf {
        let words = "the simulated Mesos takes calls of operators in application/json only";
        return Err(text(StatusCode::UNSUPPORTED_MEDIA_TYPE, words));
    }
    let content = body(content).await?;
    let call: Value = serde_json::from_slice(&content)
        .map_err(|error| bad(format!("Failed to parse body into JSON: {error}")))?;
    let kind = call["type"].as_str().unwrap_or_default().to_owned();
    if kind.is_empty() {
        return Err(bad(
            "Failed to validate master::Call: Expecting 'type' to be present".to_owned()
        ));
    }
    if accepted_format(&head.headers)? == Format::Protobuf {
        let words = "the simulated Mesos answers operators in application/json only";
        return Err(text(StatusCode::NOT_ACCEPTABLE, words));
    }
    if let Some(view) = operator_views::view(&kind) {
        let answer = driver.with(move |state| view(state)).await;
        return answer
            .map(|content| {
                let field = kind.to_lowercase();
                json(&serde_json::json!({"type": kind, field: content}))
            })
            .ok_or_else(unavailable);
    }
    match action(&kind, &call[kind.to_lowercase()])? {
        Some((act, status)) => {
            Ok(acted(driver.with(move |state| act(&mut state.mesos)).await, status))
        }
        None if kind == "GET_HEALTH" => {
            Ok(json(&serde_json::json!({"type": kind, "get_health": {"healthy": true}})))
        }
        None if NOT_IMPLEMENTED.contains(&kind.as_str()) => {
            Err(text(StatusCode::NOT_IMPLEMENTED, format!("the simulated Mesos has no {kind}")))
        }
        None => {
            Err(bad(format!("Failed to convert JSON into Call protobuf: unknown type '{kind}'")))
        }
    }
}

/// What a call does, and the status of its success.
type Action = (Act, StatusCode);
type Act = Box<dyn FnOnce(&mut Mesos) -> Result<(), Refusal> + Send>;

fn action(kind: &str, content: &Value) -> Result<Option<Action>, Answer> {
    let id = |field: &str| {
        let value = content[field]["value"].as_str().map(str::to_owned);
        let words = format!("Failed to validate master::Call: Expecting '{field}' to be present");
        value.ok_or_else(|| bad(words))
    };
    let agent = || id("agent_id");
    let ok = |act: Act| Ok(Some((act, StatusCode::OK)));
    // Operations are only begun when they are answered.
    let accepted = |act: Act| Ok(Some((act, StatusCode::ACCEPTED)));
    match kind {
        "TEARDOWN" => {
            let framework = id("framework_id")?;
            ok(Box::new(move |mesos| mesos.teardown(&framework)))
        }
        "MARK_AGENT_GONE" => {
            let agent = agent()?;
            ok(Box::new(move |mesos| mesos.mark_agent_gone(&agent)))
        }
        "DRAIN_AGENT" => {
            let (agent, grace_ms) = (agent()?, grace_ms(&content["max_grace_period"]));
            let mark_gone = content["mark_gone"].as_bool().unwrap_or(false);
            ok(Box::new(move |mesos| mesos.drain_agent(&agent, grace_ms, mark_gone)))
        }
        "DEACTIVATE_AGENT" => {
            let agent = agent()?;
            ok(Box::new(move |mesos| mesos.deactivate_agent(&agent)))
        }
        "REACTIVATE_AGENT" => {
            let agent = agent()?;
            ok(Box::new(move |mesos| mesos.reactivate_agent(&agent)))
        }
        "RESERVE_RESOURCES" => {
            let (agent, what) = (agent()?, resources(&content["resources"])?);
            accepted(Box::new(move |mesos| mesos.reserve(&agent, what)))
        }
        "UNRESERVE_RESOURCES" => {
            let (agent, what) = (agent()?, resources(&content["resources"])?);
            accepted(Box::new(move |mesos| mesos.unreserve(&agent, what)))
        }
        "CREATE_VOLUMES" => {
            let (agent, what) = (agent()?, resources(&content["volumes"])?);
            accepted(Box::new(move |mesos| mesos.create_volumes(&agent, what)))
        }
        "DESTROY_VOLUMES" => {
            let (agent, what) = (agent()?, resources(&content["volumes"])?);
            accepted(Box::new(move |mesos| mesos.destroy_volumes(&agent, what)))
        }
        "UPDATE_MAINTENANCE_SCHEDULE" => {
            let schedule = schedule(&content["schedule"])?;
            ok(Box::new(move |mesos| mesos.update_maintenance_schedule(schedule)))
        }
        _ => Ok(None),
    }
}

/// A `google.protobuf.Duration`: its text as `10s`, or its fields.
fn grace_ms(duration: &Value) -> Option<u64> {
    let seconds = match duration {
        Value::String(text) => text.strip_suffix('s')?.parse::<f64>().ok()?,
        Value::Object(fields) => {
            let part = |name: &str| fields.get(name).and_then(Value::as_f64).unwrap_or(0.0);
            part("seconds") + part("nanos") / 1e9
        }
        _ => return None,
    };
    // As far as a float is exact; negative ones are none.
    Some((seconds.max(0.0) * 1_000.0) as u64)
}

fn message<M: prost::Message + prost::Name + Default>(value: &Value) -> Result<M, Answer> {
    let read = from_json::<M>(value).map(|read| read.message);
    read.map_err(|error| bad(format!("Failed to convert JSON into Call protobuf: {error}")))
}

fn resources(list: &Value) -> Result<Vec<v1::Resource>, Answer> {
    list.as_array().into_iter().flatten().map(message).collect()
}

fn schedule(schedule: &Value) -> Result<MaintenanceSchedule, Answer> {
    let text =
        |machine: &Value, field: &str| machine[field].as_str().unwrap_or_default().to_owned();
    let window = |window: &Value| {
        let machines = window["machine_ids"].as_array().into_iter().flatten();
        let machines = machines.map(|machine| MachineId {
            hostname: text(machine, "hostname").to_lowercase(),
            ip: text(machine, "ip"),
        });
        let unavailability = message(&window["unavailability"])?;
        Ok(MaintenanceWindow { machines: machines.collect(), unavailability })
    };
    let windows = schedule["windows"].as_array().into_iter().flatten().map(window);
    Ok(MaintenanceSchedule { windows: windows.collect::<Result<_, _>>()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn durations_come_in_both_forms() {
        assert_eq!(grace_ms(&json!("1.5s")), Some(1_500));
        assert_eq!(grace_ms(&json!({"seconds": 2, "nanos": 500_000_000})), Some(2_500));
        assert_eq!(grace_ms(&json!({"seconds": -2})), Some(0));
        assert_eq!(grace_ms(&Value::Null), None);
    }

    #[test]
    fn what_is_missing_is_named() {
        let refused = |kind: &str, content: Value| match action(kind, &content) {
            Err(answer) => answer.status().as_u16(),
            Ok(_) => 200,
        };
        assert_eq!(refused("MARK_AGENT_GONE", json!({})), 400);
        assert_eq!(refused("MARK_AGENT_GONE", json!({"agent_id": {"value": "a"}})), 200);
        let wrong = json!({"agent_id": {"value": "a"}, "resources": [{"type": "NOTHING"}]});
        assert_eq!(refused("RESERVE_RESOURCES", wrong), 400);
    }
}
