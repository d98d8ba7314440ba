//! The header that makes retrying a request safe.

use axum::extract::FromRequestParts;
use axum::http::HeaderValue;
use axum::http::request::Parts;
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::{ObjectBuilder, Required, Type};

use super::error::ApiError;

/// The header that identifies a request when it is repeated.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// The `Idempotency-Key` header: one visible ASCII text of up to 255 characters, with
/// or without the quotes of a structured field.
pub(crate) struct IdempotencyKey(pub(crate) Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let mut values = parts.headers.get_all(IDEMPOTENCY_KEY).iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(Self(None)),
            (Some(value), None) => idempotency_key(value).map(|key| Self(Some(key))),
            // It would be unclear which of them counts.
            (Some(_), Some(_)) => Err(unusable_key()),
        }
    }
}

impl IntoParams for IdempotencyKey {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let text = ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some("^[!-~]{1,255}$"));
        let parameter = ParameterBuilder::new()
            .name("Idempotency-Key")
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some(
                "A text that this caller uses for this request only, so that it can be retried safely",
            ))
            .schema(Some(text));
        vec![parameter.build()]
    }
}

fn idempotency_key(value: &HeaderValue) -> Result<String, ApiError> {
    let text = value.to_str().map_err(|_| unusable_key())?.trim();
    let text = text
        .strip_prefix('"')
        .and_then(|t| t.strip_suffix('"'))
        .unwrap_or(text);
    let fits = (1..=255).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    if fits {
        Ok(text.to_owned())
    } else {
        Err(unusable_key())
    }
}

fn unusable_key() -> ApiError {
    ApiError::InvalidParameter {
        name: "Idempotency-Key",
        detail: "one text of 1 to 255 visible ASCII characters".to_owned(),
    }
}
