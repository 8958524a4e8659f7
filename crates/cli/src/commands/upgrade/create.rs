//! `upgrade create`: starts an upgrade, or says what it would do.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use comfy_table::Cell;
use peloton_client::Client;
use peloton_proto::peloton::upgrade::{
    CreateRequest, State, UpgradeOptions, UpgradePlan, UpgradeSpec,
};
use serde::Serialize;

use super::{id_of, watching};
use crate::args::{Batch, HowArgs, UpgradeCreateArgs};
use crate::changes;
use crate::commands::job::conflict;
use crate::commands::job_id;
use crate::exit::{Exit, Failure};
use crate::jobfile;
use crate::ranges::Instances;
use crate::text;
use crate::ui::{self, Ui};

/// What was done, for programs.
#[derive(Debug, Serialize)]
pub(super) struct Done {
    upgrades: Vec<DoneUpgrade>,
}

#[derive(Debug, Serialize)]
struct DoneUpgrade {
    id: String,
    action: &'static str,
}

impl Done {
    pub(super) fn one(id: &str, action: &'static str) -> Self {
        Self { upgrades: vec![DoneUpgrade { id: id.to_owned(), action }] }
    }
}

pub(super) async fn create(
    client: &Client,
    ui: &Ui,
    args: &UpgradeCreateArgs,
) -> Result<(), Failure> {
    let jobs = jobfile::read(&args.file, ui)?;
    let [job] = jobs.as_slice() else {
        return Err(Failure::usage("the file has more than one job; upgrade them one by one"));
    };
    let spec = UpgradeSpec {
        job_id: job_id(&job.id),
        job_config: Some(job.config.clone()),
        options: Some(options(&args.how)),
        expected_version: args.expect_version,
        replace: args.replace,
    };
    let request = CreateRequest { spec: Some(spec), dry_run: args.dry_run };
    let answer = client.upgrades().create(request).await?;
    let job = &job.id;
    if answer.not_found.is_some() {
        return Err(Failure::no_job(job)
            .hint(format!("`peloton job create {job} -f FILE` makes it; nothing was changed")));
    }
    if let Some(found) = answer.conflict {
        return Err(conflict(job, &found));
    }
    if let Some(other) = answer.already_exists {
        let other = id_of(other.id.as_ref());
        return Err(Failure::new(
            Exit::Conflict,
            format!("job {job:?} is being upgraded already, by {other}"),
        )
        .hint(format!("`peloton upgrade watch {other}` shows it; --replace takes its place")));
    }
    if let Some(plan) = answer.plan {
        ui.show(&ui::full(&plan)?, || page(ui, job, &plan))?;
        ui.note("this is what it would do as things are now; nothing was changed");
        return Ok(());
    }
    let id = id_of(answer.result.as_ref());
    ui.show(&Done::one(&id, "created"), || format!("upgrade {id} of job {job} created"))?;
    if args.watch.watch {
        return watching::watch(client, ui, args.watch.watch_timeout, &id, State::Succeeded).await;
    }
    if ui.for_people() {
        let (verb, what) = match args.how.start_paused {
            true => ("resume", "lets it begin"),
            false => ("watch", "shows its progress"),
        };
        ui.note(&format!("hint: `peloton upgrade {verb} {id}` {what}"));
    }
    Ok(())
}

/// The options as the API has them.
fn options(how: &HowArgs) -> UpgradeOptions {
    let (batch_size, batch_percentage) = match how.batch {
        None => (0, 0.0),
        Some(Batch::Count(count)) => (count, 0.0),
        Some(Batch::Percent(percent)) => (0, percent),
    };
    UpgradeOptions {
        batch_size,
        batch_percentage,
        stop_before_upgrade: how.stop_before,
        max_instance_retries: how.instance_retries,
        max_failed_instances: how.max_failures,
        health_deadline_secs: how.health_deadline,
        min_healthy_secs: how.min_healthy,
        placement_deadline_secs: how.placement_deadline,
        rollback_on_failure: how.no_rollback.then_some(false),
        start_paused: how.start_paused,
    }
}

fn page(ui: &Ui, job: &str, plan: &UpgradePlan) -> String {
    let counts = plan.counts.iter().map(|(action, count)| format!("{count} {action}"));
    let counts: Vec<_> = counts.collect();
    let mut page = ui::pairs(&[
        ("Job", job.to_owned()),
        ("Version", format!("{} -> {}", plan.from_version, plan.to_version)),
        ("At a time", text::instances(plan.batch)),
        ("Instances", text::or_none(&counts.join(", "))),
    ]);
    if !plan.changes.is_empty() {
        let _ = write!(page, "\n{}", changes::text(&plan.changes));
    }
    if !plan.instances.is_empty() {
        let _ = write!(page, "\n{}", agents(ui, plan));
    }
    page
}

/// What becomes of the instances, a line for all of an agent with which the same is done.
fn agents(ui: &Ui, plan: &UpgradePlan) -> String {
    let mut groups = BTreeMap::<(&str, &str, &str), Vec<u32>>::new();
    for instance in &plan.instances {
        let key = (instance.host.as_str(), instance.action.as_str(), instance.more.as_str());
        groups.entry(key).or_default().push(instance.instance_id);
    }
    let mut table = ui.table(&["HOST", "INSTANCES", "ACTION", "MORE"]);
    for ((host, action, more), instances) in groups {
        table.add_row(vec![
            Cell::new(text::or_none(host)),
            Cell::new(Instances::of(&instances)),
            Cell::new(action),
            Cell::new(text::or_none(more)),
        ]);
    }
    let mut text = ui::lines(&table);
    let all: u32 = plan.counts.values().sum();
    let more = all.saturating_sub(plan.instances.len() as u32);
    if more > 0 {
        let _ = writeln!(text, "... and {} more", text::instances(more));
    }
    text
}
