//! What the handle, the keeper of the connection and all watches share, and how a request is made.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use peloton_store::Health;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, timeout_at};
use tonic::Status;

use crate::backoff::Backoff;
use crate::connection::Connection;
use crate::failure::{CLOSED, Failure};
use crate::key_space::KeySpace;
use crate::options::Options;

/// Requests under way at once; more wait for their turn. It bounds memory, and closing waits for all.
const MAX_REQUESTS: u32 = 4096;

/// The pauses between the attempts of one request.
const ATTEMPT_PAUSES: (Duration, Duration) =
    (Duration::from_millis(20), Duration::from_millis(500));

/// How long a request waits for a connection when there has been none for long: callers should hear of
/// it, and not queue.
const WAIT_WHEN_DOWN: Duration = Duration::from_millis(200);

/// How often a request gets a new token: twice is a token that ran out, and another one that was made
/// while the users were changed.
const MAX_RENEWALS: u32 = 3;

/// The connection, or why there is none.
#[derive(Clone, Debug)]
pub(crate) enum Link {
    /// In use.
    Up(Arc<Connection>),
    /// Being made.
    Down {
        /// Since when there is none.
        since: Instant,
        /// Why.
        reason: String,
        /// Whether it is for an operator to mend.
        denied: bool,
    },
    /// The store was closed.
    Closed,
}

/// What is wrong at the moment, by who noticed.
#[derive(Debug, Default)]
struct Troubles {
    link: Option<String>,
    alarms: Option<String>,
    denied: Option<String>,
    /// Since when the member in use has been without a leader.
    leaderless: Option<Instant>,
}

/// When a request may be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// It changes nothing.
    Read,
    /// Doing it twice is as good as once.
    Idempotent,
    /// Only while it is certain that it was not done.
    Once,
}

/// Why a request failed after all.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) failure: Failure,
    /// Whether an earlier attempt may have done it.
    pub(crate) doubtful: bool,
}

impl Failed {
    /// The last attempt did nothing; what came of those before decides.
    fn after(failure: Failure, doubtful: bool) -> Self {
        let failure = if doubtful { Failure::InDoubt(failure.reason()) } else { failure };
        Self { failure, doubtful }
    }
}

/// Shared by everything.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) options: Options,
    pub(crate) keys: KeySpace,
    pub(crate) link: watch::Sender<Link>,
    /// The cluster that answered first; another one at one of the endpoints is a mistake.
    pub(crate) cluster_id: OnceLock<u64>,
    troubles: Mutex<Troubles>,
    requests: Semaphore,
}

impl Core {
    pub(crate) fn new(options: Options) -> Self {
        let keys = KeySpace::new(&options.prefix);
        let reason = "not connected yet".to_owned();
        let down = Link::Down { since: Instant::now(), reason, denied: false };
        Self {
            options,
            keys,
            link: watch::Sender::new(down),
            cluster_id: OnceLock::new(),
            troubles: Mutex::default(),
            requests: Semaphore::new(MAX_REQUESTS as usize),
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        matches!(*self.link.borrow(), Link::Closed)
    }

    /// Waits until the store is closed.
    pub(crate) async fn closed(&self) {
        let mut link = self.link.subscribe();
        // The sender lives as long as `self`.
        let _ = link.wait_for(|link| matches!(link, Link::Closed)).await;
    }

    /// Takes no more requests, and waits for those under way: they end by their time-outs.
    pub(crate) async fn close(&self) {
        self.link.send_replace(Link::Closed);
        let _ = self.requests.acquire_many(MAX_REQUESTS).await;
    }

    pub(crate) fn health(&self) -> Health {
        if self.is_closed() {
            return Health::Failed { reason: CLOSED.to_owned() };
        }
        let troubles = self.troubles();
        let all = [&troubles.link, &troubles.denied, &troubles.alarms];
        match all.into_iter().flatten().next() {
            Some(reason) => Health::Degraded { reason: reason.clone() },
            None => Health::Ok,
        }
    }

    pub(crate) fn link_trouble(&self, reason: Option<String>) {
        self.troubles().link = reason;
    }

    /// Keeps the time of the first of several calls with one.
    pub(crate) fn leaderless(&self, since: Option<Instant>) {
        let mut troubles = self.troubles();
        troubles.leaderless = since.map(|since| troubles.leaderless.unwrap_or(since));
    }

    /// How long a request may take: little, once it is known that it has no chance for now.
    fn time_for_request(&self) -> Duration {
        let timeout = self.options.request_timeout;
        let leaderless = self.troubles().leaderless;
        if leaderless.is_some_and(|since| since.elapsed() > timeout) {
            return WAIT_WHEN_DOWN;
        }
        timeout
    }

    pub(crate) fn alarms(&self, alarms: &[String]) {
        let text = || format!("etcd has alarms: {}", alarms.join(", "));
        self.troubles().alarms = (!alarms.is_empty()).then(text);
    }

    fn denied(&self, reason: Option<&str>) {
        let mut troubles = self.troubles();
        if troubles.denied.as_deref() != reason {
            if let Some(reason) = reason {
                tracing::warn!(reason, "etcd refuses a request");
            }
            troubles.denied = reason.map(str::to_owned);
        }
    }

    fn troubles(&self) -> MutexGuard<'_, Troubles> {
        // It is valid between any two statements.
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection, as soon as there is one.
    pub(crate) async fn connected(&self, deadline: Instant) -> Result<Arc<Connection>, Failure> {
        let began = Instant::now();
        let mut link = self.link.subscribe();
        loop {
            let (until, reason) = match &*link.borrow_and_update() {
                Link::Up(connection) if !connection.is_broken() => return Ok(connection.clone()),
                Link::Up(connection) => (deadline, format!("lost {}", connection.address())),
                Link::Down { reason, denied: true, .. } => {
                    return Err(Failure::Denied(reason.clone()));
                }
                Link::Down { since, reason, .. } => {
                    let long = *since + self.options.request_timeout;
                    (deadline.min(long.max(began + WAIT_WHEN_DOWN)), reason.clone())
                }
                Link::Closed => return Err(Failure::NotDone(CLOSED.to_owned())),
            };
            if timeout_at(until, link.changed()).await.is_err() {
                return Err(Failure::NotDone(reason));
            }
        }
    }

    /// Makes a request: at the member that is connected, then at the next one if that fails, until it is
    /// answered, it may have happened and must not happen twice, or the time is over. An attempt is
    /// given up after `attempt`.
    pub(crate) async fn call<T, F>(
        &self,
        repeat: Repeat,
        attempt: Duration,
        send: impl Fn(Arc<Connection>) -> F,
    ) -> Result<T, Failed>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let deadline = Instant::now() + self.time_for_request();
        let busy = || Failure::NotDone("too many requests wait for etcd".to_owned());
        let permit = timeout_at(deadline, self.requests.acquire()).await;
        let Ok(Ok(_permit)) = permit else { return Err(Failed::after(busy(), false)) };
        let mut pauses = Backoff::new(ATTEMPT_PAUSES.0, ATTEMPT_PAUSES.1);
        let (mut doubtful, mut renewals) = (false, 0);
        loop {
            let connection = match self.connected(deadline).await {
                Ok(connection) => connection,
                // It has waited for as long as that makes sense.
                Err(failure) => return Err(Failed::after(failure, doubtful)),
            };
            let number = connection.token_number();
            let (began, until) = (Instant::now(), deadline.min(Instant::now() + attempt));
            let mut outcome = attempt_once(&connection, until, send(connection.clone())).await;
            if let Err(Failure::Token(reason)) = outcome {
                renewals += 1;
                match self.renew(&connection, number, renewals, reason).await {
                    Ok(()) => continue,
                    Err(failure) => outcome = Err(failure),
                }
            }
            let failure = match outcome {
                Ok(answer) => {
                    self.denied(None);
                    return Ok(answer);
                }
                Err(failure) => failure,
            };
            match (&failure, repeat) {
                (Failure::InDoubt(_), Repeat::Idempotent) => doubtful = true,
                (Failure::InDoubt(_), Repeat::Once) => {
                    if began.elapsed() >= self.options.request_timeout {
                        // It tells its status and does not write: its disk hangs, perhaps.
                        connection.fail("a write was not answered");
                    }
                    return Err(Failed { failure, doubtful: true });
                }
                (Failure::NotDone(_) | Failure::InDoubt(_), _) => {}
                (Failure::Denied(reason), _) => {
                    self.denied(Some(reason));
                    return Err(Failed { failure, doubtful });
                }
                _ => return Err(Failed { failure, doubtful }),
            }
            let pause = pauses.next();
            if self.is_closed() || Instant::now() + pause >= deadline {
                return Err(Failed::after(Failure::NotDone(failure.reason()), doubtful));
            }
            sleep(pause).await;
        }
    }

    async fn renew(
        &self,
        connection: &Connection,
        number: u64,
        renewals: u32,
        reason: String,
    ) -> Result<(), Failure> {
        if self.options.credentials.is_none() {
            let hint = "etcd asks for a user and a password, and none are configured";
            return Err(Failure::Denied(format!("{reason}: {hint}")));
        }
        if renewals > MAX_RENEWALS {
            return Err(Failure::NotDone(reason));
        }
        connection.authenticate(&self.options, number).await
    }
}

/// One attempt on one connection.
async fn attempt_once<T>(
    connection: &Connection,
    until: Instant,
    send: impl Future<Output = Result<T, Status>>,
) -> Result<T, Failure> {
    let mut send = pin!(send);
    tokio::select! {
        biased;
        answer = &mut send => answer.map_err(|status| {
            let failure = Failure::of(&status);
            if Failure::is_connection(&status) {
                connection.fail(failure.clone().reason());
            }
            failure
        }),
        reason = connection.broken() => Err(Failure::InDoubt(reason)),
        () = tokio::time::sleep_until(until) => {
            Err(Failure::InDoubt(format!("{} did not answer in time", connection.address())))
        }
    }
}
