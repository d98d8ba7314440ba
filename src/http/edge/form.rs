//! Forms, field by field.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::multipart::{Multipart, MultipartError};
use axum::extract::{FromRequest as _, Request};
use axum::http::StatusCode;
use zeroize::Zeroizing;

use super::body::{Expected, refuse_too_long, wiped};
use super::error::ApiError;
use crate::http::FrontDoor;

/// The most fields of a form.
const MAX_FIELDS: usize = 64;

/// The fields of a form within the limit of a body, one after the other.
pub(crate) struct Form {
    fields: Multipart,
    expected: Expected,
    read: usize,
}

impl Form {
    pub(crate) async fn open(
        request: Request,
        door: &Arc<FrontDoor>,
        expected: Expected,
    ) -> Result<Self, ApiError> {
        refuse_too_long(&request, expected)?;
        // axum's default limit is smaller than ours; its extension raises it.
        let (parts, body) = request.into_parts();
        let body = Body::new(http_body_util::Limited::new(body, expected.most()));
        let mut request = Request::from_parts(parts, body);
        axum::extract::DefaultBodyLimit::max(expected.most()).apply(&mut request);
        let fields = Multipart::from_request(request, door)
            .await
            .map_err(|_| ApiError::UnreadableBody)?;
        Ok(Self {
            fields,
            expected,
            read: 0,
        })
    }

    /// The next field's name and content.
    pub(crate) async fn next(&mut self) -> Result<Option<(String, Zeroizing<Vec<u8>>)>, ApiError> {
        let expected = self.expected;
        let unreadable = |error: MultipartError| {
            if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
                ApiError::BodyTooLarge(expected)
            } else {
                ApiError::UnreadableBody
            }
        };
        let Some(field) = self.fields.next_field().await.map_err(unreadable)? else {
            return Ok(None);
        };
        self.read += 1;
        if self.read > MAX_FIELDS {
            return Err(unfit_form(format!(
                "at most {MAX_FIELDS} fields; send the others in another request"
            )));
        }
        let name = field.name().unwrap_or_default().to_owned();
        let content = wiped(field.bytes().await.map_err(unreadable)?);
        Ok(Some((name, content)))
    }
}

/// A refused form: doing only the understood part of it could be less than was
/// meant, or more.
pub(crate) const fn unfit_form(detail: String) -> ApiError {
    ApiError::InvalidParameter {
        name: "form",
        detail,
    }
}
