//! Mesos, and the connections to it.
//!
//! The model knows no network. Here are the streams of events, which keep their order and wait while
//! the network is cut, as TCP does, and the lanes of calls; both break when a connection is reset.

use crate::link::{Link, Way};
use crate::plan::Plan;
use crate::rival::Rival;
use crate::sim::{NEVER, Sim, lock};
use bytes::Bytes;
use peloton_mesos_sim::{AgentSpec, ConnectionId, Mesos, Output, Refusal, Script, Settings, Tasks};
use peloton_mesos_wire::recordio;
use peloton_proto::mesos::v1;
use peloton_proto::mesos::v1::scheduler::{Call, Event};
use prost::Message as _;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use tokio::sync::mpsc;

/// What comes down a stream.
#[derive(Debug)]
pub(crate) enum Piece {
    /// The answer to SUBSCRIBE: a stream id, or a refusal.
    Head(Result<String, Refusal>),
    Body(Bytes),
    /// Closed by Mesos, or broken.
    Closed(Option<String>),
}

/// A stream of events to a master.
pub(crate) struct Stream {
    pub(crate) link: Arc<Link>,
    to: mpsc::UnboundedSender<Piece>,
    on_the_way: VecDeque<Piece>,
    last_at: u64,
}

/// Mesos and who is connected to it.
pub(crate) struct MesosSide {
    pub(crate) model: Mesos,
    /// Whether there is a leading master.
    pub(crate) up: bool,
    streams: BTreeMap<ConnectionId, Stream>,
    connections: u64,
    pub(crate) rival: Rival,
}

impl MesosSide {
    pub(crate) fn new(plan: &Plan) -> Self {
        let settings =
            Settings { seed: plan.seed, message_delay_ms: (0, 3), ..Settings::default() };
        let mut model = Mesos::new(settings);
        for index in 0..plan.agents {
            model.add_agent(agent(index, plan));
        }
        let (streams, rival) = (BTreeMap::new(), Rival::new(plan));
        Self { model, up: true, streams, connections: 0, rival }
    }

    pub(crate) fn new_connection(&mut self) -> ConnectionId {
        self.connections += 1;
        ConnectionId(self.connections)
    }

    pub(crate) fn wake_at(&self) -> u64 {
        self.model.wake_at_ms().unwrap_or(NEVER)
    }

    /// The streams of a master's process.
    pub(crate) fn streams_of(&self, link: &Arc<Link>) -> Vec<ConnectionId> {
        let of = |stream: &Stream| Arc::ptr_eq(&stream.link, link);
        self.streams.iter().filter(|(_, s)| of(s)).map(|(id, _)| *id).collect()
    }
}

/// An agent of some size.
pub(crate) fn agent(index: u32, plan: &Plan) -> AgentSpec {
    let scalar = |name: &str, value: f64| v1::Resource {
        name: name.to_owned(),
        r#type: v1::value::Type::Scalar as i32,
        scalar: Some(v1::value::Scalar { value }),
        ..Default::default()
    };
    let range = v1::value::Range { begin: 31_000, end: 31_079 };
    let ports = v1::Resource {
        name: "ports".to_owned(),
        r#type: v1::value::Type::Ranges as i32,
        ranges: Some(v1::value::Ranges { range: vec![range] }),
        ..Default::default()
    };
    let size = f64::from(1 + index % 2);
    let zone = v1::Attribute {
        name: "zone".to_owned(),
        r#type: v1::value::Type::Text as i32,
        text: Some(v1::value::Text { value: zone(index) }),
        ..Default::default()
    };
    let script = Script {
        start_delay_ms: (50, 2_000),
        run_time_ms: None,
        failures_per_mille: plan.task_fails_per_mille,
        kill_delay_ms: (20, 1_500),
    };
    AgentSpec {
        hostname: format!("agent{index}"),
        port: 5051,
        resources: vec![
            scalar("cpus", 16.0 * size),
            scalar("mem", 8_192.0 * size),
            scalar("disk", 20_000.0),
            ports,
        ],
        attributes: vec![zone],
        domain: None,
        tasks: Tasks::Script(script),
    }
}

/// Every other agent is in another zone: constraints name them.
fn zone(index: u32) -> String {
    format!("z{}", index % 2)
}

impl Sim {
    /// Works on Mesos at the present time, and sends off what it says.
    pub(crate) fn with_mesos<T>(&self, work: impl FnOnce(&mut MesosSide) -> T) -> T {
        let mut side = lock(&self.mesos);
        side.model.advance(self.now_ms());
        let result = work(&mut side);
        for output in side.model.drain() {
            self.put_out(&mut side, output);
        }
        let wake_at = side.wake_at();
        drop(side);
        self.poke(wake_at);
        result
    }

    fn put_out(&self, side: &mut MesosSide, output: Output) {
        match output {
            Output::Event(id, event) if side.rival.is(id) => {
                side.rival.hear(self, *event);
            }
            Output::Event(id, event) => {
                let bytes = event.encode_to_vec();
                let name = side.streams.get(&id).map(|s| s.link.name.clone()).unwrap_or_default();
                self.note_event(&name, &bytes, &event);
                lock(&self.checks).event(self.now_ms(), &event);
                self.send_down(side, id, Piece::Body(recordio::encode(&bytes)));
            }
            Output::Close(id) if side.rival.is(id) => side.rival.closed(self),
            Output::Close(id) => self.send_down(side, id, Piece::Closed(None)),
            // Scripts run all tasks.
            Output::Launch { .. } | Output::Kill { .. } | Output::DestroyVolume { .. } => {}
        }
    }

    fn note_event(&self, to: &str, bytes: &[u8], event: &Event) {
        let heartbeat = v1::scheduler::event::Type::Heartbeat as i32;
        if event.r#type != Some(heartbeat) {
            self.note("mesos", bytes, || format!("to {to}: {}", crate::words::event(event)));
        }
    }

    fn send_down(&self, side: &mut MesosSide, id: ConnectionId, piece: Piece) {
        let Some(stream) = side.streams.get_mut(&id) else { return };
        let at = stream.last_at.max(self.now_ms() + self.latency());
        stream.last_at = at;
        stream.on_the_way.push_back(piece);
        self.schedule(at, move |sim| sim.arrive_down(id));
    }

    /// The next piece of a stream reaches its master, unless the way is blocked.
    fn arrive_down(self: &Arc<Self>, id: ConnectionId) {
        let mut side = lock(&self.mesos);
        let Some(stream) = side.streams.get_mut(&id) else { return };
        let until = stream.link.held_until(Way::Mesos);
        if until > self.now_ms() {
            return self.schedule(until, move |sim| sim.arrive_down(id));
        }
        let Some(piece) = stream.on_the_way.pop_front() else { return };
        let over = matches!(piece, Piece::Closed(_) | Piece::Head(Err(_)));
        // A dead process, or a client that has gone away, hears nothing.
        if stream.link.is_on() {
            let _ = stream.to.send(piece);
        }
        if over {
            side.streams.remove(&id);
        }
    }

    /// A SUBSCRIBE is sent; what comes back goes to `to`.
    pub(crate) fn send_subscribe(
        self: &Arc<Self>,
        link: &Arc<Link>,
        call: Call,
        to: mpsc::UnboundedSender<Piece>,
    ) -> ConnectionId {
        let id = lock(&self.mesos).new_connection();
        let link = link.clone();
        let (sent_at, at) = (self.now_ms(), link.leaves_at(self) + self.latency());
        self.schedule(at, move |sim| sim.arrive_subscribe(id, link, call, to, sent_at));
        id
    }

    fn arrive_subscribe(
        self: &Arc<Self>,
        id: ConnectionId,
        link: Arc<Link>,
        call: Call,
        to: mpsc::UnboundedSender<Piece>,
        sent_at: u64,
    ) {
        let until = link.cut_until(Way::Mesos);
        if until > self.now_ms() {
            let again = move |sim: &Arc<Self>| sim.arrive_subscribe(id, link, call, to, sent_at);
            return self.schedule(until, again);
        }
        if to.is_closed() && (!link.is_on() || self.draw(|r| r.coin())) {
            // The client gave up before it was connected.
            return;
        }
        let bytes = call.encode_to_vec();
        self.with_mesos(|side| {
            let (on_the_way, last_at) = (VecDeque::new(), 0);
            let gone = to.is_closed();
            side.streams.insert(id, Stream { link: link.clone(), to, on_the_way, last_at });
            let answer = if side.up {
                side.model.subscribe(id, call.clone())
            } else {
                Err(Refusal { status: 503, body: "simulated: no leading master".to_owned() })
            };
            self.note(&link.name, &bytes, || format!("SUBSCRIBE {id:?}: {answer:?}"));
            if answer.is_ok() {
                lock(&self.checks).called(self, &link, &call, sent_at, &side.model);
            }
            self.send_down(side, id, Piece::Head(answer));
            if gone {
                self.hang_up(id, 0);
            }
        });
    }

    /// A client closes a stream: Mesos notices when it hears of it.
    pub(crate) fn hang_up(&self, id: ConnectionId, at: u64) {
        self.schedule(at.max(self.now_ms() + 1), move |sim| {
            let until = lock(&sim.mesos).streams.get(&id).map(|s| s.link.cut_until(Way::Mesos));
            match until {
                Some(until) if until > sim.now_ms() => sim.hang_up(id, until),
                _ => sim.with_mesos(|side| {
                    side.streams.remove(&id);
                    side.model.disconnected(id);
                }),
            }
        });
    }

    /// The connection is reset: the master notices at once, Mesos some time later.
    pub(crate) fn break_stream(&self, id: ConnectionId) {
        let later = self.now_ms() + self.draw(|r| if r.coin() { 0 } else { r.within(1, 30_000) });
        {
            let mut side = lock(&self.mesos);
            if let Some(stream) = side.streams.remove(&id) {
                let _ = stream.to.send(Piece::Closed(Some("simulated: reset".to_owned())));
            }
        }
        self.schedule(later, move |sim| sim.with_mesos(|side| side.model.disconnected(id)));
    }
}
