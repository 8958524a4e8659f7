//! What a process has cost so far, from `/proc`.

use anyhow::{Context as _, Result};
use std::fs;

/// Processor time and memory of one process.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    /// User and system time of all threads, in seconds.
    pub(crate) cpu_secs: f64,
    /// Resident anonymous memory, in bytes: without what the kernel keeps of files.
    pub(crate) memory_bytes: u64,
}

/// What the processes of a cluster have cost.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usages {
    pub(crate) master: Usage,
    pub(crate) simulator: Usage,
    pub(crate) client: Usage,
}

/// Of the process `pid`.
pub(crate) fn of(pid: u32) -> Result<Usage> {
    let read = |file: &str| {
        let path = format!("/proc/{pid}/{file}");
        fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
    };
    let stat = read("stat")?;
    // The name, in brackets, may hold anything; `utime` and `stime` are the 12th and 13th field after it.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks = fields.split_whitespace().skip(11).take(2).filter_map(|f| f.parse::<u64>().ok());
    let per_second = rustix::param::clock_ticks_per_second();
    #[expect(clippy::cast_precision_loss, reason = "ticks of some hours")]
    let cpu_secs = ticks.sum::<u64>() as f64 / per_second as f64;
    let status = read("status")?;
    let rss = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = rss.and_then(|text| text.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    let memory_bytes = kib.context("no RssAnon")? * 1024;
    Ok(Usage { cpu_secs, memory_bytes })
}
