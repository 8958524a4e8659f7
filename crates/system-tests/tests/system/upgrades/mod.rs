//! Upgrades: every instance comes to its new version where it is, or back to the one before, where it was.

mod agents;
mod artifacts;
mod by_hand;
mod counts;
mod failing;
mod forward;
mod kills;
mod options;
mod rivals;
mod stages;

use std::collections::{BTreeMap, BTreeSet};

use peloton_testbed::Options;
use serde_json::{Value, json};

use crate::support::{Audit, Job, PATIENCE, Task, config, wait_until};

const OLD: &str = "exec sleep 1000";
const NEW: &str = "exec sleep 2000";

/// Options of quick upgrades; `more` is merged over them.
fn options(batch: u32, more: Value) -> Value {
    let mut options = json!({"batchSize": batch, "minHealthySecs": 1});
    for (key, value) in more.as_object().into_iter().flatten() {
        options[key] = value.clone();
    }
    options
}

type Tasks = BTreeMap<u32, Task>;

/// The version that an instance runs.
fn version(task: &Task) -> u64 {
    task.runtime["configVersion"].as_u64().unwrap_or_default()
}

/// All instances run, at this version, and those that were there before in the slots that they had.
#[track_caller]
fn assert_at_home(job: &Job<'_>, before: &Tasks, instances: usize, wanted: u64) -> Tasks {
    let after = job.wait_running(instances);
    for (number, task) in &after {
        assert_eq!(version(task), wanted, "the version of instance {number}");
        if let Some(old) = before.get(number) {
            assert_eq!((&task.host, &task.slot), (&old.host, &old.slot), "instance {number}");
        }
    }
    after
}

/// The instances whose runs are others now.
fn restarted(before: &Tasks, after: &Tasks) -> BTreeSet<u32> {
    let same = |number: &u32| before[number].id == after[number].id;
    before.keys().copied().filter(|number| !same(number)).collect()
}

/// A service with so many CPUs and so much memory for each instance.
fn sized(instances: u32, cpus: f64, mem_mb: u32, command: &str) -> Value {
    let resource = json!({"cpusLimit": cpus, "memLimitMb": mem_mb, "diskLimitMb": 16});
    config(instances, command, json!({"resource": resource}))
}

/// So many agents with these resources and no more.
fn small_agents(count: usize, resources: &str) -> Options {
    let mut options = Options::agents(count);
    for agent in &mut options.agents {
        agent.resources = Some(resources.to_owned());
    }
    options
}

/// Waits until just so much is reserved, in thousandths.
#[track_caller]
fn wait_reserved(audit: &Audit, wanted: &[(&str, i64)]) {
    let named = wanted.iter().map(|(name, amount)| ((*name).to_owned(), *amount));
    let wanted: BTreeMap<String, i64> = named.collect();
    wait_until(&format!("{wanted:?} reserved"), PATIENCE, || {
        let found = audit.reserved()?;
        if found == wanted { Ok(()) } else { Err(format!("{found:?}")) }
    });
}
