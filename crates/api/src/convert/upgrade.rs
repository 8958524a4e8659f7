//! Upgrades as messages.

use peloton_model::{
    FieldError, InstanceId, InstanceRecord, JobConfig, SlotPlace, TaskId, UnixMs, UpgradeEvent,
    UpgradeId, UpgradeOptions, UpgradeState,
};
use peloton_proto::json::{JsonOptions, to_json_with};
use peloton_proto::peloton::upgrade as pb;
use serde::Serialize;
use serde_json::Value;

use super::{config_to_proto, diff, job_id_to_proto};
use crate::ApiError;
use crate::domain::{Plan, UpgradeView};

/// The id of an upgrade in a request.
///
/// # Errors
/// `invalid-argument` where there is none or it is not one.
pub fn upgrade_id(id: Option<pb::WorkflowId>) -> Result<UpgradeId, ApiError> {
    let Some(id) = id else {
        return Err(ApiError::invalid("workflowId: missing: the id of an upgrade"));
    };
    UpgradeId::parse(&id.value)
        .map_err(|error| ApiError::invalid(format!("workflowId.value: {error}")))
}

/// The id of an upgrade in an answer.
#[must_use]
pub fn upgrade_id_to_proto(id: &UpgradeId) -> pb::WorkflowId {
    pb::WorkflowId { value: id.to_string() }
}

/// A number that the interface of 2016 has as one with a sign.
///
/// # Errors
/// `invalid-argument` for one below zero.
pub fn not_negative(field: &str, value: i32) -> Result<u32, ApiError> {
    u32::try_from(value).map_err(|_| FieldError::new(field, value, "0 or more").into())
}

/// How an upgrade is to go about, with the defaults filled in; and whether it starts paused.
///
/// # Errors
/// `invalid-argument` for what the model has no place for.
pub fn upgrade_options(options: pb::UpgradeOptions) -> Result<(UpgradeOptions, bool), ApiError> {
    let default = UpgradeOptions::default();
    let out = UpgradeOptions {
        batch_size: not_negative("options.batchSize", options.batch_size)?,
        batch_percentage: options.batch_percentage,
        stop_before_upgrade: options.stop_before_upgrade,
        max_instance_retries: options.max_instance_retries,
        max_failed_instances: options.max_failed_instances,
        health_deadline_secs: options.health_deadline_secs.unwrap_or(default.health_deadline_secs),
        min_healthy_secs: options.min_healthy_secs.unwrap_or(default.min_healthy_secs),
        placement_deadline_secs: options
            .placement_deadline_secs
            .unwrap_or(default.placement_deadline_secs),
        rollback_on_failure: options.rollback_on_failure.unwrap_or(default.rollback_on_failure),
    };
    Ok((out, options.start_paused))
}

fn options_to_proto(options: &UpgradeOptions) -> pb::UpgradeOptions {
    pb::UpgradeOptions {
        batch_size: signed(options.batch_size),
        batch_percentage: options.batch_percentage,
        stop_before_upgrade: options.stop_before_upgrade,
        max_instance_retries: options.max_instance_retries,
        max_failed_instances: options.max_failed_instances,
        health_deadline_secs: Some(options.health_deadline_secs),
        min_healthy_secs: Some(options.min_healthy_secs),
        placement_deadline_secs: Some(options.placement_deadline_secs),
        rollback_on_failure: Some(options.rollback_on_failure),
        // Of the request only: afterwards the state tells.
        start_paused: false,
    }
}

/// A state.
#[must_use]
pub fn upgrade_state(state: UpgradeState) -> pb::State {
    match state {
        UpgradeState::RollingForward => pb::State::RollingForward,
        UpgradeState::RollingBack => pb::State::RollingBack,
        UpgradeState::Paused => pb::State::Paused,
        UpgradeState::Succeeded => pb::State::Succeeded,
        UpgradeState::RolledBack => pb::State::RolledBack,
        UpgradeState::Aborted => pb::State::Aborted,
        UpgradeState::Failed => pb::State::Failed,
    }
}

/// An upgrade.
///
/// # Errors
/// `internal` where a configuration cannot be shown.
pub fn upgrade_info(view: &UpgradeView) -> Result<pb::UpgradeInfo, ApiError> {
    let actual = view.actual.as_ref();
    let changes = view
        .configs
        .as_ref()
        .map(|(before, after)| field_changes(&before.record.config, &after.record.config));
    let instances = view.instances.iter().map(|(i, record)| progress(*i, record));
    let updated_at = actual.map_or(view.spec.created_at, |actual| actual.updated_at);
    Ok(pb::UpgradeInfo {
        workflow_id: Some(upgrade_id_to_proto(&view.id)),
        num_tasks_done: signed(view.done()),
        num_tasks_remaining: signed(view.remaining()),
        state: upgrade_state(view.state).into(),
        job_id: Some(job_id_to_proto(&view.id.job)),
        from_version: view.spec.from,
        to_version: view.spec.to,
        num_tasks_failed: signed(view.failed()),
        message: view.message.clone(),
        created_at: moment(view.spec.created_at),
        updated_at: moment(updated_at.max(view.spec.created_at)),
        rolling_back: view.is_back(),
        failure: actual.and_then(|actual| actual.failure.clone()).unwrap_or_default(),
        finished_at: moment(actual.map_or(0, |actual| actual.finished_at)),
        created_by: view.spec.created_by.clone(),
        options: Some(options_to_proto(&view.spec.options)),
        displaced: actual.map(|actual| actual.displaced.clone()).unwrap_or_default(),
        displaced_count: actual.map_or(0, |actual| actual.displaced_count),
        replaces: view.replaces.as_ref().map(upgrade_id_to_proto),
        takes_back: view.takes_back.as_ref().map(upgrade_id_to_proto),
        changes: changes.transpose()?.unwrap_or_default(),
        instances: instances.collect(),
    })
}

fn progress(instance: InstanceId, record: &InstanceRecord) -> pb::InstanceProgress {
    let step = record.step.as_deref().cloned().unwrap_or_default();
    pb::InstanceProgress {
        instance_id: instance,
        stage: name(&step.stage),
        since: moment(step.since),
        tries: step.tries,
        task_state: record.state.name().to_owned(),
        version: record.version,
        host: record.host.as_deref().unwrap_or_default().to_owned(),
        message: record.message.as_deref().unwrap_or_default().to_owned(),
    }
}

/// What an upgrade to the configuration would do.
///
/// # Errors
/// `internal` where a configuration cannot be shown.
pub fn upgrade_plan(plan: &Plan, new: &JobConfig) -> Result<pb::UpgradePlan, ApiError> {
    let instances = plan.instances.iter().map(|planned| pb::PlannedInstance {
        instance_id: planned.instance,
        action: planned.action.name().to_owned(),
        host: planned.host.clone(),
        more: planned.more.clone(),
    });
    let counts = plan.counts.iter().map(|(action, n)| (action.name().to_owned(), *n));
    Ok(pb::UpgradePlan {
        from_version: plan.from,
        to_version: plan.to,
        changes: field_changes(&plan.old.record.config, new)?,
        batch: plan.batch,
        instances: instances.collect(),
        counts: counts.collect(),
    })
}

/// An event of the upgrade.
#[must_use]
pub fn upgrade_event(id: &UpgradeId, number: u64, event: &UpgradeEvent) -> pb::UpgradeEvent {
    let place = |place: &Option<SlotPlace>| {
        let parts = place.as_ref().map(|place| (place.slot.to_string(), place.host.to_string()));
        parts.unwrap_or_default()
    };
    let (from_slot, from_host) = place(&event.from_slot);
    let (to_slot, to_host) = place(&event.to_slot);
    let task = event
        .instance
        .filter(|_| event.run != 0)
        .map(|instance| TaskId { job: id.job.clone(), instance, run: event.run }.to_string());
    pb::UpgradeEvent {
        number,
        at: moment(event.at),
        kind: name(&event.kind),
        instance_id: event.instance,
        by: event.by.clone(),
        from_slot,
        from_host,
        to_slot,
        to_host,
        task_id: task.unwrap_or_default(),
        message: event.message.clone(),
    }
}

/// Where two configurations differ, as users see them: with the names of enums, not their numbers.
///
/// # Errors
/// `internal` where a configuration cannot be shown.
pub fn field_changes(
    before: &JobConfig,
    after: &JobConfig,
) -> Result<Vec<pb::FieldChange>, ApiError> {
    let options = JsonOptions { enum_names: true, pretty: false };
    let shown = |config| {
        to_json_with(&config_to_proto(config), options).map_err(|error| {
            ApiError::internal(format!("a configuration cannot be shown: {error}"))
        })
    };
    let (before, after) = (shown(before)?, shown(after)?);
    let text = |value: Option<&Value>| value.map(ToString::to_string).unwrap_or_default();
    let changes = diff::differences(&before, &after).into_iter();
    Ok(changes
        .map(|(field, before, after)| pb::FieldChange {
            field,
            before: text(before),
            after: text(after),
        })
        .collect())
}

/// The name that a record has for a variant.
fn name(variant: &impl Serialize) -> String {
    match serde_json::to_value(variant) {
        Ok(Value::String(name)) => name,
        _ => String::new(),
    }
}

fn signed(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn moment(at: UnixMs) -> i64 {
    i64::try_from(at).unwrap_or(i64::MAX)
}
