//! Storing accounts in the shared database, and finding them by what they hold.

use countersign_database::{Transaction, all, one_at_a_time};
use countersign_enrollment::account::TotpAccount;
use countersign_enrollment::ids::{CallerId, EnrollmentId};
use data_encoding::HEXLOWER;
use futures_util::FutureExt as _;

use super::super::content::Before;
use super::super::crypter::Crypter;
use super::super::{
    AccountRecord, MAX_SAME, Stored, StoredUnlessThere, VaultError, content, order,
};
use super::{COLUMNS, PostgresVault, find, held_key, insert, is_purged, read_row};

/// What the lock is called of those who store an account unless it is there.
const CONTENT: &str = "vault content";

/// What an account is found by.
pub(super) struct Content {
    /// By the key that everyone has.
    mark: Vec<u8>,
    marks: Vec<Vec<u8>>,
    issuer_key: String,
    name_key: String,
}

impl Content {
    pub(super) fn of(
        account: &TotpAccount,
        current: &str,
        crypter: &Crypter,
    ) -> Result<Self, VaultError> {
        let (issuer_key, name_key) = order::keys(account.issuer(), account.account_name());
        Ok(Self {
            mark: content::mark(account, Some(current), crypter)?,
            marks: content::marks(account, Some(current), crypter)?,
            issuer_key,
            name_key,
        })
    }
}

/// The accounts in use with a content, those of the same name first.
pub(super) async fn same(
    transaction: &Transaction<'_>,
    content: &Content,
) -> Result<Vec<AccountRecord>, VaultError> {
    let Content {
        marks,
        issuer_key,
        name_key,
        ..
    } = content;
    let sql = format!(
        "SELECT {COLUMNS} FROM vault_accounts
         WHERE content = ANY($1::bytea[]) AND deleted_at IS NULL
         ORDER BY NOT (issuer_key = $2 AND name_key = $3), created_at, id
         LIMIT $4"
    );
    let limit = i64::try_from(MAX_SAME).unwrap_or(i64::MAX);
    let rows = all(transaction, &sql, &[marks, issuer_key, name_key, &limit]).await?;
    rows.iter().map(|row| Ok(read_row(row)?.record)).collect()
}

impl PostgresVault {
    /// Keeps an account; unless one with its content is there, where that is wanted.
    pub(super) async fn keep(
        &self,
        id: &EnrollmentId,
        account: &TotpAccount,
        pending_for: Option<&CallerId>,
        unless_there: bool,
    ) -> Result<StoredUnlessThere, VaultError> {
        let (account, pending_for) = (account.clone(), pending_for.cloned());
        self.on(id, move |transaction, id, crypter| {
            let (account, pending_for) = (account.clone(), pending_for.clone());
            async move {
                let before = match find(transaction, &id).await? {
                    Some(row) => Before::of(&row, &account, &crypter)?,
                    None if is_purged(transaction, &id).await? => Before::Purged,
                    None => Before::Free,
                };
                if before.allows()?.is_none() {
                    return Ok(StoredUnlessThere::Stored(Stored::AlreadyThere));
                }
                if unless_there {
                    let current = held_key(transaction).await?;
                    let content = Content::of(&account, &current, &crypter)?;
                    // There is no row yet that could be locked.
                    one_at_a_time(transaction, CONTENT, &HEXLOWER.encode(&content.mark)).await?;
                    let same = same(transaction, &content).await?;
                    if !same.is_empty() {
                        let there = same.into_iter().map(|record| record.id);
                        return Ok(StoredUnlessThere::There(there.collect()));
                    }
                }
                insert(transaction, &id, &account, pending_for.as_ref(), &crypter).await?;
                Ok(StoredUnlessThere::Stored(Stored::Created))
            }
            .boxed()
        })
        .await
    }
}
