//! The stand-in's upgrades.

use std::collections::VecDeque;

use peloton_proto::peloton::upgrade::upgrade_manager_server::UpgradeManager;
use peloton_proto::peloton::upgrade::{
    self, InvalidState, State, UpgradeAlreadyExists, UpgradeInfo, UpgradeList, UpgradeNotFound,
    WorkflowId,
};
use tonic::Request;

use super::{Answer, Service, conflict, name, next, not_found, ok};
use crate::data;

/// What each question for an upgrade is answered with; the last one stays.
pub(crate) type Upgrade = VecDeque<UpgradeInfo>;

/// The id that a new upgrade gets.
const NEW: &str = "web-3-0000abcd";
/// The id of the one that takes a finished one back.
const TAKES_BACK: &str = "web-4-00004444";

fn id_of(id: &Option<WorkflowId>) -> String {
    id.clone().unwrap_or_default().value
}

fn is_active(info: &UpgradeInfo) -> bool {
    matches!(info.state(), State::RollingForward | State::RollingBack | State::Paused)
}

impl Service {
    fn upgrade(&self, id: &Option<WorkflowId>) -> Option<UpgradeInfo> {
        self.state().upgrades.get_mut(&id_of(id)).and_then(next)
    }

    /// What a change of an upgrade is refused with, or that it is written down.
    fn change(
        &self,
        verb: &str,
        id: &Option<WorkflowId>,
        may_be_over: bool,
    ) -> (Option<UpgradeNotFound>, Option<InvalidState>) {
        let Some(info) = self.state().upgrades.get(&id_of(id)).map(|infos| infos[0].clone()) else {
            let message = "no such upgrade".into();
            return (Some(UpgradeNotFound { id: id.clone(), message }), None);
        };
        if !is_active(&info) && !may_be_over {
            let (workflow_id, invalid_state) = (id.clone(), info.state);
            return (None, Some(InvalidState { workflow_id, invalid_state }));
        }
        self.asked(format!("{verb} {}", id_of(id)));
        (None, None)
    }
}

#[tonic::async_trait]
impl UpgradeManager for Service {
    async fn create(&self, r: Request<upgrade::CreateRequest>) -> Answer<upgrade::CreateResponse> {
        let upgrade::CreateRequest { spec, dry_run } = r.into_inner();
        let spec = spec.unwrap_or_default();
        let job = name(&spec.job_id);
        let mut answer = upgrade::CreateResponse::default();
        let mut state = self.state();
        let active = state
            .upgrades
            .values()
            .map(|infos| &infos[0])
            .find(|info| is_active(info) && name(&info.job_id) == job);
        let active = active.and_then(|info| info.workflow_id.clone());
        if !state.jobs.contains_key(&job) {
            answer.not_found = not_found(&spec.job_id);
        } else if let Some(conflict) = conflict(spec.expected_version) {
            answer.conflict = Some(conflict);
        } else if active.is_some() && !spec.replace {
            let message = "it is being upgraded".into();
            answer.already_exists = Some(UpgradeAlreadyExists { id: active, message });
        } else if dry_run {
            answer.plan = Some(data::plan());
        } else {
            let (count, options) =
                (spec.job_config.unwrap_or_default().instance_count, spec.options);
            let replace = if spec.replace { ", replacing" } else { "" };
            let options = peloton_proto::json::to_json_string(
                &options.unwrap_or_default(),
                peloton_proto::json::JsonOptions::default(),
            );
            state
                .requests
                .push(format!("upgrade {job} with {count}{replace}: {}", options.unwrap()));
            answer.result = Some(WorkflowId { value: NEW.into() });
            let progress = state.upgrading.clone();
            if !progress.is_empty() {
                state.upgrades.insert(NEW.into(), progress);
            }
        }
        ok(answer)
    }

    async fn get(&self, r: Request<upgrade::GetRequest>) -> Answer<upgrade::GetResponse> {
        let id = r.into_inner().workflow_id;
        let result = self.upgrade(&id);
        let message = "no such upgrade".into();
        let not_found = result.is_none().then_some(UpgradeNotFound { id, message });
        ok(upgrade::GetResponse { result, not_found })
    }

    /// A page is one upgrade, so that paging is seen.
    async fn list(&self, r: Request<upgrade::ListRequest>) -> Answer<upgrade::ListResponse> {
        let request = r.into_inner();
        let job = request.job_id.map(|id| id.value);
        let state = self.state();
        let of_job =
            |info: &&UpgradeInfo| job.as_ref().is_none_or(|job| *job == name(&info.job_id));
        let fits = state.upgrades.values().rev().map(|infos| &infos[0]).filter(of_job);
        let skip = request.page_token.parse().unwrap_or(0);
        let mut rest = fits.skip(skip);
        let value: Vec<_> = rest.by_ref().take(1).cloned().collect();
        let next_page_token = rest.next().map(|_| (skip + 1).to_string()).unwrap_or_default();
        ok(upgrade::ListResponse { result: Some(UpgradeList { value }), next_page_token })
    }

    async fn pause(&self, r: Request<upgrade::PauseRequest>) -> Answer<upgrade::PauseResponse> {
        let (not_found, invalid_state) = self.change("pause", &r.into_inner().workflow_id, false);
        ok(upgrade::PauseResponse { not_found, invalid_state })
    }

    async fn resume(&self, r: Request<upgrade::ResumeRequest>) -> Answer<upgrade::ResumeResponse> {
        let (not_found, invalid_state) = self.change("resume", &r.into_inner().workflow_id, false);
        ok(upgrade::ResumeResponse { not_found, invalid_state })
    }

    async fn rollback(
        &self,
        r: Request<upgrade::RollbackRequest>,
    ) -> Answer<upgrade::RollbackResponse> {
        let id = r.into_inner().workflow_id;
        let (not_found, invalid_state) = self.change("rollback", &id, true);
        let over = self.upgrade(&id).is_some_and(|info| info.state() == State::Succeeded);
        let result = if over { Some(WorkflowId { value: TAKES_BACK.into() }) } else { id };
        ok(upgrade::RollbackResponse { not_found, invalid_state, result })
    }

    async fn abort(&self, r: Request<upgrade::AbortRequest>) -> Answer<upgrade::AbortResponse> {
        let upgrade::AbortRequest { workflow_id, soft_abort } = r.into_inner();
        let verb = if soft_abort { "softly abort" } else { "abort" };
        let (not_found, invalid_state) = self.change(verb, &workflow_id, false);
        ok(upgrade::AbortResponse { not_found, invalid_state })
    }

    /// A page is two events, so that paging is seen.
    async fn get_events(
        &self,
        r: Request<upgrade::GetEventsRequest>,
    ) -> Answer<upgrade::GetEventsResponse> {
        let request = r.into_inner();
        if self.upgrade(&request.workflow_id).is_none() {
            let (id, message) = (request.workflow_id, "no such upgrade".into());
            let not_found = Some(UpgradeNotFound { id, message });
            return ok(upgrade::GetEventsResponse { not_found, ..Default::default() });
        }
        let skip = request.page_token.parse().unwrap_or(0);
        let all = data::events();
        let more = all.len() > skip + 2;
        let events = all.into_iter().skip(skip).take(2).collect();
        let next_page_token = if more { (skip + 2).to_string() } else { String::new() };
        ok(upgrade::GetEventsResponse { events, not_found: None, next_page_token })
    }
}
