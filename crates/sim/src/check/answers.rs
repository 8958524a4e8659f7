//! What the API confirmed is in the store: each answer that says "done" has a commit behind it, made
//! between the question and the answer.

use crate::sim::Sim;
use peloton_model::{JobId, JobRecord, decode_record};
use peloton_store::keys::{self, ParsedKey};
use peloton_store::{Op, Txn};
use std::collections::{BTreeMap, BTreeSet};

/// A question under way.
pub(crate) struct Asked {
    job: JobId,
    deletions: u64,
    /// How much had been asked of the job's upgrades.
    pub(super) asks: usize,
}

/// What commits did to the desired state.
#[derive(Default)]
pub(super) struct Answers {
    /// Callers whose change of a job committed; every question has a caller of its own.
    done: BTreeSet<String>,
    /// How often each job was deleted.
    deletions: BTreeMap<String, u64>,
}

impl Answers {
    pub(super) fn committed(&mut self, txn: &Txn) {
        for op in &txn.then {
            match op {
                Op::Put { key, value, .. } if key.starts_with(b"d/") => {
                    if let Some(ParsedKey::DesiredJob { .. }) = keys::parse(key)
                        && let Ok(record) = decode_record::<JobRecord>(value)
                    {
                        self.done.insert(record.updated_by);
                    }
                }
                Op::Delete { key } => {
                    if let Some(ParsedKey::DesiredJob { job, .. }) = keys::parse(key) {
                        *self.deletions.entry(job).or_default() += 1;
                    }
                }
                _ => {}
            }
        }
    }

    fn deletions(&self, job: &JobId) -> u64 {
        self.deletions.get(job.as_str()).copied().unwrap_or(0)
    }

    pub(super) fn asks(&self, job: &JobId, asks: usize) -> Asked {
        Asked { job: job.clone(), deletions: self.deletions(job), asks }
    }

    /// `caller` is who changed the job; none where it was deleted.
    pub(super) fn answered(&self, sim: &Sim, asked: &Asked, caller: Option<&str>) {
        let job = &asked.job;
        match caller {
            Some(caller) if !self.done.contains(caller) => {
                sim.violated(format!("{job}: {caller} was told that it is done, and it is not"));
            }
            None if self.deletions(job) == asked.deletions => {
                sim.violated(format!("{job}: a user was told that it is deleted, and it was not"));
            }
            _ => {}
        }
    }
}
