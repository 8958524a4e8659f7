//! What a client is made with.

use std::time::Duration;

/// The port of a master that is named without one.
pub const DEFAULT_PORT: u16 = 5289;

/// What a client is made with.
#[derive(Debug, Clone)]
pub struct Options {
    /// The masters: `host`, `host:port` or `http://host:port`. At least one.
    pub masters: Vec<String>,
    /// How long a call may take, all its tries together.
    pub timeout: Duration,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// After no master could be reached: how often all are tried once more, with growing waits between. While
    /// masters answer that they can not serve now, or what became of a change is not known, they are asked
    /// again until the time-out.
    pub retry_rounds: u32,
    /// Who calls, as the masters record it with changes: `user@host`.
    pub caller: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            masters: vec![format!("localhost:{DEFAULT_PORT}")],
            timeout: Duration::from_secs(30),
            // More than a lost SYN packet costs, and still little for a person who waits.
            connect_timeout: Duration::from_secs(3),
            // Enough for a connection lost at a bad moment; a person sees the error within a second.
            retry_rounds: 2,
            caller: default_caller(),
        }
    }
}

/// `user@host` of this process, from the environment; `unknown` where a part is not known.
#[must_use]
pub fn default_caller() -> String {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let user = variable("USER").or_else(|| variable("LOGNAME"));
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .or_else(|| variable("HOSTNAME"));
    let part = |part: Option<String>| part.unwrap_or_else(|| "unknown".to_owned());
    format!("{}@{}", part(user), part(host))
}
