//! Configurations that were read before. They are immutable, so an entry is never wrong; the job's
//! create revision in the key tells a job from a later one of the same name.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use peloton_model::{ConfigRecord, JobId, Version};
use peloton_store::Revision;

/// Most bytes of encoded configurations kept: a thousand large ones, or sixty thousand usual ones.
/// In memory a configuration takes a small multiple of that.
const MAX_CACHED_BYTES: usize = 64 * 1024 * 1024;
/// What an entry takes besides its configuration.
const ENTRY_BYTES: usize = 256;

/// A configuration as it was stored.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredConfig {
    /// The record.
    pub record: ConfigRecord,
    /// Its size in the store, in bytes; an estimate of its size in an answer.
    pub size_bytes: usize,
}

type CacheKey = (JobId, Revision, Version);

#[derive(Debug, Default)]
struct Inner {
    entries: HashMap<CacheKey, (u64, Arc<StoredConfig>)>,
    /// The entries by their last use.
    uses: BTreeMap<u64, CacheKey>,
    clock: u64,
    bytes: usize,
}

/// The most recently used configurations, bounded in bytes.
#[derive(Debug)]
pub struct ConfigCache {
    inner: Mutex<Inner>,
    max_bytes: usize,
}

impl Default for ConfigCache {
    fn default() -> Self {
        Self::with_max_bytes(MAX_CACHED_BYTES)
    }
}

impl ConfigCache {
    /// An empty one that keeps at most so many bytes.
    #[must_use]
    pub fn with_max_bytes(max_bytes: usize) -> Self {
        Self { inner: Mutex::default(), max_bytes }
    }

    /// The configuration `version` of the job that was created by `incarnation`, if it is here.
    #[must_use]
    pub fn get(
        &self,
        job: &JobId,
        incarnation: Revision,
        version: Version,
    ) -> Option<Arc<StoredConfig>> {
        let mut guard = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let inner = &mut *guard;
        let key = (job.clone(), incarnation, version);
        let (used, config) = inner.entries.get_mut(&key)?;
        inner.clock += 1;
        inner.uses.remove(used);
        *used = inner.clock;
        let config = Arc::clone(config);
        inner.uses.insert(inner.clock, key);
        Some(config)
    }

    /// Keeps a configuration, and lets go of the least recently used ones for it.
    pub fn insert(&self, job: &JobId, incarnation: Revision, config: Arc<StoredConfig>) {
        let mut guard = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let inner = &mut *guard;
        let key = (job.clone(), incarnation, config.record.version);
        inner.clock += 1;
        inner.bytes += config.size_bytes + ENTRY_BYTES;
        if let Some((used, old)) = inner.entries.insert(key.clone(), (inner.clock, config)) {
            inner.uses.remove(&used);
            inner.bytes -= old.size_bytes + ENTRY_BYTES;
        }
        inner.uses.insert(inner.clock, key);
        while inner.bytes > self.max_bytes {
            let Some((_, oldest)) = inner.uses.pop_first() else { break };
            if let Some((_, gone)) = inner.entries.remove(&oldest) {
                inner.bytes -= gone.size_bytes + ENTRY_BYTES;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(version: Version, size_bytes: usize) -> Arc<StoredConfig> {
        let record = ConfigRecord { version, ..Default::default() };
        Arc::new(StoredConfig { record, size_bytes })
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let cache = ConfigCache::with_max_bytes(3 * (100 + ENTRY_BYTES));
        let job = JobId::new("j").unwrap();
        for version in 1..=3 {
            cache.insert(&job, Revision(7), config(version, 100));
        }
        assert!(cache.get(&job, Revision(7), 1).is_some());
        cache.insert(&job, Revision(7), config(4, 100));
        let there = |version| cache.get(&job, Revision(7), version).is_some();
        assert_eq!([1, 2, 3, 4].map(there), [true, false, true, true]);
        assert!(cache.get(&job, Revision(8), 1).is_none(), "another job of the name");
        cache.insert(&job, Revision(7), config(5, 1_000_000));
        assert_eq!([1, 3, 4, 5].map(there), [false; 4], "larger than all: nothing is kept");
        assert_eq!(cache.inner.lock().unwrap().bytes, 0);
    }
}
