//! One shard in this master: claims it, runs it, and begins again when a run ends.

use crate::environment::Environment;
use crate::lease::Held;
use crate::load::{LoadError, load};
use crate::node::Options;
use crate::run::Run;
use crate::status::{ShardPhase, ShardStatus};
use futures_util::StreamExt;
use peloton_core::{PersistError, Settings, Shard};
use peloton_mesos as mesos;
use peloton_model::{FrameworkId, FrameworkRecord, OwnerRecord, ShardId, encode_record};
use peloton_store::keys;
use peloton_store::{Revision, Store, StoreError, Txn, TxnResult};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// The wait before a run that ended with an error is followed by another: the first, and the longest.
pub(crate) const AGAIN: (Duration, Duration) =
    (Duration::from_millis(200), Duration::from_secs(10));

/// Why a run of a shard ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error("the master's lease is lost")]
    LeaseLost,
    #[error("another master owns the shard")]
    Deposed,
    #[error(
        "a second scheduler uses the shard's framework id; is another cluster's master running with this store's copy?"
    )]
    FailedOver,
    #[error("Mesos removed the framework and ended its tasks; they start again under a new one")]
    FrameworkRemoved,
    #[error("Mesos: {0}")]
    Mesos(mesos::Failure),
    #[error("the options of the Mesos client: {0}")]
    MesosOptions(#[from] mesos::OptionsError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Persist(#[from] PersistError),
    #[error("a stored record cannot be read: {0}")]
    Record(String),
    #[error("the watch of the desired state ended")]
    WatchEnded,
}

/// One shard in this master.
#[derive(Clone)]
pub(crate) struct Runner {
    pub(crate) shard: ShardId,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) options: Arc<Options>,
    pub(crate) environment: Arc<Environment>,
    pub(crate) lease: watch::Receiver<Option<Held>>,
    pub(crate) stop: watch::Receiver<bool>,
    pub(crate) status: Arc<watch::Sender<ShardStatus>>,
}

/// A claim on the shard: the ownership key as we wrote it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claim {
    /// What wrote the ownership key.
    pub(crate) owner: Revision,
    /// What wrote the fence last.
    pub(crate) fence: Revision,
    pub(crate) lease: Held,
}

impl Runner {
    pub(crate) async fn run(mut self) {
        let mut wait = AGAIN.0;
        while !*self.stop.borrow() {
            let began = Instant::now();
            let result = self.run_once().await;
            if *self.stop.borrow() {
                break;
            }
            let why = match result {
                Ok(()) => String::new(),
                Err(error) => {
                    tracing::warn!(shard = %self.shard, %error, "the shard's run ended; it begins again");
                    error.to_string()
                }
            };
            self.phase(ShardPhase::Failing { why });
            wait = if began.elapsed() > AGAIN.1 { AGAIN.0 } else { (wait * 2).min(AGAIN.1) };
            let spread = self.environment.jitter(self.shard, wait);
            tokio::select! {
                biased;
                () = stopped(&mut self.stop) => {}
                () = sleep(spread) => {}
            }
        }
        self.phase(ShardPhase::Stopped);
    }

    pub(crate) fn phase(&self, phase: ShardPhase) {
        let now = self.environment.unix_ms();
        self.status.send_modify(|status| {
            if status.phase != phase {
                status.phase = phase;
                status.since = now;
                status.mesos = None;
            }
        });
    }

    async fn run_once(&mut self) -> Result<(), RunError> {
        let mut stop = self.stop.clone();
        let claim = tokio::select! {
            biased;
            () = stopped(&mut stop) => return Ok(()),
            claim = self.claim() => claim?,
        };
        self.phase(ShardPhase::Loading);
        self.ensure_framework(&claim).await?;
        let (snapshot, from) = load(&*self.store, self.shard).await?;
        // Reading may have taken longer than the lease was certain for.
        let claim = Claim { lease: self.still_held(claim.lease)?, ..claim };
        let mut settings = self.options.settings.clone();
        settings.shard = self.shard;
        settings.role = Settings::role_of(self.shard, &self.options.mesos.framework.role).into();
        let (core, output) = Shard::recover(settings, self.environment.unix_ms(), snapshot);
        let run = Run::new(self, core, claim, from)?;
        self.phase(ShardPhase::Running);
        tracing::info!(shard = %self.shard, jobs = run.jobs(), "the shard runs");
        run.run(output).await
    }

    /// The lease as it was renewed last, if it is certain to hold.
    fn still_held(&self, claimed: Held) -> Result<Held, RunError> {
        let now = self.lease.borrow().filter(|held| held.id == claimed.id && held.is_certain());
        #[cfg(feature = "planted-bugs")]
        let now = now.or(self.has(peloton_core::Bug::IgnoreLostLease).then_some(claimed));
        now.ok_or(RunError::LeaseLost)
    }

    #[cfg(feature = "planted-bugs")]
    pub(crate) fn has(&self, bug: peloton_core::Bug) -> bool {
        self.options.settings.bug == Some(bug)
    }

    /// Waits until the shard is ours.
    async fn claim(&mut self) -> Result<Claim, RunError> {
        let key = keys::owner(self.shard.0);
        loop {
            let lease = match self.lease.wait_for(|held| held.is_some_and(|h| h.is_certain())).await
            {
                Ok(held) => *held,
                Err(_) => return Err(RunError::LeaseLost),
            };
            let Some(lease) = lease else { continue };
            let record = OwnerRecord {
                master: self.options.master.clone(),
                address: self.options.address.clone(),
                since: self.environment.unix_ms(),
            };
            let value = encode_record(&record).map_err(|e| RunError::Record(e.to_string()))?;
            let txn = Txn::new().when_absent(key.clone()).put_leased(key.clone(), value, lease.id);
            match self.store.commit(txn).await? {
                TxnResult::Committed { revision } => return self.begin(revision, lease).await,
                TxnResult::Conflict { revision, current, .. } => {
                    if let Some(kv) = current.into_iter().flatten().next()
                        && kv.lease == Some(lease.id)
                    {
                        // Ours already: an earlier run of this process, or an answer that got lost.
                        return self.begin(kv.mod_revision, lease).await;
                    }
                    self.phase(ShardPhase::NotOwned);
                    let range = peloton_store::KeyRange::key(key.clone());
                    let mut watch = self.store.watch(range, revision.next());
                    watch.next().await.transpose()?;
                }
            }
        }
    }
}

impl Runner {
    /// Begins a chain of commits. What an earlier run, also one of this process, has on its way
    /// cannot land any more once this is durable; so what is read after it stays true.
    async fn begin(&self, owner: Revision, lease: Held) -> Result<Claim, RunError> {
        let mark = format!("{} begins at {}", self.options.master, self.environment.unix_ms());
        let txn = Txn::new()
            .when_unchanged(keys::owner(self.shard.0), owner)
            .put(keys::actual_fence(self.shard.0), mark);
        match self.store.commit(txn).await? {
            TxnResult::Committed { revision } => Ok(Claim { owner, fence: revision, lease }),
            TxnResult::Conflict { .. } => Err(RunError::Deposed),
        }
    }

    /// Gives the shard a framework id before the first subscription: an id that Mesos chose would be
    /// lost with a crash between its answer and our record, and leave a framework that nobody ends.
    async fn ensure_framework(&self, claim: &Claim) -> Result<(), RunError> {
        let key = keys::actual_framework(self.shard.0);
        if self.store.get(key.clone()).await?.kv.is_some() {
            return Ok(());
        }
        let since = self.environment.unix_ms();
        let name = &self.options.mesos.framework.name;
        // The ownership key's revision is unique in the store, the time tells stores apart.
        let id = format!("{}-{}-{since:x}-{:x}", plain(name), self.shard, claim.owner.0);
        let record = FrameworkRecord { id: FrameworkId::new(&id), since };
        let value = encode_record(&record).map_err(|e| RunError::Record(e.to_string()))?;
        // An earlier try of ours may still be on its way: whichever comes first counts, or the tasks of
        // one framework would be asked for under the other's id.
        let txn = Txn::new()
            .when_unchanged(keys::owner(self.shard.0), claim.owner)
            .when_absent(key.clone())
            .put(key, value);
        match self.store.commit(txn).await? {
            TxnResult::Committed { .. } => Ok(()),
            TxnResult::Conflict { .. } => Err(RunError::Deposed),
        }
    }
}

/// The framework's name as the start of its id. Agents name directories by ids, so Mesos refuses
/// slashes, control characters and more than 255 bytes; spaces would be trouble for people.
fn plain(name: &str) -> String {
    const MAX_CHARS: usize = 64;
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let kept = name.chars().take(MAX_CHARS);
    kept.map(|c| if allowed(c) { c.to_ascii_lowercase() } else { '-' }).collect()
}

/// Waits until the node is to stop, or is gone.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _gone = stop.wait_for(|stop| *stop).await.is_err();
}
