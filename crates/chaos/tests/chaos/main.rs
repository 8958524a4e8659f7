//! Three masters, three members of etcd and a real Mesos, with faults: what clients see is linearizable,
//! masters that are whole serve, and nothing that runs notices.
//!
//! Needs root and iproute2, for network namespaces, and takes minutes, so it runs when asked for:
//! `cargo xtask chaos`. `PELOTON_SEED` chooses the faults, `PELOTON_CHAOS_SECS` for how long.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests, not only tests themselves"
)]

mod clients;
mod cluster;
mod dice;
mod faults;
mod judge;
mod net;
mod programs;
mod record;
mod stale;
mod work;

use std::path::Path;
use std::time::{Duration, Instant};

use clients::Clients;
use cluster::{Cluster, SHARDS};
use dice::Dice;
use faults::{Episode, Fault};
use record::{Call, End, Record};
use work::Work;

/// Until another seed is asked for.
const SEED: u64 = 20_160_901;

/// After so long no further round begins: one round, as a rule.
const SECS: u64 = 60;

/// Times that are promised, in seconds, and how much more a busy machine may take.
const KILLED_SECS: f64 = 5.0;
const STOPPED_SECS: f64 = 0.5;
const GENEROUS: f64 = 6.0;

fn number(variable: &str, default: u64) -> u64 {
    let given = std::env::var(variable).ok();
    given.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable}: {text:?}")))
}

fn seconds(duration: Duration) -> String {
    format!("{:.2}", duration.as_secs_f64())
}

fn row(fault: &str, served: &str, healed: &str) {
    println!("{fault:<42} {served:>8} {healed:>8}");
}

fn print_report(calls: &[Call], episodes: &[Episode]) {
    println!();
    row("fault", "served s", "healed s");
    for episode in episodes {
        let served = episode.served_after.map_or_else(String::new, seconds);
        row(&episode.fault.to_string(), &served, &seconds(episode.healed_after));
    }
    let count = |wanted: fn(&End) -> bool| calls.iter().filter(|call| wanted(&call.end)).count();
    println!(
        "{} calls: {} answered, {} without effect, {} in doubt",
        calls.len(),
        count(|end| matches!(end, End::Answered(_))),
        count(|end| matches!(end, End::NotDone(_))),
        count(|end| matches!(end, End::Unknown(_) | End::Broken(_))),
    );
}

/// What was promised about times, generously.
fn assert_in_time(episodes: &[Episode]) {
    for Episode { fault, served_after, .. } in episodes {
        let promised = match fault {
            Fault::KillMaster(_) => KILLED_SECS,
            Fault::StopMaster(_) => STOPPED_SECS,
            _ => continue,
        };
        let took = served_after.map_or(0.0, |took| took.as_secs_f64());
        assert!(took <= promised * GENEROUS, "{fault}: served after {took} s");
    }
}

#[test]
#[ignore = "takes minutes: cargo xtask chaos"]
fn whatever_fails_the_history_is_linearizable_and_nothing_that_runs_notices() {
    let seed = number("PELOTON_SEED", SEED);
    println!("PELOTON_SEED={seed}");
    let lasts = Duration::from_secs(number("PELOTON_CHAOS_SECS", SECS));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let Some(mut cluster) = Cluster::start(runtime.handle()) else { return };
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("chaos-{seed}"));
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        run(&runtime, &mut cluster, seed, lasts, &kept);
    }));
    if let Err(panic) = outcome {
        cluster.keep_logs(&kept);
        println!("the masters' logs are in {}", kept.display());
        std::panic::resume_unwind(panic);
    }
}

fn run(
    runtime: &tokio::runtime::Runtime,
    cluster: &mut Cluster,
    seed: u64,
    lasts: Duration,
    kept: &Path,
) {
    let mut dice = Dice::new(seed);
    let mut work = runtime.block_on(Work::start(cluster));
    let record = Record::new();
    let clients = runtime.block_on(async { Clients::start(cluster, &record, seed) });
    let mut episodes = Vec::new();
    let start = Instant::now();
    for round in 0.. {
        if start.elapsed() >= lasts {
            break;
        }
        for fault in faults::deck(round, &mut dice) {
            println!("{:7.2} s: {fault}", start.elapsed().as_secs_f64());
            episodes.push(faults::happens(cluster, fault, &mut dice, &record));
        }
    }
    runtime.block_on(clients.finish());
    let batch_jobs = runtime.block_on(work.finish());
    let calls = record.calls();
    print_report(&calls, &episodes);
    println!("{batch_jobs} batch jobs, {SHARDS} shards");
    judge::assert_linearizable(&calls, kept);
    judge::assert_available(&calls, &episodes);
    assert!(judge::assert_stale_reads_are_found(&calls) > 0, "no read could be made stale");
    assert_in_time(&episodes);
    stale::assert_found(runtime, cluster);
    runtime.block_on(work.audit(cluster, batch_jobs));
}
