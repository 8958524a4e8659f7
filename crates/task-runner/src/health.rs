//! Health checks: one at a time, until the task ends.

use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::command::{CommandSpec, Place, ending};
use crate::error::Result;
use crate::http::{self, Request};
use crate::run::Input;
use crate::thread::spawn;

/// Between two looks at a command that runs: there is no wait with a time-out in the system.
const COMMAND_POLL: Duration = Duration::from_millis(10);

/// For a check without a limit: Mesos takes zero as that.
const NO_TIMEOUT: Duration = Duration::from_secs(86_400);

/// What is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HealthKind {
    /// A command that ends with status 0.
    Command(CommandSpec),
    /// A path that answers 200 to 399 on the loopback.
    Http {
        /// The port.
        port: u16,
        /// The path and query, with the slash.
        path: String,
    },
    /// A port that takes connections on the loopback.
    Tcp {
        /// The port.
        port: u16,
    },
}

/// A health check, as a task has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is checked.
    pub kind: HealthKind,
    /// From the start of the task to the first check.
    pub delay: Duration,
    /// From the end of a check to the next.
    pub interval: Duration,
    /// How long a check may take; zero is for ever.
    pub timeout: Duration,
    /// How long after the start failures do not count, as long as none has succeeded.
    pub grace_period: Duration,
    /// So many failures in a row end the task.
    pub consecutive_failures: u64,
}

impl HealthCheck {
    /// A check with the times that Mesos's message has by default.
    #[must_use]
    pub fn new(kind: HealthKind) -> Self {
        Self {
            kind,
            delay: Duration::from_secs(15),
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(20),
            grace_period: Duration::from_secs(10),
            consecutive_failures: 3,
        }
    }
}

/// When failures count; the checking itself is done by a thread.
#[derive(Debug)]
pub struct Health {
    grace_until: Instant,
    limit: u64,
    initializing: bool,
    failures: u64,
}

/// What a check's result means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
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
    /// Starts to check. `tell` gets [`Input::Checked`] and answers whether it wants more.
    ///
    /// # Errors
    /// When there can be no thread for it.
    pub fn start(
        check: HealthCheck,
        place: Place,
        tell: impl Fn(Input) -> bool + Send + 'static,
    ) -> Result<Self> {
        let (grace, limit) = (check.grace_period, check.consecutive_failures);
        spawn("health", move || {
            std::thread::sleep(check.delay);
            while tell(Input::Checked(examine(&check, &place))) {
                std::thread::sleep(check.interval);
            }
        })?;
        Ok(Self { grace_until: Instant::now() + grace, limit, initializing: true, failures: 0 })
    }

    /// Mesos's rules: failures do not count in the grace period before the first success; success
    /// is told when it is the first, or follows a failure; every counted failure is told.
    pub fn judge(&mut self, passed: bool, now: Instant) -> Verdict {
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

/// One check: fine, or why not.
fn examine(check: &HealthCheck, place: &Place) -> std::result::Result<(), String> {
    let timeout = if check.timeout.is_zero() { NO_TIMEOUT } else { check.timeout };
    match &check.kind {
        HealthKind::Command(command) => {
            let process = command.process(place).map_err(|error| error.to_string())?;
            run_command(process, timeout)
        }
        HealthKind::Http { port, path } => {
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
        HealthKind::Tcp { port } => {
            TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], *port)), timeout)
                .map(|_| ())
                .map_err(|error| format!("port {port}: {error}"))
        }
    }
}

fn run_command(mut command: Command, timeout: Duration) -> std::result::Result<(), String> {
    command.process_group(0).stdin(Stdio::null());
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    let deadline = Instant::now() + timeout;
    loop {
        match child.try_wait().map_err(|error| error.to_string())? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(format!("the command {}", ending(status))),
            None if Instant::now() >= deadline => {
                let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
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
        let check = |value: &str, timeout| {
            let command = CommandSpec {
                shell: true,
                value: Some(value.to_owned()),
                arguments: Vec::new(),
                environment: Vec::new(),
            };
            let kind = HealthKind::Command(command);
            examine(&HealthCheck { timeout, ..HealthCheck::new(kind) }, &Place::default())
        };
        assert_eq!(check("true", Duration::from_secs(20)), Ok(()));
        assert_eq!(
            check("exit 4", Duration::from_secs(20)),
            Err("the command exited with status 4".to_owned())
        );
        let slow = check("sleep 600 & sleep 600", Duration::from_millis(50)).unwrap_err();
        assert_eq!(slow, "the command took more than 50ms");
    }
}
