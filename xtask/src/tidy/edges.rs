//! Which crates may know which.
//!
//! The layers of the architecture exist only as long as nobody takes a short cut, and a short cut is
//! one line in a `Cargo.toml`. So every crate's dependencies on others of the workspace are in
//! [`CRATES`], and a change there is a change of the architecture that a reviewer sees. Pure crates
//! also stay away from everything that waits, connects or looks at a clock.

use anyhow::{Context as _, Result};
use serde_json::Value;
use std::collections::BTreeSet;

/// Where a crate stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layer {
    /// No async, no clock, no sockets.
    Pure,
    /// Tokio lives here.
    Shell,
    /// What is run.
    Program,
    /// What the rest is tested with.
    Confidence,
}

/// A crate: its layer, and the crates of the workspace that it may be built on (tests apart).
struct Crate {
    name: &'static str,
    layer: Layer,
    knows: &'static [&'static str],
}

const fn known(name: &'static str, layer: Layer, knows: &'static [&'static str]) -> Crate {
    Crate { name, layer, knows }
}

/// The architecture. Only the master chooses implementations: no other crate knows both the
/// contract of the store and one that keeps it.
const CRATES: &[Crate] = &[
    known("peloton-model", Layer::Pure, &[]),
    known("peloton-proto", Layer::Pure, &[]),
    known("peloton-store", Layer::Pure, &[]),
    known("peloton-placement", Layer::Pure, &["peloton-model"]),
    known("peloton-core", Layer::Pure, &["peloton-model", "peloton-placement", "peloton-store"]),
    known("peloton-mesos-wire", Layer::Pure, &["peloton-model", "peloton-core", "peloton-proto"]),
    known("peloton-mesos-sim", Layer::Pure, &["peloton-proto"]),
    known("peloton-store-embedded", Layer::Shell, &["peloton-store"]),
    known("peloton-store-etcd", Layer::Shell, &["peloton-store"]),
    known("peloton-mesos", Layer::Shell, &["peloton-mesos-wire", "peloton-proto"]),
    known(
        "peloton-node",
        Layer::Shell,
        &[
            "peloton-model",
            "peloton-core",
            "peloton-store",
            "peloton-mesos",
            "peloton-mesos-wire",
            "peloton-proto",
        ],
    ),
    known(
        "peloton-api",
        Layer::Shell,
        &["peloton-model", "peloton-proto", "peloton-store", "peloton-telemetry"],
    ),
    known("peloton-task-runner", Layer::Shell, &[]),
    known(
        "peloton-mesos-sim-server",
        Layer::Shell,
        &["peloton-mesos-sim", "peloton-proto", "peloton-task-runner"],
    ),
    known("peloton-config", Layer::Shell, &[]),
    known("peloton-telemetry", Layer::Shell, &[]),
    known("peloton-client", Layer::Shell, &["peloton-proto"]),
    known(
        "peloton-master",
        Layer::Program,
        &[
            "peloton-config",
            "peloton-telemetry",
            "peloton-store",
            "peloton-store-embedded",
            "peloton-store-etcd",
            "peloton-mesos",
            "peloton-node",
            "peloton-api",
            "peloton-model",
            "peloton-core",
        ],
    ),
    // The command line is a client, and for `minicluster` also what it is a client of, in one process
    // (decision 0015): only in `commands/minicluster`.
    known(
        "peloton",
        Layer::Program,
        &[
            "peloton-client",
            "peloton-proto",
            "peloton-model",
            "peloton-config",
            "peloton-telemetry",
            "peloton-master",
            "peloton-mesos-sim-server",
        ],
    ),
    known("peloton-testbed", Layer::Confidence, &["peloton-task-runner"]),
    known("peloton-system-tests", Layer::Confidence, &[]),
    known(
        "peloton-sim",
        Layer::Confidence,
        &[
            "peloton-model",
            "peloton-proto",
            "peloton-store",
            "peloton-core",
            "peloton-mesos-wire",
            "peloton-mesos",
            "peloton-mesos-sim",
            "peloton-node",
            "peloton-api",
        ],
    ),
    known(
        "peloton-conformance",
        Layer::Confidence,
        &["peloton-mesos-sim-server", "peloton-proto", "peloton-testbed"],
    ),
    known("peloton-chaos", Layer::Confidence, &[]),
    known("peloton-scale", Layer::Confidence, &["peloton-client", "peloton-proto"]),
    known("xtask", Layer::Confidence, &[]),
];

/// What waits, connects, or keeps files.
const IMPURE: [&str; 10] = [
    "axum",
    "hyper",
    "hyper-util",
    "redb",
    "rustix",
    "tempfile",
    "tokio",
    "tokio-stream",
    "tracing",
    "tracing-subscriber",
];

/// Pure crates that may have an impure dependency behind a feature, and why.
const OPTIONAL: [(&str, &str, &str); 1] =
    [("peloton-store", "tokio", "the suite that back ends must pass runs in their runtime")];

/// What is wrong with the dependencies of the packages in `cargo metadata`'s answer.
pub(super) fn check(metadata: &Value) -> Result<Vec<String>> {
    let packages = metadata["packages"].as_array().context("no packages")?;
    let name_of = |package: &Value| package["name"].as_str().map(str::to_owned);
    let names: BTreeSet<String> = packages.iter().filter_map(name_of).collect();
    let mut problems = Vec::new();
    for package in packages {
        let name = name_of(package).context("a package without a name")?;
        let Some(rule) = CRATES.iter().find(|rule| rule.name == name) else {
            let table = "xtask/src/tidy/edges.rs";
            problems.push(format!("{name}: it is not in the table of {table}: which layer is it?"));
            continue;
        };
        let dependencies = package["dependencies"].as_array().context("no dependencies")?;
        for dependency in dependencies {
            // Kinds are null, "dev" and "build"; tests may know more, build scripts run elsewhere.
            if dependency["kind"].is_null() {
                problems.extend(forbidden(rule, dependency, &names));
            } else if dependency["kind"] == "dev" {
                problems.extend(forbidden_in_tests(rule, dependency));
            }
        }
    }
    for rule in CRATES.iter().filter(|rule| !names.contains(rule.name)) {
        problems.push(format!("{}: it is in the table, and there is no such crate", rule.name));
    }
    Ok(problems)
}

fn forbidden(rule: &Crate, dependency: &Value, names: &BTreeSet<String>) -> Option<String> {
    let on = dependency["name"].as_str()?;
    if names.contains(on) {
        let why = format!("{} must not depend on {on}: it may know {:?}", rule.name, rule.knows);
        return (!rule.knows.contains(&on)).then_some(why);
    }
    let optional = dependency["optional"].as_bool().unwrap_or(false);
    let excepted =
        optional && OPTIONAL.iter().any(|(name, dep, _)| (*name, *dep) == (rule.name, on));
    (rule.layer == Layer::Pure && IMPURE.contains(&on) && !excepted)
        .then(|| format!("{} is pure and must not depend on {on}", rule.name))
}

/// Tests may know much, but nothing is tested through a program's insides.
fn forbidden_in_tests(rule: &Crate, dependency: &Value) -> Option<String> {
    let on = dependency["name"].as_str()?;
    let program = CRATES.iter().any(|c| c.name == on && c.layer == Layer::Program);
    program.then(|| format!("tests of {} must not depend on the program {on}", rule.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn metadata(dependencies: &Value) -> Value {
        let mut packages: Vec<Value> =
            CRATES.iter().map(|c| json!({"name": c.name, "dependencies": []})).collect();
        packages[0]["dependencies"] = dependencies.clone();
        json!({ "packages": packages })
    }

    #[test]
    fn the_table_itself_has_no_cycle() {
        // A crate may know only crates that come to an end themselves.
        fn depth(name: &str, left: usize) -> usize {
            assert!(left > 0, "{name} is part of a cycle");
            let of = CRATES.iter().find(|c| c.name == name).unwrap();
            of.knows.iter().map(|known| depth(known, left - 1)).max().unwrap_or(0) + 1
        }
        for rule in CRATES {
            assert!(depth(rule.name, CRATES.len()) > 0);
        }
    }

    #[test]
    fn pure_crates_know_only_pure_ones() {
        let layer = |name: &str| CRATES.iter().find(|c| c.name == name).unwrap().layer;
        for rule in CRATES.iter().filter(|rule| rule.layer == Layer::Pure) {
            for known in rule.knows {
                assert_eq!(layer(known), Layer::Pure, "{} knows {known}", rule.name);
            }
        }
    }

    #[test]
    fn short_cuts_are_found() {
        let found = |dependency: Value| check(&metadata(&json!([dependency]))).unwrap();
        let tokio = found(json!({"name": "tokio", "kind": null, "optional": true}));
        assert_eq!(tokio, ["peloton-model is pure and must not depend on tokio"]);
        let core = found(json!({"name": "peloton-core", "kind": null}));
        assert_eq!(core, ["peloton-model must not depend on peloton-core: it may know []"]);
        let master = found(json!({"name": "peloton-master", "kind": "dev"}));
        assert!(master[0].contains("tests of peloton-model"), "{master:?}");
        assert!(found(json!({"name": "tokio", "kind": "dev"})).is_empty());
    }

    #[test]
    fn crates_without_a_place_are_found() {
        let mut metadata = metadata(&json!([]));
        metadata["packages"][0]["name"] = json!("peloton-new");
        let problems = check(&metadata).unwrap();
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].starts_with("peloton-new: it is not in the table"));
        assert!(problems[1].starts_with("peloton-model: it is in the table"));
    }
}
