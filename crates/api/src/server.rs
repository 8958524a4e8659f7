//! The port: accepts connections, bounds them in number and time, and ends them in order.
//!
//! Nothing a client does, or leaves undone, holds anything for ever: a connection that is in the
//! middle of no request is closed after a while, headers and bodies have their time, and HTTP/2
//! clients are pinged. On shutdown nothing new is taken, what is in hand is finished, up to a bound.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use peloton_telemetry::{BuildInfo, Health, Metrics};
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};
use tonic::body::Body;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::grpc;
use crate::http::Site;
use crate::rpc::{Api, Grpc};
use crate::yarpc::Endpoint;

/// How long a client may take to send the headers of a request.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection without a request stays open.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a connection that is being closed may take for it.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// How often HTTP/2 clients are asked whether they are still there, and how long they may take to say.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Calls at the same time on one HTTP/2 connection.
const MAX_STREAMS: u32 = 256;
/// Most bytes of headers of one request.
const MAX_HEADER_BYTES: u32 = 64 * 1024;
/// The pause after an error of accept, most of which (no more file descriptors) pass with time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How often the standard gRPC health service is brought up to date.
const HEALTH_INTERVAL: Duration = Duration::from_secs(1);

/// How the API is served.
#[derive(Debug, Clone)]
pub struct Options {
    /// The address to listen on: an IP address or a host name.
    pub listen: String,
    /// The port; 0 takes a free one.
    pub port: u16,
    /// The largest request, in bytes.
    pub max_request_bytes: usize,
    /// The name that YARPC clients call.
    pub service: String,
    /// Connections at the same time; more wait to be accepted.
    pub max_connections: usize,
    /// Calls at the same time; more are refused with resource-exhausted.
    pub max_calls: usize,
    /// How long calls in hand may take to finish on shutdown.
    pub drain_timeout: Duration,
}

impl Default for Options {
    /// Port 5289 of all addresses, service `peloton-master`. Requests of at most 4 MiB, many times
    /// the largest configuration; with a thousand calls that bounds the memory they take.
    fn default() -> Self {
        Self {
            listen: "0.0.0.0".to_owned(),
            port: 5289,
            max_request_bytes: 4 * 1024 * 1024,
            service: "peloton-master".to_owned(),
            max_connections: 4096,
            max_calls: 1024,
            drain_timeout: Duration::from_secs(10),
        }
    }
}

/// Why the API cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("cannot listen on {listen}:{port}")]
    Listen {
        /// The address.
        listen: String,
        /// The port.
        port: u16,
        /// Why.
        source: std::io::Error,
    },
    /// The descriptors for reflection are broken, which tests exclude.
    #[error("gRPC reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// The API on its port.
#[derive(Debug)]
pub struct ApiServer {
    listener: TcpListener,
    site: Arc<Site>,
    reporter: HealthReporter,
    options: Options,
}

impl ApiServer {
    /// Takes the port; connections wait until [`ApiServer::serve`]. Answers where it listens.
    ///
    /// # Errors
    /// When the address is not one of this machine, or the port is taken.
    pub async fn bind(
        options: Options,
        api: Arc<Api>,
        health: Health,
        metrics: Metrics,
        build: BuildInfo,
    ) -> Result<(Self, SocketAddr), ServeError> {
        let (listener, address) = listen(&options).await.map_err(|source| ServeError::Listen {
            listen: options.listen.clone(),
            port: options.port,
            source,
        })?;
        let (routes, reporter) = grpc::routes(&Grpc(Arc::clone(&api)), options.max_request_bytes)?;
        let endpoint = Endpoint {
            service: options.service.clone(),
            max_bytes: options.max_request_bytes,
            in_hand: Semaphore::new(options.max_calls),
        };
        let site = Arc::new(Site { api, endpoint, routes, health, metrics, build });
        // Before the first call, which may well ask for it.
        report(&site, &reporter, false).await;
        Ok((Self { listener, site, reporter, options }, address))
    }

    /// Serves until `shutdown` is ready; then takes nothing new, finishes what is in hand, and
    /// returns, after `drain_timeout` at the latest.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) {
        let Self { listener, site, reporter, options } = self;
        let connections = Arc::new(Semaphore::new(options.max_connections));
        let (closing, closed) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let mut shutdown = pin!(shutdown);
        let mut tick = interval(HEALTH_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let accept = async {
                let permit = Arc::clone(&connections).acquire_owned().await.ok();
                (listener.accept().await, permit)
            };
            tokio::select! {
                () = &mut shutdown => break,
                _ = tick.tick() => report(&site, &reporter, false).await,
                Some(_) = tasks.join_next() => {}
                (accepted, permit) = accept => match accepted {
                    Ok((stream, _)) => {
                        let (site, closed) = (Arc::clone(&site), closed.clone());
                        tasks.spawn(async move {
                            connection(site, stream, closed).await;
                            drop(permit);
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        drop(listener);
        report(&site, &reporter, true).await;
        site.api.close();
        closing.send_replace(true);
        let drained = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(options.drain_timeout, drained).await.is_err() {
            tracing::warn!(connections = tasks.len(), "closing connections that are still busy");
            tasks.shutdown().await;
        }
    }
}

async fn listen(options: &Options) -> std::io::Result<(TcpListener, SocketAddr)> {
    let addresses: Vec<_> = lookup_host((options.listen.as_str(), options.port)).await?.collect();
    let listener = TcpListener::bind(&addresses[..]).await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Tells the standard gRPC health service how this master is.
async fn report(site: &Site, reporter: &HealthReporter, closing: bool) {
    let serves = !closing && site.health.snapshot().http_status() == 200;
    let status = if serves { ServingStatus::Serving } else { ServingStatus::NotServing };
    for service in [
        "",
        "peloton.job.JobManager",
        "peloton.task.TaskManager",
        "peloton.upgrade.UpgradeManager",
        "peloton.volume.VolumeManager",
        "peloton.cluster.ClusterManager",
    ] {
        reporter.set_service_status(service, status).await;
    }
}

/// What a connection is busy with.
#[derive(Debug)]
struct Activity {
    in_hand: AtomicUsize,
    last: Mutex<Instant>,
}

impl Activity {
    fn new() -> Arc<Self> {
        Arc::new(Self { in_hand: AtomicUsize::new(0), last: Mutex::new(Instant::now()) })
    }

    /// A request is in hand until what this returns is dropped.
    fn begin(self: &Arc<Self>) -> Busy {
        self.in_hand.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(self))
    }

    /// When the connection will have been idle for too long, as things are.
    fn idle_at(&self) -> Instant {
        let busy = self.in_hand.load(Ordering::Relaxed) > 0;
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        (if busy { Instant::now() } else { last }) + IDLE_TIMEOUT
    }
}

struct Busy(Arc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        *self.0.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.0.in_hand.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A body that is part of a request in hand. It keeps the length of the one inside, which
/// HTTP/1.1 tells in advance.
struct BusyBody {
    body: Body,
    _busy: Busy,
}

impl HttpBody for BusyBody {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_TIMEOUT)
        .title_case_headers(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_BYTES)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

async fn connection(site: Arc<Site>, stream: TcpStream, mut closed: watch::Receiver<bool>) {
    // Answers are small and awaited; without this they could wait for the client's next packet.
    let _ = stream.set_nodelay(true);
    let activity = Activity::new();
    let service = service_fn(|request| {
        let (site, busy) = (Arc::clone(&site), activity.begin());
        async move {
            let response = site.answer(request).await;
            // Busy until the body is sent or given up, which for a stream is long after its head.
            Ok::<_, Infallible>(response.map(|body| BusyBody { body, _busy: busy }))
        }
    });
    let builder = builder();
    let mut served = pin!(builder.serve_connection(TokioIo::new(stream), service));
    loop {
        tokio::select! {
            // How a connection ended is its client's business.
            _ = served.as_mut() => return,
            () = async { closed.wait_for(|closed| *closed).await.ok(); } => {
                served.as_mut().graceful_shutdown();
                let _ = served.await;
                return;
            }
            () = sleep_until(activity.idle_at()) => if activity.idle_at() <= Instant::now() {
                served.as_mut().graceful_shutdown();
                let _ = tokio::time::timeout(CLOSE_TIMEOUT, served).await;
                return;
            }
        }
    }
}
