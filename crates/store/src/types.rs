//! The nouns of the contract: keys, revisions, ranges, transactions, events.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use crate::StoreError;

/// A key; ordered bytewise. Never empty.
pub type Key = Bytes;
/// A value; may be empty.
pub type Value = Bytes;

/// The store's logical clock: one up for every transaction that changes something. A new store is at
/// [`Revision::FIRST`]; zero stands for "never".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub i64);

impl Revision {
    /// Before anything: the `mod_revision` of a key that does not exist.
    pub const ZERO: Self = Self(0);
    /// The revision of a store nothing was ever written to.
    pub const FIRST: Self = Self(1);

    /// The revision after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names a lease. Never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub i64);

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// A lease as it was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseGrant {
    /// Its name.
    pub id: LeaseId,
    /// How long it lives without a keep-alive; at least what was asked for.
    pub ttl: Duration,
}

/// A key with its value and history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: Key,
    /// Its value; empty when only keys were asked for.
    pub value: Value,
    /// The revision that created it (after its last deletion).
    pub create_revision: Revision,
    /// The revision that last wrote it.
    pub mod_revision: Revision,
    /// How often it was written since its creation, from 1.
    pub version: i64,
    /// The lease it is attached to.
    pub lease: Option<LeaseId>,
}

/// A half-open range of keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyRange {
    /// The first key in the range.
    pub start: Key,
    /// The first key behind the range; `None` reaches to the end of all keys.
    pub end: Option<Key>,
}

impl KeyRange {
    /// All keys from `start` up to, not including, `end`.
    pub fn new(start: impl Into<Key>, end: impl Into<Key>) -> Self {
        Self { start: start.into(), end: Some(end.into()) }
    }

    /// Every key there is.
    pub fn all() -> Self {
        Self { start: Key::new(), end: None }
    }

    /// This one key.
    pub fn key(key: impl Into<Key>) -> Self {
        let start = key.into();
        let end = successor(&start);
        Self { start, end: Some(end) }
    }

    /// All keys that begin with `prefix`.
    pub fn prefix(prefix: impl Into<Key>) -> Self {
        let start: Key = prefix.into();
        let kept = start.iter().rposition(|byte| *byte != u8::MAX);
        let end = kept.map(|last| {
            let mut end = start[..=last].to_vec();
            end[last] += 1;
            Key::from(end)
        });
        Self { start, end }
    }

    /// Whether `key` lies in the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        self.start[..] <= *key && self.end.as_ref().is_none_or(|end| *key < end[..])
    }

    /// Whether no key can lie in the range.
    pub fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.start)
    }

    /// What is left of the range behind `key`: where the next page starts.
    #[must_use]
    pub fn after(&self, key: &Key) -> Self {
        Self { start: successor(key).max(self.start.clone()), end: self.end.clone() }
    }
}

/// The smallest key greater than `key`.
fn successor(key: &Key) -> Key {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    Key::from(next)
}

/// Asks for one page of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeRequest {
    /// The keys wanted.
    pub range: KeyRange,
    /// At most so many keys; zero leaves the page size to the back end.
    pub limit: u32,
    /// Read as of this revision; `None` reads the latest. A back end need not keep history: the
    /// embedded one serves an old revision only for a short time after it answered a first page of
    /// it, and answers `Compacted` otherwise.
    pub revision: Option<Revision>,
    /// Leave the values out.
    pub keys_only: bool,
}

impl RangeRequest {
    /// The first page of a range at the latest revision, with values.
    pub fn new(range: KeyRange) -> Self {
        Self { range, limit: 0, revision: None, keys_only: false }
    }

    /// At most `limit` keys; zero leaves the page size to the back end.
    #[must_use]
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = limit;
        self
    }

    /// Reads as of `revision`.
    #[must_use]
    pub fn at(mut self, revision: Revision) -> Self {
        self.revision = Some(revision);
        self
    }

    /// Leaves the values out.
    #[must_use]
    pub fn keys_only(mut self) -> Self {
        self.keys_only = true;
        self
    }
}

/// One page of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeResponse {
    /// In key order.
    pub kvs: Vec<KeyValue>,
    /// Whether the range holds more keys behind the last one here.
    pub more: bool,
    /// The revision this page is of: pin the next page to it, or watch from the one after it.
    pub revision: Revision,
}

/// One key's value, or the news that it has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetResponse {
    /// The key's value, if it exists.
    pub kv: Option<KeyValue>,
    /// The revision this is of.
    pub revision: Revision,
}

/// A condition of a transaction, on the state right before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compare {
    /// The key was last written by this revision; zero means it does not exist.
    ModRevision {
        /// The key.
        key: Key,
        /// What its `mod_revision` must be.
        equals: Revision,
    },
    /// The key does not exist.
    Absent {
        /// The key.
        key: Key,
    },
    /// The key exists.
    Exists {
        /// The key.
        key: Key,
    },
    /// The key was written so often since its creation; zero means it does not exist.
    Version {
        /// The key.
        key: Key,
        /// What its version must be.
        equals: i64,
    },
    /// The key exists and has this value.
    Value {
        /// The key.
        key: Key,
        /// What its value must be.
        equals: Value,
    },
}

impl Compare {
    /// The key this looks at.
    pub fn key(&self) -> &Key {
        match self {
            Self::ModRevision { key, .. }
            | Self::Absent { key }
            | Self::Exists { key }
            | Self::Version { key, .. }
            | Self::Value { key, .. } => key,
        }
    }

    /// Whether it holds when the key is `current`.
    pub fn holds(&self, current: Option<&KeyValue>) -> bool {
        match self {
            Self::ModRevision { equals, .. } => {
                current.map_or(Revision::ZERO, |kv| kv.mod_revision) == *equals
            }
            Self::Absent { .. } => current.is_none(),
            Self::Exists { .. } => current.is_some(),
            Self::Version { equals, .. } => current.map_or(0, |kv| kv.version) == *equals,
            Self::Value { equals, .. } => current.is_some_and(|kv| kv.value == *equals),
        }
    }
}

/// A change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Writes a key. Without a lease it detaches the key from the one it had.
    Put {
        /// The key.
        key: Key,
        /// Its new value.
        value: Value,
        /// The lease that the key shall live with.
        lease: Option<LeaseId>,
    },
    /// Deletes a key if it exists.
    Delete {
        /// The key.
        key: Key,
    },
    /// Deletes all keys of a range.
    DeleteRange {
        /// The range.
        range: KeyRange,
    },
}

/// Operations that happen together, if all compares hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// All must hold.
    pub compares: Vec<Compare>,
    /// Done in this order. No key may be written twice or be both written and deleted.
    pub then: Vec<Op>,
}

impl Txn {
    /// An empty transaction.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a condition.
    #[must_use]
    pub fn when(mut self, compare: Compare) -> Self {
        self.compares.push(compare);
        self
    }

    /// Only if `key` was last written by `revision`; [`Revision::ZERO`] if it does not exist.
    #[must_use]
    pub fn when_unchanged(self, key: impl Into<Key>, revision: Revision) -> Self {
        self.when(Compare::ModRevision { key: key.into(), equals: revision })
    }

    /// Only if `key` does not exist.
    #[must_use]
    pub fn when_absent(self, key: impl Into<Key>) -> Self {
        self.when(Compare::Absent { key: key.into() })
    }

    /// Only if `key` exists.
    #[must_use]
    pub fn when_exists(self, key: impl Into<Key>) -> Self {
        self.when(Compare::Exists { key: key.into() })
    }

    /// Writes `key`.
    #[must_use]
    pub fn put(mut self, key: impl Into<Key>, value: impl Into<Value>) -> Self {
        self.then.push(Op::Put { key: key.into(), value: value.into(), lease: None });
        self
    }

    /// Writes `key` to live as long as `lease`.
    #[must_use]
    pub fn put_leased(
        mut self,
        key: impl Into<Key>,
        value: impl Into<Value>,
        lease: LeaseId,
    ) -> Self {
        self.then.push(Op::Put { key: key.into(), value: value.into(), lease: Some(lease) });
        self
    }

    /// Deletes `key`.
    #[must_use]
    pub fn delete(mut self, key: impl Into<Key>) -> Self {
        self.then.push(Op::Delete { key: key.into() });
        self
    }

    /// Deletes all keys of `range`.
    #[must_use]
    pub fn delete_range(mut self, range: KeyRange) -> Self {
        self.then.push(Op::DeleteRange { range });
        self
    }

    /// Keys and values of the whole transaction, in bytes.
    pub fn size_bytes(&self) -> usize {
        let compares = self.compares.iter().map(|compare| {
            compare.key().len()
                + if let Compare::Value { equals, .. } = compare { equals.len() } else { 0 }
        });
        let ops = self.then.iter().map(|op| match op {
            Op::Put { key, value, .. } => key.len() + value.len(),
            Op::Delete { key } => key.len(),
            Op::DeleteRange { range } => {
                range.start.len() + range.end.as_ref().map_or(0, Bytes::len)
            }
        });
        compares.chain(ops).sum()
    }

    /// What every back end checks before it takes a transaction.
    ///
    /// # Errors
    /// `TooLarge` and `InvalidArgument`.
    pub fn check(&self, limits: &Limits) -> Result<(), StoreError> {
        crate::check::txn(self, limits)
    }
}

/// How a transaction ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TxnResult {
    /// All compares held; the operations are done and durable.
    Committed {
        /// The transaction's own revision; the store's current one if nothing changed.
        revision: Revision,
    },
    /// At least one compare did not hold; nothing was done.
    Conflict {
        /// The revision this is of.
        revision: Revision,
        /// The positions in [`Txn::compares`] of those that did not hold, ascending.
        failed: Vec<usize>,
        /// What each compared key was, in the order of [`Txn::compares`].
        current: Vec<Option<KeyValue>>,
    },
}

impl TxnResult {
    /// The revision of a commit.
    pub fn committed(&self) -> Option<Revision> {
        match self {
            Self::Committed { revision } => Some(*revision),
            Self::Conflict { .. } => None,
        }
    }
}

/// A change that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The key was written.
    Put(KeyValue),
    /// The key was deleted.
    Delete {
        /// The key.
        key: Key,
        /// The revision that deleted it.
        mod_revision: Revision,
    },
}

impl Event {
    /// The key that changed.
    pub fn key(&self) -> &Key {
        match self {
            Self::Put(kv) => &kv.key,
            Self::Delete { key, .. } => key,
        }
    }
}

/// All events of one revision within a watch's range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchBatch {
    /// The revision.
    pub revision: Revision,
    /// In the order of the transaction's operations; at most one for a key.
    pub events: Vec<Event>,
}

/// What a back end takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Operations in one transaction; the compares may be as many again.
    pub max_txn_ops: usize,
    /// Keys and values of one transaction, in bytes; see [`Txn::size_bytes`].
    pub max_txn_bytes: usize,
    /// One value, in bytes.
    pub max_value_bytes: usize,
    /// One key, in bytes.
    pub max_key_bytes: usize,
    /// Keys in one page of a range.
    pub max_page_keys: u32,
    /// The shortest time a lease really gets; shorter ones are rounded up.
    pub min_lease_ttl: Duration,
    /// The longest time a lease may ask for.
    pub max_lease_ttl: Duration,
}

impl Limits {
    /// Checks the time a lease asks for, and rounds it up to [`Limits::min_lease_ttl`].
    ///
    /// # Errors
    /// `InvalidArgument` for zero or more than [`Limits::max_lease_ttl`].
    pub fn lease_ttl(&self, ttl: Duration) -> Result<Duration, StoreError> {
        if ttl.is_zero() || ttl > self.max_lease_ttl {
            return Err(StoreError::InvalidArgument {
                field: "ttl",
                reason: format!("{ttl:?}; more than zero, at most {:?}", self.max_lease_ttl),
            });
        }
        Ok(ttl.max(self.min_lease_ttl))
    }
}
