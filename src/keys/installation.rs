//! One data folder for one installation: what a front door keeps in its folder (rules, keys of
//! callers, codes that were used, the audit log) is nowhere else.
//!
//! A front door whose accounts are in a Key Vault could start with an empty folder and not
//! notice that all of that is missing, or run beside another one that has a folder of its own:
//! an account whose codes need an approval could then be read without one. So the folder and
//! the vault for keys both hold the installation's id, and a front door starts only where they
//! are the same.

use zeroize::Zeroizing;

use super::place::VaultPlace;
use super::{KeyMaterialError, Name, Place};
use crate::access::secret;
use crate::data_dir::{DataDir, DataDirError};

const INSTALLATION: Name = Name {
    file: "installation.id",
    secret: "countersign-installation",
    published: false,
};
/// What an operator puts in the place of the id, for the next folder to be the installation's.
const NEW: &str = "new";

impl VaultPlace {
    /// Checks that `data` is the folder of this vault's installation, and makes it that if the
    /// vault has none yet or an operator has asked for a new one.
    ///
    /// # Errors
    ///
    /// [`KeyMaterialError::OtherFolder`] when it is not.
    pub(super) async fn check_folder(&self, data: &DataDir) -> Result<(), KeyMaterialError> {
        let place = Place::Folder(data.clone());
        let here = place.read(INSTALLATION).await?;
        let there = self.read(INSTALLATION).await?;
        match (here, there) {
            (Some(here), Some(there)) if *here == *there => Ok(()),
            (here, Some(there)) if there.as_str() == NEW => {
                let id = self.write_id(&place, here).await?;
                self.rotate(INSTALLATION, &id).await?;
                tracing::warn!(
                    folder = %data.path().display(),
                    "as was asked for in Key Vault, this data folder is the installation's from \
                     now on; rules, keys and records of the one before it do not count"
                );
                Ok(())
            }
            (here, None) => {
                let id = self.write_id(&place, here).await?;
                let made = id.clone();
                let agreed = self.make(INSTALLATION, move || Ok(made)).await?;
                if *agreed == *id {
                    tracing::info!(folder = %data.path().display(), "this data folder is the installation's from now on");
                    return Ok(());
                }
                Err(self.other_folder(data))
            }
            (_, Some(_)) => Err(self.other_folder(data)),
        }
    }

    /// The id in the folder, made if there is none.
    async fn write_id(
        &self,
        folder: &Place,
        here: Option<Zeroizing<String>>,
    ) -> Result<Zeroizing<String>, KeyMaterialError> {
        if let Some(here) = here {
            return Ok(here);
        }
        let id = secret::random_hex().map_err(|_| DataDirError::Random)?;
        folder.publish(INSTALLATION, &id).await?;
        Ok(id)
    }

    fn other_folder(&self, data: &DataDir) -> KeyMaterialError {
        KeyMaterialError::OtherFolder {
            folder: data.path().display().to_string(),
            secret: self.of(INSTALLATION),
            name: INSTALLATION.secret,
        }
    }
}
