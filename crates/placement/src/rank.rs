//! Which of the agents that fit is taken next.

use crate::{Candidate, Existing};
use peloton_model::{AgentId, Milli, Resources};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

/// Parts into which the room for one instance is divided, so that 3.9 ranks before 3.2.
const ROOM_PARTS: u64 = 1024;

/// Instances of the job on an agent before the request.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Here {
    pub(crate) instances: u32,
    /// Those of them whose agent's attributes did not come along.
    pub(crate) unlocated: u32,
}

/// Instances of the job by agent; looked up, never iterated.
pub(crate) struct Existences<'a>(HashMap<&'a AgentId, Here>);

impl<'a> Existences<'a> {
    /// Counts what will be asked for: nothing, where neither the rank nor a limit needs it.
    pub(crate) fn new(existing: &[Existing<'a>], for_rank: bool, for_limits: bool) -> Self {
        let mut by_agent: HashMap<&AgentId, Here> = HashMap::new();
        let counts = |e: &&Existing<'_>| for_rank || for_limits && e.record.is_none();
        for entry in existing.iter().filter(counts) {
            let here = by_agent.entry(entry.agent).or_default();
            here.instances = here.instances.saturating_add(entry.count);
            if entry.record.is_none() {
                here.unlocated = here.unlocated.saturating_add(entry.count);
            }
        }
        Self(by_agent)
    }

    pub(crate) fn on(&self, agent: &AgentId) -> Here {
        if self.0.is_empty() {
            return Here::default();
        }
        self.0.get(agent).copied().unwrap_or_default()
    }
}

/// An agent in the queue; the smallest is taken first, by its fields in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    /// Instances of the job; always 0 when packing.
    instances: u32,
    /// Whether GPUs lie idle there that the job does not need.
    spares_gpus: bool,
    /// The room in parts of an instance; when spreading, turned round.
    room: u64,
    /// The position by agent id: comparing numbers in the heap is much quicker than comparing ids.
    order: usize,
    /// The index of the candidate.
    pub(crate) index: usize,
}

impl Rank {
    /// Ranks anew after an assignment that left `free`.
    pub(crate) fn one_more(&mut self, spread: bool, free: &Resources, need: &Resources) {
        self.instances += u32::from(spread);
        self.room = ranked_room(spread, free, need);
    }
}

/// The agents that fit, as they are found.
pub(crate) struct Queue {
    spread: bool,
    need: Resources,
    ranks: Vec<Rank>,
}

impl Queue {
    pub(crate) fn new(spread: bool, need: Resources) -> Self {
        Self { spread, need, ranks: Vec::new() }
    }

    pub(crate) fn push(&mut self, index: usize, candidate: &Candidate, instances: u32) {
        self.ranks.push(Rank {
            instances: if self.spread { instances } else { 0 },
            spares_gpus: self.need.gpus.is_zero() && !candidate.free.gpus.is_zero(),
            room: ranked_room(self.spread, &candidate.free, &self.need),
            order: 0,
            index,
        });
    }

    /// Orders them; quickest where the candidates are sorted by agent id already.
    pub(crate) fn into_heap(mut self, candidates: &[Candidate]) -> BinaryHeap<Reverse<Rank>> {
        let id = |rank: &Rank| &candidates[rank.index].agent;
        if !self.ranks.is_sorted_by(|a, b| id(a) <= id(b)) {
            self.ranks.sort_unstable_by(|a, b| id(a).cmp(id(b)).then(a.index.cmp(&b.index)));
        }
        let ordered =
            self.ranks.into_iter().enumerate().map(|(order, rank)| Reverse(Rank { order, ..rank }));
        ordered.collect::<Vec<_>>().into()
    }
}

fn ranked_room(spread: bool, free: &Resources, need: &Resources) -> u64 {
    let room = room(free, need);
    if spread { u64::MAX - room } else { room }
}

/// How many instances the scarcest of the needed resources is enough for, in parts of an instance.
fn room(free: &Resources, need: &Resources) -> u64 {
    let lasts = |free: Milli, need: Milli| {
        free.0.saturating_mul(ROOM_PARTS).checked_div(need.0).unwrap_or(u64::MAX)
    };
    lasts(free.cpus, need.cpus)
        .min(lasts(free.mem_mb, need.mem_mb))
        .min(lasts(free.disk_mb, need.disk_mb))
        .min(lasts(free.gpus, need.gpus))
}
