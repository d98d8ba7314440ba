//! Secrets that several processes of one installation share, kept in the vault beside
//! the accounts.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use countersign_activities::vault::VaultError;
use zeroize::Zeroizing;

use super::KeyVault;
use super::address::SecretName;
use super::entry::{Metadata, Tags};

const TYPE: &str = "type";
/// Marks a version that a starting process made, unlike one that an operator put there.
const FIRST: &str = "countersign-first";

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
        let name = SecretName::new(name).ok_or(VaultError::NotFound)?;
        let mut found = chosen(self.client.versions(&name).await?);
        if found.is_none() {
            let text = make()?;
            let tags = Tags::from([(TYPE.to_owned(), FIRST.to_owned())]);
            self.client.set_once(&name, &text, tags, true).await?;
            tracing::info!(name = name.as_str(), "shared key made in Key Vault");
        }
        if found.as_ref().is_none_or(is_contested) {
            // Whoever was as fast has written by then, or is younger.
            tokio::time::sleep(SETTLE).await;
            found = chosen(self.client.versions(&name).await?);
        }
        let version = found.and_then(|metadata| metadata.version);
        let (_, value) = self.client.get_version(&name, version.as_deref()).await?;
        Ok(value)
    }
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
