//! What a master knows of the cluster: who is there, who has which shard, and how fresh that is.
//!
//! It is kept up from one watch of members and owners and costs nobody a request, so every master can
//! tell at any time. While the store is away it stays as it was, and says for how long.

use peloton_model::{MemberRecord, OwnerRecord};
use peloton_store::{LeaseId, Revision};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// What a master knows of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterMap {
    /// The id of the master that knows this.
    pub master: String,
    /// The masters that live, by id: itself among them once it has joined.
    pub members: BTreeMap<String, Member>,
    /// The shards, by number.
    pub shards: Vec<ShardPlace>,
    /// The lease of the master that knows this, while it has one.
    pub lease: Option<Lease>,
    /// The revision of the last change that was seen of members and owners; [`Revision::ZERO`] before
    /// anything is known of them.
    pub revision: Revision,
    /// When the store last answered this master, or told it something.
    pub heard_at: Option<Instant>,
    /// What is wrong with the lease, the membership or the watch, while something is.
    pub problem: Option<String>,
}

/// A master that lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// What it says of itself; since when it is a member is in it.
    pub record: MemberRecord,
    /// The lease that it lives by.
    pub lease: Option<LeaseId>,
    /// What wrote the record.
    pub revision: Revision,
}

/// Where a shard is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShardPlace {
    /// Who has it; none while nobody does.
    pub owner: Option<Owner>,
    /// The id of the master that is to have it, as the present members share: another than the owner
    /// while it moves, none while there is nobody.
    pub wanted: Option<String>,
}

/// Who has a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The master, and since when it has the shard.
    pub record: OwnerRecord,
    /// The lease that its ownership lives by.
    pub lease: Option<LeaseId>,
    /// What wrote the ownership: what each commit of the owner compares.
    pub revision: Revision,
}

/// A master's own lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Its id in the store.
    pub id: LeaseId,
    /// How long it lives after it was renewed.
    pub ttl: Duration,
    /// Until then it is certain to live, and the master acts.
    pub certain_until: Instant,
}

impl ClusterMap {
    /// What is known at the start.
    pub(crate) fn new(master: &str, shards: u16) -> Self {
        Self {
            master: master.to_owned(),
            members: BTreeMap::new(),
            shards: vec![ShardPlace::default(); usize::from(shards)],
            lease: None,
            revision: Revision::ZERO,
            heard_at: None,
            problem: None,
        }
    }

    /// How long ago the store was last heard of; none where it never was.
    #[must_use]
    pub fn silent_for(&self) -> Option<Duration> {
        self.heard_at.map(|at| at.elapsed())
    }
}

impl Lease {
    /// How long it is still certain to live.
    #[must_use]
    pub fn certain_for(&self) -> Duration {
        self.certain_until.saturating_duration_since(Instant::now())
    }
}
