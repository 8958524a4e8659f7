//! Slots of which there is not what their record tells: what is missing beside volumes is reserved again.

use crate::ctx::Ctx;
use crate::job::Job;
use crate::output::Operation;
use crate::slots::resize_id;
use peloton_model::{InstanceId, Resize, SlotId, SlotState};
use peloton_placement::Candidate;

impl Job {
    /// What is reserved for an idle slot is not what its record tells, but what was offered: an operator took a part,
    /// or an operation was done of which Mesos knew nothing any more. What is missing beside volumes is reserved again.
    pub(crate) fn slot_is_other(&mut self, i: InstanceId, slot: SlotId, ctx: &mut Ctx) {
        if let Some(held) = self.slots.get_mut(&(i, slot)) {
            let part = std::mem::take(&mut held.seen_part);
            held.record.set_reserved(part);
        }
        self.volumes_changed(i, slot, ctx);
    }

    /// Where ports of a slot that is short went to others meanwhile, it gets others, if its version takes any.
    fn change_ports(&mut self, i: InstanceId, slot: SlotId, candidate: &Candidate) {
        let upgrade = self.upgrade.as_ref().filter(|upgrade| upgrade.is_open());
        let proven = upgrade.map_or_else(|| self.version(), |upgrade| upgrade.record.from);
        let made_for = self.slots.get(&(i, slot)).map_or(0, |held| held.record.made_for);
        let version = if made_for > 0 { made_for } else { proven };
        let used = self.in_use(i, slot);
        let Some(config) = self.configs.get(&version).filter(|_| !used) else { return };
        let Some(held) = self.slots.get_mut(&(i, slot)).filter(|held| {
            held.record.agent == candidate.agent
                && held.is_short()
                && held.record.wide.is_none()
                && held.record.ports.len() == config.ports.len()
        }) else {
            return;
        };
        let reserved = held.record.reserved();
        let mut free = candidate.ports.clone();
        let mut ports = held.record.ports.clone();
        for port in &ports {
            free.remove(*port);
        }
        for (port, asked) in ports.iter_mut().zip(&config.ports) {
            let there = reserved.ports.contains(port) || candidate.ports.contains(*port);
            if !there && asked.value == 0 {
                let Some(other) = free.iter().next() else { return };
                free.remove(other);
                *port = other;
            }
        }
        held.record.ports = ports;
        held.record.set_reserved(reserved);
    }

    /// Reserves what slots with volumes on the agent lack.
    pub(crate) fn mend_on(&mut self, candidate: &mut Candidate, ctx: &mut Ctx) -> Vec<Operation> {
        let mut operations = Vec::new();
        for (i, slot) in self.chores.clone() {
            self.change_ports(i, slot, candidate);
            let name = self.slot_ref(i, slot);
            let Some(held) = self.slots.get_mut(&(i, slot)).filter(|held| {
                held.record.agent == candidate.agent
                    && held.record.state == SlotState::Held
                    && held.is_short()
            }) else {
                continue;
            };
            let reserved = held.record.reserved();
            let lacks = held.record.hold().minus(&reserved);
            let ports = lacks.ports.iter().all(|port| candidate.ports.contains(*port));
            if !ports || !candidate.free.fits(&lacks.resources) {
                continue;
            }
            candidate.free = candidate.free.minus(&lacks.resources);
            lacks.ports.iter().for_each(|port| {
                candidate.ports.remove(*port);
            });
            let number = ctx.operation_number();
            held.record.resize = Some(Box::new(Resize { number, to: reserved.plus(&lacks) }));
            self.touch_slot(i, slot, ctx);
            self.settle_chores(i, slot, ctx);
            self.arm_slot(i, slot, ctx);
            operations.push(Operation::Reserve {
                id: resize_id(&name, number),
                slot: name,
                resources: lacks.resources,
                ports: lacks.ports,
            });
        }
        operations
    }
}
