//! Some seeds with each test run, and that a seed does the same each time. `cargo xtask sim` runs many.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests: a failure is to be loud")]

use peloton_sim::{Args, Lines, Report, Wish, run, simulate};

/// Few, as tests are built without optimization; `cargo xtask ci` runs hundreds that are.
const SEEDS: &str = "40";

#[test]
fn clusters_survive_a_day_of_faults() {
    let args = ["--seeds", SEEDS, "--keep-going"].map(str::to_owned);
    let mut told = Vec::new();
    let well = simulate(&Args::parse(args).unwrap(), &mut |report| match report {
        Report::Line(line) => told.push(line),
        Report::Progress(_) => {}
    });
    assert!(well.unwrap(), "{}", told.join("\n"));
}

#[test]
fn a_seed_does_the_same_each_time() {
    for seed in [3, 7] {
        let first = run(&Wish::of(seed, Lines::None)).unwrap();
        let again = run(&Wish::of(seed, Lines::Keep)).unwrap();
        assert_eq!((first.hash, first.simulated_ms), (again.hash, again.simulated_ms));
        assert!(first.simulated_ms >= 3_600_000, "at least an hour is simulated");
        assert!(!again.lines.is_empty());
        let other = run(&Wish::of(seed + 100, Lines::None)).unwrap();
        assert_ne!(first.hash, other.hash, "seeds differ");
    }
}

#[test]
fn what_is_wrong_on_the_command_line_is_named() {
    let said = |line: &str| Args::parse(line.split(' ').map(str::to_owned)).unwrap_err();
    assert_eq!(said("--seeds"), "--seeds needs a value");
    assert_eq!(said("--seed x"), "--seed: \"x\" is not a number");
    assert_eq!(said("--sed 1"), "\"--sed\" is not an argument");
    let one = Args::parse(["--seed", "7"].map(str::to_owned)).unwrap();
    assert!((one.from, one.seeds, one.trace) == (7, 1, true));
    let many = Args::parse(["--seeds", "9", "--from", "3"].map(str::to_owned)).unwrap();
    assert!((many.from, many.seeds, many.trace) == (3, 9, false));
}
