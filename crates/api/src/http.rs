//! Which of the encodings a request is for, and the pages for people and probes. One port serves all:
//! `application/grpc` over HTTP/2 is gRPC, every other POST is YARPC, GET has its few pages.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::Full;
use hyper::body::{Body as HttpBody, Incoming};
use peloton_model::Code;
use peloton_telemetry::{BuildInfo, Health, Metrics};
use std::sync::Arc;
use tokio::time::timeout_at;
use tonic::body::Body;
use tonic::service::Routes;
use tower::ServiceExt;

use crate::ApiError;
use crate::grpc::{self, Arrival};
use crate::rpc::Api;
use crate::yarpc::{self, Endpoint};

/// How much longer than its deadline a gRPC call is waited for: its handler says more of the reason.
const GRACE: Duration = Duration::from_millis(5);

/// Everything that answers requests.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) api: Arc<Api>,
    pub(crate) endpoint: Endpoint,
    pub(crate) routes: Routes,
    pub(crate) health: Health,
    pub(crate) metrics: Metrics,
    pub(crate) build: BuildInfo,
}

impl Site {
    /// Answers one request.
    pub(crate) async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        if is_grpc(&request) {
            return self.grpc(request).await;
        }
        let response = match *request.method() {
            Method::POST => yarpc::serve(&self.api, &self.endpoint, request).await,
            Method::GET | Method::HEAD => self.page(request.uri().path()),
            _ => not_found("there is nothing here for this method"),
        };
        response.map(Body::new)
    }

    async fn grpc(&self, mut request: Request<Incoming>) -> Response<Body> {
        let Ok(_permit) = self.endpoint.in_hand.try_acquire() else {
            let message = "this master has too many calls in hand; try again, or another";
            let error = ApiError::new(Code::ResourceExhausted, message);
            return grpc::refusal(ApiError { not_executed: true, ..error });
        };
        let arrival = Arrival::new(request.headers());
        let deadline = arrival.caller.deadline + GRACE;
        request.extensions_mut().insert(arrival);
        // Until the answer begins: a stream looks at its deadline itself.
        match timeout_at(deadline, self.routes.clone().oneshot(request.map(Body::new))).await {
            Ok(Ok(response)) => response,
            Ok(Err(never)) => match never {},
            Err(_) => grpc::refusal(ApiError::new(
                Code::DeadlineExceeded,
                "the call's deadline has passed",
            )),
        }
    }

    fn page(&self, path: &str) -> Response<Full<Bytes>> {
        match path {
            "/health" => {
                let health = self.health.snapshot();
                let status = StatusCode::from_u16(health.http_status());
                let status = status.unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
                page(status, "application/json", format!("{}\n", health.to_json()))
            }
            "/metrics" => match self.metrics.render() {
                Ok(text) => page(StatusCode::OK, Metrics::CONTENT_TYPE, text),
                Err(error) => page(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{error}\n")),
            },
            "/version" => {
                let BuildInfo { program, version, revision } = &self.build;
                let json = serde_json::json!({
                    "program": program, "version": version, "revision": revision,
                });
                page(StatusCode::OK, "application/json", format!("{json}\n"))
            }
            _ => not_found("GET serves /health, /metrics and /version; calls are POSTs"),
        }
    }
}

const TEXT: &str = "text/plain; charset=utf-8";

fn page(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn not_found(text: &str) -> Response<Full<Bytes>> {
    page(StatusCode::NOT_FOUND, TEXT, format!("404: {text}\n"))
}

/// `application/grpc`, `application/grpc+proto`; but not `application/grpc-web`, another protocol.
fn is_grpc<B: HttpBody>(request: &Request<B>) -> bool {
    let kind = request.headers().get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let rest = kind.strip_prefix(b"application/grpc");
    request.version() == Version::HTTP_2
        && rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}
