//! The handle: opens and closes the store, and hands requests to its threads.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use peloton_store::{
    BoxFuture, EventLog, GetResponse, Health, Key, KeyRange, LeaseGrant, LeaseId, Limits,
    RangeRequest, RangeResponse, Revision, Store, StoreError, Txn, TxnResult, WatchHub,
    WatchStream,
};
use tokio::sync::oneshot;

use crate::disk::SyncFailed;
use crate::errors::{closed, unavailable};
use crate::leases::Leases;
use crate::lock::DirectoryLock;
use crate::options::{LIMITS, Options, READER_THREADS};
use crate::queue::{Job, Queue};
use crate::reader::{self, Readers};
use crate::schema::{self, Opening};
use crate::shared::Shared;
use crate::snapshots::Snapshots;
use crate::writer::{LastWord, Writer};

/// Lease ids start at the opening revision times this, so that no id is given out twice in the life of
/// a store that changes in between.
const LEASES_PER_REVISION: i64 = 1 << 16;

/// A durable store in a directory of this machine. Dropping it finishes what was accepted, closes the
/// file and releases the directory; [`Store::close`] does the same without blocking.
pub struct EmbeddedStore {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedStore").field("path", &self.shared.options.path).finish()
    }
}

impl EmbeddedStore {
    /// Opens the store, creating it if the directory is empty or does not exist. Blocks on the disk;
    /// after a crash it reads the whole file once (see [`Options::quick_repair`]).
    ///
    /// # Errors
    /// `Locked` when another process (or handle) has it open, `Schema` when it was written by a newer
    /// version, `Corrupt` when the file is damaged or not ours, `Unavailable` for disk errors.
    pub fn open(options: Options) -> Result<Self, StoreError> {
        let path = &options.path;
        std::fs::create_dir_all(path)
            .map_err(|error| unavailable(format!("cannot create {}: {error}", path.display())))?;
        let lock = DirectoryLock::acquire(path)?;
        let sync_failed = Arc::new(SyncFailed::default());
        let (database, revision) = schema::open(&options, &sync_failed, Opening::Start)?;
        let log = EventLog::new(revision, options.watch_log);
        let shared = Arc::new(Shared {
            options,
            queue: Queue::default(),
            readers: Readers::default(),
            leases: Leases::new(revision.0.saturating_mul(LEASES_PER_REVISION)),
            hub: WatchHub::new(log),
            snapshots: Snapshots::default(),
            database: RwLock::new(Some(database)),
            health: Mutex::new(Health::Ok),
            suspect: AtomicBool::new(false),
            generation: AtomicU64::new(0),
            sync_failed,
            closed: tokio::sync::watch::Sender::new(false),
        });
        let writer = start(&shared, revision, lock)?;
        Ok(Self { shared, writer: Mutex::new(Some(writer)) })
    }
}

/// Starts the threads; if one cannot be started, those before it are ended.
fn start(
    shared: &Arc<Shared>,
    revision: Revision,
    lock: DirectoryLock,
) -> Result<JoinHandle<()>, StoreError> {
    let fault = |error: std::io::Error| {
        shared.readers.close();
        unavailable(format!("cannot start a thread: {error}"))
    };
    let mut readers = Vec::with_capacity(READER_THREADS);
    for _ in 0..READER_THREADS {
        let shared = Arc::clone(shared);
        let thread = Builder::new().name("store-reader".to_owned());
        readers.push(thread.spawn(move || reader::run(&shared)).map_err(fault)?);
    }
    let writer = Writer::new(Arc::clone(shared), revision, lock, readers);
    let last_word = LastWord(Arc::clone(shared));
    let life = move || {
        let _last_word = last_word;
        writer.run();
    };
    Builder::new().name("store-writer".to_owned()).spawn(life).map_err(fault)
}

impl Store for EmbeddedStore {
    fn limits(&self) -> Limits {
        LIMITS
    }

    fn health(&self) -> Health {
        self.shared.health()
    }

    fn get(&self, key: Key) -> BoxFuture<'_, Result<GetResponse, StoreError>> {
        Box::pin(self.shared.readers.run(move |shared| shared.get(&key)))
    }

    fn range(&self, request: RangeRequest) -> BoxFuture<'_, Result<RangeResponse, StoreError>> {
        Box::pin(self.shared.readers.run(move |shared| shared.range(&request)))
    }

    fn commit(&self, txn: Txn) -> BoxFuture<'_, Result<TxnResult, StoreError>> {
        Box::pin(async move {
            txn.check(&LIMITS)?;
            let (reply, answer) = oneshot::channel();
            self.shared.queue.push(Job::Commit { txn, reply })?;
            answer.await.unwrap_or_else(|_| Err(writer_gone()))
        })
    }

    fn watch(&self, range: KeyRange, from: Revision) -> WatchStream {
        self.shared.hub.watch(range, from)
    }

    fn lease_grant(&self, ttl: Duration) -> BoxFuture<'_, Result<LeaseGrant, StoreError>> {
        Box::pin(async move {
            let ttl = LIMITS.lease_ttl(ttl)?;
            self.check_open()?;
            let id = self.shared.leases.grant(ttl, Instant::now());
            // The writer may be asleep until a later deadline.
            self.shared.queue.poke();
            Ok(LeaseGrant { id, ttl })
        })
    }

    fn lease_keep_alive(&self, id: LeaseId) -> BoxFuture<'_, Result<Duration, StoreError>> {
        Box::pin(async move {
            self.check_open()?;
            self.shared.leases.keep_alive(id, Instant::now())
        })
    }

    fn lease_revoke(&self, id: LeaseId) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            self.shared.queue.push(Job::Revoke { id, reply })?;
            answer.await.unwrap_or_else(|_| Err(writer_gone()))
        })
    }

    fn lease_time_to_live(&self, id: LeaseId) -> BoxFuture<'_, Result<Duration, StoreError>> {
        Box::pin(async move {
            self.check_open()?;
            self.shared.leases.time_to_live(id, Instant::now())
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.shared.queue.close();
            let mut closed = self.shared.closed.subscribe();
            // An error would mean that the sender is gone, and it lives as long as this handle.
            let _ = closed.wait_for(|closed| *closed).await;
        })
    }
}

impl EmbeddedStore {
    /// A lease must not be granted or kept by a store whose writer cannot end it.
    fn check_open(&self) -> Result<(), StoreError> {
        if self.shared.queue.is_closing() {
            return Err(closed());
        }
        match self.shared.health() {
            Health::Failed { reason } => Err(unavailable(reason)),
            Health::Ok | Health::Degraded { .. } => Ok(()),
        }
    }
}

fn writer_gone() -> StoreError {
    StoreError::Unknown { reason: "the store's writer ended".to_owned() }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        self.shared.queue.close();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            // It has nobody left to tell if it failed.
            let _ = writer.join();
        }
    }
}
