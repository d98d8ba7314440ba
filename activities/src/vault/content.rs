//! Accounts of the embedded vault by what they hold: the same secret, and codes that are made
//! in the same way, whatever an account is called.

use std::sync::Arc;

use countersign_enrollment::account::TotpAccount;
use countersign_enrollment::ids::{CallerId, EnrollmentId};
use rusqlite::{Connection, Transaction, params};

use super::crypter::{Crypter, CrypterError};
use super::embedded::{
    AccountRow, COLUMNS, EmbeddedVault, find, from_crypter, from_sqlite, insert, is_purged,
    read_row,
};
use super::{AccountRecord, MAX_SAME, Stored, StoredUnlessThere, VaultError, order, schema};

/// What is kept to find an account by its content.
pub(super) fn mark(
    account: &TotpAccount,
    current: Option<&str>,
    crypter: &Crypter,
) -> Result<Vec<u8>, VaultError> {
    content(account, |content| crypter.mark(current, content))
}

/// By what an account is found that any key has marked.
pub(super) fn marks(
    account: &TotpAccount,
    current: Option<&str>,
    crypter: &Crypter,
) -> Result<Vec<Vec<u8>>, VaultError> {
    content(account, |content| crypter.marks(current, content))
}

fn content<T>(
    account: &TotpAccount,
    of: impl FnOnce(&[&[u8]]) -> Result<T, CrypterError>,
) -> Result<T, VaultError> {
    let parameters = account.parameters();
    of(&[
        parameters.algorithm().as_str().as_bytes(),
        &[parameters.digits()],
        &parameters.period().to_be_bytes(),
        account.secret().expose(),
    ])
    .map_err(from_crypter)
}

/// What was found before an account is stored.
pub(super) enum Before {
    /// Nothing with its id.
    Free,
    /// An account with its id, and whether that is removed and has the same content.
    There {
        /// Whether it was removed.
        removed: bool,
        /// Whether it holds the same.
        same: bool,
    },
    /// The id was used by an account that was destroyed.
    Purged,
}

impl Before {
    /// An account with the id.
    pub(super) fn of(
        row: &AccountRow,
        account: &TotpAccount,
        crypter: &Crypter,
    ) -> Result<Self, VaultError> {
        let removed = row.record.deleted_at.is_some();
        Ok(Self::There {
            removed,
            // What is removed need not open.
            same: !removed && row.account(crypter)?.same_content(account),
        })
    }

    /// Whether an account may be stored: none where it is stored already.
    ///
    /// # Errors
    ///
    /// [`VaultError::Deleted`] and [`VaultError::Conflict`].
    pub(super) const fn allows(&self) -> Result<Option<()>, VaultError> {
        match self {
            Self::Free => Ok(Some(())),
            Self::There { removed: true, .. } | Self::Purged => Err(VaultError::Deleted),
            Self::There { same: true, .. } => Ok(None),
            Self::There { same: false, .. } => Err(VaultError::Conflict),
        }
    }
}

impl EmbeddedVault {
    /// Keeps an account; unless one with its content is there, where that is wanted.
    pub(super) async fn keep(
        &self,
        id: &EnrollmentId,
        account: &TotpAccount,
        pending_for: Option<&CallerId>,
        unless_there: bool,
    ) -> Result<StoredUnlessThere, VaultError> {
        let (id, account, crypter) = (id.clone(), account.clone(), Arc::clone(&self.crypter));
        let pending_for = pending_for.cloned();
        self.write(move |transaction| {
            let new = (&id, &account);
            store(
                transaction,
                new,
                pending_for.as_ref(),
                unless_there,
                &crypter,
            )
        })
        .await
    }
}

fn store(
    transaction: &Transaction<'_>,
    (id, account): (&EnrollmentId, &TotpAccount),
    pending_for: Option<&CallerId>,
    unless_there: bool,
    crypter: &Crypter,
) -> Result<StoredUnlessThere, VaultError> {
    let before = match find(transaction, id)? {
        Some(row) => Before::of(&row, account, crypter)?,
        None if is_purged(transaction, id)? => Before::Purged,
        None => Before::Free,
    };
    if before.allows()?.is_none() {
        return Ok(StoredUnlessThere::Stored(Stored::AlreadyThere));
    }
    if unless_there {
        let same = same(transaction, account, crypter)?;
        if !same.is_empty() {
            let there = same.into_iter().map(|record| record.id);
            return Ok(StoredUnlessThere::There(there.collect()));
        }
    }
    insert(transaction, id, account, pending_for, crypter)?;
    Ok(StoredUnlessThere::Stored(Stored::Created))
}

/// The accounts in use with the content of `account`, those of the same name first.
pub(super) fn same(
    connection: &Connection,
    account: &TotpAccount,
    crypter: &Crypter,
) -> Result<Vec<AccountRecord>, VaultError> {
    let (issuer_key, name_key) = order::keys(account.issuer(), account.account_name());
    let mut found = Vec::new();
    let current = schema::current_key(connection).map_err(from_sqlite)?;
    for mark in marks(account, current.as_deref(), crypter)? {
        // In two steps, each of which ends at the bound, however many there are.
        for called in ["", "NOT "] {
            let mut statement = connection
                .prepare_cached(&format!(
                    "SELECT {COLUMNS} FROM accounts WHERE content = ?1 AND deleted_at IS NULL
                     AND {called}(issuer_key = ?2 AND name_key = ?3)
                     ORDER BY created_at, id LIMIT ?4"
                ))
                .map_err(from_sqlite)?;
            let limit = i64::try_from(MAX_SAME - found.len()).unwrap_or(0);
            let rows = statement
                .query_map(params![mark, issuer_key, name_key, limit], |row| {
                    Ok(read_row(row))
                })
                .map_err(from_sqlite)?;
            for row in rows {
                found.push(row.map_err(from_sqlite)??.record);
            }
            if found.len() == MAX_SAME {
                return Ok(found);
            }
        }
    }
    Ok(found)
}

/// Fills in the marks of accounts that an earlier release has stored. One that cannot be read
/// gets none, and is found by its id only.
pub(super) fn mark_all(connection: &mut Connection, crypter: &Crypter) -> rusqlite::Result<()> {
    let transaction =
        connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let current = schema::current_key(&transaction)?;
    let unmarked: Vec<String> = transaction
        .prepare("SELECT id FROM accounts WHERE content IS NULL")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for id in unmarked {
        let Ok(id) = id.parse::<EnrollmentId>() else {
            continue;
        };
        let read = |row: AccountRow| mark(&row.account(crypter)?, current.as_deref(), crypter);
        let Ok(Some(mark)) = find(&transaction, &id).and_then(|row| row.map(read).transpose())
        else {
            continue;
        };
        transaction
            .prepare_cached("UPDATE accounts SET content = ?2 WHERE id = ?1")?
            .execute(params![id.as_str(), mark])?;
    }
    transaction.commit()
}
