//! Leases live in memory, like their holders. Which keys are attached to them is in the file.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use peloton_store::{LeaseId, StoreError};

#[derive(Debug)]
struct Lease {
    ttl: Duration,
    deadline: Instant,
    /// Its time is over and its keys are about to be deleted; nobody else can see it any more.
    ending: bool,
}

#[derive(Debug)]
struct Table {
    by_id: BTreeMap<LeaseId, Lease>,
    last: i64,
}

/// All leases.
#[derive(Debug)]
pub(crate) struct Leases {
    table: Mutex<Table>,
}

impl Leases {
    /// No leases; ids are given out from behind `last`.
    pub(crate) fn new(last: i64) -> Self {
        Self { table: Mutex::new(Table { by_id: BTreeMap::new(), last }) }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Every change is a single step, so a panic elsewhere does not spoil the table.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn grant(&self, ttl: Duration, now: Instant) -> LeaseId {
        let mut table = self.lock();
        table.last += 1;
        let id = LeaseId(table.last);
        table.by_id.insert(id, Lease { ttl, deadline: now + ttl, ending: false });
        id
    }

    pub(crate) fn keep_alive(&self, id: LeaseId, now: Instant) -> Result<Duration, StoreError> {
        let mut table = self.lock();
        let lease = live(table.by_id.get_mut(&id), id, now)?;
        lease.deadline = now + lease.ttl;
        Ok(lease.ttl)
    }

    pub(crate) fn time_to_live(&self, id: LeaseId, now: Instant) -> Result<Duration, StoreError> {
        let mut table = self.lock();
        let lease = live(table.by_id.get_mut(&id), id, now)?;
        Ok(lease.deadline.saturating_duration_since(now))
    }

    /// Whether keys may be attached to the lease.
    pub(crate) fn is_live(&self, id: LeaseId) -> bool {
        self.lock().by_id.get(&id).is_some_and(|lease| !lease.ending)
    }

    /// Takes a lease out of circulation because somebody revokes it.
    pub(crate) fn begin_end(&self, id: LeaseId) -> Result<(), StoreError> {
        let mut table = self.lock();
        let lease = table.by_id.get_mut(&id).filter(|lease| !lease.ending);
        lease.ok_or(StoreError::LeaseNotFound { id })?.ending = true;
        Ok(())
    }

    /// Takes all leases out of circulation whose time is over. Those whose end could not be committed
    /// before are among them again.
    pub(crate) fn begin_end_expired(&self, now: Instant) -> Vec<LeaseId> {
        let mut table = self.lock();
        let mut ended: Vec<(Instant, LeaseId)> = Vec::new();
        for (id, lease) in &mut table.by_id {
            if lease.ending || lease.deadline <= now {
                lease.ending = true;
                ended.push((lease.deadline, *id));
            }
        }
        ended.sort_unstable();
        ended.into_iter().map(|(_, id)| id).collect()
    }

    /// Forgets leases whose end is durable.
    pub(crate) fn end(&self, ids: impl IntoIterator<Item = LeaseId>) {
        let mut table = self.lock();
        for id in ids {
            table.by_id.remove(&id);
        }
    }

    /// When the next lease runs out; now, if one could not be ended before.
    pub(crate) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let table = self.lock();
        table.by_id.values().map(|lease| if lease.ending { now } else { lease.deadline }).min()
    }
}

fn live(lease: Option<&mut Lease>, id: LeaseId, now: Instant) -> Result<&mut Lease, StoreError> {
    // A holder that is late must not believe that it still holds what is about to be deleted.
    lease
        .filter(|lease| !lease.ending && lease.deadline > now)
        .ok_or(StoreError::LeaseNotFound { id })
}
