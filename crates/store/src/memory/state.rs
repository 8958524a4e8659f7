//! The executable specification: every rule of the contract in one synchronous state machine.
//!
//! It keeps the whole history until it is compacted, so it can answer what any back end may be asked.
//! Time is passed in, as a duration since an epoch of the caller's choice, and only moves forward.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use super::lease::Leases;
use crate::{
    Event, EventLog, GetResponse, Key, KeyRange, KeyValue, LeaseGrant, LeaseId, Limits, LogBounds,
    Op, RangeRequest, RangeResponse, Revision, StoreError, Txn, TxnResult, WatchBatch,
};

/// What the model takes by default: what the embedded back end takes.
const LIMITS: Limits = Limits {
    max_txn_ops: 4096,
    max_txn_bytes: 16 << 20,
    max_value_bytes: 1 << 20,
    max_key_bytes: 4096,
    max_page_keys: 10_000,
    min_lease_ttl: Duration::from_millis(100),
    max_lease_ttl: Duration::from_secs(24 * 60 * 60),
};

/// What a key was from a revision on; `None` is deleted.
#[derive(Clone, Debug)]
struct Written {
    revision: Revision,
    kv: Option<KeyValue>,
}

/// A store as a value: clone it to branch the world.
#[derive(Clone, Debug)]
pub struct MemoryState {
    limits: Limits,
    revision: Revision,
    compacted: Revision,
    now: Duration,
    keys: BTreeMap<Key, Vec<Written>>,
    log: EventLog,
    leases: Leases,
}

impl Default for MemoryState {
    fn default() -> Self {
        Self::new(LIMITS)
    }
}

impl MemoryState {
    /// An empty store that takes what `limits` say.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            revision: Revision::FIRST,
            compacted: Revision::ZERO,
            now: Duration::ZERO,
            keys: BTreeMap::new(),
            log: EventLog::new(Revision::FIRST, LogBounds::NONE),
            leases: Leases::default(),
        }
    }

    /// What the store takes.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// The current revision.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The latest value of a key.
    ///
    /// # Errors
    /// `InvalidArgument` for an empty key.
    pub fn get(&self, key: &Key) -> Result<GetResponse, StoreError> {
        if key.is_empty() {
            let reason = "a key must not be empty".to_owned();
            return Err(StoreError::InvalidArgument { field: "key", reason });
        }
        Ok(GetResponse { kv: self.latest(key).cloned(), revision: self.revision })
    }

    /// One page of a range.
    ///
    /// # Errors
    /// `Compacted`, or `InvalidArgument` for a revision in the future.
    pub fn range(&self, request: &RangeRequest) -> Result<RangeResponse, StoreError> {
        let revision = request.revision.unwrap_or(self.revision);
        if revision > self.revision {
            return Err(StoreError::InvalidArgument {
                field: "revision",
                reason: format!("{revision}; the store is at {}", self.revision),
            });
        }
        if revision < self.compacted {
            return Err(StoreError::Compacted { at: self.compacted });
        }
        let mut response = RangeResponse { kvs: Vec::new(), more: false, revision };
        let limit = match request.limit {
            0 => self.limits.max_page_keys,
            limit => limit.min(self.limits.max_page_keys),
        };
        for written in within(&self.keys, &request.range).map(|(_, written)| written) {
            let Some(kv) = as_of(written, revision) else { continue };
            if response.kvs.len() >= limit as usize {
                response.more = true;
                break;
            }
            let mut kv = kv.clone();
            if request.keys_only {
                kv.value.clear();
            }
            response.kvs.push(kv);
        }
        Ok(response)
    }

    /// Applies a transaction at time `now`, after everything that ran out before.
    ///
    /// # Errors
    /// Those of [`Txn::check`], and `LeaseNotFound`.
    pub fn apply(&mut self, txn: &Txn, now: Duration) -> Result<TxnResult, StoreError> {
        self.advance(now);
        txn.check(&self.limits)?;
        let current: Vec<Option<KeyValue>> =
            txn.compares.iter().map(|compare| self.latest(compare.key()).cloned()).collect();
        let compared = txn.compares.iter().zip(&current).enumerate();
        let failed: Vec<usize> = compared
            .filter(|(_, (compare, kv))| !compare.holds(kv.as_ref()))
            .map(|(index, _)| index)
            .collect();
        if !failed.is_empty() {
            return Ok(TxnResult::Conflict { revision: self.revision, failed, current });
        }
        let leases = txn.then.iter().filter_map(|op| match op {
            Op::Put { lease, .. } => *lease,
            Op::Delete { .. } | Op::DeleteRange { .. } => None,
        });
        for id in leases {
            if !self.leases.contains(id) {
                return Err(StoreError::LeaseNotFound { id });
            }
        }
        self.change(&txn.then);
        Ok(TxnResult::Committed { revision: self.revision })
    }

    /// Lets time pass: leases whose time is over delete their keys, each as one revision.
    pub fn advance(&mut self, now: Duration) {
        self.now = self.now.max(now);
        while let Some(id) = self.leases.expired(self.now) {
            // It was found a moment ago, so it is there.
            let _ = self.revoke(id);
        }
    }

    /// When the next lease runs out: call [`Self::advance`] then.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.leases.next_deadline()
    }

    /// Up to `max` batches from revision `from` on, of all keys.
    ///
    /// # Errors
    /// `Compacted`.
    pub fn events(&self, from: Revision, max: usize) -> Result<Vec<Arc<WatchBatch>>, StoreError> {
        self.log.since(from, max)
    }

    /// Grants a lease.
    ///
    /// # Errors
    /// `InvalidArgument`; see [`Limits::lease_ttl`].
    pub fn lease_grant(&mut self, ttl: Duration, now: Duration) -> Result<LeaseGrant, StoreError> {
        self.advance(now);
        let ttl = self.limits.lease_ttl(ttl)?;
        Ok(LeaseGrant { id: self.leases.grant(ttl, self.now), ttl })
    }

    /// Starts a lease's time anew.
    ///
    /// # Errors
    /// `LeaseNotFound`.
    pub fn lease_keep_alive(&mut self, id: LeaseId, now: Duration) -> Result<Duration, StoreError> {
        self.advance(now);
        self.leases.keep_alive(id, self.now)
    }

    /// Ends a lease and deletes its keys.
    ///
    /// # Errors
    /// `LeaseNotFound`.
    pub fn lease_revoke(&mut self, id: LeaseId, now: Duration) -> Result<(), StoreError> {
        self.advance(now);
        self.revoke(id)
    }

    /// How long a lease has left.
    ///
    /// # Errors
    /// `LeaseNotFound`.
    pub fn lease_time_to_live(
        &mut self,
        id: LeaseId,
        now: Duration,
    ) -> Result<Duration, StoreError> {
        self.advance(now);
        self.leases.time_to_live(id, self.now)
    }

    /// Forgets the history before `at`: no reads older than that, no watches from it or before.
    pub fn compact(&mut self, at: Revision) {
        let at = at.min(self.revision);
        if at <= self.compacted {
            return;
        }
        self.compacted = at;
        self.log.compact(at);
        self.keys.retain(|_, written| {
            let newer = written.partition_point(|entry| entry.revision <= at);
            written.drain(..newer.saturating_sub(1));
            if written.first().is_some_and(|entry| entry.kv.is_none() && entry.revision <= at) {
                written.remove(0);
            }
            !written.is_empty()
        });
    }

    fn revoke(&mut self, id: LeaseId) -> Result<(), StoreError> {
        let keys = self.leases.remove(id)?;
        let ops: Vec<Op> = keys.into_iter().map(|key| Op::Delete { key }).collect();
        self.change(&ops);
        Ok(())
    }

    fn latest(&self, key: &Key) -> Option<&KeyValue> {
        self.keys.get(key).and_then(|written| written.last()).and_then(|entry| entry.kv.as_ref())
    }

    /// Does all operations as the next revision, unless there is nothing to do.
    fn change(&mut self, ops: &[Op]) {
        let revision = self.revision.next();
        let mut events = Vec::new();
        for op in ops {
            match op {
                Op::Put { key, value, lease } => {
                    events.push(self.put(key, value.clone(), *lease, revision));
                }
                Op::Delete { key } => events.extend(self.delete(key, revision)),
                Op::DeleteRange { range } => {
                    let keys: Vec<Key> =
                        within(&self.keys, range).map(|(key, _)| key.clone()).collect();
                    events.extend(keys.iter().filter_map(|key| self.delete(key, revision)));
                }
            }
        }
        if !events.is_empty() {
            self.revision = revision;
            self.log.push(Arc::new(WatchBatch { revision, events }));
        }
    }

    fn put(
        &mut self,
        key: &Key,
        value: bytes::Bytes,
        lease: Option<LeaseId>,
        revision: Revision,
    ) -> Event {
        let before = self.latest(key);
        let old_lease = before.and_then(|kv| kv.lease);
        let kv = KeyValue {
            key: key.clone(),
            value,
            create_revision: before.map_or(revision, |kv| kv.create_revision),
            mod_revision: revision,
            version: before.map_or(0, |kv| kv.version) + 1,
            lease,
        };
        self.leases.move_key(key, old_lease, lease);
        let entry = Written { revision, kv: Some(kv.clone()) };
        self.keys.entry(key.clone()).or_default().push(entry);
        Event::Put(kv)
    }

    fn delete(&mut self, key: &Key, revision: Revision) -> Option<Event> {
        let old_lease = self.latest(key)?.lease;
        self.leases.move_key(key, old_lease, None);
        if let Some(written) = self.keys.get_mut(key) {
            written.push(Written { revision, kv: None });
        }
        Some(Event::Delete { key: key.clone(), mod_revision: revision })
    }
}

/// The part of the map within a range; a range that is the wrong way round is empty.
fn within<'a, T>(
    keys: &'a BTreeMap<Key, T>,
    range: &KeyRange,
) -> impl Iterator<Item = (&'a Key, &'a T)> {
    let end = match &range.end {
        Some(end) => Bound::Excluded(end.clone()),
        None => Bound::Unbounded,
    };
    let start = Bound::Included(range.start.clone());
    (!range.is_empty()).then(|| keys.range((start, end))).into_iter().flatten()
}

/// What a key was at `revision`.
fn as_of(written: &[Written], revision: Revision) -> Option<&KeyValue> {
    let newer = written.partition_point(|entry| entry.revision <= revision);
    written[..newer].last().and_then(|entry| entry.kv.as_ref())
}
