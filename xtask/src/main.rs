//! Tasks of the project: build, demo, test, ci, tidy, readme, chaos, scale, sim.
//!
//! Everything that people and CI do with the source tree is a command here, so that both do the
//! same. It is plain `std` and a few small crates, because a fresh machine compiles it before
//! anything else; what it starts, it starts as programs, and ends by their process ids.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

mod bare;
mod ci;
mod cluster;
mod demo;
mod options;
mod process;
mod programs;
mod readme;
mod signals;
mod suite;
mod tidy;
mod tools;
mod workspace;

use anyhow::Result;
use options::Task;
use std::process::ExitCode;

fn main() -> ExitCode {
    let task = match options::parse(std::env::args().skip(1)) {
        Ok(task) => task,
        Err(error) => {
            eprintln!("xtask: {error:#}\n\n{}", options::USAGE);
            return ExitCode::from(2);
        }
    };
    match run(task) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<ExitCode> {
    match task {
        Task::Help => println!("{}", options::USAGE),
        Task::Build { release } => programs::build(programs::Profile::of(release))?,
        Task::Demo(flags) => demo::run(&flags)?,
        Task::Readme => readme::run(true)?,
        Task::Tidy => tidy::run()?,
        Task::Tool(tool, arguments) => tools::run(tool, &arguments)?,
        Task::Test => return ci::test(),
        Task::Ci => return ci::ci(),
        Task::Chaos => return ci::chaos(),
    }
    Ok(ExitCode::SUCCESS)
}
