//! Receipts: which requests changed a job, written down in the transaction that made the change.
//!
//! A master that lost the answer of the store, and a client that lost the answer of a master, ask once
//! more under the same id. The receipt tells that it was done already; without one the same change would
//! be made twice, and the second time after changes that others were told of in between. What is deleted
//! leaves its receipts with its deletion. Only the last ones are kept: a doubt lasts seconds.

use crate::{JobId, JobRecord, UnixMs, Version};
use serde::{Deserialize, Serialize};

/// Receipts kept of a job: more changes than one job gets while an answer is waited for, and 3 KB at most.
pub const MAX_RECEIPTS: usize = 128;
/// Deletions kept at one place.
pub const MAX_DELETIONS: usize = 8;

/// The id of the request that made a change, and the configuration version that the job then had. Ids are
/// random: that two of the same job are alike does not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt(pub u64, pub Version);

impl JobRecord {
    /// Adds the receipt of the request `id`, for the record as it is now. The creation's stays the first;
    /// of the others the oldest goes.
    pub fn sign(&mut self, id: u64) {
        if self.receipts.len() >= MAX_RECEIPTS {
            self.receipts.remove(1);
        }
        self.receipts.push(Receipt(id, self.version));
    }

    /// The version that the job had after the request `id`, if that changed it.
    #[must_use]
    pub fn signed(&self, id: u64) -> Option<Version> {
        find(&self.receipts, id)
    }

    /// Whether the request `id` created the job.
    #[must_use]
    pub fn created_by(&self, id: u64) -> bool {
        self.receipts.first().is_some_and(|receipt| receipt.0 == id)
    }
}

/// `gone/<place>`: the last deletions of the jobs that share the place.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeletionsRecord {
    /// How many there were, ever.
    pub count: u64,
    /// The last ones, the newest last.
    pub last: Vec<Deletion>,
}

/// A job that was deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deletion {
    /// Its id.
    pub job: JobId,
    /// The revision that had created it.
    pub incarnation: i64,
    /// The generation of its record at the end.
    pub generation: u64,
    /// Its receipts at the end.
    pub receipts: Vec<Receipt>,
    /// The id of the request that deleted it.
    pub id: u64,
    /// When.
    pub at: UnixMs,
    /// On whose behalf: the `Rpc-Caller` of the request.
    pub by: String,
}

impl Deletion {
    /// The version that the job had after the request `id`, if that changed it.
    #[must_use]
    pub fn signed(&self, id: u64) -> Option<Version> {
        find(&self.receipts, id)
    }
}

impl DeletionsRecord {
    /// The same with one more.
    #[must_use]
    pub fn with(mut self, deletion: Deletion) -> Self {
        if self.last.len() >= MAX_DELETIONS {
            self.last.remove(0);
        }
        self.last.push(deletion);
        self.count += 1;
        self
    }

    /// Those of the job, the newest first.
    pub fn of<'a>(&'a self, job: &'a JobId) -> impl Iterator<Item = &'a Deletion> {
        self.last.iter().rev().filter(move |deletion| deletion.job == *job)
    }

    /// Whether all that came after the first `count` are still here.
    #[must_use]
    pub fn has_all_since(&self, count: u64) -> bool {
        self.count.saturating_sub(count) <= self.last.len() as u64
    }
}

fn find(receipts: &[Receipt], id: u64) -> Option<Version> {
    receipts.iter().rev().find(|receipt| receipt.0 == id).map(|receipt| receipt.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_creation_and_the_last_changes_are_kept() {
        let mut record = JobRecord::default();
        let (last, gone) = (2 * MAX_RECEIPTS as u64, MAX_RECEIPTS as u64 + 1);
        for id in 0..=last {
            record.version = id + 1;
            record.sign(id);
        }
        assert_eq!(record.receipts.len(), MAX_RECEIPTS);
        assert!(record.created_by(0) && !record.created_by(last));
        let versions = [0, gone, gone + 1, last].map(|id| record.signed(id));
        assert_eq!(versions, [Some(1), None, Some(gone + 2), Some(last + 1)]);
    }

    #[test]
    fn the_last_deletions_are_kept_and_all_are_counted() {
        let mut record = DeletionsRecord::default();
        for id in 0..20 {
            let job = JobId::new(["a", "b"][id as usize % 2]).unwrap();
            let (receipts, by) = (vec![Receipt(id, 1)], String::new());
            let (incarnation, generation, at) = (0, 1, 0);
            record = record.with(Deletion { job, incarnation, generation, receipts, id, at, by });
        }
        let of_b: Vec<_> = record.of(&JobId::new("b").unwrap()).map(|d| d.id).collect();
        assert_eq!(of_b, [19, 17, 15, 13]);
        assert!(record.has_all_since(12) && !record.has_all_since(11));
        assert_eq!(record.last[0].signed(12), Some(1));
    }
}
