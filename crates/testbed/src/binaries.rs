//! Finds the Rust programs that agents and the library start, and builds them when need be.
//!
//! Tests of other crates depend on this library, which does not make cargo build its programs.
//! So they are looked for beside the running program (`target/debug`, `target/debug/deps/..`); if
//! they are missing there, or older than a source of them, `cargo build` makes them, in the
//! target directory that the caller uses. `PELOTON_TESTBED_BIN_DIR` names a directory that is
//! taken as it is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use crate::error::{Error, Result};
use crate::setup::{directory, lock, tail};

/// The programs of this crate that run beside Mesos.
#[derive(Debug, Clone)]
pub struct Binaries {
    /// `mesos-executor`.
    pub executor: PathBuf,
    /// `mesos-fetcher`.
    pub fetcher: PathBuf,
    /// `peloton-testbed`, for the guard.
    pub testbed: PathBuf,
}

impl Binaries {
    fn below(directory: &Path) -> Option<Self> {
        let found = Self {
            executor: directory.join("mesos-executor"),
            fetcher: directory.join("mesos-fetcher"),
            testbed: directory.join("peloton-testbed"),
        };
        found.all().iter().all(|path| path.is_file()).then_some(found)
    }

    fn all(&self) -> [&Path; 3] {
        [&self.executor, &self.fetcher, &self.testbed]
    }

    fn are_newer_than(&self, sources: SystemTime) -> bool {
        self.all().iter().all(|path| {
            fs::metadata(path).and_then(|meta| meta.modified()).is_ok_and(|time| time >= sources)
        })
    }
}

/// The root of the workspace that this crate was built in.
pub(crate) fn workspace() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.ancestors().nth(2).unwrap_or(manifest).to_path_buf()
}

/// Finds the programs, and builds them if they are missing or stale.
///
/// # Errors
/// When cargo cannot build them.
pub fn locate() -> Result<Binaries> {
    if let Some(given) = std::env::var_os("PELOTON_TESTBED_BIN_DIR") {
        return Binaries::below(Path::new(&given)).ok_or_else(|| Error::Option {
            field: "PELOTON_TESTBED_BIN_DIR",
            value: given.to_string_lossy().into_owned(),
            allowed: "a directory with mesos-executor, mesos-fetcher and peloton-testbed"
                .to_owned(),
        });
    }
    let source = newest_source();
    if let Some(found) = beside_this_program(source) {
        return Ok(found);
    }
    let directory = directory();
    fs::create_dir_all(&directory).map_err(Error::path("create", &directory))?;
    // Many test programs come here at once; the first builds for all.
    let _lock = lock(&directory.join("cargo-lock"))?;
    match beside_this_program(source) {
        Some(found) => Ok(found),
        None => build(),
    }
}

fn beside_this_program(source: Option<SystemTime>) -> Option<Binaries> {
    let program = std::env::current_exe().ok()?;
    let found = program.ancestors().skip(1).take(2).find_map(Binaries::below)?;
    match source {
        Some(time) => found.are_newer_than(time).then_some(found),
        // No sources on this machine: what is there is what there is.
        None => Some(found),
    }
}

fn newest_source() -> Option<SystemTime> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut newest = fs::metadata(manifest.join("Cargo.toml")).ok()?.modified().ok()?;
    let mut pending = vec![manifest.join("src"), manifest.join("../task-runner/src")];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory).ok()?.flatten() {
            let meta = entry.metadata().ok()?;
            if meta.is_dir() {
                pending.push(entry.path());
            } else {
                newest = newest.max(meta.modified().ok()?);
            }
        }
    }
    Some(newest)
}

fn build() -> Result<Binaries> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--quiet", "-p", "peloton-testbed", "--bins", "--message-format=json"])
        .current_dir(workspace())
        .output()
        .map_err(Error::io("cannot start cargo to build mesos-executor and mesos-fetcher"))?;
    let failed = |why: String| Error::Program {
        program: "cargo build -p peloton-testbed --bins".to_owned(),
        status: output.status.to_string(),
        output: why,
    };
    if !output.status.success() {
        return Err(failed(tail(&String::from_utf8_lossy(&output.stderr), 30)));
    }
    let built: Vec<PathBuf> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .collect();
    let named = |name: &str| built.iter().find(|path| path.ends_with(name)).cloned();
    match (named("mesos-executor"), named("mesos-fetcher"), named("peloton-testbed")) {
        (Some(executor), Some(fetcher), Some(testbed)) => {
            // Cargo leaves the time of a program alone when it finds it fresh although a source was
            // touched; the next caller should see that it was looked at.
            for path in [&executor, &fetcher, &testbed] {
                let now = SystemTime::now();
                let _ = fs::File::open(path).and_then(|file| file.set_modified(now));
            }
            Ok(Binaries { executor, fetcher, testbed })
        }
        _ => Err(failed(format!("it named only these programs: {built:?}"))),
    }
}
