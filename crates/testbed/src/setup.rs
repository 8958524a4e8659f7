//! Installs a real Mesos 1.11.0, once per machine and checkout.
//!
//! No distribution packages Mesos any more, but the PyPI package `mesos.scheduler` does: its
//! native module is all of libmesos, with its C++ symbols exported. It was built against OpenSSL
//! 1.0, curl's `CURL_OPENSSL_3` symbols and CPython 2.7; none of the three is used while TLS is
//! off, so small libraries with the right symbol names and versions satisfy the dynamic linker. Of curl an
//! agent uses one thing, which the library for it has: how long a file is that its fetcher is to cache.
//! Two small programs (`native/`) then run masters, agents and the container launcher from it.
//!
//! The result lives in `PELOTON_TESTBED_DIR`, or `.testbed` of the workspace: the library and its
//! stubs under `lib-<version>`, the programs and curl under `native-<stamp>`, where the stamp is made from
//! their sources. A directory appears by rename when it is complete, under a lock of its own, so
//! any number of callers may set up at once.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Error, Result};

mod debian;
mod etcd;
mod native;
mod package;
mod zookeeper;

pub use etcd::setup_etcd;
pub use zookeeper::setup_zookeeper;

/// Changes when the way of building changes without a change of the sources.
const BUILD_REVISION: u32 = 2;

/// The C and C++ sources, by file name.
const SOURCES: [(&str, &str); 4] = [
    ("curl.c", include_str!("../native/curl.c")),
    ("libmesos.hpp", include_str!("../native/libmesos.hpp")),
    ("mesos_node.cpp", include_str!("../native/mesos_node.cpp")),
    ("mesos_containerizer.cpp", include_str!("../native/mesos_containerizer.cpp")),
];

/// An installed Mesos.
#[derive(Debug, Clone)]
pub struct Installation {
    native: PathBuf,
}

impl Installation {
    /// The program that is a master or an agent.
    pub fn node_program(&self) -> PathBuf {
        self.native.join("mesos_node")
    }

    /// The program that agents start containers through.
    pub fn containerizer_program(&self) -> PathBuf {
        self.native.join("mesos_containerizer")
    }
}

/// Installs Mesos unless it is there, and says where it is.
///
/// # Errors
/// [`Error::Unavailable`] where no Mesos can be had; others when a step of the set-up fails.
pub fn setup() -> Result<Installation> {
    if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        let why = format!(
            "its package is for Linux on x86_64, and this is {} on {}",
            std::env::consts::OS,
            std::env::consts::ARCH
        );
        return Err(Error::Unavailable { why });
    }
    setup_in(&directory())
}

/// Where it is installed: `PELOTON_TESTBED_DIR`, or `.testbed` in the workspace.
pub fn directory() -> PathBuf {
    match std::env::var_os("PELOTON_TESTBED_DIR") {
        Some(directory) if !directory.is_empty() => PathBuf::from(directory),
        _ => crate::binaries::workspace().join(".testbed"),
    }
}

fn setup_in(directory: &Path) -> Result<Installation> {
    let library = directory.join(format!("lib-{}", package::VERSION));
    let native = directory.join(format!("native-{:016x}", stamp()));
    if library.is_dir() && native.is_dir() {
        return Ok(Installation { native });
    }
    fs::create_dir_all(directory).map_err(Error::path("create", directory))?;
    let directory = directory.canonicalize().map_err(Error::path("resolve", directory))?;
    let _lock = lock(&directory.join("lock"))?;
    let library = directory.join(format!("lib-{}", package::VERSION));
    let native = directory.join(format!("native-{:016x}", stamp()));
    if !library.is_dir() || !native.is_dir() {
        package::install_system_packages()?;
    }
    if !library.is_dir() {
        build_aside(&directory, &library, |aside| {
            package::fetch(aside)?;
            native::build_stubs(aside)
        })?;
    }
    if !native.is_dir() {
        build_aside(&directory, &native, |aside| {
            native::build_programs(aside, &native, &library, &SOURCES)
        })?;
    }
    Ok(Installation { native })
}

/// Fills a new directory beside `target` and gives it its name when it is complete.
fn build_aside(
    directory: &Path,
    target: &Path,
    fill: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let aside = tempfile::Builder::new()
        .prefix(".building-")
        .tempdir_in(directory)
        .map_err(Error::path("create a directory in", directory))?;
    fill(aside.path())?;
    fs::rename(aside.path(), target).map_err(Error::path("create", target))
    // What `aside` then finds under its old name is nothing, and so is its removal.
}

/// Holds the file locked until it is dropped; the system lets go when the process ends.
pub(crate) fn lock(path: &Path) -> Result<File> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(Error::path("open", path))?;
    file.lock().map_err(Error::path("lock", path))?;
    Ok(file)
}

/// A program that the system has.
fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut places = std::env::split_paths(&path).map(|directory| directory.join(program));
    places.find(|file| file.is_file())
}

/// Runs a program of the set-up; its output is part of the error when it fails.
fn run(what: &str, command: &mut Command) -> Result<Vec<u8>> {
    let output = command.output().map_err(Error::io(format!("cannot start {what}")))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let both = [output.stdout, output.stderr].concat();
    Err(Error::Program {
        program: what.to_owned(),
        status: output.status.to_string(),
        output: tail(&String::from_utf8_lossy(&both), 20),
    })
}

/// The last lines of a text.
pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// FNV-1a over everything that decides what the programs are: no more than a name is needed.
fn stamp() -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut eat = |text: &str| {
        for byte in text.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    };
    eat(package::VERSION);
    eat(&BUILD_REVISION.to_string());
    for (name, text) in SOURCES {
        eat(name);
        eat(text);
    }
    hash
}
