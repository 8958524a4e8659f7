//! Task ids are never used twice.

use super::launches;
use crate::sim::Sim;
use peloton_proto::mesos::v1::scheduler::Call;
use std::collections::BTreeSet;

/// All task ids of Peloton that reached Mesos.
#[derive(Default)]
pub(super) struct Ids {
    used: BTreeSet<String>,
}

impl Ids {
    pub(super) fn called(&mut self, sim: &Sim, call: &Call) {
        for launched in launches(call) {
            let id = &launched.task_id.value;
            if !self.used.insert(id.clone()) {
                sim.violated(format!("task id {id} is used twice"));
            }
        }
    }
}
