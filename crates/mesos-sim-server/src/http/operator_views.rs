//! What operators are shown by `POST /api/v1`: messages field by field.

use std::collections::BTreeSet;

use peloton_mesos_sim::{Framework, FrameworkState, MasterTask, RegisteredAgent};
use serde_json::{Value, json};

use super::shape::{all, all_resources, full};
use super::views::{self, Sums, VERSION};
use crate::driver::State;

/// What answers a call that only looks.
pub(super) fn view(kind: &str) -> Option<fn(&State) -> Value> {
    Some(match kind {
        "GET_VERSION" => |_| json!({"version_info": {"version": VERSION}}),
        "GET_STATE" => state,
        "GET_AGENTS" => agents,
        "GET_FRAMEWORKS" => frameworks,
        "GET_TASKS" => tasks,
        "GET_ROLES" => roles,
        "GET_MASTER" => master,
        "GET_METRICS" => metrics,
        "GET_OPERATIONS" => operations,
        "GET_MAINTENANCE_SCHEDULE" => schedule,
        _ => return None,
    })
}

fn state(state: &State) -> Value {
    json!({
        "get_tasks": tasks(state),
        "get_executors": {},
        "get_frameworks": frameworks(state),
        "get_agents": agents(state),
    })
}

fn agents(state: &State) -> Value {
    let mesos = &state.mesos;
    let sums = Sums::of(mesos);
    let deactivated: BTreeSet<&str> = mesos.deactivated_agents().collect();
    let agent = |agent: &RegisteredAgent| {
        let spec = agent.spec();
        let total = agent.total().to_proto();
        let mut info = json!({
            "id": {"value": agent.id()},
            "hostname": spec.hostname,
            "port": spec.port,
            "attributes": all(&spec.attributes),
            "resources": all_resources(&spec.resources),
        });
        if let Some(domain) = &spec.domain {
            info["domain"] = full(domain);
        }
        let mut shown = json!({
            "agent_info": info,
            "active": agent.is_active() && agent.is_connected(),
            "deactivated": deactivated.contains(agent.id()),
            "version": VERSION,
            "pid": format!("slave(1)@127.0.0.1:{}", spec.port),
            "registered_time": {"nanoseconds": agent.registered_ms().saturating_mul(1_000_000)},
            "total_resources": all_resources(&total),
            "allocated_resources": all_resources(&sums.used(agent.index())),
            "offered_resources": all_resources(&sums.offered(agent.index())),
        });
        if let Some(drain) = views::drain_info(mesos, agent.id()) {
            shown["drain_info"] = drain;
        }
        shown
    };
    let agents: Vec<Value> = mesos.registered_agents().map(agent).collect();
    let recovered: Vec<Value> =
        mesos.recovered_agents().map(|id| json!({"id": {"value": id}})).collect();
    json!({"agents": agents, "recovered_agents": recovered})
}

fn frameworks(state: &State) -> Value {
    let sums = Sums::of(&state.mesos);
    let framework = |framework: &Framework| {
        let active = framework.state() == FrameworkState::Active;
        json!({
            "framework_info": full(framework.info()),
            "active": active,
            "connected": active,
            "recovered": framework.state() == FrameworkState::Recovered,
            "allocated_resources": all_resources(&sums.used_by(framework.key())),
            "offered_resources": all_resources(&sums.offered_to(framework.key())),
        })
    };
    let completed = state.mesos.completed_frameworks().map(|info| {
        json!({"framework_info": full(info), "active": false, "connected": false, "recovered": false})
    });
    json!({
        "frameworks": state.mesos.frameworks().map(framework).collect::<Vec<_>>(),
        "completed_frameworks": completed.collect::<Vec<_>>(),
    })
}

fn tasks(state: &State) -> Value {
    let of = |framework: &Framework, task: &MasterTask| {
        let meta = task.meta();
        let name = task.state().as_str_name();
        let mut status = json!({
            "task_id": {"value": &*meta.id},
            "agent_id": {"value": &*meta.agent_id},
            "state": name,
        });
        if let Some(healthy) = task.healthy() {
            status["healthy"] = healthy.into();
        }
        let mut shown = json!({
            "name": &*meta.name,
            "task_id": {"value": &*meta.id},
            "framework_id": {"value": framework.id()},
            "agent_id": {"value": &*meta.agent_id},
            "state": name,
            "resources": all_resources(&meta.resources.to_proto_allocated(&meta.role)),
            "statuses": [status],
        });
        if let Some(executor) = &meta.executor {
            shown["executor_id"] = json!({"value": &**executor});
        }
        if let Some(labels) = &meta.labels {
            shown["labels"] = full(&**labels);
        }
        if let Some(discovery) = &meta.discovery {
            shown["discovery"] = full(&**discovery);
        }
        shown
    };
    let frameworks = || state.mesos.frameworks();
    let running = frameworks().flat_map(|one| one.tasks().map(move |task| of(one, task)));
    let lost = frameworks().flat_map(|one| one.unreachable_tasks().map(move |task| of(one, task)));
    json!({
        "tasks": running.collect::<Vec<_>>(),
        "unreachable_tasks": lost.collect::<Vec<_>>(),
    })
}

fn roles(state: &State) -> Value {
    let shown = views::roles(state);
    let roles = shown["roles"].as_array().into_iter().flatten().map(|role| {
        let ids = role["frameworks"].as_array().into_iter().flatten();
        let ids: Vec<Value> = ids.map(|id| json!({"value": id})).collect();
        json!({"name": role["name"], "weight": 1.0, "frameworks": ids})
    });
    json!({"roles": roles.collect::<Vec<_>>()})
}

fn master(state: &State) -> Value {
    json!({"master_info": state.mesos.master_info().map(full)})
}

fn metrics(state: &State) -> Value {
    let shown = views::metrics(state);
    let metrics = shown.as_object().into_iter().flatten();
    let metrics: Vec<Value> =
        metrics.map(|(name, value)| json!({"name": name, "value": value})).collect();
    json!({ "metrics": metrics })
}

fn operations(state: &State) -> Value {
    let shown = state.mesos.operations().map(|operation| {
        let id = operation.framework.and_then(|framework| state.mesos.framework_id(framework));
        let mut shown = json!({
            "info": full(operation.info),
            "latest_status": full(operation.status),
            "statuses": [full(operation.status)],
        });
        if let Some(id) = id {
            shown["framework_id"] = json!({"value": id});
        }
        if let Some(agent) = state.mesos.registered_agent(operation.agent) {
            shown["agent_id"] = json!({"value": agent.id()});
        }
        shown
    });
    json!({"operations": shown.collect::<Vec<_>>()})
}

fn schedule(state: &State) -> Value {
    let windows = state.mesos.maintenance_schedule().into_iter().flat_map(|one| &one.windows);
    let windows = windows.map(|window| {
        let machines = window.machines.iter();
        let machines = machines.map(|one| json!({"hostname": one.hostname, "ip": one.ip}));
        json!({
            "machine_ids": machines.collect::<Vec<_>>(),
            "unavailability": full(&window.unavailability),
        })
    });
    json!({"schedule": {"windows": windows.collect::<Vec<_>>()}})
}
