//! The calls a framework makes, and what the master's answers to them mean.
//!
//! The constructors leave `framework_id` empty: only the client knows for sure under which id the
//! session subscribed, so it fills it in when it sends the call. Nothing is validated here; the
//! master does that, and its answer comes back with the call.

use peloton_proto::mesos::v1::scheduler::{Call, call};
use peloton_proto::mesos::v1::{
    AgentId, DurationInfo, Filters, FrameworkId, FrameworkInfo, KillPolicy, OfferId, OperationId,
    TaskId, framework_info, offer,
};

/// The media type of every call and every answer.
pub const PROTOBUF: &str = "application/x-protobuf";

/// The header that names the session a call belongs to.
pub const STREAM_ID_HEADER: &str = "mesos-stream-id";

/// The path of the scheduler API on a stock master.
pub const DEFAULT_API_PATH: &str = "/api/v1/scheduler";

pub use call::Type as CallKind;
pub use framework_info::capability::Type as Capability;

/// What the framework says about itself. The role decides which reservations it is offered.
#[derive(Debug, Clone, PartialEq)]
pub struct FrameworkSettings {
    /// The user that tasks run as when the task names none.
    pub user: String,
    /// The name shown to operators.
    pub name: String,
    /// The one role the framework subscribes in.
    pub role: String,
    /// Who pays for reservations; must be the authenticated principal where there is one.
    pub principal: Option<String>,
    /// How long the master keeps the tasks after the connection is lost, in milliseconds. It must
    /// exceed any outage the tasks are to survive.
    pub failover_timeout_ms: u64,
    /// Whether agents write down what they need to keep the tasks over their own restart.
    pub checkpoint: bool,
    /// The host shown to operators; the master looks it up when absent.
    pub hostname: Option<String>,
    /// Where operators find the framework's own pages.
    pub webui_url: Option<String>,
    /// What the framework can deal with; see [`FrameworkSettings::default_capabilities`].
    pub capabilities: Vec<Capability>,
}

impl FrameworkSettings {
    /// What Peloton always announces: refined reservations need the first two, knowing about
    /// unreachable agents the third; without the fourth, agents with GPUs are never offered.
    pub fn default_capabilities() -> Vec<Capability> {
        vec![
            Capability::MultiRole,
            Capability::ReservationRefinement,
            Capability::PartitionAware,
            Capability::GpuResources,
        ]
    }

    /// The message for these settings, under the framework id if one is known.
    pub fn to_info(&self, framework_id: Option<&str>) -> FrameworkInfo {
        let capability =
            |kind: &Capability| framework_info::Capability { r#type: Some(*kind as i32) };
        FrameworkInfo {
            user: self.user.clone(),
            name: self.name.clone(),
            id: framework_id.map(framework_id_of),
            failover_timeout: Some(seconds(self.failover_timeout_ms)),
            checkpoint: Some(self.checkpoint),
            roles: vec![self.role.clone()],
            principal: self.principal.clone(),
            hostname: self.hostname.clone(),
            webui_url: self.webui_url.clone(),
            capabilities: self.capabilities.iter().map(capability).collect(),
            ..FrameworkInfo::default()
        }
    }
}

/// Opens a session. `suppressed_roles` are the roles that want no offers for now.
pub fn subscribe(info: FrameworkInfo, suppressed_roles: Vec<String>) -> Call {
    Call {
        framework_id: info.id.clone(),
        subscribe: Some(Box::new(call::Subscribe {
            framework_info: info,
            suppressed_roles,
            offer_constraints: None,
        })),
        ..of(CallKind::Subscribe)
    }
}

/// Performs `operations` on the offers, which must all be of one agent. What they leave is not
/// offered again for `refuse_ms`.
pub fn accept(
    offer_ids: Vec<OfferId>,
    operations: Vec<offer::Operation>,
    refuse_ms: Option<u64>,
) -> Call {
    let accept = call::Accept { offer_ids, operations, filters: refuse_ms.map(filters) };
    Call { accept: Some(accept), ..of(CallKind::Accept) }
}

/// Gives offers back; the same resources are not offered again for `refuse_ms` (5 s if absent).
pub fn decline(offer_ids: Vec<OfferId>, refuse_ms: Option<u64>) -> Call {
    let decline = call::Decline { offer_ids, filters: refuse_ms.map(filters) };
    Call { decline: Some(decline), ..of(CallKind::Decline) }
}

/// Asks for offers again: ends suppression and every filter. No roles means all.
pub fn revive(roles: Vec<String>) -> Call {
    Call { revive: Some(call::Revive { roles }), ..of(CallKind::Revive) }
}

/// Asks for no further offers. No roles means all.
pub fn suppress(roles: Vec<String>) -> Call {
    Call { suppress: Some(call::Suppress { roles }), ..of(CallKind::Suppress) }
}

/// Ends a task. `grace_period_ms` overrides the task's own time between SIGTERM and SIGKILL.
pub fn kill(task_id: TaskId, agent_id: Option<AgentId>, grace_period_ms: Option<u64>) -> Call {
    let kill_policy = grace_period_ms.map(|ms| {
        let nanoseconds = i64::try_from(ms.saturating_mul(1_000_000)).unwrap_or(i64::MAX);
        KillPolicy { grace_period: Some(DurationInfo { nanoseconds }) }
    });
    let kill = call::Kill { task_id, agent_id, kill_policy };
    Call { kill: Some(kill), ..of(CallKind::Kill) }
}

/// Confirms a task's status, so that the agent sends the next one. `uuid` is the status's own.
pub fn acknowledge(agent_id: AgentId, task_id: TaskId, uuid: Vec<u8>) -> Call {
    let acknowledge = call::Acknowledge { agent_id, task_id, uuid };
    Call { acknowledge: Some(acknowledge), ..of(CallKind::Acknowledge) }
}

/// Confirms an operation's status. `uuid` is the status's own.
pub fn acknowledge_operation_status(
    agent_id: Option<AgentId>,
    operation_id: OperationId,
    uuid: Vec<u8>,
) -> Call {
    let acknowledge = call::AcknowledgeOperationStatus {
        agent_id,
        operation_id,
        uuid,
        ..call::AcknowledgeOperationStatus::default()
    };
    Call {
        acknowledge_operation_status: Some(acknowledge),
        ..of(CallKind::AcknowledgeOperationStatus)
    }
}

/// Asks for the state of tasks; without any, of all tasks the master knows (implicit).
pub fn reconcile(tasks: Vec<(TaskId, Option<AgentId>)>) -> Call {
    let task = |(task_id, agent_id)| call::reconcile::Task { task_id, agent_id };
    let reconcile = call::Reconcile { tasks: tasks.into_iter().map(task).collect() };
    Call { reconcile: Some(reconcile), ..of(CallKind::Reconcile) }
}

/// Asks for the state of operations; without any, of all operations the master knows.
pub fn reconcile_operations(operations: Vec<(OperationId, Option<AgentId>)>) -> Call {
    let operation = |(operation_id, agent_id)| call::reconcile_operations::Operation {
        operation_id,
        agent_id,
        ..call::reconcile_operations::Operation::default()
    };
    let operations = operations.into_iter().map(operation).collect();
    Call {
        reconcile_operations: Some(call::ReconcileOperations { operations }),
        ..of(CallKind::ReconcileOperations)
    }
}

/// Ends the framework for good: the master kills all its tasks and forgets its id.
pub fn teardown() -> Call {
    of(CallKind::Teardown)
}

/// The wrapper of a framework id.
pub fn framework_id_of(id: &str) -> FrameworkId {
    FrameworkId { value: id.to_owned() }
}

/// The kind of a call, `Unknown` for a kind from the future.
pub fn kind(call: &Call) -> CallKind {
    CallKind::try_from(call.r#type.unwrap_or_default()).unwrap_or(CallKind::Unknown)
}

fn of(kind: CallKind) -> Call {
    Call { r#type: Some(kind as i32), ..Call::default() }
}

fn filters(refuse_ms: u64) -> Filters {
    Filters { refuse_seconds: Some(seconds(refuse_ms)) }
}

#[allow(clippy::cast_precision_loss, reason = "exact below 2^53 ms, which is 285,000 years")]
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

/// What a master's answer to a call other than SUBSCRIBE means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The master took the call. What comes of it arrives as events, if at all.
    Accepted,
    /// The master refused this call; the session goes on.
    Rejected,
    /// The master does not know this session (any longer): subscribe again.
    SessionLost,
}

/// Judges the answer to a call by its status and body.
///
/// Mesos answers 400 both to a call that is wrong and to one whose session is over, so the body
/// decides; 403 is only ever "not subscribed". A redirect means that the master lost its
/// leadership, 5xx that it is (re)starting or that a proxy lost it: in all of these the call's
/// fate and the session's are unknown, and subscribing again settles both.
pub fn judge(status: u16, body: &str) -> Verdict {
    const LOST: [&str; 3] = ["Framework cannot be found", "stream ID", "'Mesos-Stream-Id' header"];
    match status {
        200 | 202 => Verdict::Accepted,
        400 if LOST.iter().any(|text| body.contains(text)) => Verdict::SessionLost,
        300..=399 | 401 | 403 | 500..=599 => Verdict::SessionLost,
        _ => Verdict::Rejected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_constructor_sets_its_kind_and_its_field() {
        let task = || TaskId { value: "t".into() };
        let agent = || AgentId { value: "a".into() };
        let operation = || OperationId { value: "o".into() };
        let calls = [
            (accept(vec![], vec![], None), CallKind::Accept),
            (decline(vec![], None), CallKind::Decline),
            (revive(vec![]), CallKind::Revive),
            (suppress(vec![]), CallKind::Suppress),
            (kill(task(), None, None), CallKind::Kill),
            (acknowledge(agent(), task(), vec![]), CallKind::Acknowledge),
            (
                acknowledge_operation_status(None, operation(), vec![]),
                CallKind::AcknowledgeOperationStatus,
            ),
            (reconcile(vec![]), CallKind::Reconcile),
            (reconcile_operations(vec![]), CallKind::ReconcileOperations),
            (teardown(), CallKind::Teardown),
        ];
        for (call, expected) in calls {
            assert_eq!(kind(&call), expected);
            let fields = [
                (call.subscribe.is_some(), CallKind::Subscribe),
                (call.accept.is_some(), CallKind::Accept),
                (call.decline.is_some(), CallKind::Decline),
                (call.revive.is_some(), CallKind::Revive),
                (call.suppress.is_some(), CallKind::Suppress),
                (call.kill.is_some(), CallKind::Kill),
                (call.acknowledge.is_some(), CallKind::Acknowledge),
                (call.acknowledge_operation_status.is_some(), CallKind::AcknowledgeOperationStatus),
                (call.reconcile.is_some(), CallKind::Reconcile),
                (call.reconcile_operations.is_some(), CallKind::ReconcileOperations),
            ];
            for (set, kind) in fields {
                assert_eq!(set, kind == expected, "{kind:?} in a call of kind {expected:?}");
            }
        }
    }

    #[test]
    fn times_become_the_units_of_mesos() {
        let grace = kill(TaskId::default(), None, Some(1_500)).kill.unwrap().kill_policy.unwrap();
        assert_eq!(grace.grace_period.unwrap().nanoseconds, 1_500_000_000);
        let endless = kill(TaskId::default(), None, Some(u64::MAX)).kill.unwrap().kill_policy;
        assert_eq!(endless.unwrap().grace_period.unwrap().nanoseconds, i64::MAX);
        let refused = decline(vec![], Some(250)).decline.unwrap().filters.unwrap();
        assert_eq!(refused.refuse_seconds, Some(0.25));
        assert_eq!(decline(vec![], None).decline.unwrap().filters, None);
    }

    #[test]
    fn subscribe_names_the_framework_id_twice_as_mesos_wants_it() {
        let settings = FrameworkSettings {
            user: "root".into(),
            name: "peloton".into(),
            role: "peloton/7".into(),
            principal: None,
            failover_timeout_ms: 604_800_000,
            checkpoint: true,
            hostname: None,
            webui_url: None,
            capabilities: FrameworkSettings::default_capabilities(),
        };
        let call = subscribe(settings.to_info(Some("f-1")), vec!["peloton/7".into()]);
        let subscribe = call.subscribe.unwrap();
        assert_eq!(call.framework_id, Some(framework_id_of("f-1")));
        assert_eq!(subscribe.framework_info.id, call.framework_id);
        assert_eq!(subscribe.framework_info.failover_timeout, Some(604_800.0));
        assert_eq!(subscribe.framework_info.roles, ["peloton/7"]);
        assert_eq!(subscribe.suppressed_roles, ["peloton/7"]);
        assert_eq!(settings.to_info(None).id, None);
    }

    #[test]
    fn answers_are_judged_as_mesos_means_them() {
        for (status, body, verdict) in [
            (202, "", Verdict::Accepted),
            (200, "", Verdict::Accepted),
            (400, "Failed to validate scheduler::Call: Expecting 'accept'", Verdict::Rejected),
            (404, "", Verdict::Rejected),
            (406, "", Verdict::Rejected),
            (413, "", Verdict::Rejected),
            (429, "", Verdict::Rejected),
            (400, "Framework cannot be found", Verdict::SessionLost),
            (
                400,
                "The stream ID 'x' included in this request didn't match the stream ID \
                 currently associated with framework ID f",
                Verdict::SessionLost,
            ),
            (
                400,
                "All non-subscribe calls should include the 'Mesos-Stream-Id' header",
                Verdict::SessionLost,
            ),
            (403, "Framework is not subscribed", Verdict::SessionLost),
            (401, "", Verdict::SessionLost),
            (307, "", Verdict::SessionLost),
            (500, "", Verdict::SessionLost),
            (503, "Master has not finished recovery", Verdict::SessionLost),
        ] {
            assert_eq!(judge(status, body), verdict, "{status} {body}");
        }
    }
}
