//! The program under test.
//!
//! It is built from the sources as they are, in the profile of the test, and copied: cargo replaces what it
//! has built while this test runs and starts it again and again. `PELOTON_BIN_DIR` names a directory with a
//! `peloton-master` that is taken as it is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The root of the sources.
pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()
}

/// A `peloton-master` in `directory`.
pub(crate) fn master(directory: &Path) -> PathBuf {
    let built = match std::env::var_os("PELOTON_BIN_DIR") {
        Some(given) => Path::new(&given).join("peloton-master"),
        None => build(),
    };
    let copy = directory.join("peloton-master");
    fs::copy(&built, &copy).unwrap_or_else(|error| panic!("{}: {error}", built.display()));
    copy
}

fn build() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--locked", "--message-format=json", "--profile", &profile()])
        .args(["-p", "peloton-master", "--bins"])
        .current_dir(workspace())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the program under test cannot be built:\n{errors}");
    let messages = String::from_utf8_lossy(&output.stdout);
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .find(|path| path.ends_with("peloton-master"))
        .unwrap_or_else(|| panic!("cargo made no peloton-master"))
}

/// The profile that this test was built with, in cargo's words: the directory is called so.
fn profile() -> String {
    let program = std::env::current_exe().unwrap();
    let directory = program.ancestors().nth(2).and_then(Path::file_name).unwrap();
    match directory.to_str().unwrap() {
        "debug" => "dev".to_owned(),
        other => other.to_owned(),
    }
}
