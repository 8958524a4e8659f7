//! `cargo xtask demo`: the README's first command.
//!
//! It builds the programs and becomes `bin/peloton minicluster --demo`, which does everything else.

use crate::process;
use crate::programs::{self, Profile};
use crate::workspace::root;
use anyhow::{Context as _, Result};
use std::io::IsTerminal as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Keeps a minicluster up that has no terminal for Ctrl-C; ours, where all others are the
/// minicluster's.
const STAY: &str = "--stay";

/// Ends it when everything was shown.
pub(crate) const ONCE: &str = "--once";

/// Builds, and becomes the minicluster: signals are its own then. Returns only with an error.
pub(crate) fn run(flags: &[String]) -> Result<()> {
    println!("building the programs: a few minutes the first time");
    programs::build(Profile::Debug)?;
    let mut command = command(flags, std::io::stdin().is_terminal());
    let shown = process::shown(&command);
    Err(command.exec()).with_context(|| format!("cannot start {shown}"))
}

/// Runs the minicluster and waits for its end; `bin/` has to be there. On free ports, so that it is
/// in nobody's way.
pub(crate) fn run_built(flags: &[&str]) -> Result<()> {
    let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
    let mut command = command(&flags, false);
    process::run(command.args(["--port", "0"]))
}

/// Whoever has no terminal would wait for ever for its end: then it is shown once, unless asked.
fn command(flags: &[String], has_terminal: bool) -> Command {
    let is_given = |wanted: &str| flags.iter().any(|flag| flag == wanted);
    let mut command = Command::new(programs::path("peloton"));
    command.args(["minicluster", "--demo"]).args(flags.iter().filter(|flag| *flag != STAY));
    if !has_terminal && !is_given(STAY) && !is_given(ONCE) {
        command.arg(ONCE);
    }
    // The examples' paths, and the program's own, are shown as seen from here.
    command.current_dir(root());
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_terminal_it_is_shown_once_unless_it_is_to_stay() {
        let shown = |line: &str, has_terminal| {
            let flags: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            process::shown(&command(&flags, has_terminal))
        };
        assert_eq!(shown("", true), "peloton minicluster --demo");
        assert_eq!(shown("", false), "peloton minicluster --demo --once");
        assert_eq!(shown("--stay", false), "peloton minicluster --demo");
        let real = "--mesos real --once";
        assert_eq!(shown(real, false), format!("peloton minicluster --demo {real}"));
    }
}
