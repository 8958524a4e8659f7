//! Whether offers are wanted, and saying so: REVIVE while there is something to place, to resume or
//! to release; SUPPRESS when there is not.
//!
//! A REVIVE can be lost, or overtaken by a filter, so it is repeated while there is demand. And as
//! releasing a reservation needs an offer of it, what is to be released is demand, too. From time to
//! time offers are wanted without demand: a sweep, which finds reservations that no record knows.

use crate::ctx::{Ctx, Timer};
use crate::input::SlotRef;
use crate::output::Effect;
use peloton_model::{InstanceId, JobId, SlotId, UnixMs};
use std::collections::BTreeSet;

/// The least and the longest time between two urgent REVIVEs, in milliseconds: each makes Mesos's
/// allocator look at every agent, and brings an offer of nearly each.
const REVIVE_GAP_MS: (u64, u64) = (200, 2_000);
/// The gap grows so that no more agents than this are offered in a millisecond: where many jobs are made in
/// a large cluster, the shard would do nothing but decline.
const OFFERS_A_MS: u64 = 25;
/// The first and the longest wait before a REVIVE is repeated while there is demand, in milliseconds.
const REVIVE_AGAIN_MS: (u64, u64) = (5_000, 60_000);
/// How often a sweep begins, and how long it lasts, in milliseconds.
const SWEEP_EVERY_MS: u64 = 300_000;
const SWEEP_MS: u64 = 5_000;
/// The first sweep after a subscription, for the first shard, in milliseconds; and after how many shards
/// their turns begin again.
const FIRST_SWEEP_MS: u64 = 10_000;
const SWEEP_TURNS: u16 = 50;
/// For how long an agent's offer is declined while there is demand, in milliseconds: what is free there
/// may soon be enough, and a REVIVE ends it earlier.
const REFUSE_MS: u64 = 5_000;
/// The same without demand: offers are suppressed then.
const REFUSE_IDLE_MS: u64 = 300_000;
/// What is known of the wish for offers.
#[derive(Debug, Default)]
pub(crate) struct Demand {
    /// Jobs with instances that wait for an offer.
    pub(crate) lines: BTreeSet<JobId>,
    /// Slots to be released.
    pub(crate) releasing: usize,
    /// Slots of which a part is to be released.
    pub(crate) surplus: BTreeSet<(JobId, InstanceId, SlotId)>,
    /// Slots of which only volumes are left, some of them to be destroyed.
    pub(crate) dropped: BTreeSet<SlotRef>,
    /// Since when offers come, where they do.
    pub(crate) open_since: UnixMs,
    open: bool,
    urgent: bool,
    revived_at: UnixMs,
    again_ms: u64,
    /// The sweep that is under way, or was last.
    sweep_since: UnixMs,
    sweeping: bool,
    next_sweep: UnixMs,
}

impl Demand {
    pub(crate) fn line_changed(&mut self, job: &JobId, waits: bool) {
        if !waits {
            self.lines.remove(job);
        } else if !self.lines.contains(job) {
            self.lines.insert(job.clone());
        }
    }

    fn begin_sweep(&mut self, now: UnixMs) {
        self.sweep_since = now;
        self.next_sweep = now + SWEEP_EVERY_MS;
        self.sweeping = true;
        self.urgent = true;
    }

    fn exists(&self) -> bool {
        !self.lines.is_empty()
            || self.releasing > 0
            || !self.surplus.is_empty()
            || !self.dropped.is_empty()
    }
}

impl Ctx {
    /// Something new waits for an offer: what was declined may be wanted now.
    pub(crate) fn want_offers_now(&mut self) {
        self.demand.urgent = true;
    }

    /// When the sweep began that ended just now, if one did.
    pub(crate) fn sweep_ended(&mut self) -> Option<UnixMs> {
        let demand = &mut self.demand;
        let ended = demand.sweeping && self.connected && self.now >= demand.sweep_since + SWEEP_MS;
        demand.sweeping &= !ended;
        ended.then_some(demand.sweep_since)
    }

    /// For how long offers that are not used are declined.
    pub(crate) fn refuse_ms(&self) -> u64 {
        if self.demand.exists() { REFUSE_MS } else { REFUSE_IDLE_MS }
    }

    /// A new subscription: Mesos offers at first. The filters of before may still hold, where it took
    /// this for a connection that came back; so demand is said anew. The first sweep comes soon, for
    /// each shard at another time: shards that sweep at once would see a part of the agents each, and
    /// take them from those that have something to place.
    pub(crate) fn subscribed_demand(&mut self) {
        let wait = FIRST_SWEEP_MS + u64::from(self.settings.shard.0 % SWEEP_TURNS) * SWEEP_MS;
        let demand = &mut self.demand;
        demand.open = true;
        demand.open_since = self.now;
        demand.revived_at = self.now.saturating_sub(REVIVE_GAP_MS.1);
        demand.again_ms = REVIVE_AGAIN_MS.0;
        demand.urgent = demand.exists();
        demand.sweeping = false;
        demand.next_sweep = self.now + wait;
        self.arm(self.now + wait, Timer::Demand);
    }

    /// Says what is wanted, where it changed or is due again.
    pub(crate) fn settle_demand(&mut self) {
        if !self.connected {
            return;
        }
        let now = self.now;
        if now >= self.demand.next_sweep {
            self.demand.begin_sweep(now);
            self.forget_agents();
            self.arm(now + SWEEP_MS, Timer::Demand);
            self.arm(self.demand.next_sweep, Timer::Demand);
        }
        if !self.demand.exists() && !self.demand.sweeping {
            self.demand.urgent = false;
            if std::mem::take(&mut self.demand.open) {
                self.effect(Effect::Suppress);
            }
            return;
        }
        let urgent = self.demand.urgent || !self.demand.open;
        let gap_ms =
            (self.agents.len() as u64 / OFFERS_A_MS).clamp(REVIVE_GAP_MS.0, REVIVE_GAP_MS.1);
        let wait_ms = if urgent { gap_ms } else { self.demand.again_ms };
        let due = self.demand.revived_at + wait_ms;
        if due > now {
            self.arm(due, Timer::Demand);
            return;
        }
        let demand = &mut self.demand;
        demand.again_ms =
            if urgent { REVIVE_AGAIN_MS.0 } else { (demand.again_ms * 2).min(REVIVE_AGAIN_MS.1) };
        if !std::mem::replace(&mut demand.open, true) {
            demand.open_since = now;
        }
        demand.urgent = false;
        demand.revived_at = now;
        let next = now + demand.again_ms;
        self.effect(Effect::Revive);
        self.arm(next, Timer::Demand);
    }
}
