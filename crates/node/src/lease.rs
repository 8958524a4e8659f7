//! The master's lease: while it lives, so do its claims on shards.

use peloton_store::{LeaseId, Store, StoreError};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

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

/// Keeps a lease for as long as the returned receiver's sender task lives: `None` while there is none.
pub(crate) fn keep(
    store: Arc<dyn Store>,
    ttl: Duration,
    mut stop: watch::Receiver<bool>,
) -> (watch::Receiver<Option<Held>>, tokio::task::JoinHandle<()>) {
    let (held, receiver) = watch::channel(None);
    let task = tokio::spawn(async move {
        let keeping = async {
            loop {
                if let Err(error) = keep_one(&*store, ttl, &held).await {
                    tracing::warn!(%error, "the master's lease could not be kept");
                }
                held.send_replace(None);
                sleep(ttl / 10).await;
            }
        };
        tokio::select! {
            () = keeping => {}
            () = async { let _gone = stop.wait_for(|stop| *stop).await.is_err(); } => {}
        }
        let last = *held.borrow();
        if let Some(last) = last {
            // Gives the shards up at once; if this fails they are free when the lease runs out.
            if let Err(error) = store.lease_revoke(last.id).await {
                tracing::warn!(%error, "the master's lease could not be revoked");
            }
        }
        held.send_replace(None);
    });
    (receiver, task)
}

/// Gets a lease and renews it until it is lost.
async fn keep_one(
    store: &dyn Store,
    ttl: Duration,
    held: &watch::Sender<Option<Held>>,
) -> Result<(), StoreError> {
    let asked = Instant::now();
    let lease = store.lease_grant(ttl).await?;
    held.send_replace(Some(Held { id: lease.id, certain_until: asked + lease.ttl }));
    loop {
        sleep(lease.ttl / 3).await;
        let asked = Instant::now();
        match store.lease_keep_alive(lease.id).await {
            Ok(ttl) => {
                held.send_replace(Some(Held { id: lease.id, certain_until: asked + ttl }));
            }
            Err(error @ StoreError::LeaseNotFound { .. }) => return Err(error),
            // The store may be back in time; the owner stops acting when `certain_until` has passed.
            Err(error) => tracing::warn!(%error, "the master's lease was not renewed"),
        }
    }
}
