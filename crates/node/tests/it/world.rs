//! Several masters on one store in memory and one Mesos that only takes subscriptions, on tokio's paused
//! clock: what is measured here is what the masters wait for, to the millisecond.

use peloton_core::Settings;
use peloton_mesos as mesos;
use peloton_mesos::{
    Answer, BoxFuture as MesosFuture, Calls, MasterAddress, Pieces, ResponseHead, Transport,
    TransportError,
};
use peloton_mesos_wire::{calls::PROTOBUF, recordio};
use peloton_model::{MemberRecord, ShardId, decode_record};
use peloton_node::{Environment, MesosProbe, Node, Options, Sharing};
use peloton_proto::mesos::v1::FrameworkId;
use peloton_proto::mesos::v1::scheduler::{Call, Event, event};
use peloton_store::{
    BoxFuture, GetResponse, Health, Key, KeyRange, LeaseGrant, LeaseId, Limits, MemoryState,
    MemoryStore, Op, RangeRequest, RangeResponse, Revision, Store, StoreError, Txn, TxnResult,
    WatchStream, keys,
};
use prost::Message as _;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{Instant, sleep};

pub(crate) const SHARDS: u16 = 8;
pub(crate) const LEASE: Duration = Duration::from_secs(3);
/// What a request to the store takes; a millisecond or two on a real one.
const LATENCY: Duration = Duration::from_millis(3);

/// A master's way to the store.
pub(crate) struct Line {
    inner: MemoryStore,
    begun: Instant,
    /// Nothing passes: neither requests nor answers nor events.
    cut: AtomicBool,
    /// So many of the next commits lose their answer; every second of them does not happen.
    pub(crate) lose: AtomicU32,
    /// Commits are refused.
    pub(crate) refuse: AtomicBool,
    /// That a member accepts shards is not stored; that it does not is, and the answer gets lost.
    pub(crate) only_refusals: AtomicBool,
    /// So many of the next renewals of the lease are never answered.
    pub(crate) lose_renewals: AtomicU32,
    /// Renewals happen, and the answers get lost.
    pub(crate) lose_of_renewals: AtomicBool,
}

impl Line {
    async fn pass(&self) {
        sleep(LATENCY).await;
        while self.cut.load(SeqCst) {
            sleep(Duration::from_millis(10)).await;
        }
        self.inner.advance(self.begun.elapsed());
    }

    async fn passing<T>(&self, answer: impl Future<Output = T>) -> T {
        self.pass().await;
        answer.await
    }
}

fn take_one(from: &AtomicU32) -> Option<u32> {
    from.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).ok()
}

/// The record of a member that is written.
fn member(op: &Op) -> Option<MemberRecord> {
    let Op::Put { key, value, .. } = op else { return None };
    keys::members().contains(key).then(|| decode_record(value).unwrap())
}

impl Store for Line {
    fn limits(&self) -> Limits {
        self.inner.limits()
    }
    fn health(&self) -> Health {
        Health::Ok
    }
    fn get(&self, key: Key) -> BoxFuture<'_, Result<GetResponse, StoreError>> {
        Box::pin(self.passing(self.inner.get(key)))
    }
    fn range(&self, request: RangeRequest) -> BoxFuture<'_, Result<RangeResponse, StoreError>> {
        Box::pin(self.passing(self.inner.range(request)))
    }
    fn commit(&self, txn: Txn) -> BoxFuture<'_, Result<TxnResult, StoreError>> {
        Box::pin(async move {
            self.pass().await;
            let planted = || "planted".to_owned();
            if self.refuse.load(SeqCst) {
                return Err(StoreError::Unavailable { reason: planted() });
            }
            if self.only_refusals.load(SeqCst)
                && let Some(member) = txn.then.iter().find_map(member)
            {
                if !member.accepting {
                    self.inner.commit(txn).await?;
                }
                return Err(StoreError::Unknown { reason: planted() });
            }
            let lost = take_one(&self.lose);
            if lost.is_none_or(|left| left % 2 == 0) {
                let result = self.inner.commit(txn).await;
                if lost.is_none() {
                    return result;
                }
            }
            Err(StoreError::Unknown { reason: planted() })
        })
    }
    fn watch(&self, range: KeyRange, from: Revision) -> WatchStream {
        self.inner.watch(range, from)
    }
    fn lease_grant(&self, ttl: Duration) -> BoxFuture<'_, Result<LeaseGrant, StoreError>> {
        Box::pin(self.passing(self.inner.lease_grant(ttl)))
    }
    fn lease_keep_alive(&self, id: LeaseId) -> BoxFuture<'_, Result<Duration, StoreError>> {
        Box::pin(async move {
            self.pass().await;
            if take_one(&self.lose_renewals).is_some() {
                std::future::pending::<()>().await;
            }
            let renewed = self.inner.lease_keep_alive(id).await;
            if self.lose_of_renewals.load(SeqCst) {
                std::future::pending::<()>().await;
            }
            renewed
        })
    }
    fn lease_revoke(&self, id: LeaseId) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.passing(self.inner.lease_revoke(id)))
    }
    fn lease_time_to_live(&self, id: LeaseId) -> BoxFuture<'_, Result<Duration, StoreError>> {
        Box::pin(self.passing(self.inner.lease_time_to_live(id)))
    }
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// Who holds a subscription of which shard, and since when anybody does.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    of: BTreeMap<u16, (String, Instant)>,
    /// How many there have been.
    pub(crate) count: usize,
}

/// A master's way to Mesos.
#[derive(Debug)]
pub(crate) struct Wire {
    master: String,
    open: AtomicBool,
    subscriptions: Arc<Mutex<Subscriptions>>,
}

/// A subscription; its end is the stream's.
struct Subscription {
    wire: Arc<Wire>,
    shard: u16,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut all = self.wire.subscriptions.lock().unwrap();
        if all.of.get(&self.shard).is_some_and(|(master, _)| *master == self.wire.master) {
            all.of.remove(&self.shard);
        }
    }
}

#[derive(Debug, Clone)]
struct Way(Arc<Wire>);

impl Transport for Way {
    fn subscribe(
        &self,
        _master: MasterAddress,
        call: Call,
        pieces: Pieces,
    ) -> MesosFuture<Result<(), TransportError>> {
        let wire = self.0.clone();
        Box::pin(async move {
            sleep(LATENCY).await;
            if !wire.open.load(SeqCst) {
                return Err(TransportError::new("refused"));
            }
            let info = call.subscribe.unwrap().framework_info;
            let shard: u16 = info.roles[0].rsplit('/').next().unwrap().parse().unwrap();
            let id = info.id.unwrap().value;
            pieces
                .head(ResponseHead {
                    status: 200,
                    content_type: Some(PROTOBUF.to_owned()),
                    stream_id: Some(format!("{}-{shard}", wire.master)),
                    location: None,
                    error_body: String::new(),
                })
                .await;
            let subscribed = Event {
                r#type: Some(event::Type::Subscribed as i32),
                subscribed: Some(event::Subscribed {
                    framework_id: Some(FrameworkId { value: id }),
                    heartbeat_interval_seconds: Some(15.0),
                    ..Default::default()
                }),
                ..Default::default()
            };
            pieces.body(recordio::encode(&subscribed.encode_to_vec())).await;
            {
                let mut all = wire.subscriptions.lock().unwrap();
                all.count += 1;
                all.of.insert(shard, (wire.master.clone(), Instant::now()));
            }
            let _subscription = Subscription { wire: wire.clone(), shard };
            let heartbeat =
                Event { r#type: Some(event::Type::Heartbeat as i32), ..Default::default() };
            let heartbeat = recordio::encode(&heartbeat.encode_to_vec());
            while wire.open.load(SeqCst) {
                sleep(Duration::from_millis(500)).await;
                pieces.body(heartbeat.clone()).await;
            }
            Err(TransportError::new("cut"))
        })
    }

    fn calls(&self, _master: MasterAddress, _stream_id: String) -> Box<dyn Calls> {
        Box::new(TakesAll)
    }
}

#[derive(Debug)]
struct TakesAll;

impl Calls for TakesAll {
    fn call(&mut self, _call: &Call) -> MesosFuture<Result<Answer, TransportError>> {
        Box::pin(async {
            sleep(LATENCY).await;
            Ok(Answer { status: 202, body: String::new() })
        })
    }
}

impl MesosProbe for Way {
    fn reaches_mesos(&self) -> BoxFuture<'_, bool> {
        Box::pin(async { self.0.open.load(SeqCst) })
    }
}

/// A master.
pub(crate) struct Master {
    pub(crate) name: String,
    pub(crate) line: Arc<Line>,
    wire: Arc<Wire>,
    pub(crate) node: Node,
}

impl Master {
    /// As `kill -9` does it: nothing more leaves the process, and its connections to Mesos close.
    pub(crate) fn kill(self) {
        self.cut_from_store(true);
        // What ends in here can tell nobody.
        drop(self.node);
    }

    pub(crate) fn cut_from_store(&self, cut: bool) {
        self.line.cut.store(cut, SeqCst);
    }

    pub(crate) fn cut_from_mesos(&self, cut: bool) {
        self.wire.open.store(!cut, SeqCst);
    }
}

/// A store, a Mesos, and the number of masters so far.
pub(crate) struct World {
    pub(crate) store: MemoryStore,
    pub(crate) subscriptions: Arc<Mutex<Subscriptions>>,
    begun: Instant,
    _clock: tokio::task::JoinHandle<()>,
}

impl World {
    pub(crate) fn new() -> Self {
        let store = MemoryStore::with_virtual_time(MemoryState::default());
        let (leases, begun) = (store.clone(), Instant::now());
        let clock = tokio::spawn(async move {
            loop {
                leases.advance(begun.elapsed());
                // No lease is as short as that.
                let next = leases.next_deadline().unwrap_or(Duration::MAX);
                let wait = next.saturating_sub(begun.elapsed()).max(Duration::from_millis(1));
                sleep(wait.min(Duration::from_millis(500))).await;
            }
        });
        Self { store, subscriptions: Arc::default(), begun, _clock: clock }
    }

    pub(crate) fn start(&self, name: &str) -> Master {
        self.start_with(name, true, 0)
    }

    /// Of whose first commits so many lose their answers.
    pub(crate) fn start_with(&self, name: &str, probe: bool, lose: u32) -> Master {
        let line = Arc::new(Line {
            inner: self.store.clone(),
            begun: self.begun,
            cut: AtomicBool::new(false),
            lose: AtomicU32::new(lose),
            refuse: AtomicBool::new(false),
            only_refusals: AtomicBool::new(false),
            lose_renewals: AtomicU32::new(0),
            lose_of_renewals: AtomicBool::new(false),
        });
        let wire = Arc::new(Wire {
            master: name.to_owned(),
            open: AtomicBool::new(true),
            subscriptions: self.subscriptions.clone(),
        });
        let way = Arc::new(Way(wire.clone()));
        let numbers = Mutex::new(0_u64);
        let random = move || {
            let mut number = numbers.lock().unwrap();
            *number += 1;
            *number
        };
        let environment = Environment {
            transport: Some(way.clone()),
            probe: probe.then_some(way as Arc<dyn MesosProbe>),
            random: Arc::new(random),
            ..Environment::default()
        };
        let node = Node::start_in(environment, line.clone(), options(name));
        Master { name: name.to_owned(), line, wire, node }
    }

    /// Who owns each shard, as the store says.
    pub(crate) async fn owners(&self) -> Vec<Option<String>> {
        let mut owners = Vec::new();
        for shard in 0..SHARDS {
            let kv = self.store.get(keys::owner(shard)).await.unwrap().kv;
            let record = |kv: peloton_store::KeyValue| {
                peloton_model::decode_record::<peloton_model::OwnerRecord>(&kv.value).unwrap()
            };
            owners.push(kv.map(|kv| record(kv).master));
        }
        owners
    }

    /// Waits until each shard is subscribed by its owner, one of these masters, and shares are even;
    /// how long that took.
    pub(crate) async fn served_by(&self, masters: &[&Master]) -> Duration {
        let begun = Instant::now();
        let names: Vec<&str> = masters.iter().map(|master| master.name.as_str()).collect();
        loop {
            let owners = self.owners().await;
            let counts: Vec<usize> = names
                .iter()
                .map(|name| owners.iter().filter(|o| o.as_deref() == Some(name)).count())
                .collect();
            let served = (0..SHARDS).all(|shard| {
                let all = self.subscriptions.lock().unwrap();
                let by = all.of.get(&shard).map(|(master, _)| master.clone());
                by.is_some() && by == owners[usize::from(shard)]
            });
            let even = counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1;
            if served && even && counts.iter().sum::<usize>() == usize::from(SHARDS) {
                return begun.elapsed();
            }
            assert!(
                begun.elapsed() < Duration::from_secs(600),
                "{owners:?} {:?}",
                self.subscriptions
            );
            sleep(Duration::from_millis(1)).await;
        }
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").finish_non_exhaustive()
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
        address: format!("{master}:1"),
        shards: SHARDS,
        version: "0".to_owned(),
        schema: 1,
        started_at: 0,
        lease_ttl: LEASE,
        sharing: Sharing::default(),
        mesos: mesos::Options::new(vec!["mesos:5050".into()], framework),
        settings: Settings::new(ShardId(0), "test"),
    }
}
