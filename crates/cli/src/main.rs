//! `peloton`, the command line: a thin shell over `peloton-client`.
//!
//! A command asks the masters, and hands what it got to [`ui::Ui`], which writes it as a table for
//! people or as JSON or YAML for programs. Whatever goes wrong becomes a [`exit::Failure`], the one
//! place where exit codes and advice are decided.

mod agent;
mod args;
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

use crate::args::Cli;
use crate::exit::{Exit, Failure};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // A reader that has gone away wants no help.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Exit::Usage as u8));
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(commands::run(cli)),
        Err(error) => Err(Failure::new(Exit::Failed, format!("can not start: {error}"))),
    };
    match result {
        Ok(()) => ExitCode::from(Exit::Ok as u8),
        Err(failure) => {
            let _ = std::io::stderr().write_all(failure.to_string().as_bytes());
            ExitCode::from(failure.exit as u8)
        }
    }
}
