//! HTTP/1.1 over TCP: the transport of a client that talks to a real master.

use crate::options::Options;
use crate::transport::{Answer, BoxFuture, Calls, Pieces, Transport, TransportError};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::{Buf, Bytes};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, LOCATION, USER_AGENT};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use peloton_mesos_wire::MasterAddress;
use peloton_mesos_wire::calls::{PROTOBUF, STREAM_ID_HEADER};
use peloton_mesos_wire::session::ResponseHead;
use peloton_proto::mesos::v1::scheduler::Call;
use prost::Message;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
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
    #[error("{}", chain(.0))]
    Http(#[from] hyper::Error),
    #[error("{0}")]
    Request(#[from] http::Error),
}

impl From<HttpError> for TransportError {
    fn from(error: HttpError) -> Self {
        Self::new(error)
    }
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

    /// Whether it has ended, by itself or with its runtime.
    pub(crate) fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The transport.
#[derive(Debug)]
pub(crate) struct Http {
    requests: Arc<Requests>,
    connect_timeout_ms: u64,
}

impl Http {
    pub(crate) fn new(options: &Options) -> Self {
        let connect_timeout_ms = options.timeouts.connect_timeout_ms;
        Self { requests: Arc::new(Requests::new(options)), connect_timeout_ms }
    }
}

impl Transport for Http {
    fn subscribe(
        &self,
        master: MasterAddress,
        call: Call,
        pieces: Pieces,
    ) -> BoxFuture<Result<(), TransportError>> {
        let (requests, limit_ms) = (self.requests.clone(), self.connect_timeout_ms);
        Box::pin(async move { Ok(subscribe(&requests, &master, &call, &pieces, limit_ms).await?) })
    }

    fn calls(&self, master: MasterAddress, stream_id: String) -> Box<dyn Calls> {
        let (requests, connect_timeout_ms) = (self.requests.clone(), self.connect_timeout_ms);
        let connection = Connection { master, connect_timeout_ms, link: Mutex::new(None) };
        Box::new(HttpCalls { requests, stream_id, connection: Arc::new(connection) })
    }
}

/// A subscription from its request to its end.
async fn subscribe(
    requests: &Requests,
    master: &MasterAddress,
    call: &Call,
    pieces: &Pieces,
    connect_timeout_ms: u64,
) -> Result<(), HttpError> {
    let mut link = Link::connect(master, connect_timeout_ms).await?;
    let request = requests.request(master, None, call)?;
    let response = link.requests.send_request(request).await?;
    let (parts, mut body) = response.into_parts();
    let mut head = head_of(parts.status.as_u16(), &parts.headers);
    if head.status != 200 {
        head.error_body = error_text(body).await;
        pieces.head(head).await;
        return Ok(());
    }
    pieces.head(head).await;
    while let Some(bytes) = next_bytes(&mut body).await? {
        if !pieces.body(bytes).await {
            break;
        }
    }
    Ok(())
}

fn head_of(status: u16, headers: &HeaderMap) -> ResponseHead {
    let text = |name: &str| Some(headers.get(name)?.to_str().ok()?.to_owned());
    ResponseHead {
        status,
        content_type: text(CONTENT_TYPE.as_str()),
        stream_id: text(STREAM_ID_HEADER),
        location: text(LOCATION.as_str()),
        error_body: String::new(),
    }
}

/// The next bytes of a body; trailers are passed over.
async fn next_bytes(body: &mut Incoming) -> Result<Option<Bytes>, HttpError> {
    while let Some(frame) = body.frame().await {
        if let Ok(bytes) = frame?.into_data() {
            return Ok(Some(bytes));
        }
    }
    Ok(None)
}

/// The calls of one session, one after another on a connection that is kept.
#[derive(Debug)]
struct HttpCalls {
    requests: Arc<Requests>,
    stream_id: String,
    connection: Arc<Connection>,
}

impl Calls for HttpCalls {
    fn call(&mut self, call: &Call) -> BoxFuture<Result<Answer, TransportError>> {
        let connection = self.connection.clone();
        let request = self.requests.request(&connection.master, Some(&self.stream_id), call);
        Box::pin(async move {
            let response = connection.send(request?).await?;
            let status = response.status().as_u16();
            Ok(Answer { status, body: error_text(response.into_body()).await })
        })
    }
}

/// The connection of a session's calls, made when it is needed.
#[derive(Debug)]
struct Connection {
    master: MasterAddress,
    connect_timeout_ms: u64,
    link: Mutex<Option<Link>>,
}

impl Connection {
    /// Sends a request on the kept link, or on a new one where nothing could be sent on it.
    async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, HttpError> {
        let mut kept = self.link.lock().await;
        if let Some(mut link) = kept.take()
            && link.requests.ready().await.is_ok()
        {
            match link.requests.try_send_request(request).await {
                Ok(response) => {
                    *kept = Some(link);
                    return Ok(response);
                }
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(error.into_error().into()),
                },
            }
        }
        let link = Link::connect(&self.master, self.connect_timeout_ms).await?;
        let link = kept.insert(link);
        Ok(link.requests.send_request(request).await?)
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

    fn builder(&self, method: Method, master: &MasterAddress) -> http::request::Builder {
        let request = Request::builder()
            .method(method)
            .uri(&self.api_path)
            .header(HOST, master.to_string())
            .header(USER_AGENT, concat!("peloton/", env!("CARGO_PKG_VERSION")));
        match &self.authorization {
            Some(authorization) => request.header(AUTHORIZATION, authorization),
            None => request,
        }
    }

    /// A request that does nothing, on the path of the calls.
    pub(crate) fn probe(&self, master: &MasterAddress) -> Result<Request<Full<Bytes>>, HttpError> {
        Ok(self.builder(Method::GET, master).body(Full::default())?)
    }

    /// A call as a request; SUBSCRIBE alone goes without a stream id.
    pub(crate) fn request(
        &self,
        master: &MasterAddress,
        stream_id: Option<&str>,
        call: &Call,
    ) -> Result<Request<Full<Bytes>>, HttpError> {
        let mut request = self
            .builder(Method::POST, master)
            .header(CONTENT_TYPE, PROTOBUF)
            .header(ACCEPT, PROTOBUF);
        if let Some(stream_id) = stream_id {
            request = request.header(STREAM_ID_HEADER, stream_id);
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
