//! YARPC over HTTP/1.1 with JSON, as clients of 2016 speak it: the call is in the headers, whatever
//! the path and the content type. Errors are one line of text under a status; newer clients read
//! the code from `Rpc-Error-Code`. The order of the checks, the texts and the statuses are an
//! interface: clients match on them.

use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Body;
use peloton_model::Code;
use peloton_proto::descriptors::{self, Method};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::ApiError;
use crate::domain::Caller;
use crate::grpc::{self, MAX_PATIENCE};
use crate::metrics::{Encoding, UNRECOGNIZED};
use crate::rpc::{Api, CallError, Context, call_json};

const CALLER: &str = "rpc-caller";
const SERVICE: &str = "rpc-service";
const PROCEDURE: &str = "rpc-procedure";
const ENCODING: &str = "rpc-encoding";
const TTL: &str = "context-ttl-ms";
const STATUS: &str = "rpc-status";
const ERROR_CODE: &str = "rpc-error-code";
/// What gRPC has as metadata of the same names, without the prefix of application headers.
const REQUEST_ID: &str = "rpc-header-peloton-request-id";
const ATTEMPT: &str = "rpc-header-peloton-attempt";
const NOT_EXECUTED: &str = "rpc-header-peloton-not-executed";
const OUTCOME_UNKNOWN: &str = "rpc-header-peloton-outcome-unknown";

/// What is read and thrown away of a body that is too large, so that its sender, who reads only when
/// it has sent everything, gets to see why.
const MAX_DISCARDED_BYTES: usize = 16 * 1024 * 1024;
/// The longest time for a body to arrive, however long the caller would wait.
const MAX_BODY_WAIT: Duration = Duration::from_secs(30);

/// What this endpoint serves.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// The service's name in `Rpc-Service`.
    pub(crate) service: String,
    /// The largest body, in bytes.
    pub(crate) max_bytes: usize,
    /// One permit for each call in hand.
    pub(crate) in_hand: Semaphore,
}

/// An error as the wire has it.
#[derive(Debug, PartialEq, Eq)]
struct Failure {
    status: StatusCode,
    code: Code,
    text: String,
    /// The header that tells what is known of the outcome, if anything is.
    outcome: Option<&'static str>,
}

/// The headers of a call.
#[derive(Debug)]
struct Head {
    service: String,
    procedure: String,
    caller: String,
    encoding: String,
    ttl: Option<(String, i64)>,
}

/// A call whose headers are right.
struct Call {
    head: Head,
    method: &'static Method,
    begun: Instant,
    patience: Duration,
}

impl Failure {
    fn bad_request(code: Code, text: String) -> Self {
        let text = format!("BadRequest: {text}");
        Self { status: StatusCode::BAD_REQUEST, code, text, outcome: None }
    }

    fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::from(format!("{}\n", self.text)));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(ERROR_CODE, HeaderValue::from_static(self.code.name()));
        if let Some(outcome) = self.outcome {
            headers.insert(outcome, HeaderValue::from_static("1"));
        }
        response
    }
}

/// The status of an error of ours.
fn status(code: Code) -> StatusCode {
    match code {
        Code::InvalidArgument | Code::FailedPrecondition => StatusCode::BAD_REQUEST,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
    }
}

/// `A`, `A and B`, `A, B, and C`.
fn listed(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [one, two] => format!("{one} and {two}"),
        [all @ .., last] => format!("{}, and {last}", all.join(", ")),
    }
}

impl Head {
    /// Reads the headers. The TTL comes first: a call without a sound one is nobody's.
    fn read(headers: &HeaderMap) -> Result<Self, Failure> {
        let text = |name: &str| {
            let value = headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
            value.unwrap_or_default().trim().to_owned()
        };
        let mut head = Self {
            service: text(SERVICE),
            procedure: text(PROCEDURE),
            caller: text(CALLER),
            encoding: text(ENCODING),
            ttl: None,
        };
        let ttl = text(TTL);
        if !ttl.is_empty() {
            match ttl.parse() {
                Ok(ms) => head.ttl = Some((ttl, ms)),
                Err(_) => return Err(head.invalid_ttl(&ttl)),
            }
        }
        Ok(head)
    }

    fn invalid_ttl(&self, ttl: &str) -> Failure {
        let Self { service, procedure, .. } = self;
        let text = format!(
            "invalid TTL {ttl:?} for procedure {procedure:?} of service {service:?}: \
             must be positive integer"
        );
        Failure::bad_request(Code::InvalidArgument, text)
    }

    /// The time that the caller gives.
    fn patience(&self) -> Result<Duration, Failure> {
        let there = [
            (!self.service.is_empty(), "service name"),
            (!self.procedure.is_empty(), "procedure"),
            (!self.caller.is_empty(), "caller name"),
            (self.ttl.is_some(), "TTL"),
            (!self.encoding.is_empty(), "encoding"),
        ];
        let missing: Vec<_> = there.iter().filter(|(there, _)| !there).map(|(_, n)| *n).collect();
        let Some((ttl, ms)) = self.ttl.as_ref().filter(|_| missing.is_empty()) else {
            let text = format!("missing {}", listed(&missing));
            return Err(Failure::bad_request(Code::InvalidArgument, text));
        };
        match u64::try_from(*ms) {
            Ok(ms) if ms > 0 => Ok(Duration::from_millis(ms)),
            _ => Err(self.invalid_ttl(ttl)),
        }
    }

    fn method(&self, service: &str) -> Result<&'static Method, Failure> {
        let found = descriptors::method_by_procedure(&self.procedure)
            .filter(|method| self.service == service && method.service.starts_with("peloton."));
        found.ok_or_else(|| self.unrecognized())
    }

    fn unrecognized(&self) -> Failure {
        let Self { service, procedure, .. } = self;
        let text = format!("unrecognized procedure {procedure:?} for service {service:?}");
        Failure::bad_request(Code::Unimplemented, text)
    }

    /// The body, or what the headers say of it, is not what the procedure takes.
    fn undecodable(&self, code: Code, what: &str) -> Failure {
        let Self { service, procedure, caller, .. } = self;
        let text = format!(
            "failed to decode \"json\" request body for procedure {procedure:?} of service \
             {service:?} from caller {caller:?}: {what}"
        );
        Failure { status: status(code), ..Failure::bad_request(code, text) }
    }

    fn timeout(&self, patience: Duration) -> Failure {
        let Self { service, procedure, caller, .. } = self;
        let text = format!(
            "Timeout: call to procedure {procedure:?} of service {service:?} from caller \
             {caller:?} timed out after {patience:?}"
        );
        let code = Code::DeadlineExceeded;
        Failure { status: status(code), code, text, outcome: None }
    }

    fn failed(&self, error: &ApiError) -> Failure {
        let Self { service, procedure, .. } = self;
        let status = status(error.code);
        let kind = match error.code {
            Code::DeadlineExceeded => "Timeout",
            _ if status.is_client_error() => "BadRequest",
            _ => "UnexpectedError",
        };
        let text =
            format!("{kind}: error for procedure {procedure:?} of service {service:?}: {error}");
        let outcome = match (error.not_executed, error.outcome_unknown) {
            (true, _) => Some(NOT_EXECUTED),
            (_, true) => Some(OUTCOME_UNKNOWN),
            _ => None,
        };
        Failure { status, code: error.code, text, outcome }
    }
}

/// Answers a POST.
pub(crate) async fn serve<B>(
    api: &Api,
    endpoint: &Endpoint,
    request: Request<B>,
) -> Response<Full<Bytes>>
where
    B: Body<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    let begun = Instant::now();
    let (parts, body) = request.into_parts();
    let head = Head::read(&parts.headers);
    let call = head.and_then(|head| {
        let patience = head.patience()?;
        let method = head.method(&endpoint.service)?;
        if head.encoding != "json" {
            let what = format!("expected encoding \"json\" but got {:?}", head.encoding);
            return Err(head.undecodable(Code::InvalidArgument, &what));
        }
        Ok(Call { head, method, begun, patience })
    });
    let call = match call {
        Ok(call) => call,
        Err(failure) => {
            api.metrics.begin(UNRECOGNIZED, Encoding::Json).end(Some(failure.code));
            return failure.into_response();
        }
    };
    let flight = api.metrics.begin(&call.method.short_procedure(), Encoding::Json);
    let deadline = begun + call.patience.min(MAX_PATIENCE);
    let outcome = timeout_at(deadline, answer(api, endpoint, &call, &parts.headers, body)).await;
    match outcome.unwrap_or_else(|_| Err(call.head.timeout(call.patience))) {
        Ok(json) => {
            flight.end(None);
            success(&endpoint.service, json)
        }
        Err(failure) => {
            flight.end(Some(failure.code));
            failure.into_response()
        }
    }
}

async fn answer<B>(
    api: &Api,
    endpoint: &Endpoint,
    call: &Call,
    headers: &HeaderMap,
    body: B,
) -> Result<String, Failure>
where
    B: Body<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    let Ok(_permit) = endpoint.in_hand.try_acquire() else {
        let message = "this master has too many calls in hand; try again, or another";
        let error = ApiError::new(Code::ResourceExhausted, message);
        return Err(call.head.failed(&ApiError { not_executed: true, ..error }));
    };
    let body = read_body(headers, body, endpoint.max_bytes, call).await?;
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let caller = Caller {
        name: call.head.caller.clone(),
        deadline: call.begun + call.patience.min(MAX_PATIENCE),
        request: text(REQUEST_ID).map(grpc::request_id),
        repeats: text(ATTEMPT).is_some_and(grpc::is_repeated),
    };
    let context = Context { caller, has_deadline: true };
    call_json(api, &context, call.method, &body).await.map_err(|error| match error {
        CallError::Unrecognized => call.head.unrecognized(),
        CallError::Decode(what) => call.head.undecodable(Code::InvalidArgument, &what),
        CallError::Api(error) => call.head.failed(&error),
    })
}

async fn read_body<B>(
    headers: &HeaderMap,
    body: B,
    max_bytes: usize,
    call: &Call,
) -> Result<Bytes, Failure>
where
    B: Body<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    let too_large = || {
        let what = format!("the body is larger than {max_bytes} bytes");
        call.head.undecodable(Code::ResourceExhausted, &what)
    };
    let declared = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let declared: usize = declared.unwrap_or(0);
    // Who waits for our consent before sending, or announces more than we would throw away, is told
    // at once.
    let is_waiting = headers.contains_key(EXPECT);
    let discardable = max_bytes.saturating_add(MAX_DISCARDED_BYTES);
    if declared > max_bytes && (is_waiting || declared > discardable) {
        return Err(too_large());
    }
    let mut body = pin!(body);
    let (mut kept, mut total) = (BytesMut::new(), 0_usize);
    let deadline = Instant::now() + MAX_BODY_WAIT;
    loop {
        let frame = timeout_at(deadline, body.frame()).await;
        let Ok(frame) = frame else { return Err(call.head.timeout(MAX_BODY_WAIT)) };
        let data = match frame {
            None => break,
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            Some(Err(error)) => {
                let what = format!("the body broke off: {error}");
                return Err(call.head.undecodable(Code::InvalidArgument, &what));
            }
        };
        total = total.saturating_add(data.len());
        if total > discardable {
            break;
        }
        if total <= max_bytes {
            kept.extend_from_slice(&data);
        } else {
            kept = BytesMut::new();
        }
    }
    if total > max_bytes { Err(too_large()) } else { Ok(kept.freeze()) }
}

fn success(service: &str, mut json: String) -> Response<Full<Bytes>> {
    json.push('\n');
    let mut response = Response::new(Full::from(json));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Ok(service) = HeaderValue::from_str(service) {
        headers.insert(SERVICE, service);
    }
    headers.insert(STATUS, HeaderValue::from_static("success"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use http_body_util::StreamBody;
    use hyper::body::Frame;

    /// The clock is tokio's own here and leaps from timer to timer.
    #[tokio::test(start_paused = true)]
    async fn a_body_that_trickles_runs_out_of_time() {
        let frames = Box::pin(stream::unfold(0_u32, async |sent| {
            tokio::time::sleep(MAX_BODY_WAIT / 4).await;
            let frame = Frame::data(Bytes::from_static(b" "));
            (sent < 8).then_some((Ok::<_, std::io::Error>(frame), sent + 1))
        }));
        let mut headers = HeaderMap::new();
        for (name, value) in [(SERVICE, "s"), (PROCEDURE, "p"), (CALLER, "c")] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let call = Call {
            head: Head::read(&headers).unwrap(),
            method: descriptors::method_by_procedure("JobManager.Get").unwrap(),
            begun: Instant::now(),
            patience: MAX_PATIENCE,
        };
        let read = read_body(&headers, StreamBody::new(frames), 1024, &call).await;
        assert_eq!(read.unwrap_err(), call.head.timeout(MAX_BODY_WAIT));
    }

    #[test]
    fn lists_of_names() {
        assert_eq!(listed(&["a"]), "a");
        assert_eq!(listed(&["a", "b"]), "a and b");
        assert_eq!(listed(&["a", "b", "c"]), "a, b, and c");
    }
}
