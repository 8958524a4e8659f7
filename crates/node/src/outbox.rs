//! Calls on their way to Mesos: in order, and only in the session they were made for.

use peloton_core::Effect;
use peloton_mesos::{Handle, NotSent};
use peloton_mesos_wire::convert::{self, Identity};
use peloton_proto::mesos::v1::scheduler::Call;
use std::collections::VecDeque;

/// Calls that the client's queue had no room for.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    waiting: VecDeque<(u64, Call)>,
}

impl Outbox {
    pub(crate) fn push(&mut self, identity: &Identity, epoch: u64, effect: Effect) {
        self.waiting.push_back((epoch, convert::call(identity, effect)));
    }

    /// Hands over what there is room for; whether all went. A call of an earlier session is dropped:
    /// what it was for is derived again in the present one.
    pub(crate) fn flush(&mut self, client: &Handle) -> bool {
        while let Some((epoch, call)) = self.waiting.pop_front() {
            match client.submit(epoch, call) {
                Ok(()) => {}
                Err(error) if error.reason == NotSent::QueueFull => {
                    self.waiting.push_front((epoch, *error.call));
                    return false;
                }
                Err(error) => tracing::debug!(%error, "a call of an ended session was dropped"),
            }
        }
        true
    }

    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
    }
}
