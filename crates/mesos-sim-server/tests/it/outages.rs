//! What ends and comes back, and what is left afterwards.

use peloton_mesos::calls;
use peloton_proto::mesos::v1::TaskState;
use serde_json::json;

use crate::support::{
    Scheduler, ask, eventually, operate, options, sandbox, start, wait_for_output,
};
use peloton_mesos_sim_server::Server;

/// Processes that have this text in their command line.
pub(crate) fn processes(text: &str) -> usize {
    let mentions = |pid: &str| {
        std::fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| String::from_utf8_lossy(&line).contains(text))
    };
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries.filter(|entry| entry.file_name().to_str().is_some_and(mentions)).count()
}

/// A task of several processes, of which one does not have its environment.
pub(crate) fn leaver(sign: &str) -> String {
    let endless = format!("while :; do sleep 0.1; done # {sign}");
    format!("sh -c '{endless}' & env -i sh -c '{endless}' & echo up; wait")
}

pub(crate) fn sign(name: &str) -> String {
    format!("{name}-{}", std::process::id())
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_leaves_nothing() {
    let server = start(1).await;
    let mut scheduler = Scheduler::subscribe(&server.address()).await;
    let sign = sign("stopping");
    scheduler.run("t", &leaver(&sign)).await;
    scheduler.reach("t", TaskState::TaskRunning).await;
    let run = sandbox(&server, 0, &scheduler.subscribed.framework_id, "t").unwrap();
    wait_for_output(&run, "up").await;
    assert!(processes(&sign) >= 3);
    let (address, work_dir) = (server.address(), server.work_dir().to_path_buf());
    server.stop().await.unwrap();
    assert!(!work_dir.exists());
    assert_eq!(processes(&sign), 0);
    assert!(std::net::TcpStream::connect(address).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_dropped_leaves_nothing_either() {
    let server = start(1).await;
    let mut scheduler = Scheduler::subscribe(&server.address()).await;
    let sign = sign("dropped");
    scheduler.run("t", &leaver(&sign)).await;
    scheduler.reach("t", TaskState::TaskRunning).await;
    let work_dir = server.work_dir().to_path_buf();
    drop(server);
    eventually("end", || (processes(&sign) == 0 && !work_dir.exists()).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_outlive_their_agent_and_the_master() {
    let server = start(1).await;
    let address = server.address();
    let mut scheduler = Scheduler::subscribe(&address).await;
    scheduler.run("t", "echo up; while ! test -e end; do sleep 0.05; done").await;
    scheduler.reach("t", TaskState::TaskRunning).await;
    let run = sandbox(&server, 0, &scheduler.subscribed.framework_id, "t").unwrap();
    wait_for_output(&run, "up").await;
    let agent = server.agents()[0].url.strip_prefix("http://").unwrap().to_owned();

    server.stop_master().await.unwrap();
    assert!(std::net::TcpStream::connect(&address).is_err());
    server.stop_agent(0).await.unwrap();
    assert!(std::net::TcpStream::connect(&agent).is_err());
    // It ends while nobody is there to be told.
    std::fs::write(run.join("end"), "").unwrap();
    server.start_master().await.unwrap();
    scheduler.subscribed_again().await;
    server.start_agent(0).await.unwrap();
    let finished = scheduler.reach("t", TaskState::TaskFinished).await;
    assert_eq!(finished.message(), "Command exited with status 0");
    assert_eq!(ask("GET", &agent, "/health", &[], "").await.0, 200);
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_takes_its_tasks_with_it() {
    let server = start(2).await;
    let mut scheduler = Scheduler::subscribe(&server.address()).await;
    let sign = sign("machine");
    scheduler.run("t", &leaver(&sign)).await;
    let running = scheduler.reach("t", TaskState::TaskRunning).await;
    let agents = server.with_model(|mesos| mesos.agents().count()).await.unwrap();
    assert_eq!(agents, 2);
    let on = (0..2)
        .find(|i| sandbox(&server, *i, &scheduler.subscribed.framework_id, "t").is_some())
        .unwrap();
    server.kill_agent_machine(on).await.unwrap();
    assert_eq!(processes(&sign), 0);
    server.start_agent(on).await.unwrap();
    let failed = scheduler.reach("t", TaskState::TaskFailed).await;
    assert_eq!(failed.agent_id, running.agent_id);
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_is_seen_and_healed() {
    let mut options = options(1);
    options.settings.agent_timeout_ms = 500;
    let server = Server::start(options).await.unwrap();
    let mut scheduler = Scheduler::subscribe(&server.address()).await;
    scheduler.run("t", "exec sleep 600").await;
    scheduler.reach("t", TaskState::TaskRunning).await;
    server.partition_agent(0, true).await.unwrap();
    scheduler.reach("t", TaskState::TaskUnreachable).await;
    server.partition_agent(0, false).await.unwrap();
    scheduler.reach("t", TaskState::TaskRunning).await;
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_framework_that_is_torn_down_takes_its_tasks_with_it() {
    let server = start(1).await;
    let mut scheduler = Scheduler::subscribe(&server.address()).await;
    let sign = sign("teardown");
    scheduler.run("t", &format!("while :; do sleep 0.1; done # {sign}")).await;
    scheduler.reach("t", TaskState::TaskRunning).await;
    scheduler.call(calls::suppress(vec![]));
    let id = &scheduler.subscribed.framework_id;
    let call = json!({"type": "TEARDOWN", "teardown": {"framework_id": {"value": id}}});
    assert_eq!(operate(&server.address(), &call).await.0, 200);
    eventually("end", || (processes(&sign) == 0).then_some(())).await;
    server.stop().await.unwrap();
}
