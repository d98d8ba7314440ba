//! The vault in the shared database: PostgreSQL, every secret encrypted by itself.
//!
//! As in the data folder's vault, each secret is encrypted under a key in a file beside the
//! program and bound to its id and parameters. The database never sees the key: a dump of it
//! opens nothing. Every process that uses the vault has the same key file.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use countersign_database::{
    Database, DatabaseError, Failure, FromSql, Row, Stamp, Step, Transaction, all, announce,
    execute, one, one_at_a_time,
};
use countersign_enrollment::account::{AccountPreview, Algorithm, TotpAccount};
use countersign_enrollment::filing::Filing;
use countersign_enrollment::ids::{CallerId, EnrollmentId};
use countersign_enrollment::recovery::RecoveryCodes;
use futures_util::FutureExt as _;
use thiserror::Error;

use super::content;
use super::crypter::{Crypter, Encrypted};
use super::embedded::{AccountRow, from_crypter, place, spoilt_column};
use super::key_file::{KeyFile, KeyFileError};
use super::order::{self, ListPosition};
use super::{
    AccountPage, AccountRecord, Change, Filter, MAX_PAGE, Reading, SecretVault, Stored,
    StoredUnlessThere, VaultError,
};

mod recovery_codes;
mod rotation;
mod storing;

pub(super) use recovery_codes::kept_recovery;
use recovery_codes::{read_recovery, remove_recovery, set_recovery};
pub use rotation::{SharedRotation, SharedRotationError, rotate_shared_key};
use storing::Content;

/// The topic under which its changes are announced.
const TOPIC: &str = "vault";

const COLUMNS: &str = "id, issuer, account_name, algorithm, digits, period, created_at, \
                       updated_at, deleted_at, key_id, nonce, ciphertext, label_issuer, \
                       group_name, tags, pending_for";

/// Why the vault in the shared database cannot be used.
#[derive(Debug, Error)]
pub enum SharedVaultError {
    /// The database cannot be used.
    // Not transparent: what asks for the cause finds this error, not its cause.
    #[error("{0}")]
    Database(#[from] DatabaseError),
    /// The key file cannot be used.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// Accounts are encrypted with a key that is not in the key file.
    #[error(
        "the vault in the database needs the key {key_id}, which is not in {}; copy that file from \
         a machine that uses the vault already, or restore it from a backup",
        path.display()
    )]
    KeyMissing {
        /// The key file.
        path: PathBuf,
        /// The key's id.
        key_id: String,
    },
}

impl Failure for SharedVaultError {
    fn of_database(&self) -> Option<&DatabaseError> {
        match self {
            Self::Database(error) => Some(error),
            _ => None,
        }
    }
}

impl From<DatabaseError> for VaultError {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Denied(reason) => Self::Denied { reason },
            error => Self::Unavailable {
                source: Box::new(error),
            },
        }
    }
}

impl Failure for VaultError {
    fn of_database(&self) -> Option<&DatabaseError> {
        let Self::Unavailable { source } = self else {
            return None;
        };
        source.downcast_ref()
    }
}

/// A vault in a shared database. Clones share one instance.
#[derive(Clone)]
pub struct PostgresVault {
    database: Database,
    crypter: Arc<Crypter>,
    stamp: Stamp,
}

impl PostgresVault {
    /// Opens the vault in `database` with the keys in the file `keys`. The first process
    /// ever makes the file; every other one must have a copy of it.
    ///
    /// # Errors
    ///
    /// [`SharedVaultError`], whose text says what to do.
    pub async fn open(database: Database, keys: &KeyFile) -> Result<Self, SharedVaultError> {
        let keys = keys.clone();
        let crypter = database
            .write(move |transaction| {
                let keys = keys.clone();
                async move {
                    one_at_a_time(transaction, TOPIC, "keys").await?;
                    let needed = needed_keys(transaction).await?;
                    let crypter = crypter(&keys, &needed).await?;
                    if needed.is_empty() {
                        let first = crypter.first_id();
                        let first =
                            first.ok_or_else(|| KeyFileError::Empty(keys.path().to_owned()))?;
                        let sql = "INSERT INTO vault_keys (id) VALUES ($1)";
                        execute(transaction, sql, &[&first]).await?;
                    }
                    Ok::<Crypter, SharedVaultError>(crypter)
                }
                .boxed()
            })
            .await?;
        Ok(Self {
            stamp: database.stamp(TOPIC),
            database,
            crypter: Arc::new(crypter),
        })
    }

    /// Runs `work` on an account that no one else changes meanwhile, and announces the change.
    async fn on<T, W>(&self, id: &EnrollmentId, work: W) -> Result<T, VaultError>
    where
        T: Send + 'static,
        W: for<'t> Fn(&'t Transaction<'t>, EnrollmentId, Arc<Crypter>) -> Step<'t, T, VaultError>
            + Send
            + Sync
            + 'static,
    {
        let (id, crypter, work) = (id.clone(), Arc::clone(&self.crypter), Arc::new(work));
        let done = self
            .database
            .write(move |transaction| {
                let (id, crypter, work) = (id.clone(), Arc::clone(&crypter), Arc::clone(&work));
                async move {
                    one_at_a_time(transaction, TOPIC, id.as_str()).await?;
                    let done = work(transaction, id.clone(), crypter).await?;
                    announce(transaction, TOPIC, id.as_str()).await?;
                    Ok(done)
                }
                .boxed()
            })
            .await;
        self.stamp.touch();
        done
    }
}

/// The ids of the keys that everyone who uses the vault has, the current one first.
pub(super) async fn needed_keys(
    transaction: &Transaction<'_>,
) -> Result<Vec<String>, DatabaseError> {
    let sql = "SELECT id FROM (SELECT id, 0 AS at FROM vault_keys
                   UNION ALL SELECT id, 1 FROM vault_former_keys) AS needed ORDER BY at, id";
    let rows = all(transaction, sql, &[]).await?;
    let ids: Result<Vec<String>, _> = rows.iter().map(|row| row.try_get(0)).collect();
    Ok(ids?)
}

/// Does something with the key file that blocks.
pub(super) async fn blocking<T: Send + 'static>(
    keys: &KeyFile,
    work: impl FnOnce(&KeyFile) -> Result<T, KeyFileError> + Send + 'static,
) -> Result<T, KeyFileError> {
    let file = keys.clone();
    let done = tokio::task::spawn_blocking(move || work(&file)).await;
    done.unwrap_or_else(|_| Err(KeyFileError::Empty(keys.path().to_owned())))
}

/// The keys in the file, which is made if no key is needed yet.
async fn crypter(keys: &KeyFile, needed: &[String]) -> Result<Crypter, SharedVaultError> {
    let may_make = needed.is_empty();
    let crypter = blocking(keys, move |file| {
        if may_make && file.read()?.is_none() {
            file.create()?;
        }
        file.read()
    });
    let crypter = crypter.await?;
    let missing = match &crypter {
        Some(crypter) => needed.iter().find(|key_id| !crypter.has(key_id)),
        None => needed.first(),
    };
    if let Some(key_id) = missing {
        return Err(SharedVaultError::KeyMissing {
            path: keys.path().to_owned(),
            key_id: key_id.clone(),
        });
    }
    // Another machine may rotate the key while this process runs.
    crypter
        .map(|crypter| crypter.following(keys.again()))
        .ok_or_else(|| KeyFileError::Empty(keys.path().to_owned()).into())
}

#[async_trait]
impl SecretVault for PostgresVault {
    async fn store_for(
        &self,
        id: &EnrollmentId,
        account: &TotpAccount,
        pending_for: Option<&CallerId>,
    ) -> Result<Stored, VaultError> {
        self.keep(id, account, pending_for, false).await?.stored()
    }

    async fn store_unless_there(
        &self,
        id: &EnrollmentId,
        account: &TotpAccount,
        pending_for: Option<&CallerId>,
    ) -> Result<StoredUnlessThere, VaultError> {
        self.keep(id, account, pending_for, true).await
    }

    async fn read_for_code(&self, id: &EnrollmentId) -> Result<Arc<Reading>, VaultError> {
        let row = self.look(id).await?;
        if row.record.deleted_at.is_some() {
            return Err(VaultError::Deleted);
        }
        let account = row.account(&self.crypter)?;
        Ok(Arc::new(Reading::new(account, row.record.pending_for)))
    }

    /// While changes are not heard, no two stamps are the same, so that nothing is kept.
    fn stamp(&self) -> u64 {
        self.stamp.now().unwrap_or_else(|| self.stamp.touch())
    }

    async fn set_recovery(
        &self,
        id: &EnrollmentId,
        replaced: &RecoveryCodes,
        codes: &RecoveryCodes,
    ) -> Result<(), VaultError> {
        let (replaced, codes) = (replaced.clone(), codes.clone());
        self.on(id, move |transaction, id, crypter| {
            let (replaced, codes) = (replaced.clone(), codes.clone());
            async move { set_recovery(transaction, &id, &replaced, &codes, &crypter).await }.boxed()
        })
        .await
    }

    async fn recovery(&self, id: &EnrollmentId) -> Result<RecoveryCodes, VaultError> {
        let (id, crypter) = (id.clone(), Arc::clone(&self.crypter));
        self.database
            .read(move |transaction| {
                let (id, crypter) = (id.clone(), Arc::clone(&crypter));
                async move { read_recovery(transaction, &id, &crypter).await }.boxed()
            })
            .await
    }

    async fn same_as(&self, account: &TotpAccount) -> Result<Vec<AccountRecord>, VaultError> {
        let (account, crypter) = (account.clone(), Arc::clone(&self.crypter));
        self.database
            .read(move |transaction| {
                let (account, crypter) = (account.clone(), Arc::clone(&crypter));
                async move {
                    let current = current_key(transaction).await?;
                    let content = Content::of(&account, &current, &crypter)?;
                    storing::same(transaction, &content).await
                }
                .boxed()
            })
            .await
    }

    async fn describe(&self, id: &EnrollmentId) -> Result<AccountRecord, VaultError> {
        Ok(self.look(id).await?.record)
    }

    async fn list_by(
        &self,
        filter: &Filter,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<AccountPage, VaultError> {
        let filter = filter.clone();
        let after = cursor.map(ListPosition::from_cursor).transpose()?;
        let limit = limit.clamp(1, MAX_PAGE);
        self.database
            .read(move |transaction| {
                let (filter, after) = (filter.clone(), after.clone());
                async move { page(transaction, &filter, after, limit).await }.boxed()
            })
            .await
    }

    async fn change(
        &self,
        id: &EnrollmentId,
        change: &Change,
    ) -> Result<AccountRecord, VaultError> {
        let change = change.clone();
        self.on(id, move |transaction, id, _| {
            let change = change.clone();
            async move { apply(transaction, &id, change).await }.boxed()
        })
        .await
    }

    async fn delete(&self, id: &EnrollmentId) -> Result<(), VaultError> {
        self.on(id, |transaction, id, _| {
            async move {
                set_deleted(transaction, &id, Some(Utc::now())).await?;
                Ok(())
            }
            .boxed()
        })
        .await
    }

    async fn recover(&self, id: &EnrollmentId) -> Result<AccountRecord, VaultError> {
        self.on(id, |transaction, id, _| {
            async move { set_deleted(transaction, &id, None).await }.boxed()
        })
        .await
    }

    async fn purge(&self, id: &EnrollmentId) -> Result<(), VaultError> {
        self.on(id, |transaction, id, _| {
            async move {
                let Some(row) = find(transaction, &id).await? else {
                    return match is_purged(transaction, &id).await? {
                        true => Ok(()),
                        false => Err(VaultError::NotFound),
                    };
                };
                if row.record.deleted_at.is_none() {
                    return Err(VaultError::Conflict);
                }
                remove_recovery(transaction, &id).await?;
                let sql = "DELETE FROM vault_accounts WHERE id = $1";
                execute(transaction, sql, &[&id.as_str()]).await?;
                let sql = "INSERT INTO vault_purged (id, purged_at) VALUES ($1, $2)";
                let now = Utc::now().timestamp_micros();
                execute(transaction, sql, &[&id.as_str(), &now]).await?;
                Ok(())
            }
            .boxed()
        })
        .await
    }

    async fn check(&self) -> Result<(), VaultError> {
        Ok(self.database.ping().await?)
    }
}

impl PostgresVault {
    async fn look(&self, id: &EnrollmentId) -> Result<AccountRow, VaultError> {
        let id = id.clone();
        self.database
            .read(move |transaction| {
                let id = id.clone();
                async move { find(transaction, &id).await?.ok_or(VaultError::NotFound) }.boxed()
            })
            .await
    }
}

pub(super) async fn find(
    transaction: &Transaction<'_>,
    id: &EnrollmentId,
) -> Result<Option<AccountRow>, VaultError> {
    let sql = format!("SELECT {COLUMNS} FROM vault_accounts WHERE id = $1");
    let row = one(transaction, &sql, &[&id.as_str()]).await?;
    row.as_ref().map(read_row).transpose()
}

/// The id of the key that everyone who uses the vault has.
async fn current_key(transaction: &Transaction<'_>) -> Result<String, VaultError> {
    let row = one(transaction, "SELECT id FROM vault_keys", &[]).await?;
    get(&row.ok_or_else(spoilt_column)?, "id")
}

/// The same, which stays the current one until the transaction ends.
async fn held_key(transaction: &Transaction<'_>) -> Result<String, VaultError> {
    let row = one(transaction, "SELECT id FROM vault_keys FOR SHARE", &[]).await?;
    get(&row.ok_or_else(spoilt_column)?, "id")
}

async fn is_purged(transaction: &Transaction<'_>, id: &EnrollmentId) -> Result<bool, VaultError> {
    let sql = "SELECT 1 FROM vault_purged WHERE id = $1";
    Ok(one(transaction, sql, &[&id.as_str()]).await?.is_some())
}

async fn insert(
    transaction: &Transaction<'_>,
    id: &EnrollmentId,
    account: &TotpAccount,
    pending_for: Option<&CallerId>,
    crypter: &Crypter,
) -> Result<(), VaultError> {
    let parameters = account.parameters();
    let current = held_key(transaction).await?;
    let encrypted = crypter
        .encrypt(
            Some(&current),
            &place(id, parameters),
            account.secret().expose(),
        )
        .map_err(from_crypter)?;
    let mark = content::mark(account, Some(&current), crypter)?;
    let (issuer_key, name_key) = order::keys(account.issuer(), account.account_name());
    execute(
        transaction,
        "INSERT INTO vault_accounts (id, issuer, account_name, issuer_key, name_key, algorithm,
             digits, period, key_id, nonce, ciphertext, created_at, updated_at, label_issuer,
             tags, pending_for, content)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12, $13, '', $14, $15)",
        &[
            &id.as_str(),
            &account.issuer(),
            &account.account_name(),
            &issuer_key,
            &name_key,
            &parameters.algorithm().as_str(),
            &i64::from(parameters.digits()),
            &i64::from(parameters.period()),
            &encrypted.key_id,
            &encrypted.nonce,
            &encrypted.ciphertext,
            &Utc::now().timestamp_micros(),
            &account.labels().label_issuer(),
            &pending_for.map(CallerId::as_str),
            &mark,
        ],
    )
    .await?;
    Ok(())
}

async fn apply(
    transaction: &Transaction<'_>,
    id: &EnrollmentId,
    change: Change,
) -> Result<AccountRecord, VaultError> {
    let row = find(transaction, id).await?.ok_or(VaultError::NotFound)?;
    if row.record.deleted_at.is_some() {
        return Err(VaultError::Deleted);
    }
    let labels = match change.labels {
        Some(labels) => labels,
        None => row.record.preview.labels().map_err(|_| spoilt_column())?,
    };
    let filing = change.filing.unwrap_or(row.record.filing);
    let pending_for = row.record.pending_for.filter(|_| !change.proved);
    let (issuer_key, name_key) = order::keys(labels.issuer(), labels.account_name());
    execute(
        transaction,
        "UPDATE vault_accounts SET issuer = $2, account_name = $3, issuer_key = $4, name_key = $5,
             updated_at = $6, label_issuer = $7, group_name = $8, tags = $9, pending_for = $10
         WHERE id = $1",
        &[
            &id.as_str(),
            &labels.issuer(),
            &labels.account_name(),
            &issuer_key,
            &name_key,
            &Utc::now().timestamp_micros(),
            &labels.label_issuer(),
            &filing.group(),
            &filing.joined_tags(),
            &pending_for.as_ref().map(CallerId::as_str),
        ],
    )
    .await?;
    let changed = find(transaction, id).await?.ok_or(VaultError::NotFound)?;
    Ok(changed.record)
}

/// Deletes or recovers, unless that is done already.
async fn set_deleted(
    transaction: &Transaction<'_>,
    id: &EnrollmentId,
    deleted_at: Option<DateTime<Utc>>,
) -> Result<AccountRecord, VaultError> {
    let row = find(transaction, id).await?.ok_or(VaultError::NotFound)?;
    if row.record.deleted_at.is_some() == deleted_at.is_some() {
        return Ok(row.record);
    }
    let sql = "UPDATE vault_accounts SET deleted_at = $2, updated_at = $3 WHERE id = $1";
    let deleted_at = deleted_at.map(|at| at.timestamp_micros());
    let now = Utc::now().timestamp_micros();
    execute(transaction, sql, &[&id.as_str(), &deleted_at, &now]).await?;
    let changed = find(transaction, id).await?.ok_or(VaultError::NotFound)?;
    Ok(changed.record)
}

async fn page(
    transaction: &Transaction<'_>,
    filter: &Filter,
    after: Option<ListPosition>,
    limit: usize,
) -> Result<AccountPage, VaultError> {
    // Every id is greater than the empty one, so this is before everything.
    let mut after = after.unwrap_or(ListPosition {
        issuer_key: String::new(),
        name_key: String::new(),
        id: String::new(),
    });
    let search = filter.search.as_deref().unwrap_or_default().to_lowercase();
    // No text of PostgreSQL has one.
    if [&after.issuer_key, &after.name_key, &after.id]
        .iter()
        .any(|part| part.contains('\0'))
    {
        return Err(VaultError::InvalidCursor);
    }
    if search.contains('\0') {
        return Ok(AccountPage {
            accounts: Vec::new(),
            next: None,
        });
    }
    let sql = format!(
        "SELECT {COLUMNS}, issuer_key, name_key FROM vault_accounts
         WHERE deleted_at IS {} AND (issuer_key, name_key, id) > ($1, $2, $3)
           AND ($4 = '' OR strpos(issuer_key, $4) > 0 OR strpos(name_key, $4) > 0)
         ORDER BY issuer_key, name_key, id LIMIT $5",
        if filter.deleted { "NOT NULL" } else { "NULL" }
    );
    // One more than is asked for says whether there are more.
    let wanted = limit + 1;
    let chunk = i64::try_from(wanted).unwrap_or(i64::MAX);
    let mut accounts: Vec<AccountRecord> = Vec::with_capacity(wanted);
    while accounts.len() < wanted {
        let rows = all(
            transaction,
            &sql,
            &[
                &after.issuer_key,
                &after.name_key,
                &after.id,
                &search,
                &chunk,
            ],
        )
        .await?;
        let is_last = rows.len() < wanted;
        for row in &rows {
            let record = read_row(row)?.record;
            // As the database has it, so that each row is read once whatever it says.
            after = ListPosition {
                issuer_key: get(row, "issuer_key")?,
                name_key: get(row, "name_key")?,
                id: get(row, "id")?,
            };
            if filter.lets_through(&record) && accounts.len() < wanted {
                accounts.push(record);
            }
        }
        if is_last {
            break;
        }
    }
    let more = accounts.len() > limit;
    accounts.truncate(limit);
    Ok(AccountPage {
        next: accounts
            .last()
            .filter(|_| more)
            .map(|last| ListPosition::of(last).to_cursor()),
        accounts,
    })
}

/// The value of a column, which has the type that it was made with.
fn get<'r, T: FromSql<'r>>(row: &'r Row, column: &str) -> Result<T, VaultError> {
    row.try_get(column).map_err(|_| spoilt_column())
}

fn encrypted(row: &Row) -> Result<Encrypted, VaultError> {
    Ok(Encrypted {
        key_id: get(row, "key_id")?,
        nonce: get(row, "nonce")?,
        ciphertext: get(row, "ciphertext")?,
    })
}

fn read_row(row: &Row) -> Result<AccountRow, VaultError> {
    let moment = |micros: i64| DateTime::from_timestamp_micros(micros).ok_or_else(spoilt_column);
    let algorithm: &str = get(row, "algorithm")?;
    let algorithm = [Algorithm::Sha1, Algorithm::Sha256, Algorithm::Sha512]
        .into_iter()
        .find(|known| known.as_str() == algorithm)
        .ok_or_else(spoilt_column)?;
    let id: &str = get(row, "id")?;
    let (digits, period): (i64, i64) = (get(row, "digits")?, get(row, "period")?);
    let pending_for: Option<&str> = get(row, "pending_for")?;
    let deleted_at: Option<i64> = get(row, "deleted_at")?;
    Ok(AccountRow {
        record: AccountRecord {
            id: id.parse().map_err(|_| spoilt_column())?,
            preview: AccountPreview {
                issuer: get(row, "issuer")?,
                account_name: get(row, "account_name")?,
                label_issuer: get(row, "label_issuer")?,
                algorithm,
                digits: u8::try_from(digits).map_err(|_| spoilt_column())?,
                period: u32::try_from(period).map_err(|_| spoilt_column())?,
            },
            filing: Filing::read(get(row, "group_name")?, get(row, "tags")?),
            pending_for: pending_for
                .map(|name| name.parse().map_err(|_| spoilt_column()))
                .transpose()?,
            created_at: moment(get(row, "created_at")?)?,
            updated_at: moment(get(row, "updated_at")?)?,
            deleted_at: deleted_at.map(moment).transpose()?,
        },
        encrypted: encrypted(row)?,
    })
}
