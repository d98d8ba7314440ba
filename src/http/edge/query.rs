//! The parameters after `?` that an operation has: those that it is described with, and no
//! others. A misspelt one would be as none, and nobody would notice.

use std::collections::{BTreeSet, HashMap};
use std::sync::LazyLock;

use axum::extract::MatchedPath;
use axum::http::request::Parts;

use super::error::ApiError;
use crate::http::openapi;

/// In any operation's address, for callers who have no other place to say who they are.
const CREDENTIAL: &str = "code";

/// The names of each operation's parameters, by path and method.
static PARAMETERS: LazyLock<HashMap<String, HashMap<String, BTreeSet<String>>>> =
    LazyLock::new(|| {
        let document = openapi::document().unwrap_or_default();
        let paths = document["paths"].as_object().into_iter().flatten();
        let described = paths.map(|(path, item)| {
            let operations = item.as_object().into_iter().flatten();
            let named = operations.map(|(method, operation)| {
                let parameters = operation["parameters"].as_array().into_iter().flatten();
                let names = parameters
                    .filter(|parameter| parameter["in"] == "query")
                    .filter_map(|parameter| Some(parameter["name"].as_str()?.to_owned()))
                    .collect();
                (method.to_uppercase(), names)
            });
            (path.clone(), named.collect())
        });
        described.collect()
    });

/// Refuses a request with a parameter that its operation does not have. What is no operation of
/// the description takes what it likes.
pub(crate) fn check(parts: &Parts) -> Result<(), ApiError> {
    let Some(query) = parts.uri.query().filter(|query| !query.is_empty()) else {
        return Ok(());
    };
    let method = match parts.method.as_str() {
        "HEAD" => "GET",
        method => method,
    };
    let names = parts
        .extensions
        .get::<MatchedPath>()
        .and_then(|path| PARAMETERS.get(path.as_str()))
        .and_then(|operations| operations.get(method));
    let Some(names) = names else {
        return Ok(());
    };
    for (name, _) in url::form_urlencoded::parse(query.as_bytes()) {
        if name != CREDENTIAL && !names.contains(name.as_ref()) {
            return Err(ApiError::InvalidParameter {
                name: "query",
                detail: unknown(&name, names),
            });
        }
    }
    Ok(())
}

/// What was sent is not repeated; what could be sent is.
fn unknown(name: &str, names: &BTreeSet<String>) -> String {
    if names.is_empty() {
        return "this operation has no parameters after `?`".to_owned();
    }
    let meant = names.iter().find(|known| known.eq_ignore_ascii_case(name));
    let meant = meant.map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"));
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    let of = if names.len() > 1 { "one of " } else { "" };
    format!(
        "there is a parameter that is not known here; it may be {of}{}{meant}",
        names.join(", ")
    )
}
