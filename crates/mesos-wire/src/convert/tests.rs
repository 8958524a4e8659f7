use super::*;
use peloton_core::{Accept, Effect, Launch, MesosEvent, Operation, SlotRef, TaskStatus};
use peloton_model::job::{Check, HealthCheck, PortConfig, PortRef, Uri};
use peloton_model::{AgentId, JobConfig, JobId, Milli, OfferId, Resources, SlotId, TaskId};
use peloton_proto::mesos::v1 as mesos;
use peloton_proto::mesos::v1::scheduler::{Event, event as events};
use std::collections::BTreeSet;
use std::sync::Arc;

fn identity() -> Identity {
    Identity { role: "peloton/7".into(), cluster: "c1".into(), principal: Some("peloton".into()) }
}

/// An event that holds nothing of other clusters.
fn event(identity: &Identity, event: Event) -> Option<MesosEvent> {
    let mut foreign = BTreeSet::new();
    let converted = super::event(identity, event, &mut foreign);
    assert_eq!(foreign, BTreeSet::new());
    converted
}

fn event_of(of: Event) -> Option<MesosEvent> {
    event(&identity(), of)
}

fn slot() -> SlotRef {
    SlotRef { job: JobId::new("web").unwrap(), instance: 3, slot: SlotId(5) }
}

fn need() -> Resources {
    Resources { cpus: Milli(100), mem_mb: Milli(64_000), ..Default::default() }
}

fn launch() -> Launch {
    let mut config = JobConfig::default();
    config.command.value = "serve".into();
    config.command.shell = true;
    config.ports = vec![
        PortConfig { name: "http".into(), ..Default::default() },
        PortConfig { name: "admin".into(), env_name: "ADMIN".into(), ..Default::default() },
    ];
    config.health_check = Some(HealthCheck {
        enabled: true,
        check: Check::Http {
            scheme: "http".into(),
            port: PortRef::Name("admin".into()),
            path: "/up".into(),
        },
        ..Default::default()
    });
    Launch {
        task: TaskId { job: JobId::new("web").unwrap(), instance: 3, run: 9 },
        agent: AgentId::new("a1"),
        config: Arc::new(config),
        slot: Some(slot()),
        principal: None,
        keep_image: false,
        resources: need(),
        ports: vec![31000, 31001],
        volumes: Vec::new(),
    }
}

fn offered(resources: Vec<mesos::Resource>) -> Event {
    let offer = mesos::Offer {
        id: mesos::OfferId { value: "o1".into() },
        agent_id: mesos::AgentId { value: "a1".into() },
        hostname: "host1".into(),
        resources,
        ..Default::default()
    };
    Event {
        r#type: Some(events::Type::Offers as i32),
        offers: Some(events::Offers { offers: vec![offer] }),
        ..Default::default()
    }
}

/// What RESERVE asks for comes back in an offer as the same slot, and UNRESERVE names just that.
#[test]
fn a_reservation_survives_the_way_there_and_back() {
    let operation = Operation::Reserve {
        id: "r".into(),
        slot: slot(),
        resources: need(),
        ports: vec![31000, 31002],
    };
    let accept = Accept {
        agent: AgentId::new("a1"),
        offers: vec![OfferId::new("o1")],
        operations: vec![operation],
        refuse_ms: 5000,
    };
    let sent = call(&identity(), Effect::Accept(accept)).accept.unwrap();
    let reserve = sent.operations[0].reserve.clone().unwrap();
    let Some(MesosEvent::Offers(offers)) = event(&identity(), offered(reserve.resources.clone()))
    else {
        panic!("no offers")
    };
    let reserved = offers[0].reserved[0].clone();
    assert_eq!((&reserved.slot, reserved.resources), (&slot(), need()));
    assert_eq!(reserved.ports.ranges(), [(31000, 31000), (31002, 31002)]);
    assert!(offers[0].free.is_empty());
    let operation = Operation::Unreserve { id: "u".into(), reserved };
    let accept = Accept {
        agent: AgentId::new("a1"),
        offers: vec![OfferId::new("o1")],
        operations: vec![operation],
        refuse_ms: 0,
    };
    let sent = call(&identity(), Effect::Accept(accept)).accept.unwrap();
    assert_eq!(sent.operations[0].unreserve.clone().unwrap().resources, reserve.resources);
}

/// A service comes back without whoever serves its artifacts; a batch job has nothing to come back to.
#[test]
fn the_uris_of_services_are_always_cached() {
    let cached = |slot: Option<SlotRef>, asked: bool| {
        let mut launch = Launch { slot, ..launch() };
        let uri = Uri { value: "http://a/b".into(), cache: asked, ..Default::default() };
        Arc::make_mut(&mut launch.config).command.uris = vec![uri];
        let operations = vec![Operation::Launch(Box::new(launch))];
        let accept = Accept {
            agent: AgentId::new("a1"),
            offers: vec![OfferId::new("o1")],
            operations,
            refuse_ms: 0,
        };
        let sent = call(&identity(), Effect::Accept(accept)).accept.unwrap();
        let tasks = &sent.operations[0].launch.as_ref().unwrap().task_infos;
        tasks[0].command.as_ref().unwrap().uris[0].cache
    };
    assert_eq!(cached(Some(slot()), false), Some(true));
    assert_eq!([false, true].map(|asked| cached(None, asked)), [Some(false), Some(true)]);
}

/// Reservations of others, or without our labels, are neither free nor ours.
#[test]
fn foreign_resources_do_not_pass() {
    let accept = |operation| Accept {
        agent: AgentId::new("a1"),
        offers: vec![],
        operations: vec![operation],
        refuse_ms: 0,
    };
    let reserve =
        Operation::Reserve { id: "r".into(), slot: slot(), resources: need(), ports: vec![] };
    let sent = call(&identity(), Effect::Accept(accept(reserve))).accept.unwrap();
    let ours = sent.operations[0].reserve.clone().unwrap().resources;
    type Spoil = fn(&mut mesos::Resource);
    let spoils: [Spoil; 4] = [
        |r| r.reservations[0].role = Some("peloton".into()),
        |r| r.reservations[0].labels = None,
        |r| r.revocable = Some(mesos::resource::RevocableInfo {}),
        |r| r.reservations.push(r.reservations[0].clone()),
    ];
    for spoil in spoils {
        let mut resources = ours.clone();
        resources.iter_mut().for_each(spoil);
        let Some(MesosEvent::Offers(offers)) = event(&identity(), offered(resources)) else {
            panic!("no offers")
        };
        assert!(offers[0].reserved.is_empty() && offers[0].free.is_empty());
    }
}

#[test]
fn a_task_gets_its_ports_variables_labels_and_health_check() {
    let accept = Accept {
        agent: AgentId::new("a1"),
        offers: vec![OfferId::new("o1")],
        operations: vec![Operation::Launch(Box::new(launch()))],
        refuse_ms: 0,
    };
    let sent = call(&identity(), Effect::Accept(accept)).accept.unwrap();
    let task = &sent.operations[0].launch.as_ref().unwrap().task_infos[0];
    assert_eq!(task.task_id.value, "web-3-9");
    assert!(task.resources.iter().all(|r| r.reservations.len() == 1));
    let environment = task.command.as_ref().unwrap().environment.clone().unwrap();
    let variables: Vec<_> = environment
        .variables
        .iter()
        .map(|v| format!("{}={}", v.name, v.value.clone().unwrap_or_default()))
        .collect();
    assert_eq!(
        variables,
        [
            "ADMIN=31001",
            "PELOTON_INSTANCE_ID=3",
            "PELOTON_JOB_ID=web",
            "PELOTON_TASK_ID=web-3-9",
            "UBER_PORT_http=31000"
        ]
    );
    let health = task.health_check.as_ref().unwrap();
    assert_eq!(health.http.as_ref().unwrap().port, 31001);
    assert_eq!((health.delay_seconds, health.consecutive_failures), (None, None));
    let ports = task.discovery.as_ref().unwrap().ports.as_ref().unwrap();
    assert_eq!(ports.ports[1].name.as_deref(), Some("admin"));
    assert_eq!(
        task.kill_policy.as_ref().unwrap().grace_period.as_ref().unwrap().nanoseconds,
        3_000_000_000
    );
}

#[test]
fn unknown_kinds_and_states_are_passed_over() {
    assert!(event(&identity(), Event::default()).is_none());
    assert!(event(&identity(), Event { r#type: Some(999), ..Default::default() }).is_none());
    let status = |state| {
        let status = mesos::TaskStatus { state, ..Default::default() };
        let event = Event {
            r#type: Some(events::Type::Update as i32),
            update: Some(events::Update { status: Some(status) }),
            ..Default::default()
        };
        event_of(event)
    };
    assert!(status(999).is_none());
    let Some(MesosEvent::Status(update)) = status(mesos::TaskState::TaskGone as i32) else {
        panic!("no status")
    };
    assert_eq!((update.status, update.uuid), (TaskStatus::Gone, None));
}

#[test]
fn the_exit_status_is_read_from_the_words_of_the_executor() {
    for (message, expected) in [
        ("Command exited with status 3", Some(3)),
        ("Command exited with status 127: not found", Some(127)),
        ("Command terminated with signal Killed", None),
        ("exited with status many", None),
        ("", None),
    ] {
        let status = mesos::TaskStatus {
            state: mesos::TaskState::TaskFailed as i32,
            message: Some(message.into()),
            ..Default::default()
        };
        let event = Event {
            r#type: Some(events::Type::Update as i32),
            update: Some(events::Update { status: Some(status) }),
            ..Default::default()
        };
        let Some(MesosEvent::Status(update)) = event_of(event) else { panic!("no status") };
        assert_eq!(update.exit_status, expected, "{message}");
    }
}

/// Two clusters in one role: the labels of the slot are the same, the cluster's are not.
#[test]
fn reservations_of_another_cluster_are_named_and_left_alone() {
    let other = Identity { cluster: "c2".into(), ..identity() };
    let reserve =
        Operation::Reserve { id: "r".into(), slot: slot(), resources: need(), ports: vec![] };
    let accept = Accept {
        agent: AgentId::new("a1"),
        offers: vec![],
        operations: vec![reserve],
        refuse_ms: 0,
    };
    let sent = call(&other, Effect::Accept(accept)).accept.unwrap();
    let theirs = sent.operations[0].reserve.clone().unwrap().resources;
    let mut foreign = BTreeSet::new();
    let Some(MesosEvent::Offers(offers)) = super::event(&identity(), offered(theirs), &mut foreign)
    else {
        panic!("no offers")
    };
    assert!(offers[0].reserved.is_empty() && offers[0].free.is_empty());
    assert_eq!(foreign, BTreeSet::from(["c2".to_owned()]));
}

#[test]
fn that_mesos_waits_for_an_agent_is_told() {
    let mut status = mesos::OperationStatus {
        operation_id: Some(mesos::OperationId { value: "agent".to_owned() }),
        agent_id: Some(mesos::AgentId { value: "a1".to_owned() }),
        ..Default::default()
    };
    status.set_state(mesos::OperationState::OperationRecovering);
    let update = events::UpdateOperationStatus { status: Some(status) };
    let told = event_of(Event {
        r#type: Some(events::Type::UpdateOperationStatus as i32),
        update_operation_status: Some(update),
        ..Default::default()
    });
    let Some(MesosEvent::Operation(told)) = told else { panic!("no operation") };
    assert_eq!(told.state, peloton_core::OperationState::Recovering);
    assert_eq!(told.agent, Some(AgentId::new("a1")));
}
