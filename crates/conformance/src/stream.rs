//! What comes down a stream, and how amounts of several offers are added up.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::mpsc::Sender;

use peloton_testbed::http::Response;
use serde_json::{Value, json};

use crate::wire;

/// What a stream's reader passes on.
pub(crate) enum Incoming {
    /// An event, as JSON.
    Event(Value),
    /// The end.
    Closed,
}

/// What makes resources addable: all but their amounts.
pub(crate) fn kind(resource: &Value) -> String {
    let mut kind = resource.clone();
    if let Some(fields) = kind.as_object_mut() {
        fields.remove("scalar");
        fields.remove("ranges");
    }
    // With a map's keys in order, whatever the map's own is.
    let fields: BTreeMap<&String, &Value> = kind.as_object().into_iter().flatten().collect();
    format!("{fields:?}")
}

/// Resources of one kind as one.
pub(crate) fn sum(resources: Vec<Value>) -> Vec<Value> {
    let mut all = resources.into_iter();
    let Some(mut first) = all.next() else { return Vec::new() };
    for one in all {
        if first.get("scalar").is_some() {
            let amount = |r: &Value| r["scalar"]["value"].as_f64().unwrap_or_default();
            first["scalar"]["value"] = (amount(&first) + amount(&one)).into();
        }
        if let (Some(ranges), Some(more)) =
            (first["ranges"]["range"].as_array_mut(), one["ranges"]["range"].as_array())
        {
            ranges.extend(more.iter().cloned());
            ranges.sort_by_key(|range| range["begin"].as_u64());
        }
    }
    vec![first]
}

/// Reads records until the stream ends.
pub(crate) fn read_events(response: Response, sender: &Sender<Incoming>, json: bool) {
    let mut body = response.body;
    let mut buffer = Vec::new();
    let mut chunk = [0; 16 * 1024];
    loop {
        while let Some((record, rest)) = split_record(&buffer) {
            let event = if json { wire::decode_json(&record) } else { wire::decode(&record) };
            let event = event.unwrap_or_else(|error| json!({"type": error.to_string()}));
            buffer = rest;
            if sender.send(Incoming::Event(event)).is_err() {
                return;
            }
        }
        match body.read(&mut chunk) {
            Ok(read) if read > 0 => buffer.extend_from_slice(&chunk[..read]),
            _ => {
                // Whoever waited has ended, too.
                let _ = sender.send(Incoming::Closed);
                return;
            }
        }
    }
}

fn split_record(buffer: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let at = buffer.iter().position(|byte| *byte == b'\n')?;
    let length: usize = std::str::from_utf8(&buffer[..at]).ok()?.trim().parse().ok()?;
    let end = at + 1 + length;
    (buffer.len() >= end).then(|| (buffer[at + 1..end].to_vec(), buffer[end..].to_vec()))
}
