//! JSON of any message, and any JSON: messages come back as they were, in every spelling of their
//! keys, and nothing that is sent in ends the program.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "helpers of tests")]

use peloton_proto::descriptors::pool;
use peloton_proto::json::{JsonOptions, from_json, from_json_slice, to_json_string, to_json_with};
use peloton_proto::mesos::v1::{TaskInfo, TaskStatus, scheduler};
use peloton_proto::peloton::job::{CreateRequest, GetStatusResponse, QueryResponse};
use peloton_proto::peloton::task::ListResponse;
use peloton_proto::peloton::upgrade::UpgradeInfo;
use proptest::prelude::*;
use prost::{Message, Name};
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value};
use serde_json::Value as Json;

/// Choices, made by proptest. When there are no more, every further choice is the smallest one.
struct Choices(std::vec::IntoIter<u64>);

impl Choices {
    fn next(&mut self) -> u64 {
        self.0.next().unwrap_or(0)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn text(&mut self) -> String {
        let alphabet = ['a', 'B', '_', '7', '"', '\\', '\n', 'é', '\u{0}', '😀'];
        (0..self.below(6)).map(|_| alphabet[self.below(10) as usize]).collect()
    }

    fn double(&mut self) -> f64 {
        match self.below(4) {
            0 => self.below(100) as f64,
            1 => self.below(100_000) as f64 / 1000.0,
            2 => f64::from_bits(self.next()),
            _ => [0.0, 0.1, -1.5, f64::MAX, f64::MIN_POSITIVE, 9e15, 1e16][self.below(7) as usize],
        }
    }

    fn message(&mut self, descriptor: &MessageDescriptor, depth: usize) -> DynamicMessage {
        let mut message = DynamicMessage::new(descriptor.clone());
        for field in descriptor.fields() {
            // One of a oneof at most; and not for ever deeper.
            let taken =
                field.containing_oneof().is_some_and(|o| o.fields().any(|f| message.has_field(&f)));
            if self.below(3) > 0 && !taken && depth < 5 {
                let value = self.field(&field, depth);
                message.set_field(&field, value);
            }
        }
        message
    }

    fn field(&mut self, field: &FieldDescriptor, depth: usize) -> Value {
        let count = self.below(3);
        match field.kind() {
            Kind::Message(entry) if field.is_map() => {
                let key_kind = entry.map_entry_key_field().kind();
                let value_kind = entry.map_entry_value_field().kind();
                Value::Map(
                    (0..count)
                        .map(|_| (self.key(&key_kind), self.single(&value_kind, depth)))
                        .collect(),
                )
            }
            kind if field.is_list() => {
                Value::List((0..count).map(|_| self.single(&kind, depth)).collect())
            }
            kind => self.single(&kind, depth),
        }
    }

    fn key(&mut self, kind: &Kind) -> MapKey {
        self.single(kind, 0).into_map_key().expect("a type that can be a key")
    }

    fn single(&mut self, kind: &Kind, depth: usize) -> Value {
        match kind {
            Kind::Message(descriptor) => Value::Message(self.message(descriptor, depth + 1)),
            Kind::Enum(descriptor) => {
                let index = self.below(descriptor.values().len() as u64) as usize;
                Value::EnumNumber(descriptor.values().nth(index).unwrap().number())
            }
            Kind::Bool => Value::Bool(self.below(2) == 1),
            Kind::String => Value::String(self.text()),
            Kind::Bytes => Value::Bytes(self.text().into_bytes().into()),
            Kind::Double => {
                let value = self.double();
                Value::F64(if value.is_finite() { value } else { 1.0 })
            }
            Kind::Int32 => Value::I32(self.next() as i32),
            Kind::Uint32 => Value::U32(self.next() as u32),
            Kind::Int64 => Value::I64(self.next() as i64),
            Kind::Uint64 => Value::U64(self.next()),
            other => panic!("{other:?} is in no file of ours"),
        }
    }
}

/// The same JSON with other spellings: of keys (but for those of maps, which are data), and of integers.
fn respell(descriptor: &MessageDescriptor, json: &Json, choices: &mut Choices) -> Json {
    let Json::Object(entries) = json else { return json.clone() };
    let respelled = entries.iter().map(|(key, value)| {
        let field = descriptor.get_field_by_json_name(key).expect(key);
        let value = match (field.kind(), value) {
            (Kind::Message(inner), Json::Object(_)) if !field.is_map() => {
                respell(&inner, value, choices)
            }
            (Kind::Message(inner), Json::Array(items)) => {
                items.iter().map(|item| respell(&inner, item, choices)).collect()
            }
            (Kind::Uint32 | Kind::Int64 | Kind::Uint64 | Kind::Enum(_), Json::Number(n))
                if choices.below(2) == 1 =>
            {
                Json::String(n.to_string())
            }
            (_, value) => value.clone(),
        };
        let key = match choices.below(5) {
            0 => key.clone(),
            1 => key.to_lowercase(),
            2 => key.to_uppercase(),
            3 => field.name().to_owned(),
            _ => key.chars().flat_map(|c| ['_', c]).collect(),
        };
        (key, value)
    });
    Json::Object(respelled.collect())
}

fn assert_round_trip<M>(choices: Vec<u64>)
where
    M: Message + Name + Default + PartialEq,
{
    let descriptor = pool().get_message_by_name(&M::full_name()).unwrap();
    let mut choices = Choices(choices.into_iter());
    let message: M = choices.message(&descriptor, 0).transcode_to().unwrap();
    for (enum_names, pretty) in [(false, false), (true, true)] {
        let options = JsonOptions { enum_names, pretty };
        let text = to_json_string(&message, options).unwrap();
        let back = from_json_slice::<M>(text.as_bytes()).unwrap();
        assert!(back.message == message && back.unknown.is_empty(), "{text}");
        let value = to_json_with(&message, options).unwrap();
        assert_eq!(value, serde_json::from_str::<Json>(&text).unwrap());
        let respelled = respell(&descriptor, &value, &mut choices);
        let back = from_json::<M>(&respelled).unwrap();
        assert!(back.message == message && back.unknown.is_empty(), "{respelled}");
    }
}

fn choices() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(any::<u64>(), 0..400)
}

fn any_json() -> impl Strategy<Value = Json> {
    // Keys of ours among them, so that the values are looked at.
    let key = prop_oneof![
        prop::sample::select(vec![
            "id",
            "config",
            "value",
            "labels",
            "ports",
            "resource",
            "cpusLimit",
            "command",
            "type",
            "container",
            "instanceCount",
            "INSTANCE_COUNT",
            "healthCheck",
            "http",
            "placement",
            "constraints",
            "operator",
            "result",
            "runtime",
            "1",
            "environment",
            "variables",
            "uris",
        ])
        .prop_map(str::to_owned),
        ".{0,8}",
    ];
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<u64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        ".{0,8}".prop_map(Json::from),
        "[-+]?[0-9]{0,40}".prop_map(Json::from),
    ];
    leaf.prop_recursive(8, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Json::from),
            prop::collection::btree_map(key.clone(), inner, 0..6)
                .prop_map(|map| Json::Object(map.into_iter().collect())),
        ]
    })
}

/// Reads what somebody sent; what is accepted must be written and read again as the same.
fn assert_harmless<M>(json: &Json)
where
    M: Message + Name + Default + PartialEq,
{
    match from_json::<M>(json) {
        Ok(read) => {
            let text = to_json_string(&read.message, JsonOptions::default()).unwrap();
            let again = from_json_slice::<M>(text.as_bytes()).unwrap().message;
            assert!(again == read.message, "{json}");
        }
        Err(error) => assert!(error.to_string().len() < 4096, "{error}"),
    }
}

proptest! {
    #[test]
    fn messages_come_back_as_they_were(choices in choices()) {
        assert_round_trip::<CreateRequest>(choices.clone());
        assert_round_trip::<GetStatusResponse>(choices.clone());
        assert_round_trip::<QueryResponse>(choices.clone());
        assert_round_trip::<ListResponse>(choices.clone());
        assert_round_trip::<UpgradeInfo>(choices.clone());
        assert_round_trip::<TaskInfo>(choices.clone());
        assert_round_trip::<TaskStatus>(choices.clone());
        assert_round_trip::<scheduler::Call>(choices.clone());
        assert_round_trip::<scheduler::Event>(choices);
    }

    #[test]
    fn any_json_is_read_or_refused(json in any_json()) {
        assert_harmless::<CreateRequest>(&json);
        assert_harmless::<ListResponse>(&json);
        assert_harmless::<scheduler::Call>(&json);
    }

    #[test]
    fn any_bytes_are_read_or_refused(
        bytes in prop::collection::vec(any::<u8>(), 0..200), text in "[\\[\\]{}\",:0-9aeE.\\\\ -]{0,60}"
    ) {
        let _ = from_json_slice::<CreateRequest>(&bytes);
        let _ = from_json_slice::<CreateRequest>(text.as_bytes());
    }
}
