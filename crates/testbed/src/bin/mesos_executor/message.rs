//! The JSON of the v1 executor API, as far as it is used.

use std::fs::File;
use std::io::Read;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use peloton_task_runner::Report;
use serde_json::{Value, json};

/// What the supervisor hears of.
#[derive(Debug)]
pub(crate) enum Input {
    /// An event of the agent.
    Event { connection: u64, event: Value },
    /// The agent accepted a subscription.
    Subscribed { connection: u64 },
    /// The connection could not be made, or ended.
    Disconnected { connection: u64 },
    /// The agent refuses this executor for good.
    Refused(String),
    /// The agent did not take an update that was sent on this connection.
    Unsent { connection: u64 },
    /// What the task's run tells.
    Run(peloton_task_runner::Input),
}

/// One status update, as sent and as kept until it is acknowledged.
#[derive(Debug, Clone)]
pub(crate) struct Update {
    /// Base64 of 16 random bytes.
    pub(crate) uuid: String,
    /// The state is final.
    pub(crate) terminal: bool,
    /// The `update` field of the call.
    pub(crate) body: Value,
}

impl Update {
    pub(crate) fn new(task_id: &str, executor_id: &str, report: Report) -> Result<Self, String> {
        let uuid = random_uuid()?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut status = json!({
            "task_id": {"value": task_id},
            "executor_id": {"value": executor_id},
            "state": report.state.name(),
            "source": "SOURCE_EXECUTOR",
            "timestamp": now.as_secs_f64(),
            "uuid": uuid,
        });
        if let Some(message) = report.message {
            status["message"] = message.into();
        }
        if let Some(reason) = report.reason {
            status["reason"] = reason.into();
        }
        if let Some(healthy) = report.healthy {
            status["healthy"] = healthy.into();
        }
        Ok(Self { uuid, terminal: report.state.is_terminal(), body: json!({ "status": status }) })
    }
}

/// A version 4 UUID in the form that JSON has for bytes.
fn random_uuid() -> Result<String, String> {
    let mut bytes = [0_u8; 16];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|error| format!("cannot read /dev/urandom: {error}"))?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    Ok(STANDARD.encode(bytes))
}

/// A field of strings, as an event or task has it.
pub(crate) fn text<'a>(value: &'a Value, field: &str) -> Option<&'a str> {
    value.get(field)?.as_str()
}

/// A `DurationInfo`.
pub(crate) fn duration_info(value: &Value) -> Option<Duration> {
    let nanoseconds = value.get("nanoseconds")?;
    let number = nanoseconds.as_i64().or_else(|| nanoseconds.as_str()?.parse().ok())?;
    Some(Duration::from_nanos(u64::try_from(number).unwrap_or(0)))
}

/// The grace period of a `KillPolicy`.
pub(crate) fn grace_period(policy: &Value) -> Option<Duration> {
    duration_info(policy.get("grace_period")?)
}

/// A field of seconds, as a fraction; negative ones count as zero.
pub(crate) fn seconds(value: &Value, field: &str) -> Option<Duration> {
    let seconds = value.get(field)?.as_f64()?;
    Duration::try_from_secs_f64(seconds.max(0.0)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use peloton_task_runner::State;

    #[test]
    fn durations_are_read_and_odd_ones_do_no_harm() {
        let policy = json!({"grace_period": {"nanoseconds": 1_500_000_000}});
        assert_eq!(grace_period(&policy), Some(Duration::from_millis(1500)));
        assert_eq!(
            grace_period(&json!({"grace_period": {"nanoseconds": "7"}})),
            Some(Duration::from_nanos(7))
        );
        assert_eq!(
            grace_period(&json!({"grace_period": {"nanoseconds": -1}})),
            Some(Duration::ZERO)
        );
        assert_eq!(grace_period(&json!({})), None);
        assert_eq!(seconds(&json!({"s": 0.25}), "s"), Some(Duration::from_millis(250)));
        assert_eq!(seconds(&json!({"s": -2.0}), "s"), Some(Duration::ZERO));
    }

    #[test]
    fn updates_carry_fresh_ids_and_know_final_states() {
        let update = |state| Update::new("t", "t", Report::of(state)).unwrap();
        assert_ne!(update(State::Running).uuid, update(State::Running).uuid);
        assert!(!update(State::Running).terminal);
        assert!(update(State::Killed).terminal);
        assert_eq!(STANDARD.decode(update(State::Running).uuid).unwrap().len(), 16);
    }
}
