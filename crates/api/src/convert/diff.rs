//! Where two documents differ.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// A path, and what is there in the one and in the other document.
pub(super) type Difference<'a> = (String, Option<&'a Value>, Option<&'a Value>);

/// The innermost places at which the documents differ, in the order of the paths' parts. What has a key of its
/// own in a list, such as a label or an environment variable, is found by that; all else by its place.
pub(super) fn differences<'a>(before: &'a Value, after: &'a Value) -> Vec<Difference<'a>> {
    let mut found = Vec::new();
    compare("", Some(before), Some(after), &mut found);
    found
}

fn compare<'a>(
    path: &str,
    before: Option<&'a Value>,
    after: Option<&'a Value>,
    found: &mut Vec<Difference<'a>>,
) {
    match (before, after) {
        _ if before == after => {}
        (Some(Value::Object(before)), Some(Value::Object(after))) => {
            let dot = if path.is_empty() { "" } else { "." };
            for name in names(before).chain(names(after)).collect::<BTreeSet<_>>() {
                let path = format!("{path}{dot}{name}");
                compare(&path, before.get(name), after.get(name), found);
            }
        }
        (Some(Value::Array(before)), Some(Value::Array(after))) => {
            if let (Some(before), Some(after)) = (by_key(path, before), by_key(path, after)) {
                let keys = before.iter().chain(&after).map(|(key, _)| *key);
                for key in keys.collect::<BTreeSet<_>>() {
                    let path = format!("{path}[{key}]");
                    compare(&path, at(&before, key), at(&after, key), found);
                }
                return;
            }
            for place in 0..before.len().max(after.len()) {
                let path = format!("{path}[{place}]");
                compare(&path, before.get(place), after.get(place), found);
            }
        }
        _ => found.push((path.to_owned(), before, after)),
    }
}

fn names(map: &Map<String, Value>) -> impl Iterator<Item = &str> {
    map.keys().map(String::as_str)
}

type Keyed<'a> = Vec<(&'a str, &'a Value)>;

fn at<'a>(entries: &Keyed<'a>, key: &str) -> Option<&'a Value> {
    entries.iter().find(|(own, _)| *own == key).map(|(_, value)| *value)
}

/// The entries of a list by their keys, if they have such, each once. Environment variables have names for
/// keys; ports have, too, but go by their places, as they do in all that is said of them.
fn by_key<'a>(path: &str, entries: &'a [Value]) -> Option<Keyed<'a>> {
    let name = if path.ends_with("variables") { "name" } else { "key" };
    let mut keyed = Keyed::new();
    for entry in entries {
        let own = entry.get(name)?.as_str()?;
        if keyed.iter().any(|(other, _)| *other == own) {
            return None;
        }
        keyed.push((own, entry));
    }
    Some(keyed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(before: &Value, after: &Value) -> Vec<String> {
        let text = |value: Option<&Value>| value.map(ToString::to_string).unwrap_or_default();
        let found = differences(before, after).into_iter();
        found.map(|(path, b, a)| format!("{path}: {} -> {}", text(b), text(a))).collect()
    }

    #[test]
    fn the_innermost_places_are_told() {
        let before = json!({"a": {"x": 1, "y": 2}, "gone": [1], "ports": [{"name": "http"}]});
        let after = json!({"a": {"x": 1, "y": 3}, "new": {"z": 1},
            "ports": [{"name": "www"}, {"name": "admin"}]});
        assert_eq!(
            told(&before, &after),
            [
                "a.y: 2 -> 3",
                "gone: [1] -> ",
                "new:  -> {\"z\":1}",
                "ports[0].name: \"http\" -> \"www\"",
                "ports[1]:  -> {\"name\":\"admin\"}",
            ]
        );
        assert_eq!(told(&before, &before), [""; 0]);
    }

    #[test]
    fn labels_are_found_by_their_keys() {
        let before = json!([{"key": "a", "value": "1"}, {"key": "c", "value": "3"}]);
        let after = json!([{"key": "a", "value": "1"}, {"key": "b"}, {"key": "c", "value": "4"}]);
        let variables = |value: &str| json!({"variables": [{"name": "PATH", "value": value}]});
        let expected = ["variables[PATH].value: \"/a\" -> \"/b\""];
        assert_eq!(told(&variables("/a"), &variables("/b")), expected);
        let expected = ["[b]:  -> {\"key\":\"b\"}", "[c].value: \"3\" -> \"4\""];
        assert_eq!(told(&before, &after), expected);
        // Not where that would be ambiguous.
        let twice = json!([{"key": "a", "value": "1"}, {"key": "a", "value": "2"}]);
        assert_eq!(
            told(&before, &twice),
            ["[1].key: \"c\" -> \"a\"", "[1].value: \"3\" -> \"2\"",]
        );
    }
}
