//! The command line of the tasks.

use crate::tools::Tool;
use anyhow::{Result, bail};

/// What `cargo xtask help` prints.
pub(crate) const USAGE: &str = "\
Usage: cargo xtask <task>

  build [--release]   build the programs and put them into bin/
  demo [--once|--stay] [--keep]
                      a real Mesos, a master and two jobs on this machine; stays up until Ctrl-C.
                      --once  show it, and end it again (so it is without a terminal)
                      --stay  stay up without a terminal, too
                      --keep  keep logs, store and sandboxes in .peloton/demo
  test                build everything and run all tests
  ci                  all of the above, formatting, lints, style, docs and the README's commands
  tidy                style and structure: crate edges, limits, links
  readme              run the README's tour against a demo cluster
  scale [--help]      measure a master with 50,000 simulated agents and 1,000,000 instances";

/// How to demonstrate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct DemoOptions {
    /// End when everything was shown.
    pub(crate) once: bool,
    /// Stay up even when nobody sits at a terminal.
    pub(crate) stay: bool,
    /// Leave logs, store and sandboxes behind.
    pub(crate) keep: bool,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Task {
    /// Print the usage.
    Help,
    /// Fill `bin/`.
    Build { release: bool },
    /// Show Peloton on a real Mesos.
    Demo(DemoOptions),
    /// Run the README's tour.
    Readme,
    /// Check style and structure.
    Tidy,
    /// Run a program that reads its arguments itself.
    Tool(Tool, Vec<String>),
    /// Run all tests.
    Test,
    /// Run everything.
    Ci,
}

/// Reads the arguments after the program's name.
pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Task> {
    let arguments: Vec<String> = arguments.collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let Some((task, flags)) = words.split_first() else { bail!("which task?") };
    if let Some(tool) = Tool::named(task) {
        return Ok(Task::Tool(tool, arguments[1..].to_vec()));
    }
    let allowed: &[&str] = match *task {
        "build" => &["--release"],
        "demo" => &["--once", "--stay", "--keep"],
        _ => &[],
    };
    if let Some(unknown) = flags.iter().find(|flag| !allowed.contains(flag)) {
        bail!(
            "{task} does not take {unknown:?}: {}",
            match allowed {
                [] => "it takes nothing".to_owned(),
                _ => format!("it takes {}", allowed.join(", ")),
            }
        );
    }
    let has = |flag: &str| flags.contains(&flag);
    Ok(match *task {
        "help" | "-h" | "--help" => Task::Help,
        "build" => Task::Build { release: has("--release") },
        "demo" if has("--once") && has("--stay") => {
            bail!("demo: --once and --stay exclude each other")
        }
        "demo" => Task::Demo(DemoOptions {
            once: has("--once"),
            stay: has("--stay"),
            keep: has("--keep"),
        }),
        "readme" => Task::Readme,
        "tidy" => Task::Tidy,
        "test" => Task::Test,
        "ci" => Task::Ci,
        other => bail!("there is no task {other:?}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Task> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn tasks_and_their_flags() {
        let once = DemoOptions { once: true, ..DemoOptions::default() };
        assert_eq!(parsed("demo --once").unwrap(), Task::Demo(once));
        assert_eq!(parsed("build --release").unwrap(), Task::Build { release: true });
        assert_eq!(parsed("ci").unwrap(), Task::Ci);
        let arguments = vec!["--agents".to_owned(), "9".to_owned()];
        assert_eq!(parsed("scale --agents 9").unwrap(), Task::Tool(Tool::Scale, arguments));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let said = |line| parsed(line).unwrap_err().to_string();
        assert_eq!(said("ci --fast"), r#"ci does not take "--fast": it takes nothing"#);
        assert!(said("demo --onec").ends_with("it takes --once, --stay, --keep"));
        assert_eq!(said("bild"), r#"there is no task "bild""#);
        assert!(parsed("").is_err() && parsed("demo --once --stay").is_err());
    }
}
