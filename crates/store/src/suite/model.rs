//! The same random requests to the back end and to the model: the same answers and the same events.
//!
//! Revisions and lease ids differ between the two (a shared back end has seen other writes), so those of
//! the back end are translated by what was seen at each commit and grant.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::next_batch;
use super::random::Random;
use crate::{
    Compare, Event, Key, KeyRange, KeyValue, LeaseId, MemoryState, Op, RangeRequest, Revision,
    Store, StoreError, Txn, TxnResult,
};

const STEPS: u64 = 600;
const KEYS: u64 = 12;
const SEED: u64 = 0x5eed_0001;
/// Long enough not to run out during a test: time is the one thing the two do not share.
const LONG: Duration = Duration::from_secs(3600);

/// Runs the same random requests against the back end and the model.
pub async fn behaves_like_the_model(store: Arc<dyn Store>) {
    let mut pair = Pair {
        model: MemoryState::new(store.limits()),
        store,
        random: Random(SEED),
        revisions: BTreeMap::from([(Revision::ZERO, Revision::ZERO)]),
        leases: BTreeMap::new(),
    };
    let empty = pair.store.range(RangeRequest::new(KeyRange::all())).await.expect("range");
    pair.revisions.insert(empty.revision, pair.model.revision());
    let mut watch = pair.store.watch(KeyRange::all(), empty.revision.next());
    for step in 0..STEPS {
        match pair.random.below(10) {
            0 => pair.lease(step).await,
            1 => pair.get(step).await,
            2 => pair.range(step).await,
            _ => pair.commit(step).await,
        }
    }
    for expected in pair.model.events(Revision::FIRST, usize::MAX).expect("all") {
        let batch = next_batch(&mut watch).await;
        let events: Vec<Event> =
            batch.events.into_iter().map(|event| pair.event_as_in_model(event)).collect();
        assert_eq!(pair.revision_in_model(batch.revision), expected.revision);
        assert_eq!(events, expected.events, "at {}", expected.revision);
    }
}

struct Pair {
    store: Arc<dyn Store>,
    model: MemoryState,
    random: Random,
    /// The back end's revisions, and what they are in the model.
    revisions: BTreeMap<Revision, Revision>,
    /// The model's leases, and what they are in the back end.
    leases: BTreeMap<LeaseId, LeaseId>,
}

impl Pair {
    fn key(&mut self) -> Key {
        Key::from(format!("k{:02}", self.random.below(KEYS)))
    }

    fn key_range(&mut self) -> KeyRange {
        let (start, end) = (self.key(), self.key());
        match self.random.below(4) {
            0 => KeyRange::key(start),
            1 => KeyRange::prefix("k0"),
            _ => KeyRange::new(start, end),
        }
    }

    fn lease_id(&mut self) -> LeaseId {
        let known: Vec<LeaseId> = self.leases.keys().copied().collect();
        self.random.pick(&known).copied().unwrap_or(LeaseId(0x7fff_ffff))
    }

    fn lease_in_store(&self, id: LeaseId) -> LeaseId {
        self.leases.get(&id).copied().unwrap_or(id)
    }

    fn lease_in_model(&self, id: LeaseId) -> LeaseId {
        let found = self.leases.iter().find(|(_, store)| **store == id);
        found.map_or(id, |(model, _)| *model)
    }

    fn revision_in_model(&self, revision: Revision) -> Revision {
        *self.revisions.get(&revision).unwrap_or_else(|| panic!("unknown revision {revision}"))
    }

    fn as_in_model(&self, mut kv: KeyValue) -> KeyValue {
        kv.create_revision = self.revision_in_model(kv.create_revision);
        kv.mod_revision = self.revision_in_model(kv.mod_revision);
        kv.lease = kv.lease.map(|id| self.lease_in_model(id));
        kv
    }

    fn event_as_in_model(&self, event: Event) -> Event {
        match event {
            Event::Put(kv) => Event::Put(self.as_in_model(kv)),
            Event::Delete { key, mod_revision } => {
                Event::Delete { key, mod_revision: self.revision_in_model(mod_revision) }
            }
        }
    }

    fn error_as_in_model(&self, error: StoreError) -> StoreError {
        match error {
            StoreError::LeaseNotFound { id } => {
                StoreError::LeaseNotFound { id: self.lease_in_model(id) }
            }
            other => other,
        }
    }

    fn compare(&mut self) -> Compare {
        let key = self.key();
        let current = self.model.get(&key).expect("key").kv;
        let stale = self.random.below(8) == 0;
        match self.random.below(5) {
            0 => Compare::Absent { key },
            1 => Compare::Exists { key },
            2 => {
                let version = current.map_or(0, |kv| kv.version);
                Compare::Version { key, equals: version + i64::from(stale) }
            }
            3 => {
                let value = current.map(|kv| kv.value).unwrap_or_default();
                Compare::Value { key, equals: if stale { "stale".into() } else { value } }
            }
            _ => {
                let equals = current.map_or(Revision::ZERO, |kv| kv.mod_revision);
                Compare::ModRevision { key, equals: if stale { Revision(1) } else { equals } }
            }
        }
    }

    fn op(&mut self) -> Op {
        let key = self.key();
        match self.random.below(10) {
            0 => Op::DeleteRange { range: self.key_range() },
            1 | 2 => Op::Delete { key },
            kind => {
                let lease = (kind == 3).then(|| self.lease_id());
                Op::Put { key, value: self.random.below(100).to_string().into(), lease }
            }
        }
    }

    /// The model's transaction with the back end's revisions and leases.
    fn in_store(&self, txn: &Txn) -> Txn {
        let mut txn = txn.clone();
        for compare in &mut txn.compares {
            if let Compare::ModRevision { equals, .. } = compare {
                let known = self.revisions.iter().find(|(_, model)| *model == equals);
                *equals = known.map_or(*equals, |(store, _)| *store);
            }
        }
        for op in &mut txn.then {
            if let Op::Put { lease: Some(id), .. } = op {
                *id = self.lease_in_store(*id);
            }
        }
        txn
    }

    async fn commit(&mut self, step: u64) {
        let (compares, ops) = (self.random.below(3), self.random.below(5));
        let compares = (0..compares).map(|_| self.compare()).collect();
        let then = (0..ops).map(|_| self.op()).collect();
        let txn = Txn { compares, then };
        let before = self.model.revision();
        let found = self.store.commit(self.in_store(&txn)).await;
        let expected = self.model.apply(&txn, Duration::ZERO);
        if let Ok(TxnResult::Committed { revision }) = &found
            && self.model.revision() > before
        {
            self.revisions.insert(*revision, self.model.revision());
        }
        let found = found.map(without_revision).map_err(|error| self.error_as_in_model(error));
        let found = found.map(|(failed, current)| {
            let current = current.into_iter().map(|kv| kv.map(|kv| self.as_in_model(kv)));
            (failed, current.collect::<Vec<_>>())
        });
        assert_eq!(found, expected.map(without_revision), "seed {SEED} step {step}: {txn:?}");
    }

    async fn get(&mut self, step: u64) {
        let key = self.key();
        let found = self.store.get(key.clone()).await.expect("get").kv;
        let expected = self.model.get(&key).expect("get").kv;
        let found = found.map(|kv| self.as_in_model(kv));
        assert_eq!(found, expected, "seed {SEED} step {step}: {key:?}");
    }

    async fn range(&mut self, step: u64) {
        let mut request = RangeRequest::new(self.key_range());
        request.limit = u32::try_from(self.random.below(4)).expect("small");
        request.keys_only = self.random.below(4) == 0;
        let known: Vec<(Revision, Revision)> =
            self.revisions.iter().skip(1).map(|(store, model)| (*store, *model)).collect();
        let pinned = (self.random.below(3) == 0).then(|| *self.random.pick(&known).expect("one"));
        request.revision = pinned.map(|(store, _)| store);
        let page = match self.store.range(request.clone()).await {
            Err(StoreError::Compacted { .. }) if pinned.is_some() => return,
            page => page.expect("range"),
        };
        request.revision = pinned.map(|(_, model)| model);
        let expected = self.model.range(&request).expect("range");
        let found: Vec<KeyValue> = page.kvs.into_iter().map(|kv| self.as_in_model(kv)).collect();
        let context = format!("seed {SEED} step {step}: {request:?}");
        assert_eq!((found, page.more), (expected.kvs, expected.more), "{context}");
    }

    async fn lease(&mut self, step: u64) {
        let id = self.lease_id();
        if self.leases.is_empty() || self.random.below(2) == 0 {
            let found = self.store.lease_grant(LONG).await.expect("grant").id;
            let model = self.model.lease_grant(LONG, Duration::ZERO).expect("grant").id;
            self.leases.insert(model, found);
            return;
        }
        let before = self.model.revision();
        let found = self.store.lease_revoke(self.lease_in_store(id)).await;
        let expected = self.model.lease_revoke(id, Duration::ZERO);
        if self.model.revision() > before {
            // The revocation has a revision that only a read can tell.
            let now = self.store.range(RangeRequest::new(KeyRange::all())).await.expect("range");
            self.revisions.insert(now.revision, self.model.revision());
        }
        let found = found.map_err(|error| self.error_as_in_model(error));
        assert_eq!(found, expected, "seed {SEED} step {step}: revoke {id}");
    }
}

/// What failed, and what the keys are; empty for a commit.
fn without_revision(result: TxnResult) -> (Vec<usize>, Vec<Option<KeyValue>>) {
    match result {
        TxnResult::Committed { .. } => (Vec::new(), Vec::new()),
        TxnResult::Conflict { failed, current, .. } => {
            assert!(!failed.is_empty(), "a conflict without a cause");
            (failed, current)
        }
    }
}
