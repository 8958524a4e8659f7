//! Slots of which only volumes are left: kept, until somebody deletes them, or to be destroyed once their agent is
//! offered. They outlive their job.

use crate::ctx::Ctx;
use crate::input::{OperationState, OperationUpdate, Reserved, SlotRef};
use crate::job::Job;
use crate::output::{Operation, Write};
use crate::shard::Shard;
use crate::slots::{Slot, unreserve_id};
use crate::volumes::{destroy, destroy_id};
use peloton_model::{
    AgentId, InstanceId, Resources, SlotId, SlotRecord, SlotState, TaskId, UnixMs, VolumeState,
};

impl Job {
    /// A slot is gone, its agent is not. The volumes that are left of it are those that are to be kept; those that are
    /// to be destroyed, where the agent was not offered; and those of which nobody can say whether they were made:
    /// nothing has ever been in them.
    pub(crate) fn retain_volumes(
        &mut self,
        i: InstanceId,
        slot: SlotId,
        gone: &Slot,
        ctx: &mut Ctx,
    ) {
        let mut record = gone.record.clone();
        record.volumes.retain(|volume| !volume.is_unmade());
        if record.volumes.is_empty() {
            return;
        }
        let never_there = gone.is_kept();
        record.state = SlotState::Retained;
        (record.resources, record.ports) = (Resources::default(), Vec::new());
        (record.wide, record.reserved, record.resize) = (None, None, None);
        record.made_for = 0;
        record.since = ctx.now;
        for volume in &mut record.volumes {
            volume.drop |= never_there || !volume.is_made();
            volume.state = match volume.state {
                VolumeState::Ready => VolumeState::Ready,
                _ => VolumeState::Empty,
            };
        }
        ctx.retain(self.slot_ref(i, slot), record);
    }
}

impl Ctx {
    /// Takes a slot of which only volumes are left.
    pub(crate) fn retain(&mut self, name: SlotRef, record: SlotRecord) {
        self.use_agent(&record.agent);
        let slot = Slot::new(record, self.now);
        self.retained_changed(&name, &slot);
        self.retained.insert(name, slot);
    }

    /// Whether an offer is wanted of it.
    fn retained_changed(&mut self, name: &SlotRef, slot: &Slot) {
        if slot.record.volumes.iter().any(|volume| volume.drop) {
            if self.demand.dropped.insert(name.clone()) {
                self.want_offers_now();
            }
        } else {
            self.demand.dropped.remove(name);
        }
    }
}

impl Shard {
    /// Changes a slot of which only volumes are left; it goes with the last of them.
    pub(crate) fn change_retained(&mut self, name: &SlotRef, f: impl FnOnce(&mut Slot)) {
        let Some(mut slot) = self.ctx.retained.remove(name) else { return };
        f(&mut slot);
        // What Mesos has besides is of no interest: it is given back when it is offered.
        slot.record.reserved = None;
        let left = !slot.record.volumes.is_empty();
        let record = left.then(|| slot.record.clone());
        self.ctx.writes.push(Write::Slot(name.job.clone(), name.instance, name.slot, record));
        self.ctx.retained_changed(name, &slot);
        if left {
            self.ctx.retained.insert(name.clone(), slot);
        } else {
            self.ctx.leave_agent(&slot.record.agent);
        }
    }

    /// Nothing is left of it: its volumes have another slot now, or are gone with their agent.
    pub(crate) fn forget_retained(&mut self, name: &SlotRef) {
        self.change_retained(name, |slot| slot.record.volumes.clear());
    }

    /// A part of such a slot is offered: what is to go, goes, and what is left of the slot besides.
    pub(crate) fn retained_offered(&mut self, reserved: &Reserved) -> Vec<Operation> {
        let name = &reserved.slot;
        let number = self.ctx.operation_number();
        let Some(slot) = self.ctx.retained.get_mut(name) else { return Vec::new() };
        slot.note_volumes(&reserved.volumes);
        let idle = !slot.is_busy();
        let mut plain = reserved.resources;
        let mut operations = Vec::new();
        let mut taken = Vec::new();
        if idle {
            self.change_retained(name, |slot| {
                taken = slot.take_to_destroy(&reserved.volumes, number);
            });
        }
        if !taken.is_empty() {
            let size_mb = taken.iter().map(|volume| volume.size_mb).sum();
            plain = plain.plus(&Resources::disk(size_mb));
            operations.push(destroy(name, number, taken, reserved));
        }
        if !plain.is_empty() || !reserved.ports.is_empty() {
            let id = unreserve_id(name, &mut self.ctx);
            let reserved = Reserved { resources: plain, volumes: Vec::new(), ..reserved.clone() };
            operations.push(Operation::Unreserve { id, reserved });
        }
        operations
    }

    /// What became of an operation that destroys volumes of such a slot.
    pub(crate) fn retained_update(
        &mut self,
        name: &SlotRef,
        number: u64,
        update: &OperationUpdate,
    ) {
        if update.state == OperationState::Gone {
            return self.forget_retained(name);
        }
        let Some(done) = update.state.outcome() else { return };
        self.change_retained(name, |slot| slot.volumes_done(number, done, None));
        if !done {
            self.ctx.want_offers_now();
        }
    }

    /// After a break of the connection: answers may have been lost.
    pub(crate) fn ask_for_retained(&mut self) {
        for (name, slot) in &self.ctx.retained {
            let volumes = slot.record.volumes.iter();
            for volume in volumes.filter(|volume| volume.state == VolumeState::Destroying) {
                let id = destroy_id(name, volume.number);
                self.ctx.ask_operations.push((id, slot.record.agent.clone()));
            }
        }
    }

    /// See [`Slot::audit_volumes`].
    pub(crate) fn audit_retained(&mut self, since: UnixMs) {
        let mut changed = Vec::new();
        for (name, slot) in &mut self.ctx.retained {
            let agent = self.ctx.agents.get(&slot.record.agent);
            let offered = agent.is_some_and(|agent| agent.offered_at >= since);
            if slot.audit_volumes(offered, |_| false) {
                changed.push(name.clone());
            }
            if !offered {
                // Whether the agent is gone for good, Mesos tells only who asks.
                let run = name.slot.0;
                let task = TaskId { job: name.job.clone(), instance: name.instance, run };
                self.ctx.ask_tasks.insert(task, Some(slot.record.agent.clone()));
            }
        }
        for name in changed {
            self.change_retained(&name, |_| {});
        }
    }

    /// Their agent is gone for good.
    pub(crate) fn retained_gone(&mut self, agent: &AgentId) {
        let lost = self.ctx.retained.iter().filter(|(_, slot)| slot.record.agent == *agent);
        let lost: Vec<_> = lost.map(|(name, _)| name.clone()).collect();
        for name in lost {
            self.forget_retained(&name);
        }
    }
}
