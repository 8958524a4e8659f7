//! A reservation is released only after a durable decision: its slot's record says so, or there is none.

use super::ledger::Ledger;
use crate::sim::Sim;
use crate::words::slot_of;
use peloton_model::SlotState;
use peloton_proto::mesos::v1::scheduler::Call;

pub(super) fn called(sim: &Sim, call: &Call, ledger: &Ledger) {
    for operation in call.accept.iter().flat_map(|accept| &accept.operations) {
        let Some(unreserve) = &operation.unreserve else { continue };
        let Some(slot) = slot_of(&unreserve.resources) else { continue };
        if let Some(record) = ledger.slots.get(&slot)
            && record.state != SlotState::Releasing
        {
            let state = record.state;
            sim.violated(format!("slot {slot:?} is released, but {state:?} is stored"));
        }
    }
}
