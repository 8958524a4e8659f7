//! `upgrade get|list|events`, and what other commands tell of upgrades.

use std::fmt::Write as _;

use comfy_table::Cell;
use peloton_client::Client;
use peloton_proto::peloton::upgrade::{
    GetEventsRequest, ListRequest, UpgradeEvent, UpgradeInfo, UpgradeOptions,
};
use serde::Serialize;

use super::{aim, find, id_of, info, state_name, total, workflow_id};
use crate::args::{UpgradeArg, UpgradeListArgs};
use crate::changes;
use crate::commands::job_id;
use crate::exit::Failure;
use crate::full::Full;
use crate::ranges::Instances;
use crate::text;
use crate::ui::{self, Ui};

/// The most upgrades to ask for at once.
const PAGE: i32 = 100;

pub(super) async fn get(client: &Client, ui: &Ui, args: &UpgradeArg) -> Result<(), Failure> {
    let info = info(client, &find(client, &args.upgrade).await?).await?;
    ui.show(&ui::full(&info)?, || page(ui, &info))
}

fn page(ui: &Ui, info: &UpgradeInfo) -> String {
    let by = |at: String| match info.created_by.as_str() {
        "" => at,
        by => format!("{at} by {by}"),
    };
    let time = |ms| if ms == 0 { String::new() } else { text::time_ms(ms) };
    let mut all = vec![
        ("Upgrade", id_of(info.workflow_id.as_ref())),
        ("Job", info.job_id.clone().unwrap_or_default().value),
        ("State", state_name(info.state)),
        ("Version", format!("{} -> {}", info.from_version, info.to_version)),
        ("Instances", counts(info)),
        ("Failure", one_line(&info.failure)),
        ("Message", one_line(&info.message)),
        ("Displaced", displaced(info)),
    ];
    if let Some(options) = &info.options {
        all.extend(how(options));
    }
    all.extend([
        ("Replaces", id_of(info.replaces.as_ref())),
        ("Takes back", id_of(info.takes_back.as_ref())),
        ("Created", by(time(info.created_at))),
        ("Changed", time(info.updated_at)),
        ("Ended", time(info.finished_at)),
    ]);
    // What is not there needs no line.
    all.retain(|(_, value)| !value.is_empty());
    let mut page = ui::pairs(&all);
    if !info.changes.is_empty() {
        let _ = write!(page, "\n{}", changes::text(&info.changes));
    }
    if !info.instances.is_empty() {
        let _ = write!(page, "\n{}", in_hand(ui, info));
    }
    page
}

fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

/// `4 of 10 at version 3, 1 failed`.
fn counts(info: &UpgradeInfo) -> String {
    let mut text = format!("{} of {} at version {}", info.num_tasks_done, total(info), aim(info));
    if info.num_tasks_failed > 0 {
        let _ = write!(text, ", {} failed", info.num_tasks_failed);
    }
    text
}

/// Which instances are elsewhere than they were.
fn displaced(info: &UpgradeInfo) -> String {
    let (named, all) = (info.displaced.len() as u32, info.displaced_count);
    match all.max(named) {
        0 => String::new(),
        all if all > named && named > 0 => {
            format!("{}, {} and others", text::instances(all), Instances::of(&info.displaced))
        }
        all => format!("{}: {}", text::instances(all), Instances::of(&info.displaced)),
    }
}

/// How it goes about.
fn how(options: &UpgradeOptions) -> [(&'static str, String); 4] {
    let batch = match (options.batch_percentage, options.batch_size) {
        (percent, _) if percent > 0.0 => format!("{percent}%"),
        (_, 0) => "all".to_owned(),
        (_, count) => count.to_string(),
    };
    let batch = match options.stop_before_upgrade {
        true => format!("{batch}, once all are ended"),
        false => batch,
    };
    let tolerates = format!(
        "failed instances: {}, failed runs of each: {}",
        options.max_failed_instances, options.max_instance_retries
    );
    let deadline = |name: &str, secs: Option<u64>| secs.map(|secs| format!("{name} {secs} s"));
    let deadlines = [
        deadline("placed within", options.placement_deadline_secs),
        deadline("up within", options.health_deadline_secs),
        deadline("proven after", options.min_healthy_secs),
    ];
    let on_failure = match options.rollback_on_failure {
        Some(false) => "stays where it is",
        _ => "goes back",
    };
    [
        ("At a time", batch),
        ("Tolerates", tolerates),
        ("Deadlines", deadlines.into_iter().flatten().collect::<Vec<_>>().join(", ")),
        ("On failure", on_failure.to_owned()),
    ]
}

/// The instances that have not arrived yet, or failed.
fn in_hand(ui: &Ui, info: &UpgradeInfo) -> String {
    let header = ["INSTANCE", "STAGE", "SINCE", "STATE", "VERSION", "HOST", "FAILED RUNS", "NOTE"];
    let mut table = ui.table(&header);
    for instance in &info.instances {
        table.add_row(vec![
            Cell::new(instance.instance_id),
            ui.state(&instance.stage),
            Cell::new(text::time_ms(instance.since)),
            ui.state(&text::or_none(&instance.task_state)),
            Cell::new(text::count_or_none(instance.version)),
            Cell::new(text::or_none(&instance.host)),
            Cell::new(instance.tries),
            Cell::new(one_line(&instance.message)),
        ]);
    }
    ui::lines(&table)
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct UpgradeDocument {
    upgrades: Vec<Full>,
    next_page_token: String,
}

pub(super) async fn list(client: &Client, ui: &Ui, args: &UpgradeListArgs) -> Result<(), Failure> {
    let job = args.job.as_deref();
    let (upgrades, next) = pages(client, job, args.limit, args.page.clone()).await?;
    if upgrades.is_empty() {
        ui.note(if job.is_some() { "no upgrades of this job" } else { "no upgrades" });
    }
    let messages: Result<_, _> = upgrades.iter().map(ui::full).collect();
    let document = UpgradeDocument { upgrades: messages?, next_page_token: next.clone() };
    ui.show(&document, || upgrade_table(ui, &upgrades))?;
    if !next.is_empty() && ui.for_people() {
        ui.note(&format!("there are more: --limit lists more at once, --page {next} goes on"));
    }
    Ok(())
}

/// At most `limit` upgrades from that page on, and where to go on then.
async fn pages(
    client: &Client,
    job: Option<&str>,
    limit: u32,
    page: String,
) -> Result<(Vec<UpgradeInfo>, String), Failure> {
    let job_id = job.and_then(job_id);
    let mut upgrades: Vec<UpgradeInfo> = Vec::new();
    let mut page_token = page;
    loop {
        let left = limit.saturating_sub(upgrades.len() as u32);
        let page = i32::try_from(left).unwrap_or(i32::MAX).min(PAGE);
        let request = ListRequest { limit: page, job_id: job_id.clone(), page_token };
        let answer = client.upgrades().list(request).await?;
        upgrades.extend(answer.result.unwrap_or_default().value);
        page_token = answer.next_page_token;
        if page_token.is_empty() || upgrades.len() as u64 >= u64::from(limit) {
            return Ok((upgrades, page_token));
        }
    }
}

/// All upgrades of a job of which the history is kept.
pub(in crate::commands) async fn of_job(
    client: &Client,
    job: &str,
) -> Result<Vec<UpgradeInfo>, Failure> {
    let (upgrades, _) = pages(client, Some(job), u32::MAX, String::new()).await?;
    Ok(upgrades)
}

fn upgrade_table(ui: &Ui, upgrades: &[UpgradeInfo]) -> String {
    if upgrades.is_empty() {
        return String::new();
    }
    let mut table = ui.table(&["ID", "STATE", "VERSION", "DONE", "FAILED", "CREATED", "BY"]);
    for info in upgrades {
        table.add_row(vec![
            Cell::new(id_of(info.workflow_id.as_ref())),
            ui.state(&state_name(info.state)),
            Cell::new(format!("{} -> {}", info.from_version, info.to_version)),
            Cell::new(format!("{}/{}", info.num_tasks_done, total(info))),
            Cell::new(info.num_tasks_failed),
            Cell::new(text::time_ms(info.created_at)),
            Cell::new(text::or_none(&info.created_by)),
        ]);
    }
    ui::lines(&table)
}

/// An upgrade on one line of another page: `web-3-0000abcd: ROLLING_FORWARD, 4 of 10 at version 3`.
pub(in crate::commands) fn on_one_line(info: &UpgradeInfo) -> String {
    let id = id_of(info.workflow_id.as_ref());
    let mut line = format!("{id}: {}, {}", state_name(info.state), counts(info));
    for text in [&info.failure, &info.message] {
        if !text.is_empty() {
            let _ = write!(line, "; {}", one_line(text));
            break;
        }
    }
    line
}

#[derive(Debug, Serialize)]
struct EventDocument {
    events: Vec<Full>,
}

pub(super) async fn events(client: &Client, ui: &Ui, args: &UpgradeArg) -> Result<(), Failure> {
    let id = find(client, &args.upgrade).await?;
    let mut events: Vec<UpgradeEvent> = Vec::new();
    let mut request = GetEventsRequest { workflow_id: workflow_id(&id), ..Default::default() };
    loop {
        let answer = client.upgrades().get_events(request.clone()).await?;
        if answer.not_found.is_some() {
            return Err(Failure::no_upgrade(&id));
        }
        events.extend(answer.events);
        if answer.next_page_token.is_empty() {
            break;
        }
        request.page_token = answer.next_page_token;
    }
    if events.is_empty() {
        ui.note("nothing has happened in it yet");
    }
    let messages: Result<_, _> = events.iter().map(ui::full).collect();
    ui.show(&EventDocument { events: messages? }, || event_table(ui, &events))
}

fn event_table(ui: &Ui, events: &[UpgradeEvent]) -> String {
    if events.is_empty() {
        return String::new();
    }
    let mut table = ui.table(&["TIME", "EVENT", "INSTANCE", "HOST", "TASK", "BY", "MESSAGE"]);
    for event in events {
        let instance = event.instance_id.map(|instance| instance.to_string());
        table.add_row(vec![
            Cell::new(text::time_ms(event.at)),
            Cell::new(&event.kind),
            Cell::new(text::or_none(&instance.unwrap_or_default())),
            Cell::new(text::or_none(&way(event))),
            Cell::new(text::or_none(&event.task_id)),
            Cell::new(text::or_none(&event.by)),
            Cell::new(one_line(&event.message)),
        ]);
    }
    ui::lines(&table)
}

/// Where it was: `agent-1`, or `agent-1 -> agent-2`.
fn way(event: &UpgradeEvent) -> String {
    match (event.from_host.as_str(), event.to_host.as_str()) {
        (from, "") => from.to_owned(),
        ("", to) => to.to_owned(),
        (from, to) if from == to => to.to_owned(),
        (from, to) => format!("{from} -> {to}"),
    }
}
