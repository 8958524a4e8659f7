//! ACCEPT: operations in order, and what fails with what.

use crate::support::{
    CAPABLE, Cluster, ROLE, UNAWARE, amount, create, destroy, launch, reserve, reserved, scalar,
    small, states, task, unreserve, volume,
};
use peloton_mesos_sim::{Output, Tasks};
use peloton_proto::mesos::v1;
use v1::TaskState;
use v1::task_status::Reason;

#[test]
fn a_reservation_is_used_by_the_launch_behind_it() {
    let (mut cluster, mut scheduler, _) = Cluster::with_one_agent();
    let offer = cluster.offer(&mut scheduler);
    assert_eq!(amount(&offer.resources, "cpus"), 8.0);
    assert_eq!(offer.allocation_info.as_ref().unwrap().role(), ROLE);
    let mine = reserved(&small(), "one");
    let operations =
        vec![reserve(mine.clone(), None), launch(vec![task("a", &offer, mine.clone())])];
    cluster.accept(&scheduler, &[&offer], operations);
    let updates = cluster.acknowledge_all(&mut scheduler);
    assert_eq!(states(&updates), [TaskState::TaskStarting, TaskState::TaskRunning]);

    // The rest is filtered for five seconds.
    cluster.pass(4_000);
    assert_eq!(cluster.offers(&mut scheduler), []);
    cluster.pass(2_000);
    let rest = cluster.offer(&mut scheduler);
    assert_eq!(amount(&rest.resources, "cpus"), 7.0);
    assert!(rest.resources.iter().all(|resource| resource.reservations.is_empty()));

    // When the task has ended, its reservation is offered to the role.
    cluster.kill(&scheduler, "a", None);
    cluster.pass(1_000);
    let states = states(&cluster.acknowledge_all(&mut scheduler));
    assert_eq!(states, [TaskState::TaskKilling, TaskState::TaskKilled]);
    cluster.pass(1_000);
    let back = cluster.offer(&mut scheduler);
    assert_eq!(amount(&back.resources, "cpus"), 1.0);
    assert_eq!(back.resources[0].reservations, mine[0].reservations);

    cluster.accept(&scheduler, &[&rest, &back], vec![unreserve(mine)]);
    cluster.pass(10_000);
    let all = cluster.offer(&mut scheduler);
    assert_eq!(all.resources, offer.resources);
}

#[test]
fn a_failed_reservation_leaves_the_launch_without_resources() {
    let (mut cluster, mut scheduler, _) = Cluster::with_one_agent();
    let offer = cluster.offer(&mut scheduler);
    let much = reserved(&[scalar("cpus", 9.0)], "one");
    let operations = vec![
        reserve(much.clone(), Some("r1")),
        launch(vec![task("a", &offer, much)]),
        launch(vec![task("b", &offer, small())]),
    ];
    cluster.accept(&scheduler, &[&offer], operations);
    let operations = cluster.operation_updates(&mut scheduler);
    assert_eq!(operations.len(), 1);
    assert_eq!(operations[0].state(), v1::OperationState::OperationError);
    assert_eq!((&operations[0].uuid, &operations[0].agent_id), (&None, &None));
    let updates = cluster.acknowledge_all(&mut scheduler);
    let expected = [TaskState::TaskError, TaskState::TaskStarting, TaskState::TaskRunning];
    assert_eq!(states(&updates), expected);
    assert_eq!(updates[0].task_id.value, "a");
    assert_eq!(updates[0].reason(), Reason::TaskInvalid);
    assert!(updates[0].message().contains("more than available"), "{}", updates[0].message());
    assert_eq!(updates[0].uuid, None);
}

#[test]
fn offers_that_are_void_fail_everything() {
    for (capabilities, state) in
        [(&CAPABLE[..], TaskState::TaskDropped), (&UNAWARE, TaskState::TaskLost)]
    {
        let (mut cluster, mut scheduler, _) =
            Cluster::with_agent(Tasks::Script(crate::support::LASTING), capabilities);
        let offer = cluster.offer(&mut scheduler);
        cluster.accept(&scheduler, &[&offer], Vec::new());
        let mine = reserved(&small(), "one");
        let operations =
            vec![reserve(mine.clone(), Some("r1")), launch(vec![task("a", &offer, mine)])];
        cluster.accept(&scheduler, &[&offer], operations);
        let operation = cluster.operation_updates(&mut scheduler).remove(0);
        assert_eq!(operation.state(), v1::OperationState::OperationError);
        let update = cluster.updates(&mut scheduler).remove(0);
        assert_eq!((update.state(), update.reason()), (state, Reason::InvalidOffers));
        let expected = format!(
            "Task launched with invalid offers: Offer {} is no longer valid",
            offer.id.value
        );
        assert_eq!(update.message(), expected);
    }
}

#[test]
fn task_ids_are_unique() {
    let (mut cluster, mut scheduler, _) = Cluster::with_one_agent();
    let offer = cluster.offer(&mut scheduler);
    let twice = vec![task("a", &offer, small()), task("a", &offer, small())];
    cluster.accept(&scheduler, &[&offer], vec![launch(twice)]);
    let updates = cluster.acknowledge_all(&mut scheduler);
    let error = updates.iter().find(|one| one.state() == TaskState::TaskError).unwrap();
    assert_eq!(error.message(), "Task has duplicate ID: a");
    assert_eq!(updates.len(), 3);
}

#[test]
fn volumes_are_created_used_and_destroyed() {
    let (mut cluster, mut scheduler, agent) = Cluster::with_one_agent();
    let offer = cluster.offer(&mut scheduler);
    let mine = reserved(&[scalar("cpus", 1.0), scalar("disk", 100.0)], "one");
    let data = volume(&mine[1], "data-1");
    let used = vec![mine[0].clone(), data.clone()];
    let operations = vec![
        reserve(mine.clone(), None),
        create(vec![data.clone()]),
        launch(vec![task("a", &offer, used)]),
    ];
    cluster.accept(&scheduler, &[&offer], operations);
    cluster.acknowledge_all(&mut scheduler);
    cluster.kill(&scheduler, "a", None);
    cluster.pass(10_000);
    cluster.acknowledge_all(&mut scheduler);
    let offers = cluster.offers(&mut scheduler);
    let offers: Vec<&v1::Offer> = offers.iter().collect();
    let operations = vec![destroy(vec![data]), unreserve(mine)];
    cluster.accept(&scheduler, &offers, operations);
    cluster.look(&mut scheduler);
    let destroyed = Output::DestroyVolume { agent, role: ROLE.into(), id: "data-1".into() };
    assert_eq!(cluster.outputs, [destroyed]);
    cluster.pass(10_000);
    let sorted = |offer: v1::Offer| {
        let mut resources = offer.resources;
        resources.sort_by(|one, other| one.name.cmp(&other.name));
        resources
    };
    assert_eq!(sorted(cluster.offer(&mut scheduler)), sorted(offer));
}

#[test]
fn a_group_is_launched_whole_or_not_at_all() {
    let (mut cluster, mut scheduler, _) = Cluster::with_one_agent();
    let offer = cluster.offer(&mut scheduler);
    let mut executor = v1::ExecutorInfo {
        executor_id: v1::ExecutorId { value: "pod".to_owned() },
        resources: vec![scalar("cpus", 0.1), scalar("mem", 32.0), scalar("disk", 10.0)],
        ..Default::default()
    };
    executor.set_type(v1::executor_info::Type::Default);
    let group = |ids: &[(&str, Vec<v1::Resource>)]| {
        let tasks = ids.iter().map(|(id, resources)| task(id, &offer, resources.clone()));
        let mut operation = v1::offer::Operation::default();
        operation.set_type(v1::offer::operation::Type::LaunchGroup);
        operation.launch_group = Some(Box::new(v1::offer::operation::LaunchGroup {
            executor: executor.clone(),
            task_group: v1::TaskGroupInfo { tasks: tasks.collect() },
        }));
        operation
    };
    let too_much = group(&[("a", small()), ("b", vec![scalar("cpus", 9.0)])]);
    let fits = group(&[("c", small()), ("d", small())]);
    cluster.accept(&scheduler, &[&offer], vec![too_much, fits]);
    let updates = cluster.acknowledge_all(&mut scheduler);
    let errors: Vec<_> = updates.iter().filter(|one| one.state() == TaskState::TaskError).collect();
    assert_eq!(errors.len(), 2);
    assert!(errors.iter().all(|error| error.reason() == Reason::TaskGroupInvalid));
    let running: Vec<_> =
        updates.iter().filter(|one| one.state() == TaskState::TaskRunning).collect();
    assert_eq!(running.len(), 2);
    assert_eq!(running[0].executor_id.as_ref().unwrap().value, "pod");

    // One that is killed takes the other with it, and the executor ends.
    cluster.kill(&scheduler, "c", None);
    cluster.pass(1_000);
    let ended = cluster.acknowledge_all(&mut scheduler);
    let killed = ended.iter().filter(|one| one.state() == TaskState::TaskKilled).count();
    assert_eq!(killed, 2);
    let failure = scheduler.events.iter().find_map(|event| event.failure.as_ref()).unwrap();
    assert_eq!(failure.executor_id.as_ref().unwrap().value, "pod");
    cluster.pass(10_000);
    let left: f64 =
        cluster.offers(&mut scheduler).iter().map(|one| amount(&one.resources, "cpus")).sum();
    assert_eq!(left, 8.0);
}
