//! Placement: a snapshot of offers and requests in, a plan and its reasons out.
//!
//! [`place`] is greedy: it puts one instance after the other on the best agent of the moment. The
//! agents that can take an instance sit in a heap ordered by the job's strategy; whoever takes one
//! is ranked anew, whoever can take no more leaves. An agent that does not fit is therefore looked
//! at once per request and not once per instance: O(agents + instances · log agents).
//!
//! - *Spread*: the agent with the fewest instances of the job.
//! - *Pack*: the agent with the least room on which an instance fits.
//!
//! Room is the number of instances for which the scarcest of the needed resources lasts: offers do
//! not tell what an agent has in all, so a share of the whole is not to be had, and what is not
//! needed does not matter. Idle GPUs are the exception: agents that have some are taken last by
//! those who need none (spread: among agents with equally many instances). Between equals, spread
//! takes the one with the most room, and finally the lower agent id wins. So the plan depends on
//! nothing but the input, not even on the order of the candidates.
//!
//! The greedy choice places as many instances as possible as long as at most one constraint counts
//! instances per value; with several such constraints it may leave some waiting that a search
//! would have placed.

mod demand;
mod explain;
mod limits;
mod ports;
mod rank;
mod remap;

use demand::Demand;
use explain::Tally;
use limits::Limits;
use peloton_model::job::Strategy;
use peloton_model::{AgentId, AgentRecord, JobConfig, Lack, PortSet, Resources, Waiting};
use rank::{Existences, Queue};
use std::collections::binary_heap::PeekMut;
use std::sync::Arc;

pub use remap::{Held, permits, remap_ports};

/// The attribute that every agent has: its host name, unless the operator set an attribute of this
/// name, which then wins.
pub const HOSTNAME: &str = "hostname";

/// What one agent has free for us now: the sum of its offers. One candidate an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The agent.
    pub agent: AgentId,
    /// Its host name and attributes.
    pub record: Arc<AgentRecord>,
    /// Free scalars.
    pub free: Resources,
    /// Free ports.
    pub ports: PortSet,
}

/// What is asked: instances of one configuration.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The configuration; taken as valid (see `JobConfig::validate`).
    pub config: &'a JobConfig,
    /// How many instances to place.
    pub count: u32,
    /// Where instances of the job are already, those that only hold a slot included. Several
    /// entries for one agent add up. An instance that is being placed again is not to be in here,
    /// lest it stand in its own way.
    pub existing: &'a [Existing<'a>],
}

/// Instances of the job that have their place already.
#[derive(Debug, Clone, Copy)]
pub struct Existing<'a> {
    /// The agent.
    pub agent: &'a AgentId,
    /// Its attributes. Where they are not known the candidate of the same agent tells them; where
    /// there is none, the instances count for spreading only and not for UNIQUE and MAX_PER_VALUE.
    pub record: Option<&'a AgentRecord>,
    /// How many instances.
    pub count: u32,
}

/// A place for one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The index of the candidate.
    pub candidate: usize,
    /// Its ports in the order of `config.ports`: static ones as configured, dynamic ones the
    /// lowest that were free.
    pub ports: Vec<u16>,
}

/// The plan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placed {
    /// At most `count` places, in the order in which they were chosen.
    pub assignments: Vec<Assignment>,
    /// Why the others wait, if any do: what each agent lacked first after the plan was made, in
    /// the order constraint, cpus, mem, disk, gpus, ports; the most frequent lack first.
    pub waiting: Option<Waiting>,
}

/// Places up to `request.count` instances and takes what it assigns out of the candidates' free
/// resources and ports. See the module's documentation for the order in which agents are taken.
///
/// A candidate is suitable if every constraint is met: EQUAL and IN need the attribute with such a
/// value, NOT_EQUAL is met by agents without it. UNIQUE and MAX_PER_VALUE need the attribute, and
/// count the instances of the job per value: the existing ones and those placed just now.
#[must_use]
pub fn place(candidates: &mut [Candidate], request: &Request<'_>) -> Placed {
    let demand = Demand::new(request.config);
    let mut limits = Limits::new(&request.config.placement.constraints, request.existing);
    let spread = request.config.placement.strategy == Strategy::Spread;
    let existences = Existences::new(request.existing, spread, !limits.is_empty());
    let mut tally = Tally::default();
    let wanted = request.count as usize;
    if wanted == 0 {
        return Placed::default();
    }

    let mut queue = Queue::new(spread, demand.need);
    for (index, candidate) in candidates.iter().enumerate() {
        let here = existences.on(&candidate.agent);
        limits.count(&candidate.record, here.unlocated);
        match demand.lack(candidate) {
            Some(lack) => tally.add(lack),
            None => queue.push(index, candidate, here.instances),
        }
    }

    let mut heap = queue.into_heap(candidates);
    let mut assignments = Vec::with_capacity(wanted.min(candidates.len()));
    while assignments.len() < wanted {
        let Some(mut best) = heap.peek_mut() else { break };
        let index = best.0.index;
        let candidate = &mut candidates[index];
        if !limits.admit(&candidate.record) {
            tally.add(Lack::Constraint);
            PeekMut::pop(best);
            continue;
        }
        limits.count(&candidate.record, 1);
        assignments.push(Assignment { candidate: index, ports: demand.take(candidate) });
        match demand.shortage(candidate) {
            Some(lack) => {
                tally.add(lack);
                PeekMut::pop(best);
            }
            None => best.0.one_more(spread, &candidate.free, &demand.need),
        }
    }

    if assignments.len() == wanted {
        return Placed { assignments, waiting: None };
    }
    if !limits.is_empty() {
        // Values may have filled up after an agent was set aside for something else.
        tally =
            candidates.iter().filter_map(|c| limits.lack(c).or_else(|| demand.lack(c))).collect();
    }
    let waiting = explain::waiting(&tally, request.count, assignments.len(), candidates.len());
    Placed { assignments, waiting: Some(waiting) }
}
