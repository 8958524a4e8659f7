//! What once went wrong in upgrades.

use super::{Scene, reserved};
use peloton_core::{Input, Reserved, SlotRef, TaskStatus};
use peloton_model::{
    ConfigRecord, JobConfig, JobId, JobRecord, Stage, TaskState, UpgradeAsk, UpgradeOptions,
    UpgradeRecord, UpgradeState, decode_record, encode_record,
};
use peloton_store::keys;
use std::sync::Arc;

impl Scene {
    /// An upgrade of all instances of the job to version 2, or what is asked of it.
    pub(crate) fn upgrade(&mut self, count: u32, ask: UpgradeAsk) {
        let config = JobConfig { instance_count: count, ..self.config() };
        let id = JobId::new("j").unwrap();
        let record = ConfigRecord { version: 2, config: Arc::new(config), ..Default::default() };
        self.put(keys::desired_config(0, "j", 2), encode_record(&record).unwrap());
        self.step(Input::Config { job: id.clone(), version: 2, config: record.config });
        let ask = UpgradeAsk { mark: 7, from: 1, from_count: count, ..ask };
        let record = JobRecord {
            version: 2,
            generation: 2,
            instance_count: count,
            upgrade: Some(Box::new(ask)),
            ..Default::default()
        };
        let key = keys::desired_job(0, "j");
        self.put(key.clone(), encode_record(&record).unwrap());
        let incarnation = self.store[&key].1;
        self.step(Input::Job { id, incarnation, modified: self.revision, record });
    }

    /// The job of two instances goes from version 1 to 2, which differs in nothing.
    pub(crate) fn upgrade_two(
        &mut self,
        generation: u64,
        first_is_stopped: bool,
        options: UpgradeOptions,
    ) {
        let (id, key) = (JobId::new("j").unwrap(), keys::desired_job(0, "j"));
        let config = self.store[&keys::desired_config(0, "j", 1)].0.clone();
        let config = ConfigRecord { version: 2, ..decode_record(&config).unwrap() };
        self.put(keys::desired_config(0, "j", 2), encode_record(&config).unwrap());
        self.step(Input::Config { job: id.clone(), version: 2, config: config.config });
        let mark = generation as u32;
        let ask = UpgradeAsk { mark, from: 1, from_count: 2, options, ..Default::default() };
        let mut record = JobRecord {
            version: 2,
            generation,
            instance_count: 2,
            upgrade: Some(Box::new(ask)),
            ..Default::default()
        };
        let start = if first_is_stopped { 0 } else { generation };
        record.goals.change(0, 0, |goal| (goal.stopped, goal.start) = (first_is_stopped, start));
        self.put(key.clone(), encode_record(&record).unwrap());
        let incarnation = self.store[&key].1;
        self.step(Input::Job { id, incarnation, modified: self.revision, record });
    }

    pub(crate) fn upgrade_record(&self) -> UpgradeRecord {
        decode_record(&self.store[&keys::actual_upgrade(0, "j", 2)].0).unwrap()
    }

    /// The configuration of the job's first version.
    pub(crate) fn config(&self) -> JobConfig {
        let key = keys::desired_config(0, "j", 1);
        let record: ConfigRecord = decode_record(&self.store[&key].0).unwrap();
        JobConfig::clone(&record.config)
    }
}

/// It is not waited for any longer; that it has not come back is told by more than an event.
#[test]
fn an_instance_on_an_agent_that_stays_away_is_named_by_the_upgrade_that_goes_back() {
    let mut scene = Scene::running(2);
    let options = UpgradeOptions { batch_size: 1, min_healthy_secs: 1, ..Default::default() };
    let ask = UpgradeAsk { options, ..Default::default() };
    scene.upgrade(2, ask.clone());
    scene.status("j-0-1", TaskStatus::Killed, "a00");
    scene.offers("a00", 0, vec![reserved(1)]);
    scene.status("j-0-2", TaskStatus::Running, "a00");
    assert_eq!(scene.instance(0).version, 2);
    scene.status("j-0-2", TaskStatus::Unreachable, "a00");
    scene.upgrade(2, UpgradeAsk { rollback: true, ..ask });
    scene.pass(600_000);
    let record = scene.upgrade_record();
    assert_eq!(record.state, UpgradeState::RolledBack, "{record:?}");
    assert_eq!((record.displaced, record.displaced_count), (vec![0], 1), "{}", record.message);
    assert!(record.message.contains("1 could not return"), "{}", record.message);
}

/// Of two instances without a place the first was stopped when an upgrade came to it, and is started again.
fn upgraded_without_a_run() -> Scene {
    let mut scene = Scene::new();
    scene.subscribe();
    scene.job(1, 2);
    scene.upgrade_two(2, true, UpgradeOptions::default());
    assert_eq!(scene.instance(0).step.unwrap().stage, Stage::Proven);
    scene.upgrade_two(3, false, UpgradeOptions::default());
    scene
}

#[test]
fn where_an_instance_without_a_run_is_in_an_upgrade_is_stored() {
    let mut scene = upgraded_without_a_run();
    let record = scene.instance(0);
    assert_eq!((record.state, record.run), (TaskState::Scheduling, 0));
    assert_eq!(record.step.unwrap().stage, Stage::Proven);
    scene.recover();
    assert_eq!(scene.instance(0).step.unwrap().stage, Stage::Proven);
}

#[test]
fn the_upgrade_of_an_earlier_job_of_the_name_says_nothing_of_this_one() {
    let mut scene = upgraded_without_a_run();
    scene.store.remove(&keys::desired_job(0, "j"));
    scene.job(1, 2);
    scene.upgrade_two(2, false, UpgradeOptions::default());
    scene.offers("a", 1_000, vec![]);
    let record = scene.instance(0);
    assert_eq!(record.step.unwrap().stage, Stage::Switch, "it is not proven yet");
}

#[test]
fn what_an_upgrade_that_fails_has_halted_goes_on_as_before() {
    let mut scene = Scene::running(2);
    let options = UpgradeOptions {
        batch_size: 1,
        stop_before_upgrade: true,
        rollback_on_failure: false,
        ..Default::default()
    };
    scene.upgrade_two(2, false, options);
    for i in 0..2 {
        scene.status(&format!("j-{i}-1"), TaskStatus::Killed, &format!("a{i:02}"));
    }
    assert_eq!(scene.instance(1).step.unwrap().stage, Stage::Halted);
    scene.offers("a00", 0, vec![reserved(1)]);
    scene.status("j-0-2", TaskStatus::Failed, "a00");
    assert_eq!(scene.instance(1).step, None, "it never ran the new version");
    let slot = SlotRef { instance: 1, ..reserved(1).slot };
    scene.offers("a01", 0, vec![Reserved { slot, ..reserved(1) }]);
    let record = scene.instance(1);
    assert_eq!((record.state, record.run, record.version), (TaskState::Assigned, 2, 1));
}
