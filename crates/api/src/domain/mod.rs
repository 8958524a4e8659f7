//! What the API does, without any wire format: services over the store that take and answer types of
//! the model. They write desired state only and read both; whoever owns a job's shard, or nobody at
//! the moment, makes no difference to them. That is what makes every master equal.

mod cache;
mod change;
mod goals;
mod jobs;
mod query;
mod records;
mod standing;
mod status;
mod tasks;
mod time;
mod upgrades;
mod versions;
mod volumes;
mod watch;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use peloton_model::{InstanceId, UnixMs, Version};
use tokio::time::Instant;

pub use cache::{ConfigCache, StoredConfig};
pub use goals::{GoalChange, GoalOutcome, MAX_REQUEST_RANGES};
pub use jobs::{Created, Deleted, JobView, Jobs, Updated};
pub use query::{JobPage, MAX_PAGE_BYTES, PageRequest};
pub use records::Records;
pub use status::JobStatus;
pub use tasks::{Found, RunView, TaskPage, TaskView, Tasks};
pub use upgrades::{
    Controlled, EventPage, Plan, PlannedAction, PlannedInstance, Start, UpgradeControl,
    UpgradePage, UpgradeRequest, UpgradeView, Upgrades,
};
pub use versions::JobVersions;
pub use volumes::{VolumeChange, VolumeFilter, VolumePage, VolumePhase, VolumeView, Volumes};
pub use watch::{News, StatusWatch};

/// The time of day. Durations are never taken from it.
pub type Clock = Arc<dyn Fn() -> UnixMs + Send + Sync>;

/// Random numbers, for the spread of waits.
pub type Random = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The system's random numbers.
#[must_use]
pub fn system_random() -> Random {
    // The standard library seeds its hashers from the system: good enough for a spread.
    Arc::new(|| RandomState::new().build_hasher().finish())
}

/// The system's time of day.
#[must_use]
pub fn system_clock() -> Clock {
    Arc::new(|| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
    })
}

/// On whose behalf a call is made, and until when it is worth anything.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The name that the caller gave; recorded with what it changes.
    pub name: String,
    /// When it stops waiting.
    pub deadline: Instant,
    /// The id of what it asks, if it has one: under the same id a change is made once, however often and
    /// of however many masters it is asked.
    pub request: Option<u64>,
    /// Whether the caller has asked it before, without an answer.
    pub repeats: bool,
}

impl Caller {
    /// A caller that waits for `patience`.
    pub fn new(name: impl Into<String>, patience: Duration) -> Self {
        let deadline = Instant::now() + patience;
        Self { name: name.into(), deadline, request: None, repeats: false }
    }

    /// Whether the caller has stopped waiting.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        Instant::now() >= self.deadline
    }
}

/// Instances `first..=last`.
pub type InstanceRange = (InstanceId, InstanceId);

/// A configuration's version, and the one that a caller expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    /// What the caller expected.
    pub expected: Version,
    /// What the job has.
    pub actual: Version,
}
