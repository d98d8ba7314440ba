//! What is in the shared database at one moment, copied into a folder while it is in use.

use std::path::Path;

use chrono::Utc;
use countersign_activities::vault::transfer as vault;
use countersign_database::{Transaction, Transfer};
use countersign_ledger::transfer as ledger_rows;

use super::stores::{AUDIT, LEDGER, Stores, VAULT};
use super::{KeyPlaces, MigrateError, intact, into_folder, ledger_in};
use crate::audit::{AuditStore, transfer as audit};
use crate::data_dir::DataDir;
use crate::keys::KeyStorage;
use crate::ledger::{self, LedgerOpenError, Noted, moved};

/// A moment of the shared database, for as long as this is kept.
pub(crate) struct Moment<'a> {
    transaction: Transaction<'a>,
    ledger: Option<String>,
}

/// What was copied.
pub(crate) struct Copied {
    /// The id of the ledger.
    pub(crate) ledger: String,
    /// Whether the accounts are in the database.
    pub(crate) has_vault: bool,
}

impl<'a> Moment<'a> {
    /// Begins to read: everything that is read later is as it is now.
    ///
    /// # Errors
    ///
    /// [`MigrateError`].
    pub(crate) async fn begin(session: &'a mut Transfer) -> Result<Self, MigrateError> {
        let transaction = session.begin().await?;
        let ledger = ledger_in(&transaction).await?;
        Ok(Self {
            transaction,
            ledger,
        })
    }

    /// Copies everything into databases in the empty folder `to`, as those of a data folder, and
    /// compares every row and every code. `data` is the folder of one of the servers.
    ///
    /// # Errors
    ///
    /// [`MigrateError`].
    pub(crate) async fn copy(
        self,
        data: &DataDir,
        keys: &KeyPlaces,
        to: &Path,
    ) -> Result<Copied, MigrateError> {
        let folder = || data.path().to_owned();
        let noted = match ledger::noted(data)? {
            Noted::Shared(id) => id,
            Noted::Both(_) => return Err(LedgerOpenError::Moving(folder()).into()),
            Noted::Own(_) => return Err(MigrateError::AlreadyOwn(folder())),
            Noted::None => return Err(MigrateError::Nothing(folder())),
        };
        let found = self.ledger.unwrap_or_else(|| "none".to_owned());
        if found != noted {
            return Err(MigrateError::OtherDatabase {
                folder: folder(),
                noted,
                found,
            });
        }
        match moved::marked(&self.transaction).await? {
            Some(moved::Move::Arriving) => return Err(MigrateError::Arriving),
            Some(moved::Move::Left(at)) => {
                let on = moved::on(at);
                let folder = folder();
                return Err(MigrateError::Left { on, folder });
            }
            None => {}
        }
        if matches!(keys.place, KeyStorage::KeyVault(_)) {
            return Err(MigrateError::KeysElsewhere);
        }
        let server_keys = keys.server_keys().await?;
        let has_vault = vault::has_vault(&self.transaction, &keys.vault).await?;
        into_folder::make_stores(to, has_vault, &server_keys)?;
        let stores = Stores::open(to)?;
        if let Some(entries) = stores.get(AUDIT) {
            audit::bring_up(entries).map_err(stores.failed(AUDIT))?;
        }
        stores.copy_in(&self.transaction, &mut |_| ()).await?;
        if let Some(ledger) = stores.get(LEDGER) {
            ledger_rows::end_in_folder(&self.transaction, ledger).await?;
        }
        stores.compare(&self.transaction).await?;
        if let Some(accounts) = stores.get(VAULT) {
            vault::compare(accounts, &self.transaction, &keys.vault, Utc::now()).await?;
        }
        drop(stores);
        // Opened, it notes its end beside it.
        let log = AuditStore::open(&to.join(AUDIT.file), &server_keys)?;
        intact(log.verify(None)?)?;
        Ok(Copied {
            ledger: found,
            has_vault,
        })
    }
}
