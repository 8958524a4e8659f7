//! Tasks on an agent: launch, what they do, kill.

use super::updates::{AgentTask, News};
use super::{Agent, AgentExecutor, DEFAULT_GRACE_MS, Drain, TaskKey, kill_output};
use crate::allocator::FrameworkKey;
use crate::link::{Launch, ToMaster};
use crate::random::Uuid;
use crate::script::{Plan, ScriptEvent};
use crate::task::{Container, is_terminal};
use crate::timers::Timer;
use crate::world::World;
use crate::{Output, Script, TaskReport, Tasks};
use peloton_proto::mesos::v1;
use std::sync::Arc;
use v1::TaskState;
use v1::task_status::{Reason, Source};

impl Agent {
    /// Starts tasks. Those that were meant for the agent that this one was before are ignored.
    pub(super) fn launch(&mut self, world: &mut World, launch: Launch) {
        let Launch { framework, tasks, executor, is_group } = launch;
        if tasks.iter().any(|(meta, _)| Some(&meta.agent_id) != self.id.as_ref()) {
            return;
        }
        if let Some(meta) = executor {
            let key = (framework, Arc::clone(&meta.id));
            self.executors.entry(key).or_insert(AgentExecutor { meta, is_group });
        }
        let script = match &self.spec.tasks {
            Tasks::Driver => None,
            Tasks::Script(script) => Some(*script),
        };
        let mut infos = Vec::new();
        for (meta, info) in tasks {
            let key = (framework, Arc::clone(&meta.id));
            let container = meta.container;
            let mut task = AgentTask::new(Some(meta));
            if let Some(script) = &script {
                task.plan = Some(self.plan(world, script, &key, container, &info));
            }
            self.tasks.insert(key.clone(), task);
            match self.drain {
                Some(_) => self.kill_task(world, &key, None),
                None => infos.push(info),
            }
        }
        if script.is_none() && !infos.is_empty() {
            let framework = world.names.framework_id(framework);
            world.outputs.push(Output::Launch { agent: self.index, framework, tasks: infos });
        }
    }

    fn plan(
        &self,
        world: &mut World,
        script: &Script,
        key: &TaskKey,
        container: Uuid,
        info: &v1::TaskInfo,
    ) -> Box<Plan> {
        let plan = Plan::new(script, info, &mut world.random);
        self.script_timer(world, key, container, plan.start_ms, ScriptEvent::Start);
        Box::new(plan)
    }

    fn script_timer(
        &self,
        world: &mut World,
        (framework, task): &TaskKey,
        container: Uuid,
        after_ms: u64,
        event: ScriptEvent,
    ) {
        let (agent, framework, task) = (self.index, *framework, Arc::clone(task));
        world.set_timer(after_ms, Timer::Script { agent, framework, task, container, event });
    }

    /// A scripted task does something.
    pub(crate) fn script_event(
        &mut self,
        world: &mut World,
        key: &TaskKey,
        container: Uuid,
        event: ScriptEvent,
    ) {
        let Some(task) = self.tasks.get(key) else { return };
        let is_this = task.meta.as_ref().is_some_and(|meta| meta.container == container);
        if !is_this || task.is_lost || is_terminal(task.state) {
            return;
        }
        let Some(plan) = task.plan.clone() else { return };
        let (is_killed, is_unhealthy) = (task.is_killed, task.is_unhealthy);
        match event {
            ScriptEvent::Start => self.start_task(world, key, container, &plan),
            ScriptEvent::End => {
                let state = match (is_killed, plan.exit) {
                    (true, _) => TaskState::TaskKilled,
                    (false, 0) => TaskState::TaskFinished,
                    (false, _) => TaskState::TaskFailed,
                };
                let message = Some(format!("Command exited with status {}", plan.exit));
                let healthy = is_unhealthy.then_some(false);
                self.update_task(world, key, News { message, healthy, ..News::new(state) });
            }
            ScriptEvent::Killed { signal } => {
                let message = Some(format!("Command terminated with signal {signal}"));
                let healthy = is_unhealthy.then_some(false);
                let news = News::new(TaskState::TaskKilled);
                self.update_task(world, key, News { message, healthy, ..news });
            }
            ScriptEvent::Healthy | ScriptEvent::Unhealthy { .. } if is_killed => {}
            ScriptEvent::Healthy => self.checked(world, key, true),
            ScriptEvent::Unhealthy { failures } => {
                self.checked(world, key, false);
                let Some(health) = plan.health else { return };
                if failures >= health.failures {
                    if let Some(task) = self.tasks.get_mut(key) {
                        task.is_unhealthy = true;
                    }
                    self.kill_task(world, key, None);
                } else {
                    let event = ScriptEvent::Unhealthy { failures: failures + 1 };
                    self.script_timer(world, key, container, health.interval_ms, event);
                }
            }
        }
    }

    fn start_task(&mut self, world: &mut World, key: &TaskKey, container: Uuid, plan: &Plan) {
        if let Some(task) = self.tasks.get_mut(key) {
            task.is_started = true;
        }
        self.update_task(world, key, News::new(TaskState::TaskStarting));
        if plan.fails_to_start {
            self.script_event(world, key, container, ScriptEvent::End);
            return;
        }
        self.update_task(world, key, News::new(TaskState::TaskRunning));
        if let Some(run_ms) = plan.run_ms {
            self.script_timer(world, key, container, run_ms, ScriptEvent::End);
        }
        let Some(health) = plan.health else { return };
        if let Some(after_ms) = health.healthy_ms {
            self.script_timer(world, key, container, after_ms, ScriptEvent::Healthy);
        }
        if let Some(after_ms) = health.unhealthy_ms {
            let event = ScriptEvent::Unhealthy { failures: 1 };
            self.script_timer(world, key, container, after_ms, event);
        }
    }

    fn checked(&mut self, world: &mut World, key: &TaskKey, is_healthy: bool) {
        let news = News {
            message: (!is_healthy).then(|| "Health check failed".to_owned()),
            reason: Some(Reason::TaskHealthCheckStatusUpdated),
            healthy: Some(is_healthy),
            ..News::new(TaskState::TaskRunning)
        };
        self.update_task(world, key, news);
    }

    /// The driver reports of a task that it runs.
    pub(crate) fn report(&mut self, world: &mut World, key: &TaskKey, report: TaskReport) {
        let Some(task) = self.tasks.get_mut(key) else { return };
        if task.is_lost || task.meta.is_none() {
            return;
        }
        task.is_started = true;
        // Nothing ran that could have said it: the agent did.
        let is_unlaunched = report.reason == Some(Reason::ContainerLaunchFailed);
        let given = report.container_status.filter(|_| !is_unlaunched);
        let plain = if is_unlaunched { Container::Absent } else { Container::Plain };
        let container = given.map(|status| Container::Given(Arc::new(status)));
        let news = News {
            source: if is_unlaunched { Source::Agent } else { Source::Executor },
            message: report.message,
            reason: report.reason,
            healthy: report.healthy,
            container: container.unwrap_or(plain),
            ..News::new(report.state)
        };
        self.update_task(world, key, news);
    }

    pub(super) fn kill_task(&mut self, world: &mut World, key: &TaskKey, grace_ms: Option<u64>) {
        let Some(task) = self.tasks.get_mut(key) else {
            if self.knows(key.0) {
                let is_aware = world.names.is_partition_aware(key.0);
                let state = if is_aware { TaskState::TaskDropped } else { TaskState::TaskLost };
                let news = News {
                    source: Source::Agent,
                    message: Some("Cannot find executor".to_owned()),
                    reason: Some(Reason::ExecutorTerminated),
                    ..News::new(state)
                };
                self.update_task(world, key, news);
            }
            return;
        };
        if is_terminal(task.state) || task.is_lost {
            return;
        }
        let Some(meta) = task.meta.clone() else { return };
        if !task.is_started && task.plan.is_some() {
            self.kill_before_start(world, key, meta.executor.as_deref());
            return;
        }
        let is_first = !std::mem::replace(&mut task.is_killed, true);
        let is_started = task.is_started;
        let kill_ms = task.plan.as_ref().map(|plan| plan.kill_ms);
        let container = task.container.clone();
        let reports = world.names.framework(key.0).is_some_and(|name| name.task_killing);
        if is_first && is_started && reports {
            let news = News { container, ..News::new(TaskState::TaskKilling) };
            self.update_task(world, key, news);
        }
        let grace_ms = grace_ms.or(meta.grace_ms).unwrap_or(DEFAULT_GRACE_MS);
        match kill_ms {
            None => {
                let framework = world.names.framework_id(key.0);
                world.outputs.push(kill_output(self.index, framework, &key.1, grace_ms));
            }
            Some(kill_ms) if kill_ms <= grace_ms && is_first => {
                let event = ScriptEvent::Killed { signal: "Terminated" };
                self.script_timer(world, key, meta.container, kill_ms, event);
            }
            // A repeated kill can only shorten the time.
            Some(_) => {
                let event = ScriptEvent::Killed { signal: "Killed" };
                self.script_timer(world, key, meta.container, grace_ms, event);
            }
        }
    }

    /// A task that its executor never got; with it, all of its group.
    fn kill_before_start(&mut self, world: &mut World, key: &TaskKey, executor: Option<&str>) {
        let group = executor.map(|executor| self.tasks_of(key.0, executor)).unwrap_or_default();
        let (keys, message) = if group.is_empty() {
            (vec![key.clone()], "Killed before delivery to the executor")
        } else {
            (group, "A task within the task group was killed before delivery to the executor")
        };
        for key in keys {
            if self.tasks.get(&key).is_some_and(|task| task.is_started) {
                continue;
            }
            let news = News {
                source: Source::Agent,
                message: Some(message.to_owned()),
                reason: Some(Reason::TaskKilledDuringLaunch),
                container: Container::Absent,
                ..News::new(TaskState::TaskKilled)
            };
            self.update_task(world, &key, news);
        }
    }

    /// The tasks of an executor, ended or not.
    fn tasks_of(&self, framework: FrameworkKey, executor: &str) -> Vec<TaskKey> {
        let of_executor = |task: &AgentTask| {
            task.meta.as_ref().is_some_and(|meta| meta.executor.as_deref() == Some(executor))
        };
        let tasks = self.tasks.range((framework, Arc::from(""))..);
        let tasks = tasks.take_while(|((key, _), _)| *key == framework);
        tasks.filter(|(_, task)| of_executor(task)).map(|(key, _)| key.clone()).collect()
    }

    /// Whether a task was launched in a group.
    pub(super) fn is_in_group(&self, key: &TaskKey) -> bool {
        let executor = self.tasks.get(key).and_then(|task| task.meta.as_ref()?.executor.clone());
        let executor = executor.and_then(|executor| self.executors.get(&(key.0, executor)));
        executor.is_some_and(|executor| executor.is_group)
    }

    /// A task of a group that did not end well takes the others with it.
    pub(super) fn task_ended(&mut self, world: &mut World, key: &TaskKey) {
        let Some(task) = self.tasks.get(key) else { return };
        if task.state == TaskState::TaskFinished {
            return;
        }
        let Some(executor) = task.meta.as_ref().and_then(|meta| meta.executor.clone()) else {
            return;
        };
        if !self.is_in_group(key) {
            return;
        }
        for sibling in self.tasks_of(key.0, &executor) {
            if self.tasks.get(&sibling).is_some_and(|task| task.is_started && !task.is_killed) {
                self.kill_task(world, &sibling, None);
            }
        }
    }

    /// An executor without tasks ends.
    pub(super) fn end_idle_executor(
        &mut self,
        world: &mut World,
        framework: FrameworkKey,
        executor: Arc<str>,
    ) {
        if !self.tasks_of(framework, &executor).is_empty() {
            return;
        }
        if self.executors.remove(&(framework, Arc::clone(&executor))).is_some() {
            let message = ToMaster::ExitedExecutor { framework, executor, status: 0 };
            if self.is_registered() {
                world.send_to_master(self.index, message);
            }
        }
    }

    pub(super) fn shutdown_executor(
        &mut self,
        world: &mut World,
        framework: FrameworkKey,
        executor: &Arc<str>,
    ) {
        let mut keys = self.tasks_of(framework, executor);
        // A command's own executor has the task's id.
        keys.push((framework, Arc::clone(executor)));
        for key in keys {
            if self.tasks.contains_key(&key) {
                self.kill_task(world, &key, None);
            }
        }
    }

    /// A framework is gone: what it has ends, and nobody is told.
    pub(super) fn shutdown_framework(&mut self, world: &mut World, framework: FrameworkKey) {
        self.remove_framework(world, framework, DEFAULT_GRACE_MS);
    }

    pub(super) fn remove_framework(
        &mut self,
        world: &mut World,
        framework: FrameworkKey,
        grace_ms: u64,
    ) {
        let tasks = self.tasks.range((framework, Arc::from(""))..);
        let keys = tasks.take_while(|((key, _), _)| *key == framework);
        let keys: Vec<TaskKey> = keys.map(|(key, _)| key.clone()).collect();
        for key in keys {
            let Some(task) = self.tasks.remove(&key) else { continue };
            let runs = task.meta.is_some() && !is_terminal(task.state) && !task.is_lost;
            if runs && self.spec.tasks == Tasks::Driver {
                let id = world.names.framework_id(framework);
                world.outputs.push(kill_output(self.index, id, &key.1, grace_ms));
            }
        }
        self.executors.retain(|(key, _), _| *key != framework);
    }

    /// Kills everything, with at most so much grace.
    pub(super) fn drain(&mut self, world: &mut World, drain: Drain) {
        if self.tasks.is_empty() && self.executors.is_empty() && self.operations.is_empty() {
            return;
        }
        self.drain = Some(drain);
        let live = self.tasks.iter().filter(|(_, task)| !is_terminal(task.state));
        let live: Vec<TaskKey> = live.map(|(key, _)| key.clone()).collect();
        for key in live {
            let meta = self.tasks.get(&key).and_then(|task| task.meta.clone());
            let own_ms = meta.and_then(|meta| meta.grace_ms);
            let grace_ms = drain.max_grace_ms.filter(|max| own_ms.is_none_or(|own| *max < own));
            self.kill_task(world, &key, grace_ms);
        }
    }
}
