//! Values of keys, and how they are read from YAML and from text.

use std::fmt;

use crate::format::redact;
use crate::keys::{Check, Key, Kind};
use crate::yaml::Node;

/// The value of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A text.
    Text(String),
    /// A list of texts.
    List(Vec<String>),
}

/// As in YAML; user names and passwords in URLs are hidden.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Text(text) => f.write_str(&quoted(text)),
            Self::List(items) => {
                let items: Vec<_> = items.iter().map(|item| quoted(item)).collect();
                write!(f, "[{}]", items.join(", "))
            }
        }
    }
}

/// A JSON string, which is a YAML string, too.
fn quoted(text: &str) -> String {
    serde_json::Value::String(redact(text)).to_string()
}

/// Why a value was refused; `found` is fit to be shown.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) found: String,
    pub(crate) wrong_type: bool,
}

impl Refused {
    fn value(found: String) -> Self {
        Self { found, wrong_type: false }
    }

    fn wrong_type(found: String) -> Self {
        Self { found, wrong_type: true }
    }
}

/// What the key allows, as a phrase.
pub(crate) fn allowed(kind: &Kind) -> String {
    match kind {
        Kind::Bool => "true or false".into(),
        Kind::Int { min, max } => format!("a whole number from {min} to {max}"),
        Kind::OneOf(words) => words.join(" or "),
        Kind::Text(check) => check.allowed.into(),
        Kind::List(check) => format!("a list, each item of which is {}", check.allowed),
    }
}

/// Reads a value as written in an environment variable or flag. `None`: no value.
pub(crate) fn from_text(key: &Key, text: &str) -> Result<Option<Value>, Refused> {
    let trimmed = text.trim();
    if trimmed.is_empty() && key.is_optional() {
        return Ok(None);
    }
    let refused = || Refused::wrong_type(quoted(text));
    let value = match key.kind {
        Kind::Bool => match trimmed {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            _ => return Err(refused()),
        },
        Kind::Int { .. } => Value::Int(trimmed.parse().map_err(|_| refused())?),
        Kind::OneOf(_) | Kind::Text(_) => Value::Text(trimmed.to_owned()),
        Kind::List(_) => {
            Value::List(trimmed.split(',').map(|item| item.trim().to_owned()).collect())
        }
    };
    checked(key, value).map(Some)
}

/// Reads a value as written in a file. `None`: no value.
pub(crate) fn from_node(key: &Key, node: &Node) -> Result<Option<Value>, Refused> {
    let value = match (key.kind, node) {
        (_, Node::Null) => return Ok(None),
        (Kind::Bool, Node::Bool(value)) => Value::Bool(*value),
        (Kind::Int { .. }, Node::Int(value)) => {
            Value::Int(i64::try_from(*value).map_err(|_| Refused::value(value.to_string()))?)
        }
        (Kind::OneOf(_) | Kind::Text(_), Node::Text(text)) => Value::Text(text.clone()),
        (Kind::List(_), Node::List(items)) => {
            let mut texts = Vec::with_capacity(items.len());
            for item in items {
                let Node::Text(text) = &item.value else {
                    return Err(Refused::wrong_type(format!(
                        "a list with {}",
                        describe(&item.value)
                    )));
                };
                texts.push(text.clone());
            }
            if texts.is_empty() {
                return Ok(None);
            }
            Value::List(texts)
        }
        _ => return Err(Refused::wrong_type(describe(node))),
    };
    checked(key, value).map(Some)
}

fn checked(key: &Key, value: Value) -> Result<Value, Refused> {
    let passes = |check: Check, text: &str| {
        if (check.ok)(text) { Ok(()) } else { Err(Refused::value(quoted(text))) }
    };
    match (key.kind, &value) {
        (Kind::Int { min, max }, Value::Int(number)) if !(min..=max).contains(number) => {
            return Err(Refused::value(number.to_string()));
        }
        (Kind::OneOf(words), Value::Text(text)) if !words.contains(&text.as_str()) => {
            return Err(Refused::value(quoted(text)));
        }
        (Kind::Text(check), Value::Text(text)) => passes(check, text)?,
        (Kind::List(check), Value::List(items)) => {
            items.iter().try_for_each(|item| passes(check, item))?;
        }
        _ => {}
    }
    Ok(value)
}

/// The value and its type, for messages.
pub(crate) fn describe(node: &Node) -> String {
    match node {
        Node::Null => "nothing (null)".into(),
        Node::Bool(value) => format!("the truth value {value}"),
        Node::Int(value) => format!("the number {value}"),
        Node::Float(value) => format!("the number {value}"),
        Node::Text(text) => format!("the text {}", quoted(text)),
        Node::List(_) => "a list".into(),
        Node::Map(_) => "a map".into(),
    }
}
