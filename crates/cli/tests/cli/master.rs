//! A stand-in for a master: fixed jobs, and answers that a test chooses.

mod upgrades;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use peloton_proto::peloton::cluster;
use peloton_proto::peloton::cluster::cluster_manager_server::{
    ClusterManager, ClusterManagerServer,
};
use peloton_proto::peloton::job::job_manager_server::{JobManager, JobManagerServer};
use peloton_proto::peloton::job::{
    self, JobAlreadyExists, JobConfig, JobInvalidState, JobNotFound, JobState, JobStatus,
    NeedsUpgrade, UpdateResult, VersionConflict,
};
use peloton_proto::peloton::task::task_manager_server::{TaskManager, TaskManagerServer};
use peloton_proto::peloton::task::{self, InstanceIdOutOfRange, RunList, TaskInfo, TaskList};
use peloton_proto::peloton::upgrade::upgrade_manager_server::UpgradeManagerServer;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use crate::data;
pub(crate) use upgrades::Upgrade;

/// A job and what is told of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Job {
    pub(crate) config: JobConfig,
    /// What each question for the status is answered with; the last one stays.
    pub(crate) statuses: VecDeque<Option<JobStatus>>,
    /// What each question for the tasks is answered with; the last one stays.
    pub(crate) tasks: VecDeque<BTreeMap<u32, TaskInfo>>,
    /// The versions before the present configuration, the newest first.
    pub(crate) versions: Vec<JobConfig>,
}

impl Job {
    fn status(&mut self) -> Option<JobStatus> {
        next(&mut self.statuses).unwrap_or_default()
    }

    fn tasks(&mut self) -> BTreeMap<u32, TaskInfo> {
        next(&mut self.tasks).unwrap_or_default()
    }
}

fn next<T: Clone>(queue: &mut VecDeque<T>) -> Option<T> {
    if queue.len() > 1 { queue.pop_front() } else { queue.front().cloned() }
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) jobs: BTreeMap<String, Job>,
    /// What jobs that are created get told of them.
    pub(crate) progress: VecDeque<Option<JobStatus>>,
    /// The upgrades, by their ids.
    pub(crate) upgrades: BTreeMap<String, Upgrade>,
    /// What is told of an upgrade that is created.
    pub(crate) upgrading: Upgrade,
    /// What was asked for, in a few words.
    pub(crate) requests: Vec<String>,
}

#[derive(Debug, Clone, Default)]
struct Service {
    state: Arc<Mutex<State>>,
}

/// A master that runs until it is dropped.
pub(crate) struct Master {
    service: Service,
    address: SocketAddr,
    _runtime: Runtime,
}

impl Master {
    pub(crate) fn start() -> Self {
        let runtime = Runtime::new().unwrap();
        let service = Service::default();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let server = tonic::transport::Server::builder()
            .add_service(JobManagerServer::new(service.clone()))
            .add_service(TaskManagerServer::new(service.clone()))
            .add_service(UpgradeManagerServer::new(service.clone()))
            .add_service(ClusterManagerServer::new(service.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        runtime.spawn(server);
        Self { service, address, _runtime: runtime }
    }

    /// One with jobs to look at.
    pub(crate) fn with_jobs() -> Self {
        use task::TaskState::{Running, Scheduling, Throttled};
        let master = Self::start();
        let mut web =
            Job { config: data::config("search", job::JobType::Service, 9), ..Job::default() };
        web.statuses.push_back(Some(data::waiting_status()));
        let states = [Running, Running, Scheduling, Throttled];
        let task = |(i, state): (usize, &task::TaskState)| {
            let (instance, run) = (i as u32, 4 - i as u64 % 4);
            (instance, data::task("web", instance, *state, run))
        };
        web.tasks.push_back(states.iter().enumerate().map(task).collect());
        let mut batch =
            Job { config: data::config("maps", job::JobType::Batch, 10), ..Job::default() };
        let counts = [(task::TaskState::Succeeded, 10)];
        batch.statuses.push_back(Some(data::status(JobState::Succeeded, 10, &counts)));
        let mut state = master.state();
        state.jobs = BTreeMap::from([("web".to_owned(), web), ("index".to_owned(), batch)]);
        drop(state);
        master
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.service.state()
    }
}

impl Service {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn with_job<T>(&self, id: &Option<job::JobId>, f: impl FnOnce(&mut Job) -> T) -> Option<T> {
        self.state().jobs.get_mut(&name(id)).map(f)
    }

    fn asked(&self, what: String) {
        self.state().requests.push(what);
    }
}

fn name(id: &Option<job::JobId>) -> String {
    id.clone().unwrap_or_default().value
}

fn not_found(id: &Option<job::JobId>) -> Option<JobNotFound> {
    Some(JobNotFound { id: id.clone(), message: "no such job".into() })
}

type Answer<T> = Result<Response<T>, Status>;

fn ok<T>(answer: T) -> Answer<T> {
    Ok(Response::new(answer))
}

/// Every job has version 2.
fn conflict(expected: u64) -> Option<VersionConflict> {
    let message = String::new();
    (![0, 2].contains(&expected)).then_some(VersionConflict { expected, actual: 2, message })
}

/// The revision that stale answers are of.
fn as_of(stale: bool) -> i64 {
    if stale { 4711 } else { 0 }
}

/// The job `killing` can not do anything now.
fn invalid(id: &Option<job::JobId>) -> Option<JobInvalidState> {
    let state = JobState::Killing.into();
    let message = "its instances are being ended".into();
    (name(id) == "killing").then(|| JobInvalidState { id: id.clone(), state, message })
}

#[tonic::async_trait]
impl JobManager for Service {
    async fn create(&self, r: Request<job::CreateRequest>) -> Answer<job::CreateResponse> {
        let caller = r.metadata().get("rpc-caller").map(|c| c.to_str().unwrap().to_owned());
        let job::CreateRequest { id, config } = r.into_inner();
        let config = config.unwrap_or_default();
        if config.command.is_none() {
            return Err(Status::invalid_argument(
                "config.command: is missing; every job needs one",
            ));
        }
        let mut state = self.state();
        let count = config.instance_count;
        let caller = caller.unwrap_or_default();
        let user = caller.split('@').next().unwrap_or_default();
        state.requests.push(format!("create {} with {count} for {user}", name(&id)));
        if state.jobs.contains_key(&name(&id)) {
            let message = "there".into();
            let already_exists = Some(JobAlreadyExists { id, message });
            return ok(job::CreateResponse { already_exists, ..Default::default() });
        }
        let statuses = state.progress.clone();
        state.jobs.insert(name(&id), Job { config, statuses, ..Job::default() });
        ok(job::CreateResponse { result: id, ..Default::default() })
    }

    async fn get(&self, r: Request<job::GetRequest>) -> Answer<job::GetResponse> {
        let job::GetRequest { id, stale } = r.into_inner();
        let result = self.with_job(&id, |job| job.config.clone());
        let not_found = if result.is_some() { None } else { not_found(&id) };
        ok(job::GetResponse { result, not_found, as_of_revision: as_of(stale) })
    }

    /// A page is one job, so that paging is seen.
    async fn query(&self, r: Request<job::QueryRequest>) -> Answer<job::QueryResponse> {
        let request = r.into_inner();
        let labels = request.labels.unwrap_or_default().labels;
        let as_of_revision = as_of(request.stale);
        let mut answer = job::QueryResponse { as_of_revision, ..Default::default() };
        for (id, job) in &mut self.state().jobs {
            let has = job.config.labels.clone().unwrap_or_default().labels;
            let fits = labels.iter().all(|label| has.contains(label));
            if !fits || *id <= request.page_token {
                continue;
            }
            if let Some(last) = answer.result.keys().next() {
                answer.next_page_token = last.clone();
                break;
            }
            answer.result.insert(id.clone(), job.config.clone());
            answer.status.extend(job.status().map(|status| (id.clone(), status)));
        }
        ok(answer)
    }

    async fn delete(&self, r: Request<job::DeleteRequest>) -> Answer<job::DeleteResponse> {
        let job::DeleteRequest { id, expected_version } = r.into_inner();
        self.asked(format!("delete {}", name(&id)));
        let there = self.with_job(&id, |_| ()).is_some();
        let not_found = if there { None } else { not_found(&id) };
        ok(job::DeleteResponse { not_found, conflict: conflict(expected_version) })
    }

    /// Changes of the command need an upgrade; the version is 2.
    async fn update(&self, r: Request<job::UpdateRequest>) -> Answer<job::UpdateResponse> {
        let job::UpdateRequest { id, config, expected_version } = r.into_inner();
        let config = config.unwrap_or_default();
        let mut answer = job::UpdateResponse::default();
        let updated = self.with_job(&id, |job| {
            if let Some(conflict) = conflict(expected_version) {
                answer.conflict = Some(conflict);
            } else if job.config.command != config.command {
                let fields = vec!["command".to_owned(), "resource".to_owned()];
                answer.needs_upgrade = Some(NeedsUpgrade { fields, message: String::new() });
            } else {
                job.config = config;
                answer.result = Some(UpdateResult { id: id.clone(), version: 3 });
            }
        });
        if updated.is_none() {
            answer.not_found = not_found(&id);
        }
        ok(answer)
    }

    async fn start(&self, r: Request<job::StartRequest>) -> Answer<job::StartResponse> {
        let job::StartRequest { id, expected_version } = r.into_inner();
        self.asked(format!("start {}", name(&id)));
        let there = self.with_job(&id, |_| ()).is_some();
        let not_found = if there { None } else { not_found(&id) };
        let conflict = conflict(expected_version);
        ok(job::StartResponse { not_found, invalid_state: invalid(&id), conflict })
    }

    async fn stop(&self, r: Request<job::StopRequest>) -> Answer<job::StopResponse> {
        let job::StopRequest { id, expected_version } = r.into_inner();
        self.asked(format!("stop {}", name(&id)));
        let there = self.with_job(&id, |_| ()).is_some();
        let not_found = if there { None } else { not_found(&id) };
        let conflict = conflict(expected_version);
        ok(job::StopResponse { not_found, invalid_state: invalid(&id), conflict })
    }

    async fn restart(&self, r: Request<job::RestartRequest>) -> Answer<job::RestartResponse> {
        let job::RestartRequest { id, expected_version } = r.into_inner();
        self.asked(format!("restart {}", name(&id)));
        let there = self.with_job(&id, |_| ()).is_some();
        let not_found = if there { None } else { not_found(&id) };
        let conflict = conflict(expected_version);
        ok(job::RestartResponse { not_found, invalid_state: invalid(&id), conflict })
    }

    async fn get_status(
        &self,
        r: Request<job::GetStatusRequest>,
    ) -> Answer<job::GetStatusResponse> {
        let job::GetStatusRequest { id, stale } = r.into_inner();
        let as_of_revision = as_of(stale);
        match self.with_job(&id, Job::status).flatten() {
            Some(mut status) => {
                status.id = id;
                ok(job::GetStatusResponse { result: Some(status), not_found: None, as_of_revision })
            }
            None => {
                let not_found = not_found(&id);
                ok(job::GetStatusResponse { result: None, not_found, as_of_revision })
            }
        }
    }

    async fn get_versions(
        &self,
        r: Request<job::GetVersionsRequest>,
    ) -> Answer<job::GetVersionsResponse> {
        let job::GetVersionsRequest { id, limit, version } = r.into_inner();
        let found = self.with_job(&id, |job| {
            let all = std::iter::once(&job.config).chain(&job.versions);
            let number = |config: &JobConfig| config.change_log.clone().unwrap_or_default().version;
            let fits = all.filter(|config| [0, number(config) as u64].contains(&version));
            let limit = if limit == 0 { usize::MAX } else { limit as usize };
            fits.take(limit).cloned().collect()
        });
        let not_found = if found.is_some() { None } else { not_found(&id) };
        let versions = found.unwrap_or_default();
        ok(job::GetVersionsResponse { versions, not_found, current_version: 2 })
    }

    type WatchStream = tokio_stream::Pending<Result<job::WatchResponse, Status>>;

    async fn watch(&self, _: Request<job::WatchRequest>) -> Answer<Self::WatchStream> {
        Err(Status::unimplemented("not here"))
    }
}

/// What changes of instances are answered with; a job has as many as its configuration says.
fn ranges(
    service: &Service,
    verb: &str,
    id: &Option<job::JobId>,
    ranges: &[task::InstanceRange],
) -> (Option<JobNotFound>, Option<InstanceIdOutOfRange>) {
    let texts: Vec<_> = ranges.iter().map(|range| format!("{}-{}", range.from, range.to)).collect();
    service.asked(format!("{verb} {} {}", name(id), texts.join(" ")));
    let Some(instance_count) = service.with_job(id, |job| job.config.instance_count) else {
        return (not_found(id), None);
    };
    let out = ranges.iter().any(|range| range.to >= instance_count);
    (None, out.then(|| InstanceIdOutOfRange { job_id: id.clone(), instance_count }))
}

#[tonic::async_trait]
impl TaskManager for Service {
    async fn get(&self, r: Request<task::GetRequest>) -> Answer<task::GetResponse> {
        let task::GetRequest { job_id, instance_id, stale } = r.into_inner();
        let mut answer = task::GetResponse { as_of_revision: as_of(stale), ..Default::default() };
        match self.with_job(&job_id, Job::tasks) {
            None => answer.not_found = not_found(&job_id),
            Some(mut tasks) => match tasks.remove(&instance_id) {
                Some(task) => answer.result = Some(task),
                None => {
                    let instance_count = tasks.len() as u32;
                    answer.out_of_range = Some(InstanceIdOutOfRange { job_id, instance_count });
                }
            },
        }
        ok(answer)
    }

    /// A page is three instances, so that paging is seen.
    async fn list(&self, r: Request<task::ListRequest>) -> Answer<task::ListResponse> {
        let request = r.into_inner();
        let Some(tasks) = self.with_job(&request.job_id, |job| {
            // All pages of one list are of one moment.
            if request.page_token.is_empty() { job.tasks() } else { job.tasks[0].clone() }
        }) else {
            let not_found = not_found(&request.job_id);
            return ok(task::ListResponse { not_found, ..Default::default() });
        };
        let range = request.range.unwrap_or(task::InstanceRange { from: 0, to: u32::MAX });
        let first = request.page_token.parse().unwrap_or(0).max(range.from);
        let mut there = tasks.range(first..).filter(|(instance, _)| **instance <= range.to);
        let value: BTreeMap<_, _> = there.by_ref().take(3).map(|(i, t)| (*i, t.clone())).collect();
        let next_page_token = there.next().map(|(i, _)| i.to_string()).unwrap_or_default();
        ok(task::ListResponse {
            result: Some(TaskList { value }),
            not_found: None,
            next_page_token,
            as_of_revision: as_of(request.stale),
        })
    }

    async fn start(&self, r: Request<task::StartRequest>) -> Answer<task::StartResponse> {
        let r = r.into_inner();
        let (not_found, out_of_range) = ranges(self, "start", &r.job_id, &r.ranges);
        ok(task::StartResponse { not_found, out_of_range })
    }

    async fn stop(&self, r: Request<task::StopRequest>) -> Answer<task::StopResponse> {
        let r = r.into_inner();
        let (not_found, out_of_range) = ranges(self, "stop", &r.job_id, &r.ranges);
        ok(task::StopResponse { not_found, out_of_range })
    }

    async fn restart(&self, r: Request<task::RestartRequest>) -> Answer<task::RestartResponse> {
        let r = r.into_inner();
        let (not_found, out_of_range) = ranges(self, "restart", &r.job_id, &r.ranges);
        ok(task::RestartResponse { not_found, out_of_range })
    }

    /// The present run and the one before.
    async fn get_history(
        &self,
        r: Request<task::GetHistoryRequest>,
    ) -> Answer<task::GetHistoryResponse> {
        let r = r.into_inner();
        let task = self.with_job(&r.job_id, Job::tasks).and_then(|mut t| t.remove(&r.instance_id));
        let now = task.and_then(|task| task.runtime).unwrap_or_default();
        let mut before = now.clone();
        before.run_number -= 1;
        before.set_state(task::TaskState::Failed);
        before.sandbox_path = "/sandbox/before".into();
        let result = Some(RunList { runs: vec![now, before] });
        ok(task::GetHistoryResponse { result, ..Default::default() })
    }
}

#[tonic::async_trait]
impl ClusterManager for Service {
    async fn get(&self, _: Request<cluster::GetRequest>) -> Answer<cluster::GetResponse> {
        ok(cluster::GetResponse { result: Some(data::cluster_info()) })
    }

    async fn get_status(
        &self,
        _: Request<cluster::GetStatusRequest>,
    ) -> Answer<cluster::GetStatusResponse> {
        ok(cluster::GetStatusResponse { result: Some(data::cluster_status()) })
    }
}
