use crate::algebra::{create, reserve};
use crate::build::*;
use peloton_mesos_sim::AgentIndex;
use peloton_mesos_sim::allocator::{
    Allocation, Allocator, AllocatorSettings, Capabilities, FrameworkKey, FrameworkOptions, Round,
    refuse_ms,
};
use peloton_mesos_sim::operations::conversions;
use peloton_mesos_sim::resources::{Quantities, Resources};
use std::sync::Arc;

pub(crate) const ALL: Capabilities = Capabilities {
    gpu_resources: true,
    shared_resources: true,
    revocable_resources: true,
    reservation_refinement: true,
    region_aware: true,
};

pub(crate) fn options(id: u32, roles: &[&str]) -> FrameworkOptions {
    FrameworkOptions {
        id: format!("framework-{id:04}").into(),
        roles: roles.iter().map(|role| (*role).into()).collect(),
        capabilities: ALL,
        ..Default::default()
    }
}

pub(crate) const fn fw(key: u32) -> FrameworkKey {
    FrameworkKey(key)
}

pub(crate) const fn ag(index: u32) -> AgentIndex {
    AgentIndex(index)
}

pub(crate) fn allocator() -> Allocator {
    Allocator::new(AllocatorSettings { seed: 7, ..Default::default() }, 0)
}

/// With frameworks that have one role each, by their keys.
pub(crate) fn with_roles(roles: &[&str]) -> Allocator {
    let mut allocator = allocator();
    for (key, role) in (0..).zip(roles) {
        allocator.add_framework(fw(key), options(key, &[role]), true);
    }
    allocator
}

/// Who got what, sorted.
fn taken(round: &Round) -> Vec<(u32, u32, String)> {
    let one = |offer: &Allocation| (offer.framework.0, offer.agent.0, offer.resources.to_string());
    let mut all: Vec<_> = round.offers.iter().map(one).collect();
    all.sort();
    all
}

fn who(round: &Round) -> Vec<u32> {
    taken(round).into_iter().map(|(framework, ..)| framework).collect()
}

/// Declines everything.
fn decline(allocator: &mut Allocator, round: &Round, refuse_ms: Option<u64>, now_ms: u64) {
    for offer in &round.offers {
        let (role, resources) = (&offer.role, &offer.resources);
        let known =
            allocator.recover(offer.framework, role, offer.agent, resources, refuse_ms, now_ms);
        assert!(known, "{offer:?}");
    }
}

#[test]
fn a_new_agent_is_offered_at_once() {
    let mut allocator = with_roles(&["a"]);
    allocator.allocate(0);
    assert!(!allocator.is_pending());
    allocator.add_agent(ag(0), None, &cpus_mem(4.0, 64.0), &[]);
    assert_eq!(allocator.next_wake_ms(), 0);
    assert_eq!(taken(&allocator.allocate(10)), [(0, 0, "cpus:4; mem:64".to_owned())]);
    assert_eq!(allocator.allocate(1_000), Round::default(), "there is nothing left");
}

#[test]
fn which_events_allocate_at_once_and_which_wait() {
    type Event = fn(&mut Allocator);
    let at_once: [(&str, Event); 7] = [
        ("a framework", |it| it.add_framework(fw(9), options(9, &["z"]), true)),
        ("activated", |it| it.activate_framework(fw(0))),
        ("revive", |it| it.revive(fw(0), &[])),
        ("an agent", |it| it.add_agent(ag(9), None, &cpus_mem(1.0, 64.0), &[])),
        ("other resources", |it| it.update_agent(ag(0), &cpus_mem(9.0, 64.0))),
        ("attributes", |it| it.agent_attributes_changed(ag(0))),
        ("unavailability", |it| it.update_unavailability(ag(0), true)),
    ];
    let waiting: [(&str, Event); 8] = [
        ("an inactive framework", |it| it.add_framework(fw(9), options(9, &["z"]), false)),
        ("deactivated", |it| it.deactivate_framework(fw(0))),
        ("updated", |it| it.update_framework(fw(0), options(0, &["b"]))),
        ("suppress", |it| it.suppress(fw(0), &[])),
        ("removed", |it| it.remove_framework(fw(0))),
        ("agent activated", |it| it.activate_agent(ag(0))),
        ("the same resources", |it| it.update_agent(ag(0), &cpus_mem(4.0, 64.0))),
        ("recovered", |it| {
            it.recover(fw(0), "a", ag(0), &cpus_mem(4.0, 64.0), None, 0);
        }),
    ];
    for (expected, list) in [(true, &at_once[..]), (false, &waiting[..])] {
        for (name, event) in list {
            let mut allocator = with_roles(&["a"]);
            allocator.add_agent(ag(0), None, &cpus_mem(4.0, 64.0), &[]);
            assert_eq!(allocator.allocate(0).offers.len(), 1);
            event(&mut allocator);
            assert_eq!(allocator.is_pending(), expected, "{name}");
        }
    }
}

#[test]
fn what_is_recovered_is_offered_with_the_next_batch() {
    let mut allocator = with_roles(&["a"]);
    allocator.add_agent(ag(0), None, &cpus_mem(4.0, 64.0), &[]);
    let round = allocator.allocate(0);
    decline(&mut allocator, &round, None, 10);
    assert_eq!(allocator.next_wake_ms(), 1_000);
    assert_eq!(allocator.allocate(999), Round::default());
    assert_eq!(who(&allocator.allocate(1_000)), [0]);
}

#[test]
fn two_roles_share_agents_evenly() {
    let mut allocator = with_roles(&["a", "b"]);
    for agent in 0..10 {
        allocator.add_agent(ag(agent), None, &cpus_mem(4.0, 64.0), &[]);
    }
    let who = who(&allocator.allocate(0));
    assert_eq!(who.iter().filter(|key| **key == 0).count(), 5, "{who:?}");
}

#[test]
fn the_dominant_share_decides() {
    // On a cluster of 100 cpus and 1,000 of memory, 10 cpus are more than 50 of memory.
    let mut allocator = with_roles(&["a", "b"]);
    let used =
        [(fw(0), Arc::from("a"), cpus_mem(10.0, 0.0)), (fw(1), "b".into(), cpus_mem(0.0, 50.0))];
    allocator.add_agent(ag(0), None, &cpus_mem(99.0, 936.0), &used);
    allocator.deactivate_agent(ag(0));
    allocator.add_agent(ag(1), None, &cpus_mem(1.0, 64.0), &[]);
    assert_eq!(who(&allocator.allocate(0)), [1]);
}

#[test]
fn siblings_compete_before_their_children() {
    // `a/x` and `a/y` together are one sibling of `b`.
    let mut allocator = with_roles(&["a/x", "a/y", "b"]);
    for agent in 0..40 {
        allocator.add_agent(ag(agent), None, &cpus_mem(4.0, 64.0), &[]);
    }
    let who = who(&allocator.allocate(0));
    let count = |key| who.iter().filter(|other| **other == key).count();
    assert_eq!((count(0), count(1), count(2)), (10, 10, 20));
}

#[test]
fn a_role_competes_with_those_below_it() {
    let mut allocator = with_roles(&["a", "a/x", "a/y"]);
    for agent in 0..30 {
        allocator.add_agent(ag(agent), None, &cpus_mem(4.0, 64.0), &[]);
    }
    let who = who(&allocator.allocate(0));
    let count = |key| who.iter().filter(|other| **other == key).count();
    assert_eq!((count(0), count(1), count(2)), (10, 10, 10));
}

#[test]
fn frameworks_of_a_role_share_it() {
    let mut allocator = with_roles(&["a", "a", "a"]);
    for agent in 0..12 {
        allocator.add_agent(ag(agent), None, &cpus_mem(4.0, 64.0), &[]);
    }
    assert_eq!(who(&allocator.allocate(0)), [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]);
}

#[test]
fn a_refined_reservation_is_not_offered_to_the_parent_and_the_parents_is_offered_below() {
    let parents = scalar("cpus", 2.0).reserved("peloton");
    let refined = scalar("cpus", 4.0).reserved("peloton").reserved("peloton/7");
    let total = resources(&[parents, refined]);
    for (role, cpus) in [("peloton", 2), ("peloton/7", 6), ("peloton/8", 2), ("other", 0)] {
        let mut allocator = with_roles(&[role]);
        allocator.add_agent(ag(0), None, &total, &[]);
        let round = allocator.allocate(0);
        let got: i64 = round.offers.iter().map(|offer| offer.resources.scalar("cpus")).sum();
        assert_eq!(got, cpus * 1_000, "{role}");
    }
}

#[test]
fn one_agent_serves_several_roles() {
    let total = resources(&[
        scalar("cpus", 1.0),
        scalar("cpus", 2.0).reserved("a"),
        scalar("cpus", 4.0).reserved("b"),
    ]);
    let mut allocator = with_roles(&["a", "b"]);
    allocator.add_agent(ag(0), None, &total, &[]);
    let round = allocator.allocate(0);
    assert_eq!(who(&round), [0, 1]);
    let all = round.offers.iter().fold(Resources::new(), |sum, one| &sum + &one.resources);
    assert_eq!(all, total);
}

#[test]
fn a_filter_holds_for_its_time_and_at_least_one_batch() {
    for (refuse, offered_at) in [(5_000, 6_000), (1, 2_000), (5_500, 6_000)] {
        let mut allocator = with_roles(&["a"]);
        allocator.add_agent(ag(0), None, &cpus_mem(4.0, 64.0), &[]);
        let round = allocator.allocate(0);
        decline(&mut allocator, &round, Some(refuse), 0);
        let batches = (1_000..).step_by(1_000);
        let first = batches.into_iter().find(|now| !allocator.allocate(*now).offers.is_empty());
        assert_eq!(first, Some(offered_at), "refused for {refuse}");
    }
}

#[test]
fn a_filter_does_not_hold_for_more_than_was_refused_nor_for_others() {
    let mut allocator = with_roles(&["a", "b"]);
    allocator.suppress(fw(1), &[]);
    allocator.add_agent(ag(0), None, &cpus_mem(4.0, 64.0), &[]);
    let round = allocator.allocate(0);
    let part = cpus_mem(1.0, 32.0);
    assert!(allocator.recover(fw(0), "a", ag(0), &part, Some(60_000), 0));
    assert_eq!(allocator.allocate(1_000), Round::default());
    // One more of the cpus than were refused.
    let rest = round.offers[0].resources.checked_sub(&part).unwrap();
    assert!(allocator.recover(fw(0), "a", ag(0), &rest, None, 1_500));
    let round = allocator.allocate(2_000);
    assert_eq!(who(&round), [0]);
    decline(&mut allocator, &round, Some(60_000), 2_000);
    allocator.revive(fw(1), &[]);
    assert_eq!(who(&allocator.allocate(2_001)), [1], "its filters are not the other's");
}

#[test]
fn revive_removes_filters_and_suppression() {
    let mut allocator = with_roles(&["a"]);
    allocator.add_agent(ag(0), None, &cpus_mem(4.0, 64.0), &[]);
    let round = allocator.allocate(0);
    decline(&mut allocator, &round, Some(refuse_ms(Some(1e12))), 0);
    assert_eq!(allocator.allocate(100_000), Round::default());
    allocator.suppress(fw(0), &["a"]);
    allocator.revive(fw(0), &["a"]);
    let round = allocator.allocate(100_001);
    assert_eq!(who(&round), [0]);
    decline(&mut allocator, &round, Some(5_000), 100_001);
    allocator.deactivate_framework(fw(0));
    allocator.activate_framework(fw(0));
    assert_eq!(who(&allocator.allocate(100_002)), [0], "deactivation forgets filters");
}

#[test]
fn suppression_is_by_role() {
    let mut allocator = allocator();
    allocator.add_framework(fw(0), options(0, &["a", "b"]), true);
    allocator.suppress(fw(0), &["a"]);
    let total = resources(&[scalar("cpus", 1.0).reserved("a"), scalar("cpus", 2.0).reserved("b")]);
    allocator.add_agent(ag(0), None, &total, &[]);
    let round = allocator.allocate(0);
    assert_eq!(round.offers.len(), 1);
    assert_eq!(&*round.offers[0].role, "b");
    allocator.revive(fw(0), &["a"]);
    assert_eq!(&*allocator.allocate(1).offers[0].role, "a");
}

#[test]
fn whoever_is_inactive_gets_nothing() {
    let mut allocator = with_roles(&["a"]);
    allocator.deactivate_framework(fw(0));
    allocator.add_agent(ag(0), None, &cpus_mem(4.0, 64.0), &[]);
    assert_eq!(allocator.allocate(0), Round::default());
    allocator.deactivate_agent(ag(0));
    allocator.activate_framework(fw(0));
    assert_eq!(allocator.allocate(1_000), Round::default());
    allocator.activate_agent(ag(0));
    assert_eq!(who(&allocator.allocate(2_000)), [0]);
}

#[test]
fn too_little_is_not_offered() {
    let mut allocator = with_roles(&["a"]);
    allocator.add_agent(ag(0), None, &cpus_mem(0.009, 31.9), &[]);
    allocator.add_agent(ag(1), None, &cpus_mem(0.01, 0.0), &[]);
    allocator.add_agent(ag(2), None, &cpus_mem(0.0, 32.0), &[]);
    allocator.add_agent(ag(3), None, &resources(&[scalar("disk", 9.0), ports(&[(1, 9)])]), &[]);
    let agents: Vec<_> = taken(&allocator.allocate(0)).into_iter().map(|one| one.1).collect();
    assert_eq!(agents, [1, 2]);
    let mut own = options(1, &["b"]);
    own.min_allocatable.insert("b".into(), vec![Quantities::of(&[("ports", 9.0)])]);
    allocator.add_framework(fw(1), own, true);
    assert_eq!(who(&allocator.allocate(1)), [1]);
}

#[test]
fn agents_are_for_those_who_can_deal_with_them() {
    let regional = Some(Arc::from("elsewhere"));
    let refined = scalar("cpus", 1.0).static_for("a").reserved("a/b");
    let cases = [
        (resources(&[scalar("cpus", 1.0), scalar("gpus", 1.0)]), None),
        (cpus_mem(1.0, 1.0), regional),
        (resources(&[refined]), None),
    ];
    for (total, region) in cases {
        for capabilities in [Capabilities::default(), ALL] {
            let mut allocator = allocator();
            let options = FrameworkOptions { capabilities, ..options(0, &["a/b"]) };
            allocator.add_framework(fw(0), options, true);
            allocator.add_agent(ag(0), region.clone(), &total, &[]);
            let got = allocator.allocate(0).offers.len();
            assert_eq!(got == 1, capabilities == ALL, "{total}");
        }
    }
}

#[test]
fn what_was_reserved_comes_back_to_its_role() {
    let mut allocator = with_roles(&["a", "b"]);
    allocator.suppress(fw(1), &[]);
    allocator.add_agent(ag(0), None, &cpus_mem(4.0, 64.0), &[]);
    let offered = allocator.allocate(0).offers.remove(0).resources;
    let made = conversions(&reserve(vec![scalar("cpus", 3.0).reserved("a")])).unwrap();
    allocator.update_allocation(fw(0), "a", ag(0), &offered, &made).unwrap();
    let reserved = resources(&[scalar("cpus", 3.0).reserved("a")]);
    let rest = cpus_mem(1.0, 64.0);
    assert_eq!(allocator.total(ag(0)), Some(&(&reserved + &rest)));
    assert!(allocator.recover(fw(0), "a", ag(0), &reserved, None, 0));
    assert!(allocator.recover(fw(0), "a", ag(0), &rest, None, 0));
    allocator.suppress(fw(0), &[]);
    allocator.revive(fw(1), &[]);
    let round = allocator.allocate(1);
    assert_eq!(round.offers.len(), 1);
    assert_eq!(round.offers[0].resources, rest);
    allocator.revive(fw(0), &[]);
    assert_eq!(allocator.allocate(2).offers[0].resources, reserved);
}

#[test]
fn conversions_of_what_is_not_there_change_nothing() {
    let mut allocator = with_roles(&["a"]);
    allocator.add_agent(ag(0), None, &cpus_mem(4.0, 64.0), &[]);
    let offered = allocator.allocate(0).offers.remove(0).resources;
    let made = conversions(&reserve(vec![scalar("cpus", 5.0).reserved("a")])).unwrap();
    let error = allocator.update_allocation(fw(0), "a", ag(0), &offered, &made).unwrap_err();
    assert!(error.contains("does not contain"), "{error}");
    assert_eq!(allocator.total(ag(0)), Some(&cpus_mem(4.0, 64.0)));
    assert_eq!(allocator.allocated(fw(0), "a", ag(0)), Some(&offered));
    assert!(!allocator.recover(fw(0), "a", ag(0), &cpus_mem(5.0, 0.0), None, 0));
}

#[test]
fn operators_change_only_what_is_available() {
    let mut allocator = with_roles(&["a"]);
    allocator.suppress(fw(0), &[]);
    allocator.add_agent(ag(0), None, &cpus_mem(4.0, 64.0), &[]);
    let made = conversions(&reserve(vec![scalar("cpus", 3.0).reserved("x")])).unwrap();
    allocator.update_available(ag(0), &made).unwrap();
    assert_eq!(
        allocator.available(ag(0)).map(|all| all.reserved_to("x").scalar("cpus")),
        Some(3_000)
    );
    allocator.revive(fw(0), &[]);
    assert_eq!(allocator.allocate(1).offers[0].resources, cpus_mem(1.0, 64.0));
    assert!(allocator.update_available(ag(0), &made).is_err(), "it is offered");
}

#[test]
fn a_shared_volume_is_offered_while_it_is_in_use_and_counts_once() {
    let volume = scalar("disk", 10.0).reserved("a").volume("v");
    let mut allocator = with_roles(&["a", "a"]);
    allocator.suppress(fw(1), &[]);
    let reserved = scalar("disk", 10.0).reserved("a");
    allocator.add_agent(ag(0), None, &resources(&[scalar("cpus", 2.0), reserved]), &[]);
    let offered = allocator.allocate(0).offers.remove(0).resources;
    let made = conversions(&create(vec![volume.clone().shared()])).unwrap();
    allocator.update_allocation(fw(0), "a", ag(0), &offered, &made).unwrap();
    let one = scalar("cpus", 1.0);
    assert!(allocator.recover(fw(0), "a", ag(0), &resources(std::slice::from_ref(&one)), None, 0));
    allocator.suppress(fw(0), &[]);
    allocator.revive(fw(1), &[]);
    let both = resources(&[one, volume.shared()]);
    assert_eq!(allocator.allocate(1).offers[0].resources, both);
    assert_eq!(allocator.allocate(2).offers.len(), 0, "no cpus are left to go with it");
}

#[test]
fn what_a_removed_framework_had_is_offered_to_others() {
    let mut allocator = with_roles(&["a", "b"]);
    allocator.suppress(fw(1), &[]);
    allocator.add_agent(ag(0), None, &cpus_mem(4.0, 64.0), &[]);
    assert_eq!(who(&allocator.allocate(0)), [0]);
    allocator.remove_framework(fw(0));
    allocator.revive(fw(1), &[]);
    assert_eq!(who(&allocator.allocate(1)), [1]);
}

#[test]
fn a_framework_that_left_a_role_keeps_what_it_has_there() {
    let mut allocator = with_roles(&["a"]);
    allocator.add_agent(ag(0), None, &cpus_mem(4.0, 64.0), &[]);
    let all = allocator.allocate(0).offers.remove(0).resources;
    allocator.update_framework(fw(0), options(0, &["b"]));
    assert_eq!(allocator.allocated(fw(0), "a", ag(0)), Some(&all));
    assert!(allocator.recover(fw(0), "a", ag(0), &all, Some(60_000), 0));
    let round = allocator.allocate(1_000);
    assert_eq!(&*round.offers[0].role, "b");
}

#[test]
fn agents_come_back_with_what_unknown_frameworks_have() {
    let mut allocator = allocator();
    let used = [(fw(0), Arc::from("a"), cpus_mem(3.0, 32.0))];
    allocator.add_agent(ag(0), None, &cpus_mem(4.0, 64.0), &used);
    allocator.add_framework(fw(0), options(0, &["a"]), true);
    assert_eq!(allocator.allocate(0).offers[0].resources, cpus_mem(1.0, 32.0));
    assert_eq!(allocator.allocated(fw(0), "a", ag(0)), Some(&cpus_mem(4.0, 64.0)));
}

#[test]
fn an_agent_that_shrank_below_its_use_has_nothing_to_offer() {
    let mut allocator = with_roles(&["a"]);
    allocator.add_agent(ag(0), None, &cpus_mem(4.0, 64.0), &[]);
    allocator.allocate(0);
    allocator.update_agent(ag(0), &cpus_mem(2.0, 64.0));
    assert_eq!(allocator.allocate(1), Round::default());
    assert!(allocator.recover(fw(0), "a", ag(0), &cpus_mem(3.0, 0.0), None, 1));
    let round = allocator.allocate(1_000);
    assert_eq!(round.offers[0].resources, cpus_mem(1.0, 0.0));
}

#[test]
fn refuse_seconds_are_taken_as_mesos_takes_them() {
    let cases = [
        (None, 5_000),
        (Some(-1.0), 5_000),
        (Some(f64::NAN), 5_000),
        (Some(0.0), 0),
        (Some(0.5), 500),
    ];
    for (seconds, ms) in cases {
        assert_eq!(refuse_ms(seconds), ms);
    }
    assert_eq!(refuse_ms(Some(1e300)), 365 * 24 * 3_600 * 1_000);
}
