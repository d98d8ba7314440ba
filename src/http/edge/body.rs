//! Bodies: their size limits and types.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use countersign_enrollment::text::{self, UnknownEncoding};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::arrival::{self, Arrival};
use super::error::ApiError;
use crate::http::FrontDoor;
use crate::intake::MAX_BODY;
use crate::unfit;

/// What a request's body must be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expected {
    /// A small JSON document.
    Json,
    /// A URI or an image to enroll.
    Upload,
    /// Files to import.
    Files,
}

impl Expected {
    /// The most bytes.
    pub(crate) const fn most(self) -> usize {
        match self {
            Self::Json => MAX_JSON,
            Self::Upload | Self::Files => MAX_BODY,
        }
    }

    /// What to send instead of an empty body.
    pub(crate) const fn what(self) -> &'static str {
        match self {
            Self::Json => "Send a JSON document; its members are described at /docs.",
            Self::Upload => {
                "Send JSON {\"uri\": \"otpauth://...\"}, or an image as the body or as the form \
                 field `image`."
            }
            Self::Files => "Send a file as the body, or files as the form fields `file`.",
        }
    }

    /// Whether it may have this type.
    pub(crate) const fn types(self) -> &'static str {
        match self {
            Self::Json => "Send application/json.",
            Self::Upload => {
                "Send application/json, an image/* type, application/octet-stream or \
                 multipart/form-data."
            }
            Self::Files => "Send a file with its own type, or multipart/form-data.",
        }
    }

    /// The limit, and what to do instead.
    pub(crate) fn bound(self) -> String {
        let kib = self.most() / 1024;
        match self {
            Self::Json => format!("The body may have at most {kib} KiB."),
            Self::Upload => format!(
                "The body may have at most {} MiB. Crop the image to the QR code, or scale it down.",
                kib / 1024
            ),
            Self::Files => format!(
                "The files may have at most {} MiB in total. Import them one after the other.",
                kib / 1024
            ),
        }
    }
}

/// A JSON body of at most [`MAX_JSON`] bytes.
pub(crate) struct JsonBody<T>(pub(crate) T);

/// The same with any content type: Vault's clients, and curl as Vault's
/// documentation uses it, send another one or none.
pub(crate) struct UntypedJsonBody<T>(pub(crate) T);

/// The largest JSON body for operations that accept no image.
const MAX_JSON: usize = 64 * 1024;

/// Text that is wiped when it is no longer needed.
#[derive(Deserialize)]
#[serde(transparent)]
pub(crate) struct Wiped(String);

impl Wiped {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Drop for Wiped {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.0);
    }
}

impl<T: DeserializeOwned> FromRequest<Arc<FrontDoor>> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &Arc<FrontDoor>) -> Result<Self, ApiError> {
        match media_type(&request).as_deref() {
            None | Some("application/json") => {}
            Some(_) => return Err(ApiError::UnsupportedMediaType(Expected::Json)),
        }
        json(request).await.map(Self)
    }
}

impl<T: DeserializeOwned> FromRequest<Arc<FrontDoor>> for UntypedJsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &Arc<FrontDoor>) -> Result<Self, ApiError> {
        json(request).await.map(Self)
    }
}

async fn json<T: DeserializeOwned>(request: Request) -> Result<T, ApiError> {
    let arrival = Arrival::of(request.extensions());
    let bytes = read(request, Expected::Json).await?;
    arrival::reauthenticate(arrival.as_ref()).await?;
    parse(&bytes)
}

pub(crate) fn media_type(request: &Request) -> Option<String> {
    type_of(request.headers())
}

/// Whether a content type is JSON, including problem documents.
pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    type_of(headers)
        .is_some_and(|kind| kind == "application/json" || kind == "application/problem+json")
}

fn type_of(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?;
    let text = value.to_str().ok()?;
    let kind = text.split(';').next().unwrap_or(text).trim();
    Some(kind.to_ascii_lowercase())
}

/// The whole body, refused before it is read if its declared length is too large.
pub(crate) async fn read(
    request: Request,
    expected: Expected,
) -> Result<Zeroizing<Vec<u8>>, ApiError> {
    refuse_too_long(&request, expected)?;
    let limited = axum::body::to_bytes(request.into_body(), expected.most()).await;
    let bytes: Bytes = limited.map_err(|error| {
        if is_length_limit(&error) {
            ApiError::BodyTooLarge(expected)
        } else {
            ApiError::UnreadableBody
        }
    })?;
    if bytes.is_empty() {
        return Err(ApiError::EmptyBody(expected));
    }
    Ok(wiped(bytes))
}

/// Copies into memory that is wiped on drop, and wipes the source if it is not shared.
pub(crate) fn wiped(bytes: Bytes) -> Zeroizing<Vec<u8>> {
    let copy = Zeroizing::new(bytes.to_vec());
    if let Ok(mut source) = bytes.try_into_mut() {
        zeroize::Zeroize::zeroize(source.as_mut());
    }
    copy
}

pub(crate) fn refuse_too_long(request: &Request, expected: Expected) -> Result<(), ApiError> {
    let announced = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse::<u64>().ok());
    match announced {
        Some(length) if length > expected.most() as u64 => Err(ApiError::BodyTooLarge(expected)),
        _ => Ok(()),
    }
}

fn is_length_limit(error: &axum::Error) -> bool {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = next {
        if cause.is::<http_body_util::LengthLimitError>() {
            return true;
        }
        next = cause.source();
    }
    false
}

pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let text = text::decode(bytes).map_err(|unknown| ApiError::InvalidJson {
        detail: format!(
            "The text is not in UTF-8 or UTF-16 but in {}.",
            unknown.looks_like
        ),
    })?;
    // A list of the members' values would be read as the members, by position.
    if text.trim_start().starts_with('[') {
        return Err(ApiError::InvalidJson {
            detail: "It must be an object, not an array.".to_owned(),
        });
    }
    let mut parser = serde_json::Deserializer::from_str(&text);
    let wrong = |error: &serde_json::Error, told: String| {
        use serde_json::error::Category;
        let what = match error.classify() {
            Category::Syntax => "It is not valid JSON".to_owned(),
            Category::Eof => "It ends too early".to_owned(),
            Category::Data => told,
            Category::Io => "It could not be read".to_owned(),
        };
        ApiError::InvalidJson {
            detail: format!(
                "{what}, at line {} column {}.",
                error.line(),
                error.column()
            ),
        }
    };
    let read = unfit::read("member", &mut parser);
    let value = read.map_err(|unfit| wrong(&unfit.error, unfit.told))?;
    let end = parser.end();
    end.map_err(|error| wrong(&error, String::new()))?;
    Ok(value)
}

pub(crate) fn text_of(content: &[u8]) -> Result<Zeroizing<String>, ApiError> {
    text::decode(content).map_err(undecodable)
}

pub(crate) fn undecodable(unknown: UnknownEncoding) -> ApiError {
    ApiError::Input(unknown.into())
}
