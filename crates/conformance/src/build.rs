//! Messages for scenarios, as JSON.

use serde_json::{Value, json};

use crate::scheduler::Offer;

/// Who reserves, unless a scenario says otherwise.
pub const PRINCIPAL: &str = "conformance";

/// A framework's description with what Peloton always announces.
pub fn framework(roles: &[&str]) -> Value {
    let capabilities = ["MULTI_ROLE", "RESERVATION_REFINEMENT", "PARTITION_AWARE", "GPU_RESOURCES"];
    json!({
        "user": "nobody",
        "name": "conformance",
        "roles": roles,
        "checkpoint": true,
        "failover_timeout": 600.0,
        "principal": PRINCIPAL,
        "hostname": "localhost",
        "capabilities": capabilities.map(|name| json!({"type": name})),
    })
}

/// Adds a capability to a framework's description.
pub fn add_capability(info: &mut Value, name: &str) {
    if let Some(all) = info["capabilities"].as_array_mut() {
        all.push(json!({"type": name}));
    }
}

/// Resources from text such as `cpus:1;mem:32;ports:31000-31001`, unreserved.
pub fn resources(text: &str) -> Vec<Value> {
    let one = |part: &str| {
        let (name, amount) = part.split_once(':').unwrap_or((part, "0"));
        match amount.split_once('-') {
            Some((begin, end)) => {
                let bound = |text: &str| text.parse::<u64>().unwrap_or_default();
                let range = json!([{"begin": bound(begin), "end": bound(end)}]);
                json!({"name": name, "type": "RANGES", "ranges": {"range": range}})
            }
            None => {
                let value = amount.parse::<f64>().unwrap_or_default();
                json!({"name": name, "type": "SCALAR", "scalar": {"value": value}})
            }
        }
    };
    text.split(';').map(one).collect()
}

/// One level of a dynamic reservation.
pub fn reservation(role: &str, labels: &[(&str, &str)]) -> Value {
    let mut made = json!({"type": "DYNAMIC", "role": role, "principal": PRINCIPAL});
    if !labels.is_empty() {
        let labels: Vec<Value> =
            labels.iter().map(|(key, value)| json!({"key": key, "value": value})).collect();
        made["labels"] = json!({"labels": labels});
    }
    made
}

/// Resources with one more level of reservation, allocated to a role.
pub fn reserved(resources: Vec<Value>, levels: &[Value], to: &str) -> Vec<Value> {
    resources
        .into_iter()
        .map(|mut resource| {
            resource["reservations"] = levels.into();
            resource["allocation_info"] = json!({"role": to});
            resource
        })
        .collect()
}

/// Resources allocated to a role.
pub fn allocated(resources: Vec<Value>, to: &str) -> Vec<Value> {
    reserved(resources, &[], to)
}

/// Reserved disk as a persistent volume.
pub fn volume(mut disk: Value, id: &str, path: &str) -> Value {
    disk["disk"] = json!({
        "persistence": {"id": id, "principal": PRINCIPAL},
        "volume": {"container_path": path, "mode": "RW"},
    });
    disk
}

/// An operation's id.
pub fn with_id(id: &str, mut operation: Value) -> Value {
    operation["id"] = json!({"value": id});
    operation
}

/// RESERVE.
pub fn reserve(resources: Vec<Value>) -> Value {
    json!({"type": "RESERVE", "reserve": {"resources": resources}})
}

/// UNRESERVE.
pub fn unreserve(resources: Vec<Value>) -> Value {
    json!({"type": "UNRESERVE", "unreserve": {"resources": resources}})
}

/// CREATE.
pub fn create(volumes: Vec<Value>) -> Value {
    json!({"type": "CREATE", "create": {"volumes": volumes}})
}

/// DESTROY.
pub fn destroy(volumes: Vec<Value>) -> Value {
    json!({"type": "DESTROY", "destroy": {"volumes": volumes}})
}

/// LAUNCH.
pub fn launch(tasks: Vec<Value>) -> Value {
    json!({"type": "LAUNCH", "launch": {"task_infos": tasks}})
}

/// A task that runs a shell command.
pub fn task(id: &str, agent_id: &str, command: &str, resources: Vec<Value>) -> Value {
    json!({
        "name": id,
        "task_id": {"value": id},
        "agent_id": {"value": agent_id},
        "resources": resources,
        "command": {"shell": true, "value": command},
    })
}

/// ACCEPT; what is left is offered again at once.
pub fn accept(offers: &[Offer], operations: Vec<Value>) -> Value {
    accept_ids(offers.iter().map(|offer| offer.id.as_str()), operations)
}

/// ACCEPT of offers by their ids.
pub fn accept_ids<'a>(ids: impl Iterator<Item = &'a str>, operations: Vec<Value>) -> Value {
    let ids: Vec<Value> = ids.map(|id| json!({"value": id})).collect();
    json!({"type": "ACCEPT", "accept": {
        "offer_ids": ids, "operations": operations, "filters": {"refuse_seconds": 0.0}}})
}

/// DECLINE; without seconds, for Mesos's default of 5.
pub fn decline(offers: &[Offer], refuse_seconds: Option<f64>) -> Value {
    let ids: Vec<Value> = offers.iter().map(|offer| json!({"value": offer.id})).collect();
    let mut decline = json!({"offer_ids": ids});
    if let Some(seconds) = refuse_seconds {
        decline["filters"] = json!({"refuse_seconds": seconds});
    }
    json!({"type": "DECLINE", "decline": decline})
}

/// RECONCILE of tasks with agents; none means all.
pub fn reconcile(tasks: &[(&str, Option<&str>)]) -> Value {
    let task = |(id, agent): &(&str, Option<&str>)| {
        let mut task = json!({"task_id": {"value": id}});
        if let Some(agent) = agent {
            task["agent_id"] = json!({"value": agent});
        }
        task
    };
    let tasks: Vec<Value> = tasks.iter().map(task).collect();
    json!({"type": "RECONCILE", "reconcile": {"tasks": tasks}})
}

/// RECONCILE_OPERATIONS of operations with agents; none means all.
pub fn reconcile_operations(operations: &[(&str, Option<&str>)]) -> Value {
    let operation = |(id, agent): &(&str, Option<&str>)| {
        let mut operation = json!({"operation_id": {"value": id}});
        if let Some(agent) = agent {
            operation["agent_id"] = json!({"value": agent});
        }
        operation
    };
    let operations: Vec<Value> = operations.iter().map(operation).collect();
    json!({"type": "RECONCILE_OPERATIONS", "reconcile_operations": {"operations": operations}})
}

/// KILL.
pub fn kill(task: &str, agent: Option<&str>, grace_ms: Option<u64>) -> Value {
    let mut kill = json!({"task_id": {"value": task}});
    if let Some(agent) = agent {
        kill["agent_id"] = json!({"value": agent});
    }
    if let Some(ms) = grace_ms {
        kill["kill_policy"] = json!({"grace_period": {"nanoseconds": ms * 1_000_000}});
    }
    json!({"type": "KILL", "kill": kill})
}

/// The sum of a scalar resource over offers.
pub fn sum(offers: &[Offer], name: &str) -> f64 {
    let all = offers.iter().flat_map(|offer| &offer.resources);
    let named = all.filter(|resource| resource["name"] == name);
    named.map(|resource| resource["scalar"]["value"].as_f64().unwrap_or_default()).sum()
}

/// The offers of one agent.
pub fn of_host(offers: &[Offer], host: &str) -> Vec<Offer> {
    offers.iter().filter(|offer| offer.host == host).cloned().collect()
}
