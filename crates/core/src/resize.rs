//! Slots that hold more or less than is reserved: more is reserved on the same agent, and a surplus given
//! back.
//!
//! What Mesos has reserved for a slot follows from the operations on it alone, one at a time, each with a
//! durable number: it changes when Mesos says that the operation is done. Offers do not tell it: a part
//! that a task uses is not offered, and whether a task still runs may not be known yet. So an operation is
//! made again only when Mesos has said that it failed, or that it knows nothing of it; as offers end with
//! the connection, one that was lost on the way can not land later.

use crate::ctx::Ctx;
use crate::input::{OperationState, OperationUpdate, Reserved, SlotRef};
use crate::job::Job;
use crate::output::Operation;
use crate::slots::{Slot, resize_id};
use crate::volumes::{disk_of, missing_volumes};
use peloton_model::job::JobConfig;
use peloton_model::{
    Amount, InstanceId, Lack, PortSet, Resize, SlotId, SlotRecord, SlotState, Version, Wide,
};
use peloton_placement::{Candidate, Held, remap_ports};
use std::sync::Arc;

/// The configurations that a slot is to serve: the one that it was made for, and the next.
pub(crate) struct Shapes {
    /// The configuration of what the slot holds.
    pub(crate) old: Arc<JobConfig>,
    pub(crate) new: Arc<JobConfig>,
    pub(crate) version: Version,
}

impl Slot {
    /// Makes the slot hold what the version gets, in addition to what it is for.
    fn widen(&mut self, wide: Wide) {
        let reserved = self.record.reserved();
        self.record.wide = Some(Box::new(wide));
        self.record.set_reserved(reserved);
    }

    /// What the slot holds in vain.
    pub(crate) fn surplus(&self) -> Option<Amount> {
        let idle = self.record.state == SlotState::Held && !self.is_busy();
        self.record.reserved.as_ref().filter(|_| idle)?;
        let surplus = self.record.reserved().minus(&self.record.hold());
        (!surplus.is_empty()).then_some(surplus)
    }
}

/// What the version gets in the slot, with ports of `free` where those that are held do not do. The ports that
/// the slot holds for another new version serve as well.
fn shape(record: &SlotRecord, shapes: &Shapes, free: &PortSet) -> Option<Wide> {
    let all = record.reserved().ports;
    let held = Held { config: &shapes.old.ports, numbers: &record.ports, all: &all };
    let ports = remap_ports(&shapes.new.ports, held, free)?;
    let resources = shapes.new.resource.scalars();
    Some(Wide { version: shapes.version, resources, ports })
}

impl Job {
    /// Whether the version can be launched in the slot as it is reserved now, with its volumes.
    pub(crate) fn slot_serves(&self, i: InstanceId, slot: SlotId, version: Version) -> bool {
        let Some(held) = self.slots.get(&(i, slot)) else { return false };
        let config = self.configs.get(&version);
        self.slot_is_shaped(i, slot, version)
            && config.is_none_or(|config| held.record.has_volumes_of(config))
    }

    /// Whether the slot holds what the version gets, but for volumes that are still to be filled.
    pub(crate) fn slot_is_shaped(&self, i: InstanceId, slot: SlotId, version: Version) -> bool {
        self.slots.get(&(i, slot)).is_some_and(|held| {
            let record = &held.record;
            let shaped = record.made_for == version
                || record.wide.as_ref().is_some_and(|wide| wide.version == version);
            let planned = |config: &Arc<JobConfig>| {
                record.volumes_of(config).all(|(_, volume)| volume.is_some())
            };
            record.state == SlotState::Held
                && record.resize.is_none()
                && shaped
                && record.reserved().covers(&record.hold())
                && self.configs.get(&version).is_none_or(planned)
        })
    }

    /// Makes the slot serve the version, if what is reserved is enough.
    pub(crate) fn shape_slot(
        &mut self,
        i: InstanceId,
        slot: SlotId,
        shapes: &Shapes,
        ctx: &mut Ctx,
    ) -> bool {
        let name = self.slot_ref(i, slot);
        let Some(held) = self.slots.get_mut(&(i, slot)) else { return false };
        if held.record.state != SlotState::Held || held.is_busy() {
            return false;
        }
        let missing = missing_volumes(&held.record, &name, &shapes.new, ctx);
        let volumes = held.record.volumes_to_make().plus(&disk_of(&missing));
        let Some(wide) = shape(&held.record, shapes, &PortSet::default()) else { return false };
        let need = Amount::new(wide.resources, wide.ports.iter().copied());
        let base = Amount::new(held.record.resources, held.record.ports.iter().copied());
        if !held.record.reserved().covers(&base.or(&need).plus(&volumes)) {
            return false;
        }
        held.widen(wide);
        self.plan_volumes(i, slot, missing, ctx);
        self.touch_slot(i, slot, ctx);
        true
    }

    /// Reserves on the agent, which is offered, what the slot lacks for the version; or says what the agent
    /// lacks.
    pub(crate) fn widen_slot(
        &mut self,
        (i, slot): (InstanceId, SlotId),
        shapes: &Shapes,
        candidate: &mut Candidate,
        ctx: &mut Ctx,
    ) -> Result<Operation, Option<Lack>> {
        let name = self.slot_ref(i, slot);
        let held = self.slots.get_mut(&(i, slot)).ok_or(None)?;
        if held.record.state != SlotState::Held || held.is_busy() {
            return Err(None);
        }
        let missing = missing_volumes(&held.record, &name, &shapes.new, ctx);
        let volumes = held.record.volumes_to_make().plus(&disk_of(&missing));
        let wide = shape(&held.record, shapes, &candidate.ports).ok_or(Some(Lack::Ports))?;
        let need = Amount::new(wide.resources, wide.ports.iter().copied());
        let reserved = held.record.reserved();
        let base = Amount::new(held.record.resources, held.record.ports.iter().copied());
        let more = base.or(&need).plus(&volumes).minus(&reserved);
        if more.is_empty() {
            return Err(None);
        }
        if let Some(lack) = candidate.free.lack(&more.resources) {
            return Err(Some(lack));
        }
        candidate.free = candidate.free.minus(&more.resources);
        for port in &more.ports {
            candidate.ports.remove(*port);
        }
        held.widen(wide);
        let number = ctx.operation_number();
        held.record.resize = Some(Box::new(Resize { number, to: reserved.plus(&more) }));
        self.plan_volumes(i, slot, missing, ctx);
        self.touch_slot(i, slot, ctx);
        self.arm_slot(i, slot, ctx);
        let id = resize_id(&name, number);
        Ok(Operation::Reserve { id, slot: name, resources: more.resources, ports: more.ports })
    }

    /// Gives back what the slot holds in vain, if the offer brings it.
    pub(crate) fn trim_slot(
        &mut self,
        i: InstanceId,
        slot: SlotId,
        offered: &Reserved,
        ctx: &mut Ctx,
    ) -> Option<Operation> {
        if self.upgrade.as_ref().is_some_and(|upgrade| upgrade.is_active()) {
            return None;
        }
        #[cfg(feature = "planted-bugs")]
        if ctx.settings.bug == Some(crate::Bug::ForgetTrim) {
            return None;
        }
        let name = self.slot_ref(i, slot);
        let held = self.slots.get_mut(&(i, slot))?;
        let surplus = held.surplus()?;
        let there = Amount::new(offered.resources, offered.ports.iter());
        if !there.covers(&surplus) {
            return None;
        }
        let number = ctx.operation_number();
        let to = held.record.reserved().minus(&surplus);
        held.record.resize = Some(Box::new(Resize { number, to }));
        self.touch_slot(i, slot, ctx);
        self.settle_surplus(i, slot, ctx);
        self.arm_slot(i, slot, ctx);
        let reserved = Reserved {
            resources: surplus.resources,
            ports: surplus.ports.iter().copied().collect(),
            volumes: Vec::new(),
            ..offered.clone()
        };
        Some(Operation::Unreserve { id: resize_id(&name, number), reserved })
    }

    /// Counts the slot among those with a surplus, or no longer: an offer of it is wanted for as long.
    pub(crate) fn settle_surplus(&mut self, i: InstanceId, slot: SlotId, ctx: &mut Ctx) {
        let settled = !self.upgrade.as_ref().is_some_and(|upgrade| upgrade.is_active());
        let surplus = self.slots.get(&(i, slot)).is_some_and(|held| held.surplus().is_some());
        let key = (self.id.clone(), i, slot);
        if !(settled && surplus) {
            ctx.demand.surplus.remove(&key);
        } else if ctx.demand.surplus.insert(key) {
            ctx.want_offers_now();
        }
    }

    /// What became of an operation that changes how much of a slot is reserved.
    pub(crate) fn resize_update(
        &mut self,
        name: &SlotRef,
        number: u64,
        update: &OperationUpdate,
        ctx: &mut Ctx,
    ) {
        let (i, slot) = (name.instance, name.slot);
        if update.state == OperationState::Gone {
            self.lose_slot(i, slot, ctx);
            return;
        }
        let Some(held) = self.slots.get_mut(&(i, slot)).filter(|held| held.is_kept()) else {
            return;
        };
        if held.record.resize.as_ref().is_none_or(|resize| resize.number != number) {
            return;
        }
        match update.state.outcome() {
            None => return,
            Some(true) => {
                if let Some(resize) = held.record.resize.take() {
                    held.record.set_reserved(resize.to);
                }
            }
            Some(false) => {
                let resize = held.record.resize.take();
                let reserved = held.record.reserved();
                let grew = resize.is_some_and(|resize| !reserved.covers(&resize.to));
                if grew && held.record.wide.is_some() {
                    // Its ports may be taken by now: they are chosen anew.
                    held.record.wide = None;
                    held.record.set_reserved(reserved);
                }
            }
        }
        self.touch_slot(i, slot, ctx);
        self.settle_surplus(i, slot, ctx);
        self.settle_chores(i, slot, ctx);
        self.look_at(i, ctx);
    }
}
