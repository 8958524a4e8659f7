//! `POST /api/v1/scheduler`: in the order in which Mesos checks a request.

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use peloton_proto::json::from_json_slice;
use peloton_proto::mesos::v1::scheduler::{Call, call};
use prost::Message as _;
use tokio::sync::oneshot;

use super::{
    Answer, accepted_format, body, content_format, empty, method_not_allowed, refused, text,
    unavailable,
};
use crate::driver::{self, Handle};
use crate::stream::Format;

const STREAM_ID: &str = "mesos-stream-id";

/// Answers a scheduler. `principal` is who it has proved to be, where that is asked for.
pub(super) async fn handle(
    driver: &Handle,
    principal: Option<String>,
    request: Request<Incoming>,
) -> Answer {
    match checked(driver, principal, request).await {
        Ok(answer) | Err(answer) => answer,
    }
}

async fn checked(
    driver: &Handle,
    principal: Option<String>,
    request: Request<Incoming>,
) -> Result<Answer, Answer> {
    if request.method() != Method::POST {
        return Err(method_not_allowed("POST", request.method()));
    }
    let (head, content) = request.into_parts();
    let format = content_format(&head.headers)?;
    let mut call = read(format, &body(content).await?)?;
    let stream_id = head.headers.get(STREAM_ID).and_then(|value| value.to_str().ok());
    let kind = call.r#type();
    if matches!(kind, call::Type::Subscribe | call::Type::ReconcileOperations) {
        accepted_format(&head.headers)?;
    }
    if kind != call::Type::Subscribe {
        let stream_id = stream_id.map(str::to_owned);
        return send(driver, stream_id, call).await;
    }
    if stream_id.is_some() {
        let words = "Subscribe calls should not include the 'Mesos-Stream-Id' header";
        return Err(text(StatusCode::BAD_REQUEST, words));
    }
    if let Some(principal) = principal {
        claim(&mut call, principal)?;
    }
    subscribe(driver, accepted_format(&head.headers)?, call).await
}

fn read(format: Format, body: &Bytes) -> Result<Call, Answer> {
    let bad = |words: String| text(StatusCode::BAD_REQUEST, words);
    match format {
        Format::Protobuf => Call::decode(body.clone())
            .map_err(|_| bad("Failed to parse body into Call protobuf".to_owned())),
        Format::Json => from_json_slice::<Call>(body).map(|read| read.message).map_err(|error| {
            if serde_json::from_slice::<serde::de::IgnoredAny>(body).is_err() {
                return bad(format!("Failed to parse body into JSON: {error}"));
            }
            bad(format!("Failed to convert JSON into Call protobuf: {error}"))
        }),
    }
}

/// The framework gets the principal that has proved itself, and may not claim another.
fn claim(call: &mut Call, principal: String) -> Result<(), Answer> {
    let Some(subscribe) = &mut call.subscribe else { return Ok(()) };
    match &subscribe.framework_info.principal {
        Some(claimed) if *claimed != principal => {
            let words = format!(
                "Failed to validate scheduler::Call: Authenticated principal '{principal}' does not \
                 match principal '{claimed}' set in `FrameworkInfo`"
            );
            Err(text(StatusCode::BAD_REQUEST, words))
        }
        Some(_) => Ok(()),
        None => {
            subscribe.framework_info.principal = Some(principal);
            Ok(())
        }
    }
}

async fn send(driver: &Handle, stream_id: Option<String>, call: Call) -> Result<Answer, Answer> {
    let (answer, answered) = oneshot::channel();
    driver.send(driver::Request::Call { stream_id, call: Box::new(call), answer });
    match answered.await {
        Ok(Ok(())) => Ok(empty(StatusCode::ACCEPTED)),
        Ok(Err(refusal)) => Err(refused(refusal)),
        Err(_) => Err(unavailable()),
    }
}

async fn subscribe(driver: &Handle, format: Format, call: Call) -> Result<Answer, Answer> {
    let (answer, answered) = oneshot::channel();
    driver.send(driver::Request::Subscribe { call: Box::new(call), format, answer });
    let (stream_id, stream) = match answered.await {
        Ok(Ok(subscribed)) => subscribed,
        Ok(Err(refusal)) => return Err(refused(refusal)),
        Err(_) => return Err(unavailable()),
    };
    let mut answer = Response::new(stream.boxed_unsync());
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(format.media_type()));
    if let Ok(value) = HeaderValue::from_str(&stream_id) {
        headers.insert(STREAM_ID, value);
    }
    Ok(answer)
}
