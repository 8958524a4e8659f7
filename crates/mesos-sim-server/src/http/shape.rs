//! Mesos's messages in the JSON of its older endpoints, which is not the JSON of their fields.

use std::collections::BTreeMap;

use peloton_proto::json::mesos_view;
use peloton_proto::mesos::v1;
use prost::{Message, Name};
use serde_json::{Map, Value, json};

/// A message field by field, as the v1 API has it.
pub(super) fn full<M: Message + Name>(message: &M) -> Value {
    // No message that comes from the model can fail: none has an infinite number in it.
    let view = mesos_view(message).ok();
    view.and_then(|view| serde_json::to_value(view).ok()).unwrap_or_default()
}

/// Resources field by field. There are hundreds of thousands of them in a large cluster, nearly all
/// plain amounts: those are not worth the way over their descriptors.
pub(super) fn all_resources(resources: &[v1::Resource]) -> Value {
    resources.iter().map(resource).collect()
}

/// A resource field by field.
pub(super) fn resource(resource: &v1::Resource) -> Value {
    let plain = v1::Resource {
        name: String::new(),
        r#type: resource.r#type,
        scalar: resource.scalar,
        ..v1::Resource::default()
    };
    match &resource.scalar {
        Some(scalar) if plain == (v1::Resource { name: String::new(), ..resource.clone() }) => {
            json!({"name": resource.name, "type": "SCALAR", "scalar": {"value": scalar.value}})
        }
        _ => full(resource),
    }
}

/// Messages field by field.
pub(super) fn all<M: Message + Name>(messages: &[M]) -> Value {
    messages.iter().map(full).collect()
}

/// Resources as one object: sums of scalars, `[a-b, c-d]` for ranges, `{a, b}` for sets.
pub(super) fn resources<'a>(resources: impl IntoIterator<Item = &'a v1::Resource>) -> Value {
    let mut scalars: BTreeMap<String, f64> =
        ["cpus", "disk", "gpus", "mem"].map(|name| (name.to_owned(), 0.0)).into();
    let mut ranges: BTreeMap<String, Vec<(u64, u64)>> = BTreeMap::new();
    let mut sets: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for resource in resources {
        let revocable = if resource.revocable.is_some() { "_revocable" } else { "" };
        let name = format!("{}{revocable}", resource.name);
        if let Some(scalar) = &resource.scalar {
            *scalars.entry(name).or_default() += scalar.value;
        } else if let Some(given) = &resource.ranges {
            let pairs = given.range.iter().map(|range| (range.begin, range.end));
            ranges.entry(name).or_default().extend(pairs);
        } else if let Some(given) = &resource.set {
            sets.entry(name).or_default().extend(given.item.iter().map(String::as_str));
        }
    }
    let mut object = Map::new();
    // Thousandths are all that Mesos keeps.
    let rounded = |value: f64| (value * 1_000.0).round() / 1_000.0;
    object.extend(scalars.into_iter().map(|(name, value)| (name, json!(rounded(value)))));
    object.extend(ranges.into_iter().map(|(name, pairs)| (name, json!(ranges_text(pairs)))));
    let set_text = |items: Vec<&str>| format!("{{{}}}", items.join(", "));
    object.extend(sets.into_iter().map(|(name, items)| (name, json!(set_text(items)))));
    Value::Object(object)
}

fn ranges_text(mut pairs: Vec<(u64, u64)>) -> String {
    pairs.sort_unstable();
    let mut merged: Vec<(u64, u64)> = Vec::new();
    for (begin, end) in pairs {
        match merged.last_mut() {
            Some(last) if begin <= last.1.saturating_add(1) => last.1 = last.1.max(end),
            _ => merged.push((begin, end)),
        }
    }
    let texts: Vec<_> = merged.iter().map(|(begin, end)| format!("{begin}-{end}")).collect();
    format!("[{}]", texts.join(", "))
}

/// The role that a resource is reserved for.
pub(super) fn reserved_role(resource: &v1::Resource) -> Option<&str> {
    resource.reservations.last().and_then(|reservation| reservation.role.as_deref())
}

/// Reserved resources by role, each by this function.
pub(super) fn by_role(
    of: &[v1::Resource],
    shape: impl Fn(&mut dyn Iterator<Item = &v1::Resource>) -> Value,
) -> Value {
    let roles: std::collections::BTreeSet<&str> = of.iter().filter_map(reserved_role).collect();
    let object = roles.into_iter().map(|role| {
        let mut those = of.iter().filter(|resource| reserved_role(resource) == Some(role));
        (role.to_owned(), shape(&mut those))
    });
    Value::Object(object.collect())
}

/// The resources of an agent, in the fields that `/slaves` and an agent's `/state` have of them.
pub(super) fn totals(object: &mut Map<String, Value>, total: &[v1::Resource]) {
    let unreserved: Vec<v1::Resource> =
        total.iter().filter(|resource| reserved_role(resource).is_none()).cloned().collect();
    let mut set = |name: &str, value: Value| drop(object.insert(name.to_owned(), value));
    set("resources", resources(total));
    set("reserved_resources", by_role(total, |of_role| resources(of_role)));
    set("unreserved_resources", resources(&unreserved));
    set("reserved_resources_full", by_role(total, |of_role| of_role.map(resource).collect()));
    set("unreserved_resources_full", all_resources(&unreserved));
}

/// Attributes as one object.
pub(super) fn attributes(attributes: &[v1::Attribute]) -> Value {
    let value = |attribute: &v1::Attribute| {
        if let Some(scalar) = &attribute.scalar {
            json!(scalar.value)
        } else if let Some(ranges) = &attribute.ranges {
            json!(ranges_text(ranges.range.iter().map(|r| (r.begin, r.end)).collect()))
        } else if let Some(set) = &attribute.set {
            json!(format!("{{{}}}", set.item.join(", ")))
        } else {
            json!(attribute.text.as_ref().map(|text| &text.value))
        }
    };
    let object = attributes.iter().map(|attribute| (attribute.name.clone(), value(attribute)));
    Value::Object(object.collect())
}

/// Labels as a list.
pub(super) fn labels(labels: &v1::Labels) -> Value {
    all(&labels.labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scalar(name: &str, value: f64, role: Option<&str>) -> v1::Resource {
        let reservation = role.map(|role| v1::resource::ReservationInfo {
            role: Some(role.to_owned()),
            ..Default::default()
        });
        v1::Resource {
            name: name.to_owned(),
            scalar: Some(v1::value::Scalar { value }),
            reservations: reservation.into_iter().collect(),
            ..Default::default()
        }
    }

    #[test]
    fn resources_are_summed_and_split_by_role() {
        let range = |begin, end| v1::value::Range { begin, end };
        let ports = v1::Resource {
            name: "ports".to_owned(),
            ranges: Some(v1::value::Ranges {
                range: vec![range(5, 9), range(1, 4), range(20, 20)],
            }),
            ..Default::default()
        };
        let total = [
            scalar("cpus", 0.1, None),
            scalar("cpus", 0.2, Some("a/b")),
            scalar("mem", 32.0, Some("a/b")),
            ports,
        ];
        let mut object = Map::new();
        totals(&mut object, &total);
        let sum =
            json!({"cpus": 0.3, "disk": 0.0, "gpus": 0.0, "mem": 32.0, "ports": "[1-9, 20-20]"});
        assert_eq!(object["resources"], sum);
        let reserved = json!({"a/b": {"cpus": 0.2, "disk": 0.0, "gpus": 0.0, "mem": 32.0}});
        assert_eq!(object["reserved_resources"], reserved);
        assert_eq!(object["unreserved_resources"]["cpus"], 0.1);
        assert_eq!(object["unreserved_resources_full"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn attributes_keep_their_kind() {
        let text = v1::Attribute {
            name: "rack".to_owned(),
            text: Some(v1::value::Text { value: "r1".to_owned() }),
            ..Default::default()
        };
        let number = v1::Attribute {
            name: "level".to_owned(),
            scalar: Some(v1::value::Scalar { value: 2.5 }),
            ..Default::default()
        };
        assert_eq!(attributes(&[text, number]), json!({"rack": "r1", "level": 2.5}));
    }
}
