//! What every part of a shard shares during a step: settings, the time, timers, and the output.

use crate::demand::Demand;
use crate::input::SlotRef;
use crate::output::{Effect, Write};
use crate::shard::Settings;
use crate::slots::Slot;
use peloton_model::{AgentId, AgentRecord, InstanceId, JobId, SlotId, TaskId, UnixMs};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Agents that go away within this time count together, in milliseconds.
const MASS_WINDOW_MS: u64 = 60_000;
/// With fewer agents gone than this it is no mass event, whatever their share.
const MASS_AT_LEAST: usize = 3;
/// An agent seen within this time counts as there, in milliseconds; every sweep shows those with room.
const SEEN_LATELY_MS: u64 = 600_000;
/// An agent that Mesos waits for after a fail-over counts as away after this long, in milliseconds: at the
/// latest by then, where nobody configured Mesos otherwise, it says so itself. Of one that was marked gone
/// before it was back it never says anything else, until its next fail-over (MESOS-9739).
const EXPECTED_MS: u64 = 600_000;
/// An agent on which nothing is and that was not seen for this long is forgotten, in milliseconds.
const FORGET_AGENT_MS: u64 = 3_600_000;

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
    /// An upgrade that waits to be able to go on.
    Upgrade(JobId),
    /// Forgetting deleted jobs.
    Forget,
}

/// An agent that the shard has seen or has something on.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) record: Arc<AgentRecord>,
    /// Slots on it, and instances whose last run was there; its record is stored while there are any,
    /// as it tells where their output is.
    pub(crate) uses: u32,
    pub(crate) stored: bool,
    /// Whether the record differs from the stored one.
    pub(crate) changed: bool,
    pub(crate) dirty: bool,
    /// Since when Mesos cannot reach it, or does not know it.
    pub(crate) away_since: Option<UnixMs>,
    /// Since when Mesos waits for it after a fail-over, as far as it said so.
    expected_since: Option<UnixMs>,
    /// When Mesos last said that it is there: by an offer, a live task, or an answer about one.
    pub(crate) seen_at: UnixMs,
    /// When it was last offered.
    pub(crate) offered_at: UnixMs,
}

impl Agent {
    fn new(record: Arc<AgentRecord>) -> Self {
        Self {
            record,
            uses: 0,
            stored: false,
            changed: true,
            dirty: false,
            away_since: None,
            expected_since: None,
            seen_at: 0,
            offered_at: 0,
        }
    }
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
    /// Slots of which only volumes are left.
    pub(crate) retained: BTreeMap<SlotRef, Slot>,
    /// Slots with volumes that were made in others, by the labels under which those are offered.
    pub(crate) adopted: BTreeMap<SlotRef, SlotRef>,
    /// When the present subscription began.
    pub(crate) subscribed_at: UnixMs,
    /// Questions of this step, asked together at its end.
    pub(crate) ask_tasks: BTreeMap<TaskId, Option<AgentId>>,
    pub(crate) ask_operations: Vec<(String, AgentId)>,
    pub(crate) ask_agents: BTreeSet<AgentId>,
    /// Agents that are gone for good, to be dealt with at the end of the step.
    pub(crate) gone_agents: BTreeSet<AgentId>,
    /// Answers of this step about mass outages.
    mass: BTreeMap<AgentId, bool>,
    /// When a replacement was last held back because of a mass outage.
    pub(crate) held_back_at: Option<UnixMs>,
    counter: u64,
    /// Asks about volumes that this step has decided.
    pub(crate) asked: Vec<String>,
    pub(crate) writes: Vec<Write>,
    pub(crate) effects: Vec<Effect>,
    /// How many writes each of the first effects waits for; the others wait for all.
    pub(crate) after: Vec<usize>,
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
            retained: BTreeMap::new(),
            adopted: BTreeMap::new(),
            subscribed_at: 0,
            ask_tasks: BTreeMap::new(),
            ask_operations: Vec::new(),
            ask_agents: BTreeSet::new(),
            gone_agents: BTreeSet::new(),
            mass: BTreeMap::new(),
            held_back_at: None,
            counter: 0,
            asked: Vec::new(),
            writes: Vec::new(),
            effects: Vec::new(),
            after: Vec::new(),
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

    /// An effect that waits for what is written so far, and not for the rest of this step; unless one
    /// before it does, as the order is kept.
    pub(crate) fn early_effect(&mut self, effect: Effect) {
        let all_early = self.after.len() == self.effects.len();
        self.effect(effect);
        if all_early {
            self.after.resize(self.effects.len(), self.writes.len());
        }
    }

    /// A number that no other call in this process got.
    pub(crate) fn unique(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    /// A number for an operation, that none had before, also not one of an earlier process.
    pub(crate) fn operation_number(&mut self) -> u64 {
        // As long as fewer than a thousand are made in a millisecond; numbers are told apart within a
        // slot only, and stay below 2^53, which JSON's readers take as they are.
        self.now * 1_000 + self.unique() % 1_000
    }

    /// Notes what an offer tells of an agent.
    pub(crate) fn see_agent(&mut self, id: &AgentId, record: &Arc<AgentRecord>) {
        let now = self.now;
        let agent = self.agents.entry(id.clone()).or_insert_with(|| Agent::new(record.clone()));
        agent.away_since = None;
        agent.expected_since = None;
        agent.seen_at = now;
        agent.offered_at = now;
        if agent.record != *record {
            agent.record = record.clone();
            agent.changed = true;
            self.touch_agent(id);
        }
    }

    /// Takes a stored record.
    pub(crate) fn restore_agent(&mut self, id: &AgentId, record: AgentRecord) {
        let agent = Agent { stored: true, changed: false, ..Agent::new(Arc::new(record)) };
        self.agents.insert(id.clone(), agent);
    }

    /// Mesos says that the agent is there.
    pub(crate) fn agent_is_there(&mut self, id: &AgentId) {
        if let Some(agent) = self.agents.get_mut(id) {
            agent.away_since = None;
            agent.expected_since = None;
            agent.seen_at = self.now;
        }
    }

    /// Mesos waits for the agent after a fail-over; whether it has done so for too long, and the agent counts
    /// as away.
    pub(crate) fn agent_is_expected(&mut self, id: &AgentId) -> bool {
        let (now, begun) = (self.now, self.subscribed_at);
        let Some(agent) = self.agents.get_mut(id) else { return false };
        // What was said in an earlier session may have been about an earlier fail-over.
        let since = agent.expected_since.filter(|since| *since >= begun).unwrap_or(now);
        agent.expected_since = Some(since);
        let overdue = now >= since + EXPECTED_MS;
        if overdue {
            self.agent_is_away(id, since);
        }
        overdue
    }

    /// Mesos cannot reach the agent, or does not know it.
    pub(crate) fn agent_is_away(&mut self, id: &AgentId, since: UnixMs) {
        if let Some(agent) = self.agents.get_mut(id) {
            let since = agent.away_since.map_or(since, |known| known.min(since));
            agent.away_since = Some(since);
        }
    }

    pub(crate) fn away_since(&self, id: &AgentId) -> Option<UnixMs> {
        self.agents.get(id)?.away_since
    }

    pub(crate) fn use_agent(&mut self, id: &AgentId) {
        let agent = self.agents.entry(id.clone()).or_insert_with(|| Agent::new(Arc::default()));
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
            self.flush_agent(id);
        }
    }

    /// Writes the record of one agent, if it came into use or went out of it.
    pub(crate) fn flush_agent(&mut self, id: AgentId) {
        let Some(agent) = self.agents.get_mut(&id).filter(|agent| agent.dirty) else { return };
        agent.dirty = false;
        let wanted = agent.uses > 0;
        if wanted && (!agent.stored || agent.changed) && *agent.record != AgentRecord::default() {
            agent.stored = true;
            agent.changed = false;
            self.writes.push(Write::Agent(id, Some(agent.record.clone())));
        } else if !wanted && agent.stored {
            agent.stored = false;
            self.writes.push(Write::Agent(id, None));
        }
    }

    /// Agents that are there, as far as offers and tasks showed within the last minutes.
    pub(crate) fn agents_seen_lately(&self) -> usize {
        let since = self.now.saturating_sub(SEEN_LATELY_MS);
        let there = |agent: &&Agent| agent.away_since.is_none() && agent.seen_at >= since;
        self.agents.values().filter(there).count()
    }

    /// Forgets agents on which nothing is and that were not seen for long.
    pub(crate) fn forget_agents(&mut self) {
        let old = self.now.saturating_sub(FORGET_AGENT_MS);
        self.agents.retain(|_, agent| agent.uses > 0 || agent.dirty || agent.seen_at > old);
    }

    /// Asks what was to be asked in this step.
    pub(crate) fn flush_questions(&mut self) {
        self.mass.clear();
        let tasks: Vec<_> = std::mem::take(&mut self.ask_tasks).into_iter().collect();
        // A question about no task would be one about all.
        if !tasks.is_empty() {
            self.effect(Effect::Reconcile(tasks));
        }
        let mut operations = std::mem::take(&mut self.ask_operations);
        let agents = std::mem::take(&mut self.ask_agents).into_iter();
        // There is no such operation: the answer about it is one about its agent.
        operations.extend(agents.map(|agent| (format!("agent/{agent}"), agent)));
        if !operations.is_empty() {
            self.effect(Effect::ReconcileOperations(operations));
        }
    }

    /// Whether so many agents went away at about the time this one did that our network, or Mesos
    /// as a whole, is the likelier cause.
    pub(crate) fn is_mass_event(&mut self, id: &AgentId) -> bool {
        if let Some(known) = self.mass.get(id) {
            return *known;
        }
        let since = self.away_since(id).unwrap_or(self.now);
        let used = self.agents.values().filter(|agent| agent.uses > 0).count();
        let away = |agent: &&Agent| {
            agent.uses > 0
                && agent.away_since.is_some_and(|at| at.abs_diff(since) <= MASS_WINDOW_MS)
        };
        let gone = self.agents.values().filter(away).count();
        let limit = used.saturating_mul(self.settings.mass_unreachable_percent as usize) / 100;
        let mass = gone >= MASS_AT_LEAST && gone > limit;
        self.mass.insert(id.clone(), mass);
        mass
    }
}
