//! Listening, and what all of the HTTP APIs share.

#![allow(
    clippy::result_large_err,
    reason = "a refusal is an answer to be sent as it is, and there is at most one a request"
)]

pub(crate) mod agent;
mod files;
mod legacy;
pub(crate) mod master;
mod operator;
mod operator_views;
mod scheduler;
mod shape;
mod views;

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderMap};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use peloton_mesos_sim::Refusal;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

use crate::error::{Error, Result};
use crate::stream::Format;

/// The largest call that is taken: an ACCEPT with thousands of tasks is a few megabytes.
const MAX_BODY_BYTES: usize = 64 << 20;

/// After a failure to take a connection, as when no descriptors are left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;
pub(crate) type Answer = Response<Body>;

/// What answers requests.
pub(crate) trait Handler: Send + Sync + 'static {
    /// The answer to one.
    fn handle(self: Arc<Self>, request: Request<Incoming>) -> impl Future<Output = Answer> + Send;
}

/// Something that listens.
#[derive(Debug)]
pub(crate) struct Listening {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Listening {
    /// Listens, and answers until it is stopped.
    pub(crate) async fn start(address: SocketAddr, handler: Arc<impl Handler>) -> Result<Self> {
        let failed = |source| Error::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(accept(listener, handler, stopped));
        Ok(Self { address, stop, task })
    }

    /// Where.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends listening and all connections.
    pub(crate) async fn stop(self) {
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}

async fn accept(
    listener: TcpListener,
    handler: Arc<impl Handler>,
    mut stopped: oneshot::Receiver<()>,
) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // A server that was dropped stops, too.
            _ = &mut stopped => break,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let handler = Arc::clone(&handler);
        connections.spawn(async move {
            let service = service_fn(|request| {
                let handler = Arc::clone(&handler);
                async move { Ok::<_, Infallible>(handler.handle(request).await) }
            });
            let mut http = hyper::server::conn::http1::Builder::new();
            http.pipeline_flush(true).timer(TokioTimer::new()).header_read_timeout(None);
            // The peer's mistakes are the peer's.
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        });
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    connections.shutdown().await;
}

/// The whole body of a request, or the answer that it is too large or broken.
pub(crate) async fn body(body: Incoming) -> std::result::Result<Bytes, Answer> {
    match Limited::new(body, MAX_BODY_BYTES).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) => Err(text(StatusCode::BAD_REQUEST, format!("cannot read the body: {error}"))),
    }
}

/// An answer in plain text.
pub(crate) fn text(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    typed(status, "text/plain; charset=utf-8", text)
}

/// An answer in JSON.
pub(crate) fn json(value: &Value) -> Answer {
    typed(StatusCode::OK, Format::Json.media_type(), value.to_string())
}

/// An answer of some type.
pub(crate) fn typed(status: StatusCode, media_type: &str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()).boxed_unsync());
    *answer.status_mut() = status;
    if let Ok(value) = media_type.parse() {
        answer.headers_mut().insert(CONTENT_TYPE, value);
    }
    answer
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Full::default().boxed_unsync());
    *answer.status_mut() = status;
    answer
}

/// A refusal as an answer.
pub(crate) fn refused(refusal: Refusal) -> Answer {
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::BAD_REQUEST);
    text(status, refusal.body)
}

/// What a method other than the allowed ones gets.
pub(crate) fn method_not_allowed(allowed: &'static str, method: &hyper::Method) -> Answer {
    let words = format!(
        "405 Method Not Allowed. Expecting one of {{ '{allowed}' }}, but received '{method}'."
    );
    let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, words);
    answer
        .headers_mut()
        .insert(hyper::header::ALLOW, hyper::header::HeaderValue::from_static(allowed));
    answer
}

/// What a stopped server gives.
pub(crate) fn unavailable() -> Answer {
    text(StatusCode::SERVICE_UNAVAILABLE, "the simulated Mesos has been stopped")
}

/// The format of a body, by its header; or Mesos's refusal.
pub(crate) fn content_format(headers: &HeaderMap) -> std::result::Result<Format, Answer> {
    let Some(given) = headers.get(CONTENT_TYPE) else {
        return Err(text(StatusCode::BAD_REQUEST, "Expecting 'Content-Type' to be present"));
    };
    match given.as_bytes() {
        b"application/json" => Ok(Format::Json),
        b"application/x-protobuf" => Ok(Format::Protobuf),
        _ => Err(text(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "Expecting 'Content-Type' of application/json or application/x-protobuf",
        )),
    }
}

/// The format that the client wants, JSON if it does not matter; or Mesos's refusal.
pub(crate) fn accepted_format(headers: &HeaderMap) -> std::result::Result<Format, Answer> {
    if !headers.contains_key(ACCEPT) {
        return Ok(Format::Json);
    }
    let given = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let types: Vec<&str> = given
        .flat_map(|value| value.split(','))
        .filter_map(|item| item.split(';').next())
        .map(str::trim)
        .collect();
    let accepts = |format: Format| {
        types.iter().any(|one| [format.media_type(), "application/*", "*/*"].contains(one))
    };
    let found = [Format::Json, Format::Protobuf].into_iter().find(|format| accepts(*format));
    found.ok_or_else(|| {
        let words = "Expecting 'Accept' to allow 'application/x-protobuf' or 'application/json'";
        text(StatusCode::NOT_ACCEPTABLE, words)
    })
}

/// A query's parameter, decoded.
pub(crate) fn parameter(query: Option<&str>, name: &str) -> Option<String> {
    let pairs = query.unwrap_or_default().split('&');
    let found = pairs.filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name);
    found.map(|(_, value)| decoded(value))
}

/// Percent-encoding and `+` taken off.
pub(crate) fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escaped = text.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (byte, escaped) {
            (b'%', Some(value)) => {
                out.push(value);
                at += 2;
            }
            (b'+', _) => out.push(b' '),
            (other, _) => out.push(other),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_follow_the_headers() {
        let accepted = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, value.parse().unwrap());
            accepted_format(&headers).map_err(|answer| answer.status().as_u16())
        };
        assert_eq!(accepted("application/x-protobuf"), Ok(Format::Protobuf));
        assert_eq!(accepted("text/html, application/x-protobuf;q=0.5"), Ok(Format::Protobuf));
        assert_eq!(accepted("*/*"), Ok(Format::Json));
        assert_eq!(accepted("text/html"), Err(406));
        assert_eq!(accepted_format(&HeaderMap::new()).ok(), Some(Format::Json));
        assert_eq!(content_format(&HeaderMap::new()).unwrap_err().status(), 400);
    }

    #[test]
    fn queries_are_decoded() {
        let query = Some("path=/a%20b%2Fc&offset=-1&x=a+b&bad=%zz");
        assert_eq!(parameter(query, "path").as_deref(), Some("/a b/c"));
        assert_eq!(parameter(query, "offset").as_deref(), Some("-1"));
        assert_eq!(parameter(query, "x").as_deref(), Some("a b"));
        assert_eq!(parameter(query, "bad").as_deref(), Some("%zz"));
        assert_eq!(parameter(None, "path"), None);
    }
}
