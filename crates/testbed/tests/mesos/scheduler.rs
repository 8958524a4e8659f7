//! A small scheduler over HTTP and JSON, to run single tasks with.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use peloton_testbed::http::{self, Request};
use serde_json::{Value, json};

/// Everything here takes milliseconds; this is for a machine at its limit.
const DEADLINE: Duration = Duration::from_secs(60);
const PATH: &str = "/api/v1/scheduler";

/// One subscribed framework.
pub(crate) struct Scheduler {
    address: String,
    credentials: Option<(String, String)>,
    stream_id: String,
    pub(crate) framework_id: String,
    events: Receiver<Value>,
    /// Updates that were read while waiting for another task's.
    waiting: VecDeque<Value>,
}

impl Scheduler {
    pub(crate) fn subscribe(address: &str) -> Self {
        Self::try_subscribe(address, None, None).unwrap()
    }

    /// With the id of an earlier subscription it goes on as that framework.
    pub(crate) fn try_subscribe(
        address: &str,
        framework_id: Option<&str>,
        credentials: Option<(&str, &str)>,
    ) -> Result<Self, (u16, String)> {
        let capabilities = ["MULTI_ROLE", "RESERVATION_REFINEMENT", "PARTITION_AWARE"];
        let mut info = json!({
            "user": "nobody",
            "name": "testbed",
            "roles": ["test"],
            "checkpoint": true,
            "failover_timeout": 600,
            "capabilities": capabilities.into_iter().chain(["TASK_KILLING_STATE"])
                .map(|name| json!({"type": name})).collect::<Vec<_>>(),
        });
        if let Some((principal, _)) = credentials {
            info["principal"] = principal.into();
        }
        let mut call = json!({"type": "SUBSCRIBE", "subscribe": {}});
        if let Some(id) = framework_id {
            info["id"] = json!({"value": id});
            call["framework_id"] = json!({"value": id});
        }
        call["subscribe"]["framework_info"] = info;
        let credentials = credentials.map(|(name, secret)| (name.to_owned(), secret.to_owned()));
        let response = post(address, &call, &credentials, None, Some(DEADLINE)).unwrap();
        if response.status != 200 {
            return Err((response.status, response.text().unwrap()));
        }
        let stream_id = response.header("mesos-stream-id").unwrap().to_owned();
        let (sender, events) = channel();
        std::thread::spawn(move || {
            let mut stream = BufReader::new(response.body);
            loop {
                let mut length = String::new();
                if stream.read_line(&mut length).is_err() || length.is_empty() {
                    return;
                }
                let mut record = vec![0; length.trim_end().parse().unwrap()];
                if stream.read_exact(&mut record).is_err() {
                    return;
                }
                if sender.send(serde_json::from_slice(&record).unwrap()).is_err() {
                    return;
                }
            }
        });
        let mut scheduler = Self {
            address: address.to_owned(),
            credentials,
            stream_id,
            framework_id: String::new(),
            events,
            waiting: VecDeque::new(),
        };
        let subscribed = scheduler.wait_for("SUBSCRIBED");
        let id = &subscribed["subscribed"]["framework_id"]["value"];
        scheduler.framework_id = id.as_str().unwrap().to_owned();
        Ok(scheduler)
    }

    pub(crate) fn call(&self, mut call: Value) {
        call["framework_id"] = json!({"value": self.framework_id});
        let response =
            post(&self.address, &call, &self.credentials, Some(&self.stream_id), Some(DEADLINE))
                .unwrap();
        let status = response.status;
        assert_eq!(status, 202, "{call}: {}", response.text().unwrap());
    }

    fn next_event(&mut self, deadline: Instant, what: &str) -> Value {
        match self.events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(event) => event,
            Err(RecvTimeoutError::Timeout) => panic!("no {what} within {DEADLINE:?}"),
            Err(RecvTimeoutError::Disconnected) => panic!("Mesos ended the stream before {what}"),
        }
    }

    fn wait_for(&mut self, kind: &str) -> Value {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let event = self.next_event(deadline, kind);
            if event["type"] == kind {
                return event;
            }
            if event["type"] == "UPDATE" {
                self.waiting.push_back(event);
            }
        }
    }

    /// Launches a task of the given fields on an agent with this host name, or any.
    pub(crate) fn launch(&mut self, id: &str, hostname: Option<&str>, fields: Value) {
        self.call(json!({"type": "REVIVE"}));
        let offer = 'offers: loop {
            let mut event = self.wait_for("OFFERS");
            let offers = event["offers"]["offers"].as_array_mut().unwrap();
            let fits = |offer: &Value| hostname.is_none_or(|name| offer["hostname"] == name);
            let chosen = offers.iter().position(fits).map(|index| offers.remove(index));
            if !offers.is_empty() {
                let ids: Vec<&Value> = offers.iter().map(|offer| &offer["id"]).collect();
                self.call(json!({"type": "DECLINE", "decline": {
                    "offer_ids": ids, "filters": {"refuse_seconds": 1.0}}}));
            }
            if let Some(offer) = chosen {
                break 'offers offer;
            }
        };
        let resource = |name: &str, value: f64| {
            json!({"name": name, "type": "SCALAR", "scalar": {"value": value},
                   "allocation_info": {"role": "test"}})
        };
        let mut task = json!({
            "name": id,
            "task_id": {"value": id},
            "agent_id": offer["agent_id"],
            "resources": [resource("cpus", 0.1), resource("mem", 32.0)],
        });
        task.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        self.call(json!({"type": "ACCEPT", "accept": {
            "offer_ids": [offer["id"]],
            "operations": [{"type": "LAUNCH", "launch": {"task_infos": [task]}}],
            "filters": {"refuse_seconds": 0.0}}}));
        self.call(json!({"type": "SUPPRESS"}));
    }

    /// Runs a shell command on any agent.
    pub(crate) fn run(&mut self, id: &str, command: &str) {
        self.launch(id, None, json!({"command": {"value": command}}));
    }

    /// The task's next status, acknowledged. Offers are declined meanwhile.
    pub(crate) fn status(&mut self, task: &str) -> Value {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let is_its = |event: &Value| event["update"]["status"]["task_id"]["value"] == task;
            if let Some(index) = self.waiting.iter().position(is_its) {
                let event = self.waiting.remove(index).unwrap();
                let status = event["update"]["status"].clone();
                self.acknowledge(&status);
                return status;
            }
            let event = self.next_event(deadline, &format!("status of {task}"));
            match event["type"].as_str().unwrap() {
                "UPDATE" => self.waiting.push_back(event),
                "OFFERS" => {
                    let offers = event["offers"]["offers"].as_array().unwrap();
                    let ids: Vec<&Value> = offers.iter().map(|offer| &offer["id"]).collect();
                    self.call(json!({"type": "DECLINE", "decline": {
                        "offer_ids": ids, "filters": {"refuse_seconds": 600.0}}}));
                }
                _ => {}
            }
        }
    }

    fn acknowledge(&self, status: &Value) {
        // Answers to reconciliation have none, and want no acknowledgement.
        if let Some(uuid) = status["uuid"].as_str() {
            assert_eq!(STANDARD.decode(uuid).unwrap().len(), 16);
            self.call(json!({"type": "ACKNOWLEDGE", "acknowledge": {
                "agent_id": status["agent_id"], "task_id": status["task_id"], "uuid": uuid}}));
        }
    }

    /// The task's statuses up to one with this state.
    pub(crate) fn until(&mut self, task: &str, state: &str) -> Vec<Value> {
        let mut statuses = Vec::new();
        loop {
            let status = self.status(task);
            let reached = status["state"].as_str().unwrap().to_owned();
            statuses.push(status);
            if reached == state {
                return statuses;
            }
            let ended = matches!(
                reached.as_str(),
                "TASK_FINISHED" | "TASK_FAILED" | "TASK_KILLED" | "TASK_LOST" | "TASK_GONE"
            );
            assert!(!ended, "{task} is not {state}: {statuses:#?}");
        }
    }

    /// The last of [`Scheduler::until`].
    pub(crate) fn reach(&mut self, task: &str, state: &str) -> Value {
        self.until(task, state).pop().unwrap()
    }

    pub(crate) fn kill(&self, task: &str, grace: Option<Duration>) {
        let mut kill = json!({"task_id": {"value": task}});
        if let Some(grace) = grace {
            let nanoseconds = u64::try_from(grace.as_nanos()).unwrap();
            kill["kill_policy"] = json!({"grace_period": {"nanoseconds": nanoseconds}});
        }
        self.call(json!({"type": "KILL", "kill": kill}));
    }

    pub(crate) fn reconcile(&self, task: &str) {
        let tasks = json!([{"task_id": {"value": task}}]);
        self.call(json!({"type": "RECONCILE", "reconcile": {"tasks": tasks}}));
    }
}

fn post(
    address: &str,
    call: &Value,
    credentials: &Option<(String, String)>,
    stream_id: Option<&str>,
    timeout: Option<Duration>,
) -> std::io::Result<http::Response> {
    let basic = credentials
        .as_ref()
        .map(|(name, secret)| format!("Basic {}", STANDARD.encode(format!("{name}:{secret}"))));
    let mut headers = vec![("Content-Type", "application/json"), ("Accept", "application/json")];
    headers.extend(basic.as_deref().map(|value| ("Authorization", value)));
    headers.extend(stream_id.map(|value| ("Mesos-Stream-Id", value)));
    let body = call.to_string();
    let request = Request {
        method: "POST",
        address,
        path: PATH,
        headers: &headers,
        body: body.as_bytes(),
        timeout,
    };
    http::send(&request)
}
