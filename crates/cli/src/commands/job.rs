//! `job create|get|list|update|stop|start|restart|delete`.

use comfy_table::Cell;
use peloton_client::Client;
use peloton_proto::json::JsonMessage;
use peloton_proto::mesos::v1::{Label, Labels};
use peloton_proto::peloton::job::{
    CreateRequest, DeleteRequest, JobConfig, JobInvalidState, JobStatus, QueryRequest,
    RestartRequest, StartRequest, StopRequest, UpdateRequest, VersionConflict,
};
use peloton_proto::peloton::task;
use serde::Serialize;

use super::{confirm, get_config, job_id, may_ask};
use crate::args::{ActionArgs, CreateArgs, DeleteArgs, FileArgs, JobArg, ListArgs, UpdateArgs};
use crate::exit::{Exit, Failure};
use crate::full::Full;
use crate::jobfile;
use crate::ranges::Instances;
use crate::settle::Action;
use crate::text;
use crate::ui::{self, Ui};
use crate::watch::{self, Goal, Snapshot};

/// What was done, for programs.
#[derive(Debug, Serialize)]
struct Done {
    jobs: Vec<DoneJob>,
}

#[derive(Debug, Serialize)]
struct DoneJob {
    id: String,
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
}

impl Done {
    fn one(id: &str, action: &'static str) -> Self {
        Self { jobs: vec![DoneJob { id: id.to_owned(), action, version: None }] }
    }
}

pub(super) async fn create(client: &Client, ui: &Ui, args: &CreateArgs) -> Result<(), Failure> {
    let jobs = jobfile::read(&args.file, ui)?;
    let mut done = Done { jobs: Vec::new() };
    let mut result = Ok(());
    for job in &jobs {
        let request = CreateRequest { id: job_id(&job.id), config: Some(job.config.clone()) };
        result = create_one(client, request, &job.id).await;
        if result.is_err() {
            break;
        }
        done.jobs.push(DoneJob { id: job.id.clone(), action: "created", version: None });
    }
    // Those before the one that failed were created, and a program must be told.
    if !done.jobs.is_empty() {
        ui.show(&done, || {
            done.jobs.iter().map(|job| format!("job {} created\n", job.id)).collect()
        })?;
    }
    result?;
    if args.watch.watch {
        for job in &jobs {
            let goal = Goal::up(&job.config);
            watch::watch(client, ui, args.watch, &job.id, &goal).await?;
        }
    }
    Ok(())
}

async fn create_one(client: &Client, request: CreateRequest, id: &str) -> Result<(), Failure> {
    let answer = client.jobs().create(request).await?;
    if answer.already_exists.is_some() {
        return Err(Failure::new(
            Exit::Conflict,
            format!("job {id:?} exists already, with another configuration"),
        )
        .hint(format!(
            "`peloton job update {id} -f FILE` changes it, `peloton job delete {id}` removes it"
        )));
    }
    Ok(())
}

/// A job as `job get` writes it: a job file.
#[derive(Debug, Serialize)]
struct JobDocument {
    id: String,
    #[serde(flatten)]
    config: JsonMessage,
}

pub(super) async fn get(client: &Client, ui: &Ui, args: &JobArg) -> Result<(), Failure> {
    let (config, as_of) = get_config(client, &args.job, args.read.stale).await?;
    let document = JobDocument { id: args.job.clone(), config: ui::message(&config)? };
    // For people, too, this is a document and no table.
    let yaml = serde_saphyr::to_string(&document)
        .map_err(|error| Failure::new(Exit::Failed, format!("can not write: {error}")))?;
    ui.show_as_of(as_of, &document, || yaml)
}

/// A job as `job list` writes it.
#[derive(Debug, Serialize)]
struct ListedJob {
    id: String,
    config: JsonMessage,
    status: Full,
}

#[derive(Debug, Serialize)]
struct JobList {
    jobs: Vec<ListedJob>,
}

pub(super) async fn list(client: &Client, ui: &Ui, args: &ListArgs) -> Result<(), Failure> {
    let label =
        |(key, value): &(String, String)| Label { key: key.clone(), value: Some(value.clone()) };
    let labels = args.labels.iter().map(label).collect();
    let mut request = QueryRequest {
        labels: Some(Labels { labels }),
        with_status: true,
        stale: args.read.stale,
        ..Default::default()
    };
    let mut as_of = i64::MAX;
    let mut jobs: Vec<(String, JobConfig, JobStatus)> = Vec::new();
    loop {
        let mut answer = client.jobs().query(request.clone()).await?;
        as_of = as_of.min(answer.as_of_revision);
        for (id, config) in answer.result {
            let status = answer.status.remove(&id).unwrap_or_default();
            jobs.push((id, config, status));
        }
        if answer.next_page_token.is_empty() {
            break;
        }
        request.page_token = answer.next_page_token;
    }
    let mut document = JobList { jobs: Vec::with_capacity(jobs.len()) };
    for (id, config, status) in &jobs {
        let (config, status) = (ui::message(config)?, ui::full(status)?);
        document.jobs.push(ListedJob { id: id.clone(), config, status });
    }
    if jobs.is_empty() {
        ui.note(if args.labels.is_empty() { "no jobs" } else { "no jobs with these labels" });
    }
    ui.show_as_of(as_of, &document, || job_table(ui, &jobs))
}

fn job_table(ui: &Ui, jobs: &[(String, JobConfig, JobStatus)]) -> String {
    if jobs.is_empty() {
        return String::new();
    }
    let mut table = ui.table(&["ID", "TYPE", "STATE", "RUNNING", "VERSION", "TEAM"]);
    for (id, config, status) in jobs {
        let running = status.counts_by_state.get("RUNNING").copied().unwrap_or(0);
        let version = config.change_log.as_ref().map_or(0, |log| log.version);
        table.add_row(vec![
            Cell::new(id),
            Cell::new(text::job_type(config)),
            ui.state(status.state().as_str_name()),
            Cell::new(format!("{running}/{}", config.instance_count)),
            Cell::new(version),
            Cell::new(text::or_none(&config.owning_team)),
        ]);
    }
    ui::lines(&table)
}

pub(super) async fn update(client: &Client, ui: &Ui, args: &UpdateArgs) -> Result<(), Failure> {
    let jobs = jobfile::read(&args.file, ui)?;
    let [job] = jobs.as_slice() else {
        return Err(Failure::usage("the file has more than one job; update them one by one"));
    };
    let request = UpdateRequest {
        id: job_id(&job.id),
        config: Some(job.config.clone()),
        expected_version: args.expect_version,
    };
    let answer = client.jobs().update(request).await?;
    let id = &job.id;
    if answer.not_found.is_some() {
        return Err(Failure::no_job(id));
    }
    if let Some(found) = answer.conflict {
        return Err(conflict(id, &found));
    }
    if let Some(needs) = answer.needs_upgrade {
        let message = format!(
            "job {id:?}: a change of {} replaces running instances, which is an upgrade",
            needs.fields.join(", ")
        );
        return Err(Failure::new(Exit::Conflict, message)
            .hint(format!("nothing was changed; `{}` does that", upgrade_command(&args.file))));
    }
    let version = answer.result.map(|result| result.version);
    let mut done = Done::one(id, "updated");
    done.jobs[0].version = version;
    ui.show(&done, || format!("job {id} updated to version {}", version.unwrap_or(0)))?;
    if args.watch.watch {
        watch::watch(client, ui, args.watch, id, &Goal::up(&job.config)).await?;
    }
    Ok(())
}

/// The command that upgrades a job to what is in the file.
fn upgrade_command(args: &FileArgs) -> String {
    let id = args.job.iter().map(|job| format!(" {job}")).collect::<String>();
    format!("peloton upgrade create{id} -f {}", args.file.display())
}

/// Somebody else changed the job first.
pub(super) fn conflict(id: &str, conflict: &VersionConflict) -> Failure {
    let (expected, actual) = (conflict.expected, conflict.actual);
    let message = format!("job {id:?} has version {actual}, not {expected}: it was changed");
    Failure::new(Exit::Conflict, message)
        .hint(format!("`peloton job get {id}` shows it as it is; decide anew by that"))
}

pub(super) async fn act(
    client: &Client,
    ui: &Ui,
    action: Action,
    args: &ActionArgs,
) -> Result<(), Failure> {
    // What is so before tells later what has become of it.
    let goal = if args.watch.watch {
        let (config, _) = get_config(client, &args.job, false).await?;
        let before = Snapshot::take(client, &args.job, args.instances.as_ref()).await?;
        Some(Goal::tasks(action, &config, before, args.instances.clone()))
    } else {
        None
    };
    match &args.instances {
        Some(instances) => act_on_tasks(client, action, &args.job, instances).await?,
        None => act_on_job(client, action, &args.job, args.expect_version).await?,
    }
    let done = Done::one(&args.job, action.going_on());
    ui.show(&done, || match &args.instances {
        Some(instances) => format!("job {}: {} instances {instances}", args.job, action.going_on()),
        None => format!("job {}: {} all instances", args.job, action.going_on()),
    })?;
    match goal {
        Some(goal) => watch::watch(client, ui, args.watch, &args.job, &goal).await,
        None => Ok(()),
    }
}

async fn act_on_job(
    client: &Client,
    action: Action,
    job: &str,
    expected_version: u64,
) -> Result<(), Failure> {
    let (jobs, id) = (client.jobs(), job_id(job));
    let (not_found, invalid, changed) = match action {
        Action::Stop => {
            let answer = jobs.stop(StopRequest { id, expected_version }).await?;
            (answer.not_found, answer.invalid_state, answer.conflict)
        }
        Action::Start => {
            let answer = jobs.start(StartRequest { id, expected_version }).await?;
            (answer.not_found, answer.invalid_state, answer.conflict)
        }
        Action::Restart => {
            let answer = jobs.restart(RestartRequest { id, expected_version }).await?;
            (answer.not_found, answer.invalid_state, answer.conflict)
        }
    };
    match (not_found, invalid, changed) {
        (Some(_), ..) => Err(Failure::no_job(job)),
        (None, Some(invalid), _) => Err(invalid_state(action, job, &invalid)),
        (None, None, Some(found)) => Err(conflict(job, &found)),
        (None, None, None) => Ok(()),
    }
}

fn invalid_state(action: Action, job: &str, invalid: &JobInvalidState) -> Failure {
    let state = invalid.state().as_str_name();
    let (verb, why) = (action.verb(), &invalid.message);
    let why = if why.is_empty() { String::new() } else { format!(": {why}") };
    Failure::new(Exit::Conflict, format!("job {job:?} is {state} and can not {verb} now{why}"))
        .hint(format!("`peloton job status {job}` shows how it is doing"))
}

async fn act_on_tasks(
    client: &Client,
    action: Action,
    job: &str,
    instances: &Instances,
) -> Result<(), Failure> {
    let (tasks, job_id, ranges) = (client.tasks(), job_id(job), instances.ranges());
    let (not_found, out_of_range) = match action {
        Action::Stop => {
            let answer = tasks.stop(task::StopRequest { job_id, ranges }).await?;
            (answer.not_found, answer.out_of_range)
        }
        Action::Start => {
            let answer = tasks.start(task::StartRequest { job_id, ranges }).await?;
            (answer.not_found, answer.out_of_range)
        }
        Action::Restart => {
            let answer = tasks.restart(task::RestartRequest { job_id, ranges }).await?;
            (answer.not_found, answer.out_of_range)
        }
    };
    match (not_found, out_of_range) {
        (Some(_), _) => Err(Failure::no_job(job)),
        (None, Some(out)) => {
            Err(Failure::no_instance(job, &format!("instances {instances}"), out.instance_count))
        }
        (None, None) => Ok(()),
    }
}

pub(super) async fn delete(client: &Client, ui: &Ui, args: &DeleteArgs) -> Result<(), Failure> {
    let job = &args.job;
    if !args.yes {
        confirm_deletion(client, job).await?;
    }
    let request = DeleteRequest { id: job_id(job), expected_version: args.expect_version };
    let answer = client.jobs().delete(request).await?;
    if answer.not_found.is_some() {
        return Err(Failure::no_job(job));
    }
    if let Some(found) = answer.conflict {
        return Err(conflict(job, &found));
    }
    ui.show(&Done::one(job, "deleting"), || {
        format!("job {job}: deleting it, its instances and reservations")
    })?;
    if args.watch.watch {
        watch::watch(client, ui, args.watch, job, &Goal::Gone).await?;
    }
    Ok(())
}

/// Asks a person whether to delete the job.
async fn confirm_deletion(client: &Client, job: &str) -> Result<(), Failure> {
    let what = format!("deleting job {job:?}");
    may_ask(&what)?;
    let (config, _) = get_config(client, job, false).await?;
    let instances = text::instances(config.instance_count);
    confirm(&what, &format!("Delete job {job} and its {instances}?"))
}
