//! Calls on their way to Mesos: in order, and only in the session they were made for.
//!
//! What waits here waits as the core said it, and becomes a call when the client has room for it: a
//! call is some ten times as large, and one step may decide tens of thousands of launches.

use peloton_core::Effect;
use peloton_mesos::{Handle, NotSent};
use peloton_mesos_wire::convert::{self, Identity};
use std::collections::VecDeque;

/// Effects that the client's queue had no room for.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    waiting: VecDeque<(u64, Effect)>,
}

impl Outbox {
    pub(crate) fn push(&mut self, epoch: u64, effect: Effect) {
        self.waiting.push_back((epoch, effect));
    }

    /// Hands over what there is room for; whether all went. A call of an earlier session is dropped:
    /// what it was for is derived again in the present one.
    pub(crate) fn flush(&mut self, identity: &Identity, client: &Handle) -> bool {
        while client.has_room() {
            let Some((epoch, effect)) = self.waiting.pop_front() else { return true };
            match client.submit(epoch, convert::call(identity, effect)) {
                Ok(()) => {}
                // Only we fill the queue, so there is room; if not, the session is at an end anyway.
                Err(error) if error.reason == NotSent::QueueFull => {
                    tracing::warn!(%error, "a call was dropped");
                }
                Err(error) => tracing::debug!(%error, "a call of an ended session was dropped"),
            }
        }
        self.waiting.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
    }
}
