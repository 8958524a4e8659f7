//! Every group of scenarios, on the real Mesos and on the simulated one.
//!
//! `CONFORMANCE_ONLY=real` or `=simulated` runs one side, `CONFORMANCE_SCENARIO=decline` those with
//! that in their names, `CONFORMANCE_SHOW=1` prints the transcripts. `UPDATE_GOLDEN=1` keeps what
//! the real Mesos said.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at what it did not expect")]

use std::fmt::Write as _;
use std::path::Path;

use peloton_conformance::{
    GROUPS, Group, Outcome, Real, Simulated, Target, compare, keep, run_group,
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
    let mut target = Real::start(&group.cluster).unwrap();
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

groups!(subscription, offers, operations, launches, tasks, agents, masters, drains);
