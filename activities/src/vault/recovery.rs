//! Recovery codes in the embedded vault: all of an account's are encrypted together, beside
//! its secret, and bound to its id.

use chrono::Utc;
use countersign_enrollment::ids::EnrollmentId;
use countersign_enrollment::recovery::RecoveryCodes;
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::crypter::{Crypter, Encrypted};
use super::embedded::{find, from_crypter, from_sqlite};
use super::{VaultError, schema};

/// Replaces the codes of an account in use, if it has exactly those in `replaced`.
pub(super) fn set(
    transaction: &Transaction<'_>,
    id: &EnrollmentId,
    replaced: &RecoveryCodes,
    codes: &RecoveryCodes,
    crypter: &Crypter,
) -> Result<(), VaultError> {
    let kept = read(transaction, id, crypter)?;
    if kept == *codes {
        return Ok(());
    }
    if kept != *replaced {
        return Err(VaultError::RecoveryConflict);
    }
    if codes.is_empty() {
        return remove(transaction, id);
    }
    let current = schema::current_key(transaction).map_err(from_sqlite)?;
    let encrypted = crypter
        .encrypt(current.as_deref(), &place(id), &codes.to_bytes())
        .map_err(from_crypter)?;
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO recovery_codes (account, key_id, nonce, ciphertext, set_at)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )
        .and_then(|mut statement| {
            statement.execute(params![
                id.as_str(),
                encrypted.key_id,
                encrypted.nonce,
                encrypted.ciphertext,
                Utc::now().timestamp_micros(),
            ])
        })
        .map_err(from_sqlite)?;
    Ok(())
}

/// Destroys the codes of an account.
pub(super) fn remove(transaction: &Transaction<'_>, id: &EnrollmentId) -> Result<(), VaultError> {
    transaction
        .execute(
            "DELETE FROM recovery_codes WHERE account = ?1",
            params![id.as_str()],
        )
        .map_err(from_sqlite)?;
    Ok(())
}

/// The codes of an account in use; none if it has none.
pub(super) fn read(
    connection: &Connection,
    id: &EnrollmentId,
    crypter: &Crypter,
) -> Result<RecoveryCodes, VaultError> {
    in_use(connection, id)?;
    kept(connection, id, crypter)
}

/// The codes of an account, in use or not; none if it has none.
pub(super) fn kept(
    connection: &Connection,
    id: &EnrollmentId,
    crypter: &Crypter,
) -> Result<RecoveryCodes, VaultError> {
    let found = connection
        .prepare_cached("SELECT key_id, nonce, ciphertext FROM recovery_codes WHERE account = ?1")
        .and_then(|mut statement| {
            statement
                .query_row(params![id.as_str()], |row| {
                    Ok(Encrypted {
                        key_id: row.get(0)?,
                        nonce: row.get(1)?,
                        ciphertext: row.get(2)?,
                    })
                })
                .optional()
        })
        .map_err(from_sqlite)?;
    let Some(encrypted) = found else {
        return Ok(RecoveryCodes::default());
    };
    let bytes = crypter
        .decrypt(&place(id), &encrypted)
        .map_err(from_crypter)?;
    RecoveryCodes::from_bytes(&bytes).ok_or(VaultError::Corrupt {
        reason: "its recovery codes are invalid",
    })
}

fn in_use(connection: &Connection, id: &EnrollmentId) -> Result<(), VaultError> {
    let row = find(connection, id)?.ok_or(VaultError::NotFound)?;
    match row.record.deleted_at {
        Some(_) => Err(VaultError::Deleted),
        None => Ok(()),
    }
}

/// What the codes are bound to. The 1 is the version of this text.
pub(super) fn place(id: &EnrollmentId) -> String {
    format!("recovery codes|{id}|1")
}
