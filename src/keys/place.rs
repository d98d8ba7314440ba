//! Where the installation's keys are kept: in the data folder, or in a Key Vault.

use std::sync::Arc;
use std::time::Duration;

use countersign_activities::vault::VaultError;
use countersign_azure::{Identity, KeyVault, SettingsError};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::{KeyMaterialError, Name};
use crate::access::secret::RandomUnavailable;
use crate::config::AzureConfig;
use crate::data_dir::{DataDir, DataDirError};

/// How often to check for a key that a worker has not created yet.
const LOOK_IN_FOLDER: Duration = Duration::from_millis(100);
const LOOK_IN_VAULT: Duration = Duration::from_secs(1);
/// How often to reread a key that another process may replace.
const FOLLOW_FOLDER: Duration = Duration::from_secs(1);
const FOLLOW_VAULT: Duration = Duration::from_secs(60);

/// Where the installation's keys are kept. Clones name the same place.
#[derive(Clone)]
pub(crate) enum KeyStorage {
    Folder(DataDir),
    KeyVault(Arc<VaultPlace>),
}

/// A Key Vault with keys.
pub(crate) struct VaultPlace {
    keys: KeyVault,
    address: String,
    /// The vault with the accounts, if it is a separate one: keys used to be there.
    accounts: Option<(KeyVault, String)>,
}

impl KeyStorage {
    /// The place that the settings name.
    ///
    /// # Errors
    ///
    /// [`SettingsError`] when the client for Key Vault cannot be set up.
    pub(crate) fn new(
        data: &DataDir,
        azure: &AzureConfig,
        identity: &Identity,
    ) -> Result<Self, SettingsError> {
        let Some(accounts) = &azure.key_vault else {
            return Ok(Self::Folder(data.clone()));
        };
        let apart = azure
            .keys_vault
            .as_ref()
            .filter(|keys| keys.address != accounts.address);
        if apart.is_none() {
            tracing::warn!(
                vault = %accounts.address,
                "this installation's keys are in the accounts' vault, so an identity that may \
                 read all accounts can read them too; use a separate vault for keys with \
                 --keys-vault"
            );
        }
        let settings = apart.unwrap_or(accounts);
        let accounts = match apart {
            Some(_) => Some((
                KeyVault::new(accounts, identity.clone())?,
                accounts.address.to_string(),
            )),
            None => None,
        };
        Ok(Self::KeyVault(Arc::new(VaultPlace {
            keys: KeyVault::new(settings, identity.clone())?,
            address: settings.address.to_string(),
            accounts,
        })))
    }

    /// A key's place, for people.
    pub(crate) fn of(&self, name: Name) -> String {
        match self {
            Self::Folder(data) => data.path().join(name.file).display().to_string(),
            Self::KeyVault(vault) => vault.of(name),
        }
    }

    /// How long to wait before rereading a key that another process may replace.
    pub(super) const fn pace(&self) -> Duration {
        match self {
            Self::Folder(_) => FOLLOW_FOLDER,
            Self::KeyVault(_) => FOLLOW_VAULT,
        }
    }

    /// The text of a key; none if it was not created or published yet.
    pub(super) async fn read(
        &self,
        name: Name,
    ) -> Result<Option<Zeroizing<String>>, KeyMaterialError> {
        match self {
            Self::Folder(data) => in_folder(data, move |data| data.read_secret(name.file)).await,
            Self::KeyVault(vault) => vault.read(name).await,
        }
    }

    /// The text of a key, which `make` creates if it does not exist. Of several processes that
    /// start at once, all get the same.
    pub(super) async fn read_or_make<M>(
        &self,
        name: Name,
        make: M,
    ) -> Result<Zeroizing<String>, KeyMaterialError>
    where
        M: FnOnce() -> Result<Zeroizing<String>, RandomUnavailable> + Send + 'static,
    {
        match self {
            Self::Folder(data) => {
                in_folder(data, move |data| data.secret_file(name.file, make)).await
            }
            Self::KeyVault(vault) => match vault.read(name).await? {
                Some(text) => Ok(text),
                None => vault.make(name, make).await,
            },
        }
    }

    /// Replaces a key by `text`, for its next reader.
    pub(super) async fn replace(
        &self,
        name: Name,
        text: &Zeroizing<String>,
    ) -> Result<(), KeyMaterialError> {
        match self {
            Self::Folder(data) => {
                let text = text.clone();
                in_folder(data, move |data| data.replace_secret_file(name.file, &text)).await
            }
            Self::KeyVault(vault) => vault.rotate(name, text).await,
        }
    }

    /// Publishes `text` under this name. Returns whether it was different
    /// before.
    pub(super) async fn publish(&self, name: Name, text: &str) -> Result<bool, KeyMaterialError> {
        match self {
            Self::Folder(data) => {
                let text = Zeroizing::new(text.to_owned());
                in_folder(data, move |data| {
                    let there = data.read_secret(name.file)?;
                    if there.is_some_and(|there| *there == *text) {
                        return Ok(false);
                    }
                    data.replace_secret_file(name.file, &text)?;
                    Ok(true)
                })
                .await
            }
            Self::KeyVault(vault) => vault.publish(name, text).await,
        }
    }

    /// The text of a key that a worker creates or publishes, after waiting up to this long.
    pub(super) async fn wait_for(
        &self,
        name: Name,
        patience: Duration,
    ) -> Result<Zeroizing<String>, KeyMaterialError> {
        let deadline = Instant::now() + patience;
        let pause = match self {
            Self::Folder(_) => LOOK_IN_FOLDER,
            Self::KeyVault(_) => LOOK_IN_VAULT,
        };
        let mut told = false;
        loop {
            if let Some(text) = self.read(name).await? {
                return Ok(text);
            }
            if !told {
                told = true;
                tracing::info!(
                    missing = self.of(name),
                    seconds = patience.as_secs(),
                    "waiting for a worker to create this"
                );
            }
            if Instant::now() >= deadline {
                return Err(KeyMaterialError::NoWorker {
                    missing: self.of(name),
                    waited: patience,
                });
            }
            let next = Instant::now() + pause;
            tokio::time::sleep_until(next.min(deadline)).await;
        }
    }
}

impl VaultPlace {
    pub(super) fn of(&self, name: Name) -> String {
        secret_at(name, &self.address)
    }

    pub(super) async fn read(
        &self,
        name: Name,
    ) -> Result<Option<Zeroizing<String>>, KeyMaterialError> {
        let read = match name.published {
            true => self.keys.published_secret(name.secret).await,
            false => self.keys.existing_secret(name.secret).await,
        };
        read.map_err(|source| self.failed(name, source))
    }

    /// The key that several processes that start at once agree on.
    pub(super) async fn make(
        &self,
        name: Name,
        make: impl FnOnce() -> Result<Zeroizing<String>, RandomUnavailable>,
    ) -> Result<Zeroizing<String>, KeyMaterialError> {
        if let Some((accounts, address)) = &self.accounts {
            let left = accounts.has_secret(name.secret).await;
            if left.map_err(|source| self.failed(name, source))? {
                return Err(KeyMaterialError::LeftBehind {
                    missing: self.of(name),
                    found: secret_at(name, address),
                });
            }
        }
        let make = || {
            make().map_err(|error| VaultError::Unavailable {
                source: Box::new(error),
            })
        };
        let made = self.keys.shared_secret(name.secret, make).await;
        made.map_err(|source| self.failed(name, source))
    }

    /// Adds a version that takes precedence over those that processes created at their start.
    pub(super) async fn rotate(
        &self,
        name: Name,
        text: &Zeroizing<String>,
    ) -> Result<(), KeyMaterialError> {
        let rotated = self.keys.rotate_secret(name.secret, text).await;
        rotated.map_err(|source| self.failed(name, source))
    }

    async fn publish(&self, name: Name, text: &str) -> Result<bool, KeyMaterialError> {
        let published = self.keys.publish_secret(name.secret, text).await;
        published.map_err(|source| self.failed(name, source))
    }

    fn failed(&self, name: Name, source: VaultError) -> KeyMaterialError {
        KeyMaterialError::KeyVault {
            place: self.of(name),
            source,
        }
    }
}

fn secret_at(name: Name, address: &str) -> String {
    format!("the secret {} of {address}", name.secret)
}

/// Runs `work` on the folder on a thread for work that blocks.
async fn in_folder<T, W>(data: &DataDir, work: W) -> Result<T, KeyMaterialError>
where
    T: Send + 'static,
    W: FnOnce(&DataDir) -> Result<T, DataDirError> + Send + 'static,
{
    let data = data.clone();
    let done = tokio::task::spawn_blocking(move || work(&data)).await;
    Ok(done.map_err(|_| KeyMaterialError::Ending)??)
}
