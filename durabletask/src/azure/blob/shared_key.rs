//! Requests that the account's key signs: the scheme "Shared Key" of Azure Storage.
//!
//! Azure's crate knows tokens and signatures in addresses only; Azurite, and accounts
//! that are opened by a connection string, want this one. What is signed, and in which
//! order, is that of the service's reference, "Authorize with Shared Key".

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use azure_core::http::headers::{HeaderName, HeaderValue};
use azure_core::http::policies::{Policy, PolicyResult};
use azure_core::http::{Context, Request};
use azure_core::time::{OffsetDateTime, to_rfc7231};
use data_encoding::BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

/// The standard headers that are signed by value, in this order, empty where absent.
const SIGNED: [&str; 11] = [
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
];

/// An account and its key.
pub(super) struct SharedKey {
    account: String,
    key: Zeroizing<Vec<u8>>,
}

impl SharedKey {
    pub(super) fn new(account: String, key: Vec<u8>) -> Self {
        Self {
            account,
            key: Zeroizing::new(key),
        }
    }

    /// The header `authorization` of a request that is otherwise ready.
    fn authorization(&self, request: &Request) -> azure_core::Result<String> {
        let text = self.text_to_sign(request);
        let mut mac = <Hmac<Sha256>>::new_from_slice(&self.key).map_err(|error| {
            azure_core::Error::new(azure_core::error::ErrorKind::Credential, error)
        })?;
        mac.update(text.as_bytes());
        let signature = BASE64.encode(&mac.finalize().into_bytes());
        Ok(format!("SharedKey {}:{signature}", self.account))
    }

    fn text_to_sign(&self, request: &Request) -> String {
        let headers: BTreeMap<String, String> = request
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str().to_lowercase(), value.as_str().to_owned()))
            .collect();
        // Not all requests have it yet: the HTTP client adds it. Zero counts as absent.
        let length = match request.body().len() {
            None | Some(0) => String::new(),
            Some(bytes) => bytes.to_string(),
        };
        let mut text = request.method().as_str().to_owned();
        text.push('\n');
        for name in SIGNED {
            text.push_str(match name {
                "content-length" => &length,
                _ => headers.get(name).map_or("", String::as_str),
            });
            text.push('\n');
        }
        for (name, value) in headers.range("x-ms-".to_owned()..) {
            if !name.starts_with("x-ms-") {
                break;
            }
            text.push_str(&format!("{name}:{}\n", value.trim()));
        }
        text.push_str(&format!("/{}{}", self.account, request.url().path()));
        let mut query: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in request.url().query_pairs() {
            let values = query.entry(name.to_lowercase()).or_default();
            values.push(value.into_owned());
        }
        for (name, mut values) in query {
            values.sort_unstable();
            text.push_str(&format!("\n{name}:{}", values.join(",")));
        }
        text
    }
}

#[allow(
    elided_lifetimes_in_paths,
    reason = "the trait leaves it out, and its macro wants the same here"
)]
#[async_trait::async_trait]
impl Policy for SharedKey {
    async fn send(
        &self,
        ctx: &Context,
        request: &mut Request,
        next: &[Arc<dyn Policy>],
    ) -> PolicyResult {
        let now = to_rfc7231(&OffsetDateTime::now_utc());
        request.insert_header("x-ms-date", now);
        let authorization = self.authorization(request)?;
        request.insert_header(
            HeaderName::from_static("authorization"),
            HeaderValue::from(authorization),
        );
        match next.split_first() {
            Some((first, rest)) => first.send(ctx, request, rest).await,
            None => Err(azure_core::Error::with_message(
                azure_core::error::ErrorKind::Other,
                "a request cannot be signed by the last policy of a pipeline",
            )),
        }
    }
}

// Written by hand because the key may not be shown.
impl fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedKey")
            .field("account", &self.account)
            .finish_non_exhaustive()
    }
}
