//! What a path says.

use axum::extract::FromRequestParts;
use axum::extract::Path as Parsed;
use axum::http::request::Parts;

use super::error::ApiError;

/// What stands for a text that is none (Unicode's replacement character).
const NO_TEXT: &str = "\u{fffd}";

/// The variable part of a path. What is no text (bytes that are not UTF-8) is given as one
/// that is nobody's name or id, so that it is answered like any other of which there is
/// nothing.
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
