//! Another framework, in a role of its own, that wants all that is free and gives nothing back.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use peloton_testbed::http::{self, Body, Request};
use serde_json::{Value, json};

use super::{AnyMesos, PATIENCE, wait_until};

const PATH: &str = "/api/v1/scheduler";
const JSON: [(&str, &str); 2] =
    [("Content-Type", "application/json"), ("Accept", "application/json")];

/// What it does with the offers that it gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Greed {
    /// Answers none, and so has them for ever.
    Holds,
    /// Launches a task without an end on all that is in one.
    Launches,
}

/// The framework. It is torn down when this is dropped.
pub(crate) struct Rival {
    calls: Calls,
    taken: Taken,
    socket: TcpStream,
    thread: Option<JoinHandle<()>>,
    operator: peloton_testbed::Operator,
}

/// What it has: by offer thousandths of CPUs.
type Taken = Arc<Mutex<BTreeMap<String, i64>>>;

/// The way of its calls.
#[derive(Clone)]
struct Calls {
    address: String,
    stream_id: String,
    framework: Value,
}

impl Rival {
    /// Subscribes, and from now on takes what is offered.
    pub(crate) fn start(mesos: &impl AnyMesos, greed: Greed) -> Self {
        let address = mesos.address();
        let capabilities =
            ["MULTI_ROLE", "RESERVATION_REFINEMENT"].map(|kind| json!({"type": kind}));
        let info = json!({
            "user": "root", "name": "rival", "roles": ["rival"], "capabilities": capabilities,
        });
        let call = json!({"type": "SUBSCRIBE", "subscribe": {"framework_info": info}});
        let response = post(&address, &JSON, &call).unwrap();
        assert_eq!(response.status, 200, "Mesos takes the rival");
        let stream_id = response.header("mesos-stream-id").unwrap().to_owned();
        let socket = response.socket().unwrap();
        // Between two events may be any time.
        socket.set_read_timeout(None).unwrap();
        let mut events = Events { body: response.body, buffer: Vec::new() };
        let subscribed = events.next().unwrap();
        let framework = subscribed["subscribed"]["framework_id"].clone();
        let calls = Calls { address, stream_id, framework };
        let taken = Taken::default();
        let (answers, noted) = (calls.clone(), Arc::clone(&taken));
        let thread = std::thread::spawn(move || {
            for event in events {
                hear(&event, greed, &answers, &noted);
            }
        });
        let operator = mesos.operator();
        Self { calls, taken, socket, thread: Some(thread), operator }
    }

    /// Waits until nothing is free: all that is not reserved is the rival's.
    #[track_caller]
    pub(crate) fn wait_all_taken(&self) {
        /// Mesos offers no less of a CPU.
        const LEAST: i64 = 10;
        wait_until("an end of what is free", PATIENCE, || {
            let agents = self.operator.agents().map_err(|error| error.to_string())?;
            let cpus = |amounts: &BTreeMap<String, f64>| amounts.get("cpus").copied().unwrap_or(0.);
            let free: f64 = agents
                .iter()
                .map(|agent| {
                    cpus(&agent.resources) - agent.reserved.values().map(cpus).sum::<f64>()
                })
                .sum();
            let free = thousandths(free) - self.taken();
            if free < LEAST { Ok(()) } else { Err(format!("{free} thousandths of CPUs are free")) }
        });
    }

    /// How much it has, in thousandths of CPUs.
    pub(crate) fn taken(&self) -> i64 {
        self.taken.lock().unwrap().values().sum()
    }
}

impl Drop for Rival {
    fn drop(&mut self) {
        let _ = self.calls.make(json!({"type": "TEARDOWN"}));
        let _ = self.socket.shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Calls {
    fn make(&self, mut call: Value) -> std::io::Result<u16> {
        call["framework_id"] = self.framework.clone();
        let headers = [JSON[0], JSON[1], ("Mesos-Stream-Id", self.stream_id.as_str())];
        Ok(post(&self.address, &headers, &call)?.status)
    }
}

fn post(address: &str, headers: &[(&str, &str)], call: &Value) -> std::io::Result<http::Response> {
    let text = call.to_string();
    http::send(&Request {
        method: "POST",
        address,
        path: PATH,
        headers,
        body: text.as_bytes(),
        timeout: Some(PATIENCE),
    })
}

fn hear(event: &Value, greed: Greed, calls: &Calls, taken: &Taken) {
    if let Some(gone) = event["rescind"]["offer_id"]["value"].as_str() {
        taken.lock().unwrap().remove(gone);
    }
    let status = &event["update"]["status"];
    // Whatever else it is that Mesos tells of a task: it has not come to run, or not stayed.
    let state = status["state"].as_str().unwrap_or("TASK_RUNNING");
    if !["TASK_STAGING", "TASK_STARTING", "TASK_RUNNING"].contains(&state) {
        let id = status["task_id"]["value"].as_str().unwrap_or_default();
        taken.lock().unwrap().remove(id.trim_start_matches("rival-"));
    }
    if status["uuid"].is_string() {
        let acknowledge = json!({
            "agent_id": status["agent_id"], "task_id": status["task_id"], "uuid": status["uuid"],
        });
        let _ = calls.make(json!({"type": "ACKNOWLEDGE", "acknowledge": acknowledge}));
    }
    for offer in event["offers"]["offers"].as_array().into_iter().flatten() {
        let id = offer["id"]["value"].as_str().unwrap();
        if greed == Greed::Launches && !launch(offer, id, calls) {
            continue;
        }
        taken.lock().unwrap().insert(id.to_owned(), cpus_of(offer));
    }
}

/// Takes all of an offer; whether Mesos lets it.
fn launch(offer: &Value, id: &str, calls: &Calls) -> bool {
    let task = json!({
        "name": "rival", "task_id": {"value": format!("rival-{id}")},
        "agent_id": offer["agent_id"], "resources": offer["resources"],
        "command": {"value": "exec sleep 3000"},
    });
    let operation = json!({"type": "LAUNCH", "launch": {"task_infos": [task]}});
    let accept = json!({"offer_ids": [offer["id"]], "operations": [operation]});
    matches!(calls.make(json!({"type": "ACCEPT", "accept": accept})), Ok(202))
}

fn cpus_of(offer: &Value) -> i64 {
    let all = offer["resources"].as_array().into_iter().flatten();
    let cpus = all.filter(|resource| resource["name"] == "cpus");
    cpus.map(|resource| thousandths(resource["scalar"]["value"].as_f64().unwrap())).sum()
}

#[expect(clippy::cast_possible_truncation, reason = "amounts of a testbed are small")]
fn thousandths(amount: f64) -> i64 {
    (amount * 1000.0).round() as i64
}

/// The events of a stream, until it ends.
struct Events {
    body: Body,
    buffer: Vec<u8>,
}

impl Iterator for Events {
    type Item = Value;

    fn next(&mut self) -> Option<Value> {
        let mut chunk = [0; 16 * 1024];
        loop {
            if let Some(at) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let length: usize = std::str::from_utf8(&self.buffer[..at]).ok()?.parse().ok()?;
                let end = at + 1 + length;
                if self.buffer.len() >= end {
                    let event = serde_json::from_slice(&self.buffer[at + 1..end]).ok()?;
                    self.buffer.drain(..end);
                    return Some(event);
                }
            }
            match self.body.read(&mut chunk) {
                Ok(read) if read > 0 => self.buffer.extend_from_slice(&chunk[..read]),
                _ => return None,
            }
        }
    }
}
