//! Constraints that count instances per value of an attribute.
//!
//! Counts only grow while a request is served, so a value that is full stays full: it is enough
//! to look when an agent comes up, and agents that never do cost nothing. The maps are looked up
//! and never iterated, so their order cannot reach the plan.

use crate::{Candidate, Existing, HOSTNAME};
use peloton_model::job::{Constraint, Rule};
use peloton_model::{AgentRecord, Lack};
use std::borrow::Cow;
use std::collections::HashMap;

/// The value of an agent's attribute.
pub(crate) fn attribute<'r>(record: &'r AgentRecord, name: &str) -> Option<&'r str> {
    let explicit = record.attributes.get(name).map(String::as_str);
    explicit.or_else(|| (name == HOSTNAME).then_some(&*record.host))
}

struct Limit<'a> {
    attribute: &'a str,
    max: u32,
    used: HashMap<Cow<'a, str>, u32>,
}

impl Limit<'_> {
    fn admits(&self, record: &AgentRecord) -> bool {
        attribute(record, self.attribute)
            .is_some_and(|value| self.used.get(value).copied().unwrap_or(0) < self.max)
    }
}

/// The UNIQUE and MAX_PER_VALUE constraints of a request and what is counted so far.
pub(crate) struct Limits<'a>(Vec<Limit<'a>>);

impl<'a> Limits<'a> {
    pub(crate) fn new(constraints: &'a [Constraint], existing: &[Existing<'a>]) -> Self {
        let limit = |constraint: &'a Constraint| {
            let max = match constraint.rule {
                Rule::Unique => 1,
                Rule::MaxPerValue(max) => max,
                Rule::Equal(_) | Rule::NotEqual(_) | Rule::In(_) => return None,
            };
            let attribute = &constraint.attribute;
            Some(Limit { attribute, max, used: count_existing(attribute, existing) })
        };
        Self(constraints.iter().filter_map(limit).collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether every limit admits one more instance on the agent.
    pub(crate) fn admit(&self, record: &AgentRecord) -> bool {
        self.0.iter().all(|limit| limit.admits(record))
    }

    /// What the agent lacks in the light of the counts.
    pub(crate) fn lack(&self, candidate: &Candidate) -> Option<Lack> {
        (!self.admit(&candidate.record)).then_some(Lack::Constraint)
    }

    /// Counts instances on an agent.
    pub(crate) fn count(&mut self, record: &AgentRecord, instances: u32) {
        if instances == 0 {
            return;
        }
        for limit in &mut self.0 {
            let Some(value) = attribute(record, limit.attribute) else { continue };
            match limit.used.get_mut(value) {
                Some(used) => *used = used.saturating_add(instances),
                None => {
                    limit.used.insert(Cow::Owned(value.to_owned()), instances);
                }
            }
        }
    }
}

fn count_existing<'a>(name: &str, existing: &[Existing<'a>]) -> HashMap<Cow<'a, str>, u32> {
    let mut used = HashMap::new();
    for (record, count) in existing.iter().filter_map(|e| Some((e.record?, e.count))) {
        let Some(value) = attribute(record, name) else { continue };
        let sum: &mut u32 = used.entry(Cow::Borrowed(value)).or_default();
        *sum = sum.saturating_add(count);
    }
    used
}
