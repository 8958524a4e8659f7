//! What the handle, the writer and the readers share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

use peloton_store::{
    GetResponse, Health, Key, RangeRequest, RangeResponse, Revision, StoreError, WatchHub,
};
use redb::{Database, ReadTransaction, ReadableDatabase};

use crate::batch::bounds;
use crate::disk::SyncFailed;
use crate::errors::{closed, disk, no_panic, unavailable};
use crate::leases::Leases;
use crate::options::{LIMITS, MAX_PAGE_BYTES, Options};
use crate::queue::Queue;
use crate::reader::Readers;
use crate::record;
use crate::schema::{META, RECORDS, read_revision};
use crate::snapshots::Snapshots;

/// Everything but the threads.
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) queue: Queue,
    pub(crate) readers: Readers,
    pub(crate) leases: Leases,
    pub(crate) hub: WatchHub,
    pub(crate) snapshots: Snapshots,
    /// `None` after a disk error, until the file is open again, and after the close.
    pub(crate) database: RwLock<Option<Database>>,
    pub(crate) health: Mutex<Health>,
    /// A reader met a disk error: the engine refuses to go on, so the file must be opened again.
    pub(crate) suspect: AtomicBool,
    /// How often the file was closed: a read that began before fails, and means nothing.
    pub(crate) generation: AtomicU64,
    pub(crate) sync_failed: Arc<SyncFailed>,
    pub(crate) closed: tokio::sync::watch::Sender<bool>,
}

impl Shared {
    pub(crate) fn health(&self) -> Health {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_health(&self, health: Health) {
        *self.health.lock().unwrap_or_else(PoisonError::into_inner) = health;
    }

    /// Whether there is no open file.
    pub(crate) fn is_down(&self) -> bool {
        self.database.read().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// Why there is no open file.
    pub(crate) fn down(&self) -> StoreError {
        match self.health() {
            Health::Ok => closed(),
            Health::Degraded { reason } | Health::Failed { reason } => unavailable(reason),
        }
    }

    /// Runs a read; tells the writer if the disk failed.
    fn read<T>(&self, work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        let generation = self.generation.load(Ordering::Acquire);
        let result = no_panic(work);
        if let Err(StoreError::Unavailable { .. }) = &result
            && self.generation.load(Ordering::Acquire) == generation
            && !self.is_down()
        {
            self.suspect.store(true, Ordering::Release);
            self.queue.poke();
        }
        result
    }

    fn begin_read(&self) -> Result<(ReadTransaction, Revision), StoreError> {
        let txn = {
            let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
            database.as_ref().ok_or_else(|| self.down())?.begin_read().map_err(disk)?
        };
        let revision = read_revision(&txn.open_table(META).map_err(disk)?)?;
        Ok((txn, revision))
    }

    /// See [`peloton_store::Store::get`].
    pub(crate) fn get(&self, key: &Key) -> Result<GetResponse, StoreError> {
        if key.is_empty() {
            let reason = "a key must not be empty".to_owned();
            return Err(StoreError::InvalidArgument { field: "key", reason });
        }
        self.read(|| {
            let (txn, revision) = self.begin_read()?;
            let records = txn.open_table(RECORDS).map_err(disk)?;
            let found = records.get(&key[..]).map_err(disk)?;
            let kv = found.map(|found| record::decode(key.clone(), found.value(), false));
            Ok(GetResponse { kv: kv.transpose()?, revision })
        })
    }

    /// See [`peloton_store::Store::range`].
    pub(crate) fn range(&self, request: &RangeRequest) -> Result<RangeResponse, StoreError> {
        self.read(|| {
            let (latest, at) = self.begin_read()?;
            let latest = Arc::new(latest);
            let now = Instant::now();
            let (txn, revision) = match request.revision {
                None => (latest, at),
                Some(revision) if revision == at => (latest, at),
                Some(revision) if revision > at => {
                    let reason = format!("{revision}; the store is at {at}");
                    return Err(StoreError::InvalidArgument { field: "revision", reason });
                }
                Some(revision) => {
                    let kept = self.snapshots.get(revision, now);
                    (kept.ok_or(StoreError::Compacted { at })?, revision)
                }
            };
            let page = page(&txn, request, revision)?;
            if page.more {
                self.snapshots.keep(revision, &txn, now);
            }
            Ok(page)
        })
    }
}

/// Reads a page from a snapshot.
fn page(
    txn: &ReadTransaction,
    request: &RangeRequest,
    revision: Revision,
) -> Result<RangeResponse, StoreError> {
    let mut page = RangeResponse { kvs: Vec::new(), more: false, revision };
    if request.range.is_empty() {
        return Ok(page);
    }
    let limit = match request.limit {
        0 => LIMITS.max_page_keys,
        limit => limit.min(LIMITS.max_page_keys),
    };
    let records = txn.open_table(RECORDS).map_err(disk)?;
    let mut bytes = 0;
    for entry in records.range::<&[u8]>(bounds(&request.range)).map_err(disk)? {
        let (key, found) = entry.map_err(disk)?;
        if page.kvs.len() >= limit as usize || bytes > MAX_PAGE_BYTES {
            page.more = true;
            break;
        }
        let key = Key::copy_from_slice(key.value());
        let kv = record::decode(key, found.value(), request.keys_only)?;
        bytes += kv.key.len() + kv.value.len();
        page.kvs.push(kv);
    }
    Ok(page)
}
