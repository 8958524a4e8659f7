//! The programs and `bin/`.

use crate::process::run;
use crate::workspace::{cargo, root, target_directory};
use anyhow::{Context as _, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// What `bin/` holds. The last two are what agents of the testbed start.
const PROGRAMS: [&str; 5] =
    ["peloton-master", "peloton", "peloton-testbed", "mesos-executor", "mesos-fetcher"];

/// The packages that they are in.
const PACKAGES: [&str; 3] = ["peloton-master", "peloton", "peloton-testbed"];

/// How they are compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Quickly.
    Debug,
    /// Optimized.
    Release,
}

impl Profile {
    /// The one that `--release`, or its absence, asks for.
    pub(crate) fn of(release: bool) -> Self {
        if release { Self::Release } else { Self::Debug }
    }

    fn directory(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Release => "release",
        }
    }
}

/// A program in `bin/`.
pub(crate) fn path(name: &str) -> PathBuf {
    root().join("bin").join(name)
}

/// Builds the programs and fills `bin/`.
pub(crate) fn build(profile: Profile) -> Result<()> {
    let mut command = cargo();
    command.arg("build");
    for package in PACKAGES {
        command.args(["--package", package]);
    }
    if profile == Profile::Release {
        command.arg("--release");
    }
    run(&mut command)?;
    fill_bin(profile)
}

/// Puts what was built into `bin/`: as hard links, since they are large; where that cannot be, as
/// copies.
pub(crate) fn fill_bin(profile: Profile) -> Result<()> {
    let built = target_directory()?.join(profile.directory());
    let bin = root().join("bin");
    fs::create_dir_all(&bin).with_context(|| format!("cannot create {}", bin.display()))?;
    for name in PROGRAMS {
        place(&built.join(name), &bin.join(name))
            .with_context(|| format!("cannot put {name} from {} into bin", built.display()))?;
    }
    Ok(())
}

fn place(from: &Path, to: &Path) -> std::io::Result<()> {
    if to.exists() {
        fs::remove_file(to)?;
    }
    fs::hard_link(from, to).or_else(|_| fs::copy(from, to).map(|_| ()))
}
