//! Watches: one stream of etcd's for each.
//!
//! A watch is polled by its reader and has no task of its own: what nobody reads stays with etcd, held
//! back by the stream's window, and a watch that is dropped cancels its stream. After a break it opens a
//! new stream at the revision behind the last one that it delivered whole.
//!
//! Three things that etcd does are put right here. It may split a transaction over several messages
//! (`fragment`): they are put together again. It may send events again: what was delivered is skipped. And
//! from the very revision that was compacted last it watches on although deletions of that revision are
//! gone (before 3.4.34 and 3.5.16): so every stream begins one revision early, which etcd refuses exactly
//! when something of ours may be missing, and the surplus is skipped, too.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use peloton_store::{Event, KeyRange, Revision, StoreError, WatchBatch, WatchStream};
use tokio::time::{Instant, sleep};
use tonic::{Status, Streaming};

use crate::backoff::Backoff;
use crate::connection::Connection;
use crate::core::Core;
use crate::failure::{Failure, closed};
use crate::proto::rpc;
use crate::proto::rpc::watch_request::RequestUnion;

/// The pauses before a stream is opened again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(2));

/// For the stream to be opened. It is tried again afterwards, for as long as it takes.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);

/// A reader that was away for so long gets a new stream: etcd before 3.4.31 and 3.5.13 can lose events of
/// a stream that was held back during a compaction.
const SLOW_READER: Duration = Duration::from_secs(10);

/// The stream of a range from revision `from` on; see [`peloton_store::Store::watch`].
pub(crate) fn watch(core: Arc<Core>, range: &KeyRange, from: Revision) -> WatchStream {
    if from < Revision::FIRST {
        let reason = format!("revision {from}; at least 1 is allowed");
        let error = StoreError::InvalidArgument { field: "from", reason };
        return Box::pin(stream::iter([Err(error)]));
    }
    let (key, range_end) = core.keys.range(range);
    let watch = Watch {
        core,
        key,
        range_end,
        empty: range.is_empty(),
        next: from,
        open: None,
        fragments: Vec::new(),
        ready: VecDeque::new(),
        pauses: Backoff::new(PAUSES.0, PAUSES.1),
        delivered: None,
    };
    // The state is gone after an error, and with it the stream.
    Box::pin(stream::unfold(Some(watch), async |watch| {
        let mut watch = watch?;
        match watch.next().await {
            Ok(batch) => Some((Ok(batch), Some(watch))),
            Err(error) => Some((Err(error), None)),
        }
    }))
}

/// A stream of etcd's, and the connection it runs on.
struct Open {
    connection: Arc<Connection>,
    stream: Streaming<rpc::WatchResponse>,
    token_number: u64,
}

struct Watch {
    core: Arc<Core>,
    key: Bytes,
    range_end: Bytes,
    /// No key can lie in the range.
    empty: bool,
    /// Everything before was delivered or is in `ready`.
    next: Revision,
    open: Option<Open>,
    /// Events of a message that is not complete yet.
    fragments: Vec<Event>,
    ready: VecDeque<WatchBatch>,
    pauses: Backoff,
    /// When the reader got the last batch, until it asks for the next.
    delivered: Option<Instant>,
}

impl Watch {
    async fn next(&mut self) -> Result<WatchBatch, StoreError> {
        if self.delivered.take().is_some_and(|at| at.elapsed() > SLOW_READER) {
            self.open = None;
        }
        let core = self.core.clone();
        let batch = tokio::select! {
            biased;
            () = core.closed() => Err(closed()),
            batch = self.next_while_open() => batch,
        }?;
        self.delivered = Some(Instant::now());
        Ok(batch)
    }

    async fn next_while_open(&mut self) -> Result<WatchBatch, StoreError> {
        if self.empty {
            return std::future::pending().await;
        }
        loop {
            if let Some(batch) = self.ready.pop_front() {
                return Ok(batch);
            }
            let Some(open) = &mut self.open else {
                self.reopen().await;
                continue;
            };
            let message = tokio::select! {
                biased;
                message = open.stream.message() => message,
                reason = open.connection.broken() => {
                    tracing::debug!(reason, "a watch lost its connection");
                    self.open = None;
                    continue;
                }
            };
            match message {
                Ok(Some(message)) => self.take(message).await?,
                Ok(None) => self.lost("etcd ended the stream".to_owned()).await,
                Err(status) => {
                    if Failure::is_connection(&status) {
                        open.connection.fail(Failure::of(&status).reason());
                    }
                    self.lost(status.message().to_owned()).await;
                }
            }
        }
    }

    /// The stream is of no use any more; the next one is opened after a pause.
    async fn lost(&mut self, reason: String) {
        self.open = None;
        tracing::debug!(reason, next = %self.next, "a watch is opened again");
        sleep(self.pauses.next()).await;
    }

    async fn reopen(&mut self) {
        self.fragments.clear();
        let deadline = Instant::now() + OPEN_TIMEOUT;
        match self.core.connected(deadline).await {
            Err(failure) => self.lost(failure.reason()).await,
            Ok(connection) => match self.stream(connection, deadline).await {
                Ok(open) => self.open = Some(open),
                Err(reason) => self.lost(reason).await,
            },
        }
    }

    async fn stream(&self, connection: Arc<Connection>, deadline: Instant) -> Result<Open, String> {
        let create = rpc::WatchCreateRequest {
            key: self.key.clone(),
            range_end: self.range_end.clone(),
            // One early; see the module. 0 would stand for now.
            start_revision: self.next.0.saturating_sub(1).max(1),
            progress_notify: true,
            fragment: true,
        };
        let request =
            rpc::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        // The stream ends with its requests, so they do not end.
        let requests = stream::iter([request]).chain(stream::pending());
        let token_number = connection.token_number();
        let request = connection.request(requests);
        let mut client = connection.watch();
        let opened: Result<_, Status> = tokio::select! {
            biased;
            opened = client.watch(request) => opened,
            reason = connection.broken() => return Err(reason),
            () = tokio::time::sleep_until(deadline) => {
                return Err("etcd does not open the stream".to_owned());
            }
        };
        match opened {
            Ok(response) => {
                let stream = response.into_inner();
                Ok(Open { connection: connection.clone(), stream, token_number })
            }
            Err(status) => {
                if Failure::is_connection(&status) {
                    connection.fail(Failure::of(&status).reason());
                }
                self.renew_token(&connection, token_number, status.message()).await;
                Err(status.message().to_owned())
            }
        }
    }

    async fn renew_token(&self, connection: &Connection, number: u64, reason: &str) {
        // etcd 3.4 says of an old token that permission is denied.
        let about_token = ["auth token", "auth store", "user name is empty", "permission denied"];
        if about_token.iter().any(|text| reason.contains(text))
            && let Err(failure) = connection.authenticate(&self.core.options, number).await
        {
            tracing::warn!(reason = failure.reason(), "a watch cannot authenticate");
        }
    }

    /// A message of etcd's.
    async fn take(&mut self, message: rpc::WatchResponse) -> Result<(), StoreError> {
        if message.canceled {
            if message.compact_revision != 0 {
                return Err(StoreError::Compacted { at: Revision(message.compact_revision) });
            }
            if let Some(open) = self.open.take() {
                let reason = &message.cancel_reason;
                self.renew_token(&open.connection, open.token_number, reason).await;
                self.lost(reason.clone()).await;
            }
            return Ok(());
        }
        self.pauses.reset();
        if message.created {
            return Ok(());
        }
        let progress = message.events.is_empty() && !message.fragment && self.fragments.is_empty();
        if progress {
            // All up to there was sent, and there was nothing for us.
            let revision = Revision(message.header.unwrap_or_default().revision);
            self.next = self.next.max(revision.next());
            return Ok(());
        }
        for event in message.events {
            self.fragments.push(self.core.keys.event(event)?);
        }
        if !message.fragment {
            let events = std::mem::take(&mut self.fragments);
            self.next = batches(events, self.next, &mut self.ready);
        }
        Ok(())
    }
}

/// Puts events that are not older than `next` together by revision; returns the new `next`.
fn batches(events: Vec<Event>, next: Revision, ready: &mut VecDeque<WatchBatch>) -> Revision {
    let first = ready.len();
    for event in events {
        let revision = match &event {
            Event::Put(kv) => kv.mod_revision,
            Event::Delete { mod_revision, .. } => *mod_revision,
        };
        if revision < next {
            continue;
        }
        match ready.iter_mut().skip(first).next_back() {
            Some(last) if last.revision == revision => last.events.push(event),
            _ => ready.push_back(WatchBatch { revision, events: vec![event] }),
        }
    }
    ready.back().map_or(next, |last| last.revision.next().max(next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_batched_by_revision_and_old_ones_skipped() {
        let delete = |key: &'static str, revision| Event::Delete {
            key: key.into(),
            mod_revision: Revision(revision),
        };
        let mut ready = VecDeque::new();
        let events = vec![delete("old", 4), delete("a", 5), delete("b", 5), delete("a", 7)];
        let next = batches(events, Revision(5), &mut ready);
        assert_eq!(next, Revision(8));
        let found: Vec<(i64, usize)> =
            ready.iter().map(|batch| (batch.revision.0, batch.events.len())).collect();
        assert_eq!(found, [(5, 2), (7, 1)]);
        // Sent again after a break.
        let next = batches(vec![delete("a", 7), delete("c", 8)], next, &mut ready);
        assert_eq!((next, ready.len()), (Revision(9), 3));
        assert_eq!(batches(vec![delete("a", 7)], next, &mut VecDeque::new()), next);
    }
}
