//! Where configurations differ: found by their JSON, shown as `-` and `+` below the field.

use std::fmt::Write as _;

use peloton_proto::json::{self, JsonOptions};
use peloton_proto::peloton::job::JobConfig;
use peloton_proto::peloton::upgrade::FieldChange;
use serde_json::Value;

use crate::exit::{Exit, Failure};

/// Where two configurations of a job differ; who wrote them and when is no difference.
pub(crate) fn between(before: &JobConfig, after: &JobConfig) -> Result<Vec<FieldChange>, Failure> {
    let value = |config: &JobConfig| {
        let config = JobConfig { change_log: None, ..config.clone() };
        json::to_json_with(&config, JsonOptions { enum_names: true, pretty: false })
            .map_err(|error| Failure::new(Exit::Failed, format!("can not compare: {error}")))
    };
    let mut changes = Vec::new();
    compare("", Some(&value(before)?), Some(&value(after)?), &mut changes);
    Ok(changes)
}

/// Compares the values of a field, and goes into those that are there on both sides.
fn compare(
    field: &str,
    before: Option<&Value>,
    after: Option<&Value>,
    changes: &mut Vec<FieldChange>,
) {
    match (before, after) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            let added = b.keys().filter(|key| !a.contains_key(*key));
            for key in a.keys().chain(added) {
                let dot = if field.is_empty() { "" } else { "." };
                compare(&format!("{field}{dot}{key}"), a.get(key), b.get(key), changes);
            }
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) => {
            for index in 0..a.len().max(b.len()) {
                compare(&format!("{field}[{index}]"), a.get(index), b.get(index), changes);
            }
        }
        (before, after) if before == after => {}
        (before, after) => {
            let text = |value: Option<&Value>| value.map(ToString::to_string).unwrap_or_default();
            let field = field.to_owned();
            changes.push(FieldChange { field, before: text(before), after: text(after) });
        }
    }
}

/// The changes for people.
pub(crate) fn text(changes: &[FieldChange]) -> String {
    let mut text = String::new();
    for change in changes {
        let _ = writeln!(text, "{}", change.field);
        let (mut before, mut after) = (lines(&change.before), lines(&change.after));
        if before == after {
            // They differ in how the last line ends.
            (before, after) = (vec![change.before.clone()], vec![change.after.clone()]);
        }
        let same = |(a, b): &(&String, &String)| a == b;
        let head = before.iter().zip(&after).take_while(same).count();
        let rest = before.len().min(after.len()) - head;
        let tail = before.iter().rev().zip(after.iter().rev()).take(rest).take_while(same).count();
        if head > 0 {
            let _ = writeln!(text, "    ({} as before)", counted(head));
        }
        for (mark, lines) in [('-', &before), ('+', &after)] {
            for line in lines.get(head..lines.len() - tail).unwrap_or_default() {
                let _ = writeln!(text, "  {mark} {line}");
            }
        }
        if tail > 0 {
            let _ = writeln!(text, "    ({} as before)", counted(tail));
        }
    }
    text
}

fn counted(lines: usize) -> String {
    if lines == 1 { "1 line".to_owned() } else { format!("{lines} lines") }
}

/// A value in lines: JSON on one, but a text of several lines, such as a script, as these.
fn lines(value: &str) -> Vec<String> {
    match serde_json::from_str(value) {
        Ok(Value::String(text)) if text.trim_end_matches('\n').contains('\n') => {
            text.lines().map(|line| line.escape_debug().to_string().replace("\\\"", "\"")).collect()
        }
        _ if value.is_empty() => Vec::new(),
        _ => vec![value.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use peloton_proto::mesos::v1::CommandInfo;
    use peloton_proto::peloton::changelog::ChangeLog;
    use peloton_proto::peloton::job::{JobType, PortConfig};

    use super::*;

    fn config(value: &str, ports: &[u32]) -> JobConfig {
        let port =
            |value: &u32| PortConfig { name: "p".into(), value: *value, ..PortConfig::default() };
        JobConfig {
            command: Some(CommandInfo { value: Some(value.into()), ..CommandInfo::default() }),
            ports: ports.iter().map(port).collect(),
            ..JobConfig::default()
        }
    }

    #[test]
    fn fields_that_differ_have_paths() {
        let before = config("a", &[1, 2]);
        let mut after = config("b", &[1, 3, 4]);
        after.set_type(JobType::Batch);
        let log = |version| Some(ChangeLog { version, ..ChangeLog::default() });
        let before = JobConfig { change_log: log(1), ..before };
        let after = JobConfig { change_log: log(2), ..after };
        let changes = between(&before, &after).unwrap();
        let found: Vec<_> = changes
            .iter()
            .map(|c| (c.field.as_str(), c.before.as_str(), c.after.as_str()))
            .collect();
        let want = [
            ("ports[1].value", "2", "3"),
            ("ports[2]", "", "{\"name\":\"p\",\"value\":4}"),
            ("command.value", "\"a\"", "\"b\""),
            ("type", "", "\"BATCH\""),
        ];
        assert!(want.iter().all(|w| found.contains(w)) && found.len() == 4, "{found:?}");
        assert_eq!(between(&before, &before).unwrap(), []);
    }

    #[test]
    fn of_scripts_only_what_changed_is_shown() {
        let change = |before: &str, after: &str| FieldChange {
            field: "command.value".into(),
            before: before.into(),
            after: after.into(),
        };
        let script = change(r#""a\nb\nc\nd\n""#, r#""a\nx\ny\nc\nd\n""#);
        let want =
            "command.value\n    (1 line as before)\n  - b\n  + x\n  + y\n    (2 lines as before)\n";
        assert_eq!(text(&[script]), want);
        assert_eq!(text(&[change("", "1")]), "command.value\n  + 1\n");
        assert_eq!(text(&[change(r#""a\n""#, "")]), "command.value\n  - \"a\\n\"\n");
        let ends = change(r#""a\nb\n""#, r#""a\nb""#);
        let want = "command.value\n  - \"a\\nb\\n\"\n  + \"a\\nb\"\n";
        assert_eq!(text(&[ends]), want);
    }
}
