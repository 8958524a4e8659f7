//! A node over a store that fails: commits whose answers get lost, commits that do not happen, and an
//! owner that was deposed. There is no Mesos at the address: the shards must do their part all the same.

use peloton_core::Settings;
use peloton_mesos as mesos;
use peloton_model::{
    ConfigRecord, JobConfig, JobId, JobRecord, JobState, JobSummary, OwnerRecord, ShardId,
    decode_record, encode_record, shard_of,
};
use peloton_node::{Node, Options, ShardPhase, Sharing};
use peloton_store::{
    BoxFuture, GetResponse, Health, Key, KeyRange, LeaseGrant, LeaseId, Limits, MemoryStore, Op,
    RangeRequest, RangeResponse, Revision, Store, StoreError, Txn, TxnResult, WatchStream, keys,
};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SHARDS: u16 = 2;
const PATIENCE: Duration = Duration::from_secs(30);

/// Every third commit loses its answer, every fifth does not happen.
struct Faulty {
    inner: MemoryStore,
    commits: AtomicU64,
    lost: AtomicU64,
    /// Whether it has begun to fail.
    fails: AtomicBool,
    /// Whether the first commit of the shard's framework comes after the second.
    swaps: AtomicBool,
    late: Mutex<Option<Txn>>,
}

impl Faulty {
    fn new() -> Self {
        Self {
            inner: MemoryStore::new(),
            commits: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            fails: AtomicBool::new(false),
            swaps: AtomicBool::new(false),
            late: Mutex::new(None),
        }
    }

    /// Keeps the first commit of a framework back; does it after the second.
    async fn swap(&self, txn: Txn) -> Result<TxnResult, StoreError> {
        let earlier = self.late.lock().unwrap().take();
        let Some(earlier) = earlier else {
            *self.late.lock().unwrap() = Some(txn);
            return Err(StoreError::Unknown { reason: "planted".to_owned() });
        };
        self.swaps.store(false, SeqCst);
        let result = self.inner.commit(txn).await;
        self.inner.commit(earlier).await.unwrap();
        result
    }
}

impl Store for Faulty {
    fn limits(&self) -> Limits {
        self.inner.limits()
    }
    fn health(&self) -> Health {
        self.inner.health()
    }
    fn get(&self, key: Key) -> BoxFuture<'_, Result<GetResponse, StoreError>> {
        self.inner.get(key)
    }
    fn range(&self, request: RangeRequest) -> BoxFuture<'_, Result<RangeResponse, StoreError>> {
        self.inner.range(request)
    }
    fn commit(&self, txn: Txn) -> BoxFuture<'_, Result<TxnResult, StoreError>> {
        Box::pin(async move {
            let framework = keys::actual_framework(0);
            let is_framework = |op: &Op| matches!(op, Op::Put { key, .. } if *key == framework);
            if self.swaps.load(SeqCst) && txn.then.iter().any(is_framework) {
                return self.swap(txn).await;
            }
            if !self.fails.load(SeqCst) {
                return self.inner.commit(txn).await;
            }
            let number = self.commits.fetch_add(1, SeqCst);
            let unknown = || StoreError::Unknown { reason: "planted".to_owned() };
            if number % 5 == 4 {
                return Err(unknown());
            }
            let result = self.inner.commit(txn).await;
            if number % 3 == 2 {
                self.lost.fetch_add(1, SeqCst);
                return Err(unknown());
            }
            result
        })
    }
    fn watch(&self, range: KeyRange, from: Revision) -> WatchStream {
        self.inner.watch(range, from)
    }
    fn lease_grant(&self, ttl: Duration) -> BoxFuture<'_, Result<LeaseGrant, StoreError>> {
        self.inner.lease_grant(ttl)
    }
    fn lease_keep_alive(&self, id: LeaseId) -> BoxFuture<'_, Result<Duration, StoreError>> {
        self.inner.lease_keep_alive(id)
    }
    fn lease_revoke(&self, id: LeaseId) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.lease_revoke(id)
    }
    fn lease_time_to_live(&self, id: LeaseId) -> BoxFuture<'_, Result<Duration, StoreError>> {
        self.inner.lease_time_to_live(id)
    }
    fn close(&self) -> BoxFuture<'_, ()> {
        self.inner.close()
    }
}

fn options(master: &str) -> Options {
    let framework = mesos::FrameworkSettings {
        user: "root".into(),
        name: "test".into(),
        role: "test".into(),
        principal: None,
        failover_timeout_ms: 60_000,
        checkpoint: true,
        hostname: None,
        webui_url: None,
        capabilities: mesos::FrameworkSettings::default_capabilities(),
    };
    Options {
        cluster: "test".into(),
        master: master.into(),
        address: "127.0.0.1:1".into(),
        shards: SHARDS,
        version: "0".to_owned(),
        schema: 1,
        started_at: 0,
        lease_ttl: Duration::from_secs(2),
        sharing: Sharing::default(),
        // Port 1 refuses.
        mesos: mesos::Options::new(vec!["127.0.0.1:1".into()], framework),
        settings: Settings::new(ShardId(0), "test"),
    }
}

async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let wait = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic_with(what))
}

#[expect(clippy::panic, reason = "a test's deadline has passed")]
fn panic_with(what: &str) -> ! {
    panic!("not within {PATIENCE:?}: {what}")
}

async fn create(store: &dyn Store, name: &str) -> ShardId {
    let shard = shard_of(&JobId::new(name).unwrap(), SHARDS);
    let config = ConfigRecord {
        version: 1,
        config: Arc::new(JobConfig { instance_count: 3, ..Default::default() }),
        ..Default::default()
    };
    let record = JobRecord { version: 1, generation: 1, instance_count: 3, ..Default::default() };
    let txn = Txn::new()
        .put(keys::desired_config(shard.0, name, 1), encode_record(&config).unwrap())
        .put(keys::desired_job(shard.0, name), encode_record(&record).unwrap());
    store.commit(txn).await.unwrap();
    shard
}

async fn summary(store: &dyn Store, shard: ShardId, name: &str) -> Option<JobSummary> {
    let kv = store.get(keys::actual_job(shard.0, name)).await.unwrap().kv?;
    Some(decode_record(&kv.value).unwrap())
}

#[tokio::test]
async fn lost_answers_and_lost_commits_change_nothing() {
    let store = Arc::new(Faulty::new());
    let node = Node::start(store.clone(), options("m1"));
    let shards = node.watch();
    until("all shards run", async || {
        shards.iter().all(|s| s.borrow().phase == ShardPhase::Running).then_some(())
    })
    .await;
    store.fails.store(true, SeqCst);
    let since: Vec<_> = shards.iter().map(|s| s.borrow().since).collect();
    let names: Vec<_> = (0..12).map(|i| format!("job-{i}")).collect();
    for name in &names {
        let shard = create(&store.inner, name).await;
        let seen = until("a summary", async || summary(&store.inner, shard, name).await).await;
        assert_eq!((seen.state, seen.counts.total()), (JobState::Pending, 3));
    }
    assert!(store.lost.load(SeqCst) > 2, "no answer was lost");
    // A lost answer is no reason to begin again.
    let now: Vec<_> = shards.iter().map(|s| s.borrow().since).collect();
    assert_eq!(now, since);
    node.stop().await;
}

/// Else a shard would subscribe under one id and, one day, ask for its tasks under the other.
#[tokio::test]
async fn a_framework_id_that_comes_late_does_not_replace_the_one_in_use() {
    let store = Arc::new(Faulty::new());
    store.swaps.store(true, SeqCst);
    let node = Node::start(store.clone(), options("m1"));
    let first = node.watch()[0].clone();
    until("the shard runs", async || (first.borrow().phase == ShardPhase::Running).then_some(()))
        .await;
    assert!(!store.swaps.load(SeqCst), "nothing came late");
    let kv = store.inner.get(keys::actual_framework(0)).await.unwrap().kv.unwrap();
    assert_eq!(kv.version, 1, "it was written twice");
    node.stop().await;
}

#[tokio::test]
async fn a_deposed_owner_commits_nothing_any_more() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let node = Node::start(store.clone(), options("m1"));
    let shards = node.watch();
    let name = "job";
    let shard = shard_of(&JobId::new(name).unwrap(), SHARDS);
    let mine = shards[usize::from(shard.0)].clone();
    until("the shard runs", async || (mine.borrow().phase == ShardPhase::Running).then_some(()))
        .await;
    // Another master has the shard, without the first having heard of it.
    let other = OwnerRecord { master: "m2".into(), address: "x:1".into(), since: 1 };
    let put = Txn::new().put(keys::owner(shard.0), encode_record(&other).unwrap());
    store.commit(put).await.unwrap();
    create(&*store, name).await;
    until("the shard is given up", async || {
        (mine.borrow().phase == ShardPhase::NotOwned).then_some(())
    })
    .await;
    assert_eq!(summary(&*store, shard, name).await, None);
    // When the other is gone, it is taken again, and the job is seen.
    store.commit(Txn::new().delete(keys::owner(shard.0))).await.unwrap();
    until("a summary", async || summary(&*store, shard, name).await).await;
    node.stop().await;
}
