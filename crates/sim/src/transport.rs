//! The way of a master's client to Mesos: the transport below its session.

use crate::link::{Link, Way};
use crate::mesos::Piece;
use crate::random::Random;
use crate::sim::{EPOCH_UNIX_MS, Sim, lock};
use peloton_mesos::{
    Answer, BoxFuture, Calls, MasterAddress, Pieces, ResponseHead, Transport, TransportError,
};
use peloton_mesos_sim::{ConnectionId, Refusal};
use peloton_mesos_wire::calls::PROTOBUF;
use peloton_node::MesosProbe;
use peloton_proto::mesos::v1::scheduler::Call;
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// How long a connection is waited for while the network is cut, in milliseconds.
const CONNECT_TIMEOUT_MS: u64 = 3_000;

/// The transport of one process of a master.
pub(crate) struct SimTransport {
    sim: Arc<Sim>,
    link: Arc<Link>,
    random: Mutex<Random>,
}

impl fmt::Debug for SimTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimTransport").field("link", &self.link).finish_non_exhaustive()
    }
}

impl SimTransport {
    pub(crate) fn new(sim: Arc<Sim>, link: Arc<Link>, random: Random) -> Arc<Self> {
        Arc::new(Self { sim, link, random: Mutex::new(random) })
    }
}

impl Transport for SimTransport {
    fn subscribe(
        &self,
        _master: MasterAddress,
        call: Call,
        pieces: Pieces,
    ) -> BoxFuture<Result<(), TransportError>> {
        let (sim, link) = (self.sim.clone(), self.link.clone());
        Box::pin(async move {
            connect(&sim, &link).await?;
            let (to, from) = mpsc::unbounded_channel();
            let id = sim.send_subscribe(&link, call, to);
            let line = Line { sim, link, id, from };
            line.carry(pieces).await
        })
    }

    fn calls(&self, _master: MasterAddress, stream_id: String) -> Box<dyn Calls> {
        let (sim, link) = (self.sim.clone(), self.link.clone());
        let resets = link.resets();
        let lane = Arc::new(Mutex::new(Lane { resets, ..Lane::default() }));
        Box::new(SimCalls { sim, link, stream_id: stream_id.into(), lane })
    }

    fn wrap(&self, task: BoxFuture<()>) -> BoxFuture<()> {
        self.link.wrap(&self.sim, task)
    }

    fn random(&self) -> u64 {
        lock(&self.random).next()
    }

    fn unix_ms(&self) -> u64 {
        EPOCH_UNIX_MS + self.sim.now_ms()
    }
}

impl MesosProbe for SimTransport {
    fn reaches_mesos(&self) -> peloton_store::BoxFuture<'_, bool> {
        Box::pin(async {
            let there_and_back = self.sim.latency() + self.sim.latency();
            tokio::time::sleep(Duration::from_millis(there_and_back)).await;
            connect(&self.sim, &self.link).await.is_ok()
                && self.link.cut_until(Way::Mesos) <= self.sim.now_ms()
        })
    }
}

/// Connects, as far as that can be seen before anything is sent.
async fn connect(sim: &Sim, link: &Link) -> Result<(), TransportError> {
    if !link.is_on() || sim.is_over() {
        std::future::pending::<()>().await;
    }
    if link.cut_until(Way::Mesos) > sim.now_ms() + CONNECT_TIMEOUT_MS {
        tokio::time::sleep(Duration::from_millis(CONNECT_TIMEOUT_MS)).await;
        return Err(TransportError::new("simulated: no connection in time"));
    }
    if !lock(&sim.mesos).up {
        return Err(TransportError::new("simulated: connection refused"));
    }
    Ok(())
}

/// The client's end of a stream. Dropping it closes the connection.
struct Line {
    sim: Arc<Sim>,
    link: Arc<Link>,
    id: ConnectionId,
    from: mpsc::UnboundedReceiver<Piece>,
}

impl Line {
    async fn carry(mut self, pieces: Pieces) -> Result<(), TransportError> {
        loop {
            match self.from.recv().await {
                // The process is dead.
                None => std::future::pending().await,
                Some(Piece::Head(answer)) => {
                    let refused = answer.is_err();
                    pieces.head(head(answer)).await;
                    if refused {
                        return Ok(());
                    }
                }
                Some(Piece::Body(bytes)) => {
                    pieces.body(bytes).await;
                }
                Some(Piece::Closed(None)) => return Ok(()),
                Some(Piece::Closed(Some(why))) => return Err(TransportError::new(why)),
            }
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if !self.sim.is_over() {
            // The system closes the connections of a dead process, too.
            let at = self.sim.now_ms() + self.sim.latency();
            self.sim.hang_up(self.id, at.max(self.link.paused_until()));
        }
    }
}

fn head(answer: Result<String, Refusal>) -> ResponseHead {
    let (status, stream_id, error_body) = match answer {
        Ok(stream_id) => (200, Some(stream_id), String::new()),
        Err(refusal) => (refusal.status, None, refusal.body),
    };
    let content_type = Some(PROTOBUF.to_owned());
    ResponseHead { status, content_type, stream_id, location: None, error_body }
}

type Answered = oneshot::Sender<Result<Answer, TransportError>>;

/// A call on its way.
struct Moving {
    call: Call,
    /// When the client handed it over; in a process that stands still, not when it left.
    sent_at: u64,
    answered: Answered,
}

/// The connection for calls: what is on it arrives in order and is answered in order.
#[derive(Default)]
struct Lane {
    moving: VecDeque<Moving>,
    last_arrival: u64,
    last_answer: u64,
    /// How often the link had been reset when this connection was made.
    resets: u64,
    /// It broke: what is still on it is lost.
    broken: bool,
}

/// The calls of one session.
struct SimCalls {
    sim: Arc<Sim>,
    link: Arc<Link>,
    stream_id: Arc<str>,
    lane: Arc<Mutex<Lane>>,
}

impl fmt::Debug for SimCalls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimCalls").field("stream_id", &self.stream_id).finish_non_exhaustive()
    }
}

impl Calls for SimCalls {
    fn call(&mut self, call: &Call) -> BoxFuture<Result<Answer, TransportError>> {
        let (answered, answer) = oneshot::channel();
        if self.link.is_on() && !self.sim.is_over() {
            self.send(call.clone(), answered);
        }
        Box::pin(async move {
            match answer.await {
                Ok(answer) => answer,
                // The process is dead.
                Err(_) => std::future::pending().await,
            }
        })
    }
}

impl SimCalls {
    fn send(&self, call: Call, answered: Answered) {
        let mut lane = lock(&self.lane);
        let sent_at = self.sim.now_ms();
        let leaves_at = self.link.leaves_at(&self.sim);
        let at = lane.last_arrival.max(leaves_at + self.sim.latency());
        lane.last_arrival = at;
        lane.moving.push_back(Moving { call, sent_at, answered });
        let (link, stream_id, lane) =
            (self.link.clone(), self.stream_id.clone(), self.lane.clone());
        self.sim.schedule(at, move |sim| arrive(sim, &link, &stream_id, &lane));
    }
}

/// The next call of a lane reaches Mesos, unless the way is blocked.
fn arrive(sim: &Arc<Sim>, link: &Arc<Link>, stream_id: &Arc<str>, lane: &Arc<Mutex<Lane>>) {
    let until = link.cut_until(Way::Mesos);
    if until > sim.now_ms() {
        let (link, stream_id, lane) = (link.clone(), stream_id.clone(), lane.clone());
        return sim.schedule(until, move |sim| arrive(sim, &link, &stream_id, &lane));
    }
    let (moving, broken) = {
        let mut lane = lock(lane);
        let Some(moving) = lane.moving.pop_front() else { return };
        // Of what is on a connection that ends, a part still arrives: the first calls of it.
        let ended = lane.resets != link.resets() || moving.answered.is_closed();
        lane.broken |= ended && sim.draw(|r| r.coin());
        (moving, lane.broken)
    };
    if broken {
        return answer(sim, link, lane, moving.answered, Err("simulated: reset"));
    }
    let Some(refusal) = sim.call(link, stream_id, moving.call, moving.sent_at) else {
        return answer(sim, link, lane, moving.answered, Err("simulated: connection refused"));
    };
    let reset = lock(lane).resets != link.resets();
    let result = match refusal {
        _ if reset => Err("simulated: reset"),
        Ok(()) => Ok(Answer { status: 202, body: String::new() }),
        Err(Refusal { status, body }) => Ok(Answer { status, body }),
    };
    answer(sim, link, lane, moving.answered, result);
}

fn answer(
    sim: &Arc<Sim>,
    link: &Arc<Link>,
    lane: &Arc<Mutex<Lane>>,
    answered: Answered,
    result: Result<Answer, &'static str>,
) {
    let at = {
        let mut lane = lock(lane);
        lane.last_answer = lane.last_answer.max(sim.now_ms() + sim.latency());
        lane.last_answer
    };
    deliver(sim, link, at, answered, result.map_err(TransportError::new));
}

fn deliver(
    sim: &Arc<Sim>,
    link: &Arc<Link>,
    at: u64,
    answered: Answered,
    result: Result<Answer, TransportError>,
) {
    let link = link.clone();
    sim.schedule(at, move |sim| {
        let until = link.held_until(Way::Mesos);
        if until > sim.now_ms() {
            return deliver(sim, &link, until, answered, result);
        }
        if link.is_on() {
            // The client may have given up.
            let _ = answered.send(result);
        }
    });
}

impl Sim {
    /// A call reaches Mesos; its answer, or none where there is no Mesos.
    fn call(
        self: &Arc<Self>,
        link: &Arc<Link>,
        stream_id: &str,
        call: Call,
        sent_at: u64,
    ) -> Option<Result<(), Refusal>> {
        let bytes = prost::Message::encode_to_vec(&call);
        self.with_mesos(|side| {
            if !side.up {
                return None;
            }
            let result = side.model.call(Some(stream_id), call.clone());
            self.note(&link.name, &bytes, || {
                let words = crate::words::call(&call);
                match &result {
                    Ok(()) => words,
                    Err(refusal) => format!("{words}: {refusal}"),
                }
            });
            if result.is_ok() {
                lock(&self.checks).called(self, link, &call, sent_at, &side.model);
            }
            Some(result)
        })
    }
}
