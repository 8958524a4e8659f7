//! Calls and events as JSON for scenarios, protobuf on the wire.

use peloton_proto::json::{JsonOptions, from_json, to_json_with};
use peloton_proto::mesos::v1::scheduler::{Call, Event};
use prost::Message as _;
use serde_json::Value;

use crate::error::{Error, Result};

/// The media type that Peloton speaks.
pub const PROTOBUF: &str = "application/x-protobuf";

/// The other one.
pub const JSON: &str = "application/json";

/// Where schedulers connect.
pub const PATH: &str = "/api/v1/scheduler";

/// A call's protobuf bytes. Keys may be in Mesos's spelling; one that a call does not have is an error.
///
/// # Errors
/// When the JSON is no call.
pub fn encode(call: &Value) -> Result<Vec<u8>> {
    let decoded = from_json::<Call>(call)
        .map_err(|error| Error::Scenario(format!("{call} is no call: {error}")))?;
    if !decoded.unknown.is_empty() {
        return Err(Error::Scenario(format!("a call has no {:?}: {call}", decoded.unknown)));
    }
    Ok(decoded.message.encode_to_vec())
}

/// An event's JSON, in lowerCamel and with the names of enums.
///
/// # Errors
/// When the bytes are no event.
pub fn decode(record: &[u8]) -> Result<Value> {
    let event = Event::decode(record).map_err(|error| Error::answer("an event", error))?;
    view(&event)
}

/// The same for an event that came as JSON.
///
/// # Errors
/// When it is no event.
pub fn decode_json(record: &[u8]) -> Result<Value> {
    let value: Value =
        serde_json::from_slice(record).map_err(|error| Error::answer("an event", error))?;
    let event = from_json::<Event>(&value).map_err(|error| Error::answer("an event", error))?;
    view(&event.message)
}

fn view(event: &Event) -> Result<Value> {
    to_json_with(event, JsonOptions { enum_names: true, pretty: false })
        .map_err(|error| Error::answer("an event", error))
}
