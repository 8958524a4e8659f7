//! `zk://user:password@a:2181,b:2181,c:2181/mesos`: where Mesos masters elect their leader.
//!
//! It is the text that masters and agents get as `--zk` and `--master`, so that an operator can copy it.

use crate::address::MasterAddress;
use std::fmt;

/// What a URL begins with.
const SCHEME: &str = "zk://";

/// The most servers of one URL. Ensembles have 3 or 5; a much longer list is a mistake.
const MAX_SERVERS: usize = 32;

/// Host and port of one server of ZooKeeper.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server(MasterAddress);

impl Server {
    /// The host name or IP address, an IPv6 address without brackets.
    pub fn host(&self) -> &str {
        self.0.host()
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.0.port()
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        const PORT: &str = "each server needs its port, as in zk1:2181";
        let (host, port) = text.rsplit_once(':').ok_or(PORT)?;
        let host = match host.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']').ok_or("the closing bracket is missing")?,
            None if host.contains(':') => return Err("an IPv6 host must be in brackets"),
            None => host,
        };
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|_| digits).ok_or(PORT)?;
        MasterAddress::new(host, port).map(Self).map_err(|error| error.problem)
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The servers, the path, and with what to authenticate. Prints without the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    credentials: Option<String>,
    servers: Vec<Server>,
    path: String,
}

/// A text that is no such URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "ZooKeeper URL {shown:?}: {problem}; allowed is zk://[user:password@]host:port,host:port/path"
)]
pub struct UrlError {
    /// The text as given, without user and password.
    pub shown: String,
    /// What is wrong with it.
    pub problem: &'static str,
}

impl Url {
    /// Reads a URL.
    ///
    /// # Errors
    /// What is missing or not allowed. The text in the error is without user and password.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        Self::read(text.trim())
            .map_err(|problem| UrlError { shown: redacted(text.trim()), problem })
    }

    fn read(text: &str) -> Result<Self, &'static str> {
        let rest = text.strip_prefix(SCHEME).ok_or("it must begin with zk://")?;
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let (credentials, servers) = match authority.rsplit_once('@') {
            Some((credentials, servers)) => (Some(credentials), servers),
            None => (None, authority),
        };
        if let Some(credentials) = credentials {
            match credentials.split_once(':') {
                Some((user, password)) if !user.is_empty() && !password.is_empty() => {}
                _ => return Err("before the @ there must be user:password"),
            }
        }
        if servers.is_empty() {
            return Err("the servers are missing");
        }
        if servers.split(',').count() > MAX_SERVERS {
            return Err("there are more than 32 servers");
        }
        let servers = servers.split(',').map(Server::parse).collect::<Result<_, _>>()?;
        check_path(path)?;
        let credentials = credentials.map(str::to_owned);
        Ok(Self { credentials, servers, path: path.to_owned() })
    }

    /// `user:password`, where there are any.
    pub fn credentials(&self) -> Option<&str> {
        self.credentials.as_deref()
    }

    /// The servers, at least one.
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// The node below which masters register, beginning with a slash.
    pub fn path(&self) -> &str {
        &self.path
    }
}

/// ZooKeeper has rules for paths, and Mesos wants one below the root.
fn check_path(path: &str) -> Result<(), &'static str> {
    let Some(rest) = path.strip_prefix('/').filter(|rest| !rest.is_empty()) else {
        return Err("the path of the Mesos masters is missing, such as /mesos");
    };
    if rest.split('/').any(|part| ["", ".", ".."].contains(&part)) {
        return Err("the path must not end with / and has no //, /./ or /../");
    }
    if rest.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("the path has a space");
    }
    Ok(())
}

/// The text without what stands before the @.
fn redacted(text: &str) -> String {
    let start = text.find("://").map_or(0, |at| at + 3);
    let (scheme, rest) = text.split_at(start);
    match rest.rsplit_once('@') {
        Some((_, rest)) => format!("{scheme}***@{rest}"),
        None => text.to_owned(),
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SCHEME)?;
        if self.credentials.is_some() {
            f.write_str("***@")?;
        }
        for (number, server) in self.servers.iter().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            write!(f, "{comma}{server}")?;
        }
        f.write_str(&self.path)
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Url({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_servers_a_path_and_perhaps_credentials() {
        let url = Url::parse("zk://zk-1:2181,10.0.0.2:2182,[::1]:2183/mesos/east").unwrap();
        let servers: Vec<String> = url.servers().iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["zk-1:2181", "10.0.0.2:2182", "[::1]:2183"]);
        assert_eq!((url.path(), url.credentials()), ("/mesos/east", None));
        assert_eq!(url.to_string(), "zk://zk-1:2181,10.0.0.2:2182,[::1]:2183/mesos/east");

        let url = Url::parse(" zk://me:se@cret:x@a:1/m ").unwrap();
        assert_eq!((url.path(), url.credentials()), ("/m", Some("me:se@cret:x")));
        for shown in [url.to_string(), format!("{url:?}")] {
            assert!(shown.contains("zk://***@a:1/m"), "{shown}");
        }
    }

    #[test]
    fn a_bad_url_is_refused_with_the_reason_and_without_its_password() {
        for (text, problem) in [
            ("", "begin with zk://"),
            ("http://a:2181/mesos", "begin with zk://"),
            ("a:2181/mesos", "begin with zk://"),
            ("zk://", "the servers are missing"),
            ("zk:///mesos", "the servers are missing"),
            ("zk://a:2181", "the path of the Mesos masters is missing"),
            ("zk://a:2181/", "the path of the Mesos masters is missing"),
            ("zk://a:2181/mesos/", "must not end with /"),
            ("zk://a:2181//mesos", "no //"),
            ("zk://a:2181/mesos/../x", "/../"),
            ("zk://a:2181/me sos", "a space"),
            ("zk://a/mesos", "its port"),
            ("zk://a:x/mesos", "its port"),
            ("zk://a:+1/mesos", "its port"),
            ("zk://a:0/mesos", "the port must be"),
            ("zk://a:2181,/mesos", "its port"),
            ("zk://a:2181, b:2181/mesos", "a character that no host name has"),
            ("zk://::1:2181/mesos", "in brackets"),
            ("zk://[::1:2181/mesos", "closing bracket"),
            ("zk://secret@a:2181/mesos", "user:password"),
            ("zk://:secret@a:2181/mesos", "user:password"),
            ("zk://secret:@a:2181/mesos", "user:password"),
            ("zk://me:secret@a/mesos", "its port"),
        ] {
            let error = Url::parse(text).unwrap_err();
            assert!(error.problem.contains(problem), "{text}: {error}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        let many = format!("zk://{}a:1/mesos", "a:1,".repeat(32));
        assert!(Url::parse(&many).unwrap_err().problem.contains("32 servers"));
    }
}
