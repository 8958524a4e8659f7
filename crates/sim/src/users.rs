//! Users: they create, change and delete jobs through the API's services, on any master that lives.

use crate::check::Asked;
use crate::masters::Master;
use crate::random::Random;
use crate::sim::{Sim, lock};
use crate::upgrades;
use peloton_api::ApiError;
use peloton_api::domain::{
    Caller, Created, Deleted, Found, GoalChange, GoalOutcome, PageRequest, Updated, UpgradeControl,
    UpgradeRequest,
};
use peloton_model::job::{Command, JobKind, PortConfig, ResourceConfig, RestartPolicy, Strategy};
use peloton_model::{JobConfig, JobId, UpgradeId};
use std::sync::Arc;
use std::time::Duration;

/// Names of jobs: few, so that a name is used again after a deletion.
const NAMES: u64 = 6;
/// How long a user waits.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a user asks.
#[derive(Debug, Clone)]
pub(crate) enum Wish {
    Create(Box<JobConfig>),
    Update(Box<JobConfig>),
    Delete,
    Change(GoalChange),
    ChangeSome(GoalChange, u32, u32),
    Look,
    /// Where there is no such job, it is created with this configuration instead.
    Upgrade(Box<UpgradeRequest>, Box<JobConfig>),
    Plan(Box<UpgradeRequest>),
    /// Of the newest upgrade, or of one of those before.
    Steer(UpgradeControl, usize),
    LookAtUpgrade,
}

impl Wish {
    /// Whether more of the same job is likely to be asked soon.
    pub(crate) fn is_followed(&self) -> bool {
        matches!(self, Self::Upgrade(..) | Self::Steer(..))
    }
}

/// Draws what is asked next.
pub(crate) fn draw(r: &mut Random) -> (u64, JobId, Wish) {
    let name = r.below(NAMES);
    let all = if kind(name) == JobKind::Service { 30 } else { 21 };
    let which = r.below(all);
    (name, job(name), wish(name, which, r))
}

/// Draws what is asked of a job that was just asked something of its upgrade.
pub(crate) fn draw_next(name: u64, r: &mut Random) -> (u64, JobId, Wish) {
    let which = match r.below(16) {
        0 => 6,
        1 => 10,
        2 => 13,
        3..=5 => 15,
        6 => 18,
        7..=9 => 21,
        _ => 26,
    };
    (name, job(name), wish(name, which, r))
}

fn job(name: u64) -> JobId {
    JobId::new(&format!("j{name}")).unwrap_or_else(|_| unreachable!("it is a legal name"))
}

fn wish(name: u64, which: u64, r: &mut Random) -> Wish {
    let change = match r.below(3) {
        0 => GoalChange::Start,
        1 => GoalChange::Stop,
        _ => GoalChange::Restart,
    };
    match which {
        0..=5 | 12 => Wish::Create(Box::new(config(name, r))),
        6..=9 => Wish::Update(Box::new(config(name, r))),
        10..=11 => Wish::Delete,
        13..=14 => Wish::Change(change),
        15..=17 => {
            let first = r.below(4) as u32;
            Wish::ChangeSome(change, first, first + r.below(4) as u32)
        }
        18..=19 => Wish::Look,
        21..=25 => {
            let first = config(name, r);
            Wish::Upgrade(Box::new(upgrades::request(first.clone(), name, r)), Box::new(first))
        }
        26..=28 => {
            let before = if r.below(6) == 0 { r.below(3) as usize } else { 0 };
            Wish::Steer(upgrades::control(r), before)
        }
        20 => Wish::Plan(Box::new(upgrades::request(config(name, r), name, r))),
        _ => Wish::LookAtUpgrade,
    }
}

/// Of a name, all jobs are of one type.
fn kind(name: u64) -> JobKind {
    if Random::new(name, 4).below(3) == 0 { JobKind::Batch } else { JobKind::Service }
}

/// A configuration. Of one name all are alike but for what may change in place, most of the time.
fn config(name: u64, r: &mut Random) -> JobConfig {
    let of = &mut Random::new(name, 4);
    let kind = if of.below(3) == 0 { JobKind::Batch } else { JobKind::Service };
    let port = |i: u64| PortConfig { name: format!("p{i}"), ..Default::default() };
    let resource = ResourceConfig {
        cpus_limit: [0.1, 0.5, 1.0][of.below(3) as usize],
        mem_limit_mb: [16.0, 128.0, 512.0][of.below(3) as usize],
        disk_limit_mb: 16.0,
        ..Default::default()
    };
    let command = match kind {
        JobKind::Service => "serve".to_owned(),
        JobKind::Batch if of.below(4) == 0 => "sleep 5; exit 1".to_owned(),
        JobKind::Batch => format!("sleep {}", r.within(1, 120)),
    };
    let mut config = JobConfig {
        name: format!("j{name}"),
        owning_team: "team".to_owned(),
        instance_count: r.below(10) as u32 + u32::from(kind == JobKind::Batch),
        resource,
        ports: (0..of.below(3)).map(port).collect(),
        command: Command { shell: true, value: command, ..Default::default() },
        kind,
        restart_policy: RestartPolicy {
            max_failures: (kind == JobKind::Batch).then_some(3),
            max_backoff_ms: 20_000,
            ..Default::default()
        },
        ..Default::default()
    };
    config.kill_policy.grace_period_secs = r.below(5);
    config.description = format!("made {}", r.below(1000));
    if of.coin() {
        config.placement.strategy = Strategy::Pack;
    }
    config
}

/// Asks; checks that what is confirmed is so.
pub(crate) async fn ask(sim: Arc<Sim>, master: Asking, id: JobId, wish: Wish, number: u64) {
    let name = format!("user{number}");
    sim.note(&name, id.as_str().as_bytes(), || {
        format!("asks {} on {id}: {}", master.name, words(&wish))
    });
    let asked = lock(&sim.checks).asks(&id);
    let asking = master.ask(&id, &wish, &name);
    let Ok(result) = tokio::time::timeout(PATIENCE * 2, asking).await else { return };
    let told = match &result {
        Ok((told, _)) => told.clone(),
        Err(error) => format!("{error:?}"),
    };
    sim.note(&name, told.as_bytes(), || format!("is told: {told}"));
    match (&wish, result) {
        (Wish::Steer(control, _), Ok((_, Some(upgrade)))) => {
            lock(&sim.checks).steered(&sim, &asked, &upgrade, *control);
        }
        (_, Ok((told, _))) => confirm(&sim, &asked, &wish, &told, &name),
        _ => {}
    }
}

fn words(wish: &Wish) -> String {
    match wish {
        Wish::Create(config) => {
            format!("create {:?} of {} instances", config.kind, config.instance_count)
        }
        Wish::Update(config) => format!("update to {} instances", config.instance_count),
        Wish::Upgrade(request, _) | Wish::Plan(request) => {
            let JobConfig { instance_count, resource, sla, ports, command, .. } = &request.config;
            let (cpus, mem) = (resource.cpus_limit, resource.mem_limit_mb);
            let (replace, paused, minimum) =
                (request.replace, request.start_paused, sla.minimum_instance_count);
            format!(
                "upgrade to {instance_count} instances of {cpus} cpus, {mem} MB, {} ports, at least \
                 {minimum} up, {:?} {}, replace {replace}, paused {paused}, {:?}",
                ports.len(),
                command.value,
                command.uris.len(),
                request.options
            )
        }
        other => format!("{other:?}"),
    }
}

fn confirm(sim: &Sim, asked: &Asked, wish: &Wish, told: &str, name: &str) {
    if told != "done" {
        return;
    }
    let caller = (!matches!(wish, Wish::Delete)).then_some(name);
    lock(&sim.checks).answered(sim, asked, caller);
}

/// The services of a master, as a user's request holds them.
pub(crate) struct Asking {
    name: String,
    jobs: Arc<peloton_api::domain::Jobs>,
    tasks: Arc<peloton_api::domain::Tasks>,
    upgrades: Arc<peloton_api::domain::Upgrades>,
}

impl Asking {
    pub(crate) fn of(master: &Master) -> Self {
        let name = master.link.name.clone();
        let (jobs, tasks) = (master.jobs.clone(), master.tasks.clone());
        Self { name, jobs, tasks, upgrades: master.upgrades.clone() }
    }

    /// The answer, and the upgrade that was steered, if one was.
    async fn ask(
        &self,
        id: &JobId,
        wish: &Wish,
        name: &str,
    ) -> Result<(String, Option<UpgradeId>), ApiError> {
        let caller = Caller::new(name, PATIENCE);
        let told = match wish {
            Wish::Steer(control, before) => {
                let wish = (*control, *before);
                return upgrades::steer(&self.upgrades, id, wish, &caller).await;
            }
            Wish::Upgrade(request, first) => {
                match upgrades::create(&self.upgrades, id, request, &caller).await? {
                    Some(told) => told,
                    None => self.ask_of_job(id, &Wish::Create(first.clone()), &caller).await?,
                }
            }
            Wish::Plan(request) => upgrades::plan(&self.upgrades, id, request).await?,
            Wish::LookAtUpgrade => upgrades::look(&self.upgrades, id).await?,
            other => self.ask_of_job(id, other, &caller).await?,
        };
        Ok((told, None))
    }

    async fn ask_of_job(
        &self,
        id: &JobId,
        wish: &Wish,
        caller: &Caller,
    ) -> Result<String, ApiError> {
        let done = "done".to_owned();
        Ok(match wish {
            Wish::Create(config) => match self.jobs.create(id, (**config).clone(), caller).await? {
                Created::Created => done,
                Created::Same | Created::AlreadyExists => "already there".to_owned(),
            },
            Wish::Update(config) => self.update(id, config, caller).await?,
            Wish::Delete => match self.jobs.delete(id, caller).await? {
                Deleted::Deleted => done,
                Deleted::NotFound => "no such job".to_owned(),
                Deleted::Conflict(versions) => format!("{versions:?}"),
            },
            Wish::Change(change) => of_goal(self.jobs.change(id, *change, caller).await?),
            Wish::ChangeSome(change, first, last) => {
                let ranges = [(*first, *last)];
                of_goal(self.tasks.change(id, &ranges, *change, caller).await?)
            }
            _ => self.look(id).await?,
        })
    }

    /// A change of the configuration that leaves alone what cannot change in place.
    async fn update(
        &self,
        id: &JobId,
        config: &JobConfig,
        caller: &Caller,
    ) -> Result<String, ApiError> {
        let Some(view) = self.jobs.get(id).await? else { return Ok("no such job".to_owned()) };
        let mut next = view.config.record.config.as_ref().clone();
        if next == *config {
            return Ok("the same".to_owned());
        }
        next.instance_count = config.instance_count;
        next.description.clone_from(&config.description);
        let before = view.record.version;
        Ok(match self.jobs.update(id, next, 0, caller).await? {
            // Nothing differed, so nothing was stored.
            Updated::Updated(version) if version == before => "the same".to_owned(),
            Updated::Updated(_) => "done".to_owned(),
            other => format!("{other:?}"),
        })
    }

    async fn look(&self, id: &JobId) -> Result<String, ApiError> {
        let status = self.jobs.status(id).await?;
        let page = PageRequest { limit: 100, ..Default::default() };
        let tasks = self.tasks.list(id, None, &page, false).await?;
        let first = match self.tasks.get(id, 0).await? {
            Found::Found(task) => format!("{:?}", task.run.record.state),
            Found::NotFound => "none".to_owned(),
            Found::OutOfRange(count) => format!("{count} instances"),
        };
        let count = tasks.map_or(0, |page| page.tasks.len());
        let state = status.map(|status| status.summary.state);
        Ok(format!("{state:?}, {count} listed, the first {first}"))
    }
}

fn of_goal(outcome: GoalOutcome) -> String {
    match outcome {
        GoalOutcome::Done => "done".to_owned(),
        other => format!("{other:?}"),
    }
}
