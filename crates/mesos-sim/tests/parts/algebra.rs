use crate::build::*;
use peloton_mesos_sim::operations::{apply, conversions};
use peloton_mesos_sim::resources::{Quantities, Resources, Value, is_strict_subrole_of};
use peloton_proto::mesos::v1;
use proptest::prelude::*;
use v1::offer::{Operation, operation};

#[test]
fn equal_resources_merge_and_others_do_not() {
    let labelled = |value| scalar("cpus", 1.0).with(reservation("a", None, Some(("slot", value))));
    let cases = [
        (scalar("cpus", 1.0), scalar("cpus", 2.0), 1),
        (scalar("cpus", 1.0), scalar("mem", 2.0), 2),
        (scalar("cpus", 1.0), scalar("cpus", 1.0).reserved("a"), 2),
        (scalar("cpus", 1.0).reserved("a"), scalar("cpus", 1.0).static_for("a"), 2),
        (scalar("cpus", 1.0).reserved("a"), scalar("cpus", 1.0).reserved("b"), 2),
        (scalar("cpus", 1.0).reserved("a"), scalar("cpus", 1.0).reserved("a").reserved("a/b"), 2),
        (labelled("1"), labelled("1"), 1),
        (labelled("1"), labelled("2"), 2),
        (
            scalar("cpus", 1.0).with(reservation("a", Some("p"), None)),
            scalar("cpus", 1.0).reserved("a"),
            2,
        ),
        (ports(&[(1, 5)]), ports(&[(6, 9)]), 1),
        (
            scalar("disk", 1.0).reserved("a").volume("v"),
            scalar("disk", 1.0).reserved("a").volume("v"),
            2,
        ),
        (scalar("disk", 1.0).reserved("a").volume("v"), scalar("disk", 1.0).reserved("a"), 2),
        (scalar("disk", 1.0).on_mount("/m"), scalar("disk", 1.0).on_mount("/m"), 2),
    ];
    for (one, other, kinds) in cases {
        let sum = resources(&[one.clone(), other.clone()]);
        assert_eq!(sum.len(), kinds, "{sum}");
        assert_eq!(sum, resources(&[other, one]));
    }
}

#[test]
fn the_order_of_labels_does_not_count_and_their_repetition_does() {
    let with = |pairs: &[(&str, &str)]| {
        let mut info = reservation("a", None, None);
        info.labels = Some(labels(pairs));
        resources(&[scalar("cpus", 1.0).with(info)])
    };
    assert_eq!(with(&[("a", "1"), ("b", "2")]), with(&[("b", "2"), ("a", "1")]));
    assert_ne!(
        with(&[("a", "1"), ("a", "1"), ("b", "2")]),
        with(&[("a", "1"), ("b", "2"), ("b", "2")])
    );
    // No labels and an empty list of them are two things.
    assert_ne!(with(&[]), resources(&[scalar("cpus", 1.0).reserved("a")]));
}

#[test]
fn copies_of_a_shared_volume_are_counted() {
    let volume = resources(&[scalar("disk", 8.0).reserved("a").volume("v").shared()]);
    let twice = &volume + &volume;
    assert_eq!(twice.len(), 1);
    assert!(twice.contains(&volume) && !volume.contains(&twice));
    assert_eq!(twice.checked_sub(&volume), Some(volume.clone()));
    assert_eq!(Quantities::of_scalars(&twice), Quantities::of(&[("disk", 8.0)]));
    assert_eq!(twice.to_proto().len(), 1, "messages know no copies");
}

#[test]
fn a_volume_is_there_as_a_whole_or_not() {
    let volume = |megabytes| resources(&[scalar("disk", megabytes).reserved("a").volume("v")]);
    assert!(volume(8.0).contains(&volume(8.0)));
    assert!(!volume(8.0).contains(&volume(4.0)));
    let twice = &volume(8.0) + &volume(8.0);
    assert!(!volume(8.0).contains(&twice));
    assert!(twice.contains(&twice.clone()));
    assert_eq!(&twice - &volume(8.0), volume(8.0));
}

#[test]
fn how_a_volume_is_mounted_does_not_tell_it_apart() {
    let mut other = scalar("disk", 8.0).reserved("a").volume("v");
    if let Some(volume) = other.disk.as_mut().and_then(|disk| disk.volume.as_mut()) {
        volume.container_path = "elsewhere".to_owned();
    }
    assert_eq!(resources(&[other]), resources(&[scalar("disk", 8.0).reserved("a").volume("v")]));
}

#[test]
fn reservations_are_for_their_role_and_those_below() {
    let all = resources(&[
        scalar("cpus", 1.0),
        scalar("cpus", 2.0).reserved("peloton"),
        scalar("cpus", 4.0).reserved("peloton").reserved("peloton/7"),
        scalar("cpus", 8.0).reserved("peloton/8"),
        scalar("cpus", 16.0).reserved("peloton7"),
    ]);
    let cpus = |part: Resources| part.scalar("cpus") / 1_000;
    assert_eq!(cpus(all.allocatable_to("peloton/7")), 7);
    assert_eq!(cpus(all.allocatable_to("peloton")), 3);
    assert_eq!(cpus(all.allocatable_to("peloton/8/x")), 11);
    assert_eq!(cpus(all.allocatable_to("other")), 1);
    assert_eq!(cpus(all.reserved_to("peloton")), 2);
    assert_eq!(cpus(all.unreserved()), 1);
    assert_eq!(cpus(all.reserved()), 30);
    assert!(is_strict_subrole_of("a/b", "a") && !is_strict_subrole_of("ab", "a"));
    assert!(!is_strict_subrole_of("a", "a"));
}

#[test]
fn subtraction_forgives_what_is_not_there_and_checked_subtraction_does_not() {
    let one = cpus_mem(1.0, 0.0);
    assert_eq!(&one - &cpus_mem(2.0, 5.0), Resources::new());
    assert_eq!(one.checked_sub(&cpus_mem(2.0, 0.0)), None);
    assert_eq!(one.checked_sub(&one.clone()), Some(Resources::new()));
}

#[test]
fn three_decimals_count() {
    let tenths = (0..10).fold(Resources::new(), |sum, _| &sum + &cpus_mem(0.1, 0.0));
    assert_eq!(tenths, cpus_mem(1.0, 0.0));
    assert_eq!(cpus_mem(0.100_4, 0.0), cpus_mem(0.1, 0.0));
}

#[test]
fn clones_are_apart() {
    let mut one = cpus_mem(1.0, 1.0);
    let other = one.clone();
    one += &cpus_mem(1.0, 1.0);
    assert_eq!(other, cpus_mem(1.0, 1.0));
    assert_eq!(one, cpus_mem(2.0, 2.0));
}

/// Whole resources of few kinds, so that they meet.
fn some_resource() -> impl Strategy<Value = v1::Resource> {
    let quantity = 1u32..5_000;
    let base = prop_oneof![
        quantity.clone().prop_map(|n| scalar("cpus", f64::from(n) / 1_000.0)),
        quantity.clone().prop_map(|n| scalar("disk", f64::from(n))),
        (0u64..40, 0u64..10).prop_map(|(first, more)| ports(&[(first, first + more)])),
        proptest::sample::subsequence(vec!["x", "y", "z"], 1..=3)
            .prop_map(|items| set("zoo", &items)),
    ];
    let stack = prop_oneof![
        Just(vec![]),
        Just(vec![reservation("a", None, None)]),
        Just(vec![reservation("a", None, None), reservation("a/b", Some("p"), None)]),
        (0u8..3).prop_map(|n| vec![reservation("a", None, Some(("slot", &n.to_string())))]),
    ];
    (base, stack, 0u8..6).prop_map(|(base, stack, id)| {
        let reserved = stack.into_iter().fold(base, With::with);
        if id < 2 && reserved.name == "disk" && !reserved.reservations.is_empty() {
            return reserved.volume(&id.to_string());
        }
        reserved
    })
}

fn some_resources() -> impl Strategy<Value = Resources> {
    proptest::collection::vec(some_resource(), 0..8).prop_map(|list| {
        let one = |resource: &v1::Resource| resources(std::slice::from_ref(resource));
        list.iter().map(one).fold(Resources::new(), |sum, one| &sum + &one)
    })
}

/// Without ranges and sets, whose members are there once at most.
fn some_scalars() -> impl Strategy<Value = Resources> {
    some_resources().prop_map(|all| all.filter(|one| matches!(one.value(), Value::Scalar(_))))
}

proptest! {
    #[test]
    fn addition_has_no_order(a in some_resources(), b in some_resources(), c in some_resources()) {
        prop_assert_eq!(&a + &b, &b + &a);
        prop_assert_eq!(&(&a + &b) + &c, &a + &(&b + &c));
        prop_assert_eq!(&a + &Resources::new(), a);
    }

    #[test]
    fn what_is_added_can_be_taken_away(a in some_scalars(), b in some_scalars()) {
        let sum = &a + &b;
        prop_assert!(sum.contains(&a) && sum.contains(&b));
        prop_assert_eq!(&sum - &b, a.clone());
        prop_assert_eq!(sum.checked_sub(&a), Some(b));
    }

    #[test]
    fn a_part_and_the_rest_are_the_whole(a in some_resources(), b in some_resources()) {
        if let Some(rest) = a.checked_sub(&b) {
            prop_assert!(a.contains(&rest));
            prop_assert_eq!(&rest + &b, a);
        }
    }

    #[test]
    fn messages_keep_everything(a in some_resources()) {
        prop_assert_eq!(&Resources::from_proto(&a.to_proto()).unwrap(), &a);
        prop_assert_eq!(&Resources::from_proto(&a.to_proto_allocated("x")).unwrap(), &a);
        prop_assert_eq!(&a.interned_in(&a.clone()), &a);
    }

    #[test]
    fn ranges_are_sets_of_numbers(
        a in proptest::collection::vec((0u64..60, 0u64..9), 0..6),
        b in proptest::collection::vec((0u64..60, 0u64..9), 0..6),
    ) {
        use std::collections::BTreeSet;
        let numbers = |list: &[(u64, u64)]| -> BTreeSet<u64> {
            list.iter().flat_map(|(first, more)| *first..=first + more).collect()
        };
        // As messages know no overlaps, one range at a time.
        let read = |list: &[(u64, u64)]| list.iter().fold(Resources::new(), |sum, (first, more)| {
            &sum + &resources(&[ports(&[(*first, first + more)])])
        });
        let members = |all: &Resources| -> BTreeSet<u64> {
            all.iter().flat_map(|one| match one.value() {
                Value::Ranges(ranges) => ranges.to_vec(),
                _ => vec![],
            }).flat_map(|(first, last)| first..=last).collect()
        };
        let (x, y) = (read(&a), read(&b));
        let (mine, theirs) = (numbers(&a), numbers(&b));
        prop_assert_eq!(members(&x), mine.clone());
        prop_assert_eq!(members(&(&x - &y)), mine.difference(&theirs).copied().collect::<BTreeSet<_>>());
        prop_assert_eq!(members(&(&x + &y)), mine.union(&theirs).copied().collect::<BTreeSet<_>>());
        prop_assert_eq!(x.contains(&y), theirs.is_subset(&mine));
    }

    #[test]
    fn operations_conserve_quantities(free in 20u32..100, part in 1u32..10, id in "[a-z]{1,5}") {
        let disk = |n: u32| scalar("disk", f64::from(n));
        let start = resources(&[disk(free), scalar("cpus", 4.0)]);
        let reserved = disk(part).reserved("a");
        let volume = reserved.clone().volume(&id);
        let mut grown = volume.clone();
        grown.scalar = Some(v1::value::Scalar { value: f64::from(part) * 2.0 });
        let steps = [
            reserve(vec![reserved.clone()]),
            create(vec![volume.clone()]),
            reserve(vec![reserved.clone()]),
            grow(volume, reserved.clone()),
            shrink(grown, f64::from(part)),
            destroy(vec![reserved.clone().volume(&id)]),
            unreserve(vec![reserved.clone(), reserved]),
        ];
        let mut now = start.clone();
        for step in steps {
            let (next, converted) = apply(&now, &step, None).unwrap();
            prop_assert_eq!(Quantities::of_scalars(&next), Quantities::of_scalars(&start));
            for conversion in converted {
                prop_assert_eq!(
                    Quantities::of_scalars(&conversion.consumed),
                    Quantities::of_scalars(&conversion.converted)
                );
            }
            now = next;
        }
        prop_assert_eq!(now, start);
    }
}

fn of_type(kind: operation::Type) -> Operation {
    let mut operation = Operation::default();
    operation.set_type(kind);
    operation
}

pub(crate) fn reserve(resources: Vec<v1::Resource>) -> Operation {
    let reserve = Some(operation::Reserve { resources, source: vec![] });
    Operation { reserve, ..of_type(operation::Type::Reserve) }
}

pub(crate) fn unreserve(resources: Vec<v1::Resource>) -> Operation {
    let unreserve = Some(operation::Unreserve { resources });
    Operation { unreserve, ..of_type(operation::Type::Unreserve) }
}

pub(crate) fn create(volumes: Vec<v1::Resource>) -> Operation {
    Operation { create: Some(operation::Create { volumes }), ..of_type(operation::Type::Create) }
}

pub(crate) fn destroy(volumes: Vec<v1::Resource>) -> Operation {
    Operation { destroy: Some(operation::Destroy { volumes }), ..of_type(operation::Type::Destroy) }
}

pub(crate) fn grow(volume: v1::Resource, addition: v1::Resource) -> Operation {
    let grow_volume = Some(Box::new(operation::GrowVolume { volume, addition }));
    Operation { grow_volume, ..of_type(operation::Type::GrowVolume) }
}

pub(crate) fn shrink(volume: v1::Resource, subtract: f64) -> Operation {
    let subtract = v1::value::Scalar { value: subtract };
    let shrink_volume = Some(Box::new(operation::ShrinkVolume { volume, subtract }));
    Operation { shrink_volume, ..of_type(operation::Type::ShrinkVolume) }
}

#[test]
fn a_reservation_is_replaced_when_there_is_a_source() {
    let mut operation = reserve(vec![scalar("cpus", 1.0).reserved("b")]);
    if let Some(reserve) = operation.reserve.as_mut() {
        reserve.source = vec![scalar("cpus", 1.0).reserved("a")];
    }
    let all = conversions(&operation).unwrap();
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].consumed, resources(&[scalar("cpus", 1.0).reserved("a")]));
    assert_eq!(all[0].converted, resources(&[scalar("cpus", 1.0).reserved("b")]));
}
