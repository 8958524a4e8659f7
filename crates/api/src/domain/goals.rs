//! Start, stop and restart: what is asked of instances is part of the job's record, as ranges, so one
//! write does for any number of instances.

use peloton_model::{Code, FieldError, Goal, JobId, JobRecord, Version, limits};
use peloton_store::{Txn, keys};

use super::change::{Change, Look};
use super::records::{Stored, encoded};
use super::{Caller, InstanceRange, Records, Versions};
use crate::ApiError;

/// Most ranges in one request: each is merged into all of the job's, so their product is work.
pub const MAX_REQUEST_RANGES: usize = 1000;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GoalChange {
    /// What does not run is to run.
    Start,
    /// What runs is to end, and to stay so.
    Stop,
    /// What runs is to end; all are to run.
    Restart,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GoalOutcome {
    /// It is asked, durably.
    Done,
    /// There is no such job.
    NotFound,
    /// The job has only so many instances; nothing was asked.
    OutOfRange(u32),
    /// The job has another version than expected; nothing was asked.
    Conflict(Versions),
}

impl GoalChange {
    /// Applies it to an instance's goal. `generation` is the one that the job's record gets with it.
    fn apply(self, goal: &mut Goal, generation: u64) {
        match self {
            Self::Stop => goal.stopped = true,
            Self::Start => {
                goal.stopped = false;
                goal.start = generation;
            }
            Self::Restart => {
                goal.stopped = false;
                goal.restart = generation;
            }
        }
    }
}

/// Asks it of the instances in `ranges`; of all, later ones included, where there are none. Version 0
/// expects none in particular.
pub(super) async fn change(
    records: &Records,
    job: &JobId,
    ranges: &[InstanceRange],
    goal: GoalChange,
    expected: Version,
    caller: &Caller,
) -> Result<GoalOutcome, ApiError> {
    check(ranges)?;
    let mut change = Change::new(records, job, caller);
    loop {
        let tried = try_change(records, job, &mut change, (ranges, goal, expected), caller).await;
        if let Some(outcome) = change.after(tried).await? {
            return Ok(outcome);
        }
    }
}

async fn try_change(
    records: &Records,
    job: &JobId,
    change: &mut Change<'_>,
    (ranges, goal, expected): (&[InstanceRange], GoalChange, Version),
    caller: &Caller,
) -> Result<Option<GoalOutcome>, ApiError> {
    let stored = match change.look().await? {
        Look::Made(_) => return Ok(Some(GoalOutcome::Done)),
        Look::Gone => return Ok(Some(GoalOutcome::NotFound)),
        Look::There(stored) => stored,
    };
    let standing = records.standing(job, &stored.record).await?;
    let actual = standing.current(&stored.record).version;
    if expected != 0 && expected != actual {
        let conflict = GoalOutcome::Conflict(Versions { expected, actual });
        return change.refuse(&stored, conflict).await;
    }
    let count = standing.span(&stored.record);
    // In doubt it was found to be in range before, and what is in doubt may still land.
    if !change.is_in_doubt() && ranges.iter().any(|(_, last)| *last >= count) {
        return Ok(Some(GoalOutcome::OutOfRange(count)));
    }
    let mut record = asked(job, &stored, ranges, goal)?;
    record.updated_at = records.now();
    record.updated_by.clone_from(&caller.name);
    record.sign(change.id);
    let key = keys::desired_job(records.shard(job), job.as_str());
    let txn = Txn::new().when_unchanged(key.clone(), stored.modified).put(key, encoded(&record)?);
    // Whether the version is in force may depend on how far an upgrade is; nothing else here does.
    let txn = if expected == 0 { txn } else { standing.guard(txn) };
    Ok(change.commit(txn, &stored).await?.then_some(GoalOutcome::Done))
}

/// The job's next record, in which it is asked.
fn asked(
    job: &JobId,
    stored: &Stored<JobRecord>,
    ranges: &[InstanceRange],
    change: GoalChange,
) -> Result<JobRecord, ApiError> {
    let mut record = stored.record.clone();
    record.generation += 1;
    let generation = record.generation;
    let all = [(0, u32::MAX)];
    for (first, last) in if ranges.is_empty() { &all[..] } else { ranges } {
        if !record.goals.change(*first, *last, |goal| change.apply(goal, generation)) {
            let max = limits::MAX_GOAL_RANGES;
            return Err(ApiError::new(
                Code::ResourceExhausted,
                format!(
                    "job {job} has more than {max} separate ranges of instances with requests \
                     of their own; ask for larger ranges, or for the whole job"
                ),
            ));
        }
    }
    Ok(record)
}

fn check(ranges: &[InstanceRange]) -> Result<(), ApiError> {
    if ranges.len() > MAX_REQUEST_RANGES {
        let allowed = format!("at most {MAX_REQUEST_RANGES} ranges");
        return Err(FieldError::new("ranges", ranges.len(), allowed).into());
    }
    for (i, (first, last)) in ranges.iter().enumerate() {
        check_range(&format!("ranges[{i}]"), (*first, *last))?;
    }
    Ok(())
}

/// That a range has its ends in order; the error names the field `field`.
pub(super) fn check_range(field: &str, (first, last): InstanceRange) -> Result<(), ApiError> {
    if first > last {
        let allowed = format!("`to` at least `from`, which is {first} (both are included)");
        return Err(FieldError::new(format!("{field}.to"), last, allowed).into());
    }
    Ok(())
}
