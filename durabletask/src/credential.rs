//! Tokens for a task hub that asks who is calling.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use tokio::sync::RwLock;
use tonic::codegen::http::HeaderValue;
use zeroize::Zeroizing;

/// The scope of tokens for the Durable Task Scheduler.
///
/// ```
/// assert!(durabletask::connection::SCOPE.starts_with("https://durabletask.io"));
/// ```
pub const SCOPE: &str = "https://durabletask.io/.default";

/// How long before a token ends another one is asked for.
const REFRESH_BEFORE: Duration = Duration::from_secs(5 * 60);

/// Any error of a [`TokenProvider`].
///
/// ```
/// use durabletask::connection::TokenFailure;
///
/// let failure = TokenFailure::from("nobody is logged in");
/// assert_eq!(failure.to_string(), "nobody is logged in");
/// ```
pub type TokenFailure = Box<dyn StdError + Send + Sync>;

/// A bearer token and how long it is good for. Wiped when dropped; `Debug` does not
/// show it.
///
/// ```
/// use std::time::{Duration, SystemTime};
///
/// use durabletask::connection::AccessToken;
///
/// let token = AccessToken::new("hunter2", SystemTime::now() + Duration::from_secs(3600));
/// assert!(!format!("{token:?}").contains("hunter2"));
/// ```
#[derive(Clone)]
pub struct AccessToken {
    token: Zeroizing<String>,
    expires_at: SystemTime,
}

impl AccessToken {
    /// A token that is good until `expires_at`.
    #[must_use]
    pub fn new(token: impl Into<String>, expires_at: SystemTime) -> Self {
        Self {
            token: Zeroizing::new(token.into()),
            expires_at,
        }
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken")
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// Proves who is calling, for example by a credential of `azure_identity`: with the
/// feature `azure` this crate brings one, `azure::Identity`.
///
/// Give it to a [`Connection`](crate::Connection) with
/// [`with_credential`](crate::Connection::with_credential). It is asked by one call at
/// a time, and its tokens are kept until five minutes before they end.
///
/// ```
/// use std::time::{Duration, SystemTime};
///
/// use durabletask::connection::{AccessToken, TokenFailure, TokenProvider};
/// use durabletask::Connection;
///
/// struct Fixed;
///
/// #[async_trait::async_trait]
/// impl TokenProvider for Fixed {
///     async fn token(&self, scope: &str) -> Result<AccessToken, TokenFailure> {
///         assert_eq!(scope, durabletask::connection::SCOPE);
///         Ok(AccessToken::new("ey…", SystemTime::now() + Duration::from_secs(3600)))
///     }
/// }
///
/// let hub = "Endpoint=https://x.westeurope.durabletask.io;TaskHub=totp;Authentication=ManagedIdentity";
/// let connection = Connection::parse(hub)?.with_credential(Fixed);
/// # Ok::<(), durabletask::connection::ConnectionError>(())
/// ```
#[async_trait]
pub trait TokenProvider: Send + Sync {
    /// A token for `scope`, which is [`SCOPE`].
    ///
    /// # Errors
    ///
    /// Whatever keeps it from giving one; the call then fails as `UNAUTHENTICATED` with
    /// that text.
    async fn token(&self, scope: &str) -> Result<AccessToken, TokenFailure>;
}

/// A provider and its present token, shared by all channels of a connection.
#[derive(Clone)]
pub(crate) struct Credential {
    provider: Arc<dyn TokenProvider>,
    kept: Arc<RwLock<Option<Kept>>>,
}

struct Kept {
    header: HeaderValue,
    expires_at: SystemTime,
}

impl Credential {
    pub(crate) fn new(provider: impl TokenProvider + 'static) -> Self {
        Self {
            provider: Arc::new(provider),
            kept: Arc::default(),
        }
    }

    /// The value of the header `authorization`.
    pub(crate) async fn header(&self) -> Result<HeaderValue, TokenFailure> {
        if let Some(kept) = self
            .kept
            .read()
            .await
            .as_ref()
            .filter(|kept| kept.is_fresh())
        {
            return Ok(kept.header.clone());
        }
        // Held while asking: the others wait for the same token.
        let mut kept = self.kept.write().await;
        if let Some(kept) = kept.as_ref().filter(|kept| kept.is_fresh()) {
            return Ok(kept.header.clone());
        }
        match self.provider.token(SCOPE).await {
            Ok(token) => {
                let value = Zeroizing::new(format!("Bearer {}", token.token.as_str()));
                let mut header = HeaderValue::from_str(&value)
                    .map_err(|_| "the token cannot be sent as a header")?;
                header.set_sensitive(true);
                *kept = Some(Kept {
                    header: header.clone(),
                    expires_at: token.expires_at,
                });
                Ok(header)
            }
            // The old one is used to its end.
            Err(error) => match kept.as_ref().filter(|kept| kept.is_good()) {
                Some(kept) => {
                    tracing::warn!(%error, "the token for the task hub cannot be renewed yet");
                    Ok(kept.header.clone())
                }
                None => Err(error),
            },
        }
    }
}

impl Kept {
    fn is_fresh(&self) -> bool {
        self.expires_at > SystemTime::now() + REFRESH_BEFORE
    }

    fn is_good(&self) -> bool {
        self.expires_at > SystemTime::now()
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential")
    }
}

impl PartialEq for Credential {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.provider, &other.provider)
    }
}

impl Eq for Credential {}
