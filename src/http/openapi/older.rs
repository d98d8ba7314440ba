//! The description as OpenAPI 3.0.3, for programs that read nothing newer.

use serde_json::{Map, Value, json};

/// The same document in the words of the older version.
pub(super) fn derived(mut document: Value) -> Value {
    document["openapi"] = json!("3.0.3");
    if let Some(licence) = document["info"]["license"].as_object_mut() {
        licence.remove("identifier");
    }
    older(&mut document);
    document
}

fn older(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(older),
        Value::Object(members) => {
            older_schema(members);
            members.values_mut().for_each(older);
        }
        _ => {}
    }
}

/// What a schema says otherwise; members of other things have none of these names.
fn older_schema(members: &mut Map<String, Value>) {
    // There is nothing beside a reference.
    if members.get("$ref").is_some_and(Value::is_string) {
        members.retain(|name, _| name == "$ref");
        return;
    }
    if let Some(Value::Array(types)) = members.get("type").cloned() {
        let (null, others): (Vec<Value>, Vec<Value>) =
            types.into_iter().partition(|name| name == "null");
        if !null.is_empty() {
            members.insert("nullable".to_owned(), json!(true));
        }
        match others.as_slice() {
            [only] => members.insert("type".to_owned(), only.clone()),
            _ => members.remove("type"),
        };
    }
    for several in ["oneOf", "anyOf"] {
        let Some(Value::Array(options)) = members.get_mut(several) else {
            continue;
        };
        let before = options.len();
        options.retain(|option| option["type"] != "null");
        let has_null = options.len() < before;
        let only = match options.as_slice() {
            [only] => Some(only.clone()),
            _ => None,
        };
        if has_null {
            members.insert("nullable".to_owned(), json!(true));
        }
        if let Some(Value::Object(mut only)) = only {
            members.remove(several);
            if let Some(target) = only.remove("$ref") {
                // Beside a reference nothing could say that it may be null.
                members.insert("allOf".to_owned(), json!([{ "$ref": target }]));
            }
            members.extend(only);
        }
    }
    if let Some(value) = members.remove("const") {
        members.insert("enum".to_owned(), json!([value]));
    }
    if members.get("type").is_some_and(|name| name == "null") {
        members.remove("type");
        members.insert("nullable".to_owned(), json!(true));
    }
    if let Some(Value::Array(examples)) = members.get("examples").cloned() {
        members.remove("examples");
        members.extend(
            examples
                .into_iter()
                .next()
                .map(|first| ("example".to_owned(), first)),
        );
    }
    for (bound, exclusive) in [
        ("minimum", "exclusiveMinimum"),
        ("maximum", "exclusiveMaximum"),
    ] {
        if members.get(exclusive).is_some_and(Value::is_number)
            && let Some(number) = members.insert(exclusive.to_owned(), json!(true))
        {
            members.insert(bound.to_owned(), number);
        }
    }
    for newer in [
        "propertyNames",
        "contentMediaType",
        "contentEncoding",
        "$comment",
    ] {
        members.remove(newer);
    }
}
