//! One call: which master, how long, and whether once more.

use std::collections::hash_map::RandomState;
use std::error::Error as StdError;
use std::future::Future;
use std::hash::{BuildHasher, Hasher};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use prost::Message;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Code, ConnectError, Request, Response, Status, Streaming, TimeoutExpired};
use tonic_prost::ProstCodec;

use crate::master::{Master, root_cause};
use crate::{Attempt, Error, MasterAddress, Options, Safety};

/// A master sets this on an error of its own to say that it has done nothing of what was asked, and will not.
const NOT_EXECUTED: &str = "peloton-not-executed";

/// The id of a change, the same in all attempts at it: the masters make it once.
const REQUEST_ID: &str = "peloton-request-id";

/// Counts the attempts at a change that masters may have got, from 1.
const ATTEMPT: &str = "peloton-attempt";

/// The largest answer that is read: pages are far smaller, and nothing may fill our memory.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// The wait before the second round over all masters; doubled with each further one, then made to vary by half.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);

/// The longest wait between rounds: about as long as a store takes to elect a leader.
const MAX_BACKOFF: Duration = Duration::from_secs(2);

/// The least time that one master is given before the next is asked.
const MIN_SHARE: Duration = Duration::from_secs(1);

/// A client of the API. Cheap to clone; clones share their connections.
#[derive(Debug, Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    masters: Vec<Master>,
    /// The master to ask first: the one that answered last.
    preferred: AtomicUsize,
    options: Options,
    caller: MetadataValue<Ascii>,
}

/// Why a master gave no answer.
enum Failure {
    /// The master says no, and so would the others.
    Refused(Status),
    /// Surely nothing was done.
    NotDone { problem: String, reached: bool },
    /// Sent; what came of it is not known.
    Unknown { problem: String, timed_out: bool },
}

/// A call of either kind on one connection.
type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<Response<T>, Status>> + Send + 'a>>;

/// What is the same for all tries of one call.
struct Call {
    path: &'static str,
    safety: Safety,
    deadline: Instant,
    /// Names a change in all its attempts; none for what changes nothing.
    id: Option<MetadataValue<Ascii>>,
    /// Whether the masters are told when to give up; not for streams, which may go on for ever.
    tell_timeout: bool,
}

impl Client {
    /// Makes a client. Connections are made when they are needed.
    ///
    /// # Errors
    /// [`Error::NoMasters`] or [`Error::InvalidMaster`].
    pub fn new(options: Options) -> Result<Self, Error> {
        let mut masters: Vec<Master> = Vec::new();
        for given in &options.masters {
            let address = MasterAddress::parse(given)?;
            if !masters.iter().any(|master| master.address == address) {
                masters.push(Master::new(address, options.connect_timeout)?);
            }
        }
        if masters.is_empty() {
            return Err(Error::NoMasters);
        }
        let caller = header_text(&options.caller);
        let inner = Inner { masters, preferred: AtomicUsize::new(0), options, caller };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// A call with one answer.
    pub(crate) async fn unary<Req, Resp>(
        &self,
        path: &'static str,
        safety: Safety,
        request: Req,
    ) -> Result<Resp, Error>
    where
        Req: Message + Clone + 'static,
        Resp: Message + Default + 'static,
    {
        let call = Call::new(path, safety, self.inner.options.timeout, true);
        self.call(&call, &request, |channel, request| {
            Box::pin(async move {
                let mut grpc = ready(channel).await?;
                let codec = ProstCodec::<Req, Resp>::default();
                grpc.unary(request, PathAndQuery::from_static(path), codec).await
            })
        })
        .await
    }

    /// A call with a stream of answers.
    pub(crate) async fn server_streaming<Req, Resp>(
        &self,
        path: &'static str,
        safety: Safety,
        request: Req,
    ) -> Result<Streaming<Resp>, Error>
    where
        Req: Message + Clone + 'static,
        Resp: Message + Default + 'static,
    {
        let call = Call::new(path, safety, self.inner.options.timeout, false);
        self.call(&call, &request, |channel, request| {
            Box::pin(async move {
                let mut grpc = ready(channel).await?;
                let codec = ProstCodec::<Req, Resp>::default();
                grpc.server_streaming(request, PathAndQuery::from_static(path), codec).await
            })
        })
        .await
    }

    async fn call<Req: Clone, T>(
        &self,
        call: &Call,
        request: &Req,
        send: impl Fn(Channel, Request<Req>) -> Answer<'static, T>,
    ) -> Result<T, Error> {
        let inner = &*self.inner;
        let mut tries = Tries::default();
        for round in 0.. {
            if round > 0 && !(tries.go_on(call, round, inner) && wait(round, call.deadline).await) {
                break;
            }
            tries.begin_round();
            let first = inner.preferred.load(Ordering::Relaxed);
            for offset in 0..inner.masters.len() {
                let index = (first + offset) % inner.masters.len();
                let master = &inner.masters[index];
                let until = call.share(inner.masters.len() - offset);
                let sent = tries.sent;
                let failure = match inner.attempt(call, sent, master, until, request, &send).await {
                    Ok(answer) => {
                        inner.preferred.store(index, Ordering::Relaxed);
                        return Ok(answer);
                    }
                    Err(failure) => failure,
                };
                if let Failure::Refused(status) = failure {
                    inner.preferred.store(index, Ordering::Relaxed);
                    return Err(tries.refused(call, master, &status));
                }
                tries.add(master, failure);
                if Instant::now() >= call.deadline {
                    return Err(tries.into_error(call, inner.options.timeout));
                }
            }
        }
        Err(tries.into_error(call, inner.options.timeout))
    }
}

impl Inner {
    async fn attempt<Req: Clone, T>(
        &self,
        call: &Call,
        sent: u32,
        master: &Master,
        until: Instant,
        request: &Req,
        send: impl Fn(Channel, Request<Req>) -> Answer<'static, T>,
    ) -> Result<T, Failure> {
        let channel = match timeout_at(until, master.connect()).await {
            Ok(Ok(channel)) => channel,
            Ok(Err(problem)) => return Err(Failure::NotDone { problem, reached: false }),
            Err(_) => {
                let problem = "no connection in time".to_owned();
                return Err(Failure::NotDone { problem, reached: false });
            }
        };
        let mut request = Request::new(request.clone());
        request.metadata_mut().insert("rpc-caller", self.caller.clone());
        if let Some(id) = &call.id {
            request.metadata_mut().insert(REQUEST_ID, id.clone());
            request.metadata_mut().insert(ATTEMPT, (sent + 1).into());
        }
        if call.tell_timeout {
            request.set_timeout(until.saturating_duration_since(Instant::now()));
        }
        match timeout_at(until, send(channel, request)).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => {
                let failure = judge(&status);
                if !matches!(failure, Failure::Refused(_)) {
                    master.disconnect();
                }
                Err(failure)
            }
            Err(_) => {
                master.disconnect();
                Err(Failure::Unknown { problem: "no answer in time".to_owned(), timed_out: true })
            }
        }
    }
}

impl Call {
    fn new(path: &'static str, safety: Safety, timeout: Duration, tell_timeout: bool) -> Self {
        let id = format!("{:016x}{:016x}", random(), random());
        let id = id.parse().ok().filter(|_| safety == Safety::Change);
        Self { path, safety, deadline: Instant::now() + timeout, id, tell_timeout }
    }

    /// Until when one master may take, of `masters_left` that could still be asked.
    fn share(&self, masters_left: usize) -> Instant {
        let now = Instant::now();
        let left = self.deadline.saturating_duration_since(now);
        let masters_left = u32::try_from(masters_left).unwrap_or(u32::MAX).max(1);
        self.deadline.min(now + (left / masters_left).max(MIN_SHARE))
    }

    /// The procedure, such as `JobManager.Get`.
    fn procedure(&self) -> String {
        let path = self.path.trim_start_matches('/').replace('/', ".");
        let mut parts = path.rsplitn(3, '.');
        match (parts.next(), parts.next()) {
            (Some(method), Some(service)) => format!("{service}.{method}"),
            _ => path,
        }
    }
}

/// What has been tried, and what is known of it.
#[derive(Default)]
struct Tries {
    /// Those of the last round.
    attempts: Vec<Attempt>,
    /// How many masters may have got it.
    sent: u32,
    /// Whether any master may have done what was asked.
    maybe_done: bool,
    /// Whether any master answered at all.
    reached: bool,
    /// Whether one did in the last round.
    reached_now: bool,
    /// Whether the last try ended for lack of time.
    timed_out: bool,
}

impl Tries {
    fn begin_round(&mut self) {
        self.attempts.clear();
        self.reached_now = false;
    }

    /// Whether all masters are to be asked once more. A store that is away comes back, and so does the answer
    /// to what became of a change; where nobody listens at all, a person rather hears of it soon.
    fn go_on(&self, call: &Call, round: u32, inner: &Inner) -> bool {
        let in_doubt = self.maybe_done && call.safety == Safety::Change;
        self.reached_now || in_doubt || round <= inner.options.retry_rounds
    }

    fn add(&mut self, master: &Master, failure: Failure) {
        let problem = match failure {
            Failure::NotDone { problem, reached } => {
                self.reached |= reached;
                self.reached_now |= reached;
                self.timed_out = false;
                problem
            }
            Failure::Unknown { problem, timed_out } => {
                self.maybe_done = true;
                self.reached = true;
                self.reached_now = true;
                self.sent += 1;
                self.timed_out = timed_out;
                problem
            }
            Failure::Refused(status) => status.message().to_owned(),
        };
        self.attempts.push(Attempt { master: master.address.to_string(), problem });
    }

    /// A master says no. What others did of it before is not known from that, unless nobody can have.
    fn refused(mut self, call: &Call, master: &Master, status: &Status) -> Error {
        let could_not = [Code::InvalidArgument, Code::Unimplemented, Code::PermissionDenied];
        let in_doubt = self.maybe_done && call.safety == Safety::Change;
        if !in_doubt || could_not.contains(&status.code()) {
            return refused(call, master, status);
        }
        self.add(master, Failure::Refused(status.clone()));
        Error::OutcomeUnknown { procedure: call.procedure(), attempts: self.attempts }
    }

    fn into_error(self, call: &Call, timeout: Duration) -> Error {
        let (attempts, procedure) = (self.attempts, call.procedure());
        if self.maybe_done && call.safety != Safety::Read {
            Error::OutcomeUnknown { procedure, attempts }
        } else if self.timed_out {
            Error::TimedOut { procedure, timeout, attempts }
        } else if self.reached {
            Error::Unavailable { procedure, attempts }
        } else {
            Error::Unreachable { attempts }
        }
    }
}

async fn ready(channel: Channel) -> Result<Grpc<Channel>, Status> {
    let mut grpc = Grpc::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES);
    grpc.ready().await.map_err(|error| Status::from_error(Box::new(error)))?;
    Ok(grpc)
}

/// What a status means for the next step. Those that come from the connection have a source; those
/// of a master have not.
fn judge(status: &Status) -> Failure {
    let problem = || match status.source() {
        Some(source) => root_cause(source),
        None => status.message().to_owned(),
    };
    if has_source::<ConnectError>(status) {
        return Failure::NotDone { problem: problem(), reached: false };
    }
    if has_source::<TimeoutExpired>(status) {
        return Failure::Unknown { problem: "no answer in time".to_owned(), timed_out: true };
    }
    // A master that is overloaded speaks for itself only; the next one may have time.
    let for_itself = matches!(status.code(), Code::Unavailable | Code::ResourceExhausted);
    if status.metadata().contains_key(NOT_EXECUTED) && for_itself {
        return Failure::NotDone { problem: problem(), reached: true };
    }
    match status.code() {
        Code::DeadlineExceeded => Failure::Unknown { problem: problem(), timed_out: true },
        Code::Unavailable => Failure::Unknown { problem: problem(), timed_out: false },
        _ if status.source().is_some() => Failure::Unknown { problem: problem(), timed_out: false },
        _ => Failure::Refused(status.clone()),
    }
}

fn has_source<E: StdError + 'static>(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<E>() {
            return true;
        }
        source = error.source();
    }
    false
}

fn refused(call: &Call, master: &Master, status: &Status) -> Error {
    let message = match status.message() {
        "" => format!("{} answered {:?} without a word", master.address, status.code()),
        message => message.to_owned(),
    };
    Error::Refused {
        master: master.address.to_string(),
        procedure: call.procedure(),
        code: status.code(),
        message,
    }
}

/// Waits before a further round; whether there is time for it.
async fn wait(round: u32, deadline: Instant) -> bool {
    let wait = FIRST_BACKOFF.saturating_mul(1 << (round - 1).min(16)).min(MAX_BACKOFF);
    // Clients that failed together must not return together.
    let wait = wait / 2 + wait.mul_f64((random() % 1024) as f64 / 1024.0);
    if Instant::now() + wait >= deadline {
        return false;
    }
    sleep(wait).await;
    true
}

/// A random number: the hasher's seed is random, and random enough for names and waits.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// A text as a header can carry it.
fn header_text(text: &str) -> MetadataValue<Ascii> {
    let plain: String = text.chars().map(|c| if c.is_ascii_graphic() { c } else { '_' }).collect();
    plain.parse().unwrap_or_else(|_| MetadataValue::from_static("unknown"))
}
