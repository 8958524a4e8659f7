//! JSON to messages.

use std::collections::HashMap;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use prost_reflect::{
    DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value,
};
use serde_json::Value as Json;

use super::error::{JsonError, Path};
use super::{MAX_DEPTH, MAX_UNKNOWN};
use crate::descriptors::{field_by_key, fold};

/// Up to here, every whole number that is written with a fraction or exponent is exact.
const MAX_WHOLE: f64 = 9_007_199_254_740_992.0;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Reads a message; with the paths of the keys that it does not have.
pub(super) fn message(
    descriptor: &MessageDescriptor,
    json: &Json,
) -> Result<(DynamicMessage, Vec<String>), JsonError> {
    let mut reader = Reader { path: Path::default(), depth: 0, unknown: Vec::new() };
    let message = reader.message(descriptor, json)?;
    Ok((message, reader.unknown))
}

struct Reader {
    path: Path,
    depth: usize,
    unknown: Vec<String>,
}

impl Reader {
    fn message(
        &mut self,
        descriptor: &MessageDescriptor,
        json: &Json,
    ) -> Result<DynamicMessage, JsonError> {
        let Json::Object(entries) = json else {
            return Err(JsonError::value(&self.path, "an object", json));
        };
        if self.depth == MAX_DEPTH {
            return Err(JsonError::TooDeep { path: self.path.to_string() });
        }
        self.depth += 1;
        let mut message = DynamicMessage::new(descriptor.clone());
        let mut seen: HashMap<u32, &str> = HashMap::new();
        for (key, value) in entries {
            let Some(field) = field_by_key(descriptor, key) else {
                self.note_unknown(key);
                continue;
            };
            if let Some(first) = seen.insert(field.number(), key) {
                return Err(self.duplicate(first, key));
            }
            if value.is_null() {
                continue;
            }
            self.refuse_second_of_oneof(&message, &field)?;
            // After an error nothing is read any more, so the path is put back on success only.
            self.path.push_key(field.json_name());
            message.set_field(&field, self.field(&field, value)?);
            self.path.pop();
        }
        self.depth -= 1;
        Ok(message)
    }

    fn note_unknown(&mut self, key: &str) {
        if self.unknown.len() < MAX_UNKNOWN {
            self.path.push_key(key);
            self.unknown.push(self.path.to_string());
            self.path.pop();
        }
    }

    fn duplicate(&self, first: &str, second: &str) -> JsonError {
        let (first, second) = (super::error::shortened(first), super::error::shortened(second));
        JsonError::Duplicate { path: self.path.to_string(), first, second }
    }

    fn refuse_second_of_oneof(
        &self,
        message: &DynamicMessage,
        field: &FieldDescriptor,
    ) -> Result<(), JsonError> {
        let Some(oneof) = field.containing_oneof() else { return Ok(()) };
        match oneof.fields().find(|other| message.has_field(other)) {
            Some(other) => Err(JsonError::Exclusive {
                path: self.path.to_string(),
                first: other.json_name().to_owned(),
                second: field.json_name().to_owned(),
            }),
            None => Ok(()),
        }
    }

    fn field(&mut self, field: &FieldDescriptor, json: &Json) -> Result<Value, JsonError> {
        let kind = field.kind();
        if field.is_map() {
            return self.map(&kind, json);
        }
        if !field.is_list() {
            return self.single(&kind, json);
        }
        let Json::Array(items) = json else {
            return Err(JsonError::value(&self.path, "a list", json));
        };
        let mut list = Vec::with_capacity(items.len());
        for (i, item) in items.iter().enumerate() {
            self.path.push_index(i);
            list.push(self.single(&kind, item)?);
            self.path.pop();
        }
        Ok(Value::List(list))
    }

    fn map(&mut self, kind: &Kind, json: &Json) -> Result<Value, JsonError> {
        let (Json::Object(entries), Kind::Message(entry)) = (json, kind) else {
            return Err(JsonError::value(&self.path, "an object", json));
        };
        let (key_kind, value_kind) =
            (entry.map_entry_key_field().kind(), entry.map_entry_value_field().kind());
        let mut map = HashMap::with_capacity(entries.len());
        for (text, value) in entries.iter().filter(|(_, value)| !value.is_null()) {
            self.path.push_key(text);
            let key = map_key(&self.path, &key_kind, text)?;
            if map.insert(key, self.single(&value_kind, value)?).is_some() {
                // Such as `1` and `01`; two strings can not be the same here.
                return Err(JsonError::value(&self.path, "each key once", &text.as_str().into()));
            }
            self.path.pop();
        }
        Ok(Value::Map(map))
    }

    fn single(&mut self, kind: &Kind, json: &Json) -> Result<Value, JsonError> {
        let path = &self.path;
        match kind {
            Kind::Message(descriptor) => self.message(descriptor, json).map(Value::Message),
            Kind::Enum(descriptor) => enum_number(path, descriptor, json).map(Value::EnumNumber),
            Kind::Bool => match json {
                Json::Bool(value) => Ok(Value::Bool(*value)),
                _ => Err(JsonError::value(path, "true or false", json)),
            },
            Kind::String => match json {
                Json::String(value) => Ok(Value::String(value.clone())),
                _ => Err(JsonError::value(path, "a string", json)),
            },
            Kind::Bytes => bytes(path, json),
            Kind::Double => double(path, json).map(Value::F64),
            // Rounding to a float is what its type means; beyond its range, it would be infinite.
            Kind::Float => match double(path, json)? as f32 {
                value if value.is_finite() => Ok(Value::F32(value)),
                _ => Err(JsonError::value(path, "32-bit floating point number", json)),
            },
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
                integer(path, "signed 32-bit number", json).map(Value::I32)
            }
            Kind::Uint32 | Kind::Fixed32 => {
                integer(path, "unsigned 32-bit number", json).map(Value::U32)
            }
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
                integer(path, "signed 64-bit number", json).map(Value::I64)
            }
            Kind::Uint64 | Kind::Fixed64 => {
                integer(path, "unsigned 64-bit number", json).map(Value::U64)
            }
        }
    }
}

/// A whole number, from a number or a decimal string.
fn integer<T: TryFrom<i128>>(path: &Path, expected: &str, json: &Json) -> Result<T, JsonError> {
    let wide = match json {
        Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(value), _, _) => Some(i128::from(value)),
            (_, Some(value), _) => Some(i128::from(value)),
            (_, _, Some(value)) if value.fract() == 0.0 && value.abs() <= MAX_WHOLE => {
                Some(value as i128)
            }
            _ => None,
        },
        Json::String(text) => decimal(text),
        _ => None,
    };
    let fits = wide.and_then(|value| T::try_from(value).ok());
    fits.ok_or_else(|| JsonError::value(path, expected, json))
}

/// A whole number in decimal digits, with a minus sign at most.
fn decimal(text: &str) -> Option<i128> {
    // A plus sign would be fine for Rust, but is not JSON.
    if text.starts_with('+') { None } else { text.parse().ok() }
}

fn double(path: &Path, json: &Json) -> Result<f64, JsonError> {
    let value = match json {
        Json::Number(number) => number.as_f64(),
        // Only what looks like a number: Rust would also read `inf` and `nan`.
        Json::String(text) if text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b)) => {
            text.parse().ok()
        }
        _ => None,
    };
    let finite = value.filter(|value| value.is_finite());
    finite.ok_or_else(|| JsonError::value(path, "a finite number", json))
}

fn bytes(path: &Path, json: &Json) -> Result<Value, JsonError> {
    let decoded = match json {
        Json::String(text) => {
            // The other alphabet differs in two characters only.
            BASE64.decode(text.replace('-', "+").replace('_', "/")).ok()
        }
        _ => None,
    };
    let decoded = decoded.ok_or_else(|| JsonError::value(path, "a string in base64", json))?;
    Ok(Value::Bytes(decoded.into()))
}

/// The number of a value that the enum has.
fn enum_number(path: &Path, descriptor: &EnumDescriptor, json: &Json) -> Result<i32, JsonError> {
    let named = match json {
        Json::String(text) => {
            let wanted = fold(text);
            descriptor.values().find(|value| fold(value.name()) == wanted).map(|v| v.number())
        }
        _ => None,
    };
    let number = named.or_else(|| integer(path, "", json).ok());
    number.filter(|number| descriptor.get_value(*number).is_some()).ok_or_else(|| {
        let values: Vec<_> =
            descriptor.values().map(|v| format!("{} ({})", v.name(), v.number())).collect();
        JsonError::value(path, format!("one of {}", values.join(", ")), json)
    })
}

/// The key of a map, which in JSON is always a string.
fn map_key(path: &Path, kind: &Kind, text: &str) -> Result<MapKey, JsonError> {
    let json = Json::String(text.to_owned());
    match kind {
        Kind::String => Ok(MapKey::String(text.to_owned())),
        Kind::Bool => match text {
            "true" => Ok(MapKey::Bool(true)),
            "false" => Ok(MapKey::Bool(false)),
            _ => Err(JsonError::value(path, "the key true or false", &json)),
        },
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
            integer(path, "a signed 32-bit number as key", &json).map(MapKey::I32)
        }
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
            integer(path, "a signed 64-bit number as key", &json).map(MapKey::I64)
        }
        Kind::Uint32 | Kind::Fixed32 => {
            integer(path, "an unsigned 32-bit number as key", &json).map(MapKey::U32)
        }
        // The compiler of .proto files lets no other types be keys.
        _ => integer(path, "an unsigned 64-bit number as key", &json).map(MapKey::U64),
    }
}
