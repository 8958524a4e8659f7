//! Policies: restart, kill, placement, discovery.

use pb::constraint::Operator;
use pb::discovery_config::Visibility;
use peloton_model::job::{
    Constraint, Discovery, JobKind, KillPolicy, Placement, RestartPolicy, Rule, Strategy,
};
use peloton_proto::peloton::job as pb;

use super::{DEFAULT_BATCH_FAILURES, Errors};

pub(super) fn restart(policy: Option<pb::RestartPolicy>, kind: JobKind) -> RestartPolicy {
    let default = RestartPolicy::default();
    let policy = policy.unwrap_or_default();
    let allowed = (kind == JobKind::Batch).then_some(DEFAULT_BATCH_FAILURES);
    RestartPolicy {
        max_failures: policy.max_failures.or(allowed),
        initial_backoff_ms: policy.initial_backoff_ms.unwrap_or(default.initial_backoff_ms),
        max_backoff_ms: policy.max_backoff_ms.unwrap_or(default.max_backoff_ms),
        reset_after_secs: policy.reset_after_secs.unwrap_or(default.reset_after_secs),
    }
}

pub(super) fn restart_to_proto(policy: &RestartPolicy) -> pb::RestartPolicy {
    pb::RestartPolicy {
        max_failures: policy.max_failures,
        initial_backoff_ms: Some(policy.initial_backoff_ms),
        max_backoff_ms: Some(policy.max_backoff_ms),
        reset_after_secs: Some(policy.reset_after_secs),
    }
}

pub(super) fn kill(policy: Option<pb::KillPolicy>) -> KillPolicy {
    let secs = policy.and_then(|policy| policy.grace_period_secs);
    secs.map_or_else(KillPolicy::default, |grace_period_secs| KillPolicy { grace_period_secs })
}

pub(super) fn kill_to_proto(policy: &KillPolicy) -> pb::KillPolicy {
    pb::KillPolicy { grace_period_secs: Some(policy.grace_period_secs) }
}

pub(super) fn placement(placement: pb::Placement, errors: &mut Errors) -> Placement {
    let names = "0 (SPREAD) or 1 (PACK)";
    let strategy = match errors.enumeration("placement.strategy", placement.strategy, names) {
        pb::placement::Strategy::Spread => Strategy::Spread,
        pb::placement::Strategy::Pack => Strategy::Pack,
    };
    let constraints = placement
        .constraints
        .into_iter()
        .enumerate()
        .map(|(i, c)| constraint(&format!("placement.constraints[{i}]"), c, errors))
        .collect();
    Placement { strategy, constraints }
}

pub(super) fn placement_to_proto(placement: &Placement) -> Option<pb::Placement> {
    let strategy = match placement.strategy {
        Strategy::Spread => pb::placement::Strategy::Spread,
        Strategy::Pack => pb::placement::Strategy::Pack,
    };
    (*placement != Placement::default()).then(|| pb::Placement {
        strategy: strategy.into(),
        constraints: placement.constraints.iter().map(constraint_to_proto).collect(),
    })
}

fn constraint(field: &str, constraint: pb::Constraint, errors: &mut Errors) -> Constraint {
    let names = "0 (EQUAL), 1 (NOT_EQUAL), 2 (IN), 3 (UNIQUE) or 4 (MAX_PER_VALUE)";
    let (count, max) = (constraint.values.len(), constraint.max);
    let operator: Operator =
        errors.enumeration(&format!("{field}.operator"), constraint.operator, names);
    let counts = match operator {
        Operator::Equal | Operator::NotEqual => 1..=1,
        Operator::In => 0..=usize::MAX,
        Operator::Unique | Operator::MaxPerValue => 0..=0,
    };
    if !counts.contains(&count) {
        let allowed = if *counts.end() == 0 { "no values" } else { "exactly one value" };
        let allowed = format!("{allowed} with {}", operator.as_str_name());
        errors.add(format!("{field}.values"), &constraint.values, allowed);
    }
    if operator != Operator::MaxPerValue && max != 0 {
        errors.add(format!("{field}.max"), max, "given with MAX_PER_VALUE only");
    }
    let mut values = constraint.values;
    let mut first = || if values.is_empty() { String::new() } else { values.swap_remove(0) };
    let rule = match operator {
        Operator::Equal => Rule::Equal(first()),
        Operator::NotEqual => Rule::NotEqual(first()),
        Operator::In => Rule::In(values),
        Operator::Unique => Rule::Unique,
        Operator::MaxPerValue => Rule::MaxPerValue(max),
    };
    Constraint { attribute: constraint.attribute, rule }
}

fn constraint_to_proto(constraint: &Constraint) -> pb::Constraint {
    let (operator, values, max) = match &constraint.rule {
        Rule::Equal(value) => (Operator::Equal, vec![value.clone()], 0),
        Rule::NotEqual(value) => (Operator::NotEqual, vec![value.clone()], 0),
        Rule::In(values) => (Operator::In, values.clone(), 0),
        Rule::Unique => (Operator::Unique, Vec::new(), 0),
        Rule::MaxPerValue(max) => (Operator::MaxPerValue, Vec::new(), *max),
    };
    let attribute = constraint.attribute.clone();
    pb::Constraint { attribute, operator: operator.into(), values, max }
}

/// The model writes the default visibility, CLUSTER, as an empty text.
pub(super) fn discovery(discovery: pb::DiscoveryConfig, errors: &mut Errors) -> Discovery {
    let names = "0 (CLUSTER), 1 (FRAMEWORK) or 2 (EXTERNAL)";
    let visibility = match errors.enumeration("discovery.visibility", discovery.visibility, names) {
        Visibility::Cluster => "",
        Visibility::Framework => "FRAMEWORK",
        Visibility::External => "EXTERNAL",
    };
    Discovery {
        visibility: visibility.to_owned(),
        name: discovery.name,
        environment: discovery.environment,
        location: discovery.location,
        version: discovery.version,
    }
}

pub(super) fn discovery_to_proto(discovery: &Discovery) -> pb::DiscoveryConfig {
    let visibility = match discovery.visibility.as_str() {
        "FRAMEWORK" => Visibility::Framework,
        "EXTERNAL" => Visibility::External,
        _ => Visibility::Cluster,
    };
    pb::DiscoveryConfig {
        visibility: visibility.into(),
        name: discovery.name.clone(),
        environment: discovery.environment.clone(),
        location: discovery.location.clone(),
        version: discovery.version.clone(),
    }
}
