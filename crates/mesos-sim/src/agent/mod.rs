//! An agent: its process, its tasks, and what it keeps over restarts.
//!
//! Reservations and volumes are on the agent's disk and survive everything but the agent itself.
//! Tasks survive the agent's process, status updates wait there for it. When the machine ends, so do
//! the tasks, and the agent tells so when it is back.

mod operations;
mod run;
mod updates;

use crate::allocator::FrameworkKey;
use crate::link::{ExecutorMeta, Registered, ReportedTask, Reregistration, ToAgent, ToMaster};
use crate::resources::Resources;
use crate::task::{Container, TaskMeta, is_terminal};
use crate::timers::Timer;
use crate::world::World;
use crate::{AgentIndex, AgentSpec, Output};
use operations::AgentOperation;
use peloton_proto::mesos::v1;
use std::collections::BTreeMap;
use std::sync::Arc;
use updates::AgentTask;
use v1::TaskState;

/// Between SIGTERM and SIGKILL, where nothing is said.
pub(crate) const DEFAULT_GRACE_MS: u64 = 3_000;

/// A task's key on its agent.
pub(crate) type TaskKey = (FrameworkKey, Arc<str>);

/// An executor that is not a command's own.
#[derive(Debug)]
struct AgentExecutor {
    meta: ExecutorMeta,
    is_group: bool,
}

/// How far an agent is with the master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Contact {
    Disconnected,
    Registered,
}

/// How an agent is to be drained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Drain {
    max_grace_ms: Option<u64>,
    mark_gone: bool,
}

/// One agent.
#[derive(Debug)]
pub(crate) struct Agent {
    index: AgentIndex,
    spec: Arc<AgentSpec>,
    id: Option<Arc<str>>,
    /// With what was reserved and created.
    total: Resources,
    alive: bool,
    /// The master sent it away, and it has not been started since.
    is_unwanted: bool,
    contact: Contact,
    /// Counts connections and processes: timers of older ones mean nothing.
    epoch: u32,
    tasks: BTreeMap<TaskKey, AgentTask>,
    executors: BTreeMap<TaskKey, AgentExecutor>,
    operations: BTreeMap<u64, AgentOperation>,
    drain: Option<Drain>,
}

impl Agent {
    pub(crate) fn new(index: AgentIndex, spec: AgentSpec) -> Self {
        let total = Resources::from_proto(&spec.resources).unwrap_or_default();
        Self {
            index,
            spec: Arc::new(spec),
            id: None,
            total,
            alive: true,
            is_unwanted: false,
            contact: Contact::Disconnected,
            epoch: 0,
            tasks: BTreeMap::new(),
            executors: BTreeMap::new(),
            operations: BTreeMap::new(),
            drain: None,
        }
    }

    pub(crate) fn spec(&self) -> &Arc<AgentSpec> {
        &self.spec
    }

    /// Its id, unless it is not wanted under that any more.
    pub(crate) fn id(&self) -> Option<&Arc<str>> {
        self.id.as_ref().filter(|_| !self.is_unwanted)
    }

    pub(crate) fn total(&self) -> &Resources {
        &self.total
    }

    pub(crate) const fn is_alive(&self) -> bool {
        self.alive
    }

    /// Tasks that run, with their states.
    pub(crate) fn running_tasks(&self) -> impl Iterator<Item = (&Arc<TaskMeta>, TaskState)> {
        let with_meta = self.tasks.values().filter_map(|task| Some((task.meta.as_ref()?, task)));
        let runs = with_meta.filter(|(_, task)| !task.has_ended() && !task.is_lost);
        runs.map(|(meta, task)| (meta, task.state))
    }

    /// The connection is gone, or the master is: the agent will register again.
    pub(crate) const fn disconnect(&mut self) {
        self.contact = Contact::Disconnected;
        self.epoch += 1;
    }

    /// Registers after a while.
    pub(crate) fn connect_after(&self, world: &mut World, after_ms: u64) {
        if self.alive {
            let timer = Timer::Register { agent: self.index, epoch: self.epoch };
            world.set_timer(after_ms, timer);
        }
    }

    pub(crate) fn register_timer(&self, world: &mut World, epoch: u32) {
        if epoch == self.epoch && self.contact == Contact::Disconnected {
            self.connect(world);
        }
    }

    /// Registers, if there is a master to register with. What gets lost is sent again when the
    /// network heals or a master starts.
    pub(crate) fn connect(&self, world: &mut World) {
        if !self.alive || !world.has_master {
            return;
        }
        let message = match &self.id {
            None => ToMaster::Register(Arc::clone(&self.spec), self.total.clone()),
            Some(id) => ToMaster::Reregister(Box::new(self.reregistration(id))),
        };
        world.send_to_master(self.index, message);
    }

    fn reregistration(&self, id: &Arc<str>) -> Reregistration {
        let mut frameworks = std::collections::BTreeSet::new();
        let mut tasks = Vec::new();
        for ((framework, _), task) in &self.tasks {
            let Some(meta) = &task.meta else { continue };
            frameworks.insert(*framework);
            tasks.push(ReportedTask {
                meta: Arc::clone(meta),
                state: task.state,
                sent: task.sent,
                healthy: task.healthy,
                container: task.container.clone(),
            });
        }
        let executors = self.executors.iter();
        let executors: Vec<_> =
            executors.map(|((framework, _), one)| (*framework, one.meta.clone())).collect();
        frameworks.extend(executors.iter().map(|(framework, _)| *framework));
        Reregistration {
            id: Arc::clone(id),
            spec: Arc::clone(&self.spec),
            total: self.total.clone(),
            tasks,
            executors,
            frameworks,
        }
    }

    pub(crate) fn handle(&mut self, world: &mut World, message: ToAgent) {
        if !self.alive {
            return;
        }
        match message {
            ToAgent::Registered(registered) => self.registered(world, registered),
            ToAgent::Launch(launch) => self.launch(world, *launch),
            ToAgent::Kill { framework, task, grace_ms } => {
                self.kill_task(world, &(framework, task), grace_ms);
            }
            ToAgent::Acknowledge { framework, task, uuid } => {
                self.acknowledged(world, (framework, task), uuid);
            }
            ToAgent::AcknowledgeOperation { operation, uuid } => {
                self.operation_acknowledged(operation, uuid);
            }
            ToAgent::Apply(apply) => self.apply(world, *apply),
            ToAgent::ReconcileOperations(unknown) => self.reconcile_operations(world, &unknown),
            ToAgent::ShutdownFramework(framework) => self.shutdown_framework(world, framework),
            ToAgent::ShutdownExecutor(framework, executor) => {
                self.shutdown_executor(world, framework, &executor);
            }
            ToAgent::Shutdown => self.shutdown(world),
            ToAgent::Drain { max_grace_ms, mark_gone } => {
                self.drain(world, Drain { max_grace_ms, mark_gone });
            }
        }
    }

    fn registered(&mut self, world: &mut World, registered: Registered) {
        self.id = Some(registered.id);
        self.contact = Contact::Registered;
        self.resume_updates(world);
        self.send_operations(world);
        for (framework, task) in registered.unknown {
            if !self.tasks.contains_key(&(framework, Arc::clone(&task))) {
                let partition_aware = world.names.is_partition_aware(framework);
                let state =
                    if partition_aware { TaskState::TaskDropped } else { TaskState::TaskLost };
                let news = updates::News {
                    source: v1::task_status::Source::Agent,
                    message: Some("Reconciliation: task unknown to the agent".to_owned()),
                    reason: Some(v1::task_status::Reason::Reconciliation),
                    ..updates::News::new(state)
                };
                self.update_task(world, &(framework, task), news);
            }
        }
    }

    /// The agent's process ends, its tasks go on. Executors of frameworks that do not checkpoint end
    /// with the agent.
    pub(crate) fn stop(&mut self, world: &mut World) {
        if !self.alive {
            return;
        }
        self.alive = false;
        self.disconnect();
        let frameworks: std::collections::BTreeSet<_> = self
            .tasks
            .keys()
            .chain(self.executors.keys())
            .map(|(framework, _)| *framework)
            .collect();
        for framework in frameworks {
            let name = world.names.framework(framework);
            if !name.is_some_and(|name| name.info.checkpoint()) {
                self.remove_framework(world, framework, 0);
            }
        }
    }

    /// The machine ends, and all that runs on it.
    pub(crate) fn stop_machine(&mut self, world: &mut World) {
        self.alive = false;
        self.disconnect();
        for ((framework, id), task) in &mut self.tasks {
            if !task.has_ended() {
                task.is_lost = true;
                if self.spec.tasks == crate::Tasks::Driver {
                    world.outputs.push(kill_output(
                        self.index,
                        world.names.framework_id(*framework),
                        id,
                        0,
                    ));
                }
            }
        }
    }

    /// The agent's process starts again.
    pub(crate) fn start(&mut self, world: &mut World) {
        if self.alive {
            return;
        }
        self.alive = true;
        self.is_unwanted = false;
        if world.settings.sabotage == Some(crate::Sabotage::ForgetReservationsAtRestart) {
            self.total = Resources::from_proto(&self.spec.resources).unwrap_or_default();
        }
        self.disconnect();
        let lost = self.tasks.iter().filter(|(_, task)| task.is_lost && !task.has_ended());
        let lost: Vec<TaskKey> = lost.map(|(key, _)| key.clone()).collect();
        for key in lost {
            let news = updates::News {
                source: v1::task_status::Source::Agent,
                message: Some("Executor terminated".to_owned()),
                reason: Some(v1::task_status::Reason::ExecutorTerminated),
                container: Container::Absent,
                ..updates::News::new(TaskState::TaskFailed)
            };
            self.update_task(world, &key, news);
        }
        if let Some(drain) = self.drain {
            self.drain(world, drain);
        }
        self.connect(world);
    }

    /// The master wants the agent no more: all that it runs ends, and so does it. It keeps its id on its
    /// disk, so it is sent away again whenever it is started, until [`Agent::forget`].
    fn shutdown(&mut self, world: &mut World) {
        self.end_all(world);
        self.alive = false;
        self.is_unwanted = true;
        self.disconnect();
    }

    /// Somebody removes what an agent that does not run keeps of itself: the next start is that of a new
    /// agent, on a disk with the reservations and volumes of the old one.
    pub(crate) fn forget(&mut self, world: &mut World) {
        if !self.alive {
            self.end_all(world);
            self.id = None;
        }
    }

    fn end_all(&mut self, world: &mut World) {
        let frameworks: std::collections::BTreeSet<_> = self
            .tasks
            .keys()
            .chain(self.executors.keys())
            .map(|(framework, _)| *framework)
            .collect();
        for framework in frameworks {
            self.remove_framework(world, framework, DEFAULT_GRACE_MS);
        }
        self.operations.clear();
        self.drain = None;
    }

    fn note_drained(&mut self) {
        if self.tasks.is_empty() && self.executors.is_empty() && self.operations.is_empty() {
            self.drain = None;
        }
    }

    fn is_registered(&self) -> bool {
        self.alive && self.contact == Contact::Registered
    }

    /// Whether the agent has anything of a framework.
    fn knows(&self, framework: FrameworkKey) -> bool {
        let from: TaskKey = (framework, Arc::from(""));
        let first = |keys: Option<&TaskKey>| keys.is_some_and(|(key, _)| *key == framework);
        first(self.tasks.range(from.clone()..).next().map(|(key, _)| key))
            || first(self.executors.range(from..).next().map(|(key, _)| key))
    }
}

fn kill_output(agent: AgentIndex, framework: v1::FrameworkId, task: &str, grace_ms: u64) -> Output {
    Output::Kill { agent, framework, task: v1::TaskId { value: task.to_owned() }, grace_ms }
}

impl AgentTask {
    fn has_ended(&self) -> bool {
        is_terminal(self.state)
    }
}
