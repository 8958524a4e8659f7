//! The PyPI package and the Debian packages that it needs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{run, tail};
use crate::error::{Error, Result};

/// The version of Mesos, as the package has it.
pub(super) const VERSION: &str = "1.11.0";

/// The name under which the library is kept.
pub(super) const LIBRARY: &str = "libmesos_all.so";

/// What libmesos links against, and what builds the programs.
const SYSTEM_PACKAGES: [&str; 7] =
    ["libsvn1", "libsasl2-2", "libsasl2-modules", "libapr1", "zlib1g", "g++", "binutils"];

/// Installs the Debian packages that are missing.
pub(super) fn install_system_packages() -> Result<()> {
    let missing: Vec<&str> =
        SYSTEM_PACKAGES.into_iter().filter(|package| !is_installed(package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !rustix::process::geteuid().is_root() && !is_allowed_sudo() {
        let why = format!(
            "Debian packages are missing and only root can install them; run: sudo apt-get install {}",
            missing.join(" ")
        );
        return Err(Error::Unavailable { why });
    }
    run("apt-get update", as_root("apt-get").args(["update", "-qq"]))
        .and_then(|_| {
            let mut install = as_root("apt-get");
            install.args(["install", "-y", "-qq"]).args(&missing);
            install.env("DEBIAN_FRONTEND", "noninteractive");
            run("apt-get install", &mut install)
        })
        .map_err(|error| Error::Unavailable {
            why: format!("cannot install the Debian packages {}: {error}", missing.join(" ")),
        })?;
    Ok(())
}

fn is_installed(package: &str) -> bool {
    let query = ["-W", "-f", "${Status}", package];
    Command::new("dpkg-query")
        .args(query)
        .output()
        .is_ok_and(|output| output.stdout.ends_with(b"ok installed"))
}

fn is_allowed_sudo() -> bool {
    Command::new("sudo").args(["-n", "true"]).output().is_ok_and(|output| output.status.success())
}

fn as_root(program: &str) -> Command {
    if rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.args(["-n", program]);
    command
}

/// Downloads the package and puts its library into `directory`.
///
/// pip unpacks the archive and then rejects it, for it is a built tree without a `setup.py`. That
/// is expected: `--no-clean` leaves the unpacked tree behind, and the library in it is what counts.
pub(super) fn fetch(directory: &Path) -> Result<()> {
    let scratch = tempfile::tempdir().map_err(Error::io("cannot create a temporary directory"))?;
    let output = Command::new("python3")
        .args(["-m", "pip", "download", "--no-clean", "--no-deps", "-q", "-d"])
        .arg(scratch.path())
        .arg(format!("mesos.scheduler=={VERSION}.linux-x86_64"))
        .env("TMPDIR", scratch.path())
        .output()
        .map_err(|error| Error::Unavailable { why: format!("python3 cannot be run: {error}") })?;
    let Some(library) = find(scratch.path(), "_scheduler.so") else {
        let said = tail(&String::from_utf8_lossy(&output.stderr), 10);
        let why = format!("pip cannot fetch mesos.scheduler {VERSION}.linux-x86_64: {said}");
        return Err(Error::Unavailable { why });
    };
    let target = directory.join(LIBRARY);
    fs::copy(&library, &target).map_err(Error::path("copy the library to", &target))?;
    Ok(())
}

fn find(directory: &Path, name: &str) -> Option<PathBuf> {
    for entry in fs::read_dir(directory).ok()?.flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if let Some(found) = find(&path, name) {
                return Some(found);
            }
        } else if entry.file_name() == name {
            return Some(path);
        }
    }
    None
}
