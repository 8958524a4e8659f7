//! A real etcd: the one of the system, or the one of Debian's package, unpacked beside Mesos.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{build_aside, directory, lock, run};
use crate::error::{Error, Result};

/// The package that has the server.
const PACKAGE: &str = "etcd-server";

/// The program in the unpacked package.
const PROGRAM: &str = "usr/bin/etcd";

/// Names a program that is taken as it is.
const GIVEN: &str = "PELOTON_ETCD";

/// Finds etcd, and installs it if there is none: `PELOTON_ETCD`, else `etcd` on the path, else Debian's
/// package, which is downloaded and unpacked and needs no root. No service is started.
///
/// # Errors
/// [`Error::NoEtcd`] where none can be had; others when a step fails.
pub fn setup_etcd() -> Result<PathBuf> {
    if let Some(given) = std::env::var_os(GIVEN) {
        return Ok(PathBuf::from(given));
    }
    if let Some(found) = on_path() {
        return Ok(found);
    }
    let directory = directory();
    let target = directory.join(PACKAGE);
    let program = target.join(PROGRAM);
    if program.is_file() {
        return Ok(program);
    }
    fs::create_dir_all(&directory).map_err(Error::path("create", &directory))?;
    let directory = directory.canonicalize().map_err(Error::path("resolve", &directory))?;
    let _lock = lock(&directory.join("lock"))?;
    if !program.is_file() {
        build_aside(&directory, &target, unpack)?;
    }
    Ok(program)
}

fn on_path() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join("etcd")).find(|file| file.is_file())
}

fn unpack(target: &Path) -> Result<()> {
    let scratch = tempfile::tempdir().map_err(Error::io("cannot create a temporary directory"))?;
    let no_etcd = |error: Error| Error::NoEtcd { why: error.to_string() };
    // With the system's lists, where it has some; else with lists of our own.
    let with_system = download(scratch.path(), &[]);
    if with_system.is_err() {
        let lists = private_lists(scratch.path())?;
        let mut update = apt(scratch.path(), &lists);
        run("apt-get update", update.args(["update", "-qq"])).map_err(no_etcd)?;
        download(scratch.path(), &lists).map_err(no_etcd)?;
    }
    let entries = fs::read_dir(scratch.path()).map_err(Error::path("read", scratch.path()))?;
    let mut files = entries.flatten().map(|entry| entry.path());
    let package = files.find(|path| path.extension().is_some_and(|extension| extension == "deb"));
    let package = package
        .ok_or_else(|| Error::NoEtcd { why: format!("apt-get left no file of {PACKAGE}") })?;
    run("dpkg-deb", Command::new("dpkg-deb").arg("-x").arg(package).arg(target))?;
    Ok(())
}

fn download(scratch: &Path, options: &[String]) -> Result<()> {
    run("apt-get download", apt(scratch, options).args(["download", "-qq", PACKAGE])).map(drop)
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
