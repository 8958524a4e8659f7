//! The programs under test, built from the sources at hand.
//!
//! Cargo does not build other packages' programs for a test, so it is asked to, once per run; with
//! nothing to do that takes it a moment. The programs are copied, since a master is started again
//! in the middle of a test, and cargo may have built another one by then. `PELOTON_BIN_DIR` names a
//! directory with programs that are taken as they are.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// `peloton-master` and `peloton`.
#[derive(Debug)]
pub(crate) struct Programs {
    pub(crate) master: PathBuf,
    pub(crate) cli: PathBuf,
}

/// The programs under test.
pub(crate) fn programs() -> &'static Programs {
    static PROGRAMS: OnceLock<Programs> = OnceLock::new();
    PROGRAMS.get_or_init(|| match std::env::var_os("PELOTON_BIN_DIR") {
        Some(given) => {
            let given = Path::new(&given);
            Programs { master: given.join("peloton-master"), cli: given.join("peloton") }
        }
        None => build(),
    })
}

/// The root of the sources.
pub(super) fn workspace() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.ancestors().nth(2).unwrap()
}

/// The profile that this program was built with, in cargo's words: the directory is called so.
fn profile() -> String {
    let program = std::env::current_exe().unwrap();
    let directory = program.ancestors().nth(2).and_then(Path::file_name).unwrap();
    match directory.to_str().unwrap() {
        "debug" => "dev".to_owned(),
        other => other.to_owned(),
    }
}

fn build() -> Programs {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--locked", "--message-format=json", "--profile", &profile()])
        .args(["-p", "peloton-master", "-p", "peloton", "--bins"])
        .current_dir(workspace())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the programs under test cannot be built:\n{errors}");
    let built: Vec<PathBuf> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .collect();
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("programs");
    fs::create_dir_all(&directory).unwrap();
    let copied = |name: &str| {
        let from = built.iter().find(|path| path.ends_with(name));
        let from = from.unwrap_or_else(|| panic!("cargo made no {name}, only {built:?}"));
        let to = directory.join(name);
        // A copy that still runs, of an earlier or parallel run, cannot be written to.
        let aside = directory.join(format!("{name}.{}", std::process::id()));
        fs::copy(from, &aside).unwrap();
        fs::rename(&aside, &to).unwrap();
        to
    };
    Programs { master: copied("peloton-master"), cli: copied("peloton") }
}
