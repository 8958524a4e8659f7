//! `job history|diff`: the configuration versions of a job, and where they differ.

use comfy_table::Cell;
use peloton_client::Client;
use peloton_proto::json::JsonMessage;
use peloton_proto::peloton::job::{GetVersionsRequest, JobConfig};
use peloton_proto::peloton::upgrade::{FieldChange, UpgradeInfo};
use serde::Serialize;

use super::{get_config, job_id, upgrade};
use crate::args::{DiffArgs, FileArgs, HistoryArgs};
use crate::changes;
use crate::exit::{Exit, Failure};
use crate::full::Full;
use crate::jobfile;
use crate::text;
use crate::ui::{self, Ui};

/// The versions of a job that are kept, the newest first, and the one in force.
struct Versions {
    kept: Vec<JobConfig>,
    current: u64,
}

/// The number of a configuration.
fn number(config: &JobConfig) -> u64 {
    config.change_log.as_ref().map_or(0, |log| u64::try_from(log.version).unwrap_or(0))
}

impl Versions {
    async fn ask(client: &Client, job: &str, limit: u32, version: u64) -> Result<Self, Failure> {
        let request = GetVersionsRequest { id: job_id(job), limit, version };
        let answer = client.jobs().get_versions(request).await?;
        if answer.not_found.is_some() {
            return Err(Failure::no_job(job));
        }
        Ok(Self { kept: answer.versions, current: answer.current_version })
    }

    /// The one with that number.
    async fn one(client: &Client, job: &str, version: u64) -> Result<JobConfig, Failure> {
        let found = Self::ask(client, job, 0, version).await?;
        let one = found.kept.into_iter().find(|config| number(config) == version);
        one.ok_or_else(|| {
            Failure::new(
                Exit::NotFound,
                format!("job {job:?} has no version {version} any more, or yet"),
            )
            .hint(format!("`peloton job history {job}` shows those that are kept"))
        })
    }

    /// The one before `to`, the current one if that is 0; and that one.
    async fn pair(client: &Client, job: &str, to: u64) -> Result<(JobConfig, JobConfig), Failure> {
        let Self { kept, current } = Self::ask(client, job, 0, 0).await?;
        let to = if to == 0 { current } else { to };
        let before = kept.iter().filter(|config| number(config) < to).max_by_key(|c| number(c));
        let after = kept.iter().find(|config| number(config) == to);
        match (before, after) {
            (Some(before), Some(after)) => Ok((before.clone(), after.clone())),
            (_, None) => {
                let after = Self::one(client, job, to).await?;
                let before = Self::one(client, job, to.saturating_sub(1)).await?;
                Ok((before, after))
            }
            (None, Some(_)) => {
                let message = format!("job {job:?} has no version before {to}");
                Err(Failure::new(Exit::NotFound, message)
                    .hint(format!("`peloton job history {job}` shows those that are kept")))
            }
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct HistoryDocument {
    current_version: u64,
    versions: Vec<VersionDocument>,
}

#[derive(Debug, Serialize)]
struct VersionDocument {
    version: u64,
    current: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    upgrade: Option<MadeBy>,
    config: JsonMessage,
}

/// The upgrade that made a version.
#[derive(Debug, Serialize)]
struct MadeBy {
    id: String,
    state: String,
}

impl MadeBy {
    fn find(upgrades: &[UpgradeInfo], version: u64) -> Option<Self> {
        let info = upgrades.iter().find(|info| info.to_version == version)?;
        let id = info.workflow_id.clone().unwrap_or_default().value;
        Some(Self { id, state: upgrade::state_name(info.state) })
    }
}

pub(super) async fn history(client: &Client, ui: &Ui, args: &HistoryArgs) -> Result<(), Failure> {
    let job = &args.job;
    let Versions { kept, current } = Versions::ask(client, job, args.limit.unwrap_or(0), 0).await?;
    let upgrades = upgrade::of_job(client, job).await?;
    let document = |config: &JobConfig| {
        let version = number(config);
        Ok(VersionDocument {
            version,
            current: version == current,
            upgrade: MadeBy::find(&upgrades, version),
            config: ui::message(config)?,
        })
    };
    let versions: Result<Vec<_>, Failure> = kept.iter().map(document).collect();
    let document = HistoryDocument { current_version: current, versions: versions? };
    ui.show(&document, || table(ui, &kept, &document))
}

fn table(ui: &Ui, kept: &[JobConfig], document: &HistoryDocument) -> String {
    let header = ["VERSION", "CURRENT", "INSTANCES", "CREATED", "BY", "UPGRADE", "STATE"];
    let mut table = ui.table(&header);
    for (config, version) in kept.iter().zip(&document.versions) {
        let log = config.change_log.clone().unwrap_or_default();
        let (id, state) = match &version.upgrade {
            Some(upgrade) => (upgrade.id.as_str(), upgrade.state.as_str()),
            None => (text::NONE, text::NONE),
        };
        table.add_row(vec![
            Cell::new(version.version),
            ui.state(if version.current { "yes" } else { text::NONE }),
            Cell::new(config.instance_count),
            Cell::new(text::time_ms(log.updated_at)),
            Cell::new(text::or_none(&log.updated_by)),
            Cell::new(id),
            ui.state(state),
        ]);
    }
    ui::lines(&table)
}

/// What is compared with what, and where they differ.
#[derive(Debug, Serialize)]
struct DiffDocument {
    job: String,
    from: u64,
    /// Absent where it is a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<u64>,
    changes: Vec<Full>,
}

pub(super) async fn diff(client: &Client, ui: &Ui, args: &DiffArgs) -> Result<(), Failure> {
    let (job, from, after) = compared(client, ui, args).await?;
    let to = args.file.is_none().then(|| number(&after));
    // Read as a master does it, with the defaults filled in where nothing is said: that is no difference.
    let read = |config: JobConfig, exit| {
        peloton_master::config_from_proto(config)
            .map_err(|error| Failure::new(exit, error.to_string()))
    };
    let document = DiffDocument { job, from: number(&from), to, changes: Vec::new() };
    let before = read(from, Exit::Failed)?;
    let after = read(after, if to.is_none() { Exit::Usage } else { Exit::Failed })?;
    let changes: Vec<FieldChange> = peloton_master::field_changes(&before, &after)
        .map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
    let messages: Result<_, _> = changes.iter().map(ui::full).collect();
    let document = DiffDocument { changes: messages?, ..document };
    if changes.is_empty() {
        ui.note("no difference");
    }
    ui.show(&document, || {
        let to = match document.to {
            Some(to) => format!("version {to}"),
            None => "the file".to_owned(),
        };
        format!(
            "job {}: from version {} to {to}\n\n{}",
            document.job,
            document.from,
            changes::text(&changes)
        )
    })
}

/// The job, and its two configurations.
async fn compared(
    client: &Client,
    ui: &Ui,
    args: &DiffArgs,
) -> Result<(String, JobConfig, JobConfig), Failure> {
    if let Some(file) = &args.file {
        let file = FileArgs { job: args.job.clone(), file: file.clone(), strict: args.strict };
        let mut jobs = jobfile::read(&file, ui)?;
        let (Some(job), true) = (jobs.pop(), jobs.is_empty()) else {
            return Err(Failure::usage("the file has more than one job; compare them one by one"));
        };
        let from = match args.from {
            Some(version) => Versions::one(client, &job.id, version).await?,
            None => get_config(client, &job.id, false).await?.0,
        };
        return Ok((job.id, from, job.config));
    }
    let job = args.job.clone().unwrap_or_default();
    let (from, to) = match (args.from, args.to) {
        (None, to) => Versions::pair(client, &job, to.unwrap_or(0)).await?,
        (Some(from), to) => {
            let to = match to {
                Some(to) => Versions::one(client, &job, to).await?,
                None => get_config(client, &job, false).await?.0,
            };
            (Versions::one(client, &job, from).await?, to)
        }
    };
    Ok((job, from, to))
}
