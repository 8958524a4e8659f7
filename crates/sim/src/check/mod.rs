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

pub(crate) use answers::Asked;
pub(crate) use converged::unconverged;

use crate::link::Link;
use crate::sim::Sim;
use ledger::Ledger;
use peloton_mesos_sim::Mesos;
use peloton_model::JobId;
use peloton_proto::mesos::v1::scheduler::{Call, Event};
use peloton_store::Txn;

/// All checkers.
pub(crate) struct Checks {
    ledger: Ledger,
    acknowledge: acknowledge::Acknowledge,
    answers: answers::Answers,
    ids: ids::Ids,
    ownership: ownership::Ownership,
    storm: storm::Storm,
    twins: twins::Twins,
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
        self.ledger.committed(sim, txn);
    }

    /// An event leaves Mesos.
    pub(crate) fn event(&mut self, event: &Event) {
        self.acknowledge.event(event);
        self.twins.event(event);
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
    }

    /// When a shard was last taken, by anybody.
    pub(crate) fn last_move(&self) -> u64 {
        self.ownership.last_move()
    }

    /// A user begins to ask something that changes a job.
    pub(crate) fn asks(&mut self, job: &JobId) -> Asked {
        self.answers.asks(job)
    }

    /// A user was told that it is done.
    pub(crate) fn answered(&mut self, sim: &Sim, asked: &Asked, caller: Option<&str>) {
        self.answers.answered(sim, asked, caller);
    }
}

/// The tasks that an ACCEPT launches.
fn launches(call: &Call) -> impl Iterator<Item = &peloton_proto::mesos::v1::TaskInfo> {
    let accept = call.accept.iter();
    let operations = accept.flat_map(|accept| &accept.operations);
    operations.flat_map(|operation| operation.launch.iter()).flat_map(|launch| &launch.task_infos)
}
