//! `cargo xtask demo`: the README's first command.

use crate::cluster::Cluster;
use crate::options::DemoOptions;
use crate::process;
use crate::programs::{self, Profile};
use crate::signals::Stop;
use anyhow::{Context as _, Result, bail};
use std::io::IsTerminal as _;
use std::process::Command;

/// How long ten instances may take to run, or to end; a free machine takes seconds.
const JOBS_WITHIN: &str = "180s";

/// The jobs that are shown: their file, their id, and the state that all instances get to.
const JOBS: [(&str, &str, &str); 2] = [
    ("examples/service.yaml", "hello-service", "RUNNING"),
    ("examples/batch.yaml", "hello-batch", "SUCCEEDED"),
];

/// The instances of each of them.
const INSTANCES: usize = 10;

/// Builds the programs, then demonstrates.
pub(crate) fn run_built(options: &DemoOptions) -> Result<()> {
    let stop = Stop::listen()?;
    let mut cluster = Cluster::start(options.keep, &stop)?;
    let shown = show(&cluster).and_then(|()| {
        let stays = options.stay || (!options.once && std::io::stdin().is_terminal());
        if stays {
            invite(&cluster);
            cluster.stay(&stop)?;
        } else if !options.once {
            println!("\nstandard input is no terminal: the demo ends; --stay would keep it up");
        }
        Ok(())
    });
    if let Err(error) = shown {
        return Err(if stop.asked() { error } else { blame(cluster, error) });
    }
    println!("\nending everything");
    cluster.stop()?;
    println!("the demo ended well");
    Ok(())
}

/// Builds, and demonstrates.
pub(crate) fn run(options: &DemoOptions) -> Result<()> {
    println!("building the programs: a few minutes the first time");
    programs::build(Profile::Debug)?;
    run_built(options)
}

/// The error, with where to look; what would tell more is kept.
pub(crate) fn blame(mut cluster: Cluster, error: anyhow::Error) -> anyhow::Error {
    let directory = cluster.keep();
    drop(cluster);
    error.context(format!("logs, store and sandboxes are left in {}", directory.display()))
}

/// Creates the jobs, waits until they are where they should be, and shows them.
fn show(cluster: &Cluster) -> Result<()> {
    for (file, _, _) in JOBS {
        let mut create = cluster.peloton();
        create.args(["job", "create", "-f", file, "--watch", "--watch-timeout", JOBS_WITHIN]);
        typed(&mut create)?;
    }
    typed(cluster.peloton().args(["job", "list"]))?;
    for (_, id, _) in JOBS {
        typed(cluster.peloton().args(["task", "list", id]))?;
    }
    JOBS.iter().try_for_each(|(_, id, state)| check(cluster, id, state))
}

/// Runs a command and shows it as if somebody had typed it.
fn typed(command: &mut Command) -> Result<()> {
    println!("\n$ bin/{}", process::shown(command));
    process::run(command)
}

/// That what was shown is what should be.
fn check(cluster: &Cluster, id: &str, state: &str) -> Result<()> {
    let output = cluster.peloton().args(["-o", "json", "job", "status", id]).output();
    let output = output.context("cannot start peloton")?;
    let status: serde_json::Value = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("the status of {id} is not JSON"))?;
    let text = status.to_string();
    match status["countsByState"][state].as_u64() {
        Some(count) if count == INSTANCES as u64 => Ok(()),
        _ => bail!("not all {INSTANCES} instances of {id} are {state}: {text}"),
    }
}

fn invite(cluster: &Cluster) {
    if !cluster.is_on_usual_ports() {
        println!("\nThe usual ports are taken. In the other terminal, first:");
        println!("  export PELOTON_MASTERS=127.0.0.1:{}", cluster.port);
    }
    println!(
        "
The cluster stays up until Ctrl-C. In another terminal, from this directory:
  bin/peloton job status hello-service
  bin/peloton task logs hello-service 0 --follow
  bin/peloton job restart hello-service --instances 0-4 --watch
  bin/peloton job stop hello-service --instances 9 --watch
  kill -9 $(cat .peloton/demo/master.pid)    the tasks run on, and the next master finds them
  bin/peloton job delete hello-service --yes --watch
Mesos: http://127.0.0.1:{}; metrics: http://127.0.0.1:{}/metrics",
        cluster.mesos_port, cluster.port
    );
}
