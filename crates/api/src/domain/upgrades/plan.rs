//! What an upgrade would do, from what is recorded of the job now. Nothing is written, and nothing is asked of
//! Mesos: whether there is room for what more is needed shows when it is reserved.

use std::collections::BTreeMap;
use std::sync::Arc;

use peloton_model::{
    Amount, InstanceId, InstanceRecord, JobConfig, JobId, JobRecord, Milli, Resources, SlotRecord,
    SlotState, Version, limits,
};
use peloton_store::{RangeRequest, keys};

use super::super::records::{READ_ATTEMPTS, Stored, stored};
use super::{Start, UpgradeRequest, begin, options};
use crate::ApiError;
use crate::domain::{Records, StoredConfig};

/// Slot records read at once.
const SCAN_KEYS: u32 = 1000;

/// What an upgrade would do.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The version that it would start from and fall back to.
    pub from: Version,
    /// The number that the new version would get.
    pub to: Version,
    /// The configuration that it would start from.
    pub old: Arc<StoredConfig>,
    /// How many instances would be in hand at a time.
    pub batch: u32,
    /// The first instances.
    pub instances: Vec<PlannedInstance>,
    /// How many there are of each kind.
    pub counts: BTreeMap<PlannedAction, u32>,
}

/// What would become of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PlannedAction {
    /// Gets its new version where it is.
    InPlace,
    /// The same, once more is reserved there.
    Widen,
    /// Comes to be.
    Add,
    /// Goes away.
    Remove,
}

impl PlannedAction {
    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::InPlace => "IN_PLACE",
            Self::Widen => "WIDEN",
            Self::Add => "ADD",
            Self::Remove => "REMOVE",
        }
    }
}

/// What would become of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedInstance {
    /// The instance.
    pub instance: InstanceId,
    /// What.
    pub action: PlannedAction,
    /// The host where it is; empty where it is nowhere yet.
    pub host: String,
    /// What more would be reserved, for people; empty for nothing.
    pub more: String,
}

pub(super) async fn plan(
    records: &Records,
    job: &JobId,
    request: &UpgradeRequest,
) -> Result<Start<Plan>, ApiError> {
    options::check(request)?;
    for _ in 0..READ_ATTEMPTS {
        let Some(stored) = records.job(job).await? else { return Ok(Start::NotFound) };
        let standing = records.standing(job, &stored.record).await?;
        if let Some(refusal) = begin::refusal(&stored.record, &standing, request) {
            return Ok(refusal);
        }
        let from = stored.record.proven(standing.state);
        let Some(old) = records.config(job, &stored, from.version).await? else { continue };
        let draft = begin::draft(&stored.record, &standing, old, request)?;
        let span = standing.span(&stored.record);
        let mut plan = Plan {
            from: draft.from.version,
            to: stored.record.next_version(),
            old: draft.old,
            batch: request.options.batch(span.max(request.config.instance_count)),
            instances: Vec::new(),
            counts: BTreeMap::new(),
        };
        look_through(records, job, &stored, span, &request.config, &mut plan).await?;
        return Ok(Start::Done(plan));
    }
    Err(ApiError::internal(format!("job {job} has no configuration in the store")))
}

/// Fills in what becomes of the instances.
async fn look_through(
    records: &Records,
    job: &JobId,
    stored: &Stored<JobRecord>,
    span: u32,
    new: &JobConfig,
    plan: &mut Plan,
) -> Result<(), ApiError> {
    let floor = records.summary(job).await?;
    let floor = floor.filter(|s| s.incarnation == stored.created.0).map(|s| s.run_floor);
    let slots = match floor {
        Some(floor) => slots(records, job, floor).await?,
        None => BTreeMap::new(),
    };
    let count = new.instance_count;
    let named = u32::try_from(limits::MAX_NAMED_INSTANCES).unwrap_or(u32::MAX);
    let hosts = match floor {
        Some(floor) => hosts(records, job, floor, named.min(span)).await?,
        None => BTreeMap::new(),
    };
    for instance in 0..span.max(count) {
        let (action, lack) = if instance >= count {
            (PlannedAction::Remove, None)
        } else if instance >= span {
            (PlannedAction::Add, Some(lack(new, &Amount::default())))
        } else {
            match slots.get(&instance).map(|hold| lack(new, hold)).filter(|lack| !lack.is_none()) {
                Some(lack) => (PlannedAction::Widen, Some(lack)),
                None => (PlannedAction::InPlace, None),
            }
        };
        *plan.counts.entry(action).or_default() += 1;
        if instance < named {
            let host = hosts.get(&instance).cloned().unwrap_or_default();
            let more = lack.map(|lack| lack.text()).unwrap_or_default();
            plan.instances.push(PlannedInstance { instance, action, host, more });
        }
    }
    Ok(())
}

/// What is held for each instance that has a slot.
async fn slots(
    records: &Records,
    job: &JobId,
    floor: u64,
) -> Result<BTreeMap<InstanceId, Amount>, ApiError> {
    let mut slots = BTreeMap::new();
    let mut range = keys::actual_slots(records.shard(job), job.as_str());
    loop {
        let page = records.range(RangeRequest::new(range.clone()).limit(SCAN_KEYS)).await?;
        for kv in &page.kvs {
            let Some(keys::ParsedKey::ActualSlot { instance, slot, .. }) = keys::parse(&kv.key)
            else {
                continue;
            };
            let record: SlotRecord = stored(kv)?.record;
            let is_own = slot.parse::<u64>().is_ok_and(|slot| slot > floor);
            // The later slot of an instance is the one that it runs in.
            if is_own && record.state != SlotState::Releasing {
                slots.insert(instance, record.hold());
            }
        }
        match page.kvs.last() {
            Some(last) if page.more => range = range.after(&last.key),
            _ => return Ok(slots),
        }
    }
}

/// Where the first instances are.
async fn hosts(
    records: &Records,
    job: &JobId,
    floor: u64,
    until: InstanceId,
) -> Result<BTreeMap<InstanceId, String>, ApiError> {
    let mut hosts = BTreeMap::new();
    if until == 0 {
        return Ok(hosts);
    }
    let range = keys::actual_instances_between(records.shard(job), job.as_str(), 0, until);
    for kv in records.range_all(range).await? {
        let Some(keys::ParsedKey::ActualInstance { instance, .. }) = keys::parse(&kv.key) else {
            continue;
        };
        let record: InstanceRecord = stored(&kv)?.record;
        if let Some(host) = record.host.filter(|_| record.run > floor) {
            hosts.insert(instance, host.to_string());
        }
    }
    Ok(hosts)
}

/// What is held too little of.
struct Short {
    resources: Resources,
    ports: usize,
}

impl Short {
    fn is_none(&self) -> bool {
        self.resources.is_empty() && self.ports == 0
    }

    /// Such as `cpus 0.5, mem 64 MB, 1 port`.
    fn text(&self) -> String {
        let Resources { cpus, mem_mb, disk_mb, gpus } = self.resources;
        let scalar = |name: &str, amount: Milli, unit: &str| {
            (!amount.is_zero()).then(|| format!("{name} {amount}{unit}"))
        };
        let ports = match self.ports {
            0 => None,
            1 => Some("1 port".to_owned()),
            ports => Some(format!("{ports} ports")),
        };
        let parts = [
            scalar("cpus", cpus, ""),
            scalar("mem", mem_mb, " MB"),
            scalar("disk", disk_mb, " MB"),
            scalar("gpus", gpus, ""),
            ports,
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

/// What the configuration needs beyond what is held. A held port that it does not name does for any of those
/// that it takes from the offer.
fn lack(config: &JobConfig, hold: &Amount) -> Short {
    let named: Vec<u16> = config.static_ports().collect();
    let missing = named.iter().filter(|port| !hold.ports.contains(port)).count();
    let free = hold.ports.iter().filter(|port| !named.contains(port)).count();
    Short {
        resources: config.resource.scalars().minus(&hold.resources),
        ports: missing + config.dynamic_ports().saturating_sub(free),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use peloton_model::job::PortConfig;

    #[test]
    fn what_is_short_is_told_in_words() {
        let mut config = JobConfig::default();
        config.resource.cpus_limit = 1.5;
        config.resource.mem_limit_mb = 64.0;
        let port =
            |name: &str, value| PortConfig { name: name.into(), value, ..Default::default() };
        config.ports = vec![port("a", 0), port("b", 8080), port("c", 0)];
        let hold = |cpus, ports: &[u16]| {
            let resources =
                Resources { cpus: Milli(cpus), mem_mb: Milli(64_000), ..Default::default() };
            Amount::new(resources, ports.iter().copied())
        };
        let text = |hold: Amount| lack(&config, &hold).text();
        assert_eq!(text(hold(1000, &[31000])), "cpus 0.5, 2 ports");
        assert_eq!(text(hold(2000, &[31000, 31001])), "1 port", "8080 itself is missing");
        assert_eq!(text(hold(1500, &[31000, 31001, 8080])), "");
        assert_eq!(text(Amount::default()), "cpus 1.5, mem 64 MB, 3 ports");
    }
}
