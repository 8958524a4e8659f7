//! What is really so in the simulated Mesos, in the words of the checkers.

use crate::words::slot_of;
use peloton_mesos_sim::{AgentIndex, Mesos};
use peloton_model::{Amount, Milli, Resources};
use peloton_proto::mesos::v1;
use peloton_proto::mesos::v1::TaskState;
use std::collections::{BTreeMap, BTreeSet};

/// A slot, and the agent that it is reserved on.
pub(crate) type Reserved = (String, u32, u64, String);

/// Whether a framework of this task's name is Peloton's.
fn is_ours(id: &str) -> bool {
    !id.starts_with("rival")
}

/// The tasks of Peloton that run, on agents that Mesos can reach or not.
pub(crate) fn live_tasks(model: &Mesos) -> Vec<String> {
    live_tasks_and_agents(model).into_iter().map(|(id, _)| id).collect()
}

/// The same, with the ids of the agents.
pub(crate) fn live_tasks_and_agents(model: &Mesos) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (_, agent) in model.agents() {
        let tasks = agent.tasks().filter(|(meta, _)| is_ours(&meta.id));
        all.extend(tasks.map(|(meta, _)| (meta.id.to_string(), meta.agent_id.to_string())));
    }
    all
}

/// The tasks of Peloton in state RUNNING on agents whose process runs: agent, framework, task.
pub(crate) fn running(model: &Mesos) -> Vec<(AgentIndex, String, String)> {
    let mut all = Vec::new();
    for (index, agent) in model.agents().filter(|(_, agent)| agent.is_running()) {
        for (meta, state) in agent.tasks() {
            let framework = model.framework_id(meta.framework).unwrap_or_default();
            if state == TaskState::TaskRunning && is_ours(&meta.id) {
                all.push((index, framework.to_owned(), meta.id.to_string()));
            }
        }
    }
    all
}

/// The reservations for slots on agents that run, and how much they are.
pub(crate) fn reservations(model: &Mesos) -> BTreeMap<Reserved, Amount> {
    let mut all: BTreeMap<Reserved, Amount> = BTreeMap::new();
    for (_, agent) in model.agents().filter(|(_, agent)| agent.is_running()) {
        let id = agent.id().unwrap_or_default();
        for resource in agent.total().to_proto() {
            if let Some((job, i, slot)) = slot_of(std::slice::from_ref(&resource)) {
                let sum = all.entry((job, i, slot, id.to_owned())).or_default();
                *sum = sum.plus(&amount(&resource));
            }
        }
    }
    all
}

fn amount(resource: &v1::Resource) -> Amount {
    let mut scalars = Resources::default();
    let value = Milli::from_f64(resource.scalar.as_ref().map_or(0.0, |scalar| scalar.value));
    match resource.name.as_str() {
        "cpus" => scalars.cpus = value,
        "mem" => scalars.mem_mb = value,
        "disk" => scalars.disk_mb = value,
        "gpus" => scalars.gpus = value,
        _ => {}
    }
    let ranges = resource.ranges.iter().flat_map(|ranges| &ranges.range);
    let ports = ranges.flat_map(|range| range.begin..=range.end);
    Amount::new(scalars, ports.filter_map(|port| u16::try_from(port).ok()))
}

/// The ids of agents that do not run.
pub(crate) fn dead_agents(model: &Mesos) -> BTreeSet<String> {
    let dead = model.agents().filter(|(_, agent)| !agent.is_running());
    dead.filter_map(|(_, agent)| agent.id().map(str::to_owned)).collect()
}

/// Something that is still under way, if anything is.
pub(crate) fn pending(model: &Mesos) -> Option<String> {
    let operation = model.operations().next();
    let operation = operation.map(|o| format!("an operation is under way: {:?}", o.status));
    // One that was marked gone before it was back stays on that list until the Mesos master's next
    // fail-over, and never comes (MESOS-9739).
    let gone: BTreeSet<&str> = model.gone_agents().map(|(id, _)| id).collect();
    let away = model.recovered_agents().find(|id| !gone.contains(id));
    let away = away.map(|id| format!("{id} has not registered"));
    operation.or(away)
}

/// The id of an agent, where it has one.
pub(crate) fn agent_id(model: &Mesos, index: u32) -> Option<String> {
    model.agent(AgentIndex(index))?.id().map(str::to_owned)
}
