//! One engine transaction's worth of the store's transactions: each is evaluated against the state
//! that includes those before it, and gets a revision of its own.

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use peloton_store::{
    Event, Key, KeyRange, KeyValue, LeaseId, Op, Revision, StoreError, Txn, TxnResult, WatchBatch,
};
use redb::{ReadableTable, Table, WriteTransaction};

use crate::errors::disk;
use crate::leases::Leases;
use crate::record;
use crate::schema::{LEASED, META, META_REVISION, RECORDS};

/// What a batch did, to be made known once it is durable.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// The store's revision after it.
    pub(crate) revision: Revision,
    /// One for each revision.
    pub(crate) events: Vec<Arc<WatchBatch>>,
    /// Leases that ended.
    pub(crate) ended: Vec<LeaseId>,
}

/// A batch being put together. Errors of its methods spoil the whole batch; what only one transaction
/// is told comes as the inner result.
pub(crate) struct Batch<'txn> {
    records: Table<'txn, &'static [u8], &'static [u8]>,
    leased: Table<'txn, &'static [u8], ()>,
    leases: &'txn Leases,
    done: Done,
}

impl<'txn> Batch<'txn> {
    pub(crate) fn new(
        txn: &'txn WriteTransaction,
        leases: &'txn Leases,
        revision: Revision,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            records: txn.open_table(RECORDS).map_err(disk)?,
            leased: txn.open_table(LEASED).map_err(disk)?,
            leases,
            done: Done { revision, ..Done::default() },
        })
    }

    /// Applies a transaction that was checked before.
    pub(crate) fn commit(
        &mut self,
        txn: &Txn,
    ) -> Result<Result<TxnResult, StoreError>, StoreError> {
        let mut current = Vec::with_capacity(txn.compares.len());
        let mut failed = Vec::new();
        for (index, compare) in txn.compares.iter().enumerate() {
            let kv = self.get(compare.key())?;
            if !compare.holds(kv.as_ref()) {
                failed.push(index);
            }
            current.push(kv);
        }
        if !failed.is_empty() {
            let revision = self.done.revision;
            return Ok(Ok(TxnResult::Conflict { revision, failed, current }));
        }
        for op in &txn.then {
            if let Op::Put { lease: Some(id), .. } = op
                && !self.leases.is_live(*id)
            {
                return Ok(Err(StoreError::LeaseNotFound { id: *id }));
            }
        }
        let revision = self.done.revision.next();
        let mut events = Vec::with_capacity(txn.then.len());
        for op in &txn.then {
            match op {
                Op::Put { key, value, lease } => {
                    events.push(self.put(key, value, *lease, revision)?);
                }
                Op::Delete { key } => events.extend(self.delete(key, revision)?),
                Op::DeleteRange { range } => {
                    for key in self.keys(range)? {
                        events.extend(self.delete(&key, revision)?);
                    }
                }
            }
        }
        self.record(revision, events);
        Ok(Ok(TxnResult::Committed { revision: self.done.revision }))
    }

    /// Deletes the keys of a lease that was taken out of circulation.
    pub(crate) fn end_lease(&mut self, id: LeaseId) -> Result<(), StoreError> {
        let range = KeyRange::prefix(Bytes::copy_from_slice(&id.0.to_be_bytes()));
        let mut keys = Vec::new();
        for entry in self.leased.range::<&[u8]>(bounds(&range)).map_err(disk)? {
            let (entry, _) = entry.map_err(disk)?;
            keys.push(Bytes::copy_from_slice(entry.value().get(8..).unwrap_or_default()));
        }
        let revision = self.done.revision.next();
        let mut events = Vec::with_capacity(keys.len());
        for key in keys {
            events.extend(self.delete(&key, revision)?);
        }
        self.record(revision, events);
        self.done.ended.push(id);
        Ok(())
    }

    /// Writes the new revision; the engine's transaction can be committed then, if there are events.
    pub(crate) fn finish(self, txn: &WriteTransaction) -> Result<Done, StoreError> {
        if !self.done.events.is_empty() {
            let mut meta = txn.open_table(META).map_err(disk)?;
            meta.insert(META_REVISION, self.done.revision.0.unsigned_abs()).map_err(disk)?;
        }
        Ok(self.done)
    }

    fn record(&mut self, revision: Revision, events: Vec<Event>) {
        if !events.is_empty() {
            self.done.revision = revision;
            self.done.events.push(Arc::new(WatchBatch { revision, events }));
        }
    }

    fn get(&self, key: &Key) -> Result<Option<KeyValue>, StoreError> {
        let found = self.records.get(&key[..]).map_err(disk)?;
        found.map(|found| record::decode(key.clone(), found.value(), false)).transpose()
    }

    fn keys(&self, range: &KeyRange) -> Result<Vec<Key>, StoreError> {
        let mut keys = Vec::new();
        if range.is_empty() {
            return Ok(keys);
        }
        for entry in self.records.range::<&[u8]>(bounds(range)).map_err(disk)? {
            keys.push(Bytes::copy_from_slice(entry.map_err(disk)?.0.value()));
        }
        Ok(keys)
    }

    fn put(
        &mut self,
        key: &Key,
        value: &Bytes,
        lease: Option<LeaseId>,
        revision: Revision,
    ) -> Result<Event, StoreError> {
        let before = {
            let found = self.records.get(&key[..]).map_err(disk)?;
            found.map(|found| record::decode(key.clone(), found.value(), true)).transpose()?
        };
        let kv = KeyValue {
            key: key.clone(),
            value: value.clone(),
            create_revision: before.as_ref().map_or(revision, |kv| kv.create_revision),
            mod_revision: revision,
            version: before.as_ref().map_or(0, |kv| kv.version) + 1,
            lease,
        };
        self.records.insert(&key[..], &record::encode(&kv)[..]).map_err(disk)?;
        self.move_lease(key, before.and_then(|kv| kv.lease), lease)?;
        Ok(Event::Put(kv))
    }

    fn delete(&mut self, key: &Key, revision: Revision) -> Result<Option<Event>, StoreError> {
        let before = {
            let Some(found) = self.records.remove(&key[..]).map_err(disk)? else {
                return Ok(None);
            };
            record::decode(key.clone(), found.value(), true)?
        };
        self.move_lease(key, before.lease, None)?;
        Ok(Some(Event::Delete { key: key.clone(), mod_revision: revision }))
    }

    fn move_lease(
        &mut self,
        key: &Key,
        from: Option<LeaseId>,
        to: Option<LeaseId>,
    ) -> Result<(), StoreError> {
        if from == to {
            return Ok(());
        }
        if let Some(id) = from {
            self.leased.remove(&attachment(id, key)[..]).map_err(disk)?;
        }
        if let Some(id) = to {
            self.leased.insert(&attachment(id, key)[..], ()).map_err(disk)?;
        }
        Ok(())
    }
}

fn attachment(id: LeaseId, key: &Key) -> Vec<u8> {
    let mut attachment = id.0.to_be_bytes().to_vec();
    attachment.extend_from_slice(key);
    attachment
}

/// A range as the engine wants it. It must not be empty.
pub(crate) fn bounds(range: &KeyRange) -> (Bound<&[u8]>, Bound<&[u8]>) {
    let end = match &range.end {
        Some(end) => Bound::Excluded(&end[..]),
        None => Bound::Unbounded,
    };
    (Bound::Included(&range.start[..]), end)
}
