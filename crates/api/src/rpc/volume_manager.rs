//! The procedures of VolumeManager.

use peloton_model::OnDelete;
use peloton_proto::peloton::job as job_pb;
use peloton_proto::peloton::volume as pb;

use super::{Answer, Api, Context};
use crate::ApiError;
use crate::convert::job_id;
use crate::domain::{PageRequest, VolumeChange, VolumeFilter, VolumePhase, VolumeView};

fn state(phase: VolumePhase) -> pb::VolumeState {
    match phase {
        VolumePhase::Creating => pb::VolumeState::Creating,
        VolumePhase::Filling => pb::VolumeState::Filling,
        VolumePhase::Ready => pb::VolumeState::Ready,
        VolumePhase::Retained => pb::VolumeState::Retained,
        VolumePhase::Deleting => pb::VolumeState::Deleting,
    }
}

fn phase(number: i32) -> Answer<VolumePhase> {
    match pb::VolumeState::try_from(number) {
        Ok(pb::VolumeState::Creating) => Ok(VolumePhase::Creating),
        Ok(pb::VolumeState::Filling) => Ok(VolumePhase::Filling),
        Ok(pb::VolumeState::Ready) => Ok(VolumePhase::Ready),
        Ok(pb::VolumeState::Retained) => Ok(VolumePhase::Retained),
        Ok(pb::VolumeState::Deleting) => Ok(VolumePhase::Deleting),
        Err(_) => {
            let allowed = "0 (CREATING) to 4 (DELETING)";
            Err(ApiError::invalid(format!("states: {number} is not allowed: {allowed}")))
        }
    }
}

fn info(view: &VolumeView) -> pb::VolumeInfo {
    let on_delete = match view.volume.on_delete {
        OnDelete::Retain => job_pb::volume_config::OnDelete::Retain,
        OnDelete::Delete => job_pb::volume_config::OnDelete::Delete,
    };
    pb::VolumeInfo {
        id: Some(pb::VolumeId { value: view.volume.id.clone() }),
        name: view.volume.name.clone(),
        job_id: Some(job_pb::JobId { value: view.slot.job.to_string() }),
        instance_id: view.slot.instance,
        slot: view.slot.slot.0,
        state: state(view.state).into(),
        size_mb: view.volume.size_mb,
        url: view.volume.content.as_ref().map(|content| content.url.clone()).unwrap_or_default(),
        agent_id: view.record.agent.to_string(),
        host: view.host.clone(),
        message: view.volume.message.clone().unwrap_or_default(),
        on_delete: on_delete.into(),
        created_at: view.volume.since,
    }
}

fn id(volume: Option<pb::VolumeId>) -> Answer<String> {
    let id = volume.map(|volume| volume.value).unwrap_or_default();
    if id.is_empty() {
        return Err(ApiError::invalid("volumeId: missing: the id of a volume"));
    }
    Ok(id)
}

fn not_found(id: &str, message: String) -> pb::VolumeNotFound {
    pb::VolumeNotFound { id: Some(pb::VolumeId { value: id.to_owned() }), message }
}

pub(super) async fn list(
    api: &Api,
    _: &Context,
    request: pb::ListRequest,
) -> Answer<pb::ListResponse> {
    let job = request.job_id.map(|id| job_id("jobId", Some(id))).transpose()?;
    let states: Answer<Vec<_>> = request.states.into_iter().map(phase).collect();
    let filter = VolumeFilter { job, agent: request.agent, states: states? };
    let page = PageRequest { limit: request.limit, token: request.page_token };
    let page = api.volumes.list(&filter, &page).await?;
    let result = Some(pb::VolumeList { value: page.volumes.iter().map(info).collect() });
    Ok(pb::ListResponse { result, next_page_token: page.next })
}

pub(super) async fn get(
    api: &Api,
    _: &Context,
    request: pb::GetRequest,
) -> Answer<pb::GetResponse> {
    let id = id(request.volume_id)?;
    let mut answer = pb::GetResponse::default();
    match api.volumes.get(&id).await? {
        Some(view) => answer.result = Some(info(&view)),
        None => answer.not_found = Some(not_found(&id, format!("there is no volume {id:?}"))),
    }
    Ok(answer)
}

/// The two answers that all changes have.
fn outcome(
    id: &str,
    change: VolumeChange,
) -> (Option<pb::VolumeNotFound>, Option<pb::VolumeInUse>) {
    match change {
        VolumeChange::Done => (None, None),
        VolumeChange::NotFound(message) => (Some(not_found(id, message)), None),
        VolumeChange::InUse(message) => (None, Some(pb::VolumeInUse { message })),
    }
}

pub(super) async fn delete(
    api: &Api,
    context: &Context,
    request: pb::DeleteRequest,
) -> Answer<pb::DeleteResponse> {
    let id = id(request.volume_id)?;
    let change = api.volumes.delete(&id, request.force, &context.caller).await?;
    let (not_found, in_use) = outcome(&id, change);
    Ok(pb::DeleteResponse { not_found, in_use })
}

pub(super) async fn release(
    api: &Api,
    context: &Context,
    request: pb::ReleaseRequest,
) -> Answer<pb::ReleaseResponse> {
    let job = job_id("jobId", request.job_id)?;
    let change = api.volumes.release(&job, request.instance_id, &context.caller).await?;
    let (not_found, in_use) = outcome("", change);
    Ok(pb::ReleaseResponse { not_found, in_use })
}

pub(super) async fn adopt(
    api: &Api,
    context: &Context,
    request: pb::AdoptRequest,
) -> Answer<pb::AdoptResponse> {
    let id = id(request.volume_id)?;
    let job = job_id("jobId", request.job_id)?;
    let change = api.volumes.adopt(&id, &job, request.instance_id, &context.caller).await?;
    let (not_found, in_use) = outcome(&id, change);
    Ok(pb::AdoptResponse { not_found, in_use })
}
