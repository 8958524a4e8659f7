//! What waits for the writer.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use peloton_store::{LeaseId, StoreError, Txn, TxnResult};
use tokio::sync::oneshot;

use crate::errors::{closed, unavailable};
use crate::options::{MAX_BATCH_BYTES, MAX_BATCH_TXNS, MAX_WAITING_BYTES, MAX_WAITING_TXNS};

/// One request to the writer.
#[derive(Debug)]
pub(crate) enum Job {
    /// Apply a transaction.
    Commit { txn: Txn, reply: oneshot::Sender<Result<TxnResult, StoreError>> },
    /// End a lease.
    Revoke { id: LeaseId, reply: oneshot::Sender<Result<(), StoreError>> },
}

impl Job {
    fn size_bytes(&self) -> usize {
        match self {
            Self::Commit { txn, .. } => txn.size_bytes(),
            Self::Revoke { .. } => 0,
        }
    }

    /// Answers that it was not done.
    pub(crate) fn fail(self, error: StoreError) {
        // Whoever gave up waiting does not need the answer.
        match self {
            Self::Commit { reply, .. } => drop(reply.send(Err(error))),
            Self::Revoke { reply, .. } => drop(reply.send(Err(error))),
        }
    }
}

#[derive(Debug, Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    bytes: usize,
    poked: bool,
    closing: bool,
}

/// The writer's inbox.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

/// What the writer takes from its inbox at once.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) jobs: Vec<Job>,
    /// Nothing more will come, and nothing was left.
    pub(crate) last: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Every change is a single step, so a panic elsewhere does not spoil the queue.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, job: Job) -> Result<(), StoreError> {
        let mut waiting = self.lock();
        if waiting.closing {
            return Err(closed());
        }
        let bytes = waiting.bytes.saturating_add(job.size_bytes());
        if waiting.jobs.len() >= MAX_WAITING_TXNS || bytes > MAX_WAITING_BYTES {
            return Err(unavailable(format!(
                "{} transactions of {} bytes are waiting for the disk",
                waiting.jobs.len(),
                waiting.bytes
            )));
        }
        waiting.bytes = bytes;
        waiting.jobs.push_back(job);
        self.changed.notify_one();
        Ok(())
    }

    /// Wakes the writer to look at its deadlines.
    pub(crate) fn poke(&self) {
        self.lock().poked = true;
        self.changed.notify_one();
    }

    /// Takes no more jobs; those that wait are still done.
    pub(crate) fn close(&self) {
        self.lock().closing = true;
        self.changed.notify_one();
    }

    /// Whether [`Self::close`] was called.
    pub(crate) fn is_closing(&self) -> bool {
        self.lock().closing
    }

    /// Takes everything at once, without waiting.
    pub(crate) fn take_all(&self) -> Vec<Job> {
        let mut waiting = self.lock();
        waiting.bytes = 0;
        waiting.jobs.drain(..).collect()
    }

    /// Waits for jobs, a poke, the deadline or the close; takes what may share a sync.
    pub(crate) fn take(&self, deadline: Option<Instant>) -> Taken {
        let mut waiting = self.lock();
        while waiting.jobs.is_empty() && !waiting.poked && !waiting.closing {
            waiting = match deadline.map(|at| at.saturating_duration_since(Instant::now())) {
                Some(left) if left.is_zero() => break,
                Some(left) => {
                    let (guard, _) = self
                        .changed
                        .wait_timeout(waiting, left)
                        .unwrap_or_else(PoisonError::into_inner);
                    guard
                }
                None => self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner),
            };
        }
        waiting.poked = false;
        let mut jobs = Vec::new();
        let mut bytes = 0;
        while let Some(next) = waiting.jobs.front().map(Job::size_bytes) {
            if jobs.len() >= MAX_BATCH_TXNS || (bytes > 0 && bytes + next > MAX_BATCH_BYTES) {
                break;
            }
            bytes += next;
            waiting.bytes -= next;
            jobs.extend(waiting.jobs.pop_front());
        }
        Taken { jobs, last: waiting.closing && waiting.jobs.is_empty() }
    }
}
