//! The procedures of TaskManager.

use peloton_model::JobId;
use peloton_proto::peloton::{job, task as pb};

use super::job_manager::{as_of, not_found};
use super::{Answer, Api, Context};
use crate::ApiError;
use crate::convert::{self, job_id, job_id_to_proto};
use crate::domain::{Found, GoalChange, GoalOutcome, PageRequest, Tasks};

fn out_of_range(job: &JobId, instance_count: u32) -> pb::InstanceIdOutOfRange {
    pb::InstanceIdOutOfRange { job_id: Some(job_id_to_proto(job)), instance_count }
}

/// The service that reads as was asked.
fn reading(api: &Api, stale: bool) -> Tasks {
    if stale { api.tasks.stale() } else { api.tasks.clone() }
}

pub(super) async fn get(
    api: &Api,
    _: &Context,
    request: pb::GetRequest,
) -> Answer<pb::GetResponse> {
    let job = job_id("jobId", request.job_id)?;
    let mut answer = pb::GetResponse::default();
    let tasks = reading(api, request.stale);
    match tasks.get(&job, request.instance_id).await? {
        Found::Found(task) => answer.result = Some(convert::task_info(&task, true)),
        Found::NotFound => answer.not_found = Some(not_found(&job)),
        Found::OutOfRange(count) => answer.out_of_range = Some(out_of_range(&job, count)),
    }
    answer.as_of_revision = as_of(tasks.records());
    Ok(answer)
}

pub(super) async fn list(
    api: &Api,
    _: &Context,
    request: pb::ListRequest,
) -> Answer<pb::ListResponse> {
    let job = job_id("jobId", request.job_id)?;
    let range = request.range.map(|range| (range.from, range.to));
    let page = PageRequest { limit: request.limit, token: request.page_token };
    let with_config = !request.without_config;
    let mut answer = pb::ListResponse::default();
    let tasks = reading(api, request.stale);
    match tasks.list(&job, range, &page, with_config).await? {
        Some(page) => {
            let infos = page.tasks.iter().map(|t| (t.instance, convert::task_info(t, with_config)));
            answer.result = Some(pb::TaskList { value: infos.collect() });
            answer.next_page_token = page.next;
        }
        None => answer.not_found = Some(not_found(&job)),
    }
    answer.as_of_revision = as_of(tasks.records());
    Ok(answer)
}

/// What the three changes answer.
type Refused = (Option<job::JobNotFound>, Option<pb::InstanceIdOutOfRange>);

async fn change(
    api: &Api,
    context: &Context,
    id: Option<job::JobId>,
    ranges: &[pb::InstanceRange],
    change: GoalChange,
) -> Answer<Refused> {
    let job = job_id("jobId", id)?;
    let ranges: Vec<_> = ranges.iter().map(|range| (range.from, range.to)).collect();
    Ok(match api.tasks.change(&job, &ranges, change, &context.caller).await? {
        GoalOutcome::Done => (None, None),
        GoalOutcome::NotFound => (Some(not_found(&job)), None),
        GoalOutcome::OutOfRange(count) => (None, Some(out_of_range(&job, count))),
        GoalOutcome::Conflict(_) => {
            return Err(ApiError::internal("a conflict of versions where none is expected"));
        }
    })
}

pub(super) async fn start(
    api: &Api,
    context: &Context,
    request: pb::StartRequest,
) -> Answer<pb::StartResponse> {
    let (id, ranges) = (request.job_id, request.ranges);
    let (not_found, out_of_range) = change(api, context, id, &ranges, GoalChange::Start).await?;
    Ok(pb::StartResponse { not_found, out_of_range })
}

pub(super) async fn stop(
    api: &Api,
    context: &Context,
    request: pb::StopRequest,
) -> Answer<pb::StopResponse> {
    let (id, ranges) = (request.job_id, request.ranges);
    let (not_found, out_of_range) = change(api, context, id, &ranges, GoalChange::Stop).await?;
    Ok(pb::StopResponse { not_found, out_of_range })
}

pub(super) async fn restart(
    api: &Api,
    context: &Context,
    request: pb::RestartRequest,
) -> Answer<pb::RestartResponse> {
    let (id, ranges) = (request.job_id, request.ranges);
    let (not_found, out_of_range) = change(api, context, id, &ranges, GoalChange::Restart).await?;
    Ok(pb::RestartResponse { not_found, out_of_range })
}

pub(super) async fn get_history(
    api: &Api,
    _: &Context,
    request: pb::GetHistoryRequest,
) -> Answer<pb::GetHistoryResponse> {
    let job = job_id("jobId", request.job_id)?;
    let instance = request.instance_id;
    let mut answer = pb::GetHistoryResponse::default();
    let tasks = reading(api, request.stale);
    match tasks.history(&job, instance, request.limit).await? {
        Found::Found(runs) => {
            let runs = runs.iter().map(|run| convert::run_info(job.as_str(), instance, run));
            answer.result = Some(pb::RunList { runs: runs.collect() });
        }
        Found::NotFound => answer.not_found = Some(not_found(&job)),
        Found::OutOfRange(count) => answer.out_of_range = Some(out_of_range(&job, count)),
    }
    answer.as_of_revision = as_of(tasks.records());
    Ok(answer)
}
