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

/// For a password to be checked: etcd makes that slow on purpose, and then asks the cluster.
const AUTHENTICATE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a member may be without a leader before another one is tried. An election takes one to two
/// seconds with etcd's default time-outs, and requests wait for it where they are.
const WITHOUT_LEADER: Duration = Duration::from_secs(3);

/// After so long without an answer the next endpoint is tried beside the one that is slow.
const NEXT_AFTER: Duration = Duration::from_millis(200);

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
        match connect_any(core, first).await {
            Ok(connection) => {
                tracing::info!(endpoint = connection.address(), "connected with etcd");
                core.link_trouble(None);
                tell(core, Link::Up(connection.clone()));
                pauses.reset();
                let reason = look_after(core, &connection).await;
                tracing::warn!(reason, "lost the connection with etcd");
                since = Instant::now();
                first = connection.endpoint + 1;
                down(core, since, reason, false);
            }
            Err((reason, denied)) => {
                down(core, since, reason, denied);
                sleep(pauses.next()).await;
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

/// The first endpoint that can be used; else why none can, and whether that is for an operator to mend.
async fn connect_any(core: &Core, first: usize) -> Result<Arc<Connection>, (String, bool)> {
    let count = core.options.endpoints.len();
    let mut attempts = FuturesUnordered::new();
    let mut failures = Vec::new();
    let mut begun = 0;
    loop {
        if begun < count && (attempts.is_empty() || failures.len() == begun) {
            attempts.push(connect(core, (first + begun) % count));
            begun += 1;
        }
        tokio::select! {
            biased;
            Some(outcome) = attempts.next() => match outcome {
                Ok(connection) => return Ok(Arc::new(connection)),
                Err(failure) => failures.push(failure),
            },
            () = sleep(NEXT_AFTER), if begun < count => {
                attempts.push(connect(core, (first + begun) % count));
                begun += 1;
            }
            else => break,
        }
        if failures.len() == count {
            break;
        }
    }
    let denied = failures.iter().any(|failure| matches!(failure, Failure::Denied(_)));
    let mut reasons: Vec<String> = failures.into_iter().map(Failure::reason).collect();
    reasons.sort();
    Err((format!("no endpoint of etcd can be used: {}", reasons.join("; ")), denied))
}

/// Connects with one endpoint and makes sure that its member is of use.
async fn connect(core: &Core, endpoint: usize) -> Result<Connection, Failure> {
    let connection = Connection::open(&core.options, endpoint).await?;
    let of_no_use = |why: &str| Failure::NotDone(format!("{}: {why}", connection.address()));
    let status = match timeout(PROBE_TIMEOUT, connection.status()).await {
        Ok(Ok(status)) => status,
        Ok(Err(status)) => return Err(of_no_use(&Failure::of(&status).reason())),
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
    if status.leader == 0 {
        return Err(of_no_use("it knows no leader; is the quorum lost?"));
    }
    let authentication = connection.authenticate(&core.options, 0);
    match timeout(AUTHENTICATE_TIMEOUT, authentication).await {
        Ok(Ok(())) => Ok(connection),
        Ok(Err(failure)) => Err(failure),
        Err(_) => Err(of_no_use("it does not answer a request to authenticate")),
    }
}

/// Returns when the connection cannot be used any more, and why.
async fn look_after(core: &Core, connection: &Connection) -> String {
    let mut leaderless: Option<Instant> = None;
    let looking = async {
        loop {
            match timeout(PROBE_TIMEOUT, connection.status()).await {
                Ok(Ok(status)) => {
                    core.alarms(&alarms(&status));
                    if status.leader != 0 {
                        leaderless = None;
                    } else if leaderless.get_or_insert_with(Instant::now).elapsed() > WITHOUT_LEADER
                    {
                        return "it knows no leader; is the quorum lost?".to_owned();
                    }
                }
                Ok(Err(status)) => return Failure::of(&status).reason(),
                Err(_) => return format!("no answer within {PROBE_TIMEOUT:?}"),
            }
            sleep(PROBE_INTERVAL).await;
        }
    };
    tokio::select! {
        biased;
        reason = connection.broken() => return reason,
        reason = looking => connection.fail(reason),
    }
    connection.broken().await
}

/// What an operator has to look at. That there is no leader is told otherwise.
fn alarms(status: &rpc::StatusResponse) -> Vec<String> {
    status.errors.iter().filter(|error| !error.contains("no leader")).cloned().collect()
}
