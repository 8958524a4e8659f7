//! The master's lease: while it lives, so do its membership and its claims on shards.

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
    /// How long it lives after it was renewed.
    pub(crate) ttl: Duration,
    /// Until then it is certain that nobody else has its shards: counted from before the request that
    /// renewed it, on the monotonic clock.
    pub(crate) certain_until: Instant,
    /// When the store answered that.
    pub(crate) answered_at: Instant,
}

impl Held {
    /// What an answer to a request made at `asked` tells.
    fn answered(id: LeaseId, ttl: Duration, asked: Instant) -> Self {
        Self { id, ttl, certain_until: asked + ttl, answered_at: Instant::now() }
    }

    pub(crate) fn is_certain(&self) -> bool {
        Instant::now() < self.certain_until
    }
}

/// Tells everybody of the lease. Each has a channel of its own: the tasks that wait on one channel wake
/// up in no particular order.
struct Listeners(Vec<watch::Sender<Option<Held>>>);

impl Listeners {
    fn tell(&self, held: Option<Held>) {
        for listener in &self.0 {
            listener.send_replace(held);
        }
    }

    fn last(&self) -> Option<Held> {
        self.0.first().and_then(|listener| *listener.borrow())
    }
}

/// A lease that is to be kept, and those who are told which it is: `None` while there is none.
pub(crate) struct Keeper {
    store: Arc<dyn Store>,
    ttl: Duration,
    listeners: Listeners,
}

impl Keeper {
    /// With so many listeners.
    pub(crate) fn new(
        store: Arc<dyn Store>,
        options: &Options,
        listeners: usize,
    ) -> (Self, Vec<watch::Receiver<Option<Held>>>) {
        let (senders, receivers) = (0..listeners).map(|_| watch::channel(None)).unzip();
        (Self { store, ttl: options.lease_ttl, listeners: Listeners(senders) }, receivers)
    }

    /// Keeps a lease until it is to stop, or until nobody could tell it to; then gives it back.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) {
        let (store, ttl, listeners) = (&*self.store, self.ttl, &self.listeners);
        let keeping = async {
            loop {
                if let Err(error) = keep_one(store, ttl, listeners).await {
                    tracing::warn!(%error, "the master's lease could not be kept");
                }
                listeners.tell(None);
                sleep(ttl / 10).await;
            }
        };
        tokio::select! {
            biased;
            () = async { let _gone = stop.wait_for(|stop| *stop).await.is_err(); } => {}
            () = keeping => {}
        }
        if let Some(last) = listeners.last() {
            // What still hangs on it is free at once; if this fails, when the lease runs out.
            if let Err(error) = store.lease_revoke(last.id).await {
                tracing::warn!(%error, "the master's lease could not be revoked");
            }
        }
        listeners.tell(None);
    }
}

/// Gets a lease and renews it until it is lost.
async fn keep_one(
    store: &dyn Store,
    ttl: Duration,
    listeners: &Listeners,
) -> Result<(), StoreError> {
    let asked = Instant::now();
    let lease = store.lease_grant(ttl).await?;
    listeners.tell(Some(Held::answered(lease.id, lease.ttl, asked)));
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
                listeners.tell(Some(Held::answered(lease.id, ttl, asked)));
            }
            Err(error @ StoreError::LeaseNotFound { .. }) => return Err(error),
            // The store may be back in time; the owner stops acting when `certain_until` has passed.
            Err(error) => tracing::warn!(%error, "the master's lease was not renewed"),
        }
    }
}
