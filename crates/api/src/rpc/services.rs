//! The tables of procedures. Each line below becomes two things: an arm of the dispatch by name for
//! JSON, and a method of the gRPC service. A test compares them with the `.proto` files.

use std::sync::Arc;

use peloton_model::Code;
use peloton_proto::descriptors::Method;
use peloton_proto::json::{self, JsonOptions};
use peloton_proto::peloton as proto;
use prost::{Message, Name};
use tonic::{Request, Response, Status};

use super::{
    Api, Context, cluster_manager, job_manager, task_manager, upgrade_manager, volume_manager,
    watch,
};
use crate::ApiError;
use crate::grpc::{self, Arrival};
use crate::metrics::Encoding;

/// Why a call by JSON has no answer.
#[derive(Debug)]
pub(crate) enum CallError {
    /// There is no such procedure.
    Unrecognized,
    /// The body is not its request.
    Decode(String),
    /// The handler failed.
    Api(ApiError),
}

/// The gRPC services, over the same handlers.
#[derive(Debug, Clone)]
pub(crate) struct Grpc(pub(crate) Arc<Api>);

fn decode<M: Message + Name + Default>(body: &[u8]) -> Result<M, CallError> {
    // Unknown keys are the command line's to warn of; the wire ignores them, for newer clients' sake.
    let decoded = json::from_json_slice::<M>(body);
    decoded.map(|d| d.message).map_err(|error| CallError::Decode(error.to_string()))
}

fn encode<M: Message + Name>(answer: Result<M, ApiError>) -> Result<String, CallError> {
    let answer = answer.map_err(CallError::Api)?;
    json::to_json_string(&answer, JsonOptions::default()).map_err(|error| {
        CallError::Api(ApiError::internal(format!("the answer cannot be encoded: {error}")))
    })
}

/// The context of a gRPC call.
fn context<M>(request: &Request<M>) -> Context {
    let arrival = request.extensions().get::<Arrival>().cloned().unwrap_or_default();
    Context { caller: arrival.caller, has_deadline: arrival.has_deadline }
}

macro_rules! service {
    (
        $json:ident, $handlers:ident, $package:ident, $server:ident :: $Service:ident {
            $($method:ident $Method:literal ($Request:ident) -> $Response:ident;)*
        }
        $($streams:tt)*
    ) => {
        async fn $json(
            api: &Api,
            context: &Context,
            method: &str,
            body: &[u8],
        ) -> Result<String, CallError> {
            match method {
                $($Method => {
                    let request: proto::$package::$Request = decode(body)?;
                    encode($handlers::$method(api, context, request).await)
                })*
                _ => Err(CallError::Unrecognized),
            }
        }

        #[tonic::async_trait]
        impl proto::$package::$server::$Service for Grpc {
            $(async fn $method(
                &self,
                request: Request<proto::$package::$Request>,
            ) -> Result<Response<proto::$package::$Response>, Status> {
                let context = context(&request);
                let procedure = concat!(stringify!($Service), ".", $Method);
                let flight = self.0.metrics.begin(procedure, Encoding::Grpc);
                let answer = $handlers::$method(&self.0, &context, request.into_inner()).await;
                flight.end(answer.as_ref().err().map(|error| error.code));
                answer.map(Response::new).map_err(grpc::status)
            })*

            $($streams)*
        }
    };
}

service! {
    job_json, job_manager, job, job_manager_server::JobManager {
        create "Create" (CreateRequest) -> CreateResponse;
        get "Get" (GetRequest) -> GetResponse;
        query "Query" (QueryRequest) -> QueryResponse;
        delete "Delete" (DeleteRequest) -> DeleteResponse;
        update "Update" (UpdateRequest) -> UpdateResponse;
        start "Start" (StartRequest) -> StartResponse;
        stop "Stop" (StopRequest) -> StopResponse;
        restart "Restart" (RestartRequest) -> RestartResponse;
        get_status "GetStatus" (GetStatusRequest) -> GetStatusResponse;
        get_versions "GetVersions" (GetVersionsRequest) -> GetVersionsResponse;
    }

    type WatchStream = watch::WatchStream;

    async fn watch(
        &self,
        request: Request<proto::job::WatchRequest>,
    ) -> Result<Response<watch::WatchStream>, Status> {
        let context = context(&request);
        let stream = watch::watch(&self.0, &context, request.into_inner());
        stream.map(Response::new).map_err(grpc::status)
    }
}

service! {
    task_json, task_manager, task, task_manager_server::TaskManager {
        get "Get" (GetRequest) -> GetResponse;
        list "List" (ListRequest) -> ListResponse;
        start "Start" (StartRequest) -> StartResponse;
        stop "Stop" (StopRequest) -> StopResponse;
        restart "Restart" (RestartRequest) -> RestartResponse;
        get_history "GetHistory" (GetHistoryRequest) -> GetHistoryResponse;
    }
}

service! {
    upgrade_json, upgrade_manager, upgrade, upgrade_manager_server::UpgradeManager {
        create "Create" (CreateRequest) -> CreateResponse;
        get "Get" (GetRequest) -> GetResponse;
        list "List" (ListRequest) -> ListResponse;
        pause "Pause" (PauseRequest) -> PauseResponse;
        resume "Resume" (ResumeRequest) -> ResumeResponse;
        rollback "Rollback" (RollbackRequest) -> RollbackResponse;
        abort "Abort" (AbortRequest) -> AbortResponse;
        get_events "GetEvents" (GetEventsRequest) -> GetEventsResponse;
    }
}

service! {
    volume_json, volume_manager, volume, volume_manager_server::VolumeManager {
        list "List" (ListRequest) -> ListResponse;
        get "Get" (GetRequest) -> GetResponse;
        delete "Delete" (DeleteRequest) -> DeleteResponse;
        release "Release" (ReleaseRequest) -> ReleaseResponse;
        adopt "Adopt" (AdoptRequest) -> AdoptResponse;
    }
}

service! {
    cluster_json, cluster_manager, cluster, cluster_manager_server::ClusterManager {
        get "Get" (GetRequest) -> GetResponse;
        get_status "GetStatus" (GetStatusRequest) -> GetStatusResponse;
    }
}

/// Calls a unary method with its request and answer as JSON.
pub(crate) async fn call_json(
    api: &Api,
    context: &Context,
    method: &Method,
    body: &[u8],
) -> Result<String, CallError> {
    let name = method.name.as_str();
    if !method.is_unary() {
        let message = format!("{} answers a stream: call it over gRPC", method.short_procedure());
        return Err(CallError::Api(ApiError::new(Code::Unimplemented, message)));
    }
    match method.service.as_str() {
        "peloton.job.JobManager" => job_json(api, context, name, body).await,
        "peloton.task.TaskManager" => task_json(api, context, name, body).await,
        "peloton.upgrade.UpgradeManager" => upgrade_json(api, context, name, body).await,
        "peloton.volume.VolumeManager" => volume_json(api, context, name, body).await,
        "peloton.cluster.ClusterManager" => cluster_json(api, context, name, body).await,
        _ => Err(CallError::Unrecognized),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::api;
    use peloton_proto::descriptors::methods;

    #[tokio::test]
    async fn every_method_of_the_proto_files_is_in_the_tables() {
        let (api, context) = (api(), crate::testing::context());
        for method in methods().iter().filter(|m| m.service.starts_with("peloton.")) {
            let answer = call_json(&api, &context, method, b"not JSON").await;
            let found = match &answer {
                Err(CallError::Decode(_)) => method.is_unary(),
                Err(CallError::Api(error)) => error.code == Code::Unimplemented,
                _ => false,
            };
            assert!(found, "{}: {answer:?}", method.procedure());
        }
    }
}
