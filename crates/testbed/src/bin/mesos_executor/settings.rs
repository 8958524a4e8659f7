//! What the agent tells an executor through its environment.

use std::time::Duration;

/// How Mesos's own executor waits where the agent says nothing.
const DEFAULT_RECOVERY_TIMEOUT: Duration = Duration::from_secs(15 * 60);
const DEFAULT_SHUTDOWN_GRACE_PERIOD: Duration = Duration::from_secs(5);

/// The agent waits 2 s for executors after its own start, and then takes their tasks for lost; so
/// whatever back-off it allows, no more than this is used.
const MAX_RECONNECT_BACKOFF: Duration = Duration::from_millis(500);

/// An executor's settings.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// `host:port` of the agent.
    pub(crate) address: String,
    /// The path of its executor API.
    pub(crate) path: String,
    pub(crate) framework_id: String,
    pub(crate) executor_id: String,
    /// For the `Authorization` header, when the agent wants one.
    pub(crate) token: Option<String>,
    /// The framework asked for its tasks to survive the agent.
    pub(crate) checkpoint: bool,
    /// How long the agent may be away when it did.
    pub(crate) recovery_timeout: Duration,
    /// How long the agent waits after SHUTDOWN before it kills the executor.
    pub(crate) shutdown_grace_period: Duration,
    /// The longest pause between two attempts to reach the agent.
    pub(crate) max_backoff: Duration,
}

impl Settings {
    pub(crate) fn from_environment() -> Result<Self, String> {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let required = |name: &str| variable(name).ok_or(format!("{name} is not set"));
        let pid = required("MESOS_SLAVE_PID")?;
        let (process, address) = pid
            .split_once('@')
            .ok_or_else(|| format!("MESOS_SLAVE_PID is {pid:?}, not process@host:port"))?;
        let duration = |name: &str, default: Duration| match variable(name) {
            Some(text) => parse_duration(&text)
                .ok_or_else(|| format!("{name} is {text:?}, not a duration such as 2secs")),
            None => Ok(default),
        };
        let backoff = duration("MESOS_SUBSCRIPTION_BACKOFF_MAX", MAX_RECONNECT_BACKOFF)?;
        Ok(Self {
            address: address.to_owned(),
            path: format!("/{process}/api/v1/executor"),
            framework_id: required("MESOS_FRAMEWORK_ID")?,
            executor_id: required("MESOS_EXECUTOR_ID")?,
            token: variable("MESOS_EXECUTOR_AUTHENTICATION_TOKEN"),
            checkpoint: variable("MESOS_CHECKPOINT").is_some_and(|value| value == "1"),
            recovery_timeout: duration("MESOS_RECOVERY_TIMEOUT", DEFAULT_RECOVERY_TIMEOUT)?,
            shutdown_grace_period: duration(
                "MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD",
                DEFAULT_SHUTDOWN_GRACE_PERIOD,
            )?,
            max_backoff: backoff.min(MAX_RECONNECT_BACKOFF),
        })
    }
}

/// Mesos's text form of a duration: a number and one of its units.
fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(digits);
    let seconds = match unit.trim() {
        "ns" => 1e-9,
        "us" => 1e-6,
        "ms" => 1e-3,
        "secs" => 1.0,
        "mins" => 60.0,
        "hrs" => 3_600.0,
        "days" => 86_400.0,
        "weeks" => 604_800.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_mesos_writes_them() {
        assert_eq!(parse_duration("15mins"), Some(Duration::from_secs(900)));
        assert_eq!(parse_duration("1.5secs"), Some(Duration::from_millis(1500)));
        assert_eq!(parse_duration("250ms"), Some(Duration::from_millis(250)));
        for wrong in ["", "5", "secs", "5 parsecs", "-1secs", "1e400secs"] {
            assert_eq!(parse_duration(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn settings_come_from_the_environment_and_errors_name_the_variable() {
        let settings = |changes: &[(&str, Option<&str>)]| {
            Settings::from_variables(|name| {
                if let Some((_, value)) = changes.iter().find(|(changed, _)| *changed == name) {
                    return value.map(str::to_owned);
                }
                let value = match name {
                    "MESOS_SLAVE_PID" => "slave(1)@127.0.0.1:5051",
                    "MESOS_FRAMEWORK_ID" => "f",
                    "MESOS_EXECUTOR_ID" => "e",
                    "MESOS_SUBSCRIPTION_BACKOFF_MAX" => "2secs",
                    "MESOS_CHECKPOINT" => "1",
                    _ => return None,
                };
                Some(value.to_owned())
            })
        };
        let good = settings(&[]).unwrap();
        assert_eq!(good.address, "127.0.0.1:5051");
        assert_eq!(good.path, "/slave(1)/api/v1/executor");
        assert_eq!(good.max_backoff, MAX_RECONNECT_BACKOFF);
        assert!(good.checkpoint);
        let missing = settings(&[("MESOS_EXECUTOR_ID", None)]).unwrap_err();
        assert_eq!(missing, "MESOS_EXECUTOR_ID is not set");
        let odd = settings(&[("MESOS_RECOVERY_TIMEOUT", Some("soon"))]).unwrap_err();
        assert!(odd.contains("MESOS_RECOVERY_TIMEOUT is \"soon\""), "{odd}");
    }
}
