//! Whether an answer is one that the committed description of the API promises.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use reqwest::Method;
use serde_json::{Map, Value};

use super::Answer;

/// The description, which another test holds to be the program's own.
pub(crate) static DESCRIPTION: LazyLock<Value> = LazyLock::new(|| {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
});

/// Asserts that the answer's status is described for the operation, the code of a problem
/// too, and that the body has the members that are described and no others.
#[track_caller]
pub(crate) fn assert_described(method: &Method, path: &str, answer: &Answer) {
    let Some(operation) = operation(method, path) else {
        // The page's files, and what does not exist.
        return;
    };
    let asked = format!("{method} {path}: {answer:?}");
    let response = &operation["responses"][answer.status.as_str()];
    assert!(response.is_object(), "the status is not described: {asked}");
    if let Some(codes) = response["x-problems"].as_array()
        && answer.body["code"].is_string()
    {
        assert!(codes.contains(&answer.body["code"]), "{codes:?}: {asked}");
    }
    let kind = answer.content_type.split(';').next().unwrap_or_default();
    let schema = match response.get("content") {
        None => {
            assert_eq!(kind, "", "no body is described: {asked}");
            return;
        }
        Some(content) => &content[kind],
    };
    assert!(schema.is_object(), "the type is not described: {asked}");
    if kind.ends_with("json")
        && let Err(error) = fits(&schema["schema"], &answer.body)
    {
        panic!("{error}: {asked}");
    }
}

/// The operation that answers a request.
fn operation(method: &Method, path: &str) -> Option<&'static Value> {
    let parts: Vec<&str> = path.split('/').collect();
    let method = method.as_str().to_lowercase();
    let paths = DESCRIPTION["paths"].as_object()?.iter();
    let fitting = paths.filter(|(template, _)| {
        let wanted: Vec<&str> = template.split('/').collect();
        let same = |(want, part): (&&str, &&str)| want.starts_with('{') || want == part;
        wanted.len() == parts.len() && wanted.iter().zip(&parts).all(same)
    });
    // One that is spelled out comes before one with a placeholder.
    fitting
        .min_by_key(|(template, _)| template.matches('{').count())
        .and_then(|(_, item)| item.get(method))
}

/// The schema behind a reference.
fn resolve(schema: &'static Value) -> &'static Value {
    match schema["$ref"].as_str() {
        Some(target) => resolve(DESCRIPTION.pointer(&target[1..]).expect(target)),
        None => schema,
    }
}

/// Whether a value is what a schema says, without members that the schema does not name.
fn fits(schema: &'static Value, value: &Value) -> Result<(), String> {
    check(schema, value)?;
    let Some(members) = value.as_object() else {
        return Ok(());
    };
    let mut named = BTreeSet::new();
    // A schema without members takes any.
    if names(schema, value, &mut named) {
        for name in members.keys() {
            if !named.contains(name.as_str()) {
                return Err(format!("the member {name} is not described"));
            }
        }
    }
    Ok(())
}

/// The members that a schema names for a value; whether it names any.
fn names(schema: &'static Value, value: &Value, found: &mut BTreeSet<&'static str>) -> bool {
    let schema = resolve(schema);
    let mut any = false;
    if let Some(properties) = schema["properties"].as_object() {
        found.extend(properties.keys().map(String::as_str));
        any = true;
    }
    for part in schema["allOf"].as_array().into_iter().flatten() {
        any |= names(part, value, found);
    }
    let options = schema["oneOf"].as_array().into_iter().flatten();
    for option in options.filter(|option| check(option, value).is_ok()) {
        any |= names(option, value, found);
    }
    any
}

fn check(schema: &'static Value, value: &Value) -> Result<(), String> {
    let schema = resolve(schema);
    for part in schema["allOf"].as_array().into_iter().flatten() {
        check(part, value)?;
    }
    if let Some(options) = schema["oneOf"].as_array() {
        let fitting = options.iter().filter(|o| check(o, value).is_ok()).count();
        if fitting != 1 {
            return Err(format!("{fitting} of the options fit {value}"));
        }
    }
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        return Err(format!("{value} is none of {allowed:?}"));
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(name) => vec![name],
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if !types.is_empty() && !types.iter().any(|name| is(name, value)) {
        return Err(format!("{value} is not of the type {types:?}"));
    }
    match value {
        Value::Object(members) => check_members(schema, members),
        Value::Array(values) => match schema.get("items") {
            Some(items) => values.iter().try_for_each(|value| fits(items, value)),
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

fn check_members(schema: &'static Value, members: &Map<String, Value>) -> Result<(), String> {
    let required = schema["required"].as_array().into_iter().flatten();
    for name in required.filter_map(Value::as_str) {
        if !members.contains_key(name) {
            return Err(format!("the member {name} is missing"));
        }
    }
    for (name, value) in members {
        if let Some(schema) = schema["properties"].get(name) {
            fits(schema, value).map_err(|error| format!("{name}: {error}"))?;
        }
    }
    Ok(())
}

fn is(name: &str, value: &Value) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        other => panic!("a type that is not known: {other}"),
    }
}
