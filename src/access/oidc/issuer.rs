//! Fetching an issuer's keys.

use std::path::PathBuf;
use std::time::Duration;

use futures_util::StreamExt as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;
use url::Url;

use super::OidcSettings;

/// The path of the discovery document below the issuer (OpenID Connect Discovery 1.0
/// section 4).
const DISCOVERY: &str = "/.well-known/openid-configuration";
/// How long an answer may take, from the connection.
const PATIENCE: Duration = Duration::from_secs(5);
/// The largest document that is read, in bytes.
const MAX_DOCUMENT: usize = 1024 * 1024;

/// Why an issuer's keys are unavailable.
#[derive(Debug, Error)]
pub enum IssuerError {
    /// The client for it cannot be set up.
    #[error("the client for the issuer cannot be set up: {0}")]
    Client(String),
    /// The certificates to trust cannot be read.
    #[error("oidc-ca-file {} cannot be used: {reason}", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// It does not answer, or gives an unexpected answer.
    #[error("unexpected answer from {url}: {reason}")]
    Answer {
        /// The URL.
        url: Url,
        /// What is wrong with the answer.
        reason: String,
    },
    /// The discovery document is for another issuer.
    #[error("the discovery document is for the issuer {0:?}, not for the configured one")]
    Other(String),
    /// The address in the discovery document is not safe to use.
    #[error("the issuer's keys are at {0:?}, which is not an https:// address")]
    Place(String),
    /// There is no key that can check a signature.
    #[error("the issuer publishes no RSA, EC or Ed25519 key for signatures")]
    NoKeys,
    /// The keys were fetched a moment ago, and are not fetched again so soon.
    #[error("the issuer's keys were fetched a moment ago")]
    Resting,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

#[derive(Deserialize)]
struct Keys {
    keys: Vec<Value>,
}

/// Where an issuer's keys are fetched.
pub(super) struct Issuer {
    http: reqwest::Client,
    name: String,
    discovery: Result<Url, Url>,
}

impl Issuer {
    pub(super) fn new(settings: &OidcSettings) -> Result<Self, IssuerError> {
        let mut http = reqwest::Client::builder()
            // Ignores proxies in the environment: requests go to the issuer directly.
            .no_proxy()
            .timeout(PATIENCE)
            .connect_timeout(PATIENCE)
            // The target of a redirect would have to be trusted as much.
            .redirect(reqwest::redirect::Policy::none());
        if let Some(path) = &settings.ca_file {
            let failed = |reason: String| IssuerError::CaFile {
                path: path.clone(),
                reason,
            };
            let pem = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
            let certificates = reqwest::Certificate::from_pem_bundle(&pem)
                .map_err(|error| failed(error.to_string()))?;
            if certificates.is_empty() {
                return Err(failed("it contains no certificate in PEM form".to_owned()));
            }
            http = http.tls_certs_merge(certificates);
        }
        let discovery = match &settings.jwks_url {
            Some(keys) => Err(keys.clone()),
            None => {
                let mut url = settings.issuer.clone();
                let path = format!("{}{DISCOVERY}", url.path().trim_end_matches('/'));
                url.set_path(&path);
                Ok(url)
            }
        };
        Ok(Self {
            http: http
                .build()
                .map_err(|error| IssuerError::Client(error.to_string()))?,
            name: settings.issuer_text.clone(),
            discovery,
        })
    }

    /// The issuer's current keys.
    pub(super) async fn keys(&self) -> Result<Vec<Value>, IssuerError> {
        let place = match &self.discovery {
            Err(keys) => keys.clone(),
            Ok(discovery) => self.discover(discovery).await?,
        };
        let keys: Keys = self.document(&place).await?;
        Ok(keys.keys)
    }

    async fn discover(&self, url: &Url) -> Result<Url, IssuerError> {
        let said: Discovery = self.document(url).await?;
        if said.issuer != self.name {
            return Err(IssuerError::Other(said.issuer));
        }
        let place: Url = said
            .jwks_uri
            .parse()
            .map_err(|_| IssuerError::Place(said.jwks_uri.clone()))?;
        // Unencrypted only if the issuer itself is: on this machine.
        let safe =
            place.scheme() == "https" || (url.scheme() == "http" && place.origin() == url.origin());
        if safe {
            Ok(place)
        } else {
            Err(IssuerError::Place(said.jwks_uri))
        }
    }

    async fn document<T: DeserializeOwned>(&self, url: &Url) -> Result<T, IssuerError> {
        let wrong = |reason: String| IssuerError::Answer {
            url: url.clone(),
            reason,
        };
        let failed = |error: reqwest::Error| wrong(error.without_url().to_string());
        let answer = self.http.get(url.clone()).send().await.map_err(failed)?;
        if !answer.status().is_success() {
            return Err(wrong(format!("status {}", answer.status().as_u16())));
        }
        let mut body = answer.bytes_stream();
        let mut text = Vec::new();
        while let Some(part) = body.next().await {
            text.extend_from_slice(&part.map_err(failed)?);
            if text.len() > MAX_DOCUMENT {
                return Err(wrong("more than a mebibyte".to_owned()));
            }
        }
        serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))
    }
}
