//! The answers where keys do not allow what was asked, or say nothing of a caller.

use super::error::ApiError;
use crate::access::{AuthError, KeyError, OidcError};

impl From<KeyError> for ApiError {
    fn from(error: KeyError) -> Self {
        let parameter = |name, error: KeyError| Self::InvalidParameter {
            name,
            detail: error.to_string(),
        };
        match error {
            KeyError::Taken(_) => Self::KeyNameTaken,
            KeyError::Unknown(_) => Self::KeyUnknown,
            KeyError::Over(_) => Self::KeyRevoked,
            KeyError::OtherPerson(_) => Self::KeyOfAnother,
            KeyError::NotCurrent => Self::KeyNotPresented,
            KeyError::NotLimited(_) => Self::KeyNotLimited,
            KeyError::BadName => parameter("name", error),
            KeyError::ReadersOnly => parameter("grantedOnly", error),
            KeyError::TooManyGroups => parameter("groups", error),
            KeyError::Store(_)
            | KeyError::Open(_)
            | KeyError::File(_)
            | KeyError::Newer(_)
            | KeyError::Random(_)
            | KeyError::Unfinished
            | KeyError::Malformed => Self::Internal(Box::new(error)),
            error @ (KeyError::Database(_) | KeyError::Unproven) => {
                Self::DatabaseUnavailable(Box::new(error))
            }
        }
    }
}

impl From<AuthError> for ApiError {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Keys(error) => error.into(),
            AuthError::Oidc(OidcError::Token(problem)) => {
                tracing::debug!(%problem, "a token was refused");
                Self::Token(problem)
            }
            AuthError::Oidc(OidcError::Issuer(error)) => Self::IssuerUnavailable(error),
        }
    }
}
