//! What master and agents share: time, chance, the network, and the way out.

use crate::link::{Link, Message, ToAgent, ToMaster};
use crate::names::Names;
use crate::random::Random;
use crate::timers::{Timer, Timers};
use crate::{AgentIndex, ConnectionId, Output, Settings};
use peloton_proto::mesos::v1;
use std::collections::VecDeque;
use v1::scheduler::Event;

/// The surroundings of master and agents.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) settings: Settings,
    pub(crate) now_ms: u64,
    pub(crate) random: Random,
    pub(crate) timers: Timers,
    pub(crate) names: Names,
    pub(crate) outputs: Vec<Output>,
    /// Messages that arrive now.
    pub(crate) arrived: VecDeque<Message>,
    pub(crate) links: Vec<Link>,
    /// Numbers operations, for as long as the simulation runs.
    next_operation: u64,
    /// Whether there is a master to register with.
    pub(crate) has_master: bool,
}

impl World {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            now_ms: 0,
            random: Random::new(settings.seed),
            settings,
            timers: Timers::default(),
            names: Names::default(),
            outputs: Vec::new(),
            arrived: VecDeque::new(),
            links: Vec::new(),
            next_operation: 0,
            has_master: true,
        }
    }

    pub(crate) const fn new_operation(&mut self) -> u64 {
        self.next_operation += 1;
        self.next_operation
    }

    /// Seconds since the epoch, for status updates.
    pub(crate) fn seconds(&self) -> f64 {
        self.now_ms as f64 / 1_000.0
    }

    pub(crate) fn time_info(&self) -> v1::TimeInfo {
        let nanoseconds = i64::try_from(self.now_ms.saturating_mul(1_000_000)).unwrap_or(i64::MAX);
        v1::TimeInfo { nanoseconds }
    }

    pub(crate) fn set_timer(&mut self, after_ms: u64, timer: Timer) {
        self.timers.set(self.now_ms.saturating_add(after_ms), timer);
    }

    /// Sends an event down a connection.
    pub(crate) fn emit(&mut self, connection: ConnectionId, event: Event) {
        self.outputs.push(Output::Event(connection, Box::new(event)));
    }

    pub(crate) fn send_to_agent(&mut self, agent: AgentIndex, message: ToAgent) {
        self.send(agent, |epoch| Message::ToAgent { agent, epoch, message }, true);
    }

    pub(crate) fn send_to_master(&mut self, agent: AgentIndex, message: ToMaster) {
        self.send(agent, |epoch| Message::ToMaster { agent, epoch, message }, false);
    }

    fn send(&mut self, agent: AgentIndex, message: impl FnOnce(u32) -> Message, to_agent: bool) {
        let range = self.settings.message_delay_ms;
        let Some(link) = self.links.get_mut(agent.0 as usize) else { return };
        if link.cut || (to_agent && link.broken) {
            return;
        }
        let message = message(link.epoch);
        if range.1 == 0 {
            self.arrived.push_back(message);
            return;
        }
        let last_ms = if to_agent { &mut link.to_agent_ms } else { &mut link.to_master_ms };
        // What was sent first arrives first, whatever was drawn.
        *last_ms = (*last_ms).max(self.now_ms + self.random.between(range));
        let at_ms = *last_ms;
        self.timers.set(at_ms, Timer::Deliver(Box::new(message)));
    }
}
