//! No status update is acknowledged before the state that it brings is in the store.

use super::ledger::{Ledger, task};
use crate::sim::Sim;
use peloton_model::{InstanceRecord, TaskState as Stored};
use peloton_proto::mesos::v1::TaskState;
use peloton_proto::mesos::v1::scheduler::{Call, Event};
use std::collections::BTreeMap;

/// What the updates said that have left Mesos.
#[derive(Default)]
pub(super) struct Acknowledge {
    states: BTreeMap<Vec<u8>, TaskState>,
}

impl Acknowledge {
    pub(super) fn event(&mut self, event: &Event) {
        if let Some(status) = event.update.as_ref().and_then(|update| update.status.as_ref())
            && let Some(uuid) = &status.uuid
            && let Ok(state) = TaskState::try_from(status.state)
        {
            self.states.insert(uuid.clone(), state);
        }
    }

    pub(super) fn called(&mut self, sim: &Sim, call: &Call, ledger: &Ledger) {
        let Some(acknowledge) = &call.acknowledge else { return };
        let id = &acknowledge.task_id.value;
        let Some(state) = self.states.get(&acknowledge.uuid).copied() else {
            return sim.violated(format!("{id}: an update is acknowledged that was never sent"));
        };
        // Of a removed instance there is no record; of an earlier run, a later one is stored.
        let Some(task) = task(id) else { return };
        let Some(record) = ledger.instance(&task).filter(|r| r.run <= task.run) else { return };
        if record.run < task.run {
            // Its instance was removed, and has begun anew.
            if ledger.was_recorded(&task) {
                return;
            }
            sim.violated(format!("{id}: {state:?} is acknowledged, but its run is not stored"));
        } else if !says(record, state) {
            let stored = record.state;
            sim.violated(format!("{id}: {state:?} is acknowledged, but {stored:?} is stored"));
        }
    }
}

/// Whether what is stored of the run says at least as much as the update.
fn says(record: &InstanceRecord, state: TaskState) -> bool {
    match state {
        TaskState::TaskStaging | TaskState::TaskStarting => record.state != Stored::Assigned,
        TaskState::TaskRunning | TaskState::TaskKilling => {
            !matches!(record.state, Stored::Assigned | Stored::Launched)
        }
        TaskState::TaskUnreachable | TaskState::TaskUnknown => {
            record.unreachable_since.is_some() || !record.state.is_live()
        }
        _ => !record.state.is_live(),
    }
}
