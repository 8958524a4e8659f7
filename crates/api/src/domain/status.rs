//! How a job is doing: the summary that its shard keeps, if it is of this job and not of an earlier
//! one of the name.

use peloton_model::{JobId, JobState, JobSummary, TaskState, UpgradeId, Version};

use super::Records;
use crate::ApiError;

/// How a job is doing.
#[derive(Debug, Clone, PartialEq)]
pub struct JobStatus {
    /// The job.
    pub id: JobId,
    /// The number of instances asked for, during an upgrade of either version; 0 of a deleted job.
    pub instance_count: u32,
    /// The configuration version in force; 0 of a deleted job.
    pub version: Version,
    /// The upgrade that is under way.
    pub upgrade: Option<UpgradeId>,
    /// As the shard sees it. Instances that it has not looked at count as `INITIALIZED`.
    pub summary: JobSummary,
}

impl JobStatus {
    /// The last status of a job of which nothing is left.
    pub(super) fn gone(self) -> Self {
        let summary = JobSummary {
            state: JobState::Deleted,
            deleted_at: self.summary.deleted_at,
            ..Default::default()
        };
        Self { instance_count: 0, version: 0, upgrade: None, summary, ..self }
    }
}

pub(super) async fn status(records: &Records, job: &JobId) -> Result<Option<JobStatus>, ApiError> {
    // The job first: if it is deleted and created anew between the reads, the summary is of another
    // incarnation and not taken.
    let wanted = records.job(job).await?;
    let summary = records.summary(job).await?;
    let Some(stored) = wanted else {
        return Ok(summary.and_then(|summary| deleted(job, summary)));
    };
    let mut summary =
        summary.filter(|summary| summary.incarnation == stored.created.0).unwrap_or_default();
    let standing = records.standing(job, &stored.record).await?;
    let instance_count = standing.span(&stored.record);
    for _ in summary.counts.total()..instance_count {
        summary.counts.add(TaskState::Initialized);
    }
    let version = standing.current(&stored.record).version;
    let upgrade = standing.active;
    Ok(Some(JobStatus { id: job.clone(), instance_count, version, upgrade, summary }))
}

/// The status of a deleted job, until nothing of it is left.
fn deleted(job: &JobId, mut summary: JobSummary) -> Option<JobStatus> {
    if summary.deleted_at.is_none() {
        // Its shard has not seen the deletion yet; all that is live is still on its way out.
        let live = summary.counts.iter().filter(|(state, _)| state.is_live());
        summary.leftovers = live.map(|(_, count)| count).sum::<u32>().max(1);
    }
    summary.state = JobState::Deleted;
    let (instance_count, version, upgrade) = (0, 0, None);
    let status = JobStatus { id: job.clone(), instance_count, version, upgrade, summary };
    (status.summary.leftovers > 0).then_some(status)
}
