//! The description of the API: committed, complete and true to the router.
//!
//! After a wanted change, `UPDATE_GOLDEN=1 cargo test --test openapi` writes the committed
//! file again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

const COMMITTED: &str = "docs/openapi.json";
const DOCUMENT: &str = "docs/API.md";

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(here(path)).unwrap()
}

fn described() -> Value {
    countersign::http::openapi().unwrap()
}

/// Every operation with its path and method.
fn operations(document: &Value) -> Vec<(String, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    paths
        .iter()
        .flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().iter();
            methods.map(move |(method, operation)| {
                (format!("{} {path}", method.to_uppercase()), operation)
            })
        })
        .collect()
}

#[test]
fn the_committed_description_is_the_programs() {
    let described = described();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let text = serde_json::to_string_pretty(&described).unwrap();
        fs::write(here(COMMITTED), text + "\n").unwrap();
    }
    let committed: Value = serde_json::from_str(&read(COMMITTED)).unwrap();
    assert!(
        committed == described,
        "{COMMITTED} is another: UPDATE_GOLDEN=1 cargo test --test openapi"
    );
}

/// Calls `check` with each text for people, and where it is.
fn for_each_text(value: &Value, at: &str, check: &mut impl FnMut(&str, &str)) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let at = format!("{at}/{name}");
                match member {
                    Value::String(text) if ["summary", "description"].contains(&name.as_str()) => {
                        check(&at, text);
                    }
                    member => for_each_text(member, &at, check),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| for_each_text(item, at, check)),
        _ => {}
    }
}

#[test]
fn descriptions_contain_no_links_of_rustdoc_and_nothing_twice() {
    let mut texts = 0;
    for_each_text(&described(), "", &mut |at, text| {
        texts += 1;
        for link in ["[`", "::", "]: "] {
            assert!(!text.contains(link), "{at} has a link of rustdoc: {text}");
        }
        let parts: Vec<&str> = text.split(['\n', ';']).map(str::trim).collect();
        let once: BTreeSet<&&str> = parts.iter().filter(|part| !part.is_empty()).collect();
        let all = parts.iter().filter(|part| !part.is_empty()).count();
        assert_eq!(all, once.len(), "{at} says something twice: {text}");
    });
    assert!(texts > 500, "{texts}");
}

#[test]
fn every_operation_is_described_whole() {
    let document = described();
    assert_eq!(document["openapi"], "3.1.0");
    let mut names = BTreeSet::new();
    for (name, operation) in operations(&document) {
        for member in ["summary", "operationId"] {
            let text = operation[member].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "{name} has no {member}");
        }
        assert!(names.insert(operation["operationId"].to_string()), "{name}");
        assert_eq!(operation["tags"].as_array().unwrap().len(), 1, "{name}");
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let text = parameter["description"].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "{name}: {parameter}");
        }
        let placeholders = name.matches('{').count();
        let parameters = operation["parameters"].as_array();
        let in_path = parameters
            .into_iter()
            .flatten()
            .filter(|p| p["in"] == "path");
        assert_eq!(in_path.count(), placeholders, "{name}");
        for (status, response) in operation["responses"].as_object().unwrap() {
            let text = response["description"].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "{name}: {status}");
        }
    }
}

#[test]
fn only_these_need_no_caller() {
    let document = described();
    let open: Vec<String> = operations(&document)
        .into_iter()
        .filter(|(_, operation)| operation.get("security").is_none())
        .map(|(name, _)| name)
        .collect();
    assert_eq!(
        open,
        [
            "GET /api/openapi-3.0.json",
            "GET /api/openapi.json",
            "DELETE /api/session",
            "GET /api/session/current",
            "GET /healthz",
            "GET /readyz",
            "GET /v1/sys/health",
            "GET /v1/sys/init",
            "GET /v1/sys/leader",
            "GET /v1/sys/seal-status",
        ]
    );
}

/// The page's files and icons, the endpoint of another protocol that has its own description, and what
/// commands on the same machine ask.
const BESIDE: [&str; 4] = ["assets.rs", "hello.rs", "icons.rs", "mcp.rs"];

/// A path that is added past the description is not in it.
#[test]
fn every_path_of_the_api_is_described() {
    let mut open = vec![here("src/http")];
    let mut files = Vec::new();
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => open.push(path),
                false => files.push(path),
            }
        }
    }
    files.retain(|path| path.extension().is_some_and(|kind| kind == "rs"));
    assert!(files.len() > 40, "{files:?}");
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        let added = [".route(", ".route_service(", ".nest(", ".nest_service("];
        for (number, line) in text.lines().enumerate() {
            assert!(
                BESIDE.contains(&name) || !added.iter().any(|way| line.contains(way)),
                "{name}:{}: a handler has #[utoipa::path(...)] and is added by routes!(...)",
                number + 1
            );
        }
    }
}

#[test]
fn every_problem_is_in_the_documents_table() {
    const TABLE: &str = "| Code | Status | Means |\n| --- | --- | --- |\n";
    let document = described();
    let rows: String = document["x-problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|problem| {
            let text = |member: &str| problem[member].as_str().unwrap().to_owned();
            format!(
                "| `{}` | {} | {} |\n",
                text("code"),
                problem["status"],
                text("title")
            )
        })
        .collect();
    let text = read(DOCUMENT);
    let (before, table) = text.split_once(TABLE).unwrap();
    let end = table.find("\n\n").unwrap() + 1;
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let text = format!("{before}{TABLE}{rows}{}", &table[end..]);
        fs::write(here(DOCUMENT), text).unwrap();
        return;
    }
    assert_eq!(
        table[..end],
        rows,
        "UPDATE_GOLDEN=1 cargo test --test openapi"
    );
}

#[test]
fn the_document_names_every_path() {
    let text = read(DOCUMENT);
    let document = described();
    for path in document["paths"].as_object().unwrap().keys() {
        assert!(text.contains(path), "{path} is not in {DOCUMENT}");
    }
}

#[test]
fn references_lead_somewhere() {
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    match value.as_str() {
                        Some(target) if name == "$ref" => found.push(target),
                        _ => references(value, found),
                    }
                }
            }
            Value::Array(values) => values.iter().for_each(|v| references(v, found)),
            _ => {}
        }
    }
    let document = described();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 50, "{}", found.len());
    for target in found {
        let pointer = target.strip_prefix('#').expect(target);
        assert!(document.pointer(pointer).is_some(), "{target}");
    }
}

/// What an object of the document is, wherever it is.
fn every(value: &Value, told: &mut impl FnMut(&serde_json::Map<String, Value>)) {
    match value {
        Value::Object(members) => {
            told(members);
            members.values().for_each(|value| every(value, told));
        }
        Value::Array(values) => values.iter().for_each(|value| every(value, told)),
        _ => {}
    }
}

/// Generators drop what is put together of things that are no plain rejects.
#[test]
fn every_schema_is_whole() {
    let document = described();
    every(&document, &mut |members| {
        for part in members
            .get("allOf")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let name = part["$ref"]
                .as_str()
                .and_then(|text| text.rsplit('/').next());
            let part = name.map_or(part, |name| &document["components"]["schemas"][name]);
            assert_eq!(part["type"], "object", "{members:?}");
        }
    });
    let schemas = &document["components"]["schemas"];
    for (name, member) in [
        ("EnrollmentView", "warnings"),
        ("RequestView", "kind"),
        ("ImportView", "accounts"),
        ("WarningView", "detail"),
        ("WaitingView", "decisions"),
        ("GrantView", "caller"),
    ] {
        let property = &schemas[name]["properties"][member];
        assert!(property.is_object(), "{name} has {member}: {schemas}");
    }
    let kinds = &schemas["RequestView"]["properties"]["kind"]["enum"];
    assert_eq!(kinds.as_array().map(Vec::len), Some(5), "{kinds}");
    for (view, flag) in [
        ("EnrollmentView", "/proofRequired"),
        ("AccountView", "allOf/1/readApproval"),
        ("ImportView", "/dryRun"),
    ] {
        let (part, flag) = flag.rsplit_once('/').unwrap();
        let part = match part {
            "" => String::new(),
            part => format!("/{part}"),
        };
        let required = schemas[view].pointer(&format!("{part}/required"));
        let required = required.unwrap().as_array().unwrap();
        assert!(required.iter().any(|name| name == flag), "{view}: {flag}");
    }
}

#[test]
fn the_older_description_says_the_same_in_older_words() {
    let newer = described();
    let older = countersign::http::older_openapi().unwrap();
    assert_eq!(older["openapi"], "3.0.3");
    let names = |document: &Value| -> Vec<(String, Value)> {
        operations(document)
            .into_iter()
            .map(|(name, operation)| (name, operation["operationId"].clone()))
            .collect()
    };
    assert_eq!(names(&older), names(&newer));
    let schemas = |document: &Value| -> BTreeSet<String> {
        let schemas = document["components"]["schemas"].as_object().unwrap();
        schemas.keys().cloned().collect()
    };
    assert_eq!(schemas(&older), schemas(&newer));
    every(&older, &mut |members| {
        assert!(!members.contains_key("const"), "{members:?}");
        let types = members.get("type");
        assert!(!types.is_some_and(Value::is_array), "{members:?}");
        assert!(types.is_none_or(|name| name != "null"), "{members:?}");
        if members.get("$ref").is_some_and(Value::is_string) {
            assert_eq!(members.len(), 1, "{members:?}");
        }
    });
}
