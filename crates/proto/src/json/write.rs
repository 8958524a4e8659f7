//! Messages to JSON, or to whatever else serde writes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost_reflect::{DynamicMessage, Kind, MapKey, Value};
use serde::ser::{Error, Serialize, SerializeMap, Serializer};

use super::JsonOptions;

/// Up to here, every whole number is a double and is read back as the same one.
const MAX_WHOLE: f64 = 9_007_199_254_740_992.0;

/// A message made ready to be written; see [`super::view`].
#[derive(Debug, Clone)]
pub struct JsonMessage {
    message: DynamicMessage,
    style: Style,
}

/// How keys and values are written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    pub(super) enum_names: bool,
    /// Keys as in the `.proto` file, and not lowerCamel.
    pub(super) proto_names: bool,
}

impl From<JsonOptions> for Style {
    fn from(options: JsonOptions) -> Self {
        Self { enum_names: options.enum_names, proto_names: false }
    }
}

impl JsonMessage {
    pub(super) fn new(message: DynamicMessage, style: Style) -> Self {
        Self { message, style }
    }
}

impl Serialize for JsonMessage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        write_message(&self.message, self.style, serializer)
    }
}

/// A value with the type that its field gives it.
struct Typed<'a> {
    value: &'a Value,
    kind: &'a Kind,
    style: Style,
}

fn write_message<S: Serializer>(
    message: &DynamicMessage,
    style: Style,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(None)?;
    // Only what is set: without presence, that is what is not zero and not empty.
    for (field, value) in message.fields() {
        let name = if style.proto_names { field.name() } else { field.json_name() };
        map.serialize_entry(name, &Typed { value, kind: &field.kind(), style })?;
    }
    map.end()
}

impl Serialize for Typed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let style = self.style;
        match self.value {
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::I32(value) => serializer.serialize_i32(*value),
            Value::I64(value) => serializer.serialize_i64(*value),
            Value::U32(value) => serializer.serialize_u32(*value),
            Value::U64(value) => serializer.serialize_u64(*value),
            Value::F32(value) => write_double(f64::from(*value), serializer),
            Value::F64(value) => write_double(*value, serializer),
            Value::String(value) => serializer.serialize_str(value),
            Value::Bytes(value) => serializer.serialize_str(&STANDARD.encode(value)),
            Value::EnumNumber(number) => write_enum(*number, self.kind, style, serializer),
            Value::Message(message) => write_message(message, style, serializer),
            Value::List(items) => {
                let typed = |value| Typed { value, kind: self.kind, style };
                serializer.collect_seq(items.iter().map(typed))
            }
            Value::Map(entries) => {
                let kind = match self.kind {
                    Kind::Message(entry) => entry.map_entry_value_field().kind(),
                    other => other.clone(),
                };
                let mut entries: Vec<_> = entries.iter().collect();
                entries.sort_unstable_by_key(|(key, _)| *key);
                let typed = |value| Typed { value, kind: &kind, style };
                serializer.collect_map(entries.into_iter().map(|(k, v)| (key_text(k), typed(v))))
            }
        }
    }
}

fn write_enum<S: Serializer>(
    number: i32,
    kind: &Kind,
    style: Style,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    // A number without a name comes from a later release; it is more than nothing.
    let named =
        if style.enum_names { kind.as_enum().and_then(|e| e.get_value(number)) } else { None };
    match named {
        Some(value) => serializer.serialize_str(value.name()),
        None => serializer.serialize_i32(number),
    }
}

fn write_double<S: Serializer>(value: f64, serializer: S) -> Result<S::Ok, S::Error> {
    if !value.is_finite() {
        return Err(S::Error::custom(format!("{value} is not a number that JSON can hold")));
    }
    let negative_zero = value == 0.0 && value.is_sign_negative();
    if value.fract() == 0.0 && value.abs() <= MAX_WHOLE && !negative_zero {
        // `1` and not `1.0`: clients of 2016 were sent whole numbers so, and some read them as integers.
        return serializer.serialize_i64(value as i64);
    }
    serializer.serialize_f64(value)
}

fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}
