//! The reader threads: plain threads with an inbox, so that the store works with any executor.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use peloton_store::StoreError;
use tokio::sync::oneshot;

use crate::errors::{closed, unavailable};
use crate::options::MAX_WAITING_READS;
use crate::shared::Shared;

type Read = Box<dyn FnOnce(&Shared) + Send>;

#[derive(Default)]
struct Waiting {
    reads: VecDeque<Read>,
    closed: bool,
}

/// The readers' inbox.
#[derive(Default)]
pub(crate) struct Readers {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

impl Readers {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Every change is a single step, so a panic elsewhere does not spoil the queue.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a reader thread do `work`.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.push(Box::new(move |shared| {
            // Whoever gave up waiting does not need the answer.
            let _ = reply.send(work(shared));
        }))?;
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    fn push(&self, read: Read) -> Result<(), StoreError> {
        let mut waiting = self.lock();
        if waiting.closed {
            return Err(closed());
        }
        if waiting.reads.len() >= MAX_WAITING_READS {
            return Err(unavailable(format!("{} reads are waiting", waiting.reads.len())));
        }
        waiting.reads.push_back(read);
        self.changed.notify_one();
        Ok(())
    }

    /// Ends the threads; what waits is answered that the store was closed.
    pub(crate) fn close(&self) {
        let mut waiting = self.lock();
        waiting.closed = true;
        waiting.reads.clear();
        self.changed.notify_all();
    }

    fn take(&self) -> Option<Read> {
        let mut waiting = self.lock();
        while waiting.reads.is_empty() && !waiting.closed {
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        waiting.reads.pop_front()
    }
}

/// A reader thread's life.
pub(crate) fn run(shared: &Arc<Shared>) {
    while let Some(read) = shared.readers.take() {
        read(shared);
    }
}
