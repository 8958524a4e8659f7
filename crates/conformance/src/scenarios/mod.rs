//! The table of scenarios.

mod agents;
mod connections;
mod failover;
mod feedback;
mod launches;
mod offers;
mod operations;
mod operators;
mod subscription;
mod tasks;

use crate::suite::{Group, Scenario};
use crate::target::ClusterSpec;

/// Agents that nobody breaks need not be looked after often.
const STEADY: ClusterSpec = ClusterSpec { agents: 2, ping_interval_ms: 15_000, max_pings: 5 };

/// Agents whose loss is seen soon. Mesos allows no less than a second between two looks.
const WATCHED: ClusterSpec = ClusterSpec { agents: 2, ping_interval_ms: 1_000, max_pings: 4 };

/// All groups.
pub const GROUPS: &[Group] = &[
    Group { name: "subscription", cluster: STEADY, scenarios: subscription::SCENARIOS },
    Group { name: "offers", cluster: STEADY, scenarios: offers::SCENARIOS },
    Group { name: "operations", cluster: STEADY, scenarios: operations::SCENARIOS },
    Group { name: "launches", cluster: STEADY, scenarios: launches::SCENARIOS },
    Group { name: "tasks", cluster: STEADY, scenarios: tasks::SCENARIOS },
    Group { name: "agents", cluster: WATCHED, scenarios: agents::SCENARIOS },
    Group { name: "masters", cluster: WATCHED, scenarios: agents::MASTER },
    Group { name: "drains", cluster: WATCHED, scenarios: agents::DRAIN },
    Group { name: "slow", cluster: STEADY, scenarios: tasks::SLOW },
    Group { name: "connections", cluster: STEADY, scenarios: connections::SCENARIOS },
    Group { name: "failover", cluster: STEADY, scenarios: failover::SCENARIOS },
    Group { name: "operators", cluster: STEADY, scenarios: operators::SCENARIOS },
    Group { name: "feedback", cluster: WATCHED, scenarios: feedback::SCENARIOS },
];

const fn scenario(
    name: &'static str,
    run: fn(&mut crate::lab::Lab<'_>) -> crate::error::Result<()>,
) -> Scenario {
    Scenario { name, run }
}

/// Roles above and below each other, and one beside them.
struct Pair {
    parent: String,
    child: String,
    grandchild: String,
    other: String,
}

impl Pair {
    fn new(lab: &mut crate::lab::Lab<'_>) -> Self {
        Self {
            parent: lab.role("a"),
            child: lab.role("a/b"),
            grandchild: lab.role("a/b/c"),
            other: lab.role("b"),
        }
    }
}
