//! Old revisions that somebody is paging through. Each keeps pages of the file from being reused, so
//! they are few and short-lived.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use peloton_store::Revision;
use redb::ReadTransaction;

use crate::options::{MAX_SNAPSHOTS, SNAPSHOT_TTL};

struct Snapshot {
    txn: Arc<ReadTransaction>,
    used: Instant,
}

/// The snapshots, by revision.
#[derive(Default)]
pub(crate) struct Snapshots {
    by_revision: Mutex<BTreeMap<Revision, Snapshot>>,
}

impl Snapshots {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Revision, Snapshot>> {
        // Every change is a single step, so a panic elsewhere does not spoil the map.
        self.by_revision.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, revision: Revision, now: Instant) -> Option<Arc<ReadTransaction>> {
        let mut by_revision = self.lock();
        let snapshot = by_revision.get_mut(&revision)?;
        snapshot.used = now;
        Some(Arc::clone(&snapshot.txn))
    }

    /// Keeps a snapshot for the next page; the one unused for longest gives way.
    pub(crate) fn keep(&self, revision: Revision, txn: &Arc<ReadTransaction>, now: Instant) {
        let mut by_revision = self.lock();
        if by_revision.len() >= MAX_SNAPSHOTS && !by_revision.contains_key(&revision) {
            let oldest = by_revision.iter().min_by_key(|(_, snapshot)| snapshot.used);
            if let Some(oldest) = oldest.map(|(revision, _)| *revision) {
                by_revision.remove(&oldest);
            }
        }
        by_revision.insert(revision, Snapshot { txn: Arc::clone(txn), used: now });
    }

    /// Drops what nobody used for a while.
    pub(crate) fn drop_unused(&self, now: Instant) {
        let fresh =
            |snapshot: &Snapshot| now.saturating_duration_since(snapshot.used) < SNAPSHOT_TTL;
        self.lock().retain(|_, snapshot| fresh(snapshot));
    }

    /// Drops all, before the file is closed.
    pub(crate) fn clear(&self) {
        self.lock().clear();
    }
}
