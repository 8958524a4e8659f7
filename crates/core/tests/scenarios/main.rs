//! Single sequences of events, each once the way to a fault or an argument with Mesos: what the shard
//! must make of them. The random simulation finds such sequences; here they are told one by one.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests: a failure is to be loud")]

mod upgrades;

use peloton_core::{
    Effect, Input, MesosEvent, Offer, Operation, OperationState, OperationUpdate, Output, Reserved,
    Settings, Shard, SlotRef, Snapshot, StatusUpdate, TaskStatus, encode,
};
use peloton_model::{
    AgentId, AgentRecord, ConfigRecord, FrameworkId, InstanceRecord, JobConfig, JobId, JobRecord,
    JobState, JobSummary, Milli, OfferId, PortSet, Resources, ShardId, SlotId, SlotRecord,
    SlotState, TaskState, decode_record, encode_record,
};
use peloton_store::{Key, KeyValue, Op, Revision, keys};
use std::collections::BTreeMap;
use std::sync::Arc;

const SHARD: ShardId = ShardId(0);

/// One shard with a store that takes everything at once, and a Mesos that says what the test says.
struct Scene {
    shard: Shard,
    now: u64,
    store: BTreeMap<Key, (Vec<u8>, i64)>,
    revision: i64,
    effects: Vec<Effect>,
    wake_at: Option<u64>,
}

impl Scene {
    fn new() -> Self {
        Self {
            shard: Shard::new(Settings::new(SHARD, "p")),
            now: 1_000_000_000,
            store: BTreeMap::new(),
            revision: 1,
            effects: Vec::new(),
            wake_at: None,
        }
    }

    /// So many instances of the job `j`, each running on an agent of its own.
    fn running(count: u32) -> Self {
        let mut scene = Self::new();
        scene.subscribe();
        scene.job(1, count);
        let offers = (0..count).map(|a| scene.offer(&format!("a{a:02}"), 150, vec![])).collect();
        scene.step(Input::Mesos(MesosEvent::Offers(offers)));
        for i in 0..count {
            let record = scene.instance(i);
            let agent = record.agent.unwrap();
            scene.status(&format!("j-{i}-{}", record.run), TaskStatus::Running, agent.as_str());
        }
        scene.effects.clear();
        scene
    }

    fn apply(&mut self, op: Op) {
        self.revision += 1;
        match op {
            Op::Put { key, value, .. } => {
                let created = self.store.get(&key).map_or(self.revision, |(_, at)| *at);
                self.store.insert(key, (value.to_vec(), created));
            }
            Op::Delete { key } => {
                self.store.remove(&key);
            }
            Op::DeleteRange { range } => self.store.retain(|key, _| !range.contains(key)),
        }
    }

    fn put(&mut self, key: Key, value: Vec<u8>) {
        self.apply(Op::Put { key, value: value.into(), lease: None });
    }

    fn take(&mut self, output: Output) {
        for write in &output.writes {
            self.apply(encode(SHARD, write).unwrap());
        }
        self.effects.extend(output.effects);
        self.wake_at = output.wake_at;
        assert_eq!(self.shard.violations(), Vec::<String>::new());
    }

    fn step(&mut self, input: Input) {
        let output = self.shard.step(self.now, input);
        self.take(output);
    }

    fn subscribe(&mut self) {
        let framework = FrameworkId::new("f");
        self.step(Input::Mesos(MesosEvent::Subscribed { framework }));
    }

    fn disconnect(&mut self) {
        self.step(Input::Mesos(MesosEvent::Disconnected));
    }

    fn job(&mut self, version: u64, count: u32) {
        let mut config = JobConfig { instance_count: count, ..Default::default() };
        config.resource.cpus_limit = 0.1;
        config.resource.mem_limit_mb = 1.0;
        let id = JobId::new("j").unwrap();
        let record = ConfigRecord { version, config: Arc::new(config), ..Default::default() };
        self.put(keys::desired_config(0, "j", version), encode_record(&record).unwrap());
        self.step(Input::Config { job: id.clone(), version, config: record.config });
        let record =
            JobRecord { version, generation: version, instance_count: count, ..Default::default() };
        let key = keys::desired_job(0, "j");
        self.put(key.clone(), encode_record(&record).unwrap());
        let incarnation = self.store[&key].1;
        self.step(Input::Job { id, incarnation, modified: self.revision, record });
    }

    fn stop_all(&mut self, count: u32) {
        let mut record = JobRecord { version: 1, instance_count: count, ..Default::default() };
        record.goals.change(0, u32::MAX, |goal| goal.stopped = true);
        let (id, key) = (JobId::new("j").unwrap(), keys::desired_job(0, "j"));
        self.put(key.clone(), encode_record(&record).unwrap());
        let incarnation = self.store[&key].1;
        self.step(Input::Job { id, incarnation, modified: self.revision, record });
    }

    fn offer(&self, agent: &str, cpus: u64, reserved: Vec<Reserved>) -> Offer {
        Offer {
            id: OfferId::new(&format!("o-{agent}-{}", self.now)),
            agent: AgentId::new(agent),
            record: Arc::new(AgentRecord { host: agent.into(), ..Default::default() }),
            free: Resources { cpus: Milli(cpus), mem_mb: Milli(100_000_000), ..Default::default() },
            ports: PortSet::default(),
            reserved,
        }
    }

    fn offers(&mut self, agent: &str, cpus: u64, reserved: Vec<Reserved>) {
        let offer = self.offer(agent, cpus, reserved);
        self.step(Input::Mesos(MesosEvent::Offers(vec![offer])));
    }

    fn status(&mut self, task: &str, status: TaskStatus, agent: &str) {
        self.status_because(task, status, agent, None);
    }

    fn status_because(&mut self, task: &str, status: TaskStatus, agent: &str, why: Option<&str>) {
        self.step(Input::Mesos(MesosEvent::Status(StatusUpdate {
            task: task.into(),
            status,
            agent: Some(AgentId::new(agent)),
            uuid: None,
            healthy: None,
            message: None,
            reason: why.map(str::to_owned),
            exit_status: None,
        })));
    }

    fn operation(&mut self, id: &str, state: OperationState, agent: &str) {
        self.step(Input::Mesos(MesosEvent::Operation(OperationUpdate {
            id: id.into(),
            state,
            agent: Some(AgentId::new(agent)),
            uuid: None,
            message: None,
        })));
    }

    /// Time passes, and every wake-up that is asked for comes.
    fn pass(&mut self, ms: u64) {
        let until = self.now + ms;
        while let Some(at) = self.wake_at.filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.step(Input::Wake);
        }
        self.now = until;
        self.step(Input::Wake);
    }

    /// Another process takes the shard over.
    fn recover(&mut self) {
        let mut snapshot = Snapshot::default();
        for (key, (value, created)) in &self.store {
            let kv = KeyValue {
                key: key.clone(),
                value: value.clone().into(),
                create_revision: Revision(*created),
                mod_revision: Revision(*created),
                version: 1,
                lease: None,
            };
            snapshot.add(SHARD, &kv).unwrap();
        }
        let (shard, output) = Shard::recover(Settings::new(SHARD, "p"), self.now, snapshot);
        self.shard = shard;
        self.effects.clear();
        self.take(output);
    }

    fn instance(&self, i: u32) -> InstanceRecord {
        decode_record(&self.store[&keys::actual_instance(0, "j", i)].0).unwrap()
    }

    fn states(&self, count: u32) -> Vec<TaskState> {
        (0..count).map(|i| self.instance(i).state).collect()
    }

    /// `instance/slot` and state of every slot.
    fn slots(&self) -> Vec<(String, SlotState)> {
        let slot = |(key, (value, _)): (&Key, &(Vec<u8>, i64))| match keys::parse(key) {
            Some(keys::ParsedKey::ActualSlot { instance, slot, .. }) => {
                let record: SlotRecord = decode_record(value).unwrap();
                Some((format!("{instance}/{slot}"), record.state))
            }
            _ => None,
        };
        self.store.iter().filter_map(slot).collect()
    }

    /// Mesos has failed over, waits for all agents, and says nothing else, for so many minutes.
    fn expects(&mut self, minutes: u64) {
        for _ in 0..minutes {
            self.effects.clear();
            self.pass(60_000);
            // Of two questions with one id, one goes.
            let questions: BTreeMap<_, _> = self.questions_and_agents().into_iter().collect();
            for (question, agent) in questions {
                self.operation(&question, OperationState::Recovering, agent.as_str());
            }
        }
    }

    fn questions(&self) -> Vec<String> {
        self.questions_and_agents().into_iter().map(|(id, _)| id).collect()
    }

    fn questions_and_agents(&self) -> Vec<(String, AgentId)> {
        let of = |effect: &Effect| match effect {
            Effect::ReconcileOperations(all) => all.clone(),
            _ => Vec::new(),
        };
        self.effects.iter().flat_map(of).collect()
    }
}

fn reserved(slot: u64) -> Reserved {
    Reserved {
        slot: SlotRef { job: JobId::new("j").unwrap(), instance: 0, slot: SlotId(slot) },
        role: "p/0".into(),
        principal: None,
        resources: Resources { cpus: Milli(100), mem_mb: Milli(1000), ..Default::default() },
        ports: PortSet::default(),
        volumes: Vec::new(),
    }
}

#[test]
fn a_mass_outage_is_still_one_after_a_take_over() {
    let mut scene = Scene::running(10);
    for i in 0..5 {
        let agent = scene.instance(i).agent.unwrap();
        scene.status(&format!("j-{i}-1"), TaskStatus::Unreachable, agent.as_str());
    }
    scene.pass(400_000);
    scene.recover();
    scene.pass(10);
    scene.subscribe();
    for i in 0..5 {
        let agent = scene.instance(i).agent.unwrap();
        scene.status(&format!("j-{i}-1"), TaskStatus::Unreachable, agent.as_str());
    }
    scene.pass(60_000);
    assert_eq!(scene.states(5), [TaskState::Running; 5]);
    // The operator is told, until the agents are back.
    assert!(scene.shard.totals().mass_outage);
    assert!(scene.instance(0).message.unwrap().contains("its replacement waits"));
    for i in 0..5 {
        let agent = scene.instance(i).agent.unwrap();
        scene.status(&format!("j-{i}-1"), TaskStatus::Running, agent.as_str());
    }
    scene.pass(200_000);
    assert!(!scene.shard.totals().mass_outage);
}

#[test]
fn what_a_mass_outage_holds_back_is_asked_for_again() {
    let mut scene = Scene::running(10);
    for i in 0..10 {
        scene.status(&format!("j-{i}-1"), TaskStatus::Unreachable, &format!("a{i:02}"));
    }
    scene.pass(300_000);
    for i in 0..10 {
        scene.status(&format!("j-{i}-1"), TaskStatus::Unreachable, &format!("a{i:02}"));
    }
    assert_eq!(scene.states(10), [TaskState::Running; 10]);
    scene.effects.clear();
    scene.pass(70_000);
    let asked = |effect: &Effect| match effect {
        Effect::Reconcile(tasks) => tasks.iter().any(|(task, _)| task.to_string() == "j-3-1"),
        _ => false,
    };
    assert!(scene.effects.iter().any(asked), "an operator may have marked the agents gone");
    scene.effects.clear();
    scene.status("j-3-1", TaskStatus::Unreachable, "a03");
    assert!(!scene.effects.iter().any(asked), "the answer is not a reason to ask again");
}

#[test]
fn nothing_is_given_up_on_old_knowledge() {
    let mut scene = Scene::running(1);
    scene.status("j-0-1", TaskStatus::Unreachable, "a00");
    scene.pass(1_000);
    scene.disconnect();
    scene.pass(301_000);
    assert_eq!(scene.states(1), [TaskState::Running]);
    scene.subscribe();
    scene.effects.clear();
    scene.status("j-0-1", TaskStatus::Running, "a00");
    assert!(!scene.effects.iter().any(|e| matches!(e, Effect::Kill { .. })), "{:?}", scene.effects);
}

#[test]
fn an_agent_that_stays_away_is_replaced_once_mesos_says_so_again() {
    let mut scene = Scene::running(1);
    scene.status("j-0-1", TaskStatus::Unreachable, "a00");
    scene.pass(301_000);
    assert_eq!(scene.states(1), [TaskState::Running]);
    let asked =
        scene.effects.iter().any(|e| matches!(e, Effect::Reconcile(all) if !all.is_empty()));
    assert!(asked, "{:?}", scene.effects);
    scene.status("j-0-1", TaskStatus::Unreachable, "a00");
    assert_eq!(scene.states(1), [TaskState::Scheduling]);
    assert_eq!(scene.slots(), [("0/1".to_owned(), SlotState::Releasing)]);
}

#[test]
fn a_slot_is_not_forgotten_while_an_old_task_runs_in_it() {
    let mut scene = Scene::running(1);
    scene.status("j-0-1", TaskStatus::Unreachable, "a00");
    scene.pass(301_000);
    scene.status("j-0-1", TaskStatus::Unreachable, "a00");
    scene.offers("b", 150, vec![]);
    scene.status("j-0-2", TaskStatus::Running, "b");
    scene.pass(40_000);
    scene.status("j-0-1", TaskStatus::Running, "a00");
    scene.effects.clear();
    scene.pass(400_000);
    let question = scene.questions().pop().unwrap();
    scene.effects.clear();
    scene.operation(&question, OperationState::Unknown, "a00");
    assert!(scene.slots().contains(&("0/1".to_owned(), SlotState::Releasing)));
    assert!(!scene.effects.iter().any(|e| matches!(e, Effect::Suppress)));
    // Its agent is offered without it: now it is gone.
    scene.offers("a00", 10, vec![]);
    scene.operation(&question, OperationState::Unknown, "a00");
    assert_eq!(scene.slots(), [("0/2".to_owned(), SlotState::Held)]);
}

#[test]
fn the_time_without_a_connection_does_not_count_against_a_slot() {
    let mut scene = Scene::running(1);
    scene.status("j-0-1", TaskStatus::Failed, "a00");
    scene.pass(2_000);
    scene.disconnect();
    scene.pass(600_000);
    scene.subscribe();
    scene.pass(3_000);
    assert_eq!(scene.slots(), [("0/1".to_owned(), SlotState::Held)]);
    scene.offers("a00", 0, vec![reserved(1)]);
    assert_eq!((scene.instance(0).state, scene.instance(0).run), (TaskState::Assigned, 2));
}

#[test]
fn reconnecting_does_not_multiply_questions() {
    let mut scene = Scene::running(1);
    scene.job(2, 0);
    scene.status("j-0-1", TaskStatus::Killed, "a00");
    for _ in 0..6 {
        scene.pass(777);
        scene.disconnect();
        scene.subscribe();
        scene.effects.clear();
        scene.pass(60_000);
        assert!(scene.questions().len() <= 7, "{:?}", scene.questions());
    }
}

#[test]
fn an_agent_that_was_removed_is_not_waited_for() {
    let mut scene = Scene::running(1);
    scene.status_because("j-0-1", TaskStatus::Lost, "a00", Some("AGENT_REMOVED"));
    scene.offers("b", 1_000, vec![]);
    let record = scene.instance(0);
    assert_eq!((record.state, record.agent.unwrap().as_str()), (TaskState::Assigned, "b"));
}

#[test]
fn an_agent_gone_for_good_takes_all_its_slots_along() {
    let mut scene = Scene::running(2);
    scene.status("j-1-1", TaskStatus::Finished, "a01");
    scene.status("j-1-1", TaskStatus::GoneByOperator, "a01");
    scene.status("j-0-1", TaskStatus::GoneByOperator, "a00");
    assert_eq!(scene.slots(), []);
    assert_eq!(scene.instance(0).state, TaskState::Scheduling);
}

#[test]
fn an_agent_that_is_marked_gone_while_nothing_runs_on_it_is_found_by_asking() {
    let mut scene = Scene::running(1);
    scene.stop_all(1);
    scene.status("j-0-1", TaskStatus::Killed, "a00");
    assert_eq!(scene.slots(), [("0/1".to_owned(), SlotState::Held)]);
    scene.effects.clear();
    scene.pass(700_000);
    let asked = |effect: &Effect| match effect {
        Effect::Reconcile(tasks) => tasks.iter().any(|(task, _)| task.to_string() == "j-0-1"),
        _ => false,
    };
    assert!(scene.effects.iter().any(asked), "{:?}", scene.effects);
    scene.status_because("j-0-1", TaskStatus::GoneByOperator, "a00", Some("RECONCILIATION"));
    assert_eq!(scene.slots(), []);
}

#[test]
fn a_deletion_that_no_owner_saw_is_told_after_the_next_has_begun() {
    let mut scene = Scene::new();
    scene.subscribe();
    scene.job(1, 0);
    scene.store.remove(&keys::desired_job(0, "j"));
    scene.store.remove(&keys::desired_config(0, "j", 1));
    scene.recover();
    let summary: JobSummary = decode_record(&scene.store[&keys::actual_job(0, "j")].0).unwrap();
    assert_eq!((summary.state, summary.leftovers), (JobState::Deleted, 0));
    assert!(summary.deleted_at.is_some());
}

#[test]
fn launches_that_are_lost_again_and_again_wait() {
    let mut scene = Scene::new();
    scene.subscribe();
    scene.job(1, 1);
    for run in 1..=2 {
        scene.offers("a", 1_000, vec![]);
        scene.status(&format!("j-0-{run}"), TaskStatus::Dropped, "a");
        scene.operation(&format!("reserve/j/0/{run}"), OperationState::Unknown, "a");
        scene.pass(1);
    }
    let record = scene.instance(0);
    assert_eq!((record.state, record.failures), (TaskState::Throttled, 0));
    assert!(record.retry_at > scene.now, "{record:?}");
}

#[test]
fn two_pieces_of_a_leak_are_released_by_two_operations() {
    let mut scene = Scene::new();
    scene.subscribe();
    let other = Reserved { principal: Some("x".into()), ..reserved(7) };
    scene.offers("a", 0, vec![reserved(7), other]);
    let ids: Vec<_> = scene
        .effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Accept(accept) => Some(&accept.operations),
            _ => None,
        })
        .flatten()
        .filter_map(|operation| match operation {
            Operation::Unreserve { id, .. } => Some(id),
            _ => None,
        })
        .collect();
    assert!(ids.len() == 2 && ids[0] != ids[1], "{ids:?}");
}

/// Of one that was marked gone before it was back Mesos never says anything else, until its next fail-over
/// (MESOS-9739).
#[test]
fn an_agent_that_mesos_waits_for_without_end_is_replaced() {
    let mut scene = Scene::running(2);
    scene.disconnect();
    scene.subscribe();
    scene.expects(9);
    // Until then Mesos waits for any agent.
    assert_eq!(scene.instance(0).unreachable_since, None);
    scene.expects(9);
    assert_eq!(scene.states(2), [TaskState::Scheduling; 2]);
    let released = ["0/1", "1/1"].map(|slot| (slot.to_owned(), SlotState::Releasing));
    assert_eq!(scene.slots(), released);
    scene.expects(70);
    assert_eq!(scene.slots(), []);
}

#[test]
fn an_agent_that_is_back_in_time_is_not_replaced() {
    let mut scene = Scene::running(1);
    scene.disconnect();
    scene.subscribe();
    scene.expects(8);
    scene.disconnect();
    scene.subscribe();
    // Another fail-over, another time to wait.
    scene.expects(8);
    assert_eq!(scene.instance(0).unreachable_since, None);
    scene.expects(6);
    assert!(scene.instance(0).unreachable_since.is_some());
    scene.status("j-0-1", TaskStatus::Running, "a00");
    assert_eq!(scene.instance(0).unreachable_since, None);
    scene.expects(60);
    assert_eq!(scene.states(1), [TaskState::Running]);
}

#[test]
fn a_slot_on_an_agent_that_mesos_waits_for_without_end_is_not_waited_for() {
    let mut scene = Scene::running(1);
    scene.status("j-0-1", TaskStatus::Failed, "a00");
    scene.disconnect();
    scene.subscribe();
    scene.expects(20);
    assert_eq!(scene.instance(0).slot, None);
    scene.expects(70);
    assert_eq!(scene.slots(), []);
    scene.offers("b", 150, vec![]);
    assert_eq!(scene.instance(0).agent.unwrap().as_str(), "b");
}

/// The simulation of whole clusters, seed 171: the agent was lost before it had the reservation, and came back.
#[test]
fn a_task_that_is_only_staging_does_not_prove_its_slot() {
    let mut scene = Scene::new();
    scene.subscribe();
    scene.job(1, 1);
    scene.offers("a00", 1_000, vec![]);
    scene.status("j-0-1", TaskStatus::Staging, "a00");
    assert_eq!(scene.slots()[0].1, SlotState::Requested);
    scene.status("j-0-1", TaskStatus::Starting, "a00");
    assert_eq!(scene.slots()[0].1, SlotState::Held);
}
