//! Nothing is sent before it is durable: when a LAUNCH reaches Mesos, the store has, or had, its run, and
//! the slot that it uses; when a RESERVE does, its slot.

use super::launches;
use super::ledger::{Ledger, task};
use crate::sim::Sim;
use crate::words::slot_of;
use peloton_proto::mesos::v1::scheduler::Call;

pub(super) fn called(sim: &Sim, call: &Call, ledger: &Ledger) {
    for launched in launches(call) {
        let id = &launched.task_id.value;
        let Some(task) = task(id) else {
            sim.violated(format!("launch before commit: {id} is no task id"));
            continue;
        };
        if !ledger.was_recorded(&task) {
            sim.violated(format!("launch before commit: no record of {id} was ever stored"));
        }
        if let Some(slot) = slot_of(&launched.resources)
            && !ledger.slots_ever.contains(&slot)
        {
            sim.violated(format!("launch before commit: {id} uses {slot:?}, never stored"));
        }
    }
    for operation in call.accept.iter().flat_map(|accept| &accept.operations) {
        if let Some(reserve) = &operation.reserve
            && let Some(slot) = slot_of(&reserve.resources)
            && !ledger.slots_ever.contains(&slot)
        {
            sim.violated(format!("reserve before commit: slot {slot:?} was never stored"));
        }
    }
}
