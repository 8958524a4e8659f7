//! The transitions of a detector.

use super::jute::{self, Frames, Head, Malformed, Reader, code, op, xid};
use super::{DetectorOptions, Input, Leading, Output, Server, Trouble};
use crate::leader::{LeaderError, leading_child, master_address};

/// Looks for the leading master, for ever.
#[derive(Debug)]
pub struct Detector {
    options: DetectorOptions,
    epoch: u64,
    phase: Phase,
    /// Rounds in vain since the last session that proved stable.
    attempt: u32,
    /// The server to try next, counted on over all rounds; unset before the first.
    next_server: Option<usize>,
    /// How many servers are left to try in this round.
    left_in_round: usize,
    /// The newest transaction that was seen.
    last_zxid: i64,
    /// Since when there is no session.
    alone_since_ms: u64,
    /// What was last told; `None` before anything was read.
    told: Option<Option<Leading>>,
}

#[derive(Debug)]
enum Phase {
    Waiting { until_ms: u64 },
    Greeting { link: Link, deadline_ms: u64 },
    Session { link: Link, session: Session },
}

/// A connection.
#[derive(Debug)]
struct Link {
    server: Server,
    frames: Frames,
}

/// A session that the server granted.
#[derive(Debug)]
struct Session {
    timeout_ms: u64,
    since_ms: u64,
    heard_at_ms: u64,
    sent_at_ms: u64,
    /// The last number of a request.
    xid: i32,
    /// What is waited for: older answers to the same question are of no use any more.
    listing: Option<i32>,
    looking: Option<i32>,
    reading: Option<(i32, String)>,
    /// The node whose content was read in this session.
    read: Option<String>,
    /// Whether a first list was answered, so that the server is of use.
    proven: bool,
}

impl Session {
    fn new(now_ms: u64, timeout_ms: u64) -> Self {
        Self {
            timeout_ms,
            since_ms: now_ms,
            heard_at_ms: now_ms,
            sent_at_ms: now_ms,
            xid: 0,
            listing: None,
            looking: None,
            reading: None,
            read: None,
            proven: false,
        }
    }

    fn next_xid(&mut self) -> i32 {
        // Numbers below zero have meanings of their own.
        self.xid = self.xid.checked_add(1).unwrap_or(1);
        self.xid
    }

    fn ping_at_ms(&self) -> u64 {
        self.sent_at_ms.saturating_add(self.timeout_ms / 3)
    }

    fn dead_at_ms(&self) -> u64 {
        self.heard_at_ms.saturating_add(self.timeout_ms / 3 * 2)
    }
}

/// The surroundings of one step.
struct Step {
    now_ms: u64,
    random: u64,
    outputs: Vec<Output>,
}

impl Detector {
    /// A detector that begins with the first [`Input::Timer`].
    pub fn new(options: DetectorOptions) -> Self {
        Self {
            options,
            epoch: 0,
            phase: Phase::Waiting { until_ms: 0 },
            attempt: 0,
            next_server: None,
            left_in_round: 0,
            last_zxid: 0,
            alone_since_ms: 0,
            told: None,
        }
    }

    /// One step. `now_ms` is the driver's monotonic clock; `random` is for jitter and for the server to
    /// begin with.
    pub fn step(&mut self, now_ms: u64, random: u64, input: Input<'_>) -> Vec<Output> {
        let mut step = Step { now_ms, random, outputs: Vec::new() };
        match input {
            Input::Timer => self.timer(&mut step),
            Input::Bytes { epoch, bytes } if epoch == self.epoch => self.bytes(&mut step, bytes),
            Input::Closed { epoch, error } if epoch == self.epoch => {
                let trouble = error.map_or(Trouble::Closed, Trouble::Connection);
                self.lose(&mut step, trouble);
            }
            Input::Bytes { .. } | Input::Closed { .. } => {}
        }
        let at_ms = match &self.phase {
            Phase::Waiting { until_ms } => *until_ms,
            Phase::Greeting { deadline_ms, .. } => *deadline_ms,
            Phase::Session { session, .. } => session.ping_at_ms().min(session.dead_at_ms()),
        };
        step.outputs.push(Output::WakeAt { at_ms });
        step.outputs
    }

    fn timer(&mut self, step: &mut Step) {
        let now_ms = step.now_ms;
        match &mut self.phase {
            Phase::Waiting { until_ms } if now_ms < *until_ms => {}
            Phase::Waiting { .. } => {
                self.left_in_round = self.options.url.servers().len();
                self.try_next(step);
            }
            Phase::Greeting { deadline_ms, .. } if now_ms < *deadline_ms => {}
            Phase::Greeting { .. } => {
                let after_ms = self.options.connect_timeout_ms;
                self.lose(step, Trouble::TimedOut { after_ms });
            }
            Phase::Session { session, .. } if now_ms >= session.dead_at_ms() => {
                let silent_ms = now_ms.saturating_sub(session.heard_at_ms);
                self.lose(step, Trouble::Silent { silent_ms });
            }
            Phase::Session { session, .. } if now_ms >= session.ping_at_ms() => {
                session.sent_at_ms = now_ms;
                step.outputs.push(Output::Send { epoch: self.epoch, bytes: jute::ping() });
            }
            Phase::Session { .. } => {}
        }
    }

    /// The next server of the round, or the pause after it.
    fn try_next(&mut self, step: &mut Step) {
        let servers = self.options.url.servers();
        let count = servers.len().max(1);
        // All masters of a cluster have the same list: each begins somewhere else.
        let somewhere = || usize::try_from(step.random % count as u64).unwrap_or(0);
        let number = self.next_server.unwrap_or_else(somewhere) % count;
        let (Some(left), Some(server)) = (self.left_in_round.checked_sub(1), servers.get(number))
        else {
            return self.wait(step);
        };
        self.left_in_round = left;
        self.next_server = Some(number + 1);
        if step.now_ms.saturating_sub(self.alone_since_ms) >= self.options.session_timeout_ms {
            self.last_zxid = 0;
        }
        let server = server.clone();
        self.epoch += 1;
        let deadline_ms = step.now_ms.saturating_add(self.options.connect_timeout_ms);
        step.outputs.push(Output::Connect { epoch: self.epoch, server: server.clone() });
        let hello = jute::connect(self.last_zxid, self.options.session_timeout_ms);
        step.outputs.push(Output::Send { epoch: self.epoch, bytes: hello });
        let link = Link { server, frames: Frames::default() };
        self.phase = Phase::Greeting { link, deadline_ms };
    }

    /// Pauses: the exponential back-off, of which a random half is taken off.
    fn wait(&mut self, step: &mut Step) {
        let doubled = self.options.backoff_min_ms.saturating_mul(1 << self.attempt.min(32));
        let full_ms = doubled.min(self.options.backoff_max_ms);
        let pause_ms = full_ms - step.random % (full_ms / 2 + 1);
        self.attempt = self.attempt.saturating_add(1);
        self.phase = Phase::Waiting { until_ms: step.now_ms.saturating_add(pause_ms) };
    }

    /// Ends the connection and arranges the next.
    fn lose(&mut self, step: &mut Step, trouble: Trouble) {
        let pause = Phase::Waiting { until_ms: step.now_ms };
        let (server, session) = match std::mem::replace(&mut self.phase, pause) {
            Phase::Waiting { until_ms } => {
                self.phase = Phase::Waiting { until_ms };
                return;
            }
            Phase::Greeting { link, .. } => (link.server, None),
            Phase::Session { link, session } => (link.server, Some(session)),
        };
        step.outputs.push(Output::Close { epoch: self.epoch });
        step.outputs.push(Output::Trouble { server, trouble });
        match session {
            Some(session) if session.proven => {
                self.alone_since_ms = step.now_ms;
                // As with Mesos: only a session that lasted proves that all is well.
                if step.now_ms.saturating_sub(session.since_ms) >= self.options.backoff_max_ms {
                    self.attempt = 0;
                }
                self.wait(step);
            }
            _ => self.try_next(step),
        }
    }

    fn bytes(&mut self, step: &mut Step, bytes: &[u8]) {
        match &mut self.phase {
            Phase::Waiting { .. } => return,
            Phase::Greeting { link, .. } => link.frames.push(bytes),
            Phase::Session { link, session } => {
                session.heard_at_ms = step.now_ms;
                link.frames.push(bytes);
            }
        }
        let epoch = self.epoch;
        // A message may end the connection: whatever came behind it is not looked at.
        while epoch == self.epoch {
            let frame = match &mut self.phase {
                Phase::Waiting { .. } => return,
                Phase::Greeting { link, .. } | Phase::Session { link, .. } => link.frames.next(),
            };
            let done = match frame {
                Ok(None) => return,
                Ok(Some(frame)) => self.frame(step, &frame),
                Err(malformed) => Err(malformed.into()),
            };
            if let Err(trouble) = done {
                self.lose(step, trouble);
            }
        }
    }

    fn frame(&mut self, step: &mut Step, frame: &[u8]) -> Result<(), Trouble> {
        match &self.phase {
            Phase::Waiting { .. } => Ok(()),
            Phase::Greeting { .. } => self.greeted(step, frame),
            Phase::Session { .. } => self.message(step, frame),
        }
    }

    fn greeted(&mut self, step: &mut Step, frame: &[u8]) -> Result<(), Trouble> {
        let timeout_ms = jute::granted_ms(frame)?;
        if timeout_ms == 0 {
            return Err(Trouble::SessionExpired);
        }
        let waiting = Phase::Waiting { until_ms: step.now_ms };
        if let Phase::Greeting { link, .. } = std::mem::replace(&mut self.phase, waiting) {
            self.phase = Phase::Session { link, session: Session::new(step.now_ms, timeout_ms) };
        }
        if let Some(credentials) = self.options.url.credentials() {
            let bytes = jute::auth("digest", credentials);
            step.outputs.push(Output::Send { epoch: self.epoch, bytes });
        }
        self.list(step);
        Ok(())
    }

    fn message(&mut self, step: &mut Step, frame: &[u8]) -> Result<(), Trouble> {
        let mut reader = Reader(frame);
        let head = Head::read(&mut reader)?;
        self.last_zxid = self.last_zxid.max(head.zxid);
        let Phase::Session { session, .. } = &mut self.phase else { return Ok(()) };
        match head.xid {
            xid::PING => {}
            xid::EVENT if jute::event_path(&mut reader)? == self.options.url.path() => {
                self.list(step);
            }
            xid::AUTH if head.code != code::OK => return Err(Trouble::AuthFailed),
            xid::AUTH => {}
            number if session.listing == Some(number) => {
                session.listing = None;
                return self.listed(step, head, &mut reader);
            }
            number if session.looking == Some(number) => {
                session.looking = None;
                match head.code {
                    // It came into being meanwhile.
                    code::OK => self.list(step),
                    code::NO_NODE => self.tell(step, None),
                    _ => return Err(refused(head.code, self.options.url.path())),
                }
            }
            number if session.reading.as_ref().is_some_and(|(reading, _)| *reading == number) => {
                if let Some((_, node)) = session.reading.take() {
                    return self.content(step, head, &mut reader, node);
                }
            }
            // An answer that something newer has made useless.
            _ => {}
        }
        Ok(())
    }

    /// Asks for the masters, and for an event when they change.
    fn list(&mut self, step: &mut Step) {
        let path = self.options.url.path();
        let Phase::Session { session, .. } = &mut self.phase else { return };
        let number = session.next_xid();
        (session.listing, session.looking) = (Some(number), None);
        session.sent_at_ms = step.now_ms;
        let bytes = jute::about(number, op::GET_CHILDREN, path, true);
        step.outputs.push(Output::Send { epoch: self.epoch, bytes });
    }

    fn listed(
        &mut self,
        step: &mut Step,
        head: Head,
        reader: &mut Reader<'_>,
    ) -> Result<(), Trouble> {
        let Phase::Session { link, session } = &mut self.phase else { return Ok(()) };
        let path = self.options.url.path();
        let children = match head.code {
            code::OK => reader.texts()?,
            code::NO_NODE => Vec::new(),
            _ => return Err(refused(head.code, path)),
        };
        if !session.proven {
            session.proven = true;
            step.outputs.push(Output::Connected { server: link.server.clone() });
        }
        if head.code == code::NO_NODE {
            // A list of what is not there sets no watch.
            let number = session.next_xid();
            (session.looking, session.reading) = (Some(number), None);
            session.sent_at_ms = step.now_ms;
            let bytes = jute::about(number, op::EXISTS, path, true);
            step.outputs.push(Output::Send { epoch: self.epoch, bytes });
            return Ok(());
        }
        match leading_child(children) {
            Ok(None) => self.tell(step, None),
            Ok(Some(node)) => {
                let reading = session.reading.as_ref().is_some_and(|(_, reading)| reading == node);
                if reading || session.read.as_deref() == Some(node) {
                    return Ok(());
                }
                let number = session.next_xid();
                session.reading = Some((number, node.to_owned()));
                session.sent_at_ms = step.now_ms;
                let bytes = jute::about(number, op::GET_DATA, &format!("{path}/{node}"), false);
                step.outputs.push(Output::Send { epoch: self.epoch, bytes });
            }
            Err(error) => self.not_understood(step, &error),
        }
        Ok(())
    }

    fn content(
        &mut self,
        step: &mut Step,
        head: Head,
        reader: &mut Reader<'_>,
        node: String,
    ) -> Result<(), Trouble> {
        match head.code {
            code::OK => {}
            // Gone since the list, so the watch has fired or is about to.
            code::NO_NODE => return Ok(()),
            _ => return Err(refused(head.code, &format!("{}/{node}", self.options.url.path()))),
        }
        match master_address(reader.bytes()?) {
            Ok(address) => self.tell(step, Some(Leading { node, address })),
            Err(error) => self.not_understood(step, &error),
        }
        Ok(())
    }

    /// Who leads cannot be understood: nobody that we could talk to.
    fn not_understood(&mut self, step: &mut Step, error: &LeaderError) {
        self.tell(step, None);
        if let Phase::Session { link, .. } = &self.phase {
            let trouble = Trouble::NotUnderstood(error.to_string());
            step.outputs.push(Output::Trouble { server: link.server.clone(), trouble });
        }
    }

    fn tell(&mut self, step: &mut Step, leader: Option<Leading>) {
        let Phase::Session { session, .. } = &mut self.phase else { return };
        session.reading = None;
        session.read = leader.as_ref().map(|leader| leader.node.clone());
        if self.told.as_ref() != Some(&leader) {
            self.told = Some(leader.clone());
            step.outputs.push(Output::Leader(leader));
        }
    }
}

fn refused(number: i32, path: &str) -> Trouble {
    match number {
        code::NO_AUTH => Trouble::NoPermission { path: path.to_owned() },
        code::AUTH_FAILED => Trouble::AuthFailed,
        code::SESSION_EXPIRED => Trouble::SessionExpired,
        code => Trouble::Refused { code, path: path.to_owned() },
    }
}

impl From<Malformed> for Trouble {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed.0)
    }
}
