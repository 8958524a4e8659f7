//! Never two live tasks of one instance, but where Mesos had said that the older one is out of reach or
//! gone.

use super::launches;
use super::ledger::task;
use crate::ground;
use crate::sim::Sim;
use peloton_mesos_sim::Mesos;
use peloton_proto::mesos::v1::TaskState;
use peloton_proto::mesos::v1::scheduler::{Call, Event};
use std::collections::BTreeSet;

/// Tasks that Mesos said are out of reach, or not there.
#[derive(Default)]
pub(super) struct Twins {
    told_away: BTreeSet<String>,
}

impl Twins {
    pub(super) fn event(&mut self, event: &Event) {
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

    pub(super) fn called(&self, sim: &Sim, call: &Call, model: &Mesos) {
        for launched in launches(call) {
            let Some(new) = task(&launched.task_id.value) else { continue };
            for id in ground::live_tasks(model) {
                let Some(old) = task(&id) else { continue };
                let same = (&old.job, old.instance) == (&new.job, new.instance);
                if same && old.run != new.run && !self.told_away.contains(&id) {
                    sim.violated(format!("{new} is launched while {id} lives, and was not away"));
                }
            }
        }
    }
}
