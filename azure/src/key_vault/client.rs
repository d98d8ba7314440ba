//! The SDK's client, made safe: checked names, bounded calls, the service's own delays.
//!
//! What is worked around here, each with a test in `tests/key_vault_faults.rs`:
//!
//! - Names go into URLs unescaped, so only [`SecretName`]s come here.
//! - The first request of a client goes out without its body, to be challenged. When
//!   that one is answered with 503, or the connection breaks, the SDK's own retry sends
//!   the body no more, and the service refuses the empty write. The SDK's retries are
//!   therefore off, and every try here begins again.
//! - A conflict (409) is not retried by the SDK, though some of them pass.
//! - The SDK waits up to a minute, which is longer than anyone waits for a code.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use azure_core::credentials::TokenCredential;
use azure_security_keyvault_secrets::models::{
    DeletedSecret, DeletedSecretProperties, Secret, SecretAttributes, SecretClientGetSecretOptions,
    SecretClientListSecretPropertiesOptions, SecretClientUpdateSecretPropertiesOptions,
    SecretProperties, SetSecretParameters, UpdateSecretPropertiesParameters,
};
use azure_security_keyvault_secrets::{ResourceExt as _, SecretClient, SecretClientOptions};
use chrono::{DateTime, Utc};
use futures_util::TryStreamExt as _;
use zeroize::Zeroizing;

use super::address::SecretName;
use super::calls::{Budget, Calls, options_of};
use super::entry::{CONTENT_TYPE, Metadata, Tags};
use super::error::{KeyVaultError, Operation};
use super::pace::Pace;
use super::settings::{KeyVaultSettings, Limits, SettingsError};
use durabletask::azure::Identity;

const GET: Operation = Operation {
    name: "read a secret",
    action: "Microsoft.KeyVault/vaults/secrets/getSecret/action",
};
const METADATA: Operation = Operation {
    name: "describe a secret",
    action: "Microsoft.KeyVault/vaults/secrets/readMetadata/action",
};
const SET: Operation = Operation {
    name: "store a secret",
    action: "Microsoft.KeyVault/vaults/secrets/setSecret/action",
};
const UPDATE: Operation = Operation {
    name: "change a secret",
    action: "Microsoft.KeyVault/vaults/secrets/update/action",
};
const DELETE: Operation = Operation {
    name: "delete a secret",
    action: "Microsoft.KeyVault/vaults/secrets/delete",
};
const RECOVER: Operation = Operation {
    name: "recover a secret",
    action: "Microsoft.KeyVault/vaults/secrets/recover/action",
};
const PURGE: Operation = Operation {
    name: "purge a secret",
    action: "Microsoft.KeyVault/vaults/secrets/purge/action",
};

pub(super) struct Client {
    sdk: SecretClient,
    limits: Limits,
    writes: Pace,
    pub(super) calls: Calls,
}

impl Client {
    pub(super) fn new(
        settings: &KeyVaultSettings,
        identity: Identity,
    ) -> Result<Self, SettingsError> {
        let mut options = SecretClientOptions {
            client_options: options_of(settings)?,
            verify_challenge_resource: Some(!settings.emulator),
            ..SecretClientOptions::default()
        };
        if let Some(version) = &settings.api_version {
            options.api_version.clone_from(version);
        }
        let credential: Arc<dyn TokenCredential> = Arc::new(identity);
        let sdk = SecretClient::new(settings.address.as_str(), credential, Some(options))
            .map_err(|error| SettingsError::Client(error.to_string()))?;
        Ok(Self {
            sdk,
            limits: settings.limits,
            writes: Pace::new(settings.limits.writes_per_second),
            calls: Calls::default(),
        })
    }

    pub(super) const fn reading(&self) -> Budget {
        Budget {
            one: self.limits.read_try,
            all: self.limits.read,
        }
    }

    pub(super) const fn writing(&self) -> Budget {
        Budget {
            one: self.limits.write_try,
            all: self.limits.write,
        }
    }

    /// The latest version with its value.
    pub(super) async fn get(
        &self,
        name: &SecretName,
    ) -> Result<(Metadata, Zeroizing<String>), KeyVaultError> {
        self.get_version(name, None).await
    }

    /// One version with its value.
    pub(super) async fn get_version(
        &self,
        name: &SecretName,
        version: Option<&str>,
    ) -> Result<(Metadata, Zeroizing<String>), KeyVaultError> {
        let secret: Secret = self
            .call(GET, self.reading(), async || {
                let options = SecretClientGetSecretOptions {
                    secret_version: version.map(str::to_owned),
                    ..SecretClientGetSecretOptions::default()
                };
                let answer = self.sdk.get_secret(name.as_str(), Some(options)).await?;
                answer.into_model()
            })
            .await?;
        let version = secret.resource_id().ok().and_then(|id| id.version);
        // The SDK's own copies of the answer are not wiped.
        let value = Zeroizing::new(secret.value.ok_or(KeyVaultError::NotKeyVault)?);
        Ok((metadata(version, secret.tags, secret.attributes), value))
    }

    /// What is known of every version, without values.
    pub(super) async fn versions(&self, name: &SecretName) -> Result<Vec<Metadata>, KeyVaultError> {
        let listed = self
            .call(METADATA, self.reading(), async || {
                let pages = self
                    .sdk
                    .list_secret_properties_versions(name.as_str(), None)?;
                pages.try_collect::<Vec<SecretProperties>>().await
            })
            .await;
        match listed {
            Ok(versions) => Ok(versions.into_iter().map(|v| properties(v).1).collect()),
            Err(KeyVaultError::NotFound) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// The name and what is known of every secret in the vault.
    pub(super) async fn list(&self) -> Result<Vec<(String, Metadata)>, KeyVaultError> {
        // Page by page within one call: a long list takes many requests.
        let budget = Budget {
            one: self.limits.write,
            all: self.limits.write,
        };
        let listed = self
            .call(METADATA, budget, async || {
                let pages = self.sdk.list_secret_properties(None)?;
                pages.try_collect::<Vec<SecretProperties>>().await
            })
            .await?;
        Ok(listed
            .into_iter()
            .map(properties)
            .filter_map(|(name, metadata)| Some((name?, metadata)))
            .collect())
    }

    /// The same of every secret that was deleted and can be recovered.
    pub(super) async fn list_deleted(&self) -> Result<Vec<(String, Metadata)>, KeyVaultError> {
        let budget = Budget {
            one: self.limits.write,
            all: self.limits.write,
        };
        let listed = self
            .call(METADATA, budget, async || {
                let pages = self.sdk.list_deleted_secret_properties(None)?;
                pages.try_collect::<Vec<DeletedSecretProperties>>().await
            })
            .await?;
        let named = |secret: DeletedSecretProperties| {
            let name = secret.resource_id().ok()?.name;
            let mut metadata = metadata(None, secret.tags, secret.attributes);
            let deleted = secret.deleted_date.and_then(moment);
            metadata.deleted = deleted.or(metadata.updated).or_else(|| Some(Utc::now()));
            Some((name, metadata))
        };
        Ok(listed.into_iter().filter_map(named).collect())
    }

    /// Whether the vault answers and lets this process look.
    pub(super) async fn check(&self) -> Result<(), KeyVaultError> {
        self.call(METADATA, self.reading(), async || {
            let options = SecretClientListSecretPropertiesOptions {
                maxresults: Some(1),
                ..SecretClientListSecretPropertiesOptions::default()
            };
            let mut pages = self.sdk.list_secret_properties(Some(options))?;
            pages.try_next().await.map(drop)
        })
        .await
    }

    /// What is known of a deleted secret.
    pub(super) async fn get_deleted(&self, name: &SecretName) -> Result<Metadata, KeyVaultError> {
        let secret: DeletedSecret = self
            .call(METADATA, self.reading(), async || {
                let answer = self.sdk.get_deleted_secret(name.as_str(), None).await?;
                answer.into_model()
            })
            .await?;
        let deleted = secret.deleted_date.and_then(moment);
        let mut metadata = metadata(None, secret.tags, secret.attributes);
        metadata.deleted = deleted.or(metadata.updated).or_else(|| Some(Utc::now()));
        Ok(metadata)
    }

    /// Makes a version, with one try only: whether to try again depends on what is
    /// there then. Waits for its turn before.
    pub(super) async fn set_once(
        &self,
        name: &SecretName,
        value: &Zeroizing<String>,
        tags: Tags,
        enabled: bool,
    ) -> Result<Metadata, KeyVaultError> {
        tokio::time::sleep_until(self.writes.take()).await;
        let budget = Budget {
            one: self.limits.write_try,
            all: Duration::ZERO,
        };
        let secret: Secret = self
            .call(SET, budget, async || {
                let parameters = SetSecretParameters {
                    // The SDK takes the value in a form that it does not wipe.
                    value: Some(value.as_str().to_owned()),
                    content_type: Some(CONTENT_TYPE.to_owned()),
                    tags: Some(tags.clone()),
                    secret_attributes: Some(SecretAttributes {
                        enabled: Some(enabled),
                        ..SecretAttributes::default()
                    }),
                };
                let body = parameters.try_into()?;
                let answer = self.sdk.set_secret(name.as_str(), body, None).await?;
                answer.into_model()
            })
            .await?;
        let version = secret.resource_id().ok().and_then(|id| id.version);
        Ok(metadata(version, secret.tags, secret.attributes))
    }

    /// Replaces the tags of a version, which makes no other version.
    pub(super) async fn set_tags(
        &self,
        name: &SecretName,
        version: Option<&str>,
        tags: &Tags,
    ) -> Result<Metadata, KeyVaultError> {
        let secret: Secret = self
            .call(UPDATE, self.writing(), async || {
                let parameters = UpdateSecretPropertiesParameters {
                    tags: Some(tags.clone()),
                    ..UpdateSecretPropertiesParameters::default()
                };
                let options = SecretClientUpdateSecretPropertiesOptions {
                    secret_version: version.map(str::to_owned),
                    ..SecretClientUpdateSecretPropertiesOptions::default()
                };
                let body = parameters.try_into()?;
                let answer = self
                    .sdk
                    .update_secret_properties(name.as_str(), body, Some(options))
                    .await?;
                answer.into_model()
            })
            .await?;
        let version = secret.resource_id().ok().and_then(|id| id.version);
        Ok(metadata(version, secret.tags, secret.attributes))
    }

    pub(super) async fn delete(&self, name: &SecretName) -> Result<(), KeyVaultError> {
        self.call(DELETE, self.writing(), async || {
            self.sdk.delete_secret(name.as_str(), None).await.map(drop)
        })
        .await
    }

    pub(super) async fn recover(&self, name: &SecretName) -> Result<(), KeyVaultError> {
        self.call(RECOVER, self.writing(), async || {
            let answer = self.sdk.recover_deleted_secret(name.as_str(), None).await;
            answer.map(drop)
        })
        .await
    }

    pub(super) async fn purge(&self, name: &SecretName) -> Result<(), KeyVaultError> {
        self.call(PURGE, self.writing(), async || {
            let answer = self.sdk.purge_deleted_secret(name.as_str(), None).await;
            answer.map(drop)
        })
        .await
    }

    async fn call<T, A, F>(
        &self,
        operation: Operation,
        budget: Budget,
        attempt: A,
    ) -> Result<T, KeyVaultError>
    where
        A: Fn() -> F,
        F: Future<Output = azure_core::Result<T>>,
    {
        self.calls.call(operation, budget, attempt).await
    }
}

fn properties(secret: SecretProperties) -> (Option<String>, Metadata) {
    let id = secret.resource_id().ok();
    let (name, version) = match id {
        Some(id) => (Some(id.name), id.version),
        None => (None, None),
    };
    (name, metadata(version, secret.tags, secret.attributes))
}

fn metadata(
    version: Option<String>,
    tags: Option<Tags>,
    attributes: Option<SecretAttributes>,
) -> Metadata {
    let attributes = attributes.unwrap_or_default();
    Metadata {
        version,
        tags: tags.unwrap_or_default(),
        created: attributes.created.and_then(moment),
        updated: attributes.updated.and_then(moment),
        deleted: None,
    }
}

fn moment(time: azure_core::time::OffsetDateTime) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(time.unix_timestamp(), time.nanosecond())
}
