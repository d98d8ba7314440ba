//! Callers with tokens of an OpenID Connect issuer: JSON Web Tokens (RFC 7519) that
//! it has signed with keys it publishes (RFC 7517).
//!
//! Nothing in a token is used before its signature was checked. The algorithm for that
//! is determined by the key, not by the token: a shared secret is not accepted as a key, and
//! neither is no signature.

mod claims;
mod issuer;
mod keys;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::errors::{Error as JwtError, ErrorKind};
use jsonwebtoken::{Header, Validation, decode, decode_header};
use lru::LruCache;
use serde_json::{Map, Value};
use thiserror::Error;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::identity::Identity;
use super::role::Role;
use super::secret;
use claims::Claims;
use issuer::Issuer;
use keys::{IssuerKeys, Key};

pub use issuer::IssuerError;

/// The prefix of the ids of such callers. No API key's name has a colon.
const PREFIX: &str = "oidc:";
/// The longest accepted token, in bytes.
const MAX_TOKEN: usize = 16 * 1024;
/// How far the clocks of issuer and server may be apart.
const LEEWAY: TimeDelta = TimeDelta::seconds(60);
/// How many accepted tokens are remembered, so that not every request checks a signature.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

/// Whether an id is that of a caller of an issuer.
pub(super) fn is_oidc_id(id: &str) -> bool {
    id.starts_with(PREFIX)
}

/// The issuer whose tokens are accepted, and what their claims mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OidcSettings {
    /// The issuer: the required value of the claim `iss`, and where its keys are.
    pub issuer: Url,
    /// The same, exactly as configured: `iss` is compared with this.
    pub issuer_text: String,
    /// The accepted audiences, of which the claim `aud` must name one.
    pub audiences: Vec<String>,
    /// Where the issuer's keys are, if not where its discovery document says.
    pub jwks_url: Option<Url>,
    /// PEM file with certificates to trust for the issuer, besides the system's.
    pub ca_file: Option<PathBuf>,
    /// The claim that identifies a caller permanently.
    pub subject_claim: String,
    /// The claim with the display name.
    pub name_claim: String,
    /// The claim with roles.
    pub roles_claim: String,
    /// The claim with groups.
    pub groups_claim: String,
    /// The roles of the values of the roles claim.
    pub roles: Vec<(String, MappedRole)>,
    /// How long the issuer's keys are used while it does not answer.
    pub max_stale: TimeDelta,
}

/// The meaning of a value of the roles claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MappedRole {
    /// The role.
    Whole(Role),
    /// The role reader, of granted accounts only.
    GrantedReader,
}

impl MappedRole {
    /// The default names of claims.
    pub const NAMES: [(&'static str, Self); 5] = [
        ("enroller", Self::Whole(Role::Enroller)),
        ("approver", Self::Whole(Role::Approver)),
        ("reader", Self::Whole(Role::Reader)),
        ("granted-reader", Self::GrantedReader),
        ("admin", Self::Whole(Role::Admin)),
    ];
}

/// Why a token was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TokenProblem {
    /// It is not a signed JSON Web Token, or of a type that identifies no caller.
    #[error("it is not a signed JSON Web Token of the expected type")]
    Form,
    /// It is signed in a way that is not accepted.
    #[error("it is not signed with an accepted algorithm")]
    Algorithm,
    /// None of the issuer's keys has signed it.
    #[error("it is not signed with a key of the issuer")]
    Signature,
    /// It comes from another issuer.
    #[error("it comes from another issuer")]
    Issuer,
    /// It is meant for another audience.
    #[error("it is meant for another audience")]
    Audience,
    /// It has expired.
    #[error("it has expired")]
    Expired,
    /// It is not valid yet.
    #[error("it is not valid yet")]
    NotYet,
    /// A claim is missing or invalid.
    #[error("its claim `{0}` is missing or unusable")]
    Claim(String),
}

/// Why a token was refused or could not be checked.
#[derive(Debug, Error)]
pub(crate) enum OidcError {
    #[error("the token was refused: {0}")]
    Token(#[from] TokenProblem),
    #[error("the issuer's signing keys could not be fetched")]
    Issuer(#[from] IssuerError),
}

/// Recognizes callers by their tokens.
pub(crate) struct Oidc {
    settings: OidcSettings,
    keys: IssuerKeys,
    rules: Validation,
    /// By the token's digest.
    accepted: Mutex<LruCache<[u8; 32], AcceptedToken>>,
}

/// An accepted token, and how long that holds.
#[derive(Clone)]
struct AcceptedToken {
    identity: Arc<Identity>,
    until: DateTime<Utc>,
    /// The keys that it was checked with: other keys require another check.
    generation: u64,
}

impl Oidc {
    /// # Errors
    ///
    /// [`IssuerError::Client`] when the client for the issuer cannot be set up.
    pub(crate) fn new(settings: OidcSettings) -> Result<Self, IssuerError> {
        let issuer = Issuer::new(&settings)?;
        let mut rules = Validation::default();
        rules.set_issuer(&[&settings.issuer_text]);
        rules.set_audience(&settings.audiences);
        rules.set_required_spec_claims(&["exp", "iss", "aud"]);
        // Times are compared with the clock that everything here uses.
        rules.validate_exp = false;
        rules.validate_nbf = false;
        Ok(Self {
            keys: IssuerKeys::new(issuer, settings.max_stale),
            rules,
            accepted: Mutex::new(LruCache::new(REMEMBERED)),
            settings,
        })
    }

    /// Whether a credential looks like a token at all.
    pub(crate) fn is_token(credential: &str) -> bool {
        // {" in base64, which every header begins with.
        credential.starts_with("ey") && credential.bytes().filter(|b| *b == b'.').count() == 2
    }

    /// Fetches the issuer's keys regularly until `stop` is canceled, so that requests
    /// need not wait for it.
    pub(crate) async fn refresh_until(
        &self,
        clock: &dyn crate::clock::Clock,
        stop: &CancellationToken,
    ) {
        self.keys.refresh_until(clock, stop).await;
    }

    /// Asks the issuer for its keys, and says how many can check signatures.
    pub(crate) async fn try_issuer(&self, now: DateTime<Utc>) -> Result<usize, IssuerError> {
        Ok(self.keys.at(now).await?.len())
    }

    /// Whether `token` was accepted before, with the current keys.
    pub(crate) fn has_accepted(&self, token: &str, now: DateTime<Utc>) -> bool {
        let digest = secret::hash(token);
        let known = self.accepted().get(&digest).map(|known| known.generation);
        known.is_some_and(|generation| generation == self.keys.generation(now))
    }

    /// The caller that presents `token` at `now`.
    pub(crate) async fn check(
        &self,
        token: &str,
        now: DateTime<Utc>,
    ) -> Result<Arc<Identity>, OidcError> {
        if token.len() > MAX_TOKEN {
            return Err(TokenProblem::Form.into());
        }
        let digest = secret::hash(token);
        let known = self.accepted().get(&digest).cloned();
        if let Some(known) = known
            && known.generation == self.keys.generation(now)
        {
            return if now < known.until {
                Ok(known.identity)
            } else {
                Err(TokenProblem::Expired.into())
            };
        }
        let header = decode_header(token).map_err(|error| form(&error))?;
        if !is_for_callers(&header) {
            return Err(TokenProblem::Form.into());
        }
        let (claims, generation) = self.signed_claims(token, &header, now).await?;
        // The library also takes a list that has the issuer in it.
        let issuer = claims.get("iss").and_then(Value::as_str);
        if issuer != Some(self.settings.issuer_text.as_str()) {
            return Err(TokenProblem::Issuer.into());
        }
        let (identity, until) = Claims::new(&claims, &self.settings).read(now)?;
        let accepted = AcceptedToken {
            identity: Arc::new(identity),
            until,
            generation,
        };
        self.accepted().put(digest, accepted.clone());
        Ok(accepted.identity)
    }

    /// The claims of a token that one of the issuer's keys has signed, and the generation
    /// of the keys. Unknown keys may be new: then they are fetched.
    async fn signed_claims(
        &self,
        token: &str,
        header: &Header,
        now: DateTime<Utc>,
    ) -> Result<(Map<String, Value>, u64), OidcError> {
        let keys = self.keys.at(now).await?;
        if let Some(claims) = self.try_keys(keys.fitting(header), token, header)? {
            return Ok((claims, keys.generation));
        }
        let newer = self.keys.newer_than(keys.generation, now).await;
        if let Some(newer) = newer
            && let Some(claims) = self.try_keys(newer.fitting(header), token, header)?
        {
            return Ok((claims, newer.generation));
        }
        Err(TokenProblem::Signature.into())
    }

    /// None if no key has signed the token.
    fn try_keys<'a>(
        &self,
        keys: impl Iterator<Item = &'a Key>,
        token: &str,
        header: &Header,
    ) -> Result<Option<Map<String, Value>>, TokenProblem> {
        for key in keys {
            let mut rules = self.rules.clone();
            rules.algorithms = vec![header.alg];
            match decode::<Map<String, Value>>(token, &key.key, &rules) {
                Ok(token) => return Ok(Some(token.claims)),
                Err(error) => match error.kind() {
                    ErrorKind::InvalidSignature => {}
                    ErrorKind::InvalidAudience => return Err(TokenProblem::Audience),
                    ErrorKind::InvalidIssuer => return Err(TokenProblem::Issuer),
                    ErrorKind::MissingRequiredClaim(claim) => {
                        return Err(TokenProblem::Claim(claim.clone()));
                    }
                    // A key that cannot be used with this token has not signed it.
                    _ => tracing::debug!(%error, "a key does not fit a token"),
                },
            }
        }
        Ok(None)
    }

    fn accepted(&self) -> MutexGuard<'_, LruCache<[u8; 32], AcceptedToken>> {
        // A panic cannot leave it half done.
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a header is that of a token that identifies a caller (RFC 9068 section 2.1 for
/// access tokens) and requires nothing that is not understood here (RFC 7515 section
/// 4.1.11).
fn is_for_callers(header: &Header) -> bool {
    let kind = header.typ.as_deref().map(str::to_ascii_lowercase);
    let fits = matches!(
        kind.as_deref(),
        None | Some("jwt" | "at+jwt" | "application/at+jwt")
    );
    fits && header.crit.is_none() && header.enc.is_none() && header.zip.is_none()
}

/// What is wrong with a header that cannot be read.
fn form(error: &JwtError) -> TokenProblem {
    match error.kind() {
        // The only member of a header with a fixed list of words is its algorithm; `none`
        // is not on it.
        ErrorKind::Json(error) if error.is_data() => TokenProblem::Algorithm,
        _ => TokenProblem::Form,
    }
}
