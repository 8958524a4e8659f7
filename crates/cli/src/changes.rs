//! Where configurations differ, for people: what was and what is, below the field.

use std::fmt::Write as _;

use peloton_proto::peloton::upgrade::FieldChange;
use serde_json::Value;

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
    use super::*;

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
