//! The vault in Azure Key Vault.
//!
//! An account is one secret, named as its enrollment. Key Vault has no conditional
//! write, so storing looks first and writes only where nothing is: a repeated
//! activity makes no second version. A name that belonged to a purged account is kept
//! from being used again by a disabled secret without content.

mod address;
mod calls;
mod client;
mod directory;
mod entry;
mod error;
mod pace;
mod recovery;
mod same;
mod settings;
mod shared;
mod wrapping;

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use countersign_activities::vault::{
    AccountPage, AccountRecord, Change, Filter, Reading, SecretVault, Stored, StoredUnlessThere,
    VaultError, order,
};
use countersign_enrollment::account::TotpAccount;
use countersign_enrollment::fingerprint::FingerprintKey;
use countersign_enrollment::ids::{CallerId, EnrollmentId};
use countersign_enrollment::recovery::RecoveryCodes;
use tokio::sync::Mutex;
use tokio::time::Instant;
use zeroize::Zeroizing;

pub use address::{AddressError, VaultAddress};
pub use error::KeyVaultError;
pub use settings::{KeyVaultSettings, Limits, SettingsError};
pub use wrapping::{WrappingAddress, WrappingError, WrappingKey};

use address::SecretName;
use calls::Budget;
use client::Client;
use directory::Directory;
use durabletask::azure::Identity;
use entry::{Kind, Metadata};

/// What replaces a purged account: Key Vault has no empty secret.
const NOTHING: &str = "purged";

/// A vault in Azure Key Vault. Clones share everything.
#[derive(Clone)]
pub struct KeyVault {
    client: Arc<Client>,
    directory: Arc<Directory>,
    fingerprints: Arc<OnceLock<FingerprintKey>>,
    /// Held while recovery codes are compared and set: the service sets a secret whatever its
    /// latest version is.
    setting_recovery: Arc<Mutex<()>>,
    /// Held while an account is stored that is not to be there twice.
    storing_once: Arc<Mutex<()>>,
}

/// How often something happened since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls of the service, repeated ones too.
    pub calls: u64,
    /// Calls that were repeated.
    pub retries: u64,
    /// Calls that the service refused because there were too many.
    pub throttled: u64,
}

impl KeyVault {
    /// A vault that `identity` opens. Sends no request yet; [`SecretVault::check`] does.
    ///
    /// # Errors
    ///
    /// [`SettingsError`] when certificates cannot be read or TLS cannot be set up.
    pub fn new(settings: &KeyVaultSettings, identity: Identity) -> Result<Self, SettingsError> {
        Ok(Self {
            client: Arc::new(Client::new(settings, identity)?),
            directory: Arc::new(Directory::new(settings.limits.list_age)),
            fingerprints: Arc::default(),
            setting_recovery: Arc::default(),
            storing_once: Arc::default(),
        })
    }

    /// From now on tags tell secrets apart, to those who have this key. It is set once.
    pub fn tell_apart_by(&self, key: FingerprintKey) {
        if self.fingerprints.set(key).is_err() {
            tracing::debug!("the fingerprint key is set already");
        }
    }

    /// What has happened so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let counters = &self.client.calls.counters;
        Counts {
            calls: counters.calls.load(Ordering::Relaxed),
            retries: counters.retries.load(Ordering::Relaxed),
            throttled: counters.throttled.load(Ordering::Relaxed),
        }
    }

    /// What is known of the latest version of an account, in use or deleted.
    async fn find(&self, id: &EnrollmentId) -> Result<Metadata, VaultError> {
        let name = secret_name(id)?;
        let metadata = match latest(self.client.versions(&name).await?) {
            Some(metadata) => metadata,
            None => self.client.get_deleted(&name).await?,
        };
        match metadata.kind(id) {
            Kind::Enrolled | Kind::Adopted => Ok(metadata),
            Kind::Purged => Err(VaultError::NotFound),
            Kind::Foreign => Err(foreign()),
        }
    }

    /// What storing finds: nothing if the name is free.
    async fn before_storing(
        &self,
        id: &EnrollmentId,
        name: &SecretName,
        account: &TotpAccount,
    ) -> Result<Option<Stored>, VaultError> {
        let Some(metadata) = latest(self.client.versions(name).await?) else {
            return Ok(None);
        };
        match metadata.kind(id) {
            Kind::Purged => return Err(VaultError::Deleted),
            Kind::Foreign | Kind::Adopted => return Err(VaultError::Conflict),
            Kind::Enrolled => {}
        }
        match self.client.get(name).await {
            Ok((metadata, value)) => {
                let kept = metadata.account(&value)?;
                let same =
                    kept.secret() == account.secret() && kept.parameters() == account.parameters();
                same.then_some(Some(Stored::AlreadyThere))
                    .ok_or(VaultError::Conflict)
            }
            // A worker that may write but not read has the tag to go by: an enrollment
            // stores one account, ever.
            Err(KeyVaultError::Forbidden { .. }) => {
                let same = metadata.parameters()? == account.parameters();
                same.then_some(Some(Stored::AlreadyThere))
                    .ok_or(VaultError::Conflict)
            }
            // Deleted since it was listed.
            Err(KeyVaultError::NotFound) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// What is known of the latest version of a secret in use.
    async fn in_use(&self, name: &SecretName) -> Result<Metadata, KeyVaultError> {
        latest(self.client.versions(name).await?).ok_or(KeyVaultError::NotFound)
    }

    /// Asks again until `ask` gives something: Key Vault answers before it is done.
    async fn settled<T, F>(&self, budget: Budget, ask: impl Fn() -> F) -> Result<T, KeyVaultError>
    where
        F: Future<Output = Result<T, KeyVaultError>>,
    {
        let deadline = Instant::now() + budget.all;
        let mut tries = 0;
        loop {
            match ask().await {
                Err(error @ (KeyVaultError::NotFound | KeyVaultError::Busy { .. })) => {
                    let wait = std::time::Duration::from_millis(250 << tries.min(3));
                    if Instant::now() + wait >= deadline {
                        return Err(match error {
                            KeyVaultError::NotFound => {
                                KeyVaultError::TimedOut { after: budget.all }
                            }
                            busy => busy,
                        });
                    }
                    tokio::time::sleep(wait).await;
                    tries += 1;
                }
                settled => return settled,
            }
        }
    }

    /// Keeps the name of a purged account from being used again.
    async fn entomb(&self, id: &EnrollmentId, name: &SecretName) -> Result<(), VaultError> {
        let deadline = Instant::now() + self.client.writing().all;
        let nothing = Zeroizing::new(NOTHING.to_owned());
        let mut tries = 0;
        loop {
            let tags = entry::purged_tags(id);
            // The name stays busy for some seconds after a purge.
            let error = match self.client.set_once(name, &nothing, tags, false).await {
                Ok(_) => return Ok(()),
                Err(KeyVaultError::DeletedButRecoverable) => KeyVaultError::Busy {
                    code: "ObjectIsDeletedButRecoverable".to_owned(),
                },
                Err(error) => error,
            };
            let Some(wait) = error.wait(tries) else {
                return Err(error.into());
            };
            if Instant::now() + wait >= deadline {
                return Err(error.into());
            }
            tokio::time::sleep(wait).await;
            tries += 1;
        }
    }
}

#[async_trait]
impl SecretVault for KeyVault {
    async fn store_for(
        &self,
        id: &EnrollmentId,
        account: &TotpAccount,
        pending_for: Option<&CallerId>,
    ) -> Result<Stored, VaultError> {
        let name = secret_name(id)?;
        let value = entry::value(account).ok_or(VaultError::Corrupt {
            reason: "the account cannot be written as JSON",
        })?;
        let fingerprint = self.fingerprint(account)?;
        let deadline = Instant::now() + self.client.writing().all;
        let mut tries = 0;
        loop {
            // Looked at before every try, since one that failed may have been done.
            if let Some(stored) = self.before_storing(id, &name, account).await? {
                return Ok(stored);
            }
            let tags = entry::tags(id, account, pending_for, fingerprint.as_deref());
            let error = match self.client.set_once(&name, &value, tags, true).await {
                Ok(metadata) => {
                    let record = metadata.record(id)?;
                    self.directory.add(record, fingerprint.as_deref()).await;
                    return Ok(Stored::Created);
                }
                // Emulators do not say that it is a deleted secret that has the name.
                Err(error @ KeyVaultError::Busy { .. })
                    if !error.passes() && self.client.get_deleted(&name).await.is_ok() =>
                {
                    return Err(VaultError::Deleted);
                }
                Err(error) => error,
            };
            let Some(wait) = error.wait(tries) else {
                return Err(error.into());
            };
            if Instant::now() + wait >= deadline {
                return Err(error.into());
            }
            tokio::time::sleep(wait).await;
            tries += 1;
        }
    }

    async fn store_unless_there(
        &self,
        id: &EnrollmentId,
        account: &TotpAccount,
        pending_for: Option<&CallerId>,
    ) -> Result<StoredUnlessThere, VaultError> {
        // The service has no condition for that. What this process stores is in its list at
        // once.
        let _one_at_a_time = self.storing_once.lock().await;
        let same = self.find_same(account).await?;
        let there: Vec<EnrollmentId> = same
            .into_iter()
            .map(|record| record.id)
            .filter(|there| there != id)
            .collect();
        if !there.is_empty() {
            return Ok(StoredUnlessThere::There(there));
        }
        let stored = self.store_for(id, account, pending_for).await?;
        Ok(StoredUnlessThere::Stored(stored))
    }

    async fn read_for_code(&self, id: &EnrollmentId) -> Result<Arc<Reading>, VaultError> {
        let name = secret_name(id)?;
        match self.client.get(&name).await {
            Ok((metadata, value)) => match metadata.kind(id) {
                Kind::Enrolled | Kind::Adopted => Ok(Arc::new(Reading::new(
                    metadata.account(&value)?,
                    metadata.pending_for()?,
                ))),
                Kind::Purged => Err(VaultError::NotFound),
                Kind::Foreign => Err(foreign()),
            },
            Err(KeyVaultError::NotFound) => match self.client.get_deleted(&name).await {
                Ok(_) => Err(VaultError::Deleted),
                // Who may read secrets need not be allowed to look at deleted ones.
                Err(KeyVaultError::NotFound | KeyVaultError::Forbidden { .. }) => {
                    Err(VaultError::NotFound)
                }
                Err(error) => Err(error.into()),
            },
            // The place of a purged account is disabled.
            Err(error) if error.may_be_disabled() => match self.find(id).await {
                Err(VaultError::NotFound) => Err(VaultError::NotFound),
                _ => Err(error.into()),
            },
            Err(error) => Err(error.into()),
        }
    }

    async fn describe(&self, id: &EnrollmentId) -> Result<AccountRecord, VaultError> {
        self.find(id).await?.record(id)
    }

    async fn set_recovery(
        &self,
        id: &EnrollmentId,
        replaced: &RecoveryCodes,
        codes: &RecoveryCodes,
    ) -> Result<(), VaultError> {
        self.keep_recovery(id, replaced, codes).await
    }

    async fn recovery(&self, id: &EnrollmentId) -> Result<RecoveryCodes, VaultError> {
        self.kept_recovery(id).await
    }

    async fn same_as(&self, account: &TotpAccount) -> Result<Vec<AccountRecord>, VaultError> {
        self.find_same(account).await
    }

    async fn list_by(
        &self,
        filter: &Filter,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<AccountPage, VaultError> {
        let accounts = match filter.deleted {
            true => self.directory.deleted(&self.client).await?,
            false => self.directory.accounts(&self.client).await?,
        };
        order::page(&accounts, filter, cursor, limit)
    }

    async fn change(
        &self,
        id: &EnrollmentId,
        change: &Change,
    ) -> Result<AccountRecord, VaultError> {
        let mut metadata = self.find(id).await?;
        if metadata.deleted.is_some() {
            return Err(VaultError::Deleted);
        }
        let name = secret_name(id)?;
        entry::change(&mut metadata.tags, change)?;
        let version = metadata.version.as_deref();
        let changed = self.client.set_tags(&name, version, &metadata.tags).await?;
        let record = changed.record(id)?;
        self.directory.put(record.clone()).await;
        Ok(record)
    }

    async fn delete(&self, id: &EnrollmentId) -> Result<(), VaultError> {
        if self.find(id).await?.deleted.is_some() {
            return Ok(());
        }
        let name = secret_name(id)?;
        match self.client.delete(&name).await {
            // Not found: another caller was faster.
            Ok(()) | Err(KeyVaultError::NotFound) => {}
            Err(error) => return Err(error.into()),
        }
        self.directory.remove(id).await;
        let gone = self.settled(self.client.writing(), || self.client.get_deleted(&name));
        match gone.await {
            Ok(_) | Err(KeyVaultError::Forbidden { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn recover(&self, id: &EnrollmentId) -> Result<AccountRecord, VaultError> {
        let found = self.find(id).await?;
        if found.deleted.is_none() {
            return found.record(id);
        }
        let name = secret_name(id)?;
        match self.client.recover(&name).await {
            Ok(()) | Err(KeyVaultError::NotFound) => {}
            Err(error) => return Err(error.into()),
        }
        let record = self
            .settled(self.client.writing(), || self.in_use(&name))
            .await?
            .record(id)?;
        self.directory.put(record.clone()).await;
        Ok(record)
    }

    async fn purge(&self, id: &EnrollmentId) -> Result<(), VaultError> {
        let name = secret_name(id)?;
        if let Some(metadata) = latest(self.client.versions(&name).await?) {
            return match metadata.kind(id) {
                Kind::Purged => Ok(()),
                Kind::Enrolled | Kind::Adopted => Err(VaultError::Conflict),
                Kind::Foreign => Err(foreign()),
            };
        }
        let metadata = self.client.get_deleted(&name).await?;
        if metadata.kind(id) == Kind::Foreign {
            return Err(foreign());
        }
        match self.client.purge(&name).await {
            Ok(()) | Err(KeyVaultError::NotFound) => {}
            Err(error) => return Err(error.into()),
        }
        self.entomb(id, &name).await
    }

    async fn check(&self) -> Result<(), VaultError> {
        Ok(self.client.check().await?)
    }
}

/// The version that counts: of several, the last one made.
fn latest(versions: Vec<Metadata>) -> Option<Metadata> {
    versions.into_iter().max_by_key(|version| version.created)
}

fn secret_name(id: &EnrollmentId) -> Result<SecretName, VaultError> {
    SecretName::new(id.as_str()).ok_or(VaultError::NotFound)
}

const fn foreign() -> VaultError {
    VaultError::Corrupt {
        reason: "the secret with this name belongs to another program; it was not changed",
    }
}
