//! A token that proves nothing, for emulators.

use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use azure_core::time::{Duration, OffsetDateTime};
use data_encoding::BASE64URL_NOPAD;

/// Gives a well-formed JWT without a signature (RFC 7519 section 6). Emulators look at
/// its form at most; Azure refuses it.
#[derive(Debug)]
pub(super) struct UnsignedCredential;

#[async_trait::async_trait]
impl TokenCredential for UnsignedCredential {
    async fn get_token(
        &self,
        _: &[&str],
        _: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        let expires_on = OffsetDateTime::now_utc() + Duration::hours(1);
        let claims = format!(
            r#"{{"sub":"durabletask","exp":{}}}"#,
            expires_on.unix_timestamp()
        );
        let token = format!(
            "{}.{}.",
            BASE64URL_NOPAD.encode(br#"{"alg":"none"}"#),
            BASE64URL_NOPAD.encode(claims.as_bytes())
        );
        Ok(AccessToken::new(token, expires_on))
    }
}
