//! Follows how a job is doing: the store's watch says when to look, the status is read anew each
//! time. So nothing is missed, and changes in quick succession are told as one.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{Stream, StreamExt, select_all};
use peloton_model::JobId;
use peloton_store::{KeyRange, StoreError, WatchBatch, keys};

use super::{JobStatus, Jobs};
use crate::ApiError;

/// How long changes are gathered before the status is read: an owner commits several times a second.
const GATHER: Duration = Duration::from_millis(50);

type Events = Pin<Box<dyn Stream<Item = Result<WatchBatch, StoreError>> + Send>>;

/// What a watcher is told.
#[derive(Debug, Clone, PartialEq)]
pub enum News {
    /// How the job is doing now.
    Status(Box<JobStatus>),
    /// There is no such job.
    NotFound,
}

/// The news of one job.
pub struct StatusWatch {
    jobs: Arc<Jobs>,
    job: JobId,
    events: Option<Events>,
    last: Option<JobStatus>,
    over: bool,
}

impl StatusWatch {
    /// Of this job.
    #[must_use]
    pub fn new(jobs: Arc<Jobs>, job: JobId) -> Self {
        Self { jobs, job, events: None, last: None, over: false }
    }

    /// The status now, then again after each change. Ends after [`News::NotFound`], and after a
    /// deleted job has left nothing behind.
    ///
    /// # Errors
    /// `unavailable`; then it is over, too.
    pub async fn next(&mut self) -> Result<Option<News>, ApiError> {
        while !self.over {
            if let Some(events) = &mut self.events {
                match events.next().await {
                    Some(Ok(_)) => tokio::time::sleep(GATHER).await,
                    // The watch fell behind; what it missed is in the status that is read next.
                    Some(Err(error)) if error.is_compacted() => self.events = None,
                    Some(Err(error)) => {
                        self.over = true;
                        return Err(error.into());
                    }
                    None => self.events = None,
                }
            }
            if let Some(news) = self.look().await.inspect_err(|_| self.over = true)? {
                return Ok(Some(news));
            }
        }
        Ok(None)
    }

    /// Reads the status, if it is news.
    async fn look(&mut self) -> Result<Option<News>, ApiError> {
        if self.events.is_none() {
            self.events = Some(subscribe(&self.jobs, &self.job).await?);
        }
        let status = self.jobs.status(&self.job).await?;
        if status.is_none() {
            self.over = true;
            let gone = self.last.take().map(|last| News::Status(Box::new(last.gone())));
            return Ok(Some(gone.unwrap_or(News::NotFound)));
        }
        if status == self.last {
            return Ok(None);
        }
        self.last.clone_from(&status);
        Ok(status.map(|status| News::Status(Box::new(status))))
    }
}

/// Watches from a revision before the one that is read next.
async fn subscribe(jobs: &Jobs, job: &JobId) -> Result<Events, ApiError> {
    let records = jobs.records();
    let (shard, job) = (records.shard(job), job.as_str());
    let wanted = keys::desired_job(shard, job);
    let from = records.store().get(wanted.clone()).await?.revision.next();
    let ranges = [
        KeyRange::key(wanted),
        KeyRange::key(keys::actual_job(shard, job)),
        keys::actual_upgrades(shard, job),
    ];
    Ok(Box::pin(select_all(ranges.map(|range| records.store().watch(range, from)))))
}

impl std::fmt::Debug for StatusWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StatusWatch").field("job", &self.job).finish_non_exhaustive()
    }
}
