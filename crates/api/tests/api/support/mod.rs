//! A master's API on a free port, and clients as raw as the tests need.

mod faulty;
pub mod upgrade;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use peloton_api::cluster_view::{ClusterStatus, ClusterView, MasterStatus, StoreStatus};
use peloton_api::domain::Clock;
use peloton_api::{Api, ApiServer, Options, ServeError, Store};
use peloton_model::{encode_record, shard_of};
use peloton_store::{MemoryStore, Txn};
use peloton_telemetry::{BuildInfo, Health, HealthReporter, HealthStatus, Metrics};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};

pub use faulty::{Fault, FaultyStore};

pub const SHARDS: u16 = 8;
/// The moment at which everything in these tests happens: 2016-09-01T12:00:00.250Z.
pub const NOW_MS: u64 = 1_472_731_200_250;
/// Small, so that tests of it are.
pub const MAX_REQUEST_BYTES: usize = 64 * 1024;
/// Longer than anything here takes; only what hangs meets it.
pub const PATIENCE: Duration = Duration::from_secs(60);

struct OneMaster;

impl ClusterView for OneMaster {
    fn status(&self) -> ClusterStatus {
        let master = MasterStatus { id: "m1".into(), answering: true, ..Default::default() };
        let store = StoreStatus { healthy: true, kind: "memory".into(), ..Default::default() };
        ClusterStatus { masters: vec![master], store, ..Default::default() }
    }
}

pub struct Master {
    pub address: SocketAddr,
    pub health: HealthReporter,
    stop: Option<oneshot::Sender<()>>,
    pub served: JoinHandle<()>,
}

/// What came back over HTTP/1.1.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("a body of JSON")
    }
}

/// A master's API that listens, or not.
pub async fn bind(
    store: Arc<dyn Store>,
    options: Options,
    health: Health,
    metrics: Metrics,
) -> Result<(ApiServer, SocketAddr), ServeError> {
    bind_at(store, options, health, metrics, Arc::new(|| NOW_MS)).await
}

/// The same with a clock.
async fn bind_at(
    store: Arc<dyn Store>,
    options: Options,
    health: Health,
    metrics: Metrics,
    clock: Clock,
) -> Result<(ApiServer, SocketAddr), ServeError> {
    let build = BuildInfo { program: "peloton-master".into(), ..Default::default() };
    let api = Api::new(store, SHARDS, clock, Arc::new(OneMaster), &metrics);
    ApiServer::bind(options, api, health, metrics, build).await
}

impl Master {
    pub async fn start() -> Self {
        Self::over(Arc::new(MemoryStore::new())).await
    }

    pub async fn over(store: Arc<dyn Store>) -> Self {
        Self::with(store, Options::default()).await
    }

    pub async fn with(store: Arc<dyn Store>, options: Options) -> Self {
        Self::on_port(store, Options { port: 0, ..options }).await
    }

    /// With the port of the options, 0 for a free one.
    pub async fn on_port(store: Arc<dyn Store>, options: Options) -> Self {
        Self::at(store, options, Arc::new(|| NOW_MS)).await
    }

    /// One for which a second passes with each look at the clock.
    pub async fn ticking(store: Arc<dyn Store>) -> Self {
        let ticks = AtomicU64::new(0);
        let clock = move || NOW_MS + 1000 * ticks.fetch_add(1, Ordering::Relaxed);
        Self::at(store, Options { port: 0, ..Options::default() }, Arc::new(clock)).await
    }

    async fn at(store: Arc<dyn Store>, options: Options, clock: Clock) -> Self {
        let build = BuildInfo { program: "peloton-master".into(), ..Default::default() };
        let (metrics, health) = (Metrics::new(&build), Health::new());
        let options =
            Options { listen: "127.0.0.1".into(), max_request_bytes: MAX_REQUEST_BYTES, ..options };
        let reporter = health.component("test");
        reporter.set(HealthStatus::Healthy);
        let bound = bind_at(store, options, health, metrics, clock).await;
        let (server, address) = bound.expect("a free port");
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(server.serve(async {
            let _ = stopped.await;
        }));
        Self { address, health: reporter, stop: Some(stop), served }
    }

    pub fn stop(&mut self) {
        self.stop.take().expect("stopped once").send(()).expect("a running server");
    }

    /// Sends bytes, and reads all that comes back.
    pub async fn raw(&self, request: &[u8]) -> Reply {
        let mut stream = TcpStream::connect(self.address).await.expect("a connection");
        // A server that refuses early may close before everything was written.
        let _ = stream.write_all(request).await;
        read_reply(&mut stream).await
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.raw(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
            .await
    }

    /// A POST with exactly these headers, besides those of HTTP itself.
    pub async fn post(&self, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let mut request =
            format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("Connection: close\r\n\r\n");
        self.raw(&[request.as_bytes(), body].concat()).await
    }

    /// A call as clients make it.
    pub async fn yarpc(&self, procedure: &str, request: &Value) -> Reply {
        self.post(&headers(procedure), request.to_string().as_bytes()).await
    }

    /// The `attempt`-th try of the change `id`.
    pub async fn attempt(
        &self,
        procedure: &str,
        request: &Value,
        id: &str,
        attempt: &str,
    ) -> Reply {
        let mut headers = headers(procedure).to_vec();
        headers.push(("Rpc-Header-Peloton-Request-Id", id));
        headers.push(("Rpc-Header-Peloton-Attempt", attempt));
        self.post(&headers, request.to_string().as_bytes()).await
    }

    /// A call that must succeed.
    pub async fn call(&self, procedure: &str, request: Value) -> Value {
        let reply = self.yarpc(procedure, &request).await;
        assert_eq!(reply.status, 200, "{procedure} {request}: {}", reply.body);
        reply.json()
    }

    pub async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).expect("a URI");
        endpoint.connect().await.expect("a connection")
    }
}

pub fn headers(procedure: &str) -> [(&str, &str); 5] {
    [
        ("Rpc-Caller", "tester"),
        ("Rpc-Service", "peloton-master"),
        ("Rpc-Procedure", procedure),
        ("Rpc-Encoding", "json"),
        ("Context-TTL-MS", "60000"),
    ]
}

pub async fn read_reply(stream: &mut TcpStream) -> Reply {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
    let _ = read.expect("the server closes the connection");
    parse_reply(&String::from_utf8(bytes).expect("text"))
}

pub fn parse_reply(text: &str) -> Reply {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {text:?}"));
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status line");
    let headers = lines.map(|line| {
        let (name, value) = line.split_once(": ").expect("a header");
        (name.to_ascii_lowercase(), value.to_owned())
    });
    Reply {
        status: status.parse().expect("a status"),
        headers: headers.collect(),
        body: body.to_owned(),
    }
}

/// A small service of so many instances.
pub fn config(instances: u32) -> Value {
    json!({
        "name": "test", "instanceCount": instances,
        "resource": {"cpusLimit": 0.1, "memLimitMb": 32},
        "command": {"value": "sleep 1000"},
    })
}

/// Writes a record where the owner of the job's shard would.
pub async fn put<T: serde::Serialize>(store: &dyn Store, key: peloton_store::Key, record: &T) {
    let bytes = encode_record(record).expect("a record");
    let result = store.commit(Txn::new().put(key, bytes)).await.expect("a commit");
    assert!(result.committed().is_some());
}

pub fn shard(job: &str) -> u16 {
    shard_of(&peloton_model::JobId::new(job).expect("a job id"), SHARDS).0
}
