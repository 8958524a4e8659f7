//! One shard in this master: claims it, runs it, and begins again when a run ends.

use crate::commit::Pending;
use crate::lease::Held;
use crate::load::{LoadError, load};
use crate::node::Options;
use crate::outbox::Outbox;
use crate::status::{ShardPhase, ShardStatus};
use crate::unix_ms;
use futures_util::StreamExt;
use peloton_core::{Input, MesosEvent, Output, PersistError, Settings, Shard};
use peloton_mesos as mesos;
use peloton_mesos_wire::convert::{self, Identity};
use peloton_model::{
    ConfigRecord, FrameworkId, FrameworkRecord, JobId, OwnerRecord, ShardId, decode_record,
    encode_record,
};
use peloton_store::keys::{self, ParsedKey};
use peloton_store::{
    BoxFuture, Compare, Event, KeyValue, Op, Revision, Store, StoreError, Txn, TxnResult,
    WatchBatch, WatchStream,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

/// The wait before a run that ended with an error is followed by another: the first, and the longest.
const AGAIN: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));
/// With more writes than this not durable, no more events are taken: Mesos waits, and memory is bounded.
const MAX_PENDING_WRITES: usize = 200_000;
/// Events stepped before the commit and the outbox are looked at again.
const EVENTS_A_TURN: usize = 256;
/// How often the status is published while nothing else happens.
const STATUS_EVERY: Duration = Duration::from_millis(500);
/// How soon a full queue of the client is tried again.
const OUTBOX_AGAIN: Duration = Duration::from_millis(5);

/// Why a run of a shard ended.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error("the master's lease is lost")]
    LeaseLost,
    #[error("another master owns the shard")]
    Deposed,
    #[error(
        "a second scheduler uses the shard's framework id; is another cluster's master running with this store's copy?"
    )]
    FailedOver,
    #[error("Mesos removed the framework and ended its tasks; they start again under a new one")]
    FrameworkRemoved,
    #[error("Mesos: {0}")]
    Mesos(mesos::Failure),
    #[error("the options of the Mesos client: {0}")]
    MesosOptions(#[from] mesos::OptionsError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Persist(#[from] PersistError),
    #[error("a stored record cannot be read: {0}")]
    Record(String),
    #[error("the watch of the desired state ended")]
    WatchEnded,
}

/// One shard in this master.
pub(crate) struct Runner {
    pub(crate) shard: ShardId,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) options: Arc<Options>,
    pub(crate) lease: watch::Receiver<Option<Held>>,
    pub(crate) stop: watch::Receiver<bool>,
    pub(crate) status: watch::Sender<ShardStatus>,
}

/// A claim on the shard: the ownership key as we wrote it.
#[derive(Debug, Clone, Copy)]
struct Claim {
    revision: Revision,
    lease: Held,
}

impl Runner {
    pub(crate) async fn run(mut self) {
        let mut wait = AGAIN.0;
        while !*self.stop.borrow() {
            let began = Instant::now();
            let result = self.run_once().await;
            if *self.stop.borrow() {
                break;
            }
            let why = match result {
                Ok(()) => String::new(),
                Err(error) => {
                    tracing::warn!(shard = %self.shard, %error, "the shard's run ended; it begins again");
                    error.to_string()
                }
            };
            self.phase(ShardPhase::Failing { why });
            wait = if began.elapsed() > AGAIN.1 { AGAIN.0 } else { (wait * 2).min(AGAIN.1) };
            let spread = jitter(self.shard, wait);
            tokio::select! {
                () = sleep(spread) => {}
                () = stopped(&mut self.stop) => {}
            }
        }
        self.phase(ShardPhase::Stopped);
    }

    fn phase(&self, phase: ShardPhase) {
        self.status.send_modify(|status| {
            if status.phase != phase {
                status.phase = phase;
                status.since = unix_ms();
                status.mesos = None;
            }
        });
    }

    async fn run_once(&mut self) -> Result<(), RunError> {
        let mut stop = self.stop.clone();
        let claim = tokio::select! {
            claim = self.claim() => claim?,
            () = stopped(&mut stop) => return Ok(()),
        };
        self.phase(ShardPhase::Loading);
        self.ensure_framework(&claim).await?;
        let (snapshot, from) = load(&*self.store, self.shard).await?;
        let mut settings = self.options.settings.clone();
        settings.shard = self.shard;
        settings.role = Settings::new(self.shard, &self.options.mesos.framework.role).role;
        let (core, output) = Shard::recover(settings, unix_ms(), snapshot);
        let run = Run::new(self, core, claim, from)?;
        self.phase(ShardPhase::Running);
        tracing::info!(shard = %self.shard, jobs = run.core.totals().jobs, "the shard runs");
        run.run(output).await
    }

    /// Waits until the shard is ours.
    async fn claim(&mut self) -> Result<Claim, RunError> {
        let key = keys::owner(self.shard.0);
        loop {
            let lease = match self.lease.wait_for(|held| held.is_some_and(|h| h.is_certain())).await
            {
                Ok(held) => *held,
                Err(_) => return Err(RunError::LeaseLost),
            };
            let Some(lease) = lease else { continue };
            let record = OwnerRecord {
                master: self.options.master.clone(),
                address: self.options.address.clone(),
                since: unix_ms(),
            };
            let value = encode_record(&record).map_err(|e| RunError::Record(e.to_string()))?;
            let txn = Txn::new().when_absent(key.clone()).put_leased(key.clone(), value, lease.id);
            match self.store.commit(txn).await? {
                TxnResult::Committed { revision } => return Ok(Claim { revision, lease }),
                TxnResult::Conflict { revision, current, .. } => {
                    if let Some(kv) = current.into_iter().flatten().next()
                        && kv.lease == Some(lease.id)
                    {
                        // Ours already: an earlier run of this process, or an answer that got lost.
                        return Ok(Claim { revision: kv.mod_revision, lease });
                    }
                    self.phase(ShardPhase::NotOwned);
                    let range = peloton_store::KeyRange::key(key.clone());
                    let mut watch = self.store.watch(range, revision.next());
                    watch.next().await.transpose()?;
                }
            }
        }
    }
}

impl Runner {
    /// Gives the shard a framework id before the first subscription: an id that Mesos chose would be
    /// lost with a crash between its answer and our record, and leave a framework that nobody ends.
    async fn ensure_framework(&self, claim: &Claim) -> Result<(), RunError> {
        let key = keys::actual_framework(self.shard.0);
        if self.store.get(key.clone()).await?.kv.is_some() {
            return Ok(());
        }
        let since = unix_ms();
        let name = &self.options.mesos.framework.name;
        // The ownership key's revision is unique in the store, the time tells stores apart.
        let id = format!("{}-{}-{since:x}-{:x}", plain(name), self.shard, claim.revision.0);
        let record = FrameworkRecord { id: FrameworkId::new(&id), since };
        let value = encode_record(&record).map_err(|e| RunError::Record(e.to_string()))?;
        let txn =
            Txn::new().when_unchanged(keys::owner(self.shard.0), claim.revision).put(key, value);
        match self.store.commit(txn).await? {
            TxnResult::Committed { .. } => Ok(()),
            TxnResult::Conflict { .. } => Err(RunError::Deposed),
        }
    }
}

/// The framework's name as the start of its id. Agents name directories by ids, so Mesos refuses
/// slashes, control characters and more than 255 bytes; spaces would be trouble for people.
fn plain(name: &str) -> String {
    const MAX_CHARS: usize = 64;
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let kept = name.chars().take(MAX_CHARS);
    kept.map(|c| if allowed(c) { c.to_ascii_lowercase() } else { '-' }).collect()
}

/// Waits until the node is to stop, or is gone.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _gone = stop.wait_for(|stop| *stop).await.is_err();
}

/// Spreads the waits of the shards by up to a quarter, so that they do not begin again all at once.
fn jitter(shard: ShardId, wait: Duration) -> Duration {
    let nanos = u64::from(
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default()
            .subsec_nanos(),
    );
    let part = (nanos ^ u64::from(shard.0).wrapping_mul(2_654_435_761)) % 256;
    wait + wait.mul_f64(part as f64 / 1024.0)
}

/// A transaction in flight.
struct InFlight {
    future: BoxFuture<'static, Result<TxnResult, StoreError>>,
    ops: Vec<Op>,
    wait: Duration,
}

/// A run of a shard: from its records until something ends it.
struct Run<'a> {
    runner: &'a Runner,
    core: Shard,
    claim: Claim,
    identity: Identity,
    client: mesos::Handle,
    events: mpsc::Receiver<mesos::MesosEvent>,
    desired: WatchStream,
    epoch: u64,
    pending: Pending,
    outbox: Outbox,
    in_flight: Option<InFlight>,
    wake_at: Option<u64>,
    steps: u64,
    commits: u64,
    store_problem: Option<String>,
}

impl<'a> Run<'a> {
    fn new(
        runner: &'a Runner,
        core: Shard,
        claim: Claim,
        from: Revision,
    ) -> Result<Self, RunError> {
        let (client, events) = connect(runner, core.framework())?;
        let role = Settings::new(runner.shard, &runner.options.mesos.framework.role).role;
        let identity = Identity {
            role: role.to_string(),
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
        })
    }

    async fn run(mut self, output: Output) -> Result<(), RunError> {
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
        let mut publish = tokio::time::interval(STATUS_EVERY);
        loop {
            self.begin_commit()?;
            let flushed = self.send_ready();
            let wake = self.next_wake();
            let room = self.pending.len() < MAX_PENDING_WRITES;
            tokio::select! {
                () = stopped(&mut stop) => return Ok(()),
                changed = lease.changed() => {
                    if changed.is_err() { return Err(RunError::LeaseLost) }
                    self.renewed(*lease.borrow_and_update())?;
                }
                done = commit_done(&mut self.in_flight) => self.committed(done)?,
                event = self.events.recv(), if room => self.mesos_events(event)?,
                batch = self.desired.next(), if room => self.desired_changed(batch)?,
                () = sleep_until(wake) => self.step(Input::Wake),
                () = sleep(OUTBOX_AGAIN), if !flushed => {}
                _ = publish.tick() => self.publish(),
            }
        }
    }

    /// The same lease, renewed; or the end.
    fn renewed(&mut self, held: Option<Held>) -> Result<(), RunError> {
        match held {
            Some(held) if held.id == self.claim.lease.id => {
                self.claim.lease = held;
                Ok(())
            }
            _ => Err(RunError::LeaseLost),
        }
    }

    fn next_wake(&self) -> Instant {
        let now = unix_ms();
        // An hour stands for "nothing planned".
        let in_ms = self.wake_at.map_or(3_600_000, |at| at.saturating_sub(now));
        Instant::now() + Duration::from_millis(in_ms)
    }

    fn step(&mut self, input: Input) {
        let output = self.core.step(unix_ms(), input);
        self.steps += 1;
        self.take(output);
    }

    fn take(&mut self, mut output: Output) {
        self.wake_at = output.wake_at;
        self.pending.push(self.epoch, &mut output);
    }

    /// Starts the next transaction, if none is in flight and something waits.
    fn begin_commit(&mut self) -> Result<(), RunError> {
        if self.in_flight.is_none() {
            let limits = self.runner.store.limits();
            let ops = self.pending.next_batch(self.runner.shard, &limits)?;
            if !ops.is_empty() {
                self.commit(ops, Duration::ZERO);
            } else if self.pending.has_writes() {
                // Everything in the batch cancelled out.
                self.pending.committed();
            }
        }
        Ok(())
    }

    fn commit(&mut self, ops: Vec<Op>, wait: Duration) {
        let key = keys::owner(self.runner.shard.0);
        let fence = Compare::ModRevision { key, equals: self.claim.revision };
        let txn = Txn { compares: vec![fence], then: ops.clone() };
        let store = self.runner.store.clone();
        let future = Box::pin(async move {
            sleep(wait).await;
            store.commit(txn).await
        });
        self.in_flight = Some(InFlight { future, ops, wait });
    }

    fn committed(&mut self, result: Result<TxnResult, StoreError>) -> Result<(), RunError> {
        let Some(done) = self.in_flight.take() else { return Ok(()) };
        match result {
            Ok(TxnResult::Committed { .. }) => {
                self.pending.committed();
                self.commits += 1;
                if let Some(problem) = self.store_problem.take() {
                    tracing::info!(shard = %self.runner.shard, problem, "the store works again");
                }
                Ok(())
            }
            Ok(TxnResult::Conflict { .. }) => Err(RunError::Deposed),
            // Nothing else writes these records while the fence holds, so the same transaction again
            // does no harm, whether or not the first one happened.
            Err(error @ (StoreError::Unavailable { .. } | StoreError::Unknown { .. })) => {
                if self.store_problem.is_none() {
                    tracing::warn!(shard = %self.runner.shard, %error, "a commit failed; it is repeated");
                }
                self.store_problem = Some(error.to_string());
                let wait = (done.wait * 2).clamp(AGAIN.0, AGAIN.1);
                self.commit(done.ops, jitter(self.runner.shard, wait));
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Sends what may leave; whether everything went. Without a lease that is certain to hold,
    /// nothing leaves: another master may be acting already.
    fn send_ready(&mut self) -> bool {
        for (epoch, effect) in self.pending.ready() {
            self.outbox.push(&self.identity, epoch, effect);
        }
        if !self.claim.lease.is_certain() {
            return false;
        }
        self.outbox.flush(&self.client)
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
                let framework = FrameworkId::new(&subscribed.framework_id);
                tracing::info!(%shard, %framework, leader = subscribed.leader, "subscribed");
                self.step(Input::Mesos(MesosEvent::Subscribed { framework }));
                self.publish();
            }
            mesos::MesosEvent::Event { event, .. } => {
                if let Some(event) = convert::event(&self.identity, *event) {
                    self.step(Input::Mesos(event));
                }
            }
            mesos::MesosEvent::Disconnected { reason, .. } => {
                tracing::warn!(%shard, %reason, "the connection to Mesos broke");
                self.outbox.clear();
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
                        self.step(Input::Job { id: id(&job)?, incarnation, record: read(kv)? });
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

    fn publish(&self) {
        let mesos = self.client.status();
        self.runner.status.send_modify(|status| {
            status.mesos = Some(mesos);
            status.totals = self.core.totals();
            status.pending_writes = self.pending.len();
            status.commits = self.commits;
            status.steps = self.steps;
            status.store_problem.clone_from(&self.store_problem);
        });
    }

    /// On a stop: what was decided becomes durable, and leaves.
    async fn finish(&mut self) {
        loop {
            if self.begin_commit().is_err() {
                return;
            }
            while !self.send_ready() && self.claim.lease.is_certain() {
                sleep(OUTBOX_AGAIN).await;
            }
            if self.in_flight.is_none() {
                return;
            }
            let done = commit_done(&mut self.in_flight);
            let Ok(result) = tokio::time::timeout(AGAIN.1, done).await else { return };
            if self.committed(result).is_err() {
                return;
            }
        }
    }
}

/// The transaction in flight; never, where there is none.
async fn commit_done(in_flight: &mut Option<InFlight>) -> Result<TxnResult, StoreError> {
    match in_flight {
        Some(commit) => commit.future.as_mut().await,
        None => std::future::pending().await,
    }
}

/// A Mesos client for the shard's own framework.
fn connect(
    runner: &Runner,
    framework: Option<&FrameworkId>,
) -> Result<(mesos::Handle, mpsc::Receiver<mesos::MesosEvent>), RunError> {
    let mut options = runner.options.mesos.clone();
    options.framework.role = Settings::new(runner.shard, &options.framework.role).role.to_string();
    options.framework.name = format!("{}-{}", options.framework.name, runner.shard);
    Ok(mesos::MesosClient::spawn(options, framework.map(ToString::to_string))?)
}

fn read<T: serde::de::DeserializeOwned>(kv: &KeyValue) -> Result<T, RunError> {
    let key = String::from_utf8_lossy(&kv.key);
    decode_record(&kv.value).map_err(|error| RunError::Record(format!("{key}: {error}")))
}

fn id(text: &str) -> Result<JobId, RunError> {
    JobId::new(text).map_err(|error| RunError::Record(error.to_string()))
}
