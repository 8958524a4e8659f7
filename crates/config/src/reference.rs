//! The reference of all keys, as a page of the documentation.

use std::fmt::Write as _;

use crate::keys::{KEYS, Kind, SECTIONS};
use crate::value;

const HEAD: &str = "\
# Configuration reference

<!-- Made from the table in crates/config/src/keys.rs: change it there, then run
     UPDATE_GOLDEN=1 cargo test -p peloton-config. -->

`peloton-master` reads its configuration in layers, each over the ones before it:

1. the defaults below;
2. `base.yaml` in the directory `UBER_CONFIG_DIR` (by default `config/master`);
3. `<environment>.yaml` in the same directory, where `UBER_ENVIRONMENT` names the environment (by
   default `development`, which may be without a file; one that was asked for may not);
4. environment variables: `PELOTON__` and the parts of the key joined by `__`, in any case:
   `PELOTON__MESOS__HOSTPORT=10.0.0.1:5050`. Items of lists are separated by commas;
5. flags: `--set mesos.hostPort=10.0.0.1:5050`.

Maps merge key by key; lists and single values replace what was there. `null` for a key takes it
back to its default; an empty section changes nothing. Keys are matched exactly, and one that does
not exist is an error, as is a value that is not allowed. Truth values are `true` and `false`.

`peloton-master --check-config` prints the effective configuration with where each value came
from, or everything that is wrong with it, and exits.
";

/// The reference page in Markdown.
#[must_use]
pub fn reference_markdown() -> String {
    let mut page = HEAD.to_owned();
    for section in SECTIONS {
        let _ = write!(page, "\n## `{}`\n\n{}\n\n", section.path, section.meaning);
        page.push_str("| key | type | default | meaning |\n| --- | --- | --- | --- |\n");
        let inside = |path: &str| path.rsplit_once('.').is_some_and(|(s, _)| s == section.path);
        for key in KEYS.iter().filter(|key| inside(key.path)) {
            let default = match (key.kind, key.default) {
                (_, "") => "none".to_owned(),
                (_, text) => format!("`{text}`"),
            };
            let (kind, meaning) = (type_of(&key.kind).replace('|', "\\|"), key.meaning);
            let _ = writeln!(page, "| `{}` | {kind} | {default} | {meaning} |", key.path);
        }
    }
    page
}

fn type_of(kind: &Kind) -> String {
    match kind {
        Kind::Bool => "truth value".into(),
        Kind::Int { min, max } => format!("number, {min} to {max}"),
        Kind::OneOf(words) => {
            words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" or ")
        }
        Kind::Text(check) => escape(check.allowed),
        Kind::List(_) => escape(&value::allowed(kind)),
    }
}

fn escape(text: &str) -> String {
    text.replace('*', "\\*").replace('_', "\\_")
}
