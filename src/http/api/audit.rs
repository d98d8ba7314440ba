//! `GET /api/audit`: the audit log, for administrators.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::audit::{Action, AuditQuery, Entry, cef, json_line};
use crate::http::FrontDoor;
use crate::http::edge::auth::{Administer, Caller, Permission as _};
use crate::http::edge::error::ApiError;
use crate::http::edge::parameters::{limit, parameters};
use crate::http::edge::problem_code::ProblemCode;
use crate::http::edge::reply::no_store;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct AuditParameters {
    /// Only entries of this caller.
    caller: Option<String>,
    /// Only entries about this: an enrollment's or account's id, or a key's name.
    subject: Option<String>,
    /// Only this action.
    #[param(value_type = Option<Action>)]
    action: Option<String>,
    /// Not before this time.
    #[param(value_type = Option<DateTime<Utc>>)]
    since: Option<String>,
    /// Before this time.
    #[param(value_type = Option<DateTime<Utc>>)]
    until: Option<String>,
    /// `oldest` first, unless `newest` is requested.
    #[param(inline, value_type = Option<Order>)]
    order: Option<String>,
    /// The `next` of the previous page.
    #[param(pattern = "^[0-9]{1,18}$")]
    cursor: Option<String>,
    /// How many entries at most.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200, default = 50)]
    limit: Option<String>,
    /// `json`, or a line for each entry as `jsonl` or `cef` (Common Event Format).
    #[param(inline, value_type = Option<DownloadFormat>)]
    format: Option<String>,
}

#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "named in a parameter")]
enum Order {
    Oldest,
    Newest,
}

#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "named in a parameter")]
enum DownloadFormat {
    Json,
    Jsonl,
    Cef,
}

/// A page of the audit log.
#[derive(Serialize, ToSchema)]
struct AuditPage {
    entries: Vec<Entry>,
    /// The cursor of the page after this one, if this one is full.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Reads the audit log
///
/// Who did what, when and from where. Reading it is recorded too.
#[utoipa::path(
    get, path = "/api/audit", tag = "operations", operation_id = "readAudit",
    params(AuditParameters),
    responses((status = OK, description = "Entries", content(
        (AuditPage = "application/json"),
        (String = "application/x-ndjson"),
        (String = "text/plain"),
    ))),
    extensions(
        ("x-audit" = json!(Action::ReadAudit)),
        ("x-roles" = json!(Administer::ROLES)),
        ("x-problems" = json!([ProblemCode::InvalidParameter])),
    ),
)]
pub(super) async fn list(
    State(door): State<Arc<FrontDoor>>,
    _: Caller<Administer>,
    query: Result<Query<AuditParameters>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, ApiError> {
    let asked = parameters(query)?;
    let limit = limit(asked.limit.as_deref())?;
    let query = AuditQuery {
        caller: asked.caller.filter(|text| !text.is_empty()),
        subject: asked.subject.filter(|text| !text.is_empty()),
        action: action(asked.action.as_deref())?,
        since: moment("since", asked.since.as_deref())?,
        until: moment("until", asked.until.as_deref())?,
        newest_first: newest_first(asked.order.as_deref())?,
        after: match asked.cursor.as_deref() {
            None | Some("") => None,
            Some(text) => Some(text.parse().map_err(|_| ApiError::InvalidParameter {
                name: "cursor",
                detail: "the previous page's `next`".to_owned(),
            })?),
        },
        limit,
    };
    let entries = door
        .audit
        .query(query)
        .await
        .map_err(|error| ApiError::Internal(Box::new(error)))?;
    match asked.format.as_deref() {
        None | Some("" | "json") => {
            let next = (entries.len() == limit)
                .then(|| entries.last().map(|entry| entry.sequence.to_string()))
                .flatten();
            Ok(no_store(Json(AuditPage { entries, next }).into_response()))
        }
        Some("jsonl") => lines("application/x-ndjson", &entries, json_line),
        Some("cef") => lines("text/plain; charset=utf-8", &entries, |entry| {
            Ok(cef(entry))
        }),
        Some(_) => Err(ApiError::InvalidParameter {
            name: "format",
            detail: "one of json, jsonl and cef".to_owned(),
        }),
    }
}

fn lines(
    kind: &'static str,
    entries: &[Entry],
    line: impl Fn(&Entry) -> Result<String, serde_json::Error>,
) -> Result<Response, ApiError> {
    let mut text = String::new();
    for entry in entries {
        text.push_str(&line(entry).map_err(|e| ApiError::Internal(Box::new(e)))?);
        text.push('\n');
    }
    let mut response = text.into_response();
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(no_store(response))
}

fn action(text: Option<&str>) -> Result<Option<Action>, ApiError> {
    match text {
        None | Some("") => Ok(None),
        Some(text) => Action::named(text)
            .map(Some)
            .ok_or_else(|| ApiError::InvalidParameter {
                name: "action",
                detail: "the name of an action, such as read-code".to_owned(),
            }),
    }
}

fn newest_first(text: Option<&str>) -> Result<bool, ApiError> {
    match text {
        None | Some("" | "oldest") => Ok(false),
        Some("newest") => Ok(true),
        Some(_) => Err(ApiError::InvalidParameter {
            name: "order",
            detail: "oldest or newest".to_owned(),
        }),
    }
}

fn moment(name: &'static str, text: Option<&str>) -> Result<Option<DateTime<Utc>>, ApiError> {
    match text {
        None | Some("") => Ok(None),
        Some(text) => DateTime::parse_from_rfc3339(text)
            .map(|time| Some(time.to_utc()))
            .map_err(|_| ApiError::InvalidParameter {
                name,
                detail: "a time such as 2026-01-31T12:00:00Z".to_owned(),
            }),
    }
}
