//! The procedures of JobManager.

use futures_util::{StreamExt, TryStreamExt, stream};
use peloton_model::JobId;
use peloton_proto::peloton::job as pb;

use super::{Answer, Api, Context, required};
use crate::ApiError;
use crate::convert::{self, job_id, job_id_to_proto};
use crate::domain::{
    Created, Deleted, GoalChange, GoalOutcome, Jobs, PageRequest, Records, Updated, Versions,
};

/// States read at the same time.
const PARALLEL_READS: usize = 32;

pub(super) fn not_found(job: &JobId) -> pb::JobNotFound {
    pb::JobNotFound { id: Some(job_id_to_proto(job)), message: format!("there is no job {job}") }
}

pub(super) fn conflict(job: &JobId, versions: Versions) -> pb::VersionConflict {
    let Versions { expected, actual } = versions;
    let message = format!(
        "job {job} has version {actual}, not {expected}: read it, and apply your change to that"
    );
    pb::VersionConflict { expected, actual, message }
}

/// The service that reads as was asked.
fn reading(api: &Api, stale: bool) -> Jobs {
    if stale { api.jobs.stale() } else { Jobs::clone(&api.jobs) }
}

/// What a stale answer is of; 0 of others.
pub(super) fn as_of(records: &Records) -> i64 {
    records.as_of().unwrap_or_default().0
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
        Created::Created | Created::Same => answer.result = Some(id),
        Created::AlreadyExists => {
            let message = format!(
                "there is a job {job} already, with another configuration; nothing was changed"
            );
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
    let jobs = reading(api, request.stale);
    let mut answer = pb::GetResponse::default();
    match jobs.get(&job).await? {
        Some(view) => {
            answer.result = Some(convert::job_config(&view.config, view.record.created_at));
        }
        None => answer.not_found = Some(not_found(&job)),
    }
    answer.as_of_revision = as_of(jobs.records());
    Ok(answer)
}

pub(super) async fn query(
    api: &Api,
    _: &Context,
    request: pb::QueryRequest,
) -> Answer<pb::QueryResponse> {
    let labels = convert::labels_from_proto(request.labels)?;
    let page = PageRequest { limit: request.limit, token: request.page_token };
    let jobs = &reading(api, request.stale);
    let page = jobs.query(&labels, &page).await?;
    let mut answer = pb::QueryResponse { next_page_token: page.next, ..Default::default() };
    if request.with_status {
        let ids: Vec<JobId> = page.jobs.iter().map(|view| view.id.clone()).collect();
        let reads = stream::iter(ids).map(|id| async move {
            let status = jobs.status(&id).await?;
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
    answer.as_of_revision = as_of(jobs.records());
    Ok(answer)
}

pub(super) async fn delete(
    api: &Api,
    context: &Context,
    request: pb::DeleteRequest,
) -> Answer<pb::DeleteResponse> {
    let job = job_id("id", request.id)?;
    let mut answer = pb::DeleteResponse::default();
    match api.jobs.delete_if(&job, request.expected_version, &context.caller).await? {
        Deleted::Deleted => {}
        Deleted::NotFound => answer.not_found = Some(not_found(&job)),
        Deleted::Conflict(versions) => answer.conflict = Some(conflict(&job, versions)),
    }
    Ok(answer)
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
        Updated::Conflict(versions) => answer.conflict = Some(conflict(&job, versions)),
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

/// What the three changes answer.
type Refused = (Option<pb::JobNotFound>, Option<pb::VersionConflict>);

/// Asks all instances.
async fn change(
    api: &Api,
    context: &Context,
    id: Option<pb::JobId>,
    expected: u64,
    change: GoalChange,
) -> Answer<Refused> {
    let job = job_id("id", id)?;
    match api.jobs.change_if(&job, change, expected, &context.caller).await? {
        GoalOutcome::Done => Ok((None, None)),
        GoalOutcome::NotFound => Ok((Some(not_found(&job)), None)),
        GoalOutcome::Conflict(versions) => Ok((None, Some(conflict(&job, versions)))),
        GoalOutcome::OutOfRange(_) => Err(ApiError::internal("all instances are out of range")),
    }
}

pub(super) async fn start(
    api: &Api,
    context: &Context,
    request: pb::StartRequest,
) -> Answer<pb::StartResponse> {
    let (id, expected) = (request.id, request.expected_version);
    let (not_found, conflict) = change(api, context, id, expected, GoalChange::Start).await?;
    Ok(pb::StartResponse { not_found, invalid_state: None, conflict })
}

pub(super) async fn stop(
    api: &Api,
    context: &Context,
    request: pb::StopRequest,
) -> Answer<pb::StopResponse> {
    let (id, expected) = (request.id, request.expected_version);
    let (not_found, conflict) = change(api, context, id, expected, GoalChange::Stop).await?;
    Ok(pb::StopResponse { not_found, invalid_state: None, conflict })
}

pub(super) async fn restart(
    api: &Api,
    context: &Context,
    request: pb::RestartRequest,
) -> Answer<pb::RestartResponse> {
    let (id, expected) = (request.id, request.expected_version);
    let (not_found, conflict) = change(api, context, id, expected, GoalChange::Restart).await?;
    Ok(pb::RestartResponse { not_found, invalid_state: None, conflict })
}

pub(super) async fn get_status(
    api: &Api,
    _: &Context,
    request: pb::GetStatusRequest,
) -> Answer<pb::GetStatusResponse> {
    let job = job_id("id", request.id)?;
    let jobs = reading(api, request.stale);
    let mut answer = pb::GetStatusResponse::default();
    match jobs.status(&job).await? {
        Some(status) => answer.result = Some(convert::job_status(&status)),
        None => answer.not_found = Some(not_found(&job)),
    }
    answer.as_of_revision = as_of(jobs.records());
    Ok(answer)
}

pub(super) async fn get_versions(
    api: &Api,
    _: &Context,
    request: pb::GetVersionsRequest,
) -> Answer<pb::GetVersionsResponse> {
    let job = job_id("id", request.id)?;
    let mut answer = pb::GetVersionsResponse::default();
    match api.jobs.versions(&job, request.limit, request.version).await? {
        Some(found) => {
            let configs = found.versions.iter();
            answer.versions =
                configs.map(|config| convert::job_config(config, found.created_at)).collect();
            answer.current_version = found.current;
        }
        None => answer.not_found = Some(not_found(&job)),
    }
    Ok(answer)
}
