//! A reservation is released only after a durable decision: its slot's record says so, for all of it or for a
//! part; or there is none.

use super::ledger::Ledger;
use crate::sim::Sim;
use crate::words::slot_of;
use peloton_model::{Resize, SlotRecord, SlotState};
use peloton_proto::mesos::v1::scheduler::Call;

pub(super) fn called(sim: &Sim, call: &Call, ledger: &Ledger) {
    for operation in call.accept.iter().flat_map(|accept| &accept.operations) {
        let Some(unreserve) = &operation.unreserve else { continue };
        let Some(slot) = slot_of(&unreserve.resources) else { continue };
        let id = operation.id.as_ref().map_or("", |id| id.value.as_str());
        if let Some(record) = ledger.slots.get(&slot)
            && record.state != SlotState::Releasing
            && !trims(record, id)
        {
            let state = record.state;
            sim.violated(format!("slot {slot:?} is released, but {state:?} is stored"));
        }
    }
}

/// Whether the operation is the one that the slot's record names for giving back a part.
fn trims(record: &SlotRecord, id: &str) -> bool {
    let number = |resize: &Resize| id.ends_with(&format!("/{}", resize.number));
    id.starts_with("resize/") && record.resize.as_deref().is_some_and(number)
}
