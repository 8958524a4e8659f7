//! What a minicluster shows of itself: two jobs, by the commands that a person would type.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser as _;
use peloton_client::{Client, Options};
use peloton_proto::peloton::job::{DeleteRequest, GetStatusRequest, QueryRequest};

use super::place::Place;
use super::{LOOK_EVERY, failed};
use crate::args::{Cli, Command, Global};
use crate::commands::{self, job_id};
use crate::exit::{Exit, Failure};
use crate::ui::Ui;

/// The jobs that are shown: the file, its text, the job's id, and the state that all instances get to.
/// They are in the program, so that it needs no source tree.
const JOBS: [(&str, &str, &str, &str); 2] = [
    (
        "service.yaml",
        include_str!("../../../../../examples/service.yaml"),
        "hello-service",
        "RUNNING",
    ),
    ("batch.yaml", include_str!("../../../../../examples/batch.yaml"), "hello-batch", "SUCCEEDED"),
];

/// The instances of each of them.
const INSTANCES: u32 = 10;

/// How long ten instances may take to run, or to end; a free machine takes seconds.
const UP_WITHIN: &str = "180s";

/// How long the jobs may take to go from somebody else's Mesos.
const GONE_WITHIN: Duration = Duration::from_secs(60);

/// The demo of one minicluster.
pub(super) struct Demo {
    global: Global,
    ui: Ui,
    examples: PathBuf,
    /// The program as it was called.
    program: String,
}

impl Demo {
    /// Puts the job files into the minicluster's directory.
    pub(super) fn new(global: &Global, masters: &[String], place: &Place) -> Result<Self, Failure> {
        let examples = place.join("examples");
        fs::create_dir_all(&examples).map_err(failed)?;
        for (file, text, _, _) in JOBS {
            fs::write(examples.join(file), text).map_err(failed)?;
        }
        let program = std::env::args().next().unwrap_or_else(|| "peloton".to_owned());
        let global = Global { masters: masters.to_vec(), ..global.clone() };
        Ok(Self { ui: Ui::new(&global), global, examples, program })
    }

    /// Creates the jobs, waits until they are where they should be, and shows them.
    pub(super) async fn run(&self) -> Result<(), Failure> {
        for (file, _, _, _) in JOBS {
            let file = self.examples.join(file).display().to_string();
            let create = ["job", "create", "-f", &file, "--watch", "--watch-timeout", UP_WITHIN];
            self.typed(&create).await?;
        }
        self.typed(&["job", "list"]).await?;
        for (_, _, id, _) in JOBS {
            self.typed(&["task", "list", id]).await?;
        }
        let options = Options { masters: self.global.masters.clone(), ..Options::default() };
        let client = Client::new(options)?;
        for (_, _, id, state) in JOBS {
            check(&client, id, state).await?;
        }
        Ok(())
    }

    /// Does what a command line would, and shows it as if somebody had typed it.
    async fn typed(&self, words: &[&str]) -> Result<(), Failure> {
        if self.ui.for_people() {
            self.ui.text(&format!("\n$ {} {}", self.program, words.join(" ")))?;
        }
        let line = std::iter::once("peloton").chain(words.iter().copied());
        match Cli::try_parse_from(line).map_err(failed)?.command {
            Command::Client(command) => commands::run(self.global.clone(), command).await,
            Command::Minicluster(_) => Err(failed("a minicluster in a minicluster")),
        }
    }

    /// What to do with it; `shown` is whether the jobs of the demo are there.
    pub(super) fn invitation(&self, shown: bool) -> String {
        let (program, file) = (&self.program, self.examples.join(JOBS[0].0));
        let create = match shown {
            true => String::new(),
            false => format!("  {program} job create -f {} --watch\n", file.display()),
        };
        format!(
            "
In another terminal:
  export PELOTON_MASTERS={}
{create}  {program} job status hello-service
  {program} task logs hello-service 0 --follow
  {program} job restart hello-service --instances 0-4 --watch
  {program} job delete hello-service --yes --watch
  {program} cluster status
Ctrl-C ends the minicluster, and everything in it.",
            self.global.masters.join(",")
        )
    }
}

/// That what was shown is what should be.
async fn check(client: &Client, id: &str, state: &str) -> Result<(), Failure> {
    let answer =
        client.jobs().get_status(GetStatusRequest { id: job_id(id), ..Default::default() }).await?;
    let counts = answer.result.unwrap_or_default().counts_by_state;
    match counts.get(state) {
        Some(&INSTANCES) => Ok(()),
        _ => Err(failed(format!("not all {INSTANCES} instances of {id} are {state}: {counts:?}"))),
    }
}

/// Deletes all jobs and waits until nothing is left of them: on somebody else's Mesos, tasks and
/// reservations would outlive us.
pub(super) async fn delete_all_jobs(masters: Vec<String>, ui: Ui) {
    let deleted = async {
        let client = Client::new(Options { masters, ..Options::default() })?;
        loop {
            let jobs = client.jobs().query(QueryRequest::default()).await?.result;
            if jobs.is_empty() {
                return Ok::<(), Failure>(());
            }
            for id in jobs.keys() {
                client
                    .jobs()
                    .delete(DeleteRequest { id: job_id(id), ..Default::default() })
                    .await?;
            }
            for id in jobs.keys() {
                let request = GetStatusRequest { id: job_id(id), ..Default::default() };
                while client.jobs().get_status(request.clone()).await?.result.is_some() {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
            }
        }
    };
    let what = match tokio::time::timeout(GONE_WITHIN, deleted).await {
        Ok(Ok(())) => return,
        Ok(Err(failure)) => failure.to_string(),
        Err(_) => Failure::new(Exit::TimedOut, "out of time").to_string(),
    };
    ui.note(&format!("not all jobs could be deleted from Mesos; {}", what.trim_end()));
}
