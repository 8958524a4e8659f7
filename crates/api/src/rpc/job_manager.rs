//! The procedures of JobManager.

use futures_util::{StreamExt, TryStreamExt, stream};
use peloton_model::JobId;
use peloton_proto::peloton::job as pb;

use super::{Answer, Api, Context, required};
use crate::ApiError;
use crate::convert::{self, job_id, job_id_to_proto};
use crate::domain::{Created, Deleted, GoalChange, GoalOutcome, PageRequest, Updated};

/// States read at the same time.
const PARALLEL_READS: usize = 32;

pub(super) fn not_found(job: &JobId) -> pb::JobNotFound {
    pb::JobNotFound { id: Some(job_id_to_proto(job)), message: format!("there is no job {job}") }
}

pub(super) async fn create(
    api: &Api,
    context: &Context,
    request: pb::CreateRequest,
) -> Answer<pb::CreateResponse> {
    let job = job_id("id", request.id)?;
    let config = convert::config_from_proto(required("config", request.config)?)?;
    let mut answer = pb::CreateResponse::default();
    let id = job_id_to_proto(&job);
    match api.jobs.create(&job, config, &context.caller).await? {
        Created::Created => answer.result = Some(id),
        Created::AlreadyExists => {
            let message = format!("there is a job {job} already; nothing was changed");
            answer.already_exists = Some(pb::JobAlreadyExists { id: Some(id), message });
        }
    }
    Ok(answer)
}

pub(super) async fn get(
    api: &Api,
    _: &Context,
    request: pb::GetRequest,
) -> Answer<pb::GetResponse> {
    let job = job_id("id", request.id)?;
    let mut answer = pb::GetResponse::default();
    match api.jobs.get(&job).await? {
        Some(view) => {
            answer.result = Some(convert::job_config(&view.config, view.record.created_at));
        }
        None => answer.not_found = Some(not_found(&job)),
    }
    Ok(answer)
}

pub(super) async fn query(
    api: &Api,
    _: &Context,
    request: pb::QueryRequest,
) -> Answer<pb::QueryResponse> {
    let labels = convert::labels_from_proto(request.labels)?;
    let page = PageRequest { limit: request.limit, token: request.page_token };
    let page = api.jobs.query(&labels, &page).await?;
    let mut answer = pb::QueryResponse { next_page_token: page.next, ..Default::default() };
    if request.with_status {
        let ids: Vec<JobId> = page.jobs.iter().map(|view| view.id.clone()).collect();
        let reads = stream::iter(ids).map(|id| async move {
            let status = api.jobs.status(&id).await?;
            Ok::<_, ApiError>(status.map(|s| (id.as_str().to_owned(), convert::job_status(&s))))
        });
        let found: Vec<_> = reads.buffer_unordered(PARALLEL_READS).try_collect().await?;
        answer.status = found.into_iter().flatten().collect();
    }
    let configs = page.jobs.into_iter().map(|view| {
        let config = convert::job_config(&view.config, view.record.created_at);
        (view.id.as_str().to_owned(), config)
    });
    answer.result = configs.collect();
    Ok(answer)
}

pub(super) async fn delete(
    api: &Api,
    context: &Context,
    request: pb::DeleteRequest,
) -> Answer<pb::DeleteResponse> {
    let job = job_id("id", request.id)?;
    let not_found = match api.jobs.delete(&job, &context.caller).await? {
        Deleted::Deleted => None,
        Deleted::NotFound => Some(not_found(&job)),
    };
    Ok(pb::DeleteResponse { not_found })
}

pub(super) async fn update(
    api: &Api,
    context: &Context,
    request: pb::UpdateRequest,
) -> Answer<pb::UpdateResponse> {
    let job = job_id("id", request.id)?;
    let config = convert::config_from_proto(required("config", request.config)?)?;
    let expected = request.expected_version;
    let mut answer = pb::UpdateResponse::default();
    match api.jobs.update(&job, config, expected, &context.caller).await? {
        Updated::Updated(version) => {
            let id = Some(job_id_to_proto(&job));
            answer.result = Some(pb::UpdateResult { id, version });
        }
        Updated::NotFound => answer.not_found = Some(not_found(&job)),
        Updated::Conflict(versions) => {
            let (expected, actual) = (versions.expected, versions.actual);
            let message = format!(
                "job {job} has version {actual}, not {expected}: read it, and apply your change to that"
            );
            answer.conflict = Some(pb::VersionConflict { expected, actual, message });
        }
        Updated::NeedsUpgrade(fields) => {
            let message = format!(
                "changing {} replaces running instances: start an upgrade for it",
                fields.join(", ")
            );
            answer.needs_upgrade = Some(pb::NeedsUpgrade { fields, message });
        }
    }
    Ok(answer)
}

/// Asks all instances; answers `notFound`, if so.
async fn change(
    api: &Api,
    context: &Context,
    id: Option<pb::JobId>,
    change: GoalChange,
) -> Answer<Option<pb::JobNotFound>> {
    let job = job_id("id", id)?;
    match api.jobs.change(&job, change, &context.caller).await? {
        GoalOutcome::Done => Ok(None),
        GoalOutcome::NotFound => Ok(Some(not_found(&job))),
        GoalOutcome::OutOfRange(_) => Err(ApiError::internal("all instances are out of range")),
    }
}

pub(super) async fn start(
    api: &Api,
    context: &Context,
    request: pb::StartRequest,
) -> Answer<pb::StartResponse> {
    let not_found = change(api, context, request.id, GoalChange::Start).await?;
    Ok(pb::StartResponse { not_found, invalid_state: None })
}

pub(super) async fn stop(
    api: &Api,
    context: &Context,
    request: pb::StopRequest,
) -> Answer<pb::StopResponse> {
    let not_found = change(api, context, request.id, GoalChange::Stop).await?;
    Ok(pb::StopResponse { not_found, invalid_state: None })
}

pub(super) async fn restart(
    api: &Api,
    context: &Context,
    request: pb::RestartRequest,
) -> Answer<pb::RestartResponse> {
    let not_found = change(api, context, request.id, GoalChange::Restart).await?;
    Ok(pb::RestartResponse { not_found, invalid_state: None })
}

pub(super) async fn get_status(
    api: &Api,
    _: &Context,
    request: pb::GetStatusRequest,
) -> Answer<pb::GetStatusResponse> {
    let job = job_id("id", request.id)?;
    let mut answer = pb::GetStatusResponse::default();
    match api.jobs.status(&job).await? {
        Some(status) => answer.result = Some(convert::job_status(&status)),
        None => answer.not_found = Some(not_found(&job)),
    }
    Ok(answer)
}
