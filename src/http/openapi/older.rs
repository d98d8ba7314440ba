//! The description as OpenAPI 3.0.3, for programs that read nothing newer. Client
//! generators handle one kind of body and one kind of answer per operation, so it describes
//! no more.

use serde_json::{Map, Value, json};

/// The same document in the older version's terms.
pub(super) fn derived(mut document: Value) -> Value {
    document["openapi"] = json!("3.0.3");
    if let Some(license) = document["info"]["license"].as_object_mut() {
        license.remove("identifier");
    }
    let known = document["components"]["schemas"].clone();
    let paths = document["paths"].as_object_mut();
    let items = paths.into_iter().flat_map(Map::values_mut);
    for operation in items
        .filter_map(Value::as_object_mut)
        .flat_map(Map::values_mut)
    {
        one_body(operation);
        for class in [&["2"][..], &["4", "5"]] {
            one_answer(operation, class, &known);
        }
    }
    older(&mut document);
    document
}

/// Of the kinds of a body, the most specific one: JSON with members, or the bytes of a file.
fn one_body(operation: &mut Value) {
    let Some(kinds) = operation
        .pointer_mut("/requestBody/content")
        .and_then(Value::as_object_mut)
    else {
        return;
    };
    let has_members = |content: &Value| content["schema"] != json!({});
    let kept = match kinds.get("application/json") {
        Some(content) if has_members(content) => "application/json",
        _ => "application/octet-stream",
    };
    if kinds.contains_key(kept) {
        kinds.retain(|kind, _| kind == kept);
    }
}

/// The answers whose status begins like this, with all their alternatives as the
/// content of each.
fn one_answer(operation: &mut Value, class: &[&str], known: &Value) {
    let Some(responses) = operation["responses"].as_object_mut() else {
        return;
    };
    const JSON: &str = "application/json";
    let of_class = |status: &str| class.iter().any(|begin| status.starts_with(begin));
    let contents = |responses: &Map<String, Value>| -> Vec<Map<String, Value>> {
        let of_class = responses.iter().filter(|(status, _)| of_class(status));
        let contents = of_class.filter_map(|(_, response)| response["content"].as_object());
        contents.cloned().collect()
    };
    // The problem, not other answers with the same status.
    if contents(responses)
        .iter()
        .any(|kinds| !kinds.contains_key(JSON))
    {
        for (_, response) in responses.iter_mut().filter(|(status, _)| of_class(status)) {
            let kinds = response["content"].as_object_mut();
            if let Some(kinds) = kinds.filter(|kinds| kinds.len() > 1) {
                kinds.remove(JSON);
            }
        }
    }
    let mut schemas: Vec<Value> = Vec::new();
    for kinds in contents(responses) {
        let schema = kinds.get(JSON).map(|content| content["schema"].clone());
        schemas.extend(schema.filter(|schema| !schemas.contains(schema)));
    }
    if schemas.is_empty() {
        return;
    }
    // An empty answer cannot be an alternative: clients recognize it by its status.
    responses.retain(|status, response| !of_class(status) || response.get("content").is_some());
    if schemas.len() == 1 {
        return;
    }
    // The one with the most required members is tried first.
    schemas.sort_by_key(|schema| std::cmp::Reverse(required(schema, known)));
    let several = json!({ "oneOf": schemas });
    for (_, response) in responses.iter_mut().filter(|(status, _)| of_class(status)) {
        if let Some(content) = response["content"].get_mut(JSON) {
            content["schema"] = several.clone();
        }
    }
}

/// How many members a schema requires.
fn required(schema: &Value, known: &Value) -> usize {
    let named = schema["$ref"]
        .as_str()
        .and_then(|text| text.rsplit('/').next());
    let schema = named.map_or(schema, |name| &known[name]);
    let parts = schema["allOf"].as_array().into_iter().flatten();
    let own = schema["required"].as_array().map_or(0, Vec::len);
    own + parts.map(|part| required(part, known)).sum::<usize>()
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

/// Translates a schema; members elsewhere have none of these names.
fn older_schema(members: &mut Map<String, Value>) {
    // A reference has no siblings.
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
                // Next to a reference, `nullable` would be ignored.
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
