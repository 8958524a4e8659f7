//! What an operator or a test may choose, and what nobody needs to.

use std::path::PathBuf;
use std::time::Duration;

use peloton_store::{Limits, LogBounds};

/// What the store takes. A transaction of 16 MiB syncs in well under a second on a slow disk; a value
/// of 1 MiB is far above any record of ours and still cheap to copy.
pub(crate) const LIMITS: Limits = Limits {
    max_txn_ops: 4096,
    max_txn_bytes: 16 << 20,
    max_value_bytes: 1 << 20,
    max_key_bytes: 4096,
    max_page_keys: 10_000,
    min_lease_ttl: Duration::from_millis(100),
    max_lease_ttl: Duration::from_secs(24 * 60 * 60),
};

/// Values in one page, in bytes: what one reader may hold in memory.
pub(crate) const MAX_PAGE_BYTES: usize = 16 << 20;
/// Transactions that share one sync at most, so that the first does not wait for ever.
pub(crate) const MAX_BATCH_TXNS: usize = 4096;
/// Bytes that share one sync at most; one transaction of the greatest size always fits.
pub(crate) const MAX_BATCH_BYTES: usize = 16 << 20;
/// Transactions that may wait; beyond that callers get `Unavailable` and back off.
pub(crate) const MAX_WAITING_TXNS: usize = 65_536;
/// Bytes of transactions that may wait.
pub(crate) const MAX_WAITING_BYTES: usize = 256 << 20;
/// Reads that may wait for a reader thread.
pub(crate) const MAX_WAITING_READS: usize = 65_536;
/// Reader threads: enough that one slow read does not hold up all others, few enough for 2 cores.
pub(crate) const READER_THREADS: usize = 2;
/// Snapshots kept for paging; each keeps old pages of the file from being reused.
pub(crate) const MAX_SNAPSHOTS: usize = 64;
/// How long a snapshot is kept after its last page was read.
pub(crate) const SNAPSHOT_TTL: Duration = Duration::from_secs(10);
/// What is written, and deleted again, to find out whether a disk that was full has room: more than
/// records usually have, for a few pages are nearly always free.
pub(crate) const PROBE_BYTES: usize = 256 << 10;
/// The first pause between attempts to open the file again; doubles up to [`REOPEN_PAUSE_MAX`]. There
/// is no jitter: nobody else uses this file.
pub(crate) const REOPEN_PAUSE_MIN: Duration = Duration::from_millis(50);
/// The longest pause between attempts to open the file again.
pub(crate) const REOPEN_PAUSE_MAX: Duration = Duration::from_secs(2);

/// How to open an embedded store.
#[derive(Clone, Debug)]
pub struct Options {
    /// The directory; it is created if it does not exist. Nothing else may live in it.
    pub path: PathBuf,
    /// Memory for cached pages, in bytes.
    pub cache_bytes: usize,
    /// What is kept in memory for watches that resume.
    pub watch_log: LogBounds,
    /// Makes every commit record what a quick start after a crash needs. Without it, opening after a
    /// crash reads the whole file once; with it, each commit syncs twice.
    pub quick_repair: bool,
    #[cfg(test)]
    pub(crate) faults: std::sync::Arc<crate::disk::Faults>,
}

impl Options {
    /// A store in `path` with the usual sizes: 128 MiB of cache, the last 100,000 events or 64 MiB for
    /// watches, one sync per commit.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            cache_bytes: 128 << 20,
            watch_log: LogBounds { max_events: 100_000, max_bytes: 64 << 20 },
            quick_repair: false,
            #[cfg(test)]
            faults: std::sync::Arc::default(),
        }
    }
}
