//! Whether every account of a vault opens: of a copy, which nobody changes meanwhile.

use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use countersign_enrollment::account::TotpAccount;
use countersign_enrollment::ids::EnrollmentId;
use rusqlite::{Connection, OpenFlags};
use thiserror::Error;

use super::crypter::Crypter;
use super::embedded::{AccountRow, COLUMNS, from_sqlite, read_row};
use super::key_file::{KeyFile, KeyFileError};
use super::{VaultError, recovery};
use crate::totp::{self, Code, CodeError};

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
    /// An account is not as it should be.
    #[error(transparent)]
    Account(#[from] BadAccount),
}

/// Why an account of a vault is of no use.
#[derive(Debug, Error)]
pub enum BadAccount {
    /// It does not open.
    #[error("the account {id} does not open: {source}")]
    Sealed {
        /// Which one.
        id: String,
        /// Why not.
        source: VaultError,
    },
    /// It opens and gives no code.
    #[error("the account {id} gives no code: {source}")]
    NoCode {
        /// Which one.
        id: String,
        /// Why not.
        source: CodeError,
    },
}

/// An account and its code at `seconds`.
pub(super) fn opened(
    row: &AccountRow,
    crypter: &Crypter,
    seconds: u64,
) -> Result<(TotpAccount, Code), BadAccount> {
    let id = || row.record.id.to_string();
    let account = row.account(crypter);
    let account = account.map_err(|source| BadAccount::Sealed { id: id(), source })?;
    let code = totp::code_at(&account, seconds);
    let code = code.map_err(|source| BadAccount::NoCode { id: id(), source })?;
    Ok((account, code))
}

/// Counts what is in the vault at `database`, whose key is not at hand. Changes nothing. Blocks.
///
/// # Errors
///
/// [`CheckError`].
pub fn count(database: &Path) -> Result<VaultContents, CheckError> {
    let failed = |error| CheckError::Database {
        path: database.to_owned(),
        source: from_sqlite(error),
    };
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(database, flags).map_err(failed)?;
    let count = |what: &str| {
        let sql = format!("SELECT count(*) FROM {what}");
        let rows: rusqlite::Result<i64> = connection.query_row(&sql, [], |row| row.get(0));
        rows.map(|rows| u64::try_from(rows).unwrap_or(0))
            .map_err(failed)
    };
    Ok(VaultContents {
        accounts: count("accounts WHERE deleted_at IS NULL")?,
        removed: count("accounts WHERE deleted_at IS NOT NULL")?,
        with_recovery_codes: count("recovery_codes")?,
    })
}

/// Opens every account of the vault at `database` with the keys in `text`, which is that of the
/// file `keys`, makes its code at `now` and shows none, and opens its recovery codes. Changes nothing. Blocks.
///
/// # Errors
///
/// [`CheckError`]: the first thing that is wrong.
pub fn check(
    database: &Path,
    keys: &KeyFile,
    text: &str,
    now: DateTime<Utc>,
) -> Result<VaultContents, CheckError> {
    let crypter = keys.parse(text)?;
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
        opened(&row, &crypter, seconds)?;
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
        let of = |source| BadAccount::Sealed {
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
