//! Never two live tasks of one instance, but where Mesos had said that the older one is out of reach or
//! gone, or that it waits for its agent.

use super::launches;
use super::ledger::task;
use crate::ground;
use crate::sim::Sim;
use peloton_mesos_sim::Mesos;
use peloton_proto::mesos::v1::scheduler::{Call, Event};
use peloton_proto::mesos::v1::{OperationState, TaskState};
use std::collections::BTreeSet;

/// Tasks that Mesos said are out of reach, or not there.
#[derive(Default)]
pub(super) struct Twins {
    told_away: BTreeSet<String>,
    /// Agents that Mesos said it waits for, and has not shown since.
    awaited: BTreeSet<String>,
}

impl Twins {
    pub(super) fn event(&mut self, event: &Event) {
        self.agents(event);
        let update = event.update.as_ref();
        let Some(status) = update.and_then(|update| update.status.as_ref()) else { return };
        let state = TaskState::try_from(status.state);
        let away = matches!(
            state,
            Ok(TaskState::TaskUnreachable
                | TaskState::TaskUnknown
                | TaskState::TaskLost
                | TaskState::TaskDropped
                | TaskState::TaskGone
                | TaskState::TaskGoneByOperator)
        );
        if away {
            self.told_away.insert(status.task_id.value.clone());
        }
    }

    /// What an event says of agents.
    fn agents(&mut self, event: &Event) {
        for offer in event.offers.iter().flat_map(|offers| &offers.offers) {
            self.awaited.remove(&offer.agent_id.value);
        }
        let operation = event.update_operation_status.as_ref();
        let operation = operation.and_then(|update| update.status.as_ref());
        let awaited = OperationState::OperationRecovering as i32;
        if let Some(status) = operation.filter(|status| status.state == awaited) {
            self.awaited.extend(status.agent_id.iter().map(|id| id.value.clone()));
        }
        let update = event.update.as_ref().and_then(|update| update.status.as_ref());
        let live = |state| {
            matches!(
                TaskState::try_from(state),
                Ok(TaskState::TaskStarting | TaskState::TaskRunning | TaskState::TaskKilling)
            )
        };
        if let Some(status) = update.filter(|status| live(status.state)) {
            let agent = status.agent_id.as_ref().map(|id| id.value.as_str());
            self.awaited.remove(agent.unwrap_or_default());
        }
    }

    pub(super) fn called(&self, sim: &Sim, call: &Call, model: &Mesos) {
        for launched in launches(call) {
            let Some(new) = task(&launched.task_id.value) else { continue };
            for (id, agent) in ground::live_tasks_and_agents(model) {
                let Some(old) = task(&id) else { continue };
                let same = (&old.job, old.instance) == (&new.job, new.instance);
                let away = self.told_away.contains(&id) || self.awaited.contains(&agent);
                if same && old.run != new.run && !away {
                    sim.violated(format!("{new} is launched while {id} lives, and was not away"));
                }
            }
        }
    }
}
