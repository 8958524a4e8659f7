//! Programs of the source tree that have arguments of their own: they are built, and get theirs as
//! they were given.

use crate::workspace::{cargo, target_directory};
use anyhow::Result;
use std::process::Command;

/// A program, what it needs beside it, and how it is compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tool {
    /// The scale benchmark: optimized, with the programs that it measures.
    Scale,
    /// The simulation of whole clusters: optimized, with all assertions.
    Sim,
}

impl Tool {
    /// By the name of its task.
    pub(crate) fn named(task: &str) -> Option<Self> {
        match task {
            "scale" => Some(Self::Scale),
            "sim" => Some(Self::Sim),
            _ => None,
        }
    }

    fn program(self) -> &'static str {
        match self {
            Self::Scale => "peloton-scale",
            Self::Sim => "peloton-sim",
        }
    }

    fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Scale => &["peloton-scale", "peloton-master", "peloton-mesos-sim-server"],
            Self::Sim => &["peloton-sim"],
        }
    }

    /// Bugs are planted by a feature, which only a build that is asked for one has.
    fn features(self, arguments: &[String]) -> &'static [&'static str] {
        match self {
            Self::Sim if arguments.iter().any(|argument| argument == "--bug") => {
                &["--features", "peloton-sim/planted-bugs"]
            }
            Self::Scale | Self::Sim => &[],
        }
    }

    fn profile(self) -> &'static str {
        match self {
            Self::Scale => "release",
            Self::Sim => "sim",
        }
    }
}

/// Builds a tool and runs it.
pub(crate) fn run(tool: Tool, arguments: &[String]) -> Result<()> {
    let mut build = cargo();
    build.args(["build", "--quiet", "--profile", tool.profile()]);
    for package in tool.packages() {
        build.args(["--package", package]);
    }
    build.args(tool.features(arguments));
    crate::process::run(&mut build)?;
    let program = target_directory()?.join(tool.profile()).join(tool.program());
    crate::process::run(Command::new(program).args(arguments))
}
