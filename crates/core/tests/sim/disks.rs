//! The part of the model of Mesos that concerns persistent volumes.

use crate::mesos::{Agent, Mesos, Task, Volume, unused};
use peloton_core::{Fetch, Mounted, OfferedVolume, Reserved, SlotRef, TaskStatus, VolumeSpec};
use peloton_model::{AgentId, Resources};
use std::collections::{BTreeMap, BTreeSet};

impl Mesos {
    pub(crate) fn create(&mut self, id: &AgentId, slot: &SlotRef, one: &VolumeSpec) -> bool {
        let Some(agent) = self.agents.get_mut(id) else { return false };
        let Some(whole) = agent.reserved.get(slot) else { return false };
        let (free, _) = unused(&self.tasks, slot, whole);
        let need = Resources::disk(one.size_mb);
        if !free.fits(&need) || agent.volumes.contains_key(&one.id) {
            return false;
        }
        if let Some(whole) = agent.reserved.get_mut(slot) {
            whole.0 = whole.0.minus(&need);
            if whole.0.is_empty() && whole.1.is_empty() {
                agent.reserved.remove(slot);
            }
        }
        let volume = Volume { slot: slot.clone(), size_mb: one.size_mb, content: None };
        agent.volumes.insert(one.id.clone(), volume);
        true
    }

    pub(crate) fn destroy(&mut self, id: &AgentId, reserved: &Reserved) -> bool {
        let Some(agent) = self.agents.get_mut(id) else { return false };
        let used = |id: &String| self.tasks.values().any(|task| task.volumes.contains(id));
        if !reserved.volumes.iter().all(|one| agent.volumes.contains_key(&one.id) && !used(&one.id))
        {
            return false;
        }
        for one in &reserved.volumes {
            if let Some(volume) = agent.volumes.remove(&one.id) {
                let whole = agent.reserved.entry(volume.slot).or_default();
                whole.0 = whole.0.plus(&Resources::disk(volume.size_mb));
            }
        }
        true
    }

    /// Whether the volumes are there and free; what is mounted to be read has to be filled.
    pub(crate) fn mount(&mut self, id: &str, agent: &AgentId, volumes: &[Mounted]) -> bool {
        for one in volumes {
            let volume = self.agents.get(agent).and_then(|a| a.volumes.get(&one.volume.id));
            let used = self.tasks.values().any(|task| task.volumes.contains(&one.volume.id));
            let Some(volume) = volume.filter(|volume| volume.slot == one.volume.slot && !used)
            else {
                return false;
            };
            if !one.read_write && volume.content.is_none() {
                self.problems.push(format!("{id} mounts {} before it is filled", one.volume.id));
            }
        }
        true
    }

    pub(crate) fn start_fetch(&mut self, id: &str, fetch: &Fetch) -> bool {
        if !self.mount(id, &fetch.agent, std::slice::from_ref(&fetch.volume)) {
            return false;
        }
        let Some(agent) = self.agents.get_mut(&fetch.agent).filter(|a| a.reachable) else {
            return false;
        };
        let slot = fetch.slot.as_ref().map(|(slot, _)| slot.clone());
        if let Some(slot) = &slot {
            let Some(whole) = agent.reserved.get(slot) else { return false };
            if !unused(&self.tasks, slot, whole).0.fits(&fetch.resources) {
                return false;
            }
        } else if agent.free.fits(&fetch.resources) {
            agent.free = agent.free.minus(&fetch.resources);
        } else {
            return false;
        }
        if let Some(volume) = agent.volumes.get_mut(&fetch.volume.volume.id) {
            volume.content = None;
        }
        let task = Task {
            agent: fetch.agent.clone(),
            volumes: vec![fetch.volume.volume.id.clone()],
            fetches: Some(fetch.content.url.clone()),
            slot,
            resources: fetch.resources,
            ports: Vec::new(),
            status: TaskStatus::Staging,
            grace_over: false,
            bad: fetch.content.url.contains("bad"),
        };
        self.tasks.insert(id.to_owned(), task);
        true
    }
}

/// The reservations of an agent as they are offered.
pub(crate) fn reserved_of(agent: &Agent, tasks: &BTreeMap<String, Task>) -> Vec<Reserved> {
    let slots: BTreeSet<_> = agent
        .reserved
        .keys()
        .chain(agent.volumes.values().map(|volume| &volume.slot))
        .cloned()
        .collect();
    let used = |id: &String| tasks.values().any(|task| task.volumes.contains(id));
    let reserved = slots.into_iter().map(|slot| {
        let whole = agent.reserved.get(&slot).cloned().unwrap_or_default();
        let (resources, ports) = unused(tasks, &slot, &whole);
        let volumes = agent.volumes.iter().filter(|(id, one)| one.slot == slot && !used(id));
        let volumes = volumes
            .map(|(id, one)| OfferedVolume {
                id: id.clone(),
                size_mb: one.size_mb,
                principal: None,
                slot: one.slot.clone(),
                reserver: None,
            })
            .collect();
        Reserved { slot, role: "peloton/0".into(), principal: None, resources, ports, volumes }
    });
    reserved
        .filter(|one| !one.resources.is_empty() || !one.ports.is_empty() || !one.volumes.is_empty())
        .collect()
}
