//! The volumes of slots: made of reserved disk, filled where they are remote, and destroyed.
//!
//! What a slot has follows from the operations on it, as its reservations do ([`crate::resize`]): one at a time,
//! each with a durable number. Beyond that an offer tells: a volume that is offered is there. A remote volume is
//! mounted only once the task that fills it has ended well, and that is written; what a task left that did not
//! is wiped by the next one. A volume is destroyed only after [`SlotVolume::drop`] is durable, and what is offered
//! under an id that no record knows is left alone.

mod fill;
mod mend;
mod of_slot;
mod wait;

use of_slot::change_volumes;

use crate::ctx::Ctx;
use crate::input::{OfferedVolume, OperationState, OperationUpdate, Reserved, SlotRef};
use crate::job::Job;
use crate::output::{Mounted, Operation, VolumeSpec};
use peloton_model::job::JobConfig;
use peloton_model::{
    Amount, InstanceId, OnDelete, PortSet, Resources, SlotId, SlotRecord, SlotState, SlotVolume,
    UnixMs, VolumeState,
};

/// Where the task that fills a volume sees it.
pub const FETCH_PATH: &str = "volume";

/// The id of an operation that makes volumes of a slot.
pub(crate) fn create_id(slot: &SlotRef, number: u64) -> String {
    format!("create/{slot}/{number}")
}

/// The id of an operation that destroys volumes of a slot.
pub(crate) fn destroy_id(slot: &SlotRef, number: u64) -> String {
    format!("destroy/{slot}/{number}")
}

/// Disk of volumes, as a part of an amount.
pub(crate) fn disk(size_mb: u64) -> Amount {
    Amount::new(Resources::disk(size_mb), [])
}

/// The volumes that a configuration mounts and the slot does not have.
pub(crate) fn missing_volumes(
    record: &SlotRecord,
    slot: &SlotRef,
    config: &JobConfig,
    ctx: &mut Ctx,
) -> Vec<SlotVolume> {
    let missing = record.volumes_of(config).filter(|(_, volume)| volume.is_none());
    missing
        .map(|(asked, _)| SlotVolume::new(asked, slot, ctx.operation_number(), ctx.now))
        .collect()
}

/// What volumes take.
pub(crate) fn disk_of(volumes: &[SlotVolume]) -> Amount {
    disk(volumes.iter().map(|volume| volume.size_mb).sum())
}

impl Job {
    /// Looks whether something of a slot's volumes waits for an offer.
    pub(crate) fn settle_chores(&mut self, i: InstanceId, slot: SlotId, ctx: &mut Ctx) {
        let key = (i, slot);
        let held = self.slots.get(&key);
        let wants = held.is_some_and(|held| held.has_chore(ctx.now));
        let changed = if wants { self.chores.insert(key) } else { self.chores.remove(&key) };
        if changed {
            ctx.demand.line_changed(&self.id, self.waits());
            if wants {
                ctx.want_offers_now();
            }
        }
    }

    /// Volumes of a new slot, or of one that holds more now, are to be made.
    pub(crate) fn plan_volumes(
        &mut self,
        i: InstanceId,
        slot: SlotId,
        volumes: Vec<SlotVolume>,
        ctx: &mut Ctx,
    ) {
        if volumes.is_empty() {
            return;
        }
        if let Some(held) = self.slots.get_mut(&(i, slot)) {
            change_volumes(&mut held.record, |all| all.extend(volumes));
        }
        self.touch_slot(i, slot, ctx);
        self.settle_chores(i, slot, ctx);
    }

    /// Makes what is planned, of plain disk of the slot; the caller has seen that it is there.
    pub(crate) fn create_volumes(
        &mut self,
        i: InstanceId,
        slot: SlotId,
        offered: Option<&Reserved>,
        ctx: &mut Ctx,
    ) -> Option<Operation> {
        let name = self.slot_ref(i, slot);
        let held = self.slots.get_mut(&(i, slot))?;
        let planned = held.record.volumes.iter_mut();
        let planned = planned.filter(|volume| volume.state == VolumeState::Planned);
        let number = ctx.operation_number();
        let mut volumes = Vec::new();
        for volume in planned {
            volume.state = VolumeState::Creating;
            volume.number = number;
            volumes.push(VolumeSpec { id: volume.id.clone(), size_mb: volume.size_mb });
        }
        if volumes.is_empty() {
            return None;
        }
        self.touch_slot(i, slot, ctx);
        self.settle_chores(i, slot, ctx);
        self.arm_slot(i, slot, ctx);
        let principal = offered.and_then(|offered| offered.principal.clone());
        Some(Operation::Create { id: create_id(&name, number), slot: name, principal, volumes })
    }

    /// An offer brings volumes of the slot: those are there.
    pub(crate) fn note_volumes(
        &mut self,
        i: InstanceId,
        slot: SlotId,
        offered: &[OfferedVolume],
        ctx: &mut Ctx,
    ) {
        let held = self.slots.get_mut(&(i, slot));
        if held.is_some_and(|held| held.note_volumes(offered)) {
            self.volumes_changed(i, slot, ctx);
        }
    }

    pub(crate) fn volumes_changed(&mut self, i: InstanceId, slot: SlotId, ctx: &mut Ctx) {
        self.touch_slot(i, slot, ctx);
        self.settle_surplus(i, slot, ctx);
        self.settle_chores(i, slot, ctx);
        self.look_at(i, ctx);
        if self.to_resume.contains(&i) {
            ctx.want_offers_now();
        }
    }

    /// See [`Slot::audit_volumes`].
    pub(crate) fn audit_volumes(&mut self, since: UnixMs, ctx: &mut Ctx) {
        let mut changed = Vec::new();
        for ((i, slot), held) in &mut self.slots {
            if held.record.volumes.is_empty() {
                continue;
            }
            let run = self.instances.get(*i as usize).map(|x| &x.record);
            let run = run.filter(|run| run.state.is_live() && run.slot == Some(*slot));
            let mounted = |volume: &SlotVolume| {
                run.is_some_and(|run| {
                    self.configs.get(&run.version).is_none_or(|config| {
                        config.volumes.iter().any(|asked| asked.name == volume.name)
                    })
                })
            };
            let agent = ctx.agents.get(&held.record.agent);
            if held.audit_volumes(agent.is_some_and(|agent| agent.offered_at >= since), mounted) {
                changed.push((*i, *slot));
            }
        }
        for (i, slot) in changed {
            self.volumes_changed(i, slot, ctx);
        }
    }

    /// Makes and destroys volumes of a slot that is offered, or a part of it.
    pub(crate) fn work_on_volumes(
        &mut self,
        i: InstanceId,
        slot: SlotId,
        offered: &Reserved,
        ctx: &mut Ctx,
    ) -> Vec<Operation> {
        let mut operations = Vec::new();
        let Some(held) = self.slots.get(&(i, slot)).filter(|held| !held.is_busy()) else {
            return operations;
        };
        let to_make = held.record.volumes_to_make();
        let there = Amount::new(offered.resources, offered.ports.iter());
        if held.record.state == SlotState::Held && there.covers(&to_make) {
            operations.extend(self.create_volumes(i, slot, Some(offered), ctx));
        }
        if operations.is_empty() {
            operations.extend(self.destroy_volumes(i, slot, offered, ctx));
        }
        operations
    }

    /// Destroys what is to go and is offered.
    fn destroy_volumes(
        &mut self,
        i: InstanceId,
        slot: SlotId,
        offered: &Reserved,
        ctx: &mut Ctx,
    ) -> Option<Operation> {
        let name = self.slot_ref(i, slot);
        let held = self.slots.get_mut(&(i, slot))?;
        let number = ctx.operation_number();
        let volumes = held.take_to_destroy(&offered.volumes, number);
        if volumes.is_empty() {
            return None;
        }
        self.touch_slot(i, slot, ctx);
        self.settle_chores(i, slot, ctx);
        self.arm_slot(i, slot, ctx);
        Some(destroy(&name, number, volumes, offered))
    }

    /// What became of an operation that makes volumes, or destroys them.
    pub(crate) fn volume_update(
        &mut self,
        name: &SlotRef,
        number: u64,
        update: &OperationUpdate,
        ctx: &mut Ctx,
    ) {
        let (i, slot) = (name.instance, name.slot);
        if update.state == OperationState::Gone {
            return self.lose_slot(i, slot, ctx);
        }
        let Some(done) = update.state.outcome() else { return };
        let Some(held) = self.slots.get_mut(&(i, slot)) else { return };
        let failed = update.state == OperationState::Failed;
        let failure = failed.then(|| update.message.as_deref().unwrap_or("no reason given"));
        held.volumes_done(number, done, failure);
        if !held.is_kept() {
            ctx.want_offers_now();
        }
        self.volumes_changed(i, slot, ctx);
    }

    /// Volumes that no version mounts which the instance may still have to run are to go; persistent ones
    /// as their policy says. The decision is durable before anything is done.
    pub(crate) fn drop_volumes(&mut self, i: InstanceId, slot: SlotId, ctx: &mut Ctx) {
        let upgrade = self.upgrade.as_ref().filter(|upgrade| upgrade.is_open());
        let from = upgrade.map(|upgrade| upgrade.record.from);
        let versions = [Some(self.aim(i)), from];
        let keep: Vec<_> =
            versions.iter().flatten().filter_map(|version| self.configs.get(version)).collect();
        let Some(held) = self.slots.get_mut(&(i, slot)).filter(|held| held.is_kept()) else {
            return;
        };
        let is_kept = |volume: &SlotVolume| {
            keep.iter().flat_map(|config| &config.volumes).any(|asked| volume.is_for(asked))
                || (volume.is_persistent()
                    && volume.on_delete == OnDelete::Retain
                    && volume.state != VolumeState::Planned)
        };
        let before = held.record.volumes.clone();
        change_volumes(&mut held.record, |volumes| {
            volumes.retain(|volume| !volume.is_unmade() || is_kept(volume));
            for volume in volumes.iter_mut().filter(|volume| !is_kept(volume)) {
                volume.drop = true;
                if volume.state == VolumeState::Planned {
                    volume.state = VolumeState::Empty;
                }
            }
        });
        if held.record.volumes != before {
            self.stop_fetches(i, slot, ctx);
            self.volumes_changed(i, slot, ctx);
        }
    }

    /// What a launch in the slot mounts; none where a volume is not ready, or not offered.
    pub(crate) fn mounts(
        &self,
        i: InstanceId,
        slot: SlotId,
        config: &JobConfig,
        offered: &Reserved,
    ) -> Option<Vec<Mounted>> {
        let record = &self.slots.get(&(i, slot))?.record;
        let mount = |(asked, volume): (&peloton_model::VolumeConfig, Option<&SlotVolume>)| {
            let volume = volume.filter(|volume| volume.state == VolumeState::Ready)?;
            let one = offered.volumes.iter().find(|one| one.id == volume.id)?;
            Some(Mounted {
                volume: one.clone(),
                container_path: asked.container_path.clone(),
                read_write: asked.is_persistent(),
            })
        };
        record.volumes_of(config).map(mount).collect()
    }

    /// Looks for volumes with which there is something to do.
    pub(crate) fn recount_chores(&mut self, ctx: &mut Ctx) {
        let with = self.slots.iter().filter(|(_, held)| !held.record.volumes.is_empty());
        let with: Vec<_> = with.map(|(key, _)| *key).collect();
        for (i, slot) in with {
            self.settle_chores(i, slot, ctx);
            self.ask_for_fetches(i, slot, ctx);
        }
    }
}

/// The operation that destroys volumes that are offered.
pub(crate) fn destroy(
    name: &SlotRef,
    number: u64,
    volumes: Vec<OfferedVolume>,
    offered: &Reserved,
) -> Operation {
    let reserved = Reserved {
        resources: Resources::default(),
        ports: PortSet::default(),
        volumes,
        ..offered.clone()
    };
    Operation::Destroy { id: destroy_id(name, number), reserved }
}
