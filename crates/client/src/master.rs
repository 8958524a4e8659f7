//! One master: its address and the connection to it.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tonic::transport::{Channel, Endpoint, Uri};

use crate::{DEFAULT_PORT, Error};

/// How often a master that has a call in hand is asked whether it is still there. One that is paused or cut
/// off costs about three seconds so, and one that is merely slow is waited for.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(1);

/// How long it may take to say so. A master that is alive says it at once, whatever its store does.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(2);

/// The address of a master.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MasterAddress {
    host_port: String,
}

impl MasterAddress {
    /// Reads `host`, `host:port`, `[ipv6]:port` or `http://host:port`.
    ///
    /// # Errors
    /// [`Error::InvalidMaster`] for anything else.
    pub fn parse(given: &str) -> Result<Self, Error> {
        let invalid = |problem: &str| Error::InvalidMaster {
            given: given.to_owned(),
            problem: problem.to_owned(),
        };
        let text = given.trim();
        if text.starts_with("https://") {
            return Err(invalid("masters do not serve TLS"));
        }
        let text = text.strip_prefix("http://").unwrap_or(text);
        let text = text.strip_suffix('/').unwrap_or(text);
        if text.is_empty() {
            return Err(invalid("it is empty"));
        }
        if text.contains(['/', '?', '#', '@', ' ']) {
            return Err(invalid("it has more than a host and a port"));
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (text, None),
        };
        if host.is_empty() {
            return Err(invalid("the host is missing"));
        }
        if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) {
            return Err(invalid("IPv6 addresses are written in brackets"));
        }
        let port = match port {
            None => DEFAULT_PORT,
            Some(port) => match port.parse::<u16>() {
                Ok(port) if port > 0 => port,
                _ => return Err(invalid("the port is not a number from 1 to 65535")),
            },
        };
        let host_port = format!("{host}:{port}");
        if format!("http://{host_port}").parse::<Uri>().is_err() {
            return Err(invalid("the host has characters that it can not have"));
        }
        Ok(Self { host_port })
    }
}

impl fmt::Display for MasterAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host_port)
    }
}

/// A master and the connection to it, if there is one.
#[derive(Debug)]
pub(crate) struct Master {
    pub(crate) address: MasterAddress,
    endpoint: Endpoint,
    channel: Mutex<Option<Channel>>,
}

impl Master {
    pub(crate) fn new(address: MasterAddress, connect_timeout: Duration) -> Result<Self, Error> {
        let invalid =
            |problem: String| Error::InvalidMaster { given: address.to_string(), problem };
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|error| invalid(root_cause(&error)))?
            .connect_timeout(connect_timeout)
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .tcp_nodelay(true);
        Ok(Self { address, endpoint, channel: Mutex::new(None) })
    }

    /// The connection, made now if there is none. An error means that nothing was sent.
    pub(crate) async fn connect(&self) -> Result<Channel, String> {
        if let Some(channel) = self.slot().clone() {
            return Ok(channel);
        }
        let channel = self.endpoint.connect().await.map_err(|error| root_cause(&error))?;
        *self.slot() = Some(channel.clone());
        Ok(channel)
    }

    /// Forgets the connection, so that the next call makes a new one.
    pub(crate) fn disconnect(&self) {
        *self.slot() = None;
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Channel>> {
        // What it guards is replaced as a whole, so no thread can leave it half done.
        self.channel.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The innermost cause of an error; the outer ones only say that there was one.
pub(crate) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let text = cause.to_string();
    // The number tells a person nothing that the words do not.
    let words = text.split(" (os error").next().unwrap_or(&text);
    let mut chars = words.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => "unknown error".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (given, want) in [
            ("a:5289", "a:5289"),
            ("a", "a:5289"),
            (" http://a:1/ ", "a:1"),
            ("10.0.0.1:80", "10.0.0.1:80"),
            ("[::1]:7", "[::1]:7"),
            ("[::1]", "[::1]:5289"),
        ] {
            assert_eq!(MasterAddress::parse(given).unwrap().to_string(), want, "{given}");
        }
        for given in
            ["", "a:0", "a:65536", "a:x", ":1", "::1", "https://a:1", "a:1/x", "u@a:1", "a b:1"]
        {
            let error = MasterAddress::parse(given).unwrap_err().to_string();
            assert!(error.contains(&format!("{given:?}")), "{error}");
        }
    }
}
