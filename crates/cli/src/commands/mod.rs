//! The commands, a file for each thing they are about.

mod cluster;
mod job;
pub(crate) mod minicluster;
mod status;
pub(crate) mod task;
pub(crate) mod upgrade;
mod versions;
mod volume;

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use clap::CommandFactory as _;
use peloton_client::{Client, Options};
use peloton_proto::peloton::job::{GetRequest, JobConfig, JobId};
use serde_json::json;

use crate::args::{Cli, ClientCommand, ClusterCommand, Global, JobCommand, TaskCommand};
use crate::exit::{Exit, Failure};
use crate::logs;
use crate::settle::Action;
use crate::ui::Ui;

/// Does what the command line says.
pub(crate) async fn run(global: Global, command: ClientCommand) -> Result<(), Failure> {
    let ui = Ui::new(&global);
    let options =
        Options { masters: global.masters, timeout: global.timeout, ..Options::default() };
    let client = || Client::new(options).map_err(Failure::from);
    match command {
        ClientCommand::Job(command) => run_job(&client()?, &ui, command).await,
        ClientCommand::Task(command) => match command {
            TaskCommand::List(args) => task::list(&client()?, &ui, &args).await,
            TaskCommand::Get(args) => task::get(&client()?, &ui, &args).await,
            TaskCommand::Logs(args) => logs::logs(&client()?, &ui, &args).await,
        },
        ClientCommand::Upgrade(command) => upgrade::run(&client()?, &ui, command).await,
        ClientCommand::Volume(command) => volume::run(&client()?, &ui, command).await,
        ClientCommand::Cluster(ClusterCommand::Status) => cluster::status(&client()?, &ui).await,
        ClientCommand::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "peloton", &mut script);
            ui.bytes(&script)
        }
        ClientCommand::Version => {
            let version = env!("CARGO_PKG_VERSION");
            ui.show(&json!({ "version": version }), || format!("peloton {version}"))
        }
    }
}

async fn run_job(client: &Client, ui: &Ui, command: JobCommand) -> Result<(), Failure> {
    match command {
        JobCommand::Create(args) => job::create(client, ui, &args).await,
        JobCommand::Get(args) => job::get(client, ui, &args).await,
        JobCommand::List(args) => job::list(client, ui, &args).await,
        JobCommand::Update(args) => job::update(client, ui, &args).await,
        JobCommand::Stop(args) => job::act(client, ui, Action::Stop, &args).await,
        JobCommand::Start(args) => job::act(client, ui, Action::Start, &args).await,
        JobCommand::Restart(args) => job::act(client, ui, Action::Restart, &args).await,
        JobCommand::Delete(args) => job::delete(client, ui, &args).await,
        JobCommand::Status(args) => status::status(client, ui, &args).await,
        JobCommand::History(args) => versions::history(client, ui, &args).await,
        JobCommand::Diff(args) => versions::diff(client, ui, &args).await,
    }
}

/// A job's id as requests carry it.
pub(crate) fn job_id(job: &str) -> Option<JobId> {
    Some(JobId { value: job.to_owned() })
}

/// The configuration of a job, and the revision that it is of, if it is stale.
async fn get_config(client: &Client, job: &str, stale: bool) -> Result<(JobConfig, i64), Failure> {
    let answer = client.jobs().get(GetRequest { id: job_id(job), stale }).await?;
    let config = answer.result.ok_or_else(|| Failure::no_job(job))?;
    Ok((config, answer.as_of_revision))
}

/// Whether there is somebody to ask.
fn may_ask(what: &str) -> Result<(), Failure> {
    if std::io::stdin().is_terminal() && std::io::stderr().is_terminal() {
        return Ok(());
    }
    Err(Failure::usage(format!("{what} must be confirmed"))
        .hint("give --yes where there is nobody to ask"))
}

/// Asks a person whether to do what can not be undone.
fn confirm(what: &str, question: &str) -> Result<(), Failure> {
    may_ask(what)?;
    let question = format!("{question} [y/N] ");
    let mut answer = String::new();
    let mut asked = std::io::stderr();
    let read = asked
        .write_all(question.as_bytes())
        .and_then(|()| asked.flush())
        .and_then(|()| std::io::stdin().lock().read_line(&mut answer));
    let yes = ["y", "yes"].contains(&answer.trim().to_lowercase().as_str());
    match read {
        Ok(_) if yes => Ok(()),
        _ => Err(Failure::new(Exit::Failed, "nothing was deleted")),
    }
}
