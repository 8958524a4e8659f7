//! `mesos-executor`: runs one command task under a Mesos agent.
//!
//! Mesos's package lacks the program that runs command tasks, so the testbed brings this one. It
//! speaks the v1 executor API and does as Mesos's own does: the same states and messages, kill
//! policies, health checks, and a task that goes on while its agent is away. One process runs per
//! task, thousands at once on one machine: a few threads with small stacks, and no runtime.
//!
//! One thread ([`supervisor`]) owns the run of the task and decides; the others only wait for
//! something and tell it: the agent's events ([`agent`]), and what the task runner's threads see.

mod agent;
mod message;
mod settings;
mod supervisor;
mod task;

use std::process::ExitCode;

#[expect(clippy::print_stderr, reason = "the sandbox's stderr is where operators look")]
fn main() -> ExitCode {
    let settings = match settings::Settings::from_environment() {
        Ok(settings) => settings,
        Err(why) => {
            eprintln!("mesos-executor: {why}");
            return ExitCode::FAILURE;
        }
    };
    match supervisor::Supervisor::new(settings).run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("mesos-executor: {why}");
            ExitCode::FAILURE
        }
    }
}
