//! Volumes: read from the slots that have them, and what users ask of them, which their shard carries out.

use std::collections::BTreeMap;
use std::sync::Arc;

use peloton_model::{
    AgentId, AgentRecord, InstanceId, InstanceRecord, JobId, SlotId, SlotRecord, SlotRef,
    SlotState, SlotVolume, VolumeAsk, VolumeState, VolumeWish,
};
use peloton_store::keys::{self, ParsedKey};
use peloton_store::{Key, KeyRange, KeyValue, RangeRequest, Txn, TxnResult};

use super::records::{encoded, stored};
use super::{Caller, PageRequest, Records};
use crate::ApiError;

/// Slots that are read for one page, whether they have volumes or not.
const SCAN_SLOTS: u32 = 5_000;
/// The volumes of a page, where the caller names no limit, and at most.
const PAGE: (u32, u32) = (500, 5_000);

/// A volume, with the slot that has it.
#[derive(Debug, Clone)]
pub struct VolumeView {
    /// The slot.
    pub slot: SlotRef,
    /// The slot's record.
    pub record: SlotRecord,
    /// The volume.
    pub volume: SlotVolume,
    /// Where it is in its life.
    pub state: VolumePhase,
    /// The host name of its agent, where it is known.
    pub host: String,
}

/// Where a volume is in its life, as users see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VolumePhase {
    /// Being made.
    Creating,
    /// Its content is fetched.
    Filling,
    /// There for its instance.
    Ready,
    /// Nothing mounts it any more.
    Retained,
    /// To be destroyed.
    Deleting,
}

/// Which volumes are wanted.
#[derive(Debug, Clone, Default)]
pub struct VolumeFilter {
    /// Those of this job.
    pub job: Option<JobId>,
    /// Those on this agent, by id or host name; empty for any.
    pub agent: String,
    /// Those in these states; empty for any.
    pub states: Vec<VolumePhase>,
}

/// A page of volumes.
#[derive(Debug, Clone, Default)]
pub struct VolumePage {
    /// The volumes.
    pub volumes: Vec<VolumeView>,
    /// Where the next page starts; empty behind the last one.
    pub next: String,
}

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeChange {
    /// It is durable.
    Done,
    /// There is no such thing.
    NotFound(String),
    /// Not now, and why.
    InUse(String),
}

/// The volumes of a cluster.
#[derive(Debug)]
pub struct Volumes {
    records: Arc<Records>,
}

fn phase(record: &SlotRecord, volume: &SlotVolume) -> VolumePhase {
    match volume.state {
        _ if volume.drop => VolumePhase::Deleting,
        VolumeState::Destroying => VolumePhase::Deleting,
        _ if record.state == SlotState::Retained => VolumePhase::Retained,
        VolumeState::Planned | VolumeState::Creating => VolumePhase::Creating,
        VolumeState::Empty | VolumeState::Filling => VolumePhase::Filling,
        VolumeState::Ready => VolumePhase::Ready,
    }
}

impl Volumes {
    pub(crate) fn new(records: Arc<Records>) -> Self {
        Self { records }
    }

    /// Reads volumes.
    ///
    /// # Errors
    /// `invalid-argument` for a page token that is not one; `unavailable`; `internal` where the store is damaged.
    pub async fn list(
        &self,
        filter: &VolumeFilter,
        page: &PageRequest,
    ) -> Result<VolumePage, ApiError> {
        let limit = if page.limit == 0 { PAGE.0 } else { page.limit.min(PAGE.1) } as usize;
        let (mut shard, mut behind) = parse_token(&page.token, self.records.shards())?;
        let only = filter.job.as_ref().map(|job| self.records.shard(job));
        shard = only.unwrap_or(shard);
        let mut out = VolumePage::default();
        let mut hosts = BTreeMap::new();
        let mut left = SCAN_SLOTS;
        loop {
            let mut range = match &filter.job {
                Some(job) => keys::actual_slots(shard, job.as_str()),
                None => keys::actual_shard_slots(shard),
            };
            if let Some(key) = behind.take() {
                range = range.after(&key);
            }
            let request = RangeRequest::new(range).limit(left);
            let read = self.records.range(request).await?;
            left = left.saturating_sub(u32::try_from(read.kvs.len()).unwrap_or(u32::MAX));
            for kv in &read.kvs {
                let views = self.views(shard, kv, &mut hosts).await?;
                out.volumes.extend(views.into_iter().filter(|view| filter.takes(view)));
                if out.volumes.len() >= limit || (left == 0 && read.kvs.last() == Some(kv)) {
                    out.next = token(shard, Some(&kv.key));
                    return Ok(out);
                }
            }
            if read.more {
                behind = read.kvs.last().map(|kv| kv.key.clone());
            } else if only.is_some() || shard + 1 >= self.records.shards() {
                return Ok(out);
            } else {
                shard += 1;
            }
        }
    }

    /// The volumes of a slot's record; `hosts` are the names of agents that were read for it before.
    async fn views(
        &self,
        shard: u16,
        kv: &KeyValue,
        hosts: &mut BTreeMap<AgentId, String>,
    ) -> Result<Vec<VolumeView>, ApiError> {
        let Some(ParsedKey::ActualSlot { job, instance, slot, .. }) = keys::parse(&kv.key) else {
            return Ok(Vec::new());
        };
        let record: SlotRecord = stored(kv)?.record;
        if record.volumes.is_empty() {
            return Ok(Vec::new());
        }
        let number = slot.parse().map_err(|_| ApiError::internal(format!("bad slot {slot:?}")))?;
        let slot = SlotRef { job: JobId::new(&job)?, instance, slot: SlotId(number) };
        let host = match hosts.get(&record.agent) {
            Some(host) => host.clone(),
            None => {
                let host = self.host(shard, &record.agent).await?;
                hosts.entry(record.agent.clone()).or_insert(host).clone()
            }
        };
        let view = |volume: &SlotVolume| VolumeView {
            slot: slot.clone(),
            record: record.clone(),
            volume: volume.clone(),
            state: phase(&record, volume),
            host: host.clone(),
        };
        Ok(record.volumes.iter().map(view).collect())
    }

    async fn host(&self, shard: u16, agent: &AgentId) -> Result<String, ApiError> {
        let key = keys::actual_agent(shard, agent.as_str());
        let record: Option<AgentRecord> = self.records.read(key).await?.map(|stored| stored.record);
        Ok(record.map(|record| record.host.to_string()).unwrap_or_default())
    }

    /// Reads a volume.
    ///
    /// # Errors
    /// `unavailable`; `internal` where the store is damaged.
    pub async fn get(&self, id: &str) -> Result<Option<VolumeView>, ApiError> {
        let Some(made_in) = made_in(id) else { return Ok(None) };
        let shard = self.records.shard(&made_in.job);
        let range = keys::actual_instance_slots(shard, made_in.job.as_str(), made_in.instance);
        if let Some(view) = self.find(shard, range, id).await? {
            return Ok(Some(view));
        }
        // It may have been adopted by another instance of the shard.
        self.find(shard, keys::actual_shard_slots(shard), id).await
    }

    async fn find(
        &self,
        shard: u16,
        range: KeyRange,
        id: &str,
    ) -> Result<Option<VolumeView>, ApiError> {
        let mut hosts = BTreeMap::new();
        for kv in self.records.range_all(range).await? {
            let views = self.views(shard, &kv, &mut hosts).await?;
            if let Some(view) = views.into_iter().find(|view| view.volume.id == id) {
                return Ok(Some(view));
            }
        }
        Ok(None)
    }

    /// Has a volume destroyed.
    ///
    /// # Errors
    /// `unavailable`; `internal` where the store is damaged.
    pub async fn delete(
        &self,
        id: &str,
        force: bool,
        caller: &Caller,
    ) -> Result<VolumeChange, ApiError> {
        let Some(view) = self.get(id).await? else { return Ok(no_volume(id)) };
        if view.state == VolumePhase::Deleting {
            return Ok(VolumeChange::Done);
        }
        if view.record.state != SlotState::Retained
            && let Some(why) = self.in_use(&view, force).await?
        {
            return Ok(VolumeChange::InUse(why));
        }
        self.ask(VolumeWish::Delete(id.to_owned()), view.slot, caller).await
    }

    /// Why a volume of a slot that is not given up can not be deleted.
    async fn in_use(&self, view: &VolumeView, force: bool) -> Result<Option<String>, ApiError> {
        let SlotRef { job, instance, .. } = &view.slot;
        let Some((_, standing, config)) = self.records.job_with_config(job).await? else {
            return Ok(None);
        };
        if standing.active.is_some() {
            let why = format!("job {job} is being upgraded: wait until that has ended");
            return Ok(Some(why));
        }
        let mounts = config.record.config.volumes.iter().any(|asked| view.volume.is_for(asked));
        let instance_record = self.instance(job, *instance).await?;
        let runs = instance_record
            .is_some_and(|record| record.state.is_live() && record.slot == Some(view.slot.slot));
        Ok(match (mounts, force, runs) {
            (false, _, _) | (true, true, false) => None,
            (true, true, true) => {
                Some(format!("instance {instance} of job {job} runs with it: stop it first"))
            }
            (true, false, _) => Some(format!(
                "instance {instance} of job {job} mounts it: with the instance stopped, it can be deleted by force"
            )),
        })
    }

    async fn instance(
        &self,
        job: &JobId,
        instance: InstanceId,
    ) -> Result<Option<InstanceRecord>, ApiError> {
        let key = keys::actual_instance(self.records.shard(job), job.as_str(), instance);
        Ok(self.records.read(key).await?.map(|stored| stored.record))
    }

    /// Has the slot given up for which an instance waits because of its volumes.
    ///
    /// # Errors
    /// `unavailable`; `internal` where the store is damaged.
    pub async fn release(
        &self,
        job: &JobId,
        instance: InstanceId,
        caller: &Caller,
    ) -> Result<VolumeChange, ApiError> {
        let record = self.instance(job, instance).await?;
        let slot = record.as_ref().and_then(|record| record.slot);
        let (Some(record), Some(slot)) = (record, slot) else {
            return Ok(VolumeChange::NotFound(format!(
                "instance {instance} of job {job} is not there, or has no slot"
            )));
        };
        if record.state.is_live() && record.unreachable_since.is_none() {
            return Ok(VolumeChange::InUse(format!(
                "instance {instance} of job {job} is {:?} on an agent that can be reached: stop it first",
                record.state
            )));
        }
        let slot = SlotRef { job: job.clone(), instance, slot };
        self.ask(VolumeWish::Release, slot, caller).await
    }

    /// Lets an instance go on with the volumes that were retained together with this one.
    ///
    /// # Errors
    /// `invalid-argument` where the job is in another shard; `unavailable`; `internal` where the store is damaged.
    pub async fn adopt(
        &self,
        id: &str,
        job: &JobId,
        instance: InstanceId,
        caller: &Caller,
    ) -> Result<VolumeChange, ApiError> {
        let Some(view) = self.get(id).await? else { return Ok(no_volume(id)) };
        let of = &view.slot.job;
        if self.records.shard(job) != self.records.shard(of) {
            return Err(ApiError::invalid(format!(
                "jobId: {job} is not allowed: it is in another shard than {of}, and what is reserved in Mesos can not \
                 change hands; a job with the id {of} always can"
            )));
        }
        if view.state != VolumePhase::Retained {
            return Ok(VolumeChange::InUse(format!("volume {id} is not retained")));
        }
        let Some(record) = self.records.job(job).await? else {
            return Ok(VolumeChange::NotFound(format!("there is no job {job}")));
        };
        let count = record.record.instance_count;
        if instance >= count {
            let why = format!("job {job} has the instances 0 to {}", count.saturating_sub(1));
            return Ok(VolumeChange::NotFound(why));
        }
        let there = self.instance(job, instance).await?;
        if there.is_some_and(|there| there.state.is_live() || there.slot.is_some()) {
            let why = format!(
                "instance {instance} of job {job} has a slot of its own: stop it, and release that"
            );
            return Ok(VolumeChange::InUse(why));
        }
        self.ask(VolumeWish::Adopt(job.clone(), instance), view.slot, caller).await
    }

    async fn ask(
        &self,
        what: VolumeWish,
        slot: SlotRef,
        caller: &Caller,
    ) -> Result<VolumeChange, ApiError> {
        let shard = self.records.shard(&slot.job);
        let ask = VolumeAsk { what, slot, by: caller.name.clone(), at: self.records.now() };
        let key = keys::desired_volume(shard, &ask.name());
        let txn = Txn::new().put(key, encoded(&ask)?);
        match self.records.store().commit(txn).await? {
            TxnResult::Committed { .. } => Ok(VolumeChange::Done),
            TxnResult::Conflict { .. } => {
                Err(ApiError::internal("a write without a condition failed"))
            }
        }
    }
}

fn no_volume(id: &str) -> VolumeChange {
    VolumeChange::NotFound(format!("there is no volume {id:?}"))
}

/// The slot where a volume was made, from its id.
fn made_in(id: &str) -> Option<SlotRef> {
    let mut parts = id.split('~');
    let job = JobId::new(parts.next()?).ok()?;
    let instance = parts.next()?.parse().ok()?;
    let slot = SlotId(parts.next()?.parse().ok()?);
    Some(SlotRef { job, instance, slot })
}

impl VolumeFilter {
    fn takes(&self, view: &VolumeView) -> bool {
        let agent = self.agent.as_str();
        let here = agent.is_empty() || view.record.agent.as_str() == agent || view.host == agent;
        here && (self.states.is_empty() || self.states.contains(&view.state))
    }
}

/// Where a page ended: the shard, and the key's own part.
fn token(shard: u16, key: Option<&Key>) -> String {
    let key = key.map(|key| String::from_utf8_lossy(key).into_owned()).unwrap_or_default();
    format!("{shard}:{key}")
}

fn parse_token(token: &str, shards: u16) -> Result<(u16, Option<Key>), ApiError> {
    if token.is_empty() {
        return Ok((0, None));
    }
    let parsed = token.split_once(':').and_then(|(shard, key)| {
        let shard: u16 = shard.parse().ok().filter(|shard| *shard < shards)?;
        let key = Key::copy_from_slice(key.as_bytes());
        matches!(keys::parse(&key), Some(ParsedKey::ActualSlot { shard: of, .. }) if of == shard)
            .then_some((shard, Some(key)))
    });
    parsed.ok_or_else(|| {
        ApiError::invalid(format!(
            "pageToken: {token:?} is not allowed: the nextPageToken of the page before, or none"
        ))
    })
}

/// What the sizes of persistent volumes say about an upgrade: Mesos can not make them larger while they are in use,
/// and never smaller without a risk, so they stay.
pub(super) fn sizes_stay(
    old: &peloton_model::JobConfig,
    new: &peloton_model::JobConfig,
) -> Result<(), ApiError> {
    let sizes: BTreeMap<_, _> = old
        .volumes
        .iter()
        .filter(|volume| volume.is_persistent())
        .map(|volume| (&volume.name, volume.size_mb))
        .collect();
    for (i, volume) in new.volumes.iter().enumerate().filter(|(_, one)| one.is_persistent()) {
        if let Some(size) = sizes.get(&volume.name).filter(|size| **size != volume.size_mb) {
            return Err(ApiError::invalid(format!(
                "jobConfig.volumes[{i}].sizeMb: {} is not allowed: {size}, as the volume {} has; the size of a \
                 persistent volume can not be changed, but a volume with another name be added",
                volume.size_mb, volume.name
            )));
        }
    }
    Ok(())
}
