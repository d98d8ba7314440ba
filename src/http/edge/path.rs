//! Variable parts of paths.

use axum::extract::FromRequestParts;
use axum::extract::Path as Parsed;
use axum::http::request::Parts;

use super::error::ApiError;

/// Replaces a part that is not text (Unicode's replacement character).
const NO_TEXT: &str = "\u{fffd}";

/// The variable part of a path. Bytes that are not UTF-8 are replaced by a text
/// that is no one's name or id, so that it is answered like any other unknown
/// one.
pub(crate) struct Path<T>(pub(crate) T);

impl<S: Send + Sync> FromRequestParts<S> for Path<String> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let parsed = Parsed::<String>::from_request_parts(parts, state).await;
        Ok(Self(
            parsed.map_or_else(|_| NO_TEXT.to_owned(), |Parsed(text)| text),
        ))
    }
}
