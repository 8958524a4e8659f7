//! Pause, resume, rollback and abort: what is asked of an upgrade that is there, in the job's record. The shard
//! follows; where it was faster and the upgrade has ended, the answer is the state in which it has.

use peloton_model::{Abort, Code, JobId, JobRecord, UpgradeAsk, UpgradeId, UpgradeState, Version};
use peloton_store::{Txn, keys};

use super::super::change::{Change, Look};
use super::super::records::{Stored, encoded};
use super::super::standing::{Standing, is_to_turn, state_seen};
use super::{begin, history, options};
use crate::ApiError;
use crate::domain::{Caller, Records};

/// What is asked of an upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpgradeControl {
    /// To wait.
    Pause,
    /// To go on, in the direction that it had.
    Resume,
    /// To go back.
    Rollback,
    /// To end where it is.
    Abort(Abort),
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Controlled {
    /// It is asked, durably, of this upgrade: another one than named where a finished one is taken back.
    Done(UpgradeId),
    /// There is no such upgrade.
    NotFound,
    /// The upgrade can not do this in this state.
    InvalidState(UpgradeState),
}

/// What a request comes to.
enum Verdict {
    /// To be written down.
    Ask(UpgradeAsk),
    /// It is asked already.
    Same,
    /// A new upgrade, to the version before.
    TakeBack,
    /// Not in this state.
    Refused,
}

pub(super) async fn control(
    records: &Records,
    id: &UpgradeId,
    control: UpgradeControl,
    caller: &Caller,
) -> Result<Controlled, ApiError> {
    let mut change = Change::new(records, &id.job, caller);
    loop {
        let tried = try_control(records, id, control, caller, &mut change).await;
        if let Some(done) = change.after(tried).await? {
            return Ok(done);
        }
    }
}

async fn try_control(
    records: &Records,
    id: &UpgradeId,
    control: UpgradeControl,
    caller: &Caller,
    change: &mut Change<'_>,
) -> Result<Option<Controlled>, ApiError> {
    let stored = match change.look().await? {
        Look::Made(version) => return Ok(Some(Controlled::Done(made(id, version, change.id)))),
        Look::Gone => return Ok(Some(Controlled::NotFound)),
        Look::There(stored) => stored,
    };
    let current = stored.record.upgrade_id(&id.job);
    let Some(ask) = stored.record.upgrade.as_deref().filter(|_| current.as_ref() == Some(id))
    else {
        return Ok(Some(match history::state(records, id).await? {
            Some(state) => Controlled::InvalidState(state),
            None => Controlled::NotFound,
        }));
    };
    let standing = records.standing(&id.job, &stored.record).await?;
    let seen = state_seen(Some(ask), standing.actual.as_ref());
    match judge(ask, &standing, seen, control, change.is_in_doubt()) {
        Verdict::Refused => change.refuse(&stored, Controlled::InvalidState(seen)).await,
        Verdict::Same => change.refuse(&stored, Controlled::Done(id.clone())).await,
        Verdict::Ask(ask) => {
            let record = asked(&stored, ask, records, caller, change.id);
            let key = keys::desired_job(records.shard(&id.job), id.job.as_str());
            let txn =
                Txn::new().when_unchanged(key.clone(), stored.modified).put(key, encoded(&record)?);
            // One that has ended meanwhile pauses and aborts as one that ends next does: by nothing. But
            // it does not go back.
            let txn = if control == UpgradeControl::Rollback { standing.guard(txn) } else { txn };
            Ok(change.commit(txn, &stored).await?.then(|| Controlled::Done(id.clone())))
        }
        Verdict::TakeBack => take_back(records, id, (&stored, &standing), caller, change).await,
    }
}

/// The upgrade that a request made, or was made of, by the version that the job then had.
fn made(id: &UpgradeId, version: Version, request: u64) -> UpgradeId {
    if version == id.to { id.clone() } else { begin::id_of(&id.job, version, request) }
}

/// `in_doubt`: the same was found to be possible before, by the same record of the job.
fn judge(
    ask: &UpgradeAsk,
    standing: &Standing,
    seen: UpgradeState,
    control: UpgradeControl,
    in_doubt: bool,
) -> Verdict {
    let state = standing.state;
    let goes_on = state.is_active() || in_doubt;
    let back = standing.actual.as_ref().is_some_and(|actual| actual.back);
    let mut new = ask.clone();
    match control {
        UpgradeControl::Pause if goes_on && !ask.paused => new.paused = true,
        UpgradeControl::Resume if goes_on && ask.paused => new.paused = false,
        // Its shard has not said so yet.
        UpgradeControl::Resume if seen == UpgradeState::Paused => return Verdict::Same,
        UpgradeControl::Abort(how) if goes_on => {
            // What is to end at once is not let go on again.
            let hard = ask.abort == Some(Abort::Hard);
            new.abort = Some(if hard { Abort::Hard } else { how });
        }
        UpgradeControl::Rollback if state == UpgradeState::Succeeded => return Verdict::TakeBack,
        UpgradeControl::Rollback if is_forward(state, back) || state.is_mixed() => {
            if is_to_turn(ask, state) {
                return Verdict::Same;
            }
            (new.rollback, new.paused, new.abort) = (true, false, None);
        }
        _ => return Verdict::Refused,
    }
    // Also where an earlier request is repeated by somebody else.
    if new == *ask { Verdict::Same } else { Verdict::Ask(new) }
}

fn is_forward(state: UpgradeState, back: bool) -> bool {
    state == UpgradeState::RollingForward || state == UpgradeState::Paused && !back
}

/// The job's record in which it is asked.
fn asked(
    stored: &Stored<JobRecord>,
    ask: UpgradeAsk,
    records: &Records,
    caller: &Caller,
    id: u64,
) -> JobRecord {
    let mut record = stored.record.clone();
    record.upgrade = Some(Box::new(UpgradeAsk { by: caller.name.clone(), ..ask }));
    record.generation += 1;
    record.updated_at = records.now();
    record.updated_by.clone_from(&caller.name);
    record.sign(id);
    record
}

/// Begins an upgrade to the configuration that a finished one came from, as a new version: what was held for
/// the old one is given up, so this is no way back but a way on.
async fn take_back(
    records: &Records,
    id: &UpgradeId,
    (stored, standing): (&Stored<JobRecord>, &Standing),
    caller: &Caller,
    change: &mut Change<'_>,
) -> Result<Option<Controlled>, ApiError> {
    let (job, record) = (&id.job, &stored.record);
    let Some(ask) = &record.upgrade else { return Ok(None) };
    let Some(before) = change.config(stored, ask.from).await? else { return Ok(None) };
    let Some(now) = change.config(stored, id.to).await? else { return Ok(None) };
    options::check_pair(&now.record.config, &before.record.config, &ask.options)
        .map_err(|error| impossible(job, &error))?;
    let asked = begin::Asked {
        config: &before.record.config,
        options: &ask.options,
        paused: false,
        from: record.proven(standing.state),
        replaces: None,
        takes_back: Some(id.to),
    };
    let txn = begin::begin(records, job, (stored, standing), asked, caller, change.id).await?;
    let new = begin::id_of(job, record.next_version(), change.id);
    Ok(change.commit(txn, stored).await?.then_some(Controlled::Done(new)))
}

fn impossible(job: &JobId, error: &ApiError) -> ApiError {
    let message = format!(
        "job {job} can not be taken back to the version before: {}; start an upgrade instead",
        error.message
    );
    ApiError::new(Code::FailedPrecondition, message)
}
