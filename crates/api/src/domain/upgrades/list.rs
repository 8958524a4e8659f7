//! Upgrades, the newest first. Each shard has a list of its own, in that order; that of all is made of these
//! while it is read. An upgrade that is there throughout is told once, whatever begins between the pages.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use peloton_model::{JobId, UnixMs, UpgradeId, UpgradeRecord, Version};
use peloton_store::{KeyRange, RangeRequest, keys};

use super::super::records::stored;
use super::history::{self, UpgradeView};
use super::progress::entries;
use crate::ApiError;
use crate::domain::{PageRequest, Records};

/// Entries of one shard's list that are read at once.
const SCAN_KEYS: usize = 100;
/// Shards, or upgrades, read at the same time.
const PARALLEL_READS: usize = 32;

/// A page of upgrades.
#[derive(Debug, Clone, Default)]
pub struct UpgradePage {
    /// The upgrades.
    pub upgrades: Vec<UpgradeView>,
    /// Where the next page starts; empty behind the last one.
    pub next: String,
}

/// An entry of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    at: UnixMs,
    job: JobId,
    to: Version,
}

impl Entry {
    fn token(&self) -> String {
        format!("{}/{}/{}", self.at, self.job, self.to)
    }

    /// `None` for the first page.
    fn parse(token: &str) -> Result<Option<Self>, ApiError> {
        if token.is_empty() {
            return Ok(None);
        }
        let mut parts = token.split('/');
        let entry = (|| {
            let at = parts.next()?.parse().ok()?;
            let job = JobId::new(parts.next()?).ok()?;
            let to = parts.next()?.parse().ok().filter(|to| *to <= keys::MAX_NUMBER)?;
            parts.next().is_none().then_some(Self { at, job, to })
        })();
        entry.map(Some).ok_or_else(|| refused(token))
    }
}

fn refused(token: &str) -> ApiError {
    ApiError::invalid(format!(
        "pageToken: {token:?} is not allowed: the nextPageToken of the page before, or none"
    ))
}

pub(super) async fn list(
    records: &Records,
    job: Option<&JobId>,
    page: &PageRequest,
) -> Result<UpgradePage, ApiError> {
    let behind = Entry::parse(&page.token)?;
    match job {
        Some(job) if behind.as_ref().is_some_and(|behind| behind.job != *job) => {
            Err(refused(&page.token))
        }
        Some(job) => of_job(records, job, behind.map(|behind| behind.to), entries(page)).await,
        None => of_all(records, behind, entries(page)).await,
    }
}

/// Those of one job: three reads, as it has few.
async fn of_job(
    records: &Records,
    job: &JobId,
    behind: Option<Version>,
    entries: usize,
) -> Result<UpgradePage, ApiError> {
    let specs = history::specs(records, job).await?;
    let Some(record) = records.job(job).await? else { return Ok(UpgradePage::default()) };
    let mut actual: Vec<UpgradeRecord> = Vec::new();
    for kv in records.range_all(keys::actual_upgrades(records.shard(job), job.as_str())).await? {
        actual.push(stored(&kv)?.record);
    }
    let id = |to: Version| {
        let spec = specs.iter().find(|spec| spec.to == to)?;
        Some(UpgradeId { job: job.clone(), to, mark: spec.mark })
    };
    let mut wanted = specs.iter().rev().filter(|spec| behind.is_none_or(|to| spec.to < to));
    let mut out = UpgradePage::default();
    for spec in wanted.by_ref().take(entries) {
        let own = |actual: &&UpgradeRecord| actual.to == spec.to && actual.mark == spec.mark;
        let actual = actual.iter().find(own).cloned();
        let upgrade = UpgradeId { job: job.clone(), to: spec.to, mark: spec.mark };
        let mut view = history::view(upgrade, spec.clone(), Some(&record.record), actual);
        view.replaces = spec.replaces.and_then(id);
        view.takes_back = spec.takes_back.and_then(id);
        out.upgrades.push(view);
    }
    if let (Some(_), Some(last)) = (wanted.next(), out.upgrades.last()) {
        let (at, to) = (last.spec.created_at, last.id.to);
        out.next = Entry { at, job: job.clone(), to }.token();
    }
    Ok(out)
}

/// One shard's list, as far as it was read.
struct Source {
    range: KeyRange,
    /// What stands in front of an entry's own part of the key.
    prefix: usize,
    ahead: VecDeque<(Bytes, Entry)>,
    more: bool,
}

impl Source {
    fn new(shard: u16, behind: Option<&Entry>) -> Self {
        let mut range = keys::desired_recents(shard);
        let prefix = range.start.len();
        if let Some(Entry { at, job, to }) = behind {
            range = range.after(&keys::desired_recent(shard, *at, job.as_str(), *to));
        }
        Self { range, prefix, ahead: VecDeque::new(), more: true }
    }

    /// Reads on, unless there is something ahead.
    async fn fill(&mut self, records: &Records, limit: usize) -> Result<(), ApiError> {
        while self.ahead.is_empty() && self.more {
            let limit = u32::try_from(limit).unwrap_or(u32::MAX);
            let request = RangeRequest::new(self.range.clone()).limit(limit).keys_only();
            let page = records.range(request).await?;
            self.more = page.more;
            for kv in page.kvs {
                self.range = self.range.after(&kv.key);
                let Some(keys::ParsedKey::DesiredRecent { at, job, version, .. }) =
                    keys::parse(&kv.key)
                else {
                    continue;
                };
                // The order of these parts is the order of the list.
                let rank = kv.key.slice(self.prefix..);
                self.ahead.push_back((rank, Entry { at, job: JobId::new(&job)?, to: version }));
            }
        }
        Ok(())
    }
}

async fn of_all(
    records: &Records,
    behind: Option<Entry>,
    entries: usize,
) -> Result<UpgradePage, ApiError> {
    let limit = SCAN_KEYS.min(entries + 1);
    let reads = stream::iter(0..records.shards()).map(|shard| {
        let mut source = Source::new(shard, behind.as_ref());
        async move {
            source.fill(records, limit).await?;
            Ok::<_, ApiError>(source)
        }
    });
    let mut sources: Vec<Source> = reads.buffered(PARALLEL_READS).try_collect().await?;
    let rank = |source: &Source| source.ahead.front().map(|(rank, _)| rank.clone());
    let mut heads: BinaryHeap<_> = (0..)
        .zip(&sources)
        .filter_map(|(i, source): (usize, _)| Some(Reverse((rank(source)?, i))))
        .collect();
    let mut taken: Vec<Entry> = Vec::new();
    while taken.len() < entries {
        let Some(Reverse((_, i))) = heads.pop() else { break };
        let Some(source) = sources.get_mut(i) else { break };
        taken.extend(source.ahead.pop_front().map(|(_, entry)| entry));
        source.fill(records, limit).await?;
        heads.extend(rank(source).map(|rank| Reverse((rank, i))));
    }
    let is_more = !heads.is_empty();
    let next = taken.last().filter(|_| is_more).map(Entry::token).unwrap_or_default();
    let views = stream::iter(taken).map(|entry| show(records, entry));
    let views: Vec<_> = views.buffered(PARALLEL_READS).try_collect().await?;
    Ok(UpgradePage { upgrades: views.into_iter().flatten().collect(), next })
}

/// The upgrade of an entry, if it is still there.
async fn show(records: &Records, entry: Entry) -> Result<Option<UpgradeView>, ApiError> {
    let Entry { at, job, to } = entry;
    let spec = history::spec(records, &job, to).await?.filter(|spec| spec.created_at == at);
    let Some(spec) = spec else { return Ok(None) };
    let Some(record) = records.job(&job).await? else { return Ok(None) };
    let id = UpgradeId { job, to, mark: spec.mark };
    let actual = records.upgrade(&id).await?.map(|actual| actual.record);
    let mut view = history::view(id, spec, Some(&record.record), actual);
    history::link(records, &mut view).await?;
    Ok(Some(view))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_round_trip_and_others_are_refused() {
        let entry = Entry { at: 12, job: JobId::new("a.b-c_1").unwrap(), to: 7 };
        assert_eq!(Entry::parse(&entry.token()), Ok(Some(entry)));
        assert_eq!(Entry::parse(""), Ok(None));
        for bad in ["x", "1/a", "1/a/b", "1//2", "1/a/2/", "-1/a/2", "1/a/10000000000"] {
            assert!(Entry::parse(bad).unwrap_err().message.starts_with("pageToken: "), "{bad}");
        }
    }
}
