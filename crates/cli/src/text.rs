//! Words for people: times, counts, states.

use peloton_proto::mesos::v1::TimeInfo;
use peloton_proto::peloton::job::{JobConfig, JobType};
use peloton_proto::peloton::task::{HealthState, RuntimeInfo, TaskState};

/// The mark for what is not there.
pub(crate) const NONE: &str = "-";

/// The text, or the mark for none.
pub(crate) fn or_none(text: &str) -> String {
    if text.is_empty() { NONE.to_owned() } else { text.to_owned() }
}

/// A time of Mesos's.
pub(crate) fn time_info(time: Option<&TimeInfo>) -> String {
    time.map_or_else(|| NONE.to_owned(), |time| utc(time.nanoseconds / 1_000_000_000))
}

/// Milliseconds since the Unix epoch.
pub(crate) fn time_ms(ms: i64) -> String {
    if ms == 0 { NONE.to_owned() } else { utc(ms.div_euclid(1000)) }
}

/// Seconds since the Unix epoch as `2026-11-22 15:50:43Z`.
fn utc(seconds: i64) -> String {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days in eras of 400 years that start on the 1st of March, so that the leap day comes last.
    let shifted = days + 719_468;
    let (era, day) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = era * 400 + year + carry;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{date:02} {hour:02}:{minute:02}:{second:02}Z")
}

/// A short time: `12 ms`, `2.1 s`, `75 s`.
pub(crate) fn seconds(ms: u64) -> String {
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..10_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        _ => format!("{} s", ms / 1000),
    }
}

/// A number, or the mark for none in place of 0.
pub(crate) fn count_or_none(count: u64) -> String {
    if count == 0 { NONE.to_owned() } else { count.to_string() }
}

/// A size: `512 B`, `20 KiB`, `1.5 MiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let (mut tenths, mut unit) = (bytes.saturating_mul(10), None);
    for next in UNITS {
        if tenths < 10_240 {
            break;
        }
        (tenths, unit) = (tenths / 1024, Some(next));
    }
    match unit {
        None => format!("{bytes} B"),
        Some(unit) if tenths < 100 => format!("{}.{} {unit}", tenths / 10, tenths % 10),
        Some(unit) => format!("{} {unit}", tenths / 10),
    }
}

/// `1 instance`, `2 instances`.
pub(crate) fn instances(count: u32) -> String {
    if count == 1 { "1 instance".to_owned() } else { format!("{count} instances") }
}

/// `service` or `batch`.
pub(crate) fn job_type(config: &JobConfig) -> &'static str {
    match config.r#type() {
        JobType::Service => "service",
        JobType::Batch => "batch",
    }
}

/// The state's name.
pub(crate) fn task_state(runtime: &RuntimeInfo) -> String {
    match TaskState::try_from(runtime.state) {
        Ok(state) => state.as_str_name().to_owned(),
        // From a master that is newer than this program.
        Err(_) => format!("STATE {}", runtime.state),
    }
}

/// `healthy`, `unhealthy` or the mark for none.
pub(crate) fn health(runtime: &RuntimeInfo) -> String {
    match runtime.health() {
        HealthState::Disabled => NONE,
        HealthState::Unknown => "unknown",
        HealthState::Healthy => "healthy",
        HealthState::Unhealthy => "unhealthy",
    }
    .to_owned()
}

/// What a person should know of a run besides its state.
pub(crate) fn note(runtime: &RuntimeInfo) -> String {
    let mut notes = Vec::new();
    if runtime.unreachable_since.is_some() {
        notes.push("agent unreachable".to_owned());
    }
    for text in [&runtime.wait_reason, &runtime.kill_reason] {
        if !text.is_empty() {
            notes.push(text.clone());
        }
    }
    let failed = matches!(runtime.state(), TaskState::Failed | TaskState::Throttled);
    if failed && !runtime.message.is_empty() {
        notes.push(runtime.message.clone());
    }
    notes.join("; ").replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes() {
        for (ms, want) in [(0, "0 ms"), (999, "999 ms"), (2149, "2.1 s"), (75_900, "75 s")] {
            assert_eq!(seconds(ms), want);
        }
        for (count, want) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_572_864, "1.5 MiB"),
            (20 << 20, "20 MiB"),
            (3 << 40, "3.0 TiB"),
            (u64::MAX, "1677721 TiB"),
        ] {
            assert_eq!(bytes(count), want);
        }
    }

    #[test]
    fn times() {
        for (seconds, want) in [
            (0, "1970-01-01 00:00:00Z"),
            (951_782_400, "2000-02-29 00:00:00Z"),
            (1_475_280_000, "2016-10-01 00:00:00Z"),
            (4_107_542_399, "2100-02-28 23:59:59Z"),
            (4_107_542_400, "2100-03-01 00:00:00Z"),
            (-1, "1969-12-31 23:59:59Z"),
        ] {
            assert_eq!(utc(seconds), want);
        }
    }
}
