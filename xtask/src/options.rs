//! The command line of the tasks.

use crate::tools::Tool;
use anyhow::{Result, bail};

/// What `cargo xtask help` prints.
pub(crate) const USAGE: &str = "\
Usage: cargo xtask <task>

  build [--release]   build the programs and put them into bin/
  demo [--stay] [FLAGS]
                      build, then `bin/peloton minicluster --demo`: a simulated Mesos, three
                      masters and two jobs on this machine; stays up until Ctrl-C.
                      --stay  stay up without a terminal, too (else it is shown once)
                      FLAGS are the minicluster's: --once, --mesos real, --port, --dir DIR, --help
  test                build everything and run all tests
  ci                  all of the above, formatting, lints, style, docs and the README's commands
  tidy                style and structure: crate edges, limits, links
  readme              run the README's tour against a demo cluster
  chaos               three masters, etcd and a real Mesos with kills, pauses and a network that is
                      cut, as root; PELOTON_SEED and PELOTON_CHAOS_SECS choose which and how long
  scale [--help]      measure a master with 50,000 simulated agents and 1,000,000 instances
  sim [--seeds N] [--from S] [--jobs J] [--keep-going] [--bug NAME|all] | sim --seed S
                      simulate whole clusters with faults, from seeds; --seed S is one with its
                      trace; --bug plants one that has to be found";

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Task {
    /// Print the usage.
    Help,
    /// Fill `bin/`.
    Build { release: bool },
    /// Show Peloton: the flags of the minicluster.
    Demo(Vec<String>),
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
    /// Run a whole cluster with faults.
    Chaos,
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
        // Which flags it takes is the minicluster's matter.
        "demo" => return Ok(Task::Demo(arguments[1..].to_vec())),
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
        "readme" => Task::Readme,
        "tidy" => Task::Tidy,
        "test" => Task::Test,
        "ci" => Task::Ci,
        "chaos" => Task::Chaos,
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
        let flags = ["--once", "--mesos", "real"].map(str::to_owned).to_vec();
        assert_eq!(parsed("demo --once --mesos real").unwrap(), Task::Demo(flags));
        assert_eq!(parsed("build --release").unwrap(), Task::Build { release: true });
        assert_eq!(parsed("ci").unwrap(), Task::Ci);
        assert_eq!(parsed("chaos").unwrap(), Task::Chaos);
        let arguments = vec!["--agents".to_owned(), "9".to_owned()];
        assert_eq!(parsed("scale --agents 9").unwrap(), Task::Tool(Tool::Scale, arguments));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let said = |line| parsed(line).unwrap_err().to_string();
        assert_eq!(said("ci --fast"), r#"ci does not take "--fast": it takes nothing"#);
        assert!(said("build --fast").ends_with("it takes --release"));
        assert_eq!(said("bild"), r#"there is no task "bild""#);
        assert!(parsed("").is_err());
    }
}
