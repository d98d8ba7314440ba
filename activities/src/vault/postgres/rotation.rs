//! Another key for the vault in the shared database, while it is read and written.
//!
//! ```text
//! 1  the new key goes before the old one in this machine's file     both open
//! 2  an operator copies the file to every other machine             both open everywhere
//! 3  the database says that the new one is the current one          from now on it encrypts
//! 4  accounts are encrypted with it, a few in each transaction      both open
//! 5  the old key goes from the file                                 nothing needs it
//! ```
//!
//! A process that meets a key that it does not know looks into its key file again. Only an
//! operator knows that all of them have the new one: so the first run ends after step 1, and
//! one that confirms the copies continues. If it is interrupted after any step, running it again continues.

use std::sync::Arc;

use countersign_database::{
    Database, DatabaseError, Row, Transaction, all, execute, one_at_a_time,
};
use countersign_enrollment::ids::EnrollmentId;
use futures_util::FutureExt as _;
use thiserror::Error;

use super::super::crypter::Crypter;
use super::super::embedded::{from_crypter, place, spoilt_column};
use super::super::key_file::{KeyFile, KeyFileError};
use super::super::rotation::{Progress, Rotated};
use super::super::{VaultError, content, recovery};
use super::{TOPIC, blocking, find, get, kept_recovery, needed_keys};

/// How many accounts one transaction encrypts.
const STEP: i64 = 100;

/// Why a rotation failed or was interrupted. Running it again continues.
#[derive(Debug, Error)]
pub enum SharedRotationError {
    /// The database has no vault.
    #[error("there is no vault in the database")]
    NoVault,
    /// The file on this machine has not the vault's key.
    #[error("the vault in the database has the key {0}, which is not in this machine's vault.key")]
    KeyMissing(String),
    /// The key file cannot be read or written.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// An account does not open, or the database does not answer.
    #[error("{0}")]
    Vault(#[from] VaultError),
    /// The database cannot be used.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// How far a rotation came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SharedRotation {
    /// The new key is in this machine's file, and nothing is encrypted with it yet: every other
    /// machine needs a copy of the file.
    Copy {
        /// The new key's id.
        key: String,
    },
    /// Everything has the new key.
    Done(Rotated),
}

/// Gives the vault in `database` another key, which is in the file `keys`, and tells
/// `progress` after each step. The first time it makes the key only. With `copied`, which says
/// that every machine has the file, it encrypts everything with that key. One process at a time
/// may do this.
///
/// # Errors
///
/// [`SharedRotationError`]: run it again, and it continues.
pub async fn rotate_shared_key(
    database: &Database,
    keys: &KeyFile,
    copied: bool,
    mut progress: impl FnMut(Progress),
) -> Result<SharedRotation, SharedRotationError> {
    let needed = database.read(|transaction| needed_keys(transaction).boxed());
    let needed = needed.await?;
    let Some((current, former)) = needed.split_first() else {
        return Err(SharedRotationError::NoVault);
    };
    let empty = || KeyFileError::Empty(keys.path().to_owned());
    let known = blocking(keys, KeyFile::read)
        .await?
        .ok_or_else(empty)?
        .ids();
    if let Some(missing) = needed.iter().find(|id| !known.contains(id)) {
        return Err(SharedRotationError::KeyMissing(missing.clone()));
    }
    let new = match known.first() {
        // Begun, and switched.
        Some(first) if first == current && !former.is_empty() => current.clone(),
        // Begun, and not switched.
        Some(first) if first != current && copied => first.clone(),
        Some(first) if first != current => {
            let key = first.clone();
            return Ok(SharedRotation::Copy { key });
        }
        _ => {
            let key = blocking(keys, KeyFile::add).await?;
            return Ok(SharedRotation::Copy { key });
        }
    };
    let crypter = Arc::new(blocking(keys, KeyFile::read).await?.ok_or_else(empty)?);
    let resumed = new == *current;
    switch(database, &new).await?;
    let of = left(database, "").await?;
    loop {
        let left = left(database, &new).await?;
        progress(Progress {
            done: of.saturating_sub(left),
            of,
        });
        if left == 0 {
            break;
        }
        step(database, &new, &crypter).await?;
    }
    let before = finish(database, &new).await?;
    blocking(keys, KeyFile::keep_first).await?;
    Ok(SharedRotation::Done(Rotated {
        before,
        key: new,
        resumed,
    }))
}

/// Makes the new key the one that encrypts, unless it is.
async fn switch(database: &Database, new: &str) -> Result<(), DatabaseError> {
    let new = new.to_owned();
    database
        .write(move |transaction| {
            let new = new.clone();
            async move {
                // Those who store something hold the row until they are done.
                execute(transaction, "SELECT id FROM vault_keys FOR UPDATE", &[]).await?;
                let sql = "INSERT INTO vault_former_keys (id)
                           SELECT id FROM vault_keys WHERE id <> $1 ON CONFLICT DO NOTHING";
                execute(transaction, sql, &[&new]).await?;
                let sql = "UPDATE vault_keys SET id = $1 WHERE id <> $1";
                execute(transaction, sql, &[&new]).await?;
                Ok(())
            }
            .boxed()
        })
        .await
}

/// Forgets the former keys, which nothing needs any more.
async fn finish(database: &Database, new: &str) -> Result<Vec<String>, DatabaseError> {
    let new = new.to_owned();
    database
        .write(move |transaction| {
            let new = new.clone();
            async move {
                let needed = needed_keys(transaction).await?;
                execute(transaction, "DELETE FROM vault_former_keys", &[]).await?;
                Ok(needed.into_iter().filter(|id| *id != new).collect())
            }
            .boxed()
        })
        .await
}

/// How many accounts and sets of recovery codes have another key than this one.
async fn left(database: &Database, key: &str) -> Result<u64, DatabaseError> {
    let key = key.to_owned();
    let count: i64 = database
        .read(move |transaction| {
            let key = key.clone();
            async move {
                let sql = "SELECT (SELECT count(*) FROM vault_accounts WHERE key_id <> $1)
                                + (SELECT count(*) FROM vault_recovery_codes WHERE key_id <> $1)";
                let rows = all(transaction, sql, &[&key]).await?;
                Ok::<i64, DatabaseError>(match rows.first() {
                    Some(row) => row.try_get(0)?,
                    None => 0,
                })
            }
            .boxed()
        })
        .await?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Encrypts the next few with the key. Each account is locked as for any other change, in one
/// order, so that nobody waits for this in a circle.
async fn step(database: &Database, key: &str, crypter: &Arc<Crypter>) -> Result<(), VaultError> {
    let (key, crypter) = (key.to_owned(), Arc::clone(crypter));
    database
        .write(move |transaction| {
            let (key, crypter) = (key.clone(), Arc::clone(&crypter));
            async move {
                let sql = "SELECT id FROM vault_accounts WHERE key_id <> $1
                           UNION SELECT account FROM vault_recovery_codes WHERE key_id <> $1
                           ORDER BY id LIMIT $2";
                let rows: Vec<Row> = all(transaction, sql, &[&key, &STEP]).await?;
                for row in rows {
                    let id: &str = get(&row, "id")?;
                    let id: EnrollmentId = id.parse().map_err(|_| spoilt_column())?;
                    one_at_a_time(transaction, TOPIC, id.as_str()).await?;
                    renew(transaction, &id, &key, &crypter).await?;
                }
                Ok(())
            }
            .boxed()
        })
        .await
}

/// Encrypts an account and its recovery codes with the key, unless it has been destroyed since.
async fn renew(
    transaction: &Transaction<'_>,
    id: &EnrollmentId,
    key: &str,
    crypter: &Crypter,
) -> Result<(), VaultError> {
    let Some(row) = find(transaction, id).await? else {
        return Ok(());
    };
    let account = row.account(crypter)?;
    let encrypted = crypter
        .encrypt(
            Some(key),
            &place(id, account.parameters()),
            account.secret().expose(),
        )
        .map_err(from_crypter)?;
    let mark = content::mark(&account, Some(key), crypter)?;
    execute(
        transaction,
        "UPDATE vault_accounts SET key_id = $2, nonce = $3, ciphertext = $4, content = $5
         WHERE id = $1",
        &[
            &id.as_str(),
            &encrypted.key_id,
            &encrypted.nonce,
            &encrypted.ciphertext,
            &mark,
        ],
    )
    .await?;
    let codes = kept_recovery(transaction, id, crypter).await?;
    if codes.is_empty() {
        return Ok(());
    }
    let encrypted = crypter
        .encrypt(Some(key), &recovery::place(id), &codes.to_bytes())
        .map_err(from_crypter)?;
    execute(
        transaction,
        "UPDATE vault_recovery_codes SET key_id = $2, nonce = $3, ciphertext = $4
         WHERE account = $1",
        &[
            &id.as_str(),
            &encrypted.key_id,
            &encrypted.nonce,
            &encrypted.ciphertext,
        ],
    )
    .await?;
    Ok(())
}
