//! Recovery codes in the shared database: all of an account's are encrypted together.

use chrono::Utc;
use countersign_database::{Transaction, execute, one};
use countersign_enrollment::ids::EnrollmentId;
use countersign_enrollment::recovery::RecoveryCodes;

use super::super::crypter::Crypter;
use super::super::embedded::from_crypter;
use super::super::{VaultError, recovery};
use super::{encrypted, find, held_key};

/// Replaces the codes of an account in use, if it has exactly those in `replaced`.
pub(super) async fn set_recovery(
    transaction: &Transaction<'_>,
    id: &EnrollmentId,
    replaced: &RecoveryCodes,
    codes: &RecoveryCodes,
    crypter: &Crypter,
) -> Result<(), VaultError> {
    let kept = read_recovery(transaction, id, crypter).await?;
    if kept == *codes {
        return Ok(());
    }
    if kept != *replaced {
        return Err(VaultError::RecoveryConflict);
    }
    if codes.is_empty() {
        return remove_recovery(transaction, id).await;
    }
    let current = held_key(transaction).await?;
    let encrypted = crypter
        .encrypt(Some(&current), &recovery::place(id), &codes.to_bytes())
        .map_err(from_crypter)?;
    execute(
        transaction,
        "INSERT INTO vault_recovery_codes (account, key_id, nonce, ciphertext, set_at)
         VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (account) DO UPDATE SET key_id = excluded.key_id, nonce = excluded.nonce,
             ciphertext = excluded.ciphertext, set_at = excluded.set_at",
        &[
            &id.as_str(),
            &encrypted.key_id,
            &encrypted.nonce,
            &encrypted.ciphertext,
            &Utc::now().timestamp_micros(),
        ],
    )
    .await?;
    Ok(())
}

pub(super) async fn remove_recovery(
    transaction: &Transaction<'_>,
    id: &EnrollmentId,
) -> Result<(), VaultError> {
    let sql = "DELETE FROM vault_recovery_codes WHERE account = $1";
    execute(transaction, sql, &[&id.as_str()]).await?;
    Ok(())
}

/// The codes of an account in use; none if it has none.
pub(super) async fn read_recovery(
    transaction: &Transaction<'_>,
    id: &EnrollmentId,
    crypter: &Crypter,
) -> Result<RecoveryCodes, VaultError> {
    let row = find(transaction, id).await?.ok_or(VaultError::NotFound)?;
    if row.record.deleted_at.is_some() {
        return Err(VaultError::Deleted);
    }
    kept_recovery(transaction, id, crypter).await
}

/// The codes of an account, in use or not; none if it has none.
pub(in super::super) async fn kept_recovery(
    transaction: &Transaction<'_>,
    id: &EnrollmentId,
    crypter: &Crypter,
) -> Result<RecoveryCodes, VaultError> {
    let sql = "SELECT key_id, nonce, ciphertext FROM vault_recovery_codes WHERE account = $1";
    let Some(row) = one(transaction, sql, &[&id.as_str()]).await? else {
        return Ok(RecoveryCodes::default());
    };
    let bytes = crypter
        .decrypt(&recovery::place(id), &encrypted(&row)?)
        .map_err(from_crypter)?;
    RecoveryCodes::from_bytes(&bytes).ok_or(VaultError::Corrupt {
        reason: "its recovery codes are none",
    })
}
