//! Whether every account of a vault opens: of a copy, which nobody changes meanwhile.

use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use countersign_enrollment::ids::EnrollmentId;
use rusqlite::{Connection, OpenFlags};
use thiserror::Error;

use super::VaultError;
use super::embedded::{COLUMNS, from_sqlite, read_row};
use super::key_file::{self, KeyFileError};
use super::recovery;
use crate::totp::{self, CodeError};

/// What is in a vault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VaultContents {
    /// Accounts in use.
    pub accounts: u64,
    /// Accounts that were removed and can be restored.
    pub removed: u64,
    /// Accounts with recovery codes.
    pub with_recovery_codes: u64,
}

/// Why a copy of a vault is of no use, or cannot be looked at.
#[derive(Debug, Error)]
pub enum CheckError {
    /// Its keys cannot be read.
    #[error(transparent)]
    Keys(#[from] KeyFileError),
    /// It cannot be read.
    #[error("the vault {} cannot be read", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: VaultError,
    },
    /// An account does not open.
    #[error("the account {id} does not open: {source}")]
    Account {
        /// Which one.
        id: String,
        /// Why not.
        source: VaultError,
    },
    /// An account opens and gives no code.
    #[error("the account {id} gives no code: {source}")]
    Code {
        /// Which one.
        id: String,
        /// Why not.
        source: CodeError,
    },
}

/// Opens every account of the vault at `database` with the keys of a key file, makes its code
/// at `now` and shows none, and opens its recovery codes. Changes nothing. Blocks.
///
/// # Errors
///
/// [`CheckError`]: the first thing that is wrong.
pub fn check(database: &Path, keys: &str, now: DateTime<Utc>) -> Result<VaultContents, CheckError> {
    let crypter = key_file::parse(keys, &database.with_file_name("vault.key"))?;
    let unreadable = |source| CheckError::Database {
        path: database.to_owned(),
        source,
    };
    let failed = |error| unreadable(from_sqlite(error));
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(database, flags).map_err(failed)?;
    let mut contents = VaultContents::default();
    let seconds = u64::try_from(now.timestamp()).unwrap_or(0);
    let mut statement = connection
        .prepare(&format!("SELECT {COLUMNS} FROM accounts"))
        .map_err(failed)?;
    let mut rows = statement.query([]).map_err(failed)?;
    while let Some(row) = rows.next().map_err(failed)? {
        let row = read_row(row).map_err(unreadable)?;
        let id = row.record.id.to_string();
        let account = row
            .account(&crypter)
            .map_err(|source| CheckError::Account {
                id: id.clone(),
                source,
            })?;
        totp::code_at(&account, seconds).map_err(|source| CheckError::Code { id, source })?;
        match row.record.deleted_at {
            None => contents.accounts += 1,
            Some(_) => contents.removed += 1,
        }
    }
    let mut with_codes = connection
        .prepare("SELECT account FROM recovery_codes")
        .map_err(failed)?;
    let ids = with_codes
        .query_map([], |row| row.get::<_, String>(0))
        .map_err(failed)?;
    for id in ids {
        let id: String = id.map_err(failed)?;
        let of = |source| CheckError::Account {
            id: id.clone(),
            source,
        };
        let known: EnrollmentId = id.parse().map_err(|_| {
            of(VaultError::Corrupt {
                reason: "its id is none",
            })
        })?;
        recovery::kept(&connection, &known, &crypter).map_err(of)?;
        contents.with_recovery_codes += 1;
    }
    Ok(contents)
}
