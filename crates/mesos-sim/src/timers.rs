//! What is due when.

use crate::allocator::FrameworkKey;
use crate::link::Message;
use crate::random::Uuid;
use crate::script::ScriptEvent;
use crate::{AgentIndex, ConnectionId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What happens at a time. Nothing is ever cancelled: who acts on a timer looks whether the number
/// that it carries is still the current one.
#[derive(Debug)]
pub(crate) enum Timer {
    /// A message between master and agent arrives.
    Deliver(Box<Message>),
    /// A HEARTBEAT is due.
    Heartbeat(FrameworkKey, ConnectionId),
    /// A framework was away for too long.
    FrameworkTimeout { framework: FrameworkKey, master: u32, epoch: u32 },
    /// An agent was away for too long.
    AgentTimeout { agent: AgentIndex, master: u32, epoch: u32 },
    /// Agents had enough time to come back after a fail-over.
    RecoveryTimeout { master: u32 },
    /// An agent registers, or does so again.
    Register { agent: AgentIndex, epoch: u32 },
    /// A task's status update was not acknowledged in time.
    TaskRetry { agent: AgentIndex, framework: FrameworkKey, task: Arc<str>, uuid: Uuid },
    /// An operation's status update was not acknowledged in time.
    OperationRetry { agent: AgentIndex, operation: u64, uuid: Uuid },
    /// A scripted task does something.
    Script {
        agent: AgentIndex,
        framework: FrameworkKey,
        task: Arc<str>,
        container: Uuid,
        event: ScriptEvent,
    },
}

/// Timers in order of time and, at the same time, of setting.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    next: u64,
    queue: BTreeMap<(u64, u64), Timer>,
}

impl Timers {
    pub(crate) fn set(&mut self, at_ms: u64, timer: Timer) {
        self.queue.insert((at_ms, self.next), timer);
        self.next += 1;
    }

    pub(crate) fn next_ms(&self) -> Option<u64> {
        self.queue.first_key_value().map(|((at_ms, _), _)| *at_ms)
    }

    /// The earliest that is due at `now_ms`.
    pub(crate) fn pop_due(&mut self, now_ms: u64) -> Option<Timer> {
        let entry = self.queue.first_entry()?;
        (entry.key().0 <= now_ms).then(|| entry.remove())
    }
}
