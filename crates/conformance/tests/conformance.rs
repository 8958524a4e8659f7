//! Every group of scenarios, on the real Mesos and on the simulated one.
//!
//! `CONFORMANCE_ONLY=real` or `=simulated` runs one side, `CONFORMANCE_SCENARIO=decline` those with
//! that in their names, `CONFORMANCE_SHOW=1` prints the transcripts. `UPDATE_GOLDEN=1` keeps what
//! the real Mesos said.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test ends at what it did not expect, and shows what it sees"
)]

use std::fmt::Write as _;
use std::path::Path;

use peloton_conformance::{
    GROUPS, Group, Outcome, Real, Sabotage, Simulated, Target, compare, keep, run_group,
};

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn wanted(side: &str) -> bool {
    variable("CONFORMANCE_ONLY").is_none_or(|only| only == side)
}

fn run(group: &Group, target: &mut dyn Target, side: &str) -> Vec<Outcome> {
    let show = variable("CONFORMANCE_SHOW").is_some();
    let filter = variable("CONFORMANCE_SCENARIO");
    run_group(group, target, filter.as_deref(), |outcome| {
        let failed = outcome.error.as_deref().unwrap_or_default();
        println!("{side} {}/{}: {:?} {failed}", group.name, outcome.name, outcome.took);
        if show {
            println!("{}", outcome.transcript);
        }
    })
}

fn on_the_real_mesos(group: &Group) -> Vec<String> {
    if !wanted("real") || peloton_testbed::require().is_none() {
        return Vec::new();
    }
    let group_executor = Path::new(env!("CARGO_BIN_EXE_conformance-group-executor"));
    let mut target = Real::start(&group.cluster, group_executor).unwrap();
    let outcomes = run(group, &mut target, "real");
    if variable("UPDATE_GOLDEN").is_some() {
        keep(group, &outcomes).unwrap();
    }
    compare(group, "the real Mesos now", &outcomes)
}

fn on_the_simulated_mesos(group: &Group) -> Vec<String> {
    if !wanted("simulated") {
        return Vec::new();
    }
    let guard = Path::new(env!("CARGO_BIN_EXE_conformance-guard"));
    let mut target = Simulated::start(&group.cluster, guard).unwrap();
    let outcomes = run(group, &mut target, "simulated");
    compare(group, "the simulated Mesos", &outcomes)
}

fn conforms(name: &str) {
    let group = GROUPS.iter().find(|group| group.name == name).unwrap();
    let simulated = std::thread::spawn(|| on_the_simulated_mesos(group));
    let mut problems = on_the_real_mesos(group);
    problems.extend(simulated.join().unwrap());
    let mut text = String::new();
    for problem in &problems {
        writeln!(text, "{problem}\n").unwrap();
    }
    assert!(problems.is_empty(), "{} scenarios differ\n\n{text}", problems.len());
}

macro_rules! groups {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            conforms(stringify!($name));
        })*

        #[test]
        fn every_group_has_a_test() {
            let tests = [$(stringify!($name)),*];
            let groups: Vec<&str> = GROUPS.iter().map(|group| group.name).collect();
            assert_eq!(groups, tests);
        }
    };
}

groups!(
    subscription,
    offers,
    operations,
    launches,
    tasks,
    agents,
    masters,
    drains,
    slow,
    connections,
    failover,
    operators,
    feedback,
);

/// The test of the tests: a simulated Mesos that breaks a rule fails, by scenarios that are about it.
#[test]
fn sabotage_is_found() {
    let cases = [
        (Sabotage::OfferReservedToOthers, "operations", "reservations_stay_with_their_role"),
        (Sabotage::AcceptAnyStreamId, "subscription", "stream_ids"),
        (Sabotage::StopAtFailedOperation, "operations", "order_in_one_accept"),
        (Sabotage::SwallowFailures, "operations", "order_in_one_accept"),
        (Sabotage::ForgetReservationsAtRestart, "agents", "machine_dies"),
        (Sabotage::MergeDifferentLabels, "operations", "labels_keep_reservations_apart"),
    ];
    let found = cases.map(|(sabotage, group, scenario)| {
        std::thread::spawn(move || {
            let group = GROUPS.iter().find(|one| one.name == group).unwrap();
            let guard = Path::new(env!("CARGO_BIN_EXE_conformance-guard"));
            let problems = |sabotage| {
                let mut target =
                    Simulated::start_sabotaged(&group.cluster, guard, sabotage).unwrap();
                let outcomes = run_group(group, &mut target, Some(scenario), |_| {});
                assert_eq!(outcomes.len(), 1, "{scenario}");
                compare(group, "the sabotaged Mesos", &outcomes)
            };
            let clean: Vec<String> = problems(None);
            assert!(clean.is_empty(), "{scenario} without sabotage: {clean:?}");
            (sabotage, !problems(Some(sabotage)).is_empty())
        })
    });
    for one in found {
        let (sabotage, found) = one.join().unwrap();
        assert!(found, "{sabotage:?} was not found");
    }
}
