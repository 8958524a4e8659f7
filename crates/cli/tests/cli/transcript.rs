//! Runs the program and keeps what it wrote, as a terminal would show it.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// Commands and what they wrote, in a directory of their own.
pub(crate) struct Transcript {
    directory: TempDir,
    masters: String,
    /// What differs from run to run, and what stands for it.
    names: Vec<(String, &'static str)>,
    text: String,
}

impl Transcript {
    pub(crate) fn new(masters: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let names = vec![(masters.to_owned(), "MASTER")];
        Self { directory, masters: masters.to_owned(), names, text: String::new() }
    }

    /// Has `name` stand for `text`.
    pub(crate) fn name(&mut self, text: &str, name: &'static str) {
        self.names.insert(0, (text.to_owned(), name));
    }

    pub(crate) fn file(&self, name: &str, content: &str) {
        std::fs::write(self.directory.path().join(name), content).unwrap();
    }

    /// The program with arguments, to be started.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_peloton"));
        command
            .args(line.split_whitespace())
            .env_clear()
            .env("PELOTON_MASTERS", &self.masters)
            .env("USER", "ann")
            .current_dir(self.directory.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs a command and writes down what came of it. Answers the exit code.
    pub(crate) fn run(&mut self, line: &str) -> i32 {
        let output = self.command(line).output().unwrap();
        self.write_down(line, &output)
    }

    /// The same, with standard input.
    pub(crate) fn run_with(&mut self, line: &str, input: &str) -> i32 {
        let mut command = self.command(line);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        self.write_down(line, &output)
    }

    fn write_down(&mut self, line: &str, output: &Output) -> i32 {
        let code = output.status.code().expect("the program was ended by a signal");
        let mut text = format!("$ peloton {line}\n");
        text.push_str(&String::from_utf8_lossy(&output.stdout));
        for line in String::from_utf8_lossy(&output.stderr).lines() {
            let _ = writeln!(text, "! {line}");
        }
        if code != 0 {
            let _ = writeln!(text, "exit code {code}");
        }
        for (from, to) in &self.names {
            text = text.replace(from, to);
        }
        let _ = writeln!(self.text, "{text}");
        assert!(!text.contains("panicked"), "{text}");
        code
    }

    /// Compares with what is checked in.
    pub(crate) fn check(&self, name: &str) {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, &self.text).unwrap();
        }
        let want = std::fs::read_to_string(&golden).unwrap_or_default();
        let first = want.lines().zip(self.text.lines()).find(|(want, got)| want != got);
        assert!(
            want == self.text,
            "{name} differs, first in {first:?}; UPDATE_GOLDEN=1 rewrites it. Now:\n{}",
            self.text
        );
    }
}
