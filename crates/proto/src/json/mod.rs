//! JSON of protobuf messages, in the shape that the API of 2016 has.
//!
//! That shape is not protobuf's own JSON mapping: enums and 64-bit integers are numbers, and keys
//! are read in any spelling. So messages are read and written here by their descriptors: nothing is
//! generated, and every message can do it.
//!
//! - Keys are lowerCamel. They are read without regard to case and `_`, so `instanceCount`, `instance_count` and the
//!   `instancecount` of job files of 2016 are one key. Two keys of an object that are one in this sense are an error.
//! - Unknown keys are skipped, and reported to the caller. `null` stands for an absent value.
//! - Zero values, empty lists and empty maps are not written; fields with presence are written when they are set.
//! - Enums are written as numbers (as names on request), and read as number, decimal string or name in any case. Values
//!   that the enum does not have are refused: later code would take them for the enum's default.
//! - Integers are written as numbers, and read as numbers or decimal strings. `10.0` and `1e3` are integers.
//! - Maps are objects. Bytes are base64, with or without padding, in either alphabet.
//! - Doubles must be finite; whole ones are written without a fraction.

mod error;
mod read;
mod strict;
mod write;

use prost::{Message, Name};
use prost_reflect::{DynamicMessage, MessageDescriptor};
use serde_json::Value;

pub use error::JsonError;
pub use write::JsonMessage;

use crate::descriptors;

/// How deeply messages may be nested in JSON: our own need six, and Mesos's ten.
pub const MAX_DEPTH: usize = 64;

/// How many unknown keys are reported: enough for a person to see what is wrong.
pub const MAX_UNKNOWN: usize = 100;

/// How JSON is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JsonOptions {
    /// Enums as their names, for people; otherwise as numbers, as on the wire.
    pub enum_names: bool,
    /// Over many lines, indented; otherwise without any space.
    pub pretty: bool,
}

/// A message read from JSON.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded<M> {
    /// The message.
    pub message: M,
    /// The paths of keys that the message does not have, such as `config.comand`; at most [`MAX_UNKNOWN`].
    pub unknown: Vec<String>,
}

/// The descriptor of `M`.
///
/// # Errors
/// If `M` is not a message of this crate.
fn descriptor<M: Name>() -> Result<MessageDescriptor, JsonError> {
    let name = M::full_name();
    let found = descriptors::pool().get_message_by_name(&name);
    found.ok_or(JsonError::UnknownMessage { name })
}

/// A message made ready for any format that serde can write, such as YAML. The order is that of the field numbers.
///
/// # Errors
/// If `M` is not a message of this crate, or is nested too deeply.
pub fn view<M: Message + Name>(
    message: &M,
    options: JsonOptions,
) -> Result<JsonMessage, JsonError> {
    let mut dynamic = DynamicMessage::new(descriptor::<M>()?);
    dynamic.transcode_from(message).map_err(JsonError::transcode)?;
    Ok(JsonMessage::new(dynamic, options.into()))
}

/// The JSON of a message, as on the wire.
///
/// # Errors
/// As [`view`]; and if a double is not finite.
pub fn to_json<M: Message + Name>(message: &M) -> Result<Value, JsonError> {
    to_json_with(message, JsonOptions::default())
}

/// The JSON of a message.
///
/// # Errors
/// As [`to_json`].
pub fn to_json_with<M: Message + Name>(
    message: &M,
    options: JsonOptions,
) -> Result<Value, JsonError> {
    serde_json::to_value(view(message, options)?).map_err(JsonError::write)
}

/// The JSON of a message as text, in the order of the field numbers and without a newline at the end.
///
/// # Errors
/// As [`to_json`].
pub fn to_json_string<M: Message + Name>(
    message: &M,
    options: JsonOptions,
) -> Result<String, JsonError> {
    let view = view(message, options)?;
    let text = if options.pretty {
        serde_json::to_string_pretty(&view)
    } else {
        serde_json::to_string(&view)
    };
    text.map_err(JsonError::write)
}

/// A message as Mesos writes it in JSON: keys as in the `.proto` file, enums by their names. Reading
/// takes both kinds of keys.
///
/// # Errors
/// As [`view`].
pub fn mesos_view<M: Message + Name>(message: &M) -> Result<JsonMessage, JsonError> {
    let mut dynamic = DynamicMessage::new(descriptor::<M>()?);
    dynamic.transcode_from(message).map_err(JsonError::transcode)?;
    Ok(JsonMessage::new(dynamic, write::Style { enum_names: true, proto_names: true }))
}

/// Reads a message from JSON.
///
/// # Errors
/// If a value can not be that of its field; the error names the path.
pub fn from_json<M: Message + Name + Default>(value: &Value) -> Result<Decoded<M>, JsonError> {
    let (dynamic, unknown) = read::message(&descriptor::<M>()?, value)?;
    let message = dynamic.transcode_to().map_err(JsonError::transcode)?;
    Ok(Decoded { message, unknown })
}

/// Reads a message from the text of JSON. In addition to [`from_json`], this sees keys that are
/// there twice in the very same spelling, which a [`Value`] can not hold.
///
/// # Errors
/// If the text is not JSON, and as [`from_json`].
pub fn from_json_slice<M: Message + Name + Default>(text: &[u8]) -> Result<Decoded<M>, JsonError> {
    from_json(&strict::parse(text)?)
}
