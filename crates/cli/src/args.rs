//! The command line as clap sees it. The reference page is made from this, too.

mod upgrade;
mod volume;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};
use clap_complete::Shell;
use peloton_client::DEFAULT_PORT;

use crate::exit;
use crate::ranges::{Instances, parse_instances};

pub(crate) use upgrade::{
    Batch, HowArgs, UpgradeAbortArgs, UpgradeArg, UpgradeCommand, UpgradeCreateArgs,
    UpgradeListArgs, UpgradeWaitArgs, UpgradeWatchArgs,
};
pub(crate) use volume::{
    State as VolumeState, VolumeAdoptArgs, VolumeArg, VolumeCommand, VolumeDeleteArgs,
    VolumeListArgs, VolumeReleaseArgs,
};

const MINICLUSTER: &str = "\
Run a whole cluster on this machine, to try it out: a simulated Mesos whose tasks are processes of \
this machine, and several masters on one store. It listens on 127.0.0.1 only, stays up until Ctrl-C, \
and takes everything with it when it ends: tasks, store, sandboxes. A second Ctrl-C ends it at once.";

const DIFF: &str = "\
Show where two configurations of a job differ: the version before the current one and the current one, \
other versions that are kept, or the current one and a job file.";

const EXAMPLES: &str = "\
Examples:
  peloton job create -f examples/service.yaml --watch
  peloton job create web -f job.yaml
  peloton job list -l team=search
  peloton job status web
  peloton job restart web --instances 0-4,7 --watch
  peloton upgrade create -f job.yaml --batch 10% --watch
  peloton upgrade rollback web
  peloton task list web
  peloton task logs web 0 --follow
  peloton --masters a:5289,b:5289 -o json cluster status
  peloton minicluster --demo
";

/// What `--help` ends with.
pub(crate) fn after_help() -> String {
    let mut text = format!("{EXAMPLES}\nExit codes:\n");
    for (exit, meaning) in exit::TABLE {
        let _ = writeln!(text, "  {:>3}  {meaning}", *exit as u8);
    }
    text
}

/// Manages jobs on Peloton.
#[derive(Debug, Parser)]
#[command(name = "peloton", version, after_help = after_help(), max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// The masters, tried in turn: host:port, separated by commas
    #[arg(
        long,
        visible_alias = "master",
        global = true,
        env = "PELOTON_MASTERS",
        hide_env_values = true,
        value_delimiter = ',',
        default_value = "localhost:5289",
        value_name = "HOST:PORT,..."
    )]
    pub(crate) masters: Vec<String>,
    /// How to write what was asked for: a table for people, JSON or YAML for programs
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    pub(crate) output: Format,
    /// How long one request to the masters may take: 500ms, 30s, 5m
    #[arg(long, global = true, default_value = "30s", value_parser = parse_duration, value_name = "TIME")]
    pub(crate) timeout: Duration,
    /// Write without colours, also on a terminal; NO_COLOR does the same
    #[arg(long, global = true)]
    pub(crate) no_color: bool,
}

/// How output is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Table,
    /// For people with much room: more columns, where there are more
    Wide,
    /// One JSON document
    Json,
    /// One YAML document
    Yaml,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(flatten)]
    Client(ClientCommand),
    /// Run a whole cluster on this machine, to try it out: a simulated Mesos and several masters
    #[command(long_about = MINICLUSTER)]
    Minicluster(MiniclusterArgs),
}

/// What is done by asking masters, or by nobody else.
#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// Create, look at and change jobs
    #[command(subcommand, visible_alias = "jobs")]
    Job(JobCommand),
    /// Look at the instances of jobs
    #[command(subcommand, visible_alias = "tasks")]
    Task(TaskCommand),
    /// Take jobs to new configurations, and back
    #[command(subcommand, visible_alias = "upgrades")]
    Upgrade(UpgradeCommand),
    /// Look at volumes, and say what becomes of them
    #[command(subcommand, visible_alias = "volumes")]
    Volume(VolumeCommand),
    /// Look at the cluster
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Print completions for a shell: source <(peloton completions bash)
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Print the version of this program
    Version,
}

/// Where a minicluster's tasks run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MesosChoice {
    /// On the simulated Mesos.
    Simulated,
    /// On a real Mesos that is started for it.
    Real,
    /// On a Mesos that is there.
    At(String),
}

#[derive(Debug, Args)]
pub(crate) struct MiniclusterArgs {
    /// How many agents; their tasks are processes of this machine
    #[arg(long, default_value_t = 6, value_name = "COUNT", value_parser = value_parser!(u16).range(1..=256))]
    pub(crate) agents: u16,
    /// How many masters
    #[arg(
        long = "master-count",
        default_value_t = 3,
        value_name = "COUNT",
        value_parser = value_parser!(u16).range(1..=16)
    )]
    pub(crate) master_count: u16,
    /// Port of the first master; the others have those that follow it. 0 takes free ones
    #[arg(long, default_value_t = DEFAULT_PORT, value_name = "PORT")]
    pub(crate) port: u16,
    /// Port of Mesos; without it, 5050 if it is free, and else another. 0 takes a free one
    #[arg(long, value_name = "PORT")]
    pub(crate) mesos_port: Option<u16>,
    /// The Mesos: `sim`, the simulated one; `real`, a real one that the program peloton-testbed runs; or
    /// the host:port of one that is there
    #[arg(long, default_value = "sim", value_name = "MESOS", value_parser = parse_mesos)]
    pub(crate) mesos: MesosChoice,
    /// Keep store, logs and sandboxes here; the directory must be empty or new. Without it, they are in
    /// a temporary directory and go with the minicluster
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Create ten service and ten batch instances, wait until they are up, and show them
    #[arg(long)]
    pub(crate) demo: bool,
    /// Show the demo and end, with exit code 0 if all of it went well, and else 1
    #[arg(long)]
    pub(crate) once: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum JobCommand {
    /// Create a job from a job file
    Create(CreateArgs),
    /// Print the configuration of a job, as a job file
    Get(JobArg),
    /// List jobs
    List(ListArgs),
    /// Change what needs no upgrade, such as the number of instances
    Update(UpdateArgs),
    /// End instances, and keep them from starting again
    Stop(ActionArgs),
    /// Start instances that do not run
    Start(ActionArgs),
    /// End instances and start them again
    Restart(ActionArgs),
    /// Delete a job: end its instances, release all that is reserved for it
    Delete(DeleteArgs),
    /// Show how a job is doing, and why instances wait
    Status(JobArg),
    /// List the configuration versions of a job that are kept, the newest first
    History(HistoryArgs),
    /// Show where two configurations of a job differ
    #[command(long_about = DIFF)]
    Diff(DiffArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum TaskCommand {
    /// List the instances of a job
    List(TaskListArgs),
    /// Show one instance
    Get(TaskArg),
    /// Print what an instance wrote, read from its sandbox on the agent
    Logs(LogsArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Show masters, shards, the store and Mesos
    Status,
}

/// How a question is answered.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct ReadArgs {
    /// Take what the master has at hand: it may be behind, and is there while the store has no quorum, too
    #[arg(long)]
    pub(crate) stale: bool,
}

#[derive(Debug, Args)]
pub(crate) struct JobArg {
    /// The id of the job
    pub(crate) job: String,
    #[command(flatten)]
    pub(crate) read: ReadArgs,
}

/// Waiting for the end of what was asked for.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct WatchArgs {
    /// Wait until it is done and show the progress; Ctrl-C ends the waiting only
    #[arg(short, long)]
    pub(crate) watch: bool,
    /// How long to wait at most; without it, as long as it takes
    #[arg(long, value_parser = parse_duration, value_name = "TIME", requires = "watch")]
    pub(crate) watch_timeout: Option<Duration>,
}

/// A job file.
#[derive(Debug, Args)]
pub(crate) struct FileArgs {
    /// The id of the job; without it, the job file has an `id`
    #[arg(value_name = "ID")]
    pub(crate) job: Option<String>,
    /// The job file, YAML or JSON; - reads standard input
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Refuse a file with fields that jobs do not have, instead of warning
    #[arg(long)]
    pub(crate) strict: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    pub(crate) file: FileArgs,
    #[command(flatten)]
    pub(crate) watch: WatchArgs,
}

#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    #[command(flatten)]
    pub(crate) file: FileArgs,
    /// Change the job only if this is its current version
    #[arg(long, value_name = "VERSION", default_value_t = 0, hide_default_value = true)]
    pub(crate) expect_version: u64,
    #[command(flatten)]
    pub(crate) watch: WatchArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only jobs with this label; may be given more than once
    #[arg(short, long = "label", value_parser = parse_label, value_name = "KEY=VALUE")]
    pub(crate) labels: Vec<(String, String)>,
    #[command(flatten)]
    pub(crate) read: ReadArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ActionArgs {
    /// The id of the job
    pub(crate) job: String,
    /// Only these instances, such as 0-4,7; without it, all
    #[arg(short, long, value_parser = parse_instances, value_name = "RANGES")]
    pub(crate) instances: Option<Instances>,
    /// Only if this is the job's current version
    #[arg(
        long,
        value_name = "VERSION",
        default_value_t = 0,
        hide_default_value = true,
        conflicts_with = "instances"
    )]
    pub(crate) expect_version: u64,
    #[command(flatten)]
    pub(crate) watch: WatchArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// The id of the job
    pub(crate) job: String,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Delete the job only if this is its current version
    #[arg(long, value_name = "VERSION", default_value_t = 0, hide_default_value = true)]
    pub(crate) expect_version: u64,
    #[command(flatten)]
    pub(crate) watch: WatchArgs,
}

#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// The id of the job
    pub(crate) job: String,
    /// How many versions to list at most; without it, all that are kept
    #[arg(long, value_name = "COUNT", value_parser = value_parser!(u32).range(1..))]
    pub(crate) limit: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// The id of the job; without it, the job file has an `id`
    #[arg(required_unless_present = "file")]
    pub(crate) job: Option<String>,
    /// The version to start from; without it, the one before the other, or the current one with --file
    #[arg(long, value_name = "VERSION", value_parser = value_parser!(u64).range(1..))]
    pub(crate) from: Option<u64>,
    /// The version to go to; without it, the current one
    #[arg(long, value_name = "VERSION", value_parser = value_parser!(u64).range(1..))]
    pub(crate) to: Option<u64>,
    /// A job file to go to, YAML or JSON; - reads standard input
    #[arg(short, long, value_name = "FILE", conflicts_with = "to")]
    pub(crate) file: Option<PathBuf>,
    /// Refuse a file with fields that jobs do not have, instead of warning
    #[arg(long, requires = "file")]
    pub(crate) strict: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TaskListArgs {
    /// The id of the job
    pub(crate) job: String,
    /// Only these instances, such as 0-4,7; without it, all
    #[arg(short, long, value_parser = parse_instances, value_name = "RANGES")]
    pub(crate) instances: Option<Instances>,
    #[command(flatten)]
    pub(crate) read: ReadArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TaskArg {
    /// The id of the job
    pub(crate) job: String,
    /// The number of the instance, from 0
    pub(crate) instance: u32,
    #[command(flatten)]
    pub(crate) read: ReadArgs,
}

#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// The id of the job
    pub(crate) job: String,
    /// The number of the instance, from 0
    pub(crate) instance: u32,
    /// What was written to standard error, instead of standard output
    #[arg(long)]
    pub(crate) stderr: bool,
    /// Go on as more is written, until the run ends
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Start with the last so many lines
    #[arg(long, value_name = "LINES", conflicts_with = "offset")]
    pub(crate) tail: Option<u64>,
    /// Start after so many bytes
    #[arg(long, value_name = "BYTES")]
    pub(crate) offset: Option<u64>,
    /// An earlier run of the instance; without it, the current one
    #[arg(long, value_name = "RUN")]
    pub(crate) run: Option<u64>,
}

/// Reads `500ms`, `30s`, `30`, `5m` or `2h`; more than nothing.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let wrong = || "expected a time such as 500ms, 30s, 5m or 2h".to_owned();
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit {
        "ms" => number / 1000.0,
        "" | "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        _ => return Err(wrong()),
    };
    // A year is for ever, and the clock can still count it.
    if !(seconds > 0.0 && seconds <= 366.0 * 86400.0) {
        return Err("expected a time of more than nothing and at most a year".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

fn parse_mesos(text: &str) -> Result<MesosChoice, String> {
    match text {
        "sim" => Ok(MesosChoice::Simulated),
        "real" => Ok(MesosChoice::Real),
        _ => match text.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok_and(|p| p > 0) => {
                Ok(MesosChoice::At(text.to_owned()))
            }
            _ => Err("expected sim, real, or host:port of a Mesos master".to_owned()),
        },
    }
}

fn parse_label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected key=value".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn definitions_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations() {
        for (text, ms) in
            [("500ms", 500), ("30", 30_000), ("1.5s", 1500), ("2m", 120_000), ("1h", 3_600_000)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "s", "5x", "0", "-1", "1e9", "99999h", ".", "1 s"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn where_tasks_run() {
        assert_eq!(parse_mesos("sim"), Ok(MesosChoice::Simulated));
        assert_eq!(parse_mesos("real"), Ok(MesosChoice::Real));
        assert_eq!(parse_mesos("[::1]:5050"), Ok(MesosChoice::At("[::1]:5050".into())));
        for text in ["", "reel", ":5050", "a:", "a:0", "a:70000", "a"] {
            assert!(parse_mesos(text).is_err(), "{text}");
        }
    }

    #[test]
    fn labels() {
        assert_eq!(parse_label("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert_eq!(parse_label("a="), Ok(("a".into(), String::new())));
        assert!(parse_label("a").is_err() && parse_label("=b").is_err());
    }
}
