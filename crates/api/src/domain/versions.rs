//! The configuration versions of a job that are kept, and which are let go.

use std::sync::Arc;

use peloton_model::{ConfigRecord, JobId, UnixMs, Version, limits};
use peloton_store::{KeyRange, Txn, keys};

use super::records::{READ_ATTEMPTS, stored};
use super::{Records, StoredConfig};
use crate::ApiError;

/// Configuration versions of a job.
#[derive(Debug, Clone)]
pub struct JobVersions {
    /// When the job was created.
    pub created_at: UnixMs,
    /// The version in force.
    pub current: Version,
    /// The versions asked for, the newest first.
    pub versions: Vec<Arc<StoredConfig>>,
}

/// Lets go of what is too old once the job has `version`, except for what a rollback needs.
pub(super) fn prune(
    mut txn: Txn,
    shard: u16,
    job: &JobId,
    version: Version,
    needed: Option<Version>,
) -> Txn {
    let first_kept = (version + 1).saturating_sub(limits::KEPT_VERSIONS);
    let needed = needed.filter(|needed| *needed < first_kept).unwrap_or(first_kept);
    let config = |version| keys::desired_config(shard, job.as_str(), version);
    // By ranges, as a version that was needed for long is left behind by those around it.
    for (from, until) in [(1, needed), (needed + 1, first_kept)] {
        if from < until {
            txn = txn.delete_range(KeyRange::new(config(from), config(until)));
        }
    }
    txn
}

/// The newest versions of a job, at most `limit` where that is not 0; only the one with the number
/// `version` where that is not 0.
pub(super) async fn versions(
    records: &Records,
    job: &JobId,
    limit: u32,
    version: Version,
) -> Result<Option<JobVersions>, ApiError> {
    for _ in 0..READ_ATTEMPTS {
        let Some(wanted) = records.job(job).await? else { return Ok(None) };
        let current = records.standing(job, &wanted.record).await?.current(&wanted.record).version;
        let range = keys::desired_configs(records.shard(job), job.as_str());
        let mut versions = Vec::new();
        for kv in records.range_all(range).await? {
            // Made after the job was read: not of this job, or news that the next call tells.
            if kv.mod_revision > wanted.modified {
                continue;
            }
            let record: ConfigRecord = stored(&kv)?.record;
            versions.push(Arc::new(StoredConfig { record, size_bytes: kv.value.len() }));
        }
        if versions.iter().any(|config| config.record.version == current) {
            versions.retain(|config| version == 0 || config.record.version == version);
            versions.reverse();
            versions.truncate(if limit == 0 { usize::MAX } else { limit as usize });
            let created_at = wanted.record.created_at;
            return Ok(Some(JobVersions { created_at, current, versions }));
        }
    }
    Err(ApiError::internal(format!("job {job} has no configuration in the store")))
}
