//! What was said in a scenario, and how two of them differ.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use crate::normal::{Names, lines};

/// Lines around a difference.
const CONTEXT: usize = 6;

/// More would hide the first ones, which matter.
const MAX_DIFFERENCES: usize = 80;

/// What was said, in normal form, in the order in which the scenario looked at it. All parties of a
/// scenario write to the same one.
#[derive(Debug, Clone, Default)]
pub struct Transcript {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    names: Names,
    lines: Vec<String>,
}

impl Transcript {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives an id a name.
    pub fn name(&self, id: &str, name: impl Into<String>) {
        self.inner().names.set(id, name);
    }

    /// A text in normal form, without a record of it.
    pub fn normal(&self, text: &str) -> String {
        self.inner().names.text(text)
    }

    /// Writes a line.
    pub fn say(&self, line: &str) {
        let mut inner = self.inner();
        let text = inner.names.text(line);
        inner.lines.extend(text.lines().map(|line| line.trim_end().to_owned()));
    }

    /// Writes a message below a headline.
    pub fn message(&self, headline: &str, message: &Value) {
        self.say(headline);
        let mut inner = self.inner();
        let Inner { names, lines: all } = &mut *inner;
        let fields = lines(names, message);
        let indented = |line: &str| format!("    {}", line.trim_end());
        all.extend(fields.iter().flat_map(|f| f.lines()).map(indented));
    }

    /// A resource in normal form.
    pub fn resource(&self, resource: &Value) -> String {
        crate::normal::resource(&self.inner().names, resource)
    }

    /// All lines.
    pub fn text(&self) -> String {
        let mut text = self.inner().lines.join("\n");
        text.push('\n');
        text
    }
}

/// How `right` differs from `left`, for humans; none when they are equal.
pub fn difference(left: (&str, &str), right: (&str, &str)) -> Option<String> {
    if left.1 == right.1 {
        return None;
    }
    let (a, b): (Vec<&str>, Vec<&str>) = (left.1.lines().collect(), right.1.lines().collect());
    let mut out = vec![format!("--- {}", left.0), format!("+++ {}", right.0)];
    let edits = edits(&a, &b);
    let changed: Vec<usize> =
        edits.iter().enumerate().filter(|(_, (mark, _))| *mark != ' ').map(|(i, _)| i).collect();
    let near = |at: usize| changed.iter().any(|c| c.abs_diff(at) <= CONTEXT);
    let mut skipped = false;
    for (at, (mark, line)) in edits.iter().enumerate() {
        // The line that says which message a field belongs to stays in sight.
        if near(at) {
            out.push(format!("{mark} {line}"));
            skipped = false;
        } else if !skipped {
            out.push("  …".to_owned());
            skipped = true;
        }
        if out.len() > MAX_DIFFERENCES {
            out.push("  … and more".to_owned());
            break;
        }
    }
    Some(out.join("\n"))
}

/// The longest common subsequence, the rest marked by where it is.
fn edits<'a>(a: &[&'a str], b: &[&'a str]) -> Vec<(char, &'a str)> {
    let mut common = vec![vec![0_u32; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            common[i][j] = if a[i] == b[j] {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let (mut i, mut j, mut out) = (0, 0, Vec::new());
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && a[i] == b[j] {
            out.push((' ', a[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == b.len() || (i < a.len() && common[i + 1][j] >= common[i][j + 1]) {
            out.push(('-', a[i]));
            i += 1;
        } else {
            out.push(('+', b[j]));
            j += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_transcripts_have_no_difference_and_others_show_it_with_context() {
        assert_eq!(difference(("a", "1\n2\n"), ("b", "1\n2\n")), None);
        let found = difference(("real", "1\n2\n3\n"), ("sim", "1\nx\n3\n")).unwrap();
        assert_eq!(found, "--- real\n+++ sim\n  1\n- 2\n+ x\n  3");
    }
}
