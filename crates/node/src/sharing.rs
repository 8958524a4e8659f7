//! Who is to have which shard: a pure function, so that all masters that see the same come to the same
//! without asking anybody.
//!
//! Shares are even, and as few shards move as that allows. The function can be asked again at any moment
//! of a change: of the shards that are to move, whichever moves first, the others stay as they were
//! assigned. It is a part of what masters of neighbouring releases have to agree on; masters that share
//! otherwise would hand shards to and fro.

use std::cmp::Reverse;
use std::collections::BTreeMap;

/// How willing a master is to have shards. Those of the best kind there is share all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Willing {
    /// It stops: only where there is nobody else.
    Stopping,
    /// It does not accept any: only where nobody does.
    Reluctant,
    /// It accepts.
    Accepting,
}

/// Those who share the shards.
pub(crate) fn takers<'a>(members: &BTreeMap<&'a str, Willing>) -> Vec<&'a str> {
    let best = members.values().max();
    members.iter().filter(|(_, willing)| Some(*willing) == best).map(|(id, _)| *id).collect()
}

/// Who is to have each shard, given who has it now: nobody only where there is no member.
pub(crate) fn share<'a>(
    members: &BTreeMap<&'a str, Willing>,
    owners: &[Option<&str>],
) -> Vec<Option<&'a str>> {
    let takers = takers(members);
    let mut has: BTreeMap<&str, usize> = takers.iter().map(|taker| (*taker, 0)).collect();
    for owner in owners.iter().flatten() {
        if let Some(count) = has.get_mut(owner) {
            *count += 1;
        }
    }
    // Where it does not come out even, those who have most keep one more.
    let mut by_count = takers.clone();
    by_count.sort_by_key(|taker| Reverse(has.get(taker).copied()));
    let least = owners.len() / takers.len().max(1);
    let over = owners.len() % takers.len().max(1);
    let share_of = |(i, taker): (usize, &&'a str)| (*taker, least + usize::from(i < over));
    let mut room: BTreeMap<&'a str, usize> = by_count.iter().enumerate().map(share_of).collect();

    let mut wanted: Vec<Option<&'a str>> = Vec::with_capacity(owners.len());
    for owner in owners {
        let owner = owner.and_then(|owner| takers.iter().copied().find(|taker| *taker == owner));
        wanted.push(owner.filter(|owner| take(&mut room, owner)));
    }
    for place in wanted.iter_mut().filter(|place| place.is_none()) {
        *place = takers.iter().copied().find(|taker| take(&mut room, taker));
    }
    wanted
}

/// Takes one place of a member's share, if one is left.
fn take(room: &mut BTreeMap<&str, usize>, member: &str) -> bool {
    let Some(left) = room.get_mut(member).filter(|left| **left > 0) else { return false };
    *left -= 1;
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const IDS: [&str; 7] = ["a", "b", "c", "d", "e", "f", "gone"];

    fn willing() -> impl Strategy<Value = Willing> {
        prop_oneof![
            3 => Just(Willing::Accepting),
            1 => Just(Willing::Reluctant),
            1 => Just(Willing::Stopping),
        ]
    }

    /// Members, never the last of the ids, and owners, any of them.
    fn cluster()
    -> impl Strategy<Value = (BTreeMap<&'static str, Willing>, Vec<Option<&'static str>>)> {
        let members = prop::collection::btree_map(prop::sample::select(&IDS[..6]), willing(), 0..7);
        let owner = prop::option::of(prop::sample::select(&IDS[..]));
        (members, prop::collection::vec(owner, 0..40))
    }

    fn count(wanted: &[Option<&str>], id: &str) -> usize {
        wanted.iter().filter(|owner| **owner == Some(id)).count()
    }

    /// The fewest shards of takers that have to move for shares to be even, tried out.
    fn fewest_moves(takers: &[&str], owners: &[Option<&str>]) -> usize {
        let (least, over) = (owners.len() / takers.len(), owners.len() % takers.len());
        let choices = (0..1_u32 << takers.len()).filter(|set| set.count_ones() as usize == over);
        let moves = |set: u32| -> usize {
            let surplus = |(i, taker): (usize, &&str)| {
                count(owners, taker).saturating_sub(least + (set >> i & 1) as usize)
            };
            takers.iter().enumerate().map(surplus).sum()
        };
        choices.map(moves).min().unwrap()
    }

    proptest! {
        #[test]
        fn shares_are_even_complete_and_move_as_little_as_can_be((members, owners) in cluster()) {
            let wanted = share(&members, &owners);
            prop_assert_eq!(wanted.len(), owners.len());
            let takers = takers(&members);
            if members.is_empty() {
                prop_assert!(wanted.iter().all(Option::is_none));
                return Ok(());
            }
            prop_assert!(wanted.iter().all(|owner| owner.is_some_and(|id| takers.contains(&id))));
            let counts: Vec<usize> = takers.iter().map(|id| count(&wanted, id)).collect();
            prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1);
            let of_takers = |owner: &Option<&str>| owner.is_some_and(|id| takers.contains(&id));
            let moved = owners.iter().zip(&wanted).filter(|(o, w)| of_takers(o) && o != w).count();
            prop_assert_eq!(moved, fewest_moves(&takers, &owners));
        }

        #[test]
        fn who_accepts_takes_all_and_if_nobody_does_all_are_alike((members, owners) in cluster()) {
            let best = members.values().max().copied();
            let takers = takers(&members);
            prop_assert!(members.iter().all(|(id, w)| (Some(*w) == best) == takers.contains(id)));
            let alike: BTreeMap<_, _> = takers.iter().map(|id| (*id, Willing::Accepting)).collect();
            prop_assert_eq!(share(&alike, &owners), share(&members, &owners));
        }

        /// A change happens shard by shard, in whatever order, and is looked at in between: no shard moves
        /// twice, and it comes to an end that stays. So masters that look at different moments agree.
        #[test]
        fn no_shard_moves_twice_in_a_change(
            (members, mut owners) in cluster(), order in prop::collection::vec(any::<u8>(), 120),
        ) {
            // What the dead had is free.
            for owner in &mut owners {
                *owner = owner.filter(|id| members.contains_key(id));
            }
            let mut moved = vec![0; owners.len()];
            for which in order.iter().cycle() {
                let wanted = share(&members, &owners);
                let left: Vec<usize> = (0..owners.len()).filter(|s| owners[*s] != wanted[*s]).collect();
                if left.is_empty() {
                    break;
                }
                let shard = left[usize::from(*which) % left.len()];
                moved[shard] += usize::from(owners[shard].is_none());
                owners[shard] = if owners[shard].is_some() { None } else { wanted[shard] };
            }
            prop_assert!(moved.iter().all(|times| *times <= 1), "{moved:?}");
        }
    }

    #[test]
    fn examples() {
        use Willing::{Accepting, Reluctant, Stopping};
        let members = |of: &[(&'static str, Willing)]| of.iter().copied().collect();
        let owners = |text: &'static str| -> Vec<Option<&str>> {
            text.split(' ').map(|id| Some(id).filter(|id| *id != "-")).collect()
        };
        for (of, before, after) in [
            (&[("a", Accepting)][..], "- - -", "a a a"),
            (&[("a", Accepting), ("b", Accepting)], "a a a a", "a a b b"),
            (&[("a", Accepting), ("b", Accepting)], "b - a b b", "b a a b b"),
            (&[("a", Stopping), ("b", Accepting), ("c", Accepting)], "a b a c a c", "b b b c c c"),
            (&[("a", Reluctant), ("b", Accepting)], "a b", "b b"),
            (&[("a", Reluctant), ("b", Reluctant)], "a b", "a b"),
            (&[("a", Reluctant), ("b", Stopping)], "a b", "a a"),
            (&[("a", Stopping)], "a -", "a a"),
            (&[("a", Accepting), ("b", Accepting)], "gone a b gone", "a a b b"),
        ] {
            assert_eq!(share(&members(of), &owners(before)), owners(after), "{of:?} {before}");
        }
    }
}
