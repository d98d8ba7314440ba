//! Secrets that the processes of one installation share: keys, and what they publish to each
//! other.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use countersign_activities::vault::VaultError;
use zeroize::Zeroizing;

use super::address::SecretName;
use super::entry::{Metadata, Tags};
use super::{KeyVault, KeyVaultError};

const TYPE: &str = "type";
/// Marks a version that a starting process made, unlike one that an operator put there.
const FIRST: &str = "countersign-first";
/// Marks a version that a command made to rotate the key.
const ROTATED: &str = "countersign-rotated";
/// Marks what a process says to others, such as the public half of a key.
const PUBLISHED: &str = "countersign-published";

/// Longer than the second to which Key Vault tells when a version was made.
const SETTLE: Duration = Duration::from_millis(2_100);
/// How far the clocks of Key Vault and of this process may be apart.
const CLOCKS: TimeDelta = TimeDelta::minutes(5);

impl KeyVault {
    /// The secret `name`, made with `make` by the first process that asks for it.
    ///
    /// Every process gets the same text: of several that processes made at the same
    /// time, the oldest counts. One that an operator has put there afterwards, to
    /// rotate it, goes before those.
    ///
    /// # Errors
    ///
    /// [`VaultError::Denied`] when it is not there and this identity may not make it:
    /// start a process that may write first.
    pub async fn shared_secret(
        &self,
        name: &str,
        make: impl FnOnce() -> Result<Zeroizing<String>, VaultError>,
    ) -> Result<Zeroizing<String>, VaultError> {
        if let Some(text) = self.existing_secret(name).await? {
            return Ok(text);
        }
        let text = make()?;
        self.set_marked(name, &text, FIRST).await?;
        tracing::info!(name, "shared key created in Key Vault");
        self.existing_secret(name)
            .await?
            .ok_or(VaultError::NotFound)
    }

    /// The secret `name` as [`KeyVault::shared_secret`] gives it, without making it: nothing
    /// if no process has made it yet.
    ///
    /// # Errors
    ///
    /// As reading any secret.
    pub async fn existing_secret(
        &self,
        name: &str,
    ) -> Result<Option<Zeroizing<String>>, VaultError> {
        let name = secret_name(name)?;
        let mut found = chosen(self.client.versions(&name).await?);
        if found.as_ref().is_some_and(is_contested) {
            // A process that was as fast has written by then, or is younger.
            tokio::time::sleep(SETTLE).await;
            found = chosen(self.client.versions(&name).await?);
        }
        let Some(found) = found else {
            return Ok(None);
        };
        let version = found.version.as_deref();
        let (_, value) = self.client.get_version(&name, version).await?;
        Ok(Some(value))
    }

    /// Whether there is a secret of this name, without reading it.
    ///
    /// # Errors
    ///
    /// As looking at any secret.
    pub async fn has_secret(&self, name: &str) -> Result<bool, VaultError> {
        let versions = self.client.versions(&secret_name(name)?).await?;
        Ok(!versions.is_empty())
    }

    /// Puts a version of the secret `name` there that goes before those that processes made
    /// when they started, as one that an operator puts there does.
    ///
    /// # Errors
    ///
    /// As storing any secret.
    pub async fn rotate_secret(
        &self,
        name: &str,
        text: &Zeroizing<String>,
    ) -> Result<(), VaultError> {
        self.set_marked(name, text, ROTATED).await
    }

    /// The secret `name` as its owner has published it last with
    /// [`KeyVault::publish_secret`]: nothing if it has not.
    ///
    /// # Errors
    ///
    /// As reading any secret.
    pub async fn published_secret(
        &self,
        name: &str,
    ) -> Result<Option<Zeroizing<String>>, VaultError> {
        match self.client.get(&secret_name(name)?).await {
            Ok((_, value)) => Ok(Some(value)),
            Err(KeyVaultError::NotFound) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Publishes `text` as the secret `name`: the latest version is what others read. Writes
    /// none if the latest one says the same, and tells whether it wrote.
    ///
    /// # Errors
    ///
    /// As reading and storing any secret.
    pub async fn publish_secret(&self, name: &str, text: &str) -> Result<bool, VaultError> {
        let there = self.published_secret(name).await?;
        if there.is_some_and(|there| there.as_str() == text) {
            return Ok(false);
        }
        let text = Zeroizing::new(text.to_owned());
        self.set_marked(name, &text, PUBLISHED).await?;
        Ok(true)
    }

    async fn set_marked(
        &self,
        name: &str,
        text: &Zeroizing<String>,
        mark: &str,
    ) -> Result<(), VaultError> {
        let name = secret_name(name)?;
        let tags = Tags::from([(TYPE.to_owned(), mark.to_owned())]);
        self.client.set_once(&name, text, tags, true).await?;
        Ok(())
    }
}

fn secret_name(name: &str) -> Result<SecretName, VaultError> {
    SecretName::new(name).ok_or(VaultError::NotFound)
}

/// Whether a version may not be the oldest for long, since others can be made in the
/// second that it was made in.
fn is_contested(version: &Metadata) -> bool {
    let age = version.created.map(|created| Utc::now() - created);
    is_first(version) && age.is_none_or(|age| age < CLOCKS)
}

fn is_first(version: &Metadata) -> bool {
    version.tags.get(TYPE).is_some_and(|tag| tag == FIRST)
}

/// The version that every process agrees on.
fn chosen(versions: Vec<Metadata>) -> Option<Metadata> {
    let (first, rotated): (Vec<_>, Vec<_>) = versions.into_iter().partition(is_first);
    rotated
        .into_iter()
        .max_by_key(|version| version.created)
        .or_else(|| {
            first
                .into_iter()
                .min_by_key(|version| (version.created, version.version.clone()))
        })
}
