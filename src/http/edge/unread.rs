//! Bodies of operations that take none. Many clients send an empty one, or `{}`, with every request;
//! one that says anything else was meant to change what the operation does, and nobody would
//! notice that it did not.

use std::sync::Arc;

use axum::body::{self, HttpBody as _};
use axum::extract::Request;
use axum::http::Extensions;
use serde::Deserialize;

use super::arrival::{self, Arrival};
use super::body::{Expected, wiped};
use super::error::ApiError;
use crate::http::FrontDoor;

/// In the extensions of a request whose body says something that its operation does not take.
#[derive(Clone, Copy)]
struct Meant;

/// All that such a body may say.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// Reads the body of a request to an operation that takes none, and notes whether it says something:
/// [`says_something`]. Where the operation needs a caller and has none, that is said first, and
/// nothing is read.
///
/// # Errors
///
/// As [`Operations::check_open`](super::operations::Operations::check_open); and
/// [`ApiError::CredentialUnknown`] and the like when the caller is not who it was any more.
pub(crate) async fn look(
    door: &Arc<FrontDoor>,
    request: Request,
    is_known: bool,
) -> Result<Request, ApiError> {
    if request.body().is_end_stream() {
        return Ok(request);
    }
    let operations = door.operations;
    if operations.takes_body(&request) || !(is_known || operations.is_open(&request)) {
        return Ok(request);
    }
    let arrival = Arrival::of(request.extensions());
    let (mut parts, content) = request.into_parts();
    // One that is too long says something, and so does one that breaks off.
    let read = body::to_bytes(content, Expected::Json.most()).await;
    arrival::reauthenticate(arrival.as_ref()).await?;
    if !read.is_ok_and(|bytes| is_nothing(&wiped(bytes))) {
        parts.extensions.insert(Meant);
    }
    let request = Request::from_parts(parts, body::Body::empty());
    operations.check_open(&request)?;
    Ok(request)
}

/// Whether the body of a request says something that its operation does not take.
pub(crate) fn says_something(extensions: &Extensions) -> bool {
    extensions.get::<Meant>().is_some()
}

fn is_nothing(content: &[u8]) -> bool {
    content.trim_ascii().is_empty() || serde_json::from_slice::<Option<Nothing>>(content).is_ok()
}

#[cfg(test)]
mod tests {
    use super::is_nothing;

    #[test]
    fn only_a_body_without_members_says_nothing() {
        for nothing in ["", " \r\n", "{}", " { } ", "null"] {
            assert!(is_nothing(nothing.as_bytes()), "{nothing:?}");
        }
        for something in [
            "{\"a\":1}",
            "{\"a\":null}",
            "{",
            "{}{}",
            "[1]",
            "0",
            "false",
            "\"\"",
            "a=1",
            "\u{feff}x",
        ] {
            assert!(!is_nothing(something.as_bytes()), "{something:?}");
        }
    }
}
