//! How a key's value and history lie in the table: four little-endian numbers, then the value.

use bytes::Bytes;
use peloton_store::{Key, KeyValue, LeaseId, Revision, StoreError};

const HEADER_BYTES: usize = 32;

/// Puts a record together.
pub(crate) fn encode(kv: &KeyValue) -> Vec<u8> {
    let mut record = Vec::with_capacity(HEADER_BYTES + kv.value.len());
    let lease = kv.lease.map_or(0, |lease| lease.0);
    for number in [kv.create_revision.0, kv.mod_revision.0, kv.version, lease] {
        record.extend_from_slice(&number.to_le_bytes());
    }
    record.extend_from_slice(&kv.value);
    record
}

/// Takes a record apart.
pub(crate) fn decode(key: Key, record: &[u8], keys_only: bool) -> Result<KeyValue, StoreError> {
    let Some((header, value)) = record.split_first_chunk::<HEADER_BYTES>() else {
        let reason = format!("the record of {key:?} has {} bytes", record.len());
        return Err(StoreError::Corrupt { reason });
    };
    let (numbers, _) = header.as_chunks::<8>();
    let number = |index: usize| numbers.get(index).copied().map_or(0, i64::from_le_bytes);
    let lease = number(3);
    Ok(KeyValue {
        key,
        value: if keys_only { Bytes::new() } else { Bytes::copy_from_slice(value) },
        create_revision: Revision(number(0)),
        mod_revision: Revision(number(1)),
        version: number(2),
        lease: (lease != 0).then_some(LeaseId(lease)),
    })
}
