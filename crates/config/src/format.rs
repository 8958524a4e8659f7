//! The forms that texts may have: addresses, roles, names, log filters.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A host and a port, as in `mesos1:5050` or `[::1]:5050`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPort {
    host: String,
    port: u16,
}

/// A text that is no `host:port`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not host:port with a port from 1 to 65535, such as mesos1:5050 or [2001:db8::1]:5050"
)]
pub struct InvalidHostPort(String);

impl HostPort {
    /// The name or address, IPv6 addresses without their brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, 1 to 65535.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for HostPort {
    type Err = InvalidHostPort;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidHostPort(redact(text));
        let (host, port) = text.rsplit_once(':').ok_or_else(invalid)?;
        let host = match host.strip_prefix('[') {
            Some(rest) => rest
                .strip_suffix(']')
                .filter(|host| host.parse::<std::net::Ipv6Addr>().is_ok())
                .ok_or_else(invalid)?,
            None if is_host_name(host) => host,
            None => return Err(invalid()),
        };
        let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        match port.parse() {
            Ok(port) if digits && port > 0 => Ok(Self { host: host.to_owned(), port }),
            _ => Err(invalid()),
        }
    }
}

impl TryFrom<String> for HostPort {
    type Error = InvalidHostPort;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<HostPort> for String {
    fn from(value: HostPort) -> Self {
        value.to_string()
    }
}

/// Underscores are not allowed in host names by the standard, but common in container networks.
fn is_host_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 253
        && !text.starts_with(['-', '.'])
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

/// Not empty, no white space, no control characters.
pub(crate) fn is_word(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(|c| c.is_whitespace() || c.is_control())
}

/// A name that is safe in file names, labels and URLs.
pub(crate) fn is_name(text: &str) -> bool {
    text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

/// What Mesos accepts as a role and can be refined (`*` cannot).
pub(crate) fn is_role(text: &str) -> bool {
    text.split('/')
        .all(|part| is_word(part) && !part.starts_with('-') && ![".", "..", "*"].contains(&part))
}

/// `http://host:port`, with or without a slash at the end.
pub(crate) fn is_endpoint(text: &str) -> bool {
    text.strip_prefix("http://")
        .or_else(|| text.strip_prefix("https://"))
        .map(|rest| rest.strip_suffix('/').unwrap_or(rest))
        .is_some_and(|rest| rest.parse::<HostPort>().is_ok())
}

/// `zk://user:password@host:port,host:port/path`, as Mesos itself takes it; user and password may be left out.
pub(crate) fn is_zookeeper_url(text: &str) -> bool {
    const MAX_SERVERS: usize = 32;
    let Some((authority, path)) = text.strip_prefix("zk://").and_then(|rest| rest.split_once('/'))
    else {
        return false;
    };
    let (credentials, servers) = match authority.rsplit_once('@') {
        Some((credentials, servers)) => (Some(credentials), servers),
        None => (None, authority),
    };
    let mut pair = credentials.map(|text| text.split_once(':').unwrap_or_default()).into_iter();
    pair.all(|(user, password)| !user.is_empty() && !password.is_empty())
        && servers.split(',').count() <= MAX_SERVERS
        && servers.split(',').all(|server| server.parse::<HostPort>().is_ok())
        && path.split('/').all(|part| is_word(part) && ![".", ".."].contains(&part))
        && is_word(text)
}

/// Levels and directives of tracing's filters. Bare names of modules, which tracing reads as
/// "everything of this module", are refused: they are mostly misspelt levels.
pub(crate) fn is_log_filter(text: &str) -> bool {
    text.split(',').map(str::trim).all(|directive| match directive.rsplit_once('=') {
        Some((target, level)) if !level.contains([']', '}']) => {
            !target.is_empty() && is_level(level)
        }
        _ => is_level(directive) || (directive.contains('[') && directive.ends_with(']')),
    })
}

fn is_level(text: &str) -> bool {
    const LEVELS: [&str; 6] = ["trace", "debug", "info", "warn", "error", "off"];
    LEVELS.iter().any(|level| level.eq_ignore_ascii_case(text))
}

/// Hides user names and passwords in URLs (`zk://***@host`), wherever in the text they are.
pub(crate) fn redact(text: &str) -> String {
    const SCHEME_END: &str = "://";
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(SCHEME_END) {
        let (before, after) = rest.split_at(at + SCHEME_END.len());
        shown.push_str(before);
        // A password may have a comma.
        let end = after.find(['/', ' ']).unwrap_or(after.len());
        rest = match after[..end].rfind('@') {
            Some(user_end) => {
                shown.push_str("***");
                &after[user_end..]
            }
            None => after,
        };
    }
    shown.push_str(rest);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_ports_are_read_and_written_back() {
        for good in ["a:1", "127.0.0.1:5050", "[::1]:65535", "m-1.example_net.com:80"] {
            assert_eq!(good.parse::<HostPort>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            ":",
            "a",
            "a:",
            ":1",
            "a:0",
            "a:65536",
            "a:+1",
            "::1:5050",
            "[::1]",
            "[a]:1",
            "http://a:1",
            "a:1/x",
            "a b:1",
            "-a:1",
            "a:1 ",
        ] {
            assert!(bad.parse::<HostPort>().is_err(), "{bad:?} must be refused");
        }
    }

    #[test]
    fn roles_follow_the_rules_of_mesos() {
        for good in ["peloton", "a/b/c", "a.b", "a-b", "a*"] {
            assert!(is_role(good), "{good:?}");
        }
        for bad in
            ["", "*", ".", "..", "/a", "a/", "a//b", "-a", "a/-b", "a b", "a/*", "a\t", "a/."]
        {
            assert!(!is_role(bad), "{bad:?} must be refused");
        }
    }

    #[test]
    fn zookeeper_urls() {
        for good in [
            "zk://a:2181/mesos",
            "zk://a-1.example.com:2181,10.0.0.1:2182,[::1]:2183/mesos/east",
            "zk://me:se@cr:et,@a:2181/mesos",
        ] {
            assert!(is_zookeeper_url(good), "{good:?}");
        }
        for bad in [
            "",
            "a:2181/mesos",
            "http://a:2181/mesos",
            "zk://a:2181",
            "zk://a:2181/",
            "zk://a:2181/mesos/",
            "zk://a:2181//mesos",
            "zk://a:2181/mesos/..",
            "zk://a:2181/me sos",
            "zk://a/mesos",
            "zk://a:0/mesos",
            "zk:///mesos",
            "zk://a:2181,/mesos",
            "zk://a:2181,zk://b:2181/mesos",
            "zk://me@a:2181/mesos",
            "zk://:secret@a:2181/mesos",
            "zk://me:@a:2181/mesos",
        ] {
            assert!(!is_zookeeper_url(bad), "{bad:?} must be refused");
        }
        assert!(!is_zookeeper_url(&format!("zk://{}a:1/mesos", "a:1,".repeat(32))));
    }

    #[test]
    fn log_filters() {
        for good in
            ["info", "WARN", "info,peloton_store=debug", "a::b=off", "[span]", "[s{f=1}]=info"]
        {
            assert!(is_log_filter(good), "{good:?}");
        }
        for bad in ["", "verbose", "info,", "=info", "a=loud", "hyper", "info;debug"] {
            assert!(!is_log_filter(bad), "{bad:?} must be refused");
        }
    }

    #[test]
    fn passwords_in_urls_are_hidden() {
        for (text, shown) in [
            ("zk://u:p@h:2181/mesos", "zk://***@h:2181/mesos"),
            ("http://u:p@s@a:1,http://b:2", "http://***@a:1,http://b:2"),
            ("http://a:1/x@y", "http://a:1/x@y"),
            ("zk://u:p,q@a:1,b:2/mesos", "zk://***@a:1,b:2/mesos"),
            ("a@b", "a@b"),
        ] {
            assert_eq!(redact(text), shown);
        }
    }
}
