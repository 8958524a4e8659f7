//! Instances of jobs and their runs, read from what the shard recorded; and requests for ranges of
//! them. An instance without a record is one that its shard has not looked at: a job of ten thousand
//! instances is listed at once, before any of them was written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use peloton_model::{
    AgentId, AgentRecord, FieldError, FrameworkId, FrameworkRecord, InstanceId, InstanceRecord,
    JobId, JobRecord, JobSummary, RunNumber, RunRecord, TaskState, Version,
};
use peloton_store::keys;

use super::records::{Stored, stored};
use super::time::rfc3339;
use super::{
    Caller, GoalChange, GoalOutcome, InstanceRange, MAX_PAGE_BYTES, PageRequest, Records,
    StoredConfig, goals,
};
use crate::ApiError;

/// What a task takes in an answer besides its configuration, in bytes; an estimate.
const TASK_BYTES: usize = 512;
/// Agents and configurations read at the same time.
const PARALLEL_READS: usize = 32;

/// The service for the instances of jobs.
#[derive(Debug, Clone)]
pub struct Tasks {
    records: Arc<Records>,
}

/// A run of an instance, the current one or an earlier one.
#[derive(Debug, Clone)]
pub struct RunView {
    /// What is recorded of it. The state of an ended run is how it ended.
    pub record: InstanceRecord,
    /// The ports by name.
    pub ports: BTreeMap<String, u16>,
    /// The agent's HTTP address, where known.
    pub agent_url: String,
    /// The run's directory, as the agent's files API names it; empty where there is none.
    pub sandbox_path: String,
    /// Why it waits, in words; empty where it does not.
    pub wait_reason: String,
}

/// An instance.
#[derive(Debug, Clone)]
pub struct TaskView {
    /// Its job.
    pub job: JobId,
    /// When the job was created.
    pub job_created_at: u64,
    /// Its number.
    pub instance: InstanceId,
    /// Its current run.
    pub run: RunView,
    /// The configuration of that run; the job's current one before the first.
    pub config: Arc<StoredConfig>,
}

/// A page of instances.
#[derive(Debug, Clone, Default)]
pub struct TaskPage {
    /// The instances, in the order of their numbers.
    pub tasks: Vec<TaskView>,
    /// Where the next page starts; empty behind the last one.
    pub next: String,
}

/// What a single instance's read answers.
#[derive(Debug, Clone)]
pub enum Found<T> {
    /// It is there.
    Found(T),
    /// There is no such job.
    NotFound,
    /// The job has only so many instances.
    OutOfRange(u32),
}

/// A job with what is needed to show its instances.
struct Job {
    id: JobId,
    shard: u16,
    stored: Stored<JobRecord>,
    /// How many instances there may be.
    span: u32,
    /// The configuration in force.
    config: Arc<StoredConfig>,
    /// The summary, if it is of this job and not of an earlier one of the name.
    summary: Option<JobSummary>,
    framework: Option<FrameworkId>,
}

impl Job {
    /// A record as this job's: one of an earlier job of the name says nothing about an instance.
    fn own(&self, record: InstanceRecord) -> InstanceRecord {
        let own = self.summary.as_ref().is_some_and(|s| self.is_own(s, record.run));
        if own { record } else { self.unrecorded() }
    }

    /// An instance without a record. The shard writes none for one that waits for its first place,
    /// as that follows from the job's; once it has seen the job, that is what such an instance does.
    fn unrecorded(&self) -> InstanceRecord {
        let seen = self.summary.is_some();
        let state = if seen { TaskState::Scheduling } else { TaskState::Initialized };
        InstanceRecord { state, ..Default::default() }
    }

    /// Run 0 stands for "before the first run", so it belongs to no other job.
    fn is_own(&self, summary: &JobSummary, run: RunNumber) -> bool {
        run == 0 || run > summary.run_floor
    }
}

impl Tasks {
    /// Over these records.
    #[must_use]
    pub fn new(records: Arc<Records>) -> Self {
        Self { records }
    }

    /// The same for one answer from what is at hand; see [`Records::stale`].
    #[must_use]
    pub fn stale(&self) -> Self {
        Self::new(Arc::new(self.records.stale()))
    }

    /// The records that this works on.
    #[must_use]
    pub fn records(&self) -> &Records {
        &self.records
    }

    /// Reads an instance.
    ///
    /// # Errors
    /// `unavailable`; `internal` where the store is damaged.
    pub async fn get(
        &self,
        job: &JobId,
        instance: InstanceId,
    ) -> Result<Found<TaskView>, ApiError> {
        let Some(job) = self.job(job).await? else { return Ok(Found::NotFound) };
        let count = job.span;
        if instance >= count {
            return Ok(Found::OutOfRange(count));
        }
        let key = keys::actual_instance(job.shard, job.id.as_str(), instance);
        let record = self.records.read(key).await?.map(|stored| stored.record);
        let record = record.map_or_else(|| job.unrecorded(), |record| job.own(record));
        let mut tasks = self.views(&job, vec![(instance, record)]).await?;
        tasks.pop().map(Found::Found).ok_or_else(|| ApiError::internal("no view of the instance"))
    }

    /// Reads instances: those of the range that the job has, or all.
    ///
    /// # Errors
    /// `invalid-argument` for a range or a page token that is not one; `unavailable`.
    pub async fn list(
        &self,
        job: &JobId,
        range: Option<InstanceRange>,
        page: &PageRequest,
        with_config: bool,
    ) -> Result<Option<TaskPage>, ApiError> {
        let (mut first, last) = range.unwrap_or((0, u32::MAX));
        goals::check_range("range", (first, last))?;
        if !page.token.is_empty() {
            let next = page.token.parse::<u32>().ok().filter(|next| (first..=last).contains(next));
            first = next.ok_or_else(|| {
                let allowed = "the nextPageToken of the page before, or none";
                FieldError::new("pageToken", &page.token, allowed)
            })?;
        }
        let Some(job) = self.job(job).await? else { return Ok(None) };
        // u64, so that the range's end has a successor.
        let behind = (u64::from(last) + 1).min(job.span.into());
        let entries = u64::try_from(page.entries()).unwrap_or(u64::MAX);
        let until = behind.min(u64::from(first).saturating_add(entries));
        let until = u32::try_from(until).unwrap_or(u32::MAX);
        let records = self.instance_records(&job, first, until).await?;
        let mut tasks = self.views(&job, records).await?;
        tasks.truncate(fitting(&tasks, with_config));
        let next = tasks.last().map_or(u64::from(first), |task| u64::from(task.instance) + 1);
        let next = if next < behind { next.to_string() } else { String::new() };
        Ok(Some(TaskPage { tasks, next }))
    }

    /// The runs of an instance, the current one first, then ended ones from the newest; at most
    /// `limit` where that is not 0.
    ///
    /// # Errors
    /// `unavailable`; `internal` where the store is damaged.
    pub async fn history(
        &self,
        job: &JobId,
        instance: InstanceId,
        limit: u32,
    ) -> Result<Found<Vec<RunView>>, ApiError> {
        let current = match self.get(job, instance).await? {
            Found::Found(task) => task.run,
            Found::NotFound => return Ok(Found::NotFound),
            Found::OutOfRange(count) => return Ok(Found::OutOfRange(count)),
        };
        let Some(job) = self.job(job).await? else { return Ok(Found::NotFound) };
        let range = keys::actual_instance_runs(job.shard, job.id.as_str(), instance);
        let mut ended: Vec<InstanceRecord> = Vec::new();
        for kv in self.records.range_all(range).await? {
            let RunRecord { instance, outcome } = stored(&kv)?.record;
            let own = job.summary.as_ref().is_some_and(|s| job.is_own(s, instance.run));
            if own && instance.run != current.record.run {
                ended.push(InstanceRecord { state: outcome, ..instance });
            }
        }
        let ended = ended.into_iter().rev().map(|record| (instance, record)).collect();
        let views = self.views(&job, ended).await?;
        let has_run = current.record.run != 0;
        let runs = has_run.then_some(current).into_iter().chain(views.into_iter().map(|v| v.run));
        let limit = if limit == 0 { usize::MAX } else { limit as usize };
        Ok(Found::Found(runs.take(limit).collect()))
    }

    /// Starts, stops or restarts the instances of the ranges; all where there are none.
    ///
    /// # Errors
    /// `invalid-argument` for a range whose ends are not in order; `resource-exhausted` for too many
    /// separate ranges; `unavailable`; `aborted` when others changed the job until the deadline.
    pub async fn change(
        &self,
        job: &JobId,
        ranges: &[InstanceRange],
        change: GoalChange,
        caller: &Caller,
    ) -> Result<GoalOutcome, ApiError> {
        goals::change(&self.records, job, ranges, change, 0, caller).await
    }

    async fn job(&self, id: &JobId) -> Result<Option<Job>, ApiError> {
        let Some((stored, standing, config)) = self.records.job_with_config(id).await? else {
            return Ok(None);
        };
        let span = standing.span(&stored.record);
        let summary = self.records.summary(id).await?;
        let summary = summary.filter(|summary| summary.incarnation == stored.created.0);
        let shard = self.records.shard(id);
        let framework = self.records.read::<FrameworkRecord>(keys::actual_framework(shard)).await?;
        let framework = framework.map(|stored| stored.record.id);
        Ok(Some(Job { id: id.clone(), shard, stored, span, config, summary, framework }))
    }

    /// Every instance from `first` up to, not including, `until`, with its record or the default.
    async fn instance_records(
        &self,
        job: &Job,
        first: InstanceId,
        until: InstanceId,
    ) -> Result<Vec<(InstanceId, InstanceRecord)>, ApiError> {
        if first >= until {
            return Ok(Vec::new());
        }
        let mut all: Vec<_> = (first..until).map(|i| (i, job.unrecorded())).collect();
        let range = keys::actual_instances_between(job.shard, job.id.as_str(), first, until);
        for kv in self.records.range_all(range).await? {
            let Some(keys::ParsedKey::ActualInstance { instance, .. }) = keys::parse(&kv.key)
            else {
                continue;
            };
            if let Some(entry) = all.get_mut((instance - first) as usize) {
                entry.1 = job.own(stored(&kv)?.record);
            }
        }
        Ok(all)
    }

    async fn views(
        &self,
        job: &Job,
        records: Vec<(InstanceId, InstanceRecord)>,
    ) -> Result<Vec<TaskView>, ApiError> {
        let agents = self.agents(job, &records).await?;
        let configs = self.configs(job, &records).await?;
        let views = records.into_iter().map(|(instance, record)| {
            let config = configs.get(&record.version).unwrap_or(&job.config);
            let agent = record.agent.as_ref().and_then(|agent| agents.get(agent));
            TaskView {
                job: job.id.clone(),
                job_created_at: job.stored.record.created_at,
                instance,
                run: run_view(job, instance, record, config, agent),
                config: Arc::clone(config),
            }
        });
        Ok(views.collect())
    }

    async fn agents(
        &self,
        job: &Job,
        records: &[(InstanceId, InstanceRecord)],
    ) -> Result<BTreeMap<AgentId, AgentRecord>, ApiError> {
        let ids: BTreeSet<AgentId> =
            records.iter().filter_map(|(_, record)| record.agent.clone()).collect();
        let reads = stream::iter(ids).map(|id| async move {
            let key = keys::actual_agent(job.shard, id.as_str());
            let agent = self.records.read::<AgentRecord>(key).await?;
            Ok::<_, ApiError>((id, agent.map(|stored| stored.record).unwrap_or_default()))
        });
        reads.buffer_unordered(PARALLEL_READS).try_collect().await
    }

    async fn configs(
        &self,
        job: &Job,
        records: &[(InstanceId, InstanceRecord)],
    ) -> Result<BTreeMap<Version, Arc<StoredConfig>>, ApiError> {
        let versions: BTreeSet<Version> = records
            .iter()
            .map(|(_, record)| record.version)
            .filter(|version| *version != 0)
            .collect();
        let reads = stream::iter(versions).map(|version| async move {
            let config = self.records.config(&job.id, &job.stored, version).await?;
            Ok::<_, ApiError>((version, config.unwrap_or_else(|| Arc::clone(&job.config))))
        });
        reads.buffer_unordered(PARALLEL_READS).try_collect().await
    }
}

/// How many of the tasks one answer holds; at least one.
fn fitting(tasks: &[TaskView], with_config: bool) -> usize {
    let mut bytes = 0;
    let fits = tasks.iter().take_while(|task| {
        let fits = bytes < MAX_PAGE_BYTES;
        bytes += TASK_BYTES + if with_config { task.config.size_bytes } else { 0 };
        fits
    });
    fits.count()
}

fn run_view(
    job: &Job,
    instance: InstanceId,
    record: InstanceRecord,
    config: &StoredConfig,
    agent: Option<&AgentRecord>,
) -> RunView {
    let names = config.record.config.ports.iter().map(|port| port.name.clone());
    let sandbox_path = match (&job.framework, &record.agent) {
        (Some(framework), Some(_)) if record.run != 0 => {
            // Mesos's own executors carry the task's id.
            let task = record.task_id(&job.id, instance);
            format!("/frameworks/{framework}/executors/{task}/runs/latest")
        }
        _ => String::new(),
    };
    RunView {
        ports: names.zip(record.ports.iter().copied()).collect(),
        agent_url: agent.map(|agent| agent.url.clone()).unwrap_or_default(),
        sandbox_path,
        wait_reason: wait_reason(job, &record),
        record,
    }
}

fn wait_reason(job: &Job, record: &InstanceRecord) -> String {
    match record.state {
        TaskState::Initialized => "its shard has not looked at it yet".to_owned(),
        TaskState::Throttled => {
            let (failures, next) = (record.failures, rfc3339(record.retry_at));
            format!("failed {failures} times in a row; next try at {next}")
        }
        TaskState::Scheduling => {
            let waiting = job.summary.iter().flat_map(|summary| &summary.waiting);
            let texts: Vec<_> = waiting.map(waiting_text).collect();
            texts.join("; ")
        }
        _ => String::new(),
    }
}

/// `waits for resources (3 agents looked at: 2 lack cpus, 1 lacks ports)`.
fn waiting_text(waiting: &peloton_model::Waiting) -> String {
    let lacks: Vec<_> = waiting
        .lacking
        .iter()
        .map(|(lack, agents)| {
            format!("{agents} {} {}", if *agents == 1 { "lacks" } else { "lack" }, lack.name())
        })
        .collect();
    let agents = waiting.agents;
    match (agents, lacks.is_empty()) {
        (0, _) => waiting.reason.clone(),
        (_, true) => format!("{} ({agents} agents looked at)", waiting.reason),
        (_, false) => {
            format!("{} ({agents} agents looked at: {})", waiting.reason, lacks.join(", "))
        }
    }
}
