//! The master's lease: while it lives, so do its claims on shards.

use crate::node::Options;
use peloton_store::{LeaseId, Store, StoreError};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// What is known of the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held {
    /// The lease.
    pub(crate) id: LeaseId,
    /// Until then it is certain that nobody else has its shards: counted from before the request that
    /// renewed it, on the monotonic clock.
    pub(crate) certain_until: Instant,
}

impl Held {
    pub(crate) fn is_certain(&self) -> bool {
        Instant::now() < self.certain_until
    }
}

/// Tells every shard of the lease. Each has a channel of its own: the tasks that wait on one channel wake
/// up in no particular order.
struct Shards(Vec<watch::Sender<Option<Held>>>);

impl Shards {
    fn tell(&self, held: Option<Held>) {
        for shard in &self.0 {
            shard.send_replace(held);
        }
    }

    fn last(&self) -> Option<Held> {
        self.0.first().and_then(|shard| *shard.borrow())
    }
}

/// Keeps a lease for as long as the task lives; a receiver for each shard says which: `None` while there is
/// none.
pub(crate) fn keep(
    store: Arc<dyn Store>,
    options: &Options,
    mut stop: watch::Receiver<bool>,
) -> (Vec<watch::Receiver<Option<Held>>>, tokio::task::JoinHandle<()>) {
    let ttl = options.lease_ttl;
    let (senders, receivers) = (0..options.shards).map(|_| watch::channel(None)).unzip();
    let held = Shards(senders);
    let task = tokio::spawn(async move {
        let keeping = async {
            loop {
                if let Err(error) = keep_one(&*store, ttl, &held).await {
                    tracing::warn!(%error, "the master's lease could not be kept");
                }
                held.tell(None);
                sleep(ttl / 10).await;
            }
        };
        tokio::select! {
            biased;
            () = async { let _gone = stop.wait_for(|stop| *stop).await.is_err(); } => {}
            () = keeping => {}
        }
        if let Some(last) = held.last() {
            // Gives the shards up at once; if this fails they are free when the lease runs out.
            if let Err(error) = store.lease_revoke(last.id).await {
                tracing::warn!(%error, "the master's lease could not be revoked");
            }
        }
        held.tell(None);
    });
    (receivers, task)
}

/// Gets a lease and renews it until it is lost.
async fn keep_one(store: &dyn Store, ttl: Duration, held: &Shards) -> Result<(), StoreError> {
    let asked = Instant::now();
    let lease = store.lease_grant(ttl).await?;
    held.tell(Some(Held { id: lease.id, certain_until: asked + lease.ttl }));
    let mut wait = lease.ttl / 3;
    loop {
        sleep(wait).await;
        let asked = Instant::now();
        // One that is not answered must not cost the lease: there is time for two or three.
        let renewal = timeout(lease.ttl / 4, store.lease_keep_alive(lease.id));
        let unanswered = || StoreError::Unknown { reason: "no answer in time".to_owned() };
        wait = lease.ttl / 10;
        match renewal.await.unwrap_or_else(|_| Err(unanswered())) {
            Ok(ttl) => {
                wait = lease.ttl / 3;
                held.tell(Some(Held { id: lease.id, certain_until: asked + ttl }));
            }
            Err(error @ StoreError::LeaseNotFound { .. }) => return Err(error),
            // The store may be back in time; the owner stops acting when `certain_until` has passed.
            Err(error) => tracing::warn!(%error, "the master's lease was not renewed"),
        }
    }
}
