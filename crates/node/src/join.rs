//! The master's own member record: put under its lease, and kept as it is meant.
//!
//! Each write compares what the one before left, so a late one cannot bring an old intention back: a
//! master that stops would seem to accept shards again.

use crate::environment::Environment;
use crate::lease::Held;
use crate::node::Options;
use peloton_model::{MemberRecord, encode_record};
use peloton_store::{Revision, Store, StoreError, Txn, TxnResult, Value, keys};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep;

/// The wait before a write that failed is repeated: the first, and the longest.
const AGAIN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// What the master means to say of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Intent {
    pub(crate) mesos_away: bool,
    /// Why it accepts no shards; none where it does.
    pub(crate) why_not: Option<String>,
}

/// Keeps the record.
pub(crate) struct Joiner {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) options: Arc<Options>,
    pub(crate) environment: Arc<Environment>,
    pub(crate) lease: watch::Receiver<Option<Held>>,
    pub(crate) intent: watch::Receiver<Intent>,
    /// Whether the master stops.
    pub(crate) stop: watch::Receiver<bool>,
    /// Told when all others can know that it stops.
    pub(crate) left: watch::Sender<bool>,
}

impl Joiner {
    /// Goes on for ever.
    pub(crate) async fn run(mut self) {
        let mut last = Revision::ZERO;
        let mut wait = AGAIN.0;
        let mut since = 0;
        // The lease of what was stored last, and the value, where it is known: a store that did not
        // answer may have taken either.
        let mut stored: Option<(Held, Option<Value>)> = None;
        loop {
            let lease = self.lease.borrow_and_update().filter(Held::is_certain);
            let intent = self.intent.borrow_and_update().clone();
            let stopping = *self.stop.borrow_and_update();
            let Some(lease) = lease else {
                self.changed().await;
                continue;
            };
            if stored.as_ref().is_none_or(|(held, _)| held.id != lease.id) {
                since = self.environment.unix_ms();
            }
            let Some(value) = self.record(intent, stopping, since) else { return };
            let known = stored.as_ref().filter(|(held, _)| held.id == lease.id);
            if known.is_some_and(|(_, old)| old.as_ref() == Some(&value)) {
                self.left.send_if_modified(|left| !std::mem::replace(left, stopping) && stopping);
                self.changed().await;
                continue;
            }
            stored = Some((lease, None));
            match self.put(last, lease, &value).await {
                Ok(revision) => {
                    (last, wait, stored) = (revision, AGAIN.0, Some((lease, Some(value))));
                }
                Err(Failed::Moved(revision)) => last = revision,
                Err(Failed::Store(error)) => {
                    tracing::warn!(%error, "the member's record was not stored; it is tried again");
                    sleep(wait).await;
                    wait = (wait * 2).min(AGAIN.1);
                }
            }
        }
    }

    fn record(&self, intent: Intent, stopping: bool, since: u64) -> Option<Value> {
        let options = &self.options;
        let why_not = if stopping { Some("it is stopping".to_owned()) } else { intent.why_not };
        let record = MemberRecord {
            master: options.master.clone(),
            address: options.address.clone(),
            version: options.version.clone(),
            schema: options.schema,
            started_at: options.started_at,
            since,
            accepting: why_not.is_none(),
            stopping,
            why_not,
            mesos_away: intent.mesos_away,
        };
        encode_record(&record).ok().map(Value::from)
    }

    /// Waits until something may be to say.
    async fn changed(&mut self) {
        // What is gone does not change any more; the node is at its end then.
        tokio::select! {
            biased;
            Ok(()) = self.stop.changed() => {}
            Ok(()) = self.lease.changed() => {}
            Ok(()) = self.intent.changed() => {}
            else => std::future::pending().await,
        }
    }

    /// Stores the record in the place of what `last` stored.
    async fn put(&self, last: Revision, lease: Held, value: &Value) -> Result<Revision, Failed> {
        let key = keys::member(&self.options.master);
        let txn =
            Txn::new().when_unchanged(key.clone(), last).put_leased(key, value.clone(), lease.id);
        match self.store.commit(txn).await.map_err(Failed::Store)? {
            TxnResult::Committed { revision } => Ok(revision),
            // An earlier try had happened, or the record died with its lease.
            TxnResult::Conflict { current, .. } => match current.into_iter().next().flatten() {
                Some(kv) if kv.lease == Some(lease.id) && kv.value == *value => Ok(kv.mod_revision),
                Some(kv) => Err(Failed::Moved(kv.mod_revision)),
                None => Err(Failed::Moved(Revision::ZERO)),
            },
        }
    }
}

/// Why a record was not stored.
enum Failed {
    /// Something else is there, of this revision.
    Moved(Revision),
    Store(StoreError),
}
