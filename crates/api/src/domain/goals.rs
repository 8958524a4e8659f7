//! Start, stop and restart: what is asked of instances is part of the job's record, as ranges, so one
//! write does for any number of instances.

use peloton_model::{Code, FieldError, Goal, JobId, limits};
use peloton_store::{Txn, keys};

use super::records::{Commit, contended, encoded};
use super::{Caller, InstanceRange, Records};
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

/// Asks it of the instances in `ranges`; of all, later ones included, where there are none.
pub(super) async fn change(
    records: &Records,
    job: &JobId,
    ranges: &[InstanceRange],
    change: GoalChange,
    caller: &Caller,
) -> Result<GoalOutcome, ApiError> {
    check(ranges)?;
    let key = keys::desired_job(records.shard(job), job.as_str());
    for attempt in 1.. {
        let Some(mut stored) = records.job(job).await? else { return Ok(GoalOutcome::NotFound) };
        let record = &mut stored.record;
        let count = record.instance_count;
        if ranges.iter().any(|(_, last)| *last >= count) {
            return Ok(GoalOutcome::OutOfRange(count));
        }
        record.generation += 1;
        record.updated_at = records.now();
        record.updated_by.clone_from(&caller.name);
        let generation = record.generation;
        let all = [(0, u32::MAX)];
        for (first, last) in if ranges.is_empty() { &all[..] } else { ranges } {
            let goals = &mut record.goals;
            if !goals.change(*first, *last, |goal| change.apply(goal, generation)) {
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
        let value = encoded(record)?;
        let txn =
            Txn::new().when_unchanged(key.clone(), stored.modified).put(key.clone(), value.clone());
        match records.commit(txn, &key, Some(&value), caller).await? {
            Commit::Done => return Ok(GoalOutcome::Done),
            Commit::Conflict if records.pause(attempt, caller).await => {}
            Commit::Conflict => break,
        }
    }
    Err(contended(job))
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
