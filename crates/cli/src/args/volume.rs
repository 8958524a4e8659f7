//! The arguments of `peloton volume`.

use clap::{Args, Subcommand, ValueEnum};

const DELETE: &str = "\
Destroy a volume with what is in it. One that a job's configuration mounts needs --force, and its instance \
stopped; the instance gets a new one when it is started again.";

const RELEASE: &str = "\
Give up the slot of an instance that waits for its agent because its volumes are there, or that is stopped: it \
starts elsewhere, with new and empty volumes. Should the agent come back, the old volumes are retained or destroyed as \
their policy says.";

const ADOPT: &str = "\
Let an instance go on with retained volumes: this one, and those that were retained together with it. The job has \
to be in the same shard as the one that had them, as a job of the same name always is, and the instance must not \
have a slot. So create the job, stop the instance, release its slot with `volume release`, adopt, and start the \
instance.";

#[derive(Debug, Subcommand)]
pub(crate) enum VolumeCommand {
    /// List volumes: of a job, on an agent, in a state
    List(VolumeListArgs),
    /// Show a volume
    Get(VolumeArg),
    /// Destroy a volume with what is in it
    #[command(long_about = DELETE)]
    Delete(VolumeDeleteArgs),
    /// Let an instance that waits for the agent of its volumes start elsewhere, without them
    #[command(long_about = RELEASE)]
    Release(VolumeReleaseArgs),
    /// Let an instance go on with retained volumes
    #[command(long_about = ADOPT)]
    Adopt(VolumeAdoptArgs),
}

/// Where a volume is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lower")]
pub(crate) enum State {
    /// Being made
    Creating,
    /// Its content is fetched
    Filling,
    /// There for its instance
    Ready,
    /// Nothing mounts it any more
    Retained,
    /// To be destroyed
    Deleting,
}

/// A volume.
#[derive(Debug, Args)]
pub(crate) struct VolumeArg {
    /// The id of the volume
    pub(crate) volume: String,
}

#[derive(Debug, Args)]
pub(crate) struct VolumeListArgs {
    /// Only those of this job; without it, of all jobs
    pub(crate) job: Option<String>,
    /// Only those on this agent, by its host name or its id in Mesos
    #[arg(long, value_name = "AGENT", default_value = "", hide_default_value = true)]
    pub(crate) agent: String,
    /// Only those in this state
    #[arg(long, value_enum, value_name = "STATE")]
    pub(crate) state: Vec<State>,
    /// How many to list at most
    #[arg(
        long,
        default_value_t = 1000,
        value_name = "COUNT",
        value_parser = clap::value_parser!(u32).range(1..=100_000)
    )]
    pub(crate) limit: u32,
}

#[derive(Debug, Args)]
pub(crate) struct VolumeDeleteArgs {
    #[command(flatten)]
    pub(crate) volume: VolumeArg,
    /// Also where a stopped instance mounts it: that gets a new one
    #[arg(long)]
    pub(crate) force: bool,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct VolumeReleaseArgs {
    /// The id of the job
    pub(crate) job: String,
    /// The instance
    pub(crate) instance: u32,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct VolumeAdoptArgs {
    #[command(flatten)]
    pub(crate) volume: VolumeArg,
    /// The id of the job
    pub(crate) job: String,
    /// The instance
    pub(crate) instance: u32,
}
