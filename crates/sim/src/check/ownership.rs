//! Only a shard's owner commits its actual state, in an unbroken chain; and only its owner calls Mesos. Nobody
//! takes a shard that another has, and shards do not go to and fro.
//! What Mesos refuses, as it comes from a session that was taken over, never gets here.

use crate::link::Link;
use crate::sim::Sim;
use peloton_mesos_wire::calls::{CallKind, kind};
use peloton_model::{OwnerRecord, decode_record};
use peloton_proto::mesos::v1::scheduler::Call;
use peloton_store::keys::{self, ParsedKey};
use peloton_store::{Key, Op, Txn};
use std::collections::BTreeMap;

/// The time over which moves are counted, in milliseconds.
const WINDOW_MS: u64 = 60_000;
/// The most that a shard is taken in that time. Masters that hand a shard to and fro would do it every few
/// seconds; the worst faults of a sound cluster move it half as often.
const MOST_MOVES: usize = 12;

/// What a transaction finds.
pub(crate) struct Before {
    /// The shard whose actual state it writes, with its owner and the value of its fence.
    actual: Option<(u16, Option<String>, Option<String>)>,
    /// The shard that it takes.
    takes: Option<u16>,
}

/// Who owned what since when.
#[derive(Default)]
pub(super) struct Ownership {
    /// When each shard was taken by its present owner, and who that is.
    taken: BTreeMap<u16, (u64, String)>,
    /// The shard of each framework id.
    frameworks: BTreeMap<String, u16>,
    /// When each shard was taken within the last while.
    moves: BTreeMap<u16, Vec<u64>>,
    last_move: u64,
}

impl Ownership {
    pub(super) fn before(&self, sim: &Sim, txn: &Txn) -> Before {
        let shard = txn.then.iter().find_map(|op| match op {
            Op::Put { key, .. } | Op::Delete { key } => shard_of_actual(key),
            Op::DeleteRange { .. } => None,
        });
        let takes = txn.then.iter().find_map(|op| match op {
            Op::Put { key, .. } => shard_of_owner(key),
            _ => None,
        });
        let actual = shard.map(|shard| (shard, owner(sim, shard), fence(sim, shard)));
        Before { actual, takes }
    }

    pub(super) fn committed(&mut self, sim: &Sim, link: &Link, txn: &Txn, before: Before) {
        let Some((shard, owner, fence)) = before.actual else { return };
        // Taking a shard begins a chain in the same transaction.
        if before.takes == Some(shard) {
            return self.takes(sim, link, shard, owner);
        }
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

    fn takes(&mut self, sim: &Sim, link: &Link, shard: u16, from: Option<String>) {
        let (now, name) = (sim.now_ms(), &link.name);
        if let Some(from) = from {
            sim.violated(format!("{name} takes shard {shard} from {from}, which has it"));
        }
        self.taken.insert(shard, (now, name.clone()));
        let recent = self.moves.entry(shard).or_default();
        recent.retain(|at| at + WINDOW_MS > now);
        recent.push(now);
        if recent.len() > MOST_MOVES {
            sim.violated(format!("shard {shard} was taken {} times within a minute", recent.len()));
        }
        self.last_move = now;
    }

    /// When a shard was last taken.
    pub(super) fn last_move(&self) -> u64 {
        self.last_move
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

fn shard_of_owner(key: &Key) -> Option<u16> {
    match keys::parse(key)? {
        ParsedKey::Owner { shard } => Some(shard),
        _ => None,
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
        | ParsedKey::ActualUpgrade { shard, .. }
        | ParsedKey::ActualEvent { shard, .. }
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
