//! `peloton`, the command line: a thin shell over `peloton-client`.
//!
//! A command asks the masters, and hands what it got to [`ui::Ui`], which writes it as a table for
//! people or as JSON or YAML for programs. Only `peloton minicluster` runs masters instead of asking
//! them. Whatever goes wrong becomes a [`exit::Failure`], the one
//! place where exit codes and advice are decided.

mod agent;
mod args;
mod changes;
mod commands;
mod exit;
mod failures;
mod full;
mod jobfile;
mod logs;
mod ranges;
#[cfg(test)]
mod reference;
mod settle;
mod suggest;
mod text;
mod ui;
mod watch;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

use crate::args::{Cli, ClientCommand, Command, Global};
use crate::exit::{Exit, Failure};

fn main() -> ExitCode {
    // The simulated Mesos starts this program anew, to end what is left should this process be killed.
    peloton_mesos_sim_server::supervise_if_asked();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // A reader that has gone away wants no help.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Exit::Usage as u8));
        }
    };
    let result = match cli.command {
        Command::Client(command) => ask(cli.global, command),
        Command::Minicluster(args) => commands::minicluster::run(&cli.global, &args),
    };
    match result {
        Ok(()) => ExitCode::from(Exit::Ok as u8),
        Err(failure) => {
            let _ = std::io::stderr().write_all(failure.to_string().as_bytes());
            ExitCode::from(failure.exit as u8)
        }
    }
}

fn ask(global: Global, command: ClientCommand) -> Result<(), Failure> {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(commands::run(global, command)),
        Err(error) => Err(Failure::new(Exit::Failed, format!("can not start: {error}"))),
    }
}
