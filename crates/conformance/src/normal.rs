//! Messages in normal form: what two clusters that behave alike say alike.
//!
//! Ids, times, ports and addresses differ from run to run; they become names, in the order in which
//! they first appear where the order matters. Resources are a set and are sorted. A message is
//! written as one line a field, so that a difference points at a field.

use std::collections::BTreeMap;

use serde_json::Value;

/// The names of what differs from run to run.
#[derive(Debug, Default)]
pub struct Names {
    known: BTreeMap<String, String>,
    counts: BTreeMap<&'static str, usize>,
}

impl Names {
    /// Gives an id a name, wherever it appears from now on.
    pub fn set(&mut self, id: &str, name: impl Into<String>) {
        if !id.is_empty() {
            self.known.insert(id.to_owned(), name.into());
        }
    }

    /// The name of an id; the next one of its kind when it has none.
    fn number(&mut self, kind: &'static str, id: &str) -> String {
        if let Some(name) = self.known.get(id) {
            return name.clone();
        }
        let count = self.counts.entry(kind).or_default();
        *count += 1;
        let name = format!("<{kind} {count}>");
        self.known.insert(id.to_owned(), name.clone());
        name
    }

    /// A text with names for all that differs.
    pub fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        // An id may be the beginning of another.
        let mut known: Vec<_> = self.known.iter().collect();
        known.sort_by_key(|(id, _)| std::cmp::Reverse(id.len()));
        for (id, name) in known {
            text = replace_word(&text, id, name);
        }
        sorted_sets(&without_uuids(&without_ports(&text)))
    }
}

fn replace_word(text: &str, word: &str, name: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(word) {
        let (before, found) = rest.split_at(at);
        let after = &found[word.len()..];
        out.push_str(before);
        let whole = !after.starts_with(|c: char| c.is_ascii_alphanumeric())
            && !before.ends_with(|c: char| c.is_ascii_alphanumeric());
        out.push_str(if whole { name } else { word });
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Mesos writes sets of resources in an order of its own, which nobody relies on.
fn sorted_sets(text: &str) -> String {
    // What stands before an answer's words is none of them.
    let (before, text) = text.split_at(after_status(text));
    const BETWEEN: [&str; 3] =
        [" does not contain ", " is more than available ", " are more than available "];
    let found = BETWEEN.iter().find_map(|between| Some((between, text.split_once(between)?)));
    let Some((between, (left, right))) = found else { return format!("{before}{text}") };
    let sorted = |set: &str| {
        let mut items: Vec<&str> = set.split("; ").collect();
        items.sort_unstable();
        items.join("; ")
    };
    let (right, rest) = match right.find("; on agent") {
        Some(at) => right.split_at(at),
        None => (right, ""),
    };
    format!("{before}{}{between}{}{rest}", sorted(left), sorted(right))
}

/// Where the words of an answer begin in a line that has its status.
fn after_status(text: &str) -> usize {
    const STATUS: std::ops::Range<usize> = 2..5;
    let is_status = |rest: &str| {
        rest.get(STATUS).is_some_and(|code| code.bytes().all(|byte| byte.is_ascii_digit()))
            && rest.as_bytes().get(STATUS.end) == Some(&b' ')
    };
    let found = text.match_indices(": ").find(|(at, _)| is_status(&text[*at..]));
    found.map_or(0, |(at, _)| at + STATUS.end + 1)
}

fn without_ports(text: &str) -> String {
    const HOST: &str = "127.0.0.1:";
    let mut parts = text.split(HOST);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str(HOST);
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
        out.push_str(if rest.len() < part.len() { "<port>" } else { "" });
        out.push_str(rest);
    }
    out
}

fn without_uuids(text: &str) -> String {
    const GROUPS: [usize; 5] = [8, 4, 4, 4, 12];
    let mut out = String::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..) {
        let Some(next) = rest.chars().next() else { break };
        let mut end = 0;
        let is_uuid = GROUPS.iter().enumerate().all(|(i, length)| {
            let from = end;
            end += length + usize::from(i < 4);
            rest.get(from..from + length).is_some_and(|g| g.bytes().all(|b| b.is_ascii_hexdigit()))
                && (i == 4 || rest.as_bytes().get(from + length) == Some(&b'-'))
        });
        if is_uuid {
            out.push_str("<uuid>");
            at += end;
        } else {
            out.push(next);
            at += next.len_utf8();
        }
    }
    out
}

/// The fields of a message as lines `path: value`.
pub fn lines(names: &mut Names, message: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    walk(names, &mut Vec::new(), message, &mut lines);
    lines
}

fn walk<'a>(names: &mut Names, path: &mut Vec<&'a str>, value: &'a Value, out: &mut Vec<String>) {
    let key = path.iter().rev().find(|part| !part.starts_with('[')).copied().unwrap_or_default();
    if let Some(line) = special(names, key, path, value) {
        out.push(format!("{}: {line}", path.join(".")));
        return;
    }
    match value {
        Value::Object(fields) if fields.is_empty() => out.push(format!("{}: {{}}", path.join("."))),
        Value::Object(fields) => {
            // In alphabetical order, whatever the map's own is.
            let fields: BTreeMap<&String, &Value> = fields.iter().collect();
            // Not every cluster has a process for an executor.
            for (name, field) in fields.into_iter().filter(|(name, _)| *name != "executorPid") {
                path.push(name);
                walk(names, path, field, out);
                path.pop();
            }
        }
        Value::Array(items) if is_resources(key) => {
            let mut texts: Vec<String> = items.iter().map(|r| resource(names, r)).collect();
            texts.sort();
            out.extend(texts.into_iter().map(|text| format!("{}: {text}", path.join("."))));
        }
        Value::Array(items) => {
            for item in items {
                path.push("[]");
                walk(names, path, item, out);
                path.pop();
            }
        }
        Value::String(text) => out.push(format!("{}: {}", path.join("."), names.text(text))),
        other => out.push(format!("{}: {}", path.join("."), number(other))),
    }
}

fn is_resources(key: &str) -> bool {
    matches!(key, "resources" | "convertedResources" | "converted_resources" | "volumes")
}

/// Fields of which only the presence can be compared, or whose ids get numbers.
fn special(names: &mut Names, key: &str, path: &[&str], value: &Value) -> Option<String> {
    let id = || value["value"].as_str().or_else(|| value.as_str()).unwrap_or_default().to_owned();
    let in_master = path.iter().any(|part| matches!(*part, "masterInfo" | "master_info"));
    Some(match key {
        "timestamp" | "unreachableTime" | "startTime" | "start_time" => "<time>".to_owned(),
        "uuid" => names.number("uuid", &id()),
        "containerId" | "container_id" => names.number("container", &id()),
        "ipAddress" | "ip_address" => "<ip>".to_owned(),
        "port" if value.is_number() => "<port>".to_owned(),
        "id" | "ip" if in_master => "<of master>".to_owned(),
        _ => return None,
    })
}

/// With at most three decimals, as Mesos counts resources.
fn number(value: &Value) -> String {
    match value.as_f64() {
        Some(number) if value.is_f64() => {
            let text = format!("{number:.3}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        _ => value.to_string(),
    }
}

/// A resource in one line: amount, reservations from the least refined, volume, allocation.
pub fn resource(names: &Names, resource: &Value) -> String {
    let mut text = resource["name"].as_str().unwrap_or("<no name>").to_owned();
    text.push(' ');
    text.push_str(&amount(resource));
    for one in resource["reservations"].as_array().into_iter().flatten() {
        text.push_str(&format!(" [{}]", reservation(one)));
    }
    if let Some(disk) = resource.get("disk") {
        let persistence = &disk["persistence"];
        text.push_str(&format!(
            " volume({} by {} at {} {})",
            persistence["id"].as_str().unwrap_or("-"),
            persistence["principal"].as_str().unwrap_or("-"),
            disk["volume"]["containerPath"].as_str().unwrap_or("-"),
            disk["volume"]["mode"].as_str().unwrap_or("-"),
        ));
    }
    for flag in ["shared", "revocable"] {
        if resource.get(flag).is_some() {
            text.push_str(&format!(" {flag}"));
        }
    }
    if let Some(role) = resource["allocationInfo"]["role"].as_str() {
        text.push_str(&format!(" for {role}"));
    }
    const KNOWN: [&str; 10] = [
        "name",
        "type",
        "scalar",
        "ranges",
        "set",
        "reservations",
        "disk",
        "shared",
        "revocable",
        "allocationInfo",
    ];
    let others = resource.as_object().into_iter().flatten();
    for (key, value) in others.filter(|(key, _)| !KNOWN.contains(&key.as_str())) {
        text.push_str(&format!(" {key}={value}"));
    }
    names.text(&text)
}

/// A resource's amount alone.
pub fn amount(resource: &Value) -> String {
    if let Some(scalar) = resource.get("scalar") {
        return number(&scalar["value"].as_f64().unwrap_or_default().into());
    }
    let ranges = resource["ranges"]["range"].as_array().into_iter().flatten();
    let ranges: Vec<_> = ranges.map(|r| format!("{}-{}", r["begin"], r["end"])).collect();
    if resource.get("ranges").is_some() {
        return format!("[{}]", ranges.join(","));
    }
    resource["set"].to_string()
}

fn reservation(one: &Value) -> String {
    let mut text = one["role"].as_str().unwrap_or("-").to_owned();
    text.push_str(&format!(" {}", one["type"].as_str().unwrap_or("-")));
    if let Some(principal) = one["principal"].as_str() {
        text.push_str(&format!(" by {principal}"));
    }
    if let Some(labels) = one.get("labels") {
        let labels = labels["labels"].as_array().into_iter().flatten();
        let labels: Vec<String> = labels
            .map(|l| {
                let part = |key: &str| l[key].as_str().unwrap_or("-").to_owned();
                format!("{}={}", part("key"), part("value"))
            })
            .collect();
        text.push_str(&format!(" {{{}}}", labels.join(" ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_differs_from_run_to_run_gets_names() {
        let mut names = Names::default();
        names.set("m-O1", "<offer>");
        names.set("m", "<master>");
        assert_eq!(names.text("m-O1, m-O12 at m"), "<offer>, <master>-O12 at <master>");
        assert_eq!(names.text("x@127.0.0.1:5050/y"), "x@127.0.0.1:<port>/y");
        let uuid = "0c4f2a31-7d1e-4cbb-9f21-0123456789ab";
        assert_eq!(names.text(&format!("a '{uuid}' b-c")), "a '<uuid>' b-c");
        let answer = "x -> RESERVE: 409 mem:2; cpus:1 does not contain mem:3; disk:2";
        let sorted = "x -> RESERVE: 409 cpus:1; mem:2 does not contain disk:2; mem:3";
        assert_eq!(names.text(answer), sorted);
        assert_eq!(names.text("x -> ACCEPT: 202"), "x -> ACCEPT: 202");
        let status = json!({"uuid": "a", "timestamp": 1.5, "state": "TASK_RUNNING"});
        let first = lines(&mut names, &status);
        assert_eq!(first, ["state: TASK_RUNNING", "timestamp: <time>", "uuid: <uuid 1>"]);
        assert_eq!(lines(&mut names, &json!({"uuid": "b"})), ["uuid: <uuid 2>"]);
        assert_eq!(lines(&mut names, &json!({"uuid": "a"})), ["uuid: <uuid 1>"]);
    }

    #[test]
    fn resources_are_a_set_with_one_line_each() {
        let cpus = json!({"name": "cpus", "type": "SCALAR", "scalar": {"value": 0.30000000000000004},
            "allocationInfo": {"role": "r"}, "reservations": [{"role": "r", "type": "DYNAMIC",
            "principal": "p", "labels": {"labels": [{"key": "a", "value": "b"}]}}]});
        let ports = json!({"name": "ports", "ranges": {"range": [{"begin": 1, "end": 2}]}});
        let of =
            |resources: [&Value; 2]| lines(&mut Names::default(), &json!({"resources": resources}));
        let both = of([&cpus, &ports]);
        assert_eq!(
            both,
            ["resources: cpus 0.3 [r DYNAMIC by p {a=b}] for r", "resources: ports [1-2]"]
        );
        assert_eq!(of([&ports, &cpus]), both);
    }
}
