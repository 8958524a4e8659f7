//! The tasks of agents whose tasks are real processes.
//!
//! Each run has a thread of its own, since all it does is wait, and fetching and starting block.
//! What a run tells goes to the driver with the run's number, which is never used again: so what a
//! machine's tasks tell after the machine died is nobody's any more.

mod convert;
mod run;
mod sandbox;

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use peloton_mesos_sim::{AgentIndex, TaskReport};
use peloton_proto::mesos::v1;
use peloton_task_runner::Report;

use crate::guard::Guard;
use run::{Input, Job};
pub(crate) use sandbox::WorkDir;

/// How many ended runs an agent remembers for its state; sandboxes stay until the server's end.
const MAX_COMPLETED: usize = 1_000;

/// A run's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct RunId(u64);

/// What a run tells the driver.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) run: RunId,
    pub(crate) report: Report,
}

/// A run, as the agent's state shows it.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) framework: String,
    pub(crate) task: v1::TaskInfo,
    pub(crate) container: String,
    pub(crate) directory: PathBuf,
    pub(crate) state: v1::TaskState,
}

#[derive(Debug)]
struct Entry {
    agent: AgentIndex,
    record: Record,
    inputs: Sender<Input>,
}

#[derive(Debug)]
struct Agent {
    work: WorkDir,
    port: u16,
    completed: VecDeque<Record>,
}

/// All tasks of all agents.
pub(crate) struct Tasks {
    guard: Option<Arc<Guard>>,
    agents: Vec<Agent>,
    runs: HashMap<RunId, Entry>,
    next: u64,
    tell: Arc<dyn Fn(Told) + Send + Sync>,
}

impl Tasks {
    /// No agents, and so no tasks. Without a guard there will be no processes, either.
    pub(crate) fn new(guard: Option<Arc<Guard>>, tell: Arc<dyn Fn(Told) + Send + Sync>) -> Self {
        Self { guard, agents: Vec::new(), runs: HashMap::new(), next: 0, tell }
    }

    /// The next agent; its index is their count before.
    pub(crate) fn add_agent(&mut self, server: &Path, port: u16) {
        let work = WorkDir::new(server, self.agents.len());
        self.agents.push(Agent { work, port, completed: VecDeque::new() });
    }

    /// The directory of an agent.
    pub(crate) fn work_dir(&self, agent: AgentIndex) -> Option<&WorkDir> {
        self.agents.get(agent.0 as usize).map(|agent| &agent.work)
    }

    /// Starts a task. That it cannot be is told like any other end.
    pub(crate) fn launch(&mut self, agent: AgentIndex, framework: &str, task: v1::TaskInfo) {
        let run = RunId(self.next);
        self.next += 1;
        if let Err(why) = self.start(run, agent, framework, task) {
            let report = Report::of(peloton_task_runner::State::Failed);
            (self.tell)(Told { run, report: Report { message: Some(why), ..report } });
        }
    }

    fn start(
        &mut self,
        run: RunId,
        index: AgentIndex,
        framework: &str,
        task: v1::TaskInfo,
    ) -> Result<(), String> {
        let (sender, inputs) = channel();
        let container = container_id(self.guard.as_deref().map_or("", Guard::mark), run);
        let mut record = Record {
            framework: framework.to_owned(),
            task: task.clone(),
            container,
            directory: PathBuf::new(),
            state: v1::TaskState::TaskStaging,
        };
        let place = self.agents.get(index.0 as usize);
        let directory =
            place.ok_or_else(|| "there is no such agent".to_owned()).and_then(|agent| {
                agent.work.run(
                    &task.agent_id.value,
                    framework,
                    &task.task_id.value,
                    &record.container,
                )
            });
        if let Ok(directory) = &directory {
            record.directory = directory.clone();
        }
        // It is there in any case, so that its failure is told of it.
        self.runs.insert(run, Entry { agent: index, record, inputs: sender.clone() });
        let (directory, Some(agent)) = (directory?, place) else { return Ok(()) };
        let guard = self.guard.clone().ok_or("this server has no guard for processes")?;
        let job = Job {
            work: agent.work.clone(),
            port: agent.port,
            framework: framework.to_owned(),
            task,
            directory,
            mark: agent_mark(&guard, index),
            guard,
        };
        let tell = Arc::clone(&self.tell);
        peloton_task_runner::spawn("task", move || {
            run::run(&job, &inputs, &sender, |report| tell(Told { run, report }));
        })
        .map_err(|error| error.to_string())
    }

    /// Begins to kill a task, if it is there.
    pub(crate) fn kill(&self, agent: AgentIndex, framework: &str, task: &str, grace: Duration) {
        let found = self.runs.values().filter(|entry| {
            let record = &entry.record;
            entry.agent == agent
                && record.framework == framework
                && record.task.task_id.value == task
        });
        for entry in found {
            // One that has just ended tells that.
            let _ = entry.inputs.send(Input::Kill(grace));
        }
    }

    /// Takes in what a run told; answers what the model is to be told of which task.
    pub(crate) fn hear(
        &mut self,
        told: Told,
    ) -> Option<(AgentIndex, v1::FrameworkId, v1::TaskId, TaskReport)> {
        let entry = self.runs.get_mut(&told.run)?;
        let state = v1::TaskState::from_str_name(told.report.state.name())?;
        entry.record.state = state;
        let answer = (
            entry.agent,
            v1::FrameworkId { value: entry.record.framework.clone() },
            entry.record.task.task_id.clone(),
            task_report(told.report, state, &entry.record.container),
        );
        if matches!(
            state,
            v1::TaskState::TaskFinished | v1::TaskState::TaskFailed | v1::TaskState::TaskKilled
        ) {
            let ended = self.runs.remove(&told.run);
            ended.into_iter().for_each(|entry| self.complete(entry));
        }
        Some(answer)
    }

    fn complete(&mut self, entry: Entry) {
        if let Some(agent) = self.agents.get_mut(entry.agent.0 as usize) {
            agent.completed.push_back(entry.record);
            if agent.completed.len() > MAX_COMPLETED {
                agent.completed.pop_front();
            }
        }
    }

    /// Ends all tasks of an agent as a machine that dies: nothing is told of them. What marks the
    /// processes that may be left.
    pub(crate) fn kill_machine(&mut self, agent: AgentIndex) -> Option<String> {
        let of_agent: Vec<RunId> = self
            .runs
            .iter()
            .filter(|(_, entry)| entry.agent == agent)
            .map(|(run, _)| *run)
            .collect();
        for entry in of_agent.iter().filter_map(|run| self.runs.remove(run)).collect::<Vec<_>>() {
            let _ = entry.inputs.send(Input::KillNow);
            self.complete(entry);
        }
        self.guard.as_ref().map(|guard| agent_mark(guard, agent))
    }

    /// Ends all tasks of all agents; nothing is told of them.
    pub(crate) fn kill_all(&mut self) {
        for (_, entry) in self.runs.drain() {
            let _ = entry.inputs.send(Input::KillNow);
        }
    }

    /// The runs that have ended, of all agents.
    pub(crate) fn completed(&self) -> impl Iterator<Item = &Record> {
        self.agents.iter().flat_map(|agent| &agent.completed)
    }

    /// The runs of an agent that go on, then those that have ended, each in the order of their start.
    pub(crate) fn records(&self, agent: AgentIndex) -> (Vec<&Record>, Vec<&Record>) {
        let mut running: Vec<_> = self.runs.iter().filter(|(_, e)| e.agent == agent).collect();
        running.sort_unstable_by_key(|(run, _)| **run);
        let running = running.into_iter().map(|(_, entry)| &entry.record).collect();
        let completed =
            self.agents.get(agent.0 as usize).map(|agent| agent.completed.iter().collect());
        (running, completed.unwrap_or_default())
    }
}

fn agent_mark(guard: &Guard, agent: AgentIndex) -> String {
    format!("{}/agent-{}", guard.mark(), agent.0)
}

/// In the form of a UUID, as Mesos's are, and with the run's number in it.
fn container_id(mark: &str, run: RunId) -> String {
    let seed = mark.get(..8).unwrap_or("00000000");
    format!("{seed}-0000-4000-8000-{:012x}", run.0 & 0xffff_ffff_ffff)
}

fn task_report(report: Report, state: v1::TaskState, container: &str) -> TaskReport {
    let address = v1::network_info::IpAddress {
        ip_address: Some("127.0.0.1".to_owned()),
        ..Default::default()
    };
    let network = v1::NetworkInfo { ip_addresses: vec![address], ..Default::default() };
    TaskReport {
        state,
        message: report.message,
        healthy: report.healthy,
        reason: report.reason.and_then(v1::task_status::Reason::from_str_name),
        container_status: Some(v1::ContainerStatus {
            network_infos: vec![network],
            container_id: Some(v1::ContainerId { value: container.to_owned(), parent: None }),
            executor_pid: None,
        }),
    }
}
