//! What each shard of this master is to do, from who is a member and who owns what.
//!
//! Free shards are claimed at once by whoever is to have them. What a master owns it gives up at once
//! when it is not to have any, as when it cannot reach Mesos; for the sake of evenness only when the
//! members have been the same for a while, as a hand-over costs the shard a moment without an owner. A
//! shard that stays free although somebody is to have it is claimed by whoever sees that.

use crate::map::ClusterMap;
use crate::node::Sharing;
use crate::sharing::{Willing, share, takers};
use peloton_store::{LeaseId, Revision};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// A shard that another left free too long is kept for so long, in graces: time for whatever kept the
/// other from claiming it to be mended, as it would be handed back otherwise only to stay free again.
const KEEP_RESCUED_GRACES: u32 = 15;

/// Far away: as long as nothing is planned.
const LATER: Duration = Duration::from_secs(3_600);

/// What a shard of this master is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Order {
    /// Nothing: another has it, or is to have it.
    #[default]
    Wait,
    /// It is free, and is to be claimed.
    Claim,
    /// It is ours since that revision, and stays so.
    Keep(Revision),
    /// It is ours since that revision, and is to be given up.
    GiveUp(Revision),
}

/// An order, and what it follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Standing {
    /// The revision of members and owners.
    pub(crate) at: Revision,
    /// The order.
    pub(crate) order: Order,
}

/// What an order means to a shard that runs by a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// It goes on.
    Stay,
    /// It is to be given up.
    Leave,
    /// The claim is gone.
    Lost,
}

impl Standing {
    /// What it means to a shard that was claimed at `owner`.
    pub(crate) fn meaning(&self, owner: Revision) -> Meaning {
        match self.order {
            Order::GiveUp(of) if of == owner => Meaning::Leave,
            Order::Keep(of) if of == owner => Meaning::Stay,
            // What is older than the claim says nothing of it.
            _ if self.at < owner => Meaning::Stay,
            _ => Meaning::Lost,
        }
    }
}

/// Who is to have what, and what this master's shards are to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    /// For each shard.
    pub(crate) wanted: Vec<Option<String>>,
    /// For each shard.
    pub(crate) orders: Vec<Order>,
    /// When it is to be decided again, even if nothing changes.
    pub(crate) again_at: Instant,
}

/// What decides remembers of the past.
#[derive(Debug)]
pub(crate) struct Decider {
    sharing: Sharing,
    takers: Vec<String>,
    /// Since when those are the same.
    settled_since: Instant,
    /// Since when each shard is free, where it is.
    free_since: Vec<Option<Instant>>,
    /// Until then nothing is given up for the sake of evenness.
    keep_until: Instant,
}

impl Decider {
    pub(crate) fn new(sharing: Sharing, shards: u16, now: Instant) -> Self {
        let free_since = vec![None; usize::from(shards)];
        Self { sharing, takers: Vec::new(), settled_since: now, free_since, keep_until: now }
    }

    /// What follows from what is known, for the master that has the lease; without one it can only wait.
    pub(crate) fn decide(
        &mut self,
        now: Instant,
        map: &ClusterMap,
        lease: Option<LeaseId>,
    ) -> Decision {
        let members: BTreeMap<&str, Willing> =
            map.members.iter().map(|(id, member)| (id.as_str(), willing(&member.record))).collect();
        let owners: Vec<Option<&str>> = map
            .shards
            .iter()
            .map(|place| place.owner.as_ref().map(|owner| owner.record.master.as_str()))
            .collect();
        let takers = takers(&members);
        if takers != self.takers {
            self.takers = takers.iter().map(|taker| (*taker).to_owned()).collect();
            self.settled_since = now;
        }
        let me = map.master.as_str();
        let wanted = share(&members, &owners);
        let mut again_at = now + LATER;
        let mut orders = Vec::with_capacity(wanted.len());
        for (shard, (place, wanted)) in map.shards.iter().zip(&wanted).enumerate() {
            let ours = place.owner.as_ref().filter(|owner| lease.is_some() && owner.lease == lease);
            self.note_free(shard, place.owner.is_none(), now);
            orders.push(match (ours, &place.owner) {
                (Some(own), _) if wanted.is_none_or(|id| id == me) => Order::Keep(own.revision),
                (Some(own), _) => match self.may_give_up(me, now) {
                    Ok(()) => Order::GiveUp(own.revision),
                    Err(at) => {
                        again_at = again_at.min(at);
                        Order::Keep(own.revision)
                    }
                },
                (None, Some(_)) => Order::Wait,
                (None, None) if lease.is_none() => Order::Wait,
                (None, None) if *wanted == Some(me) => Order::Claim,
                (None, None) => match self.may_rescue(shard, me, now) {
                    Ok(()) => Order::Claim,
                    Err(at) => {
                        again_at = again_at.min(at.unwrap_or(again_at));
                        Order::Wait
                    }
                },
            });
        }
        let wanted = wanted.into_iter().map(|id| id.map(str::to_owned)).collect();
        Decision { wanted, orders, again_at }
    }

    fn note_free(&mut self, shard: usize, free: bool, now: Instant) {
        if let Some(since) = self.free_since.get_mut(shard) {
            *since = free.then(|| since.unwrap_or(now));
        }
    }

    /// Whether a shard of ours that another is to have may go now; else when.
    fn may_give_up(&self, me: &str, now: Instant) -> Result<(), Instant> {
        let at = (self.settled_since + self.sharing.settle).max(self.keep_until);
        if !self.takers.iter().any(|id| id == me) || now >= at { Ok(()) } else { Err(at) }
    }

    /// Whether a free shard that another is to have may be claimed all the same; else when, if ever.
    fn may_rescue(&mut self, shard: usize, me: &str, now: Instant) -> Result<(), Option<Instant>> {
        if !self.takers.iter().any(|id| id == me) {
            return Err(None);
        }
        let since = self.free_since.get(shard).copied().flatten().unwrap_or(now);
        let at = since + self.sharing.grace;
        if now < at {
            return Err(Some(at));
        }
        self.keep_until = now + self.sharing.grace * KEEP_RESCUED_GRACES;
        Ok(())
    }
}

fn willing(record: &peloton_model::MemberRecord) -> Willing {
    match (record.accepting, record.stopping) {
        (true, _) => Willing::Accepting,
        (false, false) => Willing::Reluctant,
        (false, true) => Willing::Stopping,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::{Member, Owner};
    use peloton_model::{MemberRecord, OwnerRecord};

    const MINE: LeaseId = LeaseId(7);

    fn member(map: &mut ClusterMap, id: &str, accepting: bool) {
        let record = MemberRecord { master: id.to_owned(), accepting, ..Default::default() };
        let member = Member { record, lease: None, revision: Revision(1) };
        map.members.insert(id.to_owned(), member);
    }

    fn owned(map: &mut ClusterMap, shard: usize, by: Option<&str>) {
        let owner = |by: &str| Owner {
            record: OwnerRecord { master: by.to_owned(), address: String::new(), since: 0 },
            lease: Some(if by == "me" { MINE } else { LeaseId(8) }),
            revision: Revision(shard as i64),
        };
        map.shards[shard].owner = by.map(owner);
    }

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_free_is_claimed_at_once_by_whom_it_is_for_and_later_by_anybody() {
        let start = Instant::now();
        let mut map = ClusterMap::new("me", 2);
        let mut decider = Decider::new(Sharing::default(), 2, start);
        let nobody = decider.decide(start, &map, Some(MINE));
        assert_eq!((nobody.orders, nobody.wanted), (vec![Order::Wait; 2], vec![None, None]));
        member(&mut map, "me", true);
        member(&mut map, "other", true);
        let first = decider.decide(start, &map, Some(MINE));
        assert_eq!(first.orders, [Order::Claim, Order::Wait]);
        assert_eq!(first.again_at, start + secs(2));
        owned(&mut map, 0, Some("me"));
        let grace_over = decider.decide(start + secs(2), &map, Some(MINE));
        assert_eq!(grace_over.orders, [Order::Keep(Revision(0)), Order::Claim]);
        // What was rescued is not handed back at once.
        owned(&mut map, 1, Some("me"));
        let then = decider.decide(start + secs(5), &map, Some(MINE));
        assert_eq!(then.orders, [Order::Keep(Revision(0)), Order::Keep(Revision(1))]);
        assert_eq!(then.again_at, start + secs(32));
        let late = decider.decide(start + secs(32), &map, Some(MINE));
        assert_eq!(late.orders, [Order::Keep(Revision(0)), Order::GiveUp(Revision(1))]);
    }

    #[tokio::test(start_paused = true)]
    async fn shares_are_evened_out_when_the_members_have_settled_and_at_once_when_we_are_out() {
        let start = Instant::now();
        let mut map = ClusterMap::new("me", 2);
        let mut decider = Decider::new(Sharing::default(), 2, start);
        member(&mut map, "me", true);
        owned(&mut map, 0, Some("me"));
        owned(&mut map, 1, Some("me"));
        decider.decide(start, &map, Some(MINE));
        member(&mut map, "other", true);
        let joined = start + secs(10);
        let kept = [Order::Keep(Revision(0)), Order::Keep(Revision(1))];
        assert_eq!(decider.decide(joined, &map, Some(MINE)).orders, kept);
        let settled = decider.decide(joined + secs(2), &map, Some(MINE));
        assert_eq!(settled.orders, [Order::Keep(Revision(0)), Order::GiveUp(Revision(1))]);
        member(&mut map, "me", false);
        let out = decider.decide(joined + secs(3), &map, Some(MINE));
        assert_eq!(out.orders, [Order::GiveUp(Revision(0)), Order::GiveUp(Revision(1))]);
        // Nobody accepts: all as if everybody did.
        member(&mut map, "other", false);
        let none = decider.decide(joined + secs(4), &map, Some(MINE));
        assert_eq!(none.orders, kept);
        // A claim under a lease that is not ours any more is another's.
        let later = decider.decide(joined + secs(9), &map, Some(LeaseId(9)));
        assert_eq!(later.orders, [Order::Wait, Order::Wait]);
    }

    #[test]
    fn an_order_older_than_the_claim_says_nothing_of_it() {
        let standing = |at, order| Standing { at: Revision(at), order };
        let claim = Revision(5);
        assert_eq!(standing(4, Order::Claim).meaning(claim), Meaning::Stay);
        assert_eq!(standing(5, Order::Keep(claim)).meaning(claim), Meaning::Stay);
        assert_eq!(standing(9, Order::GiveUp(claim)).meaning(claim), Meaning::Leave);
        assert_eq!(standing(9, Order::Wait).meaning(claim), Meaning::Lost);
        assert_eq!(standing(9, Order::Keep(Revision(8))).meaning(claim), Meaning::Lost);
    }
}
