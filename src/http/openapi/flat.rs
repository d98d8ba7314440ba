//! Schemas that nest `allOf` in `oneOf` or the other way round,
//! flattened into one object each: client generators drop them otherwise.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

/// Flattens every such schema of the document, and removes those that are no longer referenced.
pub(super) fn flatten(document: &mut Value) {
    let known = document["components"]["schemas"].clone();
    written_out(document, &known, Within::Anything);
    loop {
        let mut used = Vec::new();
        super::references(document, &mut used);
        let used: BTreeSet<String> = used.into_iter().map(str::to_owned).collect();
        let Some(schemas) = document["components"]["schemas"].as_object_mut() else {
            return;
        };
        let before = schemas.len();
        schemas.retain(|name, _| used.contains(name));
        if schemas.len() == before {
            return;
        }
    }
}

/// What contains a schema.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Within {
    Anything,
    /// It is one of several.
    Choice,
}

fn written_out(value: &mut Value, known: &Value, within: Within) {
    match value {
        Value::Array(values) => values
            .iter_mut()
            .for_each(|each| written_out(each, known, within)),
        Value::Object(members) => {
            let parts = members.get("allOf").and_then(Value::as_array).cloned();
            let dropped = |parts: &[Value]| {
                within == Within::Choice || !parts.iter().all(|part| is_object(part, known))
            };
            if let Some(parts) = parts.filter(|parts| dropped(parts)) {
                members.remove("allOf");
                let mut object = Object::default();
                for part in &parts {
                    object.add(part, known, true);
                }
                members.insert("type".to_owned(), json!("object"));
                members.insert("properties".to_owned(), Value::Object(object.properties));
                members.insert("required".to_owned(), json!(object.required));
            }
            for (name, each) in members {
                let within = match name.as_str() {
                    "oneOf" => Within::Choice,
                    _ => Within::Anything,
                };
                written_out(each, known, within);
            }
        }
        _ => {}
    }
}

/// Whether a part is a plain object, which generators can combine. One that is
/// combined itself is not.
fn is_object(part: &Value, known: &Value) -> bool {
    let named = part["$ref"]
        .as_str()
        .and_then(|text| text.rsplit('/').next());
    named.map_or(part, |name| &known[name])["type"] == "object"
}

/// All members of a schema's alternatives.
#[derive(Default)]
struct Object {
    properties: Map<String, Value>,
    required: Vec<String>,
}

impl Object {
    /// Adds a part; if it always applies, its required members are required.
    fn add(&mut self, part: &Value, known: &Value, always: bool) {
        let named = part["$ref"]
            .as_str()
            .and_then(|text| text.rsplit('/').next());
        if let Some(name) = named {
            return self.add(&known[name], known, always);
        }
        for each in part["allOf"].as_array().into_iter().flatten() {
            self.add(each, known, always);
        }
        // One of several: each member is optional, except those that all of them require.
        let several = part["oneOf"].as_array().map_or(&[][..], Vec::as_slice);
        for each in several {
            self.add(each, known, false);
        }
        if always {
            let needed = |name: &&Value| {
                let needs = |each: &Value| {
                    let required = each["required"].as_array();
                    required.is_some_and(|names| names.contains(name))
                };
                several.iter().all(needs)
            };
            let first = several.first().and_then(|each| each["required"].as_array());
            let common = first.into_iter().flatten().filter(needed);
            self.require(common.filter_map(Value::as_str));
            let own = part["required"].as_array().into_iter().flatten();
            self.require(own.filter_map(Value::as_str));
        }
        for (name, property) in part["properties"].as_object().into_iter().flatten() {
            match self.properties.get_mut(name) {
                None => {
                    self.properties.insert(name.clone(), property.clone());
                }
                Some(there) => join(there, property),
            }
        }
    }

    fn require<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        for name in names {
            if !self.required.iter().any(|known| known == name) {
                self.required.push(name.to_owned());
            }
        }
    }
}

/// A member that several have: of a discriminator, all values.
fn join(there: &mut Value, other: &Value) {
    let values = there.get_mut("enum").and_then(Value::as_array_mut);
    if let (Some(values), Some(more)) = (values, other["enum"].as_array()) {
        for value in more {
            if !values.contains(value) {
                values.push(value.clone());
            }
        }
    } else if there != other
        && let Some(members) = there.as_object_mut()
    {
        // Said for one of them only.
        members.remove("description");
    }
}
