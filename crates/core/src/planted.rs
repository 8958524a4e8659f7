//! Bugs that are there on purpose, so that the simulation can show that it finds them. They exist only
//! with the feature `planted-bugs`, which nothing but the simulation turns on.

/// A bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// Status updates are acknowledged before the state that they bring is durable.
    AcknowledgeBeforeCommit,
    /// Tasks are launched before their runs are durable.
    LaunchBeforeCommit,
    /// Reservations that are to be released are not released.
    ForgetRelease,
    /// A master whose lease is lost goes on.
    IgnoreLostLease,
    /// Commits do not compare the fence.
    CommitWithoutFence,
    /// After a restart, the run numbers of removed instances and deleted jobs come again.
    ReuseRunNumbers,
    /// A shard begins before its instances are loaded, and kills tasks that it does not know.
    KillBeforeLoad,
    /// Mesos is not asked what became of the tasks while the connection was broken.
    ForgetReconciliation,
    /// A kill that was sent once is not sent again.
    KillOnce,
    /// What the version before needs is given up instance by instance, as each is proven.
    ReleaseBeforeSuccess,
    /// An instance that moved for its new version is placed anew on the way back, as if it had left no slot.
    ForgetHome,
    /// What is reserved beyond what a slot holds is not given back.
    ForgetTrim,
    /// An instance counts as proven as soon as its new version is launched.
    SucceedUnproven,
    /// A rollback restarts also what it has no reason to touch.
    RestartUntouched,
    /// An upgrade ends instances whatever the SLA says.
    IgnoreSla,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::AcknowledgeBeforeCommit,
        Self::LaunchBeforeCommit,
        Self::ForgetRelease,
        Self::IgnoreLostLease,
        Self::CommitWithoutFence,
        Self::ReuseRunNumbers,
        Self::KillBeforeLoad,
        Self::ForgetReconciliation,
        Self::KillOnce,
        Self::ReleaseBeforeSuccess,
        Self::ForgetHome,
        Self::ForgetTrim,
        Self::SucceedUnproven,
        Self::RestartUntouched,
        Self::IgnoreSla,
    ];
}
