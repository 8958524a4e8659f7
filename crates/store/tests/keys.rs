//! The key schema: what is built can be taken apart, order is numeric, ranges hold exactly what they say.

// All of this is test code; a helper may fail like a test does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use peloton_store::keys::{self, ParsedKey};
use peloton_store::{Key, KeyRange};
use proptest::prelude::*;

const JOB: &str = "[A-Za-z0-9._-]{1,20}";

fn text(key: &Key) -> &str {
    std::str::from_utf8(key).expect("UTF-8")
}

#[test]
fn keys_look_as_documented() {
    let expected = [
        (keys::meta_schema(), "meta/schema"),
        (keys::meta_cluster(), "meta/cluster"),
        (keys::member("h-1/a"), "meta/member/h-1%2Fa"),
        (keys::owner(7), "own/0007"),
        (keys::deletions(7), "gone/0007"),
        (keys::desired_job(7, "j"), "d/0007/job/j"),
        (keys::desired_config(7, "j", 3), "d/0007/config/j/0000000003"),
        (keys::desired_upgrade(7, "j", 3), "d/0007/upgrade/j/0000000003"),
        (keys::desired_recent(7, 5, "j", 3), "d/0007/recent/18446744073709551610/j/0000000003"),
        (keys::actual_framework(7), "a/0007/framework"),
        (keys::actual_upgrade(7, "j", 3), "a/0007/upgrade/j/0000000003"),
        (keys::actual_event(7, "j", 3, 9), "a/0007/event/j/0000000003/0000000009"),
        (keys::actual_job(7, "j"), "a/0007/job/j"),
        (keys::actual_instance(7, "j", 42), "a/0007/inst/j/0000000042"),
        (keys::actual_slot(7, "j", 42, "s-1"), "a/0007/slot/j/0000000042/s-1"),
        (keys::actual_run(7, "j", 42, 5), "a/0007/run/j/0000000042/0000000005"),
        (keys::actual_agent(7, "S1/a b%é"), "a/0007/agent/S1%2Fa%20b%25%C3%A9"),
    ];
    for (key, expected) in expected {
        assert_eq!(text(&key), expected);
        assert!(keys::parse(&key).is_some(), "{expected}");
    }
}

#[test]
fn other_spellings_are_not_keys() {
    let others = [
        "",
        "meta",
        "meta/other",
        "meta/member/",
        "meta/member/a/b",
        "own/7",
        "own/00007",
        "own/+007",
        "gone/7",
        "d/0007/job/",
        "d/0007/job/a/b",
        "d/0007/job/a b",
        "d/0007/config/j/3",
        "d/0007/config/j/000000000x",
        "a/0007/frameworks",
        "a/0007/inst/j/9999999999",
        "a/0007/slot/j/0000000001/",
        "a/0007/agent/",
        "a/0007/agent/%41",
        "a/0007/agent/%2f",
        "a/0007/agent/%",
        "a/0007/agent/%ZZ",
        "a/0007/agent/%FF",
        "/a/0007/framework",
        "a/0007/agent/a b",
        "a/0007/framework/",
    ];
    for other in others {
        assert_eq!(keys::parse(other.as_bytes()), None, "{other}");
    }
    assert_eq!(keys::parse(b"own/\xff"), None);
}

#[test]
fn prefix_ranges_end_where_the_prefix_ends() {
    assert_eq!(KeyRange::prefix("a/"), KeyRange::new("a/", "a0"));
    assert_eq!(KeyRange::prefix(vec![1, 0xff]), KeyRange::new(vec![1, 0xff], vec![2]));
    assert_eq!(KeyRange::prefix(vec![0xff, 0xff]).end, None);
    assert_eq!(KeyRange::prefix(""), KeyRange::all());
    assert!(!KeyRange::prefix("a").is_empty() && KeyRange::new("b", "a").is_empty());
    let both = keys::members_and_owners();
    assert!(both.contains(&keys::member("m")) && both.contains(&keys::owner(keys::MAX_SHARD)));
    assert!(!both.contains(&keys::meta_cluster()));
    assert!(!keys::members().contains(&keys::owner(0)));
    let job = keys::actual_instances(1, "job");
    assert!(!job.contains(&keys::actual_instance(1, "job2", 0)));
    assert!(!job.contains(&keys::actual_instance(1, "job.a", 0)));
}

proptest! {
    #[test]
    fn what_is_built_can_be_taken_apart(
        shard in 0..=keys::MAX_SHARD, job in JOB, instance: u32, number in 0..=keys::MAX_NUMBER,
        slot in JOB, agent in "\\PC{1,20}",
    ) {
        let parsed = |key: Key| keys::parse(&key).expect("a key of ours");
        prop_assert_eq!(parsed(keys::member(&agent)), ParsedKey::Member { master: agent.clone() });
        prop_assert_eq!(parsed(keys::owner(shard)), ParsedKey::Owner { shard });
        prop_assert_eq!(parsed(keys::deletions(shard)), ParsedKey::Deletions { place: shard });
        prop_assert_eq!(
            parsed(keys::desired_job(shard, &job)),
            ParsedKey::DesiredJob { shard, job: job.clone() }
        );
        prop_assert_eq!(
            parsed(keys::desired_config(shard, &job, number)),
            ParsedKey::DesiredConfig { shard, job: job.clone(), version: number }
        );
        prop_assert_eq!(
            parsed(keys::actual_framework(shard)),
            ParsedKey::ActualFramework { shard }
        );
        prop_assert_eq!(
            parsed(keys::actual_job(shard, &job)),
            ParsedKey::ActualJob { shard, job: job.clone() }
        );
        prop_assert_eq!(
            parsed(keys::actual_instance(shard, &job, instance)),
            ParsedKey::ActualInstance { shard, job: job.clone(), instance }
        );
        prop_assert_eq!(
            parsed(keys::actual_slot(shard, &job, instance, &slot)),
            ParsedKey::ActualSlot { shard, job: job.clone(), instance, slot }
        );
        prop_assert_eq!(
            parsed(keys::actual_run(shard, &job, instance, number)),
            ParsedKey::ActualRun { shard, job, instance, run: number }
        );
        prop_assert_eq!(
            parsed(keys::actual_agent(shard, &agent)),
            ParsedKey::ActualAgent { shard, agent }
        );
    }

    #[test]
    fn the_order_of_keys_is_the_order_of_numbers(
        a: u32, b: u32, x in 0..=keys::MAX_NUMBER, y in 0..=keys::MAX_NUMBER, job in JOB,
    ) {
        let instance = |n| keys::actual_instance(0, &job, n);
        prop_assert_eq!(instance(a).cmp(&instance(b)), a.cmp(&b));
        let config = |n| keys::desired_config(0, &job, n);
        prop_assert_eq!(config(x).cmp(&config(y)), x.cmp(&y));
        let between = keys::actual_instances_between(0, &job, a.min(b), a.max(b));
        prop_assert_eq!(between.contains(&instance(a.min(b))), a != b);
        prop_assert!(!between.contains(&instance(a.max(b))));
        prop_assert!(keys::actual_instances(0, &job).contains(&instance(a)));
        prop_assert!(keys::actual(0).contains(&instance(a)));
        prop_assert!(!keys::actual(1).contains(&instance(a)));
        prop_assert!(!keys::desired(0).contains(&instance(a)));
    }
}
