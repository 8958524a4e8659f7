//! Jobs by their labels, page by page: shard after shard, within each in the order of ids. A job that
//! is there throughout is found exactly once, whatever is created and deleted between the pages.

use std::collections::BTreeMap;

use futures_util::{StreamExt, TryStreamExt, stream};
use peloton_model::{JobId, JobRecord, limits};
use peloton_store::{RangeRequest, keys};

use super::records::{Stored, stored};
use super::{JobView, Records};
use crate::ApiError;

/// Where a page of an answer ends although fewer entries than asked for are in it, in bytes of stored
/// configurations: what a master keeps in memory for one answer, and far above what is usual.
pub const MAX_PAGE_BYTES: usize = 32 * 1024 * 1024;
/// Job records read at once.
const SCAN_KEYS: u32 = 1000;
/// Configurations read at the same time.
const PARALLEL_READS: usize = 32;

/// Which page is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PageRequest {
    /// The most entries; 0 stands for [`limits::MAX_PAGE`], and more are cut to it: callers that know
    /// nothing of pages get everything up to there.
    pub limit: u32,
    /// Where the page before ended, as it said; empty for the first page.
    pub token: String,
}

impl PageRequest {
    /// The most entries, resolved.
    #[must_use]
    pub fn entries(&self) -> usize {
        let limit = if self.limit == 0 { limits::MAX_PAGE } else { self.limit };
        limit.min(limits::MAX_PAGE) as usize
    }
}

/// A page of jobs.
#[derive(Debug, Clone, Default)]
pub struct JobPage {
    /// The jobs.
    pub jobs: Vec<JobView>,
    /// Where the next page starts; empty behind the last one.
    pub next: String,
}

/// A place between jobs: behind `job` of `shard`, or at its beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cursor {
    shard: u16,
    job: Option<JobId>,
}

impl Cursor {
    fn parse(token: &str, shards: u16) -> Result<Self, ApiError> {
        if token.is_empty() {
            return Ok(Self { shard: 0, job: None });
        }
        let parts = token.split_once('/').and_then(|(shard, job)| {
            let shard = shard.parse::<u16>().ok().filter(|shard| *shard < shards)?;
            Some(Self { shard, job: Some(JobId::new(job).ok()?) })
        });
        parts.ok_or_else(|| {
            ApiError::invalid(format!(
                "pageToken: {token:?} is not allowed: the nextPageToken of the page before, or none"
            ))
        })
    }

    fn token(&self) -> String {
        self.job.as_ref().map_or_else(String::new, |job| format!("{}/{job}", self.shard))
    }
}

pub(super) async fn query(
    records: &Records,
    labels: &BTreeMap<String, String>,
    page: &PageRequest,
) -> Result<JobPage, ApiError> {
    let mut cursor = Cursor::parse(&page.token, records.shards())?;
    let mut out = JobPage::default();
    let (mut bytes, entries) = (0, page.entries());
    while cursor.shard < records.shards() {
        let (batch, more) = scan(records, &cursor).await?;
        let last = batch.last().map(|(job, _)| job.clone());
        let wanted = batch.into_iter().filter(|(_, stored)| may_match(&stored.record, labels));
        // As many are read ahead as run at the same time, no more: the page may end at any of them.
        let mut found = stream::iter(wanted)
            .map(|(job, stored)| view(records, job, stored, labels))
            .buffered(PARALLEL_READS);
        while let Some(view) = found.try_next().await? {
            // Deleted since the scan, or of other labels after all.
            let Some(view) = view else { continue };
            if out.jobs.len() == entries || bytes >= MAX_PAGE_BYTES {
                let job = out.jobs.last().map(|view| view.id.clone());
                let shard = job.as_ref().map_or(cursor.shard, |job| records.shard(job));
                out.next = Cursor { shard, job }.token();
                return Ok(out);
            }
            bytes += view.config.size_bytes;
            out.jobs.push(view);
        }
        cursor = match last {
            Some(job) if more => Cursor { shard: cursor.shard, job: Some(job) },
            _ => Cursor { shard: cursor.shard + 1, job: None },
        };
    }
    Ok(out)
}

type Scanned = (Vec<(JobId, Stored<JobRecord>)>, bool);

/// The next job records of the cursor's shard, and whether it has more.
async fn scan(records: &Records, cursor: &Cursor) -> Result<Scanned, ApiError> {
    let mut range = keys::desired_jobs(cursor.shard);
    if let Some(job) = &cursor.job {
        range = range.after(&keys::desired_job(cursor.shard, job.as_str()));
    }
    let page = records.range(RangeRequest::new(range).limit(SCAN_KEYS)).await?;
    let mut batch = Vec::with_capacity(page.kvs.len());
    for kv in &page.kvs {
        let Some(keys::ParsedKey::DesiredJob { job, .. }) = keys::parse(&kv.key) else { continue };
        batch.push((JobId::new(&job)?, stored(kv)?));
    }
    Ok((batch, page.more))
}

fn matches(labels: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// Whether the labels may be those of the version in force; of a job without an upgrade, whether they are.
fn may_match(record: &JobRecord, wanted: &BTreeMap<String, String>) -> bool {
    record.upgrade.is_some() || matches(&record.labels, wanted)
}

async fn view(
    records: &Records,
    job: JobId,
    stored: Stored<JobRecord>,
    wanted: &BTreeMap<String, String>,
) -> Result<Option<JobView>, ApiError> {
    let standing = records.standing(&job, &stored.record).await?;
    let version = standing.current(&stored.record).version;
    // The record has the labels of the version that was asked for last.
    let is_told = version == stored.record.version;
    if is_told && !matches(&stored.record.labels, wanted) {
        return Ok(None);
    }
    let config = records.config(&job, &stored, version).await?;
    let config = config.filter(|c| is_told || matches(&c.record.config.labels, wanted));
    Ok(config.map(|config| JobView { id: job, record: stored.record, config }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_round_trip_and_others_are_refused() {
        let cursor = Cursor { shard: 7, job: Some(JobId::new("a.b-c_1").unwrap()) };
        assert_eq!(Cursor::parse(&cursor.token(), 8), Ok(cursor));
        for bad in ["x", "8/a", "1/", "1/a/b", "/a", "-1/a", "70000/a"] {
            assert!(Cursor::parse(bad, 8).unwrap_err().message.starts_with("pageToken: "), "{bad}");
        }
    }
}
