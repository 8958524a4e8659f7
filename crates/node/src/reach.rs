//! Whether this master reaches Mesos, and what follows from that for its share of shards.
//!
//! A master that is cut off from Mesos, but not from the store, would keep its shards and be of no use to
//! them. So after a while it accepts none any more, if there is somebody who is better off. When Mesos is
//! down nobody is, and nothing is to move: therefore each master says early that it misses Mesos
//! ([`DOUBT_PART`]), and only then looks whether all the others say so, too.
//!
//! What tells is a probe, or else the connections of its own shards. Without a probe a master that has
//! given its shards up cannot know when Mesos can be reached again, and tries, ever more rarely.

use crate::environment::Environment;
use crate::join::Intent;
use crate::map::ClusterMap;
use crate::node::Options;
use peloton_model::ShardId;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

/// This part of [`crate::Sharing::mesos_away`] goes by before a master says that it misses Mesos.
const DOUBT_PART: u32 = 3;
/// After this part of it with Mesos a master accepts shards again: one that comes and goes gets none.
const WELL_PART: u32 = 2;
/// How often the probe asks, and how long an answer may take.
const PROBE_EVERY: Duration = Duration::from_secs(5);
/// How soon it asks again when a connection broke.
const PROBE_AT_MOST_EVERY: Duration = Duration::from_secs(1);
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);
/// How often it is looked whether somebody else is better off, while we are cut off.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Without a probe: when shards are accepted again, to see; doubled each time it was in vain.
const TRY_AFTER: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(960));

/// What a shard tells of its connection to Mesos.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    /// A session stands.
    Up,
    /// There is none.
    Down,
    /// The shard does not run.
    None,
}

/// Tells where a shard's connection stands.
pub(crate) type Links = mpsc::UnboundedSender<(ShardId, Link)>;

/// What is known of the way to Mesos.
#[derive(Debug)]
struct Reach {
    after: Duration,
    /// Not reached since then.
    away_since: Option<Instant>,
    /// Reached since then.
    well_since: Option<Instant>,
    /// While it is not reached: since when somebody else is better off.
    better_since: Option<Instant>,
    /// Our shards were given to others, at that time.
    out_since: Option<Instant>,
    try_after: Duration,
}

impl Reach {
    fn new(after: Duration) -> Self {
        Self {
            after,
            away_since: None,
            well_since: None,
            better_since: None,
            out_since: None,
            try_after: TRY_AFTER.0,
        }
    }

    /// Takes what is known now (nothing, where nobody can tell) and whether another master is better off;
    /// what to say, and when to look again.
    fn look(
        &mut self,
        now: Instant,
        reached: Option<bool>,
        others: impl FnOnce() -> bool,
    ) -> (Intent, Option<Instant>) {
        match reached {
            Some(true) => {
                self.away_since = None;
                self.well_since.get_or_insert(now);
            }
            Some(false) => {
                self.well_since = None;
                self.away_since.get_or_insert(now);
            }
            // As far as is known it is as it was.
            None => {}
        }
        // When Mesos comes back, somebody is the first to reach it: the others get their time, too.
        let better = self.away_since.is_some() && others();
        self.better_since = better.then(|| self.better_since.unwrap_or(now));
        let mut again_at = None;
        if let Some(out) = self.out_since {
            let accept_at = match (reached, self.well_since) {
                (Some(true), Some(since)) => Some(since + self.after / WELL_PART),
                (None, _) => Some(out + self.try_after),
                _ => None,
            };
            if accept_at.is_some_and(|at| now >= at) {
                if reached.is_none() {
                    self.try_after = (self.try_after * 2).min(TRY_AFTER.1);
                    self.away_since = None;
                } else {
                    self.try_after = TRY_AFTER.0;
                }
                self.out_since = None;
            } else {
                again_at = accept_at;
            }
        } else if let Some(since) = self.away_since {
            if now < since + self.after {
                let doubt = since + self.after / DOUBT_PART;
                again_at = Some(if now < doubt { doubt } else { since + self.after });
            } else if self.better_since.is_some_and(|since| now >= since + self.after) {
                self.out_since = Some(now);
                again_at = Some(now + self.try_after);
            } else {
                again_at = Some(now + LOOK_EVERY);
            }
        }
        let doubt = |since: Instant| now >= since + self.after / DOUBT_PART;
        let why_not = self.out_since.map(|_| "it does not reach Mesos".to_owned());
        (Intent { mesos_away: self.away_since.is_some_and(doubt), why_not }, again_at)
    }
}

/// Watches the way to Mesos for as long as anybody tells of it.
pub(crate) async fn watch(
    environment: Arc<Environment>,
    options: Arc<Options>,
    mut news: mpsc::UnboundedReceiver<(ShardId, Link)>,
    cluster: watch::Receiver<ClusterMap>,
    intent: watch::Sender<Intent>,
) {
    let Some(after) = options.sharing.mesos_away else { return std::future::pending().await };
    let mut reach = Reach::new(after);
    let mut links: BTreeMap<ShardId, bool> = BTreeMap::new();
    let mut probed = None;
    let mut last_probe = Instant::now();
    let mut probe_at = last_probe;
    loop {
        let connected = links.values().any(|up| *up);
        // A stream can stay silent for minutes before it counts as broken, and one that broke is tried
        // again ever more rarely; a probe notices sooner.
        let reached = probed.or((!links.is_empty()).then_some(connected));
        let others = || better_off(&cluster.borrow());
        let (meant, again_at) = reach.look(Instant::now(), reached, others);
        intent.send_if_modified(|last| {
            let other = *last != meant;
            if other {
                tracing::info!(?meant, "what this master says of its way to Mesos");
            }
            *last = meant;
            other
        });
        tokio::select! {
            biased;
            told = news.recv() => match told {
                Some((shard, Link::None)) => drop(links.remove(&shard)),
                Some((shard, link)) => {
                    links.insert(shard, link == Link::Up);
                    if link == Link::Down {
                        probe_at = probe_at.min(last_probe + PROBE_AT_MOST_EVERY);
                    }
                }
                None => return,
            },
            () = maybe_at(again_at) => {}
            reaches = probe(&environment, probe_at) => {
                probed = Some(reaches);
                last_probe = Instant::now();
                probe_at = last_probe + PROBE_EVERY;
            }
        }
    }
}

/// Whether another master accepts shards and has not missed Mesos.
fn better_off(map: &ClusterMap) -> bool {
    let others = map.members.iter().filter(|(id, _)| **id != map.master);
    others.into_iter().any(|(_, member)| member.record.accepting && !member.record.mesos_away)
}

async fn maybe_at(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Asks the probe when it is time; never, where there is none. Cut short, it asks again.
async fn probe(environment: &Environment, at: Instant) -> bool {
    let Some(probe) = &environment.probe else { return std::future::pending().await };
    sleep_until(at).await;
    timeout(PROBE_TIMEOUT, probe.reaches_mesos()).await.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    /// Looks at each second; what was said, where it changed: second, in doubt, accepting.
    fn said(
        until: u64,
        reached: impl Fn(u64) -> Option<bool>,
        others: impl Fn(u64) -> bool,
    ) -> Vec<(u64, bool, bool)> {
        let start = Instant::now();
        let mut reach = Reach::new(secs(9));
        let mut said = vec![(0, false, true)];
        for second in 0..until {
            let (intent, again_at) =
                reach.look(start + secs(second), reached(second), || others(second));
            assert!(again_at.is_none_or(|at| at > start + secs(second)), "it would not rest");
            let now = (second, intent.mesos_away, intent.why_not.is_none());
            if said.last().is_some_and(|last| (last.1, last.2) != (now.1, now.2)) {
                said.push(now);
            }
        }
        said
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_cut_off_says_so_then_leaves_and_comes_back_when_it_has_been_well() {
        let cut = |second| Some(!(10..40).contains(&second));
        let expected = [(0, false, true), (13, true, true), (19, true, false), (40, false, false)];
        let told = said(100, cut, |_| true);
        assert_eq!(told[..4], expected);
        assert_eq!(told[4..], [(45, false, true)]);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_leaves_while_nobody_is_better_off() {
        let cut = |second| Some(second < 10);
        assert_eq!(said(100, cut, |_| false), [(0, false, true), (13, true, true)]);
        let told = said(100, cut, |second| second >= 50);
        assert_eq!(told, [(0, false, true), (13, true, true), (59, true, false)]);
        // Mesos is back, and we are the last to reach it.
        let back = |second| Some(!(10..58).contains(&second));
        let told = said(100, back, |second| !(14..50).contains(&second));
        assert_eq!(told, [(0, false, true), (13, true, true), (58, false, true)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_break_moves_nothing() {
        let blinks = |second| Some(second % 9 < 5);
        assert!(said(100, blinks, |_| true).iter().all(|(_, _, accepting)| *accepting));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_probe_it_is_tried_again_ever_more_rarely() {
        // As long as it has shards it sees that they do not connect; without any, nothing.
        let start = Instant::now();
        let mut reach = Reach::new(secs(9));
        let mut has_shards = true;
        let mut accepted = Vec::new();
        for second in 0..1_000 {
            let reached = has_shards.then_some(false);
            let (intent, _) = reach.look(start + secs(second), reached, || true);
            if intent.why_not.is_none() && !has_shards {
                accepted.push(second);
            }
            has_shards = intent.why_not.is_none();
        }
        assert_eq!(accepted, [69, 199, 449, 939]);
    }
}
