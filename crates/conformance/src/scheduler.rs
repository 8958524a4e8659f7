//! A scheduler for scenarios: one framework's subscription, its calls and its events.
//!
//! Events are sorted into queues as they come: what comes from different agents, or from the
//! allocator's clock and from an agent, has no order between it that could be compared. A scenario
//! takes what it waits for, and what it takes is recorded. Offers are held until the scenario
//! uses them, and recorded as what is held, since how Mesos cuts them into events is a matter of
//! time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use peloton_testbed::http::{self, Request, Response};
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::stream::{Incoming, kind, read_events, sum};
use crate::target::ALLOCATION_INTERVAL_MS;
use crate::transcript::Transcript;
use crate::wire;

/// What is waited for comes within milliseconds; this is for a machine at its limit.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// An answer to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Mesos's words.
    pub body: String,
}

/// An offer that is held.
#[derive(Debug, Clone, PartialEq)]
pub struct Offer {
    /// Its id.
    pub id: String,
    /// The agent's host name.
    pub host: String,
    /// The agent's id.
    pub agent_id: String,
    /// The role that it is for.
    pub role: String,
    /// What is offered.
    pub resources: Vec<Value>,
    /// All of it.
    pub message: Value,
}

/// A framework's subscription.
#[derive(Debug)]
pub struct Scheduler {
    /// In the transcript.
    pub name: String,
    /// Mesos's id of the framework.
    pub framework_id: String,
    /// Mesos's id of the stream.
    pub stream_id: String,
    /// As it subscribed.
    pub info: Value,
    /// The event that answered; recorded by the lab.
    pub subscribed: Value,
    /// HEARTBEAT events so far.
    pub heartbeats: usize,
    /// Updates that came again, and were left out.
    pub repeated: usize,
    address: String,
    transcript: Transcript,
    inbox: Receiver<Incoming>,
    socket: TcpStream,
    queue: VecDeque<Value>,
    held: BTreeMap<String, Offer>,
    seen: BTreeSet<String>,
    pub(crate) acknowledged: BTreeSet<String>,
}

/// What a subscription needs.
#[derive(Debug, Clone)]
pub(crate) struct Subscription {
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) info: Value,
    pub(crate) suppressed: Vec<String>,
    /// The call's framework id; that of the info is the scenario's business.
    pub(crate) framework_id: Option<String>,
    pub(crate) json: bool,
}

/// POST of a body to the scheduler API.
pub(crate) fn post(address: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Response> {
    let request = Request {
        method: "POST",
        address,
        path: wire::PATH,
        headers,
        body,
        timeout: Some(DEADLINE),
    };
    http::send(&request).map_err(Error::io("the scheduler API"))
}

impl Scheduler {
    /// Subscribes and waits for SUBSCRIBED; a refusal is the inner error.
    pub(crate) fn subscribe(
        subscription: Subscription,
        transcript: &Transcript,
    ) -> Result<Result<Self, Answer>> {
        let mut scheduler = match Self::open(subscription, transcript)? {
            Ok(opened) => opened,
            Err(answer) => return Ok(Err(answer)),
        };
        let subscribed = scheduler.take("SUBSCRIBED", |event| event["type"] == "SUBSCRIBED")?;
        let id = &subscribed["subscribed"]["frameworkId"]["value"];
        scheduler.framework_id = id.as_str().unwrap_or_default().to_owned();
        scheduler.subscribed = subscribed;
        Ok(Ok(scheduler))
    }

    /// Opens the stream without waiting for an event.
    pub(crate) fn open(
        subscription: Subscription,
        transcript: &Transcript,
    ) -> Result<Result<Self, Answer>> {
        let Subscription { name, address, info, suppressed, framework_id, json } = subscription;
        let mut call = json!({"type": "SUBSCRIBE",
            "subscribe": {"framework_info": info, "suppressed_roles": suppressed}});
        if let Some(id) = framework_id {
            call["framework_id"] = json!({"value": id});
        }
        let kind = if json { wire::JSON } else { wire::PROTOBUF };
        let body = if json { call.to_string().into_bytes() } else { wire::encode(&call)? };
        let response = post(&address, &[("Content-Type", kind), ("Accept", kind)], &body)?;
        if response.status != 200 {
            let status = response.status;
            let body = response.text().map_err(Error::io("the refusal"))?;
            transcript.say(&format!("{name} -> SUBSCRIBE: {status} {body}"));
            return Ok(Err(Answer { status, body }));
        }
        let stream_id = response.header("mesos-stream-id").unwrap_or_default().to_owned();
        transcript.name(&stream_id, format!("<stream of {name}>"));
        let socket = response.socket().map_err(Error::io("the stream"))?;
        let (sender, inbox) = channel();
        std::thread::spawn(move || read_events(response, &sender, json));
        let scheduler = Self {
            name,
            framework_id: String::new(),
            stream_id,
            info,
            heartbeats: 0,
            repeated: 0,
            address,
            transcript: transcript.clone(),
            inbox,
            socket,
            queue: VecDeque::new(),
            held: BTreeMap::new(),
            seen: BTreeSet::new(),
            acknowledged: BTreeSet::new(),
            subscribed: Value::Null,
        };
        Ok(Ok(scheduler))
    }

    /// Sends a call; the framework's id is added unless there is one. The answer is recorded.
    ///
    /// # Errors
    /// When it is no call, or there is no answer.
    pub fn try_call(&mut self, call: Value) -> Result<Answer> {
        let call = self.with_framework(call);
        let (status, body) = self.send(&call)?;
        let kind = call["type"].as_str().unwrap_or_default();
        self.transcript.say(&format!("{} -> {kind}: {status} {body}", self.name));
        Ok(Answer { status, body })
    }

    /// Sends a call that is accepted.
    ///
    /// # Errors
    /// As [`Scheduler::try_call`], and when it is refused.
    pub fn call(&mut self, call: Value) -> Result<()> {
        let what = call["type"].as_str().unwrap_or_default().to_owned();
        let answer = self.try_call(call)?;
        match answer.status {
            202 => Ok(()),
            status => Err(Error::answer(what, format!("{status} {}", answer.body))),
        }
    }

    fn with_framework(&self, mut call: Value) -> Value {
        if call.get("framework_id").is_none() {
            call["framework_id"] = json!({"value": self.framework_id});
        }
        call
    }

    /// Files one event. False when none came before the deadline.
    fn pump(&mut self, deadline: Instant) -> Result<bool> {
        let left = deadline.saturating_duration_since(Instant::now());
        let event = match self.inbox.recv_timeout(left) {
            Ok(Incoming::Event(event)) => event,
            Ok(Incoming::Closed) => json!({"type": "CLOSED"}),
            Err(RecvTimeoutError::Timeout) => return Ok(false),
            Err(RecvTimeoutError::Disconnected) => {
                // The end was filed already; nothing more can come.
                std::thread::sleep(left.min(Duration::from_millis(10)));
                return Ok(false);
            }
        };
        match event["type"].as_str().unwrap_or_default() {
            "HEARTBEAT" => self.heartbeats += 1,
            "OFFERS" => {
                for offer in event["offers"]["offers"].as_array().into_iter().flatten() {
                    self.hold(offer);
                }
            }
            "RESCIND" => {
                let id = event["rescind"]["offerId"]["value"].as_str().unwrap_or_default();
                self.held.remove(id);
                self.queue.push_back(event);
            }
            "UPDATE" => {
                let uuid = event["update"]["status"]["uuid"].as_str().unwrap_or_default();
                if uuid.is_empty() || self.seen.insert(uuid.to_owned()) {
                    self.queue.push_back(event);
                } else {
                    self.repeated += 1;
                    // The acknowledgement was lost, with an agent's process for example.
                    if self.acknowledged.contains(uuid) {
                        self.acknowledge(&event["update"]["status"])?;
                    }
                }
            }
            _ => self.queue.push_back(event),
        }
        Ok(true)
    }

    fn hold(&mut self, offer: &Value) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (id, host) = (text(&offer["id"]["value"]), text(&offer["hostname"]));
        self.transcript.name(&id, format!("<offer of {host}>"));
        let offer = Offer {
            id: id.clone(),
            host,
            agent_id: text(&offer["agentId"]["value"]),
            role: text(&offer["allocationInfo"]["role"]),
            resources: offer["resources"].as_array().cloned().unwrap_or_default(),
            message: offer.clone(),
        };
        self.held.insert(id, offer);
    }

    /// The first event that matches, taken without a record.
    ///
    /// # Errors
    /// When none comes in time.
    pub fn take(&mut self, what: &str, matches: impl Fn(&Value) -> bool) -> Result<Value> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(at) = self.queue.iter().position(&matches)
                && let Some(event) = self.queue.remove(at)
            {
                return Ok(event);
            }
            if !self.pump(deadline)? && Instant::now() >= deadline {
                let came: Vec<String> = self.queue.iter().map(Value::to_string).collect();
                return Err(Error::missing(
                    format!("{what} by {}", self.name),
                    format!("there are {came:?}, and offers {:?}", self.holdings()),
                ));
            }
        }
    }

    /// The first event of a type, recorded.
    ///
    /// # Errors
    /// When none comes in time.
    pub fn event(&mut self, kind: &str) -> Result<Value> {
        let event = self.take(kind, |event| event["type"] == kind)?;
        self.record(&event);
        Ok(event)
    }

    /// Records an event.
    pub fn record(&self, event: &Value) {
        let kind = event["type"].as_str().unwrap_or_default();
        let content = event.as_object().into_iter().flatten().find(|(key, _)| *key != "type");
        let content = content.map_or(Value::Null, |(_, value)| value.clone());
        let headline = format!("{} <- {kind}", self.name);
        match content {
            Value::Null => self.transcript.say(&headline),
            content => self.transcript.message(&headline, &content),
        }
    }

    /// Waits until what is offered fulfils a condition, and records it by agent and role.
    ///
    /// # Errors
    /// When it does not come about in time.
    pub fn offers(&mut self, what: &str, until: impl Fn(&[Offer]) -> bool) -> Result<Vec<Offer>> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let held: Vec<Offer> = self.held.values().cloned().collect();
            if until(&held) {
                self.show_offers(what);
                return Ok(held);
            }
            if !self.pump(deadline)? && Instant::now() >= deadline {
                let why = format!("offered is {:#?}, unread {:?}", self.holdings(), self.queue);
                return Err(Error::missing(format!("{what} by {}", self.name), why));
            }
        }
    }

    /// Records what is held.
    pub fn show_offers(&self, what: &str) {
        self.transcript.say(&format!("{} holds offers: {what}", self.name));
        for line in self.holdings() {
            self.transcript.say(&format!("    {line}"));
        }
    }

    /// What is held, by agent, as text. What came in several offers of an agent is added up, since
    /// how Mesos cuts it is a matter of time; what one offer has apart stays so.
    pub fn holdings(&self) -> Vec<String> {
        let mut kinds: BTreeMap<(String, String), Vec<Vec<Value>>> = BTreeMap::new();
        for offer in self.held.values() {
            let mut own: BTreeMap<String, Vec<Value>> = BTreeMap::new();
            for resource in &offer.resources {
                own.entry(kind(resource)).or_default().push(resource.clone());
            }
            for (kind, resources) in own {
                kinds.entry((offer.host.clone(), kind)).or_default().push(resources);
            }
        }
        let mut lines = Vec::new();
        for ((host, _), offers) in kinds {
            let single = offers.iter().all(|resources| resources.len() == 1);
            let all: Vec<Value> = offers.into_iter().flatten().collect();
            let all = if single && all[0].get("shared").is_none() { sum(all) } else { all };
            lines.extend(all.iter().map(|r| format!("{host}: {}", self.transcript.resource(r))));
        }
        lines.sort();
        lines
    }

    /// The offers that are held, without waiting.
    pub fn held(&self) -> Vec<Offer> {
        self.held.values().cloned().collect()
    }

    /// Forgets offers that were used.
    pub fn forget(&mut self, offers: &[Offer]) {
        for offer in offers {
            self.held.remove(&offer.id);
        }
    }

    /// Takes events in until what is held fulfils a condition, without a record.
    ///
    /// # Errors
    /// When it does not come about in time.
    pub fn watch_until(&mut self, until: impl Fn(&[Offer]) -> bool) -> Result<()> {
        let deadline = Instant::now() + DEADLINE;
        while !until(&self.held()) {
            if !self.pump(deadline)? && Instant::now() >= deadline {
                return Err(Error::missing("offers", format!("{:#?}", self.holdings())));
            }
        }
        Ok(())
    }

    /// Records all offers that were taken back so far, in the order of their agents.
    ///
    /// # Errors
    /// As [`Scheduler::marker`].
    pub fn rescinds(&mut self) -> Result<()> {
        self.marker()?;
        let (taken, left): (Vec<Value>, Vec<Value>) =
            self.queue.drain(..).partition(|event| event["type"] == "RESCIND");
        self.queue = left.into();
        let id = |event: &Value| event["rescind"]["offerId"]["value"].as_str().map(str::to_owned);
        let mut lines: Vec<String> = taken
            .iter()
            .filter_map(id)
            .map(|id| format!("{} <- RESCIND {}", self.name, self.transcript.normal(&id)))
            .collect();
        lines.sort();
        lines.iter().for_each(|line| self.transcript.say(line));
        Ok(())
    }

    /// A call that is accepted, without a record.
    pub(crate) fn silent_call(&mut self, call: Value) -> Result<()> {
        let (status, body) = self.send(&self.with_framework(call.clone()))?;
        match status {
            202 => Ok(()),
            _ => Err(Error::answer(call.to_string(), format!("{status} {body}"))),
        }
    }

    fn send(&self, call: &Value) -> Result<(u16, String)> {
        let body = wire::encode(call)?;
        let headers = [
            ("Content-Type", wire::PROTOBUF),
            ("Accept", wire::PROTOBUF),
            ("Mesos-Stream-Id", &self.stream_id),
        ];
        let response = post(&self.address, &headers, &body)?;
        let status = response.status;
        Ok((status, response.text().map_err(Error::io("an answer"))?))
    }

    /// Takes in what comes in so many allocation intervals: for showing that there are no offers.
    ///
    /// # Errors
    /// Never so far.
    pub fn watch(&mut self, intervals: u64) -> Result<()> {
        let deadline = Instant::now()
            + Duration::from_millis(ALLOCATION_INTERVAL_MS)
                .saturating_mul(u32::try_from(intervals).unwrap_or(u32::MAX));
        while Instant::now() < deadline {
            self.pump(deadline)?;
        }
        Ok(())
    }

    /// Makes sure that all that the master had sent before has been filed: the answer to a
    /// reconciliation comes behind it. It names an agent that never was, since without one there is no
    /// answer as long as any agent may still come back.
    ///
    /// # Errors
    /// When the answer does not come.
    pub fn marker(&mut self) -> Result<()> {
        let call = json!({"type": "RECONCILE", "reconcile": {"tasks": [
            {"task_id": {"value": "marker"}, "agent_id": {"value": "marker"}}]}});
        self.silent_call(call)?;
        self.take("the marker", |e| e["update"]["status"]["taskId"]["value"] == "marker")
            .map(|_| ())
    }

    /// Records the events that nobody took, or that there are none.
    ///
    /// # Errors
    /// As [`Scheduler::marker`].
    pub fn nothing_more(&mut self) -> Result<()> {
        self.marker()?;
        let left: Vec<Value> = self.queue.drain(..).collect();
        if left.is_empty() {
            self.transcript.say(&format!("{}: nothing more", self.name));
        }
        left.iter().for_each(|event| self.record(event));
        Ok(())
    }

    /// Where this is recorded.
    pub fn transcript(&self) -> &Transcript {
        &self.transcript
    }

    /// Ends the connection, as a scheduler that dies.
    pub fn disconnect(self) {}
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        // It may have been ended by the other side.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}
