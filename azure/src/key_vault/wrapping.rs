//! A key in Key Vault or Managed HSM that wraps other keys, and never leaves it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use azure_core::credentials::TokenCredential;
use azure_security_keyvault_keys::models::{
    EncryptionAlgorithm, KeyClientWrapKeyOptions, KeyOperationParameters, KeyOperationResult,
};
use azure_security_keyvault_keys::{KeyClient, KeyClientOptions};
use durabletask::azure::Identity;
use thiserror::Error;
use url::Url;
use zeroize::Zeroizing;

use super::VaultAddress;
use super::address::SecretName;
use super::calls::{Budget, Calls, options_of};
use super::error::{KeyVaultError, Operation};
use super::settings::{KeyVaultSettings, Limits, SettingsError};

const WRAP: Operation = Operation {
    name: "wrap a key",
    action: "Microsoft.KeyVault/vaults/keys/wrap/action",
};
const UNWRAP: Operation = Operation {
    name: "unwrap a key",
    action: "Microsoft.KeyVault/vaults/keys/unwrap/action",
};
/// The key that is wrapped, in bytes.
const KEY_BYTES: usize = 32;

/// Where a key is: in a Key Vault or a Managed HSM, perhaps in one version.
///
/// ```
/// use countersign_azure::WrappingAddress;
///
/// let text = "https://team-codes.vault.azure.net/keys/vault-key";
/// let address: WrappingAddress = text.parse().unwrap();
/// assert_eq!(address.to_string(), text);
/// assert!("https://team-codes.vault.azure.net/secrets/x".parse::<WrappingAddress>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrappingAddress {
    vault: VaultAddress,
    name: SecretName,
    version: Option<SecretName>,
}

/// The text is not the address of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "the address of a key is https://NAME.vault.azure.net/keys/KEY or \
     https://NAME.managedhsm.azure.net/keys/KEY, perhaps with /VERSION"
)]
pub struct NoWrappingAddress;

impl FromStr for WrappingAddress {
    type Err = NoWrappingAddress;

    fn from_str(text: &str) -> Result<Self, NoWrappingAddress> {
        let url = Url::parse(text).map_err(|_| NoWrappingAddress)?;
        let vault = VaultAddress::of(&url).ok_or(NoWrappingAddress)?;
        let path = url.path().trim_end_matches('/');
        let mut parts = path.strip_prefix("/keys/").unwrap_or_default().split('/');
        let mut next = || parts.next().map(SecretName::new);
        let name = next().flatten().ok_or(NoWrappingAddress)?;
        let version = match next() {
            Some(version) => Some(version.ok_or(NoWrappingAddress)?),
            None => None,
        };
        match next() {
            Some(_) => Err(NoWrappingAddress),
            None => Ok(Self {
                vault,
                name,
                version,
            }),
        }
    }
}

impl fmt::Display for WrappingAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/keys/{}", self.vault, self.name.as_str())?;
        match &self.version {
            Some(version) => write!(f, "/{}", version.as_str()),
            None => Ok(()),
        }
    }
}

impl WrappingAddress {
    /// The vault or HSM.
    #[must_use]
    pub const fn vault(&self) -> &VaultAddress {
        &self.vault
    }

    /// Whether `other` is this key, in whichever version.
    #[must_use]
    pub fn is_key_of(&self, other: &Self) -> bool {
        // Names compare without case.
        self.vault == other.vault && self.name.as_str().eq_ignore_ascii_case(other.name.as_str())
    }
}

/// Why a key was not wrapped or unwrapped, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WrappingError {
    /// 404: no such key, or no such version of it.
    #[error(
        "{0} does not exist. If it was deleted, recover it (`az keyvault key recover`): nothing \
         else unwraps what it has wrapped"
    )]
    Missing(String),
    /// 403 on a key that is switched off, or outside of its dates.
    #[error(
        "{key} cannot be used now ({code}): it is disabled, expired or not active yet; enable it \
         or change its dates (`az keyvault key set-attributes`)"
    )]
    Disabled {
        /// The key.
        key: String,
        /// The service's own word for it.
        code: String,
    },
    /// 403: the identity lacks a role, or the network rules keep it out.
    #[error(
        "Key Vault forbids this identity to {operation} with {key} ({code}). Assign it the role \
         `Key Vault Crypto Service Encryption User` on that key, or any that allows {action} (new \
         assignments take some minutes); the key has to permit wrapKey and unwrapKey; and check \
         the vault's network rules"
    )]
    Forbidden {
        /// The key.
        key: String,
        /// What was tried.
        operation: &'static str,
        /// The data action that a role has to allow.
        action: &'static str,
        /// The service's own word for it.
        code: String,
    },
    /// 400: the key is none of RSA, or something else was wrapped.
    #[error(
        "{key} cannot {operation} ({code}): it has to be an RSA key, and to unwrap, the one that has \
         wrapped it in that version"
    )]
    Unfit {
        /// The key.
        key: String,
        /// What was tried.
        operation: &'static str,
        /// The service's own word for it.
        code: String,
    },
    /// What came back is not what a key is.
    #[error("{0} has not unwrapped a key: vault.key was changed, or another key was wrapped")]
    NoKey(String),
    /// The service or the network failed.
    #[error("{key}: {source}")]
    Service {
        /// The key.
        key: String,
        /// What it said.
        source: KeyVaultError,
    },
}

/// A key that wraps others, as `identity` may use it.
pub struct WrappingKey {
    sdk: KeyClient,
    address: WrappingAddress,
    limits: Limits,
    calls: Calls,
}

impl WrappingKey {
    /// The key at `address`, in the vault that `settings` name. Sends no request yet.
    ///
    /// # Errors
    ///
    /// [`SettingsError`] when certificates cannot be read or TLS cannot be set up.
    pub fn new(
        settings: &KeyVaultSettings,
        address: WrappingAddress,
        identity: Identity,
    ) -> Result<Self, SettingsError> {
        let mut options = KeyClientOptions {
            client_options: options_of(settings)?,
            verify_challenge_resource: Some(!settings.emulator),
            ..KeyClientOptions::default()
        };
        if let Some(version) = &settings.api_version {
            options.api_version.clone_from(version);
        }
        let credential: Arc<dyn TokenCredential> = Arc::new(identity);
        let sdk = KeyClient::new(address.vault.as_str(), credential, Some(options))
            .map_err(|error| SettingsError::Client(error.to_string()))?;
        Ok(Self {
            sdk,
            address,
            limits: settings.limits,
            calls: Calls::default(),
        })
    }

    /// Wraps `key` (RSA-OAEP-256) with the version in the address, or the latest one. Which it was,
    /// and the wrapped key.
    ///
    /// # Errors
    ///
    /// [`WrappingError`].
    pub async fn wrap(
        &self,
        key: &Zeroizing<[u8; KEY_BYTES]>,
    ) -> Result<(WrappingAddress, Vec<u8>), WrappingError> {
        let named = &self.address;
        let wrapped = self.calls.call(WRAP, self.budget(), async || {
            let options = KeyClientWrapKeyOptions {
                key_version: named.version.as_ref().map(|it| it.as_str().to_owned()),
                ..KeyClientWrapKeyOptions::default()
            };
            let body = parameters(key.to_vec()).try_into()?;
            let answer = self.sdk.wrap_key(named.name.as_str(), body, Some(options));
            answer.await?.into_model()
        });
        let wrapped: KeyOperationResult =
            wrapped.await.map_err(|error| failed(named, WRAP, error))?;
        let foreign = || WrappingError::Service {
            key: named.to_string(),
            source: KeyVaultError::NotKeyVault,
        };
        let by: WrappingAddress = wrapped
            .kid
            .as_deref()
            .and_then(|id| id.parse().ok())
            .ok_or_else(foreign)?;
        // The version has to be known, or nothing unwraps it once the key was rotated.
        if by.version.is_none() || !by.is_key_of(named) {
            return Err(foreign());
        }
        Ok((by, wrapped.result.ok_or_else(foreign)?))
    }

    /// Unwraps what this key has wrapped, in the version in `by`.
    ///
    /// # Errors
    ///
    /// [`WrappingError`].
    pub async fn unwrap(
        &self,
        by: &WrappingAddress,
        wrapped: &[u8],
    ) -> Result<Zeroizing<[u8; KEY_BYTES]>, WrappingError> {
        let version = by.version.as_ref().map_or("", SecretName::as_str);
        let unwrapped = self.calls.call(UNWRAP, self.budget(), async || {
            let body = parameters(wrapped.to_vec()).try_into()?;
            let name = self.address.name.as_str();
            let answer = self.sdk.unwrap_key(name, version, body, None).await?;
            answer.into_model()
        });
        let unwrapped: KeyOperationResult =
            unwrapped.await.map_err(|error| failed(by, UNWRAP, error))?;
        // The SDK's own copies of the answer are not wiped.
        let bytes = Zeroizing::new(unwrapped.result.unwrap_or_default());
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        if bytes.len() != KEY_BYTES {
            return Err(WrappingError::NoKey(by.to_string()));
        }
        key.copy_from_slice(&bytes);
        Ok(key)
    }

    const fn budget(&self) -> Budget {
        Budget {
            one: self.limits.read_try,
            all: self.limits.write,
        }
    }
}

fn parameters(value: Vec<u8>) -> KeyOperationParameters {
    KeyOperationParameters {
        algorithm: Some(EncryptionAlgorithm::RsaOaep256),
        value: Some(value),
        ..KeyOperationParameters::default()
    }
}

/// What an answer means for a key.
fn failed(key: &WrappingAddress, tried: Operation, error: KeyVaultError) -> WrappingError {
    let key = key.to_string();
    match error {
        KeyVaultError::NotFound => WrappingError::Missing(key),
        KeyVaultError::Forbidden { code, .. } if code.starts_with("Key") => {
            WrappingError::Disabled { key, code }
        }
        KeyVaultError::Forbidden {
            operation,
            action,
            code,
        } => WrappingError::Forbidden {
            key,
            operation,
            action,
            code,
        },
        KeyVaultError::Refused { code, .. } => WrappingError::Unfit {
            key,
            operation: tried.name,
            code,
        },
        source => WrappingError::Service { key, source },
    }
}
