//! `upgrade ...`: what each command asks the masters for, and which upgrade is meant.

mod act;
mod create;
mod show;

use peloton_client::Client;
use peloton_model::{JobId, UpgradeId};
use peloton_proto::peloton::upgrade::{GetRequest, ListRequest, State, UpgradeInfo, WorkflowId};

use super::{get_config, job_id};
use crate::args::{UpgradeCommand, UpgradeWatchArgs};
use crate::exit::{Exit, Failure};
use crate::ui::{self, Ui};
use crate::watch::upgrade as watching;

pub(super) use show::{of_job, on_one_line};

pub(super) async fn run(client: &Client, ui: &Ui, command: UpgradeCommand) -> Result<(), Failure> {
    match command {
        UpgradeCommand::Create(args) => create::create(client, ui, &args).await,
        UpgradeCommand::Watch(args) => watch(client, ui, &args).await,
        UpgradeCommand::Get(args) => show::get(client, ui, &args).await,
        UpgradeCommand::List(args) => show::list(client, ui, &args).await,
        UpgradeCommand::Events(args) => show::events(client, ui, &args).await,
        UpgradeCommand::Pause(args) => act::pause(client, ui, &args).await,
        UpgradeCommand::Resume(args) => act::resume(client, ui, &args).await,
        UpgradeCommand::Rollback(args) => act::rollback(client, ui, &args).await,
        UpgradeCommand::Abort(args) => act::abort(client, ui, &args).await,
    }
}

async fn watch(client: &Client, ui: &Ui, args: &UpgradeWatchArgs) -> Result<(), Failure> {
    let id = find(client, &args.upgrade.upgrade).await?;
    let watched = watching::watch(client, ui, args.watch_timeout, &id, State::Succeeded).await;
    if !ui.for_people() {
        // However it ended: a program is told of the end as of any other answer.
        let info = info(client, &id).await?;
        ui.show(&ui::full(&info)?, String::new)?;
    }
    watched
}

/// An upgrade's id as requests carry it.
fn workflow_id(id: &str) -> Option<WorkflowId> {
    Some(WorkflowId { value: id.to_owned() })
}

/// The id in an answer.
fn id_of(id: Option<&WorkflowId>) -> String {
    id.map(|id| id.value.clone()).unwrap_or_default()
}

/// The upgrade that is meant: the one of that id, or the latest of the job of that id.
async fn find(client: &Client, text: &str) -> Result<String, Failure> {
    if UpgradeId::parse(text).is_ok() {
        return Ok(text.to_owned());
    }
    if let Err(error) = JobId::new(text) {
        let message = format!("{text:?} is the id neither of an upgrade nor of a job: {error}");
        return Err(Failure::usage(message));
    }
    let request = ListRequest { limit: 1, job_id: job_id(text), page_token: String::new() };
    let answer = client.upgrades().list(request).await?;
    match answer.result.unwrap_or_default().value.first() {
        Some(latest) => Ok(id_of(latest.workflow_id.as_ref())),
        None => {
            get_config(client, text, false).await?;
            let message = format!("there is no upgrade of job {text:?}");
            Err(Failure::new(Exit::NotFound, message)
                .hint(format!("`peloton upgrade create {text} -f FILE` starts one")))
        }
    }
}

/// The upgrade of that id.
pub(crate) async fn info(client: &Client, id: &str) -> Result<UpgradeInfo, Failure> {
    let answer = client.upgrades().get(GetRequest { workflow_id: workflow_id(id) }).await?;
    answer.result.ok_or_else(|| Failure::no_upgrade(id))
}

/// The state's name.
pub(crate) fn state_name(state: i32) -> String {
    match State::try_from(state) {
        Ok(state) => state.as_str_name().to_owned(),
        // From a master that is newer than this program.
        Err(_) => format!("STATE {state}"),
    }
}

/// How many instances it concerns. On the way back those that failed are among the others.
pub(crate) fn total(info: &UpgradeInfo) -> i64 {
    let failed = if info.rolling_back { 0 } else { info.num_tasks_failed };
    [info.num_tasks_done, info.num_tasks_remaining, failed].into_iter().map(i64::from).sum()
}

/// The version that it is under way to, or has arrived at.
pub(crate) fn aim(info: &UpgradeInfo) -> u64 {
    if info.rolling_back { info.from_version } else { info.to_version }
}
