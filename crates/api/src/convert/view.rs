//! What answers show: jobs and instances as messages.

use peloton_model::{Health, JobState, KillReason, TaskState, UnixMs};
use peloton_proto::mesos::v1::{TaskId, TimeInfo};
use peloton_proto::peloton::{changelog, job as pb, task};

use super::{config_to_proto, job_id_to_proto};
use crate::domain::{JobStatus, RunView, StoredConfig, TaskView};

/// A configuration with its change log.
#[must_use]
pub fn job_config(config: &StoredConfig, job_created_at: UnixMs) -> pb::JobConfig {
    let record = &config.record;
    let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    pb::JobConfig {
        change_log: Some(changelog::ChangeLog {
            version: signed(record.version),
            created_at: signed(job_created_at),
            updated_at: signed(record.created_at),
            updated_by: record.created_by.clone(),
        }),
        ..config_to_proto(&record.config)
    }
}

/// How a job is doing.
#[must_use]
pub fn job_status(status: &JobStatus) -> pb::JobStatus {
    let summary = &status.summary;
    let counts = summary.counts.iter().map(|(state, n)| (state.name().to_owned(), n));
    let waiting = summary.waiting.iter().map(|waiting| pb::WaitingInstances {
        reason: waiting.reason.clone(),
        instances: waiting.instances,
        agents_looked_at: waiting.agents,
        lacking: waiting
            .lacking
            .iter()
            .map(|(lack, agents)| pb::Lacking { reason: lack.name().to_owned(), agents: *agents })
            .collect(),
    });
    pb::JobStatus {
        id: Some(job_id_to_proto(&status.id)),
        state: job_state(summary.state).into(),
        instance_count: status.instance_count,
        counts_by_state: counts.collect(),
        healthy: summary.healthy,
        unhealthy: summary.unhealthy,
        versions: summary.versions.clone(),
        current_version: status.version,
        active_upgrade: status.upgrade.as_ref().map(ToString::to_string).unwrap_or_default(),
        waiting: waiting.collect(),
        leftovers: summary.leftovers,
    }
}

fn job_state(state: JobState) -> pb::JobState {
    match state {
        JobState::Uninitialized => pb::JobState::Uninitialized,
        JobState::Initialized => pb::JobState::Initialized,
        JobState::Pending => pb::JobState::Pending,
        JobState::Running => pb::JobState::Running,
        JobState::Succeeded => pb::JobState::Succeeded,
        JobState::Failed => pb::JobState::Failed,
        JobState::Killed => pb::JobState::Killed,
        JobState::Killing => pb::JobState::Killing,
        JobState::Deleted => pb::JobState::Deleted,
    }
}

fn task_state(state: TaskState) -> task::TaskState {
    match state {
        TaskState::Initialized => task::TaskState::Initialized,
        TaskState::Scheduling => task::TaskState::Scheduling,
        TaskState::Assigned => task::TaskState::Assigned,
        TaskState::Launched => task::TaskState::Launched,
        TaskState::Running => task::TaskState::Running,
        TaskState::Succeeded => task::TaskState::Succeeded,
        TaskState::Failed => task::TaskState::Failed,
        TaskState::Killed => task::TaskState::Killed,
        TaskState::Preempting => task::TaskState::Preempting,
        TaskState::Throttled => task::TaskState::Throttled,
    }
}

/// An instance; with its configuration, if asked for.
#[must_use]
pub fn task_info(view: &TaskView, with_config: bool) -> task::TaskInfo {
    task::TaskInfo {
        instance_id: view.instance,
        job_id: Some(job_id_to_proto(&view.job)),
        job_config: with_config.then(|| job_config(&view.config, view.job_created_at)),
        runtime: Some(run_info(view.job.as_str(), view.instance, &view.run)),
    }
}

/// A run of the instance.
#[must_use]
pub fn run_info(job: &str, instance: u32, view: &RunView) -> task::RuntimeInfo {
    let record = &view.record;
    let text = |text: &Option<std::sync::Arc<str>>| {
        text.as_ref().map_or_else(String::new, |text| text.as_ref().to_owned())
    };
    let task_id = format!("{job}-{instance}-{}", record.run);
    task::RuntimeInfo {
        state: task_state(record.state).into(),
        task_id: (record.run != 0).then_some(TaskId { value: task_id }),
        started_at: moment(record.started_at),
        host: text(&record.host),
        ports: view.ports.iter().map(|(name, port)| (name.clone(), (*port).into())).collect(),
        agent_id: record.agent.as_ref().map(ToString::to_string).unwrap_or_default(),
        slot: record.slot.map(|slot| slot.to_string()).unwrap_or_default(),
        config_version: record.version,
        health: health(record.health).into(),
        message: text(&record.message),
        reason: text(&record.reason),
        exit_status: record.exit_status,
        finished_at: moment(record.finished_at),
        run_number: record.run,
        wait_reason: view.wait_reason.clone(),
        agent_url: view.agent_url.clone(),
        sandbox_path: view.sandbox_path.clone(),
        failures: record.failures,
        retry_at: moment(record.retry_at),
        kill_reason: record.killing.map(|killing| kill_reason(killing.reason)).unwrap_or_default(),
        unreachable_since: record.unreachable_since.and_then(moment),
        launched_at: moment(record.launched_at),
    }
}

fn health(health: Health) -> task::HealthState {
    match health {
        Health::Disabled => task::HealthState::Disabled,
        Health::Unknown => task::HealthState::Unknown,
        Health::Healthy => task::HealthState::Healthy,
        Health::Unhealthy => task::HealthState::Unhealthy,
    }
}

fn kill_reason(reason: KillReason) -> String {
    let text = match reason {
        KillReason::Stop => "stopped by a user",
        KillReason::Restart => "restarted by a user",
        KillReason::Remove => "the instance or its job was removed",
        KillReason::Superseded => "it came back after its replacement was started",
        KillReason::Upgrade => "an upgrade gives it another configuration",
    };
    text.to_owned()
}

/// A moment, if there is one: 0 stands for none.
fn moment(at: UnixMs) -> Option<TimeInfo> {
    let nanoseconds = i64::try_from(at.saturating_mul(1_000_000)).unwrap_or(i64::MAX);
    (at != 0).then_some(TimeInfo { nanoseconds })
}
