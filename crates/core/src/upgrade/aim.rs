//! Which version an instance is to run, and in which of its slots.

use crate::ctx::Ctx;
use crate::job::Job;
use peloton_model::{InstanceId, Stage, Version};

impl Job {
    /// The version that an instance is to run.
    pub(crate) fn aim(&self, i: InstanceId) -> Version {
        let Some(upgrade) = self.upgrade.as_ref().filter(|upgrade| upgrade.is_open()) else {
            return self.version();
        };
        let proven = upgrade.record.from;
        let aim = self.step(i).map_or(proven, |step| step.aim(proven));
        if self.configs.contains_key(&aim) { aim } else { proven }
    }

    /// The instance count of a version.
    pub(crate) fn count_of(&self, version: Version) -> u32 {
        match &self.upgrade {
            Some(upgrade) if upgrade.record.from == version => upgrade.ask.from_count,
            Some(upgrade) if upgrade.record.to == version => upgrade.to_count,
            _ if self.desired.as_ref().is_some_and(|d| d.record.version == version) => {
                self.desired.as_ref().map_or(0, |d| d.record.instance_count)
            }
            _ => self.configs.get(&version).map_or(0, |config| config.instance_count),
        }
    }

    /// Whether an instance that is not to run has to keep its slots: a rollback would bring it back.
    pub(crate) fn may_come_back(&self, i: InstanceId) -> bool {
        let upgrade = self.upgrade.as_ref().filter(|upgrade| upgrade.is_open());
        upgrade.is_some_and(|upgrade| i < upgrade.ask.from_count)
    }

    /// Whether an instance waits until all others have ended.
    pub(crate) fn is_halted(&self, i: InstanceId) -> bool {
        let upgrade = self.upgrade.as_ref().filter(|upgrade| upgrade.is_active());
        let to = upgrade.map(|upgrade| upgrade.record.to);
        self.step(i).is_some_and(|step| step.stage == Stage::Halted && Some(step.to) == to)
    }

    /// Whether an instance's run is of a version that it may have. Versions up to the proven one differ from
    /// it in nothing that a run depends on; those above were never proven.
    pub(crate) fn suits(&self, i: InstanceId) -> bool {
        let Some(instance) = self.instances.get(i as usize) else { return true };
        let (run, aim) = (instance.record.version, self.aim(i));
        // Left over from an upgrade that went back while its agent was away.
        let left = instance.record.step.as_deref().is_some_and(|step| {
            matches!(step.stage, Stage::Back | Stage::Returned) && step.to == run
        });
        if left {
            return false;
        }
        let open = self.upgrade.as_ref().filter(|upgrade| upgrade.is_open());
        let is_new = open.is_some_and(|upgrade| aim > upgrade.record.from);
        if is_new { run == aim } else { run <= aim }
    }

    /// Puts an instance that does not run into the slot of the version that it is to run.
    pub(crate) fn seat(&mut self, i: InstanceId, ctx: &mut Ctx) {
        let Some(instance) = self.instances.get(i as usize) else { return };
        let Some(step) = instance.record.step.as_deref() else { return };
        if instance.record.state.is_live() {
            return;
        }
        let (own, home, next) = (instance.record.slot, step.home, step.next);
        let kept = |slot| self.slots.get(&(i, slot)).is_some_and(|held| held.is_kept());
        match step.stage {
            Stage::Switch | Stage::Proven | Stage::Failed => {
                let Some(next) = next.filter(|next| own != Some(*next) && kept(*next)) else {
                    return;
                };
                let leaves = home.is_some().then_some(own).flatten();
                self.update(i, ctx, |instance| {
                    instance.record.slot = Some(next);
                    if let Some(step) = instance.record.step.as_deref_mut() {
                        step.home = home.or(own);
                    }
                });
                // Neither the one to return to, nor the one to go on in.
                if let Some(slot) = leaves.filter(|slot| home != Some(*slot)) {
                    self.release_slot(i, slot, ctx);
                }
            }
            Stage::Back | Stage::Returned => {
                let seat = home.filter(|home| kept(*home));
                #[cfg(feature = "planted-bugs")]
                let seat = seat.filter(|_| ctx.settings.bug != Some(crate::Bug::ForgetHome));
                // Where there was none to return to, one that was made for the new version does not serve.
                let foreign = own.filter(|own| {
                    self.slots.get(&(i, *own)).is_some_and(|x| x.record.made_for > 0)
                });
                if seat.is_none() && foreign.is_none() {
                    return;
                }
                self.update(i, ctx, |instance| {
                    instance.record.slot = seat;
                    if let Some(step) = instance.record.step.as_deref_mut() {
                        (step.home, step.next) = (None, own.filter(|_| seat.is_some()));
                    }
                });
                if let Some(slot) = foreign.filter(|_| seat.is_none()) {
                    self.release_slot(i, slot, ctx);
                }
            }
            Stage::Prepare | Stage::Unplaced | Stage::Halted => {}
        }
    }
}
