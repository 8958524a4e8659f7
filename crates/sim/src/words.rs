//! Calls and events in a line, for the trace.

use peloton_mesos_wire::calls::kind;
use peloton_mesos_wire::convert::{LABEL_INSTANCE, LABEL_JOB, LABEL_SLOT};
use peloton_proto::mesos::v1;
use peloton_proto::mesos::v1::scheduler::{Call, Event, event};

/// A call.
pub(crate) fn call(call: &Call) -> String {
    let mut text = kind(call).as_str_name().to_owned();
    if let Some(accept) = &call.accept {
        for offer in &accept.offer_ids {
            text.push_str(&format!(" {}", offer.value));
        }
        for operation in &accept.operations {
            text.push_str(&format!("; {}", self::operation(operation)));
        }
    }
    if let Some(decline) = &call.decline {
        text.push_str(&format!(" {} offers", decline.offer_ids.len()));
    }
    if let Some(kill) = &call.kill {
        text.push_str(&format!(" {}", kill.task_id.value));
    }
    if let Some(acknowledge) = &call.acknowledge {
        text.push_str(&format!(" {}", acknowledge.task_id.value));
    }
    if let Some(acknowledge) = &call.acknowledge_operation_status {
        text.push_str(&format!(" {}", acknowledge.operation_id.value));
    }
    if let Some(reconcile) = &call.reconcile {
        for task in &reconcile.tasks {
            text.push_str(&format!(" {}", task.task_id.value));
        }
    }
    if let Some(reconcile) = &call.reconcile_operations {
        for operation in &reconcile.operations {
            text.push_str(&format!(" {}", operation.operation_id.value));
        }
    }
    text
}

fn operation(operation: &v1::offer::Operation) -> String {
    if let Some(reserve) = &operation.reserve {
        return format!("RESERVE {}", slot(&reserve.resources));
    }
    if let Some(unreserve) = &operation.unreserve {
        return format!("UNRESERVE {}", slot(&unreserve.resources));
    }
    if let Some(launch) = &operation.launch {
        let ids: Vec<_> =
            launch.task_infos.iter().map(|task| task.task_id.value.as_str()).collect();
        return format!("LAUNCH {}", ids.join(" "));
    }
    "OTHER".to_owned()
}

fn slot(resources: &[v1::Resource]) -> String {
    slot_of(resources).map_or_else(String::new, |(job, i, slot)| format!("{job}/{i}/{slot}"))
}

/// The slot that the labels of resources name.
pub(crate) fn slot_of(resources: &[v1::Resource]) -> Option<(String, u32, u64)> {
    let reservation = resources.first()?.reservations.last()?;
    let labels = &reservation.labels.as_ref()?.labels;
    let label = |key: &str| labels.iter().find(|label| label.key == key)?.value.clone();
    let number = |key: &str| label(key)?.parse::<u64>().ok();
    let instance = u32::try_from(number(LABEL_INSTANCE)?).ok()?;
    Some((label(LABEL_JOB)?, instance, number(LABEL_SLOT)?))
}

/// An event.
pub(crate) fn event(event: &Event) -> String {
    let kind = event::Type::try_from(event.r#type.unwrap_or_default());
    let mut text = kind.map_or("?", |kind| kind.as_str_name()).to_owned();
    if let Some(offers) = &event.offers {
        for offer in &offers.offers {
            text.push_str(&format!(" {} of {}", offer.id.value, offer.hostname));
            let mut slots: Vec<String> = offer
                .resources
                .iter()
                .filter_map(|r| slot_of(std::slice::from_ref(r)))
                .map(|(job, i, slot)| format!("{job}/{i}/{slot}"))
                .collect();
            slots.dedup();
            if !slots.is_empty() {
                text.push_str(&format!(" [{}]", slots.join(" ")));
            }
        }
    }
    if let Some(id) = event.rescind.as_ref().and_then(|rescind| rescind.offer_id.as_ref()) {
        text.push_str(&format!(" {}", id.value));
    }
    if let Some(status) = event.update.as_ref().and_then(|update| update.status.as_ref()) {
        let state = v1::TaskState::try_from(status.state);
        let state = state.map_or("?", |state| state.as_str_name());
        let reason = status.reason.and_then(|r| v1::task_status::Reason::try_from(r).ok());
        let reason = reason.map_or("", |reason| reason.as_str_name());
        text.push_str(&format!(" {} {state} {reason}", status.task_id.value));
        if status.uuid.is_none() {
            text.push_str(" (no ack)");
        }
    }
    let update = event.update_operation_status.as_ref();
    if let Some(status) = update.and_then(|update| update.status.as_ref()) {
        let id = status.operation_id.as_ref().map_or("", |id| id.value.as_str());
        let state = v1::OperationState::try_from(status.state);
        text.push_str(&format!(" {id} {}", state.map_or("?", |state| state.as_str_name())));
    }
    if let Some(error) = &event.error {
        text.push_str(&format!(" {}", error.message.as_deref().unwrap_or_default()));
    }
    text
}
