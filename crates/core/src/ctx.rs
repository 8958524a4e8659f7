//! What every part of a shard shares during a step: settings, the time, timers, and the output.

use crate::demand::Demand;
use crate::output::{Effect, Write};
use crate::shard::Settings;
use peloton_model::{AgentId, AgentRecord, InstanceId, JobId, SlotId, UnixMs};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Something to look at again at a time. A timer that is no longer needed does no harm: what it
/// names is looked at, and nothing is due.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// Back-off, overdue launches, kills and partitions of an instance.
    Instance(JobId, InstanceId),
    /// A slot of which Mesos has not told whether it is there.
    Slot(JobId, InstanceId, SlotId),
    /// Tasks that Mesos has not answered for.
    Reconcile,
    /// Wanting offers, or no longer.
    Demand,
    /// Forgetting deleted jobs.
    Forget,
}

/// An agent that the shard has seen or has something on.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) record: Arc<AgentRecord>,
    /// Slots and live runs on it; its record is stored while there are any.
    pub(crate) uses: u32,
    pub(crate) stored: bool,
    pub(crate) dirty: bool,
    /// When its tasks became unreachable.
    pub(crate) unreachable_since: Option<UnixMs>,
}

#[derive(Debug)]
pub(crate) struct Ctx {
    pub(crate) settings: Settings,
    pub(crate) now: UnixMs,
    pub(crate) connected: bool,
    pub(crate) timers: BTreeSet<(UnixMs, Timer)>,
    pub(crate) agents: BTreeMap<AgentId, Agent>,
    pub(crate) dirty_agents: Vec<AgentId>,
    pub(crate) dirty_jobs: BTreeSet<JobId>,
    pub(crate) demand: Demand,
    pub(crate) writes: Vec<Write>,
    pub(crate) effects: Vec<Effect>,
}

impl Ctx {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            now: 0,
            connected: false,
            timers: BTreeSet::new(),
            agents: BTreeMap::new(),
            dirty_agents: Vec::new(),
            dirty_jobs: BTreeSet::new(),
            demand: Demand::default(),
            writes: Vec::new(),
            effects: Vec::new(),
        }
    }

    pub(crate) fn arm(&mut self, at: UnixMs, timer: Timer) {
        self.timers.insert((at, timer));
    }

    /// An effect for Mesos; without a connection it would be lost anyway, and what it was for is
    /// derived again after the next subscription.
    pub(crate) fn effect(&mut self, effect: Effect) {
        if self.connected {
            self.effects.push(effect);
        }
    }

    /// Notes what an offer tells of an agent.
    pub(crate) fn see_agent(&mut self, id: &AgentId, record: &Arc<AgentRecord>) {
        match self.agents.get_mut(id) {
            Some(agent) => {
                agent.unreachable_since = None;
                if agent.record != *record {
                    agent.record = record.clone();
                    if agent.stored {
                        agent.stored = false;
                        self.touch_agent(id);
                    }
                }
            }
            None => {
                let agent = Agent {
                    record: record.clone(),
                    uses: 0,
                    stored: false,
                    dirty: false,
                    unreachable_since: None,
                };
                self.agents.insert(id.clone(), agent);
            }
        }
    }

    pub(crate) fn use_agent(&mut self, id: &AgentId) {
        let agent = self.agents.entry(id.clone()).or_insert_with(|| Agent {
            record: Arc::default(),
            uses: 0,
            stored: false,
            dirty: false,
            unreachable_since: None,
        });
        agent.uses += 1;
        self.touch_agent(id);
    }

    pub(crate) fn leave_agent(&mut self, id: &AgentId) {
        if let Some(agent) = self.agents.get_mut(id) {
            agent.uses = agent.uses.saturating_sub(1);
            if agent.uses == 0 {
                self.touch_agent(id);
            }
        }
    }

    fn touch_agent(&mut self, id: &AgentId) {
        if let Some(agent) = self.agents.get_mut(id)
            && !agent.dirty
        {
            agent.dirty = true;
            self.dirty_agents.push(id.clone());
        }
    }

    /// Writes the records of agents that came into use or went out of it.
    pub(crate) fn flush_agents(&mut self) {
        for id in std::mem::take(&mut self.dirty_agents) {
            let Some(agent) = self.agents.get_mut(&id) else { continue };
            agent.dirty = false;
            let wanted = agent.uses > 0;
            if wanted && !agent.stored && *agent.record != AgentRecord::default() {
                agent.stored = true;
                self.writes.push(Write::Agent(id, Some(agent.record.clone())));
            } else if !wanted && agent.stored {
                agent.stored = false;
                self.writes.push(Write::Agent(id, None));
            }
        }
    }
}
