//! The transitions of a session.

use super::{
    DEFAULT_HEARTBEAT_MS, Failure, Input, MAX_HEARTBEAT_MS, MAX_REDIRECTS, MIN_HEARTBEAT_MS,
    MISSED_HEARTBEATS, Output, Reason, ResponseHead, SessionOptions, State, Subscription,
};
use crate::address::MasterAddress;
use crate::calls::PROTOBUF;
use crate::recordio::RecordDecoder;
use peloton_proto::mesos::v1::MasterInfo;
use peloton_proto::mesos::v1::scheduler::{Event, event};
use prost::Message;

/// What Mesos says when another scheduler subscribed with the same framework id.
const FAILED_OVER: &str = "Framework failed over";

/// What Mesos says to a framework id that it has given up, in its various versions.
const REMOVED: [&str; 2] =
    ["Framework has been removed", "Completed framework attempted to re-subscribe"];

/// How a 400 begins that is about the call and not about the moment.
const INVALID: &str = "Failed to validate";

/// One scheduler connection, from the first attempt to its end for good.
#[derive(Debug)]
pub struct Session {
    options: SessionOptions,
    framework_id: Option<String>,
    epoch: u64,
    phase: Phase,
    /// Rounds in vain since the last session that proved stable.
    attempt: u32,
    /// What is left to try in this round, the next one last.
    round: Vec<MasterAddress>,
    /// Redirects followed since the last master of the round.
    redirects: u32,
    /// The last master that led.
    leader: Option<MasterAddress>,
    skipped_events: u64,
}

#[derive(Debug)]
enum Phase {
    Waiting { until_ms: u64 },
    Connecting { master: MasterAddress, deadline_ms: u64 },
    Streaming(Box<Stream>),
    Failed(Failure),
}

/// An answered SUBSCRIBE, before and after the SUBSCRIBED event.
#[derive(Debug)]
struct Stream {
    master: MasterAddress,
    /// Where the master says that it listens, which need not be how it was reached.
    says: Option<MasterAddress>,
    stream_id: String,
    decoder: RecordDecoder,
    last_heard_at_ms: u64,
    progress: Progress,
}

#[derive(Debug)]
enum Progress {
    /// SUBSCRIBED has yet to come.
    Expected {
        deadline_ms: u64,
    },
    Subscribed {
        since_ms: u64,
        heartbeat_interval_ms: u64,
    },
}

/// What one event does to the session.
enum Effect {
    Nothing,
    Lose(Reason),
    Fail(Failure),
}

impl Session {
    /// A session that begins with the first [`Input::Timer`].
    pub fn new(options: SessionOptions) -> Self {
        Self {
            framework_id: options.framework_id.clone(),
            options,
            epoch: 0,
            phase: Phase::Waiting { until_ms: 0 },
            attempt: 0,
            round: Vec::new(),
            redirects: 0,
            leader: None,
            skipped_events: 0,
        }
    }

    /// The framework's id: as given, or as Mesos assigned it.
    pub fn framework_id(&self) -> Option<&str> {
        self.framework_id.as_deref()
    }

    /// How many events were passed over because their kind is unknown or their content missing.
    pub fn skipped_events(&self) -> u64 {
        self.skipped_events
    }

    /// Where the session stands.
    pub fn state(&self) -> State {
        let attempt = self.attempt;
        match &self.phase {
            Phase::Waiting { .. } => State::Disconnected { attempt },
            Phase::Connecting { master, .. } => {
                State::Connecting { attempt, master: master.clone() }
            }
            Phase::Failed(failure) => State::Failed(failure.clone()),
            Phase::Streaming(stream) => match stream.progress {
                Progress::Expected { .. } => {
                    State::Connecting { attempt, master: stream.master.clone() }
                }
                Progress::Subscribed { heartbeat_interval_ms, .. } => State::Subscribed {
                    stream_id: stream.stream_id.clone(),
                    master: stream.master.clone(),
                    heartbeat_interval_ms,
                    last_heard_at_ms: stream.last_heard_at_ms,
                },
            },
        }
    }

    /// One step. `now_ms` is the driver's monotonic clock; `random` is used for jitter only.
    pub fn step(&mut self, now_ms: u64, random: u64, input: Input<'_>) -> Vec<Output> {
        let mut step = Step { now_ms, random, outputs: Vec::new() };
        match input {
            Input::Timer => self.timer(&mut step),
            Input::Leader { address } => self.leader_found(&mut step, address),
            Input::Response { epoch, head } if epoch == self.epoch => {
                self.response(&mut step, head);
            }
            Input::Body { epoch, bytes } if epoch == self.epoch => self.body(&mut step, bytes),
            Input::Closed { epoch, error } if epoch == self.epoch => self.closed(&mut step, error),
            Input::CallBroke { epoch, error } if epoch == self.epoch => {
                self.lose(&mut step, Reason::CallBroke(error));
            }
            Input::Response { .. }
            | Input::Body { .. }
            | Input::Closed { .. }
            | Input::CallBroke { .. } => {}
        }
        step.outputs
    }

    fn timer(&mut self, step: &mut Step) {
        match &self.phase {
            Phase::Failed(_) => {}
            Phase::Waiting { until_ms } if step.now_ms < *until_ms => step.wake_at(*until_ms),
            Phase::Waiting { .. } => {
                self.begin_round();
                if self.round.is_empty() {
                    // Nobody to try: it is not an attempt, and a leader that is found ends the wait.
                    let until_ms = step.now_ms.saturating_add(self.options.backoff_max_ms);
                    self.phase = Phase::Waiting { until_ms };
                    return step.wake_at(until_ms);
                }
                self.try_next(step);
            }
            Phase::Connecting { deadline_ms, .. } => {
                let deadline_ms = *deadline_ms;
                self.expire(step, deadline_ms);
            }
            Phase::Streaming(stream) => match stream.progress {
                Progress::Expected { deadline_ms } => self.expire(step, deadline_ms),
                Progress::Subscribed { heartbeat_interval_ms, .. } => {
                    let limit_ms = heartbeat_interval_ms.saturating_mul(MISSED_HEARTBEATS);
                    let deadline_ms = stream.last_heard_at_ms.saturating_add(limit_ms);
                    let silent_ms = step.now_ms.saturating_sub(stream.last_heard_at_ms);
                    if step.now_ms < deadline_ms {
                        step.wake_at(deadline_ms);
                    } else {
                        self.lose(step, Reason::HeartbeatsMissed { silent_ms });
                    }
                }
            },
        }
    }

    /// Goes to the master that leads, unless that is where we are.
    fn leader_found(&mut self, step: &mut Step, address: Option<MasterAddress>) {
        self.options.masters = address.iter().cloned().collect();
        let Some(leader) = address else { return };
        let there = match &self.phase {
            Phase::Failed(_) => true,
            Phase::Waiting { .. } => false,
            Phase::Connecting { master, .. } => *master == leader,
            Phase::Streaming(stream) => {
                stream.master == leader || stream.says.as_ref() == Some(&leader)
            }
        };
        if there {
            return;
        }
        if !matches!(self.phase, Phase::Waiting { .. }) {
            self.give_up(step, Reason::LeaderChanged { leader });
        }
        // The one who led is not to be tried first.
        (self.leader, self.attempt) = (None, 0);
        self.begin_round();
        self.try_next(step);
    }

    /// Gives an attempt up whose time is over.
    fn expire(&mut self, step: &mut Step, deadline_ms: u64) {
        if step.now_ms < deadline_ms {
            step.wake_at(deadline_ms);
        } else {
            self.lose(step, Reason::TimedOut { after_ms: self.options.subscribe_timeout_ms });
        }
    }

    fn response(&mut self, step: &mut Step, head: ResponseHead) {
        let Phase::Connecting { master, deadline_ms } = &self.phase else { return };
        let (master, deadline_ms) = (master.clone(), *deadline_ms);
        let body = head.error_body;
        match head.status {
            200 if !is_protobuf(head.content_type.as_deref()) => {
                self.lose(step, Reason::NotMesos("the answer to SUBSCRIBE is not protobuf"));
            }
            200 => match head.stream_id {
                None => self.lose(step, Reason::NotMesos("the answer has no Mesos-Stream-Id")),
                Some(stream_id) => {
                    self.phase = Phase::Streaming(Box::new(Stream {
                        master,
                        says: None,
                        stream_id,
                        decoder: RecordDecoder::new(self.options.max_record_bytes),
                        last_heard_at_ms: step.now_ms,
                        progress: Progress::Expected { deadline_ms },
                    }));
                }
            },
            301 | 302 | 303 | 307 | 308 => self.redirect(step, head.location.as_deref()),
            status @ (401 | 403) => {
                self.fail(step, Failure::AuthenticationRefused { master, status, body });
            }
            400 if body.starts_with(INVALID) => {
                self.fail(step, Failure::InvalidSubscription { master, body });
            }
            status => self.lose(step, Reason::Refused { status, body }),
        }
    }

    /// Follows a redirect at once, unless there were too many of them.
    fn redirect(&mut self, step: &mut Step, location: Option<&str>) {
        match MasterAddress::from_location(location.unwrap_or_default()) {
            Err(error) => self.lose(step, Reason::BadRedirect(error)),
            Ok(_) if self.redirects == MAX_REDIRECTS => self.lose(step, Reason::TooManyRedirects),
            Ok(leader) => {
                self.redirects += 1;
                self.give_up(step, Reason::Redirected { leader: leader.clone() });
                self.connect(step, leader);
            }
        }
    }

    fn body(&mut self, step: &mut Step, bytes: &[u8]) {
        if let Phase::Streaming(stream) = &mut self.phase {
            stream.last_heard_at_ms = step.now_ms;
            stream.decoder.push(bytes);
        }
        // An event may end the stream: whatever came behind it is not looked at.
        while let Phase::Streaming(stream) = &mut self.phase {
            let effect = match stream.decoder.next_record() {
                Ok(None) => return,
                Err(error) => Effect::Lose(error.into()),
                Ok(Some(record)) => match Event::decode(record) {
                    Ok(event) => self.event(step, event),
                    Err(error) => Effect::Lose(Reason::Undecodable(error.to_string())),
                },
            };
            match effect {
                Effect::Nothing => {}
                Effect::Lose(reason) => self.lose(step, reason),
                Effect::Fail(failure) => self.fail(step, failure),
            }
        }
    }

    fn event(&mut self, step: &mut Step, event: Event) -> Effect {
        use event::Type;
        let kind = Type::try_from(event.r#type.unwrap_or_default()).unwrap_or(Type::Unknown);
        match kind {
            Type::Subscribed => match event.subscribed {
                Some(subscribed) => return self.subscribed(step, subscribed),
                None => self.skipped_events += 1,
            },
            Type::Error => return verdict(event.error.and_then(|e| e.message)),
            Type::Heartbeat => {}
            _ if !has_content(kind, &event) => self.skipped_events += 1,
            _ if self.is_subscribed() => {
                step.outputs.push(Output::Event { epoch: self.epoch, event: Box::new(event) });
            }
            _ => return Effect::Lose(Reason::NotMesos("an event came before SUBSCRIBED")),
        }
        Effect::Nothing
    }

    fn subscribed(&mut self, step: &mut Step, subscribed: event::Subscribed) -> Effect {
        let Phase::Streaming(stream) = &mut self.phase else { return Effect::Nothing };
        if matches!(stream.progress, Progress::Subscribed { .. }) {
            return Effect::Lose(Reason::NotMesos("a second SUBSCRIBED came"));
        }
        let Some(id) = subscribed.framework_id.map(|id| id.value).filter(|id| !id.is_empty())
        else {
            return Effect::Lose(Reason::NotMesos("SUBSCRIBED has no framework id"));
        };
        if self.framework_id.as_ref().is_some_and(|ours| *ours != id) {
            return Effect::Lose(Reason::NotMesos("SUBSCRIBED has another framework id than ours"));
        }
        let heartbeat_interval_ms = heartbeat_ms(subscribed.heartbeat_interval_seconds);
        stream.says = subscribed.master_info.as_ref().and_then(listens_at);
        stream.progress = Progress::Subscribed { since_ms: step.now_ms, heartbeat_interval_ms };
        self.framework_id = Some(id.clone());
        self.leader = Some(stream.master.clone());
        step.outputs.push(Output::Subscribed(Box::new(Subscription {
            epoch: self.epoch,
            framework_id: id,
            stream_id: stream.stream_id.clone(),
            master: stream.master.clone(),
            master_info: subscribed.master_info,
            heartbeat_interval_ms,
        })));
        let silence_ms = heartbeat_interval_ms.saturating_mul(MISSED_HEARTBEATS);
        step.wake_at(step.now_ms.saturating_add(silence_ms));
        Effect::Nothing
    }

    fn closed(&mut self, step: &mut Step, error: Option<String>) {
        let truncated = match &self.phase {
            Phase::Streaming(stream) => stream.decoder.finish().err(),
            _ => None,
        };
        let reason = match (error, truncated) {
            (Some(error), _) => Reason::Connection(error),
            (None, Some(error)) => Reason::Framing(error),
            (None, None) => Reason::Closed,
        };
        self.lose(step, reason);
    }

    /// Ends the current attempt or session and arranges the next.
    fn lose(&mut self, step: &mut Step, reason: Reason) {
        if matches!(self.phase, Phase::Waiting { .. } | Phase::Failed(_)) {
            return;
        }
        let subscribed_since_ms = self.subscribed_since_ms();
        self.give_up(step, reason);
        match subscribed_since_ms {
            None => self.try_next(step),
            Some(since_ms) => {
                // Only a session that lasted proves that all is well: one that ends at once,
                // again and again, must be retried ever more slowly.
                if step.now_ms.saturating_sub(since_ms) >= self.options.backoff_max_ms {
                    self.attempt = 0;
                }
                self.wait(step);
            }
        }
    }

    /// Ends the current attempt or session for good.
    fn fail(&mut self, step: &mut Step, failure: Failure) {
        if !matches!(self.phase, Phase::Waiting { .. } | Phase::Failed(_)) {
            step.outputs.push(Output::Close { epoch: self.epoch });
        }
        self.phase = Phase::Failed(failure.clone());
        step.outputs.push(Output::Failed(failure));
    }

    /// Closes the connection and says why. The phase is left for the caller to set.
    fn give_up(&mut self, step: &mut Step, reason: Reason) {
        let epoch = self.epoch;
        step.outputs.push(Output::Close { epoch });
        step.outputs.push(match &self.phase {
            Phase::Connecting { master, .. } => {
                Output::AttemptFailed { epoch, master: master.clone(), reason }
            }
            Phase::Streaming(stream) if matches!(stream.progress, Progress::Expected { .. }) => {
                Output::AttemptFailed { epoch, master: stream.master.clone(), reason }
            }
            _ => Output::Lost { epoch, reason },
        });
    }

    fn begin_round(&mut self) {
        self.round = self.options.masters.iter().rev().cloned().collect();
        if let Some(leader) = self.leader.take() {
            self.round.retain(|master| *master != leader);
            self.round.push(leader);
        }
    }

    /// The next master of the round, or the pause after it.
    fn try_next(&mut self, step: &mut Step) {
        self.redirects = 0;
        match self.round.pop() {
            Some(master) => self.connect(step, master),
            None => self.wait(step),
        }
    }

    fn connect(&mut self, step: &mut Step, master: MasterAddress) {
        self.epoch += 1;
        let deadline_ms = step.now_ms.saturating_add(self.options.subscribe_timeout_ms);
        self.phase = Phase::Connecting { master: master.clone(), deadline_ms };
        step.outputs.push(Output::Connect { epoch: self.epoch, master });
        step.wake_at(deadline_ms);
    }

    /// Pauses: the exponential back-off, of which a random half is taken off.
    fn wait(&mut self, step: &mut Step) {
        let doubled = self.options.backoff_min_ms.saturating_mul(1 << self.attempt.min(32));
        let full_ms = doubled.min(self.options.backoff_max_ms);
        let pause_ms = full_ms - step.random % (full_ms / 2 + 1);
        self.attempt = self.attempt.saturating_add(1);
        let until_ms = step.now_ms.saturating_add(pause_ms);
        self.phase = Phase::Waiting { until_ms };
        step.wake_at(until_ms);
    }

    fn is_subscribed(&self) -> bool {
        self.subscribed_since_ms().is_some()
    }

    fn subscribed_since_ms(&self) -> Option<u64> {
        match &self.phase {
            Phase::Streaming(stream) => match stream.progress {
                Progress::Subscribed { since_ms, .. } => Some(since_ms),
                Progress::Expected { .. } => None,
            },
            _ => None,
        }
    }
}

/// The surroundings of one step.
struct Step {
    now_ms: u64,
    random: u64,
    outputs: Vec<Output>,
}

impl Step {
    fn wake_at(&mut self, at_ms: u64) {
        self.outputs.push(Output::WakeAt { at_ms });
    }
}

/// Where a master says that it listens, by the rule for what it writes into ZooKeeper.
fn listens_at(info: &MasterInfo) -> Option<MasterAddress> {
    let address = info.address.as_ref()?;
    let host = [&address.ip, &address.hostname].into_iter().flatten().find(|host| !host.is_empty());
    MasterAddress::new(host?, u16::try_from(address.port).ok()?).ok()
}

/// What an ERROR event means.
fn verdict(message: Option<String>) -> Effect {
    let message = message.unwrap_or_default();
    if message == FAILED_OVER {
        Effect::Fail(Failure::FailedOver)
    } else if REMOVED.iter().any(|removed| message.contains(removed)) {
        Effect::Fail(Failure::FrameworkRemoved { message })
    } else {
        Effect::Lose(Reason::Error(message))
    }
}

/// Whether the event has the field that its kind announces. Kinds from the future have none.
fn has_content(kind: event::Type, event: &Event) -> bool {
    use event::Type;
    match kind {
        Type::Unknown => false,
        Type::Subscribed => event.subscribed.is_some(),
        Type::Offers => event.offers.is_some(),
        Type::InverseOffers => event.inverse_offers.is_some(),
        Type::Rescind => event.rescind.is_some(),
        Type::RescindInverseOffer => event.rescind_inverse_offer.is_some(),
        Type::Update => event.update.is_some(),
        Type::UpdateOperationStatus => event.update_operation_status.is_some(),
        Type::Message => event.message.is_some(),
        Type::Failure => event.failure.is_some(),
        Type::Error => event.error.is_some(),
        Type::Heartbeat => true,
    }
}

/// The heartbeat interval in milliseconds, within what can be believed.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "float casts saturate")]
fn heartbeat_ms(seconds: Option<f64>) -> u64 {
    match seconds {
        Some(seconds) if seconds.is_finite() => {
            ((seconds * 1000.0) as u64).clamp(MIN_HEARTBEAT_MS, MAX_HEARTBEAT_MS)
        }
        _ => DEFAULT_HEARTBEAT_MS,
    }
}

/// Whether a content type is that of protobuf, whatever its parameters.
fn is_protobuf(content_type: Option<&str>) -> bool {
    let essence = content_type.and_then(|text| text.split(';').next()).unwrap_or_default();
    essence.trim().eq_ignore_ascii_case(PROTOBUF)
}
