//! A run of a shard: from its records until something ends it.
//!
//! One task, one inbox. Commits form a chain: each compares the ownership key and the one that the
//! commit before wrote. So neither a deposed owner nor a late request of our own can land, and of a
//! commit whose answer got lost it can be read whether it did.

use crate::commit::Pending;
use crate::fence::{Fenced, Permit};
use crate::heavy::heavily;
use crate::lease::Held;
use crate::orders::Standing;
use crate::outbox::Outbox;
use crate::ownership::Claim;
use crate::reach::Link;
use crate::runner::{AGAIN, RunError, Runner, leaving, stopped};
use futures_util::StreamExt;
use peloton_core::{Effect, Input, MesosEvent, Operation, Output, Settings, Shard};
use peloton_mesos as mesos;
use peloton_mesos_wire::convert::{self, Identity};
use peloton_model::{ConfigRecord, FrameworkId, JobId, decode_record};
use peloton_store::keys::{self, ParsedKey};
use peloton_store::{
    BoxFuture, Event, Key, KeyValue, Op, Revision, StoreError, Txn, TxnResult, WatchBatch,
    WatchStream,
};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

/// With more writes than this not durable, no more events are taken: Mesos waits, and memory is bounded.
const MAX_PENDING_WRITES: usize = 200_000;
/// Events stepped before the commit and the outbox are looked at again; with as many waiting, the shard is
/// behind.
const EVENTS_A_TURN: usize = 256;
/// How soon the status is published after something changed in it, and how often while nothing does.
const STATUS_EVERY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// Slots named in one line of the log.
const SLOTS_A_LINE: usize = 5;
/// What is wrong where two clusters share a role.
const FOREIGN: &str = "another cluster has reservations in this role; give each cluster a role of its own \
                       (mesos.framework.role)";
/// What an operator is told while replacements are held back.
const MASS_OUTAGE: &str = "many agents became unreachable at once, which is rather the network than they; \
                           their instances are not replaced until some are back";
/// How soon a full queue of the client is tried again.
pub(crate) const OUTBOX_AGAIN: Duration = Duration::from_millis(5);

/// A transaction in flight.
pub(crate) struct InFlight {
    future: BoxFuture<'static, Result<TxnResult, StoreError>>,
    ops: Vec<Op>,
    /// Keys that must be of these revisions.
    guards: Vec<(Key, Revision)>,
    /// What it writes into the fence: tells it from every other.
    mark: String,
    /// Whether an earlier try of it may have happened.
    doubtful: bool,
    wait: Duration,
}

/// A run of a shard: from its records until something ends it.
pub(crate) struct Run<'a> {
    pub(crate) runner: &'a Runner,
    core: Shard,
    pub(crate) claim: Claim,
    identity: Identity,
    pub(crate) client: mesos::Handle,
    events: mpsc::Receiver<mesos::MesosEvent>,
    desired: WatchStream,
    pub(crate) epoch: u64,
    pending: Pending,
    pub(crate) outbox: Outbox,
    pub(crate) in_flight: Option<InFlight>,
    wake_at: Option<u64>,
    steps: u64,
    commits: u64,
    store_problem: Option<String>,
    /// Steps and commits when the status was last published, and when that was.
    published: (u64, u64),
    published_at: Instant,
    /// Whose turn it is where both bring news.
    desired_first: bool,
    /// Other clusters whose reservations were offered to this one.
    foreign: BTreeSet<String>,
    /// Nothing new is decided any more.
    pub(crate) finishing: bool,
}

impl<'a> Run<'a> {
    pub(crate) fn new(
        runner: &'a Runner,
        core: Shard,
        claim: Claim,
        from: Revision,
    ) -> Result<Self, RunError> {
        let (client, events) = connect(runner, &claim, core.framework())?;
        let role = Settings::role_of(runner.shard, &runner.options.mesos.framework.role);
        let identity = Identity {
            role,
            cluster: runner.options.cluster.clone(),
            principal: runner.options.mesos.framework.principal.clone(),
        };
        let desired = runner.store.watch(keys::desired(runner.shard.0), from);
        Ok(Self {
            runner,
            core,
            claim,
            identity,
            client,
            events,
            desired,
            epoch: 0,
            pending: Pending::default(),
            outbox: Outbox::default(),
            in_flight: None,
            wake_at: None,
            steps: 0,
            commits: 0,
            store_problem: None,
            published: (0, 0),
            published_at: Instant::now(),
            desired_first: false,
            foreign: BTreeSet::new(),
            finishing: false,
        })
    }

    pub(crate) fn jobs(&self) -> u64 {
        self.core.totals().jobs
    }

    pub(crate) async fn run(mut self, output: Output) -> Result<(), RunError> {
        self.take(output);
        let result = self.turn_until_stopped().await;
        if matches!(result, Ok(()) | Err(RunError::FrameworkRemoved)) {
            self.finish().await;
        }
        self.client.stop().await;
        result
    }

    async fn turn_until_stopped(&mut self) -> Result<(), RunError> {
        let mut stop = self.runner.stop.clone();
        let mut lease = self.runner.lease.clone();
        let mut standing = self.runner.standing.clone();
        loop {
            self.begin_commit()?;
            let sent = self.send_ready();
            let wake = self.next_wake();
            let publish = self.next_publish();
            let certain_until = self.claim.lease.certain_until;
            let certain_until = if self.runner.ignores_lost_lease() {
                Instant::now() + Duration::from_secs(3_600)
            } else {
                certain_until
            };
            let room = self.pending.len() < MAX_PENDING_WRITES;
            // What is rare, or comes at most so often, goes first: so it starves nothing, and nothing
            // starves it. The two that may always be ready take turns.
            self.desired_first = !self.desired_first;
            tokio::select! {
                biased;
                () = stopped(&mut stop) => return Ok(()),
                left = left(self.runner, self.claim.owner, &mut standing) => return left,
                changed = lease.changed() => {
                    if changed.is_err() { return Err(RunError::LeaseLost) }
                    self.renewed(*lease.borrow_and_update())?;
                }
                // From now on another master may have the shard. The client has to go, too: when its
                // connection breaks it subscribes anew, and would take the framework from that master.
                () = sleep_until(certain_until) => return Err(RunError::LeaseLost),
                done = commit_done(&mut self.in_flight) => self.committed(done)?,
                () = sleep_until(publish) => self.publish(),
                () = sleep(OUTBOX_AGAIN), if sent == Sent::NoRoom => {}
                () = sleep_until(wake) => heavily(|| self.step(Input::Wake)),
                news = news(&mut self.events, &mut self.desired, self.desired_first), if room => {
                    match news {
                        News::Mesos(event) => heavily(|| self.mesos_events(event))?,
                        News::Desired(batch) => heavily(|| self.desired_changed(batch))?,
                    }
                }
            }
        }
    }

    /// The same lease, renewed; or the end.
    pub(crate) fn renewed(&mut self, held: Option<Held>) -> Result<(), RunError> {
        if self.runner.ignores_lost_lease() {
            return Ok(());
        }
        match held {
            Some(held) if held.id == self.claim.lease.id => {
                self.claim.lease = held;
                Ok(())
            }
            _ => Err(RunError::LeaseLost),
        }
    }

    fn next_publish(&self) -> Instant {
        let told = (self.steps, self.commits) == self.published;
        self.published_at + if told { STATUS_EVERY.1 } else { STATUS_EVERY.0 }
    }

    fn next_wake(&self) -> Instant {
        let now = self.runner.environment.unix_ms();
        // An hour stands for "nothing planned".
        let in_ms = self.wake_at.map_or(3_600_000, |at| at.saturating_sub(now));
        Instant::now() + Duration::from_millis(in_ms)
    }

    fn step(&mut self, input: Input) {
        let output = self.core.step(self.runner.environment.unix_ms(), input);
        self.steps += 1;
        if let Some(inspect) = &self.runner.environment.inspect {
            inspect(&self.core);
        }
        self.take(output);
    }

    fn take(&mut self, mut output: Output) {
        #[cfg(feature = "planted-bugs")]
        self.send_too_early(&mut output);
        self.wake_at = output.wake_at;
        self.pending.push(self.epoch, &mut output);
    }

    /// Starts the next transaction, if none is in flight and something waits.
    pub(crate) fn begin_commit(&mut self) -> Result<(), RunError> {
        if self.in_flight.is_none() {
            let limits = self.runner.store.limits();
            let ops = self.pending.next_batch(self.runner.shard, &limits)?;
            if !ops.is_empty() {
                let mark = format!("{} {}", self.runner.options.master, self.commits);
                let guards = self.pending.guards().to_vec();
                self.commit((ops, guards), mark, false, Duration::ZERO);
            } else if self.pending.has_writes() {
                // Everything in the batch cancelled out.
                self.pending.committed();
            }
        }
        Ok(())
    }

    fn commit(
        &mut self,
        (ops, guards): (Vec<Op>, Vec<(Key, Revision)>),
        mark: String,
        doubtful: bool,
        wait: Duration,
    ) {
        let shard = self.runner.shard.0;
        let mut txn = Txn::new()
            .when_unchanged(keys::owner(shard), self.claim.owner)
            .when_unchanged(keys::actual_fence(shard), self.claim.fence);
        #[cfg(feature = "planted-bugs")]
        if self.runner.has(peloton_core::Bug::CommitWithoutFence) {
            txn.compares.truncate(1);
        }
        for (key, revision) in &guards {
            txn = txn.when_unchanged(key.clone(), *revision);
        }
        txn.then.clone_from(&ops);
        let txn = txn.put(keys::actual_fence(shard), mark.clone());
        let store = self.runner.store.clone();
        let future = Box::pin(async move {
            sleep(wait).await;
            store.commit(txn).await
        });
        self.in_flight = Some(InFlight { future, ops, guards, mark, doubtful, wait });
    }

    pub(crate) fn committed(
        &mut self,
        result: Result<TxnResult, StoreError>,
    ) -> Result<(), RunError> {
        let Some(done) = self.in_flight.take() else { return Ok(()) };
        match result {
            Ok(TxnResult::Committed { revision }) => self.is_durable(revision),
            Ok(TxnResult::Conflict { current, failed, .. }) => {
                // The order is that of the compares: ownership, fence, then what else was compared. Where only
                // that differs, the next run begins with what it says now.
                let fence = current.into_iter().nth(1).flatten();
                match fence.filter(|kv| done.doubtful && kv.value == done.mark.as_bytes()) {
                    // An earlier try had happened; its answer got lost.
                    Some(kv) => self.is_durable(kv.mod_revision),
                    None if failed.iter().all(|compare| *compare > 1) => {
                        return Err(RunError::Overtaken);
                    }
                    None => return Err(RunError::Deposed),
                }
            }
            Err(error @ (StoreError::Unavailable { .. } | StoreError::Unknown { .. })) => {
                if self.store_problem.is_none() {
                    tracing::warn!(shard = %self.runner.shard, %error, "a commit failed; it is repeated");
                }
                let doubtful = done.doubtful || error.is_unknown();
                self.store_problem = Some(error.to_string());
                let wait = (done.wait * 2).clamp(AGAIN.0, AGAIN.1);
                let wait = self.runner.environment.jitter(self.runner.shard, wait);
                self.commit((done.ops, done.guards), done.mark, doubtful, wait);
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn is_durable(&mut self, revision: Revision) {
        self.claim.fence = revision;
        self.pending.committed();
        self.commits += 1;
        if let Some(problem) = self.store_problem.take() {
            tracing::info!(shard = %self.runner.shard, problem, "the store works again");
        }
    }

    /// Sends what may leave. Without a lease that is certain to hold, nothing leaves: another master
    /// may be acting already.
    pub(crate) fn send_ready(&mut self) -> Sent {
        for (epoch, effect) in self.pending.ready() {
            self.tell(&effect);
            self.outbox.push(epoch, effect);
        }
        if !self.claim.lease.is_certain() && !self.runner.ignores_lost_lease() {
            return Sent::NoLease;
        }
        let behind = self.events.len() >= EVENTS_A_TURN && !self.finishing;
        let all = self.outbox.flush(&self.identity, &self.client, behind);
        if all { Sent::All } else { Sent::NoRoom }
    }

    /// Says what is given back for good.
    fn tell(&self, effect: &Effect) {
        let Effect::Accept(accept) = effect else { return };
        let released: Vec<_> = accept
            .operations
            .iter()
            .filter_map(|operation| match operation {
                Operation::Unreserve { reserved, .. } => Some(reserved.slot.to_string()),
                _ => None,
            })
            .collect();
        if !released.is_empty() {
            let (shard, agent, count) = (self.runner.shard, &accept.agent, released.len());
            let slots = released.iter().take(SLOTS_A_LINE).collect::<Vec<_>>();
            tracing::info!(%shard, %agent, count, ?slots, "releasing reservations");
        }
    }

    fn mesos_events(&mut self, first: Option<mesos::MesosEvent>) -> Result<(), RunError> {
        let mut next = first;
        for _ in 0..EVENTS_A_TURN {
            match next {
                Some(event) => self.mesos_event(event)?,
                // The client ends without a word only when it is stopped.
                None => return Err(RunError::FailedOver),
            }
            match self.events.try_recv() {
                Ok(event) => next = Some(event),
                Err(_) => break,
            }
        }
        Ok(())
    }

    fn mesos_event(&mut self, event: mesos::MesosEvent) -> Result<(), RunError> {
        let shard = self.runner.shard;
        match event {
            mesos::MesosEvent::Subscribed(subscribed) => {
                self.epoch = subscribed.epoch;
                self.outbox.session_begins(answered(&self.client));
                self.runner.link(Link::Up);
                let framework = FrameworkId::new(&subscribed.framework_id);
                tracing::info!(%shard, %framework, leader = subscribed.leader, "subscribed");
                self.step(Input::Mesos(MesosEvent::Subscribed { framework }));
                self.publish();
            }
            mesos::MesosEvent::Event { event, .. } => {
                let known = self.foreign.len();
                if let Some(event) = convert::event(&self.identity, *event, &mut self.foreign) {
                    self.step(Input::Mesos(event));
                }
                if self.foreign.len() > known {
                    let (role, clusters) = (&self.identity.role, &self.foreign);
                    tracing::warn!(%shard, role, ?clusters, "{FOREIGN}; they are left alone");
                }
            }
            mesos::MesosEvent::Disconnected { reason, .. } => {
                tracing::warn!(%shard, %reason, "the connection to Mesos broke");
                self.outbox.clear();
                self.runner.link(Link::Down);
                self.step(Input::Mesos(MesosEvent::Disconnected));
                self.publish();
            }
            mesos::MesosEvent::CallRejected(rejected) => {
                let (kind, status) = (rejected.kind().as_str_name(), rejected.status);
                tracing::error!(%shard, kind, status, body = rejected.body, "Mesos refused a call");
            }
            mesos::MesosEvent::Failed(mesos::Failure::FailedOver) => {
                return Err(RunError::FailedOver);
            }
            mesos::MesosEvent::Failed(mesos::Failure::FrameworkRemoved { message }) => {
                tracing::error!(%shard, message, "Mesos removed the framework; a new one begins");
                self.step(Input::Mesos(MesosEvent::FrameworkRemoved));
                return Err(RunError::FrameworkRemoved);
            }
            mesos::MesosEvent::Failed(failure) => return Err(RunError::Mesos(failure)),
        }
        Ok(())
    }

    fn desired_changed(
        &mut self,
        batch: Option<Result<WatchBatch, StoreError>>,
    ) -> Result<(), RunError> {
        let batch = batch.ok_or(RunError::WatchEnded)??;
        // Configurations come first: the job's record names one of them.
        for event in &batch.events {
            if let Event::Put(kv) = event
                && let Some(ParsedKey::DesiredConfig { job, version, .. }) = keys::parse(&kv.key)
            {
                let record: ConfigRecord = read(kv)?;
                self.step(Input::Config { job: id(&job)?, version, config: record.config });
            }
        }
        for event in &batch.events {
            match event {
                Event::Put(kv) => {
                    if let Some(ParsedKey::DesiredJob { job, .. }) = keys::parse(&kv.key) {
                        let incarnation = kv.create_revision.0;
                        let (modified, record) = (kv.mod_revision.0, read(kv)?);
                        self.step(Input::Job { id: id(&job)?, incarnation, modified, record });
                    }
                    if let Some(ParsedKey::DesiredVolume { .. }) = keys::parse(&kv.key) {
                        self.step(Input::Volume(read(kv)?));
                    }
                }
                Event::Delete { key, .. } => {
                    if let Some(ParsedKey::DesiredJob { job, .. }) = keys::parse(key) {
                        self.step(Input::JobRemoved(id(&job)?));
                    }
                }
            }
        }
        Ok(())
    }

    fn publish(&mut self) {
        self.published = (self.steps, self.commits);
        self.published_at = Instant::now();
        let mesos = self.client.status();
        self.runner.status.send_modify(|status| {
            status.mesos = Some(mesos);
            status.totals = self.core.totals();
            status.pending_writes = self.pending.len();
            status.commits = self.commits;
            status.steps = self.steps;
            status.store_problem.clone_from(&self.store_problem);
            let foreign = self.foreign.first().map(|cluster| format!("{FOREIGN}: {cluster}"));
            let outage = status.totals.mass_outage.then(|| MASS_OUTAGE.to_owned());
            status.notice = outage.or(foreign);
        });
    }
}

#[cfg(feature = "planted-bugs")]
impl Run<'_> {
    /// Lets effects of the planted bug's kind leave before the writes that came with them are durable.
    fn send_too_early(&mut self, output: &mut Output) {
        use peloton_core::Bug;
        let early = |effect: &Effect| match effect {
            Effect::Acknowledge { .. } => self.runner.has(Bug::AcknowledgeBeforeCommit),
            Effect::Accept(_) => self.runner.has(Bug::LaunchBeforeCommit),
            _ => false,
        };
        let (effects, after) =
            (std::mem::take(&mut output.effects), std::mem::take(&mut output.after));
        for (effect, after) in effects.into_iter().zip(after) {
            if early(&effect) {
                self.outbox.push(self.epoch, effect);
            } else {
                output.effects.push(effect);
                output.after.push(after);
            }
        }
    }
}

/// The shard is to be given up, or is another's.
async fn left(
    runner: &Runner,
    owner: Revision,
    standing: &mut watch::Receiver<Standing>,
) -> Result<(), RunError> {
    let left = leaving(standing, owner).await;
    if left.is_err() && runner.ignores_lost_lease() {
        return std::future::pending().await;
    }
    left
}

/// What became of the effects that may leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// All went.
    All,
    /// The client's queue is full.
    NoRoom,
    /// The lease is not certain to hold; its renewal says when it is.
    NoLease,
}

/// What a shard is told from outside.
enum News {
    Mesos(Option<mesos::MesosEvent>),
    Desired(Option<Result<WatchBatch, StoreError>>),
}

async fn news(
    events: &mut mpsc::Receiver<mesos::MesosEvent>,
    desired: &mut WatchStream,
    desired_first: bool,
) -> News {
    if desired_first {
        tokio::select! {
            biased;
            batch = desired.next() => News::Desired(batch),
            event = events.recv() => News::Mesos(event),
        }
    } else {
        tokio::select! {
            biased;
            event = events.recv() => News::Mesos(event),
            batch = desired.next() => News::Desired(batch),
        }
    }
}

/// How many calls Mesos has answered.
pub(crate) fn answered(client: &mesos::Handle) -> u64 {
    let status = client.status();
    status.calls.iter().map(|(_, count)| count).sum::<u64>() + status.calls_rejected
}

/// The transaction in flight; never, where there is none.
pub(crate) async fn commit_done(in_flight: &mut Option<InFlight>) -> Result<TxnResult, StoreError> {
    match in_flight {
        Some(commit) => commit.future.as_mut().await,
        None => std::future::pending().await,
    }
}

/// A Mesos client for the shard's own framework, which says nothing without the claim's lease.
fn connect(
    runner: &Runner,
    claim: &Claim,
    framework: Option<&FrameworkId>,
) -> Result<(mesos::Handle, mpsc::Receiver<mesos::MesosEvent>), RunError> {
    let mut options = runner.options.mesos.clone();
    options.framework.role = Settings::role_of(runner.shard, &options.framework.role);
    options.framework.name = format!("{}-{}", options.framework.name, runner.shard);
    let transport = runner.environment.transport.clone();
    let inner = transport.unwrap_or_else(|| mesos::http_transport(&options));
    let ignored = runner.ignores_lost_lease();
    let permit = Permit { lease: runner.lease.clone(), id: claim.lease.id, ignored };
    let transport = Arc::new(Fenced { inner, permit });
    let framework = framework.map(ToString::to_string);
    Ok(mesos::MesosClient::spawn_with(transport, options, framework)?)
}

fn read<T: serde::de::DeserializeOwned>(kv: &KeyValue) -> Result<T, RunError> {
    let key = String::from_utf8_lossy(&kv.key);
    decode_record(&kv.value).map_err(|error| RunError::Record(format!("{key}: {error}")))
}

fn id(text: &str) -> Result<JobId, RunError> {
    JobId::new(text).map_err(|error| RunError::Record(error.to_string()))
}
