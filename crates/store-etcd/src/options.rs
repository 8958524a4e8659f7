//! What an operator chooses, and what nobody needs to.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use peloton_store::{Limits, StoreError};

/// Operations in one transaction that etcd takes unless its `--max-txn-ops` says otherwise.
pub const DEFAULT_MAX_TXN_OPS: usize = 128;

/// What etcd takes as one request unless its `--max-request-bytes` says otherwise.
pub(crate) const MAX_REQUEST_BYTES: usize = 1536 << 10;

/// Keys, values and compares of one transaction. What comes on top within etcd's 1.5 MiB is the prefix
/// of every key, the compared keys once more (to read them when a compare fails) and the framing: with
/// 128 operations less than 300 KiB.
const MAX_TXN_BYTES: usize = 1 << 20;

/// Far above any key of ours, and small enough for the sum above.
const MAX_KEY_BYTES: usize = 1024;

/// Keys in a page. etcd walks the index of the whole rest of the range for every page, so pages are not
/// small; with records of a kilobyte one is a few megabytes.
const MAX_PAGE_KEYS: u32 = 5000;

/// What one answer may have. A page that is larger is asked for again with fewer keys.
pub(crate) const MAX_ANSWER_BYTES: usize = 64 << 20;

/// What one answer of a watch may have: up to 1000 transactions, which etcd does not always split.
pub(crate) const MAX_WATCH_ANSWER_BYTES: usize = 1 << 30;

/// What etcd makes of shorter times with its default election time-out of a second.
const MIN_LEASE_TTL: Duration = Duration::from_secs(2);

/// A day: nobody who is away for so long still holds anything.
const MAX_LEASE_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// Longest prefix in bytes, for the sum at [`MAX_TXN_BYTES`].
const MAX_PREFIX_BYTES: usize = 128;

/// Most endpoints: an etcd cluster has three, five or seven members.
const MAX_ENDPOINTS: usize = 32;

/// The time for a request unless chosen otherwise: an election of etcd's leader takes one to two
/// seconds, and fits in.
const DEFAULT_REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// How to reach an etcd cluster.
#[derive(Clone, Debug)]
pub struct Options {
    /// `http://host:port` or `https://host:port` of the members, at least one.
    pub endpoints: Vec<String>,
    /// What all keys begin with, `/peloton` for example; neither empty nor with a slash at its end.
    pub prefix: String,
    /// For `https` endpoints; with `http` nothing of it is used.
    pub tls: Tls,
    /// Who we are, where etcd asks.
    pub credentials: Option<Credentials>,
    /// Operations in one transaction: what etcd's `--max-txn-ops` says.
    pub max_txn_ops: usize,
    /// After so long a request is given up. It is repeated within that time where that is safe.
    pub request_timeout: Duration,
}

impl Options {
    /// Without TLS, credentials, and with etcd's defaults.
    pub fn new(
        endpoints: impl IntoIterator<Item = impl Into<String>>,
        prefix: impl Into<String>,
    ) -> Self {
        Self {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            prefix: prefix.into(),
            tls: Tls::default(),
            credentials: None,
            max_txn_ops: DEFAULT_MAX_TXN_OPS,
            request_timeout: DEFAULT_REQUEST_TIMEOUT,
        }
    }

    /// Checks everything that can be checked without etcd.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        let invalid = |field, reason: String| Err(StoreError::InvalidArgument { field, reason });
        let count = self.endpoints.len();
        if count == 0 || count > MAX_ENDPOINTS {
            return invalid("endpoints", format!("{count}; 1 to {MAX_ENDPOINTS} are allowed"));
        }
        let length = self.prefix.len();
        if length == 0 || length > MAX_PREFIX_BYTES || self.prefix.ends_with('/') {
            let allowed = format!("1 to {MAX_PREFIX_BYTES} bytes without a slash at the end");
            return invalid("prefix", format!("{:?}; {allowed}", self.prefix));
        }
        if self.max_txn_ops == 0 {
            return invalid("max_txn_ops", "0; at least 1".to_owned());
        }
        if self.request_timeout.is_zero() {
            return invalid("request_timeout", "0; it must be more".to_owned());
        }
        if self.tls.cert_file.is_some() != self.tls.key_file.is_some() {
            return invalid("tls", "a certificate and its key belong together".to_owned());
        }
        Ok(())
    }

    /// What a store with these options takes.
    pub fn limits(&self) -> Limits {
        Limits {
            max_txn_ops: self.max_txn_ops,
            max_txn_bytes: MAX_TXN_BYTES,
            max_value_bytes: MAX_TXN_BYTES,
            max_key_bytes: MAX_KEY_BYTES,
            max_page_keys: MAX_PAGE_KEYS,
            min_lease_ttl: MIN_LEASE_TTL,
            max_lease_ttl: MAX_LEASE_TTL,
        }
    }
}

/// Files in PEM form. They are read for every new connection, so that renewed certificates are used
/// without a restart.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// The authorities that members' certificates are checked against; without it the system's.
    pub ca_file: Option<PathBuf>,
    /// Our certificate, with its chain.
    pub cert_file: Option<PathBuf>,
    /// The key of our certificate.
    pub key_file: Option<PathBuf>,
}

/// A user of etcd.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user's name.
    pub user: String,
    /// The user's password; never shown.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}
