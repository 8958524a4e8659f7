//! What one instance needs of an agent, whatever the other instances do.

use crate::limits::attribute;
use crate::ports::PortNeed;
use crate::{AgentRecord, Candidate};
use peloton_model::job::{Constraint, Rule};
use peloton_model::{JobConfig, Lack, Resources};

/// The needs of one instance, worked out once per request.
pub(crate) struct Demand<'a> {
    pub(crate) need: Resources,
    ports: PortNeed,
    constraints: &'a [Constraint],
}

impl<'a> Demand<'a> {
    pub(crate) fn new(config: &'a JobConfig) -> Self {
        Self {
            need: config.scalars_with_volumes(),
            ports: PortNeed::new(&config.ports),
            constraints: &config.placement.constraints,
        }
    }

    /// What the agent lacks first, the per-value counts of [`crate::limits`] left aside.
    pub(crate) fn lack(&self, candidate: &Candidate) -> Option<Lack> {
        if !self.constraints.iter().all(|c| is_met(c, &candidate.record)) {
            return Some(Lack::Constraint);
        }
        self.shortage(candidate)
    }

    /// The same for what an assignment uses up.
    pub(crate) fn shortage(&self, candidate: &Candidate) -> Option<Lack> {
        candidate
            .free
            .lack(&self.need)
            .or_else(|| (!self.ports.fits(&candidate.ports)).then_some(Lack::Ports))
    }

    /// Takes the needs of one instance, which must fit, and returns its ports.
    pub(crate) fn take(&self, candidate: &mut Candidate) -> Vec<u16> {
        debug_assert!(self.shortage(candidate).is_none());
        candidate.free = candidate.free.minus(&self.need);
        self.ports.take(&mut candidate.ports)
    }
}

pub(crate) fn is_met(constraint: &Constraint, record: &AgentRecord) -> bool {
    let value = attribute(record, &constraint.attribute);
    match &constraint.rule {
        Rule::Equal(wanted) => value == Some(wanted),
        Rule::NotEqual(unwanted) => value != Some(unwanted),
        Rule::In(wanted) => value.is_some_and(|v| wanted.iter().any(|w| w == v)),
        Rule::Unique | Rule::MaxPerValue(_) => value.is_some(),
    }
}
