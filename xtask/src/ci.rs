//! `cargo xtask test` and `cargo xtask ci`: steps, one after another, with their times, and one line
//! at the end that a program can read.
//!
//! One profile and one set of features for building and testing: the tests, the demo and the
//! README's tour run what was built once. Lints and docs only type-check. A step that fails does
//! not keep the others from running, unless they need what it makes.

use crate::demo::ONCE;
use crate::programs::{Profile, fill_bin};
use crate::suite::{Count, Runner, count};
use crate::tools::Tool;
use crate::workspace::{cargo, root};
use crate::{bare, demo, readme, tidy, tools};
use anyhow::{Context as _, Result, bail};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// The system tests that run on the simulated Mesos, too: those that tell most about it.
const ON_BOTH: [&str; 6] =
    ["command_line::", "deletion::", "etcd_", "kills::", "placement::", "task_life::"];

/// Seeds that are simulated each time: what two cores do in about a minute.
const CI_SEEDS: &str = "400";
/// Seeds within which a planted bug has to be found.
const BUG_SEEDS: &str = "1000";

/// The name of the step with faults against a whole cluster.
const CHAOS: &str = "chaos";

/// What was run, and what came of it.
#[derive(Debug, Default)]
struct Report {
    rows: Vec<(&'static str, bool, Duration)>,
    tests: Count,
}

impl Report {
    /// Runs one step; whether it succeeded.
    fn step(&mut self, name: &'static str, work: impl FnOnce(&mut Count) -> Result<()>) -> bool {
        println!("\n=== {name}");
        let start = Instant::now();
        let mut tests = Count::default();
        let result = work(&mut tests);
        let took = start.elapsed();
        if let Err(error) = &result {
            println!("{name} failed: {error:#}");
            // A step that fails without a failed test, such as a lint, is one failure.
            tests.failed = tests.failed.max(1);
        }
        let ok = result.is_ok() && tests.failed == 0;
        self.tests += tests;
        self.rows.push((name, ok, took));
        println!("=== {name}: {} in {:.1} s", if ok { "ok" } else { "FAILED" }, took.as_secs_f64());
        ok
    }

    /// Prints the summary; the machine-readable line comes last.
    fn finish(self) -> ExitCode {
        println!("\n=== summary");
        for (name, ok, took) in &self.rows {
            println!(
                "{:<8} {:>8.1} s  {name}",
                if *ok { "ok" } else { "FAILED" },
                took.as_secs_f64()
            );
        }
        let total: Duration = self.rows.iter().map(|(_, _, took)| *took).sum();
        println!("{:<8} {:>8.1} s", "total", total.as_secs_f64());
        let Count { passed, failed } = self.tests;
        println!("{passed} passed, {failed} failed");
        if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Builds everything and runs all tests.
pub(crate) fn test() -> Result<ExitCode> {
    let mut report = Report::default();
    build_and_test(&mut report, false);
    Ok(report.finish())
}

/// Faults against a whole cluster, alone.
pub(crate) fn chaos() -> Result<ExitCode> {
    let mut report = Report::default();
    report.step(CHAOS, |tests| whole_cluster_with_faults(tests, &mut cargo()));
    Ok(report.finish())
}

/// Everything.
pub(crate) fn ci() -> Result<ExitCode> {
    let mut report = Report::default();
    report.step("tidy", |_| tidy::run());
    report.step("format", |_| checked(cargo().args(["fmt", "--all", "--check"])));
    report.step("lints", |_| {
        let mut clippy = cargo();
        clippy.args(["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"]);
        checked(&mut clippy)
    });
    report.step("simulation", |_| sim(&["--seeds", CI_SEEDS]));
    report.step("planted bugs", |_| sim(&["--bug", "all", "--seeds", BUG_SEEDS]));
    if build_and_test(&mut report, true) {
        report.step(CHAOS, |tests| {
            // What was built once.
            whole_cluster_with_faults(tests, cargo().env("PELOTON_BIN_DIR", root().join("bin")))
        });
        report.step("demo", |_| demo::run_built(&[ONCE]));
        report.step("demo on a real Mesos", |_| demo::run_built(&[ONCE, "--mesos", "real"]));
        report.step("README", |_| readme::run(false));
        report.step("bare start", |_| bare::run());
    }
    report.step("docs", |_| {
        let mut doc = cargo();
        doc.args(["doc", "--workspace", "--no-deps", "--quiet"]).env("RUSTDOCFLAGS", "-D warnings");
        checked(&mut doc)
    });
    Ok(report.finish())
}

/// The simulation, as `cargo xtask sim` runs it.
fn sim(arguments: &[&str]) -> Result<()> {
    let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
    tools::run(Tool::Sim, &arguments)
}

/// A test that takes minutes and the whole machine, and whose table of times is worth seeing.
fn whole_cluster_with_faults(tests: &mut Count, cargo: &mut Command) -> Result<()> {
    // Of the whole workspace, so that all crates have the features that they were built with.
    cargo.args(["test", "--workspace", "--test", "chaos", "--", "--ignored", "--nocapture"]);
    counted(cargo, Runner::Harness, tests)
}

/// Builds, and runs the tests; `strict` lets those fail that would say that they were skipped.
/// Whether it built.
fn build_and_test(report: &mut Report, strict: bool) -> bool {
    let built = report.step("build", |_| {
        // Tests and programs in one go: cargo gives both the same features, so nothing is
        // compiled twice.
        checked(cargo().args(["build", "--workspace", "--lib", "--bins", "--tests"]))?;
        fill_bin(Profile::Debug)
    });
    if !built {
        return false;
    }
    let runner = if has_nextest() { Runner::Nextest } else { Runner::Harness };
    let runs_tests = || {
        let mut command = cargo();
        match runner {
            Runner::Nextest => command.args(["nextest", "run"]),
            Runner::Harness => command.args(["test", "--no-fail-fast"]),
        };
        command
    };
    report.step("tests", |tests| {
        let mut command = runs_tests();
        command.args(["--workspace", "--lib", "--bins", "--tests"]);
        if strict {
            command.env("CI", "true");
        }
        counted(&mut command, runner, tests)
    });
    report.step("system tests on the simulated Mesos", |tests| {
        let mut command = runs_tests();
        command.args(["--package", "peloton-system-tests", "--test", "system", "--"]);
        command.args(ON_BOTH).env("PELOTON_TEST_MESOS", "sim");
        counted(&mut command, runner, tests)
    });
    report.step("doc tests", |tests| {
        let mut command = cargo();
        command.args(["test", "--workspace", "--doc", "--no-fail-fast"]);
        counted(&mut command, Runner::Harness, tests)
    });
    true
}

fn has_nextest() -> bool {
    let mut command = cargo();
    command.args(["nextest", "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn checked(command: &mut Command) -> Result<()> {
    crate::process::run(command)
}

/// Runs a test runner, shows its output as it comes, and counts.
fn counted(command: &mut Command, runner: Runner, tests: &mut Count) -> Result<()> {
    let shown = crate::process::shown(command);
    let (reader, writer) = std::io::pipe().context("cannot make a pipe")?;
    let errors = writer.try_clone().context("cannot share the pipe")?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(errors)
        .spawn()
        .with_context(|| format!("cannot start {shown}"))?;
    // The command keeps the pipe's other ends until they are replaced.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).context("cannot read the output")? > 0 {
        std::io::stdout().write_all(&line).context("cannot print")?;
        *tests += count(&String::from_utf8_lossy(&line), runner);
        line.clear();
    }
    let status = child.wait().with_context(|| format!("cannot wait for {shown}"))?;
    if !status.success() {
        bail!("{shown}: {status}");
    }
    Ok(())
}
