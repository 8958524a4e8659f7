//! Inside an upgrade: where its instances are, and what has happened.

use peloton_model::{
    FieldError, InstanceId, InstanceRecord, JobId, Stage, UpgradeEvent, UpgradeId, Version, limits,
};
use peloton_store::{KeyRange, RangeRequest, Revision, keys};

use super::super::records::stored;
use super::history;
use crate::ApiError;
use crate::domain::{PageRequest, Records};

/// Instance records read at once.
const SCAN_KEYS: u32 = 1000;
/// Most instance records that are looked through for those in hand: enough for all but the very largest
/// jobs, in some tenths of a second. Counts and events tell of those, too.
const MAX_SCANNED: usize = 100_000;

/// A page of events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventPage {
    /// The events, with their numbers.
    pub events: Vec<(u64, UpgradeEvent)>,
    /// Where the next page starts; empty if this was all there is by now.
    pub next: String,
}

/// The most entries of a page of upgrades or events.
pub(super) fn entries(page: &PageRequest) -> usize {
    let limit = if page.limit == 0 { limits::DEFAULT_PAGE } else { page.limit };
    limit.min(limits::MAX_PAGE) as usize
}

/// Instances that the job's upgrade to a version has in hand, or that failed in it.
pub(super) async fn in_hand(
    records: &Records,
    job: &JobId,
    incarnation: Revision,
    to: Version,
) -> Result<Vec<(InstanceId, InstanceRecord)>, ApiError> {
    let summary = records.summary(job).await?;
    let Some(summary) = summary.filter(|summary| summary.incarnation == incarnation.0) else {
        return Ok(Vec::new());
    };
    let (mut found, mut scanned) = (Vec::new(), 0);
    let mut range = keys::actual_instances(records.shard(job), job.as_str());
    loop {
        let page = records.range(RangeRequest::new(range.clone()).limit(SCAN_KEYS)).await?;
        for kv in &page.kvs {
            let Some(keys::ParsedKey::ActualInstance { instance, .. }) = keys::parse(&kv.key)
            else {
                continue;
            };
            let record: InstanceRecord = stored(kv)?.record;
            // Runs up to the floor are of an earlier job of the name.
            let is_own = record.run == 0 || record.run > summary.run_floor;
            if is_own && is_in_hand(&record, to) && found.len() < limits::MAX_NAMED_INSTANCES {
                found.push((instance, record));
            }
        }
        scanned += page.kvs.len();
        let is_enough = found.len() >= limits::MAX_NAMED_INSTANCES || scanned >= MAX_SCANNED;
        match page.kvs.last() {
            Some(last) if page.more && !is_enough => range = range.after(&last.key),
            _ => return Ok(found),
        }
    }
}

fn is_in_hand(record: &InstanceRecord, to: Version) -> bool {
    let arrived = |stage| matches!(stage, Stage::Proven | Stage::Returned);
    record.step.as_ref().is_some_and(|step| step.to == to && !arrived(step.stage))
}

pub(super) async fn events(
    records: &Records,
    id: &UpgradeId,
    page: &PageRequest,
) -> Result<Option<EventPage>, ApiError> {
    let first = if page.token.is_empty() { Some(0) } else { page.token.parse().ok() };
    let first: u64 = first.filter(|first| *first <= keys::MAX_NUMBER).ok_or_else(|| {
        let allowed = "the nextPageToken of the page before, or the number of an event";
        FieldError::new("pageToken", &page.token, allowed)
    })?;
    if history::find(records, id).await?.is_none() {
        return Ok(None);
    }
    // The record tells how many there are, so that those of an earlier upgrade of the same version, of
    // a job that is gone, are not taken for its own.
    let actual = records.upgrade(id).await?;
    let behind = actual.map_or(0, |actual| actual.record.events).min(keys::MAX_NUMBER);
    if first >= behind {
        return Ok(Some(EventPage::default()));
    }
    let shard = records.shard(&id.job);
    let key = |number| keys::actual_event(shard, id.job.as_str(), id.to, number);
    let limit = u32::try_from(entries(page)).unwrap_or(u32::MAX);
    let request = RangeRequest::new(KeyRange::new(key(first), key(behind))).limit(limit);
    let found = records.range(request).await?;
    let mut out = EventPage::default();
    for kv in &found.kvs {
        let Some(keys::ParsedKey::ActualEvent { number, .. }) = keys::parse(&kv.key) else {
            continue;
        };
        out.events.push((number, stored(kv)?.record));
    }
    if let Some((last, _)) = out.events.last().filter(|_| found.more) {
        out.next = (last + 1).to_string();
    }
    Ok(Some(out))
}
