//! Leases: who lives how long, and which keys die with whom. Pure; time is passed in.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::{Key, LeaseId, StoreError};

#[derive(Clone, Debug)]
struct Lease {
    ttl: Duration,
    deadline: Duration,
    keys: BTreeSet<Key>,
}

/// All leases of a store. Times count from the store's own epoch.
#[derive(Clone, Debug, Default)]
pub(super) struct Leases {
    by_id: BTreeMap<LeaseId, Lease>,
    last: i64,
}

impl Leases {
    pub(super) fn grant(&mut self, ttl: Duration, now: Duration) -> LeaseId {
        self.last += 1;
        let id = LeaseId(self.last);
        let lease = Lease { ttl, deadline: now.saturating_add(ttl), keys: BTreeSet::new() };
        self.by_id.insert(id, lease);
        id
    }

    pub(super) fn keep_alive(
        &mut self,
        id: LeaseId,
        now: Duration,
    ) -> Result<Duration, StoreError> {
        let lease = self.by_id.get_mut(&id).ok_or(StoreError::LeaseNotFound { id })?;
        lease.deadline = now.saturating_add(lease.ttl);
        Ok(lease.ttl)
    }

    pub(super) fn time_to_live(&self, id: LeaseId, now: Duration) -> Result<Duration, StoreError> {
        let lease = self.by_id.get(&id).ok_or(StoreError::LeaseNotFound { id })?;
        Ok(lease.deadline.saturating_sub(now))
    }

    pub(super) fn contains(&self, id: LeaseId) -> bool {
        self.by_id.contains_key(&id)
    }

    /// Moves `key` from the lease it had to the one it gets.
    pub(super) fn move_key(&mut self, key: &Key, from: Option<LeaseId>, to: Option<LeaseId>) {
        if let Some(lease) = from.and_then(|id| self.by_id.get_mut(&id)) {
            lease.keys.remove(key);
        }
        if let Some(lease) = to.and_then(|id| self.by_id.get_mut(&id)) {
            lease.keys.insert(key.clone());
        }
    }

    /// Ends a lease; answers the keys that die with it, in order.
    pub(super) fn remove(&mut self, id: LeaseId) -> Result<BTreeSet<Key>, StoreError> {
        let lease = self.by_id.remove(&id).ok_or(StoreError::LeaseNotFound { id })?;
        Ok(lease.keys)
    }

    /// The lease that ran out first, if one has.
    pub(super) fn expired(&self, now: Duration) -> Option<LeaseId> {
        let ran_out = self.by_id.iter().filter(|(_, lease)| lease.deadline <= now);
        ran_out.min_by_key(|(id, lease)| (lease.deadline, **id)).map(|(id, _)| *id)
    }

    /// When the next lease runs out.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.by_id.values().map(|lease| lease.deadline).min()
    }
}
