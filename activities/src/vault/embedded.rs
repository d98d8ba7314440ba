//! The vault in the data folder: SQLite, every secret encrypted on its own.
//!
//! `vault.sqlite3` holds one row an account. The secret is encrypted with
//! XChaCha20-Poly1305 under a key in another file, `vault.key`, that only its owner can
//! read, and is bound to its id and parameters: a row that was changed, or moved to
//! another id, does not open. What accounts are called and how their codes look stays
//! readable in the database. Several processes can use one folder.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use countersign_enrollment::account::{
    AccountPreview, Algorithm, CodeParameters, TotpAccount, TotpSecret,
};
use countersign_enrollment::filing::Filing;
use countersign_enrollment::ids::{CallerId, EnrollmentId};
use countersign_enrollment::recovery::RecoveryCodes;
use durabletask_sqlite::Database as SqliteDatabase;
use rusqlite::{
    Connection, ErrorCode, OptionalExtension as _, Row, Transaction, TransactionBehavior, params,
};
use tokio::sync::Mutex;

use crate::database_stamp::DatabaseStamp;

use super::content;
use super::crypter::{Crypter, CrypterError, Encrypted};
use super::key_file::{KeyFile, KeyFileError};
use super::open_error::VaultOpenError;
use super::order::{self, ListPosition};
use super::recovery;
use super::schema::{self, Opened};
use super::{
    AccountPage, AccountRecord, Change, Filter, MAX_PAGE, Reading, SecretVault, Stored,
    StoredUnlessThere, VaultError,
};

/// The vault's database, in the data folder.
pub const DATABASE: &str = "vault.sqlite3";
/// The file with the vault's key, in the data folder.
pub const KEY_FILE: &str = "vault.key";

/// A vault in a folder on this machine. Clones use the same connections.
#[derive(Clone)]
pub struct EmbeddedVault {
    pub(super) crypter: Arc<Crypter>,
    // Each is used by one blocking task at a time. Reading does not wait for writing.
    writer: Arc<Mutex<SqliteDatabase>>,
    reader: Arc<Mutex<SqliteDatabase>>,
    stamp: Arc<DatabaseStamp>,
}

impl EmbeddedVault {
    /// Opens the vault in `folder`, which must exist, and makes it on first use. Blocks.
    ///
    /// # Errors
    ///
    /// [`VaultOpenError`], whose text says what to do.
    pub fn open(folder: &Path) -> Result<Self, VaultOpenError> {
        Self::open_with(folder, &folder.join(KEY_FILE).into())
    }

    /// The same with the keys in the file `keys`, which may be wrapped.
    ///
    /// # Errors
    ///
    /// As [`EmbeddedVault::open`].
    pub fn open_with(folder: &Path, keys: &KeyFile) -> Result<Self, VaultOpenError> {
        let path = folder.join(DATABASE);
        // In this order: the tables are made before the key, so that it is never there alone.
        if keys.holds_keys()? && std::fs::metadata(&path).map_or(true, |about| about.len() == 0) {
            return Err(VaultOpenError::missing(path, keys));
        }
        durabletask_sqlite::create_private(&path).map_err(|source| VaultOpenError::Io {
            path: path.clone(),
            source,
        })?;
        let failed = |source| VaultOpenError::Database {
            path: path.clone(),
            source,
        };
        let refused = |error| match error {
            durabletask_sqlite::OpenError::Sqlite(source) => failed(source),
            other => VaultOpenError::Copied(other),
        };
        let open = || match schema::open(&path).map_err(refused)? {
            Opened::Ready(connection) => Ok(connection),
            Opened::Newer(found) => Err(VaultOpenError::Newer {
                path: path.clone(),
                found,
            }),
            Opened::Foreign => Err(VaultOpenError::Foreign(path.clone())),
        };
        let mut writer = open()?;
        let reader = open()?;
        let stamp = DatabaseStamp::open(&path).map_err(failed)?;
        let mut used: Vec<String> = key_ids(&writer).map_err(failed)?;

        let missing = |key_id: &String| VaultOpenError::KeyMissing {
            path: keys.path().to_owned(),
            key_id: key_id.clone(),
        };
        let crypter = match keys.read()? {
            Some(crypter) => crypter,
            // A new key must not hide that the old one is lost.
            None => match used.first() {
                Some(key_id) => return Err(missing(key_id)),
                None => {
                    keys.create()?;
                    keys.read()?
                        .ok_or_else(|| KeyFileError::Empty(keys.path().to_owned()))?
                }
            },
        };
        let crypter = crypter.following(keys.again());
        if used.iter().any(|key_id| !crypter.has(key_id)) {
            // The last account of a retired key may have got another one in between.
            used = key_ids(&writer).map_err(failed)?;
        }
        if let Some(key_id) = used.iter().find(|key_id| !crypter.has(key_id)) {
            return Err(missing(key_id));
        }
        content::mark_all(&mut writer, &crypter).map_err(failed)?;
        Ok(Self {
            crypter: Arc::new(crypter),
            writer: Arc::new(Mutex::new(writer)),
            reader: Arc::new(Mutex::new(reader)),
            stamp: Arc::new(stamp),
        })
    }

    /// The id of the data folder that the vault belongs to: that of the first caller, which
    /// gives its own as `id`.
    ///
    /// # Errors
    ///
    /// [`VaultError::Unavailable`] when the database does not answer.
    pub async fn folder_id(&self, id: &str) -> Result<String, VaultError> {
        let id = id.to_owned();
        self.write(move |transaction| {
            transaction
                .execute_batch(
                    "CREATE TABLE IF NOT EXISTS folder (
                         only INTEGER PRIMARY KEY CHECK (only = 1),
                         id   TEXT NOT NULL
                     ) STRICT;",
                )
                .and_then(|()| {
                    transaction.execute("INSERT OR IGNORE INTO folder VALUES (1, ?1)", [&id])
                })
                .and_then(|_| transaction.query_row("SELECT id FROM folder", [], |row| row.get(0)))
                .map_err(from_sqlite)
        })
        .await
    }

    /// Runs `work` in a transaction that is durable once this returns `Ok`.
    pub(super) async fn write<T, F>(&self, work: F) -> Result<T, VaultError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, VaultError> + Send + 'static,
    {
        let mut connection = Arc::clone(&self.writer).lock_owned().await;
        blocking(move || {
            let transaction = connection
                .transaction_with_behavior(TransactionBehavior::Immediate)
                .map_err(from_sqlite)?;
            let done = work(&transaction)?;
            transaction.commit().map_err(from_sqlite)?;
            Ok(done)
        })
        .await
    }

    async fn look<T, F>(&self, work: F) -> Result<T, VaultError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, VaultError> + Send + 'static,
    {
        let connection = Arc::clone(&self.reader).lock_owned().await;
        blocking(move || work(&connection)).await
    }
}

#[async_trait]
impl SecretVault for EmbeddedVault {
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
        let (id, crypter) = (id.clone(), Arc::clone(&self.crypter));
        self.look(move |connection| {
            let row = find(connection, &id)?.ok_or(VaultError::NotFound)?;
            if row.record.deleted_at.is_some() {
                return Err(VaultError::Deleted);
            }
            let account = row.account(&crypter)?;
            Ok(Arc::new(Reading::new(account, row.record.pending_for)))
        })
        .await
    }

    fn stamp(&self) -> u64 {
        self.stamp.now()
    }

    async fn set_recovery(
        &self,
        id: &EnrollmentId,
        replaced: &RecoveryCodes,
        codes: &RecoveryCodes,
    ) -> Result<(), VaultError> {
        let (id, crypter) = (id.clone(), Arc::clone(&self.crypter));
        let (replaced, codes) = (replaced.clone(), codes.clone());
        self.write(move |transaction| recovery::set(transaction, &id, &replaced, &codes, &crypter))
            .await
    }

    async fn recovery(&self, id: &EnrollmentId) -> Result<RecoveryCodes, VaultError> {
        let (id, crypter) = (id.clone(), Arc::clone(&self.crypter));
        self.look(move |connection| recovery::read(connection, &id, &crypter))
            .await
    }

    async fn same_as(&self, account: &TotpAccount) -> Result<Vec<AccountRecord>, VaultError> {
        let (account, crypter) = (account.clone(), Arc::clone(&self.crypter));
        self.look(move |connection| content::same(connection, &account, &crypter))
            .await
    }

    async fn describe(&self, id: &EnrollmentId) -> Result<AccountRecord, VaultError> {
        let id = id.clone();
        self.look(move |connection| {
            let row = find(connection, &id)?.ok_or(VaultError::NotFound)?;
            Ok(row.record)
        })
        .await
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
        self.look(move |connection| page(connection, &filter, after, limit))
            .await
    }

    async fn change(
        &self,
        id: &EnrollmentId,
        change: &Change,
    ) -> Result<AccountRecord, VaultError> {
        let (id, change) = (id.clone(), change.clone());
        self.write(move |transaction| {
            let row = find(transaction, &id)?.ok_or(VaultError::NotFound)?;
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
            transaction
                .prepare_cached(
                    "UPDATE accounts SET issuer = ?2, account_name = ?3, issuer_key = ?4,
                     name_key = ?5, updated_at = ?6, label_issuer = ?7, group_name = ?8,
                     tags = ?9, pending_for = ?10 WHERE id = ?1",
                )
                .and_then(|mut statement| {
                    statement.execute(params![
                        id.as_str(),
                        labels.issuer(),
                        labels.account_name(),
                        issuer_key,
                        name_key,
                        Utc::now().timestamp_micros(),
                        labels.label_issuer(),
                        filing.group(),
                        filing.joined_tags(),
                        pending_for.as_ref().map(CallerId::as_str),
                    ])
                })
                .map_err(from_sqlite)?;
            Ok(find(transaction, &id)?.ok_or(VaultError::NotFound)?.record)
        })
        .await
    }

    async fn delete(&self, id: &EnrollmentId) -> Result<(), VaultError> {
        let id = id.clone();
        self.write(move |transaction| {
            set_deleted(transaction, &id, Some(Utc::now()))?;
            Ok(())
        })
        .await
    }

    async fn recover(&self, id: &EnrollmentId) -> Result<AccountRecord, VaultError> {
        let id = id.clone();
        self.write(move |transaction| set_deleted(transaction, &id, None))
            .await
    }

    async fn purge(&self, id: &EnrollmentId) -> Result<(), VaultError> {
        let id = id.clone();
        self.write(move |transaction| {
            let Some(row) = find(transaction, &id)? else {
                return if is_purged(transaction, &id)? {
                    Ok(())
                } else {
                    Err(VaultError::NotFound)
                };
            };
            if row.record.deleted_at.is_none() {
                return Err(VaultError::Conflict);
            }
            transaction
                .execute("DELETE FROM accounts WHERE id = ?1", params![id.as_str()])
                .map_err(from_sqlite)?;
            recovery::remove(transaction, &id)?;
            transaction
                .execute(
                    "INSERT INTO purged (id, purged_at) VALUES (?1, ?2)",
                    params![id.as_str(), Utc::now().timestamp_micros()],
                )
                .map_err(from_sqlite)?;
            Ok(())
        })
        .await
    }
}

/// A row as it is kept.
pub(super) struct AccountRow {
    pub(super) record: AccountRecord,
    pub(super) encrypted: Encrypted,
}

impl AccountRow {
    pub(super) fn account(&self, crypter: &Crypter) -> Result<TotpAccount, VaultError> {
        let corrupt = |_| VaultError::Corrupt {
            reason: "it has invalid values",
        };
        let preview = &self.record.preview;
        let labels = preview.labels().map_err(corrupt)?;
        let parameters = CodeParameters::new(preview.algorithm, preview.digits, preview.period)
            .map_err(corrupt)?;
        let secret = crypter
            .decrypt(&place(&self.record.id, parameters), &self.encrypted)
            .map_err(from_crypter)?;
        let secret = TotpSecret::new(secret).map_err(corrupt)?;
        Ok(TotpAccount::new(labels, parameters, secret))
    }
}

/// What a secret is bound to: where it is kept, and how its codes are made. The 1 is the
/// version of this text.
pub(super) fn place(id: &EnrollmentId, parameters: CodeParameters) -> String {
    format!(
        "accounts|{id}|1|{}|{}|{}",
        parameters.algorithm().as_str(),
        parameters.digits(),
        parameters.period()
    )
}

pub(super) fn insert(
    transaction: &Transaction<'_>,
    id: &EnrollmentId,
    account: &TotpAccount,
    pending_for: Option<&CallerId>,
    crypter: &Crypter,
) -> Result<(), VaultError> {
    let parameters = account.parameters();
    let current = schema::current_key(transaction).map_err(from_sqlite)?;
    let current = current.as_deref();
    let encrypted = crypter
        .encrypt(current, &place(id, parameters), account.secret().expose())
        .map_err(from_crypter)?;
    let mark = content::mark(account, current, crypter)?;
    let (issuer_key, name_key) = order::keys(account.issuer(), account.account_name());
    let now = Utc::now().timestamp_micros();
    transaction
        .prepare_cached(
            "INSERT INTO accounts (id, issuer, account_name, issuer_key, name_key, algorithm,
             digits, period, key_id, nonce, ciphertext, created_at, updated_at, label_issuer,
             pending_for, content)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?12, ?13, ?14, ?15)",
        )
        .and_then(|mut statement| {
            statement.execute(params![
                id.as_str(),
                account.issuer(),
                account.account_name(),
                issuer_key,
                name_key,
                parameters.algorithm().as_str(),
                parameters.digits(),
                parameters.period(),
                encrypted.key_id,
                encrypted.nonce,
                encrypted.ciphertext,
                now,
                account.labels().label_issuer(),
                pending_for.map(CallerId::as_str),
                mark,
            ])
        })
        .map_err(from_sqlite)?;
    Ok(())
}

pub(super) const COLUMNS: &str = "id, issuer, account_name, algorithm, digits, period, created_at, \
                       updated_at, deleted_at, key_id, nonce, ciphertext, label_issuer, \
                       group_name, tags, pending_for";

pub(super) fn find(
    connection: &Connection,
    id: &EnrollmentId,
) -> Result<Option<AccountRow>, VaultError> {
    connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM accounts WHERE id = ?1"))
        .and_then(|mut statement| {
            statement
                .query_row(params![id.as_str()], |row| Ok(read_row(row)))
                .optional()
        })
        .map_err(from_sqlite)?
        .transpose()
}

pub(super) fn read_row(row: &Row<'_>) -> Result<AccountRow, VaultError> {
    let corrupt = spoilt_column;
    let moment = |micros: i64| DateTime::from_timestamp_micros(micros).ok_or_else(corrupt);
    let id: String = row.get(0).map_err(from_sqlite)?;
    let algorithm: String = row.get(3).map_err(from_sqlite)?;
    let algorithm = [Algorithm::Sha1, Algorithm::Sha256, Algorithm::Sha512]
        .into_iter()
        .find(|known| known.as_str() == algorithm)
        .ok_or_else(corrupt)?;
    let deleted_at: Option<i64> = row.get(8).map_err(from_sqlite)?;
    let group: Option<String> = row.get(13).map_err(from_sqlite)?;
    let tags: String = row.get(14).map_err(from_sqlite)?;
    let pending_for: Option<String> = row.get(15).map_err(from_sqlite)?;
    Ok(AccountRow {
        record: AccountRecord {
            id: id.parse().map_err(|_| corrupt())?,
            preview: AccountPreview {
                issuer: row.get(1).map_err(from_sqlite)?,
                account_name: row.get(2).map_err(from_sqlite)?,
                label_issuer: row.get(12).map_err(from_sqlite)?,
                algorithm,
                digits: row.get(4).map_err(from_sqlite)?,
                period: row.get(5).map_err(from_sqlite)?,
            },
            filing: Filing::read(group.as_deref(), &tags),
            pending_for: pending_for
                .map(|name| name.parse().map_err(|_| corrupt()))
                .transpose()?,
            created_at: moment(row.get(6).map_err(from_sqlite)?)?,
            updated_at: moment(row.get(7).map_err(from_sqlite)?)?,
            deleted_at: deleted_at.map(moment).transpose()?,
        },
        encrypted: Encrypted {
            key_id: row.get(9).map_err(from_sqlite)?,
            nonce: row.get(10).map_err(from_sqlite)?,
            ciphertext: row.get(11).map_err(from_sqlite)?,
        },
    })
}

/// Deletes or recovers, unless that is done already.
fn set_deleted(
    transaction: &Transaction<'_>,
    id: &EnrollmentId,
    deleted_at: Option<DateTime<Utc>>,
) -> Result<AccountRecord, VaultError> {
    let row = find(transaction, id)?.ok_or(VaultError::NotFound)?;
    if row.record.deleted_at.is_some() == deleted_at.is_some() {
        return Ok(row.record);
    }
    transaction
        .execute(
            "UPDATE accounts SET deleted_at = ?2, updated_at = ?3 WHERE id = ?1",
            params![
                id.as_str(),
                deleted_at.map(|at| at.timestamp_micros()),
                Utc::now().timestamp_micros(),
            ],
        )
        .map_err(from_sqlite)?;
    Ok(find(transaction, id)?.ok_or(VaultError::NotFound)?.record)
}

pub(super) fn is_purged(connection: &Connection, id: &EnrollmentId) -> Result<bool, VaultError> {
    connection
        .query_row(
            "SELECT EXISTS (SELECT 1 FROM purged WHERE id = ?1)",
            params![id.as_str()],
            |row| row.get(0),
        )
        .map_err(from_sqlite)
}

pub(super) fn key_ids(connection: &Connection) -> Result<Vec<String>, rusqlite::Error> {
    connection
        .prepare("SELECT key_id FROM accounts UNION SELECT key_id FROM recovery_codes")?
        .query_map([], |row| row.get(0))?
        .collect()
}

fn page(
    connection: &Connection,
    filter: &Filter,
    after: Option<ListPosition>,
    limit: usize,
) -> Result<AccountPage, VaultError> {
    // Every id is greater than the empty one, so this is before everything.
    let after = after.unwrap_or(ListPosition {
        issuer_key: String::new(),
        name_key: String::new(),
        id: String::new(),
    });
    let mut statement = connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM accounts
             WHERE deleted_at IS {} AND (issuer_key, name_key, id) > (?1, ?2, ?3)
               AND (?4 = '' OR instr(issuer_key, ?4) > 0 OR instr(name_key, ?4) > 0)
             ORDER BY issuer_key, name_key, id",
            if filter.deleted { "NOT NULL" } else { "NULL" }
        ))
        .map_err(from_sqlite)?;
    let search = filter.search.as_deref().unwrap_or_default().to_lowercase();
    let rows = statement
        .query_map(
            params![after.issuer_key, after.name_key, after.id, search],
            |row| Ok(read_row(row)),
        )
        .map_err(from_sqlite)?;
    let mut accounts = Vec::with_capacity(limit);
    let mut more = false;
    // Rows are made as they are requested, in the index's order: no more than needed.
    for row in rows {
        let record = row.map_err(from_sqlite)??.record;
        if !filter.lets_through(&record) {
            continue;
        }
        if accounts.len() == limit {
            more = true;
            break;
        }
        accounts.push(record);
    }
    Ok(AccountPage {
        next: accounts
            .last()
            .filter(|_| more)
            .map(|last| ListPosition::of(last).to_cursor()),
        accounts,
    })
}

/// Runs blocking work off the async threads. It is bounded by what it holds: a
/// connection each.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, VaultError> + Send + 'static,
) -> Result<T, VaultError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| {
            Err(VaultError::Unavailable {
                source: Box::new(error),
            })
        })
}

pub(super) const fn spoilt_column() -> VaultError {
    VaultError::Corrupt {
        reason: "a column has an invalid value",
    }
}

/// What an error of SQLite means to someone who uses the vault.
pub(super) fn from_sqlite(error: rusqlite::Error) -> VaultError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => VaultError::Corrupt {
            reason: "the database file is damaged; restore it from a backup",
        },
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => VaultError::Denied {
            reason: "the database file cannot be written".to_owned(),
        },
        None if matches!(
            error,
            rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
                | rusqlite::Error::InvalidColumnType(..)
        ) =>
        {
            spoilt_column()
        }
        _ => VaultError::Unavailable {
            source: Box::new(error),
        },
    }
}

pub(super) fn from_crypter(error: CrypterError) -> VaultError {
    match error {
        CrypterError::UnknownKey => VaultError::Corrupt {
            reason: "it is encrypted with a key that is not in the key file",
        },
        CrypterError::DoesNotOpen => VaultError::Corrupt {
            reason: "it cannot be decrypted; it was changed, or the key was",
        },
        CrypterError::TooLarge => VaultError::Corrupt {
            reason: "it is too large",
        },
        CrypterError::Random => VaultError::Unavailable {
            source: Box::new(KeyFileError::Random),
        },
    }
}
