//! Many readers of one [`EventLog`]: the watch streams of back ends that live in this process.
//!
//! The log holds the events of all keys, and a shard at its peak writes more in two seconds than it
//! keeps. So when a batch leaves the log, what of it lies in the range of a stream that has not read
//! it yet goes to that stream. Only a stream that is behind by more than a log's worth of events of its
//! own range is told `Compacted`.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_core::Stream;

use crate::event_log::size_bytes;
use crate::{EventLog, KeyRange, LogBounds, Revision, StoreError, WatchBatch, WatchStream};

/// Batches a stream takes from the log at once, so that the lock is held for a short time.
const BATCHES_PER_TURN: usize = 256;

/// Publishes batches to any number of watch streams. Cloning shares it.
#[derive(Clone, Debug)]
pub struct WatchHub {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug)]
struct Shared {
    log: EventLog,
    /// By stream, so that they are woken in the same order each time.
    wakers: BTreeMap<u64, Waker>,
    readers: BTreeMap<u64, Reader>,
    next_stream: u64,
    closed: bool,
}

/// How far a stream has read.
#[derive(Debug)]
struct Reader {
    range: KeyRange,
    next: Revision,
    /// What has left the log before the stream had read it.
    kept: VecDeque<WatchBatch>,
    events: usize,
    bytes: usize,
}

impl Reader {
    /// The part of a batch that lies in the range, if any.
    fn within_range(&self, batch: &WatchBatch) -> Option<WatchBatch> {
        let inside = |key: &[u8]| self.range.contains(key);
        let events: Vec<_> =
            batch.events.iter().filter(|event| inside(event.key())).cloned().collect();
        (!events.is_empty()).then_some(WatchBatch { revision: batch.revision, events })
    }

    /// A batch leaves the log, of which all up to `gone_before` had left.
    fn dropped(&mut self, bounds: LogBounds, gone_before: Revision, batch: &WatchBatch) {
        let unread = gone_before < self.next && self.next <= batch.revision;
        if !unread {
            return;
        }
        if let Some(batch) = self.within_range(batch) {
            let (events, bytes) = (batch.events.len(), size_bytes(&batch));
            if self.events + events > bounds.max_events || self.bytes + bytes > bounds.max_bytes {
                // From here on it is behind the log, which tells it so; the part that is here does not help.
                self.take_kept();
                return;
            }
            self.events += events;
            self.bytes += bytes;
            self.kept.push_back(batch);
        }
        self.next = batch.revision.next();
    }

    fn take_kept(&mut self) -> VecDeque<WatchBatch> {
        (self.events, self.bytes) = (0, 0);
        std::mem::take(&mut self.kept)
    }
}

impl WatchHub {
    /// A hub that reads from `log`.
    pub fn new(log: EventLog) -> Self {
        let shared = Shared {
            log,
            wakers: BTreeMap::new(),
            readers: BTreeMap::new(),
            next_stream: 0,
            closed: false,
        };
        Self { shared: Arc::new(Mutex::new(shared)) }
    }

    /// Makes batches visible, in revision order, and wakes the streams.
    pub fn publish(&self, batches: impl IntoIterator<Item = Arc<WatchBatch>>) {
        let mut shared = lock(&self.shared);
        let Shared { log, readers, .. } = &mut *shared;
        let bounds = log.bounds();
        for batch in batches {
            log.push_and_drop(batch, |gone_before, batch| {
                for reader in readers.values_mut() {
                    reader.dropped(bounds, gone_before, batch);
                }
            });
        }
        wake(shared);
    }

    /// Forgets all events up to and including `at`.
    pub fn compact(&self, at: Revision) {
        let mut shared = lock(&self.shared);
        shared.log.compact(at);
        wake(shared);
    }

    /// Ends all streams, present and future, with `Unavailable`, once they have delivered the rest.
    pub fn close(&self) {
        let mut shared = lock(&self.shared);
        shared.closed = true;
        wake(shared);
    }

    /// A stream of the range from revision `from` on; see [`crate::Store::watch`].
    pub fn watch(&self, range: KeyRange, from: Revision) -> WatchStream {
        let mut shared = lock(&self.shared);
        let id = shared.next_stream;
        shared.next_stream += 1;
        let reader = Reader { range, next: from, kept: VecDeque::new(), events: 0, bytes: 0 };
        shared.readers.insert(id, reader);
        drop(shared);
        Box::pin(HubStream {
            shared: Arc::clone(&self.shared),
            id,
            ready: VecDeque::new(),
            ended: false,
        })
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    // The state is valid between any two statements, so a panic elsewhere does not spoil it.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wake(mut shared: MutexGuard<'_, Shared>) {
    let wakers = std::mem::take(&mut shared.wakers);
    drop(shared);
    wakers.into_values().for_each(Waker::wake);
}

struct HubStream {
    shared: Arc<Mutex<Shared>>,
    id: u64,
    ready: VecDeque<WatchBatch>,
    ended: bool,
}

impl HubStream {
    /// Takes more batches; `Pending` when there are none. What was taken may all be of other keys.
    fn refill(&mut self, cx: &Context<'_>) -> Poll<Result<(), StoreError>> {
        let mut shared = lock(&self.shared);
        let Shared { log, wakers, readers, closed, .. } = &mut *shared;
        // Registered when the stream was made, and until it is dropped.
        let Some(reader) = readers.get_mut(&self.id) else { return Poll::Pending };
        if reader.next < Revision::FIRST {
            return Poll::Ready(Err(StoreError::InvalidArgument {
                field: "from",
                reason: format!("revision {}; at least 1 is allowed", reader.next),
            }));
        }
        if !reader.kept.is_empty() {
            self.ready = reader.take_kept();
            return Poll::Ready(Ok(()));
        }
        match log.since(reader.next, BATCHES_PER_TURN) {
            Err(error) => Poll::Ready(Err(error)),
            Ok(batches) if batches.is_empty() && *closed => {
                Poll::Ready(Err(StoreError::Unavailable { reason: "the store was closed".into() }))
            }
            Ok(batches) if batches.is_empty() => {
                wakers.insert(self.id, cx.waker().clone());
                Poll::Pending
            }
            Ok(batches) => {
                if let Some(last) = batches.last() {
                    reader.next = last.revision.next();
                }
                self.ready.extend(batches.iter().filter_map(|batch| reader.within_range(batch)));
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl Stream for HubStream {
    type Item = Result<WatchBatch, StoreError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        loop {
            if let Some(batch) = this.ready.pop_front() {
                return Poll::Ready(Some(Ok(batch)));
            }
            match this.refill(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => {
                    this.ended = true;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }
}

impl Drop for HubStream {
    fn drop(&mut self) {
        let mut shared = lock(&self.shared);
        shared.wakers.remove(&self.id);
        shared.readers.remove(&self.id);
    }
}
