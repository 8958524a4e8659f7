//! Tasks: status updates, scripts, health, kills, and what drivers report.

use crate::support::{CAPABLE, Cluster, LASTING, call_of, launch, small, states, task};
use peloton_mesos_sim::{Output, Script, TaskReport, Tasks};
use peloton_proto::mesos::v1;
use v1::TaskState;
use v1::scheduler::{Call, call};
use v1::task_status::{Reason, Source};

fn command(info: &mut v1::TaskInfo, value: &str) {
    info.command.as_mut().unwrap().value = Some(value.to_owned());
}

fn with_variable(info: &mut v1::TaskInfo, name: &str, value: &str) {
    let variable = v1::environment::Variable {
        name: name.to_owned(),
        value: Some(value.to_owned()),
        ..Default::default()
    };
    let environment = info.command.as_mut().unwrap().environment.get_or_insert_default();
    environment.variables.push(variable);
}

#[test]
fn updates_come_one_by_one_and_again_until_acknowledged() {
    let (mut cluster, mut scheduler, _) = Cluster::with_one_agent();
    let offer = cluster.offer(&mut scheduler);
    cluster.accept(&scheduler, &[&offer], vec![launch(vec![task("a", &offer, small())])]);
    let first = cluster.updates(&mut scheduler);
    assert_eq!(states(&first), [TaskState::TaskStarting]);
    assert_eq!(first[0].source(), Source::Executor);
    assert_eq!(first[0].executor_id.as_ref().unwrap().value, "a");
    assert_eq!(first[0].uuid().len(), 16);
    // 10 s, then 20 s.
    for wait_ms in [10_000, 20_000] {
        cluster.pass(wait_ms - 1);
        assert_eq!(cluster.updates(&mut scheduler), []);
        cluster.pass(1);
        assert_eq!(cluster.updates(&mut scheduler), first);
    }
    cluster.acknowledge(&scheduler, &first[0]);
    let second = cluster.updates(&mut scheduler);
    assert_eq!(states(&second), [TaskState::TaskRunning]);
    // An old acknowledgement counts for nothing.
    cluster.acknowledge(&scheduler, &first[0]);
    cluster.pass(10_000);
    assert_eq!(cluster.updates(&mut scheduler), second);
    cluster.acknowledge(&scheduler, &second[0]);
    cluster.pass(600_000);
    assert_eq!(cluster.updates(&mut scheduler), []);
}

#[test]
fn commands_end_as_they_say() {
    let (mut cluster, mut scheduler, _) = Cluster::with_one_agent();
    let offer = cluster.offer(&mut scheduler);
    let mut tasks = Vec::new();
    for (id, value) in [("ok", "true"), ("bad", "false"), ("later", "sleep 2; exit 3")] {
        let mut info = task(id, &offer, small());
        command(&mut info, value);
        tasks.push(info);
    }
    cluster.accept(&scheduler, &[&offer], vec![launch(tasks)]);
    let updates = cluster.acknowledge_all(&mut scheduler);
    let message = |id: &str, updates: &[v1::TaskStatus]| {
        let last = updates.iter().rfind(|update| update.task_id.value == id).unwrap();
        (last.state(), last.message().to_owned())
    };
    let exited = |state, code| (state, format!("Command exited with status {code}"));
    assert_eq!(message("ok", &updates), exited(TaskState::TaskFinished, 0));
    assert_eq!(message("bad", &updates), exited(TaskState::TaskFailed, 1));
    cluster.pass(2_000);
    let updates = cluster.acknowledge_all(&mut scheduler);
    assert_eq!(message("later", &updates), exited(TaskState::TaskFailed, 3));
    assert_eq!(cluster.mesos.tasks().count(), 0);
}

#[test]
fn a_kill_is_soft_then_hard() {
    for (kill_ms, grace_ms, word) in [(100, 3_000, "Terminated"), (9_000, 500, "Killed")] {
        let script = Script { kill_delay_ms: (kill_ms, kill_ms), ..LASTING };
        let (mut cluster, mut scheduler, _) = Cluster::with_agent(Tasks::Script(script), &CAPABLE);
        let offer = cluster.offer(&mut scheduler);
        let mut info = task("a", &offer, small());
        let nanoseconds = i64::try_from(grace_ms).unwrap() * 1_000_000;
        let grace_period = Some(v1::DurationInfo { nanoseconds });
        info.kill_policy = Some(v1::KillPolicy { grace_period });
        cluster.accept(&scheduler, &[&offer], vec![launch(vec![info])]);
        cluster.acknowledge_all(&mut scheduler);
        cluster.kill(&scheduler, "a", Some(&offer.agent_id.value));
        assert_eq!(states(&cluster.acknowledge_all(&mut scheduler)), [TaskState::TaskKilling]);
        cluster.pass(kill_ms.min(grace_ms) - 1);
        assert_eq!(cluster.updates(&mut scheduler), []);
        cluster.pass(1);
        let killed = cluster.updates(&mut scheduler).remove(0);
        assert_eq!(killed.state(), TaskState::TaskKilled);
        assert_eq!(killed.message(), format!("Command terminated with signal {word}"));
    }
}

#[test]
fn a_task_can_be_killed_before_it_starts() {
    let script = Script { start_delay_ms: (5_000, 5_000), ..LASTING };
    let (mut cluster, mut scheduler, _) = Cluster::with_agent(Tasks::Script(script), &CAPABLE);
    let offer = cluster.offer(&mut scheduler);
    cluster.accept(&scheduler, &[&offer], vec![launch(vec![task("a", &offer, small())])]);
    cluster.kill(&scheduler, "a", None);
    let update = cluster.updates(&mut scheduler).remove(0);
    assert_eq!(update.state(), TaskState::TaskKilled);
    assert_eq!(update.reason(), Reason::TaskKilledDuringLaunch);
    assert_eq!(update.source(), Source::Agent);
}

#[test]
fn kills_of_the_unknown_are_answered_and_of_the_wrong_agent_are_not() {
    let (mut cluster, mut scheduler, _) = Cluster::with_one_agent();
    cluster.run(&mut scheduler, &["a"]);
    cluster.kill(&scheduler, "a", Some("another"));
    cluster.pass(5_000);
    assert_eq!(cluster.updates(&mut scheduler), []);
    cluster.kill(&scheduler, "b", None);
    let update = cluster.updates(&mut scheduler).remove(0);
    assert_eq!(update.state(), TaskState::TaskUnknown);
    assert_eq!(update.message(), "Reconciliation: Task is unknown");
}

#[test]
fn health_is_reported_and_acted_upon() {
    let (mut cluster, mut scheduler, _) = Cluster::with_one_agent();
    let offer = cluster.offer(&mut scheduler);
    let mut check = v1::HealthCheck {
        delay_seconds: Some(1.0),
        interval_seconds: Some(2.0),
        grace_period_seconds: Some(0.0),
        consecutive_failures: Some(2),
        command: Some(v1::CommandInfo::default()),
        ..Default::default()
    };
    check.set_type(v1::health_check::Type::Command);
    let mut good = task("good", &offer, small());
    let mut bad = task("bad", &offer, small());
    good.health_check = Some(check.clone());
    bad.health_check = Some(check);
    with_variable(&mut bad, "SIM_HEALTHY", "false");
    cluster.accept(&scheduler, &[&offer], vec![launch(vec![good, bad])]);
    cluster.acknowledge_all(&mut scheduler);
    cluster.pass(1_000);
    let updates = cluster.acknowledge_all(&mut scheduler);
    assert_eq!(updates.iter().map(v1::TaskStatus::healthy).collect::<Vec<_>>(), [true, false]);
    assert!(updates.iter().all(|one| one.reason() == Reason::TaskHealthCheckStatusUpdated));
    cluster.pass(2_500);
    let updates = cluster.acknowledge_all(&mut scheduler);
    use TaskState::{TaskKilled, TaskKilling, TaskRunning};
    assert_eq!(states(&updates), [TaskRunning, TaskKilling, TaskKilled]);
    assert_eq!((updates[0].healthy, updates[2].healthy), (Some(false), Some(false)));

    cluster.reconcile(&scheduler, &[("good", None)]);
    let latest = cluster.updates(&mut scheduler).remove(0);
    assert_eq!((latest.state(), latest.healthy()), (TaskRunning, true));
    assert_eq!(latest.reason(), Reason::Reconciliation);
    assert!(latest.container_status.is_some());
}

#[test]
fn drivers_run_tasks() {
    let (mut cluster, mut scheduler, agent) = Cluster::with_agent(Tasks::Driver, &CAPABLE);
    let offer = cluster.offer(&mut scheduler);
    let info = task("a", &offer, small());
    cluster.accept(&scheduler, &[&offer], vec![launch(vec![info])]);
    cluster.look(&mut scheduler);
    let Some(Output::Launch { tasks, .. }) = cluster.outputs.pop() else { panic!("no launch") };
    assert_eq!(tasks[0].task_id.value, "a");
    let framework = v1::FrameworkId { value: scheduler.id.clone() };
    let id = tasks[0].task_id.clone();
    let report = |state| TaskReport { state, ..Default::default() };
    cluster.mesos.report(agent, &framework, &id, report(TaskState::TaskStarting));
    cluster.mesos.report(agent, &framework, &id, report(TaskState::TaskRunning));
    cluster.acknowledge_all(&mut scheduler);
    let kill_policy = Some(v1::KillPolicy {
        grace_period: Some(v1::DurationInfo { nanoseconds: 7_000_000_000 }),
    });
    let kill = call::Kill { task_id: id.clone(), agent_id: None, kill_policy };
    let call = call_of(&scheduler, call::Type::Kill);
    cluster.send(&scheduler, Call { kill: Some(kill), ..call }).unwrap();
    cluster.look(&mut scheduler);
    let Some(Output::Kill { grace_ms, .. }) = cluster.outputs.pop() else { panic!("no kill") };
    assert_eq!(grace_ms, 7_000);
    cluster.mesos.report(agent, &framework, &id, report(TaskState::TaskKilled));
    cluster.mesos.report(agent, &framework, &id, report(TaskState::TaskFailed));
    let updates = cluster.acknowledge_all(&mut scheduler);
    assert_eq!(states(&updates), [TaskState::TaskKilling, TaskState::TaskKilled]);
    assert_eq!(cluster.mesos.tasks().count(), 0);
}
