//! The same port speaks gRPC, tells what it serves, and how it is.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use peloton_proto::peloton::job::job_manager_client::JobManagerClient;
use peloton_proto::peloton::job::{GetRequest, JobId};
use serde_json::json;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::support::{Cluster, Job, PATIENCE, shared_mesos};

#[test]
fn grpc_serves_the_same_jobs_with_reflection_and_health() {
    let Some(mesos) = shared_mesos() else { return };
    let cluster = Cluster::start(mesos, "grpc", &[]);
    let job = Job::service(&cluster, "seen-by-both", 1, "sleep 1000", json!({}));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(talk(&cluster));
    job.delete();
}

async fn talk(cluster: &Cluster) {
    let endpoint = Endpoint::from_shared(format!("http://{}", cluster.address())).unwrap();
    let channel = endpoint.connect().await.unwrap();

    let id = Some(JobId { value: "seen-by-both".to_owned() });
    let mut jobs = JobManagerClient::new(channel.clone());
    let answer = jobs.get(GetRequest { id, ..Default::default() }).await.unwrap().into_inner();
    assert_eq!(answer.result.unwrap().instance_count, 1);

    let mut health = HealthClient::new(channel.clone());
    for service in ["", "peloton.job.JobManager"] {
        let end = Instant::now() + PATIENCE;
        loop {
            let request = HealthCheckRequest { service: service.to_owned() };
            let answer = health.check(request).await.unwrap().into_inner();
            if answer.status() == ServingStatus::Serving {
                break;
            }
            // It follows /health, but not in the same moment.
            assert!(Instant::now() < end, "{service:?}: {answer:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    let mut reflection = ServerReflectionClient::new(channel);
    let list = MessageRequest::ListServices(String::new());
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(list) };
    let asked = tokio_stream::once(request);
    let mut answers = reflection.server_reflection_info(asked).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(list) = answer else { panic!("{answer:?}") };
    let served: BTreeSet<String> = list.service.into_iter().map(|one| one.name).collect();
    for service in [
        "grpc.health.v1.Health",
        "peloton.cluster.ClusterManager",
        "peloton.job.JobManager",
        "peloton.task.TaskManager",
    ] {
        assert!(served.contains(service), "{service} is not among {served:?}");
    }
}
