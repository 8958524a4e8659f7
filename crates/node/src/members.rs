//! What this master knows of the cluster, and what follows from it for its shards.
//!
//! One watch tells of members and owners alike, in the order in which they changed: a shard that a
//! stopping master gave up comes after the news that it stops. The map that is kept up here is what
//! everybody else looks at, too.

use crate::lease::Held;
use crate::map::{ClusterMap, Lease, Member, Owner};
use crate::node::Options;
use crate::orders::{Decider, Standing};
use futures_util::StreamExt;
use peloton_model::decode_record;
use peloton_store::keys::{self, ParsedKey};
use peloton_store::{Event, KeyValue, RangeResponse, Revision, Store, StoreError, range_all};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

/// The wait before the members are read again after it failed: the first, and the longest.
const AGAIN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Follows members and owners, and says what each shard is to do.
pub(crate) struct Members {
    store: Arc<dyn Store>,
    map: watch::Sender<ClusterMap>,
    lease: watch::Receiver<Option<Held>>,
    orders: Vec<watch::Sender<Standing>>,
    decider: Decider,
}

impl Members {
    /// With the channels in which each shard is told what to do.
    pub(crate) fn new(
        store: Arc<dyn Store>,
        options: &Options,
        lease: watch::Receiver<Option<Held>>,
    ) -> (Self, watch::Receiver<ClusterMap>, Vec<watch::Receiver<Standing>>) {
        let (map, known) = watch::channel(ClusterMap::new(&options.master, options.shards));
        let (orders, standings) =
            (0..options.shards).map(|_| watch::channel(Standing::default())).unzip();
        let decider = Decider::new(options.sharing.clone(), options.shards, Instant::now());
        (Self { store, map, lease, orders, decider }, known, standings)
    }

    /// Goes on for ever.
    pub(crate) async fn run(mut self) {
        let mut wait = AGAIN.0;
        loop {
            let result = match range_all(&*self.store, keys::members_and_owners()).await {
                Ok(all) => {
                    wait = AGAIN.0;
                    let from = all.revision.next();
                    self.listed(&all);
                    self.follow(from).await
                }
                Err(error) => error,
            };
            if !result.is_compacted() {
                tracing::warn!(error = %result, "members and owners are not known at present");
            }
            self.map.send_modify(|map| map.problem = Some(result.to_string()));
            sleep(wait).await;
            wait = (wait * 2).min(AGAIN.1);
        }
    }

    /// Follows changes until the watch ends.
    async fn follow(&mut self, from: Revision) -> StoreError {
        let mut changes = self.store.watch(keys::members_and_owners(), from);
        loop {
            let again_at = self.decide();
            tokio::select! {
                biased;
                changed = self.lease.changed() => {
                    if changed.is_err() {
                        // The node is at its end.
                        std::future::pending::<()>().await;
                    }
                    self.leased();
                }
                batch = changes.next() => match batch {
                    Some(Ok(batch)) => self.map.send_modify(|map| {
                        for event in &batch.events {
                            apply(map, event);
                        }
                        heard(map, batch.revision);
                    }),
                    Some(Err(error)) => return error,
                    None => return StoreError::Unavailable { reason: "the watch ended".to_owned() },
                },
                () = sleep_until(again_at) => {}
            }
        }
    }

    fn listed(&self, all: &RangeResponse) {
        self.map.send_modify(|map| {
            map.members.clear();
            for place in &mut map.shards {
                place.owner = None;
            }
            for kv in &all.kvs {
                put(map, kv);
            }
            map.problem = None;
            heard(map, all.revision);
        });
    }

    fn leased(&mut self) {
        let held = *self.lease.borrow_and_update();
        self.map.send_modify(|map| {
            map.lease =
                held.map(|Held { id, ttl, certain_until, .. }| Lease { id, ttl, certain_until });
            map.heard_at = map.heard_at.max(held.map(|held| held.answered_at));
        });
    }

    /// Tells the shards what to do; when that is to be looked at again. Without a lease nothing is to be
    /// done.
    fn decide(&mut self) -> Instant {
        let now = Instant::now();
        let (decision, at) = {
            let map = self.map.borrow();
            let lease = map.lease.map(|lease| lease.id);
            (self.decider.decide(now, &map, lease), map.revision)
        };
        for (told, order) in self.orders.iter().zip(decision.orders) {
            let standing = Standing { at, order };
            told.send_if_modified(|last| std::mem::replace(last, standing) != standing);
        }
        self.map.send_if_modified(|map| {
            let places = map.shards.iter_mut().zip(decision.wanted);
            places.fold(false, |changed, (place, wanted)| {
                let other = place.wanted != wanted;
                place.wanted = wanted;
                changed || other
            })
        });
        decision.again_at
    }
}

fn heard(map: &mut ClusterMap, revision: Revision) {
    map.revision = revision;
    map.heard_at = Some(Instant::now());
}

fn apply(map: &mut ClusterMap, event: &Event) {
    match event {
        Event::Put(kv) => put(map, kv),
        Event::Delete { key, .. } => match keys::parse(key) {
            Some(ParsedKey::Member { master }) => drop(map.members.remove(&master)),
            Some(ParsedKey::Owner { shard }) => {
                if let Some(place) = map.shards.get_mut(usize::from(shard)) {
                    place.owner = None;
                }
            }
            _ => {}
        },
    }
}

/// What cannot be read counts as somebody of whom nothing is known but the name: a shard that somebody
/// has is not free, and a master that accepts nothing gets nothing.
fn put(map: &mut ClusterMap, kv: &KeyValue) {
    let (lease, revision) = (kv.lease, kv.mod_revision);
    match keys::parse(&kv.key) {
        Some(ParsedKey::Member { master }) => {
            let record = decode_record(&kv.value).unwrap_or_else(|error| {
                tracing::error!(master, %error, "a member's record cannot be read");
                peloton_model::MemberRecord { master: master.clone(), ..Default::default() }
            });
            map.members.insert(master, Member { record, lease, revision });
        }
        Some(ParsedKey::Owner { shard }) => {
            let record = decode_record(&kv.value).unwrap_or_else(|error| {
                tracing::error!(shard, %error, "an owner's record cannot be read");
                peloton_model::OwnerRecord {
                    master: String::new(),
                    address: String::new(),
                    since: 0,
                }
            });
            if let Some(place) = map.shards.get_mut(usize::from(shard)) {
                place.owner = Some(Owner { record, lease, revision });
            }
        }
        _ => {}
    }
}
