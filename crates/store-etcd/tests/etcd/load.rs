//! Writers and a watch that go on whatever happens to the members, and what must be true of them in the
//! end: every acknowledged write is there, none happened twice, and the watch saw each once and in order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use peloton_store::{KeyRange, Revision, Store, StoreError, Txn, TxnResult, range_all};
use peloton_store_etcd::EtcdStore;
use tokio::task::JoinSet;

use crate::support::{PATIENCE, eventually, next};

const WRITERS: u64 = 4;

/// What is known of all writes of one writer: keys, and the revisions that wrote them.
type Written = BTreeMap<String, Revision>;

/// Writers at work.
pub(crate) struct Load {
    store: Arc<EtcdStore>,
    /// The revision before the first write.
    start: Revision,
    stop: Arc<AtomicBool>,
    /// Acknowledged writes.
    count: Arc<AtomicU64>,
    /// Answers that left a write in doubt.
    pub(crate) doubtful: Arc<AtomicU64>,
    writers: JoinSet<Written>,
}

impl Load {
    pub(crate) async fn begin(store: &Arc<EtcdStore>) -> Self {
        let range = range_all(&**store, KeyRange::all()).await.expect("range");
        let mut load = Self {
            store: store.clone(),
            start: range.revision,
            stop: Arc::default(),
            count: Arc::default(),
            doubtful: Arc::default(),
            writers: JoinSet::new(),
        };
        for writer in 0..WRITERS {
            let (store, stop) = (store.clone(), load.stop.clone());
            let (count, doubtful) = (load.count.clone(), load.doubtful.clone());
            load.writers.spawn(async move {
                let mut written = Written::new();
                for n in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let key = format!("w/{writer}/{n:06}");
                    let revision = write(&store, &key, &doubtful).await;
                    written.insert(key, revision);
                    count.fetch_add(1, Ordering::Relaxed);
                }
                written
            });
        }
        load
    }

    /// Waits until so many more writes were acknowledged.
    pub(crate) async fn more(&self, writes: u64) {
        let goal = self.count.load(Ordering::Relaxed) + writes;
        eventually("writes go on", async || {
            (self.count.load(Ordering::Relaxed) >= goal).then_some(())
        })
        .await;
    }

    /// Stops the writers and checks everything. The watch is one that began before the first write.
    pub(crate) async fn end(self, watch: Watching) {
        self.stop.store(true, Ordering::Relaxed);
        let written: Written = self.writers.join_all().await.into_iter().flatten().collect();
        let stored = range_all(&*self.store, KeyRange::prefix("w/")).await.expect("range");
        let stored: Written = stored
            .kvs
            .iter()
            .map(|kv| {
                assert_eq!(kv.version, 1, "{:?} was written twice", kv.key);
                (String::from_utf8_lossy(&kv.key).into_owned(), kv.mod_revision)
            })
            .collect();
        assert_eq!(stored, written, "what is stored is what was acknowledged");
        let last = *stored.values().max().expect("writes");
        assert_eq!(watch.until(last).await, stored, "the watch saw every write once");
    }

    /// A watch of all writes, that is read all the time.
    pub(crate) fn watch(&self) -> Watching {
        let mut stream = self.store.watch(KeyRange::prefix("w/"), self.start.next());
        let (seen, last) = tokio::sync::watch::channel((Written::new(), Revision::ZERO));
        let reader = tokio::spawn(async move {
            while !seen.is_closed() {
                let batch = next(&mut stream).await.expect("a batch");
                seen.send_modify(|(written, last)| {
                    assert!(batch.revision > *last, "{batch:?} after {last}");
                    *last = batch.revision;
                    for event in &batch.events {
                        let key = String::from_utf8_lossy(event.key()).into_owned();
                        let before = written.insert(key, batch.revision);
                        assert_eq!(before, None, "again: {batch:?}");
                    }
                });
            }
        });
        Watching { seen: last, reader }
    }
}

/// A watch that is being read.
pub(crate) struct Watching {
    seen: tokio::sync::watch::Receiver<(Written, Revision)>,
    reader: tokio::task::JoinHandle<()>,
}

impl Watching {
    /// All that was seen up to a revision that the watch has an event of.
    async fn until(mut self, revision: Revision) -> Written {
        let waiting = self.seen.wait_for(|(_, last)| *last >= revision);
        let waited = tokio::time::timeout(PATIENCE, waiting).await.expect("in time");
        let seen = match waited {
            Ok(seen) => seen.0.clone(),
            Err(_) => panic!("the watch ended: {:?}", self.reader.await),
        };
        self.reader.abort();
        seen
    }
}

/// Writes a key once, as a careful caller does: what is in doubt is looked up.
async fn write(store: &EtcdStore, key: &str, doubtful: &AtomicU64) -> Revision {
    let txn = Txn::new().when_absent(key.to_owned()).put(key.to_owned(), "v");
    let deadline = Instant::now() + PATIENCE;
    let mut in_doubt = false;
    while Instant::now() < deadline {
        match store.commit(txn.clone()).await {
            Ok(TxnResult::Committed { revision }) => return revision,
            Ok(TxnResult::Conflict { current, .. }) => {
                assert!(in_doubt, "{key} is there, and nobody can have written it");
                return current[0].as_ref().expect("a value").mod_revision;
            }
            Err(StoreError::Unknown { .. }) => {
                doubtful.fetch_add(1, Ordering::Relaxed);
                in_doubt = true;
            }
            Err(StoreError::Unavailable { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
    panic!("{key} could not be written in {PATIENCE:?}");
}
