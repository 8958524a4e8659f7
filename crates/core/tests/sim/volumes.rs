//! Volumes: what users ask for, and what may never become of them.

use crate::world::{SHARD, World};
use peloton_core::{Accept, Operation};
use peloton_model::job::JobConfig;
use peloton_model::{
    Content, JobId, OnDelete, SlotRecord, SlotVolume, VolumeConfig, VolumeState, decode_record,
};
use peloton_store::keys;

fn persistent(name: &str, on_delete: OnDelete) -> VolumeConfig {
    let (name, container_path) = (name.to_owned(), name.to_owned());
    VolumeConfig { name, container_path, size_mb: 10, on_delete, ..Default::default() }
}

fn remote(name: &str, url: &str) -> VolumeConfig {
    let content = Content { url: url.to_owned(), ..Default::default() };
    VolumeConfig { content: Some(content), ..persistent(name, OnDelete::Retain) }
}

/// The volumes of a job's first configuration: one has all kinds, one none.
pub(crate) fn volumes(id: &JobId) -> Vec<VolumeConfig> {
    match id.as_str() {
        "service-a" => vec![
            persistent("kept", OnDelete::Retain),
            persistent("gone", OnDelete::Delete),
            remote("data", "first"),
        ],
        _ => Vec::new(),
    }
}

impl World {
    /// Another content, one that can not be fetched, one more volume or one less.
    pub(crate) fn change_volumes(&mut self, config: &mut JobConfig) {
        match self.draw(8) {
            0 | 1 => {
                let url = format!("url-{}", self.draw(4));
                config.volumes.retain(|volume| volume.name != "data");
                config.volumes.push(remote("data", &url));
            }
            2 => {
                config.volumes.retain(|volume| volume.name != "data");
                config.volumes.push(remote("data", "bad"));
            }
            3 => config.volumes.retain(|volume| volume.content.is_none()),
            4 if config.volumes.iter().all(|volume| volume.name != "more") => {
                let policy = if self.draw(2) == 0 { OnDelete::Retain } else { OnDelete::Delete };
                config.volumes.push(persistent("more", policy));
            }
            5 => config.volumes.retain(|volume| volume.name != "more"),
            _ => {}
        }
    }

    /// No volume is destroyed without a durable decision.
    pub(crate) fn check_destroyed(&self, accept: &Accept) {
        for operation in &accept.operations {
            let Operation::Destroy { reserved, .. } = operation else { continue };
            let slot = &reserved.slot;
            let key = keys::actual_slot(
                SHARD.0,
                slot.job.as_str(),
                slot.instance,
                &slot.slot.to_string(),
            );
            let record: Option<SlotRecord> =
                self.store.get(&key).map(|(value, _)| decode_record(value).unwrap());
            for one in &reserved.volumes {
                let volumes = record.iter().flat_map(|record| &record.volumes);
                let decided = volumes.filter(|volume| volume.id == one.id).all(|one| one.drop);
                assert!(decided, "{} is destroyed, and {record:?} does not say so", one.id);
            }
        }
    }

    /// What the version before mounts does not go while it may be asked for; nor what belongs to an instance,
    /// as long as there is one.
    pub(crate) fn check_old_volumes(&self, id: &JobId, i: u32, old: &SlotRecord, new: &SlotRecord) {
        let Some(record) = self.desired.get(id) else { return };
        let Some(ask) = record.upgrade.as_ref().filter(|ask| i < ask.from_count) else { return };
        let from = self.config(id, ask.from);
        for (asked, volume) in old.volumes_of(&from) {
            let Some(volume) = volume.filter(|volume| volume.state == VolumeState::Ready) else {
                continue;
            };
            let kept = new.volumes.iter().any(|one| one.id == volume.id && !one.drop);
            let agent = self.mesos.agents.get(&old.agent);
            let lost = agent.is_none_or(|agent| !agent.reachable);
            let lost = lost || self.suspicious.contains(&old.agent);
            assert!(kept || lost, "{id}/{i}: {asked:?} of the version before goes: {new:?}");
        }
    }

    /// Whether it is a volume of a job that never can have it filled.
    pub(crate) fn has_trouble(&self, job: &str, volume: &SlotVolume) -> bool {
        let bad = volume.content.as_ref().is_some_and(|content| content.url == "bad");
        let id = JobId::new(job).unwrap();
        // Where an upgrade stopped half way, what it did not get to is left as it is.
        (bad || self.upgrade_state(&id).is_mixed()) && self.desired.contains_key(&id)
    }
}
