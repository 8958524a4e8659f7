//! The master is killed at many points, and nobody's instances notice.
//!
//! Operations on a service and a batch job follow each other, each with a SIGKILL of the master a
//! random time after the request was sent; the master starts again at once, sometimes to be killed
//! while it recovers. What is true is looked for in three places: what the master says, what
//! Mesos's operators' interface says, and what the tasks themselves found: each writes down its
//! start, and holds a lock of its instance for as long as its process lives.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    Audit, CallError, Cluster, Job, PATIENCE, State, Watching, config, fault_lasts, shared_mesos,
    wait_until, yarpc,
};

/// Rounds, each of seven operations: at least so many kills.
const ROUNDS: u32 = 6;
/// A kill comes this long after the request at most: launches and kills take about as long.
const LATEST_KILL_MS: u64 = 400;
/// While it recovers, the master is killed this long after its start at most.
const LATEST_SECOND_KILL_MS: u64 = 800;

/// Numbers that look random, the same for the same seed (xorshift64*).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % limit
    }
}

/// What one instance of the service is asked to be.
type Wished = Vec<State>;

struct Storm {
    cluster: Cluster,
    audit: Audit,
    dice: Dice,
    kills: u32,
}

impl Storm {
    /// Sends a request, kills the master meanwhile or soon after, starts it again, and sees to it
    /// that the request was carried out: by sending it again if its answer was lost.
    fn hit(&mut self, procedure: &str, body: &Value) {
        let address = self.cluster.address();
        let delay = Duration::from_millis(self.dice.below(LATEST_KILL_MS));
        let answer = std::thread::scope(|scope| {
            let request = scope.spawn(|| yarpc(&address, procedure, body));
            fault_lasts(delay);
            self.cluster.kill();
            request.join().unwrap()
        });
        self.kills += 1;
        self.cluster.launch();
        if self.dice.below(3) == 0 {
            fault_lasts(Duration::from_millis(self.dice.below(LATEST_SECOND_KILL_MS)));
            self.cluster.kill();
            self.kills += 1;
            self.cluster.launch();
        }
        self.cluster.wait_answering();
        match answer {
            Ok(answer) => accepted(procedure, &answer),
            Err(CallError::Broken(_)) => {
                let again = self.cluster.yarpc(procedure, body.clone());
                accepted(procedure, &again);
            }
            Err(refused) => panic!("{procedure} was refused: {refused:?}"),
        }
    }

    /// Half of the time the next operation comes upon a cluster that is still busy.
    fn maybe_settle(&mut self, job: &str, wished: &Wished) {
        if self.dice.below(2) == 0 {
            self.settle(job, wished);
        }
    }

    /// Waits until the master and Mesos agree on what was asked for. What was stopped keeps its slot, if it
    /// had one: the request may have come before it was placed. What runs is looked at each time, as the
    /// states may be those of runs that are about to end.
    fn settle(&self, job: &str, wished: &Wished) {
        let job = Job::of(&self.cluster, job);
        wait_until(&format!("{} in Mesos as in the master: {wished:?}", job.id), PATIENCE, || {
            let tasks = job.tasks();
            let states: Vec<State> = tasks.values().map(|task| task.state).collect();
            if states != *wished {
                return Err(format!("{states:?}"));
            }
            let running = || tasks.values().filter(|task| task.state == State::Running);
            if let Some(task) = running().find(|task| task.slot.is_empty()) {
                return Err(format!("{} runs in no slot", task.id));
            }
            self.audit.has_slots(tasks.values().filter(|task| !task.slot.is_empty()).count())?;
            self.audit.has_running(&running().map(|task| task.id.clone()).collect())
        });
    }

    fn nothing_left(&self) {
        wait_until("nothing left", PATIENCE, || {
            self.audit.has_running(&BTreeSet::new())?;
            self.audit.has_slots(0)
        });
    }
}

/// A repeated request may find that the lost one was carried out.
fn accepted(procedure: &str, answer: &Value) {
    let fine = match procedure {
        "JobManager.Create" => answer["result"].is_object() || answer["alreadyExists"].is_object(),
        "JobManager.Update" => answer["result"].is_object(),
        "JobManager.Delete" => *answer == json!({}) || answer["notFound"].is_object(),
        _ => *answer == json!({}),
    };
    assert!(fine, "{procedure}: {answer}");
}

/// A task that notes its start, and another one of its instance beside it, then goes on with `rest`.
fn noting(directory: &Path, rest: &str) -> String {
    let directory = directory.display();
    format!(
        "exec 9>{directory}/$PELOTON_JOB_ID-$PELOTON_INSTANCE_ID.lock; \
         flock -n 9 || echo $PELOTON_TASK_ID >>{directory}/doubles; \
         echo $PELOTON_TASK_ID >>{directory}/starts; {rest}"
    )
}

/// The task ids in one of the tasks' files.
fn noted(directory: &Path, file: &str) -> Vec<String> {
    let text = fs::read_to_string(directory.join(file)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn ranges(job: &str, from: u32, to: u32) -> Value {
    json!({"jobId": {"value": job}, "ranges": [{"from": from, "to": to}]})
}

/// A service through all that can be asked of it, and a batch job beside it.
fn round(storm: &mut Storm, number: u32, notes: &Path) {
    let [web, work] = [format!("web-{}", number % 2), format!("work-{number}")];
    let service = |instances| config(instances, &noting(notes, "exec sleep 1000"), json!({}));
    let named = |job: &str| json!({"id": {"value": job}});
    let with = |job: &str, config: Value| json!({"id": {"value": job}, "config": config});
    let batch = config(3, &noting(notes, "sleep 0.5"), json!({"type": "BATCH"}));

    storm.hit("JobManager.Create", &with(&web, service(5)));
    storm.maybe_settle(&web, &vec![State::Running; 5]);
    storm.hit("JobManager.Create", &with(&work, batch));
    storm.hit("JobManager.Update", &with(&web, service(8)));
    storm.maybe_settle(&web, &vec![State::Running; 8]);
    storm.hit("TaskManager.Stop", &ranges(&web, 1, 3));
    let mut stopped = vec![State::Running; 8];
    stopped[1..=3].fill(State::Killed);
    storm.maybe_settle(&web, &stopped);
    storm.hit("TaskManager.Start", &ranges(&web, 2, 3));
    let mut wished = vec![State::Running; 8];
    wished[1] = State::Killed;
    storm.maybe_settle(&web, &wished);
    storm.hit("JobManager.Restart", &named(&web));
    storm.maybe_settle(&web, &vec![State::Running; 8]);
    storm.hit("JobManager.Update", &with(&web, service(3)));
    storm.settle(&web, &vec![State::Running; 3]);
    finish_batch(storm, &work, notes);
    storm.hit("JobManager.Delete", &named(&web));
    storm.hit("JobManager.Delete", &named(&work));
    // Half of the time the next round's jobs come while this one's are on their way out.
    if storm.dice.below(2) == 0 {
        storm.nothing_left();
    }
}

/// Every instance of the batch job ran to its end, once.
fn finish_batch(storm: &Storm, job: &str, notes: &Path) {
    let tasks = Job::of(&storm.cluster, job).wait_states(&[State::Succeeded; 3]);
    let mut started = noted(notes, "starts");
    started.retain(|id| id.starts_with(&format!("{job}-")));
    started.sort();
    let ids: Vec<String> = tasks.into_values().map(|task| task.id).collect();
    assert_eq!(started, ids, "starts of the batch job's tasks, and the tasks");
}

#[test]
fn the_master_is_killed_at_many_points_and_no_instance_is_lost_or_doubled() {
    let Some(mesos) = shared_mesos() else { return };
    let seed = std::env::var("PELOTON_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or(20_160_901);
    println!("PELOTON_SEED={seed}");
    let notes = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(mesos, "kills", &[]);
    let audit = Audit::new(mesos, cluster.role());
    let watched = audit.clone();
    let stop = AtomicBool::new(false);
    let mut storm = Storm { cluster, audit, dice: Dice(seed), kills: 0 };
    std::thread::scope(|scope| {
        let watching = Watching::start(scope, &watched, &stop);
        for number in 0..ROUNDS {
            round(&mut storm, number, notes.path());
        }
        storm.nothing_left();
        watching.finish();
    });
    assert!(storm.kills >= 40, "killed only {} times", storm.kills);
    assert_eq!(noted(notes.path(), "doubles"), Vec::<String>::new(), "instances that ran twice");
    let mut starts: BTreeMap<String, u32> = BTreeMap::new();
    for id in noted(notes.path(), "starts") {
        *starts.entry(id).or_default() += 1;
    }
    let twice: BTreeSet<_> = starts.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "tasks that were started twice: {twice:?}");
    // Each round starts eight instances, and the three of the batch job.
    assert!(starts.len() >= ROUNDS as usize * 11, "only {} tasks noted their starts", starts.len());
    println!("{} kills, {} tasks", storm.kills, starts.len());
    assert!(storm.cluster.terminate().success());
}
