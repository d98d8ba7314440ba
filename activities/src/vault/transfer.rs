//! The vault on its way between a data folder and the shared database. Accounts stay encrypted
//! with the same key, which is in the same file; what they give is compared before the new
//! place counts.

use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use countersign_database::tables::{Column, Table};
use countersign_database::{DatabaseError, Transaction, execute};
use rusqlite::{Connection, params};
use thiserror::Error;

use super::check::{BadAccount, opened};
use super::crypter::Crypter;
use super::embedded::{AccountRow, COLUMNS, DATABASE, EmbeddedVault, from_sqlite, read_row};
use super::key_file::{KeyFile, KeyFileError};
use super::open_error::VaultOpenError;
use super::{VaultError, postgres, recovery, schema};

/// How many accounts are compared at a time.
const PAGE: i64 = 500;

/// Its tables, each after those that it refers to.
pub const TABLES: &[Table] = &[
    Table {
        rows: "accounts",
        shared: "vault_accounts",
        folder: "accounts",
        columns: &[
            Column::text("id"),
            Column::text("issuer"),
            Column::text("account_name"),
            Column::text("label_issuer"),
            Column::text("issuer_key"),
            Column::text("name_key"),
            Column::text("algorithm"),
            Column::number("digits"),
            Column::number("period"),
            Column::text("key_id"),
            Column::bytes("nonce"),
            Column::bytes("ciphertext"),
            Column::number("created_at"),
            Column::number("updated_at"),
            Column::number("deleted_at"),
            Column::text("group_name"),
            Column::text("tags"),
            Column::text("pending_for"),
            Column::bytes("content"),
        ],
        key: 1,
        numbered: false,
    },
    Table {
        rows: "accounts with recovery codes",
        shared: "vault_recovery_codes",
        folder: "recovery_codes",
        columns: &[
            Column::text("account"),
            Column::text("key_id"),
            Column::bytes("nonce"),
            Column::bytes("ciphertext"),
            Column::number("set_at"),
        ],
        key: 1,
        numbered: false,
    },
    Table {
        rows: "ids of destroyed accounts",
        shared: "vault_purged",
        folder: "purged",
        columns: &[Column::text("id"), Column::number("purged_at")],
        key: 1,
        numbered: false,
    },
];

/// Why a vault cannot be moved.
#[derive(Debug, Error)]
pub enum TransferError {
    /// The vault in the folder cannot be opened.
    #[error(transparent)]
    Open(#[from] VaultOpenError),
    /// The vault in the folder cannot be read or written.
    #[error("the vault in the data folder: {0}")]
    Folder(#[source] VaultError),
    /// The shared database cannot be read or written.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The key file cannot be read.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// Some accounts have one key and some another.
    #[error(
        "a rotation of the vault's key is not finished: run `countersign rotate vault-key` to its end first"
    )]
    Rotating,
    /// The vault in the database has another key than the one in the file.
    #[error("the vault in the database has the key {key_id}, which is not in {}", path.display())]
    KeyMissing {
        /// The key file.
        path: PathBuf,
        /// The key's id.
        key_id: String,
    },
    /// An account is not as it should be, in the folder or in the database.
    #[error(transparent)]
    Account(#[from] BadAccount),
    /// An account is not in the new place, or gives something else there.
    #[error("the account {id} is not the same in both places")]
    Differs {
        /// Which one.
        id: String,
    },
}

/// Makes the vault's tables in `folder`, or brings those of an earlier release up to date. Blocks.
///
/// # Errors
///
/// [`TransferError::Open`].
pub fn bring_up(folder: &Path, keys: &KeyFile) -> Result<(), TransferError> {
    Ok(EmbeddedVault::open_with(folder, keys).map(drop)?)
}

/// Makes an empty vault in `folder`, for accounts whose key is in a file elsewhere. Blocks.
///
/// # Errors
///
/// [`TransferError::Open`].
pub fn make(folder: &Path) -> Result<(), TransferError> {
    let path = folder.join(DATABASE);
    durabletask_sqlite::create_private(&path).map_err(|source| VaultOpenError::Io {
        path: path.clone(),
        source,
    })?;
    schema::open(&path).map(drop).map_err(|error| match error {
        durabletask_sqlite::OpenError::Sqlite(source) => {
            VaultOpenError::Database { path, source }.into()
        }
        other => VaultOpenError::Copied(other).into(),
    })
}

/// The periods of all accounts, in seconds, by their ids.
///
/// # Errors
///
/// [`TransferError::Folder`].
pub fn periods(folder: &Connection) -> Result<Vec<(String, i64)>, TransferError> {
    let read = || {
        folder
            .prepare("SELECT id, period FROM accounts")?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<Vec<_>>>()
    };
    read().map_err(in_folder)
}

/// Says in the database which key its vault has.
///
/// # Errors
///
/// [`TransferError::Rotating`] if the accounts do not all have the same one.
pub async fn name_key(
    transaction: &Transaction<'_>,
    folder: &Connection,
    keys: &KeyFile,
) -> Result<(), TransferError> {
    let known = crypter(keys).await?.ids();
    let [key] = known.as_slice() else {
        return Err(TransferError::Rotating);
    };
    let others: bool = folder
        .query_row(
            "SELECT EXISTS (SELECT 1 FROM accounts WHERE key_id <> ?1)
                 OR EXISTS (SELECT 1 FROM recovery_codes WHERE key_id <> ?1)",
            [key],
            |row| row.get(0),
        )
        .map_err(in_folder)?;
    if others {
        return Err(TransferError::Rotating);
    }
    let sql = "INSERT INTO vault_keys (id) VALUES ($1)";
    execute(transaction, sql, &[key]).await?;
    Ok(())
}

/// Whether the database has a vault, with the key in the file `keys`.
///
/// # Errors
///
/// [`TransferError::KeyMissing`] and [`TransferError::Rotating`].
pub async fn has_vault(
    transaction: &Transaction<'_>,
    keys: &KeyFile,
) -> Result<bool, TransferError> {
    let needed = postgres::needed_keys(transaction).await?;
    let Some(key_id) = needed.first() else {
        return Ok(false);
    };
    let known = crypter(keys).await?.ids();
    if !known.contains(key_id) {
        let (path, key_id) = (keys.path().to_owned(), key_id.clone());
        return Err(TransferError::KeyMissing { path, key_id });
    }
    match needed.len() == 1 && known.len() == 1 {
        true => Ok(true),
        false => Err(TransferError::Rotating),
    }
}

async fn crypter(keys: &KeyFile) -> Result<Crypter, TransferError> {
    let found = postgres::blocking(keys, KeyFile::read).await?;
    found.ok_or_else(|| KeyFileError::Empty(keys.path().to_owned()).into())
}

/// Opens every account in the folder and in the database with the key in `keys`, computes the
/// code of both at `now` and compares them, and so with recovery codes. Shows none. How many
/// accounts there are, removed ones included.
///
/// # Errors
///
/// [`TransferError`]: the first difference.
pub async fn compare(
    folder: &Connection,
    transaction: &Transaction<'_>,
    keys: &KeyFile,
    now: DateTime<Utc>,
) -> Result<u64, TransferError> {
    let crypter = crypter(keys).await?;
    let seconds = u64::try_from(now.timestamp()).unwrap_or(0);
    let mut after = String::new();
    let mut compared = 0;
    loop {
        let page = accounts(folder, &after)?;
        let Some(last) = page.last() else {
            return Ok(compared);
        };
        after = last.record.id.to_string();
        for here in page {
            let id = here.record.id.clone();
            let name = || id.to_string();
            let sealed = |source| BadAccount::Sealed { id: name(), source };
            let found = postgres::find(transaction, &id).await.map_err(sealed)?;
            let there = found.ok_or_else(|| TransferError::Differs { id: name() })?;
            let (one, code) = opened(&here, &crypter, seconds)?;
            let (other, same) = opened(&there, &crypter, seconds)?;
            let equal = code == same && one.same_content(&other) && here.record == there.record;
            if !equal {
                return Err(TransferError::Differs { id: name() });
            }
            let one = recovery::kept(folder, &id, &crypter).map_err(sealed)?;
            let other = postgres::kept_recovery(transaction, &id, &crypter).await;
            if one != other.map_err(sealed)? {
                return Err(TransferError::Differs { id: name() });
            }
            compared += 1;
        }
    }
}

fn accounts(folder: &Connection, after: &str) -> Result<Vec<AccountRow>, TransferError> {
    let sql = format!("SELECT {COLUMNS} FROM accounts WHERE id > ?1 ORDER BY id LIMIT ?2");
    let mut statement = folder.prepare_cached(&sql).map_err(in_folder)?;
    let rows = statement
        .query_map(params![after, PAGE], |row| Ok(read_row(row)))
        .map_err(in_folder)?;
    rows.map(|row| row.map_err(in_folder)?.map_err(TransferError::Folder))
        .collect()
}

fn in_folder(error: rusqlite::Error) -> TransferError {
    TransferError::Folder(from_sqlite(error))
}
