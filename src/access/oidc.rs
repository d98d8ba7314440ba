//! Callers that an OpenID Connect issuer vouches for.

/// What the ids of such callers begin with.
const PREFIX: &str = "oidc:";

/// Whether an id is that of a caller of an issuer: no API key's name has a colon.
pub(super) fn is_oidc_id(id: &str) -> bool {
    id.starts_with(PREFIX)
}
