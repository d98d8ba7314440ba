//! This process's identity for Azure: one credential for the task hub, and for whatever else
//! takes a `TokenCredential`.
//!
//! `azure_identity` has no chain of its own, does not read `AZURE_CLIENT_SECRET`, does
//! not cache what the command-line tools print, and tries an absent managed identity
//! for over a minute. [`Identity`] adds what a service needs on top: a chain that
//! remembers what worked, a cache per scope, one request at a time, a bound on every
//! attempt, and an error that lists the attempts.

mod selection;
mod settings;
mod unsigned;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use azure_core::credentials::{AccessToken, Secret, TokenCredential, TokenRequestOptions};
use azure_core::error::ErrorKind;
use azure_core::time::OffsetDateTime;
use azure_identity::{
    AzureCliCredential, AzureDeveloperCliCredential, ClientAssertionCredentialOptions,
    ClientSecretCredential, ClientSecretCredentialOptions, ManagedIdentityCredential,
    ManagedIdentityCredentialOptions, UserAssignedId, WorkloadIdentityCredential,
    WorkloadIdentityCredentialOptions,
};
use thiserror::Error;
use tokio::time::Instant;

use super::causes::in_one_line;
use super::transport::direct;
use crate::connection::Connection;
use crate::credential::{self, TokenFailure, TokenProvider};

pub use selection::{Selection, Source, UnknownIdentity};
pub use settings::{IdentitySettings, UnsupportedAuthentication};

/// How long before a token ends another one is asked for.
const REFRESH_BEFORE: Duration = Duration::from_secs(5 * 60);
/// How long one source may take. The libraries' own limits are longer than a request.
const ATTEMPT: Duration = Duration::from_secs(20);
/// How long the address of virtual machines may take while other sources are left:
/// elsewhere nobody answers there, and `azure_identity` would try for 72 seconds.
const PROBE: Duration = Duration::from_secs(2);
/// After a failure, how long the same answer is given without trying again.
const FAILURE_KEPT: Duration = Duration::from_secs(5);

/// Why there is no token.
///
/// ```
/// use azure_core::credentials::TokenCredential;
/// use durabletask::azure::{Identity, IdentitySettings};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let identity = Identity::new(&IdentitySettings::default());
/// if let Err(error) = identity.get_token(&[durabletask::connection::SCOPE], None).await {
///     // Names all that was tried, and why each did not work.
///     println!("{error}");
/// }
/// # Ok(())
/// # }
/// # let _ = example;
/// ```
#[derive(Clone, Debug, Error)]
#[error(
    "no Azure identity works. Tried {tried}. Give this process an identity, or choose the one to \
     use"
)]
pub struct IdentityError {
    tried: String,
}

/// One credential, chosen by [`IdentitySettings`]. Clones share its tokens.
///
/// It is a [`TokenProvider`] for connections and a `TokenCredential` for the clients of
/// Azure's crates. [`Connection::with_azure_identity`] makes one and uses it.
///
/// ```
/// use durabletask::azure::{Identity, IdentitySettings};
/// use durabletask::Connection;
///
/// let settings = IdentitySettings::from_environment(|name| std::env::var(name).ok());
/// let identity = Identity::new(&settings);
/// let connection = Connection::parse(
///     "Endpoint=https://x.westeurope.durabletask.io;TaskHub=totp;Authentication=DefaultAzure",
/// )?
/// .with_credential(identity);
/// # Ok::<(), durabletask::connection::ConnectionError>(())
/// ```
#[derive(Clone)]
pub struct Identity {
    inner: Arc<Inner>,
}

struct Inner {
    candidates: Vec<Candidate>,
    // The async lock is held while a token is asked for, so that one task asks at a
    // time; the other one is for looking only.
    asking: tokio::sync::Mutex<Asking>,
    tokens: Mutex<HashMap<String, AccessToken>>,
}

#[derive(Default)]
struct Asking {
    /// The candidate that worked: it is kept.
    chosen: Option<usize>,
    failed: Option<(Instant, IdentityError)>,
}

struct Candidate {
    name: &'static str,
    patience: Duration,
    /// The credential, or what is missing to have it. Made when it is first asked:
    /// that takes time and log lines, and most processes ask one candidate or none.
    credential: LazyLock<Built, Box<dyn FnOnce() -> Built + Send>>,
}

type Built = Result<Arc<dyn TokenCredential>, String>;

impl Candidate {
    fn new(
        name: &'static str,
        patience: Duration,
        build: impl FnOnce() -> Built + Send + 'static,
    ) -> Self {
        Self {
            name,
            patience,
            credential: LazyLock::new(Box::new(build)),
        }
    }
}

impl Identity {
    /// The identity that the settings choose. Makes no call yet.
    #[must_use]
    pub fn new(settings: &IdentitySettings) -> Self {
        let sources = settings.selection.sources();
        let settings = Arc::new(settings.clone());
        let mut candidates: Vec<Candidate> = sources
            .iter()
            .map(|&source| {
                let patience = match source {
                    Source::ManagedIdentity
                        if sources.len() > 1 && !settings.has_identity_endpoint =>
                    {
                        PROBE
                    }
                    _ => ATTEMPT,
                };
                let settings = Arc::clone(&settings);
                Candidate::new(source.as_str(), patience, move || build(source, &settings))
            })
            .collect();
        if settings.selection == Selection::Unsigned {
            candidates.push(Candidate::new(
                Selection::Unsigned.as_str(),
                ATTEMPT,
                || Ok(Arc::new(unsigned::UnsignedCredential)),
            ));
        }
        Self::of(candidates)
    }

    /// An identity that tries given credentials in order. For programs that bring
    /// their own.
    #[must_use]
    pub fn from_credentials(
        credentials: impl IntoIterator<Item = (&'static str, Arc<dyn TokenCredential>)>,
    ) -> Self {
        let candidate = |(name, credential)| Candidate::new(name, ATTEMPT, move || Ok(credential));
        Self::of(credentials.into_iter().map(candidate).collect())
    }

    fn of(candidates: Vec<Candidate>) -> Self {
        Self {
            inner: Arc::new(Inner {
                candidates,
                asking: tokio::sync::Mutex::default(),
                tokens: Mutex::default(),
            }),
        }
    }

    /// A token for `scope`, such as [`SCOPE`](crate::SCOPE): valid for at least a moment,
    /// from the cache while it has five more minutes.
    ///
    /// # Errors
    ///
    /// [`IdentityError`] when no source gives one.
    pub async fn token(&self, scope: &str) -> Result<AccessToken, IdentityError> {
        if let Some(token) = self.kept(scope).filter(is_fresh) {
            return Ok(token);
        }
        let mut asking = self.inner.asking.lock().await;
        // Someone else may have fetched it in the meantime.
        let kept = self.kept(scope);
        if let Some(token) = kept.clone().filter(is_fresh) {
            return Ok(token);
        }
        let still_good = kept.filter(|token| token.expires_on > OffsetDateTime::now_utc());
        if let Some((at, error)) = &asking.failed
            && at.elapsed() < FAILURE_KEPT
        {
            return still_good.ok_or_else(|| error.clone());
        }
        match self.inner.ask(&mut asking, scope).await {
            Ok(token) => {
                asking.failed = None;
                self.inner
                    .tokens
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(scope.to_owned(), token.clone());
                Ok(token)
            }
            Err(error) => {
                tracing::warn!(%error, scope, "no token from Azure");
                asking.failed = Some((Instant::now(), error.clone()));
                still_good.ok_or(error)
            }
        }
    }

    fn kept(&self, scope: &str) -> Option<AccessToken> {
        let tokens = self.inner.tokens.lock();
        tokens
            .unwrap_or_else(PoisonError::into_inner)
            .get(scope)
            .cloned()
    }

    /// The name of the source that works, once one did.
    pub async fn source(&self) -> Option<&'static str> {
        let chosen = self.inner.asking.lock().await.chosen?;
        self.inner.candidates.get(chosen).map(|c| c.name)
    }
}

impl Inner {
    async fn ask(&self, asking: &mut Asking, scope: &str) -> Result<AccessToken, IdentityError> {
        let mut tried = Vec::new();
        for (index, candidate) in self.candidates.iter().enumerate() {
            if asking.chosen.is_some_and(|chosen| chosen != index) {
                continue;
            }
            match candidate.ask(scope).await {
                Ok(token) => {
                    if asking.chosen.replace(index).is_none() {
                        tracing::info!(identity = candidate.name, "Azure identity found");
                    }
                    return Ok(token);
                }
                Err(reason) => tried.push(format!("{} ({reason})", candidate.name)),
            }
        }
        Err(IdentityError {
            tried: if tried.is_empty() {
                "nothing".to_owned()
            } else {
                tried.join("; ")
            },
        })
    }
}

impl Candidate {
    async fn ask(&self, scope: &str) -> Result<AccessToken, String> {
        let credential = self.credential.as_ref().map_err(Clone::clone)?;
        match tokio::time::timeout(self.patience, credential.get_token(&[scope], None)).await {
            Ok(Ok(token)) => Ok(token),
            Ok(Err(error)) => Err(in_one_line(&error)),
            Err(_) => Err(format!("no answer within {} s", self.patience.as_secs())),
        }
    }
}

fn is_fresh(token: &AccessToken) -> bool {
    token.expires_on > OffsetDateTime::now_utc() + REFRESH_BEFORE
}

fn build(source: Source, settings: &IdentitySettings) -> Result<Arc<dyn TokenCredential>, String> {
    let failed = |error: azure_core::Error| in_one_line(&error);
    Ok(match source {
        Source::Environment => {
            let (Some(tenant), Some(client), Some(secret)) = (
                &settings.tenant_id,
                &settings.client_id,
                &settings.client_secret,
            ) else {
                return Err(
                    "set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET".to_owned(),
                );
            };
            // The library keeps its own copy, which it does not wipe.
            let secret = Secret::new(secret.as_str().to_owned());
            let options = ClientSecretCredentialOptions {
                client_options: direct()?,
            };
            ClientSecretCredential::new(tenant, client.clone(), secret, Some(options))
                .map_err(failed)?
        }
        Source::WorkloadIdentity => {
            if settings.token_file.is_none() {
                return Err("AZURE_FEDERATED_TOKEN_FILE is not set".to_owned());
            }
            WorkloadIdentityCredential::new(Some(WorkloadIdentityCredentialOptions {
                client_id: settings.client_id.clone(),
                tenant_id: settings.tenant_id.clone(),
                token_file_path: settings.token_file.clone(),
                credential_options: ClientAssertionCredentialOptions {
                    client_options: direct()?,
                },
            }))
            .map_err(failed)?
        }
        Source::ManagedIdentity => {
            ManagedIdentityCredential::new(Some(ManagedIdentityCredentialOptions {
                user_assigned_id: settings.client_id.clone().map(UserAssignedId::ClientId),
                client_options: direct()?,
            }))
            .map_err(failed)?
        }
        Source::AzureCli => AzureCliCredential::new(None).map_err(failed)?,
        Source::AzureDeveloperCli => AzureDeveloperCliCredential::new(None).map_err(failed)?,
    })
}

#[async_trait::async_trait]
impl TokenCredential for Identity {
    async fn get_token(
        &self,
        scopes: &[&str],
        _: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        let [scope] = scopes else {
            return Err(azure_core::Error::with_message(
                ErrorKind::Credential,
                "exactly one scope is needed",
            ));
        };
        self.token(scope)
            .await
            .map_err(|error| azure_core::Error::new(ErrorKind::Credential, error))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.inner.candidates.iter().map(|c| c.name).collect();
        f.debug_struct("Identity").field("tries", &names).finish()
    }
}

#[async_trait::async_trait]
impl TokenProvider for Identity {
    async fn token(&self, scope: &str) -> Result<credential::AccessToken, TokenFailure> {
        let token = Identity::token(self, scope).await?;
        Ok(credential::AccessToken::new(
            token.token.secret(),
            SystemTime::from(token.expires_on),
        ))
    }
}

impl Connection {
    /// Asks the identity that the connection string names for tokens: its `Authentication`,
    /// `ClientID`, `TenantId` and `TokenFilePath`, and where it says nothing the variables
    /// that all Azure Identity libraries read. Makes no call yet; tokens are renewed five
    /// minutes before they end.
    ///
    /// ```
    /// use durabletask::Connection;
    ///
    /// let connection = Connection::parse(
    ///     "Endpoint=https://x.westeurope.durabletask.io;TaskHub=totp;\
    ///      Authentication=ManagedIdentity;ClientID=00000000-0000-0000-0000-000000000000",
    /// )?
    /// .with_azure_identity()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`UnsupportedAuthentication`] if `azure_identity` has no such credential.
    pub fn with_azure_identity(self) -> Result<Self, UnsupportedAuthentication> {
        let mut settings = IdentitySettings::from_environment(|name| std::env::var(name).ok());
        settings.adopt(self.authentication())?;
        Ok(self.with_credential(Identity::new(&settings)))
    }
}
