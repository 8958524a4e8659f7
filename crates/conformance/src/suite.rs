//! Groups of scenarios, how they are run, and how what they saw is judged.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::lab::Lab;
use crate::target::{ClusterSpec, Target};
use crate::transcript::difference;

/// One behaviour, or a few that are seen together.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// Unique in its group; also the beginning of its roles' names.
    pub name: &'static str,
    /// What it does.
    pub run: fn(&mut Lab<'_>) -> Result<()>,
}

/// Scenarios that share a cluster, one after another.
#[derive(Debug, Clone, Copy)]
pub struct Group {
    /// Unique.
    pub name: &'static str,
    /// The cluster.
    pub cluster: ClusterSpec,
    /// What runs on it, in order.
    pub scenarios: &'static [Scenario],
}

/// What a scenario saw.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Its name.
    pub name: &'static str,
    /// All that was recorded; the last line tells of an error.
    pub transcript: String,
    /// What ended it early.
    pub error: Option<String>,
    /// How long it took, without what came after it.
    pub took: Duration,
}

/// Runs the scenarios of a group, or those whose names contain `filter`, and shows each as it ends.
pub fn run_group(
    group: &Group,
    target: &mut dyn Target,
    filter: Option<&str>,
    mut show: impl FnMut(&Outcome),
) -> Vec<Outcome> {
    let chosen = group.scenarios.iter().filter(|s| filter.is_none_or(|f| s.name.contains(f)));
    let mut outcomes = Vec::new();
    for scenario in chosen {
        let begun = Instant::now();
        let outcome = match Lab::new(target, scenario.name, group.cluster.agents) {
            Err(error) => outcome(scenario, begun, String::new(), Some(error)),
            Ok(mut lab) => {
                let ended = (scenario.run)(&mut lab).err();
                let text = lab.transcript.text();
                let mut outcome = outcome(scenario, begun, text, ended);
                let cleaned = lab.clean_up().err();
                if let Some(error) = &cleaned {
                    let why = format!("what it left is in the way: {error}");
                    outcome.error.get_or_insert(why);
                }
                outcome
            }
        };
        show(&outcome);
        // Without a working cluster nothing can be learned from the rest.
        let broken = outcome.error.is_some() && Lab::new(target, "check", 0).is_err();
        outcomes.push(outcome);
        if broken {
            break;
        }
    }
    outcomes
}

fn outcome(s: &Scenario, begun: Instant, transcript: String, error: Option<Error>) -> Outcome {
    let error = error.map(|error| error.to_string());
    Outcome { name: s.name, transcript, error, took: begun.elapsed() }
}

/// Where the transcripts of the real Mesos are kept.
fn golden(group: &Group, name: &str) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden");
    root.join(group.name).join(format!("{name}.txt"))
}

/// Writes what a real Mesos said as what is expected from now on.
///
/// # Errors
/// When a file cannot be written.
pub fn keep(group: &Group, outcomes: &[Outcome]) -> Result<()> {
    for outcome in outcomes.iter().filter(|outcome| outcome.error.is_none()) {
        let path = golden(group, outcome.name);
        let failed = || Error::io(format!("cannot write {}", path.display()));
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).map_err(failed())?;
        }
        fs::write(&path, &outcome.transcript).map_err(failed())?;
    }
    Ok(())
}

/// What is wrong with the outcomes on one side, compared with the kept transcripts: a text for each
/// scenario that failed.
pub fn compare(group: &Group, side: &str, outcomes: &[Outcome]) -> Vec<String> {
    outcomes
        .iter()
        .filter_map(|outcome| {
            let path = golden(group, outcome.name);
            let title = format!("=== {}/{} on {side}", group.name, outcome.name);
            let Ok(kept) = fs::read_to_string(&path) else {
                let (error, text) =
                    (outcome.error.as_deref().unwrap_or_default(), &outcome.transcript);
                return Some(format!("{title}: no transcript is kept; {error}\n{text}"));
            };
            let difference = difference(("the real Mesos", &kept), (side, &outcome.transcript));
            match (&outcome.error, difference) {
                (None, None) => None,
                (None, Some(difference)) => Some(format!("{title}\n{difference}")),
                (Some(error), None) => Some(format!("{title}: {error}")),
                (Some(error), Some(difference)) => Some(format!("{title}: {error}\n{difference}")),
            }
        })
        .collect()
}
