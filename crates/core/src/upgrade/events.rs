//! What an upgrade writes down of what happened.

use super::Stage;
use crate::ctx::Ctx;
use crate::job::Job;
use crate::output::Write;
use peloton_model::{
    InstanceId, SlotId, SlotPlace, SlotRecord, SlotState, UpgradeEvent, UpgradeEventKind, limits,
};

impl Job {
    /// Writes down something of the upgrade as a whole.
    pub(super) fn upgrade_event(
        &mut self,
        kind: UpgradeEventKind,
        by: &str,
        message: &str,
        ctx: &mut Ctx,
    ) {
        self.put_event(
            UpgradeEvent {
                at: ctx.now,
                kind,
                instance: None,
                by: by.to_owned(),
                from_slot: None,
                to_slot: None,
                run: 0,
                message: message.to_owned(),
            },
            ctx,
        );
    }

    /// Writes down something of an instance.
    pub(super) fn instance_event(
        &mut self,
        i: InstanceId,
        kind: UpgradeEventKind,
        message: &str,
        ctx: &mut Ctx,
    ) {
        let Some(instance) = self.instances.get(i as usize) else { return };
        let record = &instance.record;
        let step = record.step.as_deref();
        let (own, home) = (record.slot, step.and_then(|step| step.home));
        let next = step.and_then(|step| step.next);
        let (from, to) = match step.map(|step| step.stage) {
            Some(Stage::Back | Stage::Returned) => (next, own),
            Some(Stage::Prepare) => (own, next.or(own)),
            _ => (home.or(own), own),
        };
        let run = record.run;
        let place = |slot: SlotId| {
            let agent = &self.slots.get(&(i, slot))?.record.agent;
            let host = ctx.agents.get(agent).map(|known| known.record.host.clone());
            Some(SlotPlace { slot, host: host.unwrap_or_default() })
        };
        let event = UpgradeEvent {
            at: ctx.now,
            kind,
            instance: Some(i),
            by: String::new(),
            from_slot: from.and_then(place),
            to_slot: to.and_then(place),
            run,
            message: message.to_owned(),
        };
        self.put_event(event, ctx);
    }

    fn put_event(&mut self, event: UpgradeEvent, ctx: &mut Ctx) {
        let Some(upgrade) = &mut self.upgrade else { return };
        let number = upgrade.record.events;
        let counts_say_it = matches!(
            event.kind,
            UpgradeEventKind::Widened
                | UpgradeEventKind::Moved
                | UpgradeEventKind::Proven
                | UpgradeEventKind::Returned
        );
        if counts_say_it && number >= limits::MAX_UPGRADE_EVENTS {
            return;
        }
        upgrade.record.events += 1;
        let to = upgrade.record.to;
        ctx.writes.push(Write::UpgradeEvent(self.id.clone(), to, number, Box::new(event)));
    }

    /// A slot of an instance is gone, or is given up: what that means for the upgrade.
    pub(crate) fn slot_left(
        &mut self,
        i: InstanceId,
        slot: SlotId,
        record: &SlotRecord,
        ctx: &mut Ctx,
    ) {
        if !self.upgrades() {
            return;
        }
        let Some(step) = self.step(i) else {
            self.displaced(i, slot, record, "is lost", ctx);
            return;
        };
        let (home, next) = (step.home == Some(slot), step.next == Some(slot));
        if home || next {
            self.set_step(i, ctx, |step| {
                if home {
                    step.home = None;
                }
                if next {
                    step.next = None;
                }
            });
        }
        self.displaced(i, slot, record, "is lost", ctx);
        self.look_at(i, ctx);
    }

    /// An instance is not waited for any longer, as the agent that it runs on, and is to return to, is away.
    pub(super) fn left_behind(&mut self, i: InstanceId, ctx: &mut Ctx) {
        let Some(record) = self.instances.get(i as usize).map(|instance| &instance.record) else {
            return;
        };
        let home = record.step.as_deref().and_then(|step| step.home).or(record.slot);
        let Some(id) = home else { return };
        let held = self.slots.get(&(i, id)).map(|held| &held.record);
        // One with a slot elsewhere has that to return to, as soon as its run is given up.
        let Some(slot) = held.filter(|slot| record.agent.as_ref() == Some(&slot.agent)) else {
            return;
        };
        let slot = slot.clone();
        self.displaced(i, id, &slot, "is on an agent that stays away", ctx);
    }

    /// Writes down that an instance cannot return to its agent, or stay there, and what its slot is.
    fn displaced(
        &mut self,
        i: InstanceId,
        id: SlotId,
        slot: &SlotRecord,
        what: &str,
        ctx: &mut Ctx,
    ) {
        // What was made for the new version, was never there, or is of an earlier job of the name, is nothing
        // to return to.
        let counts = slot.made_for == 0
            && slot.state != SlotState::Requested
            && id.0 > self.summary.run_floor;
        let Some(upgrade) = &mut self.upgrade else { return };
        if !counts || i >= upgrade.ask.from_count || upgrade.record.displaced.contains(&i) {
            return;
        }
        upgrade.record.displaced_count += 1;
        if upgrade.record.displaced.len() < limits::MAX_NAMED_INSTANCES {
            upgrade.record.displaced.push(i);
        }
        let host = ctx.agents.get(&slot.agent).map(|known| known.record.host.to_string());
        let host = host.unwrap_or_else(|| slot.agent.to_string());
        let message = format!("its slot on {host} {what}");
        self.instance_event(i, UpgradeEventKind::Displaced, &message, ctx);
    }
}
