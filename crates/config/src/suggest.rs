//! What somebody may have meant who wrote a key that does not exist.

use crate::keys::{KEYS, SECTIONS};

/// The key or section most like `path`, if any is like it.
pub(crate) fn suggest(path: &str) -> Option<&'static str> {
    let candidates =
        || KEYS.iter().map(|key| key.path).chain(SECTIONS.iter().map(|section| section.path));
    let wanted = fold(path);
    if let Some(same) = candidates().find(|candidate| fold(candidate) == wanted) {
        return Some(same);
    }
    let leaf = |path: &str| fold(path.rsplit('.').next().unwrap_or(path));
    let mut same_leaf = candidates().filter(|candidate| leaf(candidate) == leaf(path));
    if let (Some(only), None) = (same_leaf.next(), same_leaf.next()) {
        return Some(only);
    }
    let limit = (wanted.chars().count() / 4).clamp(1, 3);
    candidates()
        .map(|candidate| (distance(&fold(candidate), &wanted), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Case and separators within a name are what people mix up most.
fn fold(path: &str) -> String {
    path.chars().filter(|c| !matches!(c, '_' | '-')).flat_map(char::to_lowercase).collect()
}

/// Edits (insert, delete, replace, swap neighbours) that lead from one text to the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<_>, Vec<_>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggestions() {
        for (wrong, right) in [
            ("master.prot", Some("master.port")),
            ("mesos.hostport", Some("mesos.hostPort")),
            ("mesos.host_port", Some("mesos.hostPort")),
            ("mesos.role", Some("mesos.framework.role")),
            ("failoverTimeout", Some("mesos.framework.failoverTimeout")),
            ("messos", Some("mesos")),
            ("mesos.frameworks", Some("mesos.framework")),
            ("kafka", None),
        ] {
            assert_eq!(suggest(wrong), right, "{wrong}");
        }
    }

    #[test]
    fn distances() {
        for (a, b, want) in [("", "", 0), ("", "ab", 2), ("port", "prot", 1), ("abc", "axc", 1)] {
            assert_eq!(distance(a, b), want);
            assert_eq!(distance(b, a), want);
        }
    }
}
