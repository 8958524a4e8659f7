//! What can be wrong with JSON, said so that its writer can mend it.

use std::fmt;

use serde_json::Value;

/// How much of a wrong value is shown: enough to recognise it, too little to flood a log.
const MAX_SHOWN_CHARS: usize = 64;

/// Why a message could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// The text is not JSON.
    #[error("not valid JSON: {message}")]
    Syntax {
        /// What is wrong, and in which line and column.
        message: String,
    },
    /// A value is not one that its field can have.
    #[error("{}expected {expected}, got {got}", prefix(path))]
    Value {
        /// Where, such as `config.ports[2].value`; empty for the whole.
        path: String,
        /// What is allowed.
        expected: String,
        /// What is there, shortened.
        got: String,
    },
    /// Two keys of one object mean the same.
    #[error("{}the keys {first:?} and {second:?} mean the same", prefix(path))]
    Duplicate {
        /// The object.
        path: String,
        /// The one key.
        first: String,
        /// The other.
        second: String,
    },
    /// Two keys of one object exclude each other.
    #[error("{}only one of {first:?} and {second:?} can be given", prefix(path))]
    Exclusive {
        /// The object.
        path: String,
        /// The one key.
        first: String,
        /// The other.
        second: String,
    },
    /// Messages are nested too deeply.
    #[error("{}nested more than {} deep", prefix(path), super::MAX_DEPTH)]
    TooDeep {
        /// Where the limit was passed.
        path: String,
    },
    /// The message's type is not one of this crate.
    #[error("no descriptor of the message {name}")]
    UnknownMessage {
        /// The type's full name.
        name: String,
    },
    /// The message can not be written.
    #[error("can not be written as JSON: {message}")]
    Write {
        /// What is wrong.
        message: String,
    },
    /// The message and its descriptor do not agree, or the message is nested too deeply.
    #[error("can not be transcoded: {message}")]
    Transcode {
        /// What is wrong.
        message: String,
    },
}

impl JsonError {
    pub(super) fn value(path: &Path, expected: impl Into<String>, got: &Value) -> Self {
        Self::Value { path: path.to_string(), expected: expected.into(), got: shown(got) }
    }

    pub(super) fn write(error: serde_json::Error) -> Self {
        Self::Write { message: error.to_string() }
    }

    pub(super) fn transcode(error: prost::DecodeError) -> Self {
        Self::Transcode { message: error.to_string() }
    }
}

fn prefix(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!("{path}: ") }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        Value::String(text) => format!("{:?}", shortened(text)),
        other => other.to_string(),
    }
}

/// The start of a text that somebody else chose.
pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Where in a message we are, for errors; written out only when there is one.
#[derive(Debug, Default)]
pub(super) struct Path {
    segments: Vec<Segment>,
}

#[derive(Debug)]
enum Segment {
    Key(String),
    Index(usize),
}

impl Path {
    pub(super) fn push_key(&mut self, key: &str) {
        self.segments.push(Segment::Key(shortened(key)));
    }

    pub(super) fn push_index(&mut self, index: usize) {
        self.segments.push(Segment::Index(index));
    }

    pub(super) fn pop(&mut self) {
        self.segments.pop();
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, segment) in self.segments.iter().enumerate() {
            match segment {
                Segment::Key(key) if i == 0 => f.write_str(key)?,
                Segment::Key(key) => write!(f, ".{key}")?,
                Segment::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}
