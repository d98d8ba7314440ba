//! Commands on a data folder whose servers share a database.

use std::sync::Arc;

use countersign_activities::vault::KeyWrapping;
use countersign_azure::{DatabaseTokens, Identity};
use countersign_database::{Database, PasswordSource};

use super::{Exit, Fault, load};
use crate::access::ServerKeys;
use crate::audit::{AuditError, Event, Loss, PostgresAudit};
use crate::backup::SharedSource;
use crate::config::Settings;
use crate::data_dir::DataDir;
use crate::keys::{self, KeyStorage};
use crate::ledger;
use crate::migrate::KeyPlaces;

/// How many connections a command holds.
const CONNECTIONS: usize = 2;

/// What a folder's servers share, as the environment says where it is.
pub(super) struct Shared {
    pub(super) database: Database,
    data: DataDir,
    place: KeyStorage,
}

impl Shared {
    /// What the servers of the folder `data` share; nothing if all is in the folder.
    pub(super) async fn of(data: &DataDir) -> Result<Option<Self>, Fault> {
        let is_shared = ledger::refuse_shared(data);
        let named = std::env::var_os("COUNTERSIGN_DATABASE_URL").is_some_and(|it| !it.is_empty());
        if is_shared.is_ok() && !named {
            return Ok(None);
        }
        let settings = Settings {
            data_dir: Some(data.path().display().to_string()),
            ..Settings::default()
        };
        let config = load(&settings)?;
        let Some(found) = config.database else {
            is_shared.map_err(Fault::failed)?;
            return Ok(None);
        };
        let identity = Identity::new(&config.azure.identity);
        let tokens = found
            .tokens
            .then(|| Arc::new(DatabaseTokens::new(identity.clone())) as Arc<dyn PasswordSource>);
        let database = Database::open(found.url, tokens, CONNECTIONS);
        let database = database.await.map_err(Fault::failed)?;
        let opened = ledger::open_shared(data, &database).await;
        opened.map_err(Fault::failed)?;
        Ok(Some(Self {
            database,
            data: data.clone(),
            place: KeyStorage::new(data, &config.azure, &identity).map_err(Fault::failed)?,
        }))
    }

    /// The audit log of all of them.
    pub(super) async fn audit(&self) -> Result<PostgresAudit, Fault> {
        let keys = self.server_keys().await?;
        PostgresAudit::open(self.database.clone(), self.data.path(), keys)
            .await
            .map_err(audit_fault)
    }

    /// Accepts that entries of it are missing that this machine has noted.
    pub(super) async fn accept_loss(&self, event: Event) -> Result<Loss, Fault> {
        let keys = self.server_keys().await?;
        let accepted = PostgresAudit::accept_loss(&self.database, self.data.path(), keys, event);
        accepted.await.map_err(audit_fault)
    }

    /// What a backup of it is made from; `wrapping` unwraps the vault's key.
    pub(super) fn into_backup_source(self, wrapping: Option<Arc<dyn KeyWrapping>>) -> SharedSource {
        let vault = keys::vault_key_file(self.data.path(), wrapping);
        SharedSource {
            database: self.database,
            keys: KeyPlaces {
                place: self.place,
                vault,
            },
        }
    }

    async fn server_keys(&self) -> Result<ServerKeys, Fault> {
        let keys = self.place.server_keys().await.map_err(Fault::failed)?;
        keys.ok_or_else(|| {
            Fault::new(
                Exit::Failed,
                "server.key is missing: the audit log cannot be read or written without the \
                 front doors' key",
            )
        })
    }
}

/// Refuses a command that works on what is in the folder, where that is in a database;
/// `instead` says what to do.
pub(super) fn refuse(data: &DataDir, instead: &str) -> Result<(), Fault> {
    match ledger::refuse_shared(data) {
        Ok(()) => Ok(()),
        Err(ledger::LedgerOpenError::Shared(folder)) => Err(Fault::new(
            Exit::Failed,
            format!(
                "what the servers of the data folder {} keep is in a database: {instead}",
                folder.display()
            ),
        )),
        Err(error) => Err(Fault::failed(error)),
    }
}

/// Why the audit log cannot be used.
pub(super) fn audit_fault(error: AuditError) -> Fault {
    let exit = match error {
        AuditError::Nothing(_) => Exit::NotFound,
        AuditError::Incomplete(_) => Exit::RecordIncomplete,
        _ => Exit::Failed,
    };
    Fault::new(exit, error.to_string())
}
