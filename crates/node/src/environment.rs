//! What a node takes from the machine it runs on: the time of day, random numbers, the way to Mesos.
//!
//! The defaults are the real ones. A simulation gives its own, and then everything that a node does
//! follows from what comes in: durations are on tokio's clock, which can be virtual, and where
//! several things are ready at once, the order in which they are taken is fixed.

use peloton_core::Shard;
use peloton_mesos::Transport;
use peloton_model::{ShardId, UnixMs};
use peloton_store::BoxFuture;
use std::fmt;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The time that a probe has: a master that answers at all does so within some milliseconds.
const PROBE_LIMIT: Duration = Duration::from_millis(2_500);

/// The time of day in Unix milliseconds. Durations are never taken from it.
pub type Clock = Arc<dyn Fn() -> UnixMs + Send + Sync>;

/// Random numbers, for ids and for the spread of waits.
pub type Random = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Looks at a shard.
pub type Inspect = Arc<dyn Fn(&Shard) + Send + Sync>;

/// Puts something around each task of a node.
pub type Wrap = Arc<dyn Fn(BoxFuture<'static, ()>) -> BoxFuture<'static, ()> + Send + Sync>;

/// Tells whether this master can reach Mesos: asked while it has no shard whose connection says so.
pub trait MesosProbe: Send + Sync + fmt::Debug + 'static {
    /// Whether the leading Mesos master was reached just now. Answers within some seconds.
    fn reaches_mesos(&self) -> BoxFuture<'_, bool>;
}

/// The probe of a Mesos client's way.
impl MesosProbe for peloton_mesos::Probe {
    fn reaches_mesos(&self) -> BoxFuture<'_, bool> {
        Box::pin(async { self.reach(PROBE_LIMIT).await.is_ok() })
    }
}

/// What a node takes from the machine it runs on.
#[derive(Clone)]
pub struct Environment {
    /// The time of day.
    pub clock: Clock,
    /// Random numbers.
    pub random: Random,
    /// The way to Mesos; none is HTTP.
    pub transport: Option<Arc<dyn Transport>>,
    /// Tells whether Mesos can be reached. None asks over HTTP, as long as that is the way to Mesos;
    /// over another, none is "not known", and counts as yes.
    pub probe: Option<Arc<dyn MesosProbe>>,
    /// Put around each task: a simulation holds a process up in this way.
    pub wrap: Option<Wrap>,
    /// Looks at a shard after each step: for tests that check what must always hold.
    pub inspect: Option<Inspect>,
}

impl Default for Environment {
    fn default() -> Self {
        // The standard library seeds its hashers from the system: good enough for what this is for.
        let random = || RandomState::new().build_hasher().finish();
        Self {
            clock: Arc::new(unix_ms),
            random: Arc::new(random),
            transport: None,
            probe: None,
            wrap: None,
            inspect: None,
        }
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment")
            .field("transport", &self.transport)
            .field("probe", &self.probe)
            .finish_non_exhaustive()
    }
}

impl Environment {
    /// A task as it is to be spawned.
    pub(crate) fn wrapped(
        &self,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> BoxFuture<'static, ()> {
        match &self.wrap {
            Some(wrap) => wrap(Box::pin(task)),
            None => Box::pin(task),
        }
    }

    /// The time of day.
    pub(crate) fn unix_ms(&self) -> UnixMs {
        (self.clock)()
    }

    /// Spreads the waits of the shards by up to a quarter, so that they do not begin again all at once.
    pub(crate) fn jitter(&self, shard: ShardId, wait: Duration) -> Duration {
        let part = ((self.random)() ^ u64::from(shard.0).wrapping_mul(2_654_435_761)) % 256;
        wait + wait.mul_f64(part as f64 / 1024.0)
    }
}

/// The time in Unix milliseconds: the system's clock as it was at the start, moved on by the monotonic
/// one. A clock that is set while the process runs changes nothing about how long a wait is.
fn unix_ms() -> u64 {
    static START: LazyLock<(Instant, u128)> = LazyLock::new(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        (Instant::now(), since.as_millis())
    });
    let (start, unix_ms) = *START;
    u64::try_from(unix_ms + start.elapsed().as_millis()).unwrap_or(u64::MAX)
}
