//! HTTP/1.1 connections to a master, and the requests made on them.

use crate::options::Options;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::{Buf, Bytes};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use http::{Method, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use peloton_mesos_wire::MasterAddress;
use peloton_mesos_wire::calls::{PROTOBUF, STREAM_ID_HEADER};
use peloton_proto::mesos::v1::scheduler::Call;
use prost::Message;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// The most of an error's text that is read, in bytes. Mesos's are a sentence; a proxy's page need
/// not be kept.
const MAX_ERROR_BODY_BYTES: usize = 16 * 1024;

/// How long to wait for an error's text once its status is known.
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(2);

/// What went wrong with a connection, in words.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    #[error("{0}")]
    Connect(#[from] std::io::Error),
    #[error("no connection within {0} ms")]
    ConnectTimeout(u64),
    #[error("no answer within {0} ms")]
    AnswerTimeout(u64),
    #[error("{}", chain(.0))]
    Http(#[from] hyper::Error),
    #[error("{0}")]
    Request(#[from] http::Error),
}

/// An error with its causes: hyper says what failed, its source why.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

/// A task that ends with its owner.
#[derive(Debug)]
pub(crate) struct Task(JoinHandle<()>);

impl Task {
    pub(crate) fn spawn(future: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(future))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A connection to a master. Dropping it closes the socket.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) requests: SendRequest<Full<Bytes>>,
    _task: Task,
}

impl Link {
    pub(crate) async fn connect(
        master: &MasterAddress,
        connect_timeout_ms: u64,
    ) -> Result<Self, HttpError> {
        let connecting = TcpStream::connect((master.host(), master.port()));
        let socket = timeout(Duration::from_millis(connect_timeout_ms), connecting)
            .await
            .map_err(|_| HttpError::ConnectTimeout(connect_timeout_ms))??;
        // Calls are small and wait for their answer: Nagle's algorithm would only delay them.
        socket.set_nodelay(true)?;
        let (requests, connection) = http1::handshake(TokioIo::new(socket)).await?;
        let task = Task::spawn(async move {
            // Errors come out at the request as well, where somebody waits for them.
            let _ = connection.await;
        });
        Ok(Self { requests, _task: task })
    }
}

/// Makes the requests of one client.
#[derive(Debug)]
pub(crate) struct Requests {
    api_path: String,
    authorization: Option<HeaderValue>,
}

impl Requests {
    pub(crate) fn new(options: &Options) -> Self {
        let authorization = options.credential.as_ref().and_then(|credential| {
            let pair = format!("{}:{}", credential.principal, credential.secret);
            let text = format!("Basic {}", BASE64_STANDARD.encode(pair));
            // Base64 has only characters that a header may have.
            let mut value = HeaderValue::try_from(text).ok()?;
            value.set_sensitive(true);
            Some(value)
        });
        Self { api_path: options.api_path.clone(), authorization }
    }

    /// A call as a request; SUBSCRIBE alone goes without a stream id.
    pub(crate) fn request(
        &self,
        master: &MasterAddress,
        stream_id: Option<&str>,
        call: &Call,
    ) -> Result<Request<Full<Bytes>>, HttpError> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(&self.api_path)
            .header(HOST, master.to_string())
            .header(USER_AGENT, concat!("peloton/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, PROTOBUF)
            .header(ACCEPT, PROTOBUF);
        if let Some(stream_id) = stream_id {
            request = request.header(STREAM_ID_HEADER, stream_id);
        }
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        Ok(request.body(Full::new(Bytes::from(call.encode_to_vec())))?)
    }
}

/// The text of an answer that is an error, cut to a limit; empty where it cannot be read.
pub(crate) async fn error_text(body: Incoming) -> String {
    let reading = Limited::new(body, MAX_ERROR_BODY_BYTES).collect();
    match timeout(ERROR_BODY_TIMEOUT, reading).await {
        Ok(Ok(text)) => {
            let mut text = text.aggregate();
            String::from_utf8_lossy(&text.copy_to_bytes(text.remaining())).into_owned()
        }
        _ => String::new(),
    }
}
