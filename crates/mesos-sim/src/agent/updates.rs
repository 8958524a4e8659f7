//! The agent's status update manager: for each task one update at a time, in order, sent again
//! until it is acknowledged.

use super::{Agent, TaskKey};
use crate::link::{StatusMessage, ToMaster};
use crate::random::Uuid;
use crate::script::Plan;
use crate::status::ip_of;
use crate::task::{Container, TaskMeta, is_terminal};
use crate::timers::Timer;
use crate::world::World;
use peloton_proto::mesos::v1;
use std::collections::VecDeque;
use std::sync::Arc;
use v1::TaskState;
use v1::task_status::{Reason, Source};

/// A task, as long as an update of it waits or it runs.
#[derive(Debug)]
pub(super) struct AgentTask {
    /// Absent if there are only updates: of a task that never came here.
    pub(super) meta: Option<Arc<TaskMeta>>,
    pub(super) state: TaskState,
    /// It was handed to its executor, so a kill goes there.
    pub(super) is_started: bool,
    pub(super) is_killed: bool,
    /// The health check had it killed.
    pub(super) is_unhealthy: bool,
    /// It ended with its machine, which has not told so yet.
    pub(super) is_lost: bool,
    pub(super) healthy: Option<bool>,
    pub(super) container: Container,
    pub(super) plan: Option<Box<Plan>>,
    /// The update that was sent last.
    pub(super) sent: Option<(TaskState, Uuid)>,
    waiting: VecDeque<Update>,
    retry_ms: u64,
}

#[derive(Debug)]
struct Update {
    uuid: Uuid,
    container: Container,
    status: Box<v1::TaskStatus>,
}

/// What there is to say of a task.
#[derive(Debug)]
pub(super) struct News {
    pub(super) state: TaskState,
    pub(super) source: Source,
    pub(super) message: Option<String>,
    pub(super) reason: Option<Reason>,
    pub(super) healthy: Option<bool>,
    pub(super) container: Container,
}

impl News {
    /// That a task is in a state, as its executor says.
    pub(super) const fn new(state: TaskState) -> Self {
        let container = Container::Plain;
        Self {
            state,
            source: Source::Executor,
            message: None,
            reason: None,
            healthy: None,
            container,
        }
    }
}

impl AgentTask {
    pub(super) fn new(meta: Option<Arc<TaskMeta>>) -> Self {
        Self {
            meta,
            state: TaskState::TaskStaging,
            is_started: false,
            is_killed: false,
            is_unhealthy: false,
            is_lost: false,
            healthy: None,
            container: Container::Absent,
            plan: None,
            sent: None,
            waiting: VecDeque::new(),
            retry_ms: 0,
        }
    }
}

impl Agent {
    /// Notes news of a task and tells the master, as soon as earlier news are acknowledged. News of
    /// a task that has ended are ignored.
    pub(super) fn update_task(&mut self, world: &mut World, key: &TaskKey, mut news: News) {
        if let Some(task) = self.tasks.get(key)
            && is_terminal(task.state)
        {
            return;
        }
        self.note_draining(world, key, &mut news);
        // The agent asks the container itself, and that of a group's task lives only while it runs.
        let is_there = news.state != TaskState::TaskStarting && !is_terminal(news.state);
        if !is_there && self.is_in_group(key) {
            news.container = news.container.named();
        }
        let uuid = world.random.uuid();
        let agent_id = self.id.as_ref().map(|id| v1::AgentId { value: id.to_string() });
        let ip = ip_of(&self.spec);
        let task = self.tasks.entry(key.clone()).or_insert_with(|| AgentTask::new(None));
        let is_from_executor = news.source == Source::Executor || task.meta.is_some();
        let mut status = v1::TaskStatus {
            task_id: v1::TaskId { value: key.1.to_string() },
            agent_id,
            message: news.message,
            healthy: news.healthy,
            timestamp: Some(world.seconds()),
            uuid: Some(uuid.to_bytes()),
            ..Default::default()
        };
        status.set_state(news.state);
        status.set_source(news.source);
        status.reason = news.reason.map(|reason| reason as i32);
        if let Some(meta) = task.meta.as_ref().filter(|_| is_from_executor) {
            status.executor_id = Some(meta.executor_id());
            status.container_status = news.container.status(meta, &ip);
        }
        task.state = news.state;
        task.healthy = news.healthy;
        task.container = news.container.clone();
        if is_terminal(news.state) {
            task.plan = None;
        }
        task.waiting.push_back(Update {
            uuid,
            container: news.container,
            status: Box::new(status),
        });
        if task.waiting.len() == 1 {
            self.forward(world, key, true);
        }
        if is_terminal(news.state) {
            self.task_ended(world, key);
        }
    }

    /// What is killed on an agent that is drained is killed for that reason.
    fn note_draining(&self, world: &World, key: &TaskKey, news: &mut News) {
        let Some(drain) = self.drain else { return };
        if !matches!(news.state, TaskState::TaskKilling | TaskState::TaskKilled) {
            return;
        }
        news.reason = Some(Reason::AgentDraining);
        if drain.mark_gone && world.names.is_partition_aware(key.0) {
            news.state = TaskState::TaskGoneByOperator;
        }
    }

    /// Sends the oldest update that is not acknowledged.
    fn forward(&mut self, world: &mut World, key: &TaskKey, is_first: bool) {
        if !self.is_registered() {
            return;
        }
        let Some(task) = self.tasks.get_mut(key) else { return };
        let Some(update) = task.waiting.front() else { return };
        let settings = &world.settings;
        task.retry_ms = if is_first {
            settings.update_retry_min_ms
        } else {
            task.retry_ms.saturating_mul(2).min(settings.update_retry_max_ms)
        };
        task.sent = Some((update.status.state(), update.uuid));
        let message = StatusMessage {
            framework: key.0,
            status: v1::TaskStatus::clone(&update.status),
            uuid: update.uuid,
            latest: task.state,
            container: update.container.clone(),
        };
        let (agent, uuid, retry_ms) = (self.index, update.uuid, task.retry_ms);
        let (framework, task) = key.clone();
        world.set_timer(retry_ms, Timer::TaskRetry { agent, framework, task, uuid });
        world.send_to_master(agent, ToMaster::Status(Box::new(message)));
    }

    pub(crate) fn task_retry(&mut self, world: &mut World, key: &TaskKey, uuid: Uuid) {
        let front = self.tasks.get(key).and_then(|task| task.waiting.front());
        if front.is_some_and(|update| update.uuid == uuid) {
            self.forward(world, key, false);
        }
    }

    /// After a registration, what was not acknowledged is sent again at once.
    pub(super) fn resume_updates(&mut self, world: &mut World) {
        let waiting = self.tasks.iter().filter(|(_, task)| !task.waiting.is_empty());
        let waiting: Vec<TaskKey> = waiting.map(|(key, _)| key.clone()).collect();
        for key in waiting {
            self.forward(world, &key, true);
        }
    }

    /// Only the acknowledgement of the oldest update counts.
    pub(super) fn acknowledged(&mut self, world: &mut World, key: TaskKey, uuid: Uuid) {
        let Some(task) = self.tasks.get_mut(&key) else { return };
        if task.waiting.front().is_none_or(|update| update.uuid != uuid) {
            return;
        }
        task.waiting.pop_front();
        if task.waiting.is_empty() {
            task.waiting.shrink_to_fit();
            if is_terminal(task.state) {
                let executor = task.meta.as_ref().and_then(|meta| meta.executor.clone());
                self.tasks.remove(&key);
                if let Some(executor) = executor {
                    self.end_idle_executor(world, key.0, executor);
                }
                self.note_drained();
            }
        } else {
            self.forward(world, &key, true);
        }
    }
}
