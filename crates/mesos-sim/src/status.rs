//! Events and status updates as the master makes them.

use crate::AgentSpec;
use crate::task::TaskMeta;
use peloton_proto::mesos::v1;
use std::net::Ipv4Addr;
use v1::scheduler::{Event, event};
use v1::task_status::{Reason, Source};

/// An agent's address: its host name, if that is one.
pub(crate) fn ip_of(spec: &AgentSpec) -> String {
    match spec.hostname.parse::<Ipv4Addr>() {
        Ok(ip) => ip.to_string(),
        Err(_) => Ipv4Addr::LOCALHOST.to_string(),
    }
}

pub(crate) fn agent_id(id: &str) -> v1::AgentId {
    v1::AgentId { value: id.to_owned() }
}

fn event(kind: event::Type) -> Event {
    Event { r#type: Some(kind as i32), ..Default::default() }
}

pub(crate) fn heartbeat() -> Event {
    event(event::Type::Heartbeat)
}

pub(crate) fn error(message: &str) -> Event {
    let error = event::Error { message: Some(message.to_owned()) };
    Event { error: Some(error), ..event(event::Type::Error) }
}

pub(crate) fn subscribed(
    framework: v1::FrameworkId,
    master: v1::MasterInfo,
    heartbeat_interval_ms: u64,
) -> Event {
    let subscribed = event::Subscribed {
        framework_id: Some(framework),
        heartbeat_interval_seconds: Some(heartbeat_interval_ms as f64 / 1_000.0),
        master_info: Some(master),
    };
    Event { subscribed: Some(subscribed), ..event(event::Type::Subscribed) }
}

pub(crate) fn offers(offers: Vec<v1::Offer>) -> Event {
    Event { offers: Some(event::Offers { offers }), ..event(event::Type::Offers) }
}

pub(crate) fn inverse_offers(inverse_offers: Vec<v1::InverseOffer>) -> Event {
    let inverse_offers = Some(event::InverseOffers { inverse_offers });
    Event { inverse_offers, ..event(event::Type::InverseOffers) }
}

pub(crate) fn rescind(offer_id: v1::OfferId) -> Event {
    let rescind = Some(event::Rescind { offer_id: Some(offer_id) });
    Event { rescind, ..event(event::Type::Rescind) }
}

pub(crate) fn rescind_inverse_offer(id: v1::OfferId) -> Event {
    let rescind_inverse_offer = Some(event::RescindInverseOffer { inverse_offer_id: Some(id) });
    Event { rescind_inverse_offer, ..event(event::Type::RescindInverseOffer) }
}

pub(crate) fn update(status: v1::TaskStatus) -> Event {
    let update = Some(event::Update { status: Some(status) });
    Event { update, ..event(event::Type::Update) }
}

pub(crate) fn operation_update(status: v1::OperationStatus) -> Event {
    let update = Some(event::UpdateOperationStatus { status: Some(status) });
    Event { update_operation_status: update, ..event(event::Type::UpdateOperationStatus) }
}

/// An executor ended or, without one, an agent is lost.
pub(crate) fn failure(agent: &str, executor: Option<(&str, i32)>) -> Event {
    let executor_id = executor.map(|(id, _)| v1::ExecutorId { value: id.to_owned() });
    let status = executor.map(|(_, status)| status);
    let failure = event::Failure { agent_id: Some(agent_id(agent)), executor_id, status };
    Event { failure: Some(failure), ..event(event::Type::Failure) }
}

/// What the master says of a task.
pub(crate) struct MasterNews<'a> {
    pub(crate) task: &'a str,
    pub(crate) agent: Option<&'a str>,
    pub(crate) state: v1::TaskState,
    pub(crate) message: String,
    pub(crate) reason: Reason,
    pub(crate) seconds: f64,
}

impl MasterNews<'_> {
    /// As a status update without a uuid, which nobody has to acknowledge.
    pub(crate) fn status(self) -> v1::TaskStatus {
        let mut status = v1::TaskStatus {
            task_id: v1::TaskId { value: self.task.to_owned() },
            agent_id: self.agent.map(agent_id),
            message: Some(self.message),
            timestamp: Some(self.seconds),
            ..Default::default()
        };
        status.set_state(self.state);
        status.set_source(Source::Master);
        status.set_reason(self.reason);
        status
    }

    /// The same of a task whose executor is known.
    pub(crate) fn status_of(self, meta: &TaskMeta) -> v1::TaskStatus {
        // A command's own executor is the agent's affair: the master knows of none.
        let executor_id = meta.executor.as_ref().map(|_| meta.executor_id());
        v1::TaskStatus { executor_id, ..self.status() }
    }
}
