//! Only a shard's owner commits its actual state, in an unbroken chain; and only its owner calls Mesos.
//! What Mesos refuses, as it comes from a session that was taken over, never gets here.

use crate::link::Link;
use crate::sim::Sim;
use peloton_mesos_wire::calls::{CallKind, kind};
use peloton_model::{OwnerRecord, decode_record};
use peloton_proto::mesos::v1::scheduler::Call;
use peloton_store::keys::{self, ParsedKey};
use peloton_store::{Key, Op, Txn};
use std::collections::BTreeMap;

/// What a transaction finds.
pub(crate) struct Before {
    /// The shard whose actual state it writes, with its owner and the value of its fence.
    actual: Option<(u16, Option<String>, Option<String>)>,
}

/// Who owned what since when.
#[derive(Default)]
pub(super) struct Ownership {
    /// When each shard was taken by its present owner, and who that is.
    taken: BTreeMap<u16, (u64, String)>,
    /// The shard of each framework id.
    frameworks: BTreeMap<String, u16>,
}

impl Ownership {
    pub(super) fn before(&self, sim: &Sim, txn: &Txn) -> Before {
        let shard = txn.then.iter().find_map(|op| match op {
            Op::Put { key, .. } | Op::Delete { key } => shard_of_actual(key),
            Op::DeleteRange { .. } => None,
        });
        let actual = shard.map(|shard| (shard, owner(sim, shard), fence(sim, shard)));
        Before { actual }
    }

    pub(super) fn committed(&mut self, sim: &Sim, link: &Link, txn: &Txn, before: Before) {
        for op in &txn.then {
            if let Op::Put { key, .. } = op
                && let Some(ParsedKey::Owner { shard }) = keys::parse(key)
            {
                self.taken.insert(shard, (sim.now_ms(), link.name.clone()));
            }
        }
        let Some((shard, owner, fence)) = before.actual else { return };
        if owner.as_deref() != Some(&link.name) {
            let name = &link.name;
            sim.violated(format!("{name} commits state of shard {shard}, owned by {owner:?}"));
        }
        // A claim begins a chain, and the framework's id is stored before one goes on.
        let begins = txn.then.iter().all(|op| match op {
            Op::Put { key, .. } => {
                *key == keys::actual_fence(shard) || *key == keys::actual_framework(shard)
            }
            _ => false,
        });
        let own = fence.as_deref().is_some_and(|mark| mark.split(' ').next() == Some(&link.name));
        if !begins && !own {
            let name = &link.name;
            sim.violated(format!("{name} commits to shard {shard} behind the fence {fence:?}"));
        }
    }

    pub(super) fn called(&mut self, sim: &Sim, link: &Link, call: &Call, sent_at: u64) {
        let kind = kind(call);
        let Some(framework) = call.framework_id.as_ref().map(|id| &id.value) else { return };
        if let Some(subscribe) = &call.subscribe
            && let Some(role) = subscribe.framework_info.roles.first()
            && let Some(shard) = role.rsplit('/').next().and_then(|text| text.parse().ok())
        {
            self.frameworks.insert(framework.clone(), shard);
        }
        let harmless = matches!(
            kind,
            CallKind::Decline
                | CallKind::Revive
                | CallKind::Suppress
                | CallKind::Reconcile
                | CallKind::ReconcileOperations
        );
        let Some(shard) = self.frameworks.get(framework).filter(|_| !harmless) else { return };
        if let Some((since, by)) = self.taken.get(shard)
            && *by != link.name
            && *since < sent_at
        {
            let (kind, name) = (kind.as_str_name(), &link.name);
            let ago = sent_at - since;
            sim.violated(format!(
                "{name} sent {kind} for shard {shard}, {ago} ms after {by} had taken it"
            ));
        }
    }
}

fn shard_of_actual(key: &Key) -> Option<u16> {
    match keys::parse(key)? {
        ParsedKey::ActualFence { shard }
        | ParsedKey::ActualFramework { shard }
        | ParsedKey::ActualJob { shard, .. }
        | ParsedKey::ActualInstance { shard, .. }
        | ParsedKey::ActualSlot { shard, .. }
        | ParsedKey::ActualRun { shard, .. }
        | ParsedKey::ActualAgent { shard, .. } => Some(shard),
        _ => None,
    }
}

fn value(sim: &Sim, key: &Key) -> Option<peloton_store::Value> {
    sim.store.memory.look(|state| state.get(key).ok()?.kv.map(|kv| kv.value))
}

/// Who owns a shard.
fn owner(sim: &Sim, shard: u16) -> Option<String> {
    let value = value(sim, &keys::owner(shard))?;
    decode_record::<OwnerRecord>(&value).ok().map(|record| record.master)
}

fn fence(sim: &Sim, shard: u16) -> Option<String> {
    let value = value(sim, &keys::actual_fence(shard))?;
    Some(String::from_utf8_lossy(&value).into_owned())
}
