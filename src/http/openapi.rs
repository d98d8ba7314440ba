//! The description of the API (OpenAPI 3.1): what each handler declares, and what
//! applies to all of them.
//!
//! A handler declares its callers in the extension `x-roles`, the problems that it
//! answers with in `x-problems`, those of uploads in `x-input`, and its action in
//! the audit log in `x-audit`. Security requirements, the answers with problems and the
//! audit log's table of operations are made from these.

mod flat;
mod older;

use std::collections::BTreeSet;
use std::sync::LazyLock;

use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use countersign_enrollment::problem::InputProblem;
use serde_json::{Map, Value, json};
use utoipa::OpenApi;

use super::edge::auth::{FUNCTIONS_KEY, VAULT_TOKEN};
use super::edge::error::{ApiError, Problem};
use super::edge::operations::{self, Operations, is_recorded_change};
use super::edge::problem_code::ProblemCode;
use crate::access::COOKIE;

/// The problems of every operation.
const ALWAYS: [ProblemCode; 5] = [
    // A parameter that the operation does not have.
    ProblemCode::InvalidParameter,
    ProblemCode::Busy,
    ProblemCode::RateLimited,
    ProblemCode::Timeout,
    ProblemCode::Internal,
];
/// The problems of an operation that needs a caller. A caller without any role is authenticated, but may do
/// nothing.
const CALLER: [ProblemCode; 11] = [
    ProblemCode::Unauthenticated,
    ProblemCode::TokenExpired,
    ProblemCode::TokenNotYetValid,
    ProblemCode::TokenAudience,
    ProblemCode::TokenInvalid,
    ProblemCode::IssuerUnavailable,
    ProblemCode::DatabaseUnavailable,
    ProblemCode::CrossSite,
    ProblemCode::SessionAmbiguous,
    ProblemCode::SessionChanged,
    ProblemCode::RoleMissing,
];
/// The problems of an operation with a body.
const BODY: [ProblemCode; 5] = [
    ProblemCode::EmptyBody,
    ProblemCode::InvalidJson,
    ProblemCode::PayloadTooLarge,
    ProblemCode::UnreadableBody,
    ProblemCode::UnsupportedMediaType,
];
/// Problems with an upload that are not answered as content that cannot be
/// processed.
const TOO_LARGE: [&str; 2] = ["image-too-large", "image-too-many-bytes"];

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Countersign",
        description = "A server-side TOTP authenticator for teams and automation, with durable \
            enrollment and approval.\n\nErrors are RFC 9457 problems whose `code` never changes. \
            Links in responses are relative and contain no keys. Starting something answers 202 \
            with `Location` and `Retry-After` while it runs, and its status answers 200 once it \
            has finished, with any outcome. The scopes of a security requirement are the roles \
            that may call.",
    ),
    components(schemas(Problem)),
    tags(
        (name = "enrollments", description = "Adding an account to the vault, with approval if required"),
        (name = "imports", description = "Many accounts from files and images at once"),
        (name = "accounts", description = "What is in the vault"),
        (name = "requests", description = "Acts on an account that another person must approve"),
        (name = "codes", description = "Reading and checking codes"),
        (name = "vault", description = "Codes as HashiCorp Vault's TOTP engine has them"),
        (name = "session", description = "The caller, logging in and out"),
        (name = "operations", description = "For administrators and monitoring"),
    ),
)]
struct Frame;

/// The basis of the description.
pub(super) fn frame() -> utoipa::openapi::OpenApi {
    Frame::openapi()
}

/// The description, for documents and for the edge.
struct Described {
    document: Value,
    operations: Operations,
}

static DESCRIBED: LazyLock<Result<Described, String>> = LazyLock::new(|| {
    let document = serde_json::to_value(super::described().into_openapi());
    let mut document = document.map_err(|error| error.to_string())?;
    complete(&mut document);
    let operations = Operations::described_by(&document);
    // Callers need not know how something is recorded.
    let paths = document["paths"].as_object_mut().into_iter().flatten();
    for operation in paths.flat_map(|(_, item)| item.as_object_mut().into_iter().flatten()) {
        if let Some(operation) = operation.1.as_object_mut() {
            operation.remove(operations::AUDIT);
        }
    }
    Ok(Described {
        document,
        operations,
    })
});

fn described_once() -> Result<&'static Described, Undescribed> {
    DESCRIBED
        .as_ref()
        .map_err(|error| Undescribed(error.clone()))
}

/// The API cannot be described.
#[derive(Debug, thiserror::Error)]
#[error("the API cannot be described: {0}")]
pub struct Undescribed(String);

/// What the edge needs to know of the operations.
pub(super) fn operations() -> Result<&'static Operations, Undescribed> {
    Ok(&described_once()?.operations)
}

/// The description of the program's API, as JSON.
static DOCUMENT: LazyLock<Result<String, String>> = LazyLock::new(|| {
    let document = document().map_err(|error| error.to_string())?;
    serde_json::to_string_pretty(&document).map_err(|error| error.to_string())
});

/// The description of the program's API.
///
/// # Errors
///
/// [`Undescribed`] when it is not valid JSON, which no handler's description causes.
pub fn document() -> Result<Value, Undescribed> {
    Ok(described_once()?.document.clone())
}

/// Describes this API
///
/// The document that you are reading (OpenAPI 3.1). It needs no caller.
#[utoipa::path(
    get, path = "/api/openapi.json", tag = "operations", operation_id = "describe",
    responses((status = OK, description = "This document", body = Value)),
)]
pub(super) async fn describe() -> Result<Response, ApiError> {
    served(&DOCUMENT)
}

/// The same for programs that read OpenAPI 3.0 only.
static OLDER: LazyLock<Result<String, String>> = LazyLock::new(|| {
    let document = older_document().map_err(|error| error.to_string())?;
    serde_json::to_string_pretty(&document).map_err(|error| error.to_string())
});

/// Describes this API for older programs
///
/// The same API as OpenAPI 3.0.3, derived from the newer document. If an operation accepts
/// several request bodies, this document describes one of them; if it has several responses, it
/// has one schema that covers all. It needs no caller.
#[utoipa::path(
    get, path = "/api/openapi-3.0.json", tag = "operations", operation_id = "describeOlder",
    responses((status = OK, description = "The document", body = Value)),
)]
pub(super) async fn describe_older() -> Result<Response, ApiError> {
    served(&OLDER)
}

fn served(document: &'static LazyLock<Result<String, String>>) -> Result<Response, ApiError> {
    let text = document
        .as_deref()
        .map_err(|error| ApiError::Internal(error.as_str().into()))?;
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        // Always revalidated: a newer program has a newer API.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    Ok((headers, text).into_response())
}

/// The description as OpenAPI 3.0.3.
///
/// # Errors
///
/// As [`document`].
pub fn older_document() -> Result<Value, Undescribed> {
    document().map(older::derived)
}

fn complete(document: &mut Value) {
    let mut names = BTreeSet::new();
    let paths = document["paths"].as_object_mut();
    for (path, item) in paths.into_iter().flatten() {
        for (method, operation) in item.as_object_mut().into_iter().flatten() {
            let recorded = Method::from_bytes(method.to_uppercase().as_bytes())
                .is_ok_and(|method| is_recorded_change(&method, operation));
            let Some(operation) = operation.as_object_mut() else {
                continue;
            };
            complete_operation(path, recorded, operation);
            // A handler of several methods declares its name once.
            if let Some(Value::String(name)) = operation.get_mut("operationId")
                && !names.insert(name.clone())
            {
                name.push_str("By");
                name.push_str(&method[..1].to_uppercase());
                name.push_str(&method[1..]);
            }
        }
    }
    let asked = reachable(document, "requestBody");
    document["x-problems"] = problems();
    let components = &mut document["components"];
    components["securitySchemes"] = security_schemes();
    components["headers"] = json!({
        "RequestId": {
            "description": "The request's id, as in the log; the caller's own if it sent one of \
                8 to 64 letters, digits and hyphens.",
            "required": true,
            "schema": {"type": "string"},
        },
        "CacheControl": {
            "description": "`no-store`: the response is for this moment and this caller only. \
                The description itself may be cached, but must be revalidated.",
            "required": true,
            "schema": {"type": "string", "enum": ["no-store", "no-cache"]},
        },
        "StatusLocation": {
            "description": "Address of the status.",
            "required": true,
            "schema": {"type": "string"},
        },
        "RetryAfter": {
            "description": "Seconds to wait before asking again.",
            "required": true,
            "schema": {"type": "integer", "minimum": 1},
        },
        "WwwAuthenticate": {
            "description": "How to authenticate.",
            "required": true,
            "schema": {"type": "string"},
        },
    });
    let schemas = components["schemas"].as_object_mut();
    for (name, schema) in schemas.into_iter().flatten() {
        if name == "Problem" || name == "ProblemView" {
            let codes: Vec<Value> = ProblemCode::ALL.iter().map(|code| json!(code)).collect();
            let input = InputProblem::CODES.iter().map(|code| json!(code));
            schema["properties"]["code"]["enum"] = codes.into_iter().chain(input).collect();
        }
        if !asked.contains(name) {
            forbid_null(schema);
        }
    }
    flat::flatten(document);
}

/// Every problem that is not one of an upload.
fn problems() -> Value {
    let problems = ProblemCode::ALL.iter().map(|code| {
        let status = code.status().as_u16();
        json!({"code": code, "status": status, "title": code.title()})
    });
    problems.collect()
}

fn complete_operation(path: &str, recorded: bool, operation: &mut Map<String, Value>) {
    let roles = operation.remove("x-roles");
    let listed = operation.remove("x-problems");
    let input = operation.remove("x-input");
    let mut problems: Vec<(StatusCode, String, Option<&str>)> = Vec::new();
    let listed = listed.iter().flat_map(|codes| codes.as_array());
    for code in listed.flatten().filter_map(Value::as_str) {
        let known = ProblemCode::ALL.iter().find(|known| known.as_str() == code);
        problems.extend(known.map(of_code));
    }
    problems.extend(ALWAYS.iter().map(of_code));
    let unrecorded = ProblemCode::AuditUnavailable.as_str();
    if recorded && !problems.iter().any(|(_, code, _)| code == unrecorded) {
        problems.push(of_code(&ProblemCode::AuditUnavailable));
    }
    if operation.contains_key("requestBody") {
        problems.extend(BODY.iter().map(of_code));
    }
    let input = input.iter().flat_map(|codes| codes.as_array());
    for code in input.flatten().filter_map(Value::as_str) {
        let status = match TOO_LARGE.contains(&code) {
            true => StatusCode::PAYLOAD_TOO_LARGE,
            false => StatusCode::UNPROCESSABLE_ENTITY,
        };
        problems.push((status, code.to_owned(), None));
    }
    if let Some(roles) = roles {
        problems.extend(CALLER.iter().map(of_code));
        let schemes = security_schemes();
        let schemes = schemes.as_object().into_iter().flatten();
        operation.insert(
            "security".to_owned(),
            schemes.map(|(name, _)| json!({ name: roles })).collect(),
        );
    }
    let parameters = operation.get_mut("parameters");
    if let Some(parameters) = parameters.and_then(Value::as_array_mut) {
        // A path's parameter also appears among the handler's arguments, without a description.
        parameters.retain(|parameter| parameter.get("description").is_some());
        for parameter in parameters {
            parameter.get_mut("schema").map(without_null);
            // An empty field of a form counts as absent.
            if parameter["in"] == "query" && parameter["required"] == false {
                parameter["allowEmptyValue"] = json!(true);
            }
        }
    }
    if let Some(body) = operation.get_mut("requestBody") {
        if let Some(text) = body.pointer_mut("/content/text~1plain/schema") {
            text["minLength"] = json!(1);
        }
        // A file of which only the type is known: generators need to see that.
        let kinds = body["content"].as_object_mut();
        for (kind, content) in kinds.into_iter().flatten() {
            if content.get("schema").is_none() {
                content["schema"] = match kind.as_str() {
                    "application/json" => json!({}),
                    _ => json!({"type": "string", "format": "binary"}),
                };
            }
        }
    }
    let Some(responses) = operation.get_mut("responses") else {
        return;
    };
    // Vault's clients look for errors only here.
    let kind = match path.starts_with("/v1/") {
        true => "application/json",
        false => "application/problem+json",
    };
    // An invalid token is refused as Vault does it.
    if path.starts_with("/v1/")
        && problems
            .iter()
            .any(|(_, code, _)| code == "unauthenticated")
    {
        let bad = [
            ProblemCode::Unauthenticated,
            ProblemCode::TokenInvalid,
            ProblemCode::TokenExpired,
            ProblemCode::TokenNotYetValid,
            ProblemCode::TokenAudience,
        ];
        problems.extend(bad.iter().map(|code| {
            let (_, code, title) = of_code(code);
            (StatusCode::FORBIDDEN, code, title)
        }));
    }
    for (status, code, title) in problems {
        let response = &mut responses[status.as_str()];
        if response.is_null() {
            *response = json!({
                "description": "",
                "content": {kind: {"schema": {"$ref": "#/components/schemas/Problem"}}},
                "x-problems": [],
            });
            if status == StatusCode::UNAUTHORIZED {
                response["headers"]["WWW-Authenticate"] = header_ref("WwwAuthenticate");
            }
            if matches!(
                status,
                StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS
            ) {
                response["headers"]["Retry-After"] = header_ref("RetryAfter");
            }
        }
        if response.get("x-problems").is_none() {
            response["x-problems"] = json!([]);
        }
        if let Some(codes) = response["x-problems"].as_array_mut() {
            // Several of the lists above may name it.
            if codes.contains(&json!(code)) {
                continue;
            }
            codes.push(json!(code));
        }
        if let (Some(title), Some(text)) = (title, response["description"].as_str()) {
            let joint = if text.is_empty() { "" } else { "; " };
            response["description"] = json!(format!("{text}{joint}`{code}`: {title}"));
        }
    }
    for (status, response) in responses.as_object_mut().into_iter().flatten() {
        // What was started and is still running, wherever it was started.
        if status == StatusCode::ACCEPTED.as_str() {
            response["headers"]["Location"] = header_ref("StatusLocation");
            response["headers"]["Retry-After"] = header_ref("RetryAfter");
        }
        if response["description"] == "" {
            response["description"] = json!("The upload cannot be used; `code` says why");
        }
        let headers = response["headers"].as_object_mut();
        for header in headers.into_iter().flat_map(Map::values_mut) {
            header.get_mut("schema").map(without_null);
        }
        response["headers"]["X-Request-Id"] = header_ref("RequestId");
        response["headers"]["Cache-Control"] = header_ref("CacheControl");
    }
}

fn of_code(code: &ProblemCode) -> (StatusCode, String, Option<&'static str>) {
    (code.status(), code.as_str().to_owned(), Some(code.title()))
}

fn header_ref(name: &str) -> Value {
    json!({"$ref": format!("#/components/headers/{name}")})
}

fn security_schemes() -> Value {
    let key = "An API key or the administrator's token";
    json!({
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "description": key,
        },
        "functionsKey": {
            "type": "apiKey",
            "in": "header",
            "name": FUNCTIONS_KEY,
            "description": format!("{key}, as on Azure Functions"),
        },
        "code": {
            "type": "apiKey",
            "in": "query",
            "name": "code",
            "description": format!("{key}, as on Azure Functions; addresses end up in logs, so prefer a header"),
        },
        "vaultToken": {
            "type": "apiKey",
            "in": "header",
            "name": VAULT_TOKEN,
            "description": format!("{key}, as clients of HashiCorp Vault send it"),
        },
        "session": {
            "type": "apiKey",
            "in": "cookie",
            "name": COOKIE,
            "description": "The cookie that `POST /api/session` sets; with TLS its name begins \
                with `__Host-`. It is accepted only in requests from the server's own page.",
        },
    })
}

/// The names of the schemas that are referred to below members with this name, or by
/// schemas that are.
fn reachable(document: &Value, member: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut queue = Vec::new();
    under(&document["paths"], member, &mut queue);
    while let Some(value) = queue.pop() {
        let mut names = Vec::new();
        references(value, &mut names);
        for name in names {
            if found.insert(name.to_owned()) {
                queue.push(&document["components"]["schemas"][name]);
            }
        }
    }
    found
}

/// Every value of a member with this name.
fn under<'a>(value: &'a Value, member: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                if name == member {
                    found.push(value);
                } else {
                    under(value, member, found);
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|v| under(v, member, found)),
        _ => {}
    }
}

fn references<'a>(value: &'a Value, names: &mut Vec<&'a str>) {
    let mut found = Vec::new();
    under(value, "$ref", &mut found);
    names.extend(
        found
            .into_iter()
            .filter_map(Value::as_str)
            .filter_map(|text| text.strip_prefix("#/components/schemas/")),
    );
}

/// Our answers omit a member rather than make it null.
fn forbid_null(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            let required: BTreeSet<String> = members
                .get("required")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(|name| name.as_str().map(str::to_owned))
                .collect();
            if let Some(properties) = members.get_mut("properties").and_then(Value::as_object_mut) {
                for (name, property) in properties {
                    if !required.contains(name) {
                        without_null(property);
                    }
                }
            }
            members.values_mut().for_each(forbid_null);
        }
        Value::Array(values) => values.iter_mut().for_each(forbid_null),
        _ => {}
    }
}

fn without_null(property: &mut Value) {
    if let Some(types) = property.get_mut("type").filter(|types| types.is_array()) {
        let mut left = types.as_array().cloned().unwrap_or_default();
        left.retain(|name| name != "null");
        if let [only] = left.as_slice() {
            *types = only.clone();
        }
    }
    let Some(members) = property.as_object_mut() else {
        return;
    };
    let Some(Value::Array(mut options)) = members.remove("oneOf") else {
        return;
    };
    options.retain(|option| option["type"] != "null");
    if let [Value::Object(only)] = options.as_slice() {
        members.extend(only.clone());
    } else {
        members.insert("oneOf".to_owned(), Value::Array(options));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Operations that change something and leave no entry.
    const NOT_RECORDED: [(&str, &str); 0] = [];

    #[test]
    fn every_operation_that_changes_something_is_recorded() {
        let document = document().unwrap();
        let operations = operations().unwrap();
        let mut seen = 0;
        for (path, methods) in document["paths"].as_object().unwrap() {
            for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
                if methods.get(method.as_str().to_lowercase()).is_none() {
                    continue;
                }
                seen += 1;
                let known = NOT_RECORDED.contains(&(method.as_str(), path));
                let operation = operations.get(&method, path).unwrap();
                assert_ne!(operation.action().is_some(), known, "{method} {path}");
            }
        }
        assert!(seen > 20, "{seen}");
    }
}
