//! A stand-in for Mesos's default executor, which runs groups of tasks and is not in the package of Mesos.
//!
//! Each task runs in a nested container of the agent, so the master's part and the agent's are the real
//! Mesos's; this one passes their results on. It lives for one group on one connection: it checks no
//! health, kills by SIGTERM alone, and ends with the agent.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::ExitCode;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use peloton_testbed::http::{self, Request, Response};
use serde_json::{Value, json};

/// For the agent to answer; a task's end is waited for without limit.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

const SIGTERM: i32 = 15;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            let _ = writeln!(std::io::stderr(), "{why}");
            ExitCode::FAILURE
        }
    }
}

enum Input {
    Event(Value),
    /// A task's end, with its wait status.
    Ended(String, Option<i64>),
    Closed,
}

fn run() -> Result<(), String> {
    let agent = Agent::from_environment()?;
    let (sender, inputs) = channel();
    let (events, to) = (agent.clone(), sender.clone());
    std::thread::spawn(move || {
        let _ = events.listen(&to);
        let _ = to.send(Input::Closed);
    });
    let mut executor = Executor {
        agent,
        sender,
        container: Value::Null,
        tasks: BTreeMap::new(),
        unacknowledged: BTreeSet::new(),
        has_begun: false,
    };
    for input in inputs {
        match input {
            Input::Event(event) => executor.handle(&event)?,
            Input::Ended(task, status) => executor.ended(&task, status)?,
            Input::Closed => return Ok(()),
        }
        if executor.is_done() {
            return Ok(());
        }
    }
    Ok(())
}

#[derive(Clone)]
struct Agent {
    address: String,
    process: String,
    framework: String,
    executor: String,
}

impl Agent {
    fn from_environment() -> Result<Self, String> {
        let variable = |name: &str| std::env::var(name).map_err(|error| format!("{name}: {error}"));
        let pid = variable("MESOS_SLAVE_PID")?;
        let (process, address) = pid.split_once('@').ok_or("MESOS_SLAVE_PID has no address")?;
        Ok(Self {
            address: address.to_owned(),
            process: process.to_owned(),
            framework: variable("MESOS_FRAMEWORK_ID")?,
            executor: variable("MESOS_EXECUTOR_ID")?,
        })
    }

    fn post(&self, path: &str, call: &Value) -> Result<Response, String> {
        let headers = [("Content-Type", "application/json"), ("Accept", "application/json")];
        let (path, body) = (format!("/{}/api/v1{path}", self.process), call.to_string());
        let request = Request {
            method: "POST",
            address: &self.address,
            path: &path,
            headers: &headers,
            body: body.as_bytes(),
            timeout: Some(CALL_TIMEOUT),
        };
        let answer = http::send(&request).map_err(|error| error.to_string())?;
        match answer.status {
            200 | 202 => Ok(answer),
            status => {
                let words = answer.text().unwrap_or_default();
                Err(format!("{status} {words} to {}", call["type"]))
            }
        }
    }

    /// A call of the executor API.
    fn call(&self, mut call: Value) -> Result<Response, String> {
        call["framework_id"] = json!({"value": self.framework});
        call["executor_id"] = json!({"value": self.executor});
        self.post("/executor", &call)
    }

    fn listen(&self, sender: &Sender<Input>) -> Result<(), String> {
        let text = |error: std::io::Error| error.to_string();
        let subscribed = self.call(json!({"type": "SUBSCRIBE", "subscribe": {}}))?;
        subscribed.socket().and_then(|socket| socket.set_read_timeout(None)).map_err(text)?;
        let mut stream = BufReader::new(subscribed.body);
        loop {
            let mut length = String::new();
            stream.read_line(&mut length).map_err(text)?;
            let length: usize = length.trim().parse().map_err(|_| "no record".to_owned())?;
            let mut record = vec![0; length];
            stream.read_exact(&mut record).map_err(text)?;
            let event = serde_json::from_slice(&record).map_err(|error| error.to_string())?;
            sender.send(Input::Event(event)).map_err(|error| error.to_string())?;
        }
    }

    /// The wait status of a nested container, when it has ended.
    fn wait(&self, container: &Value) -> Option<i64> {
        let call = json!({"type": "WAIT_NESTED_CONTAINER",
            "wait_nested_container": {"container_id": container}});
        loop {
            // Too long for one request: asked again.
            let Ok(answer) = self.post("", &call) else { return None };
            let Ok(text) = answer.text() else { continue };
            let answer: Value = serde_json::from_str(&text).ok()?;
            return answer["wait_nested_container"]["exit_status"].as_i64();
        }
    }
}

struct Task {
    container: Value,
    is_killed: bool,
}

struct Executor {
    agent: Agent,
    sender: Sender<Input>,
    container: Value,
    tasks: BTreeMap<String, Task>,
    unacknowledged: BTreeSet<String>,
    has_begun: bool,
}

impl Executor {
    fn is_done(&self) -> bool {
        self.has_begun && self.tasks.is_empty() && self.unacknowledged.is_empty()
    }

    fn handle(&mut self, event: &Value) -> Result<(), String> {
        match event["type"].as_str().unwrap_or_default() {
            "SUBSCRIBED" => self.container = event["subscribed"]["container_id"].clone(),
            "LAUNCH_GROUP" => {
                let tasks = event["launch_group"]["task_group"]["tasks"].as_array();
                for task in tasks.into_iter().flatten() {
                    self.launch(task)?;
                }
            }
            "KILL" => {
                self.kill(event["kill"]["task_id"]["value"].as_str().unwrap_or_default())?;
            }
            "SHUTDOWN" => self.kill_all()?,
            "ACKNOWLEDGED" => {
                let uuid = event["acknowledged"]["uuid"].as_str().unwrap_or_default();
                self.unacknowledged.remove(uuid);
            }
            _ => {}
        }
        Ok(())
    }

    fn launch(&mut self, task: &Value) -> Result<(), String> {
        self.has_begun = true;
        let id = task["task_id"]["value"].as_str().unwrap_or_default().to_owned();
        let name: String = random()?.iter().map(|byte| format!("{byte:02x}")).collect();
        let container = json!({"value": name, "parent": self.container});
        let one = Task { container: container.clone(), is_killed: false };
        self.tasks.insert(id.clone(), one);
        self.update(&id, "TASK_STARTING", None)?;
        self.agent.post(
            "",
            &json!({"type": "LAUNCH_NESTED_CONTAINER", "launch_nested_container":
                {"container_id": container, "command": task["command"]}}),
        )?;
        self.update(&id, "TASK_RUNNING", None)?;
        let (agent, sender) = (self.agent.clone(), self.sender.clone());
        std::thread::spawn(move || {
            let status = agent.wait(&container);
            let _ = sender.send(Input::Ended(id, status));
        });
        Ok(())
    }

    fn kill(&mut self, id: &str) -> Result<(), String> {
        let Some(task) = self.tasks.get_mut(id).filter(|task| !task.is_killed) else {
            return Ok(());
        };
        task.is_killed = true;
        let call = json!({"type": "KILL_NESTED_CONTAINER", "kill_nested_container":
            {"container_id": task.container, "signal": SIGTERM}});
        self.agent.post("", &call).map(|_| ())
    }

    fn kill_all(&mut self) -> Result<(), String> {
        let all: Vec<String> = self.tasks.keys().cloned().collect();
        all.iter().try_for_each(|id| self.kill(id))
    }

    /// A task of a group that did not end well takes the others with it.
    fn ended(&mut self, id: &str, status: Option<i64>) -> Result<(), String> {
        let is_killed = self.tasks.get(id).is_some_and(|task| task.is_killed);
        let (signal, code) = status.map_or((0, -1), |status| (status & 0x7f, status >> 8 & 0xff));
        let message = match signal {
            0 => format!("Command exited with status {code}"),
            15 => "Command terminated with signal Terminated".to_owned(),
            other => format!("Command terminated with signal {other}"),
        };
        let state = match (is_killed, status) {
            (true, _) => "TASK_KILLED",
            (false, Some(0)) => "TASK_FINISHED",
            (false, _) => "TASK_FAILED",
        };
        self.update(id, state, Some(message))?;
        self.tasks.remove(id);
        if state == "TASK_FINISHED" { Ok(()) } else { self.kill_all() }
    }

    fn update(&mut self, id: &str, state: &str, message: Option<String>) -> Result<(), String> {
        let uuid = STANDARD.encode(random()?);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let container = self.tasks.get(id).map(|task| task.container.clone());
        let mut status = json!({"task_id": {"value": id}, "state": state, "uuid": uuid,
            "executor_id": {"value": self.agent.executor}, "source": "SOURCE_EXECUTOR",
            "timestamp": now.as_secs_f64(), "container_status": {"container_id": container}});
        if let Some(message) = message {
            status["message"] = message.into();
        }
        self.unacknowledged.insert(uuid);
        self.agent.call(json!({"type": "UPDATE", "update": {"status": status}})).map(|_| ())
    }
}

/// The bytes of a random UUID.
fn random() -> Result<[u8; 16], String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .map_err(|error| format!("/dev/urandom: {error}"))?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    Ok(bytes)
}
