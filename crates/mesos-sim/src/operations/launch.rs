//! Whether tasks may be launched, as far as their resources say.

use super::resource::{
    overlap, units, validate_resources, validate_revocable_apart, validate_single_allocation_role,
    validate_unique_persistence_ids,
};
use crate::resources::{Resources, Value};
use peloton_proto::mesos::v1;
use std::fmt::Write as _;

/// The least that an executor of a task group must have, in thousandths of a CPU.
const MIN_CPUS: i64 = 10;

/// The least that an executor of a task group must have, in thousandths of a megabyte.
const MIN_MEM: i64 = 32_000;

/// Validates a task's resources by themselves; they must have their allocation info.
///
/// # Errors
///
/// In Mesos's words.
pub fn validate_task_resources(task: &v1::TaskInfo) -> Result<(), String> {
    if task.resources.is_empty() {
        return Err("Task uses no resources".to_owned());
    }
    validate_holder(&task.resources, "Task", "task")
}

/// Validates an executor's resources by themselves; they must have their allocation info.
///
/// # Errors
///
/// In Mesos's words.
pub fn validate_executor_resources(executor: &v1::ExecutorInfo) -> Result<(), String> {
    validate_holder(&executor.resources, "Executor", "executor")
}

fn validate_holder(resources: &[v1::Resource], title: &str, name: &str) -> Result<(), String> {
    validate_resources(resources)
        .map_err(|error| format!("{title} uses invalid resources: {error}"))?;
    let read = Resources::from_proto(resources)?;
    validate_unique_persistence_ids(&read)
        .map_err(|error| format!("{title} uses duplicate persistence ID: {error}"))?;
    validate_single_allocation_role(resources)
        .map_err(|error| format!("Invalid {name} resources: {error}"))?;
    validate_revocable_apart(&read)
        .map_err(|error| format!("{title} mixes revocable and non-revocable resources: {error}"))
}

/// Validates a task's limits, which are never below what it asks for.
///
/// # Errors
///
/// In Mesos's words.
pub fn validate_limits(task: &v1::TaskInfo) -> Result<(), String> {
    if task.limits.is_empty() {
        return Ok(());
    }
    if task.limits.keys().any(|name| name != "cpus" && name != "mem") {
        return Err("Only cpus and mem may be included in a task's resource limits".to_owned());
    }
    let resources = Resources::from_proto(&task.resources)?;
    let named = [("cpus", "CPU", "cpu", "cpu"), ("mem", "memory", "memory", "memory")];
    for (name, title, limit_word, request_word) in named {
        let Some(limit) = task.limits.get(name) else { continue };
        if resources.named(name).is_empty() {
            return Err(format!(
                "When a {title} limit is specified, a {title} request must also be specified"
            ));
        }
        let too_low = Value::thousandths(limit.value) < resources.scalar(name);
        if too_low && limit.value.is_finite() {
            return Err(format!(
                "The {limit_word} limit must be greater than or equal to the {request_word} request"
            ));
        }
    }
    Ok(())
}

/// Validates that a task and its executor, if it has one that does not run yet, are in what is
/// available. `role` is whom that is allocated to.
///
/// # Errors
///
/// In Mesos's words.
pub fn validate_task_fits(
    task: &v1::TaskInfo,
    executor_runs: bool,
    available: &Resources,
    role: &str,
) -> Result<(), String> {
    let of_task = Resources::from_proto(&task.resources)?;
    let executor = task.executor.as_ref().map_or(&[][..], |executor| &executor.resources);
    let of_executor = Resources::from_proto(executor)?;
    if !of_executor.shared().is_empty() {
        let executor = of_executor.display(Some(role));
        return Err(format!(
            "Executor resources {executor} should not contain any shared resources"
        ));
    }
    let both = &of_task + &of_executor;
    if overlap(&[of_task.clone(), of_executor.clone()]) {
        let (task, executor) = (of_task.display(Some(role)), of_executor.display(Some(role)));
        return Err(format!(
            "There are overlapping resources in the task resources {task} and executor resources \
             {executor}"
        ));
    }
    validate_unique_persistence_ids(&both)
        .map_err(|error| format!("Task and its executor use duplicate persistence ID: {error}"))?;
    validate_revocable_apart(&both).map_err(|error| {
        format!("Task and its executor mix revocable and non-revocable resources: {error}")
    })?;
    let total = if executor_runs { of_task } else { both };
    let protos = task.resources.iter().chain(if executor_runs { &[][..] } else { executor });
    if available.contains(&total) && protos.clone().all(|one| is_allocated_to(one, role)) {
        return Ok(());
    }
    let strange = protos.clone().find(|one| !is_allocated_to(one, role));
    let of = strange.and_then(super::resource::role_of_allocation).unwrap_or(role);
    let (total, available) = (total.display(Some(of)), available.display(Some(role)));
    Err(format!(
        "Total resources {total} required by task and its executor is more than available \
         {available}"
    ))
}

fn is_allocated_to(resource: &v1::Resource, role: &str) -> bool {
    super::resource::role_of_allocation(resource).is_none_or(|allocated| allocated == role)
}

/// Validates that a task group and its executor, if that does not run yet, are in what is available.
/// `role` is whom that is allocated to.
///
/// # Errors
///
/// In Mesos's words.
pub fn validate_group_fits(
    group: &v1::TaskGroupInfo,
    executor: &v1::ExecutorInfo,
    executor_runs: bool,
    available: &Resources,
    role: &str,
) -> Result<(), String> {
    let of_executor = Resources::from_proto(&executor.resources)?;
    validate_group_executor(&executor.executor_id.value, &of_executor)?;
    let mut parts = Vec::with_capacity(group.tasks.len() + 1);
    let mut of_tasks = Resources::new();
    for task in &group.tasks {
        let one = Resources::from_proto(&task.resources)?;
        of_tasks.add(&one);
        parts.push(one);
    }
    let all = &of_executor + &of_tasks;
    validate_unique_persistence_ids(&all).map_err(|error| {
        format!("Task group and executor use duplicate persistence ID: {error}")
    })?;
    validate_revocable_apart(&all).map_err(|error| {
        format!("Task group and executor mix revocable and non-revocable resources: {error}")
    })?;
    let texts: Vec<_> = parts.iter().map(|part| part.display(Some(role))).collect();
    parts.push(of_executor.clone());
    if overlap(&parts) {
        let (tasks, executor) = (texts.join(", "), of_executor.display(Some(role)));
        return Err(format!(
            "There are overlapping resources in the task group's task resources {{ {tasks} }} and/or \
             executor resources {executor}"
        ));
    }
    let total = if executor_runs { of_tasks } else { &of_tasks + &of_executor };
    if available.contains(&total) {
        return Ok(());
    }
    let (total, available) = (total.display(Some(role)), available.display(Some(role)));
    Err(format!(
        "Total resources {total} required by task group and its executor are more than available \
         {available}"
    ))
}

/// Unlike a single task's executor, that of a group must have enough to run itself.
fn validate_group_executor(id: &str, resources: &Resources) -> Result<(), String> {
    let checks = [("cpus", "CPUs", MIN_CPUS, "0.01"), ("mem", "memory", MIN_MEM, "32MB")];
    for (name, title, least, least_text) in checks {
        if resources.scalar(name) >= least {
            continue;
        }
        let mut uses = units(resources, name).map_or("None".to_owned(), |value| value.to_string());
        if name == "mem" && uses != "None" {
            let _ = write!(uses, "MB");
        }
        return Err(format!(
            "Executor '{id}' uses less {title} ({uses}) than the minimum required ({least_text})"
        ));
    }
    if resources.named("disk").is_empty() {
        return Err(format!("Executor '{id}' uses no disk"));
    }
    Ok(())
}
