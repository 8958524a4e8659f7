//! What has to be so once the faults have ended and time has passed.

use crate::world::{SHARD, World};
use peloton_model::{
    Amount, InstanceRecord, JobId, JobRecord, SlotRecord, SlotState, TaskState, VolumeState,
    decode_record,
};
use peloton_store::keys;
use std::collections::{BTreeMap, BTreeSet};

impl World {
    pub(crate) fn check_converged(&self) {
        let mut expected_tasks = BTreeSet::new();
        let (mut slots, mut volumes) = (BTreeMap::new(), BTreeSet::new());
        for (key, (value, _)) in &self.store {
            match keys::parse(key) {
                Some(keys::ParsedKey::ActualInstance { job, instance, .. }) => {
                    let id = JobId::new(&job).unwrap();
                    let record: InstanceRecord = decode_record(value).unwrap();
                    assert!(
                        self.span(&id) > instance,
                        "{job}/{instance} is still there: {record:?}"
                    );
                    if record.state.is_live() {
                        expected_tasks.insert(record.task_id(&id, instance).to_string());
                    }
                    let settled = !self.upgrade_state(&id).is_mixed();
                    assert!(
                        record.step.is_none() || !settled,
                        "{job}/{instance} has a step left: {record:?}"
                    );
                }
                Some(keys::ParsedKey::ActualSlot { job, instance, slot, .. }) => {
                    let record: SlotRecord = decode_record(value).unwrap();
                    let name = format!("{job}/{instance}/{slot}");
                    for volume in &record.volumes {
                        let ready = volume.state == VolumeState::Ready && !volume.drop;
                        assert!(ready || self.has_trouble(&job, volume), "{name}: {record:?}");
                        if volume.is_made() {
                            volumes.insert(volume.id.clone());
                        }
                    }
                    if record.state == SlotState::Retained {
                        continue;
                    }
                    assert_eq!(record.state, SlotState::Held, "{name}: {record:?}");
                    assert!(record.resize.is_none() && record.reserved.is_none(), "{record:?}");
                    slots.insert(name, record.hold());
                }
                _ => {}
            }
        }
        for (id, record) in &self.desired {
            let state = self.upgrade_state(id);
            let under_way = record.upgrade.is_some() && state.is_active();
            assert!(!under_way, "{id} is being upgraded still: {:?}", self.upgrade_record(id));
            for i in 0..record.span(state) {
                self.check_instance(id, i, record);
            }
        }
        let tasks: BTreeSet<_> = self.mesos.tasks.keys().cloned().collect();
        assert_eq!(tasks, expected_tasks, "tasks in Mesos and in the store");
        let reserved: BTreeMap<_, _> = self
            .mesos
            .agents
            .values()
            .flat_map(|agent| &agent.reserved)
            .map(|(slot, (r, p))| (slot.to_string(), Amount::new(*r, p.iter())))
            .collect();
        assert_eq!(reserved, slots, "reservations in Mesos and slots in the store");
        let there: BTreeSet<_> =
            self.mesos.agents.values().flat_map(|agent| agent.volumes.keys()).cloned().collect();
        assert_eq!(there, volumes, "volumes in Mesos and in the store");
    }

    fn check_instance(&self, id: &JobId, i: u32, desired: &JobRecord) {
        let key = keys::actual_instance(SHARD.0, id.as_str(), i);
        let state = self.upgrade_state(id);
        let record: Option<InstanceRecord> =
            self.store.get(&key).map(|(v, _)| decode_record(v).unwrap());
        if desired.upgrade.is_some() && state.is_mixed() {
            // Where it stopped: whatever runs is of one of the versions; some may have been removed.
            return;
        }
        let batch = id.as_str().starts_with("batch");
        let goal = desired.goals.get(i);
        let ended = [TaskState::Succeeded, TaskState::Failed, TaskState::Killed];
        let current = desired.current(state).version;
        let config = self.config(id, current);
        let bad_volume = |volume: &peloton_model::VolumeConfig| {
            volume.content.as_ref().is_some_and(|content| content.url == "bad")
        };
        // Of one that fits nowhere, as an upgrade let it fail, there may be nothing to tell.
        let fits = config.resource.cpus_limit <= 4.0;
        if record.is_none() && !fits {
            return;
        }
        let record = record.unwrap_or_else(|| panic!("{id}/{i} has no record"));
        let bad = config.command.value == "bad" || config.volumes.iter().any(bad_volume) || !fits;
        let ok = match (batch, goal.stopped) {
            (false, false) if bad => record.state != TaskState::Killed,
            (false, false) => record.state == TaskState::Running && record.version <= current,
            (false, true) => record.state == TaskState::Killed,
            (true, true) => ended.contains(&record.state),
            (true, false) => ended[..2].contains(&record.state),
        };
        assert!(ok, "{id}/{i} with {goal:?} at {current} is {record:?}");
    }
}
