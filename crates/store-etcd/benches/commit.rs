//! Commits and reads per second against a real etcd of one and of three members, all on this machine, so that
//! the members share its processors and its disk with the benchmark and with each other.
//!
//! Fixed input: `ops/100` is one task committing transactions of 100 puts under one job's prefix,
//! `writers/32` is 32 tasks that each put single keys of 100 bytes one after the other, `get` reads one key.

// A benchmark has nobody to hand an error to.
#![allow(clippy::expect_used, missing_docs)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use peloton_store::{Key, Store, Txn, Value, keys};
use peloton_store_etcd::{EtcdStore, Options};
use peloton_testbed::etcd::{Etcd, EtcdOptions};
use tokio::runtime::Runtime;

const VALUE: &[u8] = &[b'v'; 100];
const MEMBERS: [usize; 2] = [1, 3];
const WRITERS: u64 = 32;
const OPS_PER_TXN: u32 = 100;
/// Keys written by a task before it begins anew.
const KEYS_PER_WRITER: u32 = 10_000;

struct Bench {
    runtime: Runtime,
    store: Arc<dyn Store>,
    _etcd: Etcd,
}

impl Bench {
    fn new(members: usize) -> Self {
        let etcd = Etcd::start(&EtcdOptions::members(members)).expect("etcd");
        let runtime = Runtime::new().expect("runtime");
        let options = Options::new(etcd.endpoints(), "/bench");
        let store = runtime.block_on(EtcdStore::open(options)).expect("open");
        Self { runtime, store: Arc::new(store), _etcd: etcd }
    }

    /// The time that the writers take for `txns` transactions together.
    fn write(&self, txns: u64) -> Duration {
        self.runtime.block_on(async {
            let start = Instant::now();
            let mut tasks = tokio::task::JoinSet::new();
            for writer in 0..WRITERS {
                let store = Arc::clone(&self.store);
                let share = txns / WRITERS + u64::from(writer < txns % WRITERS);
                tasks.spawn(async move {
                    let job = format!("job-{writer:03}");
                    for n in 0..share {
                        let instance = u32::try_from(n).unwrap_or_default() % KEYS_PER_WRITER;
                        let key = keys::actual_instance(0, &job, instance);
                        let txn = Txn::new().put(key, Value::from_static(VALUE));
                        store.commit(txn).await.expect("commit");
                    }
                });
            }
            tasks.join_all().await;
            start.elapsed()
        })
    }

    /// The time for `txns` transactions of many puts, one after the other.
    fn write_large(&self, txns: u64) -> Duration {
        let txn = |n: u64| {
            let job = format!("job-{:03}", n / 20 % 100);
            let first = u32::try_from(n % 20).unwrap_or_default() * OPS_PER_TXN;
            (first..first + OPS_PER_TXN).fold(Txn::new(), |txn, instance| {
                txn.put(keys::actual_instance(0, &job, instance), Value::from_static(VALUE))
            })
        };
        let txns: Vec<Txn> = (0..txns).map(txn).collect();
        self.runtime.block_on(async {
            let start = Instant::now();
            for txn in txns {
                self.store.commit(txn).await.expect("commit");
            }
            start.elapsed()
        })
    }
}

fn all(c: &mut Criterion) {
    for members in MEMBERS {
        let bench = Bench::new(members);
        let mut group = c.benchmark_group(format!("{members} members"));
        group.sample_size(10).measurement_time(Duration::from_secs(5));
        group.throughput(Throughput::Elements(u64::from(OPS_PER_TXN)));
        group.bench_function(BenchmarkId::new("ops", OPS_PER_TXN), |b| {
            b.iter_custom(|txns| bench.write_large(txns));
        });
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new("writers", WRITERS), |b| {
            b.iter_custom(|txns| bench.write(txns));
        });
        let key: Key = keys::actual_instance(0, "job-000", 7);
        group.bench_function("get", |b| {
            b.iter(|| bench.runtime.block_on(bench.store.get(key.clone())).expect("get"));
        });
        group.finish();
    }
}

criterion_group!(benches, all);
criterion_main!(benches);
