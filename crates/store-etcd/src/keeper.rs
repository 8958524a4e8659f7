//! Keeps one connection: makes it, looks after it, and replaces it when its member fails.
//!
//! One task owns the connection, so that there is one place for back-off and one opinion on which member
//! is in use. Endpoints are tried in turn from a random one (masters spread over the members), the next
//! one when the last failed or is slow; the first that answers, knows a leader and lets us in wins.
//!
//! A member that is paused, or cut off, keeps its connections open and just does not answer. So the keeper
//! asks it for its status twice a second: that is answered from memory, whatever the cluster does, and a
//! member that does not is left at once. (HTTP/2 pings would tell the same, but etcd ends connections
//! that ping more often than every five seconds, and a lease may have run out by then.)

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep, timeout};

use crate::backoff::{Backoff, random};
use crate::connection::Connection;
use crate::core::{Core, Link};
use crate::failure::Failure;
use crate::proto::rpc;

/// Between two looks at the member in use.
const PROBE_INTERVAL: Duration = Duration::from_millis(500);

/// For the answer to such a look. With the interval, a paused member is left within two seconds, and a
/// lease of five, renewed every third of it, lives on.
const PROBE_TIMEOUT: Duration = Duration::from_millis(1500);

/// How long a member may be without a leader before another one is tried. An election takes one to two
/// seconds with etcd's default time-outs, and requests wait for it where they are.
const WITHOUT_LEADER: Duration = Duration::from_secs(3);

/// After so long without an answer the next endpoint is tried beside the one that is slow.
const NEXT_AFTER: Duration = Duration::from_millis(200);

/// For all endpoints together, once all are being tried: more than each of them takes.
const FOR_ALL: Duration = Duration::from_secs(10);

/// The pauses between rounds in which no endpoint could be used.
const ROUND_PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Runs until the store is closed.
pub(crate) async fn keep(core: Arc<Core>) {
    tokio::select! {
        biased;
        () = core.closed() => {}
        () = keep_on(&core) => {}
    }
}

async fn keep_on(core: &Core) {
    let count = core.options.endpoints.len();
    let mut first = random(u32::try_from(count).unwrap_or(1)) as usize;
    let mut pauses = Backoff::new(ROUND_PAUSES.0, ROUND_PAUSES.1);
    let mut since = Instant::now();
    loop {
        match connect_any(core, first, Leader::Preferred).await {
            Ok(connection) => {
                pauses.reset();
                let lost = use_up(core, connection).await;
                since = Instant::now();
                first = lost.endpoint + 1;
                let reason = lost.broken().await;
                tracing::warn!(reason, "lost the connection with etcd");
                down(core, since, reason, false);
            }
            Err((reason, denied)) => {
                down(core, since, reason, denied);
                sleep(pauses.next()).await;
            }
        }
    }
}

/// Uses the connection until it fails, or another one in its place when its member is without a leader
/// and another's is not. Returns the one that failed.
async fn use_up(core: &Core, mut connection: Arc<Connection>) -> Arc<Connection> {
    loop {
        tracing::info!(endpoint = connection.address(), "connected with etcd");
        core.link_trouble(None);
        tell(core, Link::Up(connection.clone()));
        loop {
            let looked = look_after(core, &connection).await;
            if looked == Looked::Failed {
                core.leaderless(None);
                return connection;
            }
            match connect_any(core, connection.endpoint + 1, Leader::Required).await {
                Ok(better) => {
                    core.leaderless(None);
                    connection.fail("it knows no leader, and another member does");
                    connection = better;
                    break;
                }
                Err((reason, _)) => core.link_trouble(Some(reason)),
            }
        }
    }
}

fn down(core: &Core, since: Instant, reason: String, denied: bool) {
    core.link_trouble(Some(reason.clone()));
    tell(core, Link::Down { since, reason, denied });
}

/// A closed store stays closed.
fn tell(core: &Core, new: Link) {
    core.link.send_if_modified(|link| {
        let open = !matches!(link, Link::Closed);
        if open {
            *link = new;
        }
        open
    });
}

/// Whether a member without a leader is better than none: it answers reads that may be stale.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leader {
    Required,
    Preferred,
}

/// The first endpoint that can be used; else why none can, and whether that is for an operator to mend.
async fn connect_any(
    core: &Core,
    first: usize,
    leader: Leader,
) -> Result<Arc<Connection>, (String, bool)> {
    let count = core.options.endpoints.len();
    let mut attempts = FuturesUnordered::new();
    let mut failures = Vec::new();
    let mut second_choice = None;
    for place in 0..count {
        attempts.push(connect(core, (first + place) % count));
        // The next one is tried as soon as this one has failed, or is slow.
        let slow = sleep(if place + 1 < count { NEXT_AFTER } else { FOR_ALL });
        tokio::pin!(slow);
        loop {
            let outcome = tokio::select! {
                biased;
                Some(outcome) = attempts.next() => outcome,
                () = &mut slow => break,
                else => break,
            };
            match outcome {
                Ok((connection, true)) => return Ok(Arc::new(connection)),
                Ok((connection, false)) => {
                    failures.push(Failure::NotDone(without_leader(&connection)));
                    second_choice.get_or_insert(connection);
                }
                Err(failure) => failures.push(failure),
            }
            if attempts.is_empty() {
                break;
            }
        }
    }
    if let Some(connection) = second_choice.filter(|_| leader == Leader::Preferred) {
        return Ok(Arc::new(connection));
    }
    let denied = failures.iter().any(|failure| matches!(failure, Failure::Denied(_)));
    let mut reasons: Vec<String> = failures.into_iter().map(Failure::reason).collect();
    reasons.sort();
    Err((format!("no endpoint of etcd can be used: {}", reasons.join("; ")), denied))
}

fn without_leader(connection: &Connection) -> String {
    format!("{}: it knows no leader; is the quorum lost?", connection.address())
}

/// Connects with one endpoint and makes sure that its member is of use; tells whether it has a leader.
async fn connect(core: &Core, endpoint: usize) -> Result<(Connection, bool), Failure> {
    let connection = Connection::open(&core.options, endpoint).await?;
    let of_no_use = |why: &str| Failure::NotDone(format!("{}: {why}", connection.address()));
    connection.authenticate(&core.options, 0).await?;
    let status = match timeout(PROBE_TIMEOUT, connection.status()).await {
        Ok(Ok(status)) => status,
        Ok(Err(status)) => {
            return Err(match Failure::of(&status) {
                Failure::Token(reason) | Failure::Denied(reason) => {
                    Failure::Denied(format!("{}: {reason}", connection.address()))
                }
                failure => of_no_use(&failure.reason()),
            });
        }
        Err(_) => return Err(of_no_use("it accepts connections, and does not answer")),
    };
    let cluster = status.header.unwrap_or_default().cluster_id;
    let expected = *core.cluster_id.get_or_init(|| cluster);
    if cluster != expected {
        let why = format!("it belongs to cluster {cluster:x}, others to {expected:x}");
        return Err(Failure::Denied(format!("{}: {why}", connection.address())));
    }
    if status.is_learner {
        return Err(of_no_use("it is a learner, and serves nobody yet"));
    }
    Ok((connection, status.leader != 0))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Looked {
    /// The connection is of no use any more.
    Failed,
    /// Its member has been without a leader for too long.
    NoLeader,
}

/// Looks at the member until something is wrong with it.
async fn look_after(core: &Core, connection: &Connection) -> Looked {
    let mut began = None;
    let looking = async {
        loop {
            let number = connection.token_number();
            match timeout(PROBE_TIMEOUT, connection.status()).await {
                Ok(Ok(status)) => {
                    core.alarms(&alarms(&status));
                    if status.leader != 0 {
                        began = None;
                        core.leaderless(None);
                        core.link_trouble(None);
                    } else {
                        let since = *began.get_or_insert_with(Instant::now);
                        core.leaderless(Some(since));
                        if since.elapsed() > WITHOUT_LEADER {
                            return None;
                        }
                    }
                }
                Ok(Err(status)) => {
                    let failure = Failure::of(&status);
                    let token = matches!(failure, Failure::Token(_));
                    if !token || connection.authenticate(&core.options, number).await.is_err() {
                        return Some(failure.reason());
                    }
                }
                Err(_) => return Some(format!("no answer within {PROBE_TIMEOUT:?}")),
            }
            sleep(PROBE_INTERVAL).await;
        }
    };
    tokio::select! {
        biased;
        _ = connection.broken() => Looked::Failed,
        looked = looking => match looked {
            None => Looked::NoLeader,
            Some(reason) => {
                connection.fail(reason);
                Looked::Failed
            }
        }
    }
}

/// What an operator has to look at. That there is no leader is told otherwise.
fn alarms(status: &rpc::StatusResponse) -> Vec<String> {
    status.errors.iter().filter(|error| !error.contains("no leader")).cloned().collect()
}
