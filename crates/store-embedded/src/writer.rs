//! The writer thread: group commit, the end of leases, and what to do when the disk fails.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use peloton_store::{Health, LeaseId, Revision, StoreError, TxnResult};
use redb::{CommitError, Database};

use crate::batch::{Batch, Done};
use crate::errors::{CLOSED, closed, disk, no_panic, unavailable};
use crate::lock::DirectoryLock;
use crate::options::{PROBE_BYTES, REOPEN_PAUSE_MAX, REOPEN_PAUSE_MIN};
use crate::queue::Job;
use crate::schema::{self, Opening, PROBE};
use crate::shared::Shared;

/// The writer thread's own state.
pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    /// The revision of the last batch that is known to be durable.
    pub(crate) revision: Revision,
    pub(crate) lock: DirectoryLock,
    pub(crate) readers: Vec<JoinHandle<()>>,
    /// A batch whose commit failed, so that nobody knows yet whether it is in the file.
    in_doubt: Option<Done>,
    /// Why the last write failed; none since has succeeded. An open file proves nothing: a full disk
    /// has room for the little that opening writes.
    unwritable: Option<String>,
    pause: Duration,
    pause_until: Option<Instant>,
}

/// What a transaction or revocation in a batch is told.
enum Answer {
    Commit(Result<TxnResult, StoreError>),
    Revoke(Result<(), StoreError>),
}

/// A batch, ready to be made known.
struct Prepared {
    done: Done,
    answers: Vec<Answer>,
}

/// Why a batch did not become durable.
enum Failure {
    /// It is not in the file.
    NotWritten(StoreError),
    /// It may be.
    InDoubt(Box<Prepared>, StoreError),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::NotWritten(error)
    }
}

impl Writer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        revision: Revision,
        lock: DirectoryLock,
        readers: Vec<JoinHandle<()>>,
    ) -> Self {
        let pause = REOPEN_PAUSE_MIN;
        Self {
            shared,
            revision,
            lock,
            readers,
            in_doubt: None,
            unwritable: None,
            pause,
            pause_until: None,
        }
    }

    /// The thread's life.
    pub(crate) fn run(mut self) {
        loop {
            let taken = self.shared.queue.take(self.next_wakeup());
            self.shared.snapshots.drop_unused(Instant::now());
            if self.shared.suspect.swap(false, Ordering::AcqRel) && !self.is_down() {
                tracing::warn!("a read failed; opening the store's file again");
                self.recover();
            } else if self.is_down() && !self.is_pausing() {
                self.recover();
            }
            self.process(taken.jobs);
            if taken.last {
                break;
            }
            if self.unwritable.is_some() && !self.is_down() && !self.is_pausing() {
                self.probe();
            }
        }
        self.shut_down();
    }

    fn is_down(&self) -> bool {
        self.shared.is_down()
    }

    fn is_pausing(&self) -> bool {
        self.pause_until.is_some_and(|until| Instant::now() < until)
    }

    /// A lease's deadline, but not before the pause after a disk error is over.
    fn next_wakeup(&self) -> Option<Instant> {
        if self.shared.sync_failed.get() {
            return None;
        }
        if self.is_down() || self.unwritable.is_some() {
            return self.pause_until;
        }
        match (self.shared.leases.next_deadline(Instant::now()), self.pause_until) {
            (Some(deadline), Some(until)) => Some(deadline.max(until)),
            (deadline, _) => deadline,
        }
    }

    fn process(&mut self, jobs: Vec<Job>) {
        if self.is_down() {
            let error = self.shared.down();
            jobs.into_iter().for_each(|job| job.fail(error.clone()));
            return;
        }
        let expired = match self.is_pausing() {
            true => Vec::new(),
            false => self.shared.leases.begin_end_expired(Instant::now()),
        };
        if jobs.is_empty() && expired.is_empty() {
            return;
        }
        match self.attempt(&jobs, &expired) {
            Ok(prepared) => {
                // A batch without events wrote nothing, so it tells nothing of the disk.
                if !prepared.done.events.is_empty() {
                    self.written();
                }
                self.make_known(prepared, jobs);
            }
            Err(failure) => self.fail(failure, jobs),
        }
    }

    /// A write succeeded.
    fn written(&mut self) {
        self.pause = REOPEN_PAUSE_MIN;
        self.pause_until = None;
        if self.unwritable.take().is_some() {
            self.shared.set_health(Health::Ok);
            tracing::info!(revision = %self.revision, "the store's file takes writes again");
        }
    }

    /// Tries whether the disk takes writes again, so that the store gets well though nobody writes: who
    /// asks for its health may be who keeps writers away.
    fn probe(&mut self) {
        let outcome = {
            let guard = self.shared.database.read().unwrap_or_else(PoisonError::into_inner);
            let database = guard.as_ref().ok_or_else(|| self.shared.down());
            database.and_then(|database| no_panic(|| self.write_and_delete(database)))
        };
        match outcome {
            Ok(()) => self.written(),
            // It changes no record and no revision, so nothing is in doubt.
            Err(error) => self.fail(Failure::NotWritten(error), Vec::new()),
        }
    }

    fn write_and_delete(&self, database: &Database) -> Result<(), StoreError> {
        for is_there in [true, false] {
            let mut txn = database.begin_write().map_err(disk)?;
            txn.set_quick_repair(self.shared.options.quick_repair);
            if is_there {
                let bytes = vec![0; PROBE_BYTES];
                let mut table = txn.open_table(PROBE).map_err(disk)?;
                table.insert((), &bytes[..]).map_err(disk)?;
            } else {
                txn.delete_table(PROBE).map_err(disk)?;
            }
            txn.commit().map_err(disk)?;
        }
        Ok(())
    }

    fn attempt(&self, jobs: &[Job], expired: &[LeaseId]) -> Result<Prepared, Failure> {
        let guard = self.shared.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = guard.as_ref().ok_or_else(|| self.shared.down())?;
        let (txn, prepared) = no_panic(|| self.prepare(database, jobs, expired))?;
        if prepared.done.events.is_empty() {
            // All that was read is durable already, so the answers are, too.
            no_panic(|| txn.abort().map_err(disk))?;
            return Ok(prepared);
        }
        let mut rolled_back = false;
        let committed = no_panic(|| {
            txn.commit().map_err(|error| {
                rolled_back = matches!(error, CommitError::TransactionPoisoned);
                disk(error)
            })
        });
        match committed {
            Ok(()) => Ok(prepared),
            Err(error) if rolled_back => Err(Failure::NotWritten(error)),
            Err(error) => Err(Failure::InDoubt(Box::new(prepared), error)),
        }
    }

    fn prepare(
        &self,
        database: &Database,
        jobs: &[Job],
        expired: &[LeaseId],
    ) -> Result<(redb::WriteTransaction, Prepared), StoreError> {
        let mut txn = database.begin_write().map_err(disk)?;
        txn.set_quick_repair(self.shared.options.quick_repair);
        let mut batch = Batch::new(&txn, &self.shared.leases, self.revision)?;
        for id in expired {
            batch.end_lease(*id)?;
        }
        let mut answers = Vec::with_capacity(jobs.len());
        for job in jobs {
            answers.push(match job {
                Job::Commit { txn, .. } => Answer::Commit(batch.commit(txn)?),
                Job::Revoke { id, .. } => Answer::Revoke(match self.shared.leases.begin_end(*id) {
                    Ok(()) => Ok(batch.end_lease(*id)?),
                    Err(error) => Err(error),
                }),
            });
        }
        let done = batch.finish(&txn)?;
        Ok((txn, Prepared { done, answers }))
    }

    /// The batch is durable: watches first, so that who is answered finds its events there.
    fn make_known(&mut self, prepared: Prepared, jobs: Vec<Job>) {
        self.publish(prepared.done);
        for (job, answer) in jobs.into_iter().zip(prepared.answers) {
            // Whoever gave up waiting does not need the answer.
            match (job, answer) {
                (Job::Commit { reply, .. }, Answer::Commit(answer)) => drop(reply.send(answer)),
                (Job::Revoke { reply, .. }, Answer::Revoke(answer)) => drop(reply.send(answer)),
                (job, _) => job.fail(unavailable("the batch lost its order")),
            }
        }
    }

    fn publish(&mut self, done: Done) {
        self.revision = done.revision;
        self.shared.hub.publish(done.events);
        self.shared.leases.end(done.ended);
    }

    /// A batch failed: open the file again, see what is in it, and tell what is known.
    fn fail(&mut self, failure: Failure, jobs: Vec<Job>) {
        let (Failure::NotWritten(error) | Failure::InDoubt(_, error)) = &failure;
        self.unwritable = Some(format!("the last write failed: {error}"));
        match failure {
            Failure::NotWritten(error) => {
                tracing::error!(%error, transactions = jobs.len(), "a batch was not written");
                self.start_pause();
                self.recover();
                jobs.into_iter().for_each(|job| job.fail(error.clone()));
            }
            Failure::InDoubt(prepared, error) => {
                tracing::error!(%error, transactions = jobs.len(), "a commit failed");
                self.start_pause();
                let (before, after) = (self.revision, prepared.done.revision);
                self.in_doubt = Some(prepared.done);
                self.recover();
                let answers = prepared.answers;
                if self.is_down() {
                    let reason = error.to_string();
                    let unknown = StoreError::Unknown { reason };
                    jobs.into_iter().for_each(|job| job.fail(unknown.clone()));
                } else if self.revision == after && after != before {
                    let done = Done { revision: after, ..Done::default() };
                    self.make_known(Prepared { done, answers }, jobs);
                } else {
                    jobs.into_iter().for_each(|job| job.fail(error.clone()));
                }
            }
        }
    }

    fn start_pause(&mut self) {
        self.pause_until = Some(Instant::now() + self.pause);
        self.pause = (self.pause * 2).min(REOPEN_PAUSE_MAX);
    }

    /// Closes the file if it is open and opens it again; settles what was in doubt.
    fn recover(&mut self) {
        self.close_database();
        if self.shared.sync_failed.get() {
            let reason =
                "a sync of the store's file failed, so what is on the disk is not certain; \
                          check the disk, then restart"
                    .to_owned();
            self.shared.set_health(Health::Failed { reason });
            return;
        }
        let opened = schema::open(&self.shared.options, &self.shared.sync_failed, Opening::Again);
        let opened = opened.and_then(|(database, revision)| {
            self.settle(revision)?;
            Ok(database)
        });
        match opened {
            Ok(database) => {
                *self.shared.database.write().unwrap_or_else(PoisonError::into_inner) =
                    Some(database);
                let unwritable = self.unwritable.clone();
                let health = unwritable.map_or(Health::Ok, |reason| Health::Degraded { reason });
                self.shared.set_health(health);
                tracing::info!(revision = %self.revision, "the store's file is open again");
            }
            Err(error) => {
                tracing::error!(%error, "cannot open the store's file again");
                let reason = error.to_string();
                self.shared.set_health(Health::Degraded { reason });
                self.start_pause();
            }
        }
    }

    /// Decides whether the batch in doubt happened, from the revision found in the file.
    fn settle(&mut self, found: Revision) -> Result<(), StoreError> {
        match self.in_doubt.take() {
            Some(done) if done.revision == found => self.publish(done),
            in_doubt if found == self.revision => drop(in_doubt),
            in_doubt => {
                let known = self.revision;
                self.in_doubt = in_doubt;
                let reason = format!("the file is at revision {found}, it was at {known}");
                return Err(StoreError::Corrupt { reason });
            }
        }
        Ok(())
    }

    fn close_database(&self) {
        self.shared.generation.fetch_add(1, Ordering::AcqRel);
        let database = self.shared.database.write().unwrap_or_else(PoisonError::into_inner).take();
        self.shared.snapshots.clear();
        if let Some(database) = database {
            let closed = no_panic(|| database.close().map_err(disk));
            if let Err(error) = closed {
                tracing::warn!(%error, "closing the store's file");
            }
        }
    }

    fn shut_down(mut self) {
        self.shared.readers.close();
        for reader in self.readers.drain(..) {
            // A reader catches what its reads do; if it ended otherwise it is gone all the same.
            let _ = reader.join();
        }
        self.shared.hub.close();
        self.shared.set_health(Health::Failed { reason: CLOSED.to_owned() });
        self.close_database();
        drop(self.lock);
    }
}

/// Ends what depends on the writer, however its thread ends.
pub(crate) struct LastWord(pub(crate) Arc<Shared>);

impl Drop for LastWord {
    fn drop(&mut self) {
        self.0.queue.close();
        // Empty after an orderly end; otherwise none of these was begun.
        self.0.queue.take_all().into_iter().for_each(|job| job.fail(closed()));
        self.0.readers.close();
        self.0.hub.close();
        self.0.closed.send_replace(true);
    }
}
