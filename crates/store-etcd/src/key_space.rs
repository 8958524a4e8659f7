//! Where our keys live in etcd: `<prefix>/data/` and then the key of the contract. Beside them, at
//! `<prefix>/schema`, stands how they are to be read; it is no key of the contract.

use bytes::{Bytes, BytesMut};
use peloton_store::{Event, Key, KeyRange, KeyValue, LeaseId, Revision, StoreError};

use crate::proto::mvccpb;

/// Puts the prefix before keys, and takes it off.
#[derive(Clone, Debug)]
pub(crate) struct KeySpace {
    prefix: Bytes,
    /// The first key behind all of ours.
    end: Bytes,
    schema: Bytes,
}

impl KeySpace {
    pub(crate) fn new(prefix: &str) -> Self {
        Self {
            prefix: Bytes::from(format!("{prefix}/data/")),
            // '0' comes right after '/'.
            end: Bytes::from(format!("{prefix}/data0")),
            schema: Bytes::from(format!("{prefix}/schema")),
        }
    }

    /// The key that holds the schema's version.
    pub(crate) fn schema(&self) -> Bytes {
        self.schema.clone()
    }

    /// The key as etcd has it.
    pub(crate) fn key(&self, key: &Key) -> Bytes {
        let mut full = BytesMut::with_capacity(self.prefix.len() + key.len());
        full.extend_from_slice(&self.prefix);
        full.extend_from_slice(key);
        full.freeze()
    }

    /// The range as etcd has it: its first key, and the first one behind it.
    pub(crate) fn range(&self, range: &KeyRange) -> (Bytes, Bytes) {
        let end = range.end.as_ref().map_or_else(|| self.end.clone(), |end| self.key(end));
        (self.key(&range.start), end)
    }

    /// A key and its value without the prefix.
    pub(crate) fn kv(&self, kv: mvccpb::KeyValue) -> Result<KeyValue, StoreError> {
        Ok(KeyValue {
            key: self.strip(kv.key)?,
            value: kv.value,
            create_revision: Revision(kv.create_revision),
            mod_revision: Revision(kv.mod_revision),
            version: kv.version,
            lease: (kv.lease != 0).then_some(LeaseId(kv.lease)),
        })
    }

    /// A change without the prefix.
    pub(crate) fn event(&self, event: mvccpb::Event) -> Result<Event, StoreError> {
        let deleted = event.r#type() == mvccpb::event::EventType::Delete;
        let kv = event.kv.unwrap_or_default();
        if deleted {
            let mod_revision = Revision(kv.mod_revision);
            return Ok(Event::Delete { key: self.strip(kv.key)?, mod_revision });
        }
        Ok(Event::Put(self.kv(kv)?))
    }

    fn strip(&self, key: Bytes) -> Result<Key, StoreError> {
        if !key.starts_with(&self.prefix) {
            let reason = format!("etcd answered the key {key:?}, which nobody asked for");
            return Err(StoreError::Corrupt { reason });
        }
        Ok(key.slice(self.prefix.len()..))
    }
}
