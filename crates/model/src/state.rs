//! The states of tasks and jobs.

use serde::{Deserialize, Serialize};

/// The state of an instance's current run. Numbers and names are the original's (2016).
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TaskState {
    /// Known, not looked at yet.
    #[default]
    Initialized,
    /// Waits for a place.
    Scheduling,
    /// A place is decided and durable; Mesos may not know yet.
    Assigned,
    /// Mesos has the task.
    Launched,
    /// The task runs.
    Running,
    /// Ended by itself, well.
    Succeeded,
    /// Ended by itself, not well, and will not be tried again.
    Failed,
    /// Ended by request.
    Killed,
    /// Makes room for another.
    Preempting,
    /// Waits out its back-off before the next try.
    Throttled,
}

impl TaskState {
    /// Every state, in the order of their numbers on the wire.
    pub const ALL: [Self; 10] = [
        Self::Initialized,
        Self::Scheduling,
        Self::Assigned,
        Self::Launched,
        Self::Running,
        Self::Succeeded,
        Self::Failed,
        Self::Killed,
        Self::Preempting,
        Self::Throttled,
    ];

    /// Whether Mesos has, or may have, a task for it.
    #[must_use]
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Assigned | Self::Launched | Self::Running | Self::Preempting)
    }

    /// Whether the run is over and nothing more is planned for it.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Killed)
    }

    /// The name on the wire, such as `RUNNING`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Initialized => "INITIALIZED",
            Self::Scheduling => "SCHEDULING",
            Self::Assigned => "ASSIGNED",
            Self::Launched => "LAUNCHED",
            Self::Running => "RUNNING",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Killed => "KILLED",
            Self::Preempting => "PREEMPTING",
            Self::Throttled => "THROTTLED",
        }
    }
}

/// The state of a job as a whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum JobState {
    /// Accepted; its shard has not looked at it yet.
    #[default]
    Uninitialized,
    /// Its instances are known; none has been placed.
    Initialized,
    /// Some instance waits for a place or for its back-off.
    Pending,
    /// Every instance that should run does.
    Running,
    /// Every instance ended well.
    Succeeded,
    /// Every instance ended, some not well.
    Failed,
    /// Every instance ended, some by request.
    Killed,
    /// Instances are being ended by request.
    Killing,
    /// Deleted; its tasks and reservations may still be on their way out.
    Deleted,
}

/// What health checks say of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Health {
    /// There is no health check.
    #[default]
    Disabled,
    /// Not known yet.
    Unknown,
    /// The last check passed.
    Healthy,
    /// Checks fail.
    Unhealthy,
}
