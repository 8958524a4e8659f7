//! The procedures of UpgradeManager.

use peloton_model::{Abort, UpgradeId};
use peloton_proto::peloton::upgrade as pb;

use super::job_manager::{conflict, not_found};
use super::{Answer, Api, Context, required};
use crate::convert::{self, job_id, upgrade_id, upgrade_id_to_proto};
use crate::domain::{Controlled, PageRequest, Start, UpgradeControl, UpgradeRequest};

fn no_upgrade(id: &UpgradeId) -> pb::UpgradeNotFound {
    let message = format!("there is no upgrade {id}, or it is not kept any more");
    pb::UpgradeNotFound { id: Some(upgrade_id_to_proto(id)), message }
}

pub(super) async fn create(
    api: &Api,
    context: &Context,
    request: pb::CreateRequest,
) -> Answer<pb::CreateResponse> {
    let spec = required("spec", request.spec)?;
    let job = job_id("spec.jobId", spec.job_id)?;
    let config = convert::config_from_proto(required("spec.jobConfig", spec.job_config)?)?;
    let (options, start_paused) = convert::upgrade_options(spec.options.unwrap_or_default())?;
    let (expected, replace) = (spec.expected_version, spec.replace);
    let asked = UpgradeRequest { config, options, start_paused, expected, replace };
    let mut answer = pb::CreateResponse::default();
    let refused = if request.dry_run {
        match api.upgrades.plan(&job, &asked).await? {
            Start::Done(plan) => {
                answer.plan = Some(convert::upgrade_plan(&plan, &asked.config)?);
                return Ok(answer);
            }
            Start::NotFound => Start::NotFound,
            Start::AlreadyExists(id) => Start::AlreadyExists(id),
            Start::Conflict(versions) => Start::Conflict(versions),
        }
    } else {
        api.upgrades.create(&job, &asked, &context.caller).await?
    };
    match refused {
        Start::Done(id) => answer.result = Some(upgrade_id_to_proto(&id)),
        Start::NotFound => answer.not_found = Some(not_found(&job)),
        Start::AlreadyExists(id) => {
            let message = format!(
                "job {job} is being upgraded by {id}: wait until that has ended, or replace it"
            );
            let id = Some(upgrade_id_to_proto(&id));
            answer.already_exists = Some(pb::UpgradeAlreadyExists { id, message });
        }
        Start::Conflict(versions) => answer.conflict = Some(conflict(&job, versions)),
    }
    Ok(answer)
}

pub(super) async fn get(
    api: &Api,
    _: &Context,
    request: pb::GetRequest,
) -> Answer<pb::GetResponse> {
    let id = upgrade_id(request.workflow_id)?;
    let mut answer = pb::GetResponse::default();
    match api.upgrades.get(&id).await? {
        Some(view) => answer.result = Some(convert::upgrade_info(&view)?),
        None => answer.not_found = Some(no_upgrade(&id)),
    }
    Ok(answer)
}

pub(super) async fn list(
    api: &Api,
    _: &Context,
    request: pb::ListRequest,
) -> Answer<pb::ListResponse> {
    let job = request.job_id.map(|id| job_id("jobId", Some(id))).transpose()?;
    let limit = convert::not_negative("limit", request.limit)?;
    let page = PageRequest { limit, token: request.page_token };
    let page = api.upgrades.list(job.as_ref(), &page).await?;
    let value: Answer<Vec<_>> = page.upgrades.iter().map(convert::upgrade_info).collect();
    let result = Some(pb::UpgradeList { value: value? });
    Ok(pb::ListResponse { result, next_page_token: page.next })
}

/// What the four changes answer.
struct Done {
    id: Option<pb::WorkflowId>,
    not_found: Option<pb::UpgradeNotFound>,
    invalid_state: Option<pb::InvalidState>,
}

async fn control(
    api: &Api,
    context: &Context,
    id: Option<pb::WorkflowId>,
    control: UpgradeControl,
) -> Answer<Done> {
    let id = upgrade_id(id)?;
    let mut done = Done { id: None, not_found: None, invalid_state: None };
    match api.upgrades.control(&id, control, &context.caller).await? {
        Controlled::Done(id) => done.id = Some(upgrade_id_to_proto(&id)),
        Controlled::NotFound => done.not_found = Some(no_upgrade(&id)),
        Controlled::InvalidState(state) => {
            let invalid_state = convert::upgrade_state(state).into();
            let workflow_id = Some(upgrade_id_to_proto(&id));
            done.invalid_state = Some(pb::InvalidState { workflow_id, invalid_state });
        }
    }
    Ok(done)
}

pub(super) async fn pause(
    api: &Api,
    context: &Context,
    request: pb::PauseRequest,
) -> Answer<pb::PauseResponse> {
    let Done { not_found, invalid_state, .. } =
        control(api, context, request.workflow_id, UpgradeControl::Pause).await?;
    Ok(pb::PauseResponse { not_found, invalid_state })
}

pub(super) async fn resume(
    api: &Api,
    context: &Context,
    request: pb::ResumeRequest,
) -> Answer<pb::ResumeResponse> {
    let Done { not_found, invalid_state, .. } =
        control(api, context, request.workflow_id, UpgradeControl::Resume).await?;
    Ok(pb::ResumeResponse { not_found, invalid_state })
}

pub(super) async fn rollback(
    api: &Api,
    context: &Context,
    request: pb::RollbackRequest,
) -> Answer<pb::RollbackResponse> {
    let Done { id, not_found, invalid_state } =
        control(api, context, request.workflow_id, UpgradeControl::Rollback).await?;
    Ok(pb::RollbackResponse { not_found, invalid_state, result: id })
}

pub(super) async fn abort(
    api: &Api,
    context: &Context,
    request: pb::AbortRequest,
) -> Answer<pb::AbortResponse> {
    let how = if request.soft_abort { Abort::Soft } else { Abort::Hard };
    let Done { not_found, invalid_state, .. } =
        control(api, context, request.workflow_id, UpgradeControl::Abort(how)).await?;
    Ok(pb::AbortResponse { not_found, invalid_state })
}

pub(super) async fn get_events(
    api: &Api,
    _: &Context,
    request: pb::GetEventsRequest,
) -> Answer<pb::GetEventsResponse> {
    let id = upgrade_id(request.workflow_id)?;
    let page = PageRequest { limit: request.limit, token: request.page_token };
    let mut answer = pb::GetEventsResponse::default();
    match api.upgrades.events(&id, &page).await? {
        Some(page) => {
            let events = page.events.iter();
            answer.events =
                events.map(|(n, event)| convert::upgrade_event(&id, *n, event)).collect();
            answer.next_page_token = page.next;
        }
        None => answer.not_found = Some(no_upgrade(&id)),
    }
    Ok(answer)
}
