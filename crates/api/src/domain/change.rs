//! A change of a job that is made exactly once, although answers get lost.
//!
//! A commit can end in "nobody knows". It is then looked what became of it, and it is made again only if it
//! was not done and can not be done any more. Two things tell. Every change leaves a receipt with the id
//! of its request, in the job's record, or with the job's deletion. And every commit compares what it was
//! made from by a revision, which never comes again: of the job's record, of the deletions, or of both. So
//! one that was lost on the way lands nowhere once anything else has landed there.
//!
//! A caller that lost our answer asks another master under the same id, and is told what came of the first
//! time, for the same reason.

use peloton_model::{Code, DeletionsRecord, JobId, JobRecord, MAX_RECEIPTS, Version};
use peloton_store::{Revision, StoreError, Txn, TxnResult};

use super::records::{Stored, contended};
use super::{Caller, Records, StoredConfig};
use crate::ApiError;
use std::sync::Arc;

/// How often it is looked what became of a commit; each time is waited for longer.
const DOUBTFUL_TRIES: u32 = 12;
/// The longest waits between two tries, in milliseconds: after a conflict, and in doubt, when the store
/// may be away.
const MAX_WAIT_MS: (u64, u64) = (64, 1000);
/// How often a job and its configuration are read until both are of one job. A job would have to be
/// deleted and created anew between the reads each time.
const READ_TRIES: u32 = 4;

/// What a commit was made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Basis {
    /// The job's incarnation; zero where there was none.
    incarnation: Revision,
    /// The generation of its record.
    generation: u64,
    /// How many deletions there were at the job's place; not looked at by changes of a job that stays.
    deletions: u64,
}

/// A commit of which nobody knows what became of it.
#[derive(Debug)]
struct Doubt {
    basis: Basis,
    reason: String,
}

/// One change of one job.
pub(super) struct Change<'a> {
    records: &'a Records,
    job: &'a JobId,
    caller: &'a Caller,
    /// The id of its receipt.
    pub(super) id: u64,
    tries: u32,
    doubtful_tries: u32,
    missing_configs: u32,
    doubt: Option<Doubt>,
}

/// What there is to be changed.
pub(super) enum Look {
    /// The change was made, and gave the job this version.
    Made(Version),
    /// There is no such job.
    Gone,
    /// The job.
    There(Stored<JobRecord>),
}

/// What there is where a job is to be created or deleted.
pub(super) struct Place {
    /// Whether that was done.
    pub(super) made: bool,
    /// The job.
    pub(super) job: Option<Stored<JobRecord>>,
    /// The last deletions there.
    pub(super) deletions: Stored<DeletionsRecord>,
}

impl Place {
    fn basis(&self) -> Basis {
        let job = self.job.as_ref();
        Basis {
            incarnation: job.map_or(Revision::ZERO, |stored| stored.created),
            generation: job.map_or(0, |stored| stored.record.generation),
            deletions: self.deletions.record.count,
        }
    }
}

impl<'a> Change<'a> {
    pub(super) fn new(records: &'a Records, job: &'a JobId, caller: &'a Caller) -> Self {
        let id = caller.request.unwrap_or_else(|| records.random());
        let (tries, doubtful_tries, missing_configs) = (0, 0, 0);
        Self { records, job, caller, id, tries, doubtful_tries, missing_configs, doubt: None }
    }

    /// The job as it is, unless the change was made already.
    pub(super) async fn look(&mut self) -> Result<Look, ApiError> {
        let job = self.records.job(self.job).await?;
        if let Some(version) = job.as_ref().and_then(|job| job.record.signed(self.id)) {
            return Ok(Look::Made(version));
        }
        let doubted = self.doubt.as_ref().map(|doubt| doubt.basis);
        let stays = |basis: Basis| job.as_ref().is_some_and(|job| job.created == basis.incarnation);
        let was_deleted = doubted.is_some_and(|basis| !stays(basis));
        if job.is_none() || was_deleted || self.caller.repeats {
            let deletions = self.records.deletions(self.job).await?.record;
            if let Some(version) = deletions.of(self.job).find_map(|gone| gone.signed(self.id)) {
                return Ok(Look::Made(version));
            }
            if let Some(basis) = doubted.filter(|_| was_deleted) {
                let mut gone = deletions.of(self.job);
                let gone = gone.find(|gone| Revision(gone.incarnation) == basis.incarnation);
                self.settle(gone.is_some_and(|gone| has_all(basis, gone.generation)))?;
            }
        }
        let Some(job) = job else { return Ok(Look::Gone) };
        // Unchanged, what was lost may still land.
        if doubted.is_some_and(|b| !was_deleted && b.generation != job.record.generation) {
            self.settle(doubted.is_some_and(|basis| has_all(basis, job.record.generation)))?;
        }
        Ok(Look::There(job))
    }

    /// The place where the job is to be created.
    pub(super) async fn look_to_create(&mut self) -> Result<Place, ApiError> {
        let id = self.id;
        let mut place = self.place().await?;
        let is_ours = place.job.as_ref().is_some_and(|job| job.record.created_by(id));
        let deletions = &place.deletions.record;
        // Created, and deleted by somebody since.
        let was_ours = deletions.of(self.job).any(|gone| gone.signed(id).is_some());
        place.made = is_ours || was_ours;
        if let Some(basis) = self.doubt.as_ref().map(|doubt| doubt.basis).filter(|_| !place.made) {
            // Had it landed and been deleted again, a deletion would tell. Had it landed and stayed, the
            // job would be ours. Without either it may still land.
            if place.job.is_some() || deletions.count != basis.deletions {
                self.settle(deletions.has_all_since(basis.deletions))?;
            }
        }
        Ok(place)
    }

    /// The place of the job that is to be deleted.
    pub(super) async fn look_to_delete(&mut self) -> Result<Place, ApiError> {
        let mut place = self.place().await?;
        let deletions = &place.deletions.record;
        place.made = deletions.of(self.job).any(|gone| gone.id == self.id);
        if let Some(basis) = self.doubt.as_ref().map(|doubt| doubt.basis).filter(|_| !place.made)
            && basis != place.basis()
        {
            self.settle(deletions.has_all_since(basis.deletions))?;
        }
        Ok(place)
    }

    /// The job first: what was deleted in between then is among the deletions.
    async fn place(&self) -> Result<Place, ApiError> {
        let job = self.records.job(self.job).await?;
        let deletions = self.records.deletions(self.job).await?;
        Ok(Place { made: false, job, deletions })
    }

    /// The doubtful commit has not happened and can not any more, if `is_known`; else it can not be told.
    fn settle(&mut self, is_known: bool) -> Result<(), ApiError> {
        match self.doubt.take() {
            Some(doubt) if !is_known => {
                let reason = format!("{}; too much has changed since to tell", doubt.reason);
                Err(StoreError::Unknown { reason }.into())
            }
            _ => Ok(()),
        }
    }

    /// A configuration that the job must have; `None` if the job is not that one any more.
    pub(super) async fn config(
        &mut self,
        job: &Stored<JobRecord>,
        version: Version,
    ) -> Result<Option<Arc<StoredConfig>>, ApiError> {
        let config = self.records.config(self.job, job, version).await?;
        if config.is_none() {
            self.missing_configs += 1;
            if self.missing_configs >= READ_TRIES {
                let job = self.job;
                return Err(ApiError::internal(format!("job {job} has no configuration")));
            }
        }
        Ok(config)
    }

    /// A refusal that rests on more than the job's record. If a commit is in doubt, it compared that, too, and
    /// what it compared has changed: so it can not land any more, and a look tells whether it has.
    pub(super) async fn refuse<T>(
        &mut self,
        job: &Stored<JobRecord>,
        refusal: T,
    ) -> Result<Option<T>, ApiError> {
        if self.doubt.is_none() {
            return Ok(Some(refusal));
        }
        let unchanged = match self.look().await? {
            Look::There(now) => now.modified == job.modified,
            Look::Made(_) | Look::Gone => false,
        };
        Ok(unchanged.then_some(refusal))
    }

    /// Whether a commit is in doubt.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.doubt.is_some()
    }

    /// Commits; the transaction compares what it was made from. Whether it is done; if not, look again.
    pub(super) async fn commit(
        &mut self,
        txn: Txn,
        job: &Stored<JobRecord>,
    ) -> Result<bool, ApiError> {
        let (incarnation, generation) = (job.created, job.record.generation);
        self.commit_from(txn, Basis { incarnation, generation, deletions: 0 }).await
    }

    /// The same for a creation or a deletion.
    pub(super) async fn commit_at(&mut self, txn: Txn, place: &Place) -> Result<bool, ApiError> {
        self.commit_from(txn, place.basis()).await
    }

    async fn commit_from(&mut self, txn: Txn, basis: Basis) -> Result<bool, ApiError> {
        // A master that was paused must not go on with what its caller has long asked of another.
        if self.caller.is_gone() {
            return Err(ApiError::new(Code::DeadlineExceeded, "the call's deadline has passed"));
        }
        match self.records.store().commit(txn).await {
            Ok(TxnResult::Committed { .. }) => Ok(true),
            Ok(TxnResult::Conflict { .. }) => Ok(false),
            Err(StoreError::Unknown { reason }) => {
                self.doubt = Some(Doubt { basis, reason });
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Hands out the outcome of a try, or waits before the next one.
    pub(super) async fn after<T>(
        &mut self,
        tried: Result<Option<T>, ApiError>,
    ) -> Result<Option<T>, ApiError> {
        match tried {
            Ok(Some(outcome)) => return Ok(Some(outcome)),
            Ok(None) => {}
            // The try did nothing, but an earlier one may have.
            Err(error) if error.not_executed && self.doubt.is_some() => {}
            Err(error) => return Err(self.or_doubt(error)),
        }
        self.tries += 1;
        let mut max_wait_ms = MAX_WAIT_MS.0;
        if self.doubt.is_some() {
            self.doubtful_tries += 1;
            max_wait_ms = MAX_WAIT_MS.1;
        }
        let waited = self.doubtful_tries < DOUBTFUL_TRIES
            && self.records.pause(self.tries, max_wait_ms, self.caller).await;
        if waited { Ok(None) } else { Err(self.or_doubt(contended(self.job))) }
    }

    /// While a commit is in doubt, an error says nothing of it.
    fn or_doubt(&mut self, error: ApiError) -> ApiError {
        match self.doubt.take() {
            Some(Doubt { reason, .. }) if error.code != Code::Internal => {
                StoreError::Unknown { reason }.into()
            }
            _ => error,
        }
    }
}

/// Whether a record of this generation has the receipts of all changes that came after the basis. The first
/// receipt is the creation's.
fn has_all(basis: Basis, generation: u64) -> bool {
    generation.saturating_sub(basis.generation) < MAX_RECEIPTS as u64
}
