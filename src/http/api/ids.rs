//! Ids in paths. A malformed id is answered like an unknown one.

use countersign_enrollment::ids::{EnrollmentId, RequestId};
use utoipa::IntoParams;

use crate::http::edge::error::ApiError;
use crate::hub::HubError;
use crate::telemetry;

/// An account's id in a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "read as text, so that a malformed id is unknown")]
pub(super) struct AccountPath {
    /// The account's id, which is its enrollment's.
    #[param(example = "totp-00000000-0000-4000-8000-000000000000")]
    id: String,
}

/// An enrollment's id in a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "read as text, so that a malformed id is unknown")]
pub(super) struct EnrollmentPath {
    /// The enrollment's id.
    #[param(example = "totp-00000000-0000-4000-8000-000000000000")]
    id: String,
}

/// A request's id in a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "read as text, so that a malformed id is unknown")]
pub(super) struct RequestPath {
    /// The request's id.
    id: String,
}

pub(super) fn account_id(text: &str) -> Result<EnrollmentId, ApiError> {
    text.parse()
        .inspect(telemetry::about)
        .map_err(|_| ApiError::AccountUnknown)
}

pub(super) fn enrollment_id(text: &str) -> Result<EnrollmentId, ApiError> {
    text.parse()
        .inspect(telemetry::about)
        .map_err(|_| ApiError::Enrollment(HubError::Unknown))
}

pub(super) fn request_id(text: &str) -> Result<RequestId, ApiError> {
    text.parse()
        .inspect(telemetry::about)
        .map_err(|_| ApiError::Enrollment(HubError::RequestUnknown))
}
