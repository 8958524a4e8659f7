//! Phases, and the table at the end.

use crate::cluster::Cluster;
use crate::probe::Latencies;
use crate::usage::Usages;
use anyhow::{Result, bail};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// How often progress is looked at. Each look asks for every job's status.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The best rate is that of a window of at least this long.
const WINDOW: Duration = Duration::from_secs(5);

/// How often progress is printed.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// A phase under way, and at its end what it took.
pub(crate) struct Phase {
    name: &'static str,
    began: Instant,
    before: Usages,
    /// Until all requests were answered.
    request: Duration,
    /// Until the goal was reached.
    took: Duration,
    target: u64,
    /// What was there when, for the best rate.
    progress: Vec<(Duration, u64)>,
    after: Usages,
    store_bytes: u64,
    latencies: Latencies,
}

impl Phase {
    pub(crate) fn begin(name: &'static str, cluster: &Cluster) -> Result<Self> {
        Ok(Self {
            name,
            began: Instant::now(),
            before: cluster.usage()?,
            request: Duration::ZERO,
            took: Duration::ZERO,
            target: 0,
            progress: Vec::new(),
            after: Usages::default(),
            store_bytes: 0,
            latencies: Latencies::default(),
        })
    }

    /// All requests were answered.
    pub(crate) fn requested(&mut self) {
        self.request = self.began.elapsed();
    }

    /// Waits until `count` has reached `target`.
    pub(crate) async fn follow<F: Future<Output = Result<u64>>>(
        &mut self,
        cluster: &mut Cluster,
        patience: Duration,
        what: &str,
        target: u64,
        count: impl Fn() -> F,
    ) -> Result<()> {
        self.target = target;
        let mut told = Instant::now();
        loop {
            cluster.check()?;
            let now = count().await?;
            self.progress.push((self.began.elapsed(), now));
            let done = now >= target;
            if told.elapsed() > TELL_EVERY || done {
                told = Instant::now();
                let secs = self.began.elapsed().as_secs_f64();
                let gib = cluster.usage()?.master.memory_bytes >> 20;
                println!("{secs:>8.1} s  {now} of {target} {what}; master {gib} MiB");
            }
            if done {
                return Ok(());
            }
            if self.began.elapsed() > patience {
                bail!("{}: only {now} of {target} {what} after {patience:?}", self.name);
            }
            sleep(LOOK_EVERY).await;
        }
    }

    pub(crate) fn end(mut self, cluster: &Cluster, latencies: Latencies) -> Result<Self> {
        self.took = self.began.elapsed();
        self.after = cluster.usage()?;
        self.store_bytes = cluster.store_bytes();
        self.latencies = latencies;
        Ok(self)
    }

    /// The most per second over any window.
    #[expect(clippy::cast_precision_loss, reason = "counts of at most some millions")]
    fn best_rate(&self) -> f64 {
        let mut best = 0.0_f64;
        let mut from = 0;
        for (at, count) in &self.progress {
            let fits = |(begin, _): &(Duration, u64)| at.saturating_sub(*begin) >= WINDOW;
            while self.progress.get(from + 1).is_some_and(fits) {
                from += 1;
            }
            let Some((begin, before)) = self.progress.get(from) else { break };
            let window = at.saturating_sub(*begin);
            if window >= WINDOW {
                let rate = count.saturating_sub(*before) as f64 / window.as_secs_f64();
                best = best.max(rate);
            }
        }
        best
    }
}

/// Prints how many calls to Mesos a phase took.
#[expect(clippy::cast_precision_loss, reason = "counts of at most some millions")]
pub(crate) fn print_calls(phase: &str, calls: u64, instances: u64) {
    let each = calls as f64 / instances as f64;
    println!("{phase}: {calls} calls to Mesos, {each:.2} an instance");
}

/// Prints what was measured, as tables in Markdown.
#[expect(clippy::cast_precision_loss, reason = "counts of at most some millions")]
pub(crate) fn print(
    phases: &[Phase],
    empty: &Usages,
    full: &Usages,
    again: &Usages,
    instances: u64,
) {
    println!(
        "\n| phase | time | a second | best 5 s | CPU master | CPU simulator | simulator's share | store |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    for phase in phases {
        let secs = phase.took.as_secs_f64();
        let master = phase.after.master.cpu_secs - phase.before.master.cpu_secs;
        let simulator = phase.after.simulator.cpu_secs - phase.before.simulator.cpu_secs;
        let client = phase.after.client.cpu_secs - phase.before.client.cpu_secs;
        let share = 100.0 * simulator / (master + simulator + client).max(f64::EPSILON);
        let rate = phase.target as f64 / secs;
        println!(
            "| {} | {secs:.1} s (requests {:.2} s) | {rate:.0} | {:.0} \
             | {master:.1} s | {simulator:.1} s | {share:.0} % | {} MiB |",
            phase.name,
            phase.request.as_secs_f64(),
            phase.best_rate(),
            phase.store_bytes >> 20,
        );
    }
    let each = |then: &Usages| {
        let grown = then.master.memory_bytes.saturating_sub(empty.master.memory_bytes);
        grown as f64 / instances as f64
    };
    println!(
        "\nmemory of the master: {} MiB at the start, {} MiB with all running: {:.0} bytes an \
         instance; {} MiB, {:.0} bytes an instance, when started again; simulator {} MiB",
        empty.master.memory_bytes >> 20,
        full.master.memory_bytes >> 20,
        each(full),
        again.master.memory_bytes >> 20,
        each(again),
        full.simulator.memory_bytes >> 20,
    );
    println!("\n| call | phase | calls | median | 99 % | longest |");
    println!("| --- | --- | --- | --- | --- | --- |");
    for phase in phases {
        for (call, times) in &phase.latencies.calls {
            let mut times = times.clone();
            times.sort_unstable();
            let at = |share: usize| {
                let time = times.get(times.len().saturating_sub(1) * share / 100);
                time.map_or(0.0, Duration::as_secs_f64) * 1e3
            };
            println!(
                "| {call} | {} | {} | {:.1} ms | {:.1} ms | {:.1} ms |",
                phase.name,
                times.len(),
                at(50),
                at(99),
                at(100),
            );
        }
    }
    let failures: u64 = phases.iter().map(|phase| phase.latencies.failures).sum();
    println!("\nfailed requests: {failures}");
}
