//! `task list|get`.

use std::collections::BTreeMap;

use comfy_table::Cell;
use peloton_client::Client;
use peloton_proto::peloton::task::{GetRequest, InstanceRange, ListRequest, RuntimeInfo, TaskInfo};
use serde::Serialize;

use super::job_id;
use crate::args::{TaskArg, TaskListArgs};
use crate::exit::Failure;
use crate::full::Full;
use crate::ranges::Instances;
use crate::text;
use crate::ui::{self, Ui};

/// The instances of a job, or those of them that are asked for, without their configurations; and the
/// revision that they are of, if they are stale.
pub(crate) async fn list_tasks(
    client: &Client,
    job: &str,
    instances: Option<&Instances>,
    stale: bool,
) -> Result<(BTreeMap<u32, TaskInfo>, i64), Failure> {
    let ranges: Vec<Option<InstanceRange>> = match instances {
        Some(instances) => instances.ranges().into_iter().map(Some).collect(),
        None => vec![None],
    };
    let (mut tasks, mut as_of) = (BTreeMap::new(), None);
    for range in ranges {
        let (job_id, without_config) = (job_id(job), true);
        let mut request =
            ListRequest { job_id, range, without_config, stale, ..Default::default() };
        loop {
            let answer = client.tasks().list(request.clone()).await?;
            if answer.not_found.is_some() {
                return Err(Failure::no_job(job));
            }
            as_of = as_of.or(Some(i64::MAX)).min(Some(answer.as_of_revision));
            tasks.extend(answer.result.unwrap_or_default().value);
            if answer.next_page_token.is_empty() {
                break;
            }
            request.page_token = answer.next_page_token;
        }
    }
    Ok((tasks, as_of.unwrap_or(0)))
}

/// One instance of a job, and the revision that it is of, if it is stale.
pub(crate) async fn get_task(
    client: &Client,
    job: &str,
    instance: u32,
    stale: bool,
) -> Result<(TaskInfo, i64), Failure> {
    let request = GetRequest { job_id: job_id(job), instance_id: instance, stale };
    let answer = client.tasks().get(request).await?;
    if let Some(out) = answer.out_of_range {
        return Err(Failure::no_instance(job, &format!("instance {instance}"), out.instance_count));
    }
    let task = answer.result.ok_or_else(|| Failure::no_job(job))?;
    Ok((task, answer.as_of_revision))
}

#[derive(Debug, Serialize)]
struct TaskDocument {
    tasks: Vec<Full>,
}

pub(super) async fn list(client: &Client, ui: &Ui, args: &TaskListArgs) -> Result<(), Failure> {
    let instances = args.instances.as_ref();
    let (tasks, as_of) = list_tasks(client, &args.job, instances, args.read.stale).await?;
    let messages: Result<_, _> = tasks.values().map(ui::full).collect();
    if tasks.is_empty() {
        ui.note("no such instances");
    }
    ui.show_as_of(as_of, &TaskDocument { tasks: messages? }, || task_table(ui, &tasks))
}

fn task_table(ui: &Ui, tasks: &BTreeMap<u32, TaskInfo>) -> String {
    if tasks.is_empty() {
        return String::new();
    }
    let header = ["INSTANCE", "STATE", "HEALTH", "HOST", "RUN", "VERSION", "STARTED", "NOTE"];
    let mut table = ui.table(&header);
    let none = RuntimeInfo::default();
    for (instance, task) in tasks {
        let runtime = task.runtime.as_ref().unwrap_or(&none);
        table.add_row(vec![
            Cell::new(instance),
            ui.state(&text::task_state(runtime)),
            ui.state(&text::health(runtime)),
            Cell::new(text::or_none(&runtime.host)),
            Cell::new(runtime.run_number),
            Cell::new(runtime.config_version),
            Cell::new(text::time_info(runtime.started_at.as_ref())),
            Cell::new(text::note(runtime)),
        ]);
    }
    ui::lines(&table)
}

pub(super) async fn get(client: &Client, ui: &Ui, args: &TaskArg) -> Result<(), Failure> {
    let (task, as_of) = get_task(client, &args.job, args.instance, args.read.stale).await?;
    let none = RuntimeInfo::default();
    ui.show_as_of(as_of, &ui::full(&task)?, || {
        page(&args.job, args.instance, task.runtime.as_ref().unwrap_or(&none))
    })
}

fn page(job: &str, instance: u32, runtime: &RuntimeInfo) -> String {
    let ports: Vec<_> = runtime.ports.iter().map(|(name, port)| format!("{name}={port}")).collect();
    let task_id = runtime.task_id.as_ref().map(|id| id.value.clone()).unwrap_or_default();
    let exit = runtime.exit_status.map(|status| status.to_string()).unwrap_or_default();
    let failures = match runtime.failures {
        0 => String::new(),
        failures => format!("{failures} in a row"),
    };
    let time = |time: &Option<_>| match time {
        Some(time) => text::time_info(Some(time)),
        None => String::new(),
    };
    let all = [
        ("Job", job.to_owned()),
        ("Instance", instance.to_string()),
        ("State", text::task_state(runtime)),
        ("Waits for", runtime.wait_reason.clone()),
        ("Health", text::health(runtime).replace(text::NONE, "")),
        ("Run", runtime.run_number.to_string()),
        ("Version", runtime.config_version.to_string()),
        ("Task", task_id),
        ("Host", runtime.host.clone()),
        ("Agent", runtime.agent_id.clone()),
        ("Agent URL", runtime.agent_url.clone()),
        ("Slot", runtime.slot.clone()),
        ("Ports", ports.join(", ")),
        ("Launched", time(&runtime.launched_at)),
        ("Started", time(&runtime.started_at)),
        ("Finished", time(&runtime.finished_at)),
        ("Exit status", exit),
        ("Failures", failures),
        ("Next try", time(&runtime.retry_at)),
        ("Unreachable", time(&runtime.unreachable_since)),
        ("Ends because", runtime.kill_reason.clone()),
        ("Reason", runtime.reason.clone()),
        ("Message", runtime.message.replace(['\n', '\r'], " ")),
        ("Sandbox", runtime.sandbox_path.clone()),
    ];
    // What is not there needs no line.
    let there: Vec<_> = all.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    ui::pairs(&there)
}
