//! The tasks that fill remote volumes.

use super::FETCH_PATH;
use crate::ctx::{Ctx, Timer};
use crate::input::Reserved;
use crate::input::{StatusUpdate, TaskStatus};
use crate::job::Job;
use crate::output::{Effect, Fetch, Mounted, Operation};
use crate::slots::slots_of;
use peloton_model::job::{JobConfig, RestartPolicy};
use peloton_model::{
    InstanceId, Milli, Resources, RunNumber, SlotId, SlotState, SlotVolume, TaskId, TaskState,
    VolumeState,
};
use peloton_placement::Candidate;

/// What a task that fills a volume gets, unless it uses a slot that has less.
const FETCH: Resources =
    Resources { cpus: Milli(100), mem_mb: Milli(64_000), disk_mb: Milli(0), gpus: Milli(0) };
/// How often Mesos is asked what became of a task that fills a volume, in milliseconds.
const ASK_FETCH_MS: u64 = 30_000;
/// The wait after such a task was lost, in milliseconds.
const LOST_AGAIN_MS: u64 = 1_000;

impl Job {
    /// Launches a task that fills a volume of a slot of which the volume is offered: on what is free on the agent;
    /// where there is not enough, and the instance can not do without the volume anyway, in the slot.
    pub(crate) fn fill_volume(
        &mut self,
        offered: &Reserved,
        candidate: &mut Candidate,
        ctx: &mut Ctx,
    ) -> Option<Operation> {
        let (i, slot) = (offered.slot.instance, offered.slot.slot);
        let held = self.slots.get(&(i, slot)).filter(|held| {
            held.record.state == SlotState::Held
                && held.record.agent == candidate.agent
                && ctx.now >= held.fill_at
        })?;
        let is_empty = |volume: &&SlotVolume| volume.state == VolumeState::Empty && !volume.drop;
        let (volume, one) = held.record.volumes.iter().filter(is_empty).find_map(|volume| {
            let one = offered.volumes.iter().find(|one| one.id == volume.id)?;
            Some((volume, one.clone()))
        })?;
        let content = volume.content.clone()?;
        let id = volume.id.clone();
        let waits_for_it = !self.in_use(i, slot)
            && held.fetches().next().is_none()
            && self.configs.get(&self.aim(i)).is_none_or(|aim| !held.record.has_volumes_of(aim));
        let own = FETCH.min(&offered.resources);
        let mut of_slot = None;
        let mut resources = FETCH;
        if let Some(lack) = candidate.free.lack(&FETCH) {
            if !waits_for_it || own.cpus.0 < 10 || own.mem_mb.0 < 1_000 {
                let host = &candidate.record.host;
                let why = format!("{host} lacks {lack} for the task that fetches it");
                self.note_volume(i, slot, &id, why, ctx);
                return None;
            }
            resources = own;
            of_slot = Some((offered.slot.clone(), offered.principal.clone()));
        } else {
            candidate.free = candidate.free.minus(&FETCH);
        }
        let user = self.user_of(&content);
        let run = self.next_run(i);
        let task = TaskId { job: self.id.clone(), instance: i, run };
        self.fetch_begins(i, slot, &id, run, ctx);
        Some(Operation::Fetch(Box::new(Fetch {
            task,
            agent: candidate.agent.clone(),
            slot: of_slot,
            resources,
            volume: Mounted {
                volume: one,
                container_path: FETCH_PATH.to_owned(),
                read_write: true,
            },
            content,
            user,
        })))
    }

    fn fetch_begins(
        &mut self,
        i: InstanceId,
        slot: SlotId,
        id: &str,
        run: RunNumber,
        ctx: &mut Ctx,
    ) {
        self.update(i, ctx, |instance| instance.record.fetched = run);
        self.change_volume(i, slot, id, ctx, |volume| {
            volume.state = VolumeState::Filling;
            volume.number = run;
        });
        ctx.arm(ctx.now + ASK_FETCH_MS, Timer::Slot(self.id.clone(), i, slot));
    }

    fn change_volume(
        &mut self,
        i: InstanceId,
        slot: SlotId,
        id: &str,
        ctx: &mut Ctx,
        f: impl FnOnce(&mut SlotVolume),
    ) {
        let Some(held) = self.slots.get_mut(&(i, slot)) else { return };
        if let Some(volume) = held.record.volumes.iter_mut().find(|volume| volume.id == id) {
            f(volume);
        }
        self.touch_slot(i, slot, ctx);
        self.settle_chores(i, slot, ctx);
    }

    /// Says why a volume is not ready.
    fn note_volume(&mut self, i: InstanceId, slot: SlotId, id: &str, why: String, ctx: &mut Ctx) {
        let volumes = self.slots.get(&(i, slot)).map(|held| &held.record.volumes);
        let volume = volumes.and_then(|all| all.iter().find(|volume| volume.id == id));
        if volume.is_some_and(|volume| volume.message.as_deref() != Some(why.as_str())) {
            self.change_volume(i, slot, id, ctx, |volume| volume.message = Some(why));
            self.look_at(i, ctx);
        }
    }

    /// The user of the version that mounts the content.
    fn user_of(&self, content: &peloton_model::Content) -> String {
        let mounts = |config: &&std::sync::Arc<JobConfig>| {
            config.volumes.iter().any(|asked| asked.content.as_ref() == Some(content))
        };
        let config = self.configs.values().rev().find(mounts);
        config.map(|config| config.command.user.clone()).unwrap_or_default()
    }

    /// The slot of which a task fills a volume.
    pub(crate) fn slot_of_fetch(&self, i: InstanceId, run: RunNumber) -> Option<SlotId> {
        let mut slots = self.slots.range(slots_of(i));
        slots.find(|(_, held)| held.fetches().any(|of| of == run)).map(|((_, slot), _)| *slot)
    }

    /// News of a task that fills a volume.
    pub(crate) fn fetch_update(
        &mut self,
        task: &TaskId,
        slot: SlotId,
        update: &StatusUpdate,
        ctx: &mut Ctx,
    ) {
        let i = task.instance;
        let policy = self.configs.get(&self.aim(i)).map(|config| config.restart_policy.clone());
        let now = ctx.now;
        let Some(held) = self.slots.get_mut(&(i, slot)) else { return };
        held.seen_at = now;
        let filled = held.record.volumes.iter_mut();
        let Some(volume) = filled.into_iter().find(|volume| volume.fetch() == Some(task.run))
        else {
            return;
        };
        match update.status {
            status if status.is_live() => return,
            // It may still be at it.
            TaskStatus::Unreachable => return,
            TaskStatus::Unknown
                if ctx.agents.get(&held.record.agent).is_some_and(|a| a.away_since.is_some()) =>
            {
                return;
            }
            TaskStatus::Finished => {
                (volume.state, volume.tries, volume.message) = (VolumeState::Ready, 0, None);
            }
            TaskStatus::Failed | TaskStatus::Error => {
                volume.state = VolumeState::Empty;
                volume.tries = volume.tries.saturating_add(1);
                let url = volume.content.as_ref().map_or("", |content| content.url.as_str());
                volume.message = Some(format!("{url}: {} (task {task})", why_failed(update)));
                held.fill_at = now + backoff_ms(policy.as_ref(), volume.tries);
            }
            _ => {
                volume.state = VolumeState::Empty;
                held.fill_at = now + LOST_AGAIN_MS;
            }
        }
        let (again, message) = (held.fill_at, volume.message.clone());
        if again > now {
            ctx.arm(again, Timer::Slot(self.id.clone(), i, slot));
        }
        let waits =
            self.instances.get(i as usize).is_some_and(|x| x.record.state == TaskState::Scheduling);
        if let Some(message) = message.filter(|_| waits) {
            self.update(i, ctx, |x| x.record.message = Some(message.into()));
        }
        self.volumes_changed(i, slot, ctx);
    }

    /// Mesos is asked about the tasks that fill volumes of a slot.
    pub(crate) fn ask_for_fetches(&self, i: InstanceId, slot: SlotId, ctx: &mut Ctx) {
        let Some(held) = self.slots.get(&(i, slot)) else { return };
        for run in held.fetches() {
            let task = TaskId { job: self.id.clone(), instance: i, run };
            ctx.ask_tasks.insert(task, Some(held.record.agent.clone()));
            ctx.arm(ctx.now + ASK_FETCH_MS, Timer::Slot(self.id.clone(), i, slot));
        }
    }

    /// Ends tasks that fill volumes which are to go.
    pub(crate) fn stop_fetches(&self, i: InstanceId, slot: SlotId, ctx: &mut Ctx) {
        let Some(held) = self.slots.get(&(i, slot)) else { return };
        for volume in held.record.volumes.iter().filter(|volume| volume.drop) {
            let Some(run) = volume.fetch() else { continue };
            let task = TaskId { job: self.id.clone(), instance: i, run }.to_string();
            let agent = Some(held.record.agent.clone());
            ctx.effect(Effect::Kill { task, agent, grace_ms: Some(0) });
        }
    }

    /// The tasks that fill volumes are no more, all of them.
    pub(crate) fn lose_fetches(&mut self, ctx: &mut Ctx) {
        let filling = self.slots.iter().filter(|(_, held)| held.fetches().next().is_some());
        let filling: Vec<_> = filling.map(|(key, _)| *key).collect();
        for (i, slot) in filling {
            if let Some(held) = self.slots.get_mut(&(i, slot)) {
                let volumes = held.record.volumes.iter_mut();
                volumes
                    .filter(|one| one.fetch().is_some())
                    .for_each(|one| one.state = VolumeState::Empty);
            }
            self.volumes_changed(i, slot, ctx);
        }
    }
}

fn backoff_ms(policy: Option<&RestartPolicy>, tries: u32) -> u64 {
    policy.cloned().unwrap_or_default().backoff_ms(tries)
}

/// In words; the statuses are those of the script in `peloton_mesos_wire`.
fn why_failed(update: &StatusUpdate) -> String {
    let message = update.message.as_deref().unwrap_or("no reason given");
    // An agent's own words about its fetcher have a status in them, too.
    let status =
        update.exit_status.filter(|_| update.reason.as_deref() != Some("CONTAINER_LAUNCH_FAILED"));
    match status {
        Some(65) => "what was fetched has another SHA-256 than `sha256` says".to_owned(),
        Some(66) => "what was fetched is neither a tar nor a zip archive, or damaged".to_owned(),
        Some(67) => "what was fetched is larger than `sizeMb`".to_owned(),
        Some(_) => format!("could not be put into the volume: {message}"),
        None => format!("could not be fetched: {message}"),
    }
}
