//! The connection to the agent: one stream of events in, calls out.
//!
//! A connection has a number. Updates that the agent did not take are not sent again on it: the
//! next SUBSCRIBE carries everything unacknowledged, so there is one way to repeat, not two.

use std::io::{BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use peloton_task_runner::http::{self, Request, Response};
use peloton_task_runner::spawn;
use serde_json::{Value, json};

use crate::message::{Input, Update};
use crate::settings::Settings;

/// For the agent to answer a call; it answers at once unless it is gone.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// The agent sends heartbeats every 30 min; a stream as such may be silent for as long.
const STREAM_TIMEOUT: Option<Duration> = None;

/// An event is small; a task with all of its fields is at most some megabytes.
const MAX_EVENT_BYTES: usize = 64 * 1024 * 1024;

/// Subscribes, and hands on events until the connection ends; all in a thread of its own.
pub(crate) fn subscribe(
    settings: &Settings,
    connection: u64,
    pause: Duration,
    subscribe: Value,
    inputs: Sender<Input>,
) -> Result<(), String> {
    let settings = settings.clone();
    spawn("events", move || {
        std::thread::sleep(pause);
        let end = match listen(&settings, connection, &subscribe, &inputs) {
            Err(Stop::Refused(why)) => Input::Refused(why),
            Err(Stop::Broken) | Ok(()) => Input::Disconnected { connection },
        };
        // The supervisor has ended: then so does the process.
        let _ = inputs.send(end);
    })
    .map_err(|error| error.to_string())
}

enum Stop {
    Refused(String),
    Broken,
}

fn listen(
    settings: &Settings,
    connection: u64,
    subscribe: &Value,
    inputs: &Sender<Input>,
) -> Result<(), Stop> {
    let call = json!({"type": "SUBSCRIBE", "subscribe": subscribe});
    let response = post(settings, call).map_err(|_| Stop::Broken)?;
    match response.status {
        200 => {}
        // An agent that starts answers 404 until it serves this path, and 503 while it recovers.
        404 | 500 | 503 => return Err(Stop::Broken),
        status => {
            let text = response.text().unwrap_or_default();
            return Err(Stop::Refused(format!("the agent answers {status} to SUBSCRIBE: {text}")));
        }
    }
    let socket = response.socket().map_err(|_| Stop::Broken)?;
    socket.set_read_timeout(STREAM_TIMEOUT).map_err(|_| Stop::Broken)?;
    let _ = inputs.send(Input::Subscribed { connection });
    let mut stream = BufReader::new(response.body);
    loop {
        let event = read_event(&mut stream).ok_or(Stop::Broken)?;
        if inputs.send(Input::Event { connection, event }).is_err() {
            return Ok(());
        }
    }
}

/// One RecordIO record: its length in decimal, a newline, and so many bytes.
fn read_event(stream: &mut impl BufRead) -> Option<Value> {
    let mut length = String::new();
    stream.by_ref().take(20).read_line(&mut length).ok()?;
    let length: usize = length.trim_end().parse().ok()?;
    if length > MAX_EVENT_BYTES {
        return None;
    }
    let mut record = vec![0; length];
    stream.read_exact(&mut record).ok()?;
    serde_json::from_slice(&record).ok()
}

fn post(settings: &Settings, mut call: Value) -> std::io::Result<Response> {
    call["framework_id"] = json!({"value": settings.framework_id});
    call["executor_id"] = json!({"value": settings.executor_id});
    let authorization = settings.token.as_ref().map(|token| format!("Bearer {token}"));
    let mut headers = vec![("Content-Type", "application/json"), ("Accept", "application/json")];
    if let Some(authorization) = &authorization {
        headers.push(("Authorization", authorization));
    }
    http::send(&Request {
        method: "POST",
        address: &settings.address,
        path: &settings.path,
        headers: &headers,
        body: call.to_string().as_bytes(),
        timeout: Some(CALL_TIMEOUT),
    })
}

/// Sends updates in order, in a thread of its own, so that an agent that hangs delays no kill.
pub(crate) struct Sending {
    queue: Sender<(u64, Update)>,
}

impl Sending {
    pub(crate) fn start(settings: &Settings, inputs: Sender<Input>) -> Result<Self, String> {
        let (queue, updates) = channel();
        let settings = settings.clone();
        spawn("updates", move || send_all(&settings, &updates, &inputs))
            .map_err(|error| error.to_string())?;
        Ok(Self { queue })
    }

    /// Queues an update for the agent at the other end of this connection.
    pub(crate) fn send(&self, connection: u64, update: &Update) {
        // The thread ends with the process only.
        let _ = self.queue.send((connection, update.clone()));
    }
}

fn send_all(settings: &Settings, updates: &Receiver<(u64, Update)>, inputs: &Sender<Input>) {
    let mut broken = None;
    for (connection, update) in updates {
        // After one that was not taken, later ones must not overtake it.
        if broken == Some(connection) {
            continue;
        }
        let taken = post(settings, json!({"type": "UPDATE", "update": update.body}))
            .is_ok_and(|response| response.status == 202);
        if !taken {
            broken = Some(connection);
            if inputs.send(Input::Unsent { connection }).is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the supervisor hears when an agent gives this answer to a subscription.
    fn heard_after(answer: &'static str) -> Vec<String> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let agent = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            // The call's body follows its head; what is left unread would reset the connection.
            let mut length = 0;
            while stream.read_line(&mut line).unwrap() > 2 {
                length = line
                    .strip_prefix("Content-Length: ")
                    .map_or(length, |v| v.trim().parse().unwrap());
                line.clear();
            }
            stream.read_exact(&mut vec![0; length]).unwrap();
            std::io::Write::write_all(stream.get_mut(), answer.as_bytes()).unwrap();
        });
        let settings = Settings {
            address,
            path: "/slave(1)/api/v1/executor".to_owned(),
            framework_id: "f".to_owned(),
            executor_id: "e".to_owned(),
            token: None,
            checkpoint: true,
            recovery_timeout: Duration::from_secs(1),
            shutdown_grace_period: Duration::from_secs(1),
            max_backoff: Duration::from_millis(1),
        };
        let (sender, inputs) = channel();
        subscribe(&settings, 7, Duration::ZERO, json!({}), sender).unwrap();
        agent.join().unwrap();
        inputs.iter().map(|input| format!("{input:?}")).collect()
    }

    #[test]
    fn an_agent_that_starts_is_waited_for_and_a_refusal_is_final() {
        let gone = "Disconnected { connection: 7 }";
        for starting in ["404 Not Found", "503 Service Unavailable"] {
            let answer = format!("HTTP/1.1 {starting}\r\nContent-Length: 0\r\n\r\n").leak();
            assert_eq!(heard_after(answer), [gone], "{starting}");
        }
        let heard = heard_after("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
        assert_eq!(heard, ["Refused(\"the agent answers 403 to SUBSCRIBE: no\")"]);
        let record = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n2\n{}x";
        let event = "Event { connection: 7, event: Object {} }";
        assert_eq!(heard_after(record), ["Subscribed { connection: 7 }", event, gone]);
    }

    #[test]
    fn records_are_read_whole_and_a_broken_one_ends_the_stream() {
        let mut stream: &[u8] = b"12\n{\"type\":\"A\"}12\n{\"type\":\"B\"}5\n{\"typ";
        assert_eq!(read_event(&mut stream), Some(json!({"type": "A"})));
        assert_eq!(read_event(&mut stream), Some(json!({"type": "B"})));
        assert_eq!(read_event(&mut stream), None);
        for wrong in [&b"x\n{}"[..], b"99999999999999999999999\n", b"999999999999\n{}", b""] {
            assert_eq!(read_event(&mut &*wrong), None);
        }
    }
}
