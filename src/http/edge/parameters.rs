//! Parameters of several operations: how they are read, and the problems with those that
//! cannot be read.

use std::time::Duration;

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use chrono::{DateTime, Utc};
use countersign_enrollment::account::one_line;
use utoipa::ToSchema;

use super::error::ApiError;
use crate::audit::without_secrets;

/// The longest that a status request may ask to wait, in seconds.
const LONGEST_WAIT: u64 = 60;
/// The default number of enrollments or accounts on a page.
pub(crate) const DEFAULT_LIMIT: usize = 50;
/// The highest number.
pub(crate) const MAX_LIMIT: usize = 200;

/// The query's parameters, or the problem with them.
pub(crate) fn parameters<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, ApiError> {
    query
        .map(|Query(parameters)| parameters)
        .map_err(|rejection| {
            // The text that was sent is not repeated; the valid values come last, and from the
            // server alone.
            let text = rejection.body_text();
            let detail = match text.rsplit_once(", expected ") {
                Some((what, names)) if what.contains("unknown field ") => {
                    format!("there is an unknown parameter; expected {names}")
                }
                _ => "the part after `?` cannot be read, or a parameter is given twice".to_owned(),
            };
            ApiError::InvalidParameter {
                name: "query",
                detail,
            }
        })
}

/// A parameter that is true or false; false if it is absent.
pub(crate) fn flag(name: &'static str, text: Option<&str>) -> Result<bool, ApiError> {
    match text {
        None | Some("false" | "0") => Ok(false),
        Some("true" | "1" | "") => Ok(true),
        Some(_) => Err(ApiError::InvalidParameter {
            name,
            detail: "`true` or `false`".to_owned(),
        }),
    }
}

#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "named in a parameter")]
pub(crate) enum ApprovalParameter {
    Required,
}

/// Whether the parameter `approval` requires one.
pub(crate) fn approval_parameter(text: Option<&str>) -> Result<bool, ApiError> {
    required_parameter("approval", text)
}

pub(crate) fn required_parameter(name: &'static str, text: Option<&str>) -> Result<bool, ApiError> {
    match text {
        None | Some("") => Ok(false),
        Some("required") => Ok(true),
        Some(_) => Err(ApiError::InvalidParameter {
            name,
            detail: "the only value is `required`".to_owned(),
        }),
    }
}

/// How long a status request asks to wait.
pub(crate) fn wait_parameter(text: Option<&str>) -> Result<Duration, ApiError> {
    match text {
        None | Some("") => Ok(Duration::ZERO),
        Some(text) => text
            .parse()
            .ok()
            .filter(|seconds| *seconds <= LONGEST_WAIT)
            .map(Duration::from_secs)
            .ok_or_else(|| ApiError::InvalidParameter {
                name: "wait",
                detail: format!("a whole number of seconds from 0 to {LONGEST_WAIT}"),
            }),
    }
}

/// How many rows a page may have.
pub(crate) fn limit(text: Option<&str>) -> Result<usize, ApiError> {
    match text {
        None | Some("") => Ok(DEFAULT_LIMIT),
        Some(text) => text
            .parse()
            .ok()
            .filter(|limit| (1..=MAX_LIMIT).contains(limit))
            .ok_or_else(|| ApiError::InvalidParameter {
                name: "limit",
                detail: format!("a whole number from 1 to {MAX_LIMIT}"),
            }),
    }
}

/// Refuses a moment in the past, which would be a mistake.
pub(crate) fn refuse_past(
    name: &'static str,
    time: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Result<(), ApiError> {
    match time {
        Some(time) if time <= now => Err(ApiError::InvalidParameter {
            name,
            detail: "a time in the future".to_owned(),
        }),
        _ => Ok(()),
    }
}

/// A text for people, on one line and cleaned like names; none if it is empty. It is kept in a history and shown, so what
/// looks like a secret is redacted, in case someone pasted the wrong text.
pub(crate) fn short_text(
    name: &'static str,
    text: Option<String>,
    most: usize,
) -> Result<Option<String>, ApiError> {
    let is_long = |text: &String| text.chars().count() > most;
    // Both as it was sent, which the API's description limits, and as it is kept.
    let sent_long = text.as_ref().is_some_and(is_long);
    let text = text
        .map(|text| without_secrets(&one_line(&text)))
        .filter(|text| !text.is_empty());
    if sent_long || text.as_ref().is_some_and(is_long) {
        return Err(ApiError::InvalidParameter {
            name,
            detail: format!("at most {most} characters"),
        });
    }
    Ok(text)
}

/// The values of `id` in a query.
pub(crate) fn ids(query: &str) -> impl Iterator<Item = String> {
    url::form_urlencoded::parse(query.as_bytes())
        .filter(|(name, _)| name == "id")
        .map(|(_, value)| value.into_owned())
}
