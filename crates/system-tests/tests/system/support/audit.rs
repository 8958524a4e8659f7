//! What Mesos's own operators' interface says of one cluster's frameworks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::Duration;

use peloton_testbed::Operator;
use serde_json::Value;

use super::{AnyMesos, PATIENCE, wait_until};

/// The states of tasks that have ended.
const ENDED: [&str; 8] = [
    "TASK_FINISHED",
    "TASK_FAILED",
    "TASK_KILLED",
    "TASK_ERROR",
    "TASK_LOST",
    "TASK_DROPPED",
    "TASK_GONE",
    "TASK_GONE_BY_OPERATOR",
];

/// By agent, slot and resource: thousandths of it, or ranges.
pub(crate) type Places = BTreeMap<(String, String, String), (i64, BTreeSet<String>)>;

/// Looks at the frameworks whose roles are of one cluster.
#[derive(Debug, Clone)]
pub(crate) struct Audit {
    operator: Operator,
    role: String,
}

impl Audit {
    pub(crate) fn new(mesos: &impl AnyMesos, role: &str) -> Self {
        Self { operator: mesos.operator(), role: role.to_owned() }
    }

    /// The tasks that are on Mesos's mind: id to state. Unreachable ones are among them, and those
    /// that have ended, until the end is acknowledged.
    pub(crate) fn tasks(&self) -> Result<BTreeMap<String, String>, String> {
        let state = self.operator.state().map_err(|error| error.to_string())?;
        let prefix = format!("{}/", self.role);
        let mut found = BTreeMap::new();
        for framework in items(&state["frameworks"]) {
            if !items(&framework["roles"]).any(|role| starts_with(role, &prefix)) {
                continue;
            }
            for task in items(&framework["tasks"]).chain(items(&framework["unreachable_tasks"])) {
                found.insert(text(&task["id"]), text(&task["state"]));
            }
        }
        Ok(found)
    }

    /// What is reserved for the cluster's roles: resource to thousandths.
    pub(crate) fn reserved(&self) -> Result<BTreeMap<String, i64>, String> {
        let prefix = format!("{}/", self.role);
        let all = self.operator.reserved_resources_by_role().map_err(|error| error.to_string())?;
        let mut sum = BTreeMap::new();
        for (_, resources) in all.into_iter().filter(|(role, _)| role.starts_with(&prefix)) {
            for (name, amount) in resources {
                *sum.entry(name).or_default() += thousandths(amount);
            }
        }
        sum.retain(|_, amount| *amount != 0);
        Ok(sum)
    }

    /// The slots that are reserved, by agent.
    fn slots(&self) -> Result<BTreeMap<String, BTreeSet<String>>, String> {
        let answer = self.operator.get("/slaves").map_err(|error| error.to_string())?;
        let prefix = format!("{}/", self.role);
        let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for agent in items(&answer["slaves"]) {
            let roles = agent["reserved_resources_full"].as_object().into_iter().flatten();
            for (_, resources) in roles.filter(|(role, _)| role.starts_with(&prefix)) {
                let labels = items(resources)
                    .flat_map(|resource| items(&resource["reservations"]))
                    .map(|reservation| reservation["labels"].to_string());
                found.entry(text(&agent["hostname"])).or_default().extend(labels);
            }
        }
        Ok(found)
    }

    /// What exactly is reserved: by agent and slot each resource, in Mesos's own words.
    pub(crate) fn places(&self) -> Result<Places, String> {
        let answer = self.operator.get("/slaves").map_err(|error| error.to_string())?;
        let prefix = format!("{}/", self.role);
        let mut found = Places::new();
        for agent in items(&answer["slaves"]) {
            let roles = agent["reserved_resources_full"].as_object().into_iter().flatten();
            for (_, resources) in roles.filter(|(role, _)| role.starts_with(&prefix)) {
                for resource in items(resources) {
                    let labels = items(&resource["reservations"]).map(|one| &one["labels"]);
                    let slot = labels.map(Value::to_string).collect::<String>();
                    let name = text(&resource["name"]);
                    let held = found.entry((text(&agent["hostname"]), slot, name)).or_default();
                    match resource["scalar"]["value"].as_f64() {
                        Some(amount) => held.0 += thousandths(amount),
                        None => {
                            held.1.insert(resource["ranges"].to_string());
                        }
                    }
                }
            }
        }
        Ok(found)
    }

    /// Waits until exactly this is reserved.
    #[track_caller]
    pub(crate) fn wait_places(&self, wanted: &Places) {
        wait_until(&format!("reservations as before for {}", self.role), PATIENCE, || {
            let found = self.places()?;
            if found == *wanted {
                return Ok(());
            }
            let lacks = wanted.iter().filter(|(key, held)| found.get(key) != Some(held));
            let more = found.iter().filter(|(key, held)| wanted.get(key) != Some(held));
            Err(format!("not {:?}, but {:?}", lacks.collect::<Vec<_>>(), more.collect::<Vec<_>>()))
        });
    }

    /// How many subscriptions Mesos took for each shard's framework; empty where it does not count, as the
    /// simulated one.
    pub(crate) fn subscriptions(&self) -> Result<BTreeMap<u16, usize>, String> {
        let state = self.operator.state().map_err(|error| error.to_string())?;
        let Ok(counters) = self.operator.get("/metrics/snapshot") else {
            return Ok(BTreeMap::new());
        };
        let prefix = format!("{}/", self.role);
        let mut found = BTreeMap::new();
        for framework in items(&state["frameworks"]) {
            let shard = items(&framework["roles"])
                .find_map(|role| role.as_str()?.strip_prefix(&prefix)?.parse::<u16>().ok());
            let Some(shard) = shard else { continue };
            let name = format!("/{}/calls/subscribe", text(&framework["id"]));
            let count = counters.as_object().into_iter().flatten();
            let count = count.filter(|(counter, _)| counter.ends_with(&name));
            for (_, count) in count {
                *found.entry(shard).or_default() += count.as_f64().unwrap_or_default() as usize;
            }
        }
        Ok(found)
    }

    /// Waits until exactly so many slots of [`super::jobs::config`]'s resources are reserved.
    #[track_caller]
    pub(crate) fn wait_slots(&self, slots: usize) {
        let what = format!("exactly {slots} slots reserved for {}", self.role);
        wait_until(&what, PATIENCE, || self.has_slots(slots));
    }

    /// Whether exactly so many slots are reserved; else what is.
    pub(crate) fn has_slots(&self, slots: usize) -> Result<(), String> {
        let names = [("cpus", 100), ("mem", 32_000), ("disk", 16_000)];
        let slots = i64::try_from(slots).unwrap();
        let wanted = names.map(|(name, each)| (name.to_owned(), each * slots));
        let wanted: BTreeMap<_, _> = wanted.into_iter().filter(|(_, n)| *n != 0).collect();
        let found = self.reserved()?;
        if found == wanted {
            return Ok(());
        }
        let tasks = self.tasks()?;
        Err(format!("{found:?}, not {wanted:?}; by agent {:?}; tasks {tasks:?}", self.slots()?))
    }

    /// Waits until exactly these tasks are there, all running.
    #[track_caller]
    pub(crate) fn wait_tasks(&self, ids: &BTreeSet<String>) {
        wait_until(&format!("just the tasks {ids:?} in Mesos"), PATIENCE, || {
            let found = self.tasks()?;
            let same = found.keys().eq(ids) && found.values().all(|state| state == "TASK_RUNNING");
            if same { Ok(()) } else { Err(format!("{found:?}")) }
        });
    }

    /// Whether exactly these tasks are there, all running, but for some that were killed and stay on Mesos's
    /// mind. Where a task is killed before its agent launched it, the agent forgets the update as soon as
    /// nothing else of the framework runs there: who was dead until then learns of the end by asking, and
    /// has nothing to acknowledge.
    pub(crate) fn has_running(&self, ids: &BTreeSet<String>) -> Result<(), String> {
        let mut found = self.tasks()?;
        found.retain(|_, state| state != "TASK_KILLED" && state != "TASK_DROPPED");
        let same = found.keys().eq(ids) && found.values().all(|state| state == "TASK_RUNNING");
        if same { Ok(()) } else { Err(format!("{found:?}, not {ids:?}")) }
    }

    /// Waits until neither a task nor a reservation is left.
    #[track_caller]
    pub(crate) fn wait_nothing_left(&self) {
        self.wait_tasks(&BTreeSet::new());
        self.wait_slots(0);
    }

    /// Whether any instance has two tasks that have not ended: their ids and states.
    pub(crate) fn doubles(&self) -> Result<Vec<(String, String)>, String> {
        let mut by_instance: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
        for (id, state) in self.tasks()? {
            if ENDED.contains(&state.as_str()) {
                continue;
            }
            let (instance, _run) = id.rsplit_once('-').unwrap();
            by_instance.entry(instance.to_owned()).or_default().push((id, state));
        }
        Ok(by_instance.into_values().filter(|ids| ids.len() > 1).flatten().collect())
    }
}

/// What was seen: how often nothing was wrong, and each time that something was.
type Seen = (usize, Vec<Vec<(String, String)>>);

/// Looks again and again whether an instance has two tasks, until it is finished.
pub(crate) struct Watching<'scope> {
    thread: Option<ScopedJoinHandle<'scope, Seen>>,
    stop: &'scope AtomicBool,
}

impl<'scope> Watching<'scope> {
    pub(crate) fn start<'env>(
        scope: &'scope Scope<'scope, 'env>,
        audit: &'scope Audit,
        stop: &'scope AtomicBool,
    ) -> Self {
        /// Short beside the life of a task, long beside the time that Mesos takes to answer.
        const EVERY: Duration = Duration::from_millis(100);
        let thread = scope.spawn(move || {
            let (mut looks, mut doubles) = (0, Vec::new());
            while !stop.load(Ordering::Relaxed) {
                match audit.doubles() {
                    Ok(found) if !found.is_empty() => doubles.push(found),
                    Ok(_) => looks += 1,
                    Err(_) => {}
                }
                std::thread::sleep(EVERY);
            }
            (looks, doubles)
        });
        Self { thread: Some(thread), stop }
    }

    /// Asserts that at no look an instance had two tasks.
    #[track_caller]
    pub(crate) fn finish(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let (looks, doubles) = self.thread.take().unwrap().join().unwrap();
        assert!(doubles.is_empty(), "instances with two tasks at once: {doubles:?}");
        assert!(looks > 10, "looked only {looks} times");
    }
}

impl Drop for Watching<'_> {
    /// A test that fails would wait for the thread for ever.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().map(Vec::as_slice).unwrap_or_default().iter()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn starts_with(value: &Value, prefix: &str) -> bool {
    value.as_str().is_some_and(|text| text.starts_with(prefix))
}

/// Mesos's own precision is three decimals; comparing needs whole numbers.
#[expect(clippy::cast_possible_truncation, reason = "amounts of a testbed are small")]
fn thousandths(amount: f64) -> i64 {
    (amount * 1000.0).round() as i64
}
