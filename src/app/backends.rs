//! Where ledger, access store, audit log and vault are kept: in the data folder, or in a database
//! that several front doors and workers share.

use std::path::Path;
use std::sync::Arc;

use countersign_activities::vault::{CachedVault, EmbeddedVault, PostgresVault, SecretVault};
use countersign_azure::{DatabaseTokens, Identity, KeyVault};
use countersign_database::{Database, PasswordSource};
use countersign_ledger::Ledger;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::journal::LedgerJournal;
use super::{ACCESS_DATABASE, AppError, parts};
use crate::access::{AccessStore, FolderAccess, KeyStore, PostgresAccess, ServerKeys};
use crate::audit::{AUDIT_DATABASE, Audit, Ingester, PostgresAudit};
use crate::clock::Clock;
use crate::config::{AzureConfig, DatabaseConfig};
use crate::data_dir::DataDir;
use crate::keys::{self, Installation, KeyStorage};
use crate::ledger;
use crate::metrics::VaultCounts;
use crate::verify::{Checks, FolderChecks, PostgresChecks, VERIFY_DATABASE};

/// How many connections a process holds at most, besides the one that listens for changes.
const CONNECTIONS: usize = 16;

/// The ledger, and where access store, audit log and vault are opened. Clones share one instance.
#[derive(Clone)]
pub(super) struct Backends {
    data: DataDir,
    ledger: Arc<dyn Ledger>,
    /// The shared one; without, all is in the data folder.
    database: Option<Database>,
}

/// The vault of the installation, where that is not Key Vault.
enum OwnVault {
    Folder(EmbeddedVault),
    Shared(Box<PostgresVault>),
}

impl Backends {
    /// Opens what the settings name, and refuses a folder that belongs to something else.
    pub(super) async fn open(
        data: &DataDir,
        settings: Option<&DatabaseConfig>,
        identity: &Identity,
    ) -> Result<Self, AppError> {
        let Some(settings) = settings else {
            let folder = data.clone();
            let ledger = parts::blocking(move || ledger::open(&folder)).await??;
            return Ok(Self {
                data: data.clone(),
                ledger: Arc::new(ledger),
                database: None,
            });
        };
        let passwords = passwords(settings, identity);
        let database = Database::open(settings.url.clone(), passwords, CONNECTIONS).await?;
        let ledger = ledger::open_shared(data, &database).await?;
        Ok(Self {
            data: data.clone(),
            ledger: Arc::new(ledger),
            database: Some(database),
        })
    }

    pub(super) fn ledger(&self) -> Arc<dyn Ledger> {
        Arc::clone(&self.ledger)
    }

    /// The database that is shared, if any is.
    pub(super) fn database(&self) -> Option<&Database> {
        self.database.as_ref()
    }

    /// Refuses to make keys of the installation in this folder where other processes have
    /// theirs: `needed` are the files that this one has to have by then.
    pub(super) async fn refuse_other_keys(
        &self,
        place: &KeyStorage,
        needed: &[&'static str],
    ) -> Result<(), AppError> {
        let (Some(database), KeyStorage::Folder(data)) = (&self.database, place) else {
            return Ok(());
        };
        Ok(keys::refuse_missing(database, data, needed).await?)
    }

    /// Refuses keys that are not those of the other processes on the same database.
    pub(super) async fn check_keys(
        &self,
        place: &KeyStorage,
        own: keys::Own<'_>,
    ) -> Result<(), AppError> {
        match &self.database {
            Some(database) => Ok(keys::refuse_other(database, place, own).await?),
            None => Ok(()),
        }
    }

    /// What the installation's keys have to agree with.
    pub(super) fn installation(&self) -> Installation<'_> {
        match self.database {
            Some(_) => Installation::Database(self.ledger.id()),
            None => Installation::Folder(&self.data),
        }
    }

    async fn vault(&self, azure: &AzureConfig) -> Result<OwnVault, AppError> {
        let data = self.data.clone();
        let wrapping = keys::vault_key_wrapping(azure);
        let is_wrapped = wrapping.is_some();
        let keys = keys::vault_key_file(data.path(), wrapping);
        let opened = keys.clone();
        let vault = match &self.database {
            Some(database) => {
                let vault = PostgresVault::open(database.clone(), &keys).await?;
                OwnVault::Shared(Box::new(vault))
            }
            None => {
                let open = move || EmbeddedVault::open_with(data.path(), &keys);
                OwnVault::Folder(parts::blocking(open).await??)
            }
        };
        if is_wrapped && parts::blocking(move || opened.holds_clear_keys()).await? {
            tracing::warn!(
                "vault.key contains a key in clear, although --vault-key-wrapped-by is set: run \
                 `countersign rotate vault-key`, which replaces it by a wrapped one"
            );
        }
        Ok(vault)
    }

    pub(super) fn access(&self) -> Result<Arc<dyn AccessStore>, AppError> {
        Ok(match &self.database {
            Some(database) => Arc::new(PostgresAccess::new(database.clone())),
            None => Arc::new(FolderAccess::new(KeyStore::open(
                &self.file(ACCESS_DATABASE),
            )?)),
        })
    }

    pub(super) fn checks(&self) -> Result<Arc<dyn Checks>, AppError> {
        Ok(match &self.database {
            Some(database) => Arc::new(PostgresChecks::new(database.clone())),
            None => {
                let checks = FolderChecks::open(&self.file(VERIFY_DATABASE));
                Arc::new(checks.map_err(|error| AppError::Verify(error.to_string()))?)
            }
        })
    }

    /// The audit log with the task that writes it, and what copies the workers' journal into
    /// it.
    pub(super) async fn audit(
        &self,
        server_keys: &ServerKeys,
        clock: Arc<dyn Clock>,
    ) -> Result<(Audit, JoinHandle<()>, Ingester), AppError> {
        let journal = Arc::new(LedgerJournal::new(self.ledger()));
        let wake = Arc::<Notify>::default();
        let Some(database) = &self.database else {
            let path = self.file(AUDIT_DATABASE);
            let (audit, writer) = Audit::open(path.clone(), server_keys, clock)?;
            let ingester = Ingester::open(&path, server_keys, journal, wake)?;
            return Ok((audit, writer, ingester));
        };
        let record = PostgresAudit::open(database.clone(), self.data.path(), server_keys).await?;
        let (audit, writer) = Audit::shared(record.clone(), clock);
        Ok((audit, writer, Ingester::shared(record, journal, wake)))
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        let folder: &Path = self.data.path();
        folder.join(name)
    }
}

/// What gives the password of each new connection, unless the URL has one.
pub(super) fn passwords(
    settings: &DatabaseConfig,
    identity: &Identity,
) -> Option<Arc<dyn PasswordSource>> {
    settings
        .tokens
        .then(|| Arc::new(DatabaseTokens::new(identity.clone())) as Arc<dyn PasswordSource>)
}

impl OwnVault {
    fn shared(&self) -> Arc<dyn SecretVault> {
        match self {
            Self::Folder(vault) => Arc::new(vault.clone()),
            Self::Shared(vault) => Arc::<PostgresVault>::from(vault.clone()),
        }
    }
}

/// The vault with the accounts: in the data folder, in the shared database, or the Key Vault
/// that the settings name.
pub(super) struct Vault {
    pub(super) vault: Arc<dyn SecretVault>,
    /// The cache within `vault`, and the vault behind it.
    pub(super) counts: VaultCounts,
    /// The vault behind it, if it is in the data folder.
    pub(super) embedded: Option<EmbeddedVault>,
}

impl Vault {
    /// Opens it, and makes one where none is there yet.
    pub(super) async fn open(
        backends: &Backends,
        azure: &AzureConfig,
        identity: Identity,
    ) -> Result<Self, AppError> {
        let (cache, remote, embedded) = match &azure.key_vault {
            Some(settings) => {
                let vault = Arc::new(KeyVault::new(settings, identity)?);
                let cache = CachedVault::new(Arc::<KeyVault>::clone(&vault), azure.cache);
                (cache, Some(vault), None)
            }
            None => {
                let own = backends.vault(azure).await?;
                let cache = CachedVault::new(own.shared(), azure.cache);
                let embedded = match own {
                    OwnVault::Folder(vault) => Some(vault),
                    OwnVault::Shared(_) => None,
                };
                (cache, None, embedded)
            }
        };
        let cache = Arc::new(cache);
        Ok(Self {
            vault: Arc::<CachedVault>::clone(&cache),
            counts: VaultCounts { cache, remote },
            embedded,
        })
    }
}
