//! Whether frameworks and tasks are described as they must be, with Mesos's words for why not.

use super::Master;
use super::agents::RegisteredAgent;
use super::framework::Framework;
use crate::operations;
use crate::resources::{Resources, validate_role};
use peloton_proto::mesos::v1;
use std::collections::BTreeSet;
use v1::executor_info::Type as ExecutorType;
use v1::framework_info::capability::Type as Capability;

fn invalid(why: impl Into<String>) -> Result<(), String> {
    Err(why.into())
}

/// Items as Mesos prints a set.
fn set_of(items: &[&str]) -> String {
    format!("{{ {} }}", items.join(", "))
}

#[allow(deprecated, reason = "frameworks without MULTI_ROLE speak it")]
fn validate_roles(info: &v1::FrameworkInfo) -> Result<(), String> {
    if !operations::has_capability(info, Capability::MultiRole) {
        if !info.roles.is_empty() {
            return invalid(
                "'FrameworkInfo.roles' must not be set when the framework is not MULTI_ROLE capable",
            );
        }
        return validate_role(info.role())
            .map_err(|why| format!("'FrameworkInfo.role' is not a valid role: {why}"));
    }
    if info.role.is_some() {
        return invalid(
            "'FrameworkInfo.role' must not be set when the framework is MULTI_ROLE capable",
        );
    }
    let mut seen = BTreeSet::new();
    let twice: BTreeSet<&str> =
        info.roles.iter().map(String::as_str).filter(|role| !seen.insert(*role)).collect();
    if !twice.is_empty() {
        let twice: Vec<&str> = twice.into_iter().collect();
        let twice = set_of(&twice);
        return invalid(format!("'FrameworkInfo.roles' contains duplicate items: {twice}"));
    }
    info.roles.iter().try_for_each(|role| {
        validate_role(role)
            .map_err(|why| format!("'FrameworkInfo.roles' contains invalid role: {why}"))
    })
}

/// Whether a framework may be so.
pub(super) fn validate_framework(info: &v1::FrameworkInfo) -> Result<(), String> {
    validate_roles(info)?;
    if let Some(id) = info.id.as_ref().filter(|id| !id.value.is_empty()) {
        operations::validate_id(&id.value)?;
    }
    let seconds = info.failover_timeout();
    // What fits into a number of nanoseconds.
    if seconds.is_nan() || seconds.abs() > i64::MAX as f64 / 1e9 {
        return invalid(format!("The framework failover_timeout ({seconds}) is invalid"));
    }
    Ok(())
}

/// Whether a framework may become so.
pub(super) fn validate_framework_update(
    old: &v1::FrameworkInfo,
    new: &v1::FrameworkInfo,
) -> Result<(), String> {
    if old.principal != new.principal {
        return invalid("Changing framework's principal is not allowed.");
    }
    if old.user != new.user {
        return invalid(format!(
            "Updating 'FrameworkInfo.user' is unsupported; attempted to update from '{}' to '{}'",
            old.user, new.user
        ));
    }
    if old.checkpoint() != new.checkpoint() {
        return invalid(format!(
            "Updating 'FrameworkInfo.checkpoint' is unsupported; attempted to update from '{}' to \
             '{}'",
            old.checkpoint(),
            new.checkpoint()
        ));
    }
    Ok(())
}

/// Whether suppressed roles are the framework's.
pub(super) fn validate_suppressed(
    info: &v1::FrameworkInfo,
    suppressed: &[String],
) -> Result<(), String> {
    let roles = operations::framework_roles(info);
    match suppressed.iter().find(|role| !roles.contains(role.as_str())) {
        None => Ok(()),
        Some(role) => {
            invalid(format!("Suppressed role '{role}' is not contained in the list of roles"))
        }
    }
}

/// Where tasks are launched.
pub(super) struct Launching<'a> {
    pub(super) framework: &'a Framework,
    pub(super) agent: &'a RegisteredAgent,
    /// The role of the offer.
    pub(super) role: &'a str,
    pub(super) available: &'a Resources,
}

impl Launching<'_> {
    /// Whether a task may be launched alone; what it uses then.
    pub(super) fn validate(&self, task: &v1::TaskInfo) -> Result<Resources, String> {
        self.validate_task(task)?;
        if task.executor.is_some() == task.command.is_some() {
            return Err("Task should have at least one (but not both) of CommandInfo or \
                        ExecutorInfo present"
                .to_owned());
        }
        let mut executor_runs = false;
        if let Some(executor) = &task.executor {
            self.validate_executor(executor)?;
            if executor.r#type.is_some() && executor.r#type() != ExecutorType::Custom {
                return Err("'ExecutorInfo.type' must be 'CUSTOM'".to_owned());
            }
            if executor.command.is_none() {
                return Err("'ExecutorInfo.command' must be set".to_owned());
            }
            executor_runs = self.has_executor(executor);
        }
        operations::validate_task_fits(task, executor_runs, self.available, self.role)?;
        self.used_by(task)
    }

    /// What a task uses; kinds that the offer has already are shared with it.
    fn used_by(&self, task: &v1::TaskInfo) -> Result<Resources, String> {
        Ok(Resources::from_proto(&task.resources)?.interned_in(self.available))
    }

    fn has_executor(&self, executor: &v1::ExecutorInfo) -> bool {
        let key = (self.framework.key, executor.executor_id.value.as_str().into());
        self.agent.executors.contains_key(&key)
    }

    /// What an executor adds: nothing if it is there already.
    pub(super) fn executor_resources(
        &self,
        executor: &v1::ExecutorInfo,
    ) -> Result<Resources, String> {
        if self.has_executor(executor) {
            return Ok(Resources::new());
        }
        Ok(Resources::from_proto(&executor.resources)?.interned_in(self.available))
    }

    /// Whether tasks may be launched together; what each uses then.
    pub(super) fn validate_group(
        &self,
        group: &v1::TaskGroupInfo,
        executor: &v1::ExecutorInfo,
    ) -> Result<Vec<Resources>, String> {
        for task in &group.tasks {
            let wrong = |why| format!("Task '{}' is invalid: {why}", task.task_id.value);
            self.validate_member(task).map_err(wrong)?;
        }
        self.validate_executor(executor)?;
        let id = &executor.executor_id.value;
        match executor.r#type {
            None => return Err("'ExecutorInfo.type' must be set".to_owned()),
            Some(_) if executor.r#type() == ExecutorType::Unknown => {
                return Err("Unknown executor type".to_owned());
            }
            Some(_) if executor.r#type() == ExecutorType::Custom && executor.command.is_none() => {
                return Err("'ExecutorInfo.command' must be set for 'CUSTOM' executor".to_owned());
            }
            Some(_) if executor.r#type() == ExecutorType::Default && executor.command.is_some() => {
                let why = "'ExecutorInfo.command' must not be set for 'DEFAULT' executor";
                return Err(why.to_owned());
            }
            Some(_) => {}
        }
        if is_docker(executor.container.as_ref()) {
            return Err("Docker ContainerInfo is not supported on the executor".to_owned());
        }
        let is_other = |own: &v1::ExecutorInfo| own != executor;
        if let Some(task) =
            group.tasks.iter().find(|one| one.executor.as_deref().is_some_and(is_other))
        {
            let task = &task.task_id.value;
            return Err(format!(
                "The `ExecutorInfo` of task '{task}' is different from executor '{id}'"
            ));
        }
        let runs = self.has_executor(executor);
        operations::validate_group_fits(group, executor, runs, self.available, self.role)?;
        group.tasks.iter().map(|task| self.used_by(task)).collect()
    }

    /// A task of a group. Each has its executor by now.
    fn validate_member(&self, task: &v1::TaskInfo) -> Result<(), String> {
        self.validate_task(task)?;
        let Some(container) = &task.container else { return Ok(()) };
        use v1::health_check::Type;
        let kind = task.health_check.as_ref().map(v1::HealthCheck::r#type);
        if !container.network_infos.is_empty() && matches!(kind, Some(Type::Http | Type::Tcp)) {
            return Err("HTTP and TCP health checks are not supported for nested containers not \
                        joining parent's network"
                .to_owned());
        }
        if is_docker(Some(container)) {
            return Err("Docker ContainerInfo is not supported on the task".to_owned());
        }
        Ok(())
    }

    fn validate_task(&self, task: &v1::TaskInfo) -> Result<(), String> {
        let id = task.task_id.value.as_str();
        operations::validate_id(id)?;
        if self.framework.tasks.contains_key(id) {
            return Err(format!("Task has duplicate ID: {id}"));
        }
        if self.framework.unreachable.contains(id) {
            return Err(format!("Task reuses the ID of an unreachable task: {id}"));
        }
        let agent = &task.agent_id.value;
        if **agent != *self.agent.id {
            return Err(format!(
                "Task uses invalid agent {agent} while agent {} is expected",
                self.agent.id
            ));
        }
        let is_negative =
            |time: Option<&v1::DurationInfo>| time.is_some_and(|time| time.nanoseconds < 0);
        let grace = task.kill_policy.as_ref().and_then(|policy| policy.grace_period.as_ref());
        if is_negative(grace) {
            return Err("Task's 'kill_policy.grace_period' must be non-negative".to_owned());
        }
        if is_negative(task.max_completion_time.as_ref()) {
            return Err("Task's `max_completion_time` must be non-negative".to_owned());
        }
        if let Some(check) = &task.health_check {
            validate_health_check(check)
                .map_err(|why| format!("Task uses invalid health check: {why}"))?;
        }
        operations::validate_task_resources(task)?;
        operations::validate_limits(task)
    }

    fn validate_executor(&self, executor: &v1::ExecutorInfo) -> Result<(), String> {
        operations::validate_id(&executor.executor_id.value)?;
        if let Some(framework) = &executor.framework_id
            && *framework.value != *self.framework.id
        {
            return invalid(format!(
                "ExecutorInfo has an invalid FrameworkID (Actual: {} vs Expected: {})",
                framework.value, self.framework.id
            ));
        }
        operations::validate_executor_resources(executor)
    }
}

fn is_docker(container: Option<&v1::ContainerInfo>) -> bool {
    container.is_some_and(|one| one.r#type() == v1::container_info::Type::Docker)
}

fn validate_health_check(check: &v1::HealthCheck) -> Result<(), String> {
    use v1::health_check::Type;
    let expecting = |kind: &str| {
        invalid(format!("Expecting '{}' to be set for {kind} health check", kind.to_lowercase()))
    };
    match check.r#type() {
        Type::Unknown if check.r#type.is_some() => {
            return invalid("'UNKNOWN' is not a valid health check type");
        }
        Type::Unknown => {}
        Type::Command if check.command.is_none() => return expecting("COMMAND"),
        Type::Http if check.http.is_none() => return expecting("HTTP"),
        Type::Tcp if check.tcp.is_none() => return expecting("TCP"),
        Type::Command | Type::Http | Type::Tcp => {}
    }
    for (name, seconds) in [
        ("delay_seconds", check.delay_seconds()),
        ("grace_period_seconds", check.grace_period_seconds()),
        ("interval_seconds", check.interval_seconds()),
        ("timeout_seconds", check.timeout_seconds()),
    ] {
        if seconds < 0.0 {
            return invalid(format!("Expecting '{name}' to be non-negative"));
        }
    }
    Ok(())
}

impl Master {
    /// Whether offers may be used together by a framework.
    pub(super) fn validate_offers(
        &self,
        framework: &Framework,
        ids: &[v1::OfferId],
    ) -> Result<(), String> {
        let mut seen = BTreeSet::new();
        if let Some(twice) = ids.iter().find(|id| !seen.insert(id.value.as_str())) {
            return invalid(format!("Duplicate offer {} in offer list", twice.value));
        }
        let mut first: Option<&super::offers::Offer> = None;
        let mut offers = Vec::with_capacity(ids.len());
        for id in ids {
            let Some(offer) = self.offer_by_id(id) else {
                return invalid(format!("Offer {} is no longer valid", id.value));
            };
            offers.push((id, offer));
        }
        for (id, offer) in &offers {
            if offer.framework != framework.key {
                let other = self.frameworks.get(&offer.framework).map_or("", |one| &one.id);
                return invalid(format!(
                    "Offer {} has invalid framework {other} while framework {} is expected",
                    id.value, framework.id
                ));
            }
        }
        for (id, offer) in &offers {
            let first = *first.get_or_insert(offer);
            if offer.role != first.role {
                return invalid(format!(
                    "Aggregated offers must be allocated to the same role. Offer {} uses role '{} \
                     but another is using role '{}",
                    id.value, offer.role, first.role
                ));
            }
        }
        for (id, offer) in &offers {
            if let Some(first) = first.filter(|first| first.agent != offer.agent) {
                let agent = |index| self.agent(index).map_or("", |agent| &agent.id);
                return invalid(format!(
                    "Aggregated offers must belong to one single agent. Offer {} uses agent {} and \
                     agent {}",
                    id.value,
                    agent(offer.agent),
                    agent(first.agent)
                ));
            }
        }
        Ok(())
    }
}
