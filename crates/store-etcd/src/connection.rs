//! One connection with one member of the cluster.
//!
//! Unary calls, keep-alives and watches share it: HTTP/2 keeps them apart. The window of the whole
//! connection is so large that a watch which nobody reads holds up no other answer; each stream has a
//! window of its own, which is what bounds memory. A connection that failed once is never used again:
//! [`Connection::fail`] ends whatever is under way on it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};

use crate::failure::{Failure, full_text};
use crate::options::{MAX_ANSWER_BYTES, MAX_WATCH_ANSWER_BYTES, Options, Tls};
use crate::proto::rpc;
use crate::proto::rpc::auth_client::AuthClient;
use crate::proto::rpc::kv_client::KvClient;
use crate::proto::rpc::lease_client::LeaseClient;
use crate::proto::rpc::maintenance_client::MaintenanceClient;
use crate::proto::rpc::watch_client::WatchClient;

/// For a TCP connection and its TLS handshake: many round trips, and short enough to try the next.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// For a password to be checked: etcd makes that slow on purpose, and then asks the cluster.
const AUTHENTICATE_TIMEOUT: Duration = Duration::from_secs(5);

/// What may be under way on one stream without being read.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;

/// So that only the streams' own windows count.
const CONNECTION_WINDOW_BYTES: u32 = 1 << 30;

/// Asks a member to refuse requests at once while it knows no leader.
const REQUIRE_LEADER: (&str, &str) = ("hasleader", "true");

/// Where etcd looks for the token.
const TOKEN: &str = "token";

/// A connection, authenticated where there are credentials.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Which of the endpoints.
    pub(crate) endpoint: usize,
    address: String,
    channel: Channel,
    token: Mutex<Option<Token>>,
    /// One renews the token, the others wait for it.
    renewal: tokio::sync::Mutex<()>,
    broken: watch::Sender<Option<String>>,
}

#[derive(Clone, Debug)]
struct Token {
    value: MetadataValue<Ascii>,
    /// Counts renewals.
    number: u64,
}

impl Connection {
    /// Connects with one endpoint; the member has answered nothing yet.
    pub(crate) async fn open(options: &Options, endpoint: usize) -> Result<Self, Failure> {
        let address = options.endpoints.get(endpoint).cloned().unwrap_or_default();
        let invalid =
            |error: tonic::transport::Error| Failure::Denied(format!("{address}: {error}"));
        let mut target = Endpoint::from_shared(address.clone())
            .map_err(invalid)?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
        if address.starts_with("https://") {
            let tls = tls(&options.tls).await.map_err(Failure::Denied)?;
            target = target.tls_config(tls).map_err(invalid)?;
        }
        let connecting = tokio::time::timeout(CONNECT_TIMEOUT, target.connect());
        let channel = match connecting.await {
            Ok(Ok(channel)) => channel,
            Ok(Err(error)) => {
                return Err(Failure::NotDone(format!("{address}: {}", full_text(&error))));
            }
            Err(_) => {
                let reason = format!("{address}: no connection within {CONNECT_TIMEOUT:?}");
                return Err(Failure::NotDone(reason));
            }
        };
        Ok(Self {
            endpoint,
            address,
            channel,
            token: Mutex::new(None),
            renewal: tokio::sync::Mutex::new(()),
            broken: watch::Sender::new(None),
        })
    }

    /// The endpoint's address.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Ends all that is under way; the first reason counts.
    pub(crate) fn fail(&self, reason: impl Into<String>) {
        let reason = format!("{}: {}", self.address, reason.into());
        self.broken.send_if_modified(|broken| {
            let first = broken.is_none();
            broken.get_or_insert(reason);
            first
        });
    }

    /// Whether it has failed.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.borrow().is_some()
    }

    /// Waits until the connection has failed; says why.
    pub(crate) async fn broken(&self) -> String {
        let mut broken = self.broken.subscribe();
        // The sender lives as long as `self`.
        match broken.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => String::new(),
        }
    }

    /// A request with what etcd wants to see beside it; a member without a leader refuses it at once.
    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        require_leader(self.request_without_leader(message))
    }

    /// A request that needs no leader.
    pub(crate) fn request_without_leader<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(token) = self.token() {
            request.metadata_mut().insert(TOKEN, token.value);
        }
        request
    }

    pub(crate) fn kv(&self) -> KvClient<Channel> {
        KvClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    pub(crate) fn lease(&self) -> LeaseClient<Channel> {
        LeaseClient::new(self.channel.clone())
    }

    pub(crate) fn watch(&self) -> WatchClient<Channel> {
        WatchClient::new(self.channel.clone()).max_decoding_message_size(MAX_WATCH_ANSWER_BYTES)
    }

    /// What the member says of itself, also without a leader. Newer versions tell it known users only.
    pub(crate) async fn status(&self) -> Result<rpc::StatusResponse, Status> {
        let mut client = MaintenanceClient::new(self.channel.clone());
        client
            .status(self.request_without_leader(rpc::StatusRequest {}))
            .await
            .map(tonic::Response::into_inner)
    }

    fn token(&self) -> Option<Token> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Which renewal the token in use is of; what [`Connection::authenticate`] wants to know.
    pub(crate) fn token_number(&self) -> u64 {
        self.token().map_or(0, |token| token.number)
    }

    /// Gets a new token, unless somebody else has since the one with `number` was used.
    pub(crate) async fn authenticate(&self, options: &Options, number: u64) -> Result<(), Failure> {
        let Some(credentials) = &options.credentials else { return Ok(()) };
        let _one_at_a_time = self.renewal.lock().await;
        if self.token_number() != number {
            return Ok(());
        }
        let request = rpc::AuthenticateRequest {
            name: credentials.user.clone(),
            password: credentials.password.clone(),
        };
        let mut client = AuthClient::new(self.channel.clone());
        let asking = client.authenticate(require_leader(Request::new(request)));
        let answer = tokio::select! {
            biased;
            answer = asking => answer,
            reason = self.broken() => return Err(Failure::NotDone(reason)),
            () = tokio::time::sleep(AUTHENTICATE_TIMEOUT) => {
                let reason = "it does not answer a request to authenticate";
                return Err(Failure::NotDone(format!("{}: {reason}", self.address)));
            }
        };
        let token = match answer {
            Ok(answer) => answer.into_inner().token,
            Err(status) if status.message().ends_with("authentication is not enabled") => {
                tracing::warn!(
                    endpoint = self.address,
                    "etcd asks nobody for a password: it has authentication switched off"
                );
                return Ok(());
            }
            Err(status) => {
                let user = &credentials.user;
                return Err(match Failure::of(&status) {
                    Failure::Denied(reason) => {
                        Failure::Denied(format!("{}: user {user:?}: {reason}", self.address))
                    }
                    other => Failure::NotDone(format!("{}: {}", self.address, other.reason())),
                });
            }
        };
        let Ok(value) = MetadataValue::try_from(token) else {
            let reason = format!("{}: a token with strange characters", self.address);
            return Err(Failure::NotDone(reason));
        };
        let token = Token { value, number: number.wrapping_add(1) };
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(token);
        Ok(())
    }
}

fn require_leader<T>(mut request: Request<T>) -> Request<T> {
    let leader = MetadataValue::from_static(REQUIRE_LEADER.1);
    request.metadata_mut().insert(REQUIRE_LEADER.0, leader);
    request
}

/// What TLS needs, read anew.
async fn tls(tls: &Tls) -> Result<ClientTlsConfig, String> {
    let read = async |path: &std::path::Path| {
        let text = tokio::fs::read(path).await;
        text.map_err(|error| format!("cannot read {}: {error}", path.display()))
    };
    let mut config = ClientTlsConfig::new();
    config = match &tls.ca_file {
        Some(file) => config.ca_certificate(Certificate::from_pem(read(file).await?)),
        None => config.with_native_roots(),
    };
    if let (Some(cert), Some(key)) = (&tls.cert_file, &tls.key_file) {
        config = config.identity(Identity::from_pem(read(cert).await?, read(key).await?));
    }
    Ok(config)
}
