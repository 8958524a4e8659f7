//! What users ask of volumes: to destroy one, to give a slot up for whose volumes an instance waits, to go on with
//! volumes that were kept. What has become impossible since it was asked is let go: the record says what is so.

use crate::ctx::Ctx;
use crate::input::{Reserved, SlotRef};
use crate::instance::Want;
use crate::job::Job;
use crate::output::Write;
use crate::shard::Shard;
use crate::slots::slots_of;
use crate::volumes::missing_volumes;
use peloton_model::{
    InstanceId, JobId, SlotId, SlotRecord, SlotState, SlotVolume, TaskState, VolumeAsk, VolumeWish,
};

impl Shard {
    pub(crate) fn volume_asked(&mut self, ask: &VolumeAsk) {
        let name = &ask.slot;
        let SlotRef { job, instance, slot } = name;
        let held = self.jobs.get_mut(job).filter(|job| job.slots.contains_key(&(*instance, *slot)));
        match (&ask.what, held) {
            (VolumeWish::Delete(id), Some(job)) => {
                job.delete_volume(*instance, *slot, id, &mut self.ctx);
            }
            (VolumeWish::Delete(id), None) => self.change_retained(name, |slot| {
                let volumes = slot.record.volumes.iter_mut();
                volumes.filter(|one| one.id == *id).for_each(|one| one.drop = true);
            }),
            (VolumeWish::Release, Some(job)) => {
                job.give_slot_up(*instance, *slot, &ask.by, &mut self.ctx);
            }
            (VolumeWish::Adopt(job, instance), None) => self.adopt(name, job, *instance),
            (VolumeWish::Release, None) | (VolumeWish::Adopt(..), Some(_)) => {}
        }
        // After what it led to, so that it is not forgotten before that is durable.
        let done = ask.name();
        self.ctx.asked.push(done);
    }

    /// What was asked is written last of a step.
    pub(crate) fn answer_asks(&mut self) {
        for name in std::mem::take(&mut self.ctx.asked) {
            self.ctx.writes.push(Write::VolumeAsked(name));
        }
    }

    /// An instance that has no place of its own goes on with volumes that were kept of an earlier one.
    fn adopt(&mut self, name: &SlotRef, job: &JobId, i: InstanceId) {
        let Some(job) = self.jobs.get_mut(job) else { return };
        let id = job.id.clone();
        let idle = job.instances.get(i as usize).is_some_and(|x| !x.record.state.is_live());
        let placed = job.slots.range(slots_of(i)).any(|(_, s)| s.is_kept());
        if !idle || placed || matches!(job.want(i), Want::Nothing) {
            return;
        }
        let Some(kept) = self.ctx.retained.get(name) else { return };
        if kept.is_busy() || kept.record.volumes.iter().any(|volume| volume.drop) {
            return;
        }
        let record = kept.record.clone();
        self.forget_retained(name);
        if let Some(job) = self.jobs.get_mut(&id) {
            job.take_over(i, name, record, &mut self.ctx);
        }
    }
}

impl Ctx {
    /// Remembers under which labels volumes of a slot are offered, where those are not its own.
    pub(crate) fn note_adopted(&mut self, name: &SlotRef, record: &SlotRecord) {
        for labels in record.volumes.iter().filter_map(|volume| volume.labels.as_ref()) {
            self.adopted.insert(labels.clone(), name.clone());
        }
    }

    /// Volumes that are offered under the labels of the slot where they were made go to the slot that has them now.
    pub(crate) fn attribute(&self, all: Vec<Reserved>) -> Vec<Reserved> {
        if self.adopted.is_empty() {
            return all;
        }
        let mut out: Vec<Reserved> = Vec::with_capacity(all.len());
        let mut moved = Vec::new();
        for mut one in all {
            if let Some(owner) = self.adopted.get(&one.slot)
                && !one.volumes.is_empty()
            {
                let volumes = std::mem::take(&mut one.volumes);
                moved.push((owner.clone(), volumes, one.clone()));
            }
            if !one.resources.is_empty() || !one.ports.is_empty() || !one.volumes.is_empty() {
                out.push(one);
            }
        }
        for (slot, volumes, one) in moved {
            match out.iter_mut().find(|other| other.slot == slot) {
                Some(other) => other.volumes.extend(volumes),
                None => out.push(Reserved {
                    slot,
                    resources: Default::default(),
                    ports: Default::default(),
                    volumes,
                    ..one
                }),
            }
        }
        out
    }
}

impl Job {
    /// A volume of a slot is to be destroyed. One that its instance mounts goes with the whole slot, and only while
    /// the instance does not run.
    fn delete_volume(&mut self, i: InstanceId, slot: SlotId, id: &str, ctx: &mut Ctx) {
        let aim = self.configs.get(&self.aim(i)).cloned();
        let open = self.upgrade.as_ref().is_some_and(|upgrade| upgrade.is_open());
        let in_use = self.in_use(i, slot);
        let Some(held) = self.slots.get_mut(&(i, slot)) else { return };
        let Some(volume) = held.record.volumes.iter_mut().find(|volume| volume.id == id) else {
            return;
        };
        let mounts = |volume: &SlotVolume| {
            aim.is_none_or(|aim| aim.volumes.iter().any(|asked| volume.is_for(asked)))
        };
        let needed = open || mounts(volume);
        if needed && (open || in_use) {
            return;
        }
        volume.drop = true;
        if needed {
            self.leave_slot(i, slot, "a volume of its slot was deleted; it is placed anew", ctx);
        } else {
            self.volumes_changed(i, slot, ctx);
        }
    }

    /// Gives a slot up for whose volumes an instance waits.
    fn give_slot_up(&mut self, i: InstanceId, slot: SlotId, by: &str, ctx: &mut Ctx) {
        let Some(instance) = self.instances.get(i as usize) else { return };
        let away = instance.record.unreachable_since.is_some();
        let why = format!("its slot was released by {by}; it is placed anew");
        if !self.in_use(i, slot) {
            self.leave_slot(i, slot, &why, ctx);
        } else if away {
            self.give_up_on(i, &why, ctx);
        }
    }

    fn leave_slot(&mut self, i: InstanceId, slot: SlotId, why: &str, ctx: &mut Ctx) {
        self.release_slot(i, slot, ctx);
        if self.instances.get(i as usize).is_some_and(|x| x.record.slot == Some(slot)) {
            self.update(i, ctx, |instance| {
                instance.record.slot = None;
                if instance.record.state == TaskState::Scheduling {
                    instance.record.message = Some(why.into());
                }
            });
            self.line_up(i, ctx);
        }
    }

    /// A slot of the volumes that were kept of another one; what is to be reserved besides is missing as yet.
    fn take_over(&mut self, i: InstanceId, from: &SlotRef, kept: SlotRecord, ctx: &mut Ctx) {
        let Some(config) = self.configs.get(&self.aim(i)).cloned() else { return };
        let slot = SlotId(self.next_run(i));
        let mut record =
            SlotRecord::new(kept.agent, config.resource.scalars(), Vec::new(), ctx.now);
        record.state = SlotState::Held;
        record.ports =
            config.ports.iter().map(|port| u16::try_from(port.value).unwrap_or(0)).collect();
        record.volumes = kept.volumes;
        for volume in &mut record.volumes {
            volume.labels.get_or_insert_with(|| from.clone());
        }
        let missing = missing_volumes(&record, &self.slot_ref(i, slot), &config, ctx);
        record.volumes.extend(missing);
        record.set_reserved(peloton_model::Amount::default());
        self.update(i, ctx, |x| {
            x.record.fetched = x.record.fetched.max(slot.0);
            x.record.slot = Some(slot);
        });
        ctx.note_adopted(&self.slot_ref(i, slot), &record);
        self.add_slot(i, slot, record, ctx);
        self.line_up(i, ctx);
        self.volumes_changed(i, slot, ctx);
    }
}
