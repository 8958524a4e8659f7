//! The volumes in a slot's record, and how they change with what Mesos tells.

use super::disk;
use crate::input::OfferedVolume;
use crate::slots::{MISSED_SWEEPS, Slot};
use peloton_model::{OnDelete, RunNumber, SlotRecord, SlotState, SlotVolume, UnixMs, VolumeState};

/// Changes the volumes of a slot; what is reserved besides them stays the same.
pub(super) fn change_volumes<T>(
    record: &mut SlotRecord,
    f: impl FnOnce(&mut Vec<SlotVolume>) -> T,
) -> T {
    let reserved = record.reserved();
    let result = f(&mut record.volumes);
    record.set_reserved(reserved);
    result
}

/// A volume has come to be: what was plain disk is its own now.
fn made(record: &mut SlotRecord, index: usize) {
    let reserved = record.reserved();
    let Some(volume) = record.volumes.get_mut(index) else { return };
    let remote = volume.content.is_some();
    volume.state = if remote { VolumeState::Empty } else { VolumeState::Ready };
    volume.number = 0;
    volume.message = None;
    let size = disk(volume.size_mb);
    record.set_reserved(reserved.minus(&size));
}

/// A volume is no more: its disk is plain again.
fn destroyed(record: &mut SlotRecord, index: usize) {
    let reserved = record.reserved();
    let volume = record.volumes.remove(index);
    record.set_reserved(reserved.plus(&disk(volume.size_mb)));
}

impl Slot {
    /// Whether an operation on it is under way that changes what is reserved.
    pub(crate) fn is_busy(&self) -> bool {
        use VolumeState::{Creating, Destroying};
        let works = |volume: &SlotVolume| matches!(volume.state, Creating | Destroying);
        // How much is reserved for one that is given up does not matter any more.
        let resizes = self.is_kept() && self.record.resize.is_some();
        resizes || self.record.volumes.iter().any(works)
    }

    /// Whether something of its volumes is to be done that needs an offer.
    pub(super) fn has_chore(&self, now: UnixMs) -> bool {
        let is_held = self.record.state == SlotState::Held;
        if is_held && self.is_short() {
            return true;
        }
        is_held
            && self.record.volumes.iter().any(|volume| match volume.state {
                VolumeState::Planned => {
                    self.record.resize.is_none()
                        && self.record.reserved().covers(&self.record.hold())
                }
                VolumeState::Empty => volume.drop || now >= self.fill_at,
                VolumeState::Ready => volume.drop,
                VolumeState::Creating | VolumeState::Filling | VolumeState::Destroying => false,
            })
    }

    /// Whether less is reserved for it than it is to hold, although its volumes are there.
    pub(crate) fn is_short(&self) -> bool {
        self.record.is_tied()
            && !self.is_busy()
            && !self.record.reserved().covers(&self.record.hold())
    }

    /// The task that fills a volume of it, by its run.
    pub(crate) fn fetches(&self) -> impl Iterator<Item = RunNumber> + '_ {
        self.record.volumes.iter().filter_map(SlotVolume::fetch)
    }

    /// An offer brings volumes of it: those are there. Whether that was news.
    pub(crate) fn note_volumes(&mut self, offered: &[OfferedVolume]) -> bool {
        let mut news = false;
        for one in offered {
            self.seen_volumes.insert(one.id.clone());
            let known = self.record.volumes.iter().position(|volume| volume.id == one.id);
            if let Some(index) = known.filter(|index| !self.record.volumes[*index].is_made()) {
                made(&mut self.record, index);
                news = true;
            }
        }
        news
    }

    /// Of the volumes that are offered, the ones that are to go: they are being destroyed now.
    pub(crate) fn take_to_destroy(
        &mut self,
        offered: &[OfferedVolume],
        number: u64,
    ) -> Vec<OfferedVolume> {
        let mut taken = Vec::new();
        for one in offered {
            let idle = |volume: &&mut SlotVolume| {
                volume.id == one.id
                    && volume.drop
                    && matches!(volume.state, VolumeState::Empty | VolumeState::Ready)
            };
            if let Some(volume) = self.record.volumes.iter_mut().find(idle) {
                volume.state = VolumeState::Destroying;
                volume.number = number;
                taken.push(one.clone());
            }
        }
        taken
    }

    /// What became of an operation that makes volumes of it, or destroys them.
    pub(crate) fn volumes_done(&mut self, number: u64, done: bool, failure: Option<&str>) {
        let record = &mut self.record;
        let mut index = 0;
        while let Some(volume) = record.volumes.get_mut(index) {
            let state = (volume.number == number).then_some(volume.state);
            match state {
                Some(VolumeState::Creating) if done => made(record, index),
                Some(VolumeState::Creating) => {
                    volume.state = VolumeState::Planned;
                    if let Some(why) = failure {
                        volume.number = 0;
                        volume.message = Some(format!("was not made: {why}"));
                    }
                }
                Some(VolumeState::Destroying) if done => {
                    destroyed(record, index);
                    continue;
                }
                Some(VolumeState::Destroying) => volume.state = VolumeState::Ready,
                _ => {}
            }
            index += 1;
        }
        if !self.is_kept() {
            // What was not made of a slot that is given up is nothing to wait for.
            change_volumes(&mut self.record, |volumes| {
                volumes.retain(|volume| !volume.is_unmade());
                let maybe = |volume: &&mut SlotVolume| volume.state == VolumeState::Planned;
                volumes.iter_mut().filter(maybe).for_each(|one| one.state = VolumeState::Empty);
            });
        }
    }

    /// After a sweep: volumes that are to go, that nothing uses, and that offers of their agent did not bring along
    /// twice in a row, are gone, though Mesos knows nothing (any more) of the operation that destroyed them. Whether
    /// there were any.
    pub(crate) fn audit_volumes(
        &mut self,
        offered: bool,
        mounted: impl Fn(&SlotVolume) -> bool,
    ) -> bool {
        let seen = std::mem::take(&mut self.seen_volumes);
        let missed = |volume: &SlotVolume| {
            let still = matches!(volume.state, VolumeState::Empty | VolumeState::Ready);
            volume.drop && still && !seen.contains(&volume.id) && !mounted(volume)
        };
        if !offered || self.is_busy() || !self.record.volumes.iter().any(missed) {
            self.missed_volumes = 0;
            return false;
        }
        self.missed_volumes += 1;
        if self.missed_volumes < MISSED_SWEEPS {
            return false;
        }
        self.missed_volumes = 0;
        while let Some(index) = self.record.volumes.iter().position(missed) {
            destroyed(&mut self.record, index);
        }
        true
    }

    /// Its volumes become durable decisions as the slot is given up: what is to be kept, stays.
    pub(crate) fn give_up_volumes(&mut self) {
        change_volumes(&mut self.record, |volumes| {
            volumes.retain(|volume| !volume.is_unmade());
            for volume in volumes {
                let kept = volume.is_persistent() && volume.on_delete == OnDelete::Retain;
                volume.drop |= !kept || !volume.is_made();
                if volume.state == VolumeState::Planned {
                    volume.state = VolumeState::Empty;
                }
            }
        });
    }
}
