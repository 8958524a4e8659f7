//! What must hold of a shard after every step. Tests call it after each; it is cheap enough for that.

use crate::instance::Instance;
use crate::job::Job;
use crate::shard::Shard;
use peloton_model::{JobSummary, SlotState, StateCounts, TaskState};
use std::collections::BTreeMap;

impl Shard {
    /// Everything that does not hold, in words; empty in a sound shard.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut releasing = 0;
        for job in self.jobs.values() {
            job.violations(&mut found);
            releasing +=
                job.slots.values().filter(|s| s.record.state == SlotState::Releasing).count();
            let waits = job.waits();
            if waits != self.ctx.demand.lines.contains(&job.id) {
                found.push(format!("{}: waits {waits}, demand says otherwise", job.id));
            }
        }
        if releasing != self.ctx.demand.releasing {
            found.push(format!(
                "{releasing} slots to release, counted {}",
                self.ctx.demand.releasing
            ));
        }
        let mut uses: BTreeMap<_, u32> = BTreeMap::new();
        for slot in self.ctx.retained.values() {
            *uses.entry(&slot.record.agent).or_default() += 1;
        }
        for job in self.jobs.values() {
            for held in job.slots.values() {
                *uses.entry(&held.record.agent).or_default() += 1;
            }
            for x in &job.instances {
                if let Some(agent) = &x.record.agent {
                    *uses.entry(agent).or_default() += 1;
                }
            }
        }
        for (id, agent) in &self.ctx.agents {
            let counted = uses.get(id).copied().unwrap_or(0);
            if counted != agent.uses {
                found.push(format!("agent {id}: {counted} uses, counted {}", agent.uses));
            }
        }
        found
    }
}

impl Job {
    fn violations(&self, found: &mut Vec<String>) {
        let id = &self.id;
        let mut counts = StateCounts::default();
        let mut versions = BTreeMap::new();
        for (i, instance) in self.instances.iter().enumerate() {
            let i = i as u32;
            let record = &instance.record;
            counts.add(record.state);
            if record.state.is_live() {
                *versions.entry(record.version).or_insert(0u32) += 1;
                if record.run == 0 || record.agent.is_none() {
                    found.push(format!("{id}/{i}: {:?} without run or agent", record.state));
                }
                if record.slot.is_some_and(|s| s.0 > record.run) {
                    found.push(format!("{id}/{i}: runs in a slot of a later run"));
                }
            }
            if record.run > self.top_run {
                found.push(format!("{id}/{i}: run {} above the top {}", record.run, self.top_run));
            }
            let waits = record.state == TaskState::Scheduling;
            let lines = [self.to_place.contains(&i), self.to_resume.contains(&i)];
            let expected =
                [waits && self.own_slot(i).is_none(), waits && self.own_slot(i).is_some()];
            if lines != expected {
                found.push(format!("{id}/{i}: {:?} in lines {lines:?}", record.state));
            }
            if instance.dirty {
                found.push(format!("{id}/{i}: changed and not written"));
            }
        }
        let JobSummary { counts: kept, versions: kept_versions, .. } = &self.summary;
        if *kept != counts || *kept_versions != versions {
            found.push(format!(
                "{id}: counts {kept:?} {kept_versions:?}, but {counts:?} {versions:?}"
            ));
        }
        let mut placed = BTreeMap::new();
        let slots = self.slots.values().filter(|held| held.is_kept());
        let agents = slots.map(|held| held.record.agent.clone());
        for agent in agents.chain(self.instances.iter().filter_map(Instance::unslotted_agent)) {
            *placed.entry(agent).or_insert(0u32) += 1;
        }
        if placed != self.placed {
            found.push(format!("{id}: on agents {:?}, but {placed:?}", self.placed));
        }
        for (i, slot) in self.slots.keys() {
            if slot.0 > self.top_run {
                found.push(format!("{id}/{i}: slot {slot} above the top {}", self.top_run));
            }
        }
    }
}
