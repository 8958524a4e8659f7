//! Scripted tasks: what they do is drawn from the agent's [`Script`], except where the task's own
//! description says otherwise.
//!
//! - A command `true`, `false`, `exit N`, `sleep N` or `sleep N; exit N` (N in seconds, or an exit
//!   code) runs for so long and ends so. Everything else is drawn.
//! - A URI that contains `unfetchable` cannot be fetched: the task fails before it runs.
//! - A health check passes for the first time after its delay or, if the variable is there, after
//!   `SIM_HEALTHY_AFTER_MS`, and ever after. With `SIM_HEALTHY=false` it fails from the start, with
//!   `SIM_UNHEALTHY_AFTER_MS` from then on: often enough, and the task is killed.

use crate::Script;
use crate::random::Random;
use peloton_proto::mesos::v1;

/// What a scripted task does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ScriptEvent {
    /// It starts.
    Start,
    /// It ends by itself.
    End,
    /// It ends by the signal of a kill.
    Killed { signal: &'static str },
    /// A health check passes.
    Healthy,
    /// A health check fails, for so many times in a row with this one.
    Unhealthy { failures: u32 },
}

/// What a task is going to do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    /// From launch to start.
    pub(crate) start_ms: u64,
    /// From start to end.
    pub(crate) run_ms: Option<u64>,
    /// How it ends by itself.
    pub(crate) exit: i32,
    /// It ends at its start.
    pub(crate) fails_to_start: bool,
    /// From SIGTERM to its end.
    pub(crate) kill_ms: u64,
    pub(crate) health: Option<HealthPlan>,
}

/// What a task's health check is going to find.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct HealthPlan {
    /// From start to the first check that passes.
    pub(crate) healthy_ms: Option<u64>,
    /// From start to the first check that fails.
    pub(crate) unhealthy_ms: Option<u64>,
    /// Between two checks.
    pub(crate) interval_ms: u64,
    /// So many failures in a row, and the task is killed.
    pub(crate) failures: u32,
}

const PER_MILLE: u64 = 1_000;

impl Plan {
    pub(crate) fn new(script: &Script, info: &v1::TaskInfo, random: &mut Random) -> Self {
        let start_ms = random.between(script.start_delay_ms);
        let run_ms = script.run_time_ms.map(|range| random.between(range));
        let kill_ms = random.between(script.kill_delay_ms);
        let fails = random.next() % PER_MILLE < u64::from(script.failures_per_mille);
        let mut plan = Self {
            start_ms,
            run_ms,
            exit: i32::from(fails),
            fails_to_start: fails && run_ms.is_none(),
            kill_ms,
            health: info.health_check.as_ref().map(|check| health_plan(check, info)),
        };
        let command = info.command.as_ref();
        if command.is_some_and(|c| c.uris.iter().any(|uri| uri.value.contains("unfetchable"))) {
            (plan.fails_to_start, plan.exit) = (true, 1);
            return plan;
        }
        let command = command.filter(|command| command.shell());
        let Some(command) = command.and_then(|command| command.value.as_deref()) else {
            return plan;
        };
        if let Some((run_ms, exit)) = parse(command) {
            (plan.run_ms, plan.exit, plan.fails_to_start) = (Some(run_ms), exit, false);
        }
        plan
    }
}

/// How long a command runs, and its exit code, if it is one of those that are understood.
fn parse(command: &str) -> Option<(u64, i32)> {
    let mut run_ms = None;
    let mut parts = command.split(';').map(str::trim).filter(|part| !part.is_empty()).peekable();
    parts.peek()?;
    for part in parts {
        let mut words = part.split_whitespace();
        match (words.next(), words.next(), words.next()) {
            (Some("true"), None, None) if run_ms.is_none() => return Some((0, 0)),
            (Some("false"), None, None) => return Some((run_ms.unwrap_or(0), 1)),
            (Some("exit"), code, None) => {
                return Some((run_ms.unwrap_or(0), code.unwrap_or("0").parse().ok()?));
            }
            (Some("sleep"), Some(seconds), None) => {
                let seconds: f64 = seconds.parse().ok()?;
                run_ms = Some(run_ms.unwrap_or(0) + (seconds.max(0.0) * 1_000.0) as u64);
            }
            _ => return None,
        }
    }
    run_ms.map(|run_ms| (run_ms, 0))
}

fn variable<'a>(info: &'a v1::TaskInfo, name: &str) -> Option<&'a str> {
    let environment = info.command.as_ref()?.environment.as_ref()?;
    environment.variables.iter().rev().find(|variable| variable.name == name)?.value.as_deref()
}

fn health_plan(check: &v1::HealthCheck, info: &v1::TaskInfo) -> HealthPlan {
    let ms = |seconds: f64| (seconds.max(0.0) * 1_000.0) as u64;
    let milliseconds = |name| variable(info, name).and_then(|value| value.parse::<u64>().ok());
    let (delay_ms, interval_ms) = (ms(check.delay_seconds()), ms(check.interval_seconds()).max(1));
    let never = variable(info, "SIM_HEALTHY") == Some("false");
    let healthy_ms = (!never).then(|| milliseconds("SIM_HEALTHY_AFTER_MS").unwrap_or(delay_ms));
    // Failures in the grace period do not count as long as no check has passed.
    let grace_ms = ms(check.grace_period_seconds());
    let first_failure_ms = if grace_ms > delay_ms {
        delay_ms + (grace_ms - delay_ms).div_ceil(interval_ms) * interval_ms
    } else {
        delay_ms
    };
    let unhealthy_ms = match milliseconds("SIM_UNHEALTHY_AFTER_MS") {
        _ if never => Some(first_failure_ms),
        after_ms => after_ms,
    };
    HealthPlan {
        healthy_ms: healthy_ms.filter(|at_ms| unhealthy_ms.is_none_or(|bad_ms| *at_ms < bad_ms)),
        unhealthy_ms,
        interval_ms,
        failures: check.consecutive_failures().max(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_understood() {
        assert_eq!(parse("true"), Some((0, 0)));
        assert_eq!(parse("false"), Some((0, 1)));
        assert_eq!(parse("exit 3"), Some((0, 3)));
        assert_eq!(parse("sleep 1.5"), Some((1_500, 0)));
        assert_eq!(parse("sleep 2; exit 4"), Some((2_000, 4)));
        assert_eq!(parse("sleep 2;false"), Some((2_000, 1)));
        assert_eq!(parse(""), None);
        assert_eq!(parse("./serve --port 1"), None);
        assert_eq!(parse("sleep forever"), None);
    }
}
