//! Simulates seeds: `--seed N` one, with its trace; `--seeds N [--from S]` many, on `--jobs J` threads.

use peloton_sim::{Args, Report};
use std::process::ExitCode;

#[allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for people")]
fn main() -> ExitCode {
    let args = match Args::parse(std::env::args().skip(1)) {
        Ok(args) => args,
        Err(why) => {
            eprintln!("{why}\n{}", Args::USAGE);
            return ExitCode::from(2);
        }
    };
    match peloton_sim::simulate(&args, &mut |report| match report {
        Report::Progress(text) => eprintln!("{text}"),
        Report::Line(text) => println!("{text}"),
    }) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
