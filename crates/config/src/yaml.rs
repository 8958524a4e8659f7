//! YAML as a tree that remembers where each node stands.
//!
//! Reading into a tree first, instead of into the final structure, is what lets all problems of
//! a file be reported at once, and lets maps of two files merge before they are interpreted.

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// A node of a YAML document.
#[derive(Debug)]
pub(crate) enum Node {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    List(Vec<Spanned<Node>>),
    Map(Vec<(Spanned<String>, Spanned<Node>)>),
}

/// A document that is not YAML, or not YAML that we accept.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    pub(crate) message: String,
    pub(crate) line: Option<u64>,
    pub(crate) column: Option<u64>,
}

/// Parses one document. Only `true` and `false` are truth values: `no` is a country.
pub(crate) fn parse(text: &str) -> Result<Spanned<Node>, SyntaxError> {
    let options = serde_saphyr::options! { strict_booleans: true, with_snippet: false };
    let is_blank = |line: &str| {
        let line = line.trim();
        line.is_empty() || line.starts_with('#') || line == "---"
    };
    if text.lines().all(is_blank) {
        let nowhere = serde_saphyr::Location::UNKNOWN;
        return Ok(Spanned::new(Node::Null, nowhere, nowhere));
    }
    serde_saphyr::from_str_with_options(text, options).map_err(|error| SyntaxError {
        message: describe(error.without_snippet()),
        line: error.location().map(|place| place.line()),
        column: error.location().map(|place| place.column()),
    })
}

/// What is wrong, on one line and without advice about the parser's own interface.
fn describe(error: &serde_saphyr::Error) -> String {
    match error {
        serde_saphyr::Error::DuplicateMappingKey { key, .. } => {
            format!("the key {:?} is there twice", key.as_deref().unwrap_or_default())
        }
        serde_saphyr::Error::MultipleDocuments { .. } => "more than one document".into(),
        other => other.to_string().lines().next().unwrap_or("no YAML").to_owned(),
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a value, a list or a map")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Int(value.into()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Int(value.into()))
    }

    fn visit_i128<E: de::Error>(self, value: i128) -> Result<Node, E> {
        Ok(Node::Int(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Float(value))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Node, E> {
        Ok(Node::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Node::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_know_their_lines_and_types() {
        let tree = parse("# c\na:\n  b: 1\n  c: no\n  d: [x, 'y']\n  e: null\n  f: 1.5\n").unwrap();
        let Node::Map(top) = tree.value else { panic!("a map") };
        let (key, section) = &top[0];
        assert_eq!((key.value.as_str(), key.referenced.line()), ("a", 2));
        let Node::Map(inner) = &section.value else { panic!("a map") };
        let seen: Vec<_> = inner
            .iter()
            .map(|(key, node)| {
                (key.value.as_str(), format!("{:?}", node.value), key.referenced.line())
            })
            .map(|(key, node, line)| (key, node.split('(').next().unwrap().to_owned(), line))
            .collect();
        let want = [("b", "Int", 3), ("c", "Text", 4), ("d", "List", 5), ("e", "Null", 6)];
        for (seen, want) in seen.iter().zip(want) {
            assert_eq!((seen.0, seen.1.as_str(), seen.2), want);
        }
        assert_eq!(seen[4].1, "Float");
    }

    #[test]
    fn empty_documents_are_null() {
        for text in ["", "\n", "# only a comment\n", "---\n"] {
            assert!(matches!(parse(text).unwrap().value, Node::Null), "{text:?}");
        }
    }

    #[test]
    fn duplicate_keys_are_refused_with_their_line() {
        let error = parse("a: 1\nb: 2\na: 3\n").unwrap_err();
        let want = ("the key \"a\" is there twice", Some(3), Some(1));
        assert_eq!((error.message.as_str(), error.line, error.column), want);
        let error = parse("a: 1\n---\na: 3\n").unwrap_err();
        assert_eq!((error.message.as_str(), error.line), ("more than one document", Some(3)));
    }
}
