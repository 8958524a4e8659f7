//! The metrics that Prometheus clients of all languages give of a process, read from `/proc`.
//!
//! What cannot be read is left out: a scrape never fails for it.

use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Clock ticks a second in `/proc/self/stat`: fixed at 100 in Linux's interface to programs,
/// whatever the kernel's own rate is.
const TICKS_PER_SECOND: f64 = 100.0;

/// Looks the process up in `/proc` at each scrape.
#[derive(Debug)]
pub(crate) struct ProcessCollector;

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut put = |name: &str, help: &str, metric: &dyn EncodeMetric| {
            let encoder = encoder.encode_descriptor(name, help, None, metric.metric_type())?;
            metric.encode(encoder)
        };
        if let Some(stat) = Stat::read() {
            let cpu = ConstCounter::new(stat.cpu_seconds);
            put("process_cpu_seconds", "User and system CPU time in seconds.", &cpu)?;
            let threads = ConstGauge::new(stat.threads);
            put("process_threads", "Threads.", &threads)?;
            if let Some(boot) = boot_time_secs() {
                let start = ConstGauge::new(boot + stat.start_secs_after_boot);
                put("process_start_time_seconds", "Start, in seconds since 1970.", &start)?;
            }
        }
        if let Some(bytes) = status_bytes("VmRSS:") {
            let metric = ConstGauge::new(bytes);
            put("process_resident_memory_bytes", "Resident memory in bytes.", &metric)?;
        }
        if let Some(bytes) = status_bytes("VmSize:") {
            let metric = ConstGauge::new(bytes);
            put("process_virtual_memory_bytes", "Virtual memory in bytes.", &metric)?;
        }
        if let Some(count) = open_fds() {
            put("process_open_fds", "Open file descriptors.", &ConstGauge::new(count))?;
        }
        if let Some(count) = max_fds() {
            put("process_max_fds", "Most file descriptors allowed.", &ConstGauge::new(count))?;
        }
        Ok(())
    }
}

struct Stat {
    cpu_seconds: f64,
    threads: i64,
    start_secs_after_boot: f64,
}

impl Stat {
    fn read() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/self/stat").ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        // The second field is the program's name in brackets, which may contain anything.
        let (_, rest) = text.rsplit_once(')')?;
        // The first field of the rest is the third of all.
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        Some(Self {
            cpu_seconds: (field(14)? + field(15)?) / TICKS_PER_SECOND,
            threads: fields.get(20 - 3)?.parse().ok()?,
            start_secs_after_boot: field(22)? / TICKS_PER_SECOND,
        })
    }
}

fn boot_time_secs() -> Option<f64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    text.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
}

fn status_bytes(name: &str) -> Option<i64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: i64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

fn open_fds() -> Option<i64> {
    // One of them is the directory that is being read.
    i64::try_from(fs::read_dir("/proc/self/fd").ok()?.count()).ok()?.checked_sub(1)
}

fn max_fds() -> Option<i64> {
    let text = fs::read_to_string("/proc/self/limits").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_shift_the_fields() {
        let numbers: Vec<_> = (4..=52).map(|field| field.to_string()).collect();
        let stat = Stat::parse(&format!("1 (a) b) S {}", numbers.join(" "))).unwrap();
        assert!((stat.cpu_seconds - 0.29).abs() < 1e-9);
        assert_eq!(stat.threads, 20);
        assert!((stat.start_secs_after_boot - 0.22).abs() < 1e-9);
    }
}
