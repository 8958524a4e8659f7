//! Commits per second of the embedded store, on a directory of the build's own disk.
//!
//! Fixed input: `writers/N` is N tasks that each put single keys of 100 bytes one after the other; `ops/500` is
//! one task committing transactions of 500 puts under one job's prefix.

// A benchmark has nobody to hand an error to.
#![allow(clippy::expect_used, missing_docs)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use peloton_store::{Key, Store, Txn, Value, keys};
use peloton_store_embedded::{EmbeddedStore, Options};
use tokio::runtime::Runtime;

const VALUE: &[u8] = &[b'v'; 100];
const WRITERS: [u64; 3] = [1, 32, 256];
const OPS_PER_TXN: u32 = 500;
/// Keys written by a task before it begins anew, so that the store does not grow without end.
const KEYS_PER_WRITER: u32 = 10_000;
/// Keys in the store while it is read.
const KEYS_READ: u32 = 100_000;

struct Bench {
    runtime: Runtime,
    store: Arc<dyn Store>,
    _directory: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("directory");
        let store = EmbeddedStore::open(Options::new(directory.path())).expect("open");
        let runtime = Runtime::new().expect("runtime");
        Self { runtime, store: Arc::new(store), _directory: directory }
    }

    /// The time `writers` tasks take for `txns` transactions together.
    fn write(&self, writers: u64, txns: u64) -> Duration {
        self.runtime.block_on(async {
            let start = Instant::now();
            let mut tasks = tokio::task::JoinSet::new();
            for writer in 0..writers {
                let store = Arc::clone(&self.store);
                let share = txns / writers + u64::from(writer < txns % writers);
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

fn commits(c: &mut Criterion) {
    let mut group = c.benchmark_group("commit");
    group.sample_size(10).measurement_time(Duration::from_secs(5));
    for writers in WRITERS {
        let bench = Bench::new();
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new("writers", writers), |b| {
            b.iter_custom(|txns| bench.write(writers, txns));
        });
    }
    let bench = Bench::new();
    group.throughput(Throughput::Elements(u64::from(OPS_PER_TXN)));
    group.bench_function(BenchmarkId::new("ops", OPS_PER_TXN), |b| {
        b.iter_custom(|txns| bench.write_large(txns));
    });
    group.finish();
}

fn reads(c: &mut Criterion) {
    let bench = Bench::new();
    bench.write_large(u64::from(KEYS_READ / OPS_PER_TXN));
    let mut group = c.benchmark_group("read");
    group.sample_size(10).measurement_time(Duration::from_secs(2));
    group.throughput(Throughput::Elements(1));
    let key: Key = keys::actual_instance(0, "job-003", 4321);
    group.bench_function("get", |b| {
        b.iter(|| bench.runtime.block_on(bench.store.get(key.clone())).expect("get"));
    });
    group.finish();
}

criterion_group!(benches, commits, reads);
criterion_main!(benches);
