//! Upgrades: users who ask for them as the API would write it, and the promise that is checked at every
//! write.

use crate::world::{SHARD, World};
use peloton_model::job::{JobConfig, PortConfig};
use peloton_model::{
    Abort, Amount, ConfigRecord, Health, InstanceRecord, JobId, KillReason, SlotRecord, SlotState,
    TaskState, UpgradeAsk, UpgradeOptions, UpgradeRecord, UpgradeState, decode_record,
};
use peloton_store::Op;
use peloton_store::keys::{self, ParsedKey};

impl World {
    pub(crate) fn upgrade_record(&self, id: &JobId) -> Option<UpgradeRecord> {
        let record = self.desired.get(id)?;
        let mark = record.upgrade.as_ref()?.mark;
        let key = keys::actual_upgrade(SHARD.0, id.as_str(), record.version);
        let stored: UpgradeRecord = decode_record(&self.store.get(&key)?.0).unwrap();
        (stored.mark == mark).then_some(stored)
    }

    pub(crate) fn upgrade_state(&self, id: &JobId) -> UpgradeState {
        self.upgrade_record(id).map_or(UpgradeState::RollingForward, |record| record.state)
    }

    pub(crate) fn span(&self, id: &JobId) -> u32 {
        self.desired.get(id).map_or(0, |record| record.span(self.upgrade_state(id)))
    }

    pub(crate) fn config(&self, id: &JobId, version: u64) -> JobConfig {
        let key = keys::desired_config(SHARD.0, id.as_str(), version);
        let record: ConfigRecord = decode_record(&self.store[&key].0).unwrap();
        (*record.config).clone()
    }

    pub(crate) fn upgrade(&mut self, id: &JobId) {
        let Some(mut record) = self.desired.get(id).cloned() else { return };
        let state = self.upgrade_state(id);
        let replaces = record.upgrade.is_some() && state.is_active();
        if id.as_str().starts_with("batch") || (replaces && self.draw(4) > 0) {
            return;
        }
        let proven = record.proven(state);
        let mut config = self.config(id, proven.version);
        config.command.value = if self.draw(3) == 0 { "bad" } else { "good" }.to_owned();
        config.resource.cpus_limit = [0.5, 1.0, 2.0][self.draw(3) as usize];
        config.resource.mem_limit_mb = [32.0, 64.0][self.draw(2) as usize];
        config.resource.disk_limit_mb = [8.0, 16.0, 24.0][self.draw(3) as usize];
        if self.draw(12) == 0 {
            config.resource.cpus_limit = 100.0;
        }
        let port = |i| PortConfig { name: format!("p{i}"), ..Default::default() };
        config.ports = (0..self.draw(4)).map(port).collect();
        self.change_volumes(&mut config);
        if self.draw(3) == 0 {
            config.instance_count = 1 + self.draw(4) as u32;
        }
        if self.draw(3) == 0 {
            config.sla.minimum_instance_count = self.draw(u64::from(proven.instance_count)) as u32;
        }
        let options = UpgradeOptions {
            batch_size: self.draw(4) as u32,
            stop_before_upgrade: self.draw(5) == 0,
            max_instance_retries: self.draw(2) as u32,
            max_failed_instances: u32::from(self.draw(5) == 0),
            health_deadline_secs: 20 + self.draw(100),
            min_healthy_secs: self.draw(10),
            placement_deadline_secs: 20 + self.draw(100),
            rollback_on_failure: self.draw(6) > 0,
            ..Default::default()
        };
        record.generation += 1;
        record.version = record.next_version();
        record.top_version = record.version;
        record.instance_count = config.instance_count;
        record.upgrade = Some(Box::new(UpgradeAsk {
            mark: self.draw(1 << 32) as u32,
            from: proven.version,
            from_count: proven.instance_count,
            options,
            paused: self.draw(10) == 0,
            ..Default::default()
        }));
        self.put_config(id, record.version, config);
        self.put_job(id, record);
    }

    pub(crate) fn control(&mut self, id: &JobId) {
        let Some(mut record) = self.desired.get(id).cloned() else { return };
        let state = self.upgrade_state(id);
        let what = self.draw(5);
        let back = self.upgrade_record(id).is_some_and(|upgrade| upgrade.back);
        let Some(ask) = record.upgrade.as_deref_mut() else { return };
        match what {
            0 if state.is_active() => ask.paused = true,
            1 if state.is_active() => ask.paused = false,
            2 | 3 if (state.is_active() && !back) || state.is_mixed() => {
                (ask.rollback, ask.paused, ask.abort) = (true, false, None);
            }
            4 if state.is_active() => ask.abort = Some(Abort::Soft),
            _ if state.is_active() && self.draw(3) == 0 => {
                if let Some(ask) = record.upgrade.as_deref_mut() {
                    ask.abort = Some(Abort::Hard);
                }
            }
            _ => return,
        }
        record.generation += 1;
        self.put_job(id, record);
    }

    /// Nobody would resume what is paused.
    pub(crate) fn resume_all(&mut self) {
        for (id, mut record) in self.desired.clone() {
            if let Some(ask) = record.upgrade.as_deref_mut().filter(|ask| ask.paused) {
                ask.paused = false;
                record.generation += 1;
                self.put_job(&id, record);
            }
        }
    }

    /// The promise: until an upgrade has succeeded, durably, what the version before needs stays reserved on
    /// its agent; and no more instances are ended than the SLA allows.
    pub(crate) fn check_promise(&self, op: &Op) {
        let Op::Put { key, value, .. } = op else { return };
        match keys::parse(key) {
            Some(ParsedKey::ActualSlot { job, instance, slot, .. }) => {
                let id = JobId::new(&job).unwrap();
                if slot.parse::<u64>().unwrap() <= self.shard_floor(&id) {
                    return;
                }
                let Some((old, _)) = self.store.get(key) else { return };
                let (old, new): (SlotRecord, SlotRecord) =
                    (decode_record(old).unwrap(), decode_record(value).unwrap());
                self.check_slot(&id, instance, &old, &new);
            }
            Some(ParsedKey::ActualInstance { job, instance, .. }) => {
                let id = JobId::new(&job).unwrap();
                let Some((old, _)) = self.store.get(key) else { return };
                let (old, new): (InstanceRecord, InstanceRecord) =
                    (decode_record(old).unwrap(), decode_record(value).unwrap());
                let killed = |x: &InstanceRecord| {
                    x.killing.is_some_and(|killing| killing.reason == KillReason::Upgrade)
                };
                if is_up(&old) && !killed(&old) && killed(&new) {
                    self.check_sla(&id, instance);
                }
            }
            _ => {}
        }
    }

    fn check_slot(&self, id: &JobId, i: u32, old: &SlotRecord, new: &SlotRecord) {
        let Some(record) = self.desired.get(id).filter(|record| record.upgrade.is_some()) else {
            return;
        };
        let state = self.upgrade_state(id);
        let from_count = record.upgrade.as_ref().map_or(0, |ask| ask.from_count);
        let open = state.is_active() || state.is_mixed();
        let base = old.made_for == 0 && old.state == SlotState::Held;
        // A user's deletion or the like may not have been seen when this was decided.
        if !open || !base || i >= from_count || self.upgrade_record(id).is_none() {
            return;
        }
        if new.state == SlotState::Retained {
            // Somebody took the reservation while its volumes were being made.
            assert!(self.suspicious.contains(&old.agent), "{id}/{i}: the slot goes: {new:?}");
            return;
        }
        let same = (old.resources, &old.ports) == (new.resources, &new.ports);
        assert!(same, "{id}/{i}: what the version before needs is changed: {old:?} {new:?}");
        if new.state == SlotState::Releasing {
            let agent = self.mesos.agents.get(&old.agent);
            let lost = agent.is_none_or(|agent| !agent.reachable);
            let was_lost = self.suspicious.contains(&old.agent);
            assert!(lost || was_lost, "{id}/{i}: the slot of the version before goes: {new:?}");
        }
        self.check_old_volumes(id, i, old, new);
    }

    fn check_sla(&self, id: &JobId, i: u32) {
        let Some(upgrade) = self.upgrade_record(id) else { return };
        let Some(record) = self.desired.get(id) else { return };
        let Some(ask) = record.upgrade.as_deref() else { return };
        if upgrade.back || !upgrade.state.is_active() || ask.options.stop_before_upgrade {
            return;
        }
        let minimum = |version, count| self.config(id, version).sla.minimum(count);
        let old = minimum(ask.from, ask.from_count);
        let minimum = old.min(minimum(record.version, record.instance_count));
        let (from, to) = (0, 1000);
        let range = keys::actual_instances_between(SHARD.0, id.as_str(), from, to);
        let up = self
            .store
            .iter()
            .filter(|(key, _)| range.contains(key))
            .filter(|(_, (value, _))| is_up(&decode_record(value).unwrap()))
            .count() as u32;
        assert!(up > minimum, "{id}/{i} is ended, although {up} are up and {minimum} have to be");
    }

    /// What Mesos has for every slot that is held covers what the version in force needs.
    pub(crate) fn check_held(&self) {
        for (key, (value, _)) in &self.store {
            let Some(ParsedKey::ActualSlot { job, instance, slot, .. }) = keys::parse(key) else {
                continue;
            };
            let record: SlotRecord = decode_record(value).unwrap();
            let Some(agent) = self.mesos.agents.get(&record.agent) else { continue };
            // An instance that an upgrade has let fail may get what it lacks only now.
            let grows = record.resize.is_some();
            if record.state != SlotState::Held || grows || self.suspicious.contains(&record.agent) {
                continue;
            }
            let name = peloton_core::SlotRef {
                job: JobId::new(&job).unwrap(),
                instance,
                slot: peloton_model::SlotId(slot.parse().unwrap()),
            };
            let there = agent.reserved.get(&name);
            let there = there.map(|(r, p)| Amount::new(*r, p.iter())).unwrap_or_default();
            let need = Amount::new(record.resources, record.ports.iter().copied());
            for volume in record.volumes.iter().filter(|volume| volume.is_made() && !volume.drop) {
                let there = agent.volumes.contains_key(&volume.id);
                assert!(there, "{name}: Mesos does not have {volume:?}");
            }
            assert!(there.covers(&need), "{name}: {there:?} is reserved, {record:?} is needed");
        }
    }
}

fn is_up(record: &InstanceRecord) -> bool {
    record.state == TaskState::Running
        && record.health == Health::Disabled
        && record.killing.is_none()
        && record.unreachable_since.is_none()
}
