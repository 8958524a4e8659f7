//! Gathers a shard's writes into transactions: one carries everything decided since the last.
//!
//! Writes keep their order, and what belongs to one instance stays together. A record written
//! several times is sent once, with its last value. Effects are tagged with the number of writes
//! that must be durable before they may leave.

use peloton_core::{Effect, Output, PersistError, Write, encode};
use peloton_model::ShardId;
use peloton_store::{Key, KeyRange, Limits, Op, Revision, keys};
use std::collections::{HashMap, VecDeque};

/// Operations in one transaction at most, whatever the back end takes: a commit of this size takes some
/// ten milliseconds, and what waits behind it should not wait longer.
const MAX_OPS: usize = 2_000;

/// Writes that are not durable yet, and effects that wait for them.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    writes: VecDeque<Write>,
    /// With how many writes have to be durable before, and the session.
    effects: VecDeque<(u64, u64, Effect)>,
    /// Writes ever taken in, and those durable.
    taken: u64,
    durable: u64,
    /// Writes of the batch that is being committed.
    in_flight: usize,
    /// What has to be unchanged for that batch, besides ownership and fence.
    guards: Vec<(Key, Revision)>,
}

/// Operations for one transaction.
#[derive(Debug, Default)]
struct Batch {
    ops: Vec<Option<Op>>,
    index: HashMap<Key, usize>,
    ranges: Vec<KeyRange>,
    bytes: usize,
    writes: usize,
}

impl Pending {
    /// Takes the output of a step made in the session `epoch`.
    pub(crate) fn push(&mut self, epoch: u64, output: &mut Output) {
        let before = self.taken;
        self.taken += output.writes.len() as u64;
        self.writes.extend(output.writes.drain(..));
        let after = output.after.drain(..).map(|writes| before + writes as u64);
        let effects = output.effects.drain(..).zip(after);
        self.effects.extend(effects.map(|(effect, after)| (after, epoch, effect)));
    }

    /// Keys that have to be of these revisions for the batch that was handed out last.
    pub(crate) fn guards(&self) -> &[(Key, Revision)] {
        &self.guards
    }

    /// Writes that are not durable yet.
    pub(crate) fn len(&self) -> usize {
        self.writes.len()
    }

    /// Whether there are such.
    pub(crate) fn has_writes(&self) -> bool {
        !self.writes.is_empty()
    }

    /// Whether nothing waits.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.effects.is_empty()
    }

    /// The effects that may leave, oldest first, each with the session it was made in.
    pub(crate) fn ready(&mut self) -> impl Iterator<Item = (u64, Effect)> + use<> {
        let durable = self.effects.partition_point(|(after, _, _)| *after <= self.durable);
        let ready: Vec<_> = self.effects.drain(..durable).collect();
        ready.into_iter().map(|(_, epoch, effect)| (epoch, effect))
    }

    /// The operations of the next transaction; empty where nothing waits. Ask again only after
    /// [`Pending::committed`].
    pub(crate) fn next_batch(
        &mut self,
        shard: ShardId,
        limits: &Limits,
    ) -> Result<Vec<Op>, PersistError> {
        let mut batch = Batch::default();
        let max_ops = limits.max_txn_ops.min(MAX_OPS);
        // Half of what the back end takes: the keys of the compare and of the encoding come on top.
        let max_bytes = limits.max_txn_bytes / 2;
        let mut writes = self.writes.iter().peekable();
        while let Some(first) = writes.next() {
            let mut unit = vec![(first, encode(shard, first)?)];
            let mut ranged = matches!(first, Write::RunsRemoved(..));
            while !ranged
                && let Some(next) =
                    writes.next_if(|next| next.unit().is_some() && next.unit() == first.unit())
            {
                // What follows the end of an instance's runs may be the first of new ones, which
                // no transaction can hold together with it.
                ranged = matches!(next, Write::RunsRemoved(..));
                unit.push((next, encode(shard, next)?));
            }
            if !batch.takes(&unit, max_ops, max_bytes) {
                break;
            }
            for (_, op) in unit {
                batch.add(op);
            }
        }
        self.in_flight = batch.writes;
        let carried = self.writes.iter().take(batch.writes);
        self.guards = carried.filter_map(|write| guard(shard, write)).collect();
        Ok(batch.ops.into_iter().flatten().collect())
    }

    /// The last batch is durable.
    pub(crate) fn committed(&mut self) {
        self.durable += self.in_flight as u64;
        self.writes.drain(..self.in_flight);
        self.in_flight = 0;
    }
}

impl Batch {
    /// Whether a unit still fits: by size, and because no key may be both written and in a range
    /// that is deleted before.
    fn takes(&self, unit: &[(&Write, Op)], max_ops: usize, max_bytes: usize) -> bool {
        let bytes: usize = unit.iter().map(|(_, op)| size(op)).sum();
        let fits =
            self.ops.len() + unit.len() <= max_ops && self.bytes.saturating_add(bytes) <= max_bytes;
        let clash = unit.iter().any(|(_, op)| match op {
            Op::Put { key, .. } => self.ranges.iter().any(|range| range.contains(key)),
            Op::Delete { .. } | Op::DeleteRange { .. } => false,
        });
        self.writes == 0 || (fits && !clash)
    }

    fn add(&mut self, op: Op) {
        self.writes += 1;
        self.bytes += size(&op);
        match &op {
            Op::Put { key, .. } | Op::Delete { key } => {
                let at = self.ops.len();
                if let Some(old) = self.index.insert(key.clone(), at)
                    && let Some(place) = self.ops.get_mut(old)
                {
                    *place = None;
                }
            }
            Op::DeleteRange { range } => {
                for (key, at) in &self.index {
                    if range.contains(key)
                        && let Some(place) = self.ops.get_mut(*at)
                    {
                        *place = None;
                    }
                }
                self.index.retain(|key, _| !range.contains(key));
                self.ranges.push(range.clone());
            }
        }
        self.ops.push(Some(op));
    }
}

/// The key and revision without which a write may not be made.
fn guard(shard: ShardId, write: &Write) -> Option<(Key, Revision)> {
    let Write::Upgrade(job, _, _, Some(modified)) = write else { return None };
    Some((keys::desired_job(shard.0, job.as_str()), Revision(*modified)))
}

fn size(op: &Op) -> usize {
    match op {
        Op::Put { key, value, .. } => key.len() + value.len(),
        Op::Delete { key } => key.len(),
        Op::DeleteRange { range } => 2 * range.start.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use peloton_model::{InstanceRecord, JobId, RunRecord, SlotId};
    use peloton_store::{MemoryState, Txn};

    const SHARD: ShardId = ShardId(1);

    fn job() -> JobId {
        JobId::new("job").unwrap()
    }

    fn instance(i: u32, run: u64) -> Write {
        let record = InstanceRecord { run, ..Default::default() };
        Write::Instance(job(), i, Some(Box::new(record)))
    }

    fn output(writes: Vec<Write>, effects: Vec<Effect>) -> Output {
        let after = vec![writes.len(); effects.len()];
        Output { writes, effects, after, wake_at: None }
    }

    fn limits(ops: usize) -> Limits {
        Limits { max_txn_ops: ops, ..MemoryState::default().limits() }
    }

    #[test]
    fn effects_wait_for_the_writes_before_them() {
        let mut pending = Pending::default();
        pending.push(1, &mut output(vec![], vec![Effect::Revive]));
        assert_eq!(pending.ready().count(), 1);
        pending.push(1, &mut output(vec![instance(0, 1)], vec![Effect::Revive]));
        pending.push(1, &mut output(vec![], vec![Effect::Suppress]));
        pending.push(1, &mut output(vec![instance(1, 1)], vec![Effect::Revive]));
        assert_eq!(pending.ready().count(), 0);
        assert_eq!(pending.next_batch(SHARD, &limits(1)).unwrap().len(), 1);
        assert_eq!(pending.ready().count(), 0);
        pending.committed();
        assert_eq!(pending.ready().count(), 2);
        assert_eq!(pending.next_batch(SHARD, &limits(9)).unwrap().len(), 1);
        pending.committed();
        assert_eq!((pending.ready().count(), pending.is_empty()), (1, true));
    }

    #[test]
    fn an_effect_may_leave_before_the_rest_of_its_step_is_durable() {
        let mut pending = Pending::default();
        pending.push(1, &mut output(vec![instance(0, 1)], vec![]));
        let mut wave = output(vec![instance(1, 1), instance(2, 1)], vec![Effect::Revive; 2]);
        wave.after = vec![1, 2];
        pending.push(1, &mut wave);
        for left in [0, 1, 1] {
            pending.next_batch(SHARD, &limits(1)).unwrap();
            pending.committed();
            assert_eq!(pending.ready().count(), left);
        }
    }

    #[test]
    fn a_record_written_often_is_sent_once() {
        let mut pending = Pending::default();
        for run in 1..50 {
            pending.push(1, &mut output(vec![instance(0, run)], vec![]));
        }
        let ops = pending.next_batch(SHARD, &limits(10)).unwrap();
        let Op::Put { value, .. } = &ops[0] else { panic!("{ops:?}") };
        let last = peloton_model::encode_record(&InstanceRecord { run: 49, ..Default::default() });
        assert_eq!((ops.len(), value.as_ref()), (1, &last.unwrap()[..]));
    }

    #[test]
    fn what_belongs_to_an_instance_is_not_torn() {
        let mut pending = Pending::default();
        let slot = |i| Write::Slot(job(), i, SlotId(1), None);
        let writes = vec![slot(0), instance(0, 1), slot(1), instance(1, 1)];
        pending.push(1, &mut output(writes, vec![]));
        assert_eq!(pending.next_batch(SHARD, &limits(3)).unwrap().len(), 2);
        pending.committed();
        assert_eq!(pending.next_batch(SHARD, &limits(3)).unwrap().len(), 2);
    }

    #[test]
    fn every_batch_is_a_transaction_that_the_store_takes() {
        let mut pending = Pending::default();
        let run = |n| Write::Run(job(), 0, n, Some(Box::new(RunRecord::default())));
        let gone = || Write::RunsRemoved(job(), 0);
        let writes =
            vec![run(1), instance(0, 1), gone(), Write::Instance(job(), 0, None), instance(0, 2)];
        pending.push(1, &mut output(writes, vec![]));
        pending.push(1, &mut output(vec![run(2), gone(), run(3)], vec![]));
        let mut batches = 0;
        while !pending.is_empty() {
            let then = pending.next_batch(SHARD, &limits(100)).unwrap();
            Txn { compares: vec![], then }.check(&limits(100)).unwrap();
            pending.committed();
            batches += 1;
            assert!(batches < 9, "does not end");
        }
    }
}
