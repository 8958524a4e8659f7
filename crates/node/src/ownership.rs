//! The transactions by which a shard changes hands.
//!
//! Each of them may be done although its answer was lost, and an earlier try may land after a later one.
//! So each is repeated, under conditions that let it happen once, until it is known what came of it, for
//! as long as the lease is certain to hold. Giving up instead would cost the shard a run, and waiting.

use crate::environment::Environment;
use crate::lease::Held;
use crate::node::Options;
use crate::runner::RunError;
use peloton_model::{FrameworkId, FrameworkRecord, OwnerRecord, ShardId, encode_record};
use peloton_store::keys;
use peloton_store::{KeyValue, LeaseId, Revision, Store, StoreError, Txn, TxnResult};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep;

/// The wait before a transaction that failed is repeated: the first, and the longest.
const AGAIN: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// A claim on the shard: the ownership key as we wrote it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claim {
    /// What wrote the ownership key.
    pub(crate) owner: Revision,
    /// What wrote the fence last.
    pub(crate) fence: Revision,
    pub(crate) lease: Held,
}

/// What came of an attempt to claim.
#[derive(Debug)]
pub(crate) enum Claimed {
    Ours(Claim),
    /// Somebody else was first, with what was written by this revision.
    Taken(Revision),
}

/// The keys of one shard that say whose it is.
#[derive(Clone)]
pub(crate) struct Ownership {
    pub(crate) shard: ShardId,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) options: Arc<Options>,
    pub(crate) environment: Arc<Environment>,
    pub(crate) lease: watch::Receiver<Option<Held>>,
}

impl Ownership {
    /// Takes the shard, if nobody has it. The same transaction begins a chain of commits.
    pub(crate) async fn claim(&self, lease: Held) -> Result<Claimed, RunError> {
        let record = OwnerRecord {
            master: self.options.master.clone(),
            address: self.options.address.clone(),
            since: self.environment.unix_ms(),
        };
        let value = encode_record(&record).map_err(|e| RunError::Record(e.to_string()))?;
        let key = keys::owner(self.shard.0);
        let txn = Txn::new()
            .when_absent(key.clone())
            .put_leased(key, value, lease.id)
            .put(keys::actual_fence(self.shard.0), self.mark());
        match self.resolve(lease.id, &txn).await? {
            TxnResult::Committed { revision } => {
                let lease = self.still_held(lease)?;
                Ok(Claimed::Ours(Claim { owner: revision, fence: revision, lease }))
            }
            TxnResult::Conflict { revision, current, .. } => match at(current, 0) {
                // An earlier try of ours had happened.
                Some(kv) if kv.lease == Some(lease.id) => {
                    self.begin(kv.mod_revision, lease).await.map(Claimed::Ours)
                }
                kv => Ok(Claimed::Taken(kv.map_or(revision, |kv| kv.mod_revision))),
            },
        }
    }

    /// Begins a new chain of commits on a shard that is ours already. What an earlier run has on its
    /// way cannot land any more once this is durable; so what is read after it stays true.
    pub(crate) async fn begin(&self, owner: Revision, lease: Held) -> Result<Claim, RunError> {
        let (owner_key, fence_key) = (keys::owner(self.shard.0), keys::actual_fence(self.shard.0));
        let mark = self.mark();
        let mut before = self.read(lease.id, &fence_key).await?.map(|kv| kv.mod_revision);
        loop {
            let txn = Txn::new()
                .when_unchanged(owner_key.clone(), owner)
                .when_unchanged(fence_key.clone(), before.unwrap_or(Revision::ZERO))
                .put(fence_key.clone(), mark.clone());
            let fence = match self.resolve(lease.id, &txn).await? {
                TxnResult::Committed { revision } => revision,
                TxnResult::Conflict { failed, .. } if failed.contains(&0) => {
                    return Err(RunError::Deposed);
                }
                TxnResult::Conflict { current, .. } => match at(current, 1) {
                    // An earlier try of this had happened.
                    Some(kv) if kv.value == mark.as_bytes() => kv.mod_revision,
                    // A commit of an earlier run came in between: the last one that could.
                    fence => {
                        before = fence.map(|kv| kv.mod_revision);
                        continue;
                    }
                },
            };
            return Ok(Claim { owner, fence, lease: self.still_held(lease)? });
        }
    }

    /// Gives the shard a framework id before the first subscription: an id that Mesos chose would be
    /// lost with a crash between its answer and our record, and leave a framework that nobody ends.
    pub(crate) async fn ensure_framework(&self, claim: &Claim) -> Result<(), RunError> {
        let key = keys::actual_framework(self.shard.0);
        if self.read(claim.lease.id, &key).await?.is_some() {
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
        match self.resolve(claim.lease.id, &txn).await? {
            TxnResult::Conflict { failed, .. } if failed.contains(&0) => Err(RunError::Deposed),
            TxnResult::Committed { .. } | TxnResult::Conflict { .. } => Ok(()),
        }
    }

    /// Leaves the shard to others. Whether it was ours until then does not matter; it is not afterwards.
    pub(crate) async fn release(&self, owner: Revision, lease: LeaseId) -> Result<(), RunError> {
        let key = keys::owner(self.shard.0);
        let txn = Txn::new().when_unchanged(key.clone(), owner).delete(key);
        self.resolve(lease, &txn).await.map(drop)
    }

    /// Commits, and again while it is not known that nothing happened: for transactions that cannot
    /// happen twice. Where an earlier try had happened unknown to us, the last one conflicts with it.
    async fn resolve(&self, lease: LeaseId, txn: &Txn) -> Result<TxnResult, RunError> {
        let mut wait = AGAIN.0;
        loop {
            match self.store.commit(txn.clone()).await {
                Ok(result) => return Ok(result),
                Err(error) => self.pause(lease, &mut wait, error).await?,
            }
        }
    }

    async fn read(
        &self,
        lease: LeaseId,
        key: &peloton_store::Key,
    ) -> Result<Option<KeyValue>, RunError> {
        let mut wait = AGAIN.0;
        loop {
            match self.store.get(key.clone()).await {
                Ok(answer) => return Ok(answer.kv),
                Err(error) => self.pause(lease, &mut wait, error).await?,
            }
        }
    }

    /// Waits before a repetition, if one makes sense.
    async fn pause(
        &self,
        lease: LeaseId,
        wait: &mut Duration,
        error: StoreError,
    ) -> Result<(), RunError> {
        match error {
            StoreError::Unavailable { .. } | StoreError::Unknown { .. } => {}
            StoreError::LeaseNotFound { .. } => return Err(RunError::LeaseLost),
            error => return Err(error.into()),
        }
        self.certain(lease).ok_or(RunError::LeaseLost)?;
        sleep(self.environment.jitter(self.shard, *wait)).await;
        *wait = (*wait * 2).min(AGAIN.1);
        Ok(())
    }

    /// The lease as it was renewed last, if it is that one and certain to hold.
    fn certain(&self, lease: LeaseId) -> Option<Held> {
        self.lease.borrow().filter(|held| held.id == lease && held.is_certain())
    }

    /// The lease as it was renewed last, if it is certain to hold.
    pub(crate) fn still_held(&self, claimed: Held) -> Result<Held, RunError> {
        let now = self.certain(claimed.id);
        #[cfg(feature = "planted-bugs")]
        let now = now.or(self
            .options
            .settings
            .bug
            .is_some_and(|bug| bug == peloton_core::Bug::IgnoreLostLease)
            .then_some(claimed));
        now.ok_or(RunError::LeaseLost)
    }

    /// What begins a chain: unlike any other.
    fn mark(&self) -> String {
        let (now, number) = (self.environment.unix_ms(), (self.environment.random)());
        format!("{} begins at {now} {number:x}", self.options.master)
    }
}

fn at(current: Vec<Option<KeyValue>>, index: usize) -> Option<KeyValue> {
    current.into_iter().nth(index).flatten()
}

/// The framework's name as the start of its id. Agents name directories by ids, so Mesos refuses
/// slashes, control characters and more than 255 bytes; spaces would be trouble for people.
fn plain(name: &str) -> String {
    const MAX_CHARS: usize = 64;
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let kept = name.chars().take(MAX_CHARS);
    kept.map(|c| if allowed(c) { c.to_ascii_lowercase() } else { '-' }).collect()
}
