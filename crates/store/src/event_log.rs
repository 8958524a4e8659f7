//! The recent past, for watches: a pure ring of batches in revision order.
//!
//! Watches read the log by revision and own no queue, so a slow reader costs nothing and loses
//! nothing silently: when the log no longer holds what it needs, it is told `Compacted`.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::{Event, Revision, StoreError, WatchBatch};

/// What an [`EventLog`] keeps at most. The newest batch is always kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogBounds {
    /// Events.
    pub max_events: usize,
    /// Keys and values, in bytes.
    pub max_bytes: usize,
}

impl LogBounds {
    /// Keeps everything until it is compacted.
    pub const NONE: Self = Self { max_events: usize::MAX, max_bytes: usize::MAX };
}

/// Batches in revision order, from some revision to the newest.
#[derive(Clone, Debug)]
pub struct EventLog {
    batches: VecDeque<Arc<WatchBatch>>,
    bounds: LogBounds,
    events: usize,
    bytes: usize,
    compacted: Revision,
    newest: Revision,
}

impl EventLog {
    /// An empty log of a store that is at `newest`: the past up to there is unknown.
    pub fn new(newest: Revision, bounds: LogBounds) -> Self {
        // Nothing ever happened at the first revision, so nothing of it is missing.
        let compacted = if newest <= Revision::FIRST { Revision::ZERO } else { newest };
        Self { batches: VecDeque::new(), bounds, events: 0, bytes: 0, compacted, newest }
    }

    /// The newest revision whose events are gone.
    pub fn compacted(&self) -> Revision {
        self.compacted
    }

    /// The newest revision known.
    pub fn newest(&self) -> Revision {
        self.newest
    }

    /// Appends the batch of a revision that is newer than all before, and drops the oldest if the
    /// log has grown too large. A batch that is not newer is ignored: it is already here.
    pub fn push(&mut self, batch: Arc<WatchBatch>) {
        self.push_and_drop(batch, |_, _| {});
    }

    /// As [`EventLog::push`]; what is dropped is shown, oldest first, each with the newest revision that
    /// was gone before it.
    pub fn push_and_drop(
        &mut self,
        batch: Arc<WatchBatch>,
        mut dropped: impl FnMut(Revision, &Arc<WatchBatch>),
    ) {
        if batch.revision <= self.newest {
            return;
        }
        self.newest = batch.revision;
        self.events += batch.events.len();
        self.bytes += size_bytes(&batch);
        self.batches.push_back(batch);
        while self.batches.len() > 1
            && (self.events > self.bounds.max_events || self.bytes > self.bounds.max_bytes)
        {
            let gone_before = self.compacted;
            if let Some(batch) = self.drop_oldest() {
                dropped(gone_before, &batch);
            }
        }
    }

    /// What it keeps at most.
    pub fn bounds(&self) -> LogBounds {
        self.bounds
    }

    /// Forgets all events up to and including `at`.
    pub fn compact(&mut self, at: Revision) {
        let at = at.min(self.newest);
        while self.batches.front().is_some_and(|batch| batch.revision <= at) {
            self.drop_oldest();
        }
        self.compacted = self.compacted.max(at);
    }

    /// Up to `max` batches from revision `from` on.
    ///
    /// # Errors
    /// `Compacted` when the log does not reach back that far.
    pub fn since(&self, from: Revision, max: usize) -> Result<Vec<Arc<WatchBatch>>, StoreError> {
        if from <= self.compacted {
            return Err(StoreError::Compacted { at: self.compacted });
        }
        let first = self.batches.partition_point(|batch| batch.revision < from);
        Ok(self.batches.iter().skip(first).take(max).cloned().collect())
    }

    fn drop_oldest(&mut self) -> Option<Arc<WatchBatch>> {
        let batch = self.batches.pop_front()?;
        self.events -= batch.events.len();
        self.bytes -= size_bytes(&batch);
        self.compacted = batch.revision;
        Some(batch)
    }
}

/// Keys and values.
pub(crate) fn size_bytes(batch: &WatchBatch) -> usize {
    let of_event = |event: &Event| match event {
        Event::Put(kv) => kv.key.len() + kv.value.len(),
        Event::Delete { key, .. } => key.len(),
    };
    batch.events.iter().map(of_event).sum()
}
