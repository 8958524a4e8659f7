//! What instances wait for because of their volumes, and why.

use crate::ctx::Ctx;
use crate::job::Job;
use peloton_model::job::JobConfig;
use peloton_model::{InstanceId, SlotId, SlotVolume, UnixMs, VolumeState, Waiting};

impl Job {
    /// Whether an instance whose agent is away since then waits for it, as what is in its volumes is there.
    pub(crate) fn is_tied(&mut self, i: InstanceId, since: UnixMs, ctx: &mut Ctx) -> bool {
        let held = self.own_slot(i).and_then(|slot| self.slots.get(&(i, slot)));
        let Some(held) = held.filter(|held| held.record.is_tied()) else { return false };
        let persistent = held.record.volumes.iter().filter(|volume| volume.is_persistent());
        let give_up = persistent.map(|volume| volume.give_up_after_secs).reduce(|one, other| {
            // Zero is for ever.
            if one == 0 || other == 0 { 0 } else { one.max(other) }
        });
        let give_up_ms = give_up.unwrap_or(0).saturating_mul(1000);
        if give_up_ms > 0 && ctx.now >= since.saturating_add(give_up_ms) {
            return false;
        }
        let host = ctx.agents.get(&held.record.agent).map(|agent| agent.record.host.clone());
        let host = host.unwrap_or_else(|| held.record.agent.as_str().into());
        let what = if ctx.away_since(&held.record.agent).is_some() { "" } else { "its slot on " };
        let why = format!(
            "waits for {what}its agent {host}, as its volume is there; `peloton volume release` gives it up"
        );
        if self.instances.get(i as usize).is_some_and(|x| x.record.message.as_deref() != Some(&why))
        {
            self.update(i, ctx, |instance| instance.record.message = Some(why.into()));
        }
        true
    }

    /// Why a volume of the version that an instance is to run could not be filled.
    pub(crate) fn volume_missing(&self, i: InstanceId) -> Option<String> {
        let config = self.configs.get(&self.aim(i))?;
        let trouble = self.volume_trouble(i, self.own_slot(i)?, config)?;
        (trouble.0 > 0).then_some(trouble.1)
    }

    /// Whether an instance waits for an agent that is away, or for what an operator took of its slot, as what is in its
    /// volumes is there.
    pub(crate) fn waits_for_tied_agent(&self, i: InstanceId, ctx: &Ctx) -> bool {
        let held = self.own_slot(i).and_then(|slot| self.slots.get(&(i, slot)));
        held.is_some_and(|held| {
            held.record.is_tied()
                && (held.is_short() || ctx.away_since(&held.record.agent).is_some())
        })
    }

    /// Whether an instance whose slot did not serve for long goes on waiting for it: what is in its volumes is
    /// there, or they could not be filled, which would not be better elsewhere.
    pub(crate) fn waits_for_volumes(&mut self, i: InstanceId, slot: SlotId, ctx: &mut Ctx) -> bool {
        let since = self.instances.get(i as usize).map_or(ctx.now, |x| x.waiting_since);
        if self.is_tied(i, since, ctx) {
            return true;
        }
        self.slots.get(&(i, slot)).is_some_and(|held| {
            let tied = held.record.is_tied();
            let seen = held.seen_at + ctx.settings.slot_wait_ms > ctx.now;
            !tied && !held.record.volumes.is_empty() && seen
        })
    }

    /// What instances with a slot wait for: the ones for their volumes, and how many only for its offer.
    pub(crate) fn waiting_for_slots(&self) -> (Option<Waiting>, u32) {
        let mut all: Option<Waiting> = None;
        let mut others = 0;
        for i in &self.to_resume {
            let config = self.configs.get(&self.aim(*i)).filter(|c| !c.volumes.is_empty());
            let held = self.own_slot(*i).and_then(|slot| self.slots.get(&(*i, slot)));
            let waits = config.zip(held).filter(|(c, held)| !held.record.has_volumes_of(c));
            let Some((config, _)) = waits else {
                others += 1;
                continue;
            };
            let all = all.get_or_insert_with(|| Waiting {
                reason: "waits for its volumes".to_owned(),
                ..Waiting::default()
            });
            all.instances += 1;
            if all.instances <= 100
                && let Some(slot) = self.own_slot(*i)
                && let Some((_, why)) = self.volume_trouble(*i, slot, config)
                && !all.reason.contains(':')
            {
                all.reason = format!("waits for its volumes: {why}");
            }
        }
        (all, others)
    }

    /// Why a volume that the version mounts could not be filled, and how often that was tried.
    pub(crate) fn volume_trouble(
        &self,
        i: InstanceId,
        slot: SlotId,
        config: &JobConfig,
    ) -> Option<(u32, String)> {
        let record = &self.slots.get(&(i, slot))?.record;
        let volumes = record.volumes_of(config).filter_map(|(_, volume)| volume);
        let troubled = volumes.filter(|volume| volume.state != VolumeState::Ready);
        let why = |volume: &SlotVolume| {
            let why = volume.message.as_deref()?;
            Some((volume.tries, format!("volume {}: {why}", volume.name)))
        };
        troubled.filter_map(why).max_by_key(|(tries, _)| *tries)
    }
}
