//! The protocol against a real Mesos.

use crate::support::{Client, options, settings};
use peloton_mesos::{CallKind, ClientState, Credential, Failure, Options, calls};
use peloton_proto::mesos::v1::{
    CommandInfo, Offer, OperationId, Resource, TaskId, TaskInfo, TaskState, offer, value,
};
use peloton_testbed::{Mesos, Operator, Options as MesosOptions};
use tokio::task::{block_in_place, spawn_blocking};

/// A Mesos with one agent; the test is over where there can be none.
macro_rules! mesos {
    ($options:expr) => {
        match spawn_blocking(move || peloton_testbed::start(&$options)).await.unwrap() {
            Some(mesos) => mesos,
            None => return,
        }
    };
    () => {
        mesos!(MesosOptions::agents(1))
    };
}

fn masters(mesos: &Mesos) -> [String; 1] {
    [mesos.address()]
}

fn role(role: &str, mesos: &Mesos) -> Options {
    Options { framework: settings(role), ..options(&masters(mesos)) }
}

fn scalar(name: &str, role: &str, value: f64) -> Resource {
    Resource {
        name: name.into(),
        r#type: value::Type::Scalar as i32,
        scalar: Some(value::Scalar { value }),
        allocation_info: Some(peloton_proto::mesos::v1::resource::AllocationInfo {
            role: Some(role.into()),
        }),
        ..Resource::default()
    }
}

fn launch(offer: &Offer, role: &str, task_id: &str, command: &str) -> offer::Operation {
    let task = TaskInfo {
        name: task_id.into(),
        task_id: TaskId { value: task_id.into() },
        agent_id: offer.agent_id.clone(),
        resources: vec![scalar("cpus", role, 0.1), scalar("mem", role, 32.0)],
        command: Some(CommandInfo { value: Some(command.into()), ..CommandInfo::default() }),
        ..TaskInfo::default()
    };
    offer::Operation {
        r#type: Some(offer::operation::Type::Launch as i32),
        launch: Some(offer::operation::Launch { task_infos: vec![task] }),
        ..offer::Operation::default()
    }
}

/// Launches a task and waits until it runs, acknowledging on the way.
pub(crate) async fn run_task(client: &mut Client, epoch: u64, role: &str, task_id: &str) {
    let offer = client.offer().await;
    let operation = launch(&offer, role, task_id, "sleep 600");
    let accept = calls::accept(vec![offer.id.clone()], vec![operation], Some(100));
    client.handle.submit(epoch, accept).unwrap();
    acknowledge_until(client, epoch, task_id, TaskState::TaskRunning).await;
}

/// Acknowledges the updates of a task, each of which waits for the acknowledgement of the one
/// before, until it is in a state.
async fn acknowledge_until(client: &mut Client, epoch: u64, task_id: &str, state: TaskState) {
    loop {
        let status =
            client.event(&format!("{task_id} {state:?}"), |event| event.update?.status).await;
        assert_eq!(status.task_id.value, task_id);
        let (agent, uuid) = (status.agent_id.unwrap(), status.uuid);
        if let Some(uuid) = uuid {
            let call = calls::acknowledge(agent, status.task_id, uuid);
            client.handle.submit(epoch, call).unwrap();
        }
        if status.state == state as i32 {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_from_its_offer_to_its_end() {
    let mesos = mesos!();
    let mut client = Client::spawn(role("peloton/1", &mesos), None);
    let subscribed = client.subscribed().await;
    let epoch = subscribed.epoch;
    assert_eq!(subscribed.leader, mesos.address());
    assert_eq!(subscribed.heartbeat_interval_ms, 15_000);
    assert_eq!(subscribed.master_info.unwrap().port, Some(u32::from(mesos.port())));

    let offer = client.offer().await;
    assert_eq!(offer.framework_id.value, subscribed.framework_id);
    client.handle.submit(epoch, calls::decline(vec![offer.id], Some(3_600_000))).unwrap();
    client.handle.submit(epoch, calls::suppress(vec![])).unwrap();
    client.handle.submit(epoch, calls::revive(vec![])).unwrap();
    run_task(&mut client, epoch, "peloton/1", "t-1").await;

    client.handle.submit(epoch, calls::reconcile(vec![])).unwrap();
    let status = client.task_status("t-1", TaskState::TaskRunning).await;
    assert_eq!(status.uuid, None, "the answer to a reconciliation needs no acknowledgement");
    let unknown = TaskId { value: "t-0".into() };
    client.handle.submit(epoch, calls::reconcile(vec![(unknown, None)])).unwrap();
    client.task_status("t-0", TaskState::TaskUnknown).await;
    let unknown = OperationId { value: "o-0".into() };
    client.handle.submit(epoch, calls::reconcile_operations(vec![(unknown, None)])).unwrap();
    let operation = client
        .event("UPDATE_OPERATION_STATUS", |event| event.update_operation_status?.status)
        .await;
    assert_eq!(operation.operation_id.unwrap().value, "o-0");

    let task = TaskId { value: "t-1".into() };
    client.handle.submit(epoch, calls::kill(task, None, Some(100))).unwrap();
    acknowledge_until(&mut client, epoch, "t-1", TaskState::TaskKilled).await;
    client.handle.call(epoch, calls::revive(vec![])).await.unwrap();
    let status = client.handle.status();
    let count = |kind| status.calls.iter().find(|(k, _)| *k == kind).map_or(0, |(_, n)| *n);
    assert_eq!((count(CallKind::Accept), count(CallKind::Kill)), (1, 1), "{status:?}");
    assert!(count(CallKind::Acknowledge) >= 2, "{status:?}");
    assert_eq!((status.calls_rejected, status.calls_dropped), (0, 0), "{status:?}");
    assert!(status.last_heard_at_unix_ms.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_mesos_refuses_leaves_the_session_alone() {
    let mesos = mesos!();
    let mut client = Client::spawn(role("peloton/1", &mesos), None);
    let epoch = client.subscribed().await.epoch;
    // An ACCEPT that lacks its content.
    let mut call = calls::accept(vec![], vec![], None);
    call.accept = None;
    let error = client.handle.call(epoch, call).await.unwrap_err();
    assert!(error.to_string().contains("HTTP status 400: Failed to validate"), "{error}");
    client.handle.call(epoch, calls::revive(vec![])).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_subscription_takes_the_framework_over() {
    let mesos = mesos!();
    let mut first = Client::spawn(role("peloton/1", &mesos), None);
    let id = first.subscribed().await.framework_id;
    let mut second = Client::spawn(role("peloton/1", &mesos), Some(&id));
    let subscribed = second.subscribed().await;
    assert_eq!(subscribed.framework_id, id);
    assert_eq!(first.failed().await, Failure::FailedOver);
    second.handle.call(subscribed.epoch, calls::revive(vec![])).await.unwrap();
    let state = first.handle.status().connection.state;
    assert_eq!(state, ClientState::Failed(Failure::FailedOver));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_killed_and_started_again_is_found_again() {
    let mut mesos = mesos!();
    let mut client = Client::spawn(role("peloton/1", &mesos), None);
    let first = client.subscribed().await;
    run_task(&mut client, first.epoch, "peloton/1", "t-1").await;
    block_in_place(|| mesos.kill_master());
    assert_eq!(client.disconnected().await.0, first.epoch);
    client.status_is("failed attempts", |status| status.failed_attempts > 1).await;
    block_in_place(|| mesos.start_master()).unwrap();
    let second = client.subscribed().await;
    assert_eq!(second.framework_id, first.framework_id);
    assert!(second.epoch > first.epoch);
    // An offer means that the agent, too, is back.
    client.offer().await;
    client.handle.submit(second.epoch, calls::reconcile(vec![])).unwrap();
    client.task_status("t-1", TaskState::TaskRunning).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_master_first_in_the_list_does_no_harm() {
    let mesos = mesos!();
    // A port nobody listens on: it was free a moment ago, and is not among those given out next.
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let list = [unused.to_string(), format!("http://{}", mesos.address())];
    let mut client = Client::spawn(options(&list), None);
    assert_eq!(client.subscribed().await.leader, mesos.address());
    assert_eq!(client.handle.status().failed_attempts, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_leaves_the_tasks_running_and_teardown_ends_them() {
    let mesos = mesos!();
    // An id of the owner's own choice: Mesos takes it as that of a framework it has forgotten.
    let mut client = Client::spawn(role("peloton/1", &mesos), Some("our-own-id"));
    let subscribed = client.subscribed().await;
    assert_eq!(subscribed.framework_id, "our-own-id");
    run_task(&mut client, subscribed.epoch, "peloton/1", "t-1").await;
    client.handle.stop().await;

    let mut client = Client::spawn(role("peloton/1", &mesos), Some("our-own-id"));
    let epoch = client.subscribed().await.epoch;
    client.handle.submit(epoch, calls::reconcile(vec![])).unwrap();
    client.task_status("t-1", TaskState::TaskRunning).await;
    client.handle.teardown(epoch).await.unwrap();
    let state = client.handle.status().connection.state;
    assert!(matches!(state, ClientState::Stopped | ClientState::Failed(_)), "{state:?}");

    let mut client = Client::spawn(role("peloton/1", &mesos), Some("our-own-id"));
    let failure = client.failed().await;
    assert!(matches!(failure, Failure::FrameworkRemoved { .. }), "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_framework_that_an_operator_removed_is_told_so() {
    let mesos = mesos!();
    let mut client = Client::spawn(role("peloton/1", &mesos), None);
    let id = client.subscribed().await.framework_id;
    let operator: Operator = mesos.operator();
    spawn_blocking(move || operator.teardown(&id)).await.unwrap().unwrap();
    let failure = client.failed().await;
    assert!(matches!(failure, Failure::FrameworkRemoved { .. }), "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_decide_who_may_subscribe() {
    let mut mesos_options = MesosOptions::agents(1);
    mesos_options.credentials = vec![("peloton".into(), "geheim".into())];
    let mesos = mesos!(mesos_options);
    let with = |secret: &str| Options {
        credential: Some(Credential { principal: "peloton".into(), secret: secret.into() }),
        ..role("peloton/1", &mesos)
    };
    for options in [role("peloton/1", &mesos), with("wrong")] {
        let failure = Client::spawn(options, None).failed().await;
        let refused = matches!(failure, Failure::AuthenticationRefused { status: 401, .. });
        assert!(refused, "{failure}");
    }
    let mut client = Client::spawn(with("geheim"), None);
    let epoch = client.subscribed().await.epoch;
    client.handle.call(epoch, calls::revive(vec![])).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_mesos_finds_wrong_is_told() {
    let mesos = mesos!();
    // Mesos refuses this role by an ERROR event, which might change with its configuration.
    let client = Client::spawn(role("-peloton", &mesos), None);
    client.status_is("refused twice", |status| status.failed_attempts >= 2).await;
    let problem = client.handle.status().connection.last_problem.unwrap();
    assert!(problem.contains("-peloton"), "{problem}");
}
