//! Messages as programs get them: with what is zero or empty, too.
//!
//! The API's JSON leaves zero values out. A script that asks for `.instanceId` of instance 0 or for
//! `.state` of a job whose state is the first of its enum would find nothing there, so here they
//! are written. Only what has presence and is absent is left out. Job configurations are the
//! exception: they are written as job files are, without what was not asked for.

use peloton_proto::descriptors;
use peloton_proto::json::{self, JsonError, JsonOptions};
use peloton_proto::peloton::job::JobConfig;
use prost::{Message, Name};
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Value, json};

/// A message as programs get it.
#[derive(Debug)]
pub(crate) struct Full {
    value: Value,
    message: MessageDescriptor,
}

impl Full {
    pub(crate) fn new<M: Message + Name>(message: &M) -> Result<Self, JsonError> {
        let name = M::full_name();
        let value = json::to_json_with(message, JsonOptions { enum_names: true, pretty: false })?;
        let message = descriptors::pool().get_message_by_name(&name);
        Ok(Self { value, message: message.ok_or(JsonError::UnknownMessage { name })? })
    }
}

impl Serialize for Full {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let kind = Kind::Message(self.message.clone());
        Node { value: &self.value, kind: &kind, fill: true }.serialize(serializer)
    }
}

/// A value with the type that its field gives it.
struct Node<'a> {
    value: &'a Value,
    kind: &'a Kind,
    fill: bool,
}

impl Serialize for Node<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { value, kind, fill } = *self;
        match (value, kind) {
            (Value::Array(items), _) => {
                serializer.collect_seq(items.iter().map(|value| Node { value, kind, fill }))
            }
            (Value::Object(entries), Kind::Message(entry)) if entry.is_map_entry() => {
                let kind = &entry.map_entry_value_field().kind();
                let nodes = entries.iter().map(|(key, value)| (key, Node { value, kind, fill }));
                serializer.collect_map(nodes)
            }
            (Value::Object(entries), Kind::Message(message)) => {
                let fill = fill && message.full_name() != JobConfig::full_name();
                let mut map = serializer.serialize_map(None)?;
                for field in message.fields() {
                    let name = field.json_name();
                    if let Some(value) = entries.get(name) {
                        map.serialize_entry(name, &Node { value, kind: &field.kind(), fill })?;
                    } else if fill && !field.supports_presence() {
                        map.serialize_entry(name, &zero(&field))?;
                    }
                }
                map.end()
            }
            (value, _) => value.serialize(serializer),
        }
    }
}

/// What a field without presence holds that is not written.
fn zero(field: &FieldDescriptor) -> Value {
    if field.is_map() {
        return json!({});
    }
    if field.is_list() {
        return json!([]);
    }
    match field.kind() {
        Kind::Bool => json!(false),
        Kind::String | Kind::Bytes => json!(""),
        Kind::Enum(states) => match states.get_value(0) {
            Some(first) => json!(first.name()),
            None => json!(0),
        },
        _ => json!(0),
    }
}
