//! The upgrades of the stand-in master.

use std::collections::BTreeMap;

use peloton_proto::peloton::upgrade::{
    FieldChange, InstanceProgress, PlannedInstance, State, UpgradeEvent, UpgradeInfo,
    UpgradeOptions, UpgradePlan, WorkflowId,
};

use super::{THEN_SECS, id};

/// An upgrade of the job `web` with ten instances, of which so many have arrived.
pub(crate) fn upgrade(version: u64, state: State, done: i32) -> UpgradeInfo {
    let value = format!("web-{version}-{version:08x}");
    let over = !matches!(state, State::RollingForward | State::RollingBack | State::Paused);
    UpgradeInfo {
        workflow_id: Some(WorkflowId { value }),
        num_tasks_done: done,
        num_tasks_remaining: 10 - done,
        state: state.into(),
        job_id: id("web"),
        from_version: version - 1,
        to_version: version,
        created_at: THEN_SECS * 1000,
        updated_at: THEN_SECS * 1000 + 60_000,
        finished_at: if over { THEN_SECS * 1000 + 60_000 } else { 0 },
        rolling_back: matches!(state, State::RollingBack | State::RolledBack),
        created_by: "ann@desk".into(),
        options: Some(UpgradeOptions {
            batch_percentage: 20.0,
            max_instance_retries: 1,
            health_deadline_secs: Some(300),
            min_healthy_secs: Some(10),
            placement_deadline_secs: Some(300),
            rollback_on_failure: Some(true),
            ..UpgradeOptions::default()
        }),
        ..UpgradeInfo::default()
    }
}

/// Where an instance is.
pub(crate) fn in_hand(instance: u32, stage: &str, state: &str, version: u64) -> InstanceProgress {
    InstanceProgress {
        instance_id: instance,
        stage: stage.into(),
        since: THEN_SECS * 1000 + 30_000,
        task_state: state.into(),
        version,
        host: format!("agent-{instance}.example.com"),
        ..InstanceProgress::default()
    }
}

pub(crate) fn changes() -> Vec<FieldChange> {
    let change = |field: &str, before: &str, after: &str| FieldChange {
        field: field.into(),
        before: before.into(),
        after: after.into(),
    };
    vec![
        change("resource.memLimitMb", "128", "256"),
        change("command.value", r#""echo hello\nsleep 1000\n""#, r#""echo bye\nsleep 1000\n""#),
        change("ports[0]", "", r#"{"name":"http"}"#),
    ]
}

pub(crate) fn plan() -> UpgradePlan {
    let planned = |instance_id: u32, action: &str, host: u32, more: &str| PlannedInstance {
        instance_id,
        action: action.into(),
        host: if host == 0 { String::new() } else { format!("agent-{host}.example.com") },
        more: more.into(),
    };
    let more = "mem 128 MB, 1 port";
    UpgradePlan {
        from_version: 2,
        to_version: 3,
        changes: changes(),
        batch: 2,
        instances: vec![
            planned(0, "WIDEN", 1, more),
            planned(1, "WIDEN", 1, more),
            planned(2, "WIDEN", 2, more),
            planned(3, "IN_PLACE", 1, ""),
            planned(4, "ADD", 0, "cpus 0.5, mem 256 MB, 1 port"),
        ],
        counts: [("WIDEN", 5), ("IN_PLACE", 1), ("ADD", 1)]
            .map(|(action, count)| (action.to_owned(), count))
            .into_iter()
            .collect::<BTreeMap<_, _>>(),
    }
}

/// What happened in an upgrade that turned back.
pub(crate) fn events() -> Vec<UpgradeEvent> {
    let event = |number: u64, kind: &str, instance_id| UpgradeEvent {
        number,
        at: (THEN_SECS + number as i64) * 1000,
        kind: kind.into(),
        instance_id,
        ..UpgradeEvent::default()
    };
    vec![
        UpgradeEvent { by: "ann@desk".into(), ..event(0, "STARTED", None) },
        UpgradeEvent {
            from_host: "agent-1".into(),
            to_host: "agent-2".into(),
            message: "agent-1 has no room for mem 128 MB".into(),
            ..event(1, "MOVED", Some(0))
        },
        UpgradeEvent { to_host: "agent-2".into(), ..event(2, "PROVEN", Some(0)) },
        UpgradeEvent {
            task_id: "web-1-7".into(),
            to_host: "agent-1".into(),
            message: "command exited\nwith status 1".into(),
            ..event(3, "RUN_FAILED", Some(1))
        },
        UpgradeEvent { message: "instance 1 failed".into(), ..event(4, "ROLLING_BACK", None) },
    ]
}
