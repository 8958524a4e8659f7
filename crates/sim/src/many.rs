//! Many seeds on a few threads, each with a runtime of its own, and what is told of them.

use crate::trace::Lines;
use crate::world::{Outcome, Wish, run};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Lines of the trace that a failure is told with.
const LAST_LINES: usize = 60;
/// How often progress is told.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// What to simulate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Args {
    /// The first seed.
    pub from: u64,
    /// How many.
    pub seeds: u64,
    /// How many at the same time.
    pub jobs: u64,
    /// Prints the trace of each, step by step.
    pub trace: bool,
    /// Goes on after a failure.
    pub keep_going: bool,
    /// The bug that is planted, by its name; it then has to be found.
    pub bug: Option<String>,
}

impl Args {
    /// How to call the program.
    pub const USAGE: &'static str =
        "usage: [--seeds N] [--from S] [--jobs J] [--keep-going] [--bug NAME|all] | --seed S";

    /// Reads the arguments of a command line.
    ///
    /// # Errors
    /// What is wrong with them, in words.
    pub fn parse(args: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut parsed =
            Self { from: 0, seeds: 100, jobs: 2, trace: false, keep_going: false, bug: None };
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
            let number = |text: String| {
                text.parse::<u64>().map_err(|_| format!("{arg}: {text:?} is not a number"))
            };
            match arg.as_str() {
                "--seed" => {
                    (parsed.from, parsed.seeds, parsed.trace) = (number(value()?)?, 1, true);
                }
                "--from" => parsed.from = number(value()?)?,
                "--seeds" => parsed.seeds = number(value()?)?,
                "--jobs" => parsed.jobs = number(value()?)?.clamp(1, 64),
                "--keep-going" => parsed.keep_going = true,
                "--bug" => parsed.bug = Some(value()?),
                _ => return Err(format!("{arg:?} is not an argument")),
            }
        }
        Ok(parsed)
    }
}

/// Something for the caller to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// How far it is.
    Progress(String),
    /// A result.
    Line(String),
}

/// Simulates what the arguments say; whether all is as it should be.
///
/// # Errors
/// A runtime cannot be made, or a bug is asked for that is not there.
pub fn simulate(args: &Args, tell: &mut dyn FnMut(Report)) -> std::io::Result<bool> {
    if let Some(name) = &args.bug {
        return crate::bugs::hunt(name, args, tell);
    }
    if args.trace {
        let outcome = run(&Wish::of(args.from, Lines::Print))?;
        tell(Report::Line(verdict(&outcome)));
        return Ok(outcome.violation.is_none());
    }
    let begun = Instant::now();
    let mut failed = Vec::new();
    let mut simulated_ms = 0_u64;
    let done = each(args, None, tell, &mut |outcome| {
        simulated_ms += outcome.simulated_ms;
        if outcome.violation.is_some() {
            failed.push(outcome.clone());
        }
        args.keep_going || failed.is_empty()
    })?;
    failed.sort_by_key(|outcome| outcome.seed);
    for outcome in &failed {
        tell(Report::Line(verdict(outcome)));
    }
    if let Some(first) = failed.first() {
        explain(first, tell)?;
    }
    let took = begun.elapsed().as_secs_f64();
    let per_second = done as f64 / took;
    let hours = simulated_ms / 3_600_000;
    tell(Report::Line(format!(
        "{done} seeds from {}, {hours} hours simulated in {took:.1} s ({per_second:.1} seeds a \
         second), {} failed",
        args.from,
        failed.len()
    )));
    Ok(failed.is_empty())
}

/// Runs a failed seed again, for its trace.
fn explain(outcome: &Outcome, tell: &mut dyn FnMut(Report)) -> std::io::Result<()> {
    let again = run(&Wish::of(outcome.seed, Lines::Keep))?;
    tell(Report::Line(format!("\nthe end of the trace of seed {}:", outcome.seed)));
    let skipped = again.lines.len().saturating_sub(LAST_LINES);
    for line in again.lines.iter().skip(skipped) {
        tell(Report::Line(line.chars().take(400).collect()));
    }
    if again.hash != outcome.hash {
        tell(Report::Line("NOT DETERMINISTIC: the second run went otherwise".to_owned()));
    }
    tell(Report::Line(verdict(&again)));
    let seed = outcome.seed;
    tell(Report::Line(format!("replay it: cargo xtask sim --seed {seed}\n")));
    Ok(())
}

fn verdict(outcome: &Outcome) -> String {
    let Outcome { seed, hash, simulated_ms, violation, .. } = outcome;
    let verdict = violation.as_ref().map_or("well".to_owned(), |what| format!("VIOLATED {what}"));
    format!("seed {seed}: {verdict} (hash {hash:016x}, {} s simulated)", simulated_ms / 1000)
}

/// Runs seeds one after another on each thread until all are done or `look` says that it is enough;
/// how many were done.
pub(crate) fn each(
    args: &Args,
    bug: Option<crate::bugs::Planted>,
    tell: &mut dyn FnMut(Report),
    look: &mut dyn FnMut(&Outcome) -> bool,
) -> std::io::Result<u64> {
    let (next, enough) = (AtomicU64::new(0), AtomicBool::new(false));
    let (sender, receiver) = mpsc::channel();
    let begun = Instant::now();
    let (mut done, mut told) = (0_u64, begun);
    std::thread::scope(|scope| {
        for _ in 0..args.jobs {
            let (sender, next, enough) = (sender.clone(), &next, &enough);
            scope.spawn(move || {
                while !enough.load(Relaxed) {
                    let number = next.fetch_add(1, Relaxed);
                    if number >= args.seeds {
                        return;
                    }
                    let wish = Wish { bug, ..Wish::of(args.from + number, Lines::None) };
                    if sender.send(run(&wish)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for outcome in receiver {
            let outcome = outcome?;
            done += 1;
            if !look(&outcome) {
                enough.store(true, Relaxed);
            }
            if told.elapsed() >= PROGRESS_EVERY {
                told = Instant::now();
                let per_second = done as f64 / begun.elapsed().as_secs_f64();
                let text = format!("{done} of {} seeds, {per_second:.1} a second", args.seeds);
                tell(Report::Progress(text));
            }
        }
        Ok(done)
    })
}
