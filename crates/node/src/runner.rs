//! One shard in this master: claims it when it is to, runs it, begins again when a run ends, and gives it
//! up in an orderly way.

use crate::environment::Environment;
use crate::heavy::heavily;
use crate::lease::Held;
use crate::load::{LoadError, load};
use crate::node::Options;
use crate::orders::{Meaning, Order, Standing};
use crate::ownership::{Claim, Claimed, Ownership};
use crate::reach::{Link, Links};
use crate::run::Run;
use crate::status::{ShardPhase, ShardStatus};
use peloton_core::{PersistError, Settings, Shard, Snapshot};
use peloton_mesos as mesos;
use peloton_model::ShardId;
use peloton_store::{Revision, Store, StoreError};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// The wait before a run that ended with an error is followed by another: the first, and the longest.
pub(crate) const AGAIN: (Duration, Duration) =
    (Duration::from_millis(200), Duration::from_secs(10));

/// The wait after the shard or the lease was lost.
const AFTER_LOSS: Duration = Duration::from_millis(50);

/// Why a run of a shard ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error("the master's lease is lost")]
    LeaseLost,
    #[error("another master owns the shard")]
    Deposed,
    #[error("a job was changed while the success of its upgrade was being written")]
    Overtaken,
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
    pub(crate) ownership: Ownership,
    pub(crate) lease: watch::Receiver<Option<Held>>,
    pub(crate) standing: watch::Receiver<Standing>,
    pub(crate) stop: watch::Receiver<bool>,
    pub(crate) status: Arc<watch::Sender<ShardStatus>>,
    pub(crate) links: Links,
}

/// What a shard is to do next.
enum Turn {
    /// It is ours.
    Run(Claim),
    /// The master stops.
    Stop,
}

/// What came of an order.
enum Obeyed {
    Ours(Claim),
    /// Something happened: the order may be another.
    Again,
    /// There is nothing to do.
    Wait,
}

/// What a shard's task remembers between runs.
#[derive(Default)]
struct Past {
    /// The claim that stands, if one does.
    claim: Option<Claim>,
    /// The claim that was given up last: what is still said of it is old.
    released: Option<Revision>,
    /// What is older than this says nothing of whether the shard is free.
    not_before: Revision,
}

impl Runner {
    pub(crate) async fn run(mut self) {
        let mut past = Past::default();
        let mut wait = AGAIN.0;
        loop {
            let claim = match self.turn(&mut past).await {
                Ok(Turn::Run(claim)) => claim,
                Ok(Turn::Stop) => break,
                Err(error) => {
                    self.failed(&mut past, &error, &mut wait).await;
                    continue;
                }
            };
            let began = Instant::now();
            past.claim = Some(claim);
            let result = self.run_claimed(claim).await;
            self.link(Link::None);
            if began.elapsed() > AGAIN.1 {
                wait = AGAIN.0;
            }
            match result {
                Ok(()) => self.release(&mut past, claim).await,
                Err(error) => self.failed(&mut past, &error, &mut wait).await,
            }
        }
        if let Some(claim) = past.claim {
            self.release(&mut past, claim).await;
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

    /// Says where the connection to Mesos stands.
    pub(crate) fn link(&self, link: Link) {
        // Nobody may be there to hear it: the node is at its end then.
        let _ = self.links.send((self.shard, link));
    }

    /// Whether it is planted that the end of the lease is overlooked.
    #[cfg_attr(not(feature = "planted-bugs"), allow(clippy::unused_self, reason = "it never is"))]
    pub(crate) fn ignores_lost_lease(&self) -> bool {
        #[cfg(feature = "planted-bugs")]
        return self.has(peloton_core::Bug::IgnoreLostLease);
        #[cfg(not(feature = "planted-bugs"))]
        return false;
    }

    #[cfg(feature = "planted-bugs")]
    pub(crate) fn has(&self, bug: peloton_core::Bug) -> bool {
        self.options.settings.bug == Some(bug)
    }

    /// Says what went wrong, and waits until it may be tried again. A shard that is not ours any more
    /// waits for its turn anyway.
    async fn failed(&mut self, past: &mut Past, error: &RunError, wait: &mut Duration) {
        tracing::warn!(shard = %self.shard, %error, "the shard's run ended; it begins again");
        self.phase(ShardPhase::Failing { why: error.to_string() });
        if matches!(error, RunError::LeaseLost | RunError::Deposed) {
            past.claim = None;
            // What tells us of it may be on its way yet.
            return sleep(AFTER_LOSS).await;
        }
        let spread = self.environment.jitter(self.shard, *wait);
        *wait = (*wait * 2).min(AGAIN.1);
        let (mut stop, mut standing) = (self.stop.clone(), self.standing.clone());
        tokio::select! {
            biased;
            () = stopped(&mut stop) => {}
            () = moved(&mut standing, past.claim.map(|claim| claim.owner)) => {}
            () = sleep(spread) => {}
        }
    }

    /// Waits until the shard is ours, or the master stops.
    async fn turn(&mut self, past: &mut Past) -> Result<Turn, RunError> {
        let mut stop = self.stop.clone();
        loop {
            if *stop.borrow() {
                return Ok(Turn::Stop);
            }
            let lease = self.lease.borrow_and_update().filter(Held::is_certain);
            let standing = *self.standing.borrow_and_update();
            if let Some(lease) = lease {
                match self.obey(standing, lease, past).await? {
                    Obeyed::Ours(claim) => return Ok(Turn::Run(claim)),
                    Obeyed::Again => continue,
                    Obeyed::Wait => self.phase(ShardPhase::NotOwned),
                }
            }
            tokio::select! {
                biased;
                () = stopped(&mut stop) => {}
                _ = self.standing.changed() => {}
                _ = self.lease.changed() => {}
            }
        }
    }

    /// Does what is to be done with a shard that does not run.
    async fn obey(
        &self,
        standing: Standing,
        lease: Held,
        past: &mut Past,
    ) -> Result<Obeyed, RunError> {
        match standing.order {
            Order::Claim if standing.at >= past.not_before => {
                match self.ownership.claim(lease).await? {
                    Claimed::Ours(claim) => return Ok(Obeyed::Ours(claim)),
                    Claimed::Taken(revision) => past.not_before = revision,
                }
                Ok(Obeyed::Again)
            }
            // An earlier run of this process, or a claim that came late.
            Order::Keep(owner) if past.released != Some(owner) => {
                self.ownership.begin(owner, lease).await.map(Obeyed::Ours)
            }
            Order::GiveUp(owner) if past.released != Some(owner) => {
                self.ownership.release(owner, lease.id).await?;
                (past.claim, past.released) = (None, Some(owner));
                Ok(Obeyed::Again)
            }
            _ => Ok(Obeyed::Wait),
        }
    }

    /// Runs a shard that is ours, until it is to be given up or something is wrong.
    async fn run_claimed(&self, claim: Claim) -> Result<(), RunError> {
        self.phase(ShardPhase::Loading);
        self.link(Link::Down);
        let (mut stop, mut standing) = (self.stop.clone(), self.standing.clone());
        let (snapshot, from, claim) = tokio::select! {
            biased;
            () = stopped(&mut stop) => return Ok(()),
            leave = leaving(&mut standing, claim.owner) => return leave,
            loaded = self.load(claim) => loaded?,
        };
        let mut settings = self.options.settings.clone();
        settings.shard = self.shard;
        settings.role = Settings::role_of(self.shard, &self.options.mesos.framework.role).into();
        let now = self.environment.unix_ms();
        let (core, output) = heavily(|| Shard::recover(settings, now, snapshot));
        let run = Run::new(self, core, claim, from)?;
        self.phase(ShardPhase::Running);
        tracing::info!(shard = %self.shard, jobs = run.jobs(), "the shard runs");
        run.run(output).await
    }

    async fn load(&self, claim: Claim) -> Result<(Snapshot, Revision, Claim), RunError> {
        self.ownership.ensure_framework(&claim).await?;
        let (snapshot, from) = load(&*self.store, self.shard).await?;
        // Reading may have taken longer than the lease was certain for.
        let lease = self.ownership.still_held(claim.lease)?;
        Ok((snapshot, from, Claim { lease, ..claim }))
    }

    /// Leaves the shard to others. If that fails, it is ours for as long as the lease lives, and what is
    /// ordered next holds for it.
    async fn release(&self, past: &mut Past, claim: Claim) {
        (past.claim, past.released) = (None, Some(claim.owner));
        match self.ownership.release(claim.owner, claim.lease.id).await {
            Ok(()) => tracing::info!(shard = %self.shard, "the shard is given up"),
            Err(error) => {
                past.released = None;
                self.phase(ShardPhase::Failing { why: error.to_string() });
                tracing::warn!(shard = %self.shard, %error, "the shard is not given up");
            }
        }
    }
}

/// Waits until the node is to stop, or is gone.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _gone = stop.wait_for(|stop| *stop).await.is_err();
}

/// Waits until a claim is to be given up, or is found to be gone.
pub(crate) async fn leaving(
    standing: &mut watch::Receiver<Standing>,
    owner: Revision,
) -> Result<(), RunError> {
    let meaning = standing.wait_for(|now| now.meaning(owner) != Meaning::Stay).await;
    match meaning.map(|now| now.meaning(owner)) {
        Ok(Meaning::Leave) => Ok(()),
        Ok(_) => Err(RunError::Deposed),
        // Nobody tells any more: the node is at its end.
        Err(_) => std::future::pending().await,
    }
}

/// Waits until a claim, if there is one, is not to be kept.
async fn moved(standing: &mut watch::Receiver<Standing>, owner: Option<Revision>) {
    let Some(owner) = owner else { return std::future::pending().await };
    let _either = leaving(standing, owner).await;
}
