//! Whether Mesos can be reached, for masters that have no session to tell it by.
//!
//! The question is a GET on the path of the scheduler API, which subscriptions take, too, through the same
//! proxies and firewalls. It costs Mesos nothing: the master that leads refuses the method, one that does not
//! points to the leader. Any such answer of the leader's is the proof.

use crate::http::{HttpError, Link, Requests};
use crate::masters::Masters;
use crate::options::{Options, OptionsError};
use peloton_mesos_wire::MasterAddress;
use peloton_mesos_wire::session::MAX_REDIRECTS;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Asks whether Mesos can be reached. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Probe {
    requests: Arc<Requests>,
    masters: Masters,
    addresses: Vec<MasterAddress>,
}

/// The leading master was reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reached {
    /// Where, `host:port`.
    pub leader: String,
}

/// Why the leading master was not reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotReached {
    /// There was no answer that proves anything in time.
    #[error("no answer within {limit_ms} ms")]
    TimedOut {
        /// The time allowed, in milliseconds.
        limit_ms: u64,
    },
    /// Nobody is known to lead.
    #[error("{0}")]
    NoLeader(String),
    /// No master answered as the one that leads; what the last one met.
    #[error("{master}: {problem}")]
    Failed {
        /// The master that was tried last, `host:port`.
        master: String,
        /// What it met.
        problem: String,
    },
}

impl Probe {
    /// A probe that goes the way of clients with these options.
    ///
    /// # Errors
    /// The masters cannot be; the error says why.
    pub fn new(options: &Options) -> Result<Self, OptionsError> {
        let addresses = options.masters.addresses()?;
        let requests = Arc::new(Requests::new(options));
        Ok(Self { requests, masters: options.masters.clone(), addresses })
    }

    /// Asks, once, and within `limit`. A ZooKeeper that does not answer is no reason: the leader that it
    /// named last is asked.
    ///
    /// # Errors
    /// Why the leading master was not reached.
    pub async fn reach(&self, limit: Duration) -> Result<Reached, NotReached> {
        let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        let asking = self.ask_all(limit_ms);
        timeout(limit, asking).await.unwrap_or(Err(NotReached::TimedOut { limit_ms }))
    }

    async fn ask_all(&self, limit_ms: u64) -> Result<Reached, NotReached> {
        let mut masters = self.addresses.clone();
        if let Some(zookeeper) = self.masters.zookeeper() {
            let mut detected = zookeeper.watch();
            // The first time there has been no chance to hear anything yet.
            let heard = detected.wait_for(|now| now.asked || now.last_problem.is_some()).await;
            let Ok(now) = heard.map(|now| now.clone()) else {
                return Err(NotReached::NoLeader("ZooKeeper is not asked any more".to_owned()));
            };
            match now.leader {
                Some(leader) => masters.push(leader.address),
                None => return Err(NotReached::NoLeader(now.problem().unwrap_or_default())),
            }
        }
        // A silent one must not use up the time of all others.
        let share_ms = limit_ms / u64::try_from(masters.len().max(1)).unwrap_or(1);
        let mut last = NotReached::NoLeader("no master is configured".to_owned());
        for master in masters {
            let share = Duration::from_millis(share_ms);
            match timeout(share, self.follow(master.clone(), share_ms)).await {
                Ok(Ok(reached)) => return Ok(reached),
                Ok(Err(failed)) => last = failed,
                Err(_) => {
                    let problem = format!("no answer within {share_ms} ms");
                    last = NotReached::Failed { master: master.to_string(), problem };
                }
            }
        }
        Err(last)
    }

    /// Asks one master, and those to which it points.
    async fn follow(&self, start: MasterAddress, limit_ms: u64) -> Result<Reached, NotReached> {
        let mut master = start;
        for _ in 0..=MAX_REDIRECTS {
            let failed =
                |problem: String| NotReached::Failed { master: master.to_string(), problem };
            let (status, location) =
                self.get(&master, limit_ms).await.map_err(|error| failed(error.to_string()))?;
            let next = match status {
                301 | 302 | 303 | 307 | 308 => {
                    let location = location.unwrap_or_default();
                    MasterAddress::from_location(&location)
                        .map_err(|error| failed(error.to_string()))?
                }
                // The method is not allowed, the credential not good enough: words of the one that leads.
                200..=299 | 400..=499 => return Ok(Reached { leader: master.to_string() }),
                // 503 while nobody is elected, or the one elected is not ready.
                status => return Err(failed(format!("answered with HTTP status {status}"))),
            };
            master = next;
        }
        let problem = format!("more than {MAX_REDIRECTS} redirects in a row");
        Err(NotReached::Failed { master: master.to_string(), problem })
    }

    async fn get(
        &self,
        master: &MasterAddress,
        limit_ms: u64,
    ) -> Result<(u16, Option<String>), HttpError> {
        let mut link = Link::connect(master, limit_ms).await?;
        let response = link.requests.send_request(self.requests.probe(master)?).await?;
        let location = response.headers().get(http::header::LOCATION);
        let location = location.and_then(|value| value.to_str().ok()).map(str::to_owned);
        Ok((response.status().as_u16(), location))
    }
}
