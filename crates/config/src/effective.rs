//! The effective configuration: every key, its value and where the value came from.

use std::fmt::Write as _;
use std::path::PathBuf;

use crate::error::Origin;
use crate::keys::{self, KEYS};
use crate::value::Value;

/// Where comments start, if the values leave room for it.
const COMMENT_COLUMN: usize = 44;

/// A key's value and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The value; `None` for a key without one.
    pub value: Option<Value>,
    /// Where it came from.
    pub origin: Origin,
}

/// The effective configuration.
#[derive(Debug, Clone)]
pub struct Effective {
    /// The environment: `development`.
    pub(crate) environment: String,
    /// The files that were read, in order.
    pub(crate) files: Vec<PathBuf>,
    /// One setting for each of [`KEYS`], in their order.
    pub(crate) settings: Vec<Setting>,
}

impl Effective {
    /// The setting of a key.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Setting> {
        self.settings.get(keys::index_of(path)?)
    }

    /// The environment: `development`, `production`.
    #[must_use]
    pub fn environment(&self) -> &str {
        &self.environment
    }

    /// The files that were read, in the order of their layers.
    #[must_use]
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// The configuration as YAML, each key with a comment that tells where its value came from.
    /// User names and passwords in URLs are hidden; secrets are never part of it.
    #[must_use]
    pub fn render(&self) -> String {
        let files: Vec<_> = self.files.iter().map(|file| file.display().to_string()).collect();
        let files = if files.is_empty() { "none".into() } else { files.join(", ") };
        let mut out = format!("# environment: {}\n# files: {files}\n", self.environment);
        let mut open: Vec<&str> = Vec::new();
        for (key, setting) in KEYS.iter().zip(&self.settings) {
            let mut parts: Vec<&str> = key.path.split('.').collect();
            let name = parts.pop().unwrap_or_default();
            let shared = open.iter().zip(&parts).take_while(|(a, b)| a == b).count();
            for (depth, part) in parts.iter().enumerate().skip(shared) {
                let _ = writeln!(out, "{:1$}{part}:", "", 2 * depth);
            }
            let value = match (&setting.value, key.kind) {
                (Some(value), _) => value.to_string(),
                (None, keys::Kind::List(_)) => "[]".into(),
                (None, _) => "null".into(),
            };
            let line = format!("{:1$}{name}: {value}", "", 2 * parts.len());
            let _ = writeln!(out, "{line:COMMENT_COLUMN$} # {}", setting.origin);
            open = parts;
        }
        out
    }

    /// The values as a tree, for the typed configuration.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        let mut root = serde_json::Map::new();
        for (key, setting) in KEYS.iter().zip(&self.settings) {
            let value = match &setting.value {
                None => match key.kind {
                    keys::Kind::List(_) => serde_json::Value::Array(Vec::new()),
                    _ => serde_json::Value::Null,
                },
                Some(Value::Bool(value)) => (*value).into(),
                Some(Value::Int(value)) => (*value).into(),
                Some(Value::Text(text)) => text.as_str().into(),
                Some(Value::List(items)) => items.clone().into(),
            };
            insert(&mut root, key.path, value);
        }
        root.into()
    }
}

fn insert(
    map: &mut serde_json::Map<String, serde_json::Value>,
    path: &str,
    value: serde_json::Value,
) {
    match path.split_once('.') {
        None => {
            map.insert(path.to_owned(), value);
        }
        Some((section, rest)) => {
            let inner = map
                .entry(section)
                .or_insert_with(|| serde_json::Value::Object(serde_json::Map::new()));
            if let serde_json::Value::Object(inner) = inner {
                insert(inner, rest, value);
            }
        }
    }
}
