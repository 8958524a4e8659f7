//! Debian's packages, downloaded and unpacked: that needs no root, and starts no service.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::run;
use crate::error::{Error, Result};

/// Downloads packages, without what they depend on, and unpacks them all into `target`.
pub(super) fn unpack(packages: &[&str], target: &Path) -> Result<()> {
    let scratch = tempfile::tempdir().map_err(Error::io("cannot create a temporary directory"))?;
    // With the system's lists, where it has some; else with lists of our own.
    let with_system = download(packages, scratch.path(), &[]);
    if with_system.is_err() {
        let lists = private_lists(scratch.path())?;
        let mut update = apt(scratch.path(), &lists);
        run("apt-get update", update.args(["update", "-qq"]))?;
        download(packages, scratch.path(), &lists)?;
    }
    let entries = fs::read_dir(scratch.path()).map_err(Error::path("read", scratch.path()))?;
    let files = entries.flatten().map(|entry| entry.path());
    for package in files.filter(|path| path.extension().is_some_and(|name| name == "deb")) {
        run("dpkg-deb", Command::new("dpkg-deb").arg("-x").arg(package).arg(target))?;
    }
    Ok(())
}

fn download(packages: &[&str], scratch: &Path, options: &[String]) -> Result<()> {
    let mut command = apt(scratch, options);
    run("apt-get download", command.args(["download", "-qq"]).args(packages)).map(drop)
}

/// Options by which apt keeps its lists in a directory of ours.
fn private_lists(scratch: &Path) -> Result<Vec<String>> {
    let mut options = Vec::new();
    for (option, name) in [("Dir::State::lists", "lists"), ("Dir::Cache", "cache")] {
        let directory = scratch.join(name);
        for part in ["partial", "archives/partial"] {
            let part = directory.join(part);
            fs::create_dir_all(&part).map_err(Error::path("create", &part))?;
        }
        options.extend(["-o".to_owned(), format!("{option}={}", directory.display())]);
    }
    Ok(options)
}

fn apt(scratch: &Path, options: &[String]) -> Command {
    let mut command = Command::new("apt-get");
    // The user that apt becomes as root may not write to the scratch directory.
    command.current_dir(scratch).args(["-o", "APT::Sandbox::User=root"]).args(options);
    command
}
