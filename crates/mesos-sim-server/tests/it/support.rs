//! A cluster, a scheduler, and waiting with a deadline.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use peloton_mesos::{FrameworkSettings, Handle, MesosClient, MesosEvent, Subscribed, calls};
use peloton_mesos_sim_server::{Options, Server};
use peloton_proto::mesos::v1::framework_info::capability;
use peloton_proto::mesos::v1::scheduler::{Event, event};
use peloton_proto::mesos::v1::{
    CommandInfo, Offer, Resource, TaskId, TaskInfo, TaskState, TaskStatus, offer, resource, value,
};
use peloton_task_runner::http::{self, Request};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Far more than anything takes on a loaded machine: only a hang gets here.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) const ROLE: &str = "peloton/1";

pub(crate) fn options(agents: usize) -> Options {
    let guard = Some(PathBuf::from(env!("CARGO_BIN_EXE_mesos-sim")));
    let mut options = Options { guard, ..Options::agents(agents) };
    options.settings.allocation_interval_ms = 50;
    options
}

pub(crate) async fn start(agents: usize) -> Server {
    Server::start(options(agents)).await.unwrap()
}

/// Waits for a condition, with a deadline.
pub(crate) async fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < deadline, "no {what} within {DEADLINE:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A request without the client: status, and body.
pub(crate) async fn ask(
    method: &'static str,
    address: &str,
    path: &str,
    headers: &[(&'static str, &'static str)],
    body: &str,
) -> (u16, String) {
    let (address, path, body) = (address.to_owned(), path.to_owned(), body.to_owned());
    let headers = headers.to_vec();
    let asked = tokio::task::spawn_blocking(move || {
        let request = Request {
            method,
            address: &address,
            path: &path,
            headers: &headers,
            body: body.as_bytes(),
            timeout: Some(DEADLINE),
        };
        let response = http::send(&request)?;
        Ok::<_, std::io::Error>((response.status, response.text()?))
    });
    asked.await.unwrap().unwrap()
}

pub(crate) async fn get(address: &str, path: &str) -> Value {
    let (status, text) = ask("GET", address, path, &[], "").await;
    assert_eq!(status, 200, "{path}: {text}");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}: {text}"))
}

/// A call of the operator API, in JSON.
pub(crate) async fn operate(address: &str, call: &Value) -> (u16, String) {
    let json = "application/json";
    let headers = [("Content-Type", json), ("Accept", json)];
    ask("POST", address, "/api/v1", &headers, &call.to_string()).await
}

pub(crate) fn settings() -> FrameworkSettings {
    let mut capabilities = FrameworkSettings::default_capabilities();
    capabilities.push(capability::Type::TaskKillingState);
    FrameworkSettings {
        user: "root".into(),
        name: "test".into(),
        role: ROLE.into(),
        principal: Some("peloton".into()),
        failover_timeout_ms: 600_000,
        checkpoint: true,
        hostname: None,
        webui_url: None,
        capabilities,
    }
}

/// Peloton's own client, and what it heard.
pub(crate) struct Scheduler {
    pub(crate) handle: Handle,
    events: mpsc::Receiver<MesosEvent>,
    /// Those that came while something else was waited for.
    offers: VecDeque<Offer>,
    pub(crate) subscribed: Subscribed,
}

impl Scheduler {
    pub(crate) async fn subscribe(address: &str) -> Self {
        Self::with(peloton_mesos::Options::new(vec![address.to_owned()], settings())).await
    }

    pub(crate) async fn with(mut options: peloton_mesos::Options) -> Self {
        options.timeouts.backoff_min_ms = 20;
        options.timeouts.backoff_max_ms = 500;
        let (handle, events) = MesosClient::spawn(options, None).unwrap();
        let mut scheduler = Self { handle, events, offers: VecDeque::new(), subscribed: nobody() };
        scheduler.subscribed = scheduler.subscribed_again().await;
        scheduler
    }

    async fn until<T>(&mut self, what: &str, mut pick: impl FnMut(MesosEvent) -> Option<T>) -> T {
        let mut seen = Vec::new();
        let waiting = async {
            loop {
                let event = self.events.recv().await.expect("the client goes on");
                seen.push(format!("{event:.200?}"));
                if let MesosEvent::Event { event, .. } = &event {
                    let offers = event.offers.iter().flat_map(|offers| &offers.offers);
                    self.offers.extend(offers.cloned());
                    let rescinded = event.rescind.as_ref().and_then(|one| one.offer_id.as_ref());
                    self.offers.retain(|offer| Some(&offer.id) != rescinded);
                }
                if let Some(found) = pick(event) {
                    return found;
                }
            }
        };
        match timeout(DEADLINE, waiting).await {
            Ok(found) => found,
            Err(_) => panic!("no {what} in {seen:#?}; {:?}", self.handle.status()),
        }
    }

    pub(crate) async fn subscribed_again(&mut self) -> Subscribed {
        let subscribed = self
            .until("SUBSCRIBED", |event| match event {
                MesosEvent::Subscribed(subscribed) => Some(*subscribed),
                _ => None,
            })
            .await;
        self.subscribed = subscribed.clone();
        subscribed
    }

    pub(crate) async fn event<T>(
        &mut self,
        what: &str,
        mut pick: impl FnMut(Event) -> Option<T>,
    ) -> T {
        self.until(what, |event| match event {
            MesosEvent::Event { event, .. } => pick(*event),
            _ => None,
        })
        .await
    }

    pub(crate) async fn offer(&mut self) -> Offer {
        while self.offers.is_empty() {
            self.event("OFFERS", |event| event.offers).await;
        }
        self.offers.pop_front().unwrap()
    }

    pub(crate) fn call(&self, call: peloton_proto::mesos::v1::scheduler::Call) {
        self.handle.submit(self.subscribed.epoch, call).unwrap();
    }

    /// Launches a task on the next offer, after these operations.
    pub(crate) async fn launch_after(
        &mut self,
        mut operations: Vec<offer::Operation>,
        task: TaskInfo,
    ) {
        let offer = self.offer().await;
        let task = TaskInfo { agent_id: offer.agent_id.clone(), ..task };
        operations.push(launch(task));
        self.call(calls::accept(vec![offer.id], operations, Some(100)));
    }

    pub(crate) async fn launch(&mut self, task: TaskInfo) {
        self.launch_after(Vec::new(), task).await;
    }

    pub(crate) async fn run(&mut self, id: &str, value: &str) {
        self.launch(task(id, shell(value))).await;
    }

    /// The next update of a task, acknowledged.
    pub(crate) async fn status(&mut self, id: &str) -> TaskStatus {
        let status = self
            .event(&format!("update of {id}"), |event| {
                let event::Update { status } = event.update?;
                status.filter(|status| status.task_id.value == id)
            })
            .await;
        if let (Some(agent), Some(uuid)) = (&status.agent_id, &status.uuid) {
            self.call(calls::acknowledge(agent.clone(), status.task_id.clone(), uuid.clone()));
        }
        status
    }

    /// The updates of a task until it is in a state.
    pub(crate) async fn until_state(&mut self, id: &str, state: TaskState) -> Vec<TaskStatus> {
        let mut seen = Vec::new();
        loop {
            seen.push(self.status(id).await);
            let last = seen.last().unwrap();
            if last.state() == state {
                return seen;
            }
            assert!(!is_terminal(last.state()), "{id}: {last:?} and not {state:?}");
        }
    }

    pub(crate) async fn reach(&mut self, id: &str, state: TaskState) -> TaskStatus {
        self.until_state(id, state).await.pop().unwrap()
    }

    pub(crate) fn kill(&self, id: &str, grace_ms: Option<u64>) {
        self.call(calls::kill(TaskId { value: id.into() }, None, grace_ms));
    }
}

/// Before the subscription.
fn nobody() -> Subscribed {
    Subscribed {
        epoch: 0,
        framework_id: String::new(),
        leader: String::new(),
        master_info: None,
        heartbeat_interval_ms: 0,
    }
}

fn is_terminal(state: TaskState) -> bool {
    use TaskState::{
        TaskDropped, TaskError, TaskFailed, TaskFinished, TaskGone, TaskKilled, TaskLost,
    };
    [TaskDropped, TaskError, TaskFailed, TaskFinished, TaskGone, TaskKilled, TaskLost]
        .contains(&state)
}

pub(crate) fn states(statuses: &[TaskStatus]) -> Vec<TaskState> {
    statuses.iter().map(TaskStatus::state).collect()
}

pub(crate) fn scalar(name: &str, value: f64) -> Resource {
    Resource {
        name: name.into(),
        r#type: value::Type::Scalar as i32,
        scalar: Some(value::Scalar { value }),
        allocation_info: Some(resource::AllocationInfo { role: Some(ROLE.into()) }),
        ..Resource::default()
    }
}

pub(crate) fn shell(value: &str) -> CommandInfo {
    CommandInfo { value: Some(value.into()), ..CommandInfo::default() }
}

pub(crate) fn task(id: &str, command: CommandInfo) -> TaskInfo {
    TaskInfo {
        name: id.into(),
        task_id: TaskId { value: id.into() },
        resources: vec![scalar("cpus", 0.1), scalar("mem", 32.0)],
        command: Some(command),
        ..TaskInfo::default()
    }
}

pub(crate) fn launch(task: TaskInfo) -> offer::Operation {
    offer::Operation {
        r#type: Some(offer::operation::Type::Launch as i32),
        launch: Some(offer::operation::Launch { task_infos: vec![task] }),
        ..offer::Operation::default()
    }
}

/// The sandbox of a task on an agent.
pub(crate) fn sandbox(
    server: &Server,
    agent: usize,
    framework: &str,
    task: &str,
) -> Option<PathBuf> {
    let slaves = server.agents()[agent].work_dir.join("slaves");
    let entries = std::fs::read_dir(slaves).ok()?.flatten();
    let run = format!("frameworks/{framework}/executors/{task}/runs/latest");
    entries.map(|slave| slave.path().join(&run)).find_map(|path| path.canonicalize().ok())
}

pub(crate) async fn wait_for_output(directory: &std::path::Path, expected: &str) {
    let file = directory.join("stdout");
    eventually(&format!("{expected:?} in {}", file.display()), || {
        std::fs::read_to_string(&file).ok()?.contains(expected).then_some(())
    })
    .await;
}
