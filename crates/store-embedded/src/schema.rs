//! What is in the file, and how the file is opened.
//!
//! Three tables: the records; which keys are attached to which lease (so that they can be found without
//! reading everything); and a few numbers about the store itself, the schema version first of all.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use peloton_store::{Revision, StoreError};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, TableHandle};

use crate::disk::{Disk, SyncFailed};
use crate::errors::{disk, no_panic, unavailable};
use crate::options::Options;

/// The schema version this program writes, and the newest it reads.
pub const SCHEMA_VERSION: u64 = 1;

/// The data file's name.
pub(crate) const DATA_FILE: &str = "store.redb";

/// Key -> record.
pub(crate) const RECORDS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("records");
/// Lease (big-endian) and key -> nothing.
pub(crate) const LEASED: TableDefinition<'static, &[u8], ()> = TableDefinition::new("leased");
/// Name -> number.
pub(crate) const META: TableDefinition<'static, &str, u64> = TableDefinition::new("meta");
/// Nothing -> bytes that mean nothing: there only while the disk is tried out.
pub(crate) const PROBE: TableDefinition<'static, (), &[u8]> = TableDefinition::new("probe");
/// In [`META`]: the schema version.
const META_SCHEMA: &str = "schema";
/// In [`META`]: the current revision.
pub(crate) const META_REVISION: &str = "revision";
/// In [`META`]: how often the file was opened; writing it makes what is seen on opening durable.
const META_OPENED: &str = "opened";

/// Whether the leases of whoever had the file open before have died with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    /// A new process: its predecessor's leases are gone, and their keys with them.
    Start,
    /// The same process after a disk error: its leases live on.
    Again,
}

/// Opens the file, creates or migrates what is in it, and makes sure that what is seen is durable.
pub(crate) fn open(
    options: &Options,
    sync_failed: &Arc<SyncFailed>,
    opening: Opening,
) -> Result<(Database, Revision), StoreError> {
    no_panic(|| {
        let path = options.path.join(DATA_FILE);
        #[cfg_attr(not(test), allow(unused_mut))]
        let mut backend = Disk::open(&path, Arc::clone(sync_failed))
            .map_err(|error| unavailable(format!("cannot open {}: {error}", path.display())))?;
        #[cfg(test)]
        {
            backend.faults = Arc::clone(&options.faults);
        }
        let database = Database::builder()
            .set_cache_size(options.cache_bytes)
            .create_with_backend(backend)
            .map_err(|error| at_path(&path, disk(error)))?;
        let found = version(&database).map_err(|error| at_path(&path, error))?;
        if found.is_some_and(|found| found > SCHEMA_VERSION) {
            let found = found.unwrap_or_default();
            return Err(StoreError::Schema { found, supported: SCHEMA_VERSION });
        }
        let revision = prepare(&database, found, opening).map_err(|error| at_path(&path, error))?;
        sync_directory(&options.path)?;
        Ok((database, revision))
    })
}

/// A new file survives a power cut only when its directory was synced, too.
fn sync_directory(path: &Path) -> Result<(), StoreError> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| unavailable(format!("cannot sync {}: {error}", path.display())))
}

fn at_path(path: &Path, error: StoreError) -> StoreError {
    match error {
        StoreError::Corrupt { reason } => {
            StoreError::Corrupt { reason: format!("{}: {reason}", path.display()) }
        }
        StoreError::Unavailable { reason } => {
            StoreError::Unavailable { reason: format!("{}: {reason}", path.display()) }
        }
        other => other,
    }
}

/// The schema version of the file; `None` for an empty one.
fn version(database: &Database) -> Result<Option<u64>, StoreError> {
    let txn = database.begin_read().map_err(disk)?;
    let tables: Vec<String> =
        txn.list_tables().map_err(disk)?.map(|table| table.name().to_owned()).collect();
    if tables.is_empty() {
        return Ok(None);
    }
    let foreign = |what: &str| StoreError::Corrupt {
        reason: format!("{what}; it is not a store of Peloton's"),
    };
    if !tables.iter().any(|name| name == META.name()) {
        return Err(foreign(&format!("there are tables {tables:?} but no {:?}", META.name())));
    }
    let meta = txn.open_table(META).map_err(disk)?;
    let version = meta.get(META_SCHEMA).map_err(disk)?;
    version.map(|version| Some(version.value())).ok_or_else(|| foreign("no schema version"))
}

/// Brings the file to the current schema and deletes the keys of dead leases, as one revision.
fn prepare(
    database: &Database,
    found: Option<u64>,
    opening: Opening,
) -> Result<Revision, StoreError> {
    let txn = database.begin_write().map_err(disk)?;
    let revision;
    {
        let mut meta = txn.open_table(META).map_err(disk)?;
        if found.is_none() {
            let first = Revision::FIRST.0.unsigned_abs();
            meta.insert(META_REVISION, first).map_err(disk)?;
        }
        // Migrations go here, from `found` up one version at a time, inside this transaction.
        meta.insert(META_SCHEMA, SCHEMA_VERSION).map_err(disk)?;
        let opened = meta.get(META_OPENED).map_err(disk)?.map_or(0, |number| number.value());
        meta.insert(META_OPENED, opened.wrapping_add(1)).map_err(disk)?;
        let mut current = read_revision(&meta)?;
        let mut records = txn.open_table(RECORDS).map_err(disk)?;
        let mut leased = txn.open_table(LEASED).map_err(disk)?;
        if opening == Opening::Start {
            let mut orphans = Vec::new();
            for entry in leased.iter().map_err(disk)? {
                orphans.push(Bytes::copy_from_slice(entry.map_err(disk)?.0.value()));
            }
            for orphan in &orphans {
                leased.remove(&orphan[..]).map_err(disk)?;
                records.remove(orphan.get(8..).unwrap_or_default()).map_err(disk)?;
            }
            if !orphans.is_empty() {
                current = current.next();
                meta.insert(META_REVISION, current.0.unsigned_abs()).map_err(disk)?;
            }
        }
        revision = current;
    }
    txn.commit().map_err(disk)?;
    Ok(revision)
}

/// The current revision as the table has it.
pub(crate) fn read_revision(
    meta: &impl ReadableTable<&'static str, u64>,
) -> Result<Revision, StoreError> {
    let number = meta.get(META_REVISION).map_err(disk)?.map(|number| number.value());
    let number = number.and_then(|number| i64::try_from(number).ok()).filter(|number| *number > 0);
    number.map(Revision).ok_or_else(|| StoreError::Corrupt { reason: "no valid revision".into() })
}
