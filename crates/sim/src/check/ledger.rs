//! What the store holds and held, in the terms of the checkers; kept up with each commit.

use crate::sim::Sim;
use peloton_model::{InstanceRecord, SlotRecord, TaskId, decode_record};
use peloton_store::keys::{self, ParsedKey};
use peloton_store::{Op, Txn};
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};

/// An instance: its job and number.
pub(super) type Instance = (String, u32);

/// What the store holds and held.
#[derive(Default)]
pub(super) struct Ledger {
    /// Current records.
    pub(super) instances: BTreeMap<Instance, InstanceRecord>,
    pub(super) slots: BTreeMap<(String, u32, u64), SlotRecord>,
    /// Runs that were ever recorded, also those that had ended when a slow store took them.
    pub(super) runs: BTreeSet<(String, u32, u64)>,
    /// Slots that were ever recorded.
    pub(super) slots_ever: BTreeSet<(String, u32, u64)>,
}

impl Ledger {
    pub(super) fn committed(&mut self, sim: &Sim, txn: &Txn) {
        for op in &txn.then {
            match op {
                Op::Put { key, value, .. } => match keys::parse(key) {
                    Some(ParsedKey::ActualInstance { job, instance, .. }) => {
                        let Some(record) = read::<InstanceRecord>(sim, value) else { continue };
                        self.runs.insert((job.clone(), instance, record.run));
                        self.runs.insert((job.clone(), instance, record.fetched));
                        self.instances.insert((job, instance), record);
                    }
                    Some(ParsedKey::ActualSlot { job, instance, slot, .. }) => {
                        let Ok(slot) = slot.parse::<u64>() else { continue };
                        let Some(record) = read::<SlotRecord>(sim, value) else { continue };
                        self.slots_ever.insert((job.clone(), instance, slot));
                        self.slots.insert((job, instance, slot), record);
                    }
                    Some(ParsedKey::ActualRun { job, instance, run, .. }) => {
                        self.runs.insert((job, instance, run));
                    }
                    _ => {}
                },
                Op::Delete { key } => match keys::parse(key) {
                    Some(ParsedKey::ActualInstance { job, instance, .. }) => {
                        self.instances.remove(&(job, instance));
                    }
                    Some(ParsedKey::ActualSlot { job, instance, slot, .. }) => {
                        let Ok(slot) = slot.parse::<u64>() else { continue };
                        self.slots.remove(&(job, instance, slot));
                    }
                    _ => {}
                },
                // Ranges hold runs that ended and configurations.
                Op::DeleteRange { .. } => {}
            }
        }
    }

    pub(super) fn instance(&self, task: &TaskId) -> Option<&InstanceRecord> {
        self.instances.get(&(task.job.as_str().to_owned(), task.instance))
    }

    pub(super) fn was_recorded(&self, task: &TaskId) -> bool {
        self.runs.contains(&(task.job.as_str().to_owned(), task.instance, task.run))
    }
}

pub(super) fn read<T: DeserializeOwned>(sim: &Sim, value: &[u8]) -> Option<T> {
    decode_record(value)
        .map_err(|error| sim.violated(format!("a record that cannot be read: {error}")))
        .ok()
}

/// A task id of Peloton's.
pub(super) fn task(id: &str) -> Option<TaskId> {
    TaskId::parse(id).ok()
}
