//! Many readers of one [`EventLog`]: the watch streams of back ends that live in this process.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_core::Stream;

use crate::{EventLog, KeyRange, Revision, StoreError, WatchBatch, WatchStream};

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
    next_stream: u64,
    closed: bool,
}

impl WatchHub {
    /// A hub that reads from `log`.
    pub fn new(log: EventLog) -> Self {
        let shared = Shared { log, wakers: BTreeMap::new(), next_stream: 0, closed: false };
        Self { shared: Arc::new(Mutex::new(shared)) }
    }

    /// Makes batches visible, in revision order, and wakes the streams.
    pub fn publish(&self, batches: impl IntoIterator<Item = Arc<WatchBatch>>) {
        let mut shared = lock(&self.shared);
        for batch in batches {
            shared.log.push(batch);
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
        drop(shared);
        Box::pin(HubStream {
            shared: Arc::clone(&self.shared),
            id,
            range,
            next: from,
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
    range: KeyRange,
    next: Revision,
    ready: VecDeque<Arc<WatchBatch>>,
    ended: bool,
}

impl HubStream {
    /// The part of a batch that lies in the range, if any.
    fn within_range(&self, batch: &WatchBatch) -> Option<WatchBatch> {
        let inside = |key: &[u8]| self.range.contains(key);
        let events: Vec<_> =
            batch.events.iter().filter(|event| inside(event.key())).cloned().collect();
        (!events.is_empty()).then_some(WatchBatch { revision: batch.revision, events })
    }

    /// Takes more batches from the log; `Pending` when there are none.
    fn refill(&mut self, cx: &Context<'_>) -> Poll<Result<(), StoreError>> {
        let shared = Arc::clone(&self.shared);
        let mut shared = lock(&shared);
        if self.next < Revision::FIRST {
            return Poll::Ready(Err(StoreError::InvalidArgument {
                field: "from",
                reason: format!("revision {}; at least 1 is allowed", self.next),
            }));
        }
        match shared.log.since(self.next, BATCHES_PER_TURN) {
            Err(error) => Poll::Ready(Err(error)),
            Ok(batches) if batches.is_empty() && shared.closed => {
                Poll::Ready(Err(StoreError::Unavailable { reason: "the store was closed".into() }))
            }
            Ok(batches) if batches.is_empty() => {
                shared.wakers.insert(self.id, cx.waker().clone());
                Poll::Pending
            }
            Ok(batches) => {
                if let Some(last) = batches.last() {
                    self.next = last.revision.next();
                }
                self.ready.extend(batches);
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
            while let Some(batch) = this.ready.pop_front() {
                if let Some(batch) = this.within_range(&batch) {
                    return Poll::Ready(Some(Ok(batch)));
                }
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
        lock(&self.shared).wakers.remove(&self.id);
    }
}
