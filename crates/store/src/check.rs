//! What no back end accepts, checked in one place so that all of them answer alike.

use std::collections::BTreeSet;

use crate::{Key, KeyRange, Limits, Op, StoreError, Txn};

/// Checks sizes, keys and that no key is written twice.
pub(crate) fn txn(txn: &Txn, limits: &Limits) -> Result<(), StoreError> {
    at_most("number of operations", txn.then.len(), limits.max_txn_ops)?;
    at_most("number of compares", txn.compares.len(), limits.max_txn_ops)?;
    at_most("transaction size in bytes", txn.size_bytes(), limits.max_txn_bytes)?;
    for compare in &txn.compares {
        key("compare.key", compare.key(), limits)?;
    }
    let mut written: BTreeSet<&Key> = BTreeSet::new();
    for op in &txn.then {
        match op {
            Op::Put { key: written_key, value, .. } => {
                key("put.key", written_key, limits)?;
                at_most("value size in bytes", value.len(), limits.max_value_bytes)?;
                if !written.insert(written_key) {
                    return Err(twice(written_key));
                }
            }
            Op::Delete { key: deleted } => key("delete.key", deleted, limits)?,
            Op::DeleteRange { range } => deleted_range(range, limits)?,
        }
    }
    for op in &txn.then {
        match op {
            Op::Put { .. } => {}
            Op::Delete { key } => {
                if written.contains(key) {
                    return Err(twice(key));
                }
            }
            Op::DeleteRange { range } => {
                // The first one at or behind the start is in the range, or none is.
                let first = written.range::<&Key, _>(&range.start..).next();
                if let Some(key) = first.filter(|key| range.contains(key)) {
                    return Err(twice(key));
                }
            }
        }
    }
    Ok(())
}

fn deleted_range(range: &KeyRange, limits: &Limits) -> Result<(), StoreError> {
    at_most("key size in bytes", range.start.len(), limits.max_key_bytes)?;
    at_most("key size in bytes", range.end.as_ref().map_or(0, Key::len), limits.max_key_bytes + 1)
}

fn key(field: &'static str, key: &Key, limits: &Limits) -> Result<(), StoreError> {
    if key.is_empty() {
        return Err(StoreError::InvalidArgument {
            field,
            reason: "a key must not be empty".into(),
        });
    }
    at_most("key size in bytes", key.len(), limits.max_key_bytes)
}

fn at_most(what: &'static str, size: usize, limit: usize) -> Result<(), StoreError> {
    if size > limit {
        return Err(StoreError::TooLarge { what, size: size as u64, limit: limit as u64 });
    }
    Ok(())
}

fn twice(key: &Key) -> StoreError {
    StoreError::InvalidArgument {
        field: "then",
        reason: format!("key {:?} is written more than once; once is allowed", key),
    }
}
