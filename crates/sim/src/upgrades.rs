//! What users ask of upgrades: new ones with all kinds of options, to versions that are good and bad, and
//! what may be asked of one that is there.

use crate::random::Random;
use peloton_api::ApiError;
use peloton_api::domain::{
    Caller, Controlled, PageRequest, Start, UpgradeControl, UpgradeRequest, Upgrades,
};
use peloton_model::job::{Constraint, PortConfig, Rule, Uri};
use peloton_model::{Abort, JobConfig, JobId, UpgradeId, UpgradeOptions};

/// More CPUs than any agent has.
const TOO_MANY_CPUS: f64 = 1_000.0;
/// What a version gets at most of an instance that gets more than before: small clusters have to hold it
/// beside the others.
const MANY: u32 = 6;

/// A new upgrade, to a version that differs in some ways from the first one of the name.
pub(crate) fn request(mut config: JobConfig, name: u64, r: &mut Random) -> UpgradeRequest {
    let larger = [0.5, 1.0, 1.0, 2.0];
    let (cpus, mem) = (larger[r.below(4) as usize], larger[r.below(4) as usize]);
    config.resource.cpus_limit *= cpus;
    config.resource.mem_limit_mb *= mem;
    if cpus > 1.0 {
        config.instance_count = config.instance_count.min(MANY);
    }
    if r.below(3) == 0 {
        let port = |i: u64| PortConfig { name: format!("p{i}"), ..Default::default() };
        config.ports = (0..r.below(4)).map(port).collect();
    }
    config.command.value = format!("serve {}", r.below(1000));
    config.command.environment = vec![("RELEASE".to_owned(), r.below(1000).to_string())];
    // Of these two, as all of them would not find room in half of a small cluster.
    if r.below(3) == 0 && (name == 0 || name == 4) {
        let rule = Rule::Equal(format!("z{}", r.below(2)));
        config.placement.constraints = vec![Constraint { attribute: "zone".to_owned(), rule }];
    }
    let count = u64::from(config.instance_count);
    match r.below(6) {
        0 => config.sla.minimum_instance_count = r.below(count) as u32,
        1 => config.sla.minimum_instance_percent = 50.0,
        _ => {}
    }
    if r.below(3) == 0 {
        spoil(&mut config, r);
    }
    UpgradeRequest {
        config,
        options: options(r),
        start_paused: r.below(8) == 0,
        expected: if r.below(8) == 0 { r.within(1, 4) } else { 0 },
        replace: r.below(3) == 0,
    }
}

/// Makes a version one that does not work.
fn spoil(config: &mut JobConfig, r: &mut Random) {
    match r.below(5) {
        0 => config.command.value = "exit 1".to_owned(),
        1 => config.command.value = "sleep 3; exit 1".to_owned(),
        2 => config.command.value = "sleep 40; exit 1".to_owned(),
        3 => {
            let value = "http://nowhere/unfetchable.tgz".to_owned();
            config.command.uris = vec![Uri { value, ..Default::default() }];
        }
        _ => config.resource.cpus_limit = TOO_MANY_CPUS,
    }
}

/// Whether instances of a service do not come up, or do not stay up, with this version.
pub(crate) fn is_spoilt(config: &JobConfig) -> bool {
    config.command.value.ends_with("exit 1")
        || !config.command.uris.is_empty()
        || config.resource.cpus_limit >= TOO_MANY_CPUS
}

fn options(r: &mut Random) -> UpgradeOptions {
    UpgradeOptions {
        batch_size: r.below(4) as u32,
        batch_percentage: if r.below(5) == 0 { 40.0 } else { 0.0 },
        stop_before_upgrade: r.below(6) == 0,
        max_instance_retries: r.below(3) as u32,
        max_failed_instances: if r.below(5) == 0 { r.within(1, 2) as u32 } else { 0 },
        health_deadline_secs: r.within(20, 120),
        min_healthy_secs: r.below(15),
        placement_deadline_secs: r.within(20, 240),
        rollback_on_failure: r.below(5) > 0,
    }
}

/// What may be asked of an upgrade.
pub(crate) fn control(r: &mut Random) -> UpgradeControl {
    match r.below(12) {
        0..=1 => UpgradeControl::Pause,
        2..=4 => UpgradeControl::Resume,
        5..=8 => UpgradeControl::Rollback,
        9 => UpgradeControl::Abort(Abort::Hard),
        _ => UpgradeControl::Abort(Abort::Soft),
    }
}

/// Begins an upgrade; what came of it, or nothing where there is no such job.
pub(crate) async fn create(
    upgrades: &Upgrades,
    id: &JobId,
    request: &UpgradeRequest,
    caller: &Caller,
) -> Result<Option<String>, ApiError> {
    Ok(match upgrades.create(id, request, caller).await? {
        Start::Done(_) => Some("done".to_owned()),
        Start::NotFound => None,
        other => Some(format!("{other:?}")),
    })
}

/// What an upgrade would do.
pub(crate) async fn plan(
    upgrades: &Upgrades,
    id: &JobId,
    request: &UpgradeRequest,
) -> Result<String, ApiError> {
    Ok(match upgrades.plan(id, request).await? {
        Start::Done(plan) => format!("from {} to {}: {:?}", plan.from, plan.to, plan.counts),
        other => format!("{other:?}"),
    })
}

/// Asks something of an upgrade of the job, the newest or one before: "done" where that made a new one, else
/// which one it is asked of.
pub(crate) async fn steer(
    upgrades: &Upgrades,
    id: &JobId,
    (control, back): (UpgradeControl, usize),
    caller: &Caller,
) -> Result<(String, Option<UpgradeId>), ApiError> {
    let page = PageRequest { limit: 5, ..Default::default() };
    let found = upgrades.list(Some(id), &page).await?;
    let Some(view) = found.upgrades.get(back).or(found.upgrades.first()) else {
        return Ok(("no upgrade".to_owned(), None));
    };
    let state = view.state.name();
    Ok(match upgrades.control(&view.id, control, caller).await? {
        Controlled::Done(new) if new == view.id => (format!("{new}, was {state}"), Some(new)),
        Controlled::Done(_) => ("done".to_owned(), None),
        other => (format!("{other:?}, was {state}"), None),
    })
}

/// Reads what there is to be read of the newest upgrade.
pub(crate) async fn look(upgrades: &Upgrades, id: &JobId) -> Result<String, ApiError> {
    let page = PageRequest { limit: 3, ..Default::default() };
    let found = upgrades.list(Some(id), &page).await?;
    let Some(first) = found.upgrades.first() else { return Ok("no upgrade".to_owned()) };
    let view = upgrades.get(&first.id).await?;
    let events = upgrades.events(&first.id, &page).await?;
    let events = events.map_or(0, |page| page.events.len());
    let text = view.map(|view| format!("{} {} {}", view.id, view.state.name(), view.message));
    Ok(format!("{text:?}, {events} events and more"))
}
