//! `job status`: how a job is doing, and why instances wait.

use std::fmt::Write as _;

use comfy_table::Cell;
use peloton_client::Client;
use peloton_proto::peloton::job::{GetStatusRequest, JobStatus};

use super::{job_id, upgrade};
use crate::args::JobArg;
use crate::exit::Failure;
use crate::failures::{self, Cause};
use crate::text;
use crate::ui::{self, Ui};

pub(super) async fn status(client: &Client, ui: &Ui, args: &JobArg) -> Result<(), Failure> {
    let (job, stale) = (args.job.as_str(), args.read.stale);
    let answer = client.jobs().get_status(GetStatusRequest { id: job_id(job), stale }).await?;
    let status = answer.result.ok_or_else(|| Failure::no_job(job))?;
    // Documents are the API's answer and nothing else; and what is told besides must not cost the status.
    let failed = ui.for_people() && failures::any(&status);
    let causes = match failed {
        true => failures::ask(client, job, stale).await.unwrap_or_default(),
        false => Vec::new(),
    };
    let upgrade = match ui.for_people() && !stale {
        true => upgrade_of(client, &status).await,
        false => status.active_upgrade.clone(),
    };
    let document = ui::full(&status)?;
    ui.show_as_of(answer.as_of_revision, &document, || page(ui, job, &status, upgrade, &causes))?;
    if failed {
        ui.note(&format!("hint: `peloton task list {job}` shows what became of each instance"));
    }
    Ok(())
}

/// The upgrade that is under way and how far it is, as far as that can be told.
async fn upgrade_of(client: &Client, status: &JobStatus) -> String {
    let id = &status.active_upgrade;
    if id.is_empty() {
        return String::new();
    }
    match upgrade::info(client, id).await {
        Ok(info) => upgrade::on_one_line(&info),
        Err(_) => id.clone(),
    }
}

fn page(ui: &Ui, job: &str, status: &JobStatus, upgrade: String, causes: &[Cause]) -> String {
    let running = status.counts_by_state.get("RUNNING").copied().unwrap_or(0);
    let mut pairs = vec![
        ("Job", job.to_owned()),
        ("State", status.state().as_str_name().to_owned()),
        ("Instances", format!("{running} of {} running", status.instance_count)),
    ];
    if status.healthy > 0 || status.unhealthy > 0 {
        let health = format!("{} healthy, {} unhealthy", status.healthy, status.unhealthy);
        pairs.push(("Health", health));
    }
    pairs.push(("Version", versions(status)));
    if !upgrade.is_empty() {
        pairs.push(("Upgrade", upgrade));
    }
    if status.leftovers > 0 {
        let left = format!("{} tasks and reservations", status.leftovers);
        pairs.push(("Left over", left));
    }
    let mut page = ui::pairs(&pairs);
    if !status.counts_by_state.is_empty() {
        let mut table = ui.table(&["STATE", "INSTANCES"]);
        for (state, count) in &status.counts_by_state {
            table.add_row(vec![ui.state(state), Cell::new(count)]);
        }
        let _ = write!(page, "\n{}", ui::lines(&table));
    }
    if !status.waiting.is_empty() {
        let _ = write!(page, "\n{}", waiting(ui, status));
    }
    if !causes.is_empty() {
        let mut table = ui.table(&["FAILED", "MESSAGE"]);
        for cause in causes {
            table.add_row(vec![Cell::new(cause.instances), Cell::new(&cause.message)]);
        }
        let _ = write!(page, "\n{}", ui::lines(&table));
    }
    page
}

/// The version asked for, and how many instances run it and others.
fn versions(status: &JobStatus) -> String {
    let others = status.versions.iter().filter(|(version, _)| **version != status.current_version);
    let others: Vec<_> = others.map(|(version, count)| format!("{count} of {version}")).collect();
    let current = status.versions.get(&status.current_version).copied().unwrap_or(0);
    match others.is_empty() {
        true => status.current_version.to_string(),
        false => format!("{} ({current} live; {})", status.current_version, others.join(", ")),
    }
}

fn waiting(ui: &Ui, status: &JobStatus) -> String {
    let mut table = ui.table(&["WAITING", "AGENTS", "LACKING", "REASON"]);
    for waiting in &status.waiting {
        let lacking = waiting.lacking.iter().map(|l| format!("{} {}", l.reason, l.agents));
        let lacking: Vec<_> = lacking.collect();
        table.add_row(vec![
            Cell::new(waiting.instances),
            Cell::new(waiting.agents_looked_at),
            Cell::new(text::or_none(&lacking.join(", "))),
            Cell::new(waiting.reason.replace(['\n', '\r'], " ")),
        ]);
    }
    ui::lines(&table)
}
