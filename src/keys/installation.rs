//! One data folder for one installation: what a front door keeps in its folder (rules, keys of
//! callers, codes that were used, the audit log) is nowhere else.
//!
//! A front door could start with an empty folder and not notice that all of that is missing, or
//! run beside another one with a folder of its own: an account whose codes need an approval
//! could then be read without one. So the folder holds a random id, and the store of the
//! accounts holds the same: the vault's database, or with Key Vault the vault for keys. A front door
//! starts only where they agree.

use countersign_activities::vault::EmbeddedVault;
use countersign_authority::LedgerId;
use zeroize::Zeroizing;

use super::place::VaultPlace;
use super::{KeyMaterialError, KeyStorage, Name};
use crate::access::secret;
use crate::data_dir::{DataDir, DataDirError};

/// Checks that `data` is the folder that the vault in it belongs to: its database may be linked
/// or mounted from another one.
///
/// # Errors
///
/// [`KeyMaterialError::ForeignVault`] when it is not.
pub(crate) async fn check_embedded(
    data: &DataDir,
    vault: &EmbeddedVault,
) -> Result<(), KeyMaterialError> {
    let id = folder_id(data).await?;
    let owner = vault.folder_id(&id).await;
    let owner = owner.map_err(|source| KeyMaterialError::Vault { source })?;
    if owner == *id {
        return Ok(());
    }
    Err(foreign_vault(data, owner))
}

/// Checks what [`check_embedded`] would refuse of a vault that belongs to the folder with the id
/// `owner`, or to none yet, and makes nothing.
///
/// # Errors
///
/// As [`check_embedded`].
pub(crate) async fn would_belong(
    data: &DataDir,
    owner: Option<String>,
) -> Result<(), KeyMaterialError> {
    let id = existing_folder_id(data).await?;
    match owner {
        Some(owner) if id.is_none_or(|id| owner != *id) => Err(foreign_vault(data, owner)),
        _ => Ok(()),
    }
}

fn foreign_vault(data: &DataDir, id: String) -> KeyMaterialError {
    KeyMaterialError::ForeignVault {
        folder: data.path().display().to_string(),
        file: data.path().join(INSTALLATION.file).display().to_string(),
        id,
    }
}

/// The id in the folder, created if there is none.
async fn folder_id(data: &DataDir) -> Result<Zeroizing<String>, KeyMaterialError> {
    if let Some(id) = existing_folder_id(data).await? {
        return Ok(id);
    }
    let id = secret::random_hex().map_err(|_| DataDirError::Random)?;
    let place = KeyStorage::Folder(data.clone());
    place.publish(INSTALLATION, &id).await?;
    Ok(id)
}

/// The id in the folder, if there is one.
async fn existing_folder_id(data: &DataDir) -> Result<Option<Zeroizing<String>>, KeyMaterialError> {
    let place = KeyStorage::Folder(data.clone());
    let Some(id) = place.read(INSTALLATION).await? else {
        return Ok(None);
    };
    let file = data.path().join(INSTALLATION.file);
    let about = std::fs::symlink_metadata(&file);
    // A link could share the id between two folders.
    if about.is_ok_and(|about| about.file_type().is_symlink()) {
        return Err(KeyMaterialError::Linked(file));
    }
    Ok(Some(id))
}

/// What an installation is recognized by.
#[derive(Clone, Copy)]
pub(crate) enum Installation<'a> {
    /// The data folder of its only front door.
    Folder(&'a DataDir),
    /// The ledger in the database that all its front doors share.
    Database(&'a LedgerId),
}

const INSTALLATION: Name = Name {
    file: "installation.id",
    secret: "countersign-installation",
    published: false,
};
/// The text that an operator writes in place of the id, so that the next folder becomes the installation's.
const NEW: &str = "new";

impl KeyStorage {
    /// Makes the keys here those of `installation`, which was another one's: it was moved.
    ///
    /// # Errors
    ///
    /// [`KeyMaterialError`].
    pub(crate) async fn follow(
        &self,
        installation: Installation<'_>,
    ) -> Result<(), KeyMaterialError> {
        // In a folder, keys are recognized by their marks in the database.
        let Self::KeyVault(vault) = self else {
            return Ok(());
        };
        let id = match installation {
            Installation::Folder(data) => folder_id(data).await?,
            Installation::Database(id) => Zeroizing::new(id.to_string()),
        };
        vault.rotate(INSTALLATION, &id).await
    }
}

impl VaultPlace {
    /// Checks that the keys in this vault are those of `installation`.
    ///
    /// # Errors
    ///
    /// [`KeyMaterialError::OtherFolder`] and [`KeyMaterialError::OtherDatabase`] when they are
    /// another one's.
    pub(super) async fn check(
        &self,
        installation: Installation<'_>,
    ) -> Result<(), KeyMaterialError> {
        match installation {
            Installation::Folder(data) => self.check_folder(data).await,
            Installation::Database(id) => self.check_database(id).await,
        }
    }

    async fn check_database(&self, id: &LedgerId) -> Result<(), KeyMaterialError> {
        let id = Zeroizing::new(id.to_string());
        let agreed = match self.read(INSTALLATION).await? {
            Some(there) if there.as_str() == NEW => {
                self.rotate(INSTALLATION, &id).await?;
                tracing::warn!(
                    "as requested in Key Vault, this database is now the installation's; rules, \
                     keys and records of the previous one no longer apply"
                );
                return Ok(());
            }
            Some(there) => there,
            None => {
                let made = id.clone();
                self.make(INSTALLATION, move || Ok(made)).await?
            }
        };
        if *agreed == *id {
            return Ok(());
        }
        Err(KeyMaterialError::OtherDatabase {
            secret: self.of(INSTALLATION),
            name: INSTALLATION.secret,
        })
    }

    /// Checks that `data` is the folder of this vault's installation, and makes it that if the
    /// vault has none yet or an operator has asked for a new one.
    ///
    /// # Errors
    ///
    /// [`KeyMaterialError::OtherFolder`] when it is not.
    async fn check_folder(&self, data: &DataDir) -> Result<(), KeyMaterialError> {
        let there = self.read(INSTALLATION).await?;
        let here = KeyStorage::Folder(data.clone()).read(INSTALLATION).await?;
        if there.as_ref().is_some_and(|there| there.as_str() != NEW) && here.is_none() {
            return Err(self.other_folder(data));
        }
        let id = folder_id(data).await?;
        match there {
            Some(there) if *there == *id => Ok(()),
            Some(there) if there.as_str() == NEW => {
                self.rotate(INSTALLATION, &id).await?;
                tracing::warn!(
                    folder = %data.path().display(),
                    "as requested in Key Vault, this data folder is now the installation's; \
                     rules, keys and records of the previous one no longer apply"
                );
                Ok(())
            }
            None => {
                let made = id.clone();
                let agreed = self.make(INSTALLATION, move || Ok(made)).await?;
                if *agreed == *id {
                    tracing::info!(folder = %data.path().display(), "this data folder is now the installation's");
                    return Ok(());
                }
                Err(self.other_folder(data))
            }
            Some(_) => Err(self.other_folder(data)),
        }
    }

    fn other_folder(&self, data: &DataDir) -> KeyMaterialError {
        KeyMaterialError::OtherFolder {
            folder: data.path().display().to_string(),
            secret: self.of(INSTALLATION),
            name: INSTALLATION.secret,
        }
    }
}
