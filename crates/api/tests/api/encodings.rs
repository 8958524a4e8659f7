//! gRPC, and that it is the same API.

use std::sync::Arc;

use peloton_model::{JobState, JobSummary};
use peloton_proto::json::{from_json, to_json};
use peloton_proto::peloton::cluster::cluster_manager_client::ClusterManagerClient;
use peloton_proto::peloton::job as pb;
use peloton_proto::peloton::job::job_manager_client::JobManagerClient;
use peloton_proto::peloton::task as task_pb;
use peloton_proto::peloton::task::task_manager_client::TaskManagerClient;
use peloton_proto::peloton::upgrade as upgrade_pb;
use peloton_proto::peloton::upgrade::upgrade_manager_client::UpgradeManagerClient;
use peloton_store::{MemoryStore, Store, keys};
use peloton_telemetry::HealthStatus;
use serde_json::json;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::support::{MAX_REQUEST_BYTES, Master, PATIENCE, config, put, shard};

fn id(name: &str) -> Option<pb::JobId> {
    Some(pb::JobId { value: name.into() })
}

#[tokio::test]
async fn the_same_request_gets_the_same_answer_in_both() {
    let store = Arc::new(MemoryStore::new());
    let master = Master::over(store).await;
    let mut jobs = JobManagerClient::new(master.channel().await);
    let mut tasks = TaskManagerClient::new(master.channel().await);
    let create: pb::CreateRequest =
        from_json(&json!({"id": {"value": "g"}, "config": config(3)})).unwrap().message;
    let mut request = tonic::Request::new(create.clone());
    request.metadata_mut().insert("rpc-caller", "tester".parse().unwrap());
    request.metadata_mut().insert("rpc-service", "whatever".parse().unwrap());
    let created = jobs.create(request).await.unwrap().into_inner();
    assert_eq!(created.result, id("g"));
    let yarpc = json!({"id": {"value": "y"}, "config": config(3)});
    master.call("JobManager.Create", yarpc).await;

    // Made in the one or the other encoding, read in the one or the other.
    for name in ["g", "y", "none"] {
        let got = jobs
            .get(pb::GetRequest { id: id(name), ..Default::default() })
            .await
            .unwrap()
            .into_inner();
        let by_json = master.call("JobManager.Get", json!({"id": {"value": name}})).await;
        assert_eq!(to_json(&got).unwrap(), by_json);
        let request = task_pb::ListRequest { job_id: id(name), ..Default::default() };
        let got = tasks.list(request).await.unwrap().into_inner();
        let by_json = master.call("TaskManager.List", json!({"jobId": {"value": name}})).await;
        assert_eq!(to_json(&got).unwrap(), by_json);
    }
    let configs = [id("g"), id("y")].map(|id| pb::GetRequest { id, ..Default::default() });
    let [g, y] = configs;
    let (g, y) = (jobs.get(g).await.unwrap(), jobs.get(y).await.unwrap());
    assert_eq!(g.into_inner(), y.into_inner());
    let again = jobs.create(create.clone()).await.unwrap().into_inner();
    assert_eq!(again.result, create.id);
    let mut other = create;
    other.config.as_mut().unwrap().instance_count += 1;
    assert!(jobs.create(other).await.unwrap().into_inner().already_exists.is_some());
}

#[tokio::test]
async fn errors_have_the_same_code_and_text_in_both() {
    let master = Master::start().await;
    let mut jobs = JobManagerClient::new(master.channel().await);
    let status =
        jobs.get(pb::GetRequest { id: id("a/b"), ..Default::default() }).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let reply = master.yarpc("JobManager.Get", &json!({"id": {"value": "a/b"}})).await;
    assert!(reply.body.ends_with(&format!(": {}\n", status.message())));
    assert_eq!(reply.headers["rpc-error-code"], "invalid-argument");

    let mut upgrades = UpgradeManagerClient::new(master.channel().await);
    let status = upgrades.create(upgrade_pb::CreateRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let reply = master.yarpc("UpgradeManager.Create", &json!({})).await;
    assert!(reply.body.ends_with(&format!(": {}\n", status.message())), "{}", reply.body);

    let mut large: pb::CreateRequest =
        from_json(&json!({"id": {"value": "g"}, "config": config(3)})).unwrap().message;
    large.config.as_mut().unwrap().description = "x".repeat(MAX_REQUEST_BYTES);
    let status = jobs.create(large).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "tonic's own code for a message too large");
}

#[tokio::test]
async fn the_cluster_tells_of_itself() {
    let store = Arc::new(MemoryStore::new());
    let master = Master::over(store.clone()).await;
    let cluster = peloton_model::ClusterRecord {
        name: "prod".into(),
        id: "c1".into(),
        shards: 8,
        created_at: 5,
    };
    put(&*store, keys::meta_cluster(), &cluster).await;
    let expected = json!({"result": {"name": "prod", "shardCount": 8, "createdAt": 5}});
    assert_eq!(master.call("ClusterManager.Get", json!({})).await, expected);
    let mut client = ClusterManagerClient::new(master.channel().await);
    let request = peloton_proto::peloton::cluster::GetStatusRequest {};
    let status = client.get_status(request).await.unwrap().into_inner();
    assert_eq!(
        to_json(&status).unwrap(),
        json!({"result": {
            "masters": [{"id": "m1", "answering": true}],
            "store": {"healthy": true, "type": "memory"}, "mesos": {},
            "cluster": expected["result"],
        }})
    );
}

#[tokio::test]
async fn reflection_lists_every_service() {
    let master = Master::start().await;
    let mut client = ServerReflectionClient::new(master.channel().await);
    let ask =
        |message| ServerReflectionRequest { host: String::new(), message_request: Some(message) };
    let requests = futures_util::stream::iter([
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol("peloton.job.JobManager".into())),
    ]);
    let mut answers = client.server_reflection_info(requests).await.unwrap().into_inner();
    let first = answers.message().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(list) = first else { panic!("{first:?}") };
    let names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
    for name in [
        "peloton.job.JobManager",
        "peloton.task.TaskManager",
        "peloton.upgrade.UpgradeManager",
        "peloton.cluster.ClusterManager",
        "grpc.health.v1.Health",
    ] {
        assert!(names.contains(&name), "{name} not in {names:?}");
    }
    let second = answers.message().await.unwrap().unwrap().message_response.unwrap();
    assert!(matches!(second, MessageResponse::FileDescriptorResponse(_)), "{second:?}");
}

#[tokio::test]
async fn the_health_service_follows_the_health() {
    let master = Master::start().await;
    let mut client = HealthClient::new(master.channel().await);
    let request = HealthCheckRequest { service: "peloton.job.JobManager".into() };
    let mut states = client.watch(request).await.unwrap().into_inner();
    for (health, expected) in [
        (HealthStatus::Healthy, ServingStatus::Serving),
        (HealthStatus::Down("no disk".into()), ServingStatus::NotServing),
    ] {
        master.health.set(health);
        let seen = async { while states.message().await.unwrap().unwrap().status() != expected {} };
        tokio::time::timeout(PATIENCE, seen).await.expect("the state is told");
    }
}

#[tokio::test]
async fn an_unknown_service_is_unimplemented() {
    let master = Master::start().await;
    let mut client = tonic::client::Grpc::new(master.channel().await);
    client.ready().await.unwrap();
    let codec = tonic_prost_codec();
    let path = http::uri::PathAndQuery::from_static("/peloton.job.JobManager/Nope");
    let request = tonic::Request::new(pb::GetRequest::default());
    let status = client
        .unary(request, path, codec)
        .await
        .map(|r: tonic::Response<pb::GetResponse>| r)
        .unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
}

fn tonic_prost_codec() -> tonic_prost::ProstCodec<pb::GetRequest, pb::GetResponse> {
    tonic_prost::ProstCodec::default()
}

#[tokio::test]
async fn a_watch_tells_each_change_until_nothing_is_left() {
    let store = Arc::new(MemoryStore::new());
    let master = Master::over(store.clone()).await;
    let mut jobs = JobManagerClient::new(master.channel().await);
    let none = jobs.watch(pb::WatchRequest { id: id("a") }).await.unwrap();
    let mut none = none.into_inner();
    assert!(none.message().await.unwrap().unwrap().not_found.is_some());
    assert!(none.message().await.unwrap().is_none(), "the stream ends");

    master.call("JobManager.Create", json!({"id": {"value": "a"}, "config": config(2)})).await;
    let watch = jobs.watch(pb::WatchRequest { id: id("a") }).await.unwrap();
    let mut watch = watch.into_inner();
    let mut next = async || {
        let message = tokio::time::timeout(PATIENCE, watch.message()).await.expect("news");
        message.unwrap().map(|news| news.result.expect("a status"))
    };
    assert_eq!(next().await.unwrap().state(), pb::JobState::Uninitialized);
    let kv = store.get(keys::desired_job(shard("a"), "a")).await.unwrap().kv.unwrap();
    let mut summary = JobSummary {
        incarnation: kv.create_revision.0,
        state: JobState::Running,
        leftovers: 1,
        ..Default::default()
    };
    let key = keys::actual_job(shard("a"), "a");
    put(&*store, key.clone(), &summary).await;
    assert_eq!(next().await.unwrap().state(), pb::JobState::Running);
    master.call("JobManager.Update", json!({"id": {"value": "a"}, "config": config(5)})).await;
    assert_eq!(next().await.unwrap().instance_count, 5);
    master.call("JobManager.Delete", json!({"id": {"value": "a"}})).await;
    let deleted = next().await.unwrap();
    assert_eq!((deleted.state(), deleted.leftovers), (pb::JobState::Deleted, 1));
    summary.deleted_at = Some(1);
    summary.leftovers = 0;
    put(&*store, key, &summary).await;
    let gone = next().await.unwrap();
    assert_eq!((gone.state(), gone.leftovers), (pb::JobState::Deleted, 0));
    assert!(next().await.is_none(), "the stream ends");
}
