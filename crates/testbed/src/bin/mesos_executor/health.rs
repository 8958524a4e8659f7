//! Health checks: one at a time, until the task ends.

use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use peloton_testbed::http::{self, Request};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

use crate::agent::spawn;
use crate::message::{Input, seconds, text};
use crate::task::{ending, process_of};

/// Between two looks at a command that runs: there is no wait with a time-out in the system.
const COMMAND_POLL: Duration = Duration::from_millis(10);

/// What is checked.
#[derive(Debug)]
enum Kind {
    Command(Value),
    Http { port: u16, path: String },
    Tcp { port: u16 },
}

/// When failures count; the checking itself is done by a thread.
#[derive(Debug)]
pub(crate) struct Health {
    grace_until: Instant,
    limit: u64,
    initializing: bool,
    failures: u64,
}

/// What a check's result means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing to tell.
    Same,
    /// Tell that it is healthy.
    Healthy,
    /// Tell that it is not.
    Unhealthy,
    /// Tell that it is not, and kill it.
    Kill,
}

impl Health {
    /// Starts to check as a `HealthCheck` says.
    pub(crate) fn start(check: &Value, inputs: Sender<Input>) -> Result<Self, String> {
        let kind = kind_of(check)?;
        // Defaults are those of Mesos's message.
        let setting =
            |field, default| seconds(check, field).unwrap_or(Duration::from_secs(default));
        let delay = setting("delay_seconds", 15);
        let interval = setting("interval_seconds", 10);
        let timeout = setting("timeout_seconds", 20);
        let grace = setting("grace_period_seconds", 10);
        let limit = check.get("consecutive_failures").and_then(Value::as_u64).unwrap_or(3);
        spawn("health", move || {
            std::thread::sleep(delay);
            loop {
                // The supervisor ignores results once the task is killed or has ended.
                if inputs.send(Input::Checked(run(&kind, timeout))).is_err() {
                    return;
                }
                std::thread::sleep(interval);
            }
        })?;
        Ok(Self { grace_until: Instant::now() + grace, limit, initializing: true, failures: 0 })
    }

    /// Mesos's rules: failures do not count in the grace period before the first success; success
    /// is told when it is the first, or follows a failure; every counted failure is told.
    pub(crate) fn judge(&mut self, passed: bool, now: Instant) -> Verdict {
        if passed {
            let told = !self.initializing && self.failures == 0;
            self.initializing = false;
            self.failures = 0;
            return if told { Verdict::Same } else { Verdict::Healthy };
        }
        if self.initializing && now <= self.grace_until {
            return Verdict::Same;
        }
        self.failures += 1;
        if self.failures >= self.limit { Verdict::Kill } else { Verdict::Unhealthy }
    }
}

fn kind_of(check: &Value) -> Result<Kind, String> {
    let port = |of: &str| {
        let port = check.get(of).and_then(|part| part.get("port")).and_then(Value::as_u64);
        let port = port.ok_or_else(|| format!("the health check's {of} has no port"))?;
        u16::try_from(port).map_err(|_| format!("the health check's port {port} is above 65535"))
    };
    // Old frameworks leave the type out: then the part that is there says it.
    let guess = if check.get("http").is_some() { "HTTP" } else { "COMMAND" };
    match text(check, "type").unwrap_or(guess) {
        "COMMAND" => {
            let command = check.get("command").ok_or("the health check has no command")?;
            Ok(Kind::Command(command.clone()))
        }
        "HTTP" => {
            let path = check.pointer("/http/path").and_then(Value::as_str).unwrap_or("/");
            match check.pointer("/http/scheme").and_then(Value::as_str).unwrap_or("http") {
                "http" => Ok(Kind::Http { port: port("http")?, path: path.to_owned() }),
                other => Err(format!("the testbed checks no {other}, only http")),
            }
        }
        "TCP" => Ok(Kind::Tcp { port: port("tcp")? }),
        other => Err(format!("the testbed knows no health check of type {other}")),
    }
}

fn run(kind: &Kind, timeout: Duration) -> Result<(), String> {
    // Zero means that there is no limit.
    let timeout = if timeout.is_zero() { Duration::from_secs(86_400) } else { timeout };
    match kind {
        Kind::Command(command) => run_command(process_of(command)?, timeout),
        Kind::Http { port, path } => {
            let address = format!("127.0.0.1:{port}");
            let request = Request {
                method: "GET",
                address: &address,
                path,
                headers: &[],
                body: b"",
                timeout: Some(timeout),
            };
            match http::send(&request).map_err(|error| error.to_string())?.status {
                200..=399 => Ok(()),
                status => Err(format!("{address}{path} answers {status}")),
            }
        }
        Kind::Tcp { port } => {
            TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], *port)), timeout)
                .map(|_| ())
                .map_err(|error| format!("port {port}: {error}"))
        }
    }
}

fn run_command(mut command: Command, timeout: Duration) -> Result<(), String> {
    command.process_group(0).stdin(Stdio::null());
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    let deadline = Instant::now() + timeout;
    loop {
        match child.try_wait().map_err(|error| error.to_string())? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(format!("the command {}", ending(status))),
            None if Instant::now() >= deadline => {
                if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                    let _ = kill_process_group(group, Signal::KILL);
                }
                let _ = child.wait();
                return Err(format!("the command took more than {timeout:?}"));
            }
            None => std::thread::sleep(COMMAND_POLL),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn failures_count_after_the_grace_period_or_the_first_success() {
        let now = Instant::now();
        let later = now + Duration::from_secs(11);
        let fresh = || Health {
            grace_until: now + Duration::from_secs(10),
            limit: 2,
            initializing: true,
            failures: 0,
        };
        let mut health = fresh();
        assert_eq!(health.judge(false, now), Verdict::Same);
        assert_eq!(health.judge(true, now), Verdict::Healthy);
        assert_eq!(health.judge(true, now), Verdict::Same);
        assert_eq!(health.judge(false, now), Verdict::Unhealthy);
        assert_eq!(health.judge(true, now), Verdict::Healthy);
        assert_eq!(health.judge(false, now), Verdict::Unhealthy);
        assert_eq!(health.judge(false, now), Verdict::Kill);
        let mut never = fresh();
        assert_eq!(never.judge(false, later), Verdict::Unhealthy);
        assert_eq!(never.judge(false, later), Verdict::Kill);
    }

    #[test]
    fn commands_are_judged_by_status_and_time() {
        let check = |value: &str, timeout| run(&Kind::Command(json!({"value": value})), timeout);
        assert_eq!(check("true", Duration::from_secs(20)), Ok(()));
        assert_eq!(
            check("exit 4", Duration::from_secs(20)),
            Err("the command exited with status 4".to_owned())
        );
        let slow = check("sleep 600 & sleep 600", Duration::from_millis(50)).unwrap_err();
        assert_eq!(slow, "the command took more than 50ms");
    }

    #[test]
    fn checks_that_cannot_be_made_are_refused() {
        let refused = |check: Value| kind_of(&check).unwrap_err();
        assert!(refused(json!({"type": "TCP", "tcp": {}})).contains("no port"));
        assert!(refused(json!({"type": "TCP", "tcp": {"port": 70_000}})).contains("70000"));
        assert!(refused(json!({"type": "COMMAND"})).contains("no command"));
        assert!(refused(json!({"type": "GRPC"})).contains("GRPC"));
        assert!(refused(json!({"http": {"port": 1, "scheme": "https"}})).contains("https"));
    }
}
