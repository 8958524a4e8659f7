//! The cluster in the JSON of Mesos's older endpoints.

use std::collections::{BTreeMap, BTreeSet};

use peloton_mesos_sim::allocator::FrameworkKey;
use peloton_mesos_sim::resources::Resources;
use peloton_mesos_sim::{
    AgentIndex, Framework, FrameworkState, MasterTask, Mesos, RegisteredAgent, is_terminal,
};
use peloton_proto::mesos::v1;
use serde_json::{Map, Value, json};

use super::shape::{all_resources, attributes, full, labels, resources, totals};
use crate::driver::State;
use crate::task::{Record, WorkDir};

/// The version that the simulator plays.
pub(super) const VERSION: &str = "1.11.0";

/// What is used and what is offered, summed once for all who are shown.
pub(super) struct Sums {
    used: BTreeMap<AgentIndex, Resources>,
    offered: BTreeMap<AgentIndex, Resources>,
    used_by: BTreeMap<FrameworkKey, Resources>,
    offered_to: BTreeMap<FrameworkKey, Resources>,
}

impl Sums {
    pub(super) fn of(mesos: &Mesos) -> Self {
        let mut sums = Self {
            used: BTreeMap::new(),
            offered: BTreeMap::new(),
            used_by: BTreeMap::new(),
            offered_to: BTreeMap::new(),
        };
        for task in mesos.tasks().filter(|task| is_live(task)) {
            let (meta, agent) = (task.meta(), task.agent());
            sums.used.entry(agent).or_default().add(&meta.resources);
            sums.used_by.entry(meta.framework).or_default().add(&meta.resources);
        }
        for agent in mesos.registered_agents() {
            for (framework, executor) in agent.executors() {
                sums.used.entry(agent.index()).or_default().add(&executor.resources);
                sums.used_by.entry(framework).or_default().add(&executor.resources);
            }
        }
        for (framework, agent, offered) in mesos.offered() {
            sums.offered.entry(agent).or_default().add(offered);
            sums.offered_to.entry(framework).or_default().add(offered);
        }
        sums
    }

    pub(super) fn used(&self, agent: AgentIndex) -> Vec<v1::Resource> {
        self.used.get(&agent).map(Resources::to_proto).unwrap_or_default()
    }

    pub(super) fn offered(&self, agent: AgentIndex) -> Vec<v1::Resource> {
        self.offered.get(&agent).map(Resources::to_proto).unwrap_or_default()
    }

    pub(super) fn used_by(&self, framework: FrameworkKey) -> Vec<v1::Resource> {
        self.used_by.get(&framework).map(Resources::to_proto).unwrap_or_default()
    }

    pub(super) fn offered_to(&self, framework: FrameworkKey) -> Vec<v1::Resource> {
        self.offered_to.get(&framework).map(Resources::to_proto).unwrap_or_default()
    }
}

/// Whether a task holds resources.
fn is_live(task: &MasterTask) -> bool {
    !is_terminal(task.state()) && task.state() != v1::TaskState::TaskUnreachable
}

/// `/master/slaves`
pub(super) fn slaves(state: &State) -> Value {
    let mesos = &state.mesos;
    let sums = Sums::of(mesos);
    let deactivated: BTreeSet<&str> = mesos.deactivated_agents().collect();
    let slaves = mesos.registered_agents().map(|agent| slave(mesos, agent, &sums, &deactivated));
    let slaves: Vec<Value> = slaves.collect();
    let recovered: Vec<Value> = mesos.recovered_agents().map(|id| json!({"id": id})).collect();
    json!({"slaves": slaves, "recovered_slaves": recovered})
}

fn slave(
    mesos: &Mesos,
    agent: &RegisteredAgent,
    sums: &Sums,
    deactivated: &BTreeSet<&str>,
) -> Value {
    let spec = agent.spec();
    let mut object = Map::new();
    totals(&mut object, &agent.total().to_proto());
    let (used, offered) = (sums.used(agent.index()), sums.offered(agent.index()));
    let fields = json!({
        "id": agent.id(),
        "hostname": spec.hostname,
        "port": spec.port,
        "pid": format!("slave(1)@127.0.0.1:{}", spec.port),
        "attributes": attributes(&spec.attributes),
        "registered_time": agent.registered_ms() as f64 / 1_000.0,
        "used_resources": resources(&used),
        "offered_resources": resources(&offered),
        "used_resources_full": all_resources(&used),
        "offered_resources_full": all_resources(&offered),
        "active": agent.is_active() && agent.is_connected(),
        "deactivated": deactivated.contains(agent.id()),
        "version": VERSION,
        "capabilities": [
            "MULTI_ROLE", "HIERARCHICAL_ROLE", "RESERVATION_REFINEMENT", "AGENT_OPERATION_FEEDBACK",
            "AGENT_DRAINING", "TASK_RESOURCE_LIMITS",
        ],
    });
    extend(&mut object, fields);
    if let Some(domain) = &spec.domain {
        object.insert("domain".to_owned(), full(domain));
    }
    if let Some(drain) = drain_info(mesos, agent.id()) {
        object.insert("drain_info".to_owned(), drain);
    }
    Value::Object(object)
}

/// How far an agent is with being drained.
pub(super) fn drain_info(mesos: &Mesos, agent_id: &str) -> Option<Value> {
    let info = mesos.draining_agents()?.get(agent_id)?;
    let state = if info.drained { "DRAINED" } else { "DRAINING" };
    let mut config = json!({"mark_gone": info.mark_gone});
    if let Some(grace_ms) = info.max_grace_ms {
        config["max_grace_period"] = json!({"nanoseconds": grace_ms.saturating_mul(1_000_000)});
    }
    Some(json!({"state": state, "config": config}))
}

/// `/master/frameworks`
pub(super) fn frameworks(state: &State) -> Value {
    let sums = Sums::of(&state.mesos);
    let completed: Vec<Value> =
        state.mesos.completed_frameworks().map(|info| completed_framework(state, info)).collect();
    let frameworks = state.mesos.frameworks();
    let frameworks: Vec<Value> = frameworks.map(|one| framework(state, one, &sums)).collect();
    json!({
        "frameworks": frameworks,
        "completed_frameworks": completed,
        "unregistered_frameworks": [],
    })
}

fn framework(state: &State, framework: &Framework, sums: &Sums) -> Value {
    let (used, offered) = (sums.used_by(framework.key()), sums.offered_to(framework.key()));
    let both: Vec<_> = used.iter().chain(&offered).cloned().collect();
    let active = framework.state() == FrameworkState::Active;
    let mut object = info_fields(framework.info(), framework.id());
    let tasks: Vec<Value> = framework.tasks().map(|one| task(framework.id(), one)).collect();
    let unreachable = framework.unreachable_tasks().map(|one| task(framework.id(), one));
    extend(
        &mut object,
        json!({
            "active": active,
            "connected": active,
            "recovered": framework.state() == FrameworkState::Recovered,
            "used_resources": resources(&used),
            "offered_resources": resources(&offered),
            "resources": resources(&both),
            "tasks": tasks,
            "unreachable_tasks": unreachable.collect::<Vec<_>>(),
            "completed_tasks": completed_tasks(state, framework.id()),
            "offers": [],
            "executors": [],
        }),
    );
    Value::Object(object)
}

fn completed_framework(state: &State, info: &v1::FrameworkInfo) -> Value {
    let id = info.id.as_ref().map_or("", |id| id.value.as_str());
    let mut object = info_fields(info, id);
    let fields = json!({
        "active": false, "connected": false, "recovered": false,
        "used_resources": resources(&[]), "offered_resources": resources(&[]),
        "resources": resources(&[]),
        "tasks": [], "unreachable_tasks": [], "completed_tasks": completed_tasks(state, id),
        "offers": [], "executors": [],
    });
    extend(&mut object, fields);
    Value::Object(object)
}

fn info_fields(info: &v1::FrameworkInfo, id: &str) -> Map<String, Value> {
    let capabilities = info.capabilities.iter().map(|one| one.r#type().as_str_name());
    let mut object = Map::new();
    let fields = json!({
        "id": id,
        "name": info.name,
        "user": info.user,
        "failover_timeout": info.failover_timeout(),
        "checkpoint": info.checkpoint(),
        "hostname": info.hostname(),
        "webui_url": info.webui_url(),
        "capabilities": capabilities.collect::<Vec<_>>(),
    });
    extend(&mut object, fields);
    if let Some(principal) = &info.principal {
        object.insert("principal".to_owned(), json!(principal));
    }
    match is_multi_role(info) {
        true => object.insert("roles".to_owned(), json!(info.roles)),
        false => object.insert("role".to_owned(), json!(info.role())),
    };
    if let Some(given) = &info.labels {
        object.insert("labels".to_owned(), labels(given));
    }
    object
}

fn task(framework: &str, task: &MasterTask) -> Value {
    let meta = task.meta();
    let state = task.state().as_str_name();
    let mut status = json!({"state": state});
    if let Some(healthy) = task.healthy() {
        status["healthy"] = healthy.into();
    }
    let mut object = json!({
        "id": &*meta.id,
        "name": &*meta.name,
        "framework_id": framework,
        "executor_id": meta.executor.as_deref().unwrap_or_default(),
        "slave_id": &*meta.agent_id,
        "state": state,
        "resources": resources(&meta.resources.to_proto()),
        "role": &*meta.role,
        "statuses": [status],
    });
    if let Some(given) = &meta.labels {
        object["labels"] = labels(given);
    }
    if let Some(given) = &meta.discovery {
        object["discovery"] = full(&**given);
    }
    object
}

/// Tasks that ended on agents with processes and that the master has forgotten. The model does not
/// remember them: fake agents may have had millions.
fn completed_tasks(state: &State, framework: &str) -> Vec<Value> {
    let of_model = state.mesos.framework(framework);
    let known = |id: &str| of_model.is_some_and(|one| one.task(id).is_some());
    let records = state.tasks.completed().filter(|record| record.framework == framework);
    let gone = records.filter(|record| !known(&record.task.task_id.value));
    gone.map(|record| record_task(record, true)).collect()
}

/// A task as its agent, or the master after its end, shows it.
fn record_task(record: &Record, to_master: bool) -> Value {
    let task = &record.task;
    let role = task.resources.first().and_then(|one| one.allocation_info.as_ref());
    let mut object = json!({
        "id": task.task_id.value,
        "name": task.name,
        "framework_id": record.framework,
        "executor_id": if to_master { "" } else { task.task_id.value.as_str() },
        "slave_id": task.agent_id.value,
        "state": record.state.as_str_name(),
        "resources": resources(&task.resources),
        "role": role.and_then(|info| info.role.as_deref()).unwrap_or("*"),
        "statuses": [{"state": record.state.as_str_name()}],
    });
    if let Some(given) = &task.labels {
        object["labels"] = labels(given);
    }
    if let Some(given) = &task.discovery {
        object["discovery"] = full(given);
    }
    object
}

/// `/master/tasks`
pub(super) fn tasks(state: &State) -> Value {
    let frameworks = state.mesos.frameworks();
    let tasks: Vec<Value> =
        frameworks.flat_map(|one| one.tasks().map(|of| task(one.id(), of))).collect();
    json!({ "tasks": tasks })
}

/// The roles that a framework subscribed with.
fn roles_of(info: &v1::FrameworkInfo) -> Vec<&str> {
    match is_multi_role(info) {
        true => info.roles.iter().map(String::as_str).collect(),
        false => vec![info.role()],
    }
}

fn is_multi_role(info: &v1::FrameworkInfo) -> bool {
    let multi_role = v1::framework_info::capability::Type::MultiRole;
    info.capabilities.iter().any(|one| one.r#type() == multi_role)
}

/// `/master/roles`
pub(super) fn roles(state: &State) -> Value {
    let mut frameworks: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for framework in state.mesos.frameworks() {
        for role in roles_of(framework.info()) {
            frameworks.entry(role).or_default().push(framework.id());
        }
    }
    let mut allocated: BTreeMap<&str, Resources> = BTreeMap::new();
    for task in state.mesos.tasks().filter(|task| is_live(task)) {
        allocated.entry(&task.meta().role).or_default().add(&task.meta().resources);
    }
    let all: BTreeSet<&str> = frameworks.keys().chain(allocated.keys()).copied().collect();
    let role = |name: &str| {
        let used = allocated.get(name).map(Resources::to_proto).unwrap_or_default();
        json!({
            "name": name,
            "weight": 1.0,
            "frameworks": frameworks.get(name).cloned().unwrap_or_default(),
            "allocated": resources(&used),
            "resources": resources(&used),
        })
    };
    json!({"roles": all.into_iter().map(role).collect::<Vec<_>>()})
}

/// `/master/state`
pub(super) fn state(state: &State) -> Value {
    let mesos = &state.mesos;
    let active = mesos.registered_agents().filter(|agent| agent.is_active()).count();
    let mut object = Map::new();
    let info = mesos.master_info().cloned().unwrap_or_default();
    let capabilities: Vec<_> =
        info.capabilities.iter().map(|one| one.r#type().as_str_name()).collect();
    let leader = json!({
        "id": info.id(), "pid": info.pid(), "port": info.port(), "hostname": info.hostname(),
    });
    let fields = json!({
        "version": VERSION,
        "id": info.id(),
        "pid": info.pid(),
        "hostname": info.hostname(),
        "capabilities": capabilities,
        "activated_slaves": active,
        "deactivated_slaves": mesos.registered_agents().count() - active,
        "unreachable_slaves": mesos.unreachable_agents().count(),
        "leader": info.pid(),
        "leader_info": leader,
        "flags": {},
        "orphan_tasks": [],
    });
    extend(&mut object, fields);
    extend(&mut object, slaves(state));
    extend(&mut object, frameworks(state));
    Value::Object(object)
}

/// `/metrics/snapshot`: those that are looked at when something is wrong.
pub(super) fn metrics(state: &State) -> Value {
    let mesos = &state.mesos;
    let mut by_state: BTreeMap<&str, u64> = BTreeMap::new();
    for task in mesos.tasks() {
        *by_state.entry(task.state().as_str_name()).or_default() += 1;
    }
    let count = |number: usize| json!(number as f64);
    let connected = mesos.registered_agents().filter(|agent| agent.is_connected()).count();
    let active = mesos.registered_agents().filter(|agent| agent.is_active()).count();
    let frameworks = || mesos.frameworks().filter(|one| one.state() == FrameworkState::Active);
    let mut object = Map::new();
    let mut set = |name: &str, value: Value| drop(object.insert(format!("master/{name}"), value));
    set("elected", count(usize::from(mesos.master_info().is_some())));
    set("slaves_active", count(active));
    set("slaves_connected", count(connected));
    set("slaves_disconnected", count(mesos.registered_agents().count() - connected));
    set("slaves_unreachable", count(mesos.unreachable_agents().count()));
    set("frameworks_active", count(frameworks().count()));
    set("frameworks_connected", count(frameworks().count()));
    set("outstanding_offers", count(mesos.offered().count()));
    for name in ["staging", "starting", "running", "killing", "unreachable"] {
        let state = format!("TASK_{}", name.to_uppercase());
        let number = by_state.get(state.as_str()).copied().unwrap_or_default();
        set(&format!("tasks_{name}"), json!(number as f64));
    }
    Value::Object(object)
}

/// An agent's own `/state`.
pub(super) fn agent_state(state: &State, index: AgentIndex, work: &WorkDir) -> Value {
    let Some(agent) = state.mesos.agent(index) else { return Value::Null };
    let spec = agent.spec();
    let mut object = Map::new();
    totals(&mut object, &agent.total().to_proto());
    let (running, completed) = state.tasks.records(index);
    let fields = json!({
        "version": VERSION,
        "id": agent.id(),
        "pid": format!("slave(1)@127.0.0.1:{}", spec.port),
        "hostname": spec.hostname,
        "attributes": attributes(&spec.attributes),
        "flags": {"work_dir": work.path()},
        "frameworks": agent_frameworks(state, &running, &completed),
        "completed_frameworks": [],
    });
    extend(&mut object, fields);
    Value::Object(object)
}

fn agent_frameworks(state: &State, running: &[&Record], completed: &[&Record]) -> Vec<Value> {
    let both = running.iter().chain(completed);
    let ids: BTreeSet<&str> = both.map(|record| record.framework.as_str()).collect();
    let framework = |id: &str| {
        let of = |records: &[&Record], ended: bool| -> Vec<Value> {
            let records = records.iter().filter(|record| record.framework == id);
            records.map(|record| executor(record, ended)).collect()
        };
        let info = state.mesos.framework(id).map(Framework::info).cloned().unwrap_or_default();
        let mut object = info_fields(&info, id);
        let executors = json!({
            "executors": of(running, false),
            "completed_executors": of(completed, true),
        });
        extend(&mut object, executors);
        Value::Object(object)
    };
    ids.into_iter().map(framework).collect()
}

fn executor(record: &Record, ended: bool) -> Value {
    let id = &record.task.task_id.value;
    let task = vec![record_task(record, false)];
    let (tasks, completed) = if ended { (Vec::new(), task) } else { (task, Vec::new()) };
    json!({
        "id": id,
        "name": format!("Command Executor (Task: {id})"),
        "source": id,
        "container": record.container,
        "directory": record.directory,
        "resources": resources(&record.task.resources),
        "type": "DEFAULT",
        "tasks": tasks,
        "queued_tasks": [],
        "completed_tasks": completed,
    })
}

pub(super) fn extend(object: &mut Map<String, Value>, fields: Value) {
    if let Value::Object(fields) = fields {
        object.extend(fields);
    }
}
