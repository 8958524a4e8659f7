//! Where a job stands in its upgrade. What is asked of the upgrade is a part of the job's record, which
//! any master writes; what became of it is a record of its own, which only the owner of the job's shard
//! writes. Which version is in force, and how many instances there may be, follows from both.
//!
//! The record of the upgrade is read after the job's, and only where the job has an upgrade. While the
//! job's record stays the same, a state that is an end stays, too; one that is under way may move on, so
//! whatever rests on it compares both records: see [`Standing::guard`].

use peloton_model::{
    Current, JobId, JobRecord, UpgradeAsk, UpgradeId, UpgradeRecord, UpgradeState,
};
use peloton_store::{Key, Revision, Txn, keys};

use super::Records;
use super::records::Stored;
use crate::ApiError;

/// Where a job stands in its upgrade.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    /// What the shard says of the upgrade that the job's record asks for; none where it has not looked.
    pub actual: Option<UpgradeRecord>,
    /// The state, as [`JobRecord::current`] and the like take it.
    pub state: UpgradeState,
    /// The upgrade that is under way, or is asked to go back.
    pub active: Option<UpgradeId>,
    /// The record of the upgrade as it was read.
    read: Option<(Key, Revision)>,
}

impl Standing {
    /// The version in force and its instance count.
    pub(super) fn current(&self, record: &JobRecord) -> Current {
        record.current(self.state)
    }

    /// How many instances there may be.
    pub(super) fn span(&self, record: &JobRecord) -> u32 {
        record.span(self.state)
    }

    /// Lets a transaction fail where the upgrade has moved on since, and could have.
    pub(super) fn guard(&self, txn: Txn) -> Txn {
        match &self.read {
            Some((key, revision)) if self.state.is_active() => {
                txn.when_unchanged(key.clone(), *revision)
            }
            _ => txn,
        }
    }
}

/// Whether a user asked an upgrade that had ended in between to go back, and its shard has not begun yet.
pub(super) fn is_to_turn(ask: &UpgradeAsk, state: UpgradeState) -> bool {
    state.is_mixed() && ask.rollback && ask.abort.is_none()
}

/// The state as users see it. What they asked for is told once the shard has done it, except for a pause: it
/// is certain that nothing is begun any more that the shard decides after it.
pub(super) fn state_seen(ask: Option<&UpgradeAsk>, actual: Option<&UpgradeRecord>) -> UpgradeState {
    let state = actual.map_or(UpgradeState::RollingForward, |actual| actual.state);
    match ask {
        Some(ask) if state.is_active() && ask.paused => UpgradeState::Paused,
        // Another one took its place, and its shard has not written that down yet.
        None if state.is_active() => UpgradeState::Aborted,
        _ => state,
    }
}

impl Records {
    /// The record of an upgrade, if it is of this one.
    pub(super) async fn upgrade(
        &self,
        id: &UpgradeId,
    ) -> Result<Option<Stored<UpgradeRecord>>, ApiError> {
        let key = keys::actual_upgrade(self.shard(&id.job), id.job.as_str(), id.to);
        let found = self.read::<UpgradeRecord>(key).await?;
        Ok(found.filter(|found| found.record.mark == id.mark))
    }

    /// Where the job stands. Reads nothing for one without an upgrade.
    pub(super) async fn standing(
        &self,
        job: &JobId,
        record: &JobRecord,
    ) -> Result<Standing, ApiError> {
        let (Some(ask), Some(id)) = (&record.upgrade, record.upgrade_id(job)) else {
            let state = UpgradeState::Succeeded;
            return Ok(Standing { actual: None, state, active: None, read: None });
        };
        let key = keys::actual_upgrade(self.shard(job), job.as_str(), id.to);
        let found = self.read::<UpgradeRecord>(key.clone()).await?;
        let revision = found.as_ref().map_or(Revision::ZERO, |found| found.modified);
        // One of another mark is of an earlier job of the name.
        let actual = found.map(|found| found.record).filter(|actual| actual.mark == id.mark);
        let state = actual.as_ref().map_or(UpgradeState::RollingForward, |actual| actual.state);
        let active = (state.is_active() || is_to_turn(ask, state)).then_some(id);
        Ok(Standing { actual, state, active, read: Some((key, revision)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use UpgradeState::{Aborted, Failed, Paused, RolledBack, RollingBack, RollingForward};

    #[test]
    fn a_pause_shows_at_once_and_everything_else_when_it_is_done() {
        let seen = |state, ask: UpgradeAsk| {
            state_seen(Some(&ask), Some(&UpgradeRecord { state, ..Default::default() }))
        };
        let paused = || UpgradeAsk { paused: true, ..Default::default() };
        let back = || UpgradeAsk { rollback: true, ..Default::default() };
        assert_eq!(state_seen(Some(&UpgradeAsk::default()), None), RollingForward);
        assert_eq!(state_seen(Some(&paused()), None), Paused);
        assert_eq!([seen(RollingForward, paused()), seen(RollingBack, paused())], [Paused; 2]);
        assert_eq!(seen(RolledBack, paused()), RolledBack);
        assert_eq!(seen(Paused, UpgradeAsk::default()), Paused);
        assert_eq!(seen(RollingForward, back()), RollingForward);
        assert_eq!(seen(Failed, back()), Failed);
        assert!(is_to_turn(&back(), Failed) && !is_to_turn(&back(), RolledBack));
        let replaced = UpgradeRecord { state: RollingBack, ..Default::default() };
        assert_eq!([state_seen(None, Some(&replaced)), state_seen(None, None)], [Aborted; 2]);
    }
}
