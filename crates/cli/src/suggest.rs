//! What somebody may have meant who wrote a field that a message does not have.

use peloton_proto::descriptors;

/// Names are shorter; what is longer is like none of them.
const MAX_NAME_CHARS: usize = 64;

/// The name most like the last part of `path` in the message where it stands, from the message named `root`.
pub(crate) fn field(root: &str, path: &str) -> Option<String> {
    let mut message = descriptors::pool().get_message_by_name(root)?;
    let parts: Vec<&str> =
        path.split('.').map(|part| part.split('[').next().unwrap_or(part)).collect();
    let (last, parents) = parts.split_last()?;
    for parent in parents {
        let field = message.fields().find(|field| fold(field.name()) == fold(parent))?;
        message = field.kind().as_message()?.clone();
    }
    let names: Vec<String> = message.fields().map(|field| field.json_name().to_owned()).collect();
    nearest(last, &names)
}

/// The name most like `given`, if any is like it.
fn nearest(given: &str, names: &[String]) -> Option<String> {
    let given: String = fold(given).chars().take(MAX_NAME_CHARS).collect();
    let limit = (given.chars().count() / 3).clamp(1, 3);
    let distances = names.iter().map(|name| (distance(&fold(name), &given), name));
    let nearest = distances.filter(|(distance, _)| *distance <= limit).min();
    nearest.map(|(_, name)| name.clone())
}

fn fold(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '_' | '-')).flat_map(char::to_lowercase).collect()
}

/// How many letters must be added, dropped, replaced or swapped with their neighbours to make the one from the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_jobs() {
        for (path, want) in [
            ("comand", Some("command")),
            ("instance-count", Some("instanceCount")),
            ("resource.cpuLimit", Some("cpusLimit")),
            ("ports[2].vlaue", Some("value")),
            ("healthcheck.shellcomand", Some("shellCommand")),
            ("somethingElse", None),
            ("nothing.there", None),
        ] {
            assert_eq!(field("peloton.job.JobConfig", path).as_deref(), want, "{path}");
        }
    }
}
