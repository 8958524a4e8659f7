//! `volume list|get|delete|release|adopt`.

use comfy_table::Cell;
use peloton_client::Client;
use peloton_proto::peloton::volume::{
    AdoptRequest, DeleteRequest, GetRequest, ListRequest, ReleaseRequest, VolumeId, VolumeInUse,
    VolumeInfo, VolumeNotFound, VolumeState,
};
use serde::Serialize;

use super::{confirm, job_id};
use crate::args::{
    VolumeAdoptArgs, VolumeArg, VolumeCommand, VolumeDeleteArgs, VolumeListArgs, VolumeReleaseArgs,
    VolumeState as State,
};
use crate::exit::{Exit, Failure};
use crate::full::Full;
use crate::text;
use crate::ui::{self, Ui};

/// The most volumes to ask for at once.
const PAGE: u32 = 1000;

pub(super) async fn run(client: &Client, ui: &Ui, command: VolumeCommand) -> Result<(), Failure> {
    match command {
        VolumeCommand::List(args) => list(client, ui, &args).await,
        VolumeCommand::Get(args) => get(client, ui, &args).await,
        VolumeCommand::Delete(args) => delete(client, ui, &args).await,
        VolumeCommand::Release(args) => release(client, ui, &args).await,
        VolumeCommand::Adopt(args) => adopt(client, ui, &args).await,
    }
}

fn volume_id(id: &str) -> Option<VolumeId> {
    Some(VolumeId { value: id.to_owned() })
}

/// An answer that says that nothing was done is a failure.
fn refused(
    not_found: Option<&VolumeNotFound>,
    in_use: Option<&VolumeInUse>,
) -> Result<(), Failure> {
    match (not_found, in_use) {
        (Some(found), _) => Err(Failure::new(Exit::NotFound, found.message.clone())
            .hint("`peloton volume list` shows the volumes that there are")),
        (None, Some(in_use)) => Err(Failure::new(Exit::Conflict, in_use.message.clone())),
        (None, None) => Ok(()),
    }
}

fn state(state: State) -> VolumeState {
    match state {
        State::Creating => VolumeState::Creating,
        State::Filling => VolumeState::Filling,
        State::Ready => VolumeState::Ready,
        State::Retained => VolumeState::Retained,
        State::Deleting => VolumeState::Deleting,
    }
}

fn id_of(volume: &VolumeInfo) -> &str {
    volume.id.as_ref().map_or("", |id| id.value.as_str())
}

fn job_of(volume: &VolumeInfo) -> &str {
    volume.job_id.as_ref().map_or("", |id| id.value.as_str())
}

#[derive(Debug, Serialize)]
struct VolumeDocument {
    volumes: Vec<Full>,
}

/// What was asked for, for programs.
#[derive(Debug, Serialize)]
struct Done {
    volumes: Vec<Action>,
}

#[derive(Debug, Serialize)]
struct Action {
    id: String,
    action: &'static str,
}

fn done(id: &str, action: &'static str) -> Done {
    Done { volumes: vec![Action { id: id.to_owned(), action }] }
}

async fn list(client: &Client, ui: &Ui, args: &VolumeListArgs) -> Result<(), Failure> {
    let mut request = ListRequest {
        job_id: args.job.as_deref().and_then(job_id),
        agent: args.agent.clone(),
        states: args.state.iter().map(|one| state(*one).into()).collect(),
        ..Default::default()
    };
    let mut volumes: Vec<VolumeInfo> = Vec::new();
    loop {
        request.limit = (args.limit - volumes.len() as u32).min(PAGE);
        let answer = client.volumes().list(request.clone()).await?;
        volumes.extend(answer.result.unwrap_or_default().value);
        request.page_token = answer.next_page_token;
        if request.page_token.is_empty() || volumes.len() as u64 >= u64::from(args.limit) {
            break;
        }
    }
    if volumes.is_empty() {
        ui.note("no such volumes");
    }
    let messages: Result<_, _> = volumes.iter().map(ui::full).collect();
    ui.show(&VolumeDocument { volumes: messages? }, || table(ui, &volumes))?;
    if !request.page_token.is_empty() && ui.for_people() {
        ui.note("there are more: --limit lists more");
    }
    Ok(())
}

fn table(ui: &Ui, volumes: &[VolumeInfo]) -> String {
    if volumes.is_empty() {
        return String::new();
    }
    let header = ["VOLUME", "JOB", "INSTANCE", "NAME", "STATE", "MB", "HOST", "CONTENT", "NOTE"];
    let mut table = ui.table(&header);
    for volume in volumes {
        let kind = if volume.url.is_empty() { "persistent" } else { volume.url.as_str() };
        table.add_row(vec![
            Cell::new(id_of(volume)),
            Cell::new(job_of(volume)),
            Cell::new(volume.instance_id),
            Cell::new(&volume.name),
            ui.state(volume.state().as_str_name()),
            Cell::new(volume.size_mb),
            Cell::new(text::or_none(&volume.host)),
            Cell::new(kind),
            Cell::new(&volume.message),
        ]);
    }
    ui::lines(&table)
}

async fn read(client: &Client, id: &str) -> Result<VolumeInfo, Failure> {
    let answer = client.volumes().get(GetRequest { volume_id: volume_id(id) }).await?;
    refused(answer.not_found.as_ref(), None)?;
    Ok(answer.result.unwrap_or_default())
}

async fn get(client: &Client, ui: &Ui, args: &VolumeArg) -> Result<(), Failure> {
    let volume = read(client, &args.volume).await?;
    ui.show(&ui::full(&volume)?, || {
        let kind = if volume.url.is_empty() { "persistent" } else { volume.url.as_str() };
        ui::pairs(&[
            ("Volume", id_of(&volume).to_owned()),
            ("Job", format!("{}, instance {}", job_of(&volume), volume.instance_id)),
            ("Name", volume.name.clone()),
            ("State", volume.state().as_str_name().to_owned()),
            ("Size", format!("{} MB", volume.size_mb)),
            ("Content", kind.to_owned()),
            ("On delete", volume.on_delete().as_str_name().to_owned()),
            ("Agent", format!("{} ({})", text::or_none(&volume.host), volume.agent_id)),
            ("Created", text::time_ms(i64::try_from(volume.created_at).unwrap_or(0))),
            ("Note", text::or_none(&volume.message)),
        ])
    })
}

async fn delete(client: &Client, ui: &Ui, args: &VolumeDeleteArgs) -> Result<(), Failure> {
    let id = &args.volume.volume;
    if !args.yes {
        let volume = read(client, id).await?;
        let (job, instance) = (job_of(&volume), volume.instance_id);
        let name = &volume.name;
        confirm(
            &format!("deleting volume {id:?}"),
            &format!("Destroy volume {name} of job {job}, instance {instance}, and what is in it?"),
        )?;
    }
    let request = DeleteRequest { volume_id: volume_id(id), force: args.force };
    let answer = client.volumes().delete(request).await?;
    refused(answer.not_found.as_ref(), answer.in_use.as_ref())?;
    ui.show(&done(id, "deleting"), || {
        format!("volume {id}: deleting it; it goes when its agent is offered next")
    })
}

async fn release(client: &Client, ui: &Ui, args: &VolumeReleaseArgs) -> Result<(), Failure> {
    let (job, instance) = (&args.job, args.instance);
    if !args.yes {
        confirm(
            &format!("releasing instance {instance} of job {job:?}"),
            &format!("Start instance {instance} of job {job} elsewhere, without its volumes?"),
        )?;
    }
    let request = ReleaseRequest { job_id: job_id(job), instance_id: instance };
    let answer = client.volumes().release(request).await?;
    refused(answer.not_found.as_ref(), answer.in_use.as_ref())?;
    ui.show(&done(&format!("{job}/{instance}"), "releasing"), || {
        format!("job {job}: instance {instance} gives its slot up, and is placed anew")
    })
}

async fn adopt(client: &Client, ui: &Ui, args: &VolumeAdoptArgs) -> Result<(), Failure> {
    let (id, job, instance) = (&args.volume.volume, &args.job, args.instance);
    let request =
        AdoptRequest { volume_id: volume_id(id), job_id: job_id(job), instance_id: instance };
    let answer = client.volumes().adopt(request).await?;
    refused(answer.not_found.as_ref(), answer.in_use.as_ref())?;
    ui.show(&done(id, "adopting"), || {
        format!("volume {id}: instance {instance} of job {job} goes on with it")
    })
}
