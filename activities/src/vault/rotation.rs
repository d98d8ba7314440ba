//! Another key for the embedded vault, while it is read and written.
//!
//! ```text
//! 1  the new key goes before the old one in the key file        both open
//! 2  the database says that it is the current one               from now on it encrypts
//! 3  accounts are encrypted with it, a few in each transaction  both open
//! 4  the old key goes from the file                             nothing needs it
//! ```
//!
//! A process that meets a key that it does not know looks into the key file, so nobody has to be
//! told and no reading fails. If it is interrupted after any step, a rotation continues from there when it is
//! run again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use countersign_enrollment::ids::EnrollmentId;
use rusqlite::{Connection, TransactionBehavior, params};
use thiserror::Error;

use super::crypter::Crypter;
use super::embedded::{self, DATABASE, from_crypter, from_sqlite};
use super::key_file::{KeyFile, KeyFileError};
use super::schema::{self, Opened};
use super::{VaultError, content, recovery};

/// How many accounts one transaction encrypts: a few milliseconds.
const STEP: i64 = 100;
/// How long others may write between two of them.
const PAUSE: Duration = Duration::from_millis(2);

/// Why a rotation failed or was interrupted. Running it again continues.
#[derive(Debug, Error)]
pub enum RotationError {
    /// There is no vault.
    #[error("there is no vault in {}", .0.display())]
    NoVault(PathBuf),
    /// It is not one that this release can write.
    #[error("{} is not a vault of this release", .0.display())]
    OtherRelease(PathBuf),
    /// It cannot be opened.
    #[error(transparent)]
    Open(#[from] durabletask_sqlite::OpenError),
    /// The key file cannot be read or written.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// An account does not open, or the database does not answer.
    #[error("{0}")]
    Vault(#[from] VaultError),
}

impl From<rusqlite::Error> for RotationError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Vault(from_sqlite(error))
    }
}

/// How far a rotation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// How many accounts and sets of recovery codes have the new key.
    pub done: u64,
    /// Of how many.
    pub of: u64,
}

/// A key that was rotated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotated {
    /// The ids of the keys before, which are gone.
    pub before: Vec<String>,
    /// The id of the key that everything is encrypted with now.
    pub key: String,
    /// Whether it was begun earlier, and went on.
    pub resumed: bool,
}

/// Gives the vault in `folder` another key in the file `keys`, and tells `progress` after each
/// step. One process at a time may do this. Blocks.
///
/// # Errors
///
/// [`RotationError`]: run it again, and it continues.
pub fn rotate_key(
    folder: &Path,
    keys: &KeyFile,
    mut progress: impl FnMut(Progress),
) -> Result<Rotated, RotationError> {
    let path = folder.join(DATABASE);
    let none = || RotationError::NoVault(folder.to_owned());
    if !path.is_file() {
        return Err(none());
    }
    let before = keys.read()?.ok_or_else(none)?.ids();
    let Opened::Ready(mut connection) = schema::open(&path)? else {
        return Err(RotationError::OtherRelease(path));
    };
    let resumed = before.len() > 1;
    let (key, before) = match resumed {
        true => (before[0].clone(), before[1..].to_vec()),
        false => (keys.add()?, before),
    };
    schema::set_current_key(&connection, &key)?;
    let crypter = keys.read()?.ok_or_else(none)?;
    let of = count(&connection, "")?;
    loop {
        let left = count(&connection, &key)?;
        progress(Progress {
            done: of.saturating_sub(left),
            of,
        });
        if left == 0 {
            break;
        }
        step(&mut connection, &key, &crypter)?;
        std::thread::sleep(PAUSE);
    }
    keys.keep_first()?;
    Ok(Rotated {
        before,
        key,
        resumed,
    })
}

/// How many accounts and sets of recovery codes have another key than this one.
fn count(connection: &Connection, key: &str) -> Result<u64, rusqlite::Error> {
    let count: i64 = connection.query_row(
        "SELECT (SELECT count(*) FROM accounts WHERE key_id <> ?1)
              + (SELECT count(*) FROM recovery_codes WHERE key_id <> ?1)",
        [key],
        |row| row.get(0),
    )?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Encrypts the next few with the key.
fn step(connection: &mut Connection, key: &str, crypter: &Crypter) -> Result<(), RotationError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for id in next(&transaction, "SELECT id FROM accounts", key)? {
        let row = embedded::find(&transaction, &id)?.ok_or(VaultError::NotFound)?;
        let account = row.account(crypter)?;
        let place = embedded::place(&id, account.parameters());
        let encrypted = crypter
            .encrypt(Some(key), &place, account.secret().expose())
            .map_err(from_crypter)?;
        let mark = content::mark(&account, Some(key), crypter)?;
        transaction
            .prepare_cached(
                "UPDATE accounts SET key_id = ?2, nonce = ?3, ciphertext = ?4, content = ?5
                 WHERE id = ?1",
            )?
            .execute(params![
                id.as_str(),
                encrypted.key_id,
                encrypted.nonce,
                encrypted.ciphertext,
                mark
            ])?;
    }
    for id in next(&transaction, "SELECT account FROM recovery_codes", key)? {
        let codes = recovery::kept(&transaction, &id, crypter)?;
        let encrypted = crypter
            .encrypt(Some(key), &recovery::place(&id), &codes.to_bytes())
            .map_err(from_crypter)?;
        transaction
            .prepare_cached(
                "UPDATE recovery_codes SET key_id = ?2, nonce = ?3, ciphertext = ?4
                 WHERE account = ?1",
            )?
            .execute(params![
                id.as_str(),
                encrypted.key_id,
                encrypted.nonce,
                encrypted.ciphertext
            ])?;
    }
    transaction.commit()?;
    Ok(())
}

fn next(
    connection: &Connection,
    select: &str,
    key: &str,
) -> Result<Vec<EnrollmentId>, RotationError> {
    let ids: Vec<String> = connection
        .prepare_cached(&format!("{select} WHERE key_id <> ?1 LIMIT ?2"))?
        .query_map(params![key, STEP], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    ids.iter()
        .map(|id| {
            id.parse()
                .map_err(|_| RotationError::Vault(embedded::spoilt_column()))
        })
        .collect()
}
