//! What must hold, one file each. Looked at whenever a transaction commits and whenever a call reaches
//! Mesos, from what is really in the store and in Mesos, not from what a master believes.

mod acknowledge;
mod answers;
mod converged;
mod durable;
mod ids;
mod ledger;
mod ownership;
mod release;
mod storm;
mod twins;
mod upgrades;

pub(crate) use answers::Asked;
pub(crate) use converged::{open_upgrades, unconverged};

use crate::link::Link;
use crate::sim::{Sim, lock};
use ledger::Ledger;
use peloton_api::domain::UpgradeControl;
use peloton_mesos_sim::Mesos;
use peloton_model::{JobId, UpgradeId};
use peloton_proto::mesos::v1::scheduler::{Call, Event};
use peloton_store::Txn;
use std::sync::Arc;

/// How often what is really reserved is looked at, besides whenever something was given back, in
/// milliseconds.
const LOOK_EVERY_MS: u64 = 15_000;
/// How long after an UNRESERVE its agent has surely done it, in milliseconds.
const UNRESERVED_MS: u64 = 20;

/// All checkers.
pub(crate) struct Checks {
    ledger: Ledger,
    acknowledge: acknowledge::Acknowledge,
    answers: answers::Answers,
    ids: ids::Ids,
    ownership: ownership::Ownership,
    storm: storm::Storm,
    twins: twins::Twins,
    upgrades: upgrades::Upgrades,
}

impl Checks {
    pub(crate) fn new() -> Self {
        Self {
            ledger: Ledger::default(),
            acknowledge: acknowledge::Acknowledge::default(),
            answers: answers::Answers::default(),
            ids: ids::Ids::default(),
            ownership: ownership::Ownership::default(),
            storm: storm::Storm::default(),
            twins: twins::Twins::default(),
            upgrades: upgrades::Upgrades::default(),
        }
    }

    /// A transaction is about to be evaluated.
    pub(crate) fn before_commit(&self, sim: &Sim, txn: &Txn) -> ownership::Before {
        self.ownership.before(sim, txn)
    }

    /// A transaction committed.
    pub(crate) fn committed(
        &mut self,
        sim: &Sim,
        link: &Link,
        txn: &Txn,
        before: ownership::Before,
    ) {
        self.ownership.committed(sim, link, txn, before);
        self.answers.committed(txn);
        self.upgrades.committed(sim, txn, &self.ledger);
        self.ledger.committed(sim, txn);
    }

    /// An event leaves Mesos.
    pub(crate) fn event(&mut self, now_ms: u64, event: &Event) {
        self.acknowledge.event(event);
        self.twins.event(event);
        self.upgrades.event(now_ms, event);
    }

    /// Mesos took a call that the master handed over at `sent_at`.
    pub(crate) fn called(
        &mut self,
        sim: &Sim,
        link: &Link,
        call: &Call,
        sent_at: u64,
        model: &Mesos,
    ) {
        self.ownership.called(sim, link, call, sent_at);
        self.acknowledge.called(sim, call, &self.ledger);
        durable::called(sim, call, &self.ledger);
        release::called(sim, call, &self.ledger);
        self.ids.called(sim, call);
        self.twins.called(sim, call, model);
        self.storm.called(sim, link);
        let mut operations = call.accept.iter().flat_map(|accept| &accept.operations);
        if operations.any(|operation| operation.unreserve.is_some()) {
            sim.schedule(sim.now_ms() + UNRESERVED_MS, |sim| look(sim));
        }
    }

    /// When a shard was last taken, by anybody.
    pub(crate) fn last_move(&self) -> u64 {
        self.ownership.last_move()
    }

    /// A user begins to ask something that changes a job.
    pub(crate) fn asks(&mut self, job: &JobId) -> Asked {
        self.answers.asks(job, self.upgrades.asked(job))
    }

    /// A user was told that this is asked of an upgrade that is there.
    pub(crate) fn steered(&self, sim: &Sim, asked: &Asked, id: &UpgradeId, what: UpgradeControl) {
        self.upgrades.steered(sim, id, what, asked.asks);
    }

    /// An agent goes away; what is held there may be given up.
    pub(crate) fn agent_is_away(&mut self, agent: Option<&str>) {
        agent.into_iter().for_each(|agent| self.upgrades.agent_is_away(agent));
    }

    /// It is back.
    pub(crate) fn agent_is_back(&mut self, agent: Option<&str>, now_ms: u64) {
        agent.into_iter().for_each(|agent| self.upgrades.agent_is_back(agent, now_ms));
    }

    /// A user was told that it is done.
    pub(crate) fn answered(&mut self, sim: &Sim, asked: &Asked, caller: Option<&str>) {
        self.answers.answered(sim, asked, caller);
    }
}

/// Compares what Mesos has reserved with what upgrades may need again.
pub(crate) fn look(sim: &Sim) {
    let reserved = crate::ground::reservations(&lock(&sim.mesos).model);
    let checks = lock(&sim.checks);
    checks.upgrades.look(sim, &checks.ledger, &reserved);
}

/// Looks every now and then, until the end.
pub(crate) fn look_often(sim: &Arc<Sim>) {
    look(sim);
    sim.schedule(sim.now_ms() + LOOK_EVERY_MS, look_often);
}

/// The tasks that an ACCEPT launches.
fn launches(call: &Call) -> impl Iterator<Item = &peloton_proto::mesos::v1::TaskInfo> {
    let accept = call.accept.iter();
    let operations = accept.flat_map(|accept| &accept.operations);
    operations.flat_map(|operation| operation.launch.iter()).flat_map(|launch| &launch.task_infos)
}
