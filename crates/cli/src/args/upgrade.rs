//! The arguments of `peloton upgrade`.

use std::fmt;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::{FileArgs, WatchArgs, parse_duration};

const CREATE: &str = "\
Start an upgrade of a job to the configuration in a job file. Each instance is replaced on the agent \
where it is. What the old version needs stays reserved there until the upgrade has succeeded, so a \
failed upgrade goes back without anything else being needed.";

const WATCH: &str = "\
Show the progress of an upgrade until it ends. The exit code tells how: 0 where it succeeded, and \
others where it was rolled back, aborted, or failed. Ctrl-C ends the watching only.";

#[derive(Debug, Subcommand)]
pub(crate) enum UpgradeCommand {
    /// Start an upgrade of a job to the configuration in a job file
    #[command(long_about = CREATE)]
    Create(Box<UpgradeCreateArgs>),
    /// Show the progress of an upgrade until it ends; the exit code tells how
    #[command(long_about = WATCH)]
    Watch(UpgradeWatchArgs),
    /// Show an upgrade: how far it is, what it changes, and the instances in hand
    Get(UpgradeArg),
    /// List upgrades, the newest first
    List(UpgradeListArgs),
    /// List what happened in an upgrade
    Events(UpgradeArg),
    /// Let an upgrade wait: instances in hand are finished, no others begun
    Pause(UpgradeArg),
    /// Let a paused upgrade go on, in the direction that it had
    Resume(UpgradeWaitArgs),
    /// Go back to the version before; one that has succeeded is taken back by a new upgrade
    Rollback(UpgradeWaitArgs),
    /// End an upgrade where it is, with instances of both versions
    Abort(UpgradeAbortArgs),
}

/// An upgrade.
#[derive(Debug, Args)]
pub(crate) struct UpgradeArg {
    /// The id of the upgrade, or that of a job for the job's latest upgrade
    #[arg(value_name = "UPGRADE|JOB")]
    pub(crate) upgrade: String,
}

#[derive(Debug, Args)]
pub(crate) struct UpgradeWatchArgs {
    #[command(flatten)]
    pub(crate) upgrade: UpgradeArg,
    /// How long to wait at most; without it, as long as it takes
    #[arg(long, value_parser = parse_duration, value_name = "TIME")]
    pub(crate) watch_timeout: Option<Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct UpgradeWaitArgs {
    #[command(flatten)]
    pub(crate) upgrade: UpgradeArg,
    #[command(flatten)]
    pub(crate) watch: WatchArgs,
}

#[derive(Debug, Args)]
pub(crate) struct UpgradeAbortArgs {
    #[command(flatten)]
    pub(crate) upgrade: UpgradeArg,
    /// Finish the instances in hand first
    #[arg(long)]
    pub(crate) soft: bool,
    #[command(flatten)]
    pub(crate) watch: WatchArgs,
}

#[derive(Debug, Args)]
pub(crate) struct UpgradeListArgs {
    /// Only those of this job; without it, of all jobs
    pub(crate) job: Option<String>,
    /// How many to list at most
    #[arg(
        long,
        default_value_t = 100,
        value_name = "COUNT",
        value_parser = clap::value_parser!(u32).range(1..=100_000)
    )]
    pub(crate) limit: u32,
    /// Where to go on: the token that an answer before ended with
    #[arg(long, value_name = "TOKEN", default_value = "", hide_default_value = true)]
    pub(crate) page: String,
}

#[derive(Debug, Args)]
pub(crate) struct UpgradeCreateArgs {
    #[command(flatten)]
    pub(crate) file: FileArgs,
    #[command(flatten)]
    pub(crate) how: HowArgs,
    /// Upgrade the job only if this is its current version
    #[arg(
        long,
        visible_alias = "expected-version",
        value_name = "VERSION",
        default_value_t = 0,
        hide_default_value = true
    )]
    pub(crate) expect_version: u64,
    /// Take the place of an upgrade of the job that is under way
    #[arg(long)]
    pub(crate) replace: bool,
    /// Only say what it would do: what changes, and what becomes of the instances on which agents
    #[arg(long, conflicts_with = "watch")]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) watch: WatchArgs,
}

/// How an upgrade goes about.
#[derive(Debug, Args)]
pub(crate) struct HowArgs {
    /// How many instances are upgraded at a time, as a number or in percent of all, such as 10%; without
    /// it, all at once
    #[arg(long, value_parser = parse_batch, value_name = "COUNT|PERCENT%")]
    pub(crate) batch: Option<Batch>,
    /// How many instances may fail before the upgrade fails
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub(crate) max_failures: u32,
    /// How often the new version of one instance may fail and is tried again
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub(crate) instance_retries: u32,
    /// How long a new run may take to be up: running, and healthy where that is checked. The master's
    /// default is 5m
    #[arg(long, value_parser = parse_seconds, value_name = "TIME")]
    pub(crate) health_deadline: Option<u64>,
    /// How long it must stay up to be proven. The master's default is 10s
    #[arg(long, value_parser = parse_seconds_or_none, value_name = "TIME")]
    pub(crate) min_healthy: Option<u64>,
    /// How long an instance may wait for what its new version needs. The master's default is 5m
    #[arg(long, value_parser = parse_seconds, value_name = "TIME")]
    pub(crate) placement_deadline: Option<u64>,
    /// Leave a failed upgrade where it is, instead of going back
    #[arg(long)]
    pub(crate) no_rollback: bool,
    /// Let it wait at once, until it is resumed
    #[arg(long)]
    pub(crate) start_paused: bool,
    /// End all instances before the first is upgraded
    #[arg(long)]
    pub(crate) stop_before: bool,
}

/// How many instances are upgraded at a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Batch {
    Count(i32),
    Percent(f64),
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

/// Reads `5` or `10%`.
fn parse_batch(text: &str) -> Result<Batch, String> {
    let batch = match text.strip_suffix('%') {
        // Signs and exponents are numbers to Rust, and slips of the hand to us.
        Some(percent) if percent.bytes().all(|b| b.is_ascii_digit() || b == b'.') => {
            percent.parse().ok().filter(|p| *p > 0.0 && *p <= 100.0).map(Batch::Percent)
        }
        Some(_) => None,
        None => text.parse().ok().filter(|count| *count > 0).map(Batch::Count),
    };
    batch.ok_or_else(|| {
        "expected a number of instances from 1, or more than 0% and at most 100%".to_owned()
    })
}

/// Reads a time of whole seconds.
fn parse_seconds(text: &str) -> Result<u64, String> {
    let time = parse_duration(text)?;
    match time.subsec_nanos() {
        0 => Ok(time.as_secs()),
        _ => Err("expected whole seconds, such as 10s or 5m".to_owned()),
    }
}

/// The same, where it may be none.
fn parse_seconds_or_none(text: &str) -> Result<u64, String> {
    if ["0", "0s"].contains(&text) { Ok(0) } else { parse_seconds(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches() {
        for (text, want) in [
            ("1", Batch::Count(1)),
            ("250", Batch::Count(250)),
            ("10%", Batch::Percent(10.0)),
            ("2.5%", Batch::Percent(2.5)),
            ("100%", Batch::Percent(100.0)),
        ] {
            assert_eq!(parse_batch(text), Ok(want), "{text}");
            assert_eq!(want.to_string(), text);
        }
        for text in ["", "0", "-1", "%", "0%", "101%", "-5%", "1e1%", "NaN%", "5 %", "99999999999"]
        {
            assert!(parse_batch(text).is_err(), "{text}");
        }
    }

    #[test]
    fn whole_seconds() {
        assert_eq!([parse_seconds("5m"), parse_seconds("30")], [Ok(300), Ok(30)]);
        assert_eq!(
            [parse_seconds_or_none("0"), parse_seconds_or_none("1500ms")].map(|r| r.ok()),
            [Some(0), None]
        );
        for text in ["500ms", "0", "1.5s", "x"] {
            assert!(parse_seconds(text).is_err(), "{text}");
        }
    }
}
