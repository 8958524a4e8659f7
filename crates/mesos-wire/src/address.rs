//! Where a master listens: `host:port`, however it was written.
//!
//! The same thing is spelled in four ways: in the configuration (`host:port` or an http URL), in
//! a redirect (`//host:port/path`), in ZooKeeper, and in SUBSCRIBED. Only host and port matter:
//! the path of the API is the client's own setting.

use std::fmt;

/// The port a Mesos master listens on unless told otherwise.
pub const DEFAULT_PORT: u16 = 5050;

/// Host and port of a Mesos master. Prints as `host:port`, an IPv6 host in brackets.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MasterAddress {
    host: String,
    port: u16,
}

/// A text that names no master.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("master address {value:?}: {problem}; allowed are host:port and http://host:port")]
pub struct AddressError {
    /// The text as given.
    pub value: String,
    /// What is wrong with it.
    pub problem: &'static str,
}

impl MasterAddress {
    /// The address of a host name or IP address and a port.
    ///
    /// # Errors
    /// The host is empty or holds characters no host name has, or the port is 0.
    pub fn new(host: &str, port: u16) -> Result<Self, AddressError> {
        let text = || format!("{host}:{port}");
        let v6 = host.contains(':');
        let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let problem = if host.is_empty() {
            "the host is missing"
        } else if v6 && host.parse::<std::net::Ipv6Addr>().is_err() {
            "the host is no IPv6 address"
        } else if !v6 && !host.chars().all(valid) {
            "the host has a character that no host name has"
        } else if port == 0 {
            "the port must be 1 to 65535"
        } else {
            return Ok(Self { host: host.to_owned(), port });
        };
        Err(AddressError { value: text(), problem })
    }

    /// Reads a configured master: `host`, `host:port` or `http://host:port`.
    ///
    /// # Errors
    /// Another scheme, a path, user information, or no valid host and port.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let fail = |problem| AddressError { value: text.to_owned(), problem };
        let authority = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some(_) => return Err(fail("only the http scheme is supported")),
            None => text,
        };
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        if authority.contains(['/', '?', '#']) {
            return Err(fail("a path is not allowed here (it has its own setting)"));
        }
        Self::authority(authority).map_err(fail)
    }

    /// Reads the leader's address out of a redirect's `Location`: `http://host:port/path` or,
    /// as Mesos writes it, `//host:port/path`.
    ///
    /// # Errors
    /// A `Location` without a host, or with another scheme.
    pub fn from_location(location: &str) -> Result<Self, AddressError> {
        let fail = |problem| AddressError { value: location.to_owned(), problem };
        let rest = match location.split_once("//") {
            Some((scheme, rest)) if scheme.is_empty() || scheme.eq_ignore_ascii_case("http:") => {
                rest
            }
            Some((scheme, _)) if scheme.ends_with(':') => {
                return Err(fail("only the http scheme is supported"));
            }
            _ => return Err(fail("the redirect names no host")),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        Self::authority(&rest[..end]).map_err(fail)
    }

    fn authority(text: &str) -> Result<Self, &'static str> {
        const PORT: &str = "the port must be 1 to 65535";
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']').ok_or("the closing bracket is missing")?;
                match rest.strip_prefix(':') {
                    Some(port) => (host, port.parse().map_err(|_| PORT)?),
                    None if rest.is_empty() => (host, DEFAULT_PORT),
                    None => return Err("there is text after the closing bracket"),
                }
            }
            None => match text.split_once(':') {
                Some((_, port)) if port.contains(':') => {
                    return Err("an IPv6 host must be in brackets");
                }
                Some((host, port)) => (host, port.parse().map_err(|_| PORT)?),
                None => (text, DEFAULT_PORT),
            },
        };
        Self::new(host, port).map_err(|error| error.problem)
    }

    /// The host name or IP address, an IPv6 address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for MasterAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configured_masters_are_read_in_every_spelling() {
        for (text, expected) in [
            ("mesos-1:5051", "mesos-1:5051"),
            ("mesos-1", "mesos-1:5050"),
            ("http://10.0.0.1:80", "10.0.0.1:80"),
            ("HTTP://10.0.0.1:80/", "10.0.0.1:80"),
            ("[::1]:5050", "[::1]:5050"),
            ("[fe80::1]", "[fe80::1]:5050"),
        ] {
            assert_eq!(MasterAddress::parse(text).unwrap().to_string(), expected);
        }
    }

    #[test]
    fn a_bad_master_is_refused_with_the_value_and_the_reason() {
        for (text, problem) in [
            ("", "the host is missing"),
            (":5050", "the host is missing"),
            ("a:0", "the port must be"),
            ("a:65536", "the port must be"),
            ("a:", "the port must be"),
            ("https://a:1", "only the http scheme"),
            ("zk://a:2181/mesos", "only the http scheme"),
            ("a:1/master/api", "a path is not allowed"),
            ("user@a:1", "a character that no host name has"),
            ("a b:1", "a character that no host name has"),
            ("::1", "in brackets"),
            ("[::1", "closing bracket"),
            ("[::1]x", "after the closing bracket"),
            ("[::g]:1", "no IPv6 address"),
        ] {
            let error = MasterAddress::parse(text).unwrap_err();
            assert!(error.problem.contains(problem), "{text}: {error}");
            assert_eq!(error.value, text);
        }
    }

    #[test]
    fn a_redirect_names_the_leader() {
        for (location, expected) in [
            ("//mesos-2:5050/api/v1/scheduler", "mesos-2:5050"),
            ("http://mesos-2:5051/master/api/v1/scheduler?x=1", "mesos-2:5051"),
            ("//mesos-2", "mesos-2:5050"),
            ("//[::1]:7/x", "[::1]:7"),
        ] {
            assert_eq!(MasterAddress::from_location(location).unwrap().to_string(), expected);
        }
        for location in ["/api/v1/scheduler", "", "https://a:1/x", "//", "///x", "ftp://a/x//"] {
            assert!(MasterAddress::from_location(location).is_err(), "{location}");
        }
    }
}
