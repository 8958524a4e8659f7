//! A shard on virtual time, against a model of Mesos and a store that can lose what was not
//! committed: random wishes and faults from a seed, invariants after every step, and in the end
//! everything must be as asked for. `SEEDS=n` runs more seeds, `SEED=n` one, with a trace.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests: a failure is to be loud, a trace is to be printed"
)]

mod converged;
mod disks;
mod mesos;
mod upgrades;
mod volumes;
mod world;

use world::World;

/// Random steps of a run, before the faults end.
const STEPS: u32 = 1_500;

fn run(seed: u64, trace: bool) {
    let mut world = World::new(seed, trace);
    for _ in 0..STEPS {
        world.random_step();
    }
    world.settle();
    world.check_converged();
}

#[test]
fn random_faults_converge() {
    if let Ok(seed) = std::env::var("SEED") {
        return run(seed.parse().unwrap(), true);
    }
    let seeds = std::env::var("SEEDS").map_or(60, |n| n.parse().unwrap());
    let failed = (0..seeds).filter(|seed| std::panic::catch_unwind(|| run(*seed, false)).is_err());
    let failed: Vec<u64> = failed.collect();
    assert!(failed.is_empty(), "failed: {failed:?}; SEED=n cargo test -p peloton-core --test sim");
}

/// The tests are worth something only if they find what is wrong on purpose.
#[test]
fn planted_bugs_are_found() {
    for bug in [world::Bug::ActBeforeCommit, world::Bug::ForgetRelease] {
        let found = (0..60).any(|seed| {
            std::panic::catch_unwind(|| {
                let mut world = World::new(seed, false);
                world.bug = Some(bug);
                for _ in 0..STEPS {
                    world.random_step();
                }
                world.settle();
                world.check_converged();
            })
            .is_err()
        });
        assert!(found, "{bug:?} was not found in 60 seeds");
    }
}
