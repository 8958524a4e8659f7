//! gRPC: the same handlers over HTTP/2, with reflection and the standard health service.

use std::time::Duration;

use http::{HeaderMap, Response};
use peloton_model::Code;
use peloton_proto::FILE_DESCRIPTOR_SET;
use peloton_proto::peloton::cluster::cluster_manager_server::ClusterManagerServer;
use peloton_proto::peloton::job::job_manager_server::JobManagerServer;
use peloton_proto::peloton::task::task_manager_server::TaskManagerServer;
use peloton_proto::peloton::upgrade::upgrade_manager_server::UpgradeManagerServer;
use peloton_proto::peloton::volume::volume_manager_server::VolumeManagerServer;
use tonic::Status;
use tonic::body::Body;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::service::Routes;
use tonic_health::server::{HealthReporter, health_reporter};

use crate::ApiError;
use crate::domain::Caller;
use crate::rpc::Grpc;

/// How long a call may take whose caller named no deadline.
pub(crate) const DEFAULT_PATIENCE: Duration = Duration::from_secs(60);
/// The longest deadline that is kept: nobody waits a day, and greater numbers overflow clocks.
pub(crate) const MAX_PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// A call as it arrived; handed to the services with the request.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    pub(crate) caller: Caller,
    pub(crate) has_deadline: bool,
}

impl Default for Arrival {
    fn default() -> Self {
        Self { caller: Caller::new("", DEFAULT_PATIENCE), has_deadline: false }
    }
}

impl Arrival {
    /// From a request's headers. `rpc-caller` is taken as the name to be recorded with changes;
    /// other `rpc-*` headers, and ones that are wrong, mean nothing here.
    pub(crate) fn new(headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let patience = text("grpc-timeout").and_then(parse_timeout);
        let name = text("rpc-caller").unwrap_or_default();
        let wait = patience.unwrap_or(DEFAULT_PATIENCE).min(MAX_PATIENCE);
        let caller = Caller {
            request: text(REQUEST_ID).map(request_id),
            repeats: text(ATTEMPT).is_some_and(is_repeated),
            ..Caller::new(name, wait)
        };
        Self { caller, has_deadline: patience.is_some() }
    }
}

/// A client's own id of what it asks, as the records have it: texts of any form, the same for all masters.
pub(crate) fn request_id(text: &str) -> u64 {
    // FNV-1a.
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Whether a call is not the first attempt.
pub(crate) fn is_repeated(attempt: &str) -> bool {
    attempt.trim() != "1"
}

/// `grpc-timeout`: up to eight digits and a unit.
fn parse_timeout(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let digits = text.strip_suffix(unit)?;
    let legal = (1..=8).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    let n: u64 = digits.parse().ok().filter(|_| legal)?;
    match unit {
        'H' => Some(Duration::from_secs(n * 3600)),
        'M' => Some(Duration::from_secs(n * 60)),
        'S' => Some(Duration::from_secs(n)),
        'm' => Some(Duration::from_millis(n)),
        'u' => Some(Duration::from_micros(n)),
        'n' => Some(Duration::from_nanos(n)),
        _ => None,
    }
}

/// Every service on one set of routes; unknown ones are answered with UNIMPLEMENTED.
pub(crate) fn routes(
    grpc: &Grpc,
    max_bytes: usize,
) -> Result<(Routes, HealthReporter), tonic_reflection::server::Error> {
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let (reporter, health) = health_reporter();
    let routes = Routes::new(health)
        .add_service(reflection().build_v1()?)
        // Older tools, among them widespread releases of grpcurl, know only this one.
        .add_service(reflection().build_v1alpha()?)
        .add_service(JobManagerServer::new(grpc.clone()).max_decoding_message_size(max_bytes))
        .add_service(TaskManagerServer::new(grpc.clone()).max_decoding_message_size(max_bytes))
        .add_service(UpgradeManagerServer::new(grpc.clone()).max_decoding_message_size(max_bytes))
        .add_service(VolumeManagerServer::new(grpc.clone()).max_decoding_message_size(max_bytes))
        .add_service(ClusterManagerServer::new(grpc.clone()).max_decoding_message_size(max_bytes));
    Ok((routes.prepare(), reporter))
}

/// The id of a change, the same in all attempts at it: it is made once.
const REQUEST_ID: &str = "peloton-request-id";
/// Counts the attempts, from 1.
const ATTEMPT: &str = "peloton-attempt";
/// Set on an error where nothing of the request was done: the client may ask another master.
const NOT_EXECUTED: &str = "peloton-not-executed";
/// Set on an error after which nobody knows whether a change was made, or still will be.
const OUTCOME_UNKNOWN: &str = "peloton-outcome-unknown";

/// An error as gRPC says it.
pub(crate) fn status(error: ApiError) -> Status {
    let code = match error.code {
        Code::InvalidArgument => tonic::Code::InvalidArgument,
        Code::NotFound => tonic::Code::NotFound,
        Code::AlreadyExists => tonic::Code::AlreadyExists,
        Code::Aborted => tonic::Code::Aborted,
        Code::FailedPrecondition => tonic::Code::FailedPrecondition,
        Code::ResourceExhausted => tonic::Code::ResourceExhausted,
        Code::PermissionDenied => tonic::Code::PermissionDenied,
        Code::Unauthenticated => tonic::Code::Unauthenticated,
        Code::Unavailable => tonic::Code::Unavailable,
        Code::DeadlineExceeded => tonic::Code::DeadlineExceeded,
        Code::Internal => tonic::Code::Internal,
        Code::Unimplemented => tonic::Code::Unimplemented,
    };
    let mut metadata = MetadataMap::new();
    if error.not_executed {
        metadata.insert(NOT_EXECUTED, MetadataValue::from_static("1"));
    }
    if error.outcome_unknown {
        metadata.insert(OUTCOME_UNKNOWN, MetadataValue::from_static("1"));
    }
    Status::with_metadata(code, error.message, metadata)
}

/// An error as a whole answer, for calls that never reached a service.
pub(crate) fn refusal(error: ApiError) -> Response<Body> {
    status(error).into_http()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_as_the_protocol_writes_them() {
        let ms = |n| Some(Duration::from_millis(n));
        for (text, expected) in [
            ("1H", ms(3_600_000)),
            ("2M", ms(120_000)),
            ("3S", ms(3000)),
            ("99m", ms(99)),
            ("5000u", ms(5)),
            ("6000000n", ms(6)),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
            ("", None),
            ("m", None),
            ("100000000m", None),
            ("+1m", None),
            ("1d", None),
            ("1é", None),
        ] {
            assert_eq!(parse_timeout(text), expected, "{text}");
        }
    }
}
