use crate::algebra::{create, destroy, grow, reserve, shrink, unreserve};
use crate::build::*;
use peloton_mesos_sim::operations::{
    Requester, apply, validate, validate_group_fits, validate_limits, validate_task_fits,
    validate_task_resources,
};
use peloton_mesos_sim::resources::Resources;
use peloton_proto::mesos::v1;
use v1::framework_info::capability::Type as Capability;
use v1::offer::Operation;

fn framework(roles: &[&str], capabilities: &[Capability]) -> v1::FrameworkInfo {
    let capability = |kind: &Capability| {
        let mut capability = v1::framework_info::Capability::default();
        capability.set_type(*kind);
        capability
    };
    v1::FrameworkInfo {
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        principal: Some("me".to_owned()),
        capabilities: capabilities.iter().chain([&Capability::MultiRole]).map(capability).collect(),
        id: Some(v1::FrameworkId { value: "f".to_owned() }),
        ..Default::default()
    }
}

/// What a framework of role `a/b` is told.
fn verdict(operation: &Operation) -> Result<(), String> {
    let info = framework(&["a/b"], &[]);
    validate(operation, Requester::framework(&info), &Resources::new(), &[])
}

fn by_me(role: &str) -> v1::resource::ReservationInfo {
    reservation(role, Some("me"), None)
}

fn refused(operation: &Operation, words: &str) {
    let error = verdict(operation).unwrap_err();
    assert!(error.contains(words), "{error}\n{words}");
}

#[test]
fn reserve_wants_the_own_role_and_principal() {
    let cpus = || scalar("cpus", 1.0);
    assert_eq!(verdict(&reserve(vec![cpus().with(by_me("a/b")).allocated("a/b")])), Ok(()));
    // A refinement of what is reserved to the parent.
    let refined = cpus().static_for("a").with(by_me("a/b")).allocated("a/b");
    assert_eq!(verdict(&reserve(vec![refined])), Ok(()));
    let cases = [
        (cpus().allocated("a/b"), "cpus(allocated: a/b):1 is not dynamically reserved"),
        (cpus().static_for("a/b").allocated("a/b"), "is not dynamically reserved"),
        (
            cpus().with(by_me("a/b")),
            "A reserve operation was attempted on unallocated resource cpus(reservations: \
             [(DYNAMIC,a/b,me)]):1, but frameworks can only perform reservations on allocated \
             resources",
        ),
        (
            cpus().with(by_me("a")).allocated("a/b"),
            "A reserve operation was attempted for a resource with role 'a', but the resource was \
             allocated to role 'a/b'",
        ),
        (
            cpus().with(by_me("c")).allocated("c"),
            "A reserve operation was attempted for a resource allocated to role 'c', but the \
             framework only has roles '{ a/b }'",
        ),
        (
            cpus().reserved("a/b").allocated("a/b"),
            "A reserve operation was attempted by principal 'me', but there is a reserved resource \
             in the request with no principal set",
        ),
        (
            cpus().with(reservation("a/b", Some("you"), None)).allocated("a/b"),
            "A reserve operation was attempted by authenticated principal 'me', which does not match \
             a reserved resource in the request with principal 'you'",
        ),
        (cpus().with(by_me("*")), "Invalid resources: Invalid resources: Resource 'cpus"),
    ];
    for (resource, words) in cases {
        refused(&reserve(vec![resource]), words);
    }
    refused(&reserve(vec![]), "The resources have multiple resource providers: ");
}

#[test]
fn operators_reserve_what_nobody_has() {
    let operator = Requester { framework: None, principal: None };
    let check = |resource| validate(&reserve(vec![resource]), operator, &Resources::new(), &[]);
    assert_eq!(check(scalar("cpus", 1.0).reserved("x")), Ok(()));
    let error = check(scalar("cpus", 1.0).reserved("x").allocated("x")).unwrap_err();
    assert!(error.starts_with("A reserve operation was attempted with an allocated resource"));
}

#[test]
fn unreserve_wants_a_dynamic_reservation_without_a_volume() {
    assert_eq!(verdict(&unreserve(vec![scalar("cpus", 1.0).reserved("x")])), Ok(()));
    refused(&unreserve(vec![scalar("cpus", 1.0)]), "Resource cpus:1 is not dynamically reserved");
    refused(&unreserve(vec![scalar("cpus", 1.0).static_for("x")]), "is not dynamically reserved");
    refused(
        &unreserve(vec![scalar("disk", 1.0).reserved("x").volume("v")]),
        "A dynamically reserved persistent volume disk(reservations: [(DYNAMIC,x)])[v:data]:1 cannot \
         be unreserved directly. Please destroy the persistent volume first then unreserve the \
         resource",
    );
}

/// A volume as framework `f` would make it.
fn my_volume(id: &str) -> v1::Resource {
    let mut volume = scalar("disk", 8.0).with(by_me("a/b")).volume(id).allocated("a/b");
    if let Some(persistence) = volume.disk.as_mut().and_then(|disk| disk.persistence.as_mut()) {
        persistence.principal = Some("me".to_owned());
    }
    volume
}

#[test]
fn create_wants_a_new_id_on_a_reserved_disk() {
    assert_eq!(verdict(&create(vec![my_volume("v")])), Ok(()));
    let info = framework(&["a/b"], &[]);
    let there = resources(&[scalar("disk", 4.0).reserved("a/b").volume("v")]);
    let check =
        |id| validate(&create(vec![my_volume(id)]), Requester::framework(&info), &there, &[]);
    assert_eq!(check("v").unwrap_err(), "Persistence ID 'v' is not unique");
    assert_eq!(check("w"), Ok(()));
    refused(&create(vec![my_volume("v"), my_volume("v")]), "Persistence ID 'v' is not unique");

    let mut anonymous = my_volume("v");
    anonymous.disk.as_mut().unwrap().persistence.as_mut().unwrap().principal = None;
    refused(&create(vec![anonymous]), "with no principal set in 'disk.persistence'");
    let mut read_only = my_volume("v");
    let volume = read_only.disk.as_mut().unwrap().volume.as_mut().unwrap();
    volume.set_mode(v1::volume::Mode::Ro);
    refused(&create(vec![read_only]), "Read-only persistent volume not supported");
    let unreserved = scalar("disk", 8.0).volume("v").allocated("a/b");
    refused(
        &create(vec![unreserved]),
        "Invalid DiskInfo: Persistent volumes cannot be created from unreserved resources",
    );
    refused(&create(vec![my_volume("a/b")]), "Invalid persistence ID for persistent volume");
    refused(&create(vec![scalar("disk", 8.0).reserved("a/b")]), "Not a persistent volume");

    let shared = create(vec![my_volume("v").shared()]);
    refused(&shared, "has been attempted by framework 'f' with no SHARED_RESOURCES capability");
    let able = framework(&["a/b"], &[Capability::SharedResources]);
    assert_eq!(validate(&shared, Requester::framework(&able), &Resources::new(), &[]), Ok(()));
}

#[test]
fn destroy_wants_a_volume_that_is_there_and_not_in_use() {
    let volume = my_volume("v");
    let there = resources(std::slice::from_ref(&volume));
    let info = framework(&["a/b"], &[]);
    let check = |there: &Resources, in_use: &[&Resources]| {
        validate(&destroy(vec![volume.clone()]), Requester::framework(&info), there, in_use)
    };
    assert_eq!(check(&there, &[&cpus_mem(1.0, 1.0)]), Ok(()));
    assert_eq!(check(&Resources::new(), &[]).unwrap_err(), "Persistent volumes not found");
    assert_eq!(check(&there, &[&there]).unwrap_err(), "Persistent volumes in use");
}

#[test]
fn volumes_are_resized_within_reason() {
    let more = scalar("disk", 2.0).with(by_me("a/b")).allocated("a/b");
    assert_eq!(verdict(&grow(my_volume("v"), more.clone())), Ok(()));
    refused(&grow(my_volume("v"), scalar("disk", 2.0)), "Incompatible resources in the");
    refused(&grow(my_volume("v").shared(), more), "Growing a shared persistent volume");
    assert_eq!(verdict(&shrink(my_volume("v"), 2.0)), Ok(()));
    refused(&shrink(my_volume("v"), 8.0), "must be smaller than the size of");
    refused(&shrink(my_volume("v"), 0.0), "must be greater than zero");
}

#[test]
fn an_operation_on_what_is_not_there_says_what_is() {
    let cpus = resources(&[scalar("cpus", 1.0)]);
    let two = reserve(vec![scalar("cpus", 2.0).reserved("a")]);
    assert_eq!(
        apply(&cpus, &two, Some("a")).unwrap_err(),
        "cpus(allocated: a):1 does not contain cpus(allocated: a):2"
    );
    let other = reserve(vec![scalar("cpus", 1.0).reserved("b").allocated("b")]);
    assert_eq!(
        apply(&cpus, &other, Some("a")).unwrap_err(),
        "cpus(allocated: a):1 does not contain cpus(allocated: b):1"
    );
}

#[test]
fn the_last_copy_of_a_shared_volume_is_destroyed_and_no_other() {
    let volume = scalar("disk", 8.0).reserved("a").volume("v").shared();
    let one = resources(std::slice::from_ref(&volume));
    let gone = destroy(vec![volume]);
    let error = apply(&(&one + &one), &gone, None).unwrap_err();
    assert!(error.ends_with("cannot be removed due to additional shared copies"), "{error}");
    let (left, _) = apply(&one, &gone, None).unwrap();
    assert_eq!(left, resources(&[scalar("disk", 8.0).reserved("a")]));
}

fn task(resources: Vec<v1::Resource>) -> v1::TaskInfo {
    v1::TaskInfo { resources, ..Default::default() }
}

#[test]
fn a_task_uses_what_was_offered() {
    let cpus = |n| scalar("cpus", n).allocated("a");
    assert_eq!(validate_task_resources(&task(vec![cpus(1.0)])), Ok(()));
    let cases = [
        (vec![], "Task uses no resources"),
        (
            vec![scalar("cpus", 1.0)],
            "Invalid task resources: The resources are not allocated to a role",
        ),
        (
            vec![cpus(1.0), scalar("mem", 1.0).allocated("b")],
            "Invalid task resources: The resources have multiple allocation roles ('b' and 'a') but \
             only one allocation role is allowed",
        ),
        (
            vec![scalar("gpus", 0.5).allocated("a")],
            "Task uses invalid resources: Invalid 'gpus' resource: The 'gpus' resource must be an \
             unsigned integer",
        ),
    ];
    for (list, words) in cases {
        assert_eq!(validate_task_resources(&task(list)).unwrap_err(), words);
    }

    let offered = cpus_mem(1.0, 0.0);
    assert_eq!(validate_task_fits(&task(vec![cpus(1.0)]), false, &offered, "a"), Ok(()));
    assert_eq!(
        validate_task_fits(&task(vec![cpus(2.0)]), false, &offered, "a").unwrap_err(),
        "Total resources cpus(allocated: a):2 required by task and its executor is more than \
         available cpus(allocated: a):1"
    );
    let mut with_executor = task(vec![cpus(1.0)]);
    let executor = v1::ExecutorInfo { resources: vec![cpus(1.0)], ..Default::default() };
    with_executor.executor = Some(Box::new(executor));
    assert!(validate_task_fits(&with_executor, false, &offered, "a").is_err());
    assert_eq!(validate_task_fits(&with_executor, true, &offered, "a"), Ok(()));
}

#[test]
fn a_task_group_uses_what_was_offered_and_its_executor_has_enough() {
    let executor = |list: &[v1::Resource]| v1::ExecutorInfo {
        executor_id: v1::ExecutorId { value: "e".to_owned() },
        resources: list.to_vec(),
        ..Default::default()
    };
    let enough = [scalar("cpus", 0.1), scalar("mem", 32.0), scalar("disk", 1.0)];
    let group = |list| v1::TaskGroupInfo { tasks: vec![task(list)] };
    let offered = resources(&[
        scalar("cpus", 1.1),
        scalar("mem", 64.0),
        scalar("disk", 1.0),
        ports(&[(1, 9)]),
    ]);
    let check = |group: &v1::TaskGroupInfo, list: &[v1::Resource]| {
        validate_group_fits(group, &executor(list), false, &offered, "a")
    };
    assert_eq!(check(&group(vec![scalar("cpus", 1.0)]), &enough), Ok(()));
    let error = check(&group(vec![scalar("cpus", 1.5)]), &enough).unwrap_err();
    assert!(error.contains("required by task group and its executor are more than available"));
    assert_eq!(
        check(&group(vec![]), &enough[1..]).unwrap_err(),
        "Executor 'e' uses less CPUs (None) than the minimum required (0.01)"
    );
    assert_eq!(check(&group(vec![]), &enough[..2]).unwrap_err(), "Executor 'e' uses no disk");
    let mut clash = group(vec![ports(&[(1, 3)])]);
    clash.tasks.push(task(vec![ports(&[(3, 5)])]));
    let error = check(&clash, &enough).unwrap_err();
    assert!(error.starts_with("There are overlapping resources in the task group's"), "{error}");
}

#[test]
fn limits_are_not_below_requests() {
    let limited = |name: &str, value: f64| {
        let mut task = task(vec![scalar("cpus", 1.0), scalar("mem", 64.0)]);
        task.limits.insert(name.to_owned(), v1::value::Scalar { value });
        validate_limits(&task)
    };
    assert_eq!(limited("cpus", 1.0), Ok(()));
    assert_eq!(limited("mem", f64::INFINITY), Ok(()));
    assert!(limited("cpus", 0.5).is_err() && limited("mem", 63.0).is_err());
    let error = limited("disk", 1.0).unwrap_err();
    assert_eq!(error, "Only cpus and mem may be included in a task's resource limits");
}
